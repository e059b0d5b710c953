"""TaskGroup: tasks that end before the block that started them does.

The group is the Listener of its tasks. The first failure cancels the others, and the parent task if that is inside the
block; what the tasks raised is gathered into an exception group. Cancellations of the parent are never lost: one that
came from outside goes on after the tasks have ended, or stays counted in cancelling() if errors take its place.

The semantics are those of Python 3.13 and later on every version; cancel() is that of 3.15.

With a limit, a task beyond it sits in the waiter slot of a TaskGroup_slot and is given to the loop when a place is free,
first come, first served. Each task takes a place once and gives it back once, when it has ended. One that is cancelled
while it waits takes its place at once, free or not: it begins only to end, and those behind it are not held up.
"""
from __future__ import annotations

import asyncio
import operator
import sys
from collections import OrderedDict
from collections.abc import Coroutine, Generator
from contextvars import Context
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from ..core import task as _task
from ..core.future import Future, Listener
from ..core.leaf import Op
from . import tasks as _tasks
from . import waiting as _waiting
from .wrapped import begun_after

__all__ = ('TaskGroup',)

T = TypeVar('T')
PENDING = 0
CANCELLED = 1
CancelledError = asyncio.CancelledError


class TaskGroup_enter(Op):
    __slots__ = ('_group',)

    def _begin(self):
        group = self._group
        group._enter()
        self._value = group
        return None


class TaskGroup_exit(Op):
    """The end of the block: wait until the tasks have ended, then raise what is to be raised."""

    __slots__ = ('_group', '_exc', '_cancelled', '_later')

    def _begin(self):
        group = self._group
        exc = self._exc
        group._exiting = True
        self._cancelled = self._later = None
        if exc is not None:
            if isinstance(exc, CancelledError):
                self._cancelled = exc
            elif group._base_error is None and isinstance(exc, (SystemExit, KeyboardInterrupt)):
                group._base_error = exc
            if not group._aborting:
                group._abort()
        return self._drain()

    def _wake(self, exc):
        group = self._group
        group._ended = None
        if exc is not None:
            if not isinstance(exc, CancelledError):
                raise exc
            if not group._aborting:
                # the parent is cancelled while it waits
                self._cancelled = exc
                group._abort()
            else:
                # by cancel(), or from outside after it: how many requests are left will tell
                self._later = exc
        return self._drain()

    def _drain(self):
        group = self._group
        if group._tasks:
            group._ended = _waiting.make_waiter(group._loop)
            return group._ended
        cancelled = self._cancelled
        later = self._later
        exc = self._exc
        self._cancelled = self._later = self._exc = None
        if group._finish(exc, cancelled, later):
            self._value = True
        return None


def _entering(group):
    op = TaskGroup_enter.__new__(TaskGroup_enter)
    op._group = group
    return op


def _exiting(group, exc):
    op = TaskGroup_exit.__new__(TaskGroup_exit)
    op._group = group
    op._exc = exc
    op._cancelled = op._later = None
    return op


class TaskGroup_slot(Future):
    """What a task beyond the group's limit waits for before its first step."""

    __slots__ = ('_group', '_behind_it')

    @property
    def _parent_task(self):
        """Who waits for the task, for call graphs."""
        return self._group._parent_task

    def cancel(self, msg: Any = None) -> bool:
        """The task is being cancelled. False: that is thrown in when it begins, which is at once."""
        if self._st == PENDING:
            self._group._take_place(self)
        return False

    def _on_task_done(self, task):
        """The end of a task that is not ours, whose coroutine may never have begun."""
        group = self._group
        if self._st == PENDING:
            group._take_place(self)
        self._behind_it.close()
        group._on_task_done(task)


class _TaskGroup(Listener):
    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = None
        if limit is not None:
            self._set_limit(limit)
        self._entered = False
        self._exiting = False
        self._aborting = False
        self._own = False
        self._loop = None
        self._parent_task = None
        self._parent_cancel_requested = False
        self._cancel_at_entry = False
        self._tasks = set()
        self._errors = []
        self._base_error = None
        self._ended = None

    def __repr__(self) -> str:
        info = ['TaskGroup']
        if self._limit is not None:
            info.append(f'limit={self._limit}')
        if self._tasks:
            info.append(f'tasks={len(self._tasks)}')
        if self._limit is not None and self._line:
            info.append(f'waiting={len(self._line)}')
        if self._errors:
            info.append(f'errors={len(self._errors)}')
        if self._aborting:
            info.append('cancelling')
        elif self._entered:
            info.append('entered')
        return f'<{" ".join(info)}>'

    def __aenter__(self) -> Coroutine[Any, Any, TaskGroup]:
        return _entering(self)

    def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                  tb: TracebackType | None) -> Coroutine[Any, Any, bool | None]:
        if exc is None and not self._tasks and not self._errors and not self._parent_cancel_requested:
            self._exiting = True
            self._parent_task = None
            return _waiting.NOTHING
        return _exiting(self, exc)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], *, name: str | None = None,
                    context: Context | None = None, **kwargs: Any) -> asyncio.Task[T]:
        """Run a coroutine as a task of the group. kwargs: as the loop's create_task() takes them. Where `limit` others
        have begun and not ended, it begins when one of them ends. Raises RuntimeError, and closes the coroutine, if the
        group isn't entered, is ending because of an error, or has ended."""
        if not self._entered:
            coro.close()
            raise RuntimeError(f'TaskGroup {self!r} has not been entered')
        if self._exiting and not self._tasks:
            coro.close()
            raise RuntimeError(f'TaskGroup {self!r} is finished')
        if self._aborting:
            coro.close()
            raise RuntimeError(f'TaskGroup {self!r} is shutting down')
        if self._limit is not None:
            return self._admit(coro, name, context, kwargs)
        return self._start(coro, name, context, kwargs)

    def cancel(self) -> None:
        """Cancel the group: its tasks, and its block where that waits. The block is left as if it had come to its end;
        no CancelledError is raised. Before the group is entered: as soon as it is. Once it has ended: nothing."""
        if not self._entered:
            self._cancel_at_entry = True
        elif not self._aborting and self._parent_task is not None:
            self._abort()
            self._parent_cancel_requested = True
            self._parent_task.cancel()

    # ---- for the runtime ----

    def _enter(self):
        if self._entered:
            raise RuntimeError(f'TaskGroup {self!r} has already been entered')
        if self._loop is None:
            self._loop = _waiting.running()
        self._parent_task = _waiting.current(self._loop)
        if self._parent_task is None:
            raise RuntimeError(f'TaskGroup {self!r} cannot determine the parent task')
        self._own = _tasks.makes_own_tasks(self._loop)
        self._entered = True
        if self._cancel_at_entry:
            self.cancel()
        return 0

    def _start(self, coro, name, context, kwargs):
        if self._own and not kwargs and type(coro) is CoroutineType:
            core = self._loop
            if core._task_factory is None and not core._closed:
                own = _task.new_task(core, coro, name, context)
                core._hold(own)
                core._push(own)
                self._tasks.add(own)
                own._listen(self)
                return own
        if context is not None:
            kwargs['context'] = context
        task = self._loop.create_task(coro, name=name, **kwargs)
        # also if it is done already: its failure must not cancel the parent before the parent has it
        self._tasks.add(task)
        if _tasks.is_of(task, self._loop):
            own = task
            own._listen(self)
        else:
            task.add_done_callback(self._on_task_done)
        if self._aborting and not task.done():
            # an eager one has cancelled the group before it belonged to it
            task.cancel()
        return task

    def _set_limit(self, limit):
        try:
            limit = operator.index(limit)
        except TypeError:
            raise TypeError(f'limit must be an int or None, got {limit!r}') from None
        if limit < 1:
            raise ValueError(f'limit must be at least 1, got {limit}')
        self._limit = limit
        self._free = min(limit, sys.maxsize)
        self._line = OrderedDict()  # of slots; whichever leaves it does so without a search
        return 0

    def _admit(self, coro, name, context, kwargs):
        """create_task() where there is a limit."""
        if self._free <= 0:
            return self._line_up(coro, name, context, kwargs)
        self._free -= 1
        try:
            return self._start(coro, name, context, kwargs)
        except BaseException:
            self._give_place_back()
            raise

    def _line_up(self, coro, name, context, kwargs):
        slot = TaskGroup_slot.__new__(TaskGroup_slot)
        slot._attach(self._loop)
        slot._group = self
        if self._own and not kwargs and type(coro) is CoroutineType:
            core = self._loop
            if core._task_factory is None and not core._closed:
                own = _task.new_task(core, coro, name, context)
                core._hold(own)
                own._waits = slot
                slot._wait(own)
                self._line[slot] = None
                self._tasks.add(own)
                own._listen(self)
                return own
        # tasks that others make begin by themselves: with a coroutine that waits, and then with the one given
        if not _tasks.is_coroutine(coro):
            raise TypeError(f'a coroutine was expected, got {coro!r}')
        slot._behind_it = coro
        if context is not None:
            kwargs['context'] = context
        waiting = begun_after(slot, coro)
        self._line[slot] = None
        try:
            task = self._loop.create_task(waiting, name=name, **kwargs)
        except BaseException:
            waiting.close()
            self._line.pop(slot, None)
            raise
        self._tasks.add(task)
        task.add_done_callback(slot._on_task_done)
        if self._aborting and not task.done():
            task.cancel()
        return task

    def _take_place(self, slot):
        """The slot's task may begin, whether there is a place or not."""
        del self._line[slot]
        self._free -= 1
        slot._finish(None)
        return 0

    def _give_place_back(self):
        self._free += 1
        while self._free > 0 and self._line:
            self._take_place(next(iter(self._line)))
        return 0

    def _abort(self):
        self._aborting = True
        for task in list(self._tasks):
            if not task.done():
                task.cancel()
        return 0

    def _done(self, future):
        self._tasks.discard(future)
        if self._ended is not None and not self._tasks:
            _waiting.wake(self._ended)
        if future._st != CANCELLED and future._error is not None:
            self._failed(future, future._failure())
        if self._limit is not None:
            self._give_place_back()
        return 0

    def _behind(self):
        return () if self._parent_task is None else (self._parent_task,)

    def _on_task_done(self, task):
        """_done() for a task that is not ours."""
        self._tasks.discard(task)
        if self._ended is not None and not self._tasks:
            _waiting.wake(self._ended)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._failed(task, error)
        if self._limit is not None:
            self._give_place_back()

    def _failed(self, task, error):
        if self._errors is None:
            self._errors = []
        self._errors.append(error)
        if self._base_error is None and isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._base_error = error
        parent = self._parent_task
        if parent is None or parent.done():
            self._loop.call_exception_handler({
                'message': f'Task {task!r} has errored out but its parent task {parent} is already completed',
                'exception': error,
                'task': task,
            })
        elif not self._aborting and not self._parent_cancel_requested:
            # gets the parent out of whatever it waits for in the block; taken back at the block's end
            self._abort()
            self._parent_cancel_requested = True
            parent.cancel()
        return 0

    def _finish(self, exc, cancelled, later):
        """All tasks have ended. Raises what the block is to raise; true if what came out of the block, exc, is to be
        dropped. cancelled: the cancellation to go on with; later: one that came when the group was being cancelled."""
        parent = self._parent_task
        errors = self._errors
        base_error = self._base_error
        # exceptions hold frames: no reference to them stays behind
        self._parent_task = self._base_error = None
        self._errors = None
        if base_error is not None:
            raise base_error
        if self._parent_cancel_requested:
            if parent.uncancel() == 0:
                cancelled = None
            elif cancelled is None:
                cancelled = later
        if cancelled is not None and not errors:
            raise cancelled
        if exc is not None and not isinstance(exc, CancelledError):
            errors.append(exc)
        if errors:
            if parent.cancelling():
                # cancelled from outside as well: that stays counted, and is delivered at the next await
                parent.uncancel()
                parent.cancel()
            if len(errors) == 1 and isinstance(exc, GeneratorExit):
                # an asynchronous generator is closed within the block: that must go through as it is
                return False
            raise BaseExceptionGroup('unhandled errors in a TaskGroup', errors) from None
        # with cancel() and no error there is nothing to tell
        return exc is not None


class TaskGroup(_TaskGroup, asyncio.TaskGroup):
    """`async with TaskGroup() as group:` waits for all tasks of group.create_task(). See asyncio.TaskGroup.

    limit: how many of them may have begun and not ended at once (int, at least 1; None: any number). The others begin in
    the order of their making, as places become free; create_task() itself never waits. Raises TypeError or ValueError
    for another limit."""
