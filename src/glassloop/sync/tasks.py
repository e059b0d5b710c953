"""Tasks from coroutines (create_task, ensure_future, eager task factories), shield(), and who waits for a future.

`spawn` is what gather() and TaskGroup make their tasks with: one C call per task where the loop is glassloop's own and
neither a task factory nor a create_task() of somebody else's stands in between.
"""
from __future__ import annotations

import asyncio
import inspect
from asyncio import coroutines
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from types import CoroutineType
from typing import Any, TypeVar

from ..core import future as _future
from ..core import task as _task
from ..core.future import Future, Listener
from ..core.leaf import LoopBase, Op
from ..core.task import Task
from ..core.turn import Turn
from . import waiting as _waiting
from .wrapped import awaited

__all__ = ('create_eager_task_factory', 'create_task', 'eager_task_factory', 'ensure_future', 'future_add_to_awaited_by',
           'future_discard_from_awaited_by', 'shield')

T = TypeVar('T')
PENDING = 0
CANCELLED = 1

_own_create_task = Turn.create_task
_asyncio_shield = asyncio.shield


def makes_own_tasks(loop):
    """True if loop.create_task() is glassloop's own, so that spawn() may go past it."""
    return isinstance(loop, Turn) and getattr(loop.create_task, '__func__', None) is _own_create_task


def spawn(core, coro):
    """core.create_task(coro), for a loop that makes its own tasks."""
    if core._task_factory is not None or core._closed or (type(coro) is not CoroutineType and not isinstance(coro, Op)):
        return core.create_task(coro)
    task = _task.new_task(core, coro, None, None)
    core._hold(task)
    core._push(task)
    return task


def is_future(thing):
    """asyncio.isfuture(), asked of C first."""
    if isinstance(thing, Future):
        return True
    if type(thing) is CoroutineType or isinstance(thing, Op):
        return False
    return asyncio.isfuture(thing)


def is_coroutine(thing):
    """asyncio.iscoroutine(), asked of C first."""
    return type(thing) is CoroutineType or isinstance(thing, Op) or coroutines.iscoroutine(thing)


def loop_of(future):
    """The loop that a future of any kind belongs to."""
    if isinstance(future, Future):
        ours = future
        return ours._loop
    return asyncio.futures._get_loop(future)


def is_of(future, loop):
    """True for a glassloop future of this glassloop loop: one that a Listener can hear of."""
    if isinstance(future, Future):
        ours = future
        return ours._core is loop and loop is not None
    return False


def to_future(thing, loop, own):
    """ensure_future(thing, loop=loop). `own`: the loop makes its own tasks. loop None: whichever it is."""
    if is_future(thing):
        if loop is not None and loop_of(thing) is not loop:
            raise ValueError('The future belongs to a different loop than the one specified as the loop argument')
        return thing
    coro = thing
    if not is_coroutine(thing):
        if not inspect.isawaitable(thing):
            raise TypeError('An asyncio.Future, a coroutine or an awaitable is required')
        coro = awaited(thing)
    if own:
        return spawn(loop, coro)
    try:
        if loop is None:
            loop = asyncio.get_event_loop()
        return loop.create_task(coro)
    except RuntimeError:
        if coro is thing:
            coro.close()
        raise


def ensure_future(coro_or_future: Awaitable[T], *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[T]:
    """A future as it is; a coroutine or another awaitable as a new task, on the current loop by default. Raises
    TypeError if it can't be awaited, ValueError if it is a future of another loop than `loop`."""
    future: asyncio.Future[T] = to_future(coro_or_future, loop, False)
    return future


def create_task(coro: Generator[Any, None, T] | Coroutine[Any, Any, T], *, name: str | None = None,
                context: Context | None = None, **kwargs: Any) -> asyncio.Task[T]:
    """Run a coroutine as a task of the running loop. kwargs: as the loop's create_task() takes them (eager_start).
    Raises RuntimeError if no loop is running, TypeError if coro is no coroutine."""
    loop = _waiting.running()
    task: asyncio.Task[T]
    if context is not None:
        kwargs['context'] = context
    if name is not None:
        kwargs['name'] = name
    task = loop.create_task(coro, **kwargs) if kwargs else loop.create_task(coro)
    return task


def create_eager_task_factory(custom_task_constructor: Callable[..., Any]) -> Callable[..., Any]:
    """A task factory that starts each task at once. custom_task_constructor: takes what Task() takes, eager_start
    included."""
    def factory(loop: Any, coro: Any, *, name: Any = None, context: Any = None, eager_start: bool = True,
                **kwargs: Any) -> Any:
        return custom_task_constructor(coro, loop=loop, name=name, context=context, eager_start=eager_start, **kwargs)

    return factory


def _start_task(coro, *, loop, name=None, context=None, eager_start=True, **kwargs):
    kind = Task if isinstance(loop, LoopBase) else asyncio.Task
    return kind(coro, loop=loop, name=name, context=context, eager_start=eager_start, **kwargs)


#: starts each task at once, up to where it first has to wait
eager_task_factory = create_eager_task_factory(_start_task)


class _Shield(Listener):
    """Hears of both: the inner future's end settles the outer one; the outer's end lets go of the inner."""

    __slots__ = ('_inner', '_outer')

    def _behind(self):
        return (self._outer,)

    def _done(self, future):
        if future is self._outer:
            if self._inner._st == PENDING:
                self._inner._unlisten(self)
            return 0
        outer = self._outer
        if outer._st != PENDING:
            if future._st != CANCELLED and outer._st == CANCELLED:
                future._log_tb = False
        elif future._st == CANCELLED:
            outer._cancel(None)
        elif future._error is not None:
            outer._fail(future._failure())
        else:
            outer._finish(future._value)
        return 0


def shield(arg: Awaitable[T]) -> asyncio.Future[T]:
    """Wait for an awaitable, but let it go on if the waiting is cancelled. Keep a reference to it: if nobody waits any
    more, its exception is reported only when it is freed."""
    inner: Any = to_future(arg, None, False)
    if inner.done():
        return inner
    loop = loop_of(inner)
    if not is_of(inner, loop):
        return _asyncio_shield(inner)
    return _shield(loop, inner)


def _shield(core, inner):
    outer = _future.new_future(core)
    listener = _Shield.__new__(_Shield)
    listener._inner = inner
    listener._outer = outer
    inner._listen(listener)
    outer._listen(listener)
    return outer


class _Told(Listener):
    """Stands for who waits for a future in a way that the future can't know of."""

    __slots__ = ('_who',)

    def _behind(self):
        return (self._who,)

    def _done(self, future):
        return 0


def future_add_to_awaited_by(fut: Any, waiter: Any, /) -> None:
    """Let call graphs show that `waiter` (a future or task) waits for `fut`. What the runtime offers (await, gather(),
    wait(), TaskGroup...) needs no such word."""
    if isinstance(fut, Future):
        _add_waiter(fut, waiter)
    elif _asyncio_add is not None:
        _asyncio_add(fut, waiter)


def future_discard_from_awaited_by(fut: Any, waiter: Any, /) -> None:
    """Take back future_add_to_awaited_by()."""
    if isinstance(fut, Future):
        _discard_waiter(fut, waiter)
    elif _asyncio_discard is not None:
        _asyncio_discard(fut, waiter)


_asyncio_add = getattr(asyncio, 'future_add_to_awaited_by', None)
_asyncio_discard = getattr(asyncio, 'future_discard_from_awaited_by', None)


def _add_waiter(ours, waiter):
    if ours._st == PENDING and ours._core is not None and asyncio.isfuture(waiter) and _told_of(ours, waiter) is None:
        told = _Told.__new__(_Told)
        told._who = waiter
        ours._listen(told)


def _discard_waiter(ours, waiter):
    told = _told_of(ours, waiter)
    if told is not None:
        ours._unlisten(told)


def _told_of(ours, waiter):
    entries = [ours._waiter]
    if ours._cbs is not None:
        entries.extend(ours._cbs)
    for entry in entries:
        if isinstance(entry, _Told):
            told = entry
            if told._who is waiter:
                return told
    return None


def mark_coroutine_functions(*functions):
    """Let asyncio and inspect take functions that return an Op for the coroutine functions that they stand for."""
    for function in functions:
        marker = getattr(coroutines, '_is_coroutine', None)
        if marker is not None:
            function._is_coroutine = marker
        if hasattr(inspect, 'markcoroutinefunction'):
            inspect.markcoroutinefunction(function)
