"""The wounds of the field: what asyncio or uvloop get wrong, each as the test that shows it. Here all of them pass.

`@wound(upstream, asyncio_heals=...)` names the report upstream, where there is one, and since which Python asyncio
itself does it right: () means always (the wound is uvloop's), None means never. Where asyncio does it right the test
runs on it too, as the control.

tests/wounds.py runs the same tests on asyncio and uvloop and prints who fails; docs/wounds.md is its table.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import math
import os
import socket
import ssl
import struct
import sys
import textwrap
import threading
import time
import types
from typing import Any

import pytest
from tls_peer import Peer, secured, server_context

ELSEWHERE = os.environ.get("GLASSLOOP_WOUNDS_ON")  # asyncio or uvloop: by tests/wounds.py
LIMIT = 10.0  # seconds


def wound(upstream: str, *, asyncio_heals: tuple[int, ...] | None = None) -> Any:
    def mark(test: Any) -> Any:
        test.upstream = upstream
        if ELSEWHERE or (asyncio_heals is not None and sys.version_info >= asyncio_heals):
            return test
        return pytest.mark.extra("a wound of asyncio's")(test)

    return mark


@pytest.fixture(scope="session")
def aio(request: Any) -> Any:
    """The namespace under test; with a loop of uvloop's where tests/wounds.py asks for one."""
    if ELSEWHERE == "uvloop":
        import uvloop

        names = types.ModuleType("uvloop")
        names.__dict__.update({name: getattr(asyncio, name) for name in asyncio.__all__})
        names.new_event_loop = uvloop.new_event_loop  # type: ignore[attr-defined]
        names.Runner = functools.partial(asyncio.Runner, loop_factory=uvloop.new_event_loop)  # type: ignore[attr-defined]
        return names
    if request.config.getoption("--runtime") == "asyncio":
        return asyncio
    import importlib

    return importlib.import_module("glassloop")


@pytest.fixture
def program(aio: Any, python: Any) -> Any:
    """`program(source)`: run it in a process of its own, with `new_event_loop` and `run` of the runtime; its output."""

    def program(source: str) -> str:
        prelude = f"import asyncio, gc, os, socket, sys, threading, time\nfrom {aio.__name__} import new_event_loop\n"
        prelude += "def run(main):\n    with asyncio.Runner(loop_factory=new_event_loop) as runner:\n        return runner.run(main)\n"
        done = python("-W", "ignore", "-c", prelude + textwrap.dedent(source), timeout=30)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return str(done.stdout)

    return program


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(LIMIT):
        return await awaitable


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    ours.setblocking(False)
    other.setblocking(False)
    return ours, other


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Note(asyncio.Protocol):
    """Keeps its transport and what ended it."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


# ---- time ----


@wound("uvloop #359", asyncio_heals=())
def test_a_timer_never_fires_early(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for i in range(60):
            delay = 0.0005 + i % 7 * 0.0003
            fired = loop.create_future()
            until = time.monotonic() + 0.0007  # the loop is late, as it is in any program
            while time.monotonic() < until:
                pass
            asked = time.monotonic()
            loop.call_later(delay, lambda fired=fired: fired.set_result(time.monotonic()))
            assert await fired - asked >= delay

    run(main())


@wound("uvloop #359", asyncio_heals=())
def test_the_clock_counts_in_less_than_milliseconds(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(5):
            before, until = loop.time(), time.monotonic() + 0.0002
            while time.monotonic() < until:
                pass
            assert loop.time() - before >= 0.0002
            await asyncio.sleep(0)

    run(main())


@wound("")
def test_a_short_sleep_is_short(run: Any, runtime: str) -> None:
    if runtime == "interpreted":
        pytest.skip("the interpreter's own epoll counts in milliseconds")

    async def main() -> float:
        best = 1.0
        for _ in range(100):
            before = time.monotonic()
            await asyncio.sleep(0.0001)
            best = min(best, time.monotonic() - before)
        return best

    assert 0.0001 <= run(main()) < 0.0008


@wound("")
def test_a_deadline_that_is_not_a_number_upsets_no_other(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        fired: list[int] = []
        for i in (3, 1, 4, 2):
            try:
                loop.call_later(math.nan, fired.append, 0)
            except ValueError:
                pass
            loop.call_later(i / 200, fired.append, i)
        async with asyncio.timeout(LIMIT):
            while len(fired) < 4:
                await asyncio.sleep(0.01)
        assert fired == [1, 2, 3, 4]

    run(main())


# ---- tasks ----


@wound("cpython #91887")
def test_a_task_that_nobody_else_holds_is_not_collected(run: Any) -> None:
    async def main() -> None:
        ended: list[int] = []

        async def work(n: int) -> None:
            try:
                await asyncio.get_running_loop().create_future()  # a circle that nobody else holds
            finally:
                ended.append(n)

        for n in range(10):
            asyncio.get_running_loop().create_task(work(n))
        await turns()
        for _ in range(3):
            gc.collect()
            await turns()
        assert ended == []
        assert len(asyncio.all_tasks()) == 11
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # type: ignore[operator]
            task.cancel()

    run(main())


@wound("")
def test_a_long_chain_of_tasks_can_be_cancelled(aio: Any, run: Any) -> None:
    async def main() -> None:
        innermost = asyncio.get_running_loop().create_future()

        async def follow(waits_for: Any) -> None:
            await waits_for

        tasks = [aio.create_task(follow(innermost))]
        for _ in range(20_000):
            tasks.append(aio.create_task(follow(tasks[-1])))
        await turns()
        tasks[-1].cancel()
        done, pending = await asyncio.wait(tasks, timeout=LIMIT)
        assert not pending
        assert all(task.cancelled() for task in done)

    run(main())


@wound("cpython #155338")  # from 3.14 on asyncio refuses it
def test_a_task_started_eagerly_from_another_thread_leaves_the_running_task_alone(aio: Any, run: Any) -> None:
    if not hasattr(aio, "eager_task_factory"):
        pytest.skip("eager tasks are new in Python 3.12")
    problems: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: problems.append(context))
        asyncio.current_task().set_name("main")  # type: ignore[union-attr]
        began, ended = threading.Event(), threading.Event()
        tasks: list[Any] = []

        async def slow() -> None:
            began.set()
            ended.wait(0.3)  # as a system call does

        def other_thread() -> None:
            tasks.append(aio.eager_task_factory(loop, slow()))
            loop.call_soon_threadsafe(lambda: None)

        thread = threading.Thread(target=other_thread)
        thread.start()
        for _ in range(50):
            await asyncio.sleep(0.002)
            if began.is_set():
                assert asyncio.current_task().get_name() == "main"  # type: ignore[union-attr]
        ended.set()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        await soon(tasks[0])

    run(main())
    assert problems == []


@wound("", asyncio_heals=(3, 13))
def test_a_notice_to_a_waiter_that_is_cancelled_goes_to_another(aio: Any, run: Any) -> None:
    async def main() -> None:
        condition = aio.Condition()
        ready: list[int] = []

        async def consume(n: int) -> None:
            async with condition:
                await condition.wait()
                ready.append(n)

        first, second = (asyncio.ensure_future(consume(n)) for n in range(2))
        await turns()
        await condition.acquire()
        condition.notify(1)
        await turns()
        first.cancel()  # woken already, it waits for the lock
        await turns()
        condition.release()
        await soon(asyncio.wait([second], timeout=LIMIT / 5))
        assert ready == [1]

    run(main())


@wound("", asyncio_heals=(3, 13))
def test_stop_iteration_leaves_a_thread_as_an_error(aio: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(aio.to_thread(next, iter(())), LIMIT / 5)

    run(main())


# ---- callbacks ----


@wound("")
def test_a_callback_that_fails_and_has_no_repr_breaks_nothing(run: Any) -> None:
    class Bad:
        def __call__(self) -> None:
            raise ZeroDivisionError

        def __repr__(self) -> str:
            raise TypeError("no repr")

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon(Bad())
        await turns()
        return "went on"

    assert run(main()) == "went on"


@wound("", asyncio_heals=())
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_data_received_ends_the_program(aio: Any, error: type[BaseException]) -> None:
    class Exits(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise error

    loop = aio.new_event_loop()
    ours, other = pair()
    transport, _ = loop.run_until_complete(loop.create_connection(Exits, sock=ours))
    other.send(b"x")
    loop.call_later(LIMIT / 5, loop.stop)
    try:
        with pytest.raises(error):
            loop.run_forever()
    finally:
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0.01))
        other.close()
        loop.close()


# ---- connections ----


@wound("uvloop #506", asyncio_heals=())
def test_a_write_to_a_connection_that_ended_is_no_error(run: Any) -> None:
    async def main() -> None:
        ours, other = pair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Note, sock=ours)
        reset(other)
        await soon(protocol.lost)
        await turns()
        for _ in range(10):
            transport.write(b"x")

    run(main())


@wound("")
@pytest.mark.parametrize("call", ["write", "writelines", "write_eof", "pause_reading", "resume_reading",
                                  "set_write_buffer_limits", "get_write_buffer_size"])
def test_a_connection_that_was_lost_takes_every_call(run: Any, call: str) -> None:
    arguments = {"write": (b"x" * 100_000,), "writelines": ([b"x", b"y" * 100_000],), "set_write_buffer_limits": (1,)}

    async def main() -> None:
        ours, other = pair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Note, sock=ours)
        transport.write(b"x" * 3_000_000)
        transport.abort()
        await soon(protocol.lost)
        await turns()
        getattr(transport, call)(*arguments.get(call, ()))
        other.close()

    run(main())


@wound("cpython #74116", asyncio_heals=())
def test_two_tasks_may_drain_at_once(aio: Any, run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, other = pair()
        _, writer = await aio.open_connection(sock=ours)
        writer.write(b"x" * 5_000_000)
        drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        await turns()
        assert not any(drain.done() for drain in drains)
        drains[1].cancel()
        left = 5_000_000
        while left:
            left -= len(await soon(loop.sock_recv(other, 1_000_000)))
        await soon(asyncio.gather(drains[0], drains[2]))
        writer.close()
        other.close()

    run(main())


@wound("cpython #83037")
def test_a_reset_of_what_is_closed_anyway_is_not_raised(aio: Any, run: Any) -> None:
    async def main() -> None:
        ours, other = pair()
        reader, writer = await aio.open_connection(sock=ours)
        reset(other)
        with pytest.raises(ConnectionError):
            await soon(reader.read(1))
        writer.close()
        await soon(writer.wait_closed())

    run(main())


@wound("cpython #116279", asyncio_heals=())
def test_a_stream_that_nobody_reads_holds_little(aio: Any, run: Any) -> None:
    async def main() -> None:
        ours, other = pair()
        reader, writer = await aio.open_connection(sock=ours, limit=10_000)
        sent = 0
        for _ in range(400):
            try:
                sent += other.send(bytes(100_000))
            except BlockingIOError:
                pass
            await asyncio.sleep(0.0002)
        held = len(reader._buffer)
        assert held < 10_000 * 2 + 300_000
        with pytest.raises(ValueError):
            await reader.readline()  # no end of line within the limit
        writer.close()
        other.close()

    run(main())


@wound("")
def test_a_stream_that_only_its_reader_holds_is_not_collected(aio: Any, run: Any) -> None:
    async def main() -> None:
        ours, other = pair()
        got = asyncio.get_running_loop().create_future()

        async def read(sock: socket.socket) -> None:
            reader, writer = await aio.open_connection(sock=sock)
            got.set_result(await reader.readexactly(4))
            writer.close()

        asyncio.get_running_loop().create_task(read(ours))
        del ours
        for _ in range(5):
            await asyncio.sleep(0.005)
            gc.collect()
        other.send(b"data")
        assert await soon(got) == b"data"
        other.close()

    run(main())


@wound("")
@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_buffer_changed_after_write_is_sent_as_it_was(run: Any, size: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, other = pair()
        transport, _ = await loop.create_connection(Note, sock=ours)
        transport.write(b"a" * 4_000_000)
        data = bytearray(b"b" * size)
        transport.write(data)
        data[:] = b"c" * size
        received = bytearray()
        while len(received) < 4_000_000 + size:
            received += await soon(loop.sock_recv(other, 1_000_000))
        assert received.count(b"b") == size
        transport.abort()
        other.close()

    run(main())


@wound("cpython #104344", asyncio_heals=(3, 13, 1))
def test_a_server_does_not_wait_for_a_connection_that_was_abandoned(aio: Any, run: Any) -> None:
    async def main() -> None:
        accepted = asyncio.Event()

        async def forget(reader: Any, writer: Any) -> None:
            accepted.set()

        server = await aio.start_server(forget, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            await soon(accepted.wait())
            server.close()
            closed = asyncio.ensure_future(server.wait_closed())
            deadline = time.monotonic() + LIMIT / 2
            while not closed.done() and time.monotonic() < deadline:
                gc.collect()
                await asyncio.sleep(0.01)
            assert closed.done()

    run(main())


@wound("")
def test_an_error_in_a_protocol_factory_is_told_and_the_connection_closed(aio: Any) -> None:
    reports: list[Any] = []

    def factory() -> Any:
        raise ZeroDivisionError

    loop = aio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context.get("exception")))

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            assert await asyncio.wait_for(loop.sock_recv(client, 1), LIMIT / 5) == b""
        server.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert [type(report) for report in reports] == [ZeroDivisionError]


@wound("", asyncio_heals=())
def test_out_of_descriptors_nobody_who_waits_is_dropped(program: Any) -> None:
    assert program("""
        import errno, resource

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
            def data_received(self, data):
                self.transport.write(data)

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: None)
            server = await loop.create_server(Echo, '127.0.0.1', 0)
            clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            fillers = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(client.fileno() for client in clients) + 1, hard))
            try:
                while True:
                    fillers.append(os.dup(0))
            except OSError:
                pass
            await asyncio.sleep(0.3)
            for fd in fillers:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for client in clients:
                client.setblocking(False)
                await loop.sock_sendall(client, b'x')
                assert await asyncio.wait_for(loop.sock_recv(client, 1), 5) == b'x'
                client.close()
            server.close()
            return 'all served'

        print(run(main()))
        """) == "all served\n"


# What the system refuses: an epoll that a descriptor can't be added to.
REFUSED = """
    import ctypes, fcntl
    libc = ctypes.CDLL(None, use_errno=True)

    async def main():
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        class Note(asyncio.Protocol):
            def data_received(self, data):
                ended.set_result('serves')

            def connection_lost(self, exc):
                if not ended.done():
                    ended.set_result('told')

        loop.set_exception_handler(lambda loop, context: None)
        ours, other = socket.socketpair()
        ours.setblocking(False)
        # every epoll of this process knows the descriptor already: EPOLL_CTL_ADD gives EEXIST
        for name in os.listdir('/proc/self/fd'):
            try:
                if 'eventpoll' in os.readlink('/proc/self/fd/' + name):
                    event = (ctypes.c_uint32 * 3)(0, 0, 0)
                    libc.epoll_ctl(int(name), 1, ours.fileno(), event)
            except OSError:
                pass
        try:
            transport, _ = await loop.create_connection(Note, sock=ours)
        except OSError:
            return 'told'
        other.send(b'x')
        return await asyncio.wait_for(ended, 3)

    print(run(main()))
"""


@wound("", asyncio_heals=None)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll is Linux's")
def test_a_connection_that_cannot_be_watched_does_not_hang(program: Any) -> None:
    assert program(REFUSED) in ("told\n", "serves\n")


# ---- bare sockets ----


@wound("")
def test_a_cancelled_sock_recv_loses_no_bytes(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for count in range(8):
            ours, other = pair()
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns()
            other.send(b"data")
            await turns(count)
            task.cancel()
            await asyncio.wait([task])
            data = b"" if task.cancelled() else task.result()
            if not data:
                data = await asyncio.wait_for(loop.sock_recv(ours, 10), LIMIT / 5)
            assert data == b"data"
            ours.close()
            other.close()

    run(main())


@wound("")
def test_a_cancelled_sock_accept_loses_no_connection(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for count in range(8):
            with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
                listener.setblocking(False)
                task = loop.create_task(loop.sock_accept(listener))
                await turns()
                client.connect(listener.getsockname())
                await turns(count)
                task.cancel()
                await asyncio.wait([task])
                accepted = None if task.cancelled() else task.result()
                if accepted is None:
                    accepted = await asyncio.wait_for(loop.sock_accept(listener), LIMIT / 5)
                assert accepted[1] == client.getsockname()
                accepted[0].close()

    run(main())


@wound("", asyncio_heals=())
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_the_zone_of_an_ipv6_literal_is_kept(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        zone = socket.if_nametoindex("lo")
        infos = await loop.getaddrinfo("fe80::1%lo", 80, type=socket.SOCK_STREAM)
        assert infos[0][4] == ("fe80::1", 80, 0, zone)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, ("fe80::1", 80, 0, zone))
            except OSError as error:  # a machine without such an address: the zone was understood all the same
                assert error.errno in (errno.EADDRNOTAVAIL, errno.ENETUNREACH)
            else:
                assert sock.getpeername()[3] == zone

    run(main())


# ---- threads and processes ----


@wound("cpython #112169, #120644")
def test_a_name_is_looked_up_while_all_threads_are_busy(run: Any) -> None:
    gate = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(None, gate.wait, LIMIT * 2) for _ in range(64)]
        try:
            assert await asyncio.wait_for(loop.getaddrinfo("localhost", 80), LIMIT / 5)
        finally:
            gate.set()
            await asyncio.gather(*jobs)

    run(main())


@wound("cpython #66285", asyncio_heals=(3, 12))
def test_the_child_of_a_fork_has_no_running_loop_and_runs_its_own(program: Any) -> None:
    assert program("""
        async def child():
            await asyncio.sleep(0.01)
            return 3

        async def main():
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    assert asyncio._get_running_loop() is None
                    code = run(child())
                finally:
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            await asyncio.sleep(0.01)
            return os.waitstatus_to_exitcode(status)

        print(run(main()))
        """) == "3\n"


@wound("cpython #66285")
def test_the_child_of_a_fork_may_close_the_loop_and_the_parent_goes_on(program: Any) -> None:
    assert program("""
        async def main():
            loop = asyncio.get_running_loop()
            ours, other = socket.socketpair()
            ours.setblocking(False)
            receives = loop.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0.01)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    loop.remove_reader(ours)
                    loop.close()
                    code = 4
                finally:
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 4
            other.send(b'data')
            return (await asyncio.wait_for(receives, 5)).decode()

        print(run(main()))
        """) == "data\n"


# ---- TLS ----


@wound("uvloop #471")
def test_closing_tls_while_the_peer_goes_on_sending_ends_at_once(run: Any) -> None:
    async def main() -> None:
        async with secured(Note) as (protocol, peer):
            protocol.transport.write(b"enough")
            protocol.transport.close()
            assert await peer.receive(6) == b"enough"
            await peer.send(b"more and more" * 1000)
            assert await asyncio.wait_for(protocol.lost, LIMIT / 2) is None

    run(main())


@wound("cpython #142352, uvloop #707", asyncio_heals=(3, 14, 3))
def test_a_handshake_that_came_before_start_tls_is_not_lost(aio: Any, run: Any) -> None:
    async def main() -> None:
        accepted = asyncio.get_running_loop().create_future()

        async def serve(reader: Any, writer: Any) -> None:
            assert await reader.readline() == b"PROXY TCP4 ...\r\n"
            while not reader._buffer:
                await asyncio.sleep(0)
            await writer.start_tls(server_context())
            accepted.set_result(await reader.readexactly(5))
            writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        peer = Peer(sock, server_side=False)
        try:
            peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        sock.send(b"PROXY TCP4 ...\r\n" + peer.outgoing.read())
        async with asyncio.timeout(LIMIT / 2):
            await peer.handshake()
            await peer.send(b"hello")
            assert await accepted == b"hello"
        peer.close()
        server.close()

    run(main())


# ---- datagrams, pipes, subprocesses ----


@wound("", asyncio_heals=(3, 13))
def test_an_empty_datagram_is_sent(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            other.setblocking(False)
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=other.getsockname())
            transport.sendto(b"")
            assert await asyncio.wait_for(loop.sock_recv(other, 10), LIMIT / 5) == b""
            transport.close()

    run(main())


@wound("", asyncio_heals=())
@pytest.mark.parametrize("connect", ["connect_read_pipe", "connect_write_pipe"])
def test_a_file_that_is_no_pipe_is_an_error(program: Any, connect: str) -> None:
    assert program(f"""
        import tempfile

        async def main():
            loop = asyncio.get_running_loop()
            with tempfile.TemporaryFile('w+b', 0) as file:
                try:
                    await loop.{connect}(asyncio.Protocol, file)
                except ValueError:
                    await asyncio.sleep(0.05)
                    return 'told'

        print(run(main()))
        """) == "told\n"


@wound("", asyncio_heals=())
@pytest.mark.parametrize("connect", ["connect_read_pipe", "connect_write_pipe"])
def test_a_pipe_whose_descriptor_is_closed_is_an_error(program: Any, connect: str) -> None:
    assert program(f"""
        async def main():
            loop = asyncio.get_running_loop()
            for end, mode in zip(os.pipe(), ('rb', 'wb')):
                if (mode == 'rb') == ('{connect}' == 'connect_read_pipe'):
                    file = open(end, mode, 0, closefd=False)
                    os.close(end)
                    try:
                        await loop.{connect}(asyncio.Protocol, file)
                    except OSError:
                        return 'told'

        print(run(main()))
        """) == "told\n"


@wound("cpython #119710", asyncio_heals=(3, 14))
def test_wait_returns_though_a_grandchild_holds_the_pipe(aio: Any, program: Any) -> None:
    assert program("""
        import signal

        async def main():
            process = await asyncio.create_subprocess_shell('sleep 60 & echo $!; exit 5', stdout=asyncio.subprocess.PIPE)
            grandchild = int(await process.stdout.readline())
            try:
                return await asyncio.wait_for(process.wait(), 5)
            finally:
                os.kill(grandchild, signal.SIGKILL)

        print(run(main()))
        """) == "5\n"
