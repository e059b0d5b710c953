"""The loop: the order of callbacks, timers, start and stop, threads, errors, debug mode, the end, forks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import random
import signal
import socket
import sys
import textwrap
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def reports(loop) -> list[dict[str, Any]]:
    """What the loop's exception handler is told."""
    found: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    return found


@pytest.fixture
def seen() -> list[Any]:
    return []


def turn(loop) -> None:
    """Run one turn."""
    loop.stop()
    loop.run_forever()


class TestOrder:
    def test_callbacks_run_in_the_order_of_their_scheduling(self, loop, seen):
        for i in range(1000):
            loop.call_soon(seen.append, i)
        turn(loop)
        assert seen == list(range(1000))

    def test_what_a_callback_schedules_waits_for_all_that_was_scheduled_before(self, loop, seen):
        def first():
            seen.append(1)
            loop.call_soon(seen.append, 4)
            loop.call_soon(seen.append, 5)

        loop.call_soon(first)
        loop.call_soon(seen.append, 2)
        loop.call_soon(seen.append, 3)
        turn(loop)
        assert seen == [1, 2, 3]
        turn(loop)
        assert seen == [1, 2, 3, 4, 5]

    def test_a_callback_gets_its_arguments(self, loop, seen):
        for n in range(6):
            loop.call_soon(lambda *args: seen.append(args), *range(n))
        turn(loop)
        assert seen == [tuple(range(n)) for n in range(6)]

    def test_a_callback_that_was_cancelled_does_not_run(self, loop, seen):
        handles = [loop.call_soon(seen.append, i) for i in range(4)]
        handles[1].cancel()
        loop.call_soon(handles[3].cancel)
        handles[2].cancel()
        handles[2].cancel()
        turn(loop)
        assert seen == [0, 3]
        assert [handle.cancelled() for handle in handles] == [False, True, True, True]

    def test_a_callback_can_cancel_one_of_the_same_turn(self, loop, seen):
        def cancel():
            handle.cancel()

        loop.call_soon(cancel)
        handle = loop.call_soon(seen.append, 1)
        turn(loop)
        assert seen == []

    def test_tasks_and_callbacks_share_one_order(self, loop, seen):
        async def step(value):
            seen.append(value)

        for i in range(10):
            if i % 2:
                loop.create_task(step(i))
            else:
                loop.call_soon(seen.append, i)
        turn(loop)
        assert seen == list(range(10))

    def test_a_descriptor_that_is_ready_comes_after_what_was_ready_before(self, loop, seen):
        r, w = os.pipe()
        try:
            loop.add_reader(r, lambda: (seen.append("descriptor"), loop.remove_reader(r)))
            os.write(w, b"x")
            loop.call_soon(seen.append, "before")
            turn(loop)
            assert seen == ["before", "descriptor"]
        finally:
            loop.remove_reader(r)
            os.close(r)
            os.close(w)

    def test_a_timer_that_is_due_comes_after_what_is_ready(self, loop, seen):
        loop.call_later(0, seen.append, "timer")
        loop.call_soon(seen.append, "soon")
        turn(loop)
        assert seen == ["soon", "timer"]

    def test_a_chain_of_callbacks_starves_neither_timers_nor_descriptors_nor_threads(self, loop, seen):
        r, w = os.pipe()
        waiting = {"timer", "descriptor", "thread"}

        def arrived(what):
            waiting.discard(what)
            if not waiting:
                loop.stop()

        def read():
            os.read(r, 1)
            arrived("descriptor")

        def again():
            loop.call_soon(again)

        def from_thread():
            os.write(w, b"x")
            loop.call_soon_threadsafe(arrived, "thread")

        thread = threading.Thread(target=from_thread)
        try:
            loop.add_reader(r, read)
            again()
            loop.call_later(0.01, arrived, "timer")
            loop.call_later(10, loop.stop)
            thread.start()
            loop.run_forever()
            assert not waiting
        finally:
            thread.join()
            loop.remove_reader(r)
            os.close(r)
            os.close(w)

    def test_steps_of_tasks_starve_timers_no_more(self, aio, loop):
        async def spin():
            while True:
                await aio.sleep(0)

        tasks = [loop.create_task(spin()) for _ in range(3)]
        began = loop.time()
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert loop.time() - began < 1
        for task in tasks:
            task.cancel()


class TestTimers:
    def test_tell_the_deadline_that_they_were_given(self, loop):
        assert type(loop.call_later(1, lambda: None).when()) is float
        for when in (5, 2.5, True):
            handle = loop.call_at(when, lambda: None)
            assert (handle.when(), type(handle.when())) == (when, type(when))
            assert f"when={when!r} " in repr(handle)
            handle.cancel()
            assert handle.when() == when

    def test_never_fire_early(self, loop, seen):
        random.seed(1)

        def fired(when, began, delay):
            seen.append((loop.time() - when, time.monotonic() - began - delay))

        for _ in range(500):
            delay = random.random() * 0.05
            began = time.monotonic()
            handle = loop.call_later(delay, lambda: None)
            handle.cancel()
            loop.call_at(handle.when(), fired, handle.when(), began, delay)
        for i in range(50):
            when = loop.time() + 0.051 + i * 0.000_001
            loop.call_at(when, fired, when, time.monotonic(), 0.051)
        loop.call_later(0.06, loop.stop)
        loop.run_forever()
        assert len(seen) == 550
        assert min(on_loop for on_loop, _ in seen) >= 0
        assert min(on_clock for _, on_clock in seen) >= 0

    def test_fire_in_the_order_of_their_deadlines(self, loop, seen):
        base = loop.time() + 0.01
        for offset in [3, 1, 2, 5, 4, 0]:
            loop.call_at(base + offset / 1000, seen.append, offset)
        loop.call_later(0.03, loop.stop)
        loop.run_forever()
        assert seen == [0, 1, 2, 3, 4, 5]

    @pytest.mark.extra("the heap of asyncio gives no order to equals")
    def test_fire_in_the_order_of_their_making_where_deadlines_are_equal(self, loop, seen):
        base = loop.time() + 0.01
        for i, offset in enumerate([3, 1, 2, 1, 3, 0, 2, 0] * 10):
            loop.call_at(base + offset / 1000, seen.append, (offset, i))
        loop.call_later(0.03, loop.stop)
        loop.run_forever()
        assert seen == sorted(seen)
        assert len(seen) == 80

    def test_that_are_due_together_run_in_one_turn(self, loop, seen):
        now = loop.time()
        for i in range(100):
            loop.call_at(now - i, seen.append, -i)
        turn(loop)
        assert seen == sorted(seen)
        assert len(seen) == 100

    def test_a_deadline_in_the_past_is_due_at_once(self, loop, seen):
        loop.call_later(-5, seen.append, 1)
        loop.call_at(0, seen.append, 0)
        turn(loop)
        assert seen == [0, 1]

    def test_a_handle_knows_its_deadline(self, loop):
        before = loop.time()
        handle = loop.call_later(5, print)
        assert before + 5 <= handle.when() <= loop.time() + 5
        assert loop.call_at(7, print).when() == 7

    def test_that_were_cancelled_do_not_fire(self, loop, seen):
        handles = [loop.call_later(0.001, seen.append, i) for i in range(100)]
        for handle in handles[::2]:
            handle.cancel()
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert seen == list(range(1, 100, 2))

    def test_one_can_cancel_another_that_is_due_too(self, loop, seen):
        now = loop.time()
        loop.call_at(now, lambda: later.cancel())
        later = loop.call_at(now, seen.append, 1)
        turn(loop)
        assert seen == []

    def test_that_were_cancelled_hold_neither_callback_nor_memory(self, loop):
        class Thing:
            def __call__(self):
                pass

        thing = Thing()
        alive = weakref.ref(thing)
        handle = loop.call_later(1000, thing)
        handle.cancel()
        del thing
        gc.collect()
        assert alive() is None
        assert handle.cancelled()

    def test_a_million_made_and_cancelled_take_no_room(self, loop):
        for _ in range(10):
            for handle in [loop.call_later(1000 + i, print) for i in range(10_000)]:
                handle.cancel()
        alive = loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert not alive.cancelled()

    def test_cancelling_one_that_fired_does_nothing(self, loop, seen):
        handle = loop.call_later(0, seen.append, 1)
        turn(loop)
        handle.cancel()
        handle.cancel()
        assert seen == [1]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=80),
        st.randoms(use_true_random=False),
    )
    def test_any_mixture_of_making_and_cancelling_keeps_the_order(self, aio, timers, random):
        loop = aio.new_event_loop()
        try:
            fired: list[tuple[int, int]] = []
            base = loop.time() - 1
            expected, handles = [], []
            for i, (offset, cancelled) in enumerate(timers):
                handle = loop.call_at(base + offset / 100, fired.append, (offset, i))
                if cancelled:
                    handles.append(handle)
                else:
                    expected.append((offset, i))
            random.shuffle(handles)
            for handle in handles:
                handle.cancel()
            loop.call_soon(lambda: None)
            turn(loop)
            if aio is asyncio:  # whose heap gives no order to equals
                assert [offset for offset, _ in fired] == sorted(offset for offset, _ in expected)
            else:
                assert fired == sorted(expected)
        finally:
            loop.close()

    def test_handles_compare_by_deadline(self, loop):
        early, late = loop.call_at(1, print), loop.call_at(2, print)
        assert early < late and early <= late and late > early and late >= early
        assert early != late
        assert hash(early) == hash(loop.call_at(1, print))
        assert early != 1
        assert loop.call_at(1, print) == early

    def test_time_goes_on_and_is_the_systems_monotonic_clock(self, loop):
        before, now, after = time.monotonic(), loop.time(), time.monotonic()
        assert before <= now <= after
        times = [loop.time() for _ in range(1000)]
        assert times == sorted(times)
        assert len(set(times)) > 100


class TestRunning:
    def test_until_stopped(self, loop, seen):
        def count():
            seen.append(loop.is_running())
            if len(seen) == 5:
                loop.stop()
            loop.call_soon(count)

        loop.call_soon(count)
        loop.run_forever()
        assert seen == [True] * 5
        assert not loop.is_running()

    def test_a_batch_that_was_begun_is_finished_when_it_stops(self, loop, seen):
        loop.call_soon(loop.stop)
        loop.call_soon(seen.append, 1)
        loop.call_soon(lambda: loop.call_soon(seen.append, 2))
        loop.run_forever()
        assert seen == [1]
        turn(loop)
        assert seen == [1, 2]

    def test_stopped_before_it_runs_one_turn(self, loop, seen):
        loop.stop()
        loop.call_soon(seen.append, 1)
        loop.call_soon(lambda: loop.call_soon(seen.append, 2))
        loop.run_forever()
        assert seen == [1]
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert seen == [1, 2]

    def test_is_the_running_loop_meanwhile_only(self, loop, seen):
        loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
        turn(loop)
        assert seen == [loop]
        assert asyncio._get_running_loop() is None

    def test_until_a_future_a_coroutine_or_a_task_is_done(self, aio, loop):
        async def coroutine():
            await aio.sleep(0)
            return 1

        future = loop.create_future()
        loop.call_soon(future.set_result, 2)
        assert loop.run_until_complete(coroutine()) == 1
        assert loop.run_until_complete(future) == 2
        assert loop.run_until_complete(loop.create_task(coroutine())) == 1
        assert loop.run_until_complete(future) == 2

    def test_until_complete_raises_what_the_coroutine_raised(self, loop):
        async def fail():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(fail())

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupts_from_a_callback_go_through_and_nothing_is_lost(self, loop, seen, reports, kind):
        def interrupt():
            raise kind

        loop.call_soon(seen.append, 1)
        loop.call_soon(interrupt)
        loop.call_soon(seen.append, 2)
        with pytest.raises(kind):
            loop.run_forever()
        assert not loop.is_running()
        assert asyncio._get_running_loop() is None
        assert seen == [1]
        turn(loop)
        assert seen == [1, 2]
        assert reports == []

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupts_from_a_task_go_through_and_settle_it(self, aio, loop, seen, kind):
        async def interrupt():
            raise kind

        task = loop.create_task(interrupt())
        loop.call_soon(seen.append, 2)
        with pytest.raises(kind):
            loop.run_forever()
        assert task.done()
        assert type(task.exception()) is kind
        turn(loop)
        assert seen == [2]

    def test_an_exception_in_a_timer_or_reader_goes_the_same_way(self, loop, seen, reports):
        r, w = os.pipe()
        try:
            def read():
                loop.remove_reader(r)
                raise ValueError("reader")

            def late():
                raise ValueError("timer")

            os.write(w, b"x")
            loop.add_reader(r, read)
            loop.call_later(0.001, late)
            loop.call_later(0.01, loop.stop)
            loop.run_forever()
            assert sorted(str(context["exception"]) for context in reports) == ["reader", "timer"]
        finally:
            os.close(r)
            os.close(w)

    def test_puts_back_the_hooks_it_changed(self, loop):
        hooks = sys.get_asyncgen_hooks()
        depth = sys.get_coroutine_origin_tracking_depth()
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        loop.set_debug(True)
        loop.call_soon(lambda: loop.stop())
        loop.run_forever()

        def fail():
            raise KeyboardInterrupt

        loop.call_soon(fail)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert sys.get_asyncgen_hooks() == hooks
        assert sys.get_coroutine_origin_tracking_depth() == depth
        assert signal.set_wakeup_fd(wakeup) == wakeup

    def test_loops_of_several_threads_don_t_meet(self, aio):
        count, results = 4, {}
        barrier = threading.Barrier(count)

        async def work(n):
            barrier.wait()
            for _ in range(200):
                await aio.sleep(0)
                assert asyncio.current_task() is tasks[n]
            return asyncio.get_running_loop()

        tasks = {}

        def run(n):
            loop = aio.new_event_loop()
            tasks[n] = loop.create_task(work(n))
            results[n] = loop.run_until_complete(tasks[n]) is loop
            loop.close()

        threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == dict.fromkeys(range(count), True)

    def test_a_loop_can_go_on_in_another_thread(self, loop, seen):
        loop.call_soon(lambda: seen.append(threading.current_thread()))
        turn(loop)
        loop.call_soon(lambda: seen.append(threading.current_thread()))
        thread = threading.Thread(target=turn, args=(loop,))
        thread.start()
        thread.join()
        assert seen == [threading.current_thread(), thread]


class TestThreads:
    def test_wake_a_loop_that_sleeps_in_time(self, loop):
        latencies = []

        def arrived(sent):
            latencies.append(time.perf_counter() - sent)
            got.set()

        got = threading.Event()

        def send():
            for _ in range(50):
                time.sleep(0.001)
                got.clear()
                loop.call_soon_threadsafe(arrived, time.perf_counter())
                assert got.wait(10)
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=send)
        thread.start()
        loop.run_forever()
        thread.join()
        assert len(latencies) == 50
        assert sorted(latencies)[25] < 0.02

    def test_never_miss_the_moment_when_it_falls_asleep(self, loop):
        rounds = 3000
        go = threading.Event()

        def send():
            for _ in range(rounds):
                go.wait()
                go.clear()
                loop.call_soon_threadsafe(go.set)
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=send)
        go.set()
        thread.start()
        loop.run_forever()
        thread.join()

    def test_all_that_many_schedule_is_run_in_the_order_of_each(self, loop, seen):
        threads, each = 4, 2000
        ended = []

        def send(n):
            for i in range(each):
                loop.call_soon_threadsafe(seen.append, (n, i))
            loop.call_soon_threadsafe(end, n)

        def end(n):
            ended.append(n)
            if len(ended) == threads:
                loop.stop()

        senders = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
        for sender in senders:
            sender.start()
        loop.run_forever()
        for sender in senders:
            sender.join()
        assert len(seen) == threads * each
        for n in range(threads):
            assert [i for m, i in seen if m == n] == list(range(each))

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="as in asyncio, from 3.14 on")
    @pytest.mark.parametrize("ask", ["cancel", "cancelled"])
    def test_who_asks_for_a_callback_that_runs_waits_until_it_has_run(self, loop, seen, ask):
        runs = threading.Event()

        def callback():
            runs.set()
            time.sleep(0.05)
            seen.append("ran")

        def askers():
            handle = loop.call_soon_threadsafe(callback)
            runs.wait()
            others = [threading.Thread(target=lambda: seen.append(getattr(handle, ask)())) for _ in range(3)]
            for other in others:
                other.start()
            for other in others:
                other.join()
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=askers)
        thread.start()
        loop.run_forever()
        thread.join()
        assert seen == ["ran"] + 3 * [None if ask == "cancel" else False]

    def test_a_callback_may_cancel_itself_from_any_thread(self, loop, seen):
        made = threading.Event()
        handles = []

        def callback():
            made.wait()
            handles[0].cancel()
            seen.append(handles[0].cancelled())
            loop.stop()

        def schedule():
            handles.append(loop.call_soon_threadsafe(callback))
            made.set()

        thread = threading.Thread(target=schedule)
        thread.start()
        loop.run_forever()
        thread.join()
        assert seen == [True]

    def test_what_was_scheduled_before_it_runs_is_run(self, loop, seen):
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, 1))
        thread.start()
        thread.join()
        turn(loop)
        assert seen == [1]

    def test_a_signal_handler_may_wake_it(self, loop, seen):
        def handler(number, frame):
            seen.append("handler")
            loop.call_soon_threadsafe(loop.stop)

        before = signal.signal(signal.SIGUSR1, handler)
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        try:
            timer.start()
            loop.run_forever()
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
        assert seen == ["handler"]

    def test_an_exception_of_a_signal_handler_ends_the_wait(self, loop):
        def handler(number, frame):
            raise ZeroDivisionError

        before = signal.signal(signal.SIGUSR1, handler)
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        try:
            timer.start()
            with pytest.raises(ZeroDivisionError):
                loop.run_forever()
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
        assert not loop.is_running()


class TestErrors:
    def test_a_callback_that_raises_takes_down_nothing_but_itself(self, loop, seen, reports):
        def fail():
            raise ValueError("why")

        loop.call_soon(seen.append, 1)
        handle = loop.call_soon(fail)
        loop.call_soon(seen.append, 2)
        turn(loop)
        assert seen == [1, 2]
        [context] = reports
        assert "Exception in callback" in context["message"]
        assert "fail" in context["message"]
        assert repr(context["exception"]) == "ValueError('why')"
        assert context["handle"] is handle
        frames = traceback.extract_tb(context["exception"].__traceback__)
        assert frames[-1].name == "fail"

    def test_any_exception_but_the_interrupts_is_reported(self, loop, reports):
        class Own(BaseException):
            pass

        for kind in (Own, GeneratorExit, asyncio.CancelledError, StopIteration):
            def fail(kind=kind):
                raise kind

            loop.call_soon(fail)
        turn(loop)
        assert [type(context["exception"]) for context in reports] == [
            Own, GeneratorExit, asyncio.CancelledError, StopIteration
        ]

    def test_are_logged_by_default(self, loop, caplog):
        def fail():
            raise ValueError("why")

        loop.call_soon(fail)
        turn(loop)
        [record] = caplog.records
        assert (record.name, record.levelno) == ("asyncio", logging.ERROR)
        assert "Exception in callback" in record.getMessage()
        assert "handle: <Handle" in record.getMessage()
        assert record.exc_info[0] is ValueError

    def test_the_handler_can_be_set_asked_and_unset(self, loop, caplog, seen):
        def handler(loop, context):
            seen.append((loop, context))

        assert loop.get_exception_handler() is None
        loop.set_exception_handler(handler)
        assert loop.get_exception_handler() is handler
        loop.call_exception_handler({"message": "hello"})
        assert seen == [(loop, {"message": "hello"})]
        loop.set_exception_handler(None)
        loop.call_exception_handler({"message": "hello"})
        assert [record.getMessage() for record in caplog.records] == ["hello"]

    def test_a_handler_that_fails_is_reported_too(self, loop, caplog):
        def handler(loop, context):
            raise ZeroDivisionError

        loop.set_exception_handler(handler)
        loop.call_exception_handler({"message": "hello", "exception": ValueError()})
        [record] = caplog.records
        assert "Unhandled error in exception handler" in record.getMessage()
        assert record.exc_info[0] is ZeroDivisionError

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_a_handler_may_end_the_program(self, loop, kind):
        def handler(loop, context):
            raise kind

        def fail():
            raise ValueError

        loop.set_exception_handler(handler)
        loop.call_soon(fail)
        with pytest.raises(kind):
            loop.run_forever()

    def test_a_handler_may_log_by_default(self, loop, caplog):
        loop.set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
        loop.call_exception_handler({"message": "hello", "other": "thing"})
        assert [record.getMessage() for record in caplog.records] == ["hello\nother: 'thing'"]

    def test_the_handler_runs_in_the_context_of_what_failed(self, aio, loop, seen):
        if aio is asyncio and sys.version_info < (3, 12):
            pytest.skip("asyncio does so since 3.12")
        var = contextvars.ContextVar("var", default=0)
        loop.set_exception_handler(lambda loop, context: seen.append(var.get()))
        var.set(1)
        loop.call_soon(lambda: 1 / 0)
        var.set(2)
        turn(loop)
        assert seen == [1]

    def test_what_can_t_be_shown_harms_nothing(self, loop, caplog):
        class Bad:
            def __repr__(self):
                raise ZeroDivisionError

        loop.call_exception_handler({"message": "hello", "thing": Bad()})
        assert len(caplog.records) == 1


class TestDebugMode:
    def test_warns_of_a_slow_callback(self, loop, caplog):
        loop.set_debug(True)
        loop.slow_callback_duration = 0.01

        def slow_one():
            time.sleep(0.02)

        with caplog.at_level(logging.WARNING, "asyncio"):
            loop.call_soon(slow_one)
            loop.call_soon(lambda: None)
            turn(loop)
        [record] = caplog.records
        assert record.getMessage().startswith("Executing <Handle")
        assert "slow_one" in record.getMessage()
        assert "seconds" in record.getMessage()

    def test_warns_of_a_slow_step_of_a_task(self, loop, caplog):
        loop.set_debug(True)
        loop.slow_callback_duration = 0.01

        async def slow_one():
            time.sleep(0.02)

        with caplog.at_level(logging.WARNING, "asyncio"):
            loop.run_until_complete(slow_one())
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == 1
        assert messages[0].startswith("Executing <Task")
        assert "slow_one" in messages[0]

    def test_says_nothing_without(self, loop, caplog):
        loop.set_debug(False)
        loop.slow_callback_duration = 0.01
        loop.call_soon(time.sleep, 0.02)
        turn(loop)
        assert caplog.records == []

    def test_refuses_what_comes_from_another_thread(self, loop, seen):
        def call(schedule):
            try:
                schedule()
            except RuntimeError as error:
                seen.append(str(error))

        def from_thread():
            for schedule in (
                lambda: loop.call_soon(print),
                lambda: loop.call_later(1, print),
                lambda: loop.call_at(1, print),
            ):
                call(schedule)
            loop.call_soon_threadsafe(loop.stop)

        loop.set_debug(True)
        thread = threading.Thread(target=from_thread)
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()
        assert len(seen) == 3
        assert all("thread" in message for message in seen)

    def test_lets_another_thread_schedule_while_the_loop_does_not_run(self, loop, seen):
        loop.set_debug(True)
        thread = threading.Thread(target=lambda: seen.append(loop.call_soon(print)))
        thread.start()
        thread.join()
        assert len(seen) == 1

    def test_tells_where_a_coroutine_that_was_never_awaited_was_made(self, aio):
        async def forgotten():
            pass

        async def main():
            forgotten()
            gc.collect()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            aio.run(main(), debug=True)
        [message] = [str(w.message) for w in caught if "never awaited" in str(w.message)]
        assert "forgotten" in message
        assert "Coroutine created at" in message
        assert "test_loop.py" in message

    def test_remembers_where_a_handle_was_made(self, loop, reports):
        loop.set_debug(True)

        def make():
            loop.call_soon(lambda: 1 / 0)

        make()
        turn(loop)
        [context] = reports
        assert context["source_traceback"][-1].name == "make"

    @pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
    def test_shows_it_in_the_handles_repr(self, loop, method):
        loop.set_debug(True)
        first = (1,) if method in ("call_later", "call_at") else ()
        handle = getattr(loop, method)(*first, print)
        assert "created at" in repr(handle)
        assert "test_loop.py" in repr(handle)

    def test_can_be_turned_on_while_running(self, aio):
        async def main():
            loop = asyncio.get_running_loop()
            assert loop.get_debug() is False
            assert sys.get_coroutine_origin_tracking_depth() == 0
            loop.set_debug(True)
            await aio.sleep(0)
            assert sys.get_coroutine_origin_tracking_depth() > 0
            loop.set_debug(False)
            await aio.sleep(0)
            assert sys.get_coroutine_origin_tracking_depth() == 0

        aio.run(main(), debug=False)


class TestAsynchronousGenerators:
    def test_one_that_is_collected_is_closed_on_the_loop(self, aio, loop, seen):
        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await aio.sleep(0)
                seen.append(asyncio.get_running_loop())

        async def main():
            generator = numbers()
            await anext(generator)
            del generator
            gc.collect()
            for _ in range(5):
                await aio.sleep(0)

        loop.run_until_complete(main())
        assert seen == [loop]

    def test_all_that_are_open_are_closed_by_shutdown(self, aio, loop, seen):
        async def numbers(n):
            try:
                yield n
            finally:
                await aio.sleep(0)
                seen.append(n)

        async def main():
            generators = [numbers(n) for n in range(5)]
            for generator in generators:
                await anext(generator)
            await generators[0].aclose()
            return generators

        kept = loop.run_until_complete(main())
        assert seen == [0]
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert sorted(seen) == [0, 1, 2, 3, 4]
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert len(kept) == 5

    def test_one_that_fails_to_close_is_reported(self, loop, reports):
        async def numbers():
            try:
                yield 1
            finally:
                raise ZeroDivisionError

        async def main():
            generator = numbers()
            await anext(generator)
            return generator

        kept = loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        [context] = reports
        assert type(context["exception"]) is ZeroDivisionError
        assert context["asyncgen"] is kept

    def test_one_that_begins_after_shutdown_warns(self, loop):
        async def numbers():
            yield 1

        async def main():
            await loop.shutdown_asyncgens()
            with pytest.warns(ResourceWarning, match="after loop.shutdown_asyncgens"):
                async for _ in numbers():
                    pass

        loop.run_until_complete(main())


class TestContext:
    def test_a_callback_runs_in_a_copy_of_the_context_it_was_scheduled_in(self, loop, seen):
        var = contextvars.ContextVar("var", default=0)

        def callback():
            seen.append(var.get())
            var.set(9)

        var.set(1)
        loop.call_soon(callback)
        loop.call_later(0, callback)
        loop.call_soon_threadsafe(callback)
        var.set(2)
        turn(loop)
        assert seen == [1, 1, 1]
        assert var.get() == 2

    def test_or_in_the_one_that_was_given(self, loop, seen):
        var = contextvars.ContextVar("var", default=0)
        context = contextvars.copy_context()
        context.run(var.set, 5)

        def callback():
            seen.append(var.get())
            var.set(var.get() + 1)

        handles = [
            loop.call_soon(callback, context=context),
            loop.call_soon_threadsafe(callback, context=context),
            loop.call_later(0, callback, context=context),
            loop.call_at(loop.time(), callback, context=context),
        ]
        turn(loop)
        assert seen == [5, 6, 7, 8]
        assert context[var] == 9
        assert var.get() == 0
        assert all(handle.get_context() is context for handle in handles if hasattr(handle, "get_context"))

    def test_a_context_that_is_in_use_already_is_reported(self, loop, seen, reports, caplog):
        context = contextvars.copy_context()
        loop.call_soon(seen.append, 1, context=context)
        context.run(turn, loop)
        assert seen == []
        assert len(reports) + len(caplog.records) == 1


class TestItsEnd:
    def test_what_is_scheduled_is_dropped_and_freed(self, aio):
        class Thing:
            def __call__(self):
                raise AssertionError

        things = [Thing() for _ in range(3)]
        alive = [weakref.ref(thing) for thing in things]
        loop = aio.new_event_loop()
        loop.call_soon(things[0])
        loop.call_later(1, things[1])
        loop.call_soon_threadsafe(things[2])
        loop.close()
        del things
        gc.collect()
        assert [ref() for ref in alive] == [None] * 3

    def test_a_loop_that_nobody_closed_warns_and_is_closed(self, aio, no_leaks):
        loop = aio.new_event_loop()
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            del loop
            gc.collect()

    @pytest.mark.parametrize("pending", ["callback", "timer", "task", "attribute"])
    def test_a_loop_that_nobody_closed_is_freed_with_all_that_is_pending(self, aio, no_leaks, pending):
        async def wait(loop):
            future = loop.create_future()
            await future

        loop = aio.new_event_loop()
        if pending == "callback":
            loop.call_soon(loop.stop)
        elif pending == "timer":
            loop.call_later(1000, loop.stop)
        elif pending == "task":
            loop.set_exception_handler(lambda loop, context: None)
            loop.create_task(wait(loop))
            turn(loop)
        else:
            loop.itself = loop
        alive = weakref.ref(loop)
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            del loop
            gc.collect()
        gc.collect()  # the warning has held it
        assert alive() is None

    def test_a_thousand_loops_leave_nothing_open(self, aio, no_leaks):
        for _ in range(1000):
            loop = aio.new_event_loop()
            loop.call_later(100, print)
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()

    def test_loops_are_freed(self, aio):
        loops = []
        for _ in range(20):
            loop = aio.new_event_loop()
            loop.run_until_complete(aio.sleep(0))
            loop.close()
            loops.append(weakref.ref(loop))
        del loop
        gc.collect()
        assert [ref() for ref in loops] == [None] * 20

    @pytest.mark.parametrize("use", ["nothing", "executor", "lookup", "sock_calls", "reader", "signal", "streams", "process"])
    def test_a_closed_loop_is_freed_without_the_collector(self, aio, use):
        async def main():
            loop = asyncio.get_running_loop()
            if use == "executor":
                await loop.run_in_executor(None, int)
                await loop.shutdown_default_executor()
            elif use == "lookup":
                await loop.getaddrinfo("localhost", "http")
                await loop.getnameinfo(("127.0.0.1", 80))
                await loop.shutdown_default_executor()
            elif use in ("sock_calls", "reader"):
                left, right = socket.socketpair()
                with left, right:
                    left.setblocking(False)
                    if use == "reader":
                        arrived = loop.create_future()
                        loop.add_reader(left, arrived.set_result, None)
                        right.send(b"data")
                        await arrived
                        loop.remove_reader(left)
                    else:
                        loop.call_soon(right.send, b"data")
                        assert await loop.sock_recv(left, 100) == b"data"
            elif use == "signal":
                loop.add_signal_handler(signal.SIGUSR1, print)
            elif use == "streams":
                server = await aio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
                reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
                server.close()
                await server.wait_closed()
            elif use == "process":
                process = await aio.create_subprocess_exec("true")
                assert await process.wait() == 0

        gc.collect()
        gc.disable()
        try:
            loop = aio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
            alive = weakref.ref(loop)
            del loop
            assert alive() is None
        finally:
            gc.enable()

    @pytest.mark.extra("asyncio 3.13 writes about an exception in __del__")
    def test_is_not_waited_for_by_the_interpreter(self, python, aio):
        done = python(
            "-X", "dev", "-W", "ignore::ResourceWarning", "-c",
            f"import {aio.__name__} as aio\nloop = aio.new_event_loop()\n"
            "loop.call_soon(loop.stop); loop.run_forever(); loop.call_later(1, print); loop.create_future()",
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestFork:
    @pytest.fixture
    def forked(self, python, aio) -> Callable[[str], str]:
        def forked(program: str) -> str:
            done = python(
                "-W", "ignore::DeprecationWarning", "-c",
                f"import asyncio, os, sys, time\nimport {aio.__name__} as aio\n" + textwrap.dedent(program),
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        return forked

    def test_the_child_has_no_running_loop_and_can_run_its_own(self, forked):
        assert forked("""
            async def child():
                await aio.sleep(0.01)
                return 3

            async def main():
                await aio.sleep(0)
                pid = os.fork()
                if pid == 0:
                    try:
                        assert asyncio._get_running_loop() is None
                        code = aio.run(child())
                    finally:
                        os._exit(code)
                _, status = os.waitpid(pid, 0)
                await aio.sleep(0.01)
                return os.waitstatus_to_exitcode(status)

            print(aio.run(main()))
            """) == "3\n"

    @pytest.mark.extra("a loop of asyncio shares its epoll descriptor with the child")
    def test_the_child_may_close_the_parents_loop_and_the_parent_notices_nothing(self, forked):
        assert forked("""
            async def main():
                loop = asyncio.get_running_loop()
                r, w = os.pipe()
                got = loop.create_future()
                loop.add_reader(r, lambda: (loop.remove_reader(r), got.set_result(os.read(r, 1))))
                await aio.sleep(0)
                pid = os.fork()
                if pid == 0:
                    code = 1
                    try:
                        assert not loop.is_running()
                        loop.remove_reader(r)
                        loop.close()
                        code = 4
                    finally:
                        os._exit(code)
                _, status = os.waitpid(pid, 0)
                os.write(w, b'x')
                loop.call_soon_threadsafe(lambda: None)
                return os.waitstatus_to_exitcode(status), await aio.wait_for(got, 10)

            print(aio.run(main()))
            """) == "(4, b'x')\n"

    def test_a_loop_that_does_not_run_can_go_on_in_the_child(self, forked):
        if "asyncio" in forked("print(aio.__name__)"):
            pytest.skip("a loop of asyncio shares its epoll descriptor with the child")
        assert forked("""
            loop = aio.new_event_loop()
            loop.call_soon(loop.stop)
            loop.run_forever()
            pid = os.fork()
            result = loop.run_until_complete(aio.sleep(0.01, 5))
            if pid == 0:
                loop.close()
                os._exit(result)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), result)
            loop.close()
            """) == "5 5\n"


class TestItsParts:
    def test_repr_tells_its_state(self, loop):
        assert "running=False" in repr(loop)
        assert "closed=False" in repr(loop)
        assert "debug=False" in repr(loop)

    def test_repr_of_a_handle_names_the_callback(self, loop):
        handle = loop.call_soon(print, 1, 2)
        assert repr(handle).startswith("<Handle print(")
        timer = loop.call_at(5, print, 1)
        assert repr(timer).startswith("<TimerHandle when=5")
        handle.cancel()
        assert repr(handle) == "<Handle cancelled>"

    @pytest.mark.extra("the clock of an asyncio loop is no parameter")
    def test_the_clock_and_the_poller_are_parameters(self, aio):
        from glassloop.core.poller import SelectorPoller

        class Clock:
            now = 1000.0

            def time(self):
                return self.now

        class Jumping(SelectorPoller):
            """Time stands still but where the loop sleeps: there it jumps to the end of the sleep."""

            def wait(self, timeout):
                if timeout > 0:
                    clock.now += timeout
                super().wait(0)

        clock = Clock()
        loop = aio.EventLoop(clock=clock, poller=Jumping())

        async def main():
            await aio.sleep(86400)
            async with aio.timeout(10):
                await aio.sleep(5)
            with pytest.raises(TimeoutError):
                await aio.wait_for(loop.create_future(), 3600)
            return loop.time()

        try:
            began = time.monotonic()
            assert loop.run_until_complete(main()) == pytest.approx(1000 + 86400 + 5 + 3600)
            assert time.monotonic() - began < 5
        finally:
            loop.close()

    @pytest.mark.extra("a poller of glassloop's")
    def test_the_poller_on_selectors_does_the_same(self, aio, no_leaks):
        from glassloop.core.poller import SelectorPoller

        loop = aio.EventLoop(poller=SelectorPoller())
        r, w = os.pipe()

        async def main():
            got = loop.create_future()
            loop.add_reader(r, lambda: got.done() or got.set_result(os.read(r, 10)))
            loop.call_later(0.01, os.write, w, b"hello")
            result = await got
            assert loop.remove_reader(r)
            thread = threading.Timer(0.01, loop.call_soon_threadsafe, (woken.set_result, 1))
            thread.start()
            await woken
            thread.join()
            return result

        try:
            woken = loop.create_future()
            assert loop.run_until_complete(main()) == b"hello"
        finally:
            loop.close()
            os.close(r)
            os.close(w)
