"""TLS: how connections end: closed, by the peer, cut off, broken; and what a failing protocol does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import warnings
from typing import Any

import pytest
from peers import LIMIT, Recorder, lost, reports, reset, turns
from tls_peer import Peer, client_context, pair, secured, server_context


def without_eof(protocol: Recorder) -> list[Any]:
    """Its events. asyncio calls eof_received() for the peer's answer to our own close() too."""
    return [event for event in protocol.events if event != "eof"]


BOTH = pytest.mark.parametrize("server_side", [False, True])


@BOTH
def test_close_says_goodbye_and_waits_for_the_peers(run: Any, server_side: bool) -> None:
    async def main() -> None:
        async with secured(server_side=server_side) as (protocol, peer):
            protocol.transport.write(b"the last words")
            protocol.transport.close()
            assert protocol.transport.is_closing()
            assert await peer.receive(100) == b"the last words"
            await turns(5)
            assert not protocol.lost.done()
            await peer.close_notify()
            assert await lost(protocol) is None
            assert without_eof(protocol) == ["made", "lost"]
            assert protocol.transport.get_protocol() is None

    run(main())


def test_what_the_peer_sends_before_its_goodbye_is_delivered(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            peer.tls.write(b"first, ")
            peer.tls.write(b"last")
            # in one packet with the close_notify
            await peer.close_notify()
            assert await lost(protocol) is None
            assert protocol.data == b"first, last"
            assert protocol.events[-2:] == ["eof", "lost"]
            assert await peer.ended()

    run(main())


@BOTH
def test_the_end_of_the_stream_without_a_goodbye_ends_the_connection(run: Any, server_side: bool) -> None:
    async def main() -> None:
        async with secured(server_side=server_side) as (protocol, peer):
            await peer.send(b"cut off")
            peer.sock.shutdown(socket.SHUT_WR)
            assert await lost(protocol) is None
            assert protocol.events == ["made", b"cut off", "eof", "lost"]

    run(main())


def test_tls_is_not_kept_half_open(run: Any, caplog: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            protocol.keep_open = True
            await peer.close_notify()
            assert await lost(protocol) is None
        assert "returning true from eof_received() has no effect when using ssl" in caplog.text

    run(main())


def test_what_is_queued_is_still_sent_after_the_peers_end(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            data = b"d" * 8_000_000  # more than the sockets hold
            protocol.transport.write(data)
            peer.sock.shutdown(socket.SHUT_WR)
            await protocol.until(lambda: "eof" in protocol.events)
            assert await peer.receive(len(data)) == data
            assert await lost(protocol) is None

    run(main())


def test_what_is_queued_is_still_sent_after_close(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            data = b"d" * 8_000_000
            protocol.transport.write(data)
            protocol.transport.close()
            protocol.transport.close()
            assert await peer.receive(len(data) + 1) == data  # and then a close_notify
            await peer.close_notify()
            assert await lost(protocol) is None

    run(main())


def test_a_reset_is_told_and_costs_nothing_that_came_before(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            await peer.send(b"before")
            await protocol.until(lambda: protocol.data == b"before")
            reset(peer.sock)
            assert isinstance(await lost(protocol), ConnectionResetError)
            assert protocol.events == ["made", b"before", "lost"]

    run(main())


@pytest.mark.parametrize("queued", [0, 8_000_000])
def test_a_dead_peer_holds_a_closing_connection_no_longer_than_the_timeout(run: Any, queued: int) -> None:
    async def main() -> None:
        async with secured(ssl_shutdown_timeout=0.1) as (protocol, peer):
            protocol.transport.write(b"x" * queued)
            start = asyncio.get_running_loop().time()
            protocol.transport.close()
            error = await lost(protocol)
            assert isinstance(error, TimeoutError) and str(error) == "SSL shutdown timed out"
            assert asyncio.get_running_loop().time() - start < 5

    run(main())


@pytest.mark.extra("asyncio waits for ever: its timer stops when the peer has said goodbye")
def test_a_peer_that_says_goodbye_but_reads_nothing_is_held_no_longer(run: Any) -> None:
    async def main() -> None:
        async with secured(ssl_shutdown_timeout=0.2) as (protocol, peer):
            protocol.transport.write(b"x" * 3_000_000)
            protocol.transport.set_write_buffer_limits(high=1 << 24)
            protocol.transport.write(b"x" * 8_000_000)
            await peer.close_notify()
            assert isinstance(await lost(protocol), TimeoutError)

    run(main())


@pytest.mark.extra("asyncio tells of an error; uvloop goes on receiving for thirty seconds")
def test_a_peer_that_goes_on_sending_does_not_hold_what_was_closed(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            protocol.transport.write(b"enough")
            protocol.transport.close()
            assert await peer.receive(6) == b"enough"
            await peer.send(b"more and more" * 1000)
            assert await lost(protocol) is None
            assert protocol.data == b""

    run(main())


def test_a_dead_peers_stream_closes_after_the_timeout(run: Any, aio: Any) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            await reader.read()

        server = await aio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        _, writer = await aio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), ssl_shutdown_timeout=0.1
        )
        writer.transport.pause_reading()
        writer.close()
        try:
            async with asyncio.timeout(LIMIT):
                await writer.wait_closed()
        except TimeoutError as e:
            assert str(e) == "SSL shutdown timed out"
        server.close()

    run(main())


@pytest.mark.extra("asyncio raises")
def test_a_reset_that_costs_nothing_is_no_error_of_closing(run: Any, aio: Any) -> None:
    async def main() -> None:
        ours, other = pair()
        peer = Peer(other, server_side=True)
        connecting = asyncio.ensure_future(
            aio.open_connection(sock=ours, ssl=client_context(), server_hostname="localhost")
        )
        await peer.handshake()
        reader, writer = await connecting
        writer.write(b"all of it")
        assert await peer.receive(9) == b"all of it"
        writer.close()
        assert await peer.ended()
        reset(other)
        async with asyncio.timeout(LIMIT):
            await writer.wait_closed()

    run(main())


def test_abort_closes_at_once(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            protocol.transport.write(b"x" * 8_000_000)
            protocol.transport.abort()
            protocol.transport.abort()
            assert protocol.transport.is_closing()
            assert await lost(protocol) is None
            assert protocol.transport.get_write_buffer_size() == 0
            assert not await peer.ended()

    run(main())


def test_abort_while_closing(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            protocol.transport.close()
            await turns()
            protocol.transport.abort()
            assert await lost(protocol) is None
            assert protocol.events == ["made", "lost"]

    run(main())


def test_a_record_that_was_tampered_with_ends_the_connection(run: Any) -> None:
    async def main() -> None:
        told = reports()
        async with secured() as (protocol, peer):
            bad = bytearray(peer.encrypted(b"you owe me 10"))
            bad[-1] ^= 1
            await asyncio.get_running_loop().sock_sendall(peer.sock, bad)
            error = await lost(protocol)
            # as OpenSSL words it: bad record mac; newer ones: record layer failure
            assert isinstance(error, ssl.SSLError) and "record" in str(error)
            assert protocol.events == ["made", "lost"]
        assert told == []

    run(main())


@pytest.mark.extra("asyncio loses what came before in the same packet, and says nothing to the peer")
def test_what_came_before_a_bad_record_is_delivered_and_the_peer_is_told(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            good = peer.encrypted(b"a") + peer.encrypted(b"b" * 16384)
            await asyncio.get_running_loop().sock_sendall(peer.sock, good + b"\x17\x03\x03\x00\x20" + b"x" * 32)
            assert isinstance(await lost(protocol), ssl.SSLError)
            assert protocol.data == b"a" + b"b" * 16384
            with pytest.raises(ssl.SSLError, match="alert bad record mac"):
                await peer.receive(1)

    run(main())


def test_a_write_after_the_end_is_dropped_and_warned_of(run: Any, caplog: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            transport.close()
            for _ in range(10):
                transport.write(b"too late")
                transport.writelines([b"too ", b"late"])
            assert caplog.messages[0] == "SSL connection is closed"
            assert await peer.receive(1) == b""
            await peer.close_notify()
            assert await lost(protocol) is None
            transport.write(b"too late")
            transport.close()
            transport.abort()
            await turns()
            assert without_eof(protocol) == ["made", "lost"]

    run(main())


class Broken(Recorder):
    """Fails in the callback of that name."""

    where = ""

    def note(self, event: Any) -> None:
        super().note(event)
        if event == self.where or (self.where == "data" and isinstance(event, bytes)):
            raise RuntimeError(f"broken: {self.where}")


@pytest.mark.parametrize(
    "where, message",
    [
        ("data", "Fatal error on SSL protocol"),
        ("eof", "Error calling eof_received()"),
    ],
)
def test_a_failing_protocol_loses_its_connection_and_is_reported(run: Any, where: str, message: str) -> None:
    async def main() -> None:
        told = reports()
        async with secured(Broken) as (protocol, peer):
            protocol.where = where
            await peer.send(b"data")
            await peer.close_notify()
            error = await lost(protocol)
            assert isinstance(error, RuntimeError)
            assert [(context["message"], context["exception"]) for context in told] == [(message, error)]

    run(main())


def test_a_protocol_that_fails_in_connection_made_fails_the_call(run: Any) -> None:
    async def main() -> None:
        told = reports()

        class Bad(Broken):
            where = "made"

        async with secured(Bad, handshake=False) as (connecting, peer):
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await peer.handshake()
            with pytest.raises(RuntimeError, match="broken: made"):
                await connecting
        assert len(told) == 1 and isinstance(told[0]["exception"], RuntimeError)

    run(main())


def test_a_protocol_that_fails_in_connection_lost_is_reported(run: Any) -> None:
    async def main() -> None:
        told = reports()
        async with secured(Broken) as (protocol, peer):
            protocol.where = "lost"
            protocol.transport.abort()
            await protocol.until(lambda: "lost" in protocol.events)
            await turns()
            assert protocol.events.count("lost") == 1
            assert len(told) == 1 and isinstance(told[0]["exception"], RuntimeError)

    run(main())


@pytest.mark.parametrize("where", ["pause", "resume"])
def test_a_protocol_that_fails_in_flow_control_is_reported_and_goes_on(run: Any, where: str) -> None:
    async def main() -> None:
        told = reports()
        async with secured(Broken) as (protocol, peer):
            protocol.where = where
            data = b"x" * 8_000_000
            for start in range(0, len(data), 80_000):
                protocol.transport.write(data[start : start + 80_000])
            assert await peer.receive(len(data)) == data
            await protocol.until(lambda: "resume" in protocol.events)
            assert [context["message"] for context in told] == [f"protocol.{where}_writing() failed"]

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_a_protocol_leaves_the_loop(loop: Any, error: type) -> None:
    async def main() -> None:
        class Interrupted(Recorder):
            def data_received(self, data: bytes) -> None:
                raise error

        async with secured(Interrupted) as (protocol, peer):
            await peer.send(b"!")
            await asyncio.sleep(LIMIT)

    with pytest.raises(error):
        loop.run_until_complete(main())


def test_close_in_data_received_takes_no_more(run: Any) -> None:
    async def main() -> None:
        class Once(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.write(b"bye")
                self.transport.close()

        async with secured(Once) as (protocol, peer):
            await peer.send(b"one")
            assert await peer.receive(10) == b"bye"
            await peer.close_notify()
            assert await lost(protocol) is None
            assert without_eof(protocol) == ["made", b"one", "lost"]

    run(main())


def test_a_transport_that_nobody_closed_is_warned_of(aio: Any) -> None:
    async def connect(sock: socket.socket, other: socket.socket) -> None:
        peer = Peer(other, server_side=True)
        task = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(
                asyncio.Protocol, sock=sock, ssl=client_context(), server_hostname="localhost"
            )
        )
        await peer.handshake()
        await task

    loop = aio.new_event_loop()
    sock, other = pair()
    loop.run_until_complete(connect(sock, other))
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del sock, loop
        gc.collect()
    other.close()
    assert [str(w.message)[:20] for w in caught if "TLS" in str(w.message) or "SSL" in str(w.message)] == [
        "unclosed transport <"
    ]


def test_debug_mode_tells_of_handshakes(run: Any, caplog: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            peer.sock.shutdown(socket.SHUT_WR)
            await lost(protocol)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(main(), debug=True)
    assert "starts SSL handshake" in caplog.text
    assert "SSL handshake took" in caplog.text
    assert "received EOF" in caplog.text
