"""Sockets: servers that the load client works on, and the cost of making connections."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from socket import SOCK_STREAM, socket
from typing import Any

from rows import BACKLOG, Row, Unavailable, add, operation

KIB = 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n"
BODY = b"b" * 128


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * KIB))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[:nbytes]))  # a copy: the transport may keep what it is given


class AnswerEachLine(Echo):
    """Answers each line of a pipelined request with a write of its own."""

    rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.transport.write(line + b"\n")


class HeadAndBody(Echo):
    """Answers as many an HTTP server does: the head in one write, the body in another."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(HEAD)
        self.transport.write(BODY)


class CloseAtOnce(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.close()


class AnswerAndClose(Echo):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


def protocol_server(protocol: type) -> Callable[..., Any]:
    async def start(aio: Any, listener: socket) -> Any:
        return await aio.get_running_loop().create_server(protocol, sock=listener, backlog=BACKLOG)

    start.__module__ = __name__
    return start


async def unix_echo(aio: Any, listener: socket) -> Any:
    try:
        return await aio.get_running_loop().create_unix_server(Echo, sock=listener, backlog=BACKLOG)
    except NotImplementedError as e:
        raise Unavailable("this loop has no Unix sockets") from e


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def datagram_echo(aio: Any, sock: socket) -> Any:
    transport, _ = await aio.get_running_loop().create_datagram_endpoint(DatagramEcho, sock=sock)
    return transport


class SendFile(asyncio.Protocol):
    """Sends a file of FILE_SIZE bytes to whoever connects, and closes."""

    def __init__(self, loop: Any, file: Any) -> None:
        self.loop, self.file = loop, file

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.task = self.loop.create_task(self.send())

    async def send(self) -> None:
        await self.loop.sendfile(self.transport, self.file)
        self.transport.close()


FILE_SIZE = 10 * KIB * KIB


async def file_server(aio: Any, listener: socket) -> Any:
    loop = aio.get_running_loop()
    file = tempfile.TemporaryFile()
    try:
        await loop.sendfile(None, file)
    except NotImplementedError as e:
        raise Unavailable("this loop has no sendfile()") from e
    except AttributeError:
        pass  # None is no transport: it looked
    file.write(bytes(FILE_SIZE))
    file.flush()
    return await loop.create_server(lambda: SendFile(loop, file), sock=listener, backlog=BACKLOG)


async def stream_echo(aio: Any, listener: socket) -> Any:
    async def serve(reader: Any, writer: Any) -> None:
        while data := await reader.read(64 * KIB):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await aio.start_server(serve, sock=listener, backlog=BACKLOG)


async def stream_lines(aio: Any, listener: socket) -> Any:
    async def serve(reader: Any, writer: Any) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    return await aio.start_server(serve, sock=listener, backlog=BACKLOG)


async def sock_echo(aio: Any, listener: socket) -> Any:
    loop = aio.get_running_loop()
    listener.listen(BACKLOG)

    async def serve(sock: socket) -> None:
        with sock:
            while data := await loop.sock_recv(sock, 64 * KIB):
                await loop.sock_sendall(sock, data)

    async def accept() -> None:
        serving = set()
        while True:
            sock, _ = await loop.sock_accept(listener)
            task = loop.create_task(serve(sock))
            serving.add(task)
            task.add_done_callback(serving.discard)

    return loop.create_task(accept())


def serves(name: str, function: Callable[..., Any], *, native: bool = False, **options: Any) -> None:
    """A row with a server; what isn't an option of Row is told to the load client."""
    fields = {key: options.pop(key) for key in ("quick", "unix") if key in options}
    add(Row(name, "serve", function, native=native, load=options, **fields))


def plural(connections: int) -> str:
    return f"{connections} connection" + ("s" if connections > 1 else "")


# --quick leaves out the corners: it has all sizes on 10 connections and all numbers of connections at 1 KiB.
for _title, _function in (
    ("Protocol", protocol_server(Echo)),
    ("BufferedProtocol", protocol_server(BufferedEcho)),
    ("streams", stream_echo),
    ("sock_*", sock_echo),
):
    for _size, _connections in itertools.product((1, 10, 100), (1, 10, 100)):
        serves(
            f"echo {_title}, {_size} KiB, {plural(_connections)}",
            _function,
            native=_function is stream_echo,
            quick=_size == 1 or _connections == 10,
            mode="echo",
            conns=_connections,
            request=_size * KIB,
            response=_size * KIB,
        )

_SMALL = {"mode": "echo", "conns": 10, "request": KIB, "response": KIB}
serves("echo Unix Protocol, 1 KiB, 10 connections", unix_echo, unix=True, **_SMALL)

for _size, _connections in itertools.product((64, KIB), (1, 10)):
    _load = {"mode": "echo", "conns": _connections, "request": _size, "response": _size, "udp": 1}
    add(Row(f"echo UDP, {_size} bytes, {plural(_connections)}", "serve", datagram_echo, native=False, load=_load, udp=True))

# 100 lines of 20 bytes at once; an operation is one line.
_LINES = {"mode": "echo", "conns": 10, "request": 2000, "response": 2000, "line": 20, "ops": 100}
serves("pipelined small messages, Protocol", protocol_server(AnswerEachLine), **_LINES)
serves("pipelined small messages, streams", stream_lines, native=True, **_LINES)

_SPLIT = {"mode": "echo", "conns": 10, "request": 64, "response": len(HEAD + BODY)}
serves("split head/body write", protocol_server(HeadAndBody), **_SPLIT)

serves("accept", protocol_server(CloseAtOnce), mode="connect", conns=10)
_MESSAGE = {"mode": "connect", "conns": 10, "request": 64, "response": 64}
serves("accept, one message", protocol_server(AnswerAndClose), **_MESSAGE)


class Connected(asyncio.Protocol):
    def __init__(self, lost: Any) -> None:
        self.lost = lost

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


async def connect(aio: Any, n: int, port: int) -> None:
    """create_connection() to a listening socket, and close."""
    loop = aio.get_running_loop()
    for _ in range(n):
        lost = loop.create_future()
        transport, _ = await loop.create_connection(lambda lost=lost: Connected(lost), "127.0.0.1", port)
        transport.close()
        await lost


async def open_connection(aio: Any, n: int, port: int) -> None:
    """open_connection(), a message there and back, and close."""
    for _ in range(n):
        reader, writer = await aio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 64)
        await reader.readexactly(64)
        writer.close()
        await writer.wait_closed()


add(Row("connect", "connect", connect, 200, native=False))
add(Row("open_connection, one message", "connect", open_connection, 200))


class DatagramClient(asyncio.DatagramProtocol):
    """Sends the datagram again that comes back, n times."""

    def __init__(self, n: int, done: Any) -> None:
        self.n, self.done = n, done

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.n -= 1
        if self.n:
            self.transport.sendto(data)
        else:
            self.done.set_result(None)


async def datagram_client(aio: Any, n: int, port: int, size: int) -> None:
    """A connected endpoint, n messages there and back."""
    loop = aio.get_running_loop()
    done = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: DatagramClient(n, done), remote_addr=("127.0.0.1", port))
    transport.sendto(b"x" * size)
    await done
    transport.close()


async def datagram_client_small(aio: Any, n: int, port: int) -> None:
    await datagram_client(aio, n, port, 64)


async def datagram_client_1k(aio: Any, n: int, port: int) -> None:
    await datagram_client(aio, n, port, KIB)


add(Row("UDP client, connected, 64 bytes", "connect", datagram_client_small, 2000, native=False))
add(Row("UDP client, connected, 1024 bytes", "connect", datagram_client_1k, 2000, native=False))

serves("sendfile, 10 MiB", file_server, mode="connect", conns=2, response=FILE_SIZE)


@operation("getaddrinfo of a literal", 200, native=False)
async def getaddrinfo(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    for _ in range(n):
        await loop.getaddrinfo("127.0.0.1", 8080, type=SOCK_STREAM)
