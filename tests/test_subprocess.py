"""Subprocesses: starting them, their pipes, their end, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from peers import LIMIT, reports, turns
from process_table import children

pytestmark = pytest.mark.usefixtures("no_stragglers")

T = TypeVar("T")
PIPE = subprocess.PIPE
CONTROL = "--runtime=asyncio" in sys.argv


@pytest.fixture
def no_stragglers(no_leaks: None) -> Iterator[None]:
    """no_leaks, once asyncio's threads that wait for processes have ended."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith(("asyncio-waitpid", "waitpid-")):
            thread.join(LIMIT)


async def soon(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(LIMIT):
        return await awaitable


class Recorder(asyncio.SubprocessProtocol):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.output: dict[int, bytes] = {1: b"", 2: b""}
        self.over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output[fd] += data
        self.events.append(("data", fd))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("pipe lost", fd))

    def process_exited(self) -> None:
        self.events.append("exited")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.over.set_result(exc)


async def start(*args: Any, **options: Any) -> tuple[Any, Recorder]:
    transport, protocol = await asyncio.get_running_loop().subprocess_exec(Recorder, *args, **options)
    return transport, protocol


# ---- the protocol ----


def test_what_a_protocol_is_told_and_when(run: Any) -> None:
    async def main() -> None:
        transport, protocol = await start("sh", "-c", "read line; echo $line; echo error >&2; exit 7")
        assert protocol.events == ["made"] and protocol.transport is transport
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_returncode() is None and transport.get_pid() in children()
        assert transport.get_protocol() is protocol and not transport.is_closing()
        assert transport.get_extra_info("subprocess").pid == transport.get_pid()
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert transport.get_pipe_transport(3) is None
        assert f"pid={transport.get_pid()} running" in repr(transport)
        transport.get_pipe_transport(0).write(b"input\n")
        assert await soon(protocol.over) is None
        assert protocol.output == {1: b"input\n", 2: b"error\n"}
        assert transport.get_returncode() == 7 and "returncode=7" in repr(transport)
        events = protocol.events
        assert events[0] == "made" and events[-1] == "lost"
        assert sorted(map(str, events)) == sorted(
            map(
                str,
                [
                    "made",
                    ("data", 1),
                    ("data", 2),
                    ("pipe lost", 0),
                    ("pipe lost", 1),
                    ("pipe lost", 2),
                    "exited",
                    "lost",
                ],
            )
        )
        for fd in (1, 2):
            assert events.index(("data", fd)) < events.index(("pipe lost", fd))
        transport.close()

    run(main())


def test_the_shell(run: Any) -> None:
    async def main() -> None:
        transport, protocol = await asyncio.get_running_loop().subprocess_shell(Recorder, "echo $((6 * 7)) | cat")
        assert await soon(protocol.over) is None
        assert protocol.output[1] == b"42\n"
        transport.close()
        transport, protocol = await asyncio.get_running_loop().subprocess_shell(Recorder, b"exit 3")
        assert await soon(transport._wait()) == 3
        await soon(protocol.over)
        transport.close()

    run(main())


def test_another_protocol_goes_on(run: Any) -> None:
    async def main() -> None:
        transport, first = await start("cat", stderr=None)
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        transport.get_pipe_transport(0).write(b"data")
        transport.get_pipe_transport(0).close()
        await soon(second.over)
        assert second.output[1] == b"data" and first.events == ["made"]
        transport.close()

    run(main())


def test_a_failing_protocol_is_reported_and_the_process_goes_on(run: Any) -> None:
    async def main() -> None:
        class Failing(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                raise ZeroDivisionError

            def pipe_data_received(self, fd: int, data: bytes) -> None:
                super().pipe_data_received(fd, data)
                raise ZeroDivisionError

            def process_exited(self) -> None:
                super().process_exited()
                raise ZeroDivisionError

        told = reports()
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(Failing, "cat", stderr=None)
        transport.get_pipe_transport(0).write(b"data")
        transport.get_pipe_transport(0).write_eof()
        await soon(protocol.over)
        assert protocol.output[1] == b"data" and transport.get_returncode() == 0
        assert [type(context["exception"]) for context in told] == [ZeroDivisionError] * 3
        transport.close()

    run(main())


def test_close_kills(run: Any) -> None:
    async def main() -> None:
        transport, protocol = await start("sleep", "60")
        transport.close()
        transport.close()
        assert transport.is_closing() and "closed" in repr(transport)
        assert await soon(transport._wait()) == -signal.SIGKILL
        await soon(protocol.over)
        assert children() == []
        for signalling in (transport.kill, transport.terminate, lambda: transport.send_signal(signal.SIGINT)):
            with pytest.raises(ProcessLookupError):
                signalling()

    run(main())


# ---- streams ----


@pytest.fixture(params=["own", "asyncio"])
def names(request: pytest.FixtureRequest, aio: ModuleType) -> ModuleType:
    """The namespace of create_subprocess_exec(): the runtime's, or asyncio's on the runtime's loop."""
    return aio if request.param == "own" else asyncio


def test_communicate(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec(
            "sh", "-c", "tee /dev/stderr | tr a-z A-Z", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert isinstance(process, asyncio.subprocess.Process)
        assert process.returncode is None and process.pid in children() and str(process.pid) in repr(process)
        assert await soon(process.communicate(b"hello")) == (b"HELLO", b"hello")
        assert process.returncode == 0
        assert await soon(process.wait()) == 0
        process = await names.create_subprocess_shell("exec cat >&2", stdin=PIPE, stdout=PIPE, stderr=subprocess.STDOUT)
        assert await soon(process.communicate(memoryview(b"hello"))) == (b"hello", None)
        process = await names.create_subprocess_exec("true")
        assert await soon(process.communicate()) == (None, None)

    run(main())


def test_communicate_with_more_than_pipes_hold(run: Any, names: Any) -> None:
    async def main() -> None:
        data = os.urandom(1_000_000)
        process = await names.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, limit=1000)
        output, _ = await soon(process.communicate(data))
        assert output == data

    run(main())


def test_communicate_with_who_does_not_read(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
        assert await soon(process.communicate(b"x" * 1_000_000)) == (b"", None)
        assert process.returncode == 0

    run(main())


def test_a_dialogue(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        for n in range(100):
            process.stdin.write(b"%d\n" % n)
            await process.stdin.drain()
            assert await soon(process.stdout.readline()) == b"%d\n" % n
        assert process.stdin.can_write_eof()
        process.stdin.close()
        await soon(process.stdin.wait_closed())
        assert await soon(process.stdout.read()) == b""
        assert await soon(process.wait()) == 0

    run(main())


def test_output_is_held_back_by_who_does_not_read(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec("head", "-c", "3000000", "/dev/zero", stdout=PIPE, limit=1000)
        await asyncio.sleep(0.05)
        assert process.returncode is None
        assert len(process.stdout._buffer) < 300_000
        assert await soon(process.stdout.read()) == bytes(3_000_000)
        assert await soon(process.wait()) == 0

    run(main())


def test_what_stdin_says_when_nobody_reads(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec(
            "sh", "-c", "exec 0<&-; echo closed; read x <&1", stdin=PIPE, stdout=PIPE
        )
        await soon(process.stdout.readline())
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                process.stdin.write(b"x" * 100_000)
                await soon(process.stdin.drain())
        await soon(process.wait())

    run(main())


@pytest.mark.extra("asyncio's reader loses what a cancelled read() has taken")
def test_a_cancelled_communicate_loses_nothing(run: Any, names: Any, tmp_path: Path) -> None:
    async def main() -> None:
        flag = tmp_path / "flag"
        process = await names.create_subprocess_shell(
            f"cat; touch {flag}; sleep 0.1; echo done", stdin=PIPE, stdout=PIPE, limit=100
        )
        process.stdin.write(b"first ")
        task = asyncio.ensure_future(process.communicate(b"input "))
        while not flag.exists():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        output, _ = await soon(process.communicate())
        assert output == b"first input done\n"

    run(main())


@pytest.mark.extra("asyncio's reader loses what a cancelled read() has taken")
def test_a_timeout_of_communicate_with_full_pipes_loses_nothing(run: Any, aio: Any) -> None:
    async def main() -> None:
        data = os.urandom(500_000)
        process = await aio.create_subprocess_shell("sleep 0.1; cat; echo done", stdin=PIPE, stdout=PIPE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await process.communicate(data)
        output, _ = await soon(process.communicate())
        assert output == data + b"done\n"

    run(main())


@pytest.mark.extra("asyncio's reader loses what a cancelled read() has taken")
def test_a_timeout_then_kill(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_shell("echo partly; exec sleep 60", stdout=PIPE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await process.communicate()
        process.kill()
        assert await soon(process.communicate()) == (b"partly\n", None)
        assert process.returncode == -signal.SIGKILL

    run(main())


# ---- the end ----


def test_the_end_by_a_signal(run: Any, names: Any) -> None:
    async def main() -> None:
        for act, number in (
            (lambda process: process.kill(), signal.SIGKILL),
            (lambda process: process.terminate(), signal.SIGTERM),
            (lambda process: process.send_signal(signal.SIGUSR1), signal.SIGUSR1),
            (lambda process: os.kill(process.pid, signal.SIGABRT), signal.SIGABRT),
        ):
            process = await names.create_subprocess_exec("sleep", "60")
            act(process)
            assert await soon(process.wait()) == -number == process.returncode
            for signalling in (process.kill, process.terminate, lambda p=process: p.send_signal(signal.SIGINT)):
                with pytest.raises(ProcessLookupError):
                    signalling()

    run(main())


@pytest.mark.skipif(CONTROL and sys.version_info < (3, 14), reason="asyncio waits for the grandchild before 3.14")
def test_wait_does_not_wait_for_a_grandchild(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_shell("sleep 60 & echo $!; exit 5", stdout=PIPE)
        grandchild = int(await soon(process.stdout.readline()))
        try:
            assert await soon(process.wait()) == 5
            process.kill()  # as long as a pipe is open that is no error
        finally:
            os.kill(grandchild, signal.SIGKILL)
        assert await soon(process.stdout.read()) == b""
        await turns()
        with pytest.raises(ProcessLookupError):
            process.kill()

    run(main())


@pytest.mark.extra("in asyncio it depends on which end it sees first")
def test_all_is_over_when_wait_returns(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_shell("echo out; echo err >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        transport = process._transport
        assert await soon(process.wait()) == 0
        assert transport.is_closing()
        assert all(transport.get_pipe_transport(fd).is_closing() for fd in (0, 1, 2))
        assert await process.stdout.read() == b"out\n" and await process.stderr.read() == b"err\n"

    run(main())


def test_several_wait_and_one_is_cancelled(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec("cat", stdin=PIPE)
        tasks = [asyncio.ensure_future(process.wait()) for _ in range(3)]
        await turns()
        tasks[1].cancel()
        await turns()
        process.stdin.close()
        assert await soon(asyncio.gather(*tasks, return_exceptions=True)) != []
        assert [task.cancelled() or task.result() for task in tasks] == [0, True, 0]

    run(main())


def test_who_waits_late_is_answered_at_once(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec("true")
        while process.returncode is None:
            await asyncio.sleep(0.001)
        assert await soon(process.wait()) == 0

    run(main())


@pytest.mark.skipif(CONTROL and sys.version_info < (3, 12), reason="a thread of asyncio's takes it before")
def test_somebody_else_took_the_exit_status(run: Any, names: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        process = await names.create_subprocess_exec("sleep", "0.05")
        os.waitpid(process.pid, 0)  # before the loop looks
        assert await soon(process.wait()) == 255

    run(main())
    assert "exit status already read" in caplog.text or "Unknown child process" in caplog.text


@pytest.mark.extra("asyncio doesn't ask its Popen")
def test_its_popen_took_the_exit_status(run: Any, names: Any) -> None:
    async def main() -> None:
        process = await names.create_subprocess_shell("sleep 0.05; exit 9")
        process._transport.get_extra_info("subprocess").wait()
        assert await soon(process.wait()) == 9

    run(main())


def test_other_children_are_left_alone(run: Any, names: Any) -> None:
    async def main() -> None:
        other = subprocess.Popen(["sh", "-c", "exit 4"])
        process = await names.create_subprocess_exec("true")
        assert await soon(process.wait()) == 0
        assert other.wait() == 4

    handler = signal.getsignal(signal.SIGCHLD)
    run(main())
    assert signal.getsignal(signal.SIGCHLD) is handler


def test_a_handler_of_sigchld_hears_of_each_child(run: Any, names: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, heard.set)
        try:
            for code in range(3):
                heard.clear()
                assert await soon(exit_code(names, code)) == code
                await soon(heard.wait())
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)

    run(main())


@pytest.mark.extra("asyncio raises ProcessLookupError if the process has ended before it looks")
def test_where_the_system_reaps_the_children_the_end_is_known_but_not_how(
    run: Any, names: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            process = await names.create_subprocess_shell("echo data; exit 4", stdout=PIPE)
            assert await soon(process.communicate()) == (b"data\n", None)
            assert process.returncode == 255
        finally:
            signal.signal(signal.SIGCHLD, before)

    run(main())
    assert "exit status already read" in caplog.text or "Unknown child process" in caplog.text


@pytest.mark.extra("asyncio watches in other ways")
def test_output_is_not_lost_where_a_thread_sees_the_end_at_once(
    run: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_and_join(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("wait for"):
            thread.join()

    def no_pidfd(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "no pidfd here")

    async def main() -> None:
        process = await names.create_subprocess_shell("echo data; exit 4", stdout=PIPE)
        assert await soon(process.communicate()) == (b"data\n", None)
        assert process.returncode == 4

    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    monkeypatch.setattr(threading.Thread, "start", start_and_join)
    run(main())


def test_the_loop_of_another_thread(aio: Any, names: Any) -> None:
    results: list[Any] = []

    async def main() -> Any:
        process = await names.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        return await soon(process.communicate(b"data"))

    def work() -> None:
        with aio.Runner() as runner:
            results.append(runner.run(main()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert results == [(b"data", None)] * 4


# ---- without pidfd ----


def no_pidfd(pid: int, flags: int = 0) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.mark.extra("asyncio chooses a child watcher instead")
def test_where_there_is_no_pidfd_a_thread_waits(run: Any, names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pidfd_open", no_pidfd)

    async def main() -> None:
        process = await names.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert any(str(process.pid) in thread.name for thread in threading.enumerate())
        assert await soon(process.communicate(b"data")) == (b"data", None)
        assert process.returncode == 0
        process = await names.create_subprocess_exec("sleep", "60")
        process.terminate()
        assert await soon(process.wait()) == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            process.kill()
        results = await soon(asyncio.gather(*[exit_code(names, n) for n in range(20)]))
        assert results == list(range(20))

    run(main())
    assert children() == []


async def exit_code(names: Any, code: int) -> int:
    process = await names.create_subprocess_exec("sh", "-c", f"exit {code}")
    result: int = await process.wait()
    return result


@pytest.mark.extra("asyncio chooses a child watcher instead")
def test_a_loop_that_is_closed_while_a_thread_waits(
    aio: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    loop = aio.new_event_loop()
    transport, _ = loop.run_until_complete(
        loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None)
    )
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        os.kill(transport.get_pid(), signal.SIGKILL)
        for thread in threading.enumerate():
            if str(transport.get_pid()) in thread.name:
                thread.join(LIMIT)
        assert "is closed" in caplog.text
        del transport
        gc.collect()
    assert children() == []


# ---- faults ----


@pytest.mark.extra("a poller of glassloop's")
def test_where_the_poller_takes_no_pidfd_a_thread_waits(aio: Any) -> None:
    from glassloop.core.poller import SelectorPoller

    class Picky(SelectorPoller):  # type: ignore[misc]
        def register(self, fd: int, watcher: Any, events: int) -> None:
            if "pidfd" in os.readlink(f"/proc/self/fd/{fd}"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().register(fd, watcher, events)

    async def main() -> None:
        process = await aio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert any(str(process.pid) in thread.name for thread in threading.enumerate())
        assert await soon(process.communicate(b"data")) == (b"data", None)
        assert process.returncode == 0

    loop = aio.EventLoop(poller=Picky())
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.extra("a poller of glassloop's")
def test_pipes_that_cannot_be_watched_end_and_the_process_is_waited_for(aio: Any) -> None:
    from glassloop.core.poller import SelectorPoller

    class Picky(SelectorPoller):  # type: ignore[misc]
        refuses = False

        def register(self, fd: int, watcher: Any, events: int) -> None:
            if self.refuses and "pipe" in os.readlink(f"/proc/self/fd/{fd}"):
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            super().register(fd, watcher, events)

    async def main() -> None:
        poller.refuses = True
        process = await aio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        with pytest.raises(OSError):
            await soon(process.stdout.read())
        assert await soon(process.wait()) in (0, -signal.SIGPIPE)

    poller = Picky()
    loop = aio.EventLoop(poller=poller)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_out_of_descriptors_nothing_is_left(run: Any, names: Any) -> None:
    async def main() -> None:
        await (await names.create_subprocess_exec("true")).wait()  # what is loaded once is there
        await turns()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = len(os.listdir("/proc/self/fd"))
        failed, taken = 0, [os.open("/dev/null", os.O_RDONLY)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, hard))
            with pytest.raises(OSError):
                while True:
                    taken.append(os.dup(taken[0]))
            for _ in range(16):  # a start takes up to ten
                try:
                    process = await names.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
                except OSError as e:
                    assert e.errno == errno.EMFILE
                    failed += 1
                else:
                    assert await soon(process.communicate(b"data")) == (b"data", b"")
                os.close(taken.pop())
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert 0 < failed < 16
        await turns()
        assert len(os.listdir("/proc/self/fd")) == before
        assert children() == []

    run(main())


# ---- options ----


def test_wrong_options(run: Any, names: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wrong: list[dict[str, Any]] = [
            {"universal_newlines": True},
            {"bufsize": 4096},
            {"text": True},
            {"encoding": "ascii"},
            {"errors": "strict"},
        ]
        for options in wrong:
            with pytest.raises(ValueError):
                await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", **options)
            with pytest.raises(ValueError):
                await loop.subprocess_shell(asyncio.SubprocessProtocol, "true", **options)
            with pytest.raises(ValueError):
                await names.create_subprocess_exec("true", **options)
        with pytest.raises(ValueError):
            await names.create_subprocess_exec("true", shell=True)
        with pytest.raises(ValueError):
            await names.create_subprocess_shell("true", shell=False)
        with pytest.raises(ValueError):
            await names.create_subprocess_shell(["true"])
        with pytest.raises(TypeError):
            await names.create_subprocess_exec("true", nonsense=1)
        with pytest.raises(TypeError):
            await loop.subprocess_exec(asyncio.SubprocessProtocol)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            await names.create_subprocess_exec(1)
        with pytest.raises(ValueError):
            await names.create_subprocess_exec("true\0")
        assert children() == []

    run(main())


def test_no_such_program(run: Any, names: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await names.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        with pytest.raises(FileNotFoundError):
            await names.create_subprocess_exec("true", cwd=tmp_path / "nowhere")
        (tmp_path / "file").write_text("")
        with pytest.raises(PermissionError):
            await names.create_subprocess_exec(tmp_path / "file")
        assert children() == []

    run(main())


def test_options_of_popen(run: Any, names: Any, tmp_path: Path) -> None:
    async def output(*args: Any, **options: Any) -> bytes:
        process = await names.create_subprocess_exec(*args, stdout=PIPE, **options)
        result, _ = await soon(process.communicate())
        assert process.returncode == 0
        return bytes(result)

    async def main() -> None:
        assert await output("pwd", cwd=tmp_path) == os.fsencode(tmp_path) + b"\n"
        assert await output("sh", "-c", "echo $KEY", env={"KEY": "value", "PATH": os.environ["PATH"]}) == b"value\n"
        assert await output("whatever", "-c", "echo $0 $1", "one", executable="/bin/sh") == b"one\n"
        assert await output("sh", "-c", "umask", umask=0o027) == b"0027\n"
        group = os.getpgid(0)
        code = "import os; print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid())"
        assert await output(sys.executable, "-c", code, start_new_session=True) == b"True True\n"
        assert await output(sys.executable, "-c", code, process_group=0) == b"True False\n"
        assert os.getpgid(0) == group  # it is the child's alone
        assert await output(sys.executable, "-c", code, preexec_fn=os.setsid) == b"True True\n"
        read_fd, write_fd = os.pipe()
        try:
            write = f"import os; os.write({write_fd}, b'passed\\n')"
            assert await output(sys.executable, "-S", "-c", write, pass_fds=[write_fd]) == b""
            assert os.read(read_fd, 100) == b"passed\n"
        finally:
            os.close(read_fd)
            os.close(write_fd)
        with open(tmp_path / "log", "wb") as log:
            process = await names.create_subprocess_shell(
                "cat; echo err >&2", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            assert await soon(process.wait()) == 0
            assert process.stdin is process.stdout is process.stderr is None
        assert (tmp_path / "log").read_text() == "err\n"
        process = await names.create_subprocess_exec("sh", "-c", "ls /proc/self/fd", stdout=PIPE, close_fds=True)
        assert len((await soon(process.communicate()))[0].split()) == 4  # 0, 1, 2 and ls's own

    run(main())


def test_cancelled_while_it_starts(run: Any, names: Any) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(names.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert children() == []

    run(main())


# ---- nothing stays ----


def test_many_at_once_leave_nothing(run: Any, names: Any) -> None:
    async def one(n: int) -> bytes:
        process = await names.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        output, _ = await process.communicate(b"%d" % n)
        return bytes(output)

    async def main() -> None:
        await one(0)
        before = set(os.listdir("/proc/self/fd"))
        for start in range(0, 200, 50):
            group = range(start, start + 50)
            assert await soon(asyncio.gather(*map(one, group))) == [b"%d" % n for n in group]
        await turns()
        assert set(os.listdir("/proc/self/fd")) == before
        assert len(asyncio.all_tasks()) == 1
        assert children() == []

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        run(main())
        gc.collect()


@pytest.mark.extra("asyncio raises in its finalizer")
def test_a_loop_closed_while_a_process_runs(aio: Any) -> None:
    loop = aio.new_event_loop()
    transport, _ = loop.run_until_complete(loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60"))
    pid = transport.get_pid()
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    messages = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    assert any("unclosed transport" in message and str(pid) in message for message in messages)
    subprocess.run(["true"])  # the next Popen reaps those that nobody waits for
    deadline = time.monotonic() + LIMIT
    while children() and time.monotonic() < deadline:
        subprocess.run(["true"])
    assert children() == []


def test_a_process_that_is_not_waited_for_is_no_zombie(run: Any, names: Any) -> None:
    async def main() -> None:
        for _ in range(5):
            await names.create_subprocess_exec("true")
        async with asyncio.timeout(LIMIT):
            while children():
                await asyncio.sleep(0.005)

    run(main())


def test_a_child_of_fork_can_have_processes_of_its_own(python: Any) -> None:
    program = """if True:
        import asyncio, os, sys
        aio = asyncio if sys.argv[1] == "asyncio" else __import__("glassloop")
        async def main(text):
            process = await aio.create_subprocess_exec("echo", text, stdout=-1)
            return (await process.communicate())[0].decode()
        async def parent():
            mine = await main("parent")
            pid = os.fork()
            if not pid:
                asyncio._set_running_loop(None)
                try:
                    print(aio.run(main("child")), end="", flush=True)
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            return mine + await main("again")
        print(aio.run(parent()), end="")
    """
    done = python("-W", "error", "-c", program, "asyncio" if CONTROL else "glassloop")
    assert (done.stdout, done.stderr) == ("child\nparent\nagain\n", "")


def test_the_names(aio: Any) -> None:
    assert set(asyncio.subprocess.__all__) <= set(dir(aio))
    for name in ("PIPE", "STDOUT", "DEVNULL"):
        assert getattr(aio.subprocess, name) == getattr(subprocess, name)
    assert aio.subprocess.create_subprocess_exec is aio.create_subprocess_exec
    assert issubclass(aio.subprocess.Process, asyncio.subprocess.Process)
