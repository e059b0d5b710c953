"""gather(): many awaitables, one future.

One Listener hears of all children: it sits in each child's waiter slot, so that a child costs no closure and no list.
It keeps the count of those that are not done and settles the outer future. The outer future's cancel() goes to the
children; what became of them decides how it ends.

On a loop that isn't glassloop's, asyncio's own gather() does it.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import CoroutineType
from typing import Any

from ..core.future import Future, Listener
from ..core.handle import origin
from ..core.leaf import LoopBase
from ..core.task import Task
from . import tasks as _tasks

__all__ = ('gather',)

PENDING = 0
CANCELLED = 1
CancelledError = asyncio.CancelledError
_asyncio_gather = asyncio.gather


class _GatheringFuture(Future):
    """What gather() returns."""

    __slots__ = ('_children', '_cancel_requested')

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the children that are not done; False if all are. The future itself ends when they have ended."""
        if self._st != PENDING or not _is_busy(self):
            return False
        _cancel_children(self, msg)
        return True


def _cancel_children(outer, message):
    # Once the children have ended the outer future ends as cancelled, even where exceptions are results. The same goes
    # for all that is gathered below: it is gone through in a loop, however deep it lies.
    outer._cancel_requested = True
    stack = outer._children[::-1]
    path = {outer}  # from there down to where we are
    while stack:
        child = stack.pop()
        if type(child) is tuple:
            path.remove(child[0])
            continue
        if type(child) is Task:
            task = child
            found = task._cancel_down(message, _GatheringFuture)
            if not isinstance(found, Task):
                continue
            task = found
            inner = task._waits
            if inner in path:
                task._break_cycle(message)
                continue
            if inner._st != PENDING or not _is_busy(inner):
                task._must = True
                task._message = message
                continue
        elif type(child) is _GatheringFuture:
            inner = child
            if inner._st != PENDING or not _is_busy(inner):
                continue
        else:
            child.cancel(msg=message)
            continue
        inner._cancel_requested = True
        path.add(inner)
        stack.append((inner,))
        stack.extend(inner._children[::-1])
    return None


def _is_busy(outer):
    """True if a child is not done: there is something to cancel."""
    stack = [outer]
    while stack:
        gathered = stack.pop()
        if gathered._children is not None:
            for child in gathered._children:
                if type(child) is _GatheringFuture:
                    stack.append(child)
                elif not child.done():
                    return True
    return False


class _Gathering(Listener):
    __slots__ = ('_outer', '_children', '_left', '_return_exceptions')

    def _done(self, future):
        self._left -= 1
        outer = self._outer
        if outer is None or outer._st != PENDING:
            # nobody will ask for its exception any more
            if future._st != CANCELLED:
                future._log_tb = False
            return 0
        if not self._return_exceptions:
            if future._st == CANCELLED or future._error is not None:
                return self._end(future._failure(), None)
        if self._left == 0:
            self._complete()
        return 0

    def _behind(self):
        return () if self._outer is None else (self._outer,)

    def _heard(self, future):
        """_done() for a future that is not ours."""
        self._left -= 1
        outer = self._outer
        if outer is None or outer._st != PENDING:
            if not future.cancelled():
                future.exception()
            return
        if not self._return_exceptions:
            error = _error_of(future)
            if error is not None:
                self._end(error, None)
                return
        if self._left == 0:
            self._complete()

    def _complete(self):
        """All children are done."""
        children = self._children
        if self._outer._cancel_requested:
            return self._end(children[len(children) - 1]._make_cancelled_error(), None)
        results = []
        for child in children:
            if isinstance(child, Future):
                ours = child
                if ours._st != CANCELLED and ours._error is None:
                    results.append(ours._value)
                    continue
            results.append(_outcome(child))
        return self._end(None, results)

    def _end(self, error, results):
        outer = self._outer
        # the children may go, also while somebody keeps the outer future
        outer._children = None
        self._children = None
        if error is not None:
            return outer._fail(error)
        return outer._finish(results)


def _error_of(future):
    """The exception that a future that is done ended with (CancelledError included), or None."""
    if future.cancelled():
        return future._make_cancelled_error()
    return future.exception()


def _outcome(future):
    """The result or the exception of a future that is done, where exceptions are results."""
    if future.cancelled():
        message = future._cancel_message
        return CancelledError('' if message is None else message)
    error = future.exception()
    return future.result() if error is None else error


def gather(*coros_or_futures: Awaitable[Any], return_exceptions: bool = False) -> asyncio.Future[list[Any]]:
    """A future of all the results, in the order of the arguments. Coroutines become tasks.

    return_exceptions: exceptions take the place of results; by default the first one becomes the future's, and the
    other children go on. Cancelling the future cancels the children. Raises ValueError if the arguments belong to
    different loops, TypeError if one can't be awaited.
    """
    outer: asyncio.Future[list[Any]]
    if not coros_or_futures:
        outer = asyncio.get_event_loop().create_future()
        outer.set_result([])
        return outer
    first = coros_or_futures[0]
    loop = _tasks.loop_of(first) if _tasks.is_future(first) else asyncio.get_event_loop()
    if not isinstance(loop, LoopBase):
        return _asyncio_gather(*coros_or_futures, return_exceptions=return_exceptions)
    return _gather(loop, coros_or_futures, return_exceptions)


def _gather(core, awaitables, return_exceptions):
    own = _tasks.makes_own_tasks(core)
    gathering = _Gathering.__new__(_Gathering)
    gathering._outer = None
    gathering._left = 0
    gathering._return_exceptions = return_exceptions
    children = []
    gathering._children = children
    known = {}
    done = None
    for awaitable in awaitables:
        child = known.get(awaitable)
        if child is None:
            if own and type(awaitable) is CoroutineType:
                child = _tasks.spawn(core, awaitable)
            else:
                child = _tasks.to_future(awaitable, core, own)
            known[awaitable] = child
            gathering._left += 1
            if isinstance(child, Future):
                ours = child
                if child is not awaitable and isinstance(child, Task):
                    # the caller can't reach it: nobody needs to hear that it was left pending
                    task = child
                    task._log_destroy_pending = False
                if ours._st == PENDING:
                    ours._listen(gathering)
                else:
                    done = _noted(done, child)
            else:
                if child is not awaitable:
                    child._log_destroy_pending = False
                if child.done():
                    done = _noted(done, child)
                else:
                    child.add_done_callback(gathering._heard)
        children.append(child)
    outer = _GatheringFuture.__new__(_GatheringFuture)
    outer._attach(core)
    if core._debug:
        outer._source_traceback = origin()
    outer._children = children
    outer._cancel_requested = False
    gathering._outer = outer
    if done is not None:
        for child in done:
            if isinstance(child, Future):
                gathering._done(child)
            else:
                gathering._heard(child)
    return outer


def _noted(done, child):
    if done is None:
        return [child]
    done.append(child)
    return done
