"""DaskPool on a real cluster of two worker processes with one thread each, whose scheduler is in this loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import cluster_jobs as jobs
import distributed
import pytest

import glassloop
from glassloop import BrokenWorkerProcess, DaskPool, ProcessPool

MiB = 1 << 20
QUIET = {"dashboard_address": ":0", "silence_logs": 60, "asynchronous": True}


class Cluster:
    """The cluster that all tests of this file share, and the loop that it lives in."""

    def __init__(self) -> None:
        self.runner = glassloop.Runner()
        self.cluster, self.client = self.runner.run(self._start())

    async def _start(self) -> tuple[Any, Any]:
        cluster = await distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **QUIET)
        return cluster, await distributed.Client(cluster, asynchronous=True)

    @property
    def scheduler(self) -> Any:
        return self.cluster.scheduler

    @property
    def ledger(self) -> Any:
        return self.scheduler.plugins["glassloop-ledger"]

    def run(self, test: Callable[[DaskPool], Coroutine[Any, Any, None]]) -> None:
        """Run it with a pool, and look whether anything is left."""

        async def run() -> None:
            await self.client.wait_for_workers(2)
            async with DaskPool(self.client) as pool:
                await test(pool)
            await self.cleared()

        self.runner.run(run())

    async def cleared(self) -> None:
        """The scheduler keeps nothing of ours."""
        gc.collect()
        async with asyncio.timeout(20):
            while self.scheduler.tasks or self.ledger._begun or self.ledger._pools or self.client.futures:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.client.close()
        await self.cluster.close()

    async def when_begun(self, pool: DaskPool, fn: Callable[..., Any], *args: Any) -> tuple[asyncio.Task[Any], Any]:
        """The call of a job that reports something when it has begun, and what it reported."""
        begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = asyncio.create_task(pool.submit(fn, args, on_progress=begun.set_result))
        await asyncio.wait([call, begun], return_when=asyncio.FIRST_COMPLETED)
        return call, begun.result()

    async def arrived(self, function: Callable[..., Any], number: int) -> list[str]:
        """Keys of the jobs with this function, once the scheduler has this many."""
        async with asyncio.timeout(20):
            while True:
                keys = [key for key in self.scheduler.tasks if key.startswith(function.__name__)]
                if len(keys) >= number:
                    return keys
                await asyncio.sleep(0.01)

    def on_transition(self, finish: str, prefix: str) -> asyncio.Future[Any]:
        """Is done when the next task with this prefix comes to this state."""
        happened = self.runner.get_loop().create_future()
        scheduler = self.scheduler

        class Watch(distributed.SchedulerPlugin):  # type: ignore[misc]
            def transition(self, key: Any, start: Any, now: Any, *args: Any, **kwargs: Any) -> None:
                if now == finish and key.startswith(prefix) and not happened.done():
                    happened.set_result(None)
                    scheduler.remove_plugin("watch")

        scheduler.add_plugin(Watch(), name="watch")
        return happened


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.runner.run(cluster.close())
    cluster.runner.close()
    assert not multiprocessing.active_children()


@contextlib.asynccontextmanager
async def small_cluster(workers: int = 1) -> AsyncIterator[tuple[Any, Any]]:
    """One without processes, for tests that break it."""
    async with (
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=False, **QUIET) as cluster,
        distributed.Client(cluster, asynchronous=True) as client,
    ):
        yield cluster, client


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "log"
    path.touch()
    return str(path)


@pytest.fixture
def gate(tmp_path: Path) -> str:
    path = tmp_path / "gate"
    os.mkfifo(path)
    return str(path)


def noted(log: str) -> list[int]:
    return [int(line.split()[0]) for line in Path(log).read_text().splitlines()]


async def open_gate(gate: str) -> None:
    """All that wait there go on."""
    fd = await asyncio.to_thread(os.open, gate, os.O_WRONLY)
    os.close(fd)


# ---- results and exceptions ----


def test_a_thousand_jobs_each_run_once(cluster: Cluster, log: str, runtime: str) -> None:
    number = 1000 if runtime == "compiled" else 200

    async def test(pool: DaskPool) -> None:
        assert await asyncio.gather(*(pool.run(jobs.note, log, i) for i in range(number))) == list(range(number))
        assert sorted(noted(log)) == list(range(number))
        assert len({line.split()[1] for line in Path(log).read_text().splitlines()}) == 2  # both workers

    cluster.run(test)


def test_a_job_gives_what_the_function_gives(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        factor = 3
        assert await pool.run(lambda x: factor * x, 7) == 21
        assert await pool.run(jobs.same, value={"a": [1, (2,), "b"]}) == {"a": [1, (2,), "b"]}
        # Dask itself would take these for something else
        assert await pool.run(jobs.same, (len, "abc")) == (len, "abc")
        pixels = await pool.run(jobs.same, jobs.Pixels(bytearray(b"x" * 100)))
        assert bytes(pixels.data) == b"x" * 100

    cluster.run(test)


def test_an_exception_keeps_type_contents_cause_and_traceback(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        with pytest.raises(ValueError) as caught:
            await pool.run(jobs.fail, "os")
        error = caught.value
        assert error.args == ("caused", 7)
        assert isinstance(error.__cause__, FileNotFoundError) and error.__cause__.filename == "x.txt"
        assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "fail"
        assert [frame.name for frame in traceback.extract_tb(error.__cause__.__traceback__)][-1] == "deeper"
        with pytest.raises(KeyError) as noted:
            await pool.run(jobs.fail, "noted")
        assert noted.value.__notes__ == ["a note"]
        with pytest.raises(jobs.Odd) as odd:
            await pool.run(jobs.fail, "odd")
        assert odd.value.code == 5

    cluster.run(test)


def test_an_exception_without_a_pickle_is_told(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        with pytest.raises(RuntimeError, match="cluster_jobs.Unpicklable, which cannot be pickled") as caught:
            await pool.run(jobs.fail, "unpicklable")
        assert "has no pickle" in caught.value.__notes__[0]

    cluster.run(test)


@pytest.mark.parametrize(("kind", "raised"), [("context", KeyError), ("recursion", RecursionError)])
def test_an_exception_travels_without_what_can_not(cluster: Cluster, kind: str, raised: type[BaseException]) -> None:
    async def test(pool: DaskPool) -> None:
        with pytest.raises(raised) as caught:
            await pool.run(jobs.fail, kind)
        assert "in deeper" in "".join(traceback.format_exception(caught.value))

    cluster.run(test)


@pytest.mark.parametrize(("kind", "raised"), [("exit", SystemExit), ("interrupt", KeyboardInterrupt)])
def test_what_ends_a_program_ends_only_the_job(cluster: Cluster, kind: str, raised: type[BaseException]) -> None:
    async def test(pool: DaskPool) -> None:
        with pytest.raises(raised):
            await pool.run(jobs.fail, kind)
        assert await pool.run(jobs.same, 1) == 1

    workers = set(cluster.scheduler.workers)
    cluster.run(test)
    assert set(cluster.scheduler.workers) == workers


def test_what_has_no_pickle_fails_its_job(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        with pytest.raises(pickle.PicklingError, match="the call of cluster_jobs.same"):
            await pool.run(jobs.same, pool)
        with pytest.raises(pickle.PicklingError, match="the result"):
            await pool.run(lambda: __import__("threading").Lock())
        with pytest.raises(TypeError, match="callable"):
            await pool.run("no function")  # type: ignore[arg-type]

    cluster.run(test)


def test_retries_asked_for_around_the_pool_are_not_the_jobs(cluster: Cluster, log: str) -> None:
    def note_and_fail() -> None:
        with open(log, "a") as file:
            file.write("1\n")
        raise ZeroDivisionError

    async def test(pool: DaskPool) -> None:
        with cluster.client.as_current(), __import__("dask").annotate(retries=5), pytest.raises(ZeroDivisionError):
            await pool.run(note_and_fail)
        assert noted(log) == [1]

    cluster.run(test)


def test_context_variables_are_carried(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        jobs.wanted.set("tea")
        assert await asyncio.gather(*(pool.run(jobs.what_is_wanted) for _ in range(4))) == ["tea"] * 4
        assert jobs.wanted.get() == "tea"
        jobs.wanted.set("coffee")
        assert await pool.run(jobs.what_is_wanted) == "coffee"

    cluster.run(test)


def test_progress_comes_in_order_and_before_the_result(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        got: list[Any] = []
        assert await pool.submit(jobs.count, (100,), on_progress=got.append) == "counted"
        assert got == [{"done": i} for i in range(100)]
        assert await pool.run(jobs.count, 5) == "counted"  # nobody listens

    cluster.run(test)


def test_a_failing_on_progress_is_reported(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        try:
            assert await pool.submit(jobs.count, (2,), on_progress=lambda value: value["none"]) == "counted"
        finally:
            asyncio.get_running_loop().set_exception_handler(None)
        assert [type(context["exception"]) for context in told] == [KeyError, KeyError]

    cluster.run(test)


# ---- one program, two pools ----


async def program(pool: ProcessPool | DaskPool, log: str, gate: str) -> None:
    """Knows nothing of where its jobs run."""
    assert pool.limit == 2
    factor = 3
    assert await asyncio.gather(*(pool.run(lambda x: factor * x, i) for i in range(20))) == [3 * i for i in range(20)]
    async with glassloop.amap(jobs.same, range(20), pool=pool) as results:
        assert [result async for result in results] == list(range(20))
    jobs.wanted.set("tea")
    assert await pool.run(jobs.what_is_wanted) == "tea"
    with pytest.raises(ValueError) as caught:
        await pool.run(jobs.fail, "os")
    assert caught.value.args == ("caused", 7)
    assert "in deeper" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(pickle.PicklingError):
        await pool.run(jobs.same, asyncio.current_task())
    with pytest.raises(RuntimeError, match="Unpicklable"):
        await pool.run(jobs.fail, "unpicklable")
    with pytest.raises(SystemExit):
        await pool.run(jobs.fail, "exit")
    reports: list[Any] = []
    assert await pool.submit(jobs.count, (3,), {}, on_progress=reports.append) == "counted"
    assert reports == [{"done": 0}, {"done": 1}, {"done": 2}]
    big = os.urandom(2 * MiB)
    assert await asyncio.gather(*(pool.run(jobs.same, big) for _ in range(3))) == [big] * 3
    others = [asyncio.create_task(pool.run(jobs.note, log, i)) for i in range(10)]
    with pytest.raises(BrokenWorkerProcess, match="note_and_die") as broken:
        await pool.run(jobs.note_and_die, log, 10)
    assert broken.value.function == "cluster_jobs.note_and_die"
    assert await asyncio.gather(*others) == list(range(10))
    assert sorted(noted(log)) == list(range(11))
    begun = asyncio.Event()
    call = asyncio.create_task(pool.submit(jobs.note_and_wait, (log, 11, gate), on_progress=lambda pid: begun.set()))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await pool.run(jobs.same, 5) == 5


def test_a_program_on_worker_processes(log: str, gate: str) -> None:
    async def main() -> None:
        async with ProcessPool(max_workers=2) as pool:
            await program(pool, log, gate)
        with pytest.raises(RuntimeError):
            await pool.run(jobs.same, 1)

    glassloop.run(main())


def test_the_same_program_on_a_cluster(cluster: Cluster, log: str, gate: str) -> None:
    async def main() -> None:
        await cluster.client.wait_for_workers(2)
        async with DaskPool(cluster.client) as pool:
            await program(pool, log, gate)
            await open_gate(gate)  # it waits there still
        with pytest.raises(RuntimeError):
            await pool.run(jobs.same, 1)

    cluster.runner.run(main())


# ---- workers that die ----


def test_a_killed_worker_fails_only_its_job_and_nothing_runs_twice(cluster: Cluster, log: str) -> None:
    async def test(pool: DaskPool) -> None:
        kinds = {50: jobs.note_and_die}
        calls = [pool.run(kinds.get(i, jobs.note), log, i) for i in range(200)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        broken = results[50]
        assert isinstance(broken, BrokenWorkerProcess)
        assert "note_and_die" in str(broken) and "tcp://" in str(broken)
        assert [result for i, result in enumerate(results) if i != 50] == [i for i in range(200) if i != 50]
        assert collections.Counter(noted(log)) == dict.fromkeys(range(200), 1)

    cluster.run(test)


def test_a_result_that_the_scheduler_has_survives_its_worker(cluster: Cluster, log: str) -> None:
    async def test(pool: DaskPool) -> None:
        # on a worker with one thread each of these dies while the one before it is being answered
        results = await asyncio.gather(
            *(pool.run((jobs.note, jobs.note_and_die)[i % 2], log, i) for i in range(8)), return_exceptions=True
        )
        assert results[::2] == [0, 2, 4, 6]
        assert [type(result) for result in results[1::2]] == [BrokenWorkerProcess] * 4
        assert sorted(noted(log)) == list(range(8))

    cluster.run(test)


def test_a_large_result_that_dies_with_its_worker_is_not_computed_again(cluster: Cluster, log: str) -> None:
    async def test(pool: DaskPool) -> None:
        # as long as we hold these, Dask fetches nothing
        gather = cluster.client._gather_semaphore
        held = gather._value
        for _ in range(held):
            await gather.acquire()
        done = cluster.on_transition("memory", "note")
        call = asyncio.create_task(pool.run(jobs.note_and_give, log, 1, 2 * MiB))
        await done
        pid = int(Path(log).read_text().split()[1])
        forgotten = cluster.on_transition("forgotten", "note")
        os.kill(pid, signal.SIGKILL)
        await forgotten
        for _ in range(held):
            gather.release()
        with pytest.raises(BrokenWorkerProcess, match="note_and_give"):
            await call
        assert noted(log) == [1]

    cluster.run(test)


def test_a_job_that_waited_for_a_lost_argument_is_sent_again(cluster: Cluster, log: str, gate: str) -> None:
    async def test(pool: DaskPool) -> None:
        big = bytes(2 * MiB)
        busy = [await cluster.when_begun(pool, jobs.note_and_wait, log, number, gate) for number in (1, 2)]
        waiting = asyncio.create_task(pool.run(jobs.length, log, 3, big))
        await cluster.arrived(jobs.length, 1)
        [(holder,)] = [
            [worker.address for worker in task.who_has]
            for key, task in cluster.scheduler.tasks.items()
            if key.startswith("Parcel")
        ]
        [pid] = (await cluster.client.run(os.getpid, workers=[holder])).values()
        lost, left = sorted(busy, key=lambda each: each[1] != pid)
        assert lost[1] == pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BrokenWorkerProcess):
            await lost[0]
        await open_gate(gate)
        assert await waiting == len(big)
        assert await left[0] in (1, 2)
        assert sorted(map(abs, noted(log))) in ([1, 1, 2, 3], [1, 2, 2, 3])

    cluster.run(test)


def test_a_worker_that_goes_while_it_gets_an_argument_costs_no_job(
    cluster: Cluster, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler hands an argument on to a worker, and says so if that breaks the connection."""
    scatter = cluster.client.scatter
    broken = []

    async def breaks_once(parcel: Any, **options: Any) -> Any:
        if not broken:
            broken.append(parcel)
            raise distributed.comm.CommClosedError("Stream is closed")
        return await scatter(parcel, **options)

    async def test(pool: DaskPool) -> None:
        monkeypatch.setattr(cluster.client, "scatter", breaks_once)
        assert await pool.run(jobs.length, log, 1, bytes(2 * MiB)) == 2 * MiB
        assert len(broken) == 1 and noted(log) == [1]

    cluster.run(test)


# ---- cancellation ----


def test_a_cancelled_job_that_waits_never_begins(cluster: Cluster, log: str, gate: str) -> None:
    async def test(pool: DaskPool) -> None:
        busy = [(await cluster.when_begun(pool, jobs.note_and_wait, log, number, gate))[0] for number in (1, 2)]
        # some wait on the cluster, some wait here
        waiting = [asyncio.create_task(pool.run(jobs.note, log, number)) for number in range(10, 20)]
        await cluster.arrived(jobs.note, 2)
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)
        assert all(call.cancelled() for call in waiting)
        await open_gate(gate)
        assert await asyncio.gather(*busy) == [1, 2]
        assert await pool.run(jobs.same, 5) == 5
        assert sorted(noted(log)) == [-2, -1, 1, 2]

    cluster.run(test)


def test_a_cancelled_job_that_runs_goes_on_but_nobody_waits_for_it(cluster: Cluster, log: str, gate: str) -> None:
    async def test(pool: DaskPool) -> None:
        call, _ = await cluster.when_begun(pool, jobs.note_and_wait, log, 1, gate)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert noted(log) == [1]
        await open_gate(gate)
        async with asyncio.timeout(20):
            while noted(log) != [1, -1]:
                await asyncio.sleep(0.01)

    cluster.run(test)


def test_a_job_that_is_cancelled_as_it_ends_leaves_nothing_in_the_ledger(cluster: Cluster) -> None:
    async def test(pool: DaskPool) -> None:
        assert await cluster.client.scheduler.glassloop_withdraw(key="ended-and-forgotten")
        assert not cluster.ledger._begun
        assert await pool.run(jobs.same, 1) == 1

    cluster.run(test)


def test_cancelled_at_random_the_others_keep_their_results(cluster: Cluster, log: str) -> None:
    rng = random.Random(20)

    async def test(pool: DaskPool) -> None:
        calls = [asyncio.create_task(pool.run(jobs.note, log, i)) for i in range(150)]
        loop = asyncio.get_running_loop()
        for call in calls[::3]:
            loop.call_later(rng.uniform(0, 0.5), call.cancel)
        await asyncio.wait(calls)
        for i, call in enumerate(calls):
            assert call.cancelled() and i % 3 == 0 or call.result() == i
        counts = collections.Counter(noted(log))
        assert set(counts.values()) == {1}

    cluster.run(test)


# ---- large arguments ----


@pytest.fixture
def scatters(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was scattered."""
    sizes: list[int] = []
    scatter = cluster.client.scatter

    def counted(parcel: Any, **options: Any) -> Any:
        sizes.append(parcel.size)
        return scatter(parcel, **options)

    monkeypatch.setattr(cluster.client, "scatter", counted)
    return sizes


def test_a_large_argument_is_scattered_once(cluster: Cluster, log: str, scatters: list[int]) -> None:
    async def test(pool: DaskPool) -> None:
        big = os.urandom(3 * MiB)
        calls = [pool.run(jobs.length, log, i, big) for i in range(10)]
        calls += [pool.run(jobs.length, log, i, value=big) for i in range(10, 20)]
        assert await asyncio.gather(*calls) == [len(big)] * 20
        assert len(scatters) == 1 and scatters[0] > len(big)
        assert sorted(noted(log)) == list(range(20))

    cluster.run(test)


def test_one_that_can_have_weak_references_stays_with_the_cluster(cluster: Cluster, scatters: list[int]) -> None:
    async def test(pool: DaskPool) -> None:
        pixels = jobs.Pixels(bytearray(2 * MiB))
        for _ in range(3):
            # what a job writes there is its own
            assert await pool.run(jobs.first_then_changed, pixels) == 0
        assert len(scatters) == 1
        pixels.data[0] = 7
        assert await pool.run(jobs.first_then_changed, pixels) == 7
        assert len(scatters) == 2
        forgotten = cluster.on_transition("forgotten", "Parcel")
        del pixels
        await forgotten

    cluster.run(test)


def test_a_job_that_is_large_itself_travels_beside_the_graph(cluster: Cluster, scatters: list[int]) -> None:
    async def test(pool: DaskPool) -> None:
        parts = [os.urandom(MiB // 2) for _ in range(30)]
        assert await pool.run(lambda: len(parts)) == 30  # Dask would warn of a large graph
        assert len(scatters) == 1

    cluster.run(test)


# ---- the pool and the cluster ----


def test_as_many_at_once_as_the_cluster_has_threads() -> None:
    async def main() -> None:
        async with small_cluster(1) as (cluster, client), DaskPool(client) as pool:
            assert pool.limit == 1
            cluster.scale(3)
            async with asyncio.timeout(20):
                while pool.limit != 3:
                    await asyncio.sleep(0.01)
            barrier = __import__("threading").Barrier(3)
            where.append(barrier)
            await asyncio.gather(*(pool.run(_meet) for _ in range(3)))
            cluster.scale(0)
            async with asyncio.timeout(20):
                while pool._threads:
                    await asyncio.sleep(0.01)
            assert pool.limit == 1
            waits = asyncio.create_task(pool.run(jobs.length, os.devnull, 1, bytes(2 * MiB)))
            cluster.scale(1)
            assert await waits == 2 * MiB

    where: list[Any] = []
    _meet.where = where  # type: ignore[attr-defined]
    glassloop.run(main())


def _meet() -> None:
    _meet.where[0].wait(20)  # type: ignore[attr-defined]


def test_the_normal_end_of_the_block_waits_for_the_jobs(cluster: Cluster, log: str) -> None:
    async def test(outer: DaskPool) -> None:
        async with DaskPool(cluster.client) as pool:
            calls = [asyncio.create_task(pool.run(jobs.note, log, i)) for i in range(20)]
            await asyncio.sleep(0)
        assert [call.result() for call in calls] == list(range(20))
        with pytest.raises(RuntimeError, match="closed"):
            await pool.run(jobs.same, 1)
        await pool.aclose()
        assert await outer.run(jobs.same, 2) == 2

    cluster.run(test)


def test_an_exception_in_the_block_cancels_the_jobs(cluster: Cluster, log: str, gate: str) -> None:
    async def test(outer: DaskPool) -> None:
        with pytest.raises(LookupError):
            async with DaskPool(cluster.client) as pool:
                call, _ = await cluster.when_begun(pool, jobs.note_and_wait, log, 1, gate)
                raise LookupError
        assert call.cancelled()
        await open_gate(gate)

    cluster.run(test)


def test_without_a_block_the_first_job_starts_the_pool(cluster: Cluster) -> None:
    async def test(outer: DaskPool) -> None:
        pool = DaskPool(cluster.client)
        assert await asyncio.gather(*(pool.run(jobs.same, i) for i in range(3))) == [0, 1, 2]
        await pool.aclose()

    cluster.run(test)


def test_two_pools_on_one_cluster(cluster: Cluster) -> None:
    async def test(first: DaskPool) -> None:
        async with DaskPool(cluster.client) as second:
            got: list[Any] = []
            await asyncio.gather(
                first.submit(jobs.count, (3,), on_progress=lambda value: got.append((1, value["done"]))),
                second.submit(jobs.count, (3,), on_progress=lambda value: got.append((2, value["done"]))),
            )
            assert sorted(got) == [(pool, done) for pool in (1, 2) for done in range(3)]

    cluster.run(test)


def test_a_client_that_is_closed_meanwhile(log: str, gate: str) -> None:
    async def main() -> None:
        async with small_cluster() as (cluster, client):
            pool = DaskPool(client)
            call = asyncio.create_task(pool.run(jobs.note_and_wait, log, 1, gate))
            async with asyncio.timeout(20):
                while not noted(log):
                    await asyncio.sleep(0.01)
            await client.close()
            with pytest.raises(RuntimeError, match="client was closed"):
                await call
            with pytest.raises(RuntimeError, match="closed"):
                await pool.run(jobs.same, 1)
            await open_gate(gate)
            await pool.aclose()

    glassloop.run(main())


def test_a_cluster_that_is_gone(log: str, gate: str) -> None:
    async def main() -> None:
        async with small_cluster() as (cluster, client):
            pool = DaskPool(client)
            call = asyncio.create_task(pool.run(jobs.note_and_wait, log, 1, gate))
            async with asyncio.timeout(20):
                while not noted(log):
                    await asyncio.sleep(0.01)
            closing = asyncio.create_task(cluster.close())
            with pytest.raises(RuntimeError, match="note_and_wait"):
                await call
            await open_gate(gate)
            await closing
            await pool.aclose()

    glassloop.run(main())


def test_only_an_asynchronous_client_will_do(cluster: Cluster) -> None:
    with pytest.raises(TypeError, match="Client is required"):
        DaskPool("tcp://127.0.0.1:8786")  # type: ignore[arg-type]

    async def make() -> DaskPool:
        return DaskPool(cluster.client)

    async def use(pool: DaskPool) -> None:
        with pytest.raises(RuntimeError, match="another loop"):
            await pool.run(jobs.same, 1)

    with pytest.raises(ValueError, match="must live in the running loop"):
        glassloop.run(make())
    glassloop.run(use(cluster.runner.run(make())))


@pytest.mark.parametrize("there", ["nowhere", "scheduler"])
def test_a_cluster_without_glassloop_is_refused(tmp_path: Path, there: str) -> None:
    """A worker that gets what it can't unpickle closes: such a job would wait for ever."""
    without = tmp_path / "without"
    without.mkdir()
    # -m looks for modules in the working directory first
    (without / "glassloop.py").write_text("raise ModuleNotFoundError(\"No module named 'glassloop'\", name='glassloop')\n")
    on_scheduler = tmp_path if there == "scheduler" else without

    def start(name: str, folder: Path, *arguments: str) -> Any:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--no-dashboard", *arguments]
        return subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)

    async def main() -> None:
        address = str(tmp_path / "scheduler.json")
        started = []
        try:
            started.append(start("scheduler", on_scheduler, "--port", "0", "--scheduler-file", address))
            started.append(start("worker", without, "--scheduler-file", address, "--no-nanny"))
            async with asyncio.timeout(30):
                while not os.path.exists(address):
                    await asyncio.sleep(0.01)
            async with distributed.Client(scheduler_file=address, asynchronous=True) as client:
                await client.wait_for_workers(1)
                with pytest.raises(ImportError, match="glassloop") as caught:
                    await DaskPool(client).run(jobs.same, 1)
                assert "must be installed" in caught.value.__notes__[0]
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()

    glassloop.run(main())


def test_without_dask_the_error_names_the_extra(python: Callable[..., Any]) -> None:
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "from glassloop import *\n"
        "try: DaskPool(None)\n"
        "except ImportError as e: print(e)"
    )
    assert "glassloop[cluster]" in python("-c", program).stdout
