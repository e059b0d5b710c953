"""sleep(): how long, how many turns, what it returns; bad delays; cancelled, closed and forgotten sleeps."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import pytest


def since(*version):
    """What asyncio's own does only from this version of Python on; glassloop's does it on all of them."""
    if sys.version_info >= version:
        return lambda test: test
    return pytest.mark.extra(f"asyncio's own: since Python {'.'.join(map(str, version))}")


@pytest.fixture
def seen():
    return []


def turn(loop, times=1):
    for _ in range(times):
        loop.stop()
        loop.run_forever()


class TestDelays:
    def test_returns_its_result(self, aio, run):
        async def main():
            assert await aio.sleep(0) is None
            assert await aio.sleep(0.001) is None
            for result in (7, (1, 2), [], ValueError("a value"), StopIteration(3)):
                assert await aio.sleep(0, result) is result
                assert await aio.sleep(0.0, result=result) is result
                assert await aio.sleep(0.001, result) is result

        run(main())

    @pytest.mark.parametrize("delay", [0.01, 0.0101, 0.02, Fraction(1, 100)])
    def test_never_ends_early(self, aio, loop, delay):
        async def main():
            began = loop.time()
            await aio.sleep(delay)
            return loop.time() - began

        assert loop.run_until_complete(main()) >= delay

    @pytest.mark.parametrize("delay", [0, 0.0, -1, -0.5, False, Decimal(0), float("-inf")])
    def test_nothing_to_wait_for_gives_way_exactly_once(self, aio, loop, seen, delay):
        async def work(n):
            for i in range(3):
                seen.append((i, n))
                await aio.sleep(delay)

        tasks = [loop.create_task(work(n)) for n in range(3)]
        turn(loop)
        assert seen == [(0, n) for n in range(3)]
        turn(loop)
        assert seen == [(i, n) for i in range(2) for n in range(3)]
        loop.run_until_complete(asyncio.wait(tasks))
        assert seen == [(i, n) for i in range(3) for n in range(3)]

    def test_the_shortest_ends_first(self, aio, run, seen):
        async def work(n):
            await aio.sleep(n / 200)
            seen.append(n)

        async def main():
            await asyncio.gather(*[work(n) for n in (5, 3, 1, 4, 2)])

        run(main())
        assert seen == [1, 2, 3, 4, 5]


class TestBadDelays:
    @since(3, 13)
    def test_not_a_number(self, aio, run):
        async def main():
            coro = aio.sleep(float("nan"))
            with pytest.raises(ValueError, match="Invalid delay: NaN"):
                await coro

        run(main())

    @pytest.mark.parametrize("delay", ["1", None, [], 1j])
    def test_no_number_at_all(self, aio, run, delay):
        async def main():
            coro = aio.sleep(delay)
            with pytest.raises(TypeError):
                await coro

        run(main())

    def test_without_a_running_loop(self, aio):
        with pytest.raises(RuntimeError, match="no running event loop"):
            aio.sleep(1).send(None)


class TestCancelled:
    @pytest.mark.parametrize("delay", [0, 3600])
    def test_ends_at_once(self, aio, loop, seen, delay):
        async def work():
            try:
                await aio.sleep(delay)
            except asyncio.CancelledError as error:
                seen.append(error.args)
                raise

        task = loop.create_task(work())
        turn(loop)
        assert task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        assert seen == [("enough",)]

    def test_after_the_delay_but_before_the_task_went_on(self, aio, loop):
        async def work():
            await aio.sleep(0.001)

        task = loop.create_task(work())
        turn(loop)
        loop.call_later(0.001, task.cancel)
        began = loop.time()
        while loop.time() < began + 0.005:
            pass
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)

    def test_leaves_nothing_behind(self, aio, loop):
        class Result:
            pass

        async def work():
            with pytest.raises(asyncio.CancelledError):
                await aio.sleep(3600, Result())

        task = loop.create_task(work())
        turn(loop)
        task.cancel()
        loop.run_until_complete(task)
        del task
        gc.collect()
        assert not [thing for thing in gc.get_objects() if type(thing) is Result]


class TestFace:
    """sleep() gives a coroutine, or what looks like one."""

    @pytest.mark.parametrize("delay", [0, 0.001])
    def test_of_a_coroutine(self, aio, run, delay):
        async def main():
            coro = aio.sleep(delay, 5)
            assert asyncio.iscoroutine(coro)
            assert inspect.isawaitable(coro)
            assert not asyncio.isfuture(coro)
            assert await asyncio.create_task(coro) == 5

        run(main())

    def test_is_a_coroutine_function(self, aio):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert asyncio.iscoroutinefunction(aio.sleep)
        if sys.version_info >= (3, 12):
            assert inspect.iscoroutinefunction(aio.sleep)

    @pytest.mark.parametrize("delay", [0, 0.001])
    def test_can_be_awaited_only_once(self, aio, run, delay):
        async def main():
            coro = aio.sleep(delay)
            await coro
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await coro
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                coro.throw(ValueError)

        run(main())

    @pytest.mark.parametrize("delay", [0, 3600])
    def test_that_is_never_awaited_warns(self, aio, delay):
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            aio.sleep(delay)
            gc.collect()

    @pytest.mark.parametrize("delay", [0, 3600])
    def test_that_is_closed_neither_warns_nor_waits(self, aio, run, delay):
        async def main():
            coro = aio.sleep(delay)
            coro.close()
            with pytest.raises(RuntimeError):
                await coro
            waiting = aio.sleep(delay)
            waiting.send(None)
            waiting.close()

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(main())
            gc.collect()

    @pytest.mark.parametrize("delay", [0, 3600])
    def test_an_exception_thrown_in_comes_out(self, aio, run, delay):
        async def main():
            for started in (False, True):
                coro = aio.sleep(delay)
                if started:
                    coro.send(None)
                with pytest.raises(ZeroDivisionError):
                    coro.throw(ZeroDivisionError())

        run(main())


class TestWithAsyncio:
    def test_in_what_asyncio_waits_with(self, aio, run):
        async def main():
            assert await asyncio.gather(aio.sleep(0, 1), aio.sleep(0.001, 2)) == [1, 2]
            assert await asyncio.wait_for(aio.sleep(0.001, 3), 5) == 3
            assert await asyncio.shield(aio.sleep(0, 4)) == 4
            async with asyncio.TaskGroup() as group:
                task = group.create_task(aio.sleep(0.001, 5))
            assert task.result() == 5
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(aio.sleep(3600), 0.001)

        run(main())

    @pytest.mark.extra("glassloop's names on a loop of asyncio's")
    def test_on_asyncios_loop(self, aio):
        async def main():
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await aio.sleep(0, 1) == 1
            assert await aio.sleep(0.01, 2) == 2
            assert loop.time() - began >= 0.01 - 1e-3
            task = loop.create_task(aio.sleep(3600))
            await aio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not [handle for handle in loop._scheduled if not handle.cancelled()]

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
