"""One run of a suite on one loop: pytest in a process, and another where that one hung or crashed.

plugin.py, in the process, writes a line as each test begins and ends. If the process dies, or takes too long, the test
that had begun is what it died of; a new process runs those that are left.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

BAD = ("failed", "error", "crashed", "hung")
RESTARTS = 10
CLASS_IN_IDS = ("_UnixSelectorEventLoop", "EventLoop")
"""asyncio's loop and ours, where a class is a parameter and so part of a test's id."""
SILENCE = 60.0
"""Seconds on top of a test's own limit after which a process that reports nothing is taken to hang."""


@dataclass
class Test:
    outcome: str
    text: str = ""


@dataclass
class Session:
    log: Path
    tests: dict[str, Test] = field(default_factory=dict)
    loops: Counter[str] = field(default_factory=Counter)
    strangers: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def outcome(self, name: str) -> str:
        test = self.tests.get(name)
        return "not run" if test is None else test.outcome


@cache
def ipv6_localhost() -> bool:
    """Whether the name localhost leads to ::1, as suites take for granted."""
    try:
        address = socket.getaddrinfo("localhost", 0, socket.AF_INET6, socket.SOCK_STREAM)[0][4]
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(address)
    except OSError:
        return False
    return True


def run_suite(
    command: list[str], folder: Path, environment: dict[str, str], reports: Path, limit: float, left_out: list[str],
    only: list[str] | None,
) -> Session:
    """Run the tests to their end. `left_out`: patterns of ids."""
    reports.mkdir(parents=True, exist_ok=True)
    session = Session(reports / "log.txt")
    report, done = reports / "report.jsonl", reports / "done.txt"
    began = time.monotonic()
    with session.log.open("wb") as log:
        for _ in range(RESTARTS + 1):
            report.unlink(missing_ok=True)
            done.write_text(json.dumps({"done": list(session.tests), "left_out": left_out, "only": only}))
            more = {"ECOSYSTEM_REPORT": str(report), "ECOSYSTEM_CHOICE": str(done)}
            death = _process(command, folder, {**environment, **more}, log, report, limit - (time.monotonic() - began))
            pending, ended = _read(report, session)
            if ended:
                break
            if pending is None:
                pending = "(the session)"
            session.tests[pending] = Test(death, f"the process {death} in this test; see {session.log}")
            if pending == "(the session)" or time.monotonic() - began > limit:
                break
    session.seconds = time.monotonic() - began
    return session


def _process(
    command: list[str], folder: Path, environment: dict[str, str], log: object, report: Path, limit: float,
) -> str:
    """Run it; how it died, if it did."""
    process = subprocess.Popen(  # a group of its own: what it leaves behind goes with it
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,  # type: ignore[call-overload]
        process_group=0,
    )
    patience = float(command[command.index("--timeout") + 1]) + SILENCE
    deadline, seen, heard = time.monotonic() + limit, 0, time.monotonic()
    try:
        while True:
            try:
                process.wait(1.0)
                return "crashed"
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            size = report.stat().st_size if report.exists() else 0
            if size != seen:
                seen, heard = size, now
            if now > deadline or now - heard > patience:
                return "hung"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _read(report: Path, session: Session) -> tuple[str | None, bool]:
    """Take in the lines of a process: the test that had begun and not ended, and whether the session ended."""
    pending, ended = None, False
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    for text in lines:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # cut off
            continue
        for key in ("begin", "test"):
            if key in line:
                line[key] = line[key].replace(*CLASS_IN_IDS)
        if "begin" in line:
            pending = line["begin"]
        elif "test" in line:
            session.tests[line["test"]] = Test(line["outcome"], line["text"])
            pending = None
        elif "end" in line:
            ended = True
            session.loops.update(line["loops"])
            session.strangers.update(line["strangers"])
    return pending, ended
