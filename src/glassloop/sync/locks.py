"""Lock, Event, Condition, Semaphore, BoundedSemaphore, with asyncio's semantics (those of its newest versions).

Each operation that may wait is an Op: nothing happens until it is awaited, and it makes a future only if it must wait.
`async with` on a free lock takes it without either.

Fairness. Who is woken stays at the head of the line until its task runs and takes what it was woken for; a newcomer
stands in line behind it, even if the lock looks free in between. Whoever is cancelled after being woken wakes the next.

A subclass that replaces acquire() or release() is obeyed: `async with` calls them then.

Each primitive is a compiled class (`_Lock`) and, on top, the public one (`Lock`), an ordinary class: it takes attributes
and weak references as asyncio's does, and it is a subclass of asyncio's, for those who ask.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from ..core import leaf as _leaf
from ..core.leaf import Op
from . import waiting as _waiting
from .waiting import Bound, Line

__all__ = ('BoundedSemaphore', 'Condition', 'Event', 'Lock', 'Semaphore')

T = TypeVar('T')
CancelledError = asyncio.CancelledError


def _describe(primitive, state, line):
    if line._n:
        state = f'{state}, waiters:{line._n}'
    return f'<{object.__repr__(primitive).strip("<>")} [{state}]>'


def _all_cancelled(line):
    """Nobody waits in earnest: the line is empty or all in it are cancelled and on their way out."""
    for i in range(line._n):
        if not line._at(i).cancelled():
            return False
    return True


async def _enter(primitive):
    """`async with` on a subclass."""
    await primitive.acquire()


# ---- Lock ----

class Lock_acquire(Op):
    __slots__ = ('_lock', '_entering')

    def _begin(self):
        lock = self._lock
        if lock._is_free():
            lock._locked = True
            self._value = None if self._entering else True
            self._lock = None
            return None
        return lock._stand_in_line()

    def _wake(self, exc):
        lock = self._lock
        lock._line._drop(self._future)
        if exc is None:
            lock._locked = True
            self._value = None if self._entering else True
            self._lock = None
            return None
        if not lock._locked:
            lock._wake_first()
        raise exc


class _Lock(Bound):

    def __init__(self) -> None:
        self._bound = self._core = None
        self._locked = False
        self._line = Line()

    def __repr__(self) -> str:
        return _describe(self, 'locked' if self._locked else 'unlocked', self._line)

    @property
    def _waiters(self) -> Line:
        return self._line

    def locked(self) -> bool:
        """True while it is held."""
        return self._locked

    def acquire(self) -> Coroutine[Any, Any, bool]:
        """Wait until the lock is free, take it, return True. First come, first served."""
        return self._acquire(False)

    def release(self) -> None:
        """Free the lock and wake the first in line. Raises RuntimeError if it isn't held."""
        self._free()

    def __aenter__(self) -> Coroutine[Any, Any, None]:
        if type(self) is not _THE_LOCK:
            return _enter(self)
        if self._is_free():
            self._locked = True
            return _waiting.NOTHING
        return self._acquire(True)

    def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                  tb: TracebackType | None) -> Coroutine[Any, Any, None]:
        if type(self) is _THE_LOCK:
            self._free()
        else:
            self.release()
        return _waiting.NOTHING

    def _acquire(self, entering):
        op = _leaf.new_op(_Lock_acquire)
        op._lock = self
        op._entering = entering
        return op

    def _free(self):
        if not self._locked:
            raise RuntimeError('Lock is not acquired.')
        self._locked = False
        if self._line._n:
            self._wake_first()
        return 0

    def _is_free(self):
        return not self._locked and (self._line._n == 0 or _all_cancelled(self._line))

    def _stand_in_line(self):
        future = self._new_waiter()
        self._line._add(future)
        return future

    def _wake_first(self):
        if self._line._n:
            _waiting.wake(self._line._one)
        return 0


class Lock(_Lock, asyncio.Lock):
    """A mutual exclusion lock for tasks. Not thread-safe. See asyncio.Lock."""


_THE_LOCK = Lock


# ---- Event ----

class Event_wait(Op):
    __slots__ = ('_event',)

    def _begin(self):
        event = self._event
        if event._value:
            self._value = True
            self._event = None
            return None
        future = event._new_waiter()
        event._line._add(future)
        return future

    def _wake(self, exc):
        self._event._line._drop(self._future)
        self._event = None
        if exc is not None:
            raise exc
        self._value = True
        return None


class _Event(Bound):

    def __init__(self) -> None:
        self._bound = self._core = None
        self._value = False
        self._line = Line()

    def __repr__(self) -> str:
        return _describe(self, 'set' if self._value else 'unset', self._line)

    @property
    def _waiters(self) -> Line:
        return self._line

    def is_set(self) -> bool:
        """True if the flag is set."""
        return self._value

    def set(self) -> None:
        """Set the flag, and wake all who wait for it."""
        if not self._value:
            self._value = True
            if self._line._n:
                self._line._wake_all()

    def clear(self) -> None:
        """Reset the flag."""
        self._value = False

    def wait(self) -> Coroutine[Any, Any, bool]:
        """Wait until the flag is set; returns True."""
        return _event_wait(self)


def _event_wait(event):
    op = _leaf.new_op(_Event_wait)
    op._event = event
    return op


class Event(_Event, asyncio.Event):
    """A flag that tasks wait for. Not thread-safe. See asyncio.Event."""


# ---- Semaphore ----

class Semaphore_acquire(Op):
    __slots__ = ('_semaphore', '_entering')

    def _begin(self):
        semaphore = self._semaphore
        if semaphore._is_free():
            semaphore._value -= 1
            self._value = None if self._entering else True
            self._semaphore = None
            return None
        future = semaphore._new_waiter()
        semaphore._line._add(future)
        return future

    def _wake(self, exc):
        semaphore = self._semaphore
        semaphore._line._drop(self._future)
        if exc is not None and _waiting.was_woken(self._future):
            # whoever woke this one has counted it already
            semaphore._value += 1
        # newcomers stood in line behind this one even where there was enough for all
        if semaphore._line._n:
            semaphore._wake_many()
        if exc is not None:
            raise exc
        self._value = None if self._entering else True
        self._semaphore = None
        return None


class _Semaphore(Bound):

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError('Semaphore initial value must be >= 0')
        self._bound = self._core = None
        self._value = value
        self._line = Line()

    def __repr__(self) -> str:
        return _describe(self, 'locked' if self.locked() else f'unlocked, value:{self._value}', self._line)

    @property
    def _waiters(self) -> Line:
        return self._line

    def locked(self) -> bool:
        """True if acquire() would have to wait."""
        return not self._is_free()

    def acquire(self) -> Coroutine[Any, Any, bool]:
        """Wait until the counter is above zero, take one, return True. First come, first served."""
        return self._acquire(False)

    def release(self) -> None:
        """Give one back, and wake the first in line."""
        self._give()

    def __aenter__(self) -> Coroutine[Any, Any, None]:
        if type(self) is not _THE_SEMAPHORE and type(self) is not _THE_BOUNDED:
            return _enter(self)
        if self._is_free():
            self._value -= 1
            return _waiting.NOTHING
        return self._acquire(True)

    def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                  tb: TracebackType | None) -> Coroutine[Any, Any, None]:
        if type(self) is _THE_SEMAPHORE or type(self) is _THE_BOUNDED:
            self._give()
        else:
            self.release()
        return _waiting.NOTHING

    def _acquire(self, entering):
        op = _leaf.new_op(_Semaphore_acquire)
        op._semaphore = self
        op._entering = entering
        return op

    def _give(self):
        self._value += 1
        if self._line._n:
            self._wake_one()
        return 0

    def _is_free(self):
        return self._value != 0 and (self._line._n == 0 or _all_cancelled(self._line))

    def _wake_one(self):
        """Wake the first who isn't woken yet, and count it; False if there is none."""
        line = self._line
        for i in range(line._n):
            if _waiting.wake(line._at(i)):
                self._value -= 1
                return True
        return False

    def _wake_many(self):
        while self._value > 0 and self._wake_one():
            pass
        return 0


class _BoundedSemaphore(_Semaphore):
    def __init__(self, value: int = 1) -> None:
        self._bound_value = value
        _Semaphore.__init__(self, value)

    def release(self) -> None:
        """Give one back. Raises ValueError if more would be given than was ever taken."""
        self._give()

    def _give(self):
        if self._value >= self._bound_value:
            raise ValueError('BoundedSemaphore released too many times')
        return _Semaphore._give(self)


class Semaphore(_Semaphore, asyncio.Semaphore):
    """A counter that acquire() takes from and release() gives to; it never falls below zero. See asyncio.Semaphore.

    value: what it starts with. Raises ValueError if that is negative.
    """


class BoundedSemaphore(_BoundedSemaphore, Semaphore, asyncio.BoundedSemaphore):
    """A Semaphore whose counter never rises above what it started with. See asyncio.BoundedSemaphore."""


_THE_SEMAPHORE = Semaphore
_THE_BOUNDED = BoundedSemaphore


# ---- Condition ----

class Condition_wait(Op):
    """Wait for a notification, then for the lock; with a predicate, again and again until it holds.

    Whatever happens the lock is taken again before this ends. Cancellations that come in meanwhile are kept (the last
    one) and raised then; and since one who ends that way may have been notified before, another one is notified.
    """

    __slots__ = ('_condition', '_lock', '_predicate', '_notified', '_error')

    def _begin(self):
        if self._predicate is not None:
            self._value = self._predicate()
            if self._value:
                return None
        return self._sleep()

    def _sleep(self):
        condition = self._condition
        if not self._lock._locked:
            raise RuntimeError('cannot wait on un-acquired lock')
        future = condition._new_waiter()
        self._lock._free()
        condition._line._add(future)
        self._notified = False
        self._error = None
        return future

    def _wake(self, exc):
        lock = self._lock
        if not self._notified:
            self._notified = True
            self._condition._line._drop(self._future)
            self._error = exc
        else:
            lock._line._drop(self._future)
            if exc is None:
                lock._locked = True
                return self._awake()
            if not lock._locked:
                lock._wake_first()
            self._error = exc
        if lock._is_free():
            lock._locked = True
            return self._awake()
        if self._error is not None and not isinstance(self._error, CancelledError):
            # thrown out (closed, most likely): there is no waiting for the lock any more
            return self._awake()
        return lock._stand_in_line()

    def _awake(self):
        if self._error is not None:
            error = self._error
            self._error = None
            self._condition._notify(1)
            raise error
        if self._predicate is None:
            self._value = True
            return None
        self._value = self._predicate()
        if self._value:
            return None
        return self._sleep()


def _condition_wait(condition, predicate):
    op = _leaf.new_op(_Condition_wait)
    op._condition = condition
    op._lock = condition._lock
    op._predicate = predicate
    op._notified = False
    op._error = None
    return op


def _waiter_of(condition):
    return condition._new_waiter()


async def _wait_with(condition, lock):
    """Condition.wait() on a lock that is not ours."""
    if not lock.locked():
        raise RuntimeError('cannot wait on un-acquired lock')
    future = _waiter_of(condition)
    lock.release()
    try:
        try:
            condition._waiters.append(future)
            try:
                await future
                return True
            finally:
                condition._waiters.remove(future)
        finally:
            cancelled = None
            while True:
                try:
                    await lock.acquire()
                    break
                except CancelledError as error:
                    cancelled = error
            if cancelled is not None:
                try:
                    raise cancelled
                finally:
                    cancelled = None
    except BaseException:
        condition._notify(1)
        raise


async def _wait_for_with(condition, predicate):
    result = predicate()
    while not result:
        await condition.wait()
        result = predicate()
    return result


class _Condition(Bound):

    def __init__(self, lock: Any = None) -> None:
        self._bound = self._core = None
        self._lock = Lock() if lock is None else lock
        self._own = type(self._lock) is _THE_LOCK
        self._line = Line()
        # as they are now: what the lock's class offers
        self.locked = self._lock.locked
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __repr__(self) -> str:
        return _describe(self, 'locked' if self.locked() else 'unlocked', self._line)

    @property
    def _waiters(self) -> Line:
        return self._line

    def wait(self) -> Coroutine[Any, Any, bool]:
        """Free the lock, wait for a notification, take the lock again, return True. It may wake without cause: check
        what was waited for, or use wait_for(). Raises RuntimeError if the lock isn't held."""
        if not self._own:
            return _wait_with(self, self._lock)
        return _condition_wait(self, None)

    def wait_for(self, predicate: Callable[[], T]) -> Coroutine[Any, Any, T]:
        """wait() until predicate() is true; returns its result."""
        if not self._own or type(self) is not _THE_CONDITION:
            return _wait_for_with(self, predicate)
        return _condition_wait(self, predicate)

    def notify(self, n: int = 1) -> None:
        """Wake n tasks that wait; they go on once this one has released the lock. Raises RuntimeError if the lock
        isn't held."""
        if not self.locked():
            raise RuntimeError('cannot notify on un-acquired lock')
        self._notify(n)

    def notify_all(self) -> None:
        """Wake all tasks that wait. Raises RuntimeError if the lock isn't held."""
        self.notify(self._line._n)

    def _notify(self, n):
        line = self._line
        for i in range(line._n):
            if n <= 0:
                break
            if _waiting.wake(line._at(i)):
                n -= 1

    def __aenter__(self) -> Coroutine[Any, Any, None]:
        if not self._own or type(self) is not _THE_CONDITION:
            return _enter(self)
        lock: Lock = self._lock
        return lock.__aenter__()

    def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                  tb: TracebackType | None) -> Coroutine[Any, Any, None]:
        self.release()
        return _waiting.NOTHING


class Condition(_Condition, asyncio.Condition):
    """Tasks wait under a lock until another task that holds the lock notifies them. See asyncio.Condition.

    lock: a Lock (of glassloop or of asyncio), by default a new one.
    """


_THE_CONDITION = Condition


_Lock_acquire = _leaf.recycle_op(Lock_acquire)
_Event_wait = _leaf.recycle_op(Event_wait)
_Semaphore_acquire = _leaf.recycle_op(Semaphore_acquire)
_Condition_wait = _leaf.recycle_op(Condition_wait)
