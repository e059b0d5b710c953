"""Everything that must pass, with one total at the end: what `make test` runs.

    python tests/run.py [STAGE...]

A stage is a process of its own with a time limit, so that nothing that hangs or crashes takes the others
along. A stage that can't run here (no C compiler, an interpreter without its own test suite) is shown as not
run, never as passed. The last line is `N passed, N failed`; the exit code is 1 if anything failed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ROOT / "build" / f"compiled-{sys.implementation.cache_tag}"


@dataclass
class Stage:
    name: str
    command: list[str]
    limit: float
    """Seconds, then it is killed and counts as failed."""
    counts: str | None = None
    """The lines that match tell how many passed and failed. None: the exit code tells, and counts as one."""
    environment: dict[str, str] = field(default_factory=dict)
    cannot_run: Callable[[], str | None] = lambda: None
    """Why it can't run on this machine, if so."""


@dataclass
class Result:
    stage: Stage
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    note: str = ""


def no_compiled_package() -> str | None:
    return None if COMPILED.is_dir() else "no C compiler here: nothing compiled to test"


def no_cpython_tests() -> str | None:
    try:
        found = importlib.util.find_spec("test.test_asyncio")
    except ImportError:
        found = None
    return None if found else "this Python has no test.test_asyncio (Debian: install libpython3-testsuite)"


def pytest(runtime: str, cannot_run: Callable[[], str | None] = lambda: None) -> Stage:
    command = [sys.executable, "-m", "pytest", f"--runtime={runtime}", "tests"]
    closing_line = r"^=+ .*\b(passed|failed|errors?)\b.* in [\d.]+s.*=+$"
    return Stage(f"tests, {runtime}", command, 900, closing_line, cannot_run=cannot_run)


def stages() -> dict[str, Stage]:
    package = COMPILED if no_compiled_package() is None else ROOT / "src"
    return {
        "compiled": pytest("compiled", no_compiled_package),
        "interpreted": pytest("interpreted"),
        "asyncio": pytest("asyncio"),
        "conformance": Stage(
            "CPython's own tests",
            [sys.executable, "tests/conformance/run.py"],
            800,
            r"^conformance .*: \d+ passed, \d+ failed",
            {"PYTHONPATH": str(package)},
            no_cpython_tests,
        ),
        "ruff": Stage("ruff", [sys.executable, "-m", "ruff", "check"], 60),
        "mypy": Stage("mypy --strict", [sys.executable, "-m", "mypy"], 200),
    }


def run(stage: Stage) -> Result:
    print(f"\n{'#' * 110}\n# {stage.name}: {' '.join(stage.command[1:])}\n", flush=True)
    result = Result(stage)
    reason = stage.cannot_run()
    if reason:
        print(f"NOT RUN: {reason}", flush=True)
        result.note = f"NOT RUN: {reason}"
        return result
    start = time.monotonic()
    process = subprocess.Popen(
        stage.command,
        cwd=ROOT,
        env=os.environ | stage.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        os.killpg(process.pid, signal.SIGKILL)

    alarm = threading.Timer(stage.limit, kill)
    alarm.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if stage.counts and re.search(stage.counts, line.rstrip()):
                result.passed += count(line, "passed")
                result.failed += count(line, "failed") + count(line, "errors?")
        code = process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        alarm.cancel()
    result.seconds = time.monotonic() - start
    if stage.counts is None:
        result.passed, result.failed = (1, 0) if code == 0 else (0, 1)
    elif code != 0 and not result.failed:
        result.failed = 1
    elif code == 0 and not result.passed:
        result.failed, result.note = 1, "nothing was run"
    if killed.is_set():
        result.note = f"killed after {stage.limit:.0f} s"
    elif code < 0:
        result.note = f"died of {signal.Signals(-code).name}"
    return result


def count(line: str, word: str) -> int:
    return sum(int(number) for number in re.findall(rf"\b(\d+) {word}\b", line))


def main(names: list[str]) -> int:
    known = stages()
    if unknown := set(names) - set(known):
        sys.exit(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = [run(known[name]) for name in names or known]
    print(f"\n{'#' * 110}\n\n{'':24}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for result in results:
        figures = f"{result.passed:8}{result.failed:8}{result.seconds:9.0f}"
        print(f"{result.stage.name:24}{figures}  {result.note}".rstrip())
    passed, failed = sum(result.passed for result in results), sum(result.failed for result in results)
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
