"""For tests of connections: a protocol that notes what happens, and the two ends of a connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

LIMIT = 10  # seconds that anything may take


class Recorder(asyncio.Protocol):
    """Notes what it is called with; `seen(event)` waits for one of a kind, `lost` is done at the end."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.data = b""
        self.keep_open = False
        self.paused = False
        self.news = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def note(self, event: Any) -> None:
        self.events.append(event)
        self.news.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.note(data)

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost")
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.paused = True
        self.note("pause")

    def resume_writing(self) -> None:
        self.paused = False
        self.note("resume")

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():
                self.news.clear()
                await self.news.wait()


class Buffered(asyncio.BufferedProtocol):
    """A BufferedProtocol with a buffer of that size; `received` is what came."""

    def __init__(self, size: int = 4096) -> None:
        self.buffer = bytearray(size)
        self.received = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        assert sizehint == -1
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.transport.write(b"%d;" % nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@asynccontextmanager
async def connected(factory: Callable[[], Any] = Recorder, family: int = socket.AF_INET) -> Any:
    """(protocol with its transport, the other end as a non-blocking socket). Both are closed at the end."""
    loop = asyncio.get_running_loop()
    if family == socket.AF_UNIX:
        ours, other = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
    ours.setblocking(False)
    other.setblocking(False)
    create = loop.create_unix_connection if family == socket.AF_UNIX else loop.create_connection
    transport, protocol = await create(factory, sock=ours)
    try:
        yield protocol, other
    finally:
        other.close()
        if not transport.is_closing():
            transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(LIMIT):
        while len(data) < size:
            more = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
            if not more:
                break
            data += more
    return data


async def send(sock: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(LIMIT):
        await asyncio.get_running_loop().sock_sendall(sock, data)


async def lost(protocol: Any) -> Exception | None:
    async with asyncio.timeout(LIMIT):
        error: Exception | None = await protocol.lost
    return error


def reset(sock: socket.socket) -> None:
    """Close so that the other side gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def reports() -> list[dict[str, Any]]:
    """What the running loop's exception handler is told from now on."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    return told


async def turns(n: int = 3) -> None:
    for _ in range(n):
        await asyncio.sleep(0)
