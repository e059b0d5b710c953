#!/usr/bin/env python3
"""The test suites of projects built on asyncio, on asyncio and on glassloop, and what differs.

    python tests/ecosystem/run.py [--only NAME] [--loop asyncio|glassloop|uvloop] [-k EXPRESSION]

Each suite runs on asyncio, the control, and on glassloop; a test that passes there and fails here is a failure,
unless expected.py has it with a reason. What fails on both is counted and not held against us. With --loop only that
one is run, and nothing compared; uvloop is for comparison.

A difference is looked at twice: the tests of it are run again by themselves, three times; one that then passes every
time failed by chance (suites have time limits of milliseconds), is named, and doesn't count.

A run in which loops of another kind were made than the one under test is a fault of this harness, and fails.

PYTHONPATH selects the glassloop; by default it is the compiled one in build/ if there is one, else src/. The last line is the
total; the exit code is 0 if nothing failed, 1 if something did, 2 if nothing could be run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import projects
import smokes
from expected import EXPECTED, Expected
from servers import STARTERS, NotAvailable, Server
from session import BAD, Session, Test, ipv6_localhost, run_suite
from suites import SUITES, Suite

ASYNCIO, GLASSLOOP, UVLOOP = "asyncio", "glassloop", "uvloop"
AGAIN = 3


class Totals:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.expected = 0
        self.not_run: list[str] = []

    def line(self, seconds: float) -> str:
        parts = [f"{self.passed} passed", f"{self.failed} failed", f"{self.expected} expected failures"]
        if self.not_run:
            parts.append(f"not run: {', '.join(self.not_run)}")
        return f"ecosystem: {', '.join(parts)} ({seconds:.0f} s)"


def arguments() -> argparse.Namespace:
    names = [suite.name for suite in SUITES] + list(smokes.NAMES)
    parser = argparse.ArgumentParser(description="Suites of projects built on asyncio, on asyncio and on glassloop.")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}; repeatable")
    parser.add_argument("--loop", choices=(ASYNCIO, GLASSLOOP, UVLOOP), help="run this one only, and compare nothing")
    parser.add_argument("-k", metavar="EXPRESSION", help="only tests that match, as pytest's -k")
    return parser.parse_args()


def glassloop_folder() -> Path:
    compiled = projects.ROOT / "build" / f"compiled-{projects.TAG}"
    for path in (*map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))), compiled):
        if (path / "glassloop").is_dir():
            return path.resolve()
    return projects.ROOT / "src"


@contextlib.contextmanager
def serving(names: tuple[str, ...]) -> Iterator[Server]:
    both = Server()
    with contextlib.ExitStack() as stack:
        for name in names:
            server = stack.enter_context(STARTERS[name]())
            both.arguments += server.arguments
            both.environment |= server.environment
        yield both


def on_loop(suite: Suite, loop: str, expression: str | None, only: list[str] | None = None) -> Session:
    """One run of a suite; `only` are test ids. Servers are fresh for each."""
    with serving(suite.needs) as server:
        folder = projects.tests_of(suite)
        python = projects.environment(suite.name, projects.requirements_of(suite))
        path = [str(projects.HERE)]
        if loop == GLASSLOOP:
            path.append(str(glassloop_folder()))
        elif loop == UVLOOP:
            path.append(str(projects.uvloop_folder()))
        environment = {
            **os.environ, **suite.environment, **server.environment, "PYTHONPATH": os.pathsep.join(path), "ECOSYSTEM_LOOP": loop,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        left_out = [pattern for pattern, _ in suite.left_out]
        if suite.left_out_without_ipv6_localhost and not ipv6_localhost():
            left_out += suite.left_out_without_ipv6_localhost
        command = [str(python), "-m", "pytest", "-p", "plugin", "-p", "no:cacheprovider", "-q", "--tb=short",
                   "--timeout", str(suite.test_limit), "--timeout-method=signal", *suite.arguments, *server.arguments]
        expressions = [f"({text})" for text in (suite.expression, expression) if text]
        if expressions:
            command += ["-k", " and ".join(expressions)]
        reports = projects.CACHE / suite.name / (loop if only is None else f"{loop}-again")
        return run_suite(command, folder, environment, reports, suite.limit, left_out, only)


def summary(session: Session) -> str:
    counts = Counter(test.outcome for test in session.tests.values())
    words = ("passed", "failed", "error", "crashed", "hung", "xfailed", "xpassed", "skipped")
    text = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
    made = ", ".join(f"{count} of {whose}" for whose, count in sorted(session.loops.items())) or "none"
    return f"{text or 'nothing'} ({session.seconds:.0f} s; loops made: {made})"


def reason(test: Test) -> str:
    lines = [line for line in test.text.splitlines() if line.startswith("E ")] or test.text.splitlines()[-1:]
    return lines[-1][:200] if lines else test.outcome


def strangers(session: Session, loop: str) -> list[str]:
    """Complaints about the run itself: did it run on the loop that was meant?"""
    told = []
    if session.loops[loop] == 0:
        told.append(f"no loop of {loop} was made: the suite went past the hooks")
    if session.strangers:
        tests = ", ".join(sorted(session.strangers)[:5])
        told.append(f"loops of another kind were made by {len(session.strangers)} tests: {tests}")
    if not session.tests:
        told.append(f"no test was run; see {session.log}")
    return told


def compare(suite: Suite, totals: Totals, expression: str | None) -> None:
    control = on_loop(suite, ASYNCIO, expression)
    print(f"{suite.name}: asyncio    {summary(control)}", flush=True)
    ours = on_loop(suite, GLASSLOOP, expression)
    print(f"{suite.name}: glassloop  {summary(ours)}", flush=True)

    expected = Expected(suite.name, sys.version_info[:3])
    differ, wrong = [], strangers(control, ASYNCIO) + strangers(ours, GLASSLOOP)
    both, expected_here = 0, 0
    for name, test in ours.tests.items():
        entry = expected.find(name)
        is_bad, was_bad = test.outcome in BAD, control.outcome(name) in BAD
        if entry is not None and is_bad and not was_bad:
            expected_here += 1
        elif entry is not None and test.outcome == "passed" and not entry.sometimes:
            wrong.append(f"{name}: passes, and is on the list of expected failures")
        elif is_bad and was_bad:
            both += 1
        elif is_bad:
            differ.append(name)
    gone = [name for name, test in control.tests.items() if name not in ours.tests and test.outcome == "passed"]
    wrong += [f"{name}: passed on asyncio, did not run on glassloop" for name in gone]
    if expression is None:
        wrong += [f"expected.py: {entry.tests} matches no test" for entry in expected.unused]

    chance = by_chance(suite, differ) if differ else []
    for name in differ:
        if name in chance:
            print(f"{suite.name}: by chance  {name}: {reason(ours.tests[name])}")
        else:
            wrong.append(f"{name}: {reason(ours.tests[name])}")
    for line in wrong:
        print(f"{suite.name}: FAILED     {line}")
    better = [name for name, test in control.tests.items() if test.outcome in BAD and ours.outcome(name) == "passed"]
    notes = [f"{len(wrong)} failed on glassloop alone", f"{expected_here} expected", f"{both} failed on both"]
    if better:
        notes.append(f"{len(better)} on asyncio alone")
    if chance:
        notes.append(f"{len(chance)} by chance")
    print(f"{suite.name}: {', '.join(notes)}", flush=True)
    totals.passed += sum(test.outcome == "passed" for test in ours.tests.values())
    totals.failed += len(wrong)
    totals.expected += expected_here


def by_chance(suite: Suite, tests: list[str]) -> list[str]:
    """Those of them that pass whenever they are run again."""
    left = list(tests)
    for _ in range(AGAIN):
        if left:
            session = on_loop(suite, GLASSLOOP, None, left)
            left = [name for name in left if session.outcome(name) == "passed"]
    return left


def alone(suite: Suite, loop: str, totals: Totals, expression: str | None) -> None:
    session = on_loop(suite, loop, expression)
    print(f"{suite.name}: {loop:9}  {summary(session)}", flush=True)
    for complaint in strangers(session, loop):
        print(f"{suite.name}: FAILED     {complaint}")
        totals.failed += 1
    for name, test in session.tests.items():
        if test.outcome in BAD:
            print(f"{suite.name}: {test.outcome:9}  {name}: {reason(test)}")
    totals.passed += sum(test.outcome == "passed" for test in session.tests.values())
    totals.failed += sum(test.outcome in BAD for test in session.tests.values())


def main() -> int:
    options = arguments()
    chosen = [suite for suite in SUITES if not options.only or suite.name in options.only]
    began = time.monotonic()
    totals = Totals()
    print(f"glassloop from {glassloop_folder()}, Python {sys.version.split()[0]}")
    if not ipv6_localhost():
        print("localhost has no IPv6 address here: the tests that need one are left out")
    for suite in chosen:
        for pattern, why in suite.left_out:
            print(f"{suite.name}: left out   {pattern}: {why}")
        try:
            if options.loop:
                alone(suite, options.loop, totals, options.k)
            else:
                compare(suite, totals, options.k)
        except (NotAvailable, projects.NotPossible) as why_not:
            print(f"{suite.name}: NOT RUN    {why_not}", flush=True)
            totals.not_run.append(suite.name)
    if options.k is None:
        names = [name for name in smokes.NAMES if not options.only or name in options.only]
        loops = [options.loop] if options.loop else [ASYNCIO, GLASSLOOP]
        for name in names:
            for loop in loops:
                outcome, text = smokes.run(name, loop, glassloop_folder(), serving)
                print(f"smoke {name}: {loop:9}  {outcome}{': ' + text if text else ''}", flush=True)
                if outcome == smokes.NOT_RUN:
                    totals.not_run.append(f"{name} on {loop}")
                elif loop == (options.loop or GLASSLOOP):
                    totals.passed += outcome == smokes.PASSED
                    totals.failed += outcome == smokes.FAILED
    unknown = {entry.suite for entry in EXPECTED} - {suite.name for suite in SUITES}
    if unknown:
        print(f"expected.py names no suite: {', '.join(sorted(unknown))}")
        totals.failed += 1
    print(totals.line(time.monotonic() - began))
    return 1 if totals.failed else 0 if totals.passed else 2


if __name__ == "__main__":
    sys.exit(main())
