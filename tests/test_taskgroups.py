"""TaskGroup: nothing outlives the block, no failure and no cancellation is lost."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
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


def types_in(group):
    return sorted(type(error).__name__ for error in group.exceptions)


class TestGroup:
    def test_waits_for_its_tasks(self, aio, run):
        async def main():
            async with aio.TaskGroup() as group:
                tasks = [group.create_task(give(n, n % 4)) for n in range(20)]
                assert not any(task.done() for task in tasks)
            assert [task.result() for task in tasks] == list(range(20))

        run(main())

    def test_of_nobody(self, aio, run):
        async def main():
            async with aio.TaskGroup() as group:
                pass
            assert repr(group) == "<TaskGroup entered>"

        run(main())

    def test_tasks_can_add_tasks(self, aio, run):
        async def main():
            ran = []

            async def work(group, depth):
                ran.append(depth)
                if depth:
                    group.create_task(work(group, depth - 1))
                    group.create_task(work(group, depth - 1))

            async with aio.TaskGroup() as group:
                group.create_task(work(group, 4))
            assert len(ran) == 2**5 - 1

        run(main())

    def test_tasks_that_are_done_before_the_block_ends(self, aio, run):
        async def main():
            async with aio.TaskGroup() as group:
                task = group.create_task(give(1))
                assert await task == 1
                await turns(2)
                other = group.create_task(give(2))
            assert other.result() == 2

        run(main())

    def test_names_contexts_and_what_the_loop_takes_besides(self, aio, run):
        variable = contextvars.ContextVar("variable", default=0)

        async def read():
            return variable.get()

        async def main():
            context = contextvars.copy_context()
            context.run(variable.set, 5)
            async with aio.TaskGroup() as group:
                first = group.create_task(read(), name="first", context=context)
                second = group.create_task(read())
            assert first.get_name() == "first"
            assert first.result() == 5
            assert second.result() == 0

        run(main())

    @since(3, 14)
    def test_eager_start(self, aio, run):
        async def main():
            ran = []

            async def work():
                ran.append(1)

            async with aio.TaskGroup() as group:
                group.create_task(work(), eager_start=True)
                assert ran == [1]

        run(main())

    def test_says_how_it_is(self, aio, run):
        async def main():
            group = aio.TaskGroup()
            assert repr(group) == "<TaskGroup>"
            with pytest.raises(BaseExceptionGroup):
                async with group:
                    group.create_task(forever())
                    group.create_task(fail())
                    assert repr(group) == "<TaskGroup tasks=2 entered>"
                    try:
                        await forever()
                    finally:
                        assert repr(group) == "<TaskGroup tasks=1 errors=1 cancelling>"

        run(main())

    def test_is_asyncios_too(self, aio):
        class Own(aio.TaskGroup):
            pass

        assert isinstance(aio.TaskGroup(), asyncio.TaskGroup)
        assert isinstance(Own(), asyncio.TaskGroup)
        group = Own()
        group.name = "attribute"
        assert weakref.ref(group)() is group


class TestMisuse:
    def test_tasks_before_and_after(self, aio, run):
        async def main():
            group = aio.TaskGroup()
            coro = give(1)
            with pytest.raises(RuntimeError, match="has not been entered"):
                group.create_task(coro)
            coro.close()
            async with group:
                pass
            coro = give(1)
            with pytest.raises(RuntimeError, match="is finished"):
                group.create_task(coro)
            coro.close()
            with pytest.raises(RuntimeError, match="already been entered"):
                async with group:
                    pass

        run(main())

    @since(3, 13)
    def test_a_coroutine_that_is_refused_is_closed(self, aio, run, recwarn):
        async def main():
            group = aio.TaskGroup()
            coros = [give(n) for n in range(3)]
            with pytest.raises(RuntimeError):
                group.create_task(coros[0])
            async with group:
                pass
            with pytest.raises(RuntimeError):
                group.create_task(coros[1])
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as group:
                    group.create_task(fail())
                    try:
                        await forever()
                    finally:
                        with pytest.raises(RuntimeError, match="is shutting down"):
                            group.create_task(coros[2])

        run(main())
        gc.collect()
        assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]

    def test_outside_a_task(self, aio, loop):
        failed = []

        def callback():
            try:
                aio.TaskGroup().__aenter__().send(None)
            except RuntimeError as error:
                failed.append(str(error))

        loop.call_soon(callback)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert len(failed) == 1
        assert "parent task" in failed[0]

    def test_what_is_no_coroutine(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup) as group:
                async with aio.TaskGroup() as tasks:
                    tasks.create_task(5)
            assert types_in(group.value) in (["TypeError"], ["AttributeError"])

        run(main())


class TestFailures:
    def test_cancel_the_others_and_come_out_together(self, aio, run):
        async def main():
            ended = []

            async def stubborn():
                try:
                    await forever()
                except asyncio.CancelledError:
                    ended.append("cancelled")
                    raise KeyError

            with pytest.raises(ExceptionGroup, match="unhandled errors in a TaskGroup") as group:
                async with aio.TaskGroup() as tasks:
                    tasks.create_task(stubborn())
                    other = tasks.create_task(forever())
                    tasks.create_task(fail(after=2))
            assert types_in(group.value) == ["KeyError", "ZeroDivisionError"]
            assert ended == ["cancelled"]
            assert other.cancelled()

        run(main())

    def test_get_the_parent_out_of_the_block(self, aio, run):
        async def main():
            reached = []
            with pytest.raises(ExceptionGroup) as group:
                async with aio.TaskGroup() as tasks:
                    tasks.create_task(fail(after=1))
                    await forever()
                    reached.append(1)
            assert types_in(group.value) == ["ZeroDivisionError"]
            assert reached == []
            await turns()

        run(main())

    @since(3, 13)
    def test_leave_no_cancellation_behind(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as tasks:
                    tasks.create_task(fail(after=1))
                    await forever()
            assert not asyncio.current_task().cancelling()
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as tasks:
                    tasks.create_task(fail(after=1))
            assert not asyncio.current_task().cancelling()

        run(main())

    def test_of_the_block_itself(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup) as group:
                async with aio.TaskGroup() as tasks:
                    other = tasks.create_task(forever())
                    await turns()
                    raise ZeroDivisionError
            assert types_in(group.value) == ["ZeroDivisionError"]
            assert other.cancelled()
            with pytest.raises(ExceptionGroup) as group:
                async with aio.TaskGroup():
                    raise KeyError
            assert types_in(group.value) == ["KeyError"]

        run(main())

    def test_that_end_the_program_come_out_as_they_are(self, aio, run):
        class End(SystemExit):
            pass

        async def main():
            with pytest.raises(End):
                async with aio.TaskGroup() as tasks:
                    tasks.create_task(forever())
                    raise End

        run(main())

    def test_of_a_task_that_end_the_program(self, aio, loop):
        async def main():
            async with aio.TaskGroup() as tasks:
                tasks.create_task(forever())
                tasks.create_task(fail(SystemExit))

        task = loop.create_task(main())
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)

    def test_a_task_that_is_cancelled_is_no_failure(self, aio, run):
        async def main():
            async with aio.TaskGroup() as group:
                cancelled = group.create_task(forever())
                other = group.create_task(give(1, 5))
                await turns()
                cancelled.cancel()
            assert cancelled.cancelled()
            assert other.result() == 1

        run(main())

    def test_of_groups_within_groups(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup) as group:
                async with aio.TaskGroup() as outer:
                    async with aio.TaskGroup() as inner:
                        inner.create_task(fail())
                        outer.create_task(fail(KeyError))
            flat = []
            pending = [group.value]
            while pending:
                error = pending.pop()
                pending.extend(getattr(error, "exceptions", ()))
                flat.append(type(error).__name__)
            assert "ZeroDivisionError" in flat
            assert "KeyError" in flat

        run(main())

    @since(3, 13)
    def test_of_a_task_that_is_done_when_it_starts(self, aio, run):
        async def main():
            asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
            reached = []
            with pytest.raises(ExceptionGroup) as group:
                async with aio.TaskGroup() as tasks:
                    task = tasks.create_task(fail())
                    assert task.done()
                    reached.append(1)
            assert reached == [1]
            assert types_in(group.value) == ["ZeroDivisionError"]
            assert not asyncio.current_task().cancelling()

        run(main())

    @since(3, 14)
    def test_are_not_kept_by_the_group(self, aio, run):
        class Error(Exception):
            pass

        async def main():
            group = aio.TaskGroup()
            with contextlib.suppress(ExceptionGroup):
                async with group:
                    group.create_task(fail(Error))
            gc.collect()
            return [thing for thing in gc.get_objects() if type(thing) is Error]

        assert run(main()) == []


class TestCancelled:
    def test_from_outside_in_the_block(self, aio, run):
        async def main():
            inner = []

            async def work():
                async with aio.TaskGroup() as group:
                    inner.append(group.create_task(forever()))
                    await forever()

            task = asyncio.create_task(work())
            await turns(2)
            task.cancel("outside")
            with pytest.raises(asyncio.CancelledError) as error:
                await task
            assert error.value.args == ("outside",)
            assert inner[0].cancelled()

        run(main())

    def test_from_outside_while_it_waits_for_the_tasks(self, aio, run):
        async def main():
            inner = []

            async def work():
                async with aio.TaskGroup() as group:
                    inner.append(group.create_task(forever()))

            task = asyncio.create_task(work())
            await turns(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert inner[0].cancelled()

        run(main())

    def test_again_while_the_tasks_take_their_time(self, aio, run):
        async def main():
            ended = []

            async def slow():
                try:
                    await forever()
                finally:
                    with contextlib.suppress(asyncio.CancelledError):
                        await turns(10)
                    ended.append(1)

            async def work():
                async with aio.TaskGroup() as group:
                    group.create_task(slow())

            task = asyncio.create_task(work())
            await turns(2)
            for _ in range(3):
                task.cancel()
                await turns(2)
            assert not task.done()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended == [1]

        run(main())

    @since(3, 13)
    def test_and_failed_the_failure_comes_out_and_the_cancellation_stays_counted(self, aio, run):
        async def main():
            async def stubborn():
                try:
                    await forever()
                finally:
                    raise KeyError

            async def work():
                try:
                    async with aio.TaskGroup() as group:
                        group.create_task(stubborn())
                        await forever()
                except ExceptionGroup as error:
                    assert types_in(error) == ["KeyError"]
                    assert asyncio.current_task().cancelling() == 1
                    with pytest.raises(asyncio.CancelledError):
                        await turns()
                    return "handled"

            task = asyncio.create_task(work())
            await turns(2)
            task.cancel()
            assert await task == "handled"

        run(main())

    @since(3, 13)
    def test_from_outside_and_by_a_failure_at_once_neither_is_lost(self, aio, run):
        async def main():
            async def work():
                with pytest.raises(ExceptionGroup):
                    async with aio.TaskGroup() as group:
                        group.create_task(fail(after=1))
                        await forever()
                assert asyncio.current_task().cancelling() == 1
                await forever()

            task = asyncio.create_task(work())
            await turns(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)

        run(main())

    def test_by_a_timeout_around_it(self, aio, run):
        async def main():
            with pytest.raises(TimeoutError):
                async with aio.timeout(0.001):
                    async with aio.TaskGroup() as group:
                        inner = group.create_task(forever())
            assert inner.cancelled()

        run(main())

    def test_a_timeout_within_it(self, aio, run):
        async def main():
            async with aio.TaskGroup() as group:
                other = group.create_task(give(1, 3))
                with pytest.raises(TimeoutError):
                    async with aio.timeout(0.001):
                        await forever()
            assert other.result() == 1

        run(main())

    def test_a_group_within_a_cancelled_group(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup) as error:
                async with aio.TaskGroup() as outer:
                    outer.create_task(fail(after=2))
                    async with aio.TaskGroup() as inner:
                        task = inner.create_task(forever())
            assert types_in(error.value) == ["ZeroDivisionError"]
            assert task.cancelled()

        run(main())


class TestTasks:
    def test_are_made_by_the_task_factory(self, aio, run):
        async def main():
            made = []

            def factory(loop, coro, **kwargs):
                task = asyncio.Task(coro, loop=loop, **kwargs)
                made.append(task)
                return task

            asyncio.get_running_loop().set_task_factory(factory)
            async with aio.TaskGroup() as group:
                tasks = [group.create_task(give(n, n)) for n in range(3)]
            assert made == tasks
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as group:
                    group.create_task(fail())
                    other = group.create_task(forever())
            assert other.cancelled()

        run(main())

    def test_many(self, aio, run):
        async def main():
            total = 0

            async def add(n):
                nonlocal total
                await asyncio.sleep(0)
                total += n

            async with aio.TaskGroup() as group:
                for n in range(5000):
                    group.create_task(add(n))
            assert total == sum(range(5000))
            assert len(group._tasks) == 0

        run(main())


@pytest.mark.extra("glassloop's names on a loop of asyncio's, and the other way round")
class TestMixed:
    def test_on_asyncios_loop(self, aio):
        async def main():
            async with aio.TaskGroup() as group:
                tasks = [group.create_task(give(n, n)) for n in range(3)]
            assert [task.result() for task in tasks] == [0, 1, 2]
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as group:
                    group.create_task(fail())
                    await forever()
            assert not asyncio.current_task().cancelling()

            async def work():
                async with aio.TaskGroup() as group:
                    group.create_task(forever())

            task = asyncio.create_task(work())
            await turns(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())

    def test_in_one_of_asyncios(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as outer:
                    outer.create_task(fail(after=2))
                    async with aio.TaskGroup() as inner:
                        inner.create_task(forever())
            assert not asyncio.current_task().cancelling()

        run(main())


class TestEnds:
    @since(3, 15)
    def test_an_asynchronous_generator_is_closed_within_the_block(self, aio, run):
        async def numbers():
            async with aio.TaskGroup() as group:
                group.create_task(forever())
                yield 1

        async def main():
            generator = numbers()
            assert await anext(generator) == 1
            await generator.aclose()

        run(main())

    @since(3, 15)
    def test_a_group_that_is_being_cancelled_passes_on_a_cancellation_from_outside(self, aio, run):
        async def main():
            ending, end = asyncio.Event(), asyncio.Event()

            async def child():
                try:
                    await forever()
                finally:
                    ending.set()
                    await end.wait()

            async def block():
                async with aio.TaskGroup() as group:
                    group.create_task(child())
                    await turns()
                    group.cancel()

            task = asyncio.create_task(block())
            await ending.wait()
            task.cancel("from outside")
            end.set()
            with pytest.raises(asyncio.CancelledError, match="from outside"):
                await task

        run(main())


class Gauge:
    """Work that counts how much of itself runs at once, and ends when it is told to."""

    def __init__(self):
        self.begun = []
        self.running = self.most = 0
        self.ends = {}

    async def work(self, name):
        self.begun.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        end = self.ends[name] = asyncio.get_running_loop().create_future()
        try:
            return await end
        finally:
            self.running -= 1

    async def end(self, name, result=None):
        self.ends.pop(name).set_result(result)
        await turns(5)


def asyncios_tasks(loop, coro, **kwargs):
    return asyncio.Task(coro, loop=loop, **kwargs)


@pytest.mark.extra("asyncio's own has no limit")
class TestLimit:
    @pytest.fixture(params=["own", "factory", "eager", "eager factory of asyncio's", "asyncio's loop"])
    def run(self, aio, request):
        """Whoever makes the tasks."""

        def run(main):
            loops = asyncio.SelectorEventLoop if request.param == "asyncio's loop" else aio.new_event_loop
            with asyncio.Runner(loop_factory=loops) as runner:
                if request.param == "factory":
                    runner.get_loop().set_task_factory(asyncios_tasks)
                elif request.param == "eager":
                    runner.get_loop().set_task_factory(aio.eager_task_factory)
                elif request.param == "eager factory of asyncio's":
                    factory = asyncio.eager_task_factory if sys.version_info >= (3, 12) else asyncios_tasks
                    runner.get_loop().set_task_factory(factory)
                return runner.run(main)

        return run

    def test_that_many_run_at_once_and_the_others_begin_in_order(self, aio, run):
        async def main():
            gauge = Gauge()
            async with aio.TaskGroup(limit=3) as group:
                tasks = [group.create_task(gauge.work(n)) for n in range(8)]
                await turns(5)
                assert gauge.begun == [0, 1, 2]
                await gauge.end(1, "one")
                assert gauge.begun == [0, 1, 2, 3]
                await gauge.end(0)
                await gauge.end(3)
                assert gauge.begun == [0, 1, 2, 3, 4, 5]
                tasks.append(group.create_task(gauge.work(8)))
                for n in (2, 4, 5, 6, 7, 8):
                    await gauge.end(n)
            assert gauge.begun == list(range(9))
            assert gauge.most == 3
            assert tasks[1].result() == "one"

        run(main())

    def test_waits_for_those_that_have_not_begun(self, aio, run):
        async def main():
            async with aio.TaskGroup(limit=2) as group:
                tasks = [group.create_task(give(n, n % 5)) for n in range(50)]
            assert [task.result() for task in tasks] == list(range(50))

        run(main())

    def test_tasks_that_add_tasks(self, aio, run):
        async def main():
            most = running = 0

            async def work(depth):
                nonlocal most, running
                running += 1
                most = max(most, running)
                await turns(4)
                if depth:
                    group.create_task(work(depth - 1))
                    group.create_task(work(depth - 1))
                running -= 1

            async with aio.TaskGroup(limit=2) as group:
                group.create_task(work(5))
            assert most == 2

        run(main())

    def test_a_task_cancelled_while_it_waits_never_begins(self, aio, run, recwarn):
        async def main():
            gauge = Gauge()
            async with aio.TaskGroup(limit=1) as group:
                group.create_task(gauge.work(0))
                waiting = [group.create_task(gauge.work(n)) for n in range(1, 5)]
                assert waiting[0].cancel()  # before its first step, and before there is a place
                await turns(3)
                assert waiting[0].cancelled()
                assert waiting[2].cancel("not wanted")  # in the middle of the line
                await turns(3)
                assert waiting[2].cancelled()
                assert group._parent_task is asyncio.current_task()  # the group goes on
                assert gauge.begun == [0]
                await gauge.end(0)
                assert gauge.begun == [0, 2]
                waiting[3].cancel()
                await gauge.end(2)
            assert gauge.begun == [0, 2]
            assert waiting[3].cancelled()
            with pytest.raises(asyncio.CancelledError, match="not wanted"):
                await waiting[2]

        run(main())
        gc.collect()
        assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]

    def test_a_task_cancelled_as_its_turn_comes_gives_its_place_back(self, aio, run, recwarn):
        async def main():
            gauge = Gauge()
            async with aio.TaskGroup(limit=1) as group:
                first = group.create_task(gauge.work(0))
                second = group.create_task(gauge.work(1))
                group.create_task(gauge.work(2))
                await turns(2)
                first.add_done_callback(lambda task: second.cancel())  # after the group has heard of the end
                await gauge.end(0)
                assert gauge.begun == [0, 2]
                assert second.cancelled()
                await gauge.end(2)
            assert gauge.most == 1

        run(main())
        gc.collect()
        assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]

    def test_a_failure_cancels_those_that_wait(self, aio, run, recwarn):
        async def main():
            gauge = Gauge()
            with pytest.raises(ExceptionGroup) as error:
                async with aio.TaskGroup(limit=2) as group:
                    running = group.create_task(gauge.work(0))
                    group.create_task(fail(after=2))
                    waiting = [group.create_task(gauge.work(n)) for n in range(1, 10)]
            assert types_in(error.value) == ["ZeroDivisionError"]
            assert gauge.begun == [0]
            assert running.cancelled()
            assert all(task.cancelled() for task in waiting)
            assert not asyncio.current_task().cancelling()

        run(main())
        gc.collect()
        assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]

    def test_a_failure_of_one_that_had_waited(self, aio, run):
        async def main():
            with pytest.raises(ExceptionGroup) as error:
                async with aio.TaskGroup(limit=1) as group:
                    group.create_task(give(1))
                    group.create_task(fail(KeyError))
                    last = group.create_task(forever())
            assert types_in(error.value) == ["KeyError"]
            assert last.cancelled()

        run(main())

    def test_the_parents_cancellation_and_cancel(self, aio, run):
        async def main():
            gauge = Gauge()

            async def block():
                async with aio.TaskGroup(limit=1) as group:
                    for n in range(3):
                        group.create_task(gauge.work(n))

            task = asyncio.ensure_future(block())
            await turns(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert gauge.begun == [0]
            async with aio.TaskGroup(limit=1) as group:
                tasks = [group.create_task(gauge.work(n)) for n in range(5, 8)]
                await turns(2)
                group.cancel()
            assert all(task.cancelled() for task in tasks)
            assert gauge.begun == [0, 5]

        run(main())

    def test_contexts_and_names_are_those_of_the_making(self, aio, run):
        variable = contextvars.ContextVar("variable", default=0)

        async def read():
            return variable.get()

        async def main():
            own = contextvars.copy_context()
            own.run(variable.set, 7)
            async with aio.TaskGroup(limit=1) as group:
                group.create_task(turns(2))
                variable.set(1)
                first = group.create_task(read())
                variable.set(2)
                second = group.create_task(read(), name="second", context=own)
                variable.set(3)
            assert (first.result(), second.result()) == (1, 7)
            assert second.get_name() == "second"

        run(main())

    def test_what_is_no_coroutine_takes_no_place(self, aio, run):
        async def main():
            async with aio.TaskGroup(limit=1) as group:
                for _ in range(3):
                    with pytest.raises((TypeError, AttributeError)):
                        group.create_task(5)
                task = group.create_task(give(1))
                with pytest.raises(TypeError, match="coroutine was expected"):
                    group.create_task(5)  # it would have to wait
            assert task.result() == 1

        run(main())

    def test_cancelled_and_made_at_random(self, aio, run):
        """However tasks come, end, fail to begin: never more than the limit run, each begins or is cancelled, and the
        places are all there at the end."""
        import random

        async def main(seed):
            chance = random.Random(seed)
            limit = chance.randint(1, 4)
            gauge = Gauge()
            async with aio.TaskGroup(limit=limit) as group:
                tasks = {}
                for n in range(60):
                    match chance.randrange(4):
                        case 0 | 1:
                            tasks[n] = group.create_task(gauge.work(n))
                        case 2 if gauge.ends:
                            gauge.ends.pop(chance.choice(list(gauge.ends))).cancel()
                        case 3 if tasks:
                            tasks[chance.choice(list(tasks))].cancel()
                    await turns(chance.randrange(3))
                    assert gauge.running <= limit
                while any(not task.done() for task in tasks.values()):
                    for name in list(gauge.ends):
                        if not gauge.ends[name].done():
                            gauge.ends[name].set_result(name)
                    await turns(2)
                await turns(3)
                # as many places as at the beginning
                last = [group.create_task(gauge.work(f"last {n}")) for n in range(limit + 1)]
                await turns(3)
                assert gauge.begun[-limit:] == [f"last {n}" for n in range(limit)]
                for task in last:
                    task.cancel()
            assert gauge.most <= limit
            begun = [name for name in gauge.begun if isinstance(name, int)]
            assert begun == sorted(begun)
            assert all(task.cancelled() or task.result() == n for n, task in tasks.items())
            assert all(n in begun or task.cancelled() for n, task in tasks.items())

        for seed in range(30):
            run(main(seed))


@pytest.mark.extra("asyncio's own has no limit")
class TestLimitItself:
    def test_is_checked(self, aio):
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="limit must be at least 1"):
                aio.TaskGroup(limit=wrong)
        for wrong in ("5", 2.0, [1]):
            with pytest.raises(TypeError, match="limit must be an int or None"):
                aio.TaskGroup(limit=wrong)
        with pytest.raises(TypeError):
            aio.TaskGroup(3)
        aio.TaskGroup(limit=10**30)
        aio.TaskGroup(limit=None)

    def test_shows(self, aio, run):
        async def main():
            group = aio.TaskGroup(limit=1)
            assert repr(group) == "<TaskGroup limit=1>"
            async with group:
                group.create_task(give(1))
                waiting = group.create_task(give(2), name="second")
                assert repr(group) == "<TaskGroup limit=1 tasks=2 waiting=1 entered>"
                assert waiting.get_coro().__name__ == "give"
                assert "TaskGroup_slot" in repr(waiting)

        run(main())

    def test_many_that_wait_cost_no_search(self, aio, run):
        """Cancelled from the end of the line and from its middle: 20,000 would take minutes if each were looked for."""

        async def main():
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup(limit=1) as group:
                    group.create_task(fail(after=3))
                    tasks = [group.create_task(forever()) for _ in range(20_000)]
                    for task in tasks[::-2]:
                        task.cancel()
            assert all(task.cancelled() for task in tasks)

        run(main())
