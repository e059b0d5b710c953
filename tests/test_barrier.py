"""Barrier: tasks that wait for each other and go on together; late ones, reset, abort, cancellation."""

from __future__ import annotations

import asyncio
import re

import pytest


async def turns(n=8):
    for _ in range(n):
        await asyncio.sleep(0)


def waiting(barrier, n):
    return [asyncio.create_task(barrier.wait()) for _ in range(n)]


async def outcomes(tasks):
    return [type(result) if isinstance(result, BaseException) else result
            for result in await asyncio.gather(*tasks, return_exceptions=True)]


BROKEN = asyncio.BrokenBarrierError


class TestPassing:
    def test_nobody_passes_before_the_last_comes(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            assert barrier.n_waiting == 2
            assert not any(task.done() for task in tasks)
            assert await barrier.wait() == 2
            assert await outcomes(tasks) == [0, 1]
            assert barrier.n_waiting == 0

        run(main())

    def test_each_gets_the_number_of_its_arrival(self, aio, run):
        async def main():
            assert await outcomes(waiting(aio.Barrier(20), 20)) == list(range(20))

        run(main())

    def test_the_last_one_does_not_wait(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            tasks = waiting(barrier, 1)
            await turns()
            last = barrier.wait()
            with pytest.raises(StopIteration) as result:
                last.send(None)
            assert result.value.value == 1
            await asyncio.gather(*tasks)

        run(main())

    def test_a_barrier_of_one_is_always_open(self, aio, run):
        async def main():
            barrier = aio.Barrier(1)
            assert [await barrier.wait() for _ in range(3)] == [0, 0, 0]
            async with barrier as index:
                assert index == 0
            assert repr(barrier).endswith("[filling, waiters:0/1]>")

        run(main())

    def test_as_a_context_manager_it_waits_at_the_entry_only(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            inside, left = [], []

            async def work(n):
                async with barrier as index:
                    inside.append(index)
                    await turns(n)
                left.append(n)

            tasks = [asyncio.create_task(work(n)) for n in range(2)]
            await turns()
            assert inside == []
            await work(20)
            assert left == [0, 1, 20]
            assert sorted(inside) == [0, 1, 2]
            await asyncio.gather(*tasks)

        run(main())

    def test_a_block_that_raises_leaves_it_whole(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)

            async def work():
                async with barrier:
                    raise ZeroDivisionError

            assert await outcomes([work(), work()]) == [ZeroDivisionError] * 2
            assert not barrier.broken
            assert sorted(await outcomes(waiting(barrier, 2))) == [0, 1]

        run(main())

    @pytest.mark.parametrize("parties", [2, 3, 7])
    def test_again_and_again_round_after_round(self, aio, run, parties):
        async def main():
            barrier = aio.Barrier(parties)
            passes = []

            async def work():
                for n in range(10):
                    passes.append((n, await barrier.wait()))

            await asyncio.gather(*[work() for _ in range(parties)])
            assert sorted(passes) == [(n, index) for n in range(10) for index in range(parties)]
            assert [n for n, _ in passes] == sorted(n for n, _ in passes)

        run(main())

    @pytest.mark.parametrize("extra", [1, 2])
    def test_who_comes_too_many_waits_for_the_next_round(self, aio, run, extra):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 3 + extra)
            await turns(20)
            assert [task.done() for task in tasks] == [True] * 3 + [False] * extra
            assert barrier.n_waiting == extra
            tasks += waiting(barrier, 3 - extra)
            assert await outcomes(tasks) == [0, 1, 2, *range(3)]

        run(main())

    def test_who_comes_while_the_others_leave_is_of_the_next_round(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            tasks = waiting(barrier, 1)
            await turns()
            assert await barrier.wait() == 1
            assert "draining" in repr(barrier)
            late = waiting(barrier, 1)
            await turns()
            assert tasks[0].done() and not late[0].done()
            assert barrier.n_waiting == 1
            assert await barrier.wait() == 1
            assert await late[0] == 0

        run(main())


class TestReset:
    def test_of_an_idle_one_changes_nothing(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            await barrier.reset()
            assert repr(barrier).endswith("[filling, waiters:0/2]>")
            assert await outcomes(waiting(barrier, 2)) == [0, 1]

        run(main())

    def test_those_who_wait_fail_and_it_can_be_used_again(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            await barrier.reset()
            assert "resetting" in repr(barrier)
            assert barrier.n_waiting == 0
            assert not barrier.broken
            assert await outcomes(tasks) == [BROKEN] * 2
            assert repr(barrier).endswith("[filling, waiters:0/3]>")
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())

    def test_who_comes_meanwhile_waits_until_it_is_over(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            failing = waiting(barrier, 1)
            await turns()
            await barrier.reset()
            late = waiting(barrier, 2)
            assert await outcomes(failing + late) == [BROKEN, 0, 1]

        run(main())

    def test_while_the_others_leave_makes_those_fail_who_did_not_yet(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            assert await barrier.wait() == 2
            await barrier.reset()
            assert await outcomes(tasks) == [BROKEN] * 2
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())

    def test_twice_at_once(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            await asyncio.gather(barrier.reset(), barrier.reset())
            assert await outcomes(tasks) == [BROKEN] * 2
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())


class TestAbort:
    def test_those_who_wait_and_those_who_come_fail_until_it_is_reset(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            await barrier.abort()
            assert barrier.broken
            assert barrier.n_waiting == 0
            assert await outcomes(tasks) == [BROKEN] * 2
            assert await outcomes(waiting(barrier, 2)) == [BROKEN] * 2
            assert barrier.broken
            assert repr(barrier).endswith("[broken]>")
            await barrier.reset()
            assert not barrier.broken
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())

    def test_of_an_idle_one(self, aio, run):
        async def main():
            barrier = aio.Barrier(1)
            await barrier.abort()
            with pytest.raises(BROKEN):
                await barrier.wait()
            with pytest.raises(BROKEN):
                async with barrier:
                    pytest.fail("entered")

        run(main())

    def test_while_the_others_leave_makes_those_fail_who_did_not_yet(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            assert await barrier.wait() == 2
            await barrier.abort()
            assert await outcomes(tasks) == [BROKEN] * 2
            assert barrier.broken

        run(main())

    def test_by_one_of_the_parties(self, aio, run):
        async def main():
            barrier = aio.Barrier(4)

            async def give_up():
                await turns()
                await barrier.abort()

            results = await outcomes([*waiting(barrier, 3), give_up()])
            assert results == [BROKEN, BROKEN, BROKEN, None]

        run(main())

    def test_it_is_a_runtime_error(self, aio):
        assert aio.BrokenBarrierError is asyncio.BrokenBarrierError
        assert issubclass(aio.BrokenBarrierError, RuntimeError)


class TestCancelled:
    def test_one_who_waits_leaves_its_place_to_another(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            tasks[0].cancel()
            await turns()
            assert tasks[0].cancelled() and not tasks[1].done()
            assert barrier.n_waiting == 1
            assert not barrier.broken
            tasks += waiting(barrier, 2)
            assert await outcomes(tasks) == [asyncio.CancelledError, 1, 1, 2]

        run(main())

    def test_all_who_wait(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            for task in tasks:
                task.cancel()
            await turns()
            assert all(task.cancelled() for task in tasks)
            assert barrier.n_waiting == 0
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())

    def test_after_the_barrier_opened(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            await barrier.wait()
            tasks[0].cancel()
            await turns()
            assert tasks[0].cancelled()
            assert await tasks[1] == 1
            assert repr(barrier).endswith("[filling, waiters:0/3]>")
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())

    def test_one_who_came_too_many(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            tasks = waiting(barrier, 1)
            await turns()
            await barrier.wait()
            late = waiting(barrier, 2)
            late[0].cancel()
            assert await outcomes(tasks) == [0]
            await turns()
            assert late[0].cancelled() and not late[1].done()
            assert await barrier.wait() == 1
            assert await late[1] == 0

        run(main())

    def test_by_a_timeout(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            with pytest.raises(TimeoutError):
                await aio.wait_for(barrier.wait(), 0.01)
            assert barrier.n_waiting == 0
            assert await outcomes(waiting(barrier, 2)) == [0, 1]

        run(main())

    def test_while_it_is_reset(self, aio, run):
        async def main():
            barrier = aio.Barrier(3)
            tasks = waiting(barrier, 2)
            await turns()
            await barrier.reset()
            tasks[1].cancel()
            assert (await outcomes(tasks))[1] is asyncio.CancelledError
            assert await outcomes(waiting(barrier, 3)) == [0, 1, 2]

        run(main())


class TestFace:
    @pytest.mark.parametrize("parties", [0, -5])
    def test_needs_at_least_one_party(self, aio, parties):
        with pytest.raises(ValueError, match="parties must be"):
            aio.Barrier(parties)

    def test_needs_a_number(self, aio):
        with pytest.raises(TypeError):
            aio.Barrier()
        with pytest.raises(TypeError):
            aio.Barrier("2")

    def test_what_it_says_of_itself_cannot_be_changed(self, aio):
        barrier = aio.Barrier(2)
        assert (barrier.parties, barrier.n_waiting, barrier.broken) == (2, 0, False)
        for name in ("parties", "n_waiting", "broken"):
            with pytest.raises(AttributeError):
                setattr(barrier, name, 1)

    def test_says_how_it_is(self, aio, run):
        async def main():
            barrier = aio.Barrier(2)
            start = r"<\S+\.Barrier object at 0x[0-9a-f]+ "
            assert re.fullmatch(start + r"\[filling, waiters:0/2\]>", repr(barrier))
            tasks = waiting(barrier, 1)
            await turns()
            assert re.fullmatch(start + r"\[filling, waiters:1/2\]>", repr(barrier))
            await barrier.wait()
            assert re.fullmatch(start + r"\[draining, waiters:0/2\]>", repr(barrier))
            await asyncio.gather(*tasks)
            tasks = waiting(barrier, 1)
            await turns()
            await barrier.reset()
            assert re.fullmatch(start + r"\[resetting, waiters:0/2\]>", repr(barrier))
            await outcomes(tasks)
            await barrier.abort()
            assert re.fullmatch(start + r"\[broken\]>", repr(barrier))

        run(main())

    def test_belongs_to_the_loop_on_which_somebody_waited(self, aio, run):
        barrier = aio.Barrier(2)

        async def bind():
            assert sorted(await outcomes(waiting(barrier, 2))) == [0, 1]

        async def use():
            with pytest.raises(RuntimeError, match="is bound to a different event loop"):
                await barrier.wait()

        run(bind())
        run(use())

    def test_can_be_made_without_a_loop(self, aio, run):
        barrier = aio.Barrier(2)

        async def main():
            return sorted(await outcomes(waiting(barrier, 2)))

        assert run(main()) == [0, 1]

    def test_is_asyncios_too(self, aio):
        assert issubclass(aio.Barrier, asyncio.Barrier)

    def test_of_thousands(self, aio, run):
        async def main():
            barrier = aio.Barrier(2_000)
            assert sorted(await outcomes(waiting(barrier, 2_000))) == list(range(2_000))

        run(main())
