"""ONE turn of the loop, and the ways into its ready queue.

The order rule. A turn is: look at the descriptors and the clock (if it is time to), append what became ready to the
ready queue, then run as many entries as the queue holds at that moment, first in, first out. What those entries
schedule runs in the next turn. So: callbacks run in the order in which they were scheduled; what a turn schedules waits
for all that was scheduled before it; descriptors that became ready come after what was ready already, and timers that
came due after those, the earliest first, in the order of their making among equals. A batch that was begun is finished
even if stop() is called within.

When it is time to look: when nothing else is ready (then the poller sleeps until the next deadline), in the first turn
after a start, after 61 entries, after some 100 us, when a timer is due in less than that, and after something was sent
or a descriptor closed: the other end may live on this loop, and who writes and yields once finds that it was read.
Looking in each turn, as asyncio does, costs two to three times the turn itself where few tasks run; what is ready can't
starve I/O or timers for longer than that, since each look takes in all that is ready.

Threads. Only call_soon_threadsafe() may be called from other threads. It appends, which is atomic, and wakes the poller
if the loop sleeps or is about to: `_asleep` is set before the last look at the ready queue.

This module knows handles, futures and tasks; it knows nothing of sockets, streams, executors.
"""
import asyncio
import inspect
import sys
import threading
from asyncio import coroutines
from asyncio.log import logger
from types import CoroutineType

from . import future as _future
from . import leaf as _leaf
from . import task as _task
from .handle import Handle, SharedHandle, TimerHandle, callback_source, origin
from .leaf import LoopBase
from .poller import Waker, default_poller
from .task import Task

POLL_ITEMS = 61
NEAR = 0.0001  # seconds to a timer's time in which the loop looks in each turn

_FACTORY_TAKES_NAME = sys.version_info >= (3, 14)
_SHARED_HANDLES = sys.version_info >= (3, 14)
_eager_task_factory = getattr(asyncio, 'eager_task_factory', None)


class Turn(LoopBase):
    """The engine of an event loop. `clock`: an object with `time()` in seconds; `poller`: a core.poller.Poller; both by
    default the system's."""

    def __init__(self, *, clock=None, poller=None):
        # a subclass that tells the time itself is its own clock
        self._clock = self if clock is None and type(self).time is not Turn.time else clock
        self._poller = default_poller() if poller is None else poller
        self._waker = Waker()
        self._task_factory = None
        self._thread_id = None
        self._closed = False
        self._stopping = False
        self._asleep = False
        self._waiting = False
        self.slow_callback_duration = 0.1
        self._polled = self._first_ticks = _leaf.ticks()
        self._first_time = _leaf.now()
        self._parts = {}
        self._poller.open(self)
        self._waker.open(self, self._poller)

    # ---- the clock ----

    def time(self):
        """Seconds on the loop's clock (float), monotonic."""
        if self._clock is None or self._clock is self:
            return _leaf.now()
        return self._clock.time()

    def _now(self):
        if self._clock is None:
            return _leaf.now()
        return self._clock.time()

    # ---- scheduling ----

    def call_soon(self, callback, *args, context=None):
        """Call callback(*args) in the next turn. Returns a Handle. Raises RuntimeError if the loop is closed."""
        if self._closed:
            raise RuntimeError('Event loop is closed')
        if self._debug:
            self._check_thread()
            self._check_callback(callback, 'call_soon')
        handle = self._handle(callback, args, context)
        self._push(handle)
        return handle

    def call_soon_threadsafe(self, callback, *args, context=None):
        """call_soon() from any thread, or from a signal handler."""
        if self._closed:
            raise RuntimeError('Event loop is closed')
        if self._debug:
            self._check_callback(callback, 'call_soon_threadsafe')
        if _SHARED_HANDLES:
            handle = SharedHandle(callback, args, self, context)
        else:
            handle = self._handle(callback, args, context)
        self._push(handle)
        if self._asleep:
            self._asleep = False
            self._waker.wake()
        return handle

    def call_later(self, delay, callback, *args, context=None):
        """Call callback(*args) `delay` seconds from now, never earlier. Returns a TimerHandle. Raises TypeError if
        delay is None, ValueError if it is not a number (NaN), RuntimeError if the loop is closed."""
        if delay is None:
            raise TypeError('delay must not be None')
        if self._closed:
            raise RuntimeError('Event loop is closed')
        if self._debug:
            self._check_thread()
            self._check_callback(callback, 'call_later')
        if type(delay) is float or type(delay) is int:
            return self._later(delay, callback, args, context)
        if delay <= NEAR:
            self._soon_due = True
        return self._at(self._now() + delay, callback, args, context)

    def call_at(self, when, callback, *args, context=None):
        """Call callback(*args) at the time `when` of the loop's clock (seconds), never earlier. Returns a TimerHandle.
        Raises as call_later() does."""
        if when is None:
            raise TypeError('when cannot be None')
        if self._closed:
            raise RuntimeError('Event loop is closed')
        if self._debug:
            self._check_thread()
            self._check_callback(callback, 'call_at')
        if not self._soon_due and when <= self._now() + NEAR:
            self._soon_due = True
        handle = self._at(when, callback, args, context)
        if type(when) is not float:
            handle._given = when
        return handle

    def _handle(self, callback, args, context):
        handle = Handle.__new__(Handle)
        handle._index = -1
        handle._callback = callback
        handle._args = args or None
        handle._context = _leaf.copy_context() if context is None else context
        handle._loop = self
        handle._cancelled = False
        handle._source_traceback = handle._shown = None
        if self._debug:
            handle._source_traceback = origin()
        return handle

    def _soon(self, callback, arg, context):
        handle = Handle.__new__(Handle)
        handle._index = -1
        handle._callback = callback
        handle._args = (arg,)
        handle._context = context
        handle._loop = self
        handle._cancelled = False
        handle._source_traceback = handle._shown = None
        return self._push(handle)

    def _later(self, delay, callback, args, context):
        if delay <= NEAR:
            self._soon_due = True
        return self._at(self._now() + delay, callback, args, context)

    def _at(self, when, callback, args, context):
        if when != when:
            raise ValueError('Invalid delay: NaN (not a number)')
        handle = TimerHandle.__new__(TimerHandle)
        handle._due = when
        handle._given = None
        handle._index = -1
        handle._callback = callback
        handle._args = args or None
        handle._context = _leaf.copy_context() if context is None else context
        handle._loop = self
        handle._cancelled = False
        handle._source_traceback = handle._shown = None
        if self._debug:
            handle._source_traceback = origin()
        self._timers.push(handle)
        return handle

    def _check_thread(self):
        if self._thread_id is not None and self._thread_id != threading.get_ident():
            raise RuntimeError('Non-thread-safe operation invoked on an event loop other than the current one')

    def _check_callback(self, callback, method):
        if coroutines.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError(f'coroutines cannot be used with {method}()')
        if not callable(callback):
            raise TypeError(f'a callable object was expected by {method}(), got {callback!r}')

    # ---- futures and tasks ----

    def create_future(self):
        """A pending Future of this loop."""
        return _future.new_future(self)

    def create_task(self, coro, *, name=None, context=None, eager_start=None, **kwargs):
        """Run a coroutine as a Task (or as what the task factory makes of it). eager_start: run its first step at once.
        Raises TypeError if coro is no coroutine, RuntimeError if the loop is closed."""
        if self._closed:
            raise RuntimeError('Event loop is closed')
        if self._task_factory is not None:
            return self._task_by_factory(coro, name, context, eager_start, kwargs)
        if kwargs:
            raise TypeError(f'create_task() got an unexpected keyword argument {next(iter(kwargs))!r}')
        if type(coro) is not CoroutineType and not coroutines.iscoroutine(coro):
            raise TypeError(f'a coroutine was expected, got {coro!r}')
        task = _task.new_task(self, coro, name, context)
        if eager_start and self._thread_id == threading.get_ident():
            task._start_eagerly(self)
        else:
            self._hold(task)
            self._push(task)
        return task

    def _task_by_factory(self, coro, name, context, eager_start, kwargs):
        factory = self._task_factory
        if factory is _eager_task_factory:
            eager = True if eager_start is None else eager_start
            return Task(coro, loop=self, name=name, context=context, eager_start=eager, **kwargs)
        if eager_start is not None:
            kwargs['eager_start'] = eager_start
        if context is not None:
            kwargs['context'] = context
        if name is None:
            return factory(self, coro, **kwargs)
        if _FACTORY_TAKES_NAME:
            return factory(self, coro, name=name, **kwargs)
        task = factory(self, coro, **kwargs)
        task.set_name(name)
        return task

    def set_task_factory(self, factory):
        """factory(loop, coro, **kwargs) makes the tasks from now on; None: glassloop's Task. Raises TypeError if it is
        neither callable nor None."""
        if factory is not None and not callable(factory):
            raise TypeError('task factory must be a callable or None')
        self._task_factory = factory

    def get_task_factory(self):
        """The task factory, or None."""
        return self._task_factory

    # ---- turns ----

    def _busy_for(self):
        """Seconds since the loop last looked at its descriptors and the clock (float): as long as what runs now has been
        running, at least. 0.0 while the loop waits, or stands still. May be asked for from any thread."""
        if self._waiting or self._thread_id is None:
            return 0.0
        ticks = _leaf.ticks()
        seconds = _leaf.now() - self._first_time
        life = ticks - self._first_ticks
        looked = self._polled
        return seconds * (ticks - looked) / life if ticks > looked and life else 0.0

    def stop(self):
        """End run_forever() after the batch that is running (or after one turn, if it isn't running yet)."""
        self._stopping = True

    def is_running(self):
        """True while run_forever() runs."""
        return self._thread_id is not None

    def is_closed(self):
        """True after close()."""
        return self._closed

    def get_debug(self):
        """True in debug mode."""
        return self._debug

    def _run_turns(self):
        """Run turns until stop()."""
        try:
            self._turns()
        finally:
            self._corking = False
            if self._corked is not None:
                self._uncork()

    def _turns(self):
        done = POLL_ITEMS
        while True:
            n = self._size()
            if n == 0 or done >= POLL_ITEMS or self._soon_due or _leaf.ticks() - self._polled > _leaf.GL_TICKS_POLL:
                self._corking = False
                self._poll()
                self._corking = True
                done = 0
                n = self._size()
            done += n
            if self._debug or self._recording:
                self._watched_batch(n)
            else:
                while n > 0:
                    n -= 1
                    item = self._pop()
                    item._run(self)
                    if self._corked is not None:
                        self._uncork()
            if self._stopping:
                return 0

    def _watched_batch(self, n):
        """A batch with its steps timed: for the recorder, and for debug mode's slow callbacks."""
        while n > 0:
            n -= 1
            item = self._pop()
            began = _leaf.now()
            described = None if not self._debug else _described(item)
            item._run(self)
            if self._corked is not None:
                self._uncork()
            if self._recording:
                self._recorder(item)
            elif self._debug:
                took = _leaf.now() - began
                if took >= self.slow_callback_duration:
                    logger.warning('Executing %s took %.3f seconds', described or repr(item), took)
        return 0

    def _uncork(self):
        """Transports hold back what an entry writes and send it as one when it ends, here. `_corking` is true while
        entries run: what is written at any other time goes out at once."""
        while self._corked is not None:
            watcher = self._corked
            self._corked = watcher._after
            watcher._after = None
            if self._corked is None:
                self._corked_last = None
            watcher._uncork()
        return 0

    def _poll(self):
        """Append to the ready queue what became ready; sleep if nothing else is."""
        timers = self._timers
        self._soon_due = False
        timeout = 0.0
        if self._published is not None:
            self._unpublish()
        _leaf.check_signals()
        if not self._stopping:
            self._asleep = True
            if self._size() == 0:
                if timers.size() == 0:
                    timeout = -1.0
                else:
                    timeout = timers.first() - self._now()
                    if timeout < 0.0:
                        timeout = 0.0
        self._waiting = timeout != 0.0
        try:
            self._poller.wait(timeout)
        finally:
            self._asleep = self._waiting = False
        if timers.size():
            now = self._now()
            while True:
                due = timers.pop_due(now)
                if due is None:
                    break
                self._push(due)
            if timers.size() and timers.first() - now < NEAR:
                self._soon_due = True
        self._polled = _leaf.ticks()
        return 0

    def _callback_failed(self, handle, error):
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        context = {'message': f'Exception in callback {callback_source(handle)}', 'exception': error, 'handle': handle}
        if handle._source_traceback:
            context['source_traceback'] = handle._source_traceback
        self.call_exception_handler(context)
        return 0


def _described(item):
    """What debug mode calls an entry of the ready queue, taken before it ran: a handle forgets its callback."""
    return repr(item) if isinstance(item, Handle) else None
