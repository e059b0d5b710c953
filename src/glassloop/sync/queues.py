"""Queue, PriorityQueue, LifoQueue, with shutdown() on every version of Python.

put() and get() are Ops: done at once when there is room or an item, else they stand in line as a future. Who is woken
takes no item with it: it looks again when its task runs, and if another was faster it stands in line anew, as in
asyncio. Whoever is cancelled after being woken wakes the next, so that no item is left lying.

An operation that has ended holds nothing: neither queue nor item.

The kind of a queue says how its items are kept. The three classes themselves, and subclasses that leave the methods in
`_REPLACEABLE` alone, never call back into Python. Any other subclass is OTHER: there every step goes through its methods,
as it would in asyncio.
"""
from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Coroutine
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from ..core import leaf as _leaf
from ..core.leaf import Op
from . import waiting as _waiting
from .locks import Event, Event_wait
from .waiting import Bound, Line

__all__ = ('LifoQueue', 'PriorityQueue', 'Queue', 'QueueEmpty', 'QueueFull', 'QueueShutDown')

QueueEmpty = asyncio.QueueEmpty
QueueFull = asyncio.QueueFull

if TYPE_CHECKING or hasattr(asyncio, 'QueueShutDown'):
    QueueShutDown = asyncio.QueueShutDown
else:
    class QueueShutDown(Exception):
        """put() or get() on a queue after shutdown()."""

OTHER = 0
FIRST_OUT = 1
LAST_OUT = 2
LEAST_OUT = 3

_heappush = heapq.heappush
_heappop = heapq.heappop
_REPLACEABLE = ('_init', '_get', '_put', '_wakeup_next', 'empty', 'full', 'qsize', 'get_nowait', 'put_nowait')


def _kind_of(cls, items):
    """The kind of a queue of this class that keeps its items in `items`."""
    if issubclass(cls, PriorityQueue):
        base, kind, kept_in = PriorityQueue, LEAST_OUT, list
    elif issubclass(cls, LifoQueue):
        base, kind, kept_in = LifoQueue, LAST_OUT, list
    else:
        base, kind, kept_in = Queue, FIRST_OUT, Line
    if type(items) is not kept_in:
        return OTHER
    if cls is not base:
        for name in _REPLACEABLE:
            if getattr(cls, name) is not getattr(base, name):
                return OTHER
    return kind


class Queue_get(Op):
    __slots__ = ('_queue',)

    def _begin(self):
        queue = self._queue
        line = queue._line
        if line is not None and line._n:
            self._value = line._shift()
            self._queue = None
            if queue._putters._n:
                queue._putters._wake_next()
            return None
        if queue._is_empty():
            if queue._is_shutdown:
                raise QueueShutDown
            future = queue._new_waiter()
            queue._getters._add(future)
            return future
        self._value = queue._take()
        self._queue = None
        return None

    def _wake(self, exc):
        if exc is None:
            return Queue_get._begin(self)
        queue = self._queue
        woken = _waiting.was_woken(self._future)
        queue._getters._drop(self._future)
        if woken and not queue._is_empty():
            queue._wake(queue._getters)
        raise exc


class Queue_put(Op):
    __slots__ = ('_queue', '_item')

    def _begin(self):
        queue = self._queue
        line = queue._line
        if line is not None and not queue._is_shutdown and (queue._limit == 0 or line._n < queue._limit):
            line._add(self._item)
            self._queue = self._item = None
            queue._added()
            return None
        if queue._is_full():
            if queue._is_shutdown:
                raise QueueShutDown
            future = queue._new_waiter()
            queue._putters._add(future)
            return future
        self._value = queue._give(self._item)
        self._queue = self._item = None
        return None

    def _wake(self, exc):
        if exc is None:
            return Queue_put._begin(self)
        queue = self._queue
        woken = _waiting.was_woken(self._future)
        queue._putters._drop(self._future)
        if woken and not queue._is_full():
            queue._wake(queue._putters)
        raise exc


class Queue_join(Event_wait):
    __slots__ = ('_queue',)

    def _begin(self):
        if self._queue._unfinished_tasks <= 0:
            return None
        return Event_wait._begin(self)

    def _wake(self, exc):
        Event_wait._wake(self, exc)
        self._value = None
        return None


class _Queue(Bound):
    def __init__(self, maxsize: float = 0) -> None:
        self._bound = self._core = None
        self._kind = OTHER
        self._items = self._line = None
        self._maxsize = maxsize
        self._getters = Line()
        self._putters = Line()
        self._unfinished_tasks = 0
        self._is_shutdown = False
        self._finished = Event()
        self._finished._value = True
        self._init(maxsize)
        self._set_kind()

    # ---- what a subclass may replace ----

    def _init(self, maxsize: float) -> None:
        self._items = Line()

    def _get(self) -> Any:
        return self._items.popleft()

    def _put(self, item: Any) -> None:
        self._items.append(item)

    def _wakeup_next(self, waiters: Any) -> None:
        while waiters:
            if _waiting.wake(waiters.popleft()):
                break

    # ---- how it is kept ----

    @property
    def _queue(self) -> Any:
        """The items: a Line, a list, or what a subclass put here."""
        return self._items

    @_queue.setter
    def _queue(self, items: Any) -> None:
        self._items = items
        if self._kind != OTHER:
            self._set_kind()

    @property
    def _maxsize(self) -> float:
        return self._most

    @_maxsize.setter
    def _maxsize(self, most: float) -> None:
        self._most = most
        self._limit = math.ceil(most) if 0 < most < math.inf else 0

    def _set_kind(self):
        self._kind = _kind_of(type(self), self._items)
        self._line = self._items if self._kind == FIRST_OUT else None
        return 0

    def _is_empty(self):
        if self._line is not None:
            return self._line._n == 0
        if self._kind == OTHER:
            return bool(self.empty())
        return not self._items

    def _is_full(self):
        if self._line is not None:
            return 0 < self._limit <= self._line._n
        if self._kind == OTHER:
            return bool(self.full())
        return 0 < self._limit <= len(self._items)

    def _take(self):
        """The next item; there is one."""
        if self._line is not None:
            item = self._line._shift()
        elif self._kind == OTHER:
            return self.get_nowait()
        elif self._kind == LAST_OUT:
            items = self._items
            item = items.pop()
        else:
            item = _heappop(self._items)
        if self._putters._n:
            self._putters._wake_next()
        return item

    def _give(self, item):
        """Add an item; there is room."""
        if self._kind == OTHER:
            return self.put_nowait(item)
        if self._is_shutdown:
            raise QueueShutDown
        if self._line is not None:
            self._line._add(item)
        elif self._kind == LAST_OUT:
            items = self._items
            items.append(item)
        else:
            _heappush(self._items, item)
        self._added()
        return None

    def _added(self):
        self._unfinished_tasks += 1
        self._finished._value = False
        if self._getters._n:
            self._getters._wake_next()
        return 0

    def _wake(self, waiters):
        if self._kind == OTHER:
            self._wakeup_next(waiters)
        else:
            waiters._wake_next()
        return 0

    # ---- the public face ----

    def __repr__(self) -> str:
        return f'<{type(self).__name__} at {id(self):#x} {self._format()}>'

    def __str__(self) -> str:
        return f'<{type(self).__name__} {self._format()}>'

    def _format(self) -> str:
        parts = [f'maxsize={self._maxsize!r}']
        if getattr(self, '_queue', None):
            parts.append(f'_queue={list(self._queue)!r}')
        if self._getters:
            parts.append(f'_getters[{len(self._getters)}]')
        if self._putters:
            parts.append(f'_putters[{len(self._putters)}]')
        if self._unfinished_tasks:
            parts.append(f'tasks={self._unfinished_tasks}')
        if self._is_shutdown:
            parts.append('shutdown')
        return ' '.join(parts)

    @property
    def maxsize(self) -> float:
        """How many items it holds before put() waits."""
        return self._most

    def qsize(self) -> int:
        """The number of items in it."""
        return len(self._items)

    def empty(self) -> bool:
        """True if there are no items in it."""
        return not self._items

    def full(self) -> bool:
        """True if put() would have to wait."""
        if self._kind == OTHER:
            return 0 < self._most <= self.qsize()
        return self._is_full()

    def put(self, item: Any) -> Coroutine[Any, Any, None]:
        """Wait for room, then add the item. Raises QueueShutDown after shutdown()."""
        return _putting(self, item)

    def put_nowait(self, item: Any) -> None:
        """Add the item. Raises QueueFull if there is no room, QueueShutDown after shutdown()."""
        if self._is_shutdown:
            raise QueueShutDown
        if self._is_full():
            raise QueueFull
        if self._kind != OTHER:
            self._give(item)
            return
        self._put(item)
        self._unfinished_tasks += 1
        self._finished.clear()
        self._wakeup_next(self._getters)

    def get(self) -> Coroutine[Any, Any, Any]:
        """Wait for an item and return it. Raises QueueShutDown once the queue is shut down and empty."""
        return _getting(self)

    def get_nowait(self) -> Any:
        """The next item. Raises QueueEmpty if there is none, QueueShutDown if there will be none any more."""
        if self._is_empty():
            raise QueueShutDown if self._is_shutdown else QueueEmpty
        if self._kind != OTHER:
            return self._take()
        item = self._get()
        self._wakeup_next(self._putters)
        return item

    def task_done(self) -> None:
        """Say that the work on an item that was got is done. Raises ValueError if said more often than items were
        put."""
        if self._unfinished_tasks <= 0:
            raise ValueError('task_done() called too many times')
        self._unfinished_tasks -= 1
        if self._unfinished_tasks == 0:
            self._finished.set()

    def join(self) -> Coroutine[Any, Any, None]:
        """Wait until task_done() was called for each item that was put."""
        return _joining(self)

    def shutdown(self, immediate: bool = False) -> None:
        """From now on put() raises QueueShutDown, and so does get() once the queue is empty; those who wait are woken
        to find out. immediate: empty the queue at once, each item counting as done."""
        self._is_shutdown = True
        if immediate:
            while not self.empty():
                self._get()
                if self._unfinished_tasks > 0:
                    self._unfinished_tasks -= 1
            if self._unfinished_tasks == 0:
                self._finished.set()
        while self._getters:
            _waiting.wake(self._getters.popleft())
        while self._putters:
            _waiting.wake(self._putters.popleft())


class Queue(_Queue, asyncio.Queue):
    """Items from tasks to tasks, first in, first out. Not thread-safe. See asyncio.Queue.

    maxsize: how many items it holds before put() waits (int or float); without limit if that is zero or negative.
    """

    __class_getitem__ = classmethod(GenericAlias)


def _getting(queue):
    op = _leaf.new_op(_Queue_get)
    op._queue = queue
    return op


def _putting(queue, item):
    op = _leaf.new_op(_Queue_put)
    op._queue = queue
    op._item = item
    return op


def _joining(queue):
    op = Queue_join.__new__(Queue_join)
    op._event = queue._finished
    op._queue = queue
    return op


class PriorityQueue(Queue, asyncio.PriorityQueue):
    """A Queue that gives the least item first. Items must be comparable, such as (priority, data)."""

    def _init(self, maxsize: float) -> None:
        self._queue = []

    def _put(self, item: Any) -> None:
        _heappush(self._queue, item)

    def _get(self) -> Any:
        return _heappop(self._queue)


class LifoQueue(Queue, asyncio.LifoQueue):
    """A Queue that gives the item put last first."""

    def _init(self, maxsize: float) -> None:
        self._queue = []

    def _put(self, item: Any) -> None:
        self._queue.append(item)

    def _get(self) -> Any:
        return self._queue.pop()


_Queue_get = _leaf.recycle_op(Queue_get)
_Queue_put = _leaf.recycle_op(Queue_put)
