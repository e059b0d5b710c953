"""Blocking calls on threads: run_in_executor(), to_thread(), and a loop's default executor.

A job's two futures are tied together here: the executor's (concurrent.futures) and the loop's. When the job ends,
its worker puts one entry in the loop's ready queue and wakes the loop if it sleeps; that entry settles the loop's
future. When the loop's future is cancelled first, the job is cancelled if no worker has begun it; one that was begun
runs to its end, and what it gives is dropped. A job that raises StopIteration, which no future can hold, gives a
RuntimeError.

Any Executor will do; the default one is a ThreadPoolExecutor, made by the first job that needs it. Name lookups
don't run here (see net/resolve.py). After close() no worker touches the loop.
"""
from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ..core import future as _future
from ..core import leaf as _leaf
from ..core.future import Listener
from ..core.leaf import Op, Runnable

P = ParamSpec('P')
T = TypeVar('T')

CancelledByExecutor = concurrent.futures.CancelledError


class _Withdrawal(Listener):
    """Hears that the loop's future is done: if it was cancelled, so is the job."""

    __slots__ = ('_source',)

    def _done(self, future):
        if future.cancelled():
            self._source.cancel()
        return 0


class _Arrival(Runnable):
    """The executor calls it when the job is done. It takes a place in the ready queue and settles the loop's
    future."""

    __slots__ = ('_future', '_loop', '_source', '_withdrawal')

    def __call__(self, source):
        loop = self._loop
        if loop._closed:
            self._take()
            return
        loop._push(self)
        if loop._asleep:
            loop._asleep = False
            loop._waker.wake()

    def _take(self):
        """(the loop's future, the executor's, the withdrawal). The executor's future keeps this object, which is not to
        keep it too: a result or an exception would be left to the collector."""
        parts = self._future, self._source, self._withdrawal
        self._future = self._source = self._withdrawal = None
        return parts

    def _run(self, core):
        future, source, withdrawal = self._take()
        if future._st != 0:
            return 0
        future._unlisten(withdrawal)
        try:
            error = source.exception()
        except CancelledByExecutor:
            future._cancel(None)
            return 0
        if error is None:
            return future._finish(source.result())
        return future._fail(_as_ours(error))


def _as_ours(error):
    """An exception of concurrent.futures as asyncio's of the same name; a StopIteration as what a coroutine makes of
    it."""
    if isinstance(error, StopIteration):
        wrapped = RuntimeError('the function raised StopIteration')
        wrapped.__cause__ = error
        return wrapped
    if type(error) is CancelledByExecutor:
        return asyncio.CancelledError(*error.args)
    if type(error) is concurrent.futures.InvalidStateError:
        return asyncio.InvalidStateError(*error.args)
    return error


def _awaitable(loop, source):
    """A future of the loop for one of concurrent.futures."""
    if asyncio.isfuture(source):
        return source
    if not isinstance(source, concurrent.futures.Future):
        raise TypeError(f'concurrent.futures.Future is expected from an executor, got {source!r}')
    future = _future.new_future(loop)
    withdrawal = _Withdrawal.__new__(_Withdrawal)
    withdrawal._source = source
    future._listen(withdrawal)
    arrival = _Arrival.__new__(_Arrival)
    arrival._loop = loop
    arrival._future = future
    arrival._source = source
    arrival._withdrawal = withdrawal
    source.add_done_callback(arrival)
    return future


class Executors:
    """The executors of one loop."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._default: concurrent.futures.ThreadPoolExecutor | None = None
        self._shut = False

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run func(*args) in the executor, None: the default one. Raises RuntimeError if it was shut down, and in
        debug mode TypeError for a coroutine function."""
        loop = self._loop
        if loop._debug:
            loop._check_callback(func, 'run_in_executor')
        if executor is None:
            if self._shut:
                raise RuntimeError('Executor shutdown has been called')
            executor = self._default
            if executor is None:
                executor = self._default = concurrent.futures.ThreadPoolExecutor(thread_name_prefix='asyncio')
        future: asyncio.Future[T] = _awaitable(loop, executor.submit(func, *args))
        return future

    def set_default_executor(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:
        """Use this one from now on. Raises TypeError unless it is a ThreadPoolExecutor."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError('executor must be ThreadPoolExecutor instance')
        self._default = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Take no more jobs, and wait until the threads have ended; up to `timeout` seconds, then a RuntimeWarning
        tells that some have not."""
        self._shut = True
        executor = self._default
        if executor is None:
            return
        ended = self._loop.create_future()
        thread = threading.Thread(target=_shut_down, args=(self._loop, executor, ended))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            # asyncio's words: programs filter the warning by them
            warnings.warn(f'The executor did not finishing joining its threads within {timeout} seconds.',
                          RuntimeWarning, stacklevel=2)
            executor.shutdown(wait=False)
        else:
            thread.join()

    def close(self) -> None:
        """Take no more jobs; wait for none."""
        self._shut = True
        executor = self._default
        if executor is not None:
            self._default = None
            executor.shutdown(wait=False)


def _shut_down(loop, executor, ended):
    error = None
    try:
        executor.shutdown(wait=True)
    except Exception as e:
        error = e
    try:
        loop.call_soon_threadsafe(_settle, ended, error)
    except RuntimeError:
        if not loop.is_closed():
            raise
        # nobody waits any more


def _settle(future, error):
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class to_thread_call(Op):
    """What to_thread() returns."""

    __slots__ = ('_func', '_args', '_kwargs')

    def _begin(self):
        loop = asyncio.get_running_loop()
        job = functools.partial(_leaf.copy_context().run, self._func, *self._args, **self._kwargs)
        self._func = self._args = self._kwargs = None
        return loop.run_in_executor(None, job)


def to_thread(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
    """func(*args, **kwargs) in a thread of the default executor, in a copy of the current context. Coroutine: what
    it returns or raises. RuntimeError if no loop runs."""
    call: Coroutine[Any, Any, T] = _thread_call(func, args, kwargs)
    return call


def _thread_call(func, args, kwargs):
    op = to_thread_call.__new__(to_thread_call)
    op._func = func
    op._args = args
    op._kwargs = kwargs
    return op
