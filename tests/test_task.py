"""Tasks: steps, results, cancellation in all its corners, names, contexts, eager starts; none is lost."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import contextvars
import gc
import io
import sys
import textwrap
import types
import weakref

import pytest

CHAIN = 20_000


@pytest.fixture
def reports(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    return found


@pytest.fixture
def seen():
    return []


def turn(loop, times=1):
    for _ in range(times):
        loop.stop()
        loop.run_forever()


class TestSteps:
    def test_a_task_begins_in_the_next_turn_and_returns_its_result(self, aio, loop, seen):
        async def work():
            seen.append("began")
            await aio.sleep(0)
            return 5

        task = loop.create_task(work())
        assert seen == []
        assert not task.done()
        assert loop.run_until_complete(task) == 5
        assert task.done()
        assert task.result() == 5

    def test_tasks_that_yield_take_turns(self, aio, loop, seen):
        async def work(n):
            for i in range(3):
                seen.append((i, n))
                await aio.sleep(0)

        tasks = [loop.create_task(work(n)) for n in range(3)]
        loop.run_until_complete(asyncio.wait(tasks))
        assert seen == sorted(seen)

    def test_an_exception_ends_it_and_reaches_whoever_awaits(self, aio, loop):
        async def fail():
            await aio.sleep(0)
            raise ZeroDivisionError

        async def wait(task):
            with pytest.raises(ZeroDivisionError):
                await task
            return task.exception()

        task = loop.create_task(fail())
        assert type(loop.run_until_complete(wait(task))) is ZeroDivisionError

    def test_an_exception_that_nobody_looks_at_is_reported(self, aio, loop, reports):
        async def fail():
            raise ZeroDivisionError

        loop.create_task(fail())
        turn(loop, 2)
        gc.collect()
        [context] = reports
        assert context["message"] == "Task exception was never retrieved"
        assert type(context["exception"]) is ZeroDivisionError

    def test_stopiteration_becomes_a_runtimeerror(self, loop):
        async def fail():
            raise StopIteration(5)

        with pytest.raises(RuntimeError) as caught:
            loop.run_until_complete(fail())
        assert isinstance(caught.value.__cause__, StopIteration)

    def test_tasks_await_one_another(self, aio, loop):
        async def work(n):
            if n == 0:
                await aio.sleep(0)
                return 0
            return 1 + await loop.create_task(work(n - 1))

        assert loop.run_until_complete(work(100)) == 100

    def test_a_chain_of_many_gives_its_result_through(self, loop):
        async def follow(before):
            return await before + 1

        future = before = loop.create_future()
        for _ in range(CHAIN):
            before = loop.create_task(follow(before))
        turn(loop)
        future.set_result(0)
        assert loop.run_until_complete(before) == CHAIN

    def test_bare_yields_of_old_style_coroutines(self, loop):
        @types.coroutine
        def pause():
            yield
            yield None

        async def work():
            await pause()
            return 3

        assert loop.run_until_complete(work()) == 3

    def test_objects_with_the_face_of_a_coroutine(self, aio, loop):
        class Countdown(collections.abc.Coroutine):
            def __init__(self, n):
                self.n = n
                self.thrown = None

            def send(self, value):
                assert value is None
                if self.n == 0:
                    raise StopIteration("done")
                self.n -= 1

            def throw(self, kind, value=None, trace=None):
                raise kind

            def close(self):
                pass

            def __await__(self):
                return self

            def __iter__(self):
                return self

            def __next__(self):
                return self.send(None)

        task = loop.create_task(Countdown(3))
        assert loop.run_until_complete(task) == "done"
        task = loop.create_task(Countdown(1000))
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)

    def test_futures_of_another_make(self, loop, seen):
        class Other:
            """Only the protocol, nothing of asyncio.Future."""

            _asyncio_future_blocking = False

            def __init__(self):
                self.callbacks = []

            def get_loop(self):
                return loop

            def add_done_callback(self, callback, *, context=None):
                self.callbacks.append((callback, context))

            def remove_done_callback(self, callback):
                raise AssertionError

            def cancel(self, msg=None):
                seen.append("cancelled")
                return False

            def result(self):
                return 8

            def set(self):
                for callback, context in self.callbacks:
                    loop.call_soon(callback, self, context=context)

            def __await__(self):
                self._asyncio_future_blocking = True
                yield self
                return self.result()

        async def work():
            return await other

        other = Other()
        loop.call_later(0.001, other.set)
        assert loop.run_until_complete(work()) == 8
        other = Other()
        task = loop.create_task(work())
        turn(loop)
        task.cancel()
        assert seen == ["cancelled"]
        turn(loop, 2)
        if not task.done():
            other.set()
            turn(loop, 2)
        assert task.cancelled()

    def test_a_task_that_waits_for_a_future_says_so(self, loop):
        async def work():
            await future

        future = loop.create_future()
        task = loop.create_task(work())
        assert task._fut_waiter is None
        turn(loop)
        assert task._fut_waiter is future
        future.set_result(None)
        turn(loop)
        assert task._fut_waiter is None


class TestCancelling:
    def test_raises_in_the_coroutine_at_its_await(self, aio, loop, seen):
        async def work():
            try:
                await aio.sleep(1000)
            except aio.CancelledError as error:
                seen.append(error.args)
                raise

        task = loop.create_task(work())
        turn(loop)
        assert task.cancel() is True
        assert not task.done()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert task.cancelled()
        assert seen == [()]

    def test_carries_its_message(self, aio, loop):
        async def work():
            await aio.sleep(1000)

        for turns in (0, 1):
            task = loop.create_task(work())
            turn(loop, turns)
            task.cancel("why")
            with pytest.raises(aio.CancelledError, match="why"):
                loop.run_until_complete(task)

    def test_before_it_began_the_coroutine_never_begins(self, aio, loop, seen):
        async def work():
            seen.append("began")

        task = loop.create_task(work())
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert seen == []
        assert task.cancelled()

    def test_one_that_is_done_is_refused(self, loop):
        async def work():
            return 1

        task = loop.create_task(work())
        loop.run_until_complete(task)
        assert task.cancel() is False
        assert task.result() == 1

    def test_the_coroutine_may_go_on(self, aio, loop):
        async def work():
            try:
                await aio.sleep(1000)
            except aio.CancelledError:
                await aio.sleep(0)
                return "saved"

        task = loop.create_task(work())
        turn(loop)
        task.cancel()
        assert loop.run_until_complete(task) == "saved"
        assert not task.cancelled()
        assert task.cancelling() == 1

    def test_again_while_it_cleans_up_is_raised_there(self, aio, loop, seen):
        async def work():
            try:
                await aio.sleep(1000)
            finally:
                try:
                    await aio.sleep(1000)
                except aio.CancelledError:
                    seen.append("in the cleaning up")
                    raise

        task = loop.create_task(work())
        turn(loop)
        task.cancel()
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert seen == ["in the cleaning up"]

    def test_itself_takes_effect_at_the_next_await(self, aio, loop, seen):
        async def work():
            asyncio.current_task().cancel()
            seen.append("still here")
            await aio.sleep(0)
            seen.append("not here")

        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(work())
        assert seen == ["still here"]

    def test_itself_just_before_the_end_counts(self, aio, loop):
        async def work():
            asyncio.current_task().cancel()
            return 1

        task = loop.create_task(work())
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert task.cancelled()

    def test_wins_over_a_result_that_has_not_been_delivered_yet(self, aio, loop):
        async def work():
            return await future

        future = loop.create_future()
        task = loop.create_task(work())
        turn(loop)
        future.set_result(1)
        assert task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert future.result() == 1

    def test_again_before_it_was_delivered_keeps_the_first_message(self, aio, loop):
        async def work():
            await future

        future = loop.create_future()
        task = loop.create_task(work())
        turn(loop)
        task.cancel("first")
        task.cancel("second")
        with pytest.raises(aio.CancelledError, match="first"):
            loop.run_until_complete(task)

    def test_wins_over_an_exception_which_then_counts_as_looked_at(self, aio, loop, reports):
        async def work():
            await future  # noqa: F821  it is there when this runs

        future = loop.create_future()
        task = loop.create_task(work())
        turn(loop)
        future.set_exception(ZeroDivisionError())
        task.cancel("why")
        with pytest.raises(aio.CancelledError, match="why"):
            loop.run_until_complete(task)
        del future
        gc.collect()
        assert reports == []

    def test_goes_to_what_the_task_waits_for(self, aio, loop):
        async def inner():
            await aio.sleep(1000)

        async def outer():
            await waited

        waited = loop.create_task(inner())
        task = loop.create_task(outer())
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert waited.cancelled()

    def test_stops_at_a_shield(self, aio, loop):
        async def inner():
            await aio.sleep(0.001)
            return 1

        async def outer():
            await aio.shield(waited)

        waited = loop.create_task(inner())
        task = loop.create_task(outer())
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert loop.run_until_complete(waited) == 1

    def test_when_the_inner_task_goes_on_so_does_the_outer(self, aio, loop):
        async def inner():
            try:
                await aio.sleep(1000)
            except aio.CancelledError:
                return "saved"

        async def outer():
            return await waited

        waited = loop.create_task(inner())
        task = loop.create_task(outer())
        turn(loop)
        task.cancel()
        assert loop.run_until_complete(task) == "saved"

    @pytest.mark.extra("asyncio overflows the C stack and dies")
    def test_goes_down_a_chain_of_many_without_recursion(self, aio, loop):
        async def follow(before):
            await before

        future = before = loop.create_future()
        tasks = []
        for _ in range(CHAIN):
            before = loop.create_task(follow(before))
            tasks.append(before)
        turn(loop)
        assert tasks[-1].cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(tasks[-1])
        assert future.cancelled()
        assert all(task.cancelled() for task in tasks)

    @pytest.mark.extra("asyncio overflows the C stack and dies")
    def test_a_chain_of_many_that_is_pending_is_freed_without_recursion(self, aio, reports):
        async def follow(before):
            await before

        loop = aio.new_event_loop()
        before = loop.create_future()
        for _ in range(CHAIN):
            before = loop.create_task(follow(before))
            before._log_destroy_pending = False
        turn(loop)
        loop.close()
        del before
        gc.collect()

    def test_a_descendant_of_many_awaits_in_one_task(self, aio, loop):
        depth = 400

        async def descend(n):
            if n:
                await descend(n - 1)
            else:
                await aio.sleep(1000)

        task = loop.create_task(descend(depth))
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)

    @pytest.mark.extra("asyncio raises RecursionError, or overflows the C stack and dies")
    @pytest.mark.parametrize("length", [2, 3, 50])
    @pytest.mark.parametrize("leading", [0, 1, 40])
    def test_ends_tasks_that_wait_for_one_another_in_a_circle(self, aio, loop, length, leading):
        async def wait(n):
            await tasks[n + 1 if n + 1 < len(tasks) else leading]

        tasks = []
        tasks += [loop.create_task(wait(n)) for n in range(leading + length)]
        turn(loop, 2)
        assert tasks[0].cancel("why")
        loop.run_until_complete(asyncio.wait(tasks))
        assert all(task.cancelled() for task in tasks)

    @pytest.mark.extra("asyncio dies of some")
    @pytest.mark.parametrize("by", ["gather", "subclass", "stock task"])
    def test_never_overflows_the_stack_where_a_circle_is_not_seen(self, aio, python, by):
        program = f"""
            import asyncio, glassloop as aio, os, sys

            class Mine(aio.Task):
                pass

            async def wait(i):
                if {by!r} == 'gather' and i == 0:
                    await aio.gather(tasks[1])
                else:
                    await tasks[1 - i]

            async def main():
                make = dict([('gather', aio.Task), ('subclass', Mine), ('stock task', asyncio.Task)])[{by!r}]
                tasks.extend(make(wait(i), loop=asyncio.get_running_loop()) for i in range(2))
                for _ in range(5):
                    await aio.sleep(0)
                try:
                    tasks[1].cancel()
                except RecursionError:
                    print('RecursionError')
                sys.stdout.flush()
                os._exit(0)

            tasks = []
            aio.run(main())
            """
        done = python("-c", textwrap.dedent(program))
        assert (done.returncode, done.stdout) in [(0, ""), (0, "RecursionError\n")], done.stderr[-500:]

    def test_the_error_is_chained_to_the_place_of_the_await(self, aio, loop):
        async def inner():
            await aio.sleep(1000)

        async def outer():
            task = loop.create_task(inner())
            await aio.sleep(0)
            task.cancel("why")
            try:
                await task
            except aio.CancelledError as error:
                return error

        error = loop.run_until_complete(outer())
        assert error.args == ("why",)
        names = []
        while error is not None:
            trace = error.__traceback__
            while trace is not None:
                names.append(trace.tb_frame.f_code.co_name)
                trace = trace.tb_next
            error = error.__context__
        assert "inner" in names

    def test_cancelled_tasks_say_nothing_of_unretrieved_exceptions(self, aio, loop, reports):
        async def work():
            await aio.sleep(1000)

        task = loop.create_task(work())
        turn(loop)
        task.cancel()
        turn(loop, 3)
        assert task.cancelled()
        del task
        gc.collect()
        assert reports == []

    def test_a_future_whose_cancel_refuses_lets_it_be_raised_at_the_next_step(self, aio, loop):
        class Stubborn(aio.Future):
            def cancel(self, msg=None):
                return False

        async def work():
            await future

        future = Stubborn(loop=loop)
        task = loop.create_task(work())
        turn(loop)
        assert task.cancel()
        turn(loop, 2)
        assert not task.done()
        future.set_result(None)
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)


class TestCountingCancellations:
    def test_requests_are_counted_and_taken_back(self, aio, loop):
        async def work():
            task = asyncio.current_task()
            assert task.cancelling() == 0
            assert task.uncancel() == 0
            task.cancel()
            task.cancel()
            assert task.cancelling() == 2
            with contextlib.suppress(aio.CancelledError):
                await aio.sleep(0)
            assert task.uncancel() == 1
            assert task.uncancel() == 0
            await aio.sleep(0)
            return "fine"

        task = loop.create_task(work())
        assert loop.run_until_complete(task) == "fine"

    def test_taking_back_the_last_takes_back_what_was_not_delivered_yet(self, aio, loop):
        if aio is asyncio and sys.version_info < (3, 13):
            pytest.skip("asyncio does so since 3.13")

        async def work():
            task = asyncio.current_task()
            task.cancel()
            task.uncancel()
            await aio.sleep(0)
            return "not cancelled"

        assert loop.run_until_complete(loop.create_task(work())) == "not cancelled"

    def test_a_timeout_within_a_cancelled_task_knows_whose_cancellation_it_is(self, aio, loop):
        async def work():
            async with aio.timeout(0.001):
                try:
                    await aio.sleep(1000)
                except aio.CancelledError:
                    asyncio.current_task().cancel()
                    raise

        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(loop.create_task(work()))


class TestNoneIsLost:
    @pytest.mark.extra("asyncio loses tasks that nobody references")
    def test_a_pending_task_that_nobody_references_is_kept_until_done(self, aio, loop, seen):
        async def work():
            future = loop.create_future()
            futures.append(weakref.ref(future))
            await future
            seen.append("done")

        futures = []
        for _ in range(10):
            loop.create_task(work())
        turn(loop)
        gc.collect()
        for ref in futures:
            ref().set_result(None)
        turn(loop)
        assert seen == ["done"] * 10

    def test_one_that_is_done_is_freed(self, aio, loop):
        async def work():
            await aio.sleep(0)

        gc.collect()
        gc.disable()
        try:
            task = loop.create_task(work())
            alive = weakref.ref(task)
            loop.run_until_complete(task)
            del task
            turn(loop)
            assert alive() is None
        finally:
            gc.enable()

    def test_one_that_failed_is_freed_when_its_exception_is(self, aio, loop):
        async def work():
            raise ZeroDivisionError

        def run():
            task = loop.create_task(work())
            with pytest.raises(ZeroDivisionError):
                loop.run_until_complete(task)
            return weakref.ref(task)

        alive = run()
        gc.collect()
        assert alive() is None

    def test_those_pending_when_the_loop_is_closed_are_reported_and_freed(self, aio):
        async def work(future):
            await future

        loop = aio.new_event_loop()
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
        future = loop.create_future()
        task = loop.create_task(work(future))
        alive = weakref.ref(task)
        turn(loop)
        loop.close()
        del task, future
        gc.collect()
        assert alive() is None
        assert reports == ["Task was destroyed but it is pending!"]

    def test_a_hundred_thousand_leave_no_trace(self, aio, run):
        async def work():
            await aio.sleep(0)

        def count():
            gc.collect()
            return len(asyncio.all_tasks()), sum(type(o) is types.CoroutineType for o in gc.get_objects())

        async def main():
            before = count()
            for _ in range(10):
                tasks = [aio.create_task(work()) for _ in range(10_000)]
                for task in tasks:
                    await task
            del task, tasks
            await aio.sleep(0)
            assert count() == before

        run(main())


class TestNamesAndContexts:
    def test_a_name_is_given_or_counted(self, aio, loop):
        async def work():
            return asyncio.current_task().get_name()

        assert loop.run_until_complete(loop.create_task(work(), name="fred")) == "fred"
        assert loop.run_until_complete(loop.create_task(work(), name=5)) == "5"
        first, second = loop.create_task(work()), loop.create_task(work())
        assert first.get_name().startswith("Task-")
        assert int(second.get_name()[5:]) == int(first.get_name()[5:]) + 1
        second.set_name("barney")
        assert loop.run_until_complete(second) == "barney"
        second.set_name(7)
        assert second.get_name() == "7"
        loop.run_until_complete(first)

    @pytest.mark.extra("asyncio, up to 3.14, notices when the task runs, and breaks the loop")
    @pytest.mark.parametrize("context", ["text", 5, {}])
    def test_something_else_than_a_context_is_refused_at_once(self, aio, loop, context):
        coro = asyncio.sleep(0)
        with pytest.raises(TypeError, match="a contextvars.Context was expected"):
            loop.create_task(coro, context=context)
        with pytest.raises(TypeError, match="a contextvars.Context was expected"):
            aio.Task(coro, loop=loop, context=context)
        coro.close()
        loop.run_until_complete(asyncio.sleep(0))

    def test_a_task_runs_in_a_copy_of_the_context(self, aio, loop, seen):
        var = contextvars.ContextVar("var", default=0)

        async def work():
            seen.append(var.get())
            var.set(2)
            await aio.sleep(0)
            seen.append(var.get())
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future
            seen.append(var.get())

        var.set(1)
        task = loop.create_task(work())
        var.set(5)
        loop.run_until_complete(task)
        assert seen == [1, 2, 2]
        assert var.get() == 5

    def test_or_in_the_one_given(self, aio, loop, seen):
        var = contextvars.ContextVar("var", default=0)
        context = contextvars.copy_context()

        async def work():
            await aio.sleep(0)
            var.set(3)

        task = loop.create_task(work(), context=context)
        loop.run_until_complete(task)
        assert context[var] == 3
        assert var.get() == 0
        if sys.version_info >= (3, 12):
            assert task.get_context() is context

    def test_children_inherit_what_was_set_before_and_nothing_after(self, aio, run):
        var = contextvars.ContextVar("var", default=0)

        async def child():
            before = var.get()
            var.set(99)
            await aio.sleep(0)
            return before

        async def main():
            var.set(1)
            first = aio.create_task(child())
            var.set(2)
            second = aio.create_task(child())
            var.set(3)
            return await first, await second, var.get()

        assert run(main()) == (1, 2, 3)

    def test_the_current_task_is_the_one_that_steps(self, aio, loop, seen):
        async def work():
            seen.append(asyncio.current_task())
            await aio.sleep(0)
            loop.call_soon(lambda: seen.append(asyncio.current_task()))
            await aio.sleep(0)
            seen.append(asyncio.current_task())

        task = loop.create_task(work())
        assert asyncio.current_task(loop) is None
        loop.run_until_complete(task)
        assert seen == [task, None, task]
        assert asyncio.current_task(loop) is None


class TestEagerStart:
    @pytest.fixture
    def eager(self, aio, loop):
        """create_task() that starts at once, on every version that can."""
        if sys.version_info >= (3, 12):
            loop.set_task_factory(aio.eager_task_factory)
            return loop.create_task
        if aio is asyncio:
            pytest.skip("asyncio can do that since 3.12")
        return lambda coro, **options: loop.create_task(coro, eager_start=True, **options)

    def test_runs_up_to_the_first_suspension(self, aio, loop, eager, seen):
        async def work():
            seen.append("began")
            await aio.sleep(0)
            seen.append("went on")

        async def main():
            task = eager(work())
            assert seen == ["began"]
            assert not task.done()
            await task
            return list(seen)

        assert loop.run_until_complete(main()) == ["began", "went on"]

    def test_what_never_suspends_is_done_at_once(self, aio, loop, eager):
        async def work():
            return 3

        async def fail():
            raise ZeroDivisionError

        async def main():
            task = eager(work())
            assert task.done()
            assert task.result() == 3
            task = eager(fail())
            assert task.done()
            assert type(task.exception()) is ZeroDivisionError
            assert asyncio.all_tasks() == {asyncio.current_task()}

        loop.run_until_complete(main())

    def test_the_current_task_is_the_new_one_meanwhile(self, aio, loop, eager, seen):
        async def work(depth):
            me = asyncio.current_task()
            seen.append(me)
            if depth:
                eager(work(depth - 1))
            assert asyncio.current_task() is me
            await aio.sleep(0)
            assert asyncio.current_task() is me

        async def main():
            me = asyncio.current_task()
            eager(work(3))
            assert asyncio.current_task() is me
            assert len(set(seen)) == 4
            assert asyncio.all_tasks() == {me, *seen}
            await asyncio.wait(seen)

        loop.run_until_complete(main())

    def test_name_and_context_are_set_before_it_runs(self, aio, loop, eager):
        var = contextvars.ContextVar("var", default=0)

        async def work():
            value = var.get()
            var.set(9)
            return asyncio.current_task().get_name(), value

        async def main():
            var.set(4)
            task = eager(work(), name="fred")
            name, value = await task
            assert value == 4
            assert var.get() == 4
            assert task.get_name() == "fred"
            if sys.version_info >= (3, 13, 3):  # before, asyncio named it when it had run
                assert name == "fred"

        loop.run_until_complete(main())

    def test_cancelling_the_parent_in_it(self, aio, loop, eager):
        async def work(parent):
            parent.cancel()

        async def main():
            eager(work(asyncio.current_task()))
            await aio.sleep(1000)

        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(main())

    def test_cancelling_itself_in_it(self, aio, loop, eager):
        async def work():
            asyncio.current_task().cancel()
            await aio.sleep(1000)

        async def main():
            task = eager(work())
            with pytest.raises(aio.CancelledError):
                await task
            return task.cancelled()

        assert loop.run_until_complete(main())

    def test_where_no_loop_runs_it_starts_later(self, aio, loop, seen):
        async def work():
            seen.append(1)

        if aio is asyncio and sys.version_info < (3, 12):
            pytest.skip("asyncio can do that since 3.12")
        task = aio.Task(work(), loop=loop, eager_start=False)
        assert seen == []
        loop.run_until_complete(task)

    @pytest.mark.extra("an option of create_task since Python 3.14")
    def test_can_be_asked_of_one_task(self, aio, loop, seen):
        async def work(value):
            seen.append(value)

        async def main():
            loop.create_task(work(1))
            loop.create_task(work(2), eager_start=True)
            loop.create_task(work(3), eager_start=False)
            assert seen == [2]
            await aio.sleep(0)
            assert seen == [2, 1, 3]

        loop.run_until_complete(main())


class TestFactories:
    def test_makes_the_tasks(self, aio, loop, seen):
        class Mine(aio.Task):
            pass

        def factory(loop, coro, **options):
            seen.append(sorted(options))
            return Mine(coro, loop=loop, **options)

        async def work():
            return type(asyncio.current_task()), asyncio.current_task().get_name()

        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        task = loop.create_task(work(), name="fred", context=contextvars.copy_context())
        assert loop.run_until_complete(task) == (Mine, "fred")
        assert "context" in seen[0]
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None
        task = loop.create_task(work())
        loop.run_until_complete(task)
        assert type(task) is not Mine

    def test_may_return_the_tasks_of_asyncio(self, aio, loop):
        loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))

        async def work():
            await aio.sleep(0)
            return 3

        async def main():
            return await aio.create_task(work())

        assert loop.run_until_complete(main()) == 3

    def test_a_subclass_may_override(self, aio, loop, seen):
        class Mine(aio.Task):
            def cancel(self, msg=None):
                seen.append("cancel")
                return super().cancel(msg)

        async def inner():
            await aio.sleep(1000)

        async def outer():
            await waited

        waited = Mine(inner(), loop=loop)
        task = loop.create_task(outer())
        turn(loop)
        task.cancel()
        with pytest.raises(aio.CancelledError):
            loop.run_until_complete(task)
        assert seen == ["cancel"]


class TestItsFace:
    def test_repr(self, aio, loop):
        async def work():
            await future

        future = loop.create_future()
        task = loop.create_task(work(), name="fred")
        assert repr(task).startswith("<Task pending name='fred' coro=<")
        turn(loop)
        assert "wait_for=<Future pending" in repr(task)
        assert "test_task.py" in repr(task)
        task.cancel()
        turn(loop, 2)
        assert repr(task).startswith("<Task cancelled name='fred'")

    def test_its_coroutine_and_stack(self, aio, loop):
        async def inner():
            await aio.sleep(1000)

        async def work():
            await inner()

        coroutine = work()
        task = loop.create_task(coroutine)
        assert task.get_coro() is coroutine
        turn(loop)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["work"]
        out = io.StringIO()
        task.print_stack(file=out)
        assert "Stack for <Task pending" in out.getvalue()
        assert "await inner()" in out.getvalue()
        task.cancel()
        turn(loop, 3)
        assert task.done()

    def test_the_stack_of_one_that_failed_is_that_of_its_exception(self, loop):
        async def work():
            raise ZeroDivisionError

        task = loop.create_task(work())
        turn(loop, 2)
        assert [frame.f_code.co_name for frame in task.get_stack()][-1] == "work"
        out = io.StringIO()
        task.print_stack(file=out)
        assert "Traceback for <Task finished" in out.getvalue()
        task.exception()

    def test_callbacks_are_those_of_a_future(self, aio, loop, seen):
        async def work():
            return 1

        task = loop.create_task(work())
        task.add_done_callback(seen.append)
        task.add_done_callback(print)
        assert task.remove_done_callback(print) == 1
        loop.run_until_complete(task)
        assert seen == [task]

    def test_it_can_be_an_annotation(self, aio):
        assert "Task[int]" in str(aio.Task[int])

    def test_debug_mode_remembers_where_it_was_made(self, aio, loop):
        loop.set_debug(True)

        async def work():
            pass

        def make():
            return loop.create_task(work())

        task = make()
        assert task._source_traceback[-1].name == "make"
        loop.run_until_complete(task)


@pytest.mark.extra("asyncio doesn't know how old its tasks are")
def test_a_task_knows_its_age_whether_it_was_made_before_the_loop_ran_or_while_it_did(loop):
    import time

    from glassloop.core.task import age_of

    async def nap():
        born = time.monotonic()
        inner = asyncio.ensure_future(asyncio.sleep(30), loop=loop)
        await asyncio.sleep(0.05)
        return inner, born

    before = time.monotonic()
    outer = loop.create_task(nap())
    made = time.monotonic()
    time.sleep(0.02)
    inner, born = loop.run_until_complete(outer)
    asked = time.monotonic()
    ages = age_of(outer), age_of(inner)
    answered = time.monotonic()
    slack = 0.002  # the counter is scaled by the clock, over the loop's short life
    assert asked - made - slack <= ages[0] <= answered - before + slack
    # to within a turn: that began when the loop began
    assert asked - born - slack <= ages[1] <= answered - before + slack
    inner.cancel()
    assert age_of(asyncio.Future(loop=loop)) is None
    assert age_of(None) is None
