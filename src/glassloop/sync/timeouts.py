"""timeout(), timeout_at(), wait_for().

A Timeout is its own entry in the loop's heap of deadlines: no handle, no callback, no context. When it is due it cancels
the task that entered it, and turns the CancelledError that comes out of the block into TimeoutError, unless somebody
else cancelled the task as well: then the cancellation goes on.

It may stand in the ready queue while its block ends or its deadline moves; `_armed` and `_index` (its place in the heap)
tell whether it still means it when its turn comes.

wait_for() is a timeout around an await in the same task, as in Python 3.12 and later.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from ..core import leaf as _leaf
from ..core.leaf import HandleBase, Op
from ..core.task import Task
from ..core.turn import Turn
from . import tasks as _tasks
from . import waiting as _waiting

__all__ = ('Timeout', 'timeout', 'timeout_at', 'wait_for')

T = TypeVar('T')
CancelledError = asyncio.CancelledError

CREATED = 0
ACTIVE = 1
EXPIRING = 2
EXPIRED = 3
FINISHED = 4
_STATES = ('created', 'active', 'expiring', 'expired', 'finished')


class Timeout_enter(Op):
    __slots__ = ('_limit',)

    def _begin(self):
        limit = self._limit
        limit._enter()
        self._value = limit
        return None


def _entering(limit):
    op = _leaf.new_op(_Timeout_enter)
    op._limit = limit
    return op


class Timeout(HandleBase):
    """An asynchronous context manager that cancels its block when it is overdue. Made by timeout() and timeout_at().

    when: the deadline, on the loop's clock (seconds); None: never.
    """

    def __init__(self, when: float | None) -> None:
        self._set_up(when)

    def _set_up(self, when):
        self._index = -1
        self._due = 0.0
        self._deadline = when
        self._state = CREATED
        self._armed = False
        self._loop = None
        self._task = None
        self._handle = None
        self._cancelling = 0
        return 0

    @property
    def __class__(self) -> type:
        return asyncio.Timeout

    def __repr__(self) -> str:
        info = ''
        if self._state == ACTIVE:
            info = f' when={None if self._deadline is None else round(self._deadline, 3)}'
        return f'<Timeout [{_STATES[self._state]}]{info}>'

    def when(self) -> float | None:
        """The deadline, or None."""
        return self._deadline

    def expired(self) -> bool:
        """True once the deadline has passed while the block ran."""
        return self._state == EXPIRING or self._state == EXPIRED

    def reschedule(self, when: float | None) -> None:
        """Move the deadline; None: never. Raises RuntimeError unless the block runs and isn't overdue."""
        if self._state != ACTIVE:
            if self._state == CREATED:
                raise RuntimeError('Timeout has not been entered')
            raise RuntimeError(f'Cannot change state of {_STATES[self._state]} Timeout')
        self._disarm()
        self._deadline = when
        if when is not None:
            self._arm(when)

    def __aenter__(self) -> Coroutine[Any, Any, Timeout]:
        return _entering(self)

    def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                  tb: TracebackType | None) -> Coroutine[Any, Any, None]:
        self._exit(exc)
        return _waiting.NOTHING

    # ---- for the runtime ----

    def _enter(self):
        if self._state != CREATED:
            raise RuntimeError('Timeout has already been entered')
        loop = _waiting.running()
        task = _waiting.current(loop)
        if task is None:
            raise RuntimeError('Timeout should be used inside a task')
        if self._deadline is not None:
            self._loop = loop
            self._arm(self._deadline)
        self._state = ACTIVE
        self._loop = loop
        self._task = task
        if isinstance(task, Task):
            ours = task
            self._cancelling = ours._cancels
        else:
            self._cancelling = task.cancelling()
        return 0

    def _arm(self, when):
        loop = self._loop
        if isinstance(loop, Turn):
            core = loop
            self._due = when
            if when != when:
                raise ValueError('Invalid delay: NaN (not a number)')
            self._armed = True
            if self._due <= core._now():
                core._push(self)
            else:
                core._timers.push(self)
        elif when <= loop.time():
            self._handle = loop.call_soon(self._expire)
        else:
            self._handle = loop.call_at(when, self._expire)
        return 0

    def _disarm(self):
        if self._armed:
            self._armed = False
            if self._index >= 0:
                core = self._loop
                core._timers.remove(self)
        elif self._handle is not None:
            self._handle.cancel()
            self._handle = None
        return 0

    def _run(self, core):
        if self._armed and self._index < 0:
            self._armed = False
            if core._published is not None:
                core._unpublish()
            self._expire()
        return 0

    def _expire(self):
        self._handle = None
        self._task.cancel()
        self._state = EXPIRING

    def _exit(self, exc):
        self._disarm()
        if self._state == EXPIRING:
            self._state = EXPIRED
            if self._task.uncancel() <= self._cancelling and exc is not None:
                # nobody else cancelled the task: the cancellation is ours
                if isinstance(exc, CancelledError):
                    raise TimeoutError from exc
                _blame(exc)
                if isinstance(exc, ExceptionGroup):
                    for part in exc.exceptions:
                        _blame(part)
        elif self._state == ACTIVE:
            self._state = FINISHED
        else:
            raise AssertionError('Timeout has not been entered')
        return 0


def _blame(exc):
    """Put a TimeoutError into the chain of contexts, in front of the first CancelledError there."""
    context = exc.__context__
    while context is not None:
        if isinstance(context, CancelledError):
            error = TimeoutError()
            error.__context__ = error.__cause__ = context
            exc.__context__ = error
            return
        exc = context
        context = exc.__context__


def timeout(delay: float | None) -> Timeout:
    """`async with timeout(delay):` raises TimeoutError if the block takes longer than `delay` seconds; None: never.
    Raises RuntimeError if no loop is running."""
    return _timeout(delay)


def _timeout(delay):
    loop = _waiting.running()
    when = None
    if delay is not None:
        if isinstance(loop, Turn):
            core = loop
            when = core._now() + delay
        else:
            when = loop.time() + delay
    limit = Timeout.__new__(Timeout)
    limit._set_up(when)
    return limit


def timeout_at(when: float | None) -> Timeout:
    """timeout() with a deadline on the loop's clock (seconds, as loop.time() tells) instead of a delay."""
    return Timeout(when)


# ---- wait_for ----

async def _cancel_and_wait(future):
    """Cancel a future and wait until it has ended, however it ended."""
    loop = _waiting.running()
    waiter = _waiting.make_waiter(loop)

    def ended(future):
        _waiting.wake(waiter)

    ended._parent_task = _waiting.current(loop)  # who waits, for asyncio's call graphs
    future.add_done_callback(ended)
    try:
        future.cancel()
        await waiter
    finally:
        future.remove_done_callback(ended)


async def wait_for(fut: Awaitable[T], timeout: float | None) -> T:
    """Await `fut`, but no longer than `timeout` seconds (None: without limit): then it is cancelled, and TimeoutError
    is raised once it has ended. Use shield() to let it go on."""
    if timeout is not None and timeout <= 0:
        future: Any = _tasks.to_future(fut, None, False)
        if not future.done():
            await _cancel_and_wait(future)
            try:
                return future.result()
            except CancelledError as exc:
                raise TimeoutError from exc
        return future.result()
    limit = _timeout(timeout)
    limit._enter()
    try:
        result = await fut
    except BaseException as exc:
        limit._exit(exc)
        raise
    limit._exit(None)
    return result


_Timeout_enter = _leaf.recycle_op(Timeout_enter)
