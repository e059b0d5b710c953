"""Handle and TimerHandle: one callback, its arguments and the context it runs in.

A handle runs once. After it ran or was cancelled it holds neither callback nor arguments, so that a handle kept by its
own callback's object is no cycle for the garbage collector to find. A cancelled TimerHandle leaves
the heap of deadlines at once; a cancelled Handle keeps its place in the ready queue and does nothing there.

`isinstance(handle, asyncio.Handle)` is true: a compiled class can't inherit from asyncio's, so `__class__` says it.
"""
import asyncio
import sys
import threading
from asyncio import events, format_helpers

from . import leaf as _leaf
from .leaf import HandleBase

_SHOWS_ARGS_IN_DEBUG = 'debug' in format_helpers._format_callback_source.__code__.co_varnames


def origin():
    """The stack of whoever called into the runtime, as a list of traceback entries, for debug mode."""
    frame = sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get('__name__', '').startswith('glassloop.'):
        frame = frame.f_back
    return format_helpers.extract_stack(frame)


class Handle(HandleBase):
    """A callback scheduled by call_soon() or call_soon_threadsafe()."""

    __slots__ = ('_callback', '_args', '_context', '_loop', '_source_traceback', '_shown', '__weakref__')

    def __init__(self, callback, args, loop, context=None):
        self._index = -1
        self._callback = callback
        self._args = args or None
        self._loop = loop
        self._context = _leaf.copy_context() if context is None else context
        self._cancelled = False
        self._source_traceback = origin() if loop.get_debug() else None
        self._shown = None
        _leaf.track_handle(self)

    @property
    def __class__(self):
        return asyncio.Handle

    def _run(self, core):
        if self._callback is None:
            return 0
        if core._published is not None:
            core._unpublish()
        error = _leaf.call(self._context, self._callback, self._args)
        if error is not None:
            _leaf.track_handle(self)
            core._callback_failed(self, error)
        self._callback = None
        self._args = None
        return _leaf.leave(self)

    def cancel(self):
        """Never run the callback. Nothing if it ran already."""
        if not self._cancelled:
            self._cancelled = True
            if self._loop.get_debug() and self._callback is not None:
                self._shown = callback_source(self)
            self._callback = None
            self._args = None
            _leaf.track_handle(self)

    def cancelled(self):
        """True if cancel() was called."""
        return self._cancelled

    def get_context(self):
        """The contextvars.Context that the callback runs in."""
        return self._context

    def __repr__(self):
        return f'<{" ".join(_describe(self))}>'


def callback_source(handle):
    """The callback with its place in the source; its arguments too, but from 3.13 on only in debug mode, as asyncio.
    A callback or argument whose repr() fails is no reason to fail here."""
    args = handle._args or ()
    try:
        if _SHOWS_ARGS_IN_DEBUG:
            return format_helpers._format_callback_source(handle._callback, args, debug=handle._loop.get_debug())
        return format_helpers._format_callback_source(handle._callback, args)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return f'<{type(handle._callback).__name__} whose repr() raised {type(error).__name__}>'


def _describe(handle):
    info = [type(handle).__name__]
    if handle._cancelled:
        info.append('cancelled')
    if isinstance(handle, TimerHandle):
        info.append(f'when={handle.when()}')
    if handle._callback is not None:
        info.append(callback_source(handle))
    elif handle._shown is not None:
        info.append(handle._shown)
    if handle._source_traceback:
        frame = list(handle._source_traceback).pop()
        info.append(f'created at {frame[0]}:{frame[1]}')
    return info


class SharedHandle(Handle):
    """What call_soon_threadsafe() returns from Python 3.14 on. Another thread that asks for it, or cancels it, while the
    callback runs waits until it has run: after cancel() the callback is not running, and never will.

    Who waits stands at a gate (a lock that is taken) and looks once more whether the callback runs; who has run opens
    all gates. Neither can miss the other."""

    __slots__ = ('_thread', '_gates')

    def __init__(self, callback, args, loop, context=None):
        Handle.__init__(self, callback, args, loop, context)
        self._thread = None
        self._gates = None

    @property
    def __class__(self):
        return _StockSharedHandle

    def _run(self, core):
        self._thread = core._thread_id
        try:
            return Handle._run(self, core)
        finally:
            self._thread = None
            if self._gates is not None:
                for gate in self._gates:
                    gate.release()

    def _wait_while_it_runs(self):
        if self._thread is None or self._thread == threading.get_ident():
            return 0
        gate = threading.Lock()
        gate.acquire()
        with _gates_lock:
            if self._gates is None:
                self._gates = []
            self._gates.append(gate)
        if self._thread is not None:
            gate.acquire()
        return 0

    def cancel(self):
        """Never run the callback; if it runs in another thread, wait until it has. Nothing if it ran already."""
        self._wait_while_it_runs()
        Handle.cancel(self)

    def cancelled(self):
        """True if cancel() was called; if the callback runs in another thread, wait until it has."""
        self._wait_while_it_runs()
        return self._cancelled


_StockSharedHandle = getattr(events, '_ThreadSafeHandle', asyncio.Handle)
_gates_lock = threading.RLock()


class TimerHandle(Handle):
    """A callback scheduled by call_later() or call_at(). Ordered and hashed by its deadline."""

    __slots__ = ('_given',)

    @property
    def __class__(self):
        return asyncio.TimerHandle

    def when(self):
        """The deadline: seconds on the loop's clock (float, or what call_at() was given)."""
        return self._due if self._given is None else self._given

    @property
    def _when(self):
        return self.when()

    @property
    def _scheduled(self):
        return self._index >= 0

    def cancel(self):
        """Never run the callback. Nothing if it ran already."""
        if not self._cancelled:
            self._cancelled = True
            if self._index >= 0:
                core = self._loop
                if core._debug:
                    self._shown = callback_source(self)
                core._timers.remove(self)
            self._callback = None
            self._args = None
            _leaf.track_handle(self)

    def __hash__(self):
        return hash(self._due)

    def __lt__(self, other):
        return self._due < other.when() if isinstance(other, TimerHandle) else NotImplemented

    def __le__(self, other):
        return self._due <= other.when() if isinstance(other, TimerHandle) else NotImplemented

    def __gt__(self, other):
        return self._due > other.when() if isinstance(other, TimerHandle) else NotImplemented

    def __ge__(self, other):
        return self._due >= other.when() if isinstance(other, TimerHandle) else NotImplemented

    def __eq__(self, other):
        if not isinstance(other, TimerHandle):
            return NotImplemented
        return (self._due == other.when() and self._callback == other._callback
                and self._args == other._args and self._cancelled == other._cancelled)


_leaf.recycle_handles(Handle)
_leaf.recycle_handles(TimerHandle)
