"""CPU-bound work on this machine's other cores: to_process(), ProcessPool.

A pool has up to `max_workers` worker processes, started when they are needed and kept warm. A call goes to an idle worker,
the one used last, whose caches are warm; else to a new one; else it waits in line, first come, first served. So there is
never more than one job in a worker: what a crash or a cancellation ends is one job.

Its invariants:
- while somebody waits in line no worker is idle, and there are as many as there may be;
- a call is pickled when it has its worker: what waits in line costs no memory, and leaves the line without a trace;
- a worker that is killed counts no more from then on: another may be started before it has ended. All are waited for
  in the end: aclose() returns when none is left, not even as a zombie.

A pool belongs to the loop in which it is first used. It is for glassloop's loops, which close what is left of it when they
are closed, and let go of it in a forked child.

Not here: a worker's channel and its end (workerprocess.py), what runs in it (worker.py), how things travel (carry.py).
"""
from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from . import carry, variables
from .children import Children
from .progress import report_progress as report_progress
from .workerprocess import BROKEN, NEVER_BEGUN, Job, WorkerProcess, ending_of, name_of

P = ParamSpec('P')
T = TypeVar('T')

#: how long to_process() keeps an idle worker (seconds)
KEEP = 300.0
#: how long a worker may take for its atexit functions before it is killed (seconds)
LAST_WORDS = 5.0
#: from this size on a letter is written into shared memory by a thread (bytes)
BY_THREAD = 1 << 22


class BrokenWorkerProcess(RuntimeError):
    """The worker process ended while it ran the job: by a signal (a segmentation fault, the kernel out of memory), by
    os._exit(). The job isn't run again; the pool goes on with another worker.

    `function`: its name; `pid`: of the worker; `returncode`: its exit code, or -N after signal N. None where not known."""

    function: str | None = None
    pid: int | None = None
    returncode: int | None = None


class ProcessPool:
    """Worker processes for CPU-bound functions.

        async with ProcessPool() as pool:
            result = await pool.run(function, argument)

    max_workers: how many at most; by default one for each core that this process may use. max_tasks_per_worker: a
    worker ends after that many jobs, and another takes its place. idle_timeout: a worker with nothing to do ends after
    that many seconds; None: never. Raises ValueError for numbers that aren't positive.

    A normal end of the block waits for the jobs in flight and in line; an exception cancels them.
    """

    def __init__(self, max_workers: int | None = None, *, max_tasks_per_worker: int | None = None,
                 idle_timeout: float | None = None) -> None:
        self.limit = _cores() if max_workers is None else max_workers
        for name, value in (('max_workers', self.limit), ('max_tasks_per_worker', max_tasks_per_worker)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f'{name} must be a positive number, not {value!r}')
        if idle_timeout is not None and not idle_timeout > 0:
            raise ValueError(f'idle_timeout must be positive (seconds), not {idle_timeout!r}')
        self._max_tasks = max_tasks_per_worker
        self._idle_timeout = idle_timeout
        self._loop: Any = None
        self._closing = False
        self._cancelled = False
        self._idle: list[WorkerProcess] = []
        self._workers: set[WorkerProcess] = set()  # that may get jobs
        self._leaving: set[WorkerProcess] = set()  # that have not ended yet
        self._line: OrderedDict[asyncio.Future[WorkerProcess], None] = OrderedDict()
        self._jobs = 0
        self._calm: asyncio.Future[None] | None = None  # who waits until there are no jobs
        self._writing: set[asyncio.Future[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self._children: Children

    def __repr__(self) -> str:
        state = ' closed' if self._closing else ''
        return (f'<{type(self).__name__}{state} limit={self.limit} workers={len(self._workers)} idle={len(self._idle)} '
                f'waiting={len(self._line)}>')

    async def __aenter__(self) -> ProcessPool:
        self._bind()
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self._cancel_all()
        await self.aclose()

    # ---- calls ----

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """fn(*args, **kwargs) in a worker process. Coroutine: what it returns or raises; see submit()."""
        return self.submit(fn, args, kwargs)

    async def submit(self, fn: Callable[..., T], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, *,
                     on_progress: Callable[[Any], object] | None = None) -> T:
        """fn(*args, **kwargs) in a worker process: what it returns or raises.

        The function and its arguments are pickled when there is a worker for them; they must not be changed until the job is
        done. Lambdas, closures and what __main__ defines need cloudpickle (pip install glassloop[offload]). Large buffers
        (NumPy arrays) travel through shared memory; arrays come as they were, also writable ones.

        The job runs in the worker's main thread. Its context has the values of the caller's context variables, except those
        that can't be pickled and those whose variable is no attribute of a module; what it sets there is not seen here.

        on_progress(value) is called here, in the caller's context, for each report_progress(value) in the job. It should be
        quick: until it returns nothing else runs in this loop, and a job that reports more waits. What it raises goes to the
        loop's exception handler.

        Cancelling kills the worker if the job has one (it is not running any more when CancelledError arrives), no other.

        Raises what fn raises, with the worker's traceback as a note; BrokenWorkerProcess if the worker ended;
        pickle.PicklingError if the call or the result can't be pickled, pickle.UnpicklingError if it can't be
        unpickled on the other side; RuntimeError after aclose(), in another loop, and for an exception that can't be
        pickled; OSError if no process can be started."""
        if self._closing:
            raise RuntimeError(f'{self!r} takes no more jobs')
        if asyncio._get_running_loop() is not self._loop:
            self._bind()
        if on_progress is not None and (not callable(on_progress) or inspect.iscoroutinefunction(on_progress)):
            raise TypeError(f'on_progress must be a plain function, not {on_progress!r}')
        self._jobs += 1
        try:
            worker = self._idle.pop() if self._idle else await self._next_worker()
            kind, answer, buffers = await self._have_it_done(worker, fn, args, kwargs, on_progress)
            while kind == NEVER_BEGUN:
                worker = self._idle.pop() if self._idle else await self._next_worker(True)
                kind, answer, buffers = await self._have_it_done(worker, fn, args, kwargs, on_progress)
        finally:
            self._jobs -= 1
            if not self._jobs and self._calm is not None and not self._calm.done():
                self._calm.set_result(None)
        if kind == BROKEN:
            raise _broken(fn, answer)
        result: T = unpacked(fn, kind, answer, buffers)
        return result

    async def _have_it_done(self, worker: WorkerProcess, fn: Any, args: Any, kwargs: Any, on_progress: Any) -> Any:
        """By this worker, which is ours: a job's outcome. The worker is free again afterwards, or has ended."""
        if self._cancelled:
            self._free(worker)
            raise asyncio.CancelledError
        job = Job(fn, self._loop.create_future(), on_progress, copy_context() if on_progress else None)
        letter = None
        try:
            letter = packed(fn, args, kwargs, on_progress is not None)
            if letter.total() > BY_THREAD:
                await self._share(letter)
            worker.send(job, letter)
        except BaseException:
            if letter is not None:
                letter.close()
            self._free(worker)
            raise
        letter = None  # its pickle may be large
        try:
            return await job.outcome
        except BaseException as error:
            if worker.job is job:
                worker.job = None
                self._discard(worker)
                worker.kill()
                self._fill()
                if not isinstance(error, GeneratorExit):
                    await worker.wait()
            raise

    async def _share(self, letter: carry.Letter) -> None:
        """Write a large letter into shared memory, while the loop does something else."""
        loop = self._loop
        written = loop.create_future()

        def write() -> None:
            error = None
            try:
                letter.share()
            except Exception as e:
                error = e
            try:
                loop.call_soon_threadsafe(settle, error)
            except RuntimeError:
                letter.close()  # the loop was closed

        def settle(error: Exception | None) -> None:
            if written.done():
                letter.close()  # cancelled meanwhile
            elif error is not None:
                written.set_exception(error)
            else:
                written.set_result(None)

        self._writing.add(written)
        try:
            threading.Thread(target=write, name='glassloop: a large argument', daemon=True).start()
            await written
        finally:
            self._writing.discard(written)

    # ---- workers ----

    async def _next_worker(self, first: bool = False) -> WorkerProcess:
        """When it's our turn. first: before the others, for a job that had its turn already."""
        if len(self._workers) < self.limit:
            return self._hire()
        place: asyncio.Future[WorkerProcess] = self._loop.create_future()
        self._line[place] = None
        if first:
            self._line.move_to_end(place, last=False)
        try:
            return await place
        except BaseException:
            self._line.pop(place, None)
            if place.done() and not place.cancelled() and place.exception() is None:
                self._free(place.result())
            raise

    def _hire(self) -> WorkerProcess:
        worker = WorkerProcess(self, self._loop)
        self._workers.add(worker)
        return worker

    def _free(self, worker: WorkerProcess) -> None:
        """A worker has nothing to do."""
        if worker not in self._workers:
            return
        if self._max_tasks is not None and worker.done >= self._max_tasks:
            self._retire(worker)
            self._fill()
            return
        line = self._line
        while line:
            place, _ = line.popitem(last=False)
            if not place.done():
                place.set_result(worker)
                return
        self._idle.append(worker)
        if self._idle_timeout is not None:
            worker.idle_since = self._loop.time()
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(self._idle_timeout, self._sweep)

    def _hung_up(self, worker: WorkerProcess) -> None:
        """The channel has ended, and the process will: if it does not by itself, it is killed."""
        self._discard(worker)
        self._hurry(worker)
        self._fill()

    def _ended(self, worker: WorkerProcess) -> None:
        """A worker process is no more."""
        self._discard(worker)
        self._leaving.discard(worker)
        if worker.patience is not None:
            worker.patience.cancel()
        if self._over is not None and not self._leaving and not self._over.done():
            self._over.set_result(None)
        self._fill()

    def _retire(self, worker: WorkerProcess) -> None:
        self._discard(worker)
        worker.retire()
        self._hurry(worker)

    def _hurry(self, worker: WorkerProcess) -> None:
        """It has so much time to end."""
        if worker.patience is None:
            worker.patience = self._loop.call_later(LAST_WORDS, worker.kill)

    def _discard(self, worker: WorkerProcess) -> None:
        """It gets no more jobs."""
        if worker in self._workers:
            self._workers.discard(worker)
            self._leaving.add(worker)
            if worker in self._idle:
                self._idle.remove(worker)

    def _fill(self) -> None:
        """New workers for those who wait."""
        while self._line and len(self._workers) < self.limit:
            place, _ = self._line.popitem(last=False)
            if place.done():
                continue
            try:
                place.set_result(self._hire())
            except Exception as error:
                place.set_exception(error)

    def _sweep(self) -> None:
        """Let those end that have been idle for too long."""
        self._sweeping = None
        assert self._idle_timeout is not None
        now = self._loop.time()
        for worker in list(self._idle):
            if worker.idle_since + self._idle_timeout <= now:
                self._retire(worker)
        if self._idle:
            first = min(worker.idle_since for worker in self._idle)
            self._sweeping = self._loop.call_later(max(0.0, first + self._idle_timeout - now), self._sweep)

    # ---- the end ----

    async def aclose(self) -> None:
        """Take no more jobs, wait for those in flight and in line, and until all workers have ended. If this is cancelled
        the jobs are, too. Calling it again waits for the same."""
        self._closing = True
        loop: Any = self._loop
        if loop is None:
            return
        self._bind()
        try:
            if self._jobs:
                if self._calm is None or self._calm.done():
                    self._calm = loop.create_future()
                await asyncio.shield(self._calm)
            for worker in list(self._workers):
                self._retire(worker)
            await self._wait_for_all()
        except BaseException:
            self._cancel_all()
            for worker in list(self._workers):
                self._discard(worker)
            for worker in self._leaving:
                worker.kill()
            await self._wait_for_all()
            raise
        finally:
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweeping = None
            if not self._leaving:
                loop._processes.pools.discard(self)

    async def _wait_for_all(self) -> None:
        while self._leaving:
            if self._over is None or self._over.done():
                self._over = self._loop.create_future()
            await asyncio.shield(self._over)

    def _cancel_all(self) -> None:
        """All calls end by CancelledError, in line or not."""
        self._closing = self._cancelled = True
        for worker in self._workers | self._leaving:
            if worker.job is not None:
                worker.job.outcome.cancel()
        for place in self._line:
            place.cancel()
        self._line.clear()
        for written in self._writing:
            written.cancel()

    def _close_now(self) -> None:
        """The loop is closed: jobs are killed, idle workers end as they should. All are waited for."""
        self._closing = True
        workers = self._workers | self._leaving
        for worker in workers:
            if worker.job is None:
                worker.retire()
            else:
                worker.kill()
        end = time.monotonic() + LAST_WORDS
        for worker in workers:
            worker.end_now(max(0.0, end - time.monotonic()))
        self._let_go()

    def _abandon(self) -> None:
        """In a forked child: these are the parent's workers."""
        self._closing = True
        for worker in self._workers | self._leaving:
            worker.abandon(0)
        self._let_go()

    def _let_go(self) -> None:
        self._idle.clear()
        self._workers.clear()
        self._leaving.clear()
        self._line.clear()
        self._calm = None

    # ---- the loop ----

    def _bind(self) -> None:
        """The loop that runs is the pool's. Raises RuntimeError."""
        loop: Any = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            raise RuntimeError(f'{self!r} is bound to a different event loop')
        pools = getattr(loop, '_processes', None)
        if not isinstance(pools, Pools):
            raise RuntimeError(f'a ProcessPool needs a glassloop event loop; this is {loop!r}')
        pools.pools.add(self)
        self._loop = loop
        self._children = Children(loop)


class Pools:
    """The pools of one loop. `own`: to_process()'s."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.pools: set[ProcessPool] = set()
        self.own: ProcessPool | None = None

    def close(self) -> None:
        """End what is left."""
        for pool in list(self.pools):
            if pool is not self.own:
                warnings.warn(f'unclosed {pool!r}', ResourceWarning, source=pool)
            pool._close_now()
        self.pools.clear()
        self.own = None

    def forked(self) -> None:
        """In a forked child: forget them."""
        for pool in self.pools:
            pool._abandon()
        self.pools.clear()
        self.own = None


async def to_process(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """fn(*args, **kwargs) in a worker process: what it returns or raises. As to_thread() for what keeps a processor busy.

    The worker processes are the running loop's own pool, one for each core; they stay for some minutes, and end with the
    loop. See ProcessPool.submit() for what travels how, and what is raised."""
    pools = getattr(asyncio.get_running_loop(), '_processes', None)
    if not isinstance(pools, Pools):
        raise RuntimeError('to_process() needs a glassloop event loop: glassloop.run(), or `glassloop run FILE`')
    pool = pools.own
    if pool is None:
        pool = pools.own = ProcessPool(idle_timeout=KEEP)
    return await pool.submit(fn, args, kwargs)


def packed(fn: Any, args: Any, kwargs: Any, listened: bool = False, whole: bool = False) -> carry.Letter:
    """A call, and what is carried of the context, as a letter. Raises PicklingError."""
    context = copy_context()
    carried = variables.names.carried(context) if context else []
    try:
        letter = carry.pack((fn, args, kwargs or {}, carried, listened), whole)
        if letter.met:
            carried = variables.names.carried(context, letter.met)
            letter = carry.pack((fn, args, kwargs or {}, carried, listened), whole)
    except carry.PicklingError as error:
        raise carry.PicklingError(f'the call of {name_of(fn)} cannot be pickled: {error}') from error
    return letter


def unpacked(fn: Any, kind: int, answer: Any, buffers: Any) -> Any:
    """What came back: the result. Raises the exception if it is one; UnpicklingError, OSError."""
    if isinstance(answer, OSError):
        raise answer
    try:
        value = carry.loads(answer, buffers)
    except Exception as error:
        raise carry.UnpicklingError(
            f'what {name_of(fn)} gave cannot be unpickled here: {type(error).__name__}: {error}') from error
    if kind == carry.RESULT:
        return value
    raise _failure(fn, *value)


def _cores() -> int:
    affinity = getattr(os, 'sched_getaffinity', None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _broken(fn: Any, worker: WorkerProcess) -> BrokenWorkerProcess:
    assert worker.returncode is not None
    name = name_of(fn)
    when = 'before it began' if worker.unread else 'while it ran'
    error = BrokenWorkerProcess(f'the worker process (pid {worker.pid}) {ending_of(worker.returncode)} {when} {name}')
    error.function = name
    error.pid = worker.pid
    error.returncode = worker.returncode
    return error


def _failure(fn: Any, flat: bytes | None, said: str, text: str) -> BaseException:
    """The exception that came, see worker.py."""
    error: BaseException
    if flat is None:
        error = RuntimeError(said)
    else:
        try:
            error = carry.loads(flat, ())
        except Exception as why:
            error = RuntimeError(f'{name_of(fn)} raised an exception that cannot be unpickled here: '
                                 f'{type(why).__name__}: {why}')
    error.add_note(f'Where it ran:\n{text}')
    return error
