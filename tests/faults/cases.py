"""What must hold when system calls fail. Run by test_faults.py, with shim.c preloaded:

    cases.py asyncio|glassloop SHIM [NAME...]

Each case is run on a fresh loop; a line of JSON says how it ended. A case that leaves a descriptor, a task or a report of
an exception behind that it didn't expect has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import faulthandler
import gc
import hashlib
import importlib
import json
import os
import random
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LIMIT = 10.0  # seconds for a case

Case = Callable[[], Coroutine[Any, Any, None]]
CASES: dict[str, Case] = {}
EXTRA: dict[str, str] = {}  # what asyncio doesn't do
BARE: dict[str, Callable[[], None]] = {}  # cases that make their loop themselves

TRANSIENT = (errno.EINTR, errno.EAGAIN)
FATAL = (errno.ECONNRESET, errno.EPIPE, errno.ENOBUFS, errno.ENOMEM)
SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def extra(reason: str) -> Callable[[Case], Case]:
    def mark(function: Case) -> Case:
        EXTRA[function.__name__] = reason
        return case(function)

    return mark


class Shim:
    """The preloaded library."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)

    def fault(self, call: str, error: int = 0, *, fd: int = -1, skip: int = 0, times: int = -1, most: int = 0) -> None:
        assert self.library.fault(call.encode(), error, fd, skip, times, ctypes.c_long(most)) == 0

    def chaos(self, seed: int, permille: int) -> None:
        self.library.chaos(seed, permille)

    def hits(self) -> int:
        return int(self.library.hits())

    def calm(self) -> None:
        self.library.calm()


shim: Shim
aio: Any


def reports() -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    return told


def fd_of(transport: Any) -> int:
    return int(transport.get_extra_info("socket").fileno())


async def pair(factory: Any = None) -> tuple[Any, socket.socket]:
    """A protocol with its transport, over TCP, and its peer."""
    from peers import Recorder

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    ours.setblocking(False)
    other.setblocking(False)
    _, protocol = await loop.create_connection(factory or Recorder, sock=ours)
    return protocol, other


@contextlib.asynccontextmanager
async def connected(factory: Any = None) -> AsyncIterator[tuple[Any, socket.socket]]:
    protocol, other = await pair(factory)
    with other:
        yield protocol, other
        if not protocol.transport.is_closing():
            protocol.transport.abort()
        await protocol.lost


async def receive(sock: socket.socket, size: int) -> bytes:
    from peers import receive

    return await receive(sock, size)


def payload(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# ---- receiving ----


@case
async def what_a_transport_receives_survives_interruptions() -> None:
    for error in TRANSIENT:
        async with connected() as (protocol, other):
            shim.fault("recv", error, fd=fd_of(protocol.transport), times=5)
            other.send(b"received")
            await protocol.until(lambda protocol=protocol: protocol.data == b"received")
            assert shim.hits() >= 5
            shim.calm()


@case
async def a_transport_that_receives_byte_by_byte_gets_all() -> None:
    async with connected() as (protocol, other):
        shim.fault("recv", fd=fd_of(protocol.transport), most=1)
        data = payload(1000)
        other.send(data)
        other.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.data == data


@case
async def a_receive_that_fails_ends_the_connection() -> None:
    for error in FATAL:
        async with connected() as (protocol, other):
            other.send(b"first")
            await protocol.until(lambda protocol=protocol: protocol.data == b"first")
            shim.fault("recv", error, fd=fd_of(protocol.transport))
            other.send(b"second")
            lost = await protocol.lost
            assert isinstance(lost, OSError) and lost.errno == error, lost
            assert protocol.events == ["made", b"first", "lost"]
            shim.calm()


@case
async def a_buffered_protocol_receives_all() -> None:
    from peers import Buffered

    async with connected(Buffered) as (protocol, other):
        fd = fd_of(protocol.transport)
        for error in TRANSIENT:
            shim.fault("recv", error, fd=fd, times=3)
        shim.fault("recv", fd=fd, most=7)
        data = payload(500)
        other.send(data)
        other.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.received == data


@case
async def a_stream_reader_gets_all_and_the_error() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader, writer = await aio.open_connection(*listener.getsockname())
        other, _ = listener.accept()
    with other:
        fd = fd_of(writer)
        shim.fault("recv", errno.EAGAIN, fd=fd, times=3)
        shim.fault("recv", errno.EINTR, fd=fd, times=3)
        shim.fault("recv", fd=fd, most=3, times=10)
        other.send(b"line\nanother line\nrest")
        assert await reader.readline() == b"line\n"
        assert await reader.readuntil(b"e\n") == b"another line\n"
        assert await reader.readexactly(4) == b"rest"
        shim.calm()
        shim.fault("recv", errno.ECONNRESET, fd=fd)
        loop.call_soon(other.send, b"x")
        with raises(ConnectionResetError):
            await reader.read(10)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


# ---- sending ----


@case
async def what_a_transport_sends_survives_interruptions_and_short_counts() -> None:
    data = payload(300_000)
    for error, most in [(errno.EINTR, 0), (errno.EAGAIN, 0), (0, 1000), (0, 1)]:
        async with connected() as (protocol, other):
            transport, fd = protocol.transport, fd_of(protocol.transport)
            for call in ("send", "sendmsg"):
                shim.fault(call, error, fd=fd, times=20 if error else 100, most=most)
            pieces = [data[i : i + 3000] for i in range(0, len(data), 3000)]
            transport.write(pieces[0])
            transport.write(bytearray(pieces[1]))
            transport.writelines(pieces[2:50])
            await asyncio.sleep(0)
            for piece in pieces[50:90]:
                transport.write(memoryview(piece))
            transport.writelines(pieces[90:])
            transport.write_eof()
            assert await receive(other, len(data) + 1) == data
            assert shim.hits() >= 2
            shim.calm()


@case
async def a_send_that_fails_ends_the_connection() -> None:
    for error in FATAL:
        for size in (10, 1_000_000):
            async with connected() as (protocol, other):
                fd = fd_of(protocol.transport)
                shim.fault("send", error, fd=fd)
                shim.fault("sendmsg", error, fd=fd)
                protocol.transport.write(b"x" * size)
                protocol.transport.write(b"more")
                lost = await protocol.lost
                assert isinstance(lost, OSError) and lost.errno == error, lost
                assert protocol.events.count("lost") == 1
                assert protocol.transport.get_write_buffer_size() == 0
                shim.calm()
                assert await receive(other, 1) == b""


@case
async def a_send_that_fails_later_ends_the_connection_and_wakes_who_drains() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # the kernel takes much less than what is written, so that the rest waits until somebody reads
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader, writer = await aio.open_connection(*listener.getsockname())
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        other, _ = listener.accept()
    with other:
        other.setblocking(False)
        writer.write(b"x" * 10_000_000)
        draining = asyncio.ensure_future(writer.drain())
        await turns(2)
        assert not draining.done()
        for call in ("send", "sendmsg"):
            shim.fault(call, errno.EPIPE, fd=fd_of(writer))
        await receive(other, 1_000_000)
        with raises(ConnectionError):
            await draining
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        del reader


# ---- the poller ----


@case
async def an_interrupted_poll_goes_on() -> None:
    loop = asyncio.get_running_loop()
    shim.fault("epoll_wait", errno.EINTR, times=50)
    began = loop.time()
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert loop.time() - began >= 0.04
    assert shim.hits() == 50 or shim.hits() >= 20


@extra("asyncio: the transport hangs, and the error is only reported")
async def a_descriptor_that_cannot_be_watched_ends_its_connection() -> None:
    for error in (errno.ENOMEM, errno.ENOSPC, errno.EPERM):
        shim.fault("epoll_add", error, times=1)
        protocol, other = await pair()
        with other:
            lost = await protocol.lost
            assert isinstance(lost, OSError) and lost.errno == error, lost
        shim.calm()


@extra("asyncio: the error comes out of write(), and the connection hangs")
async def a_descriptor_that_cannot_be_watched_for_writing_ends_its_connection() -> None:
    async with connected() as (protocol, other):
        shim.fault("epoll_mod", errno.ENOMEM, fd=fd_of(protocol.transport))
        protocol.transport.write(b"x" * 10_000_000)
        lost = await protocol.lost
        assert isinstance(lost, OSError) and lost.errno == errno.ENOMEM, lost


@case
async def a_callback_on_a_descriptor_that_cannot_be_watched_is_refused() -> None:
    loop = asyncio.get_running_loop()
    one, two = socket.socketpair()
    with one, two:
        for watch, forget in ((loop.add_reader, loop.remove_reader), (loop.add_writer, loop.remove_writer)):
            shim.fault("epoll_add", errno.ENOSPC, fd=one.fileno())
            with raises(OSError, errno.ENOSPC):
                watch(one, print)
            shim.calm()
            called = loop.create_future()
            two.send(b"x")
            watch(one, lambda called=called: called.done() or called.set_result(None))
            await called
            assert forget(one)


@case
async def a_call_on_a_socket_that_cannot_be_watched_raises() -> None:
    loop = asyncio.get_running_loop()
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        shim.fault("epoll_add", errno.ENOMEM, fd=one.fileno())
        with raises(OSError, errno.ENOMEM):
            await loop.sock_recv(one, 10)
        shim.calm()
        two.send(b"x")
        assert await loop.sock_recv(one, 10) == b"x"


# ---- bare sockets ----


@case
async def calls_on_bare_sockets_survive_interruptions_and_short_counts() -> None:
    loop = asyncio.get_running_loop()
    data = payload(500_000)
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        for call, sock in (("send", one), ("recv", two)):
            shim.fault(call, errno.EINTR, fd=sock.fileno(), times=5)
            shim.fault(call, errno.EAGAIN, fd=sock.fileno(), times=5)
            shim.fault(call, fd=sock.fileno(), most=100, times=100)
        sending = asyncio.ensure_future(loop.sock_sendall(one, data))
        got = b""
        while len(got) < len(data):
            if len(got) % 2:
                got += await loop.sock_recv(two, 65536)
            else:
                buffer = bytearray(65536)
                got += buffer[: await loop.sock_recv_into(two, buffer)]
        await sending
        assert got == data
        assert shim.hits() >= 200
        shim.calm()
        for error in FATAL:
            shim.fault("recv", error, fd=one.fileno(), times=1)
            two.send(b"x")
            with raises(OSError, error):
                await loop.sock_recv(one, 10)
            assert await loop.sock_recv(one, 10) == b"x"
            shim.fault("send", error, fd=one.fileno(), times=1)
            with raises(OSError, error):
                await loop.sock_sendall(one, b"x")
            shim.calm()


@case
async def an_interrupted_accept_accepts() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for error in TRANSIENT:
            shim.fault("accept4", error, fd=listener.fileno(), times=3)
            with socket.create_connection(listener.getsockname()):
                sock, _ = await loop.sock_accept(listener)
                sock.close()
            shim.calm()
        for error in SHORT_OF:
            with socket.create_connection(listener.getsockname()):
                shim.fault("accept4", error, fd=listener.fileno(), times=1)
                with raises(OSError, error):
                    await loop.sock_accept(listener)
                # the connection waits still
                sock, _ = await loop.sock_accept(listener)
                sock.close()
            shim.calm()


# ---- servers and connections ----


@case
async def a_server_short_of_resources_serves_later() -> None:
    """And whoever waits is served, once, and nobody is dropped."""
    told = reports()

    async def one(error: int) -> None:
        async def serve(reader: Any, writer: Any) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0)
        (listener,) = server.sockets
        shim.fault("accept4", error, fd=listener.fileno(), times=2 if error in TRANSIENT else 1)
        for _ in range(2):
            reader, writer = await aio.open_connection(*listener.getsockname())
            writer.write(b"line\n")
            assert await reader.read() == b"line\n"
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    await asyncio.gather(*(one(error) for error in (*TRANSIENT, *SHORT_OF)))
    assert sorted(context["exception"].errno for context in told) == sorted(SHORT_OF), told


@extra("asyncio: whoever can't be watched hangs")
async def a_server_goes_on_when_a_connection_cannot_be_watched() -> None:
    from peers import Recorder

    loop = asyncio.get_running_loop()
    served: asyncio.Queue[Recorder] = asyncio.Queue()

    def factory() -> Recorder:
        protocol = Recorder()
        served.put_nowait(protocol)
        return protocol

    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for error in (errno.ENOMEM, errno.ENOSPC):
        with socket.create_connection(address) as other:
            other.setblocking(False)
            shim.fault("epoll_add", error, times=1)
            lost = await (await served.get()).lost
            assert isinstance(lost, OSError) and lost.errno == error, lost
            shim.calm()
            assert await loop.sock_recv(other, 1) == b""
        with socket.create_connection(address) as other:
            other.send(b"x")
            protocol = await served.get()
            await protocol.until(lambda protocol=protocol: protocol.data == b"x")
            protocol.transport.abort()
            await protocol.lost
    server.close()
    await server.wait_closed()


@extra("asyncio leaves the listening socket open")
async def a_listening_socket_that_cannot_be_watched_is_refused() -> None:
    loop = asyncio.get_running_loop()
    for error in (errno.ENOMEM, errno.ENOSPC):
        shim.fault("epoll_add", error, times=1)
        with raises(OSError, error):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        shim.calm()


@case
async def connections_that_cannot_be_made_leave_nothing() -> None:
    from peers import Recorder

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        for error in SHORT_OF:
            shim.fault("socket", error, times=1)
            with raises(OSError, error):
                await loop.create_connection(Recorder, *address)
            shim.fault("socket", error, times=1)
            with raises(OSError, error):
                await loop.create_datagram_endpoint(Recorder, remote_addr=address)
            shim.calm()
        for error in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.ENOBUFS, errno.EADDRNOTAVAIL):
            shim.fault("connect", error, times=1)
            with raises(OSError, error):
                await loop.create_connection(Recorder, *address)
            shim.calm()


@extra("asyncio makes a server that listens to nothing")
async def a_server_that_cannot_be_made_leaves_nothing() -> None:
    loop = asyncio.get_running_loop()
    for error in SHORT_OF:
        shim.fault("socket", error, times=1)
        with raises(OSError):  # "could not bind on any address"
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        shim.calm()


@case
async def an_interrupted_connect_goes_on() -> None:
    from peers import Recorder

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for error in (errno.EINTR, errno.EINPROGRESS):
            shim.fault("connect", error, times=1)
            transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
            other, _ = listener.accept()
            with other:
                other.send(b"x")
                await protocol.until(lambda protocol=protocol: protocol.data == b"x")
                transport.close()
                await protocol.lost
            shim.calm()


# ---- datagrams ----


@contextlib.asynccontextmanager
async def datagrams() -> AsyncIterator[tuple[Any, Any]]:
    """An endpoint, and one that is connected to it."""
    from test_datagrams import LOCAL, endpoint, name_of

    async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
        yield server, client


@case
async def datagrams_survive_interruptions() -> None:
    async with datagrams() as (server, client):
        for error in TRANSIENT:
            for call, protocol in (("recvfrom", server), ("send", client)):
                shim.fault(call, error, fd=fd_of(protocol.transport), times=3)
        for n in range(5):
            client.transport.sendto(b"%d" % n)
        assert await server.received(5) == [b"%d" % n for n in range(5)]
        assert shim.hits() == 12
        shim.calm()
        shim.fault("sendto", errno.EAGAIN, fd=fd_of(server.transport), times=3)
        for n in range(5):
            server.transport.sendto(b"%d" % n, server.senders[0])
        assert await client.received(5) == [b"%d" % n for n in range(5)]
        assert not server.errors and not client.errors


@case
async def datagrams_that_fail_are_told_and_the_endpoint_goes_on() -> None:
    async with datagrams() as (server, client):
        for n, error in enumerate((errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.ECONNREFUSED, errno.EHOSTUNREACH)):
            shim.fault("send", error, fd=fd_of(client.transport), times=1)
            client.transport.sendto(b"lost")
            assert client.errors[-1].errno == error
            shim.calm()
            shim.fault("recvfrom", error, fd=fd_of(server.transport), times=1)
            client.transport.sendto(b"x")
            await server.received(n + 1)
            assert server.errors[-1].errno == error
            shim.calm()
        assert server.got == [b"x"] * 5
        assert len(server.errors) == len(client.errors) == 5


@extra("asyncio: the endpoint hangs, and the error is only reported")
async def an_endpoint_that_cannot_be_watched_ends() -> None:
    from test_datagrams import LOCAL, Recorder

    loop = asyncio.get_running_loop()
    for error in (errno.ENOMEM, errno.ENOSPC):
        shim.fault("epoll_add", error, times=1)
        _, protocol = await loop.create_datagram_endpoint(Recorder, local_addr=LOCAL)
        lost = await protocol.lost
        assert isinstance(lost, OSError) and lost.errno == error, lost
        shim.calm()


# ---- files ----


@case
async def a_file_is_sent_whole() -> None:
    loop = asyncio.get_running_loop()
    data = payload(300_000)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        async with connected() as (protocol, other):
            fd = fd_of(protocol.transport)
            shim.fault("sendfile", errno.EINTR, fd=fd, times=3)
            shim.fault("sendfile", errno.EAGAIN, fd=fd, times=3, skip=1)
            shim.fault("sendfile", fd=fd, most=1000, times=50)
            sent, got = await asyncio.gather(loop.sendfile(protocol.transport, file), receive(other, len(data)))
            assert (sent, got) == (len(data), data)
            shim.calm()
            # where the kernel can't, it is read
            file.seek(0)
            shim.fault("sendfile", errno.EINVAL, fd=fd)
            sent, got = await asyncio.gather(loop.sendfile(protocol.transport, file), receive(other, len(data)))
            assert (sent, got) == (len(data), data)
            shim.calm()
        one, two = socket.socketpair()
        with one, two:
            one.setblocking(False)
            two.setblocking(False)
            shim.fault("sendfile", errno.EINTR, fd=one.fileno(), times=3)
            shim.fault("sendfile", errno.EAGAIN, fd=one.fileno(), times=3, skip=1)
            shim.fault("sendfile", fd=one.fileno(), most=1000, times=50)
            sent, got = await asyncio.gather(loop.sock_sendfile(one, file), receive(two, len(data)))
            assert (sent, got) == (len(data), data)


@extra("asyncio takes a failing connection for a file that can't be sent, and sends it again")
async def a_file_that_fails_leaves_the_connection_and_the_position_right() -> None:
    loop = asyncio.get_running_loop()
    data = payload(300_000)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        async with connected() as (protocol, other):
            fd = fd_of(protocol.transport)
            shim.fault("sendfile", fd=fd, most=1000, times=3)
            shim.fault("sendfile", errno.EIO, fd=fd, skip=3)
            with raises(OSError, errno.EIO):
                await loop.sendfile(protocol.transport, file)
            assert file.tell() == 3000
            protocol.transport.write(b"after")
            assert await receive(other, 3005) == data[:3000] + b"after"
        shim.calm()
        async with connected() as (protocol, other):
            shim.fault("sendfile", errno.EPIPE, fd=fd_of(protocol.transport))
            with raises(BrokenPipeError):
                await loop.sendfile(protocol.transport, file)
            assert isinstance(await protocol.lost, BrokenPipeError)


# ---- pipes ----


@case
async def pipes_survive_interruptions_and_short_counts() -> None:
    loop = asyncio.get_running_loop()
    data = payload(200_000)
    reading, writing = os.pipe()
    reader = aio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: aio.StreamReaderProtocol(reader), open(reading, "rb", 0))
    out, _ = await loop.connect_write_pipe(asyncio.Protocol, open(writing, "wb", 0))
    for call, fd in (("read", reading), ("write", writing)):
        shim.fault(call, errno.EINTR, fd=fd, times=5)
        shim.fault(call, errno.EAGAIN, fd=fd, times=5)
        shim.fault(call, fd=fd, most=100, times=50)
    for i in range(0, len(data), 10_000):
        out.write(data[i : i + 10_000])
    out.close()
    assert await reader.read() == data
    transport.close()


@case
async def a_pipe_that_fails_is_told() -> None:
    from peers import Recorder

    loop = asyncio.get_running_loop()
    reports()  # what fails in reading is reported as well, but for EIO, a terminal's end
    for error in (errno.EPIPE, errno.EIO, errno.ENOMEM):
        reading, writing = os.pipe()
        with open(reading, "rb", 0):
            out, protocol = await loop.connect_write_pipe(Recorder, open(writing, "wb", 0))
            shim.fault("write", error, fd=writing)
            out.write(b"x")
            lost = await protocol.lost
            assert isinstance(lost, OSError) and lost.errno == error, lost
        shim.calm()
        reading, writing = os.pipe()
        with open(writing, "wb", 0) as other:
            _, protocol = await loop.connect_read_pipe(Recorder, open(reading, "rb", 0))
            shim.fault("read", error, fd=reading)
            other.write(b"x")
            lost = await protocol.lost
            assert isinstance(lost, OSError) and lost.errno == error, lost
        shim.calm()


# ---- everything at once ----


async def echo_under_chaos(seed: int, size: int, connections: int, tls: bool = False) -> None:
    from tls_peer import client_context, server_context

    async def serve(reader: Any, writer: Any) -> None:
        while data := await reader.read(10_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def pause_writing(self) -> None:
            self.transport.pause_reading()

        def resume_writing(self) -> None:
            self.transport.resume_reading()

    async def one(n: int, address: Any) -> None:
        data = payload(size + n)
        secure = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
        reader, writer = await aio.open_connection(*address, **secure)

        async def send() -> None:
            for i in range(0, len(data), 7000):
                writer.write(data[i : i + 7000])
                if i % 3 == 0:
                    await writer.drain()
            if not tls:
                writer.write_eof()

        sending = asyncio.ensure_future(send())
        digest, got = hashlib.sha256(), 0
        while got < len(data):
            piece = await reader.read(5000)
            assert piece, f"the end came after {got} of {len(data)} bytes"
            got += len(piece)
            digest.update(piece)
        await sending
        if not tls:
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert digest.digest() == hashlib.sha256(data).digest()

    loop = asyncio.get_running_loop()
    servers = [
        await aio.start_server(serve, "127.0.0.1", 0, ssl=server_context() if tls else None),
        await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context() if tls else None),
    ]
    shim.chaos(seed, 80)
    try:
        await asyncio.gather(
            *(one(n, server.sockets[0].getsockname()) for server in servers for n in range(connections))
        )
    finally:
        assert shim.hits() > 50
        shim.calm()
        for server in servers:
            server.close()
            await server.wait_closed()


@case
async def streams_and_protocols_under_chaos() -> None:
    for seed in range(5):
        await echo_under_chaos(seed, 300_000, 5)


@case
async def tls_under_chaos() -> None:
    for seed in range(3):
        await echo_under_chaos(seed, 200_000, 3, tls=True)


@case
async def bare_sockets_under_chaos() -> None:
    loop = asyncio.get_running_loop()

    async def serve(listener: socket.socket) -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            with sock:
                while data := await loop.sock_recv(sock, 5000):
                    await loop.sock_sendall(sock, data)

    for seed in range(5):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            serving = asyncio.ensure_future(serve(listener))
            shim.chaos(seed, 100)
            for n in range(5):
                data = payload(20_000 + n)
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, listener.getsockname())
                    sending = asyncio.ensure_future(loop.sock_sendall(sock, data))
                    got = b""
                    while len(got) < len(data):
                        got += await loop.sock_recv(sock, 3000)
                    await sending
                    assert got == data
            shim.calm()
            serving.cancel()
            await asyncio.wait([serving])


@case
async def many_connections_of_which_some_fail() -> None:
    """A failing one takes down nobody else."""
    from peers import Recorder

    pairs = [await pair(Recorder) for _ in range(20)]
    for n, (protocol, _) in enumerate(pairs):
        if n % 4 == 0:
            shim.fault("recv", errno.ECONNRESET, fd=fd_of(protocol.transport))
        elif n % 4 == 1:
            shim.fault("send", errno.EPIPE, fd=fd_of(protocol.transport))
    for protocol, other in pairs:
        other.send(b"x")
        protocol.transport.write(b"y")
    for n, (protocol, other) in enumerate(pairs):
        if n % 4 < 2:
            assert isinstance(await protocol.lost, ConnectionError)
        else:
            await protocol.until(lambda protocol=protocol: protocol.data == b"x")
            assert await receive(other, 1) == b"y"
            protocol.transport.close()
            assert await protocol.lost is None
        other.close()


# ---- loops that can't be made ----


def bare(function: Callable[[], None]) -> Callable[[], None]:
    BARE[function.__name__] = function
    return function


@bare
def a_loop_that_cannot_be_made_leaves_nothing() -> None:
    for call in ("epoll_create", "pipe", "epoll_add"):
        for error in SHORT_OF:
            shim.fault(call, error, times=1)
            try:
                aio.new_event_loop().close()
            except OSError as e:
                assert e.errno == error
            else:
                raise AssertionError(f"{call} didn't fail")
            e = None  # noqa: F841
            shim.calm()
            gc.collect()


EXTRA["a_loop_that_cannot_be_made_leaves_nothing"] = "asyncio leaves the selector open"


# ---- running them ----


@contextlib.contextmanager
def raises(kind: type[BaseException], number: int | None = None) -> Any:
    try:
        yield
    except kind as e:
        assert number is None or getattr(e, "errno", None) == number, repr(e)
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def watched(function: Case) -> None:
    told = reports()
    async with asyncio.timeout(LIMIT):
        await function()
    await turns(3)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, f"tasks left: {others}"
    assert not told, f"reported: {told}"


def run(name: str) -> str | None:
    """None, or what went wrong."""
    gc.collect()
    before = descriptors()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            if name in BARE:
                BARE[name]()
            else:
                with aio.Runner() as runner:
                    runner.run(watched(CASES[name]))
    except BaseException:
        return traceback.format_exc()
    finally:
        shim.calm()
    gc.collect()
    left = {fd: target for fd, target in descriptors().items() if before.get(fd) != target}
    return f"descriptors left open: {left}" if left else None


def main() -> None:
    global shim, aio
    runtime, path, *names = sys.argv[1:]
    aio = importlib.import_module(runtime)
    shim = Shim(path)
    out = os.fdopen(os.dup(1), "w")
    for name in names or [*CASES, *BARE]:
        if runtime == "asyncio" and name in EXTRA:
            continue
        faulthandler.dump_traceback_later(3 * LIMIT, exit=True)
        print(json.dumps({"begun": name}), file=out, flush=True)
        print(json.dumps({"case": name, "failed": run(name)}), file=out, flush=True)


if __name__ == "__main__":
    main()
