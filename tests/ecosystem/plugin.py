"""A pytest plugin that runs a foreign suite on the loop under test, and writes down what happened.

Loaded with `-p plugin` before the suite's own plugins and conftest files, so that what they take from asyncio
is already ours: the event loop policy, the loop classes by name, the factories given to asyncio.Runner. It is
steered by environment variables, which run.py sets:

    ECOSYSTEM_LOOP     asyncio, glassloop or uvloop
    ECOSYSTEM_REPORT   a file: a line of JSON is appended as a test begins, ends, and at the session's end
    ECOSYSTEM_CHOICE   a file, which tests to run, as JSON: `left_out`, patterns of ids; `done`, ids of those that an
                       earlier process, which hung or crashed, has been through; `only`, ids or null
    ECOSYSTEM_SILENT   loggers to silence, between commas, as a project's own test runner does

Every loop that is made is counted by the package of its class, with the test that made it: a suite that went
past the hooks and ran on asyncio's loop would pass and prove nothing.
"""
from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.unix_events
import functools
import json
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

ASYNCIO, GLASSLOOP, UVLOOP = "asyncio", "glassloop", "uvloop"
_WORST = ("error", "failed", "xpassed", "xfailed", "skipped", "passed")


class Loops:
    """The loops made so far, by whose they are."""

    def __init__(self, meant: str) -> None:
        self.meant = meant
        self.made: Counter[str] = Counter()
        self.strangers: dict[str, set[str]] = {}
        self.test = "(outside of a test)"

    def count(self, whose: str) -> None:
        self.made[whose] += 1
        if whose != self.meant:
            self.strangers.setdefault(self.test, set()).add(whose)

    def count_in(self, loop_class: Any, whose: str) -> None:
        """Have every instance of loop_class counted, or raise TypeError if the class can't be changed."""
        init = loop_class.__init__

        @functools.wraps(init)
        def counted(loop: Any, *args: Any, **options: Any) -> None:
            self.count(whose)
            init(loop, *args, **options)

        loop_class.__init__ = counted


def _set_policy(policy: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(policy)


def _lead_names_to(loop_class: Any) -> None:
    """asyncio's loop and policy classes by name are those of the loop under test."""
    for holder in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(holder, name):
                setattr(holder, name, loop_class)
    if hasattr(asyncio, "DefaultEventLoopPolicy"):
        asyncio.DefaultEventLoopPolicy = type(_policy())  # type: ignore[misc]


def _policy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return asyncio.get_event_loop_policy()


def _use_glassloop(loops: Loops) -> None:
    from glassloop.loop import EventLoop
    from glassloop.runner import take_over

    loops.count_in(EventLoop, GLASSLOOP)
    take_over()
    _lead_names_to(EventLoop)
    _tell_blockbuster()


# What blockbuster lets asyncio do, by the name of asyncio's file: subprocess.Popen, as it starts a process.
_MAY_CALL = {"os.read": ("glassloop/work/spawn.py", {"__init__"})}


def _tell_blockbuster() -> None:
    """blockbuster makes a test fail that blocks its loop. asyncio's own calls that look like it are known to it by the names
    of asyncio's files; it is told of ours (see docs/tools.md)."""
    try:
        from blockbuster import BlockBuster
    except ImportError:
        return
    init = BlockBuster.__init__

    @functools.wraps(init)
    def initialize(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        for call, (file, functions) in _MAY_CALL.items():
            if call in self.functions:
                self.functions[call].can_block_in(file, functions)

    BlockBuster.__init__ = initialize


def _use_uvloop(loops: Loops) -> None:
    import uvloop

    class Policy(asyncio.DefaultEventLoopPolicy):  # type: ignore[misc]
        def new_event_loop(self) -> Any:
            return Counted()

    class Counted(uvloop.Loop):  # type: ignore[misc]
        def __init__(self) -> None:
            loops.count(UVLOOP)
            super().__init__()

    _set_policy(Policy())
    _lead_names_to(Counted)


_loops = Loops(os.environ.get("ECOSYSTEM_LOOP", GLASSLOOP))
_loops.count_in(asyncio.base_events.BaseEventLoop, ASYNCIO)
if _loops.meant == GLASSLOOP:
    _use_glassloop(_loops)
elif _loops.meant == UVLOOP:
    _use_uvloop(_loops)


class Record:
    """The report: one file, flushed at each line, for a process that may be killed."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")
        self._process = os.getpid()

    def write(self, **line: Any) -> None:
        if os.getpid() == self._process:  # a test may fork, and its child end as a session does
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


for _name in filter(None, os.environ.get("ECOSYSTEM_SILENT", "").split(",")):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_record = Record(os.environ.get("ECOSYSTEM_REPORT", os.devnull))
_outcomes: dict[str, tuple[str, str]] = {}


def pytest_report_header() -> str:
    whose = sys.modules.get(_loops.meant)
    compiled = getattr(whose, "compiled", None)
    how = "" if compiled is None else ", compiled" if compiled else ", interpreted"
    return f"event loop: {_loops.meant} {getattr(whose, '__version__', '')}{how} ({getattr(whose, '__file__', '')})"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    path = os.environ.get("ECOSYSTEM_CHOICE")
    if not path:
        return
    choice = json.loads(Path(path).read_text())
    patterns = [pattern.replace("[", "[[]") for pattern in choice["left_out"]]
    done, only = set(choice["done"]), choice["only"]

    def is_chosen(name: str) -> bool:
        if name in done or (only is not None and name not in only):
            return False
        return not any(fnmatchcase(name, pattern) for pattern in patterns)

    left_out = [item for item in items if not is_chosen(item.nodeid)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if is_chosen(item.nodeid)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _loops.test = item.nodeid
    _record.write(begin=item.nodeid)
    try:
        return (yield)
    finally:
        _loops.test = "(outside of a test)"
        outcome, text = _outcomes.pop(item.nodeid, ("error", "no report"))
        _record.write(test=item.nodeid, outcome=outcome, text=text)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome: str = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if outcome == "skipped" else "xpassed"
    elif outcome == "failed" and report.when != "call":
        outcome = "error"
    text = ""
    if outcome in ("failed", "error"):
        text = report.longreprtext[-6000:]
    elif outcome == "skipped":
        text = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
    before = _outcomes.get(report.nodeid)
    if before is None or _WORST.index(outcome) < _WORST.index(before[0]):
        _outcomes[report.nodeid] = outcome, text


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _record.write(test=report.nodeid or "(collection)", outcome="error", text=report.longreprtext[-6000:])


def pytest_sessionfinish(exitstatus: int) -> None:
    strangers = {test: sorted(whose) for test, whose in _loops.strangers.items()}
    _record.write(end=int(exitstatus), loops=dict(_loops.made), strangers=strangers)


def pytest_unconfigure() -> None:
    _record.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    made = ", ".join(f"{count} of {whose}" for whose, count in sorted(_loops.made.items())) or "none"
    terminalreporter.write_line(f"loops made: {made}")
