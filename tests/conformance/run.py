#!/usr/bin/env python3
"""CPython's own asyncio tests, those of the interpreter that runs this file, on another event loop.

    python tests/conformance/run.py [--loop glassloop|uvloop|asyncio] [--mode drop-in|whole] [--match REGEX]

Mode `drop-in` runs asyncio's tasks, futures, queues... on the loop; mode `whole` puts the runtime's own in
their place. Without --mode both are run, one after the other. PYTHONPATH selects the glassloop, compiled or
interpreted.

`--loop asyncio` is the control: everything passes there, or this harness is wrong.

suite.py says what is run, scope.py what is not in reach yet, expected.py what fails and why; standin.py
brings our loop into the tests, and pool.py runs each in a process of its own. The last line is the total;
the exit code is 0 if nothing failed, 1 if something did, 2 if the tests can't be run at all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pool
from lists import Marks
from standin import DROP_IN, LOOPS, WHOLE, NotRunnable, install

OTHER_VARIABLES = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONWARNINGS", "PYTHONTRACEMALLOC")


@dataclass
class Totals:
    passed: int = 0
    expected: int = 0
    skipped: int = 0
    out_of_scope: int = 0
    wrong: list[pool.Outcome] = field(default_factory=list)

    def line(self, name: str, seconds: float) -> str:
        parts = [f"{self.passed} passed", f"{len(self.wrong)} failed", f"{self.expected} expected failures"]
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        if self.out_of_scope:
            parts.append(f"{self.out_of_scope} out of scope")
        return f"conformance {name}: {', '.join(parts)} ({seconds:.0f} s)"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPython's asyncio tests on another event loop.")
    parser.add_argument("--loop", choices=LOOPS, default="glassloop", help="default: glassloop")
    parser.add_argument("--mode", choices=(DROP_IN, WHOLE), help="default: both")
    parser.add_argument("--match", metavar="REGEX", help="only tests whose id contains a match")
    parser.add_argument("--all", action="store_true", help="run what is out of scope too")
    parser.add_argument("--list", action="store_true", help="print the tests instead of running them")
    parser.add_argument("--limit", type=float, default=20.0, metavar="SECONDS", help="for each test; default: 20")
    parser.add_argument("-j", "--workers", type=int, default=2, help="processes at a time; default: 2")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write every outcome as a line of JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="no tracebacks")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each test")
    return parser.parse_args()


def _both_modes(loop: str) -> int:
    code = 0
    for mode in (DROP_IN,) if loop == "uvloop" else (DROP_IN, WHOLE):
        code = max(code, subprocess.run([sys.executable, __file__, *sys.argv[1:], "--mode", mode]).returncode)
    return code


def _judge(outcome: pool.Outcome, expected: Marks, totals: Totals) -> str:
    """Count the outcome against the strict list; return the word for it."""
    entry = expected.find(outcome.test)
    if outcome.status == pool.SKIPPED:
        totals.skipped += 1
        return "skipped"
    if outcome.status == pool.PASSED:
        if entry is None:
            totals.passed += 1
            return "ok"
        outcome.reason = f"unexpected pass: the strict list says it fails ({entry.reason})"
    elif entry is not None:
        totals.expected += 1
        return "expected failure"
    totals.wrong.append(outcome)
    return "FAILED"


def _run(args: argparse.Namespace) -> int:
    for variable in OTHER_VARIABLES:
        os.environ.pop(variable, None)
    try:
        import test.test_asyncio
    except ImportError as err:
        print(
            f"conformance: {sys.executable} has no CPython tests ({err}). Nothing was run.\n"
            "Install the interpreter's `test` package (Debian: libpython3-testsuite; pyenv has it).",
            file=sys.stderr,
        )
        return 2
    warnings.simplefilter("default")
    try:
        runtime = install(args.loop, args.mode)
    except NotRunnable as err:
        print(f"conformance: {err}. Nothing was run.", file=sys.stderr)
        return 2
    from expected import EXPECTED
    from scope import SCOPE
    from suite import tests

    version = sys.version_info[:3]
    is_ours = args.loop == "glassloop"
    scope = Marks(SCOPE if is_ours and not args.all else (), version, args.mode, runtime.build)
    expected = Marks(EXPECTED if is_ours else (), version, args.mode, runtime.build)
    totals = Totals()
    chosen = []
    for test in tests(runtime):
        if scope.find(test[0]) is not None:
            totals.out_of_scope += 1
        elif args.match is None or re.search(args.match, test[0]):
            chosen.append(test)
    if args.list:
        print("\n".join(test for test, _ in chosen))
        return 0

    name = f"{runtime.version} {args.mode}"
    if is_ours:
        name += f" {runtime.build}"
        if args.mode == WHOLE:
            print(f"put in the place of asyncio's: {', '.join(runtime.replaced)}")
    else:
        name += f" on {args.loop}"
    began = time.monotonic()
    report = args.report.open("a") if args.report else None
    for outcome in pool.run(chosen, workers=args.workers, limit=args.limit):
        word = _judge(outcome, expected, totals)
        if args.verbose or word == "FAILED":
            print(f"{outcome.test} ... {word}  {outcome.reason}  ({outcome.seconds:.2f} s)", flush=True)
        if word == "FAILED" and outcome.detail and not args.quiet:
            print(outcome.detail.rstrip() + "\n" + "-" * 100, flush=True)
        if report:
            record = {"run": name, "word": word, **asdict(outcome)}
            report.write(json.dumps(record) + "\n")
            report.flush()
    if report:
        report.close()
    if args.match is None:
        for entry in (*expected.unused, *scope.unused):
            print(f"this entry of a list matches no test: {entry}")
            totals.wrong.append(pool.Outcome(entry.tests, pool.FAILED, "entry matches no test"))
    if totals.wrong:
        print("\nfailed:")
        for outcome in sorted(totals.wrong, key=lambda outcome: outcome.test):
            print(f"  {outcome.test}: {outcome.reason}")
        kinds = Counter(outcome.reason.split(":")[0].split(" ")[0] for outcome in totals.wrong)
        print("  " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    if not chosen:
        print("conformance: no test was chosen", file=sys.stderr)
        return 2
    print(totals.line(name, time.monotonic() - began), flush=True)
    return 1 if totals.wrong else 0


def main() -> int:
    args = _arguments()
    if args.mode is None and not args.list:
        return _both_modes(args.loop)
    args.mode = args.mode or DROP_IN
    return _run(args)


if __name__ == "__main__":
    sys.exit(main())
