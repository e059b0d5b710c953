"""wait(), as_completed(), shield(), and how awaitables become tasks: create_task, ensure_future, eager factories, other
threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading

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


def tasks_of(*coros):
    return [asyncio.create_task(coro) for coro in coros]


@pytest.fixture
def reports(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    return found


class TestWait:
    def test_for_all(self, aio, run):
        async def main():
            tasks = tasks_of(give(1, 3), fail(), give(2))
            done, pending = await aio.wait(tasks)
            assert done == set(tasks)
            assert pending == set()
            assert type(tasks[1].exception()) is ZeroDivisionError

        run(main())

    def test_for_the_first(self, aio, run):
        async def main():
            tasks = tasks_of(give(1, 5), fail(after=2), give(2, 10))
            done, pending = await aio.wait(tasks, return_when=aio.FIRST_COMPLETED)
            assert done == {tasks[1]}
            assert pending == {tasks[0], tasks[2]}
            assert tasks[1].exception()
            done, pending = await aio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            assert done == {tasks[0]}
            await tasks[2]

        run(main())

    def test_for_the_first_exception(self, aio, run):
        async def main():
            cancelled = asyncio.create_task(forever())
            tasks = [cancelled, *tasks_of(give(1), fail(after=5), give(2, 10))]
            await turns()
            cancelled.cancel()
            done, pending = await aio.wait(tasks, return_when=aio.FIRST_EXCEPTION)
            assert done == set(tasks[:3])
            assert pending == {tasks[3]}
            tasks = tasks_of(give(1), give(2, 2))
            done, pending = await aio.wait(tasks, return_when=aio.FIRST_EXCEPTION)
            assert done == set(tasks)

        run(main())

    def test_no_longer_than_the_timeout(self, aio, run):
        async def main():
            tasks = tasks_of(give(1), forever())
            began = asyncio.get_running_loop().time()
            done, pending = await aio.wait(tasks, timeout=0.01)
            assert asyncio.get_running_loop().time() - began >= 0.01 - 1e-3
            assert done == {tasks[0]}
            assert pending == {tasks[1]}
            for timeout in (0, -1):
                done, pending = await aio.wait(pending, timeout=timeout)
                assert pending == {tasks[1]}
            assert not tasks[1].cancelling()
            done, pending = await aio.wait([tasks[0]], timeout=3600)
            assert not pending

        run(main())

    def test_for_futures_of_all_kinds(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            own, foreign, done_already = loop.create_future(), asyncio.Future(), loop.create_future()
            done_already.set_result(1)
            loop.call_soon(own.set_result, 1)
            loop.call_soon(foreign.set_result, 1)
            gathered = aio.gather(give(1, 2))
            everything = {own, foreign, done_already, gathered}
            assert await aio.wait(everything) == (everything, set())
            assert await aio.wait(everything, return_when=aio.FIRST_COMPLETED) == (everything, set())
            pending = [loop.create_future(), asyncio.Future()]
            assert await aio.wait(pending, timeout=0.001) == (set(), set(pending))

        run(main())

    def test_for_one_of_them_twice(self, aio, run):
        async def main():
            task = asyncio.create_task(give(1))
            assert await aio.wait([task, task]) == ({task}, set())

        run(main())

    @since(3, 12)
    def test_for_what_a_generator_gives(self, aio, run):
        async def main():
            tasks = tasks_of(give(1), give(2))
            assert await aio.wait(task for task in tasks) == (set(tasks), set())

        run(main())

    def test_cancelled_it_leaves_the_tasks_alone(self, aio, run):
        async def main():
            tasks = tasks_of(forever(), give(1, 5))
            waiting = asyncio.create_task(aio.wait(tasks, timeout=3600))
            await turns(2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not any(task.cancelling() for task in tasks)
            assert await tasks[1] == 1
            tasks[0].cancel()

        run(main())

    def test_leaves_nothing_at_what_is_still_pending(self, aio, run):
        async def main():
            future = asyncio.get_running_loop().create_future()
            for _ in range(10):
                await aio.wait([future], timeout=0)
            assert not future._callbacks

        run(main())

    def test_wants_a_collection_of_futures(self, aio, run):
        async def main():
            with pytest.raises(ValueError, match="empty"):
                await aio.wait([])
            task = asyncio.create_task(give(1))
            with pytest.raises(TypeError, match="expect a list of futures"):
                await aio.wait(task)
            coro = give(1)
            with pytest.raises(TypeError, match="expect a list of futures"):
                await aio.wait(coro)
            with pytest.raises(TypeError, match="coroutines is forbidden"):
                await aio.wait([task, coro])
            coro.close()
            with pytest.raises(ValueError, match="Invalid return_when"):
                await aio.wait([task], return_when="LATER")
            with pytest.raises((TypeError, AttributeError)):
                await aio.wait([task, 5])
            await task

        run(main())


class TestAsCompleted:
    def test_gives_results_as_they_come(self, aio, run):
        async def main():
            results = []
            for awaitable in aio.as_completed([give(1, 6), give(2, 2), give(3, 4)]):
                results.append(await awaitable)
            assert results == [2, 3, 1]
            assert list(aio.as_completed([])) == []

        run(main())

    def test_gives_coroutines_that_can_be_awaited_at_once(self, aio, run):
        async def main():
            awaitables = list(aio.as_completed([give(1, 6), give(2, 2), give(3, 4)]))
            assert all(asyncio.iscoroutine(awaitable) for awaitable in awaitables)
            assert await asyncio.gather(*awaitables) == [2, 3, 1]

        run(main())

    def test_raises_what_the_awaitable_raised(self, aio, run):
        async def main():
            results = []
            for awaitable in aio.as_completed([give(1, 3), fail(after=1)]):
                try:
                    results.append(await awaitable)
                except ZeroDivisionError:
                    results.append("failed")
            assert results == ["failed", 1]

        run(main())

    def test_no_longer_than_the_timeout(self, aio, run):
        async def main():
            waiting = asyncio.create_task(forever())
            results = []
            for awaitable in aio.as_completed([give(1), waiting, forever()], timeout=0.01):
                try:
                    results.append(await awaitable)
                except TimeoutError:
                    results.append("late")
            assert results == [1, "late", "late"]
            assert not waiting.done()
            waiting.cancel()
            assert sorted([await awaitable for awaitable in aio.as_completed([give(1), give(2)], timeout=3600)]) == [1, 2]

        run(main())

    def test_wants_a_collection(self, aio, run):
        async def main():
            coro = give(1)
            with pytest.raises(TypeError):
                list(aio.as_completed(coro))
            coro.close()
            with pytest.raises(TypeError):
                list(aio.as_completed(asyncio.get_running_loop().create_future()))
            with pytest.raises(TypeError):
                list(aio.as_completed([5]))

        run(main())

    @pytest.mark.extra("asyncio's own takes them in no order")
    def test_begins_them_in_the_order_given(self, aio, run):
        async def main():
            assert [await awaitable for awaitable in aio.as_completed([give(n) for n in range(50)])] == list(range(50))

        run(main())

    def test_of_the_same_twice(self, aio, run):
        async def main():
            coro = give(1)
            assert [await awaitable for awaitable in aio.as_completed([coro, coro])] == [1]

        run(main())

    @since(3, 13)
    def test_async_for_gives_the_futures_themselves(self, aio, run):
        async def main():
            slow, quick = tasks_of(give(1, 5), give(2, 1))
            seen = []
            async for task in aio.as_completed([slow, quick, give(3, 3)]):
                assert task.done()
                seen.append(task)
            assert seen[0] is quick
            assert seen[2] is slow
            assert await seen[1] == 3
            async for _ in aio.as_completed([]):
                raise AssertionError("out of nothing")

        run(main())

    @since(3, 13)
    def test_async_for_no_longer_than_the_timeout(self, aio, run):
        async def main():
            waiting = asyncio.create_task(forever())
            seen = []
            with pytest.raises(TimeoutError):
                async for task in aio.as_completed([give(1), waiting], timeout=0.01):
                    seen.append(task.result())
            assert seen == [1]
            assert not waiting.done()
            waiting.cancel()

        run(main())

    @since(3, 13)
    def test_async_for_does_not_raise_for_what_failed(self, aio, run):
        async def main():
            async for task in aio.as_completed([fail()]):
                with pytest.raises(ZeroDivisionError):
                    await task

        run(main())

    @pytest.mark.extra("asyncio lost it until late in 3.14")
    def test_one_whose_waiter_was_cancelled_is_still_to_come(self, aio, run):
        async def main():
            futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
            iterator = aio.as_completed(futures)
            for waiter in asyncio.create_task(anext(iterator)), asyncio.create_task(next(iterator)):
                await turns()
                waiter.cancel()
                await turns()
                assert waiter.cancelled()
            for n, future in enumerate(futures):
                future.set_result(n)
            assert [future.result() async for future in iterator] == [0, 1, 2]

        run(main())

    def test_cancelled_in_the_middle_loses_nothing(self, aio, run):
        async def main():
            first, second = aio.as_completed([give(1, 5), give(2, 7)])
            task = asyncio.create_task(first)
            await turns()
            task.cancel()
            await turns()
            assert task.cancelled()
            assert await second == 1

        run(main())


class TestShield:
    def test_lets_the_inner_one_go_on(self, aio, run):
        async def main():
            inner = asyncio.create_task(give(1, 5))
            outer = aio.shield(inner)
            await turns()
            assert outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert not inner.cancelling()
            assert await inner == 1

        run(main())

    def test_gives_what_the_inner_one_gives(self, aio, run):
        async def main():
            assert await aio.shield(give(1)) == 1
            with pytest.raises(ZeroDivisionError):
                await aio.shield(fail())
            inner = asyncio.create_task(forever())
            outer = aio.shield(inner)
            await turns()
            inner.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert outer.cancelled()
            done = asyncio.get_running_loop().create_future()
            done.set_result(1)
            assert aio.shield(done) is done
            foreign = asyncio.Future()
            asyncio.get_running_loop().call_soon(foreign.set_result, 2)
            assert await aio.shield(foreign) == 2
            with pytest.raises(TypeError):
                aio.shield(5)

        run(main())

    def test_in_a_task_that_is_cancelled(self, aio, run):
        async def main():
            inner = asyncio.create_task(give(1, 5))

            async def wait():
                return await aio.shield(inner)

            task = asyncio.create_task(wait())
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await inner == 1

        run(main())

    def test_again_and_again_leaves_nothing_at_the_inner_one(self, aio, run):
        async def main():
            inner = asyncio.get_running_loop().create_future()
            for _ in range(10):
                outer = aio.shield(inner)
                outer.cancel()
                await turns()
            assert not inner._callbacks

        run(main())

    def test_an_exception_that_nobody_heard_is_reported(self, aio, loop, reports):
        async def main():
            outer = aio.shield(fail(after=3))
            await turns()
            outer.cancel()
            await turns(5)

        loop.run_until_complete(main())
        gc.collect()
        assert [type(context["exception"]) for context in reports] == [ZeroDivisionError]


class TestCreateTask:
    def test_with_name_and_context(self, aio, run):
        variable = contextvars.ContextVar("variable", default=0)

        async def main():
            context = contextvars.copy_context()
            context.run(variable.set, 5)

            async def read():
                return variable.get()

            task = aio.create_task(read(), name="reader", context=context)
            assert task.get_name() == "reader"
            assert await task == 5
            assert await aio.create_task(read()) == 0
            assert aio.create_task(give(1)).get_name().startswith("Task-")

        run(main())

    def test_wants_a_coroutine_and_a_loop(self, aio, run):
        async def main():
            for thing in (5, None, asyncio.get_running_loop().create_future()):
                with pytest.raises(TypeError):
                    aio.create_task(thing)

        run(main())
        coro = give(1)
        with pytest.raises(RuntimeError, match="no running event loop"):
            aio.create_task(coro)
        coro.close()

    @since(3, 14)
    def test_with_what_the_loop_takes_besides(self, aio, run):
        async def main():
            ran = []

            async def work():
                ran.append(1)

            task = aio.create_task(work(), eager_start=True)
            assert ran == [1]
            await task

        run(main())


class TestEnsureFuture:
    def test_a_future_stays_what_it_is(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            for future in (loop.create_future(), asyncio.Future(), asyncio.create_task(give(1)), aio.gather(give(1))):
                assert aio.ensure_future(future) is future
                assert aio.ensure_future(future, loop=loop) is future

        run(main())

    def test_an_awaitable_becomes_a_task(self, aio, run):
        class Awaitable:
            def __await__(self):
                return give(3).__await__()

        async def main():
            for awaitable, result in ((give(1), 1), (aio.sleep(0, 2), 2), (Awaitable(), 3)):
                task = aio.ensure_future(awaitable)
                assert isinstance(task, asyncio.Task)
                assert await task == result

        run(main())

    def test_of_another_loop_or_of_nothing_awaitable(self, aio, run, loop):
        async def main():
            with pytest.raises(ValueError, match="different loop"):
                aio.ensure_future(loop.create_future(), loop=asyncio.get_running_loop())
            with pytest.raises(TypeError, match="is required"):
                aio.ensure_future(5)

        run(main())

    def test_on_a_loop_that_does_not_run_yet(self, aio, loop):
        task = aio.ensure_future(give(1), loop=loop)
        assert loop.run_until_complete(task) == 1

    def test_on_a_closed_loop(self, aio):
        loop = aio.new_event_loop()
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            aio.ensure_future(give(1), loop=loop)


@since(3, 12)
class TestEagerTasks:
    def test_begin_at_once(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(aio.eager_task_factory)
            seen = []

            async def work():
                seen.append(asyncio.current_task())
                await asyncio.sleep(0)
                seen.append(asyncio.current_task())
                return 5

            me = asyncio.current_task()
            task = asyncio.create_task(work(), name="eager")
            assert seen == [task]
            assert asyncio.current_task() is me
            assert task.get_name() == "eager"
            assert not task.done()
            assert await task == 5
            assert seen == [task, task]
            assert asyncio.create_task(give(7)).result() == 7

        run(main())

    def test_of_a_class_of_ones_own(self, aio, run):
        class Own(aio.Task):
            pass

        async def main():
            asyncio.get_running_loop().set_task_factory(aio.create_eager_task_factory(Own))
            task = asyncio.create_task(give(7))
            assert type(task) is Own
            assert task.result() == 7
            task = asyncio.create_task(give(8, 2), name="own")
            assert await task == 8
            assert task.get_name() == "own"

        run(main())


class TestOtherThreads:
    def test_run_a_coroutine_here(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            results = []

            def thread():
                future = aio.run_coroutine_threadsafe(give(5, 3), loop)
                results.append(future.result(10))
                with pytest.raises(ZeroDivisionError):
                    aio.run_coroutine_threadsafe(fail(), loop).result(10)
                with pytest.raises(TypeError):
                    aio.run_coroutine_threadsafe(5, loop)
                future = aio.run_coroutine_threadsafe(forever(), loop)
                future.cancel()
                results.append(future.cancelled())

            worker = threading.Thread(target=thread)
            worker.start()
            while worker.is_alive():
                await asyncio.sleep(0.001)
            worker.join()
            assert results == [5, True]

        run(main())

    def test_wrap_a_future_of_theirs(self, aio, run):
        async def main():
            import concurrent.futures
            theirs = concurrent.futures.Future()
            ours = aio.wrap_future(theirs)
            assert asyncio.isfuture(ours)
            threading.Timer(0.01, theirs.set_result, (5,)).start()
            assert await ours == 5

        run(main())


@pytest.mark.extra("glassloop's names on a loop of asyncio's")
class TestOnAsynciosLoop:
    def test_all_of_it(self, aio):
        async def main():
            tasks = tasks_of(give(1), forever())
            assert await aio.wait(tasks, timeout=0.01) == ({tasks[0]}, {tasks[1]})
            waiting = asyncio.create_task(aio.wait(tasks[1:]))
            await turns(2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not tasks[1].cancelling()
            assert await aio.wait(tasks, return_when=aio.FIRST_COMPLETED) == ({tasks[0]}, {tasks[1]})
            assert [await awaitable for awaitable in aio.as_completed([give(1, 3), give(2)])] == [2, 1]
            assert [await task async for task in aio.as_completed([give(1, 3), give(2)])] == [2, 1]
            with pytest.raises(TimeoutError):
                for awaitable in aio.as_completed([tasks[1]], timeout=0.01):
                    await awaitable
            outer = aio.shield(tasks[1])
            outer.cancel()
            await turns()
            assert not tasks[1].cancelling()
            assert await aio.create_task(give(1)) == 1
            assert await aio.ensure_future(give(1)) == 1
            tasks[1].cancel()

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
