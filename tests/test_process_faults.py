"""What ends before its time: workers that crash, are killed or cancelled, parents that die, fork, close their loop or leave. Nothing
is lost, run twice or left behind.

GLASSLOOP_FAULTS=1000 (a number; GLASSLOOP_SEED=...) makes the random test as long as that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import process_jobs as jobs
import pytest
from peers import LIMIT
from process_table import alive, children, soon, there

import glassloop
from glassloop import BrokenWorkerProcess, ProcessPool, to_process
from glassloop.work import processes

T = TypeVar("T")
Run = Callable[..., Any]

not_sanitized = pytest.mark.skipif(
    "GLASSLOOP_SANITIZE" in os.environ, reason="the address sanitizer has its own way of segmentation faults and forks"
)

ROUNDS = int(os.environ.get("GLASSLOOP_FAULTS", "60"))
SEED = int(os.environ.get("GLASSLOOP_SEED", "1"))


@pytest.fixture(autouse=True)
def nothing_left(no_leaks: None) -> Iterator[None]:
    """No descriptor, no thread, no process, not even a dead one."""
    before = children()
    yield
    assert children() == before


# ---- crashes ----

@pytest.mark.parametrize(
    ("function", "args", "returncode", "how"),
    [
        pytest.param(jobs.segmentation_fault, (), -11, "was killed by signal 11 (SIGSEGV)", marks=not_sanitized),
        (jobs.kill_self, (6,), -6, "was killed by signal 6 (SIGABRT)"),
        (jobs.exit_now, (3,), 3, "ended with exit code 3"),
        (jobs.exit_now, (0,), 0, "ended with exit code 0"),
        (jobs.kill_self, (9,), -9, "was killed by signal 9 (SIGKILL)"),
        (jobs.kill_self, (40,), -40, "was killed by signal 40"),
        (jobs.close_everything, (), 1, "ended with exit code 1"),
    ],
)
def test_a_crash_fails_its_own_job_and_says_how(
    run: Run, function: Any, args: Any, returncode: int, how: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def main() -> None:
        async with ProcessPool(2) as pool:
            gate = tmp_path / "gate"
            other = asyncio.create_task(pool.run(jobs.announce, str(tmp_path / "begun"), "wait_for_file", str(gate)))
            await there(tmp_path / "begun")
            waiting = asyncio.create_task(pool.run(function, *args))
            after = asyncio.create_task(pool.run(jobs.add, 1))
            with pytest.raises(BrokenWorkerProcess) as caught:
                await soon(waiting)
            error = caught.value
            assert str(error) == f"the worker process (pid {error.pid}) {how} while it ran process_jobs.{function.__name__}"
            assert (error.returncode, error.function) == (returncode, f"process_jobs.{function.__name__}")
            assert await soon(after) == 2
            gate.touch()
            assert await soon(other) != error.pid

    run(main())


def test_a_job_that_writes_into_the_channel_fails_alone(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            with pytest.raises(BrokenWorkerProcess):
                await soon(pool.run(jobs.write_into_channel))
            assert await soon(pool.run(jobs.add, 1)) == 2

    run(main())


def test_a_grandchild_that_holds_the_channel_does_not_hide_the_end(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            grandchild = await pool.run(jobs.start_and_hold)
            try:
                with pytest.raises(BrokenWorkerProcess):
                    await soon(pool.run(jobs.exit_now, 5))
                assert await soon(pool.run(jobs.add, 1)) == 2
            finally:
                os.kill(grandchild, signal.SIGKILL)

    run(main())


@not_sanitized
def test_a_forked_child_that_comes_back_from_a_job_is_no_worker(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            worker = await pool.run(jobs.pid)
            assert await soon(pool.run(jobs.fork_and_return)) == worker
            assert await soon(pool.run(jobs.pid)) == worker

    run(main())
    assert "Bad file descriptor" in capfd.readouterr().err  # the child's last words


def test_a_worker_that_dies_while_it_is_idle_costs_no_job(run: Run) -> None:
    """The job is sent to it before the loop can know, or while a thread writes the argument."""

    async def main() -> None:
        async with ProcessPool(1) as pool:
            for size in [10, 100_000, 3_000_000] * 4 + [30_000_000] * 2:
                worker = await pool.run(jobs.pid)
                os.kill(worker, signal.SIGKILL)
                assert await soon(pool.run(jobs.pid, b"x" * size)) not in (worker, os.getpid())

    run(main())


def test_a_worker_that_cannot_start_fails_the_job_and_is_not_tried_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", "/bin/false")
                with pytest.raises(BrokenWorkerProcess, match="exit code 1 before it began process_jobs.pid"):
                    await soon(pool.run(jobs.pid))
                patch.setattr(sys, "executable", "/nowhere/python")
                with pytest.raises(FileNotFoundError):
                    await soon(pool.run(jobs.pid))
                patch.setattr(sys, "executable", "")
                with pytest.raises(RuntimeError, match=r"sys\.executable is not known"):
                    await soon(pool.run(jobs.pid))
            assert await soon(pool.run(jobs.add, 1)) == 2

    run(main())


def test_out_of_descriptors_is_an_error_and_passes(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(2) as pool:
            worker = await pool.run(jobs.pid)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(jobs.descriptors()) + 1, limits[1]))
            filler = []
            try:
                with contextlib.suppress(OSError):
                    while True:
                        filler.append(os.dup(0))
                with pytest.raises(OSError) as sending:
                    await soon(pool.run(len, np.zeros(3_000_000)))
                with pytest.raises(OSError) as receiving:
                    await soon(pool.run(jobs.zeros, 3_000_000))
                busy = asyncio.create_task(pool.run(jobs.sleep, 0.05))
                await asyncio.sleep(0)
                with pytest.raises(OSError) as starting:
                    await soon(pool.run(jobs.pid))
                await busy
            finally:
                for fd in filler:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert {e.value.errno for e in (sending, receiving, starting)} == {errno.EMFILE}
            assert await soon(pool.run(jobs.pid)) == worker
            assert len(await soon(pool.run(jobs.zeros, 3_000_000))) == 3_000_000

    run(main())


def test_workers_work_where_standard_streams_are_closed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import glassloop, process_jobs as jobs\n"
        "async def main():\n"
        "    await glassloop.to_process(print, 'into nothing')\n"
        "    return await glassloop.to_process(jobs.add, 41)\n"
        "if __name__ == '__main__':\n"
        "    with open(sys.argv[1], 'w') as file: print(glassloop.run(main()), file=file)\n"
    )
    command = f'exec "{sys.executable}" "{program}" "{tmp_path}/result" 0<&- 1>&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", command], timeout=LIMIT * 2).returncode == 0
    assert (tmp_path / "result").read_text() == "42\n"


class Dribble:
    """A socket that takes a little at a time, and every third time nothing."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, data: Any) -> int:
        return self.sendmsg([data], [])

    def sendmsg(self, buffers: Any, ancillary: Any, *_: Any) -> int:
        self._calls += 1
        if self._calls % 3 == 0:
            raise BlockingIOError
        sent: int = self._sock.sendmsg([memoryview(buffers[0])[:997 if self._calls > 9 else 3]], ancillary)
        return sent


def test_a_channel_that_takes_little_at_a_time_loses_nothing(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            await pool.run(jobs.pid)
            [worker] = pool._workers
            for size in (0, 10, 5_000, 300_000, 3_000_000):
                worker._sock = Dribble(worker._sock)  # type: ignore[assignment]
                data = np.frombuffer(os.urandom(size), "u1")
                assert (await soon(pool.run(jobs.same, data)) == data).all()
                worker._sock = worker._sock._sock
            # killed half-way
            worker._sock = Dribble(worker._sock)  # type: ignore[assignment]
            job = asyncio.create_task(pool.run(jobs.same, b"x" * 900_000))
            for _ in range(5):
                await asyncio.sleep(0)
            assert worker._out
            worker._child.send_signal(signal.SIGKILL)
            assert len(await soon(job)) == 900_000  # by another one: this one never had all of it

    run(main())


# ---- cancelling ----

@pytest.mark.parametrize(("then", "args"), [("sleep", (60,)), ("hold_the_gil", ())])
def test_cancelling_ends_the_worker_of_the_job_and_no_other(run: Run, tmp_path: Path, then: str, args: Any) -> None:
    async def main() -> None:
        async with ProcessPool(2) as pool:
            gate, begun = tmp_path / "gate", tmp_path / "begun"
            other = asyncio.create_task(pool.run(jobs.announce, str(tmp_path / "other"), "wait_for_file", str(gate)))
            await there(tmp_path / "other")
            job = asyncio.create_task(pool.run(jobs.announce, str(begun), then, *args))
            worker = int(await there(begun))
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(job)
            assert not alive(worker) and worker not in children()
            assert await soon(pool.run(jobs.pid)) != worker
            gate.touch()
            await soon(other)

    run(main())


def test_a_job_that_ignores_signals_can_be_cancelled_and_timed_out(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        begun = tmp_path / "begun"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                async def watch() -> None:
                    await there(begun)
                    limit.reschedule(0)

                watching = asyncio.create_task(watch())
                await to_process(jobs.ignore_terms, str(begun))
        await watching
        assert not alive(int(await there(begun)))

    run(main())


def test_cancelling_while_the_worker_starts_or_a_large_argument_is_sent(run: Run) -> None:
    async def main() -> None:
        large = np.zeros(30_000_000, "u1")
        middle = b"x" * 1_000_000
        async with ProcessPool(1) as pool:
            for wait in (0, 0, 0.001, 0.01, 0.02, 0.04):
                for what in (1, large, middle):
                    job = asyncio.create_task(pool.run(jobs.same, what))
                    await asyncio.sleep(wait)
                    if job.cancel():
                        await soon(asyncio.wait([job]))
            assert await soon(pool.run(jobs.add, 1)) == 2

    run(main())


# ---- at random ----

async def one_round(pool: ProcessPool, chance: random.Random, folder: str, name: str, payload: Any) -> str:
    """A job that ends in one way or another: how it ended."""
    kind = chance.choice(["plain", "plain", "large", "crash", "exit", "cancel", "cancel early", "kill", "fail"])
    path = Path(folder, name)
    if kind in ("crash", "exit"):
        then = ("kill_self", 6) if kind == "crash" else ("exit_now", 7)
        with pytest.raises(BrokenWorkerProcess) as caught:
            await pool.run(jobs.mark, folder, name, *then)
        if caught.value.returncode != (-6 if kind == "crash" else 7):
            raise caught.value  # by another hand
        return "once"
    if kind in ("cancel", "kill"):
        job = asyncio.create_task(pool.run(jobs.mark, folder, name, "sleep", 60))
        while not path.exists() or not path.read_text():
            await asyncio.sleep(0.003)
            if job.done():
                await job
        worker = int(path.read_text())
        if kind == "kill":
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            with pytest.raises(BrokenWorkerProcess):
                await job
        elif job.cancel():
            with pytest.raises(asyncio.CancelledError):
                await job
        assert not alive(worker)
        return "once"
    if kind == "cancel early":
        job = asyncio.create_task(pool.run(jobs.mark, folder, name, "same", 1))
        await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.05]))
        job.cancel()
        done = await asyncio.gather(job, return_exceptions=True)
        return "once" if done == [1] else "at most once"
    if kind == "fail":
        with pytest.raises(ValueError):
            await pool.run(jobs.mark, folder, name, "fail", "so")
        return "once"
    if kind == "large":
        array = await pool.run(jobs.mark, folder, name, "same", payload)
        assert array.nbytes == payload.nbytes
        return "once"
    assert await pool.run(jobs.mark, folder, name, "same", name) == name
    return "once"


def test_crashes_cancellations_and_kills_at_random(run: Run, tmp_path: Path) -> None:
    """Meanwhile one worker after the other is killed, idle, starting or busy: whoever had a job in it is told."""

    async def main() -> None:
        chance = random.Random(SEED)
        payload = np.ones(2_000_000, "u1")
        ended: dict[str, str] = {}
        killed = set()

        async def kill_now_and_then() -> None:
            while True:
                await asyncio.sleep(chance.random() * 0.1)
                for worker in chance.sample(sorted(pool._workers, key=lambda worker: worker.pid), min(1, len(pool._workers))):
                    killed.add(worker.pid)
                    worker._child.send_signal(signal.SIGKILL)

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                name = f"job{number}"
                try:
                    ended[name] = await soon(one_round(pool, chance, str(tmp_path), name, payload))
                except BrokenWorkerProcess as error:
                    assert error.pid in killed, error
                    ended[name] = "at most once"

        async with ProcessPool(3, max_tasks_per_worker=7, idle_timeout=0.05) as pool:
            numbers = iter(range(ROUNDS))
            killer = asyncio.create_task(kill_now_and_then())
            async with asyncio.TaskGroup() as group:
                for _ in range(6):
                    group.create_task(work(numbers))
            killer.cancel()
        for name, times in ended.items():
            path = tmp_path / name
            lines = len(path.read_text().splitlines()) if path.exists() else 0
            assert lines == 1 if times == "once" else lines <= 1, (name, times, lines)
        assert len(ended) == ROUNDS and killed
        assert children() == before

    before = children()
    open_before = jobs.descriptors()
    run(main())
    assert len(jobs.descriptors()) == len(open_before)


# ---- the parent's end ----

PARENT = """
import sys
sys.path.insert(0, {tests!r})
import asyncio, os, signal, time
import glassloop
from glassloop import ProcessPool
import process_jobs as jobs

async def main():
    folder, how = sys.argv[1:]
    computes = ['hold_the_gil']
    if how == 'elsewhere':
        from glassloop.work import workerprocess
        workerprocess.START = 'import sys; sys.platform = "elsewhere"\\n' + workerprocess.START
        computes = ['sleep', 600]
    pool, other = ProcessPool(2), ProcessPool(1)
    await asyncio.gather(other.run(jobs.pid), glassloop.to_process(jobs.pid))
    running = [
        asyncio.create_task(pool.run(jobs.announce, f'{{folder}}/sleeps', 'sleep', 600)),
        asyncio.create_task(pool.run(jobs.announce, f'{{folder}}/computes', *computes)),
    ]
    while not all(os.path.exists(f'{{folder}}/{{name}}') for name in ('sleeps', 'computes')):
        await asyncio.sleep(0.01)
    last = ProcessPool(1)
    starting = asyncio.create_task(last.run(jobs.sleep, 600))
    await asyncio.sleep(0)
    for one in pool, other, last, asyncio.get_running_loop()._processes.own:
        for worker in one._workers:
            print(worker.pid, flush=True)
    print('ready', flush=True)
    if how in ('kill', 'elsewhere'):
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == 'exit':
        os._exit(0)
    elif how == 'leave':
        sys.exit(0)
    elif how == 'fork':
        child = os.fork()
        if not child:
            os.close(1)
            time.sleep(600)
        with open(f'{{folder}}/child', 'w') as file:
            file.write(str(child))
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == 'return':
        return

if sys.argv[2] == 'unclosed':
    loop = glassloop.new_event_loop()
    task = loop.create_task(main())
    loop.run_until_complete(task)
else:
    glassloop.run(main())
"""


@pytest.mark.parametrize("how", ["kill", "exit", "leave", pytest.param("fork", marks=not_sanitized), "return", "unclosed", "elsewhere"])
def test_no_worker_outlives_its_parent(how: str, tmp_path: Path) -> None:
    """Idle, sleeping, computing with the GIL held, just starting; killed, left in one way or another, killed while a fork of
    it lives; killed on a system whose kernel doesn't do it (there a thread does, and not while the GIL is held)."""
    program = tmp_path / "program.py"
    program.write_text(PARENT.format(tests=str(Path(__file__).parent)))
    with subprocess.Popen([sys.executable, program, tmp_path, how], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = []
        for line in parent.stdout:
            if line == "ready\n":
                break
            workers.append(int(line))
        parent.wait(LIMIT)
    assert len(workers) == 5
    end = time.monotonic() + 2
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.01)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if how == "fork":
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert not left


def ctrl_c_program(folder: Path) -> Path:
    program = folder / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import glassloop, process_jobs as jobs\n"
        "async def main():\n"
        "    async with glassloop.ProcessPool(3) as pool:\n"
        "        await pool.run(jobs.pid)\n"
        "        calls = [pool.run(jobs.announce, f'{sys.argv[1]}/begun', 'sleep', 600), pool.run(jobs.sleep, 600)]\n"
        "        if len(sys.argv) > 2: calls = [pool.run(jobs.sleep, 600) for _ in range(3)]\n"
        "        tasks = [asyncio.create_task(call) for call in calls]\n"
        "        await asyncio.sleep(0)\n"
        "        print('started', flush=True)\n"
        "        await asyncio.wait(tasks)\n"
        "if __name__ == '__main__': glassloop.run(main())\n"
    )
    return program


@pytest.mark.parametrize("early", [False, True])
def test_ctrl_c_ends_the_program_and_its_workers_without_a_word_of_theirs(early: bool, tmp_path: Path) -> None:
    """A terminal sends it to all of them; early: while workers start."""
    command = [sys.executable, str(ctrl_c_program(tmp_path)), str(tmp_path), *(["early"] if early else [])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        end = time.monotonic() + LIMIT
        while not early and not (tmp_path / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT * 2)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt\n") + errors.count("CancelledError\n")
    assert "worker.py" not in errors and "importlib" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@not_sanitized
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_lets_go_and_has_a_pool_of_its_own(run: Run) -> None:
    async def work() -> int:
        return await to_process(jobs.pid)

    async def main() -> None:
        async with ProcessPool(1) as pool:
            worker = await pool.run(jobs.pid)
            ours = await work()
            mine = jobs.descriptors()
            child = os.fork()
            if not child:
                code = 1
                try:
                    left = {fd for fd, target in jobs.descriptors().items() if mine.get(fd) == target}
                    sockets = [fd for fd in left if mine[fd].startswith("socket:")]
                    theirs = glassloop.run(work())
                    code = 0 if not sockets and theirs not in (ours, worker) else 2
                finally:
                    os._exit(code)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert await pool.run(jobs.pid) == worker
            assert await work() == ours

    run(main())


# ---- the loop's end ----

def test_a_loop_closed_with_workers_ends_them(tmp_path: Path) -> None:
    loop = glassloop.new_event_loop()
    pool = ProcessPool(2)

    async def main() -> Any:
        job = asyncio.create_task(pool.run(jobs.announce, str(tmp_path / "begun"), "sleep", 600))
        await to_process(jobs.pid)
        await there(tmp_path / "begun")
        await pool.run(jobs.leave_at_exit, str(tmp_path / "left"))
        return job

    job = loop.run_until_complete(main())
    with pytest.warns(ResourceWarning, match="unclosed <ProcessPool"):
        loop.close()
    assert children() == []
    assert (tmp_path / "left").exists()  # the idle one left as it should
    assert not job.done()
    with pytest.raises(RuntimeError):
        asyncio.run(pool.run(jobs.pid))


def test_a_worker_that_does_not_end_by_itself_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LAST_WORDS", 0.1)

    async def main() -> None:
        async with ProcessPool(1, max_tasks_per_worker=1) as pool:
            await pool.run(jobs.stay_at_exit)
        async with ProcessPool(1) as pool:
            await pool.run(jobs.stay_at_exit)

    run(main())
    run(to_process(jobs.stay_at_exit))


# ---- other systems, other programs ----

def test_without_pidfd_all_is_the_same(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.ENOSYS, "no pidfd")

    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def main() -> None:
        async with ProcessPool(1) as pool:
            assert await pool.run(jobs.add, 1) == 2
            with pytest.raises(BrokenWorkerProcess, match="exit code 3"):
                await soon(pool.run(jobs.exit_now, 3))
            job = asyncio.create_task(pool.run(jobs.announce, str(tmp_path / "begun"), "sleep", 60))
            worker = int(await there(tmp_path / "begun"))
            job.cancel()
            await soon(asyncio.wait([job]))
            assert job.cancelled() and not alive(worker)
            assert await soon(pool.run(jobs.add, 1)) == 2

    run(main())
    assert run(to_process(jobs.add, 1)) == 2


def test_the_programs_own_children_are_left_alone(run: Run) -> None:
    async def main() -> None:
        own = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
        with pytest.raises(BrokenWorkerProcess):
            await to_process(jobs.exit_now, 3)
        assert own.wait() == 7
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 8")
        await to_process(jobs.add, 1)
        assert await process.wait() == 8
        seen = []
        before = signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
        try:
            await to_process(jobs.add, 1)
            assert signal.getsignal(signal.SIGCHLD) is not before
        finally:
            signal.signal(signal.SIGCHLD, before)

    run(main())


def test_where_children_are_not_reported_jobs_work_all_the_same(run: Run) -> None:
    async def main() -> None:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            async with ProcessPool(1) as pool:
                assert await pool.run(jobs.add, 1) == 2
                with pytest.raises(BrokenWorkerProcess):
                    await soon(pool.run(jobs.exit_now, 3))
                assert await soon(pool.run(jobs.add, 1)) == 2
        finally:
            signal.signal(signal.SIGCHLD, before)

    run(main())


def test_debug_mode_has_nothing_to_say(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 10
        await to_process(jobs.add, 1)
        job = asyncio.create_task(to_process(jobs.sleep, 60))
        await asyncio.sleep(0.05)
        job.cancel()
        await asyncio.wait([job])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main(), debug=True)
    assert [r for r in caplog.records if r.levelno > 20] == []
