"""timeout(), timeout_at(), wait_for(): what is cancelled when, who gets TimeoutError and who CancelledError."""

from __future__ import annotations

import asyncio
import contextlib
import sys

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


async def forever():
    await asyncio.get_running_loop().create_future()


async def turns(n=1):
    for _ in range(n):
        await asyncio.sleep(0)


class TestTimeout:
    def test_in_time(self, aio, run):
        async def main():
            async with aio.timeout(3600) as limit:
                await turns(2)
                assert not limit.expired()
            assert not limit.expired()
            assert not asyncio.current_task().cancelling()

        run(main())

    def test_too_late(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(TimeoutError) as error:
                async with aio.timeout(0.01) as limit:
                    await forever()
            assert loop.time() - began >= 0.01 - 1e-3
            assert limit.expired()
            assert isinstance(error.value.__cause__, asyncio.CancelledError)
            assert not asyncio.current_task().cancelling()
            await turns()

        run(main())

    def test_never(self, aio, run):
        async def main():
            for limit in (aio.timeout(None), aio.timeout_at(None)):
                async with limit:
                    assert limit.when() is None
                    await turns()
                assert not limit.expired()

        run(main())

    @pytest.mark.parametrize("delay", [0, -1, 0.0])
    def test_at_once(self, aio, run, delay):
        async def main():
            ran = []
            with pytest.raises(TimeoutError):
                async with aio.timeout(delay):
                    ran.append(1)
                    await forever()
            assert ran == [1]
            async with aio.timeout(delay) as limit:
                pass  # nothing to wait for: in time
            assert not limit.expired()
            await turns(2)

        run(main())

    def test_at_a_time(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            when = loop.time() + 0.01
            with pytest.raises(TimeoutError):
                async with aio.timeout_at(when) as limit:
                    assert limit.when() == when
                    await forever()
            assert loop.time() >= when
            with pytest.raises(TimeoutError):
                async with aio.timeout_at(loop.time() - 100):
                    await forever()

        run(main())

    def test_what_the_block_raises_comes_out(self, aio, run):
        async def main():
            with pytest.raises(ZeroDivisionError):
                async with aio.timeout(3600):
                    raise ZeroDivisionError
            with pytest.raises(ZeroDivisionError) as error:
                async with aio.timeout(0.001):
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        raise ZeroDivisionError
            if sys.version_info >= (3, 13):
                assert isinstance(error.value.__context__, TimeoutError)
                assert isinstance(error.value.__context__.__cause__, asyncio.CancelledError)

        run(main())

    def test_a_block_that_goes_on_after_it_was_cancelled(self, aio, run):
        async def main():
            async with aio.timeout(0.001) as limit:
                with contextlib.suppress(asyncio.CancelledError):
                    await forever()
                await turns(2)
            assert limit.expired()
            assert not asyncio.current_task().cancelling()

        run(main())

    def test_within_each_other(self, aio, run):
        async def main():
            with pytest.raises(TimeoutError):
                async with aio.timeout(3600) as outer:
                    async with aio.timeout(0.001) as inner:
                        await forever()
            assert inner.expired()
            assert not outer.expired()
            with pytest.raises(TimeoutError):
                async with aio.timeout(0.001) as outer:
                    async with aio.timeout(3600) as inner:
                        await forever()
            assert outer.expired()
            assert not inner.expired()
            with pytest.raises(TimeoutError):
                async with aio.timeout(0.001) as outer:
                    with pytest.raises(TimeoutError):
                        async with aio.timeout(0.001) as inner:
                            await forever()
                    await forever()

        run(main())

    def test_one_after_another_in_one_task(self, aio, run):
        async def main():
            for _ in range(10):
                with pytest.raises(TimeoutError):
                    async with aio.timeout(0):
                        await forever()
                async with aio.timeout(3600):
                    await turns()

        run(main())


class TestCancelledFromOutside:
    def test_the_cancellation_goes_on(self, aio, run):
        async def main():
            async def work():
                async with aio.timeout(3600) as limit:
                    await forever()
                raise AssertionError(limit)

            task = asyncio.create_task(work())
            await turns()
            task.cancel("outside")
            with pytest.raises(asyncio.CancelledError) as error:
                await task
            assert error.value.args == ("outside",)
            assert task.cancelling() == 1

        run(main())

    def test_and_overdue_at_once_the_cancellation_goes_on(self, aio, run):
        async def main():
            async def work():
                async with aio.timeout(0):
                    await forever()

            task = asyncio.create_task(work())
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

        run(main())

    @since(3, 13)
    def test_before_it_was_entered_does_not_count(self, aio, run):
        async def main():
            async def work():
                with contextlib.suppress(asyncio.CancelledError):
                    await forever()
                with pytest.raises(TimeoutError):
                    async with aio.timeout(0.001):
                        await forever()
                assert asyncio.current_task().cancelling() == 1

            task = asyncio.create_task(work())
            await turns()
            task.cancel()
            await task

        run(main())


class TestReschedule:
    def test_later_and_earlier_and_never(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            async with aio.timeout(0.001) as limit:
                limit.reschedule(loop.time() + 3600)
                await asyncio.sleep(0.005)
                limit.reschedule(None)
                assert limit.when() is None
                await turns(2)
            with pytest.raises(TimeoutError):
                async with aio.timeout(3600) as limit:
                    limit.reschedule(loop.time() + 0.001)
                    await forever()
            with pytest.raises(TimeoutError):
                async with aio.timeout(None) as limit:
                    limit.reschedule(loop.time() - 1)
                    await forever()

        run(main())

    def test_when_it_is_due_but_did_not_run_yet(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            for when in (loop.time() + 3600, None):
                async with aio.timeout(0) as limit:
                    limit.reschedule(when)
                    await asyncio.sleep(0.002)
                    assert not limit.expired()
            async with aio.timeout_at(loop.time() + 0.001) as limit:
                while loop.time() < limit.when() + 0.001:
                    pass
                limit.reschedule(loop.time() + 3600)
                await asyncio.sleep(0.002)

        run(main())

    def test_only_while_the_block_runs(self, aio, run):
        async def main():
            limit = aio.timeout(1)
            with pytest.raises(RuntimeError, match="has not been entered"):
                limit.reschedule(1)
            async with limit:
                pass
            with pytest.raises(RuntimeError, match="Cannot change state of finished Timeout"):
                limit.reschedule(1)
            with pytest.raises(TimeoutError):
                async with aio.timeout(0) as limit:
                    try:
                        await forever()
                    finally:
                        with pytest.raises(RuntimeError, match="Cannot change state of expiring Timeout"):
                            limit.reschedule(1)
            with pytest.raises(RuntimeError, match="Cannot change state of expired Timeout"):
                limit.reschedule(1)

        run(main())


class TestUse:
    def test_once_only(self, aio, run):
        async def main():
            limit = aio.timeout(1)
            async with limit:
                with pytest.raises(RuntimeError, match="already been entered"):
                    async with limit:
                        pass
            with pytest.raises(RuntimeError, match="already been entered"):
                async with limit:
                    pass

        run(main())

    def test_in_a_task_of_a_running_loop(self, aio, loop):
        with pytest.raises(RuntimeError, match="no running event loop"):
            aio.timeout(1)
        failed = []

        def callback():
            try:
                aio.timeout(1).__aenter__().send(None)
            except RuntimeError as error:
                failed.append(str(error))

        loop.call_soon(callback)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert len(failed) == 1
        assert "inside a task" in failed[0]

    def test_with_a_delay_that_is_none(self, aio, run):
        async def main():
            for delay in ("1", [], 1j):
                with pytest.raises(TypeError):
                    async with aio.timeout(delay):
                        pass

        run(main())

    @pytest.mark.extra("asyncio's own never ends")
    def test_with_a_delay_that_is_not_a_number(self, aio, run):
        async def main():
            with pytest.raises(ValueError, match="NaN"):
                async with aio.timeout(float("nan")):
                    pass

        run(main())

    def test_says_how_it_is(self, aio, run):
        async def main():
            limit = aio.timeout_at(12345.6789)
            assert repr(limit) == "<Timeout [created]>"
            async with aio.timeout(None) as limit:
                assert repr(limit) == "<Timeout [active] when=None>"
            loop = asyncio.get_running_loop()
            async with aio.timeout_at(loop.time() + 100) as limit:
                assert repr(limit) == f"<Timeout [active] when={round(limit.when(), 3)}>"
            assert repr(limit) == "<Timeout [finished]>"
            with pytest.raises(TimeoutError):
                async with aio.timeout(0) as limit:
                    await forever()
            assert repr(limit) == "<Timeout [expired]>"
            assert isinstance(limit, aio.Timeout)
            assert isinstance(limit, asyncio.Timeout)
            assert isinstance(aio.Timeout(5), asyncio.Timeout)

        run(main())

    def test_leaves_no_timer(self, aio, run, runtime):
        async def main():
            loop = asyncio.get_running_loop()
            for _ in range(1000):
                async with aio.timeout(3600):
                    pass
                await aio.wait_for(give(1), 3600)
            if runtime == "asyncio":
                assert len([handle for handle in loop._scheduled if not handle.cancelled()]) == 0

        run(main())


class TestWaitFor:
    def test_in_time(self, aio, run):
        async def main():
            loop = asyncio.get_running_loop()
            for limit in (3600, None):
                future = loop.create_future()
                loop.call_soon(future.set_result, "future")
                assert await aio.wait_for(give("coroutine", 2), limit) == "coroutine"
                assert await aio.wait_for(asyncio.create_task(give("task", 2)), limit) == "task"
                assert await aio.wait_for(future, limit) == "future"
                assert await aio.wait_for(future, limit) == "future"
                assert await aio.wait_for(aio.sleep(0, "op"), timeout=limit) == "op"
                assert await aio.wait_for(aio.wait_for(give("nested"), limit), limit) == "nested"
                with pytest.raises(ZeroDivisionError):
                    await aio.wait_for(fail(), limit)

        async def fail():
            raise ZeroDivisionError

        run(main())

    def test_too_late_it_is_cancelled_first(self, aio, run):
        async def main():
            ended = []

            async def work():
                try:
                    await forever()
                finally:
                    await turns(3)
                    ended.append(1)

            with pytest.raises(TimeoutError) as error:
                await aio.wait_for(work(), 0.001)
            assert ended == [1]
            assert isinstance(error.value.__cause__, asyncio.CancelledError)
            future = asyncio.get_running_loop().create_future()
            with pytest.raises(TimeoutError):
                await aio.wait_for(future, 0.001)
            assert future.cancelled()
            assert not asyncio.current_task().cancelling()

        run(main())

    def test_what_refuses_gives_its_result_or_its_error(self, aio, run):
        async def main():
            async def refuse(error):
                try:
                    await forever()
                except asyncio.CancelledError:
                    if error:
                        raise error
                    return "stayed"

            assert await aio.wait_for(refuse(None), 0.001) == "stayed"
            with pytest.raises(ZeroDivisionError):
                await aio.wait_for(refuse(ZeroDivisionError), 0.001)
            assert await aio.wait_for(asyncio.create_task(give("done", 1)), 3600) == "done"

        run(main())

    @pytest.mark.parametrize("limit", [0, -1])
    def test_no_time_at_all(self, aio, run, limit):
        async def main():
            ran = []

            async def work():
                ran.append(1)

            with pytest.raises(TimeoutError):
                await aio.wait_for(work(), limit)
            assert ran == []
            done = asyncio.get_running_loop().create_future()
            done.set_result(5)
            assert await aio.wait_for(done, limit) == 5
            pending = asyncio.get_running_loop().create_future()
            with pytest.raises(TimeoutError):
                await aio.wait_for(pending, limit)
            assert pending.cancelled()

            async def refuse():
                try:
                    await forever()
                except asyncio.CancelledError:
                    return "stayed"

            task = asyncio.create_task(refuse())
            await turns()
            assert await aio.wait_for(task, limit) == "stayed"

        run(main())

    def test_cancelled_it_cancels_what_it_waits_for(self, aio, run):
        async def main():
            inner = asyncio.create_task(forever())
            outer = asyncio.create_task(aio.wait_for(inner, 3600))
            await turns(2)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert inner.cancelled()

        run(main())

    def test_cancelled_by_somebody_else_is_no_timeout(self, aio, run):
        async def main():
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.cancel)
            with pytest.raises(asyncio.CancelledError):
                await aio.wait_for(future, 3600)

        run(main())

    def test_a_result_that_came_with_the_cancellation_is_not_lost(self, aio, run):
        async def main():
            queue = aio.Queue()
            waiting = asyncio.create_task(aio.wait_for(queue.get(), 3600))
            await turns(2)
            queue.put_nowait(1)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            assert waiting.cancelled() is (queue.qsize() == 1)

        run(main())

    @since(3, 12)
    def test_runs_in_the_same_task(self, aio, run):
        async def main():
            async def who():
                return asyncio.current_task()

            assert await aio.wait_for(who(), 3600) is asyncio.current_task()
            assert await aio.wait_for(who(), None) is asyncio.current_task()

        run(main())

    def test_shielded_it_goes_on(self, aio, run):
        async def main():
            inner = asyncio.create_task(give("later", 10))
            with pytest.raises(TimeoutError):
                await aio.wait_for(aio.shield(inner), 0)
            assert await inner == "later"

        run(main())

    def test_wants_an_awaitable(self, aio, run):
        async def main():
            for limit in (None, 1, 0):
                with pytest.raises(TypeError):
                    await aio.wait_for(5, limit)
            with pytest.raises(TypeError):
                await aio.wait_for(asyncio.get_running_loop().create_future(), "1")

        run(main())

    def test_is_a_coroutine(self, aio, run):
        async def main():
            coro = aio.wait_for(give(1), 1)
            assert asyncio.iscoroutine(coro)
            assert await asyncio.create_task(coro) == 1

        run(main())

    def test_of_many_that_end_together(self, aio, run):
        async def main():
            event = aio.Event()
            tasks = [asyncio.create_task(aio.wait_for(event.wait(), 3600)) for _ in range(1000)]
            await turns(2)
            event.set()
            assert await asyncio.gather(*tasks) == [True] * 1000
            tasks = [asyncio.create_task(aio.wait_for(forever(), 0.001)) for _ in range(1000)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} == {TimeoutError}

        run(main())


@pytest.mark.extra("glassloop's names on a loop of asyncio's, and the other way round")
class TestMixed:
    def test_on_asyncios_loop(self, aio):
        async def main():
            loop = asyncio.get_running_loop()
            with pytest.raises(TimeoutError):
                async with aio.timeout(0.001):
                    await forever()
            with pytest.raises(TimeoutError):
                async with aio.timeout(3600) as limit:
                    limit.reschedule(loop.time())
                    await forever()
            async with aio.timeout(3600) as limit:
                limit.reschedule(loop.time() + 7200)
                await turns()
            assert await aio.wait_for(give(1, 1), 3600) == 1
            for delay in (0, 0.001):
                with pytest.raises(TimeoutError):
                    await aio.wait_for(forever(), delay)
            assert not [handle for handle in loop._scheduled if not handle.cancelled()]

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())

    def test_asyncios_on_our_loop(self, aio, run):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    async with aio.timeout(3600):
                        await forever()
            with pytest.raises(TimeoutError):
                async with aio.timeout(0.001):
                    async with asyncio.timeout(3600):
                        await forever()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(aio.wait_for(forever(), 3600), 0.001)

        run(main())

    def test_in_a_task_of_asyncios_own(self, aio, run):
        async def main():
            async def work():
                async with aio.timeout(0.001):
                    await forever()

            task = asyncio.Task(work())
            with pytest.raises(TimeoutError):
                await task
            task = asyncio.Task(aio.wait_for(give(1, 2), 3600))
            assert await task == 1

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
    def test_in_a_task_of_asyncios_own_that_starts_within_one_of_ours(self, aio, run):
        async def main():
            async def work():
                async with aio.timeout(0.001):
                    await forever()

            asyncio.current_task()
            task = asyncio.Task(work(), loop=asyncio.get_running_loop(), eager_start=True)
            await turns(2)  # it would be cancelled itself if the timeout took it for the one that runs
            with pytest.raises(TimeoutError):
                await task
            assert not asyncio.current_task().cancelling()

        run(main())
