"""gather(): results in order, the first exception, exceptions as results, cancellation downwards and upwards."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref

import pytest


def since(*version):
    """What asyncio's own does only from this version of Python on; glassloop's does it on all of them."""
    if sys.version_info >= version:
        return lambda test: test
    return pytest.mark.extra(f"asyncio's own: since Python {'.'.join(map(str, version))}")


async def give(value, after=0):
    for _ in range(after):
        await asyncio.sleep(0)
    return value


async def fail(error=ZeroDivisionError, after=0):
    for _ in range(after):
        await asyncio.sleep(0)
    raise error


async def forever():
    await asyncio.get_running_loop().create_future()


async def turns(n=1):
    for _ in range(n):
        await asyncio.sleep(0)


@pytest.fixture
def reports(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    return found


class TestResults:
    def test_come_in_the_order_of_the_arguments(self, aio, run):
        async def main():
            assert await aio.gather(give(1, 5), give(2), give(3, 2)) == [1, 2, 3]
            assert await aio.gather(*[give(n, n % 3) for n in range(1000)]) == list(range(1000))

        run(main())

    def test_of_awaitables_of_all_kinds(self, aio, run):
        class Awaitable:
            def __await__(self):
                yield from asyncio.sleep(0).__await__()
                return "awaitable"

        async def main():
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_soon(future.set_result, "future")
            done = loop.create_future()
            done.set_result("done")
            foreign = asyncio.Future()
            loop.call_soon(foreign.set_result, "foreign")
            task = asyncio.create_task(give("task"))
            queue = aio.Queue()
            queue.put_nowait("item")
            results = await aio.gather(give("coroutine"), future, done, foreign, task, Awaitable(), queue.get(),
                                       aio.gather(give("nested")), aio.sleep(0, "slept"))
            assert results == ["coroutine", "future", "done", "foreign", "task", "awaitable", "item", ["nested"], "slept"]

        run(main())

    def test_of_the_same_awaitable_twice(self, aio, run):
        async def main():
            coro, task = give([1]), asyncio.create_task(give([2]))
            results = await aio.gather(coro, task, coro, task)
            assert results == [[1], [2], [1], [2]]
            assert results[0] is results[2]
            assert results[1] is results[3]

        run(main())

    def test_of_nothing(self, aio, run):
        async def main():
            outer = aio.gather()
            assert outer.done()
            assert await outer == []

        run(main())

    def test_of_what_is_done_already(self, aio, run):
        async def main():
            tasks = [asyncio.create_task(give(n)) for n in range(3)]
            await turns(2)
            outer = aio.gather(*tasks)
            assert await outer == [0, 1, 2]

        run(main())

    def test_for_several_waiters(self, aio, run):
        async def main():
            outer = aio.gather(give(1, 2), give(2))

            async def wait():
                return await outer

            waiting = [asyncio.create_task(wait()) for _ in range(3)]
            heard = []
            outer.add_done_callback(lambda future: heard.append(future.result()))
            assert await asyncio.gather(*waiting) == [[1, 2]] * 3
            await turns()
            assert heard == [[1, 2]]

        run(main())

    def test_is_a_future(self, aio, run):
        async def main():
            outer = aio.gather(give(1))
            assert asyncio.isfuture(outer)
            assert isinstance(outer, asyncio.Future)
            assert not asyncio.iscoroutine(outer)
            assert outer.get_loop() is asyncio.get_running_loop()
            assert "pending" in repr(outer)
            await outer
            assert "finished" in repr(outer)

        run(main())

    def test_before_the_loop_runs(self, aio, loop):
        asyncio.set_event_loop(loop)
        try:
            outer = aio.gather(*[loop.create_task(give(n)) for n in range(3)])
        finally:
            asyncio.set_event_loop(None)
        assert loop.run_until_complete(outer) == [0, 1, 2]

    def test_are_not_kept_by_what_is_done(self, aio, run):
        class Result:
            pass

        async def main():
            outer = aio.gather(give(Result()), give(Result()))
            gone = [weakref.ref(result) for result in await outer]
            del outer
            await turns(2)
            gc.collect()
            assert [ref() for ref in gone] == [None, None]

        run(main())


class TestExceptions:
    def test_the_first_one_in_time_comes_out_and_the_others_go_on(self, aio, run):
        async def main():
            late, slow = asyncio.create_task(fail(KeyError, after=5)), asyncio.create_task(give(1, 10))
            with pytest.raises(ZeroDivisionError):
                await aio.gather(late, fail(after=2), slow)
            assert not late.done()
            assert await slow == 1
            assert type(late.exception()) is KeyError

        run(main())

    def test_of_those_who_fail_later_are_not_reported(self, aio, loop, reports):
        async def main():
            with pytest.raises(ZeroDivisionError):
                await aio.gather(fail(), fail(KeyError, after=2), give(1))
            await turns(5)

        loop.run_until_complete(main())
        gc.collect()
        assert reports == []

    def test_that_nobody_asks_for_are_reported_once(self, aio, loop, reports):
        async def main():
            aio.gather(fail(), fail(KeyError))
            await turns(5)

        loop.run_until_complete(main())
        gc.collect()
        assert [type(context["exception"]) for context in reports] == [ZeroDivisionError]

    def test_as_results(self, aio, run):
        async def main():
            cancelled = asyncio.get_running_loop().create_future()
            cancelled.cancel("enough")
            results = await aio.gather(give(1), fail(after=3), cancelled, fail(KeyError), return_exceptions=True)
            assert results[0] == 1
            assert [type(result) for result in results[1:]] == [ZeroDivisionError, asyncio.CancelledError, KeyError]
            assert results[2].args == ("enough",)

        run(main())

    def test_as_results_are_not_reported(self, aio, loop, reports):
        async def main():
            await aio.gather(fail(), fail(after=2), return_exceptions=True)

        loop.run_until_complete(main())
        gc.collect()
        assert reports == []

    def test_keep_their_traceback(self, aio, run):
        async def main():
            with pytest.raises(ZeroDivisionError) as error:
                await aio.gather(fail())
            assert [entry.name for entry in error.traceback][-1] == "fail"

        run(main())

    def test_in_what_is_done_already(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            failed = loop.create_future()
            failed.set_exception(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await aio.gather(give(1), failed)
            results = await aio.gather(failed, give(1), return_exceptions=True)
            assert type(results[0]) is ZeroDivisionError
            assert results[1] == 1

        run(main())


class TestCancelled:
    def test_the_children_are(self, aio, run):
        async def main():
            children = [asyncio.create_task(forever()) for _ in range(3)]
            outer = aio.gather(*children)
            await turns()
            assert outer.cancel()
            assert not outer.done()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert all(child.cancelled() for child in children)

        run(main())

    def test_with_the_message(self, aio, run):
        async def main():
            seen = []

            async def child():
                try:
                    await forever()
                except asyncio.CancelledError as error:
                    seen.append(error.args)
                    raise

            outer = aio.gather(child(), child())
            await turns()
            outer.cancel("enough")
            with pytest.raises(asyncio.CancelledError) as error:
                await outer
            assert seen == [("enough",), ("enough",)]
            assert error.value.args == ("enough",)

        run(main())

    def test_by_the_task_that_waits(self, aio, run):
        async def main():
            children = [asyncio.create_task(forever()) for _ in range(2)]

            async def wait():
                await aio.gather(*children)

            task = asyncio.create_task(wait())
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns()
            assert all(child.cancelled() for child in children)

        run(main())

    def test_where_exceptions_are_results_too(self, aio, run):
        async def main():
            children = [asyncio.create_task(forever()), asyncio.create_task(give(1))]
            outer = aio.gather(*children, return_exceptions=True)
            await turns(2)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer

        run(main())

    def test_a_child_that_refuses_gives_its_result(self, aio, run):
        async def main():
            async def stubborn():
                try:
                    await forever()
                except asyncio.CancelledError:
                    return "stayed"

            child = asyncio.create_task(stubborn())
            outer = aio.gather(child, give(1))
            await turns(2)
            assert outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert child.result() == "stayed"

        run(main())

    def test_too_late(self, aio, run):
        async def main():
            outer = aio.gather(give(1))
            await outer
            assert not outer.cancel()
            children = [asyncio.create_task(give(n)) for n in range(2)]
            outer = aio.gather(*children)
            await turns()
            assert all(child.done() for child in children)
            assert not outer.cancel()  # nothing left to cancel
            assert await outer == [0, 1]

        run(main())

    def test_after_the_first_exception_the_others_are_left_alone(self, aio, run):
        async def main():
            other = asyncio.create_task(forever())
            outer = aio.gather(fail(), other)
            with pytest.raises(ZeroDivisionError):
                await outer
            assert not outer.cancel()
            await turns(2)
            assert not other.done()
            other.cancel()

        run(main())

    def test_a_child_alone_is_like_an_exception(self, aio, run):
        async def main():
            child, other = asyncio.create_task(forever()), asyncio.create_task(forever())
            outer = aio.gather(child, other)
            await turns()
            child.cancel("this one")
            with pytest.raises(asyncio.CancelledError) as error:
                await outer
            assert error.value.args == ("this one",)
            assert not outer.cancelled()
            assert type(outer.exception()) is asyncio.CancelledError
            assert not other.done()
            other.cancel()

        run(main())

    def test_of_gathers_within_gathers(self, aio, run):
        async def main():
            leaves = [asyncio.create_task(forever()) for _ in range(4)]
            outer = aio.gather(aio.gather(*leaves[:2]), aio.gather(*leaves[2:]))
            await turns()
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            await turns()
            assert all(leaf.cancelled() for leaf in leaves)

        run(main())

    @pytest.mark.extra("asyncio raises RecursionError")
    def test_gathers_within_gathers_however_deep(self, aio, run):
        async def main():
            gate = asyncio.get_running_loop().create_future()

            async def wait(inner):
                await aio.gather(inner)

            tasks = [aio.create_task(wait(gate))]
            for _ in range(20_000):
                tasks.append(aio.create_task(wait(tasks[-1])))
            await turns(2)
            assert tasks[-1].cancel()
            done, pending = await aio.wait(tasks, timeout=30)
            assert not pending and all(task.cancelled() for task in done)
            assert gate.cancelled()
            futures = gate = asyncio.get_running_loop().create_future()
            for _ in range(2_000):
                futures = aio.gather(futures)
            assert futures.cancel()
            with pytest.raises(asyncio.CancelledError):
                await futures
            assert gate.cancelled()

        run(main())

    @pytest.mark.extra("asyncio raises RecursionError")
    def test_a_circle_by_way_of_gather(self, aio, run):
        async def main():
            async def wait(n):
                await aio.gather(tasks[(n + 1) % 3])

            tasks = []
            tasks += [aio.create_task(wait(n)) for n in range(3)]
            await turns(2)
            assert tasks[1].cancel()
            done, pending = await aio.wait(tasks, timeout=10)
            assert not pending and all(task.cancelled() for task in done)

        run(main())

    def test_what_is_gathered_twice_is_cancelled_by_both(self, aio, run):
        async def main():
            async def wait(what):
                await what

            gate = asyncio.get_running_loop().create_future()
            shared = aio.gather(gate, return_exceptions=True)
            tasks = [aio.create_task(wait(shared)) for _ in range(2)]
            await turns()
            outer = aio.gather(*tasks, return_exceptions=True)
            assert outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert gate.cancelled()
            with pytest.raises(asyncio.CancelledError):
                shared.result()
            assert [task.cancelling() for task in tasks] == [1, 1]

        run(main())


class TestBadArguments:
    def test_that_can_not_be_awaited(self, aio, run):
        async def main():
            for thing in (5, None, give, [give]):
                with pytest.raises(TypeError):
                    aio.gather(thing)

        run(main())

    def test_in_the_middle_the_tasks_made_before_go_on(self, aio, loop, reports):
        async def main():
            ran = []

            async def work():
                ran.append(1)

            with pytest.raises(TypeError):
                aio.gather(work(), fail(), 5)
            await turns(3)
            assert ran == [1]

        loop.run_until_complete(main())
        gc.collect()
        assert reports == []

    def test_of_different_loops(self, aio, loop, run):
        async def main():
            foreign = loop.create_future()
            own = asyncio.get_running_loop().create_future()
            with pytest.raises(ValueError, match="belongs to a different loop"):
                aio.gather(own, foreign)
            with pytest.raises(ValueError, match="belongs to a different loop"):
                aio.gather(foreign, own)

        run(main())


class TestTasks:
    def test_are_made_by_the_task_factory(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            made = []

            def factory(loop, coro, **kwargs):
                made.append(coro)
                return asyncio.Task(coro, loop=loop, **kwargs)

            loop.set_task_factory(factory)
            assert await aio.gather(give(1), give(2), aio.sleep(0, 3)) == [1, 2, 3]
            assert len(made) == 3

        run(main())

    def test_are_made_by_create_task_if_somebody_replaced_it(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            made = []
            create_task = loop.create_task
            loop.create_task = lambda coro, **kwargs: made.append(coro) or create_task(coro, **kwargs)
            try:
                assert await aio.gather(give(1), give(2)) == [1, 2]
            finally:
                del loop.create_task
            assert len(made) == 2

        run(main())

    @since(3, 12)
    def test_that_are_done_when_they_start(self, aio, run):
        async def quick(n):
            return n

        async def main():
            asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
            outer = aio.gather(quick(1), quick(2))
            assert outer.done()
            assert await outer == [1, 2]
            assert await aio.gather(quick(1), give(2, 1)) == [1, 2]
            with pytest.raises(ZeroDivisionError):
                await aio.gather(quick(1), fail(), give(2, 1))

        run(main())

    def test_run_in_the_order_of_the_arguments(self, aio, run):
        async def main():
            order = []

            async def work(n):
                order.append(n)

            await aio.gather(*[work(n) for n in range(50)])
            assert order == list(range(50))

        run(main())

    def test_left_pending_at_the_end_are_not_complained_about(self, aio, loop, reports):
        async def main():
            aio.gather(forever())
            await turns()

        loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            assert not task._log_destroy_pending


@pytest.mark.extra("glassloop's names on a loop of asyncio's, and the other way round")
class TestMixed:
    def test_on_asyncios_loop(self, aio):
        async def main():
            assert await aio.gather(give(1), aio.sleep(0, 2), aio.gather(give(3))) == [1, 2, [3]]
            with pytest.raises(ZeroDivisionError):
                await aio.gather(fail(), give(1))
            outer = aio.gather(forever())
            await turns()
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())

    def test_asyncios_gather_of_ours(self, aio, run):
        async def main():
            event = aio.Event()
            asyncio.get_running_loop().call_soon(event.set)
            assert await asyncio.gather(aio.gather(give(1)), event.wait(), aio.sleep(0, 2)) == [[1], True, 2]

        run(main())
