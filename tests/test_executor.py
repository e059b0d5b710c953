"""Blocking calls on threads: run_in_executor(), to_thread(), the default executor and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import multiprocessing
import os
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks")

Run = Callable[..., Any]


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """An executor with one thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool


class Gate:
    """A job that says when it has begun and waits to be let on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.opened.wait(30)
        return "through"


def test_jobs_run_on_threads_and_give_results(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, threading.get_ident)
        assert asyncio.isfuture(future)
        assert future.get_loop() is loop
        assert await future != threading.get_ident()
        assert await loop.run_in_executor(None, int, "12", 8) == 10
        assert await loop.run_in_executor(None, lambda: None) is None
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("asyncio_")

    run(main())


def test_exceptions_of_a_job(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="invalid literal"):
            await loop.run_in_executor(None, int, "x")

        def raises(error: BaseException) -> None:
            raise error

        error = LookupError("the same object")
        with pytest.raises(LookupError) as caught:
            await loop.run_in_executor(None, raises, error)
        assert caught.value is error
        with pytest.raises(asyncio.CancelledError):
            await loop.run_in_executor(None, raises, concurrent.futures.CancelledError())
        with pytest.raises(TimeoutError):
            await loop.run_in_executor(None, raises, concurrent.futures.TimeoutError())
        with pytest.raises(asyncio.InvalidStateError):
            await loop.run_in_executor(None, raises, concurrent.futures.InvalidStateError())

    run(main())


def test_the_loop_goes_on_meanwhile(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gates = [Gate() for _ in range(3)]
        futures = [loop.run_in_executor(None, gate) for gate in gates]
        for gate in reversed(gates):
            while not gate.begun.is_set():
                await asyncio.sleep(0.001)
            gate.opened.set()
        assert await asyncio.gather(*futures) == ["through"] * 3

    run(main())


def test_a_sleeping_loop_is_woken(run: Run, pool: concurrent.futures.Executor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(300):
            await asyncio.wait_for(loop.run_in_executor(pool, int), 10)

    run(main())


def test_many_jobs_from_many_tasks(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def some(start: int) -> int:
            return sum([await loop.run_in_executor(None, int, number) for number in range(start, start + 20)])

        assert sum(await asyncio.gather(*[some(start) for start in range(0, 1000, 20)])) == sum(range(1000))

    run(main())


# ---- cancellation ----


def test_cancelling_a_job_that_no_thread_has_begun(run: Run, pool: concurrent.futures.Executor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = Gate()
        first = loop.run_in_executor(pool, gate)
        called: list[int] = []
        second = loop.run_in_executor(pool, called.append, 1)
        task = asyncio.ensure_future(second)
        await asyncio.sleep(0)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        gate.opened.set()
        assert await first == "through"
        await loop.run_in_executor(pool, int)
        assert not called

    run(main())


def test_cancelling_a_job_that_runs_drops_its_result(run: Run, pool: concurrent.futures.Executor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        errors: list[Any] = []
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        gate = Gate()

        async def job() -> None:
            await loop.run_in_executor(pool, gate)

        task = asyncio.create_task(job())
        while not gate.begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        await loop.run_in_executor(pool, int)
        await asyncio.sleep(0)
        assert not errors

    run(main())


def test_an_executor_that_drops_its_jobs_cancels_their_futures(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        gate = Gate()
        first = loop.run_in_executor(pool, gate)
        second = loop.run_in_executor(pool, int)
        while not gate.begun.is_set():
            await asyncio.sleep(0.001)
        pool.shutdown(wait=False, cancel_futures=True)
        gate.opened.set()
        assert await first == "through"
        with pytest.raises(asyncio.CancelledError):
            await second
        assert second.cancelled()

    run(main())


def test_a_job_that_ends_after_its_loop(aio: ModuleType, pool: concurrent.futures.ThreadPoolExecutor) -> None:
    loop = aio.new_event_loop()
    gate = Gate()
    future = loop.run_in_executor(pool, gate)
    loop.close()
    gate.opened.set()
    pool.submit(int).result()
    assert not future.done()


def test_nothing_is_kept_of_a_job_that_is_done(run: Run, pool: concurrent.futures.Executor) -> None:
    class Thing:
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        thing = Thing()
        gone = weakref.ref(thing)
        assert await loop.run_in_executor(pool, lambda thing: thing, thing) is thing
        del thing
        await loop.run_in_executor(pool, int)
        gc.collect()
        assert gone() is None

    run(main())


# ---- other executors ----


def test_any_executor_will_do(run: Run) -> None:
    class AtOnce(concurrent.futures.Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as e:
                future.set_exception(e)
            return future

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(AtOnce(), int, "7") == 7
        with pytest.raises(ValueError):
            await loop.run_in_executor(AtOnce(), int, "x")

    run(main())


def test_processes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # from 3.14 on the default would leave its server of forks running
        fork = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, fork) as pool:
            assert await loop.run_in_executor(pool, os.getpid) != os.getpid()
            with pytest.raises(ValueError):
                await loop.run_in_executor(pool, int, "x")

    with warnings.catch_warnings():
        # 3.12 and later: a fork beside other threads
        warnings.simplefilter("ignore", DeprecationWarning)
        run(main())


def test_set_default_executor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
        loop.set_default_executor(pool)
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("mine")
        for bad in (None, "text", concurrent.futures.Executor()):
            with pytest.raises(TypeError, match="ThreadPoolExecutor"):
                loop.set_default_executor(bad)  # type: ignore[arg-type]

    run(main())


# ---- the end ----


def test_shutdown_waits_for_the_jobs(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = Gate()
        future = loop.run_in_executor(None, gate)
        shutdown = asyncio.create_task(loop.shutdown_default_executor())
        await asyncio.sleep(0.01)
        assert not shutdown.done()
        gate.opened.set()
        await shutdown
        assert await future == "through"
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()

    run(main())


def test_shutdown_of_an_executor_that_was_never_used(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert await loop.run_in_executor(pool, int) == 0

    run(main())


def test_shutdown_warns_when_the_time_is_over(run: Run, runtime: str) -> None:
    if runtime == "asyncio" and sys.version_info < (3, 13):
        pytest.skip("3.11 has no such time, early versions of 3.12 wait regardless of it")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = Gate()
        future = loop.run_in_executor(None, gate)
        with pytest.warns(RuntimeWarning, match="0.01 seconds"):
            await loop.shutdown_default_executor(0.01)
        gate.opened.set()
        assert await future == "through"
        for thread in threading.enumerate():
            if thread.name.startswith("asyncio_"):
                thread.join()

    run(main())


def test_a_closed_loop_takes_no_jobs(aio: ModuleType) -> None:
    loop = aio.new_event_loop()
    assert loop.run_until_complete(loop.run_in_executor(None, int)) == 0
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_in_executor(None, int)
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio_"):
            thread.join()


def test_jobs_of_an_executor_that_was_shut_down(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            loop.run_in_executor(pool, int)

    run(main())


def test_a_coroutine_function_is_told_of_in_debug_mode(run: Run) -> None:
    async def job() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            loop.run_in_executor(None, job)
        with pytest.raises(TypeError, match="callable"):
            loop.run_in_executor(None, 5)  # type: ignore[arg-type]

    run(main(), debug=True)


# ---- to_thread() ----


def test_to_thread(aio: ModuleType, run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="outside")

    def job(*args: Any, **kwargs: Any) -> Any:
        seen = variable.get()
        variable.set("changed in the thread")
        return threading.get_ident(), seen, args, kwargs

    async def main() -> None:
        variable.set("inside")
        call = aio.to_thread(job, 1, 2, func="f", b=3)
        assert asyncio.iscoroutine(call)
        thread, seen, args, kwargs = await call
        assert thread != threading.get_ident()
        assert seen == "inside"
        assert args == (1, 2)
        assert kwargs == {"func": "f", "b": 3}
        assert variable.get() == "inside"
        with pytest.raises(ValueError):
            await aio.to_thread(int, "x")
        assert await aio.gather(*[aio.to_thread(int, str(i)) for i in range(100)]) == list(range(100))
        assert await aio.create_task(aio.to_thread(int)) == 0

    run(main())


@pytest.mark.extra("asyncio waits for ever on 3.11")
def test_stop_iteration_from_a_thread(aio: ModuleType, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for call in (aio.to_thread(next, iter(())), loop.run_in_executor(None, next, iter(()))):
            with pytest.raises(RuntimeError, match="StopIteration") as caught:
                await asyncio.wait_for(call, 5)
            assert isinstance(caught.value.__cause__, StopIteration)

    run(main())


def test_cancelling_to_thread(aio: ModuleType, run: Run) -> None:
    async def main() -> None:
        gate = Gate()
        task = aio.create_task(aio.to_thread(gate))
        while not gate.begun.is_set():
            await aio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()

    run(main())


def test_to_thread_that_is_not_awaited(aio: ModuleType, run: Run) -> None:
    called: list[int] = []

    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="to_thread.* was never awaited"):
            call = aio.to_thread(called.append, 1)
            del call
            gc.collect()

    run(main())
    assert not called


def test_to_thread_without_a_loop(aio: ModuleType) -> None:
    call = aio.to_thread(int)
    with pytest.raises(RuntimeError, match="no running event loop"):
        call.send(None)


@pytest.mark.parametrize("fails", [True, False])
def test_what_a_job_gave_is_freed_without_the_collector(aio: ModuleType, pool: Any, fails: bool) -> None:
    class Result(Exception):
        pass

    made: list[weakref.ref[Result]] = []
    opened = threading.Event()

    def job() -> Result:
        assert opened.wait(10)
        result = Result()
        made.append(weakref.ref(result))
        if fails:
            raise result
        return result

    def attempt() -> None:
        loop.call_later(0.01, opened.set)
        try:
            loop.run_until_complete(loop.run_in_executor(pool, job))
        except Result as error:
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None

    loop = aio.new_event_loop()
    gc.collect()
    gc.disable()
    try:
        attempt()
        pool.submit(int).result()  # the worker has let go of the job
        assert made[0]() is None
    finally:
        gc.enable()
        loop.close()
