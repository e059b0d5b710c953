"""What runs on a Dask cluster for DaskPool: the ledger, on the scheduler, and the job, on a worker.

Dask repeats what it loses: a job whose worker dies is run again on another one, and so is a job that has ended and whose
result was in the memory of a worker that dies. A pool promises that a job is run once or not at all. So a job that a worker
has taken up asks the scheduler for leave before it calls anything, and waits for the answer. The ledger, a plugin of the
scheduler, gives leave once for a key, and only to the worker that the scheduler has chosen for it: a job that Dask moves
before it began (work stealing, a worker that retires or dies with jobs in its queue) runs where it was moved to, one that
had begun is refused. When a worker is gone, the ledger withdraws at once what it had begun, so that nobody waits until a
second worker is refused.

An outcome that isn't large goes the same way, and its worker takes up nothing else before the scheduler has it: what the
next job does to the worker doesn't concern it, and nothing need be fetched. A large one stays with the worker until it is
fetched, as Dask has it, and is lost with it.

The ledger also tells a pool what else it must know: that a job has begun, how many threads the cluster has, and what
report_progress() reported. That goes the way of Dask's events, directly to the client: nothing is kept in their log.

Values travel as `Parcel`s, pickled by ourselves: Dask looks into the arguments of its tasks for keys and futures, and hands
the same object to all jobs of a worker. A job gets objects of its own, as in a process pool.

This module is imported on the scheduler and on the workers, by its name: glassloop must be installed there.
"""
from __future__ import annotations

import contextvars
import hashlib
import itertools
import pickle
import time
import traceback
from collections.abc import Callable
from typing import Any

from distributed import Scheduler, SchedulerPlugin, get_worker
from distributed.utils import sync
from tblib import pickling_support  # type: ignore[import-untyped]

from . import carry
from .progress import reporter
from .variables import names

#: up to this size (bytes) an outcome goes through the scheduler
INLINE = 1 << 18

#: how many jobs that are not to begin are remembered whose key isn't known (any more, or yet)
WITHDRAWN = 10_000

#: why the scheduler says that a job was cancelled whose worker is gone
WORKER_LOST = 'glassloop: worker lost'


class _Presence:
    """Unpickled, it is True, if this module can be imported there."""

    def __reduce__(self) -> Any:
        return _present, ()


def _present() -> bool:
    return True


#: for pickle.loads() on a worker. One that can't import this module must not get a job: Dask's workers don't survive that.
PRESENCE = pickle.dumps(_Presence())


class Parcel:
    """A letter (see carry.py) on its way through Dask: the pickle, and the large buffers in it, which aren't copied."""

    __slots__ = ('frames',)

    def __init__(self, *frames: Any) -> None:
        self.frames = frames

    @classmethod
    def pack(cls, value: Any) -> Parcel:
        """Raises pickle.PicklingError."""
        return cls.of(carry.pack(value))

    @classmethod
    def of(cls, letter: carry.Letter) -> Parcel:
        """A letter's contents."""
        return cls(b''.join(letter.pieces), *letter.buffers)

    def open(self, *, shared: bool = False) -> Any:
        """The value, in memory of its own. shared: the parcel will be opened by others, too. Raises what unpickling raises:
        anything."""
        head, *buffers = (memoryview(frame) for frame in self.frames)
        if shared:
            buffers = [buffer if buffer.readonly else memoryview(bytearray(buffer)) for buffer in buffers]
        return carry.loads(head, buffers)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(memoryview(frame).nbytes for frame in self.frames)

    def digest(self) -> bytes:
        """The same for the same contents."""
        digest = hashlib.blake2b(digest_size=16)
        for frame in self.frames:
            digest.update(memoryview(frame).nbytes.to_bytes(8, 'little'))
            digest.update(frame)
        return digest.digest()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol < 5:
            return Parcel, tuple(bytes(frame) for frame in self.frames)
        return Parcel, tuple(map(pickle.PickleBuffer, self.frames))

    def __sizeof__(self) -> int:
        # a worker reckons with it what it has in memory, and what it should write to disk
        return object.__sizeof__(self) + self.size


class Shared:
    """Stands in a job's arguments for one that was scattered: the place of its parcel among those that come with it."""

    __slots__ = ('place',)

    def __init__(self, place: int) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Shared, (self.place,)


class JobFailed(Exception):
    """A job's function raised. `parcel`: the exception, with its traceback and causes. `text`: the traceback as it is
    printed."""

    def __init__(self, parcel: Parcel, text: str) -> None:
        super().__init__(parcel, text)
        self.parcel = parcel
        self.text = text

    def __str__(self) -> str:
        return self.text.rpartition('\n')[2]  # what was raised

    __repr__ = __str__  # for the worker's log

    @classmethod
    def of(cls, error: BaseException) -> JobFailed:
        """What was raised, as it travels. If it can't be pickled with all that hangs on it, then without; if not even so, a
        RuntimeError says what it was."""
        text = ''.join(traceback.format_exception(error)).rstrip()
        pickling_support.install(error)
        try:
            return cls(_sound_parcel(error), text)
        except Exception:
            shown = error.__traceback__
            error.__traceback__ = error.__cause__ = error.__context__ = None
            error.add_note(f'On the worker:\n{text}')
        try:
            return cls(_sound_parcel(error), text)
        except Exception as reason:
            kind = f'{type(error).__module__}.{type(error).__qualname__}'
            told = RuntimeError(f'the job raised {kind}, which cannot be pickled ({reason})')
            told.add_note(f'On the worker:\n{text}')
            return cls(Parcel.pack(told), text)
        finally:
            error.__traceback__ = shown


def _sound_parcel(error: BaseException) -> Parcel:
    """Raises what pickling and unpickling raise, TypeError if it would come back as something else."""
    parcel = Parcel.pack(error)
    if type(parcel.open()) is not type(error):
        raise TypeError('it does not come back as what it was')
    return parcel


class JobRefused(Exception):
    """A worker was to run a job that it must not run: it has been begun before, or is no longer wanted."""


def run_job(topic: str, parcel: Parcel, *shared: Parcel) -> Parcel | None:
    """On a worker: a job of a pool. parcel: (function, arguments, keyword arguments, context variables). Returns what is
    too large for the scheduler."""
    worker = get_worker()
    job = {'key': worker.get_current_task(), 'topic': topic, 'worker': worker.address}

    def ask(method: Any, **more: Any) -> Any:
        return sync(worker.loop, method, **job, **more)

    reports = itertools.count()

    def report(value: Any) -> None:
        data = carry.flat(value)
        next(reports)
        worker.loop.add_callback(worker.batched_send, {'op': 'glassloop-progress', **job, 'data': data})

    if not ask(worker.scheduler.glassloop_begin):
        raise JobRefused('it has been begun before, or was cancelled')
    try:
        outcome, failed = _run(report, parcel, shared), None
    except BaseException as error:  # SystemExit, too, which is the job's and not the worker's
        failed = JobFailed.of(error)
        outcome = failed.parcel
    inline = outcome.size <= INLINE
    if inline:
        ask(worker.scheduler.glassloop_end, failed=failed and failed.text, reports=next(reports),
            frames=[bytes(frame) for frame in outcome.frames])
    if failed is not None:
        raise failed  # outside of the block: `error`, which may have no pickle, must not become its context
    return None if inline else outcome


def _run(report: Callable[[Any], None], parcel: Parcel, shared: tuple[Parcel, ...]) -> Parcel:
    try:
        function, args, kwargs, variables = parcel.open()
        given = [each.open(shared=True) for each in shared]
    except Exception as error:
        raise carry.UnpicklingError(f'the call cannot be unpickled on a worker: {type(error).__name__}: {error}') from error
    args = [given[arg.place] if type(arg) is Shared else arg for arg in args]
    kwargs = {name: given[arg.place] if type(arg) is Shared else arg for name, arg in kwargs.items()}
    context = contextvars.copy_context()  # Dask's, in which a job can find its worker
    context.run(names.restore, variables)
    context.run(reporter.set, report)
    result = context.run(function, *args, **kwargs)
    try:
        return Parcel.pack(result)
    except carry.PicklingError as error:
        raise carry.PicklingError(f'the result (type {type(result).__name__}) cannot be pickled: {error}') from error


class Ledger(SchedulerPlugin):  # type: ignore[misc]
    """On the scheduler: which jobs have begun, and where. One for all pools of all clients."""

    name = 'glassloop-ledger'
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """The scheduler has got the plugin."""
        self._scheduler = scheduler
        self._begun: dict[Any, str] = {}  # key -> address of the worker
        self._withdrawn: dict[Any, None] = {}
        self._pools: dict[str, str] = {}  # topic -> client
        self._changes = 0  # of the number of threads
        scheduler.handlers['glassloop_join'] = self._join
        scheduler.handlers['glassloop_leave'] = self._leave
        scheduler.handlers['glassloop_withdraw'] = self._withdraw
        scheduler.handlers['glassloop_begin'] = self._begin
        scheduler.handlers['glassloop_end'] = self._end
        scheduler.stream_handlers['glassloop-progress'] = self._progress

    # ---- asked by a pool ----

    def _join(self, topic: str, client: str) -> tuple[int, int]:
        """The pool wants to hear what concerns it. Returns how many threads the cluster has, after how many changes: the
        answer and the news come on two connections."""
        self._pools[topic] = client
        return self._changes, self._scheduler.total_nthreads

    def _leave(self, topic: str) -> None:
        self._pools.pop(topic, None)

    def _withdraw(self, key: Any) -> bool:
        """The job is not to begin. False: it has. This may overtake the job on its way here."""
        if key in self._begun:
            return False
        self._withdrawn[key] = None
        if len(self._withdrawn) > WITHDRAWN:
            del self._withdrawn[next(iter(self._withdrawn))]
        return True

    # ---- asked by a job ----

    def _begin(self, key: Any, worker: str, topic: str) -> bool:
        """May the job run there?"""
        task = self._scheduler.tasks.get(key)
        if task is None or key in self._begun or key in self._withdrawn:
            return False
        if task.processing_on is None or task.processing_on.address != worker:
            return False
        self._begun[key] = worker
        self._tell(topic, 'begun', key, worker)
        return True

    def _progress(self, worker: str, key: Any, topic: str, data: bytes) -> None:
        if self._begun.get(key) == worker:
            self._tell(topic, 'progress', key, data)

    def _end(self, key: Any, worker: str, topic: str, failed: str | None, reports: int, frames: list[bytes]) -> None:
        """The job's outcome. `reports`: how many there were; they come through another connection."""
        if self._begun.get(key) == worker:
            self._tell(topic, 'ended', key, failed, reports, frames)

    def _tell(self, topic: str, *news: Any) -> None:
        client = self._pools.get(topic)
        if client is not None:
            self._scheduler.client_send(client, {'op': 'event', 'topic': topic, 'event': (time.time(), news)})

    # ---- called by the scheduler ----

    def transition(self, key: Any, start: Any, finish: Any, *args: Any, **kwargs: Any) -> None:
        """A task has changed: one that is forgotten can't be begun again, its key comes only once."""
        if finish == 'forgotten':
            self._begun.pop(key, None)
            self._withdrawn.pop(key, None)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """There are more threads."""
        self._tell_threads()

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """There are fewer threads; what the worker had begun is lost, unless its result is elsewhere."""
        for key in [key for key, where in self._begun.items() if where == worker]:
            task = scheduler.tasks.get(key)
            if task is None or task.state in ('memory', 'erred'):
                continue
            for client in list(task.who_wants or ()):
                scheduler.stimulus_cancel([key], client.client_key, force=True, reason=WORKER_LOST, msg=worker)
                break  # for all of them
        self._tell_threads()

    def restart(self, scheduler: Scheduler) -> None:
        """All jobs are forgotten."""
        self._begun.clear()

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Its pools are gone."""
        for topic in [topic for topic, owner in self._pools.items() if owner == client]:
            del self._pools[topic]

    def _tell_threads(self) -> None:
        self._changes += 1
        for topic in self._pools:
            self._tell(topic, 'threads', self._changes, self._scheduler.total_nthreads)

