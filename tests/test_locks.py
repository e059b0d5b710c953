"""Lock, Event, Condition, Semaphore, BoundedSemaphore: exclusion, fairness, cancellation; a comparison with
asyncio's own, step by step."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import re
import sys
import warnings
import weakref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def since(*version):
    """What asyncio's own does only from this version of Python on; glassloop's does it on all of them."""
    if sys.version_info >= version:
        return lambda test: test
    return pytest.mark.extra(f"asyncio's own: since Python {'.'.join(map(str, version))}")


async def turns(n=1):
    for _ in range(n):
        await asyncio.sleep(0)


class TestLock:
    def test_one_holder_at_a_time(self, aio, run):
        async def main():
            lock = aio.Lock()
            inside = 0

            async def work():
                nonlocal inside
                for _ in range(5):
                    async with lock:
                        assert inside == 0
                        inside += 1
                        await asyncio.sleep(0)
                        inside -= 1

            await asyncio.gather(*[work() for _ in range(10)])
            assert not lock.locked()

        run(main())

    def test_first_come_first_served(self, aio, run):
        async def main():
            lock = aio.Lock()
            order = []

            async def work(n):
                async with lock:
                    order.append(n)

            await lock.acquire()
            tasks = [asyncio.create_task(work(n)) for n in range(20)]
            await turns()
            lock.release()
            await asyncio.gather(*tasks)
            assert order == list(range(20))

        run(main())

    def test_acquire_returns_true_and_entering_none(self, aio, run):
        async def main():
            lock = aio.Lock()
            assert await lock.acquire() is True
            assert lock.locked()
            waiting = asyncio.create_task(lock.acquire())
            await turns()
            assert lock.release() is None
            assert await waiting is True
            lock.release()
            async with lock as entered:
                assert entered is None

            async def enter():
                async with lock as entered:
                    return entered

            await lock.acquire()
            waiting = asyncio.create_task(enter())
            await turns()
            lock.release()
            assert await waiting is None

        run(main())

    def test_released_when_the_block_raises(self, aio, run):
        async def main():
            lock = aio.Lock()
            with pytest.raises(ZeroDivisionError):
                async with lock:
                    raise ZeroDivisionError
            assert not lock.locked()

        run(main())

    def test_released_but_not_held(self, aio, run):
        async def main():
            lock = aio.Lock()
            with pytest.raises(RuntimeError, match="Lock is not acquired"):
                lock.release()
            await lock.acquire()
            lock.release()
            with pytest.raises(RuntimeError, match="Lock is not acquired"):
                lock.release()

        run(main())

    def test_a_newcomer_stands_behind_who_was_woken(self, aio, run):
        async def main():
            lock = aio.Lock()
            order = []

            async def work(n):
                async with lock:
                    order.append(n)

            await lock.acquire()
            first = asyncio.create_task(work(1))
            await turns()
            lock.release()
            assert not lock.locked()
            await work(2)  # the first one was woken, but did not run yet
            await first
            assert order == [1, 2]

        run(main())

    def test_nothing_happens_before_acquire_is_awaited(self, aio, run):
        async def main():
            lock = aio.Lock()
            acquiring = lock.acquire()
            assert not lock.locked()
            assert await acquiring
            assert lock.locked()

        run(main())

    def test_acquire_that_is_never_awaited_warns(self, aio):
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            aio.Lock().acquire()
            gc.collect()

    def test_is_no_awaitable_and_no_plain_context_manager(self, aio, run):
        async def main():
            for thing in (aio.Lock(), aio.Semaphore(), aio.Condition(), aio.Event()):
                with pytest.raises(TypeError, match="can't be (used in 'await' expression|awaited)"):
                    await thing
                with pytest.raises((TypeError, AttributeError)):
                    with thing:
                        raise AssertionError("entered")

        run(main())


class TestLockCancelled:
    def test_while_waiting(self, aio, run):
        async def main():
            lock = aio.Lock()
            await lock.acquire()
            first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
            await turns()
            first.cancel()
            await turns()
            assert first.cancelled()
            lock.release()
            assert await asyncio.wait_for(second, 5)

        run(main())

    def test_after_it_was_woken_the_next_one_gets_it(self, aio, run):
        async def main():
            lock = aio.Lock()
            await lock.acquire()
            first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
            await turns()
            lock.release()
            first.cancel()
            assert await asyncio.wait_for(second, 5)
            assert first.cancelled()
            assert lock.locked()

        run(main())

    def test_all_who_wait_and_the_lock_is_free_for_the_next(self, aio, run):
        async def main():
            lock = aio.Lock()
            await lock.acquire()
            waiting = [asyncio.create_task(lock.acquire()) for _ in range(3)]
            await turns()
            for task in waiting:
                task.cancel()
            lock.release()
            assert await asyncio.wait_for(lock.acquire(), 5)  # they are still in line
            await asyncio.gather(*waiting, return_exceptions=True)
            assert all(task.cancelled() for task in waiting)
            assert lock.locked()

        run(main())

    def test_closed_or_forgotten_while_waiting(self, aio, run):
        async def main():
            lock = aio.Lock()
            await lock.acquire()
            closed, forgotten = lock.acquire(), lock.acquire()
            closed.send(None)
            forgotten.send(None)
            waiting = asyncio.create_task(lock.acquire())
            await turns()
            closed.close()
            del forgotten
            gc.collect()
            lock.release()
            assert await asyncio.wait_for(waiting, 5)

        run(main())


class TestEvent:
    def test_wakes_all_in_order(self, aio, run):
        async def main():
            event = aio.Event()
            woken = []

            async def wait(n):
                assert await event.wait() is True
                woken.append(n)

            tasks = [asyncio.create_task(wait(n)) for n in range(10)]
            await turns()
            assert not event.is_set()
            event.set()
            assert event.is_set()
            await asyncio.gather(*tasks)
            assert woken == list(range(10))
            assert await event.wait() is True

        run(main())

    def test_cleared_at_once_still_wakes_who_waited(self, aio, run):
        async def main():
            event = aio.Event()
            waiting = asyncio.create_task(event.wait())
            await turns()
            event.set()
            event.clear()
            late = asyncio.create_task(event.wait())
            assert await asyncio.wait_for(waiting, 5) is True
            await turns(3)
            assert not late.done()
            assert not event.is_set()
            event.set()
            await late

        run(main())

    def test_cancelled(self, aio, run):
        async def main():
            event = aio.Event()
            first, second = asyncio.create_task(event.wait()), asyncio.create_task(event.wait())
            await turns()
            first.cancel()
            await turns()
            assert len(event._waiters) == 1
            event.set()
            assert await second
            assert first.cancelled()
            assert len(event._waiters) == 0

        run(main())


class TestSemaphore:
    def test_so_many_at_a_time(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(3)
            inside = most = 0

            async def work():
                nonlocal inside, most
                for _ in range(5):
                    async with semaphore:
                        inside += 1
                        most = max(most, inside)
                        await asyncio.sleep(0)
                        inside -= 1

            await asyncio.gather(*[work() for _ in range(10)])
            assert most == 3
            assert not semaphore.locked()

        run(main())

    def test_locked_when_it_is_used_up(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(2)
            assert await semaphore.acquire() is True
            assert not semaphore.locked()
            await semaphore.acquire()
            assert semaphore.locked()
            semaphore.release()
            assert not semaphore.locked()

        run(main())

    def test_first_come_first_served(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(0)
            order = []

            async def work(n):
                await semaphore.acquire()
                order.append(n)

            tasks = [asyncio.create_task(work(n)) for n in range(10)]
            await turns()
            for _ in range(10):
                semaphore.release()
            await asyncio.gather(*tasks)
            assert order == list(range(10))
            assert semaphore.locked()

        run(main())

    def test_a_newcomer_does_not_overtake(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(0)
            order = []

            async def work(n):
                async with semaphore:
                    order.append(n)

            first = asyncio.create_task(work(1))
            await turns()
            semaphore.release()
            await work(2)
            await first
            assert order == [1, 2]

        run(main())

    def test_more_than_it_began_with(self, aio, run):
        async def main():
            semaphore = aio.Semaphore()
            semaphore.release()
            await semaphore.acquire()
            await semaphore.acquire()
            assert semaphore.locked()

        run(main())

    def test_bounded(self, aio, run):
        async def main():
            semaphore = aio.BoundedSemaphore(2)
            with pytest.raises(ValueError, match="released too many times"):
                semaphore.release()
            async with semaphore:
                async with semaphore:
                    assert semaphore.locked()
            with pytest.raises(ValueError, match="released too many times"):
                semaphore.release()
            waiting = []
            for _ in range(2):
                await semaphore.acquire()
            waiting = [asyncio.create_task(semaphore.acquire()) for _ in range(2)]
            await turns()
            semaphore.release()
            semaphore.release()
            assert await asyncio.gather(*waiting) == [True, True]

        run(main())

    def test_of_no_limit(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(math.inf)
            for _ in range(100):
                await semaphore.acquire()
            assert not semaphore.locked()

        run(main())

    @pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
    def test_of_less_than_none(self, aio, kind):
        with pytest.raises(ValueError, match="must be >= 0"):
            getattr(aio, kind)(-1)
        with pytest.raises(TypeError):
            getattr(aio, kind)("1")

    def test_cancelled_after_it_was_woken_the_next_one_gets_it(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(0)
            tasks = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
            await turns()
            semaphore.release()
            tasks[0].cancel()
            assert await asyncio.wait_for(tasks[1], 5)
            assert tasks[0].cancelled()
            assert not tasks[2].done()
            semaphore.release()
            assert await asyncio.wait_for(tasks[2], 5)
            assert semaphore._value == 0

        run(main())

    def test_all_cancelled_after_they_were_woken_nothing_is_lost(self, aio, run):
        async def main():
            semaphore = aio.Semaphore(0)
            tasks = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
            await turns()
            for task in tasks:
                semaphore.release()
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert semaphore._value == 3
            assert not semaphore.locked()

        run(main())


class TestCondition:
    def test_wait_needs_the_lock(self, aio, run):
        async def main():
            condition = aio.Condition()
            for use in (condition.wait(), condition.wait_for(lambda: False)):
                with pytest.raises(RuntimeError, match="un-acquired lock"):
                    await use
            with pytest.raises(RuntimeError, match="un-acquired lock"):
                condition.notify()
            with pytest.raises(RuntimeError, match="un-acquired lock"):
                condition.notify_all()

        run(main())

    def test_notify_wakes_so_many_in_order(self, aio, run):
        async def main():
            condition = aio.Condition()
            woken = []

            async def wait(n):
                async with condition:
                    assert await condition.wait() is True
                    assert condition.locked()
                    woken.append(n)

            tasks = [asyncio.create_task(wait(n)) for n in range(6)]
            await turns(3)
            for n, expected in ((1, [0]), (2, [0, 1, 2]), (0, [0, 1, 2])):
                async with condition:
                    condition.notify(n)
                await turns(10)
                assert woken == expected
            async with condition:
                condition.notify_all()
            await asyncio.gather(*tasks)
            assert woken == list(range(6))
            assert not condition.locked()

        run(main())

    def test_wait_for_a_predicate(self, aio, run):
        async def main():
            condition = aio.Condition()
            value = 0

            async def wait():
                async with condition:
                    return await condition.wait_for(lambda: value >= 3 and f"at {value}")

            waiting = asyncio.create_task(wait())
            await turns()
            while not waiting.done():
                async with condition:
                    value += 1
                    condition.notify()
                await turns(5)
            assert await waiting == "at 3"
            async with condition:
                assert await condition.wait_for(lambda: [1]) == [1]

        run(main())

    def test_a_predicate_that_raises(self, aio, run):
        async def main():
            condition = aio.Condition()
            answers = iter([0, 0])

            async def wait():
                async with condition:
                    await condition.wait_for(lambda: 1 / next(answers) if condition._waiters is None else 1 / 0)

            async with condition:
                with pytest.raises(ZeroDivisionError):
                    await condition.wait_for(lambda: 1 / 0)
            flag = False

            def predicate():
                if flag:
                    raise ZeroDivisionError
                return False

            async def late():
                async with condition:
                    await condition.wait_for(predicate)

            task = asyncio.create_task(late())
            await turns()
            flag = True
            async with condition:
                condition.notify()
            with pytest.raises(ZeroDivisionError):
                await task
            assert not condition.locked()

        run(main())

    def test_shares_a_lock(self, aio, run):
        async def main():
            lock = aio.Lock()
            condition = aio.Condition(lock)
            other = aio.Condition(lock)
            async with condition:
                assert lock.locked()
                assert other.locked()
                other.notify()
            await condition.acquire()
            assert lock.locked()
            condition.release()
            assert not lock.locked()

        run(main())

    @pytest.mark.parametrize("subclass", [False, True])
    def test_takes_a_lock_of_asyncios_or_a_subclass(self, aio, run, subclass):
        class Own(aio.Lock):
            acquired = 0

            async def acquire(self):
                self.acquired += 1
                return await super().acquire()

        async def main():
            lock = Own() if subclass else asyncio.Lock()
            condition = aio.Condition(lock)

            async def wait():
                async with condition:
                    await condition.wait()

            first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
            await turns(3)
            async with condition:
                condition.notify()
            await asyncio.wait_for(first, 5)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert not lock.locked()
            if subclass:
                assert lock.acquired == 5

        run(main())

    def test_cancelled_it_has_the_lock_again_before_it_ends(self, aio, run):
        async def main():
            condition = aio.Condition()
            held = []

            async def wait():
                async with condition:
                    try:
                        await condition.wait()
                    finally:
                        held.append(condition.locked())

            task = asyncio.create_task(wait())
            await turns()
            async with condition:
                task.cancel()
                await turns(3)
                assert not task.done()  # the lock is held here
                task.cancel("again")
                await turns(3)
                assert not task.done()
            with pytest.raises(asyncio.CancelledError) as error:
                await task
            assert held == [True]
            if sys.version_info >= (3, 13):
                assert error.value.args == ("again",)
            assert not condition.locked()

        run(main())

    @since(3, 13)
    def test_cancelled_after_it_was_notified_another_one_is(self, aio, run):
        async def main():
            condition = aio.Condition()

            async def wait():
                async with condition:
                    await condition.wait()

            first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
            await turns(2)
            async with condition:
                condition.notify()
                first.cancel()
            await asyncio.wait_for(second, 5)
            assert first.cancelled()

        run(main())

    @since(3, 13)
    def test_cancelled_while_it_takes_the_lock_another_one_is_notified(self, aio, run):
        async def main():
            condition = aio.Condition()

            async def wait():
                async with condition:
                    await condition.wait()

            first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
            await turns(2)
            async with condition:
                condition.notify()
                await turns(2)
                first.cancel()
                await turns(2)
            await asyncio.wait_for(second, 5)
            assert first.cancelled()

        run(main())


ALL = ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore"]


class TestFace:
    @pytest.mark.parametrize("kind", [*ALL, "Barrier"])
    def test_are_asyncios_too(self, aio, kind):
        arguments = (2,) if kind == "Barrier" else ()
        thing = getattr(aio, kind)(*arguments)
        assert isinstance(thing, getattr(asyncio, kind))
        own = type("Own", (getattr(aio, kind),), {})(*arguments)
        assert isinstance(own, getattr(asyncio, kind))
        assert type(own).__name__ == "Own"
        thing.name = "attribute"
        assert thing.name == "attribute"
        assert weakref.ref(thing)() is thing

    @pytest.mark.parametrize("kind, free, held", [
        ("Lock", "unlocked", "locked"), ("Semaphore", "unlocked, value:1", "locked"),
        ("BoundedSemaphore", "unlocked, value:1", "locked"), ("Condition", "unlocked", "locked")])
    def test_say_how_they_are(self, aio, run, kind, free, held):
        async def main():
            thing = getattr(aio, kind)()
            start = rf"<\S+\.{kind} object at 0x[0-9a-f]+ "
            assert re.fullmatch(start + rf"\[{free}\]>", repr(thing))
            await thing.acquire()
            assert re.fullmatch(start + rf"\[{held}\]>", repr(thing))
            if kind != "Condition":
                waiting = asyncio.create_task(thing.acquire())
                await turns()
                assert re.fullmatch(start + rf"\[{held}, waiters:1\]>", repr(thing))
                thing.release()
                await waiting
            event = aio.Event()
            assert repr(event).endswith(" [unset]>")
            event.set()
            assert repr(event).endswith(" [set]>")

        run(main())

    @pytest.mark.parametrize("kind", ALL)
    def test_belong_to_one_loop(self, aio, run, kind):
        thing = getattr(aio, kind)(*([0] if "Semaphore" in kind else []))
        wait = thing.acquire if hasattr(thing, "acquire") else thing.wait

        async def bind():
            if kind in ("Lock", "Condition"):
                await thing.acquire()
            task = asyncio.create_task(wait())
            await turns()
            task.cancel()
            await turns()
            assert task.cancelled()

        async def use():
            with pytest.raises(RuntimeError, match="is bound to a different event loop"):
                await wait()

        run(bind())
        run(use())

    def test_need_no_loop_while_nobody_waits(self, aio):
        lock, event, semaphore = aio.Lock(), aio.Event(), aio.Semaphore()
        event.set()
        for operation in (lock.acquire(), event.wait(), semaphore.acquire()):
            with pytest.raises(StopIteration) as result:
                operation.send(None)
            assert result.value.value is True
        with pytest.raises((RuntimeError, AttributeError)):
            lock.acquire().send(None)
        lock.release()
        semaphore.release()

    def test_their_methods_are_coroutine_functions(self, aio):
        for method in (aio.Lock().acquire, aio.Event().wait, aio.Semaphore().acquire, aio.Condition().wait,
                       aio.Condition().acquire, aio.Barrier(1).wait):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                assert asyncio.iscoroutinefunction(method)
            if sys.version_info >= (3, 12):
                assert inspect.iscoroutinefunction(method)

    @pytest.mark.parametrize("kind", ["Lock", "Semaphore", "BoundedSemaphore", "Condition"])
    def test_a_subclass_that_replaces_a_method_is_obeyed(self, aio, run, kind):
        class Loud(getattr(aio, kind)):
            def __init__(self):
                super().__init__()
                self.calls = []
                if kind == "Condition":  # it has the lock's methods, as attributes
                    acquire, release = self.acquire, self.release
                    self.acquire = lambda: self.calls.append("acquire") or acquire()
                    self.release = lambda: self.calls.append("release") or release()

            if kind != "Condition":
                async def acquire(self):
                    self.calls.append("acquire")
                    return await super().acquire()

                def release(self):
                    self.calls.append("release")
                    super().release()

        async def main():
            thing = Loud()
            async with thing:
                assert thing.locked()
            assert not thing.locked()
            assert thing.calls == ["acquire", "release"]

        run(main())


@pytest.mark.extra("glassloop's names on a loop of asyncio's")
class TestOnAsynciosLoop:
    def test_they_wait_and_wake(self, aio):
        async def main():
            lock, event, semaphore, condition = aio.Lock(), aio.Event(), aio.Semaphore(2), aio.Condition()
            barrier = aio.Barrier(5)
            done = []

            async def work(n):
                async with lock:
                    await asyncio.sleep(0)
                async with semaphore:
                    await asyncio.sleep(0)
                async with condition:
                    done.append(n)
                    condition.notify_all()
                    await condition.wait_for(lambda: len(done) == 5)
                await event.wait()
                return await barrier.wait()

            tasks = [asyncio.create_task(work(n)) for n in range(5)]
            await asyncio.sleep(0.01)
            event.set()
            assert sorted(await asyncio.wait_for(asyncio.gather(*tasks), 5)) == list(range(5))
            await lock.acquire()
            first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
            await turns()
            lock.release()
            first.cancel()
            assert await asyncio.wait_for(second, 5)

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())


# ---- compared with asyncio ----

class Play:
    """Takes steps with one primitive, and records all that can be seen."""

    def __init__(self):
        self.record = []
        self.tasks = []

    async def recorded(self, number, operation):
        try:
            self.record.append((number, "got", await operation()))
        except BaseException as error:
            self.record.append((number, "raised", type(error).__name__))
            raise

    def start(self, operation):
        self.tasks.append(asyncio.create_task(self.recorded(len(self.tasks), operation)))

    async def step(self, thing, step, argument):
        if step == "turn":
            await asyncio.sleep(0)
        elif step == "cancel":
            if self.tasks:
                self.tasks[argument % len(self.tasks)].cancel()
        elif step == "block":
            async def block():
                async with thing:
                    for _ in range(argument % 3):
                        await asyncio.sleep(0)
            self.start(block)
        elif step in ("acquire", "wait"):
            self.start(getattr(thing, step))
        elif step == "wait under the lock":
            async def wait():
                async with thing:
                    return await thing.wait()
            self.start(wait)
        elif step == "notify under the lock":
            async def notify():
                async with thing:
                    thing.notify(argument % 4)
            self.start(notify)
        else:
            try:
                getattr(thing, step)()
            except (RuntimeError, ValueError) as error:
                self.record.append(type(error).__name__)

    async def run(self, thing, steps):
        for step, argument in steps:
            await self.step(thing, step, argument)
            self.see(thing)
        for _ in range(8):
            await asyncio.sleep(0)
        self.see(thing)
        for task in self.tasks:
            task.cancel()
        for _ in range(8):
            await asyncio.sleep(0)
        self.see(thing)
        if hasattr(thing, "release"):  # for those who were cancelled while they wait for the lock
            while not all(task.done() for task in self.tasks):
                if thing.locked():
                    thing.release()
                await asyncio.sleep(0)
        return self.record

    def see(self, thing):
        state = repr(thing).partition(" [")[2]
        self.record.append((state, [task.done() for task in self.tasks]))


def steps(*names):
    simple = [st.tuples(st.just(name), st.integers(0, 20)) for name in (*names, "cancel", "turn", "turn")]
    return st.lists(st.one_of(simple), max_size=40)


def compare(aio, run, kind, arguments, played):
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        expected = runner.run(Play().run(getattr(asyncio, kind)(*arguments), played))
    assert run(Play().run(getattr(aio, kind)(*arguments), played)) == expected


bounded = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@bounded
@given(played=steps("acquire", "release", "block"))
def test_a_lock_does_step_by_step_what_asyncios_own_does(aio, run, played):
    compare(aio, run, "Lock", (), played)


@bounded
@given(played=steps("wait", "set", "clear"))
def test_an_event_does_step_by_step_what_asyncios_own_does(aio, run, played):
    compare(aio, run, "Event", (), played)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own wakes one too few before Python 3.13")
@bounded
@given(kind=st.sampled_from(["Semaphore", "BoundedSemaphore"]), value=st.integers(0, 3),
       played=steps("acquire", "release", "block"))
def test_a_semaphore_does_step_by_step_what_asyncios_own_does(aio, run, kind, value, played):
    compare(aio, run, kind, (value,), played)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own loses notifications before Python 3.13")
@bounded
@given(played=steps("wait under the lock", "notify under the lock", "acquire", "release"))
def test_a_condition_does_step_by_step_what_asyncios_own_does(aio, run, played):
    compare(aio, run, "Condition", (), played)
