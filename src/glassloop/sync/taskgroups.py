"""TaskGroup: tasks that end before the block that started them does.

The group is the Listener of its tasks. The first failure cancels the others, and the parent task if that is inside the
block; what the tasks raised is gathered into an exception group. Cancellations of the parent are never lost: one that
came from outside goes on after the tasks have ended, or stays counted in cancelling() if errors take its place.

The semantics are those of Python 3.13 and later on every version; cancel() is that of 3.15.
"""
from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from ..core import task as _task
from ..core.future import Listener
from ..core.leaf import Op
from . import tasks as _tasks
from . import waiting as _waiting

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


class _TaskGroup(Listener):
    def __init__(self) -> None:
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
        if self._tasks:
            info.append(f'tasks={len(self._tasks)}')
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
        """Run a coroutine as a task of the group. kwargs: as the loop's create_task() takes them. Raises RuntimeError,
        and closes the coroutine, if the group isn't entered, is ending because of an error, or has ended."""
        if not self._entered:
            coro.close()
            raise RuntimeError(f'TaskGroup {self!r} has not been entered')
        if self._exiting and not self._tasks:
            coro.close()
            raise RuntimeError(f'TaskGroup {self!r} is finished')
        if self._aborting:
            coro.close()
            raise RuntimeError(f'TaskGroup {self!r} is shutting down')
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
        if future._st == CANCELLED or future._error is None:
            return 0
        return self._failed(future, future._failure())

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
    """`async with TaskGroup() as group:` waits for all tasks of group.create_task(). See asyncio.TaskGroup."""
