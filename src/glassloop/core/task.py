"""Task: drives a coroutine, one step per place in the ready queue.

The task itself stands in the ready queue: there is no handle per step. A step sends None into the coroutine inside the
task's context and looks at what came back:

- a pending future of the same loop: the task sits down in its waiter slot;
- None (a bare yield, sleep(0)): it goes to the end of the ready queue;
- a foreign future (asyncio's own, or any object that keeps the `_asyncio_future_blocking` protocol): a callback wakes it;
- a return or an exception: the task is settled;
- anything else is thrown back in as the RuntimeError that asyncio raises.

Invariants: a pending task is held strongly by its loop until it is done (asyncio holds it weakly, and loses tasks that
nobody else references). asyncio.current_task() names the task during its step; it is told only when the task changes,
and whatever is no task of ours withdraws it before it runs. Cancellation goes down a chain of awaiting tasks in a loop,
not by recursion.
"""
import asyncio
import threading
from asyncio import base_futures, base_tasks, coroutines
from contextvars import Context
from inspect import isgenerator

from . import leaf as _leaf
from . import visible
from .future import Future
from .handle import origin
from .leaf import LoopBase, Runnable

CancelledError = asyncio.CancelledError
InvalidStateError = asyncio.InvalidStateError

PENDING = 0
CANCELLED = 1
FINISHED = 2

_RETURNED = _leaf.RETURNED
_RAISED = _leaf.RAISED
_register = visible.register


class _Throw(Runnable):
    """The ready queue's entry for an exception to be thrown into a task."""

    __slots__ = ('_task', '_exception')

    def _run(self, core):
        return self._task._throw(core, self._exception)


class Task(Future):
    """A coroutine that runs on the loop. See asyncio.Task.

    coro: a coroutine (or an object with its face). loop: the event loop, the current one by default. name: any object,
    str() of which is the name. context: the contextvars.Context to run in, a copy of the current one by default.
    eager_start: run the first step at once; the loop must be running.
    """

    def __init__(self, coro, *, loop=None, name=None, context=None, eager_start=False):
        if loop is None:
            loop = asyncio.get_event_loop()
        self._attach(loop)
        if loop.get_debug():
            self._source_traceback = origin()
        if not asyncio.iscoroutine(coro):
            raise TypeError(f'a coroutine was expected, got {coro!r}')
        if not isinstance(loop, LoopBase):
            raise TypeError(f"a glassloop Task runs on a glassloop loop, got {loop!r}: use that loop's create_task()")
        self._setup(coro, name, context)
        core = self._core
        if eager_start and core._thread_id == threading.get_ident():
            self._start_eagerly(core)
        else:
            core._hold(self)
            core._push(self)

    def _setup(self, coro, name, context):
        if context is None:
            self._context = _leaf.copy_context()
        elif isinstance(context, Context):
            self._context = context
        else:
            raise TypeError(f'a contextvars.Context was expected, got {context!r}')
        self._coro = coro
        _leaf.track(coro)
        self._log_destroy_pending = True
        core = self._core
        # while the loop runs, to the last look at the clock: that costs nothing
        self._born = _leaf.ticks() if core._thread_id is None else core._polled
        if name is None:
            core._task_number += 1
            self._name = core._task_number
        else:
            self._name = str(name)
        if _register is not None:
            _register(self)
        return 0

    def __del__(self):
        if self._st == PENDING and self._log_destroy_pending:
            context = {'task': self, 'message': 'Task was destroyed but it is pending!'}
            if self._source_traceback:
                context['source_traceback'] = self._source_traceback
            self._loop.call_exception_handler(context)
        if self._log_tb:
            self._report_unretrieved()

    # ---- seen by asyncio and anyio ----

    @property
    def __class__(self):
        return asyncio.Task

    @property
    def _fut_waiter(self):
        return self._waits

    @property
    def _must_cancel(self):
        return self._must

    @property
    def _num_cancels_requested(self):
        return self._cancels

    def __repr__(self):
        return f'<{type(self).__name__} {" ".join(_describe(self))}>'

    # ---- the public face ----

    def get_coro(self):
        """The coroutine that the task drives."""
        return self._coro

    def get_context(self):
        """The contextvars.Context that the coroutine runs in."""
        return self._context

    def get_name(self):
        """The task's name (str)."""
        name = self._name
        if type(name) is int:
            name = self._name = f'Task-{name}'
        return name

    def set_name(self, value):
        """Rename the task to str(value)."""
        self._name = str(value)

    def set_result(self, result):
        """Not for tasks: raises RuntimeError."""
        raise RuntimeError('Task does not support set_result operation')

    def set_exception(self, exception):
        """Not for tasks: raises RuntimeError."""
        raise RuntimeError('Task does not support set_exception operation')

    def get_stack(self, *, limit=None):
        """The stack frames where the coroutine is suspended, or of its exception's traceback."""
        return base_tasks._task_get_stack(self, limit)

    def print_stack(self, *, limit=None, file=None):
        """Print the stack or traceback of the task (to sys.stderr by default)."""
        return base_tasks._task_print_stack(self, limit, file)

    def cancelling(self):
        """The number of cancellations requested and not taken back."""
        return self._cancels

    def uncancel(self):
        """Take back one request; at none, a cancellation that was not delivered yet is taken back as well. Returns the
        number that remains."""
        if self._cancels > 0:
            self._cancels -= 1
            if self._cancels == 0:
                self._must = False
        return self._cancels

    def cancel(self, msg=None):
        """Request cancellation: CancelledError is raised in the coroutine at its await. False if the task is done."""
        return self._cancel_task(msg)

    def _cancel_task(self, message):
        return self._cancel_down(message, None) is not False

    def _cancel_down(self, message, stop):
        """Cancel the task at the end of the chain of tasks that this one waits for. False if this one is done, else
        True; where that task waits for a future of the type `stop`: the task, and the caller has to cancel what it
        waits for."""
        task = mark = self
        steps = 0
        stretch = 16
        while True:
            task._log_tb = False
            if task._st != PENDING:
                return False
            task._cancels += 1
            waits = task._waits
            if waits is not None:
                if type(waits) is Task:
                    inner = waits
                    if inner._st == PENDING:
                        task = inner
                        if task is mark:
                            return task._break_cycle(message)
                        steps += 1
                        if steps == stretch:
                            mark = task
                            steps = 0
                            stretch += stretch
                        continue
                if type(waits) is stop:
                    return task
                if _leaf.cancel(waits, message):
                    return True
            # either not waiting, or what it waits for can't be cancelled any more: at the next step then
            task._must = True
            task._message = message
            return True

    def _break_cycle(self, message):
        """Tasks wait for one another in a circle: cancel it here, at a task that nothing else can wake."""
        waits = self._waits
        waits._unlisten(self)
        throw = _Throw.__new__(_Throw)
        throw._task = self
        throw._exception = CancelledError() if message is None else CancelledError(message)
        self._waits = None
        self._core._push(throw)
        return True

    # ---- a step ----

    def _run(self, core):
        if self._st != PENDING:
            if self._listened and self._waiter is not None:
                return Future._run(self, core)
            return self._stepped_when_done(core)
        if self._must:
            self._must = False
            return self._throw(core, self._cancellation())
        self._waits = None
        if core._published is not self:
            core._publish(self)
        return self._stepped(core, _leaf.step(core, self._context, self._coro))

    def _cancellation(self):
        """What to throw for a cancellation that came when the future waited for was settled already: its own
        CancelledError, if it ended with one."""
        if self._waits is not None:
            try:
                self._waits.result()
            except CancelledError as error:
                return error
            except BaseException:
                return self._cancelled_error()
        return self._cancelled_error()

    def _throw(self, core, exception):
        if self._st != PENDING:
            return 0
        if self._must:
            if not isinstance(exception, CancelledError):
                exception = self._cancelled_error()
            self._must = False
        self._waits = None
        if core._published is not self:
            core._publish(self)
        return self._stepped(core, _leaf.throw(core, self._context, self._coro, exception))

    def _stepped(self, core, res):
        if res is None:
            return core._push(self)
        if type(res) is Future or type(res) is Task:
            future = res
            if future._blocking and future._core is core and future is not self:
                future._blocking = False
                self._waits = future
                if future._st != PENDING:
                    core._push(self)
                elif future._waiter is None and future._cbs is None:
                    future._waiter = self
                    future._listened = False
                else:
                    future._wait(self)
                if self._must and future.cancel(msg=self._message):
                    self._must = False
                return 0
        elif res is _RETURNED:
            return self._ended(core, core._take())
        elif res is _RAISED:
            return self._broke(core, core._take())
        return self._wait_foreign(core, res)

    def _ended(self, core, value):
        core._release(self)
        if self._must:
            self._must = False
            self._cancel(self._message)
            return 0
        return self._finish(value)

    def _broke(self, core, error):
        core._release(self)
        if isinstance(error, CancelledError):
            self._error = error
            self._cancel(self._message)
            return 0
        self._fail(error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        return 0

    def _wait_foreign(self, core, res):
        blocking = getattr(res, '_asyncio_future_blocking', None)
        if blocking is None:
            if isgenerator(res):
                return self._reject(core, f'yield was used instead of yield from for generator in task {self!r} '
                                          f'with {res!r}')
            return self._reject(core, f'Task got bad yield: {res!r}')
        if asyncio.futures._get_loop(res) is not self._loop:
            return self._reject(core, f'Task {self!r} got Future {res!r} attached to a different loop')
        if not blocking:
            return self._reject(core, f'yield was used instead of yield from in task {self!r} with {res!r}')
        if res is self:
            return self._reject(core, f'Task cannot await on itself: {self!r}')
        res._asyncio_future_blocking = False
        # the callback runs in a context of its own: the step enters the task's
        res.add_done_callback(self._wakeup, context=_leaf.copy_context())
        self._waits = res
        if self._must and res.cancel(msg=self._message):
            self._must = False
        return 0

    def _reject(self, core, message):
        throw = _Throw.__new__(_Throw)
        throw._task = self
        throw._exception = RuntimeError(message)
        return core._push(throw)

    def _wakeup(self, future):
        """A foreign future is done: step now, as asyncio's tasks do."""
        if self._st == PENDING:
            self._run(self._core)
        else:
            self._stepped_when_done(self._core)

    def _stepped_when_done(self, core):
        """Somebody settled the task from outside (Future.set_result(task, ...)) while its coroutine was not finished."""
        core._release(self)
        error = InvalidStateError(f'_step(): already done: {self!r}')
        core.call_exception_handler({'message': 'Exception in a step of a task', 'exception': error, 'task': self})
        return 0

    def _start_eagerly(self, core):
        core._hold(self)
        before = core._swap_published(self)
        try:
            self._stepped(core, _leaf.step(core, self._context, self._coro))
        finally:
            core._swap_published(before)
        return 0


def _describe(task):
    info = base_futures._future_repr_info(task)
    if task._cancels and task._st == PENDING:
        info[0] = 'cancelling'
    info.insert(1, f'name={task.get_name()!r}')
    if task._coro is not None:
        info.insert(2, f'coro=<{coroutines._format_coroutine(task._coro)}>')
    if task._waits is not None:
        # not the whole chain of tasks that wait for one another, which may be long
        waits = f'<Task {task._waits.get_name()!r}>' if type(task._waits) is Task else repr(task._waits)
        info.insert(3, f'wait_for={waits}')
    return info


def new_task(core, coro, name, context):
    """A task of a glassloop loop, not started yet: what Task(coro, loop=core) makes, without the checks."""
    task = Task.__new__(Task)
    task._loop = core
    task._core = core
    task._setup(coro, name, context)
    if core._debug:
        task._source_traceback = origin()
    return task


def age_of(task):
    """Seconds since the task was made (float), to within a turn of its loop; None for a task that isn't glassloop's. May
    be asked for from any thread."""
    if not issubclass(type(task), Task):
        return None
    ours = task
    core = ours._core
    if core is None:
        return None
    ticks = _leaf.ticks()
    seconds = _leaf.now() - core._first_time
    life = ticks - core._first_ticks
    return seconds * (ticks - ours._born) / life if life else 0.0


_leaf.recycle(Task)
