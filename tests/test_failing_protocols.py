"""A protocol that fails takes down its own connection and nothing else, and it is reported."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from peers import Buffered, Recorder, connected, lost, receive, reports, send, turns

pytestmark = pytest.mark.usefixtures("no_leaks")


class Failing(Recorder):
    """Raises what it is told to where it is told to."""

    where = ""
    error: BaseException = ZeroDivisionError("the protocol's own")

    def maybe(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.maybe("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(b"answered")
        self.maybe("data_received")

    def eof_received(self) -> bool:
        super().eof_received()
        self.maybe("eof_received")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.maybe("connection_lost")


def failing(where: str, error: BaseException | None = None) -> Callable[[], Failing]:
    def factory() -> Failing:
        protocol = Failing()
        protocol.where = where
        if error is not None:
            protocol.error = error
        return protocol

    return factory


@pytest.mark.parametrize("where", ["data_received", "eof_received"])
def test_a_callback_that_raises_ends_its_connection_and_is_reported(run: Any, where: str) -> None:
    async def main() -> None:
        told = reports()
        async with connected(failing(where)) as (protocol, other), connected() as (neighbour, other2):
            await send(other, b"x")
            other.shutdown(socket.SHUT_WR)
            assert await lost(protocol) is protocol.error
            assert await receive(other, 9) == b"answered"  # what was written before isn't lost
            (context,) = told
            assert context["message"] == f"Fatal error: protocol.{where}() call failed."
            assert context["exception"] is protocol.error
            assert context["transport"] is protocol.transport and context["protocol"] is protocol
            await send(other2, b"alive")
            await neighbour.until(lambda: neighbour.data == b"alive")

    run(main())


def test_an_oserror_of_the_protocol_ends_its_connection(run: Any) -> None:
    async def main() -> None:
        told = reports()
        error = OSError("the protocol's own")
        async with connected(failing("data_received", error)) as (protocol, other):
            await send(other, b"x")
            assert await lost(protocol) is error
        assert told == []

    run(main())


def test_connection_made_that_raises_is_reported_and_the_connection_goes_on(run: Any) -> None:
    async def main() -> None:
        told = reports()
        async with connected(failing("connection_made")) as (protocol, other):
            assert [context["exception"] for context in told] == [protocol.error]
            assert "connection_made" in told[0]["message"]
            await send(other, b"x")
            await protocol.until(lambda: protocol.data == b"x")

    run(main())


def test_connection_lost_that_raises_is_reported_and_the_descriptor_is_closed(run: Any) -> None:
    async def main() -> None:
        told = reports()
        async with connected(failing("connection_lost")) as (protocol, other):
            sock = protocol.transport.get_extra_info("socket")
            protocol.transport.close()
            await lost(protocol)
            await turns()
            assert [context["exception"] for context in told] == [protocol.error]
            assert sock.fileno() == -1
            assert other.recv(1) == b""

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["data_received", "eof_received"])
def test_keyboard_interrupt_and_system_exit_leave_the_loop(
    loop: asyncio.AbstractEventLoop, error: type[BaseException], where: str
) -> None:
    ours, other = socket.socketpair()
    ours.setblocking(False)
    factory = failing(where, error())
    transport, protocol = loop.run_until_complete(loop.create_unix_connection(factory, sock=ours))
    other.send(b"x")
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(error):
        loop.run_forever()
    assert other.recv(100) == b"answered"
    transport.abort()
    loop.run_until_complete(lost(protocol))
    other.close()


@pytest.mark.parametrize("way", ["empty", "no buffer", "raises", "updated"])
def test_a_buffered_protocol_that_fails_loses_its_connection(run: Any, way: str) -> None:
    class Bad(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            if way == "raises":
                raise ZeroDivisionError
            return {"empty": bytearray(), "no buffer": None, "updated": self.buffer}[way]

        def buffer_updated(self, nbytes: int) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        told = reports()
        async with connected(Bad) as (protocol, other):
            await send(other, b"x")
            error = await lost(protocol)
            kinds = {"empty": RuntimeError, "no buffer": TypeError}
            assert type(error) is kinds.get(way, ZeroDivisionError)
            (context,) = told
            call = "buffer_updated" if way == "updated" else "get_buffer"
            assert context["message"] == f"Fatal error: protocol.{call}() call failed."
            assert context["exception"] is error

    run(main())


def test_a_protocol_without_data_received_loses_its_connection(run: Any) -> None:
    class Mute(asyncio.BaseProtocol):
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        told = reports()
        async with connected(Mute) as (protocol, other):
            await send(other, b"x")
            assert isinstance(await lost(protocol), AttributeError)
            assert len(told) == 1

    run(main())


@pytest.mark.extra("on asyncio the connection hangs")
def test_a_poller_that_cannot_watch_a_descriptor_ends_its_connection(runtime: str) -> None:
    from importlib import import_module

    poller = import_module("glassloop.core.poller")
    loop_module = import_module("glassloop.loop")

    class Picky(poller.SelectorPoller):  # type: ignore[name-defined,misc]
        refused: set[int] = set()

        def register(self, fd: int, watcher: Any, events: int) -> None:
            if fd in self.refused:
                raise OSError(28, "No space left on device")
            super().register(fd, watcher, events)

    picky = Picky()
    loop = loop_module.EventLoop(poller=picky)
    try:
        ours, other = socket.socketpair()
        ours.setblocking(False)
        picky.refused.add(ours.fileno())

        async def main() -> None:
            _, protocol = await loop.create_unix_connection(Recorder, sock=ours)
            error = await lost(protocol)
            assert isinstance(error, OSError) and error.errno == 28

        loop.run_until_complete(main())
        assert other.recv(1) == b""
        other.close()
    finally:
        loop.close()
