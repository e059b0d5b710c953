"""to_interpreter(): a function in another interpreter of this process, on Python 3.14 and later."""

from __future__ import annotations

import asyncio
import contextvars
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import process_jobs as jobs
import pytest

from glassloop import to_interpreter

Run = Callable[..., Any]
newer = pytest.mark.skipif(sys.version_info < (3, 14), reason="Python 3.14 brought interpreters to Python code")

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")


@pytest.fixture(autouse=True)
def nothing_left(no_leaks: None) -> Iterator[None]:
    yield


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="of older versions")
def test_older_versions_say_what_is_needed(run: Run) -> None:
    with pytest.raises(RuntimeError, match=r"needs Python 3\.14 or later; to_process\(\)"):
        run(to_interpreter(jobs.add, 1))


@newer
def test_a_call_runs_in_another_interpreter_of_this_process(run: Run) -> None:
    async def main() -> None:
        assert await to_interpreter(jobs.both, 1, "two", three=[3]) == ((1, "two"), {"three": [3]})
        assert await to_interpreter(jobs.pid) == os.getpid()
        modules = await to_interpreter(jobs.modules)
        assert "process_jobs" in modules and not {"pytest", "glassloop", "asyncio"} & set(modules)
        size = 3_000_000
        assert await to_interpreter(jobs.same, b"x" * size) == b"x" * size

    run(main())


@newer
def test_it_computes_while_the_loop_goes_on(run: Run) -> None:
    async def main() -> None:
        await to_interpreter(jobs.pid)
        call = asyncio.create_task(to_interpreter(jobs.hold_the_gil_for, 0.3))
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
        took = await call
        assert took >= 0.3
        assert turns > 5  # one operation of C, which no thread of the same interpreter interrupts

    run(main())


@newer
def test_lambdas_closures_and_context_variables_travel(run: Run) -> None:
    async def main() -> None:
        k = 20
        assert await to_interpreter(lambda x: x * k, 3) == 60
        jobs.variable.set("mine")
        variable.set(threading.Lock())
        assert await to_interpreter(jobs.get_variable) == "mine"
        assert await to_interpreter(jobs.set_variable, "theirs") == "mine"
        assert await to_interpreter(jobs.get_variable) == "mine"

    run(main())


@newer
def test_what_main_defines_travels(tmp_path: Path, python: Callable[..., Any]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import glassloop\n"
        "class Thing:\n"
        "    def __init__(self, x): self.x = x\n"
        "def work(thing): return Thing(thing.x * 2)\n"
        "async def main():\n"
        "    back = await glassloop.to_interpreter(work, Thing(21))\n"
        "    print(type(back) is Thing, back.x)\n"
        "print('run as', __name__)\n"
        "glassloop.run(main())\n"
    )
    done = python(program)
    assert (done.stdout, done.stderr) == ("run as __main__\nTrue 42\n", "")


@newer
def test_exceptions_come_back_with_their_traceback_and_odd_ones_are_clear(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await to_interpreter(jobs.fail, "nonsense")
        assert caught.value.args == ("nonsense",) and "process_jobs.py" in caught.value.__notes__[0]
        with pytest.raises(RuntimeError, match="TwoArguments, which cannot be pickled"):
            await to_interpreter(jobs.fail_oddly)
        with pytest.raises(pickle.PicklingError, match=r"the result \(type lock\) cannot be pickled"):
            await to_interpreter(jobs.unpicklable)
        with pytest.raises(pickle.PicklingError, match="the call of process_jobs.same cannot be pickled"):
            await to_interpreter(jobs.same, threading.Lock())
        assert await to_interpreter(jobs.add, 1) == 2

    run(main())
    assert capfd.readouterr().err == ""


@newer
def test_a_cancelled_one_is_dropped(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        gate, begun = tmp_path / "gate", tmp_path / "begun"
        call = asyncio.create_task(to_interpreter(jobs.announce, str(begun), "wait_for_file", str(gate)))
        while not begun.exists():
            await asyncio.sleep(0.002)
        start = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.touch()
        assert time.monotonic() - start < 10
        assert await to_interpreter(jobs.add, 1) == 2

    run(main())


def test_another_kind_of_loop_is_refused() -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        with pytest.raises(RuntimeError, match="to_interpreter.. needs"):
            loop.run_until_complete(to_interpreter(jobs.pid))
    finally:
        loop.close()
