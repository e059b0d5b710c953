"""wait() and as_completed(): many futures, and what of them is done first.

Both listen in the futures' waiter slots, where these are ours, and by callbacks otherwise; both work on any loop.
"""
from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from ..core.future import Listener
from ..core.leaf import LoopBase, Op
from . import tasks as _tasks
from . import waiting as _waiting
from .queues import Queue, Queue_get

__all__ = ('ALL_COMPLETED', 'FIRST_COMPLETED', 'FIRST_EXCEPTION', 'as_completed', 'wait')

PENDING = 0
CANCELLED = 1

FIRST_COMPLETED = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION
ALL_COMPLETED = concurrent.futures.ALL_COMPLETED


class _Count(Listener):
    """Counts down the futures of a wait(), and wakes it when it has seen enough."""

    __slots__ = ('_waiter', '_left', '_first', '_first_exception')

    def _done(self, future):
        return self._seen(future._st != CANCELLED and future._error is not None, future)

    def _behind(self):
        return (self._waiter,)

    def _heard(self, future):
        """_done() for a future that is not ours."""
        self._seen(self._first_exception and not future.cancelled() and future.exception() is not None, None)

    def _seen(self, failed, ours):
        self._left -= 1
        if self._left <= 0 or self._first or (failed and self._first_exception):
            _waiting.wake(self._waiter)
        if failed and self._first_exception and ours is not None:
            ours._log_tb = False
        return 0


class Wait(Op):
    __slots__ = ('_futures', '_timeout', '_return_when', '_loop', '_count', '_alarm', '_handle')

    def _begin(self):
        futures = self._futures
        # Python 3.11 takes any generator for a coroutine
        if _tasks.is_future(futures) or (_tasks.is_coroutine(futures) and type(futures) is not GeneratorType):
            raise TypeError(f'expect a list of futures, not {type(futures).__name__}')
        if not futures:
            raise ValueError('Set of Tasks/Futures is empty.')
        when = self._return_when
        if when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
            raise ValueError(f'Invalid return_when value: {when}')
        self._futures = futures = set(futures)
        for future in futures:
            if _tasks.is_coroutine(future):
                raise TypeError('Passing coroutines is forbidden, use tasks explicitly.')
        loop = _waiting.running()
        waiter = _waiting.make_waiter(loop)
        count = _Count.__new__(_Count)
        count._waiter = waiter
        count._left = len(futures)
        count._first = when == FIRST_COMPLETED
        count._first_exception = when == FIRST_EXCEPTION
        self._count = count
        if self._timeout is not None:
            if isinstance(loop, LoopBase):
                self._alarm = _waiting.set_alarm(loop, self._timeout, waiter, None)
            else:
                self._handle = loop.call_later(self._timeout, _waiting.settle, waiter)
        self._loop = loop
        for future in futures:
            if _tasks.is_of(future, loop):
                ours = future
                ours._listen(count)
            else:
                future.add_done_callback(count._heard)
        return waiter

    def _wake(self, exc):
        if self._alarm is not None:
            self._alarm._disarm()
        elif self._handle is not None:
            self._handle.cancel()
        count = self._count
        done = set()
        pending = set()
        for future in self._futures:
            if _tasks.is_of(future, self._loop):
                ours = future
                if ours._st != PENDING:
                    done.add(future)
                else:
                    pending.add(future)
                    ours._unlisten(count)
            else:
                (done if future.done() else pending).add(future)
                future.remove_done_callback(count._heard)
        if exc is not None:
            raise exc
        self._value = (done, pending)
        return None


def wait(fs: Iterable[Any], *, timeout: float | None = None,
         return_when: str = ALL_COMPLETED) -> Coroutine[Any, Any, tuple[set[Any], set[Any]]]:
    """Wait for futures and tasks: (done, pending), two sets. What is pending after `timeout` seconds is left alone.

    return_when: ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION. Raises ValueError if fs is empty, TypeError if it is
    a single future or holds coroutines.
    """
    return _wait(fs, timeout, return_when)


def _wait(fs, timeout, return_when):
    op = Wait.__new__(Wait)
    op._futures = fs
    op._timeout = timeout
    op._return_when = return_when
    op._loop = None
    op._count = None
    op._alarm = None
    op._handle = None
    return op


# ---- as_completed ----

class As_completed_next(Queue_get):
    """The next future that is done, or its result. After the timeout the queue holds None for each that is missing."""

    __slots__ = ('_resolve', '_iterator')

    def _begin(self):
        return self._hand_over(Queue_get._begin(self))

    def _wake(self, exc):
        if exc is not None:
            # cancelled: this one is still to come
            self._iterator._left += 1
        return self._hand_over(Queue_get._wake(self, exc))

    def _hand_over(self, waiter):
        if waiter is None:
            self._iterator = None
            future = self._value
            if future is None:
                raise TimeoutError
            if self._resolve:
                self._value = future.result()
        return waiter


class _AsCompleted(Listener):
    """Both iterators. `_ready` gets the futures as they are done; `_bell` is the future that the timeout settles."""

    __slots__ = ('_ready', '_todo', '_left', '_loop', '_bell', '_alarm', '_handle', '__weakref__')

    def _start(self, awaitables, timeout):
        self._ready = Queue()
        self._bell = None
        self._alarm = None
        self._handle = None
        loop = asyncio.get_event_loop()
        own = _tasks.makes_own_tasks(loop)
        # each once, in the order in which they were given
        todo = dict.fromkeys([_tasks.to_future(awaitable, loop, own) for awaitable in dict.fromkeys(awaitables)])
        self._loop = loop
        self._todo = set(todo)
        self._left = len(todo)
        for future in todo:
            if _tasks.is_of(future, loop):
                ours = future
                ours._listen(self)
            else:
                future.add_done_callback(self._heard)
        if not todo or timeout is None:
            return 0
        if isinstance(loop, LoopBase):
            bell = _waiting.make_waiter(loop)
            self._bell = bell
            self._alarm = _waiting.set_alarm(loop, timeout, bell, None)
            self._bell._listen(self)
        else:
            self._handle = loop.call_later(timeout, self._expire)
        return 0

    def _done(self, future):
        if future is self._bell:
            self._expire()
        else:
            self._heard(future)
        return 0

    def _behind(self):
        return self._ready._getters._list()

    def _heard(self, future):
        if not self._todo:
            return  # the timeout was first
        self._todo.remove(future)
        self._ready._give(future)
        if not self._todo:
            if self._alarm is not None:
                self._alarm._disarm()
            elif self._handle is not None:
                self._handle.cancel()

    def _expire(self):
        for future in self._todo:
            if _tasks.is_of(future, self._loop):
                ours = future
                ours._unlisten(self)
            else:
                future.remove_done_callback(self._heard)
            self._ready._give(None)
        self._todo.clear()

    def _next(self, resolve):
        self._left -= 1
        op = As_completed_next.__new__(As_completed_next)
        op._queue = self._ready
        op._resolve = resolve
        op._iterator = self
        return op

    def __aiter__(self):
        return self

    def __iter__(self):
        return self

    def __anext__(self):
        if not self._left:
            raise StopAsyncIteration
        return self._next(False)

    def __next__(self):
        if not self._left:
            raise StopIteration
        return self._next(True)


if TYPE_CHECKING:
    class AsCompleted(AsyncIterator[Any], Iterator[Coroutine[Any, Any, Any]]):
        """What as_completed() returns, for the type checker."""


def as_completed(fs: Iterable[Awaitable[Any]], *, timeout: float | None = None) -> AsCompleted:
    """Run awaitables at once and go through them in the order in which they are done.

    `async for` gives the futures that are done (those passed in, or the tasks made for coroutines); a plain `for` gives
    coroutines for the results. Once `timeout` seconds have passed both raise TimeoutError. Raises TypeError if fs is a
    single awaitable.
    """
    if inspect.isawaitable(fs):
        raise TypeError(f'expects an iterable of awaitables, not {type(fs).__name__}')
    return _as_completed(fs, timeout)


def _as_completed(awaitables, timeout):
    iterator = _AsCompleted.__new__(_AsCompleted)
    iterator._start(awaitables, timeout)
    return iterator
