"""The graceful stop: what the signals of run(..., stop_on=, grace=) do.

The first signal cancels main. From then on the process has `grace` seconds: for main, for the tasks that are left when it
has ended, for asynchronous generators and the executor's threads, and for the threads that the interpreter waits for
when it ends. If all of that ends in time, run() ends by KeyboardInterrupt (SIGINT) or SystemExit(128 + N), or with what
main returned, if main saw the cancellation and returned nevertheless.

Whoever does not end in time, or whoever is left at a second signal, is reported on stderr with the line where it stands,
and the process ends at once with the exit status 128 + N. A loop may hang, a task may ignore its cancellation, a
thread may never return: so that is not the loop's business but that of a thread of its own, the watchdog. It ends the
process by os._exit(), because nothing gentler would be sure to work: no `finally` block is run, no atexit
function. The standard streams are flushed, and the child processes of the loop are killed.

The interpreter calls a signal's handler between two bytecodes of the main thread; that may be late (a computation in C,
a signal that comes just before a system call), or never. So the watchdog hears of signals by itself: the wake-up
descriptor (signal.set_wakeup_fd()) leads to its pipe, into which the interpreter writes each signal's number when it
comes. It passes the wake-up on to the loop. If somebody else has or takes the wake-up descriptor
(loop.add_signal_handler(), uvloop) the handlers remain. They are called anywhere, so they take no lock, import nothing
and print nothing.

Not here: what is cancelled and in which order (asyncio.Runner, and runner.py).
"""
from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from .snapshot import Place, describe, is_runtime, name_of, snapshot, thread_stack

__all__ = ('GracefulStop', 'report')

T = TypeVar('T')

_LONGEST_POLL = 1e9  # milliseconds: it takes a C int

#: how long the last words may take, in seconds: stderr may be a pipe that nobody reads
LAST_WORDS_SECONDS = 2.0


class GracefulStop:
    """The stop of one Runner: a context manager around whatever the signals are to stop; it may be entered again.

    Raises TypeError for a signal that is no int or a grace that is no number, ValueError for an unknown signal or a grace
    that is negative or not a number (NaN), RuntimeError for a signal that can't be caught.
    """

    def __init__(self, stop_on: Iterable[int], grace: float) -> None:
        self._stop_on = _checked(stop_on)
        if not isinstance(grace, (int, float)):
            raise TypeError(f'grace must be a number of seconds, not {grace!r}')
        if not grace >= 0:
            raise ValueError(f'grace must be a number of seconds that is not negative, not {grace!r}')
        self._grace = float(grace)
        self._handlers_before: dict[int, Any] = {}
        self._loop: Any = None
        self._main: asyncio.Task[Any] | None = None
        self._signal: int | None = None  # the first that came
        self._cancelled = False  # main was, by the signal
        self._told = False  # the caller of run() knows that there was a signal
        self._watchdog: _Watchdog | None = None

    # ---- around run() and close() ----

    def listen(self, loop: asyncio.AbstractEventLoop) -> GracefulStop:
        """`with stop.listen(loop):` the signals stop what runs on this loop. Raises RuntimeError outside of the main
        thread."""
        self._loop = loop
        return self

    @property
    def armed(self) -> bool:
        """True in the main thread once a run has begun."""
        return self._watchdog is not None and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError('stop_on: signals can be handled only in the main thread')
        if self._watchdog is None:
            self._watchdog = _Watchdog(self, self._loop, self._grace)
        self._watchdog.busy = True
        try:
            taken_by = signal.set_wakeup_fd(self._watchdog.write_fd, warn_on_full_buffer=False)
            if taken_by != -1:
                signal.set_wakeup_fd(taken_by)
            for number in self._stop_on:
                self._handlers_before[number] = signal.signal(number, self._arrived)
        except ValueError as error:  # not the main interpreter: nothing was set
            self._give_up()
            raise RuntimeError(f'stop_on: {error}') from None
        except BaseException:
            self._restore()
            self._give_up()
            raise

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                 tb: TracebackType | None) -> None:
        if self._watchdog is not None:  # else this is a child of fork()
            self._watchdog.busy = False
            self._restore()

    def _give_up(self) -> None:
        assert self._watchdog is not None
        self._watchdog.dismiss()
        self._watchdog = None

    def _restore(self) -> None:
        """Put handlers and wake-up descriptor back. Who has put another in place of ours keeps it."""
        for number, before in self._handlers_before.items():
            if self.handles(number):
                signal.signal(number, signal.SIG_DFL if before is None else before)
        self._handlers_before.clear()
        assert self._watchdog is not None
        found = signal.set_wakeup_fd(-1)
        if found != self._watchdog.write_fd:
            signal.set_wakeup_fd(found)

    def begin(self) -> None:
        """A new run: what came of the one before is forgotten."""
        if self._watchdog is not None:
            self._watchdog.dismiss()
        self._main = self._signal = self._watchdog = None
        self._cancelled = self._told = False

    def forked(self) -> None:
        """In a child of fork(): the loop is the parent's, and so is the watchdog. Signals do what they did before."""
        self._restore()
        assert self._watchdog is not None
        self._watchdog.close()
        self._watchdog = None

    async def _drive(self, main: Awaitable[T]) -> T:
        self._main = asyncio.current_task()
        if self._signal is not None:
            self._cancel()
        return await main

    def drive(self, main: Any) -> Any:
        """What run() makes a task of: main, in a coroutine that knows its task."""
        driver: Any = self._drive(main)
        driver.__qualname__ = name_of(main)
        return driver

    def raise_if_stopped(self) -> None:
        """Main ended by CancelledError: raise what run() is to raise, unless the signal is not the reason, or not the
        only one."""
        main = self._main
        if self._cancelled and main is not None and main.uncancel() == 0:
            raise self._ending()

    def end(self) -> None:
        """The loop is closed. After a signal the watchdog goes on, since the interpreter's end counts, too."""
        if self._signal is None and self._watchdog is not None:
            self._watchdog.dismiss()

    def raise_if_missed(self) -> None:
        """Raise what close() is to raise if a signal came when main had ended already."""
        if self._signal is not None and not self._cancelled and not self._told:
            raise self._ending()

    def _ending(self) -> BaseException:
        self._told = True
        assert self._signal is not None
        return KeyboardInterrupt() if self._signal == signal.SIGINT else SystemExit(128 + self._signal)

    @property
    def left(self) -> float | None:
        """What is left of the grace, in seconds; None as long as there was no signal."""
        return None if self._watchdog is None else self._watchdog.left

    # ---- the signals ----

    def handles(self, number: int) -> bool:
        """True if the signal's handler is ours."""
        return number in self._handlers_before and signal.getsignal(number) == self._arrived

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        assert self._watchdog is not None
        self._watchdog.handled(number)
        self.stop(number)

    def stop(self, number: int) -> None:
        """A signal came: cancel main. Called in the handler, and by the watchdog; for the same signal, mostly."""
        if self._signal is None:
            self._signal = number
        _wake(self._loop, self._cancel)

    def _cancel(self) -> None:
        main = self._main
        if main is not None and not self._cancelled:
            self._cancelled = main.cancel()


def _wake(loop: Any, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _nothing() -> None:
    """What a loop is woken with to look for signals."""


def _after_fork() -> None:
    for number in signal.valid_signals():
        stop = getattr(signal.getsignal(number), '__self__', None)
        if isinstance(stop, GracefulStop) and stop.armed:
            stop.forked()


os.register_at_fork(after_in_child=_after_fork)


class _Watchdog:
    """A thread that sleeps until a signal comes, and then until the grace is over. It alone ends the process."""

    def __init__(self, stop: GracefulStop, loop: Any, grace: float) -> None:
        self.busy = False  # run() or close() is under way
        self._stop = stop
        self._loop = loop
        self._grace = grace
        # A signal is in both, in one alone if the handler is late or somebody took the wake-up descriptor.
        self._heard: list[int] = []
        self._handled: list[int] = []
        self._deadline: float | None = None
        self._dismissed = False
        self._ending = False
        self._decided = threading.Event()
        self._spoken = threading.Event()
        self._closing = threading.Lock()
        self._open = True
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self.write_fd, False)
        self._thread = threading.Thread(target=self._watch, name='glassloop-stop', daemon=True)
        self._thread.start()

    def handled(self, number: int) -> None:
        """A signal's handler was called; this is called by it."""
        self._begin_the_grace()
        self._handled.append(number)
        self._ring()

    def dismiss(self) -> None:
        """There is nothing more to watch."""
        self._dismissed = True
        with self._closing:
            if self._open:
                self._ring()
        self._thread.join()

    def close(self) -> None:
        with self._closing:
            if self._open:
                self._open = False
                os.close(self._read_fd)
                os.close(self.write_fd)

    @property
    def left(self) -> float | None:
        """Seconds to the deadline; None as long as there was no signal."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @property
    def _signals(self) -> list[int]:
        # what was heard is in the order in which it came; handlers are called in that of the numbers
        return self._heard if len(self._heard) >= len(self._handled) else self._handled

    def _begin_the_grace(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace

    def _ring(self) -> None:
        try:
            os.write(self.write_fd, b'\0')
        except BlockingIOError:
            return  # there is enough in the pipe to wake it

    def _watch(self) -> None:
        try:
            self._wait_for_a_signal()
            if not self._dismissed:
                # made now: while the interpreter ends there can be no new thread
                threading.Thread(target=self._speak, name='glassloop-last-words', daemon=True).start()
                self._wait_for_the_end()
        finally:
            self.close()

    def _wait_for_a_signal(self) -> None:
        while not self._signals and not self._dismissed:
            self._hear(None)

    def _wait_for_the_end(self) -> None:
        while len(self._signals) < 2 and not self._dismissed and (left := self.left):
            self._hear(left)
        # A program that caught what run() raised, and went on to other things, is left alone.
        self._ending = not self._dismissed and (self.busy or _interpreter_ends())
        self._decided.set()
        if self._ending:
            try:
                self._spoken.wait(LAST_WORDS_SECONDS)
                _kill_children(self._loop)
            finally:
                os._exit(128 + self._signals[-1])

    def _hear(self, timeout: float | None) -> None:
        """Wait for something in the pipe, `timeout` seconds at most."""
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        if not poll.poll(None if timeout is None else min(timeout * 1000 + 1, _LONGEST_POLL)):
            return
        for number in os.read(self._read_fd, 4096):
            if self._stop.handles(number):
                self._begin_the_grace()
                self._heard.append(number)
                self._stop.stop(number)
            elif number:
                _wake(self._loop, _nothing)

    def _speak(self) -> None:
        """In a thread that may be left behind: nobody may be reading what is written."""
        self._decided.wait()
        try:
            if self._ending:
                self._last_words()
        finally:
            self._spoken.set()

    def _last_words(self) -> None:
        if len(self._signals) > 1:
            headline = f'{_name(self._signals[-1])} after {_name(self._signals[0])}: ended before everything had'
        else:
            headline = f'{_name(self._signals[0])}: not everything ended within {self._grace:g} s'
        report(headline, self._loop, threading.main_thread().ident)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


def _interpreter_ends() -> bool:
    """True once the program has ended, while the interpreter waits for threads or calls atexit functions."""
    main = threading.main_thread()
    if not main.is_alive():
        return True
    assert main.ident is not None
    frame = sys._current_frames().get(main.ident)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    shutdown = getattr(threading, '_shutdown', None)
    return frame is not None and shutdown is not None and frame.f_code is shutdown.__code__


def _kill_children(loop: Any) -> None:
    """Kill the processes that the loop waits for, as the end of their transports does. Those of asyncio's loops are left
    alone."""
    children = getattr(loop, '_parts', {}).get('_children')
    for child in list(children.waited_for) if children is not None else ():
        try:
            child.send_signal(signal.SIGKILL)
        except OSError:
            continue  # not ours to kill any more: it became another user's


# ---- what is left, in words ----

def report(headline: str, loop: Any, ident: int | None) -> None:
    """Say on stderr what has not ended: the tasks of the loop, each with its line; where the loop's thread (`ident`)
    hangs, if it does; the threads that the interpreter's end waits for. For any thread."""
    lines = [f'glassloop: {headline}']
    lines += [f'  task {describe(info)}' for info in snapshot(loop)]
    hanging = _below_the_loop(thread_stack(ident))
    if hanging:
        lines.append('  the loop hangs here:')
        lines += [f'    {file}:{line}, in {function}' for file, line, function in hanging]
    for thread in threading.enumerate():
        if not thread.daemon and thread.ident != ident:
            stack = thread_stack(thread.ident)
            own = [place for place in stack if not is_runtime(place[0])] or stack
            if own:
                lines.append(f'  thread {thread.name}  {own[-1][0]}:{own[-1][1]}')
    _write('\n'.join(lines) + '\n')


# the innermost Python frames of a loop: run_forever() may be C
_LOOP_CALLS = ('Runner.run', 'run_until_complete', 'run_forever')


def _below_the_loop(stack: tuple[Place, ...]) -> tuple[Place, ...]:
    """The part of a thread's stack that a loop has called, from the first frame on that isn't the runtime's; empty if
    there is none: the loop waits for events."""
    below = False
    for i, (file, _, function) in enumerate(stack):
        if below and not is_runtime(file):
            return stack[i:]
        below = below or (is_runtime(file) and function.endswith(_LOOP_CALLS))
    return ()


def _write(text: str) -> None:
    """To stderr, past its buffer, whose lock the hanging thread may have."""
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = 2
    data = text.encode(errors='backslashreplace')
    while data:
        try:
            data = data[os.write(descriptor, data):]
        except OSError:
            return  # there is nobody to tell


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'  # a real-time signal


def _checked(stop_on: Iterable[int]) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(stop_on))
    except TypeError:
        raise TypeError(f'stop_on must be an iterable of signals, not {stop_on!r}') from None
    for number in numbers:
        if not isinstance(number, int):
            raise TypeError(f'stop_on: a signal must be an int, not {number!r}')
        if number not in signal.valid_signals():
            raise ValueError(f'stop_on: invalid signal number {number}')
        if number in (signal.SIGKILL, signal.SIGSTOP):
            raise RuntimeError(f'stop_on: {_name(number)} cannot be caught')
    return numbers
