"""Futures: states, callbacks and waiters in order, results, exceptions, also those nobody looked at."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import traceback
import weakref

import pytest


@pytest.fixture
def reports(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    return found


@pytest.fixture
def seen():
    return []


def turn(loop):
    loop.stop()
    loop.run_forever()


class TestStates:
    def test_pending(self, aio, loop):
        future = loop.create_future()
        assert not future.done()
        assert not future.cancelled()
        assert future.get_loop() is loop
        assert future._state == "PENDING"

    def test_a_result(self, loop):
        future = loop.create_future()
        future.set_result("x")
        assert future.done()
        assert not future.cancelled()
        assert future.result() == "x"
        assert future.exception() is None
        assert future._state == "FINISHED"

    def test_an_exception(self, loop):
        future = loop.create_future()
        error = ValueError()
        future.set_exception(error)
        assert future.done()
        assert future.exception() is error
        with pytest.raises(ValueError) as caught:
            future.result()
        assert caught.value is error

    def test_an_exception_by_its_class(self, loop):
        future = loop.create_future()
        future.set_exception(ValueError)
        assert type(future.exception()) is ValueError

    def test_cancelled(self, aio, loop):
        future = loop.create_future()
        assert future.cancel("why") is True
        assert future.done()
        assert future.cancelled()
        assert future.cancel() is False
        assert future._state == "CANCELLED"
        with pytest.raises(aio.CancelledError, match="why"):
            future.result()
        with pytest.raises(aio.CancelledError):
            future.exception()

    def test_made_by_its_class(self, aio, loop):
        future = aio.Future(loop=loop)
        assert future.get_loop() is loop
        future.set_result(1)
        assert future.result() == 1

    def test_made_in_a_running_loop(self, aio, run):
        async def main():
            future = aio.Future()
            assert future.get_loop() is asyncio.get_running_loop()
            future.set_result(1)
            return await future

        assert run(main()) == 1

    def test_raising_its_exception_again_and_again_does_not_lengthen_the_traceback(self, loop):
        future = loop.create_future()
        future.set_exception(ValueError())
        lengths = []
        for _ in range(3):
            with pytest.raises(ValueError) as caught:
                future.result()
            lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(set(lengths)) == 1

    @pytest.mark.parametrize("value", [None, False, 0, (), StopIteration, ValueError(), ...])
    def test_any_result(self, run, loop, value):
        async def main():
            return await future

        future = loop.create_future()
        loop.call_soon(future.set_result, value)
        assert loop.run_until_complete(main()) is value


class TestCallbacks:
    def test_are_called_in_order_in_the_turn_after_it_was_settled(self, loop, seen):
        future = loop.create_future()
        for i in range(5):
            future.add_done_callback(lambda f, i=i: seen.append((i, f)))
        turn(loop)
        assert seen == []
        future.set_result(None)
        assert seen == []
        turn(loop)
        assert seen == [(i, future) for i in range(5)]
        turn(loop)
        assert len(seen) == 5

    @pytest.mark.parametrize("how", ["result", "exception", "cancel"])
    def test_are_called_however_it_ends(self, loop, seen, how):
        future = loop.create_future()
        future.add_done_callback(seen.append)
        if how == "result":
            future.set_result(1)
        elif how == "exception":
            future.set_exception(ValueError())
            future.exception()
        else:
            future.cancel()
        turn(loop)
        assert seen == [future]

    def test_added_when_it_is_done_are_called_in_the_next_turn(self, loop, seen):
        future = loop.create_future()
        future.set_result(1)
        future.add_done_callback(seen.append)
        assert seen == []
        turn(loop)
        assert seen == [future]

    def test_are_removed_all_at_once_and_counted(self, loop, seen):
        future = loop.create_future()
        other = []
        future.add_done_callback(seen.append)
        future.add_done_callback(other.append)
        future.add_done_callback(seen.append)
        assert future.remove_done_callback(seen.append) == 2
        assert future.remove_done_callback(seen.append) == 0
        future.set_result(1)
        turn(loop)
        assert seen == []
        assert other == [future]

    def test_whose_comparison_changes_the_list_are_removed_safely(self, loop):
        future = loop.create_future()

        class Evil:
            compared = 0

            def __eq__(self, other):
                self.compared += 1
                if self.compared == 1:
                    future.remove_done_callback(str)
                return False

            def __call__(self, future):
                pass

        future.add_done_callback(str)
        future.add_done_callback(Evil())
        future.add_done_callback(Evil())
        assert future.remove_done_callback(repr) == 0
        assert future.remove_done_callback(str) == 0

    def test_run_in_the_context_they_were_added_in_or_the_one_given(self, loop, seen):
        var = contextvars.ContextVar("var", default=0)
        future = loop.create_future()
        given = contextvars.copy_context()
        given.run(var.set, 7)
        var.set(1)
        future.add_done_callback(lambda f: seen.append(var.get()))
        var.set(2)
        future.add_done_callback(lambda f: seen.append(var.get()), context=given)
        future.set_result(None)
        var.set(3)
        future.add_done_callback(lambda f: seen.append(var.get()))
        turn(loop)
        assert seen == [1, 7, 3]

    def test_that_raise_are_reported_and_the_others_are_called(self, loop, seen, reports):
        future = loop.create_future()
        future.add_done_callback(lambda f: 1 / 0)
        future.add_done_callback(seen.append)
        future.set_result(1)
        turn(loop)
        assert seen == [future]
        assert [type(context["exception"]) for context in reports] == [ZeroDivisionError]

    def test_of_a_future_that_is_deleted_before_they_run_get_it_all_the_same(self, loop, seen):
        future = loop.create_future()
        future.add_done_callback(lambda f: seen.append(f.result()))
        future.set_result(5)
        del future
        gc.collect()
        turn(loop)
        assert seen == [5]

    def test_callbacks_and_waiting_tasks_are_served_in_one_order(self, aio, loop, seen):
        async def wait(i):
            await future
            seen.append(i)

        future = loop.create_future()
        for i in range(6):
            if i % 2:
                loop.create_task(wait(i))
            else:
                loop.call_soon(future.add_done_callback, lambda f, i=i: seen.append(i))
        turn(loop)
        future.set_result(None)
        turn(loop)
        assert seen == [0, 1, 2, 3, 4, 5]


class TestAwaiting:
    def test_gives_the_result(self, loop):
        async def main():
            loop.call_soon(future.set_result, 4)
            return await future

        future = loop.create_future()
        assert loop.run_until_complete(main()) == 4

    def test_raises_the_exception(self, loop):
        async def main():
            loop.call_soon(future.set_exception, ZeroDivisionError())
            await future

        future = loop.create_future()
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(main())

    def test_raises_the_cancellation_with_its_message(self, aio, loop, seen):
        async def main():
            loop.call_soon(future.cancel, "why")
            try:
                await future
            except aio.CancelledError as error:
                seen.append(error.args)

        future = loop.create_future()
        loop.run_until_complete(main())
        assert seen == [("why",)]

    def test_one_that_is_done_does_not_suspend(self, loop, seen):
        async def main():
            loop.call_soon(seen.append, "turn")
            for _ in range(3):
                await future
            return list(seen)

        future = loop.create_future()
        future.set_result(1)
        assert loop.run_until_complete(main()) == []

    def test_many_tasks_may_wait_and_wake_in_order(self, loop, seen):
        async def wait(i):
            seen.append((i, await future))

        async def main():
            tasks = [loop.create_task(wait(i)) for i in range(100)]
            await asyncio.sleep(0)
            future.set_result("x")
            for task in tasks:
                await task

        future = loop.create_future()
        loop.run_until_complete(main())
        assert seen == [(i, "x") for i in range(100)]

    def test_one_of_them_may_be_cancelled_and_the_future_with_it(self, aio, loop):
        async def wait():
            await future

        async def main():
            tasks = [loop.create_task(wait()) for _ in range(3)]
            await aio.sleep(0)
            tasks[1].cancel()
            await asyncio.wait(tasks)
            return [task.cancelled() for task in tasks]

        future = loop.create_future()
        assert loop.run_until_complete(main()) == [True, True, True]
        assert future.cancelled()

    def test_by_hand(self, loop):
        future = loop.create_future()
        awaiting = future.__await__()
        assert next(awaiting) is future
        assert future._asyncio_future_blocking is True
        future.set_result(6)
        with pytest.raises(StopIteration) as caught:
            awaiting.send(None)
        assert caught.value.value == 6

    def test_by_iteration(self, loop):
        future = loop.create_future()
        future.set_result((1, 2))
        with pytest.raises(StopIteration) as caught:
            next(iter(future))
        assert caught.value.value == (1, 2)

    def test_through_a_generator(self, loop):
        def inner():
            result = yield from future
            return result + 1

        class Awaitable:
            def __await__(self):
                return inner()

        async def main():
            return await Awaitable()

        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        assert loop.run_until_complete(main()) == 2


class TestWhatNobodyLookedAt:
    def test_an_exception_is_reported_when_the_future_is_deleted(self, loop, reports):
        future = loop.create_future()
        error = ValueError()
        future.set_exception(error)
        del future
        gc.collect()
        [context] = reports
        assert "exception was never retrieved" in context["message"]
        assert context["exception"] is error
        assert context["future"].exception() is error

    def test_it_is_not_when_somebody_looked(self, loop, reports):
        for look in (lambda f: f.exception(), lambda f: pytest.raises(ValueError, f.result)):
            future = loop.create_future()
            future.set_exception(ValueError())
            look(future)
            del future
        cancelled = loop.create_future()
        cancelled.cancel()
        del cancelled
        gc.collect()
        assert reports == []

    def test_nor_when_it_is_cancelled_afterwards(self, loop, reports):
        future = loop.create_future()
        future.set_exception(ValueError())
        future.cancel()
        del future
        gc.collect()
        assert reports == []

    def test_debug_mode_tells_where_it_was_made(self, loop, reports):
        loop.set_debug(True)

        def make():
            future = loop.create_future()
            future.set_exception(ValueError())

        make()
        gc.collect()
        assert "make" in [frame.name for frame in reports[0]["source_traceback"][-2:]]

    def test_when_the_interpreter_ends_it_is_said_too(self, python, aio):
        done = python(
            "-W", "ignore", "-c",
            f"import {aio.__name__} as aio\nloop = aio.new_event_loop()\n"
            "future = loop.create_future()\nfuture.set_exception(ValueError('lost'))\nfuture = None\n",
        )
        assert "Future exception was never retrieved" in done.stderr
        assert "ValueError: lost" in done.stderr


class TestMemory:
    def test_a_future_is_freed_at_once(self, loop):
        gc.disable()
        try:
            future = loop.create_future()
            alive = weakref.ref(future)
            future.add_done_callback(print)
            del future
            assert alive() is None
        finally:
            gc.enable()

    def test_cycles_through_callbacks_and_exceptions_are_collected(self, loop):
        class Thing:
            pass

        def make():
            future, thing = loop.create_future(), Thing()
            thing.future = future
            future.add_done_callback(lambda f: thing)
            other = loop.create_future()
            error = ValueError()
            error.future = other
            other.set_exception(error)
            other.exception()
            return weakref.ref(thing), weakref.ref(other)

        alive = make()
        gc.collect()
        assert [ref() for ref in alive] == [None, None]

    def test_a_long_chain_is_freed_without_overflowing_the_stack(self, loop):
        first = future = loop.create_future()
        for _ in range(20_000):
            following = loop.create_future()
            future.set_result(following)
            future = following
        del future, following
        del first
        gc.collect()


class TestItsFace:
    def test_repr(self, loop):
        future = loop.create_future()
        assert repr(future) == "<Future pending>"
        future.add_done_callback(print)
        assert repr(future).startswith("<Future pending cb=[")
        future.set_result(1)
        assert repr(future) == "<Future finished result=1>"
        failed = loop.create_future()
        failed.set_exception(ValueError(1))
        assert repr(failed) == "<Future finished exception=ValueError(1)>"
        failed.exception()
        cancelled = loop.create_future()
        cancelled.cancel()
        assert repr(cancelled) == "<Future cancelled>"

    def test_repr_of_one_that_holds_itself(self, loop):
        future = loop.create_future()
        future.set_result(future)
        assert "..." in repr(future)

    def test_it_can_be_subclassed(self, aio, loop):
        class Mine(aio.Future):
            def __init__(self, tag, *, loop):
                super().__init__(loop=loop)
                self.tag = tag

            def cancel(self, msg=None):
                self.tag = "cancelled"
                return super().cancel(msg)

        async def wait():
            await mine

        mine = Mine("x", loop=loop)
        task = loop.create_task(wait())
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert mine.tag == "cancelled"
        again = Mine("y", loop=loop)
        loop.call_soon(again.set_result, 3)
        assert loop.run_until_complete(again) == 3
        assert again.tag == "y"
        assert "Mine" in repr(again)

    def test_it_can_be_an_annotation(self, aio):
        assert "Future[int]" in str(aio.Future[int])

    def test_it_can_be_a_key(self, loop):
        futures = {loop.create_future(): i for i in range(10)}
        assert len(futures) == 10
        assert all(future in futures for future in list(futures))

    def test_one_of_another_loop(self, aio):
        other = asyncio.SelectorEventLoop()
        try:
            future = aio.Future(loop=other)
            seen = []
            future.add_done_callback(seen.append)
            other.call_soon(future.set_result, 3)

            async def wait():
                return await future

            assert other.run_until_complete(wait()) == 3
            assert seen == [future]
        finally:
            other.close()


class TestThreads:
    def test_of_a_pool_is_awaited_by_wrapping_it(self, aio, run):
        def work():
            return threading.get_ident()

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                return await aio.wrap_future(pool.submit(work))

        assert run(main()) != threading.get_ident()

    def test_cancelling_the_wrapped_one_cancels_the_others(self, aio, run):
        async def main():
            inner = concurrent.futures.Future()
            outer = aio.wrap_future(inner)
            outer.cancel()
            await aio.sleep(0)
            assert inner.cancelled()
            inner = concurrent.futures.Future()
            outer = aio.wrap_future(inner)
            threading.Thread(target=inner.set_exception, args=(ZeroDivisionError(),)).start()
            with pytest.raises(ZeroDivisionError):
                await outer

        run(main())

    def test_a_coroutine_runs_on_the_loop_of_another_thread(self, aio, loop):
        async def work(value):
            await aio.sleep(0)
            return value, asyncio.get_running_loop()

        async def fail():
            raise ZeroDivisionError

        def ask():
            try:
                results.append(aio.run_coroutine_threadsafe(work(3), loop).result(10))
                with pytest.raises(ZeroDivisionError):
                    aio.run_coroutine_threadsafe(fail(), loop).result(10)
                pending = aio.run_coroutine_threadsafe(aio.sleep(100), loop)
                assert pending.cancel()
            finally:
                loop.call_soon_threadsafe(loop.stop)

        results = []
        thread = threading.Thread(target=ask)
        thread.start()
        loop.run_forever()
        thread.join()
        assert results == [(3, loop)]


@pytest.mark.extra("asyncio lengthens it with each await")
def test_awaiting_it_often_keeps_the_traceback_of_its_own(loop):
    def fail():
        raise ZeroDivisionError

    async def main():
        future = loop.create_future()
        try:
            fail()
        except ZeroDivisionError as error:
            future.set_exception(error)
        depths = []
        for _ in range(3):
            try:
                await future
            except ZeroDivisionError as error:
                depths.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
        return depths

    depths = loop.run_until_complete(main())
    assert depths[0] == depths[1] == depths[2]
    assert depths[0][-1] == "fail"
