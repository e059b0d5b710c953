"""Future: a result that comes later, and whoever waits for it.

Waiters come in three kinds, told apart by type: a Task (goes straight to the ready queue), a Listener (gather, wait...:
hears of the future in the next turn), a callback with its context. The first Task or Listener sits in a slot of its own,
`_waiter`; only where more wait is a list made. All are served in the order in which they came, each in the turn after
the one in which the future was settled, as in asyncio.

Invariants: a future is settled once; `_waiter` and `_cbs` are empty from then on (but for a Listener in the slot, until
the future itself, in the ready queue, has told it). `_error` of a cancelled future is the CancelledError that ended the
task, if it was one.

A future made for a loop that is not glassloop's works too: it schedules through that loop's call_soon().
"""
import asyncio
import sys
from asyncio import base_futures
from types import GenericAlias

from . import leaf as _leaf
from .handle import origin
from .leaf import FutureBase, LoopBase, Runnable

CancelledError = asyncio.CancelledError
InvalidStateError = asyncio.InvalidStateError

PENDING = 0
CANCELLED = 1
FINISHED = 2

# before 3.12 asyncio refuses it, from then on it wraps it
_REFUSES_STOP_ITERATION = sys.version_info < (3, 12)
# up to 3.14 a second __init__() does something
_MADE_ONCE = sys.version_info >= (3, 15)

_STATES = ('PENDING', 'CANCELLED', 'FINISHED')


class Listener:
    """Hears that a future is done, in the turn after it was settled."""

    __slots__ = ()

    def _done(self, future):
        raise NotImplementedError

    def _behind(self):
        """Whom it hears for: futures, or tasks that wait."""
        return ()


class Notice(Runnable):
    """The ready queue's entry for a Listener that was not the future's first waiter."""

    __slots__ = ('_future', '_listener')

    def _run(self, core):
        if core._published is not None:
            core._unpublish()
        self._listener._done(self._future)
        return 0


class Waiting:
    """How a waiter that is no callback shows in `Future._callbacks`, without the waiter's own repr, which may lead back
    to the future."""

    def __init__(self, waiter):
        self._who = waiter

    def __repr__(self):
        name = getattr(self._who, 'get_name', None)
        return f'<{type(self._who).__name__} waiting>' if name is None else f'<{name()} waiting>'


class Future(FutureBase):
    """A result that comes later. Not thread-safe. See asyncio.Future."""

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, *, loop=None):
        if loop is None:
            loop = asyncio.get_event_loop()
        self._attach(loop)
        if loop.get_debug():
            self._source_traceback = origin()

    def _attach(self, loop):
        if _MADE_ONCE and self._loop is not None:
            raise RuntimeError(f'{type(self).__name__} object is already initialized')
        self._loop = loop
        self._core = loop if isinstance(loop, LoopBase) else None
        return 0

    def __del__(self):
        if self._log_tb:
            self._report_unretrieved()

    def _report_unretrieved(self):
        self._log_tb = False
        context = {
            'message': f'{type(self).__name__} exception was never retrieved',
            'exception': self._error,
            'future': self,
        }
        if self._source_traceback:
            context['source_traceback'] = self._source_traceback
        self._loop.call_exception_handler(context)
        return 0

    # ---- seen by asyncio ----

    @property
    def __class__(self):
        return asyncio.Future

    @property
    def _asyncio_future_blocking(self):
        return self._blocking

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, value):
        self._blocking = value

    @_asyncio_future_blocking.deleter
    def _asyncio_future_blocking(self):
        raise AttributeError('cannot delete attribute')

    @property
    def _state(self):
        return _STATES[self._st]

    @property
    def _result(self):
        return self._value

    @property
    def _exception(self):
        return None if self._st == CANCELLED else self._error

    @property
    def _cancel_message(self):
        return self._message

    @_cancel_message.setter
    def _cancel_message(self, value):
        self._message = value

    @_cancel_message.deleter
    def _cancel_message(self):
        raise AttributeError('cannot delete attribute')

    @property
    def _callbacks(self):
        """Waiters in order: (callback, context), for introspection; None where there are none."""
        waiters = [] if self._waiter is None else [(Waiting(self._waiter), None)]
        if self._cbs is not None:
            for entry in self._cbs:
                waiters.append(entry if type(entry) is tuple else (Waiting(entry), None))
        return waiters or None

    @property
    def _asyncio_awaited_by(self):
        """The tasks that wait for it, for asyncio's call graphs; None where there are none."""
        return _awaiting(self) or None

    @property
    def _log_traceback(self):
        return self._log_tb

    @_log_traceback.setter
    def _log_traceback(self, value):
        if value:
            raise ValueError('_log_traceback can only be set to False')
        self._log_tb = False

    @_log_traceback.deleter
    def _log_traceback(self):
        raise AttributeError('cannot delete attribute')

    def __repr__(self):
        return f'<{type(self).__name__} {" ".join(base_futures._future_repr_info(self))}>'

    # ---- the public face ----

    def _check_made(self):
        if self._loop is None:
            raise RuntimeError('Future object is not initialized.')
        return 0

    def get_loop(self):
        """The event loop that the future belongs to."""
        self._check_made()
        return self._loop

    def done(self):
        """True once there is a result or an exception, or it was cancelled."""
        return self._st != PENDING

    def cancelled(self):
        """True if it was cancelled."""
        return self._st == CANCELLED

    def result(self):
        """The result. Raises the exception that was set, CancelledError, or InvalidStateError while pending."""
        if self._st == PENDING:
            raise InvalidStateError('Result is not ready.')
        error = self._failure()
        if error is not None:
            try:
                raise error
            finally:
                error = None  # no circle by way of this frame
        return self._value

    def exception(self):
        """The exception that was set, or None. Raises CancelledError, or InvalidStateError while pending."""
        if self._st == PENDING:
            raise InvalidStateError('Exception is not set.')
        if self._st == CANCELLED:
            raise self._cancelled_error()
        self._log_tb = False
        return self._error

    def set_result(self, result):
        """Settle with a result. Raises InvalidStateError if settled already."""
        if self._st != PENDING:
            raise InvalidStateError(f'{_STATES[self._st]}: {self!r}')
        self._check_made()
        self._finish(result)

    def set_exception(self, exception):
        """Settle with an exception (an instance, or a class to be called). Raises InvalidStateError if settled already,
        TypeError for StopIteration, which can't pass through an await (from Python 3.12 on it becomes the cause of a
        RuntimeError instead)."""
        if self._st != PENDING:
            raise InvalidStateError(f'{_STATES[self._st]}: {self!r}')
        self._check_made()
        if isinstance(exception, type):
            exception = exception()
        if isinstance(exception, StopIteration):
            if _REFUSES_STOP_ITERATION:
                raise TypeError('StopIteration interacts badly with generators and cannot be raised into a Future')
            error = RuntimeError('StopIteration interacts badly with generators and cannot be raised into a Future')
            error.__cause__ = exception
            error.__context__ = exception
            exception = error
        if not isinstance(exception, BaseException):
            raise TypeError(f'invalid exception object: {exception!r}')
        self._fail(exception)

    def cancel(self, msg=None):
        """Cancel; False if it is settled already."""
        self._check_made()
        return self._cancel(msg)

    def add_done_callback(self, fn, *, context=None):
        """Call fn(future) in the turn after it is settled (in the next turn if it is already)."""
        self._check_made()
        self._call_back(fn, _leaf.copy_context() if context is None else context)

    def remove_done_callback(self, fn):
        """Forget every registration of fn; returns how many there were."""
        self._check_made()
        if self._cbs is None:
            return 0
        removed = 0
        kept = []
        for entry in list(self._cbs):
            if type(entry) is tuple and entry[0] == fn:
                removed += 1
            else:
                kept.append(entry)
        if self._cbs is not None and removed:
            self._cbs = kept or None
        return removed

    def _make_cancelled_error(self):
        return self._cancelled_error()

    # ---- for the runtime ----

    def _cancelled_error(self):
        error = self._error
        if error is not None and self._st == CANCELLED:
            self._error = None
            return error
        return CancelledError() if self._message is None else CancelledError(self._message)

    def _failure(self):
        if self._st == CANCELLED:
            return self._cancelled_error()
        self._log_tb = False
        error = self._error
        if error is not None:
            error.__traceback__ = self._trace
        return error

    def _finish(self, value):
        self._value = value
        self._st = FINISHED
        return self._settled()

    def _fail(self, error):
        self._error = error
        self._trace = error.__traceback__
        self._log_tb = True
        self._st = FINISHED
        return self._settled()

    def _cancel(self, message):
        self._log_tb = False
        if self._st != PENDING:
            return False
        self._st = CANCELLED
        self._message = message
        self._settled()
        return True

    def _settled(self):
        core = self._core
        waiter = self._waiter
        if waiter is not None:
            if self._listened:
                core._push(self)
            else:
                self._waiter = None
                core._push(waiter)
        entries = self._cbs
        if entries is not None:
            self._cbs = None
            for entry in entries:
                if type(entry) is tuple:
                    if core is not None:
                        core._soon(entry[0], self, entry[1])
                    else:
                        self._loop.call_soon(entry[0], self, context=entry[1])
                elif isinstance(entry, Listener):
                    notice = Notice.__new__(Notice)
                    notice._future = self
                    notice._listener = entry
                    core._push(notice)
                else:
                    core._push(entry)
        return 0

    def _run(self, core):
        """In the ready queue a settled future stands for the Listener in its slot."""
        listener = self._waiter
        if listener is not None:
            self._waiter = None
            if core._published is not None:
                core._unpublish()
            listener._done(self)
        return 0

    def _wait(self, task):
        """A task of the same loop waits for this pending future."""
        if self._waiter is None and self._cbs is None:
            self._waiter = task
            self._listened = False
        elif self._cbs is None:
            self._cbs = [task]
        else:
            self._cbs.append(task)
        return 0

    def _listen(self, listener):
        """A Listener of the same loop hears of this future (in the next turn if it is settled already)."""
        if self._st != PENDING:
            notice = Notice.__new__(Notice)
            notice._future = self
            notice._listener = listener
            self._core._push(notice)
        elif self._waiter is None and self._cbs is None:
            self._waiter = listener
            self._listened = True
        elif self._cbs is None:
            self._cbs = [listener]
        else:
            self._cbs.append(listener)
        return 0

    def _unlisten(self, waiter):
        """Forget a Listener (or a task) that waits for this pending future."""
        if self._st != PENDING:
            return 0
        if self._waiter is waiter:
            self._waiter = None
        elif self._cbs is not None:
            self._cbs = [entry for entry in self._cbs if entry is not waiter] or None
        return 0

    def _waiters(self):
        """Who waits: futures and tasks (list)."""
        found = []
        if self._waiter is not None:
            found.extend(_who_waits(self._waiter))
        if self._cbs is not None:
            for entry in self._cbs:
                found.extend(_who_waits(entry))
        return found

    def _call_back(self, callback, context):
        if self._st != PENDING:
            if self._core is not None:
                return self._core._soon(callback, self, context)
            self._loop.call_soon(callback, self, context=context)
        elif self._cbs is None:
            self._cbs = [(callback, context)]
        else:
            self._cbs.append((callback, context))
        return 0


def _awaiting(future):
    """The tasks that wait for a future (set), also by way of gather(), wait() and the like."""
    tasks = set()
    futures = [future]
    known = {id(future)}
    while futures:
        future = futures.pop()
        if isinstance(future, Future):
            ours = future
            waiters = ours._waiters()
        else:
            waiters = getattr(future, '_asyncio_awaited_by', None) or ()
        for waiter in waiters:
            if isinstance(waiter, asyncio.Task):
                tasks.add(waiter)
            elif id(waiter) not in known:
                known.add(id(waiter))
                futures.append(waiter)
    return tasks


def _who_waits(entry):
    """The futures and tasks behind an entry of a future's list of waiters."""
    if isinstance(entry, Listener):
        listener = entry
        return listener._behind()
    if type(entry) is not tuple:
        return (entry,)
    # a callback: of a task of asyncio's, or of its TaskGroup
    owner = getattr(entry[0], '__self__', entry[0])
    if not isinstance(owner, asyncio.Task):
        owner = getattr(owner, '_parent_task', None)
    return () if owner is None else (owner,)


def new_future(core):
    """A pending future of a glassloop loop: what Future(loop=core) makes, without the checks."""
    future = Future.__new__(Future)
    future._loop = core
    future._core = core
    if core._debug:
        future._source_traceback = origin()
    return future


_leaf.recycle(Future)
