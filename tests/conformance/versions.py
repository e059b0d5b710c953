#!/usr/bin/env python3
"""CPython's own tests on each version of Python that is at hand: what `make conformance` runs.

    python tests/conformance/versions.py [--only 3.12,3.13] [--interpreted] [PYTHON...]

An interpreter is taken from the command line or the variable PYTHONS (paths), else this one, else from pyenv,
else from PATH. Each gets a build of its own, made by `make build` (and an environment for the tools to build
with, where it has none), and a process of its own. A version that isn't at hand, or that comes without its
tests, is shown as not run, never as passed.

At the end there is one line of totals for each version, mode and build. The exit code is 0 if nothing failed
and something was run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
TOTALS = re.compile(r"^conformance \d.*: \d+ passed, (\d+) failed")
LIMIT = 1500.0  # seconds, for a version in all its modes
ASK = """
import importlib.util as u, sys, sysconfig
print("%d.%d" % sys.version_info[:2])
print(sys.implementation.cache_tag)
print(sys.version.split()[0])
print(sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED"))
try:
    print(u.find_spec("test.test_asyncio") is not None)
except ImportError:
    print(False)
"""


class Python:
    """An interpreter, and what it says of itself."""

    def __init__(self, path: str, answer: list[str]) -> None:
        self.path = path
        self.version, self.tag, self.full, is_meant, has_tests = answer
        self.is_meant = is_meant == "True"
        self.has_tests = has_tests == "True"


def ask(path: str) -> Python | None:
    """What this interpreter says, None if there is none."""
    try:
        told = subprocess.run([path, "-c", ASK], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = told.stdout.split()
    return Python(path, answer) if told.returncode == 0 and len(answer) == 5 else None


def newest_first(path: Path) -> list[int]:
    return [-int(number) for number in re.findall(r"\d+", path.parent.parent.name)]


def candidates(named: list[str]) -> list[str]:
    """Paths of interpreters, those to be preferred first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [*named, *os.environ.get("PYTHONS", "").split(), sys.executable]
    found += map(str, sorted(pyenv.glob("*/bin/python"), key=newest_first))
    found += filter(None, (shutil.which(f"python{version}") for version in VERSIONS))
    return found


def at_hand(named: list[str]) -> dict[str, Python]:
    """The interpreter for each version; one with tests goes before one without."""
    chosen: dict[str, Python] = {}
    for path in candidates(named):
        python = ask(path)
        if python is not None and python.is_meant and (
            python.version not in chosen or (python.has_tests and not chosen[python.version].has_tests)
        ):
            chosen[python.version] = python
    return chosen


def build(python: Python, folder: Path) -> Path | None:
    """The compiled package for this interpreter; None if there is no C compiler."""
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc").split()[0], "gcc", "clang")):
        return None
    environment = ROOT / f".venv-{python.version}"
    subprocess.run(
        ["make", "-s", "build", f"PYTHON={python.path}", f"VENV={environment}", f"BUILD={folder}"],
        cwd=ROOT,
        check=True,
        timeout=1200,
    )
    return folder / f"compiled-{python.tag}"


def run(python: Python, package: Path, options: list[str]) -> list[str]:
    """Run the tests; returns the lines of totals."""
    process = subprocess.Popen(
        [python.path, str(ROOT / "tests/conformance/run.py"), *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(package)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    totals = []
    try:
        assert process.stdout is not None
        signal.alarm(int(LIMIT))
        for line in process.stdout:
            print(line, end="", flush=True)
            if TOTALS.match(line):
                totals.append(line.rstrip())
        code = process.wait()
    except BaseException as err:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(err, TimeoutError):
            raise
        return [*totals, f"conformance {python.version}: FAILED, not done after {LIMIT:.0f} s"]
    finally:
        signal.alarm(0)
    if code and not any(int(TOTALS.match(line)[1]) for line in totals):  # type: ignore[index]
        totals.append(f"conformance {python.version}: FAILED, exit code {code}")
    return totals


def too_late(number: int, frame: object) -> None:
    raise TimeoutError


def main() -> int:
    parser = argparse.ArgumentParser(description="CPython's asyncio tests on every version at hand.")
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters to be taken before others")
    parser.add_argument("--only", metavar="VERSIONS", default=",".join(VERSIONS), help="default: %(default)s")
    parser.add_argument("--interpreted", action="store_true", help="the interpreted runtime as well")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the BUILD of `make build`")
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, too_late)
    wanted = args.only.split(",")
    if unknown := set(wanted) - set(VERSIONS):
        parser.error(f"no tests for {', '.join(sorted(unknown))}; there are those of {', '.join(VERSIONS)}")
    known = at_hand(args.pythons)
    summary: list[str] = []
    failed = ran = False
    for version in wanted:
        python = known.get(version)
        if python is None:
            summary.append(f"conformance {version}: NOT RUN, no such Python at hand (name it: make conformance PYTHONS=...)")
            continue
        if not python.has_tests:
            summary.append(
                f"conformance {version}: NOT RUN, {python.path} has no test.test_asyncio (Debian: libpython{version}-testsuite)"
            )
            continue
        print(f"\n{'#' * 110}\n# Python {python.full}: {python.path}\n", flush=True)
        packages = []
        try:
            compiled = build(python, args.build.resolve())
        except subprocess.SubprocessError as err:
            summary.append(f"conformance {version}: FAILED, {err}")
            failed = True
            continue
        if compiled is None:
            summary.append(f"conformance {version} compiled: NOT RUN, no C compiler here")
        else:
            packages.append(compiled)
        if compiled is None or args.interpreted:
            packages.append(ROOT / "src")
        for package in packages:
            totals = run(python, package, ["--quiet"])
            ran = ran or bool(totals)
            failed = failed or not totals or any("FAILED" in line or not re.search(r", 0 failed", line) for line in totals)
            summary += totals
    print("\n" + "\n".join(summary), flush=True)
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
