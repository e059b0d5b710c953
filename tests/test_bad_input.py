"""What is wrong raises at once, the type of error that asyncio raises, and leaves the loop usable."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import sys
import warnings

import pytest

NOT_AWAITABLE = TypeError if sys.version_info >= (3, 14) else ValueError


async def main():
    pass


@contextlib.contextmanager
def coroutines_may_be_left():
    """A coroutine that is refused is never awaited, and says so when it is deleted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
        gc.collect()


@pytest.fixture
def closed(aio):
    loop = aio.new_event_loop()
    loop.close()
    return loop


class TestRunningProgram:
    @pytest.mark.parametrize("thing", [main, None, 5, "main", [], lambda: main()], ids=repr)
    def test_run_needs_a_coroutine(self, aio, thing):
        with pytest.raises(NOT_AWAITABLE):
            aio.run(thing)
        with aio.Runner() as runner, pytest.raises(NOT_AWAITABLE):
            runner.run(thing)

    @pytest.mark.extra("asyncio names what it got, no more")
    def test_run_of_a_function_that_was_not_called_says_what_to_do(self, aio):
        message = r"(a coroutine was expected|an awaitable is required), got <function main at .*>; call it: main\(\)"
        with pytest.raises(NOT_AWAITABLE, match=message):
            aio.run(main)

    def test_run_within_a_running_loop(self, aio, run):
        async def outer():
            with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
                aio.run(main())
            with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
                aio.Runner().run(main())
            await asyncio.sleep(0)
            return "usable"

        with coroutines_may_be_left():
            assert run(outer()) == "usable"

    def test_a_closed_runner(self, aio):
        runner = aio.Runner()
        runner.get_loop()
        runner.close()
        with coroutines_may_be_left():
            for use in (lambda: runner.run(main()), runner.get_loop, runner.__enter__):
                with pytest.raises(RuntimeError, match="closed"):
                    use()

    def test_a_factory_that_fails(self, aio):
        def factory():
            raise ZeroDivisionError

        with coroutines_may_be_left(), pytest.raises(ZeroDivisionError):
            with aio.Runner(loop_factory=factory) as runner:
                runner.run(main())

    def test_run_until_complete_needs_an_awaitable_of_this_loop(self, aio, loop):
        for thing in (main, 5, None):
            with pytest.raises(TypeError):
                loop.run_until_complete(thing)
        other = aio.new_event_loop()
        try:
            with pytest.raises(ValueError):
                loop.run_until_complete(other.create_future())
        finally:
            other.close()

    @pytest.mark.extra("asyncio 3.13 refuses too, but forgets then which loop it runs")
    def test_a_loop_that_runs_can_neither_be_run_nor_closed(self, loop):
        async def outer():
            for use in (loop.run_forever, loop.close, lambda: loop.run_until_complete(loop.create_future())):
                with pytest.raises(RuntimeError):
                    use()
            await asyncio.sleep(0)
            return "usable"

        assert loop.run_until_complete(outer()) == "usable"

    @pytest.mark.extra("asyncio 3.13 refuses too, but forgets then which loop it runs")
    def test_no_loop_runs_within_another(self, aio, loop):
        other = aio.new_event_loop()

        async def outer():
            with pytest.raises(RuntimeError):
                other.run_forever()
            with pytest.raises(RuntimeError):
                other.run_until_complete(other.create_future())
            assert asyncio.get_running_loop() is loop

        try:
            loop.run_until_complete(outer())
        finally:
            other.close()

    def test_a_loop_stopped_before_the_result(self, loop):
        loop.call_soon(loop.stop)
        with pytest.raises(RuntimeError, match="stopped before Future completed"):
            loop.run_until_complete(loop.create_future())


class TestClosedLoop:
    @pytest.mark.parametrize(
        "use",
        [
            lambda loop: loop.call_soon(print),
            lambda loop: loop.call_soon_threadsafe(print),
            lambda loop: loop.call_later(1, print),
            lambda loop: loop.call_later(-1, print),
            lambda loop: loop.call_at(1, print),
            lambda loop: loop.create_task(main()),
            lambda loop: loop.run_forever(),
            lambda loop: loop.run_until_complete(main()),
            lambda loop: loop.run_until_complete(loop.create_future()),
            lambda loop: loop.run_in_executor(None, print),
            lambda loop: loop.add_reader(0, print),
            lambda loop: loop.add_writer(1, print),
            lambda loop: loop.add_signal_handler(10, print),
        ],
    )
    def test_refuses(self, closed, use):
        with coroutines_may_be_left(), pytest.raises(RuntimeError, match="closed"):
            use(closed)

    def test_may_be_asked_stopped_and_closed_again(self, closed):
        closed.close()
        closed.stop()
        assert closed.is_closed()
        assert not closed.is_running()
        assert "closed=True" in repr(closed)
        closed.time()
        closed.set_debug(True)
        assert closed.get_debug()

    def test_a_future_of_it_can_be_settled(self, aio):
        loop = aio.new_event_loop()
        future = loop.create_future()
        loop.close()
        future.set_result(1)
        assert future.result() == 1


class TestScheduling:
    @pytest.mark.parametrize("delay", ["1", [], object()], ids=repr)
    def test_a_delay_that_is_no_number(self, loop, delay):
        with pytest.raises(TypeError):
            loop.call_later(delay, print)

    def test_no_delay(self, loop):
        with pytest.raises(TypeError):
            loop.call_later(None, print)
        with pytest.raises(TypeError):
            loop.call_at(None, print)

    @pytest.mark.extra("asyncio takes it, and its heap of timers is in disorder from then on")
    def test_a_deadline_that_is_not_a_number(self, loop):
        with pytest.raises(ValueError, match="NaN"):
            loop.call_later(math.nan, print)
        with pytest.raises(ValueError, match="NaN"):
            loop.call_at(math.nan, print)

    def test_a_deadline_without_end_never_comes(self, loop):
        handle = loop.call_later(math.inf, print)
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert handle.when() == math.inf
        handle.cancel()

    def test_a_deadline_before_all_time_has_come(self, loop):
        loop.call_later(-math.inf, loop.stop)
        loop.run_forever()

    @pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
    def test_debug_mode_refuses_what_is_no_callback(self, loop, method):
        loop.set_debug(True)
        schedule = getattr(loop, method)
        coroutine = main()
        for thing in (None, 5, main, coroutine):
            with pytest.raises(TypeError):
                schedule(thing)
        coroutine.close()

    def test_debug_mode_refuses_it_for_timers_too(self, loop):
        loop.set_debug(True)
        for thing in (None, 5, main):
            with pytest.raises(TypeError):
                loop.call_later(1, thing)
            with pytest.raises(TypeError):
                loop.call_at(1, thing)

    def test_what_is_no_callback_is_reported_without_debug_mode(self, loop):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
        loop.set_debug(False)
        loop.call_soon(5)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert [type(error) for error in reports] == [TypeError]

    def test_callbacks_without_a_callback(self, loop):
        timers = (lambda: loop.call_later(1), lambda: loop.call_at(1))
        for use in (loop.call_soon, loop.call_soon_threadsafe, *timers):
            with pytest.raises(TypeError):
                use()

    def test_a_context_that_is_none(self, loop):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
        try:
            loop.call_soon(print, context=5)
        except (AttributeError, TypeError):
            return
        loop.call_soon(loop.stop)
        try:
            loop.run_forever()
        except (AttributeError, TypeError):
            return
        assert reports

    @pytest.mark.parametrize("thing", [main, None, 5, "x", [], iter([])], ids=repr)
    def test_a_task_of_no_coroutine(self, aio, loop, thing):
        with pytest.raises(TypeError):
            loop.create_task(thing)
        with pytest.raises(TypeError):
            aio.Task(thing, loop=loop)

    def test_a_task_of_a_future(self, aio, loop):
        with pytest.raises(TypeError):
            loop.create_task(loop.create_future())
        with pytest.raises(TypeError):
            aio.Task(loop.create_future(), loop=loop)

    def test_a_task_without_a_loop(self, aio):
        with coroutines_may_be_left(), pytest.raises(RuntimeError):
            aio.create_task(main())

    def test_options_that_there_are_not(self, loop):
        with coroutines_may_be_left():
            with pytest.raises(TypeError):
                loop.create_task(main(), priority=1)
            with pytest.raises(TypeError):
                loop.call_soon(print, priority=1)

    def test_settings_that_can_t_be(self, loop):
        with pytest.raises(TypeError):
            loop.set_task_factory(5)
        with pytest.raises(TypeError):
            loop.set_exception_handler(5)


class TestFuture:
    def test_used_twice(self, aio, loop):
        future = loop.create_future()
        future.set_result(1)
        for use in (lambda: future.set_result(2), lambda: future.set_exception(ValueError())):
            with pytest.raises(aio.InvalidStateError):
                use()
        assert future.result() == 1
        assert future.cancel() is False

    def test_used_after_it_was_cancelled(self, aio, loop):
        future = loop.create_future()
        assert future.cancel()
        for use in (lambda: future.set_result(2), lambda: future.set_exception(ValueError())):
            with pytest.raises(aio.InvalidStateError):
                use()
        with pytest.raises(aio.CancelledError):
            future.exception()

    def test_asked_too_early(self, aio, loop):
        future = loop.create_future()
        for use in (future.result, future.exception):
            with pytest.raises(aio.InvalidStateError):
                use()

    @pytest.mark.parametrize("thing", ["error", 5, None, object], ids=repr)
    def test_an_exception_that_is_none(self, loop, thing):
        future = loop.create_future()
        with pytest.raises(TypeError):
            future.set_exception(thing)
        assert not future.done()

    def test_stopiteration_never_gets_into_an_await(self, aio, loop):
        future = loop.create_future()
        with contextlib.suppress(TypeError):  # refused, or on newer versions the cause of what is raised
            future.set_exception(StopIteration())
        if future.done():
            assert isinstance(future.exception(), RuntimeError)
            assert isinstance(future.exception().__cause__, StopIteration)

    def test_awaited_without_a_task(self, loop):
        future = loop.create_future()
        awaiting = future.__await__()
        next(awaiting)
        with pytest.raises(RuntimeError):
            next(awaiting)

    def test_of_another_loop(self, aio, run):
        other = aio.new_event_loop()
        future = other.create_future()

        async def wait():
            await future

        with pytest.raises(RuntimeError, match="attached to a different loop"):
            run(wait())
        other.close()

    def test_awaited_by_the_task_that_it_is(self, aio, run):
        async def wait():
            await asyncio.current_task()

        with pytest.raises(RuntimeError, match="cannot await on itself"):
            run(wait())

    def test_something_else_yielded_to_the_loop(self, aio, run):
        class Awaitable:
            def __init__(self, thing):
                self.thing = thing

            def __await__(self):
                yield self.thing

        async def wait(thing):
            await Awaitable(thing)

        for thing in (5, "x", object(), (x for x in ())):
            with pytest.raises(RuntimeError):
                run(wait(thing))

    def test_yielded_rather_than_awaited(self, aio, loop):
        future = loop.create_future()

        class Awaitable:
            def __await__(self):
                yield future

        async def wait():
            await Awaitable()

        with pytest.raises(RuntimeError, match="yield was used instead of yield from"):
            loop.run_until_complete(wait())

    def test_options_that_there_are_not(self, aio, loop):
        with pytest.raises(TypeError):
            aio.Future(1, loop=loop)
        with pytest.raises(TypeError):
            aio.Future(loop=loop, name="x")

    def test_a_loop_that_is_none(self, aio):
        for thing in (5, object()):
            with pytest.raises((AttributeError, TypeError)):
                aio.Future(loop=thing)

    def test_the_log_is_only_ever_silenced(self, loop):
        with pytest.raises(ValueError):
            loop.create_future()._log_traceback = True


class TestTask:
    def test_has_no_result_but_its_coroutines(self, aio, loop):
        task = loop.create_task(main())
        with pytest.raises(RuntimeError):
            task.set_result(1)
        with pytest.raises(RuntimeError):
            task.set_exception(ValueError())
        assert not task.done()

    def test_a_coroutine_that_is_over(self, aio, loop):
        coroutine = main()
        loop.run_until_complete(coroutine)
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            loop.run_until_complete(coroutine)

    def test_a_name_that_has_none(self, aio, loop):
        class Nameless:
            def __str__(self):
                raise ZeroDivisionError

        with coroutines_may_be_left(), pytest.raises(ZeroDivisionError):
            loop.create_task(main(), name=Nameless())
        assert not asyncio.all_tasks(loop)


class TestSockets:
    def test_a_port_in_use(self, aio, run):
        async def twice():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(OSError, match="(?i)address already in use"):
                await loop.create_server(asyncio.Protocol, "127.0.0.1", port)
            server.close()
            await server.wait_closed()

        run(twice())

    def test_a_port_where_nobody_listens(self, aio, run):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]

            async def connect():
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)

            run(connect())

    @pytest.mark.parametrize("data", [5, "text", None, ["x"]], ids=repr)
    def test_bytes_that_are_none_and_a_transport_that_is_closed(self, aio, run, data):
        async def write():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            transport, _ = await loop.create_connection(asyncio.Protocol, *address)
            with pytest.raises(TypeError):
                transport.write(data)
            transport.close()
            transport.write(b"lost, as nobody would hear of an error")
            transport.close()
            assert transport.is_closing()
            server.close()
            await server.wait_closed()

        run(write())

    def test_a_protocol_factory_that_can_t_be_called(self, aio, run):
        async def connect():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            with pytest.raises(TypeError):
                await loop.create_connection(None, *server.sockets[0].getsockname())
            server.close()
            await server.wait_closed()

        run(connect())
