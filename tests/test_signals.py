"""Signals: callbacks in the loop, and Ctrl-C where there is none."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks", "as_before")


@pytest.fixture
def as_before() -> Iterator[None]:
    """Fails the test when it leaves a handler or a wake-up descriptor behind."""
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {sig: signal.getsignal(sig) for sig in watched}
    yield
    after = {sig: signal.getsignal(sig) for sig in watched}
    for sig, handler in before.items():
        signal.signal(sig, handler)
    wakeup_fd = signal.set_wakeup_fd(-1)
    assert after == before
    assert wakeup_fd == -1


def send(sig: signal.Signals) -> None:
    os.kill(os.getpid(), sig)


def run_until(loop: Any, true: Callable[[], object], seconds: float = 10) -> None:
    async def poll() -> None:
        while not true():
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(poll(), seconds))


def test_callback_with_arguments_each_time(loop: Any) -> None:
    calls: list[tuple[object, ...]] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda *args: calls.append(args), 1, "two")
    for count in (1, 2, 3):
        send(signal.SIGUSR1)
        run_until(loop, lambda count=count: len(calls) == count)
    assert calls == [(1, "two")] * 3
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


@pytest.mark.parametrize("early", [True, False])
def test_a_signal_that_finds_no_room_is_told(python: Callable[..., Any], aio: ModuleType, early: bool) -> None:
    done = python("-c", f"""
import asyncio, os, signal
from {aio.__name__} import new_event_loop

loop = new_event_loop()

async def main():
    if not {early}:
        loop.add_signal_handler(signal.SIGUSR1, print)
    fd = loop._csock.fileno() if hasattr(loop, '_csock') else loop._waker.write_fd()
    for size in (1000, 1):
        try:
            while True:
                os.write(fd, bytes(size))
        except BlockingIOError:
            pass
    os.kill(os.getpid(), signal.SIGUSR1)
    os.getpid()

if {early}:
    loop.add_signal_handler(signal.SIGUSR1, print)
loop.run_until_complete(main())
loop.close()
""")
    assert done.returncode == 0, done.stderr
    assert "to write to the signal wakeup fd" in done.stderr


def test_a_sleeping_loop_is_woken(loop: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR2, loop.stop)
    thread = threading.Timer(0.05, send, [signal.SIGUSR2])
    thread.start()
    begun = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - begun < 5
    thread.join()
    loop.remove_signal_handler(signal.SIGUSR2)


def test_a_signal_before_the_loop_runs(loop: Any) -> None:
    calls: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "came")
    send(signal.SIGUSR1)
    assert not calls
    run_until(loop, lambda: calls)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_handlers_outlast_a_run(loop: Any) -> None:
    calls: list[str] = []

    async def add() -> None:
        loop.add_signal_handler(signal.SIGUSR1, calls.append, "came")

    loop.run_until_complete(add())
    send(signal.SIGUSR1)
    run_until(loop, lambda: calls)

    async def remove() -> None:
        assert loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(remove())
    loop.run_until_complete(asyncio.sleep(0))


def test_different_signals_and_a_second_callback_for_one(loop: Any) -> None:
    calls: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "second")
    loop.add_signal_handler(signal.SIGTERM, calls.append, "term")
    send(signal.SIGUSR1)
    send(signal.SIGTERM)
    run_until(loop, lambda: len(calls) == 2)
    assert sorted(calls) == ["second", "term"]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    send(signal.SIGTERM)
    run_until(loop, lambda: len(calls) == 3)
    assert loop.remove_signal_handler(signal.SIGTERM)


def test_callbacks_run_in_the_context_in_which_they_were_added(loop: Any) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[tuple[str, object]] = []

    async def main() -> None:
        variable.set("inside")
        loop.add_signal_handler(
            signal.SIGUSR1, lambda: seen.append((variable.get(), asyncio.current_task(asyncio.get_running_loop())))
        )

    loop.run_until_complete(main())
    send(signal.SIGUSR1)
    run_until(loop, lambda: seen)
    assert seen == [("inside", None)]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_callback_that_raises_is_reported(loop: Any) -> None:
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))

    def fails() -> None:
        raise LookupError("on purpose")

    loop.add_signal_handler(signal.SIGUSR1, fails)
    for count in (1, 2):
        send(signal.SIGUSR1)
        run_until(loop, lambda count=count: len(errors) == count)
    assert all(isinstance(context["exception"], LookupError) for context in errors)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_callback_instead_of_keyboard_interrupt(loop: Any) -> None:
    calls: list[str] = []
    loop.add_signal_handler(signal.SIGINT, calls.append, "Ctrl-C")
    send(signal.SIGINT)
    run_until(loop, lambda: calls)
    loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
        run_until(loop, lambda: False)


def test_close_removes_the_callbacks(aio: ModuleType) -> None:
    loop = aio.new_event_loop()
    loop.add_signal_handler(signal.SIGINT, print)
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)


# ---- bad input ----


def test_what_is_no_signal(loop: Any) -> None:
    for bad in (0, -1, signal.NSIG + 1):
        with pytest.raises(ValueError, match="invalid signal number"):
            loop.add_signal_handler(bad, print)
        with pytest.raises(ValueError, match="invalid signal number"):
            loop.remove_signal_handler(bad)
    for kind in ("SIGINT", None, 2.0):
        with pytest.raises(TypeError, match="must be an int"):
            loop.add_signal_handler(kind, print)
        with pytest.raises(TypeError, match="must be an int"):
            loop.remove_signal_handler(kind)


def test_what_cannot_be_caught(loop: Any) -> None:
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    assert loop.remove_signal_handler(signal.SIGKILL) is False


def test_coroutines_are_no_callbacks(loop: Any) -> None:
    async def coroutine() -> None: ...

    call = coroutine()
    for bad in (coroutine, call):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.add_signal_handler(signal.SIGUSR1, bad)
    call.close()


def test_only_the_main_thread_may_add_callbacks(loop: Any) -> None:
    caught: list[BaseException] = []

    def add() -> None:
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except BaseException as e:
            caught.append(e)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    assert [type(error) for error in caught] == [RuntimeError]


# ---- Ctrl-C ----


@pytest.mark.parametrize("timer", [None, 30], ids=["no timer", "a timer"])
def test_ctrl_c_ends_a_sleeping_loop_at_once(loop: Any, timer: float | None) -> None:
    if timer is not None:
        handle = loop.call_later(timer, pytest.fail, "never")
    thread = threading.Timer(0.05, send, [signal.SIGINT])
    thread.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert time.monotonic() - begun < 5
    thread.join()
    if timer is not None:
        handle.cancel()
    # and the loop can go on
    assert loop.run_until_complete(asyncio.sleep(0, "again")) == "again"


def test_ctrl_c_ends_a_busy_loop(loop: Any) -> None:
    def again() -> None:
        loop.call_soon(again)

    again()
    thread = threading.Timer(0.05, send, [signal.SIGINT])
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()


PROGRAM = """
import asyncio, importlib, sys
aio = importlib.import_module(sys.argv[1])
loop = aio.new_event_loop()
print("ready", flush=True)
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted", flush=True)
loop.close()
"""


@pytest.mark.extra("asyncio's loop sleeps on when the signal comes between its last check and its sleep")
def test_ctrl_c_between_any_two_instructions(aio: ModuleType) -> None:
    """The signal may come while the loop is about to sleep: it must not sleep then."""
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, aio.__name__], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            said, errors = process.stdout.read(), process.stderr.read()
            assert said == "interrupted\n" or "KeyboardInterrupt" in errors
