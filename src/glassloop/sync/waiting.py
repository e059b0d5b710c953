"""What the primitives wait with: a line of waiters, the loop that they belong to, an awaitable that is done at once, a
deadline that settles a future.

- `Line`: first in, first out, for waiters and for a queue's items. It has a deque's face, since programs and
  subclasses look into `lock._waiters` or `queue._queue`.
- `Bound`: a primitive belongs to the loop on which somebody first had to wait for it.
- A waiter is a future. On a glassloop loop it is made and settled by C calls; on any other loop it is what
  loop.create_future() gives, so that the primitives work there too.
- `NOTHING` is the awaitable for what need not wait (`async with lock:` on a free lock): it is done at once.

A waiter that is cancelled after it was woken passes the wake-up on; each primitive does that itself.
"""
import asyncio
import sys

from ..core import future as _future
from ..core import leaf as _leaf
from ..core.future import Future
from ..core.leaf import HandleBase, LoopBase

PENDING = 0
FINISHED = 2

_running_loop = asyncio._get_running_loop
# Before Python 3.14 a compiled loop tells asyncio which task runs only when asked (see LoopBase.__hash__). While one of
# ours runs and nobody has asked, nobody can have entered a task of another kind either: what the loop knows is true.
_knows = _leaf.COMPILED and sys.version_info < (3, 14)


def current(loop):
    """The task that runs on the loop now, ours or a foreign one; None in a callback. What asyncio.current_task() says,
    mostly without the price of asking."""
    if _knows and isinstance(loop, LoopBase):
        core = loop
        if core._published is not None and not core.shown:
            return core._published
    return asyncio.current_task(loop)


def running():
    """The running loop. Raises RuntimeError if there is none."""
    loop = _running_loop()
    if loop is None:
        raise RuntimeError('no running event loop')
    return loop


def make_waiter(loop):
    """A pending future of the loop."""
    if isinstance(loop, LoopBase):
        return _future.new_future(loop)
    return loop.create_future()


def wake(future):
    """Settle a waiter; False if it was settled (or cancelled) before."""
    if type(future) is Future:
        ours = future
        if ours._st != PENDING:
            return False
        ours._finish(None)
        return True
    if future.done():
        return False
    future.set_result(None)
    return True


def settle(future):
    """wake() as a callback for loops that aren't ours."""
    wake(future)


def was_woken(future):
    """True if the waiter was settled and not cancelled. One that is pending still is cancelled here."""
    if type(future) is Future:
        ours = future
        if ours._st == PENDING:
            ours._cancel(None)
        return ours._st == FINISHED
    future.cancel()
    return not future.cancelled()


class Line:
    """First in, first out. The first one has a place of its own, as there is mostly no other. Behind it those who are
    next, in reverse, and those who came after these: both lists change only at their ends."""

    __slots__ = ('_n', '_one', '_next', '_last')

    def __init__(self, items=()):
        self._n = 0
        self._one = None
        self._next = []
        self._last = []
        for item in items:
            self._add(item)

    # ---- for the runtime ----

    def _add(self, item):
        if self._n == 0:
            self._one = item
        else:
            self._last.append(item)
        self._n += 1
        return 0

    def _shift(self):
        """Take the first one out; there must be one."""
        item = self._one
        self._n -= 1
        if self._n == 0:
            self._one = None
        else:
            if not self._next:
                self._last.reverse()
                last = self._next
                self._next = self._last
                self._last = last
            self._one = self._next.pop()
        return item

    def _at(self, i):
        if i == 0:
            return self._one
        n = len(self._next)
        return self._next[n - i] if i <= n else self._last[i - n - 1]

    def _drop(self, item):
        """Take this very object out; False if it isn't in line."""
        if self._n == 0:
            return False
        if self._one is item:
            self._shift()
            return True
        items = self._next
        for i in range(len(items) - 1, -1, -1):
            if items[i] is item:
                del items[i]
                self._n -= 1
                return True
        items = self._last
        for i in range(len(items)):
            if items[i] is item:
                del items[i]
                self._n -= 1
                return True
        return False

    def _remove_at(self, i):
        if i == 0:
            self._shift()
            return 0
        n = len(self._next)
        if i <= n:
            del self._next[n - i]
        else:
            del self._last[i - n - 1]
        self._n -= 1
        return 0

    def _list(self):
        return [self._at(i) for i in range(self._n)]

    def _wake_next(self):
        """Take waiters out up to and including the first that can be woken; False if there is none."""
        while self._n:
            if wake(self._shift()):
                return True
        return False

    def _wake_all(self):
        """Wake all who wait; they stay in line until they run."""
        for i in range(self._n):
            wake(self._at(i))
        return 0

    # ---- a deque's face ----

    def append(self, item):
        self._add(item)

    def appendleft(self, item):
        if self._n:
            self._next.append(self._one)
        self._one = item
        self._n += 1

    def extend(self, items):
        for item in items:
            self._add(item)

    def popleft(self):
        if self._n == 0:
            raise IndexError('pop from an empty Line')
        return self._shift()

    def pop(self):
        if self._n == 0:
            raise IndexError('pop from an empty Line')
        item = self._at(self._n - 1)
        self._remove_at(self._n - 1)
        return item

    def remove(self, item):
        for i in range(self._n):
            if self._at(i) == item:
                self._remove_at(i)
                return
        raise ValueError('not in the Line')

    def clear(self):
        self._n = 0
        self._one = None
        self._next = []
        self._last = []

    def index(self, item):
        return self._list().index(item)

    def count(self, item):
        return self._list().count(item)

    def copy(self):
        return Line(self._list())

    def __len__(self):
        return self._n

    def __iter__(self):
        return iter(self._list())

    def __reversed__(self):
        return reversed(self._list())

    def __contains__(self, item):
        return item in self._list()

    def __getitem__(self, i):
        return self._list()[i]

    def __setitem__(self, i, item):
        items = self._list()
        items[i] = item
        self.clear()
        self.extend(items)

    def __delitem__(self, i):
        items = self._list()
        del items[i]
        self.clear()
        self.extend(items)

    def __eq__(self, other):
        return self._list() == list(other) if isinstance(other, Line) else NotImplemented

    __hash__ = None

    def __repr__(self):
        return f'Line({self._list()!r})'


class Bound:
    """Belongs to the loop on which it was first waited for: `_bound`, and `_core` if it is one of ours."""

    @property
    def _loop(self):
        return self._bound

    @_loop.setter
    def _loop(self, loop):
        self._bound = loop
        self._core = loop if isinstance(loop, LoopBase) else None

    def _new_waiter(self):
        core = self._core
        if core is not None and core._published is not None:
            # A task of this loop runs: this one, or else the task that is given the future refuses it. So there is no
            # need to ask which loop is running, which costs a system call on some versions of Python.
            return _future.new_future(core)
        loop = _running_loop()
        if loop is not self._bound:
            self._bind(loop)
        return make_waiter(loop)

    def _bind(self, loop):
        if loop is None:
            raise RuntimeError('no running event loop')
        if self._bound is not None:
            raise RuntimeError(f'{self!r} is bound to a different event loop')
        self._bound = loop
        self._core = loop if isinstance(loop, LoopBase) else None
        return 0


class Nothing:
    """Done at once with None, as often as it is awaited. There is one of it: NOTHING."""

    __slots__ = ()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        raise StopIteration

    def throw(self, type, value=None, traceback=None):
        if value is None:
            value = type() if isinstance(type, _type) else type
        raise value if traceback is None else value.with_traceback(traceback)

    def close(self):
        return None


_type = type
NOTHING = Nothing()


class Alarm(HandleBase):
    """A deadline that settles a future with a value, without a callback or a context."""

    __slots__ = ('_future', '_value')

    def _run(self, core):
        if self._future._st == PENDING:
            self._future._finish(self._value)
        return 0

    def _disarm(self):
        """Never ring."""
        self._future._core._timers.remove(self)
        return 0


def set_alarm(core, delay, future, value):
    """Settle the future with the value `delay` seconds from now unless it is settled before. Raises ValueError if the
    delay is not a number."""
    when = core._now() + delay
    if when != when:
        raise ValueError('Invalid delay: NaN (not a number)')
    alarm = Alarm.__new__(Alarm)
    alarm._index = -1
    alarm._due = when
    alarm._future = future
    alarm._value = value
    core._timers.push(alarm)
    if delay <= 0:
        core._soon_due = True
    return alarm
