"""run() and Runner: results, the loop's life, what is left over at the end, Ctrl-C."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import sys
import threading
import time

import pytest


def interrupt() -> None:
    """Ctrl-C, as the terminal sends it."""
    os.kill(os.getpid(), signal.SIGINT)


class TestRun:
    def test_returns_the_result_and_closes_the_loop(self, aio):
        async def main():
            await aio.sleep(0)
            return asyncio.get_running_loop()

        loop = aio.run(main())
        assert loop.is_closed()
        assert not loop.is_running()

    def test_the_loop_is_the_runtimes_own(self, aio):
        async def main():
            return type(asyncio.get_running_loop()).__module__.partition(".")[0]

        assert aio.run(main()) == aio.__name__

    def test_each_run_has_a_loop_of_its_own(self, aio):
        async def main():
            return asyncio.get_running_loop()

        assert aio.run(main()) is not aio.run(main())

    @pytest.mark.parametrize(
        "kind", [ValueError, asyncio.CancelledError, SystemExit, KeyboardInterrupt, BaseException]
    )
    def test_what_main_raises_is_raised_and_the_loop_is_closed(self, aio, kind):
        loops = []
        error = kind("why")

        async def main():
            loops.append(asyncio.get_running_loop())
            raise error

        with pytest.raises(kind) as caught:
            aio.run(main())
        assert caught.value is error
        assert loops[0].is_closed()

    @pytest.mark.parametrize("debug", [True, False])
    def test_debug_mode(self, aio, debug):
        async def main():
            return asyncio.get_running_loop().get_debug()

        assert aio.run(main(), debug=debug) is debug

    def test_without_debug_the_environment_decides(self, python, aio):
        program = (
            f"import asyncio, {aio.__name__} as aio\n"
            "async def main(): return asyncio.get_running_loop().get_debug()\n"
            "print(aio.run(main()), aio.run(main(), debug=False))"
        )
        plain = python("-c", program)
        assert plain.stdout == "False False\n", plain.stderr
        told = python("-c", program, env={**os.environ, "PYTHONASYNCIODEBUG": "1"})
        assert told.stdout == "True False\n", told.stderr

    def test_the_loop_is_the_threads_current_one_until_the_end(self, aio):
        async def main():
            pass

        with aio.Runner() as runner:
            assert asyncio.get_event_loop() is runner.get_loop()
        with pytest.raises(RuntimeError):
            asyncio.get_event_loop()

    def test_a_loop_of_a_factory_is_not_made_the_current_one(self, aio):
        with aio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            assert type(runner.get_loop()) is asyncio.SelectorEventLoop
            asyncio.set_event_loop(None)
            with pytest.raises(RuntimeError):
                asyncio.get_event_loop()

    def test_in_another_thread(self, aio):
        found = []

        async def main():
            await aio.sleep(0)
            found.append(threading.current_thread())

        thread = threading.Thread(target=lambda: aio.run(main()))
        thread.start()
        thread.join()
        assert found == [thread]

    def test_takes_a_loop_factory(self, aio):
        if aio is asyncio and sys.version_info < (3, 12):
            pytest.skip("asyncio.run has it since 3.12")
        made = []

        def factory():
            made.append(aio.new_event_loop())
            return made[0]

        async def main():
            return asyncio.get_running_loop()

        assert aio.run(main(), loop_factory=factory) is made[0]
        assert made[0].is_closed()

    @pytest.mark.extra("asyncio has it since 3.14")
    def test_takes_any_awaitable(self, aio):
        class Awaitable:
            def __await__(self):
                yield from aio.sleep(0).__await__()
                return 5

        assert aio.run(Awaitable()) == 5
        with aio.Runner() as runner:
            future = runner.get_loop().create_future()
            future.set_result(6)
            assert runner.run(future) == 6
            task = runner.get_loop().create_task(aio.sleep(0, 7))
            assert runner.run(task) == 7

    def test_thousands_of_runs_leave_nothing_open(self, aio, no_leaks):
        async def main():
            await aio.sleep(0)

        for _ in range(1000):
            aio.run(main())


class TestWhatIsLeftOver:
    def test_tasks_are_cancelled_and_waited_for(self, aio):
        seen = []

        async def other():
            try:
                await aio.sleep(1000)
            except asyncio.CancelledError:
                await aio.sleep(0)
                seen.append("cancelled")
                raise

        async def main():
            aio.create_task(other())
            await aio.sleep(0)
            seen.append("end of main")

        aio.run(main())
        assert seen == ["end of main", "cancelled"]

    def test_a_task_that_never_began_is_cancelled_too(self, aio):
        async def other():
            raise AssertionError("must not begin")

        with aio.Runner() as runner:
            task = runner.get_loop().create_task(other())
        assert task.cancelled()

    def test_an_exception_in_a_cancelled_task_is_reported(self, aio):
        reports = []

        async def other():
            try:
                await aio.sleep(1000)
            finally:
                raise ValueError("while being cancelled")

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: reports.append(context))
            reports.append(aio.create_task(other()))
            await aio.sleep(0)

        aio.run(main())
        task, context = reports
        assert context["message"] == "unhandled exception during asyncio.run() shutdown"
        assert repr(context["exception"]) == "ValueError('while being cancelled')"
        assert context["task"] is task

    def test_asynchronous_generators_are_closed(self, aio):
        closed = []

        async def numbers():
            try:
                while True:
                    yield 1
            finally:
                await aio.sleep(0)
                closed.append(asyncio.get_running_loop())

        async def main():
            generator = numbers()
            await anext(generator)
            kept.append(generator)
            return asyncio.get_running_loop()

        kept = []
        loop = aio.run(main())
        assert closed == [loop]

    def test_threads_of_the_default_executor_are_joined(self, aio, no_leaks):
        release = threading.Event()
        done = []

        def work():
            release.wait()
            done.append(True)

        async def main():
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, work)
            loop.call_later(0.02, release.set)
            await aio.sleep(0.04)

        aio.run(main())
        assert done == [True]

    def test_they_are_cleaned_up_when_main_fails_too(self, aio):
        seen = []

        async def other():
            try:
                await aio.sleep(1000)
            finally:
                seen.append("cancelled")

        async def main():
            task = aio.create_task(other())
            await aio.sleep(0)
            assert not task.done()
            raise ValueError

        with pytest.raises(ValueError):
            aio.run(main())
        assert seen == ["cancelled"]


class TestRunner:
    def test_runs_several_coroutines_on_one_loop(self, aio):
        async def main(value):
            await aio.sleep(0)
            return value, asyncio.get_running_loop()

        with aio.Runner() as runner:
            loop = runner.get_loop()
            assert runner.run(main(1)) == (1, loop)
            assert runner.run(main(2)) == (2, loop)
            assert not loop.is_closed()
        assert loop.is_closed()

    def test_is_an_asyncio_runner(self, aio):
        assert isinstance(aio.Runner(), asyncio.Runner)

    def test_makes_the_loop_when_it_is_first_wanted(self, aio):
        made = []

        def factory():
            made.append(aio.new_event_loop())
            return made[0]

        runner = aio.Runner(loop_factory=factory)
        assert made == []
        runner.close()
        assert made == []
        with runner:
            assert made == [runner.get_loop()]

    def test_tasks_go_on_from_one_run_to_the_next(self, aio):
        async def worker(event):
            await event.wait()
            return "done"

        with aio.Runner() as runner:
            async def begin():
                event = aio.Event()
                return event, aio.create_task(worker(event))

            async def end(event, task):
                event.set()
                return await task

            assert runner.run(end(*runner.run(begin()))) == "done"

    def test_context_variables_last_from_one_run_to_the_next(self, aio):
        var = contextvars.ContextVar("var", default="unset")

        async def change(value):
            before = var.get()
            var.set(value)
            return before

        own = contextvars.copy_context()
        with aio.Runner() as runner:
            assert runner.run(change(1)) == "unset"
            assert runner.run(change(2)) == 1
            assert runner.run(change(3), context=own) == "unset"
            assert runner.run(change(4)) == 2
        assert own[var] == 3
        assert var.get() == "unset"

    def test_debug_is_set_on_the_loop(self, aio):
        with aio.Runner(debug=True) as runner:
            assert runner.get_loop().get_debug() is True

    def test_closing_twice_does_nothing(self, aio):
        runner = aio.Runner()
        loop = runner.get_loop()
        runner.close()
        runner.close()
        assert loop.is_closed()

    def test_closing_twice_leaves_alone_the_loop_that_was_set_meanwhile(self, aio):
        runner = aio.Runner()
        runner.get_loop()
        runner.close()
        loop = aio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            runner.close()
            assert asyncio.get_event_loop() is loop
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class TestControlC:
    def test_cancels_main_and_is_raised(self, aio):
        seen = []

        async def main():
            try:
                asyncio.get_running_loop().call_soon(interrupt)
                await aio.sleep(1000)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())
        assert seen == ["cancelled"]

    def test_wakes_a_loop_that_sleeps(self, aio):
        async def main():
            threading.Timer(0.05, interrupt).start()
            await aio.sleep(1000)

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            aio.run(main())
        assert time.monotonic() - began < 10

    def test_wakes_a_loop_that_sleeps_without_a_deadline(self, aio):
        async def main():
            threading.Timer(0.05, interrupt).start()
            await asyncio.get_running_loop().create_future()

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())

    def test_stops_tasks_that_never_sleep(self, aio):
        async def main():
            threading.Timer(0.05, interrupt).start()
            while True:
                await aio.sleep(0)

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())

    def test_stops_a_chain_of_callbacks_that_never_ends(self, aio):
        async def main():
            loop = asyncio.get_running_loop()

            def again():
                loop.call_soon(again)

            again()
            threading.Timer(0.05, interrupt).start()
            await loop.create_future()

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())

    def test_stops_code_that_never_awaits_at_the_second(self, aio):
        async def main():
            threading.Timer(0.05, interrupt).start()
            threading.Timer(0.1, interrupt).start()
            while True:
                pass

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())

    def test_the_second_is_raised_at_once(self, aio):
        seen = []

        async def main():
            try:
                interrupt()
                await aio.sleep(1000)
            except asyncio.CancelledError:
                seen.append("cancelled")
            interrupt()
            time.sleep(0)
            seen.append("not reached")

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())
        assert seen == ["cancelled"]

    def test_main_may_return_all_the_same(self, aio):
        async def main():
            try:
                interrupt()
                await aio.sleep(1000)
            except asyncio.CancelledError:
                return "saved"

        assert aio.run(main()) == "saved"

    def test_main_may_raise_something_else(self, aio):
        async def main():
            try:
                interrupt()
                await aio.sleep(1000)
            except asyncio.CancelledError:
                raise ValueError from None

        with pytest.raises(ValueError):
            aio.run(main())

    def test_when_main_was_cancelled_by_others_too_it_is_a_cancellation(self, aio):
        async def main():
            asyncio.current_task().cancel()
            interrupt()
            await aio.sleep(1000)

        with pytest.raises(asyncio.CancelledError):
            aio.run(main())

    def test_tasks_that_are_left_are_cancelled(self, aio):
        seen = []

        async def other():
            try:
                await aio.sleep(1000)
            finally:
                seen.append("cancelled")

        async def main():
            task = aio.create_task(other())
            await aio.sleep(0)
            interrupt()
            await task

        with pytest.raises(KeyboardInterrupt):
            aio.run(main())
        assert seen == ["cancelled"]

    def test_the_handler_is_put_back(self, aio):
        handlers = []

        async def main():
            handlers.append(signal.getsignal(signal.SIGINT))

        before = signal.getsignal(signal.SIGINT)
        assert before is signal.default_int_handler
        aio.run(main())
        assert handlers[0] is not before
        assert signal.getsignal(signal.SIGINT) is before

    def test_a_handler_of_the_programs_own_is_left_alone(self, aio):
        caught = []

        def handler(number, frame):
            caught.append(number)

        async def main():
            interrupt()
            await aio.sleep(0)
            return signal.getsignal(signal.SIGINT)

        before = signal.signal(signal.SIGINT, handler)
        try:
            assert aio.run(main()) is handler
        finally:
            signal.signal(signal.SIGINT, before)
        assert caught == [signal.SIGINT]

    def test_the_wakeup_descriptor_is_put_back(self, aio):
        async def main():
            await aio.sleep(0)

        aio.run(main())
        assert signal.set_wakeup_fd(-1) == -1

    def test_each_run_of_a_runner_counts_anew(self, aio):
        async def main():
            interrupt()
            await aio.sleep(1000)

        async def fine():
            await aio.sleep(0)
            return "fine"

        with aio.Runner() as runner:
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    runner.run(main())
                assert runner.run(fine()) == "fine"

    def test_in_another_thread_nothing_is_touched(self, aio):
        handlers = []

        async def main():
            handlers.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=lambda: aio.run(main()))
        thread.start()
        thread.join()
        assert handlers == [signal.default_int_handler]
