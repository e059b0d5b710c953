"""Who has the wounds: runs tests/test_wounds.py on asyncio, uvloop and glassloop, and prints which of them fail where.

    python tests/wounds.py [--build BUILD] [NAME...]

Each test runs in a process of its own, since some of them hang or abort it. The exit code is 1 if one fails on
glassloop.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).with_name("test_wounds.py")
LIMIT = 40  # seconds
RUNTIMES = ("asyncio", "uvloop", "glassloop")


def pytest(runtime: str, build: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if runtime != "glassloop":
        environment["GLASSLOOP_WOUNDS_ON"] = runtime
    chosen = "compiled" if runtime == "glassloop" else "asyncio"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--runtime={chosen}", "--build", build]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=LIMIT)


def outcome(runtime: str, build: str, test: str) -> str:
    try:
        done = pytest(runtime, build, f"{TESTS}::{test}")
    except subprocess.TimeoutExpired:
        return "hangs"
    if done.returncode < 0:
        return "aborts"
    summary = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == 0:
        return "not here" if "skipped" in summary else "ok"
    if "deselected" in summary or not re.search(r"\b(failed|error)", summary):
        return "not run"
    return "FAILS"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(TESTS.parent.parent / "build"), help="the BUILD of `make build`")
    parser.add_argument("names", nargs="*", help="only tests whose name contains one of these")
    options = parser.parse_args()
    runtimes = [name for name in RUNTIMES if name == "glassloop" or importlib.util.find_spec(name)]
    collected = pytest("glassloop", options.build, "--collect-only", str(TESTS))
    if collected.returncode != 0:
        sys.exit(collected.stdout + collected.stderr)
    tests = [line.partition("::")[2] for line in collected.stdout.splitlines() if "::" in line]
    tests = [test for test in tests if not options.names or any(name in test for name in options.names)]
    width = max(map(len, tests))
    print(f"Python {sys.version.split()[0]}\n{'':{width}}  " + "".join(f"{name:>10}" for name in runtimes))
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        rows = [[pool.submit(outcome, runtime, options.build, test) for runtime in runtimes] for test in tests]
        for test, row in zip(tests, rows):
            results = [future.result() for future in row]
            print(f"{test:{width}}  " + "".join(f"{result:>10}" for result in results), flush=True)
            failed += results[-1] not in ("ok", "not here")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
