"""start_tls(): a connection goes on over TLS, over any transport, and nothing gets lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest
from peers import LIMIT, Recorder, lost, receive, reports, send, turns
from tls_peer import Peer, client_context, pair, secured, server_context


async def plain(factory: Any = Recorder) -> Any:
    """(protocol with a plain transport, the other end)."""
    ours, other = pair()
    _, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return protocol, other


@pytest.mark.parametrize("server_side", [False, True])
def test_a_plain_connection_goes_on_over_tls(run: Any, server_side: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        await send(other, b"plain")
        await protocol.until(lambda: protocol.data == b"plain")
        peer = Peer(other, server_side=not server_side)
        old = protocol.transport
        upgrade = loop.create_task(
            loop.start_tls(
                old,
                protocol,
                server_context() if server_side else client_context(),
                server_side=server_side,
                server_hostname=None if server_side else "localhost",
            )
        )
        await peer.handshake()
        transport = await upgrade
        assert isinstance(transport, asyncio.Transport) and transport is not old
        assert transport.get_protocol() is protocol
        assert transport.get_extra_info("ssl_object") is not None
        assert protocol.events == ["made", b"plain"], "connection_made() isn't called again"
        await peer.send(b" and secret")
        await protocol.until(lambda: protocol.data == b"plain and secret")
        transport.write(b"so is this")
        assert await peer.receive(10) == b"so is this"
        transport.close()
        await peer.close_notify()
        assert await lost(protocol) is None
        other.close()

    run(main())


async def upgrade_both(server_streams: Any, client_streams: Any, size: int) -> None:
    """Agree on TLS in plain text, upgrade both sides, exchange data."""

    async def serve(reader: Any, writer: Any) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.start_tls(server_context())
        assert writer.get_extra_info("sslcontext") is not None
        writer.write(await reader.readexactly(size))
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    server = await server_streams.start_server(serve, "127.0.0.1", 0)
    async with asyncio.timeout(LIMIT):
        reader, writer = await client_streams.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go on\n"
        await writer.start_tls(client_context(), server_hostname="localhost")
        writer.write(b"s" * size)
        assert await reader.readexactly(size) == b"s" * size
        writer.close()
        await writer.wait_closed()
    server.close()


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize("server, client", [("own", "own"), ("asyncio's", "asyncio's"), ("own", "asyncio's")])
def test_streams_go_on_over_tls(aio: Any, run: Any, server: str, client: str, size: int) -> None:
    streams = {"own": aio, "asyncio's": asyncio}
    run(upgrade_both(streams[server], streams[client], size))


@pytest.mark.extra("asyncio loses them up to 3.13")
@pytest.mark.parametrize("streams", ["own", "asyncio's"])
def test_a_handshake_that_came_before_the_upgrade_is_not_lost(aio: Any, run: Any, streams: str) -> None:
    async def main() -> None:
        accepted = asyncio.get_running_loop().create_future()
        names = aio if streams == "own" else asyncio

        async def serve(reader: Any, writer: Any) -> None:
            assert await reader.readline() == b"PROXY TCP4 ...\r\n"
            async with asyncio.timeout(LIMIT):
                while not reader._buffer:
                    await asyncio.sleep(0)
            await writer.start_tls(server_context())
            accepted.set_result(await reader.readexactly(5))
            writer.close()

        server = await names.start_server(serve, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        peer = Peer(sock, server_side=False)
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await send(sock, b"PROXY TCP4 ...\r\n" + peer.outgoing.read())
        await peer.handshake()
        await peer.send(b"hello")
        async with asyncio.timeout(LIMIT):
            assert await accepted == b"hello"
        peer.close()
        server.close()

    run(main())


@pytest.mark.extra("asyncio hands it out as if it had come over TLS")
def test_plaintext_where_tls_should_begin_fails_the_handshake(aio: Any, run: Any) -> None:
    async def main() -> None:
        ours, other = pair()
        reader, writer = await aio.open_connection(sock=ours)
        await send(other, b"220 go on\r\n250 you are authenticated\r\n")
        assert await reader.readline() == b"220 go on\r\n"
        with pytest.raises(ssl.SSLError):
            await writer.start_tls(client_context(), server_hostname="localhost")
        other.close()
        writer.close()
        with contextlib.suppress(ssl.SSLError):
            await writer.wait_closed()

    run(main())


def test_tls_within_tls(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, other = pair()
        accepting = loop.create_task(loop.connect_accepted_socket(Recorder, other, ssl=server_context()))
        outer, client = await loop.create_connection(
            Recorder, sock=ours, ssl=client_context(), server_hostname="localhost"
        )
        accepted, server = await accepting
        upgrading = loop.create_task(loop.start_tls(accepted, server, server_context(), server_side=True))
        await turns(1)
        inner = await loop.start_tls(outer, client, client_context(), server_hostname="localhost")
        answering = await upgrading
        assert inner.get_extra_info("ssl_object") is not outer.get_extra_info("ssl_object")
        assert inner.get_extra_info("peername") == outer.get_extra_info("peername")
        data = b"twice wrapped " * 20_000
        inner.write(data)
        await server.until(lambda: server.data == data)
        answering.write(b"answer")
        await client.until(lambda: client.data == b"answer")
        inner.close()
        assert await lost(client) is None
        assert await lost(server) is None
        assert client.events.count("lost") == server.events.count("lost") == 1

    run(main())


class Foreign(asyncio.Transport):
    """Somebody else's transport: hands all calls to one of the loop's, and only knows data_received()."""

    _start_tls_compatible = True

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self.below = transport
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.calls.append("write")
        self.below.write(data)

    def set_protocol(self, protocol: Any) -> None:
        self.above = protocol
        self.below.set_protocol(self.Passing(self))

    def _force_close(self, exc: Any) -> None:
        self.below.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def pause_reading(self) -> None:
        self.below.pause_reading()

    def resume_reading(self) -> None:
        self.below.resume_reading()

    def close(self) -> None:
        self.below.close()

    def abort(self) -> None:
        self.below.abort()

    def is_closing(self) -> bool:
        return bool(self.below.is_closing())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.below.get_extra_info(name, default)

    class Passing(asyncio.Protocol):
        def __init__(self, transport: Foreign) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            above = self.transport.above
            if isinstance(above, asyncio.BufferedProtocol):
                buffer = above.get_buffer(len(data))
                buffer[: len(data)] = data
                above.buffer_updated(len(data))
            else:
                above.data_received(bytearray(data))

        def eof_received(self) -> Any:
            return self.transport.above.eof_received()

        def pause_writing(self) -> None:
            self.transport.above.pause_writing()

        def resume_writing(self) -> None:
            self.transport.above.resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self.transport.above.connection_lost(exc)


def test_a_foreign_transport_that_says_it_can_carries_tls(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        foreign = Foreign(protocol.transport)
        peer = Peer(other, server_side=True)
        upgrade = loop.create_task(
            loop.start_tls(foreign, protocol, client_context(), server_hostname="localhost")
        )
        await peer.handshake()
        transport = await upgrade
        data = b"d" * 200_000
        await peer.send(data)
        await protocol.until(lambda: protocol.data == data)
        transport.write(data)
        assert await peer.receive(len(data)) == data
        assert foreign.calls
        assert transport.get_extra_info("peername") == foreign.get_extra_info("peername")
        transport.close()
        await peer.close_notify()
        assert await lost(protocol) is None
        other.close()

    run(main())


def test_arguments_that_make_no_sense_are_refused(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of ssl.SSLContext, got None"):
            await loop.start_tls(protocol.transport, protocol, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(asyncio.Transport(), protocol, client_context())
        for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{name} should be a positive number, got 0"):
                await loop.start_tls(
                    protocol.transport, protocol, client_context(), server_hostname="localhost", **{name: 0}
                )
        # the connection is as it was
        await send(other, b"unharmed")
        await protocol.until(lambda: protocol.data == b"unharmed")
        protocol.transport.close()
        await lost(protocol)
        other.close()

    run(main())


def test_an_upgrade_that_fails_closes_the_connection_and_says_so_once(run: Any) -> None:
    async def main() -> None:
        told = reports()
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        upgrade = loop.create_task(
            loop.start_tls(protocol.transport, protocol, client_context(), server_hostname="localhost")
        )
        await receive(other, 1)
        await send(other, b"no, thank you")
        with pytest.raises(ssl.SSLError):
            await upgrade
        assert isinstance(await lost(protocol), ssl.SSLError)
        assert protocol.events == ["made", "lost"]
        other.close()
        assert told == []

    run(main())


@pytest.mark.extra("asyncio does not tell the protocol")
def test_a_connection_that_ends_in_an_upgrade_is_lost_once(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        upgrade = loop.create_task(
            loop.start_tls(protocol.transport, protocol, client_context(), server_hostname="localhost")
        )
        await turns()
        protocol.transport.abort()
        with pytest.raises(ConnectionResetError):
            await upgrade
        await lost(protocol)
        assert protocol.events == ["made", "lost"]
        other.close()

    run(main())


def test_an_upgrade_runs_into_its_timeout(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than 0.05 seconds"):
            await loop.start_tls(
                protocol.transport, protocol, client_context(), server_hostname="localhost", ssl_handshake_timeout=0.05
            )
        other.close()

    run(main())


def test_an_upgrade_that_is_cancelled_closes_the_connection(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, other = await plain()
        upgrade = loop.create_task(
            loop.start_tls(protocol.transport, protocol, client_context(), server_hostname="localhost")
        )
        await receive(other, 1)
        upgrade.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upgrade
        await receive(other, 1 << 20)
        other.close()

    run(main())


def test_a_protocol_above_tls_can_be_upgraded_by_asyncios_streams(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            reader = asyncio.StreamReader()
            stream = asyncio.StreamReaderProtocol(reader)
            stream.connection_made(protocol.transport)
            protocol.transport.set_protocol(stream)
            writer = asyncio.StreamWriter(protocol.transport, stream, reader, asyncio.get_running_loop())
            await peer.send(b"line\n")
            async with asyncio.timeout(LIMIT):
                assert await reader.readline() == b"line\n"
            writer.write(b"back")
            assert await peer.receive(4) == b"back"

    run(main())


@pytest.mark.parametrize("streams", ["own", "asyncio's"])
def test_a_reader_pauses_the_transport_it_reads_from_now(aio: Any, run: Any, streams: str) -> None:
    async def main() -> None:
        names = aio if streams == "own" else asyncio
        data = bytes(range(256)) * 150_000
        sent = asyncio.get_running_loop().create_future()

        async def serve(reader: Any, writer: Any) -> None:
            await writer.start_tls(server_context())
            for start in range(0, len(data), 400_000):
                writer.write(data[start : start + 400_000])
                await writer.drain()
            sent.set_result(None)
            await reader.read()
            writer.close()

        server = await names.start_server(serve, "127.0.0.1", 0)
        async with asyncio.timeout(LIMIT):
            reader, writer = await names.open_connection(*server.sockets[0].getsockname())
            await writer.start_tls(client_context(), server_hostname="localhost")
            await asyncio.sleep(0.05)
            assert not sent.done(), "more is taken than anybody reads"
            assert await reader.readexactly(len(data)) == data
            writer.close()
            await sent
        server.close()

    run(main())
