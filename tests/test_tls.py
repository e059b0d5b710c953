"""TLS: connections and servers, the handshake, what is known of the peer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest
from peers import LIMIT, Recorder, lost, reports, turns
from tls_peer import Peer, client_context, pair, secured, server_context


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def echoes(aio: Any, connect: Any, start: Any, size: int) -> None:
    """A message there and back through streams."""
    data = bytes(range(256)) * (size // 256 + 1)

    async def serve(reader: Any, writer: Any) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with asyncio.timeout(LIMIT):
        server = await start(serve)
        async with server:
            reader, writer = await connect(server)
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.close()
            await writer.wait_closed()
            assert await reader.read() == b""


@pytest.mark.parametrize("size", [1, 1024, 16384, 100_000, 3_000_000])
def test_streams_echo_over_tls(aio: Any, run: Any, size: int) -> None:
    async def connect(server: Any) -> Any:
        host, port = server.sockets[0].getsockname()
        return await aio.open_connection(host, port, ssl=client_context())

    def start(serve: Any) -> Any:
        return aio.start_server(serve, "127.0.0.1", 0, ssl=server_context())

    run(echoes(aio, connect, start, size))


def test_streams_echo_over_tls_on_a_unix_socket(aio: Any, run: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "s")

    async def connect(server: Any) -> Any:
        return await aio.open_unix_connection(path, ssl=client_context(), server_hostname="localhost")

    def start(serve: Any) -> Any:
        return aio.start_unix_server(serve, path, ssl=server_context())

    run(echoes(aio, connect, start, 1000))


def test_asyncios_own_streams_echo_over_tls(run: Any, aio: Any) -> None:
    async def connect(server: Any) -> Any:
        host, port = server.sockets[0].getsockname()
        return await asyncio.open_connection(host, port, ssl=client_context())

    def start(serve: Any) -> Any:
        return asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())

    run(echoes(aio, connect, start, 300_000))


@pytest.mark.parametrize("tls12", [True, False])
def test_protocols_echo_over_tls(run: Any, tls12: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context(tls12=tls12))
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(LIMIT):
            transport, protocol = await loop.create_connection(Recorder, "localhost", port, ssl=client_context())
            assert protocol.events == ["made"]
            transport.write(b"x" * 50_000)
            transport.write(b"y")
            await protocol.until(lambda: len(protocol.data) == 50_001)
            assert protocol.data == b"x" * 50_000 + b"y"
            transport.close()
            assert await lost(protocol) is None
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.parametrize("server_side", [False, True])
def test_connection_made_comes_after_the_handshake_and_before_the_call_returns(run: Any, server_side: bool) -> None:
    async def main() -> None:
        async with secured(server_side=server_side, handshake=False) as (connecting, peer):
            await turns(10)
            assert not connecting.done()
            await peer.handshake()
            transport, protocol = await connecting
            assert protocol.events == ["made"] and protocol.transport is transport
            await peer.send(b"hello")
            await protocol.until(lambda: protocol.data == b"hello")
            transport.write(b"answer")
            assert await peer.receive(6) == b"answer"
            transport.abort()

    run(main())


def test_data_right_behind_the_handshake_arrives(run: Any) -> None:
    async def main() -> None:
        async with secured(server_side=True, handshake=False) as (connecting, peer):
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.flush()
            while True:
                try:
                    peer.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await peer.more()
            # the end of the handshake and the first bytes in one packet
            peer.tls.write(b"at once")
            await peer.flush()
            transport, protocol = await connecting
            await protocol.until(lambda: protocol.data == b"at once")
            transport.abort()

    run(main())


def test_the_transport_is_asyncios_transport_which_cannot_be_half_closed(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_protocol() is protocol
            assert transport.can_write_eof() is False
            with pytest.raises(NotImplementedError):
                transport.write_eof()
            assert transport.is_reading() and not transport.is_closing()

    run(main())


def test_what_is_known_of_the_connection_and_its_peer(run: Any) -> None:
    async def main() -> None:
        context = client_context()
        async with secured(ssl=context) as (protocol, peer):
            info = protocol.transport.get_extra_info
            assert info("sslcontext") is context
            sslobj = info("ssl_object")
            assert isinstance(sslobj, ssl.SSLObject) and sslobj.server_hostname == "localhost"
            assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
            assert info("cipher") == sslobj.cipher() and len(info("cipher")) == 3
            assert info("compression") is None
            assert info("peername") == peer.sock.getsockname()
            assert info("sockname") == peer.sock.getpeername()
            assert info("socket").fileno() >= 0
            assert info("no such thing", "default") == "default"
            protocol.transport.abort()
            await lost(protocol)
            assert info("peercert")["subject"] and info("cipher")[1] == "TLSv1.3"

    run(main())


def test_alpn_agrees_on_a_protocol(run: Any) -> None:
    async def main() -> None:
        ours, theirs = server_context(), client_context()
        ours.set_alpn_protocols(["h2", "http/1.1"])
        theirs.set_alpn_protocols(["http/1.1"])
        async with secured(server_side=True, ssl=ours, peer_context=theirs) as (protocol, peer):
            assert protocol.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            assert peer.tls.selected_alpn_protocol() == "http/1.1"

    run(main())


def test_the_server_sees_the_name_that_is_asked_for_and_can_change_the_certificate(run: Any) -> None:
    async def main() -> None:
        names = []
        context = server_context("other")

        def choose(sslobj: Any, name: str, _: Any) -> None:
            names.append(name)
            sslobj.context = server_context()

        context.sni_callback = choose
        async with secured(server_side=True, ssl=context) as (protocol, peer):
            assert names == ["localhost"]
            assert peer.tls.getpeercert()["subject"] == ((("commonName", "localhost"),),)

    run(main())


def test_a_client_shows_its_certificate(run: Any) -> None:
    async def main() -> None:
        context = server_context(client_certificate=True)
        async with secured(server_side=True, ssl=context, peer_context=client_context("client")) as (protocol, peer):
            assert protocol.transport.get_extra_info("peercert")["subject"] == ((("commonName", "a client"),),)

    run(main())


def test_a_client_without_the_certificate_that_is_wanted_is_refused(run: Any) -> None:
    async def main() -> None:
        context = server_context(client_certificate=True)
        async with secured(server_side=True, ssl=context, handshake=False) as (connecting, peer):
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await peer.handshake()  # TLS 1.3: the client is done before the server has checked
            with pytest.raises(ssl.SSLError):
                await connecting

    run(main())


@pytest.mark.parametrize("certificate", ["stranger", "other"])
def test_a_certificate_that_does_not_fit_is_refused(run: Any, certificate: str) -> None:
    async def main() -> None:
        async with secured(handshake=False, peer_context=server_context(certificate)) as (connecting, peer):
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await peer.handshake()
            with pytest.raises(ssl.SSLCertVerificationError):
                await connecting

    run(main())


def test_true_means_the_default_context_which_does_not_trust_the_tests(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(Recorder, "localhost", port, ssl=True)
        server.close()
        await server.wait_closed()

    run(main())


def ssl_asks_for_a_name() -> bool:
    """Whether this Python's ssl refuses to check a certificate against no name, as later releases of 3.14 do."""
    try:
        client_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    except ValueError:
        return True
    return False


def test_server_hostname_is_what_the_certificate_has_to_name(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context("other"))
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
            await loop.create_connection(Recorder, "localhost", port, ssl=client_context())
        transport, protocol = await loop.create_connection(
            Recorder, "localhost", port, ssl=client_context(), server_hostname="other.test"
        )
        transport.close()
        await lost(protocol)
        no_name = loop.create_connection(Recorder, "localhost", port, ssl=client_context(), server_hostname="")
        if ssl_asks_for_a_name():
            with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
                await no_name
        else:
            transport, protocol = await no_name
            transport.close()
            await lost(protocol)
        server.close()

    run(main())


def test_a_peer_that_speaks_no_tls_fails_the_handshake(run: Any) -> None:
    async def main() -> None:
        told = reports()
        made = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        async with secured(factory, handshake=False) as (connecting, peer):
            await asyncio.get_running_loop().sock_sendall(peer.sock, b"220 mail.test ESMTP\r\n")
            with pytest.raises(ssl.SSLError):
                await connecting
            await turns()
            assert await peer.raw_end()
        assert made[0].events == []
        assert told == []

    run(main())


@pytest.mark.parametrize("server_side", [False, True])
def test_a_peer_that_closes_in_the_handshake_is_an_error(run: Any, server_side: bool) -> None:
    async def main() -> None:
        async with secured(handshake=False, server_side=server_side) as (connecting, peer):
            await turns()
            peer.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):
                await connecting

    run(main())


@pytest.mark.parametrize("server_side", [False, True])
def test_a_silent_peer_runs_into_the_handshake_timeout(run: Any, server_side: bool) -> None:
    async def main() -> None:
        async with secured(handshake=False, server_side=server_side, ssl_handshake_timeout=0.05) as (connecting, peer):
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than 0.05 seconds"):
                await connecting
            await peer.raw_end()

    run(main())


def test_a_handshake_that_is_cancelled_closes_the_connection(run: Any, no_leaks: None) -> None:
    async def main() -> None:
        async with secured(handshake=False) as (connecting, peer):
            await peer.more()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await peer.raw_end()

    run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_a_failed_handshake_on_a_server_harms_nobody_else(run: Any, debug: bool) -> None:
    async def main() -> None:
        told = reports()
        loop = asyncio.get_running_loop()
        made = []

        class Noted(Echo):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                made.append(self)

            def connection_lost(self, exc: Exception | None) -> None:
                made.append(exc)

        server = await loop.create_server(Noted, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
            while await loop.sock_recv(sock, 1000):
                pass
        with socket.create_connection(address):
            await turns(5)
        async with asyncio.timeout(LIMIT):
            while debug and len(told) < 2:
                await asyncio.sleep(0)
        await turns(20)
        assert made == []
        if debug:
            assert [context["message"] for context in told] == [
                "Error on transport creation for incoming connection"
            ] * 2
            assert isinstance(told[0]["exception"], ssl.SSLError)
        else:
            assert told == []
        transport, protocol = await loop.create_connection(Recorder, *address, ssl=client_context())
        transport.write(b"still there")
        await protocol.until(lambda: protocol.data == b"still there")
        transport.close()
        await lost(protocol)
        server.close()
        await server.wait_closed()

    run(main(), debug=debug)


@pytest.mark.extra("asyncio closes without the alert that says why")
def test_the_peer_is_told_why_its_handshake_failed(run: Any) -> None:
    async def main() -> None:
        async with secured(handshake=False, peer_context=server_context("stranger", tls12=True)) as (connecting, peer):
            with pytest.raises(ssl.SSLError, match="alert unknown ca"):
                await peer.handshake()
            with pytest.raises(ssl.SSLCertVerificationError):
                await connecting

    run(main())


def test_a_context_of_a_subclass_makes_its_own_objects(run: Any) -> None:
    calls = []

    class Object(ssl.SSLObject):
        def read(self, *args: Any) -> Any:
            calls.append("read")
            return super().read(*args)

        def write(self, data: Any) -> int:
            calls.append("write")
            return super().write(data)

    class Context(ssl.SSLContext):
        sslobject_class = Object

    async def main() -> None:
        context = Context(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(client_context().get_ca_certs(True)[0]))
        async with secured(ssl=context) as (protocol, peer):
            assert isinstance(protocol.transport.get_extra_info("ssl_object"), Object)
            protocol.transport.write(b"ping")
            assert await peer.receive(4) == b"ping"
            await peer.send(b"pong")
            await protocol.until(lambda: protocol.data == b"pong")
            assert {"read", "write"} <= set(calls)

    run(main())


def test_arguments_that_do_not_fit_together_are_refused(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = client_context()
        connect = loop.create_connection
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await connect(Recorder, "localhost", 1, server_hostname="localhost")
        ours, other = pair()
        with ours, other:
            with pytest.raises(ValueError, match="You must set server_hostname when using ssl without a host"):
                await connect(Recorder, sock=ours, ssl=context)
            with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
                await connect(Recorder, sock=ours, ssl_handshake_timeout=1)
            with pytest.raises(ValueError, match="ssl_shutdown_timeout is only meaningful with ssl"):
                await connect(Recorder, sock=ours, ssl_shutdown_timeout=1)
            with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
                await loop.connect_accepted_socket(Recorder, ours, ssl_handshake_timeout=1)
        with pytest.raises(ValueError, match="you have to pass server_hostname when using ssl"):
            await loop.create_unix_connection(Recorder, "/nowhere", ssl=context)
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)
        with pytest.raises(ValueError, match="ssl_shutdown_timeout is only meaningful with ssl"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl_shutdown_timeout=1)

    run(main())


@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_a_timeout_has_to_be_positive(run: Any, name: str, timeout: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, other = pair()
        with ours, other, pytest.raises(ValueError, match=f"{name} should be a positive number, got {timeout}"):
            await loop.create_connection(
                Recorder, sock=ours, ssl=client_context(), server_hostname="localhost", **{name: timeout}
            )

    run(main())


@pytest.mark.extra("asyncio finds out with the first connection, and tells nobody")
def test_a_server_refuses_a_timeout_that_is_not_positive(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="ssl_handshake_timeout should be a positive number, got 0"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context(), ssl_handshake_timeout=0)

    run(main())


def test_a_server_closes_when_its_tls_connections_have_ended(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
        transport, protocol = await loop.create_connection(
            Recorder, "localhost", server.sockets[0].getsockname()[1], ssl=client_context()
        )
        transport.write(b"?")
        await protocol.until(lambda: protocol.data == b"?")
        server.close()
        transport.close()
        assert await lost(protocol) is None
        async with asyncio.timeout(LIMIT):
            await server.wait_closed()

    run(main())


@pytest.mark.extra("asyncio has it from 3.13 on, and closes below TLS")
def test_close_clients_says_goodbye(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context())
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        peer = Peer(sock, server_side=False)
        await peer.handshake()
        await turns()
        server.close()
        server.close_clients()
        assert await peer.ended()
        peer.close()
        async with asyncio.timeout(LIMIT):
            await server.wait_closed()

    run(main())
