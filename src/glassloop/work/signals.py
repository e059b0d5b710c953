"""Signals: loop.add_signal_handler(), remove_signal_handler().

The interpreter writes the number of each signal that has a Python handler into the loop's wake-up pipe. What is read
there comes to `_arrived`, in the loop, and the callback is scheduled like any other. The Python handler itself does
nothing; it is there so that the interpreter takes notice. A loop that sleeps is woken by the pipe, also where no
callback was added: that is how Ctrl-C ends a sleeping loop by KeyboardInterrupt.

Only the main thread may add or remove callbacks: the interpreter runs Python handlers there. There is one wake-up
descriptor in a process, so the last loop that asks for it has it.
"""
from __future__ import annotations

import contextvars
import errno
import inspect
import signal
import sys
import threading
import warnings
from asyncio import coroutines
from collections.abc import Callable
from typing import Any


class Signals:
    """The signal callbacks of one loop."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]] = {}
        self._listening = False
        loop._waker.on_signal = self._arrived

    def active(self) -> bool:
        """True while there are callbacks: they need the wake-up descriptor between runs of the loop as well."""
        return bool(self._handlers)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call callback(*args) in the loop when the signal comes. Raises TypeError for a coroutine function or a
        signal that is no int, ValueError for an unknown one, RuntimeError for one that can't be caught, outside of
        the main thread, and on a closed loop."""
        if coroutines.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError('coroutines cannot be used with add_signal_handler()')
        _check(sig)
        self._loop._check_closed()
        try:
            signal.set_wakeup_fd(self._loop._waker.write_fd())
        except (ValueError, OSError) as e:
            raise RuntimeError(str(e)) from None
        self._listening = True
        self._handlers[sig] = callback, args, contextvars.copy_context()
        try:
            signal.signal(sig, _nothing)
            # a system call that the signal interrupts goes on
            signal.siginterrupt(sig, False)
        except OSError as e:
            del self._handlers[sig]
            self._unlisten()
            if e.errno == errno.EINVAL:
                raise RuntimeError(f'sig {sig} cannot be caught') from None
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo add_signal_handler(): the signal does again what it does by default. True if there was a callback.
        Raises as add_signal_handler() does."""
        _check(sig)
        if sig not in self._handlers:
            return False
        del self._handlers[sig]
        handler = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, handler)
        except OSError as e:
            if e.errno == errno.EINVAL:
                raise RuntimeError(f'sig {sig} cannot be caught') from None
            raise
        self._unlisten()
        return True

    def _arrived(self, numbers: bytes) -> None:
        """Called in the loop with the numbers of the signals that came, a byte each."""
        for number in numbers:
            handler = self._handlers.get(number)
            if handler is not None:
                callback, args, context = handler
                self._loop.call_soon(callback, *args, context=context)

    def _unlisten(self) -> None:
        """Give up the wake-up descriptor if nothing needs it; a loop that runs needs it till the end of the run."""
        if self._listening and not self._handlers and not self._loop.is_running():
            self._listening = False
            before = signal.set_wakeup_fd(-1)
            if before != self._loop._waker.write_fd():
                # another loop's by now
                signal.set_wakeup_fd(before)

    def close(self) -> None:
        """Remove all callbacks. Not possible while the interpreter ends, or outside of the main thread: then a
        ResourceWarning tells."""
        self._loop._waker.on_signal = None
        if not self._listening:
            return
        if sys.is_finalizing() or threading.current_thread() is not threading.main_thread():
            if self._handlers:
                warnings.warn(f'{self._loop!r} is closed where its signal handlers cannot be removed',
                              ResourceWarning, stacklevel=2, source=self._loop)
            self._handlers.clear()
            return
        for sig in list(self._handlers):
            self.remove_signal_handler(sig)
        self._unlisten()


def _nothing(number: int, frame: Any) -> None:
    """The Python handler: with one, the interpreter writes the number into the wake-up descriptor."""


def _check(sig: Any) -> None:
    if not isinstance(sig, int):
        raise TypeError(f'sig must be an int, not {sig!r}')
    if sig not in signal.valid_signals():
        raise ValueError(f'invalid signal number {sig}')
