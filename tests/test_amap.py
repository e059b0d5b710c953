"""amap(): each item once, never more than the limit, results in order (or as they come), and nothing left at the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import os
import random
import signal
import sys
import threading
import time
import weakref

import pytest

import glassloop
from glassloop import amap
from glassloop.core.poller import SelectorPoller


class Oops(Exception):
    pass


async def turns(n=1):
    for _ in range(n):
        await asyncio.sleep(0)


async def forever(_=None):
    await asyncio.get_running_loop().create_future()


async def double(n):
    await turns(n % 3)
    return 2 * n


async def collect(results):
    return [result async for result in results]


def others():
    """The tasks that run beside this one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


class Source:
    """Items of a generator, or of an asynchronous one, that tells how far it was read and whether it was closed."""

    def __init__(self, length=None, fails=None):
        self.taken = 0
        self.closed = False
        self.length = length
        self.fails = fails

    def items(self):
        try:
            while self.length is None or self.taken < self.length:
                self.taken += 1
                yield self.taken - 1
            if self.fails is not None:
                raise self.fails
        finally:
            self.closed = True

    async def aitems(self):
        try:
            for item in self.items():
                await turns()
                yield item
        finally:
            await turns(2)  # takes its time

    def of(self, kind):
        return self.items() if kind == "iterable" else self.aitems()


class Work:
    """Calls that end when they are told to."""

    def __init__(self):
        self.begun = []
        self.ended = []
        self.ends = {}
        self.most = 0

    async def __call__(self, item):
        self.begun.append(item)
        self.ends[item] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.ends))
        try:
            return await self.ends[item]
        finally:
            del self.ends[item]
            self.ended.append(item)

    def end(self, item, result=None):
        self.ends[item].set_result(item if result is None else result)

    def fail(self, item, error):
        self.ends[item].set_exception(error)


@pytest.fixture(params=["glassloop's loop", "asyncio's loop"])
def run(request):
    """Run main() on either loop. What is reported to the loop is in run.reports."""
    reports = []

    def run(main):
        make = asyncio.SelectorEventLoop if request.param == "asyncio's loop" else glassloop.new_event_loop
        with asyncio.Runner(loop_factory=make) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: reports.append(context))
            return runner.run(main)

    run.reports = reports
    return run


@pytest.fixture(params=["iterable", "asynchronous"])
def kind(request):
    return request.param


class TestResults:
    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_come_in_the_order_of_the_items(self, run, kind, limit):
        async def main():
            source = Source(20)
            assert await collect(amap(double, source.of(kind), limit=limit)) == [2 * n for n in range(20)]
            assert not others()

        run(main())

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_come_as_they_are_there_where_order_is_not_asked_for(self, run, kind, limit):
        async def main():
            results = await collect(amap(double, Source(20).of(kind), limit=limit, ordered=False))
            assert sorted(results) == [2 * n for n in range(20)]
            assert (results == sorted(results)) == (limit == 1)

        run(main())

    def test_of_nothing(self, run, kind):
        async def main():
            results = amap(double, Source(0).of(kind), limit=3)
            assert await collect(results) == []
            assert await collect(results) == []
            assert not others()

        run(main())

    def test_are_given_out_before_those_that_take_longer(self, run):
        async def main():
            work = Work()
            results = amap(work, range(4), limit=3, ordered=False)
            first = asyncio.ensure_future(anext(results))
            await turns(3)
            work.end(2)
            assert await first == 2
            work.end(0)
            assert await anext(results) == 0
            await results.aclose()

        run(main())

    def test_wait_for_those_before_them(self, run):
        async def main():
            work = Work()
            results = amap(work, range(4), limit=3)
            first = asyncio.ensure_future(anext(results))
            await turns(3)
            work.end(2)
            work.end(1)
            await turns(5)
            assert not first.done()
            work.end(0)
            assert [await first, await anext(results), await anext(results)] == [0, 1, 2]
            await results.aclose()

        run(main())

    def test_of_all_that_can_be_iterated(self, run):
        class Old:
            def __getitem__(self, index):
                if index == 3:
                    raise IndexError
                return index

        class Both:
            def __iter__(self):
                raise AssertionError

            def __aiter__(self):
                return Source(3).aitems()

        async def main():
            for source in ([0, 1, 2], range(3), iter((0, 1, 2)), Old(), Both(), {0: "", 1: "", 2: ""}, Source(3).items()):
                assert await collect(amap(double, source, limit=2)) == [0, 2, 4]
            assert await collect(amap(double, amap(double, range(3), limit=2), limit=2)) == [0, 4, 8]

        run(main())

    def test_of_whatever_gives_awaitables(self, run):
        async def main():
            async def power(exponent, n):
                return n**exponent

            class Squares:
                async def __call__(self, n):
                    return n * n

            from functools import partial

            def future(n):
                future = asyncio.get_running_loop().create_future()
                future.set_result(n * n)
                return future

            kept = {n: future(n) for n in range(4)}
            for fn in (partial(power, 2), Squares(), lambda n: power(2, n), future, kept.__getitem__):
                assert await collect(amap(fn, range(4), limit=2)) == [0, 1, 4, 9]
            # the same future twice, and one that is no task of anybody's
            assert await collect(amap(lambda n: kept[3], range(4), limit=3, ordered=False)) == [9] * 4

        run(main())

    def test_with_tasks_that_start_at_once(self, run, kind):
        async def main():
            loop = asyncio.get_running_loop()
            if isinstance(loop, glassloop.EventLoop):
                loop.set_task_factory(glassloop.eager_task_factory)
            elif sys.version_info >= (3, 12):
                loop.set_task_factory(asyncio.eager_task_factory)

            async def at_once(n):
                return n

            assert await collect(amap(at_once, range(50), limit=3)) == list(range(50))
            assert await collect(amap(double, Source(50).of(kind), limit=3)) == list(range(0, 100, 2))
            with pytest.raises(Oops):
                await collect(amap(double, Source(5, Oops()).of(kind), limit=3))
            assert not others()

        run(main())

    def test_each_call_has_a_context_of_its_own(self, run, kind):
        variable = contextvars.ContextVar("variable", default="none")

        async def work(n):
            seen = variable.get()
            variable.set(n)
            await turns(2)
            return seen, variable.get()

        async def main():
            variable.set("the consumer's")
            results = await collect(amap(work, Source(5).of(kind), limit=2))
            assert results == [("the consumer's", n) for n in range(5)]

        run(main())


class TestBound:
    @pytest.mark.parametrize("ordered", [True, False])
    def test_items_taken_and_not_given_out(self, run, kind, ordered):
        """Exactly the limit, and no more, however long the consumer takes."""

        async def main():
            source = Source()
            given = 0
            async with amap(double, source.of(kind), limit=4, ordered=ordered) as results:
                assert source.taken == 0
                async for _ in results:
                    given += 1
                    assert source.taken - given <= 4
                    await turns(20)
                    assert source.taken - given == 4
                    if given == 20:
                        break
            assert source.closed

        run(main())

    def test_nothing_is_taken_before_the_first_is_asked_for(self, run, kind):
        async def main():
            source = Source()
            results = amap(double, source.of(kind), limit=4)
            async with results:
                await turns(5)
                assert source.taken == 0
                assert not others()
            assert await collect(results) == []
            assert source.taken == 0

        run(main())

    @pytest.mark.parametrize("ordered", [True, False])
    def test_calls_at_once(self, run, kind, ordered):
        async def main():
            work = Work()

            async def finish():
                while True:
                    await turns(12)
                    for item in list(work.ends)[::2]:
                        if not work.ends[item].done():
                            work.end(item)

            finishing = asyncio.ensure_future(finish())
            results = await collect(amap(work, Source(50).of(kind), limit=5, ordered=ordered))
            assert sorted(results) == list(range(50))
            assert work.begun == list(range(50))
            assert work.most == 5
            finishing.cancel()

        run(main())

    def test_in_time(self):
        """Ten waits of a second, three at once: four seconds on the loop's clock."""

        class Clock:
            now = 0.0

            def time(self):
                return self.now

        class Jumping(SelectorPoller):
            def wait(self, timeout):
                if timeout > 0:
                    clock.now += timeout
                super().wait(0)

        clock = Clock()

        async def wait(n):
            await glassloop.sleep(1)
            return n, clock.now

        async def main():
            return await collect(amap(wait, range(10), limit=3))

        with asyncio.Runner(loop_factory=lambda: glassloop.EventLoop(clock=clock, poller=Jumping())) as runner:
            results = runner.run(main())
        assert results == [(n, pytest.approx(1 + n // 3)) for n in range(10)]


class TestErrors:
    @pytest.mark.parametrize("ordered", [True, False])
    def test_of_a_call_cancels_the_others_and_waits_for_them(self, run, kind, ordered):
        async def main():
            source = Source()
            work = Work()
            error = Oops()
            results = amap(work, source.of(kind), limit=4, ordered=ordered)
            asking = asyncio.ensure_future(anext(results))
            await turns(20)
            work.fail(2, error)
            with pytest.raises(Oops) as caught:
                await asking
            assert caught.value is error
            assert sorted(work.ended) == [0, 1, 2, 3]
            assert source.closed
            assert not others()
            assert await collect(results) == []

        run(main())
        assert run.reports == []

    @pytest.mark.parametrize("ordered", [True, False])
    def test_come_after_the_results_that_were_there(self, run, ordered):
        async def main():
            work = Work()
            results = amap(work, range(9), limit=5, ordered=ordered)
            asking = asyncio.ensure_future(anext(results))
            await turns(3)
            work.end(0)
            assert await asking == 0
            for item in (1, 2, 4):
                work.end(item)
                await turns(3)
            work.fail(5, Oops())
            await turns(3)
            found = []
            with pytest.raises(Oops):
                async for result in results:
                    found.append(result)
            # in order, 4 would have had to wait for 3
            assert found == ([1, 2] if ordered else [1, 2, 4])

        run(main())

    def test_in_the_same_turn_as_a_result(self, run):
        async def main():
            work = Work()
            results = amap(work, range(9), limit=3)
            asking = asyncio.ensure_future(anext(results))
            await turns(3)
            work.end(0)
            work.fail(1, Oops())
            assert await asking == 0
            with pytest.raises(Oops):
                await anext(results)
            assert sorted(work.ended) == [0, 1, 2]
            assert await collect(results) == []

        run(main())
        assert run.reports == []

    def test_of_the_source(self, run, kind):
        async def main():
            source = Source(5, Oops("source"))
            found = []
            with pytest.raises(Oops, match="source"):
                async for result in amap(double, source.of(kind), limit=1):
                    found.append(result)
            assert found == [0, 2, 4, 6, 8][: len(found)]
            assert len(found) >= 4
            assert source.closed
            assert not others()

        run(main())
        assert run.reports == []

    def test_of_several_calls_are_not_lost(self, run):
        async def main():
            async def work(n):
                try:
                    await forever() if n else await turns(2)
                finally:
                    raise Oops(n)

            with pytest.raises(Oops, match="0"):
                await collect(amap(work, range(9), limit=4))
            assert not others()

        run(main())
        (report,) = run.reports
        assert isinstance(report["exception"], ExceptionGroup)
        assert sorted(error.args for error in report["exception"].exceptions) == [(1,), (2,), (3,)]
        assert "work" in report["message"]

    def test_that_nobody_asks_for_are_reported(self, run):
        async def main():
            work = Work()
            async with amap(work, range(9), limit=3) as results:
                asking = asyncio.ensure_future(anext(results))
                await turns(3)
                work.end(0)
                await asking
                work.fail(1, Oops("not seen"))
                await turns(3)

        run(main())
        (report,) = run.reports
        assert str(report["exception"]) == "not seen"

    def test_of_closing_the_source_are_reported(self, run, kind):
        async def main():
            def items():
                try:
                    while True:
                        yield 0
                finally:
                    raise Oops

            async def aitems():
                try:
                    while True:
                        yield 0
                finally:
                    raise Oops

            async with amap(double, items() if kind == "iterable" else aitems(), limit=2) as results:
                await anext(results)

        run(main())
        (report,) = run.reports
        assert isinstance(report["exception"], Oops)

    @pytest.mark.parametrize("error", [StopAsyncIteration, StopIteration])
    def test_that_would_end_the_iteration_do_not(self, run, error):
        async def main():
            def raising(n):
                raise error

            async def raising_later(n):
                raise error

            for fn in (raising, raising_later):
                with pytest.raises(RuntimeError, match=error.__name__ + "|StopIteration"):
                    await collect(amap(fn, range(3), limit=2))

        run(main())

    def test_a_call_that_ends_as_cancelled_is_one(self, run):
        async def main():
            work = Work()
            asking = asyncio.ensure_future(anext(amap(work, range(5), limit=3)))
            await turns(3)
            work.ends[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert sorted(work.ended) == [0, 1, 2]

        run(main())

    def test_are_raised_though_a_cancellation_comes_meanwhile(self, run):
        async def main():
            ending, end = asyncio.Event(), asyncio.Event()
            cancelled = False

            async def work(n):
                if n == 0:
                    await turns(2)
                    raise Oops
                try:
                    await forever()
                finally:
                    ending.set()
                    await end.wait()

            async def consume():
                nonlocal cancelled
                with pytest.raises(Oops):
                    await collect(amap(work, range(2), limit=2))
                assert asyncio.current_task().cancelling() == 1
                try:
                    await forever()
                except asyncio.CancelledError:
                    cancelled = True
                    raise

            task = asyncio.ensure_future(consume())
            await ending.wait()
            task.cancel()
            await turns(3)
            end.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert cancelled

        run(main())

    def test_of_calls_made_outside_a_coroutine(self, run):
        async def main():
            def broken(n):
                if n == 3:
                    raise Oops
                return double(n)

            found = []
            with pytest.raises(Oops):
                async for result in amap(broken, range(9), limit=1):
                    found.append(result)
            assert found == [0, 2, 4]
            assert not others()

        run(main())

    def test_system_exit_of_a_call_ends_the_program(self, run):
        async def main():
            async def leave(n):
                await turns(2)
                if n == 1:
                    sys.exit(7)
                await forever()

            await collect(amap(leave, range(4), limit=3))

        with pytest.raises(SystemExit) as left:
            run(main())
        assert left.value.code == 7


class TestEnds:
    def test_by_break_within_the_context_manager(self, run, kind):
        async def main():
            source = Source()
            work = Work()
            async with amap(work, source.of(kind), limit=3) as results:
                asking = asyncio.ensure_future(anext(results))
                await turns(9)
                work.end(0)
                await asking
                await turns(9)
            assert sorted(work.ended) == [0, 1, 2, 3]
            assert source.closed
            assert not others()

        run(main())
        assert run.reports == []

    def test_by_break_without_it(self, run, kind):
        """The cancellation is requested at once; a few turns later all is over."""

        async def main():
            source = Source()
            async for _ in amap(double, source.of(kind), limit=3):
                break
            assert all(task.cancelling() for task in others())
            await turns(9)
            assert source.closed
            assert not others()

        run(main())
        assert run.reports == []

    def test_by_an_exception_without_it(self, run, kind):
        async def main():
            source = Source()
            with pytest.raises(Oops):
                async for _ in amap(double, source.of(kind), limit=3):
                    raise Oops
            assert all(task.cancelling() for task in others())
            await turns(9)
            assert source.closed
            assert not others()

        run(main())
        assert run.reports == []

    def test_by_the_end_of_the_program(self, run, kind):
        source = Source()
        work = Work()
        kept = []

        async def main():
            results = amap(work, source.of(kind), limit=3)
            kept.append(results)
            asking = asyncio.ensure_future(anext(results))
            await turns(9)
            work.end(0)
            await asking

        run(main())
        assert sorted(work.ended) == [0, 1, 2, 3][: len(work.begun)]
        assert source.closed or kind == "iterable"
        kept.clear()
        gc.collect()
        assert run.reports == []

    def test_by_being_freed_in_another_thread(self, run):
        async def main():
            source = Source()
            held = [amap(double, source.items(), limit=3)]
            await anext(held[0])
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()
            for _ in range(1000):
                if source.closed:
                    break
                await asyncio.sleep(0.001)
            assert source.closed
            assert not others()

        run(main())

    def test_by_cancelling_the_consumer(self, run, kind):
        async def main():
            source = Source()
            work = Work()
            results = amap(work, source.of(kind), limit=3)
            asking = asyncio.ensure_future(anext(results))
            await turns(9)
            asking.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await asking
            assert sorted(work.ended) == [0, 1, 2]
            assert source.closed
            assert not others()
            assert await collect(results) == []

        run(main())
        assert run.reports == []

    def test_by_a_timeout(self, run, kind):
        async def main():
            work = Work()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await collect(amap(work, Source().of(kind), limit=3))
            assert sorted(work.ended) == [0, 1, 2]
            assert not others()
            assert not asyncio.current_task().cancelling()

        run(main())

    def test_by_closing_the_generator_that_iterates(self, run, kind):
        async def main():
            source = Source()

            async def consume():
                async for result in amap(double, source.of(kind), limit=3):
                    yield result

            consumer = consume()
            assert await anext(consumer) == 0
            await consumer.aclose()
            assert all(task.cancelling() for task in others())
            await turns(9)
            assert source.closed
            assert not others()

        run(main())

    def test_by_closing_the_coroutine_that_waits(self, run):
        async def main():
            source = Source()
            work = Work()
            asking = amap(work, source.items(), limit=3).__anext__()
            asking.send(None)
            await turns(2)
            asking.close()
            await turns(5)
            assert sorted(work.ended) == [0, 1, 2]
            assert source.closed
            assert not others()

        run(main())

    def test_wait_for_calls_that_take_their_time(self, run):
        async def main():
            ended = 0

            async def work(n):
                nonlocal ended
                try:
                    await forever()
                finally:
                    await turns(n * 3)
                    ended += 1

            results = amap(work, range(4), limit=4)
            asking = asyncio.ensure_future(anext(results))
            await turns(3)
            asking.cancel()
            await turns(2)
            asking.cancel()
            await turns(2)
            assert not asking.done()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert ended == 4

        run(main())

    def test_aclose_while_another_task_waits(self, run, kind):
        async def main():
            work = Work()
            results = amap(work, Source().of(kind), limit=3)
            asking = asyncio.ensure_future(collect(results))
            await turns(9)
            await results.aclose()
            assert await asking == []
            assert sorted(work.ended) == [0, 1, 2]
            assert not others()
            await results.aclose()

        run(main())

    def test_aclose_before_the_beginning(self, run, kind):
        async def main():
            source = Source()
            items = source.of(kind)
            if kind == "iterable":
                next(items)
            else:
                await anext(items)
            results = amap(double, items, limit=3)
            await results.aclose()
            assert source.closed
            assert await collect(results) == []

        run(main())

    def test_cancelled_before_the_feeder_began(self, run):
        async def main():
            source = Source()
            items = source.aitems()
            await anext(items)
            asking = asyncio.ensure_future(anext(amap(double, items, limit=3)))
            # it asks in its first step, and the feeder begins after that
            await turns()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert source.closed
            assert not others()

        run(main())

    def test_only_generators_are_closed(self, run, tmp_path):
        async def main():
            path = tmp_path / "lines"
            path.write_text("1\n2\n3\n4\n")
            with path.open() as lines:
                async with amap(lambda line: double(int(line)), lines, limit=1) as results:
                    assert await anext(results) == 2
                assert lines.readline() == "3\n"

        run(main())

    def test_a_source_that_goes_on_after_its_cancellation(self, run):
        async def main():
            async def stubborn():
                n = 0
                while True:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0 if n < 2 else 3600)
                    yield n
                    n += 1

            work = Work()
            async with amap(work, stubborn(), limit=5) as results:
                asking = asyncio.ensure_future(anext(results))
                await turns(20)
                work.end(0)
                await asking
            assert work.begun == [0, 1]
            assert not others()

        run(main())

    def test_a_source_of_one_task(self, run):
        """A timeout and a task group may span the source's yields: it is read and closed by one task."""

        async def main():
            tasks = set()

            async def items():
                async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
                    group.create_task(forever())
                    try:
                        while True:
                            tasks.add(asyncio.current_task())
                            await turns()
                            yield 1
                    finally:
                        tasks.add(asyncio.current_task())

            with contextlib.suppress(BaseExceptionGroup):
                async with amap(double, items(), limit=2) as results:
                    assert [await anext(results) for _ in range(9)] == [2] * 9
            assert len(tasks) == 1
            assert not others()

        run(main())

    def test_the_source_is_closed_after_the_calls(self, run, kind):
        async def main():
            source = Source()
            closed = []

            async def work(n):
                try:
                    await forever()
                finally:
                    await turns(3)
                    closed.append(source.closed)

            results = amap(work, source.of(kind), limit=3)
            asking = asyncio.ensure_future(anext(results))
            await turns(9)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            assert closed == [False, False, False]
            assert source.closed

        run(main())

    @pytest.mark.parametrize("end", ["its end", "break", "error", "cancellation"])
    def test_leave_nothing_behind(self, run, kind, end):
        """No circle keeps what was iterated: it is freed without the collector."""

        class Item:
            alive = 0

            def __init__(self, n):
                Item.alive += 1
                self.n = n

            def __del__(self):
                Item.alive -= 1

        async def same(item):
            await turns()
            if item.n == 9 and end == "error":
                raise Oops
            if item.n == 9 and end == "cancellation":
                asyncio.current_task().cancel()
                await turns()
            return item

        async def items():
            for n in range(20):
                yield Item(n)

        async def consume():
            with contextlib.suppress(Oops, asyncio.CancelledError):
                async for item in amap(same, items() if kind == "asynchronous" else map(Item, range(20)), limit=3):
                    if item.n == 9 and end == "break":
                        break

        async def main():
            gc.collect()
            gc.disable()
            try:
                await consume()
                await turns(9)
                if not glassloop.compiled and isinstance(asyncio.get_running_loop(), glassloop.EventLoop):
                    gc.collect()  # interpreted, a step's frames stay with the error that came out of it
                assert Item.alive == 0
            finally:
                gc.enable()

        run(main())


class TestMisuse:
    def test_bad_arguments(self):
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="limit must be at least 1"):
                amap(double, [], limit=wrong)
        for wrong in ("1", 1.5):
            with pytest.raises(TypeError, match="limit must be an int"):
                amap(double, [], limit=wrong)
        with pytest.raises(TypeError, match=r"amap\(double\) needs a limit"):
            amap(double, [])
        with pytest.raises(TypeError, match="needs a function, got 5"):
            amap(5, [], limit=1)
        with pytest.raises(TypeError, match="iterable"):
            amap(double, 5, limit=1)
        with pytest.raises(TypeError, match=r"run\(fn, item\)"):
            amap(double, [], pool=5)
        with pytest.raises(TypeError):
            amap(double, [], 3)

    def test_a_plain_function_without_a_pool(self, run):
        async def main():
            with pytest.raises(TypeError, match=r"amap\(abs\): .* returned 'int'.*need a pool"):
                await collect(amap(abs, [1, 2], limit=2))
            assert not others()

        run(main())

    def test_two_consumers(self, run):
        async def main():
            work = Work()
            results = amap(work, range(5), limit=2)
            first = asyncio.ensure_future(anext(results))
            await turns(2)
            with pytest.raises(RuntimeError, match="iterated by another task"):
                await anext(results)
            work.end(0)
            assert await first == 0
            await results.aclose()

        run(main())

    def test_two_loops(self):
        with asyncio.Runner() as one, glassloop.Runner() as other:
            results = amap(double, range(5), limit=2)

            async def ask():
                return await anext(results)

            async def close():
                await results.aclose()

            assert one.run(ask()) == 0
            for attempt in (ask, close):
                with pytest.raises(RuntimeError, match="different event loop"):
                    other.run(attempt())
            one.run(close())

    def test_a_call_that_ends_its_own_iteration(self, run):
        async def main():
            async def work(n):
                await results.aclose()

            results = amap(work, range(5), limit=2)
            with pytest.raises(RuntimeError, match="by one of its own calls"):
                await collect(results)
            assert not others()

        run(main())

    def test_says_how_it_is(self, run):
        async def main():
            results = amap(forever, range(5), limit=2)
            assert repr(results) == "<amap of forever limit=2 running=0>"
            asking = asyncio.ensure_future(anext(results))
            await turns(2)
            assert repr(results) == "<amap of forever limit=2 running=2>"
            asking.cancel()
            await asyncio.wait([asking])
            assert repr(results) == "<amap of forever over>"

        run(main())

    def test_a_loop_closed_too_early_is_no_reason_to_complain(self, recwarn):
        source = Source()
        loop = glassloop.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)  # for the tasks that are destroyed
        results = amap(double, source.aitems(), limit=2)
        assert loop.run_until_complete(anext(results)) == 0
        loop.close()
        del results
        gc.collect()
        assert not recwarn.list

    def test_a_closed_loop_is_no_place_to_cancel_on(self, recwarn):
        loop = glassloop.new_event_loop()
        results = amap(double, range(5), limit=2)
        assert loop.run_until_complete(anext(results)) == 0
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        loop.close()
        del results
        gc.collect()
        assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


class TestSeen:
    def test_who_waits_for_the_calls(self):
        async def main():
            async def work(n):
                await forever()

            asking = glassloop.create_task(anext_of(amap(work, range(2), limit=2)), name="the consumer")
            await turns(3)
            (call, *_) = (task for task in others() if task is not asking)
            assert [found.future for found in glassloop.capture_call_graph(call).awaited_by] == [asking]
            asking.cancel()
            await glassloop.wait([asking])

        async def anext_of(results):
            return await anext(results)

        glassloop.run(main())


class Threads:
    """The least that a pool has to be."""

    def __init__(self, limit):
        self.limit = limit
        self.executor = concurrent.futures.ThreadPoolExecutor(limit)
        self.most = self.running = 0
        self.cancelled = 0

    async def run(self, fn, *args):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.executor, fn, *args)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.executor.shutdown()


def square(n):
    return n * n


def nap_or_fail(n):
    if n == 2:
        raise Oops(n)
    time.sleep(3600 if n > 2 else 0)
    return n


def die(n):
    if n == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.mark.usefixtures("no_leaks")
class TestPools:
    def test_run_plain_functions(self, run, kind):
        with Threads(3) as pool:

            async def main():
                assert await collect(amap(square, Source(30).of(kind), pool=pool)) == [n * n for n in range(30)]
                assert pool.most == 3  # the pool's limit by default
                results = await collect(amap(square, range(30), pool=pool, limit=7, ordered=False))
                assert sorted(results) == [n * n for n in range(30)]
                assert pool.most == 7

            run(main())

    def test_errors_cancel_the_jobs(self, run):
        with Threads(3) as pool:
            go = threading.Event()

            def work(n):
                if n == 1:
                    raise Oops(n)
                go.wait(30)
                return n

            async def main():
                with pytest.raises(Oops):
                    await collect(amap(work, range(30), pool=pool))
                assert pool.cancelled == 2
                assert pool.running == 0

            try:
                run(main())
            finally:
                go.set()

    def test_take_no_coroutine_functions(self):
        with Threads(1) as pool, pytest.raises(TypeError, match="a pool runs plain functions"):
            amap(double, [], pool=pool)

    def test_without_a_limit_of_their_own(self):
        class Pool:
            async def run(self, fn, *args):
                return fn(*args)

        with pytest.raises(TypeError, match="needs a limit"):
            amap(square, [], pool=Pool())

    def test_of_processes(self):
        async def main():
            async with glassloop.ProcessPool(2) as pool:
                assert await collect(amap(square, range(20), pool=pool)) == [n * n for n in range(20)]
                results = amap(lambda n: n + 1, Source(9).aitems(), pool=pool, ordered=False, limit=4)
                assert sorted(await collect(results)) == list(range(1, 10))

        glassloop.run(main())

    def test_of_processes_that_fail_and_die(self):
        async def main():
            async with glassloop.ProcessPool(2) as pool:
                found = []
                with pytest.raises(Oops):
                    async for result in amap(nap_or_fail, range(9), pool=pool):
                        found.append(result)
                assert found == [0, 1][: len(found)]
                with pytest.raises(glassloop.BrokenWorkerProcess):
                    await collect(amap(die, range(9), pool=pool))
                # the pool goes on
                assert await collect(amap(square, range(4), pool=pool)) == [0, 1, 4, 9]

        began = time.monotonic()
        glassloop.run(main())
        assert time.monotonic() - began < 60


# ---- a model: whatever comes in whatever order ----


class Play:
    """Calls end, fail, refuse to be cancelled; the source gives, fails, ends; the consumer asks, is cancelled, closes,
    lets go. At each step: the bound, the order, each item once. At the end: nothing runs, no error is lost."""

    def __init__(self, seed):
        chance = self.chance = random.Random(seed)
        ours, self.ordered, self.is_async = (chance.random() < 0.5 for _ in range(3))
        self.limit = chance.randint(1, 4)
        self.length = chance.randint(0, 30)
        self.loop = glassloop.new_event_loop() if ours else asyncio.SelectorEventLoop()
        self.loop.set_exception_handler(self.report)
        self.taken = 0
        self.source_begun = self.source_closed = self.source_fails = False
        self.gate = None  # the asynchronous source waits for it
        self.calls, self.begun, self.ended, self.finished = {}, [], [], []
        self.stubborn = set()
        self.made = []  # errors
        self.seen = []
        self.given = []
        self.given_out = 0
        self.asking = self.closing = None
        self.results = amap(self.call, self.aitems() if self.is_async else self.items(), limit=self.limit, ordered=self.ordered)

    def report(self, loop, context):
        error = context["exception"]
        self.seen.extend(error.exceptions if isinstance(error, ExceptionGroup) else [error])

    def error(self, *args):
        error = Oops(*args)
        self.made.append(error)
        return error

    def items(self):
        self.source_begun = True
        try:
            while self.taken < self.length:
                if self.source_fails:
                    raise self.error("source")
                self.taken += 1
                self.check_taken()
                yield self.taken - 1
        finally:
            self.source_closed = True

    async def aitems(self):
        self.source_begun = True
        try:
            while self.taken < self.length:
                self.gate = asyncio.get_running_loop().create_future()
                await self.gate
                if self.source_fails:
                    raise self.error("source")
                self.taken += 1
                self.check_taken()
                yield self.taken - 1
        finally:
            self.gate = None
            # else the cancellation would take the place of the source's own error
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            self.source_closed = True

    async def call(self, item):
        assert item not in self.begun
        self.begun.append(item)
        self.calls[item] = asyncio.get_running_loop().create_future()
        try:
            await self.calls[item]
            self.finished.append(item)
            return item
        except asyncio.CancelledError:
            if item in self.stubborn:
                await asyncio.sleep(0)
                raise self.error("stubborn", item) from None
            raise
        except Oops as error:
            self.made.append(error)  # only now: a cancellation may have come before it
            raise
        finally:
            del self.calls[item]
            self.ended.append(item)

    async def ask(self, results):
        try:
            item = await anext(results)
        except StopAsyncIteration:
            self.nothing_runs()
        except Oops as error:
            self.seen.append(error.with_traceback(None))
            self.nothing_runs()
        except asyncio.CancelledError:
            self.nothing_runs()
            raise
        else:
            self.given.append(item)
            self.given_out += 1
        finally:
            del results  # an error of the source refers to this frame

    def turn(self, n=1):
        for _ in range(n):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    # ---- what may happen ----

    def pending_calls(self):
        return [call for call in self.calls.values() if not call.done()]

    def step(self, all_goes_well):
        may = []
        if self.can_ask():
            may += [self.consumer_asks] * 3
        if self.pending_calls():
            may += [self.call_ends] * 3
        if self.gate is not None and not self.gate.done():
            may += [self.source_gives] * 3
        if not all_goes_well:
            if self.pending_calls():
                may += [self.call_fails] + [self.call_is_stubborn] * 3
            if self.asking is not None and not self.asking.done():
                may += [self.consumer_is_cancelled]
            if self.results is not None and self.closing is None:
                may += [self.consumer_closes]
            if self.can_ask():
                may += [self.consumer_lets_go]
            may += [self.source_fails_next]
        if may:
            self.chance.choice(may)()
        self.turn(self.chance.choice([0, 1, 1, 2, 3, 5]))
        self.check()

    def can_ask(self):
        return self.results is not None and (self.asking is None or self.asking.done())

    def consumer_asks(self):
        self.asking = self.loop.create_task(self.ask(self.results))

    def call_ends(self):
        self.chance.choice(self.pending_calls()).set_result(None)

    def call_fails(self):
        self.chance.choice(self.pending_calls()).set_exception(Oops("call"))

    def call_is_stubborn(self):
        self.stubborn.add(self.chance.choice(list(self.calls)))

    def source_gives(self):
        self.gate.set_result(None)

    def source_fails_next(self):
        self.source_fails = True

    def consumer_is_cancelled(self):
        self.asking.cancel()

    def consumer_closes(self):
        self.closing = self.loop.create_task(self.results.aclose())

    def consumer_lets_go(self):
        if self.asking is not None and not self.asking.cancelled():
            self.asking.result()
        held = weakref.ref(self.results)
        self.results = self.asking = None
        if held() is not None and (self.closing is None or self.closing.done()):
            gc.collect()  # by the traceback of a task that was cancelled before it began
            assert held() is None

    # ---- what must hold ----

    def check_taken(self):
        # an item that is given out may not have reached the one who counts yet
        on_its_way = 1 if self.asking is not None and not self.asking.done() else 0
        assert self.taken - self.given_out <= self.limit + on_its_way

    def nothing_runs(self):
        assert self.calls == {}
        assert self.source_closed == self.source_begun

    def check(self):
        self.check_taken()
        assert len(self.calls) <= self.limit
        assert self.begun == sorted(self.begun)
        assert len(set(self.given)) == len(self.given)
        assert set(self.given) <= set(self.finished)
        if self.ordered:
            assert self.given == list(range(len(self.given)))

    def end(self):
        if self.results is not None:
            if self.asking is not None:
                self.asking.cancel()
            if self.closing is None:
                self.closing = self.loop.create_task(self.results.aclose())
        self.results = None
        self.turn(30)
        assert asyncio.all_tasks(self.loop) == set()
        for task in (self.asking, self.closing):
            if task is not None and not task.cancelled():
                task.result()
        self.nothing_runs()
        assert sorted(self.ended) == sorted(self.begun)
        assert sorted(map(id, self.seen)) == sorted(map(id, self.made))
        self.check()


def test_whatever_happens_in_whatever_order():
    """GLASSLOOP_AMAP_PLAYS is how many there are."""
    given = errors = 0
    for seed in range(int(os.environ.get("GLASSLOOP_AMAP_PLAYS", "1000"))):
        play = Play(seed)
        calm, steps = play.chance.choice([5, 15, 30, 60]), play.chance.randint(10, 80)
        try:
            for step in range(steps):
                play.step(all_goes_well=step < calm)
            play.end()
        except BaseException as error:
            error.add_note(f"the seed is {seed}")
            raise
        finally:
            play.loop.close()
        given += len(play.given)
        errors += len(play.made)
    assert given > 4000  # they don't end before they have begun
    assert errors > 200


def test_all_goes_well_in_whatever_order():
    """Without failures each item comes out once, in order or as it ended."""

    async def main(seed):
        chance = random.Random(seed)
        limit, length = chance.randint(1, 5), chance.randint(0, 40)
        most = running = 0
        ended = []

        async def work(n):
            nonlocal most, running
            running += 1
            most = max(most, running)
            await turns(chance.randrange(6))
            running -= 1
            ended.append(n)
            return n

        async def items():
            for n in range(length):
                await turns(chance.randrange(3))
                yield n

        ordered = chance.random() < 0.5
        found = []
        async for result in amap(work, items() if chance.random() < 0.5 else range(length), limit=limit, ordered=ordered):
            found.append(result)
            await turns(chance.randrange(4))
        assert found == (list(range(length)) if ordered else ended)
        assert sorted(ended) == list(range(length))
        assert most <= limit
        assert not others()

    for seed in range(200):
        for make in (glassloop.new_event_loop, asyncio.SelectorEventLoop):
            with asyncio.Runner(loop_factory=make) as runner:
                runner.run(main(seed))
