"""Stream transports: what a protocol sees of a connection from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import socket
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from peers import LIMIT, Buffered, Recorder, connected, lost, receive, reports, reset, send, turns

pytestmark = pytest.mark.usefixtures("no_leaks")


# ---- beginning ----


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_connection_made_data_eof_connection_lost_come_in_this_order(run: Any, family: int) -> None:
    async def main() -> None:
        async with connected(family=family) as (protocol, other):
            assert protocol.events == ["made"]  # create_connection returns after it
            await send(other, b"one")
            await protocol.until(lambda: b"one" in protocol.events)
            await send(other, b"two")
            other.shutdown(socket.SHUT_WR)
            assert await lost(protocol) is None
            assert protocol.events == ["made", b"one", b"two", "eof", "lost"]

    run(main())


def test_connection_made_comes_in_a_turn_of_its_own_before_any_data(run: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        other.send(b"early")
        ours.setblocking(False)
        task = asyncio.ensure_future(asyncio.get_running_loop().create_unix_connection(Recorder, sock=ours))
        transport, protocol = await task
        await protocol.until(lambda: protocol.data == b"early")
        assert protocol.events == ["made", b"early"]
        transport.abort()
        await lost(protocol)
        other.close()

    run(main())


def test_a_transport_is_an_asyncio_transport(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, _):
            transport = protocol.transport
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert transport.can_write_eof()
            assert not transport.is_closing()
            fd = transport.get_extra_info("socket").fileno()
            assert f"fd={fd} read=polling write=<idle, bufsize=0>" in repr(transport)
            transport.close()
            assert "closing" in repr(transport)
            await lost(protocol)
            await turns()
            assert "closed" in repr(transport)

    run(main())


def test_extra_information_stays_after_the_end(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            names = other.getpeername(), other.getsockname()
            assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == names
            sock = transport.get_extra_info("socket")
            assert sock is transport.get_extra_info("socket")
            assert sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM and sock.gettimeout() == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert transport.get_extra_info("sslcontext") is None
            assert transport.get_extra_info("anything", "default") == "default"
            reset(other)
            assert isinstance(await lost(protocol), ConnectionResetError)
            await turns()
            assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == names
            assert sock.fileno() == -1

    run(main())


def test_names_of_accepted_connections(run: Any, tmp_path: Any) -> None:
    async def main() -> None:
        made: list[Any] = []
        loop = asyncio.get_running_loop()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.append(transport)

        def accepted(server: Any, connect: Callable[[Any], socket.socket]) -> Awaitable[Any]:
            async def accept() -> Any:
                with connect(server.sockets[0].getsockname()) as client:
                    async with asyncio.timeout(LIMIT):
                        while not made:
                            await asyncio.sleep(0.001)
                    transport = made.pop()
                    names = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
                    assert names == (client.getpeername(), client.getsockname())
                    assert transport.get_extra_info("socket").family == client.family
                    transport.abort()
                    await turns()
                    assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == names
                server.close()
                return names

            return accept()

        def unix(path: Any) -> socket.socket:
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            return client

        await accepted(await loop.create_server(Server, "127.0.0.1", 0), socket.create_connection)
        if socket.has_ipv6:
            names = await accepted(
                await loop.create_server(Server, "::1", 0), lambda name: socket.create_connection(name[:2])
            )
            assert names[0][0] == "::1" and len(names[1]) == 4
        names = await accepted(await loop.create_unix_server(Server, str(tmp_path / "socket")), unix)
        assert names == (str(tmp_path / "socket"), "")
        abstract = f"\0test-{os.getpid()}"
        names = await accepted(await loop.create_unix_server(Server, abstract), unix)
        assert names == (abstract.encode(), "")

    run(main())


def test_callbacks_run_in_the_context_of_the_connection_and_in_no_task(run: Any) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")

    class Protocol(Recorder):
        def data_received(self, data: bytes) -> None:
            self.note((var.get(), asyncio.current_task()))

        def connection_lost(self, exc: Exception | None) -> None:
            self.note((var.get(), asyncio.current_task()))
            super().connection_lost(exc)

    async def main() -> None:
        var.set("outer")
        async with connected(Protocol) as (protocol, other):
            var.set("later")
            await send(other, b"x")
            await protocol.until(lambda: len(protocol.events) == 2)
            other.close()
            await lost(protocol)
            assert protocol.events == ["made", ("outer", None), "eof", ("outer", None), "lost"]

    run(main())


# ---- reading ----


def test_nothing_is_received_while_reading_is_paused(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            await send(other, b"data")
            await asyncio.sleep(0.02)
            assert protocol.data == b""
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            await protocol.until(lambda: protocol.data == b"data")
            transport.close()
            assert not transport.is_reading()
            transport.resume_reading()
            transport.pause_reading()
            assert not transport.is_reading()

    run(main())


def test_reading_paused_within_data_received_stops_there(run: Any) -> None:
    class Once(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        async with connected(Once) as (protocol, other):
            total = 1 << 20
            sender = asyncio.ensure_future(send(other, b"x" * total))
            while len(protocol.data) < total:
                before = len(protocol.events)
                await protocol.until(lambda: len(protocol.events) > before)
                assert len(protocol.events) == before + 1
                await turns()
                assert len(protocol.events) == before + 1
                protocol.transport.resume_reading()
            await sender

    run(main())


def test_paused_in_connection_made(run: Any) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        async with connected(Paused) as (protocol, other):
            await send(other, b"data")
            await asyncio.sleep(0.02)
            assert protocol.data == b""
            protocol.transport.resume_reading()
            await protocol.until(lambda: protocol.data == b"data")

    run(main())


def test_buffered_protocol_is_given_what_its_buffer_holds(run: Any) -> None:
    async def main() -> None:
        async with connected(lambda: Buffered(10)) as (protocol, other):
            await send(other, b"0123456789abcde")
            assert await receive(other, 5) == b"10;5;"
            assert protocol.received == b"0123456789abcde"
            other.close()
            assert await lost(protocol) is None

    run(main())


def test_protocols_of_all_kinds_may_take_over_from_each_other(run: Any) -> None:
    async def main() -> None:
        async with connected() as (first, other):
            transport = first.transport
            await send(other, b"one")
            await first.until(lambda: first.data == b"one")
            second = Buffered()
            second.transport = transport
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            await send(other, b"two")
            assert await receive(other, 2) == b"3;"
            assert second.received == b"two"
            transport.set_protocol(first)
            await send(other, b"three")
            await first.until(lambda: first.data == b"onethree")
            transport.close()
            assert await lost(first) is None
            assert not second.lost.done()

    run(main())


def test_a_method_replaced_on_the_protocol_is_the_one_that_is_called(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            received = asyncio.get_running_loop().create_future()
            protocol.data_received = received.set_result
            await send(other, b"data")
            async with asyncio.timeout(LIMIT):
                assert await received == b"data"

    run(main())


# ---- ends ----


def test_the_write_side_stays_open_if_eof_received_says_so(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.keep_open = True
            other.shutdown(socket.SHUT_WR)
            await protocol.until(lambda: "eof" in protocol.events)
            transport = protocol.transport
            transport.pause_reading()
            transport.resume_reading()
            transport.write(b"still there")
            assert await receive(other, 11) == b"still there"
            assert not transport.is_closing()
            assert protocol.events == ["made", "eof"]
            transport.close()
            assert await lost(protocol) is None
            assert await receive(other, 1) == b""

    run(main())


def test_write_eof_closes_one_side(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            transport.write(b"x" * 300_000)
            transport.write_eof()
            transport.write_eof()
            for call in (transport.write, lambda data: transport.writelines([data])):
                with pytest.raises(RuntimeError, match=r"after write_eof\(\)"):
                    call(b"more")
            assert await receive(other, 300_001) == b"x" * 300_000
            await send(other, b"answer")
            await protocol.until(lambda: protocol.data == b"answer")
            assert not transport.is_closing()
            other.close()
            assert await lost(protocol) is None

    run(main())


def test_close_sends_what_is_queued_and_abort_drops_it(run: Any) -> None:
    async def main() -> None:
        data = os.urandom(4_000_000)
        for close, expected in ("close", len(data)), ("abort", None):
            async with connected() as (protocol, other):
                transport = protocol.transport
                transport.write(data)
                assert transport.get_write_buffer_size() > 0
                getattr(transport, close)()
                assert transport.is_closing()
                if expected is None:
                    assert transport.get_write_buffer_size() == 0
                else:
                    transport.close()
                    assert await receive(other, len(data) + 1) == data
                assert await lost(protocol) is None
                assert len(protocol.events) == 2 + 2 * protocol.events.count("pause") - (expected is None)

    run(main())


def test_small_writes_before_close_are_sent(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.transport.write(b"good")
            protocol.transport.write(b"bye")
            protocol.transport.close()
            assert await receive(other, 10) == b"goodbye"
            assert await lost(protocol) is None

    run(main())


def test_connection_lost_comes_once_however_often_it_is_closed(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            for end in (protocol.transport.close, protocol.transport.abort, other.close, protocol.transport.close):
                end()
            assert protocol.events == ["made"]  # never from within the call
            assert await lost(protocol) is None
            await turns()
            assert protocol.events == ["made", "lost"]

    run(main())


def test_close_in_connection_made(run: Any) -> None:
    class Closing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"no")
            transport.close()

    async def main() -> None:
        async with connected(Closing) as (protocol, other):
            assert await receive(other, 3) == b"no"
            await lost(protocol)
            assert protocol.events == ["made", "lost"]

    run(main())


def test_a_reset_while_reading_is_told_to_connection_lost_and_not_reported(run: Any) -> None:
    async def main() -> None:
        told = reports()
        async with connected() as (protocol, other):
            reset(other)
            assert isinstance(await lost(protocol), ConnectionResetError)
            assert protocol.events == ["made", "lost"]
        assert told == []

    run(main())


def test_an_error_in_sending_is_told_to_connection_lost_in_a_later_turn(run: Any) -> None:
    async def main() -> None:
        told = reports()
        async with connected() as (protocol, other):
            transport = protocol.transport
            transport.pause_reading()
            reset(other)
            await asyncio.sleep(0.02)
            transport.write(b"x")
            transport.write(b"y" * 20_000)  # by now it was tried
            assert transport.is_closing()
            assert protocol.events == ["made"]
            assert isinstance(await lost(protocol), (ConnectionResetError, BrokenPipeError))
            assert transport.get_write_buffer_size() == 0
        assert told == []

    run(main())


def test_a_small_write_that_fails_is_told_too(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.transport.pause_reading()
            reset(other)
            await asyncio.sleep(0.02)
            protocol.transport.write(b"x")
            assert isinstance(await lost(protocol), (ConnectionResetError, BrokenPipeError))

    run(main())


def test_writes_to_a_lost_connection_are_dropped_and_warned_of_from_the_fifth_on(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connected() as (protocol, _):
            transport = protocol.transport
            transport.abort()
            for _ in range(4):
                transport.write(b"x")
            assert "socket.send() raised exception." not in caplog.text
            transport.write(b"x")
            assert "socket.send() raised exception." in caplog.text
            await lost(protocol)
            await turns()

    run(main())


@pytest.mark.extra("asyncio raises AttributeError, TypeError or RuntimeError, as it happens")
def test_a_closed_transport_takes_every_call(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, _):
            transport = protocol.transport
            transport.write(b"x" * 5_000_000)
            transport.abort()
            await lost(protocol)
            await turns()
            transport.write(b"x")
            transport.write(b"x" * 100_000)
            transport.writelines([b"x", b"y" * 100_000])
            transport.write_eof()
            transport.close()
            transport.abort()
            transport.pause_reading()
            transport.resume_reading()
            transport.set_write_buffer_limits(1)
            assert transport.get_write_buffer_size() == 0
            assert transport.get_protocol() is None
            assert transport.get_extra_info("socket").fileno() == -1

    run(main())


# ---- descriptors ----


def test_the_descriptor_of_a_transport_is_refused_to_others(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, _):
            transport = protocol.transport
            fd = transport.get_extra_info("socket").fileno()
            for call in (
                lambda: loop.add_reader(fd, print),
                lambda: loop.add_writer(fd, print),
                lambda: loop.remove_reader(fd),
                lambda: loop.remove_writer(fd),
            ):
                with pytest.raises(RuntimeError, match=f"File descriptor {fd} is used by transport"):
                    call()
            transport.pause_reading()
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(fd, print)
            assert not transport.is_closing()

    run(main())


def test_a_descriptor_is_free_for_others_once_its_transport_is_closed(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            async with connected() as (protocol, other):
                protocol.transport.write(b"x" * 5_000_000)  # it is watched both ways
                fd = protocol.transport.get_extra_info("socket").fileno()
                await send(other, b"pending")
                protocol.transport.abort()
                await lost(protocol)
                await turns()
            # both ends are closed, so that the next two descriptors are the same
            ends = socket.socketpair()
            with ends[0], ends[1]:
                watched, writer = sorted(ends, key=lambda end: end.fileno() != fd)
                assert watched.fileno() == fd
                watched.setblocking(False)
                seen = loop.create_future()
                loop.add_reader(fd, lambda seen=seen, fd=fd: seen.done() or seen.set_result(os.read(fd, 10)))
                writer.send(b"fresh")
                async with asyncio.timeout(LIMIT):
                    assert await seen == b"fresh"
                loop.remove_reader(fd)

    run(main())


def test_a_transport_left_open_is_warned_of_and_closed(aio: Any) -> None:
    loop = aio.new_event_loop()
    ours, other = socket.socketpair()
    ours.setblocking(False)
    transport, _ = loop.run_until_complete(loop.create_unix_connection(lambda: asyncio.Protocol(), sock=ours))
    del ours
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        del transport, loop
        gc.collect()
    assert any("unclosed transport" in str(w.message) and w.category is ResourceWarning for w in caught)
    assert other.recv(1) == b""
    other.close()


def test_connections_leave_nothing_behind(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport
                made.append(weakref.ref(transport))

            def data_received(self, data: bytes) -> None:
                self.transport.write(data)
                self.transport.close()

        server = await loop.create_server(Server, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for _ in range(100):
            transport, protocol = await loop.create_connection(Recorder, *address)
            made.append(weakref.ref(transport))
            transport.write(b"x")
            assert await lost(protocol) is None
        server.close()
        await server.wait_closed()

    made: list[weakref.ref[Any]] = []
    run(main())
    gc.collect()
    assert len(made) == 200
    assert not [transport for transport in made if transport() is not None]


def test_debug_mode_logs_what_a_transport_does(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            other.close()
            await lost(protocol)

    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        run(main(), debug=True)
    for text in ("pauses reading", "resumes reading", "received EOF"):
        assert text in caplog.text
