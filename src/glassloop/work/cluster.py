"""DaskPool: ProcessPool's interface on a Dask cluster.

The pool works through a `distributed.Client(asynchronous=True)` of the program's own, which lives in the same loop; it makes
no thread and no connection. A job is one Dask task with a key that comes only once (`pure=False`), which nobody else sees.

Who does what. Here: how many jobs are with the cluster at a time, large arguments, what becomes of a job that is cancelled
or lost. ledger.py, on the scheduler and the workers: that no job is run twice, and the news (a job has begun, its progress,
threads that come and go) that arrive in `_hear()`.

What holds:

- A job that was begun is never begun again. One that is lost before it began, with a worker that had an argument of it in
  memory, is sent again; the scheduler's news come in order, so at that moment it is known which of the two it is.
- `limit` is the number of the cluster's threads. As many jobs again are with the cluster and wait there, so that a thread
  need not wait for the next one; more would only wait there instead of here. It is also what lets an adaptive cluster grow.
- What awaits Dask (`_end()`) is a task of its own that isn't cancelled: Dask fetches results in batches, and one that
  is cancelled while it fetches would take others with it.
- A large argument is scattered once. It is known by its identity as long as a job uses it, and longer (until it is freed) if
  it can have weak references. Contents that may have changed are compared (by a digest) before they are used again.

What Dask doesn't do, see docs: kill a job that runs.
"""
from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import inspect
import pickle
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from . import carry
from .processes import BrokenWorkerProcess
from .variables import names
from .workerprocess import name_of

if TYPE_CHECKING:
    import distributed

P = ParamSpec('P')
T = TypeVar('T')

#: (what the function raised, what it returned)
Outcome = tuple[BaseException | None, Any]

#: bytes from which on an argument is scattered, and a job's pickle is sent by itself
LARGE = 1 << 20

#: how often a job is sent again that was lost before it began: something in it may be what workers die of
ATTEMPTS = 4


class _Slots:
    """A bound on how many are in at once, first come, first served, that can be moved."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._taken = 0
        self._line: collections.deque[asyncio.Future[None]] = collections.deque()

    def move(self, bound: int) -> None:
        self._bound = bound
        self._let_in()

    async def take(self) -> None:
        if self._taken < self._bound and not self._line:
            self._taken += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.give_back()  # it was let in, and doesn't come
            raise

    def give_back(self) -> None:
        self._taken -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._line and self._taken < self._bound:
            place = self._line.popleft()
            if not place.done():
                self._taken += 1
                place.set_result(None)


class _Scattered:
    """A large argument that is with the cluster."""

    __slots__ = ('__weakref__', 'digest', 'reference', 'sending', 'users', 'value')

    def __init__(self, digest: bytes | None, sending: asyncio.Task[Any]) -> None:
        self.digest = digest
        self.sending = sending
        self.users = 0
        self.value: Any = None
        """The argument, while jobs use it; afterwards there is `reference`, if it can have one."""
        self.reference: weakref.ref[Any] | None = None

    def holds(self, value: Any, digest: bytes | None) -> bool:
        """It is this object with these contents, and the cluster has it still."""
        if self.value is not value and (self.reference is None or self.reference() is not value):
            return False
        if self.digest != digest:
            return False
        sending = self.sending
        if not sending.done():
            return True
        return not sending.cancelled() and sending.exception() is None and sending.result().status == 'finished'

    def release(self) -> None:
        """The cluster need not keep it."""
        sending = self.sending
        if not sending.done():
            sending.cancel()
        elif not sending.cancelled() and sending.exception() is None:
            sending.result().release()


class _Job:
    """One that is with the cluster."""

    __slots__ = ('context', 'goes_on', 'name', 'news', 'on_progress', 'outcome', 'reports', 'worker')

    def __init__(self, fn: Callable[..., Any], on_progress: Callable[[Any], object] | None) -> None:
        self.name = name_of(fn)
        self.on_progress = on_progress
        self.context = contextvars.copy_context()
        self.reports = 0
        self.news: tuple[Any, ...] | None = None
        """Its end, as the ledger told it; counts when all its reports have come."""
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.worker: str | None = None
        """Its address, once the job has begun."""
        self.goes_on: asyncio.Task[Outcome] | None = None
        """Its end as Dask sees it, if it runs though it was cancelled."""

    def broken(self, reason: str) -> BrokenWorkerProcess:
        """It ended without an outcome."""
        error = BrokenWorkerProcess(f'{self.name}: {reason}')
        error.function = self.name
        return error


class _Lost(Exception):
    """The job was lost before it began."""


class DaskPool:
    """Runs functions on a Dask cluster, as ProcessPool does on this machine's cores: an asynchronous context manager.

    client: a `distributed.Client` that was made with asynchronous=True and started in the running loop. The pool doesn't
    close it. glassloop must be installed where the scheduler and the workers run. Needs the extra `cluster`.

    Raises ImportError without Dask, TypeError if client isn't a Client, ValueError if it isn't asynchronous.
    """

    def __init__(self, client: distributed.Client) -> None:
        try:
            import distributed

            from . import ledger
        except ImportError as e:
            raise ImportError("DaskPool needs Dask: pip install 'glassloop[cluster]'", name=e.name) from e
        if not isinstance(client, distributed.Client):
            raise TypeError(f'a distributed.Client is required, got {client!r}')
        if not client.asynchronous:
            raise ValueError('the Client must live in the running loop: '
                             'client = await distributed.Client(address, asynchronous=True)')
        self._client: Any = client
        self._ledger: Any = ledger
        self._topic = f'glassloop-{uuid.uuid4().hex}'
        self._joining: asyncio.Task[None] | None = None
        self._changes = -1
        self._threads = 0
        self._slots = _Slots(2)
        self._jobs: dict[str, _Job] = {}
        self._running: set[asyncio.Task[Outcome]] = set()
        self._withdrawing: set[asyncio.Task[None]] = set()
        self._ending: dict[asyncio.Task[Outcome], distributed.Future[Any]] = {}  # until Dask is done with them
        self._scattered: dict[int, _Scattered] = {}
        self._closed = False

    def __repr__(self) -> str:
        state = 'closed' if self._closed else f'{len(self._running)} jobs, {self._threads} threads'
        return f'<DaskPool on {self._client!r}: {state}>'

    @property
    def limit(self) -> int:
        """How many jobs the cluster runs at once: its threads, as workers come and go; 1 while there are none."""
        return max(1, self._threads)

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """fn(*args, **kwargs) on a worker, in a copy of the current context: what it returns or raises.

        Raises BrokenWorkerProcess if the worker that ran it is gone (it is not run again), RuntimeError if the pool or the
        client is closed, OSError if the cluster can't be reached. When this is cancelled, a job that hasn't begun never
        does; one that has begun goes on, and what it gives is dropped."""
        return await self.submit(fn, args, kwargs)

    async def submit(self, fn: Callable[..., T], args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
                     on_progress: Callable[[Any], object] | None = None) -> T:
        """run() in full. on_progress is called in the loop with what the job passes to report_progress(), in order, all
        before the job ends."""
        if not callable(fn):
            raise TypeError(f'a callable is required, got {fn!r}')
        self._check()
        if on_progress is not None and (not callable(on_progress) or inspect.iscoroutinefunction(on_progress)):
            raise TypeError(f'on_progress must be a plain function, not {on_progress!r}')
        job = _Job(fn, on_progress)
        running = asyncio.create_task(self._perform(job, fn, list(args), dict(kwargs or {})))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        error, result = await running
        if error is None:
            return cast(T, result)
        try:
            # Here and not in the task, where a SystemExit would end the loop.
            raise error
        finally:
            error = None  # its traceback leads to this frame

    async def aclose(self) -> None:
        """Take no more jobs, and wait for those that there are; cancel them if this is cancelled. The client stays open."""
        self._closed = True
        try:
            await self._calm()
        except asyncio.CancelledError:
            await self._cancel()
            raise
        finally:
            await self._leave()

    async def __aenter__(self) -> Self:
        self._check()
        await self._join()
        return self

    async def __aexit__(self, kind: Any, error: Any, tb: Any) -> None:
        self._closed = True
        if kind is not None:
            await self._cancel()
        await self.aclose()

    # ---- the pool and the cluster ----

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError('the pool is closed')
        self._check_client()

    def _check_client(self) -> None:
        if self._client.status in ('closing', 'closed'):
            raise RuntimeError('the Dask client of the pool is closed')
        if self._client.status == 'newly-created':
            raise RuntimeError('the Dask client was not started: client = await Client(..., asynchronous=True)')
        if self._client.loop.asyncio_loop is not asyncio.get_running_loop():
            raise RuntimeError('the Dask client of the pool belongs to another loop')

    async def _join(self) -> None:
        """The cluster has our ledger, and it knows this pool."""
        while True:
            joining = self._joining
            if joining is None:
                joining = self._joining = asyncio.create_task(self._make_acquaintance())
            await asyncio.wait([joining])
            if self._joining is joining and (joining.cancelled() or joining.exception() is not None):
                self._joining = None
            if not joining.cancelled():
                return joining.result()

    async def _make_acquaintance(self) -> None:
        client = self._client
        try:
            await client.register_plugin(self._ledger.Ledger())
            # also has each worker import it before its first job
            for found in (await client.run(pickle.loads, self._ledger.PRESENCE, on_error='return')).values():
                if isinstance(found, ImportError):
                    raise found
        except ImportError as e:
            e.add_note('DaskPool: glassloop must be installed where the scheduler and the workers run')
            raise
        hear = weakref.WeakMethod(self._hear)

        def handle(event: Any) -> None:  # Dask keeps it
            if (method := hear()) is not None:
                method(*event[1])

        client.subscribe_topic(self._topic, handle)
        self._changes = -1
        self._hear('threads', *await client.scheduler.glassloop_join(topic=self._topic, client=client.id))

    async def _leave(self) -> None:
        """The cluster may forget this pool."""
        for entry in self._scattered.values():
            entry.release()
        self._scattered.clear()
        joining, self._joining = self._joining, None
        if joining is not None and self._client.status == 'running':
            self._client.unsubscribe_topic(self._topic)
            with contextlib.suppress(OSError):  # it is gone itself
                await self._client.scheduler.glassloop_leave(topic=self._topic)

    def _hear(self, kind: str, *news: Any) -> None:
        """What the ledger tells."""
        if kind == 'threads':
            changes, threads = news
            if changes > self._changes:
                self._changes = changes
                self._threads = threads
                self._slots.move(2 * self.limit)
            return
        key, *about = news
        job = self._jobs.get(key)
        if job is None:
            return
        if kind == 'begun':
            [job.worker] = about
        elif kind == 'ended':
            job.news = *about,
        else:
            job.reports += 1
            if job.on_progress is not None:
                try:
                    job.context.run(job.on_progress, carry.loads(about[0], ()))
                except Exception as e:
                    asyncio.get_running_loop().call_exception_handler({
                        'message': f'on_progress of {job.name} failed', 'exception': e})
        if job.news is not None and not job.outcome.done():
            failed, reports, frames = job.news
            if reports == job.reports:
                head, *buffers = frames
                parcel = self._ledger.Parcel(head, *map(bytearray, buffers))
                job.outcome.set_result(self._open(job, parcel, failed))

    async def _cancel(self) -> None:
        """Cancel what runs, and wait for its end."""
        for running in self._running:
            running.cancel()
        await self._calm()

    async def _calm(self) -> None:
        """There is no job any more. What goes on though it was cancelled isn't waited for."""
        while busy := self._running | self._withdrawing:
            await asyncio.wait(busy)
        await self._drop(list(self._ending.values()))
        while self._ending:
            await asyncio.wait(self._ending)

    # ---- a job ----

    async def _perform(self, job: _Job, *call: Any) -> Outcome:
        await self._join()
        await self._slots.take()
        try:
            for _ in range(ATTEMPTS):
                try:
                    return await self._attempt(job, *call)
                except _Lost as e:
                    lost = e
                    self._check_client()
            return job.broken(f'{ATTEMPTS} times the cluster lost it before it began ({lost})'), None
        finally:
            if job.goes_on is not None:  # its thread is busy
                job.goes_on.add_done_callback(lambda ended: self._slots.give_back())
            else:
                self._slots.give_back()

    async def _attempt(self, job: _Job, fn: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        import dask

        client = self._client
        used: list[_Scattered] = []
        try:
            try:
                parcel = await self._pack(job, fn, args, kwargs, used)
            except OSError as e:  # the worker that was to take it has just gone
                raise _Lost(f'{type(e).__name__}: {e}') from e
            key = f'{job.name.rpartition(".")[2]}-{uuid.uuid4()}'
            self._check_client()
            # Whoever asked Dask for retries, in a block around the pool, didn't ask for this job's.
            with dask.annotate(retries=0):
                future = client.submit(self._ledger.run_job, self._topic, parcel,
                                       *(entry.sending.result() for entry in used), key=key, pure=False)
            self._jobs[key] = job
            ended = asyncio.create_task(self._end(job, future))
            self._ending[ended] = future
            ended.add_done_callback(self._over)
            try:
                await asyncio.wait([ended, job.outcome], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                withdrawing = asyncio.create_task(self._withdraw(job, future, ended))
                self._withdrawing.add(withdrawing)
                withdrawing.add_done_callback(self._withdrawing.discard)
                await asyncio.wait([withdrawing])
                raise
            finally:
                del self._jobs[key]
            return job.outcome.result() if job.outcome.done() else ended.result()
        finally:
            for entry in used:
                self._release(entry)

    async def _end(self, job: _Job, future: distributed.Future[Any]) -> Outcome:
        """The job's end as Dask sees it. Raises _Lost if it never began."""
        import distributed

        try:
            # Its end, whatever it is. Also if we have the outcome: Dask is to learn how long such jobs take.
            await future.exception()
            if job.outcome.done():
                return job.outcome.result()
            return self._open(job, await future.result(), None)
        except self._ledger.JobFailed as e:
            return self._open(job, e.parcel, e.text)
        except (concurrent.futures.CancelledError, distributed.KilledWorker, self._ledger.JobRefused) as e:
            return self._gone(job, e), None
        except Exception as e:
            error = job.broken(f'Dask could not run it: {type(e).__name__}: {e}')
            error.__cause__ = e
            return error, None
        finally:
            future.release()

    async def _withdraw(self, job: _Job, future: distributed.Future[Any], ended: asyncio.Task[Outcome]) -> None:
        """Nobody waits for the job any more. It won't begin; if it has, Dask goes on counting its thread as busy."""
        client = self._client
        begun = False
        if client.status == 'running':
            with contextlib.suppress(OSError):  # the scheduler is gone, and the job with it
                begun = not await client.scheduler.glassloop_withdraw(key=future.key)
        if begun:
            if not ended.done():
                job.goes_on = ended
        else:
            await self._drop([future])

    async def _drop(self, futures: list[distributed.Future[Any]]) -> None:
        """Dask need not do this."""
        if futures and self._client.status not in ('closing', 'closed'):
            await self._client.cancel(futures)

    def _over(self, ended: asyncio.Task[Outcome]) -> None:
        del self._ending[ended]
        if not ended.cancelled():
            ended.exception()  # whoever wanted to know it knows it

    def _open(self, job: _Job, parcel: Any, failed: str | None) -> Outcome:
        """What came. failed: the printed traceback, if it is an exception."""
        try:
            value = parcel.open()
        except Exception as e:
            why = f'cannot be unpickled here: {type(e).__name__}: {e}'
            if failed is None:
                value, failed = carry.UnpicklingError(f'what {job.name} gave {why}'), ''
            else:
                value = RuntimeError(f'{job.name} raised an exception that {why}')
                value.add_note(f'On the worker:\n{failed}')
            value.__cause__ = e
        return (None, value) if failed is None else (value, None)

    def _gone(self, job: _Job, error: Any) -> BaseException:
        """What has become of a job that Dask says was cancelled, though not by us."""
        if self._client.status in ('closing', 'closed'):
            return RuntimeError(f'the Dask client was closed, or lost the cluster for good, before {job.name} ended')
        reason = getattr(error, 'reason', None) or f'{type(error).__name__}: {error}'
        if reason == 'scheduler-connection-lost':
            self._joining = None  # what answers next may be another scheduler
            return job.broken('the connection to the scheduler was lost before it ended; it is not run again')
        if reason == 'scheduler-restart':
            return job.broken('the cluster was restarted before it ended; it is not run again')
        if job.worker is None:
            raise _Lost(reason)
        why = '' if reason == self._ledger.WORKER_LOST else f' ({reason})'
        return job.broken(f'the worker {job.worker} that ran it is gone{why}; it is not run again')

    # ---- what it takes with it ----

    async def _pack(self, job: _Job, fn: Any, args: list[Any], kwargs: dict[str, Any], used: list[_Scattered]) -> Any:
        """A job's parcel, or Dask's future for it if it is large. `used`: takes its scattered arguments."""
        async def take(value: Any) -> Any:
            if not self._threads or sizeof(value) < LARGE:
                return value
            entry = await self._scatter(value)
            used.append(entry)
            return self._ledger.Shared(len(used) - 1)

        from dask.sizeof import sizeof

        args = [await take(value) for value in args]
        kwargs = {name: await take(value) for name, value in kwargs.items()}
        parcel = self._ledger.Parcel.of(_letter(job, fn, args, kwargs))
        if parcel.size < LARGE or not self._threads:
            return parcel
        return await self._client.scatter(parcel, hash=False)

    async def _scatter(self, value: Any) -> _Scattered:
        """A large argument that is with the cluster, used by one more job."""
        loop = asyncio.get_running_loop()
        pack, parcel, digest = self._ledger.Parcel.pack, None, None
        if type(value) not in (bytes, str):  # may have changed
            parcel, digest = await loop.run_in_executor(None, _pack_and_digest, pack, value)
        entry = self._scattered.get(id(value))
        if entry is None or not entry.holds(value, digest):
            if entry is not None and not entry.users:
                entry.release()
            entry = _Scattered(digest, asyncio.create_task(self._send(pack, value, parcel)))
            self._scattered[id(value)] = entry
        entry.users += 1
        entry.value = value
        try:
            await asyncio.wait([entry.sending])
            entry.sending.result()
        except BaseException:
            self._release(entry)
            raise
        return entry

    async def _send(self, pack: Any, value: Any, parcel: Any) -> Any:
        if parcel is None:
            parcel = await asyncio.get_running_loop().run_in_executor(None, pack, value)
        return await self._client.scatter(parcel, hash=False)

    def _release(self, entry: _Scattered) -> None:
        """One job less uses it."""
        entry.users -= 1
        if entry.users:
            return
        key, value, entry.value = id(entry.value), entry.value, None
        current = self._scattered.get(key) is entry
        if current and not self._closed:
            try:
                entry.reference = weakref.ref(value, _forget(self._scattered, key, entry))
                return
            except TypeError:  # bytes and others can't have one
                del self._scattered[key]
        elif current:
            del self._scattered[key]
        entry.release()


def _forget(scattered: dict[int, _Scattered], key: int, entry: _Scattered) -> Callable[[Any], None]:
    """What is called when a scattered argument is freed, in whatever thread."""
    def forget(reference: Any) -> None:
        if scattered.get(key) is entry and not entry.users:
            del scattered[key]
            entry.release()

    return forget


def _letter(job: _Job, fn: Any, args: Any, kwargs: Any) -> carry.Letter:
    """A call, and the values of the context variables. Raises pickle.PicklingError."""
    carried = names.carried(job.context)
    try:
        letter = carry.pack((fn, args, kwargs, carried))
        if letter.met:
            carried = names.carried(job.context, letter.met)
            letter = carry.pack((fn, args, kwargs, carried))
    except carry.PicklingError as error:
        raise carry.PicklingError(f'the call of {job.name} cannot be pickled: {error}') from error
    return letter


def _pack_and_digest(pack: Any, value: Any) -> tuple[Any, bytes]:
    parcel = pack(value)
    return parcel, parcel.digest()


def _hear_of_it(ended: asyncio.Task[Any]) -> None:
    """How a job ended that was cancelled interests nobody."""
    if not ended.cancelled():
        ended.exception()

