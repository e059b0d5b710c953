"""Each example runs unchanged on every runtime, says nothing on stderr, and shows what it promises."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
Python = Callable[..., "subprocess.CompletedProcess[str]"]

# program, arguments, what its output has to contain
SHOWN = [
    ("terms.py", (), "RuntimeWarning: coroutine 'measure' was never awaited"),
    ("synchronous.py", (), "the sum of the waits (450 ms)"),
    ("awaited_one_by_one.py", (), "still the sum of the waits (450 ms)"),
    ("tasks.py", (), "the longest wait (200 ms), not the sum"),
    ("gather.py", (), "the other one was cancelled: True"),
    ("callbacks.py", (), "the next one ran all the same"),
    ("futures.py", (), "the future was cancelled: True"),
    ("streams.py", (20, 10), "20 connections, 20 open at once, 200 lines echoed"),
    ("web.py", (500, 10), "500 requests in"),
    ("subprocesses.py", (), "exit codes: 25 x 0, 25 x 1, 25 x 2, 25 x 3"),
]

# the same for those that show what only glassloop has; some of them several times
OURS = [
    ("cpu_bound.py", ("100000",), "and its process is gone"),
    ("crawl.py", (), "60 pages in"),
    ("from_a_thread.py", (), "endless() waits for Event.wait(), line"),
    ("from_outside.py", (), "is gone: True"),
    ("cluster.py", (), "17984 primes below 200000"),
    ("cluster.py", ("dask",), "17984 primes below 200000"),
]


@pytest.mark.parametrize(("name", "arguments", "shown"), SHOWN, ids=[name for name, *_ in SHOWN])
def test_example_runs_unchanged(
    python: Python, runtime: str, name: str, arguments: tuple[int, ...], shown: str
) -> None:
    launcher = () if runtime == "asyncio" else ("-m", "glassloop", "run")
    done = python(*launcher, EXAMPLES / name, *arguments)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert done.stderr == ""


@pytest.mark.extra("what only glassloop has")
@pytest.mark.parametrize(("name", "arguments", "shown"), OURS, ids=["-".join([name, *args]) for name, args, _ in OURS])
def test_example_shows_what_glassloop_has(python: Python, name: str, arguments: tuple[str, ...], shown: str) -> None:
    done = python(EXAMPLES / name, *arguments)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert done.stderr == ""


def test_every_example_is_tested() -> None:
    helpers = {"compare.py", "demo.py"}
    assert {name for name, *_ in SHOWN + OURS} | helpers == {path.name for path in EXAMPLES.glob("*.py")}


def test_web_runs_on_the_loop_under_test(python: Python, runtime: str) -> None:
    launcher = () if runtime == "asyncio" else ("-m", "glassloop", "run")
    done = python(*launcher, EXAMPLES / "web.py", 100, 10)
    package = "asyncio" if runtime == "asyncio" else "glassloop"
    assert done.stdout.startswith(f"aiohttp on {package}."), done.stdout + done.stderr
