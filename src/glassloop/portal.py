"""The blocking portal: a loop in a thread of its own, for synchronous programs.

    with glassloop.start_blocking_portal() as portal:
        page = portal.call(fetch, url)              # waits, and returns what fetch() returns
        future = portal.submit(fetch, url)          # a concurrent.futures.Future
        portal.spawn(log, 'started')                # nobody waits; what goes wrong is reported

The names are anyio's. Each of these is a job: made by some thread, begun and ended in the loop. Two rules keep any job
from being lost, also where the portal stops at the same moment:

- A job enters `_jobs` before it is given to the loop, and leaves it when it ends, in the loop's thread. What is left
  there when the loop is closed was never begun: it fails then.
- A portal that stops refuses jobs that have not begun, and ends when `_jobs` is empty.

A caller waits on a bare lock, which its job opens: a concurrent.futures.Future with its Condition costs more than the
rest of a call. The lock can be interrupted by signals, hence Ctrl-C.

The thread is a daemon, so that a portal that nobody closed can't keep the interpreter from ending: at exit it is
stopped, its jobs are cancelled, and it is given EXIT_SECONDS to end.

Not here: what the loop does when it is closed (runner.py).
"""
from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import inspect
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar, TypeVarTuple, overload

from .runner import LoopFactory, Runner
from .snapshot import TaskInfo, snapshot

__all__ = ('BlockingPortal', 'start_blocking_portal')

T = TypeVar('T')
Args = TypeVarTuple('Args')

#: how long the interpreter's end waits for a portal that was never closed, in seconds
EXIT_SECONDS = 5.0

CancelledError = concurrent.futures.CancelledError


class _Job:
    """A function on its way to the loop, and back. All but __init__ and cancel() is called in the loop's thread."""

    __slots__ = ('_portal', '_function', '_args', '_context', '_task', '_withdrawn')

    def __init__(self, portal: BlockingPortal, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._portal = portal
        self._function: Callable[..., Any] | None = function
        self._args: tuple[Any, ...] = args
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None
        self._withdrawn = False

    def _begin(self) -> None:
        portal = self._portal
        function, args = self._function, self._args
        if function is None:
            return  # it was cancelled before
        self._function, self._args = None, ()
        if self._withdrawn:
            return self._end(None, CancelledError())
        if portal._stopping:
            return self._end(None, _not_running())
        try:
            result = function(*args)
            if not asyncio.iscoroutine(result):
                if not inspect.isawaitable(result):
                    return self._end(result, None)
                result = _wait_for(result)
            self._task = portal._loop.create_task(result, context=self._context)
        except BaseException as error:
            return self._end(None, error)  # the caller's, whatever it is
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return self._end(None, CancelledError())
        error = task.exception()
        self._end(None if error is not None else task.result(), error)

    def cancel(self) -> None:
        """For any thread. A job that has not begun never will."""
        self._withdrawn = True
        self._portal._tell(self._withdraw)

    def _withdraw(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self._function is not None:
            self._function, self._args = None, ()
            self._end(None, CancelledError())

    def _end(self, value: Any, error: BaseException | None) -> None:
        portal = self._portal
        if self not in portal._jobs:
            return
        portal._jobs.discard(self)
        self._task = None
        try:
            self._deliver(value, error)
        finally:
            if portal._stopping and not portal._jobs:
                portal._loop.stop()
            del error  # no circle by way of this frame, which it holds

    def _deliver(self, value: Any, error: BaseException | None) -> None:
        raise NotImplementedError


class _Call(_Job):
    """Somebody waits for it at the gate, a lock that is open when it is over."""

    __slots__ = ('gate', 'over', 'value', 'error')

    def __init__(self, portal: BlockingPortal, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__(portal, function, args)
        self.gate = threading.Lock()
        self.gate.acquire()
        self.over = False
        self.value: Any = None
        self.error: BaseException | None = None

    def _deliver(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error
        self.over = True
        self.gate.release()


class _Submitted(_Job):
    __slots__ = ('future',)

    def __init__(self, portal: BlockingPortal, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__(portal, function, args)
        self.future: concurrent.futures.Future[Any] | None = concurrent.futures.Future()

    def _heard(self, future: concurrent.futures.Future[Any]) -> None:
        """The future is done: if somebody cancelled it, so is the job. Called in any thread."""
        if future.cancelled():
            self.cancel()

    def _deliver(self, value: Any, error: BaseException | None) -> None:
        future, self.future = self.future, None  # which keeps this job among its callbacks
        assert future is not None
        if isinstance(error, CancelledError):
            future.cancel()
        if not future.set_running_or_notify_cancel():
            if error is not None and not isinstance(error, CancelledError):
                self._portal._loop.call_exception_handler({
                    'message': 'A job failed after its future was cancelled', 'exception': error})
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)


class _Spawned(_Job):
    __slots__ = ('place',)

    def __init__(self, portal: BlockingPortal, function: Callable[..., Any], args: tuple[Any, ...], place: str) -> None:
        super().__init__(portal, function, args)
        self.place = place

    def _deliver(self, value: Any, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, CancelledError):
            self._portal._loop.call_exception_handler({
                'message': f'Exception in the task spawned at {self.place}', 'exception': error})


class BlockingPortal:
    """A loop in a thread of its own, and the way in. Made by start_blocking_portal(); usable within its block, by any
    number of threads.

    The end of the block waits for the jobs that run. If an exception ends it they are cancelled, and waited for. Tasks
    that jobs have started and left behind are cancelled in both cases, as at the end of run().
    """

    def __init__(self, *, name: str | None = None, debug: bool | None = None,
                 loop_factory: LoopFactory | None = None) -> None:
        self._debug = debug
        self._loop_factory = loop_factory
        self._loop: Any = None
        self._jobs: set[_Job] = set()
        self._stopping = False
        self._exiting = False
        self._failure: BaseException | None = None
        self._pid = 0
        self._ident: int | None = None
        self._started = threading.Event()
        # Thread.join() that is interrupted takes the thread for ended, before Python 3.13
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name or 'glassloop-portal', daemon=True)

    # ---- its life ----

    def __enter__(self) -> BlockingPortal:
        """Start the thread and its loop. Raises what loop_factory raises, RuntimeError if it was started before."""
        if self._pid:
            raise RuntimeError('a portal can be entered only once')
        self._pid = os.getpid()
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            try:
                raise self._failure
            finally:
                self._failure = None
        atexit.register(self._at_exit)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                 tb: TracebackType | None) -> None:
        if self._pid != os.getpid():
            return  # a child of fork(): the loop and its thread are the parent's
        try:
            self.stop(cancel_remaining=exc is not None)
            self._ended.wait()
        except BaseException:
            # Ctrl-C: don't wait for what runs, but for its cancellation. A second one leaves at once.
            self.stop(cancel_remaining=True)
            self._ended.wait()
            raise
        finally:
            if self._ended.is_set():
                self._thread.join()
                atexit.unregister(self._at_exit)

    def stop(self, *, cancel_remaining: bool = False) -> None:
        """Take no more jobs, and end when those that run have ended; cancel_remaining: cancel them. Does not wait: the
        end of the block does. May be called from any thread, and more than once."""
        self._check_process()
        self._tell(self._stop, cancel_remaining)

    def _stop(self, cancel: bool) -> None:
        self._stopping = True
        if cancel:
            for job in list(self._jobs):
                job._withdraw()
        if not self._jobs:
            self._loop.stop()

    def _run(self) -> None:
        try:
            self._live()
        finally:
            self._ended.set()

    def _live(self) -> None:
        self._ident = threading.get_ident()
        try:
            runner = Runner(debug=self._debug, loop_factory=self._loop_factory)
            self._loop = runner.get_loop()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._started.set()
        try:
            with runner:
                self._run_loop()
        except RuntimeError:
            # The interpreter ends: from Python 3.12 on there can be no thread that waits for the executor's. They have
            # ended, and the loop is closed.
            if not self._exiting:
                raise
        finally:
            for job in list(self._jobs):
                job._end(None, _not_running())

    def _run_loop(self) -> None:
        while not (self._stopping and not self._jobs):
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # Raised by a task, which keeps it for who waits. It ends a loop, but not the other callers' one.
                continue

    def _at_exit(self) -> None:
        """The interpreter ends, and the portal was never closed."""
        if self._pid != os.getpid():
            return
        self._exiting = True
        self.stop(cancel_remaining=True)
        if not self._ended.wait(EXIT_SECONDS):
            from .stopping import report

            report(f'{self._thread.name!r} was never closed, and did not end within {EXIT_SECONDS:g} s of its '
                   f'cancellation', self._loop, self._ident)

    # ---- the way in ----

    @overload
    def call(self, function: Callable[[*Args], Awaitable[T]], /, *args: *Args) -> T: ...
    @overload
    def call(self, function: Callable[[*Args], T], /, *args: *Args) -> T: ...

    def call(self, function: Callable[[*Args], Any], /, *args: *Args) -> Any:
        """Call function(*args) in the loop, await what it returns if that can be awaited, and return the result.

        It runs in a copy of the caller's context. Raises what it raises; concurrent.futures.CancelledError if its task
        was cancelled; RuntimeError if the portal isn't running, in the loop's own thread (it would wait for itself), and
        in a child of fork(). If an exception gets the caller out of the wait (Ctrl-C: KeyboardInterrupt) the call is
        cancelled and waited for, then the exception goes on; a second one goes on at once.
        """
        if threading.get_ident() == self._ident:
            raise RuntimeError("a portal can't be called from its own loop's thread, which would wait for itself: "
                               'await the coroutine there')
        call = _Call(self, function, args)
        try:
            self._send(call)
            call.gate.acquire()
        except BaseException as interruption:
            if call in self._jobs:
                call.cancel()
                if not call.over:
                    call.gate.acquire()
            if call.error is not None and not isinstance(call.error, CancelledError):
                interruption.__context__ = call.error
            raise
        error = call.error
        if error is not None:
            call.error = None
            try:
                raise error
            finally:
                del error, call  # no circle by way of this frame, which the exception holds
        return call.value

    @overload
    def submit(self, function: Callable[[*Args], Awaitable[T]], /, *args: *Args) -> concurrent.futures.Future[T]: ...
    @overload
    def submit(self, function: Callable[[*Args], T], /, *args: *Args) -> concurrent.futures.Future[T]: ...

    def submit(self, function: Callable[[*Args], Any], /, *args: *Args) -> concurrent.futures.Future[Any]:
        """call() that doesn't wait: a future of the result. Cancelling the future cancels the task, and the other way
        round. Raises RuntimeError if the portal isn't running, and in a child of fork()."""
        job = _Submitted(self, function, args)
        future = job.future
        assert future is not None
        self._send(job)
        future.add_done_callback(job._heard)
        return future

    def spawn(self, function: Callable[[*Args], object], /, *args: *Args) -> None:
        """Call function(*args) in the loop, and await what it returns if that can be awaited; nobody waits for it. An
        exception goes to the loop's exception handler, with the place that spawned it. Raises as submit() does."""
        caller = sys._getframe(1)
        place = f'{caller.f_code.co_filename}:{caller.f_lineno}, in {caller.f_code.co_qualname}'
        self._send(_Spawned(self, function, args, place))

    def tasks(self) -> list[TaskInfo]:
        """What the tasks of the loop are doing at this moment, the oldest first; also while the loop hangs. Raises
        RuntimeError if the portal isn't running, and in a child of fork()."""
        self._check_process()
        if self._loop is None:
            raise _not_running()
        return snapshot(self._loop)

    # ---- jobs on their way to the loop ----

    def _send(self, job: _Job) -> None:
        if self._stopping or self._loop is None or self._pid != os.getpid():
            self._check_process()
            raise _not_running()
        try:
            self._jobs.add(job)
            self._loop.call_soon_threadsafe(job._begin, context=job._context)
        except BaseException as error:
            if isinstance(error, RuntimeError) and self._loop.is_closed():
                self._jobs.discard(job)
                raise _not_running() from None
            job.cancel()  # Ctrl-C: it may be on its way already
            raise

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        """Call it in the loop, if there still is one."""
        if self._loop is None:
            raise _not_running()
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _check_process(self) -> None:
        if self._pid and self._pid != os.getpid():
            raise RuntimeError("the portal belongs to the parent process: its thread doesn't exist in a child of fork(); "
                               'start one here')


def _not_running() -> RuntimeError:
    return RuntimeError('the portal is not running')


async def _wait_for(awaitable: Awaitable[T]) -> T:
    return await awaitable


def start_blocking_portal(*, name: str | None = None, debug: bool | None = None,
                          loop_factory: LoopFactory | None = None) -> BlockingPortal:
    """A context manager: a loop that runs in a thread of its own within the block, and the BlockingPortal to it.

    name: the thread's. debug, loop_factory: as Runner takes them.
    """
    return BlockingPortal(name=name, debug=debug, loop_factory=loop_factory)
