"""The floors: ratios that glassloop has to reach, and the check of a run against them.

A floor names rows by a regular expression for the whole name; each of them has to hold it.
A ratio is the other's cost divided by ours, per round, median over the rounds: 2.0 means half the cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from report import ratios


@dataclass(frozen=True)
class Floor:
    rows: str
    at_least: float = 0.0
    loop: str = "glassloop"
    over: str = "uvloop"  # the loop whose cost is divided by ours
    at_most: float = 0.0  # a cost in the row's unit instead of a ratio

    def __str__(self) -> str:
        if self.at_most:
            return f"{self.loop} at most {self.at_most:,.0f}"
        return f"{self.loop} at least {self.at_least:g} of {self.over}"


SCHEDULING = (
    r"call_soon.*|timer set and cancel|100k timers firing|sleep\(0\).*|ping-pong on futures"
    r"|create_task \+ await|gather 10k.*|TaskGroup 10k|Queue\(.*|Lock.*|Semaphore.*|Event.*|wait_for|timeout"
)

FLOORS = (
    Floor(r"call_soon chain", 3.0),
    Floor(r"timer set and cancel", 3.0),
    Floor(r"sleep\(0\), 1 task", 3.0),
    Floor(r"sleep\(0\), 1000 tasks", 2.0),
    Floor(r"ping-pong on futures", 4.0),
    Floor(r"create_task \+ await", 4.0),
    Floor(r"gather 10k", 3.0, "native"),
    Floor(r"TaskGroup 10k", 2.5, "native"),
    Floor(r"Queue\(1\)", 6.0, "native"),
    Floor(r"Queue\(100\)", 3.0, "native"),
    Floor(r"timeout", 3.0, "native"),
    Floor(r"wait_for", 3.0, "native"),
    Floor(r"echo streams, 1 KiB, 10 connections", 1.2),
    Floor(r"echo streams, 100 KiB, 10 connections", 1.7),
    Floor(r"echo sock_\*, 1 KiB, 10 connections", 1.5),
    Floor(r"split head/body write", 2.0),
    Floor(r"pipelined small messages, Protocol", 2.0),
    Floor(r"echo (Protocol|BufferedProtocol|Unix Protocol), .*", 1.0),
    Floor(r"(echo UDP|UDP client), .*", 1.1),
    Floor(r"(echo UDP|UDP client), .*", 1.1, over="rloop"),
    Floor(r"sendfile, .*", 1.0, over="asyncio"),
    Floor(r"getaddrinfo of a literal", 1.0),
    Floor(r"TLS echo .*, 1 KiB, .*", 1.2),
    Floor(r"TLS echo .*, 1 KiB, .*", 1.2, over="asyncio"),
    Floor(r"TLS echo .*", 1.0),
    Floor(r"TLS echo .*", 1.0, over="asyncio"),
    Floor(r"TLS handshake.*", 1.0),
    Floor(r"TLS handshake.*", 1.0, over="asyncio"),
    Floor(r"accept.*", 1.0),
    Floor(r"connect", 1.0),
    Floor(r"to_thread", 1.0),
    Floor(r"call from a thread", 1.0, "native", "glassloop"),
    Floor(r"uvicorn", 1.2),
    Floor(r"aiohttp server", 1.1),
    Floor(r"subprocess spawn.*", 1.0, over="asyncio"),
    Floor(r"subprocess spawn.*", 2.0),
    Floor(r"subprocess (output|communicate).*", 1.0, over="asyncio"),
    Floor(r"subprocess (output|communicate).*", 1.0),
    Floor(r"subprocess output.*", 1.5, "native"),
    Floor(r"call in a worker process", 1.0, "native", "glassloop"),
    Floor(r"call in a worker process, CPU of the parent", 2.0, "native", "glassloop"),
    Floor(r"pipe echo.*", 1.0),
    Floor(r"memory of a sleeping task", 1.0, "glassloop", "asyncio"),
    Floor(r"memory of an idle connection", loop="glassloop", at_most=1536),
    Floor(r"start-up", 1.0),
    Floor(SCHEDULING, 1.0, "interpreted", "asyncio"),
)


@dataclass(frozen=True)
class Verdict:
    row: str
    floor: Floor
    reached: float | None  # None: not measured
    held: bool
    close: bool = False  # some rounds held it and some didn't


def check(
    rows: Iterable[str], loops: Iterable[str], samples: Callable[[str, str], list[float | None]]
) -> list[Verdict]:
    """Judges the rows by the floors between those loops.

    samples(row, loop) is the cost in each round, None where there is no figure.
    """
    loops = set(loops)
    return [
        judge(row, floor, samples(row, floor.loop), samples(row, floor.over))
        for row in rows
        for floor in FLOORS
        if re.fullmatch(floor.rows, row) and floor.loop in loops and (floor.at_most or floor.over in loops)
    ]


def judge(row: str, floor: Floor, ours: list[float | None], theirs: list[float | None]) -> Verdict:
    figures = [cost for cost in ours if cost is not None] if floor.at_most else ratios(theirs, ours)
    if not figures:
        return Verdict(row, floor, None, False)
    reached = median(figures)
    held = [
        figure <= floor.at_most if floor.at_most else figure >= floor.at_least
        for figure in (reached, *figures)
    ]
    return Verdict(row, floor, reached, held[0], any(held) and not all(held))
