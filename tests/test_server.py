"""Servers: create_server(), create_unix_server(), the Server that they return, and what accepting does when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks")

CONTROL = "--runtime=asyncio" in sys.argv


def control_from(*version: int) -> pytest.MarkDecorator:
    """asyncio has it from this version of Python on; glassloop on all."""
    reason = f"asyncio has it from {'.'.join(map(str, version))} on"
    return pytest.mark.skipif(CONTROL and sys.version_info < version, reason=reason)


class Echo(asyncio.Protocol):
    """Answers what it receives."""

    made: list[Echo] = []

    def __init__(self) -> None:
        self.transport: Any = None
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        Echo.made.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connected.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.fixture(autouse=True)
def made() -> Iterator[list[Echo]]:
    """The Echo protocols that were made, in order."""
    Echo.made.clear()
    yield Echo.made
    Echo.made.clear()


@pytest.fixture
def unix_path() -> Iterator[str]:
    """A path that fits into a socket's address, wherever the test's folder is."""
    with tempfile.TemporaryDirectory(prefix="gl") as folder:
        yield os.path.join(folder, "socket")


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Client:
    """A plain socket's side of a connection, driven by the loop's sock_* methods."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def connect(cls, server: Any, index: int = 0) -> Client:
        listener = server.sockets[index]
        sock = socket.socket(listener.family)
        sock.setblocking(False)
        address = listener.getsockname()
        if address[0] == "0.0.0.0":
            address = ("127.0.0.1", address[1])
        await asyncio.get_running_loop().sock_connect(sock, address)
        return cls(sock)

    async def ask(self, data: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.sock, data)
        return await self.read()

    async def read(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 1000), 10)

    async def ended(self) -> bool:
        """The server closed the connection, or reset it."""
        try:
            return await self.read() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


# ---- listening ----


def test_a_server_serves(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        clients = [await Client.connect(server) for _ in range(3)]
        for i, client in enumerate(clients):
            assert await client.ask(b"%d" % i) == b"%d" % i
        server.close()
        for client in clients:
            assert await client.ask(b"still") == b"still"
            client.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_what_a_server_says_of_itself(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.Server)
        assert server.get_loop() is loop
        assert server.is_serving()
        assert [type(sock) for sock in server.sockets] == [asyncio.trsock.TransportSocket]
        assert isinstance(server.sockets, tuple)
        assert repr(server) == f"<Server sockets={server.sockets!r}>"
        assert server.sockets[0].getsockname()[0] == "127.0.0.1"
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        assert repr(server) == "<Server sockets=()>"
        server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("host", [None, ""])
def test_no_host_means_all_interfaces_of_both_families(loop: Any, host: str | None) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, host, unused_port())
        addresses = {sock.getsockname()[0] for sock in server.sockets}
        assert addresses == {"0.0.0.0", "::"}
        assert len({sock.getsockname()[1] for sock in server.sockets}) == 1
        for i, address in enumerate(sock.getsockname() for sock in server.sockets):
            client = await Client.connect(server, i)
            assert await client.ask(b"x") == b"x"
            # each socket takes its own family's connections only
            assert (":" in Echo.made[-1].transport.get_extra_info("peername")[0]) == (":" in address[0])
            client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_an_ipv6_socket_takes_no_ipv4_connections(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "::", 0)
        (listener,) = server.sockets
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", listener.getsockname()[1]))
        server.close()

    loop.run_until_complete(main())


def test_several_hosts_have_a_socket_each(loop: Any) -> None:
    async def main() -> None:
        hosts = ["127.0.0.1", "127.0.0.2", "::1", "127.0.0.1"]
        server = await loop.create_server(Echo, hosts, 0)
        assert sorted(sock.getsockname()[0] for sock in server.sockets) == ["127.0.0.1", "127.0.0.2", "::1"]
        for i in range(3):
            client = await Client.connect(server, i)
            assert await client.ask(b"x") == b"x"
            client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_host_that_stands_for_an_address_twice_has_one_socket(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, iter(["127.0.0.1", "127.0.0.1"]), unused_port())
        assert len(server.sockets) == 1
        server.close()

    loop.run_until_complete(main())


def test_a_used_port_is_told(loop: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with pytest.raises(OSError, match="error while attempting to bind on address") as raised:
            loop.run_until_complete(loop.create_server(Echo, *address))
    assert raised.value.errno == errno.EADDRINUSE
    assert str(address) in str(raised.value)


def test_a_used_port_among_several_hosts_leaves_no_socket_open(loop: Any) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            loop.run_until_complete(loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], port))
        # no_leaks watches the descriptors; the port is free again at once
        socket.create_server(("127.0.0.1", port)).close()


@control_from(3, 13)
def test_an_address_that_is_not_this_machine_s_is_told(loop: Any) -> None:
    with pytest.raises(OSError, match="could not bind on any address out of .*192.0.2.1"):
        loop.run_until_complete(loop.create_server(Echo, "192.0.2.1", 0))


@control_from(3, 13)
def test_addresses_that_are_not_this_machine_s_are_skipped(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, ["192.0.2.1", "127.0.0.1"], 0)
        assert [sock.getsockname()[0] for sock in server.sockets] == ["127.0.0.1"]
        server.close()

    loop.run_until_complete(main())


def test_an_unknown_host_raises_gaierror(loop: Any) -> None:
    with pytest.raises(socket.gaierror):
        loop.run_until_complete(loop.create_server(Echo, "nosuchhost.invalid", 0))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_family_restricts_the_addresses(loop: Any, family: int) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, None, 0, family=family)
        assert [sock.family for sock in server.sockets] == [family]
        server.close()

    loop.run_until_complete(main())


def test_without_the_passive_flag_no_host_means_loopback(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, None, 0, flags=0)
        assert {sock.getsockname()[0] for sock in server.sockets} <= {"127.0.0.1", "::1"}
        server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("options", "option", "expected"),
    [
        ({}, socket.SO_REUSEADDR, True),
        ({"reuse_address": False}, socket.SO_REUSEADDR, False),
        ({}, socket.SO_REUSEPORT, False),
        ({"reuse_port": True}, socket.SO_REUSEPORT, True),
        ({}, socket.SO_KEEPALIVE, False),
        pytest.param({"keep_alive": True}, socket.SO_KEEPALIVE, True, marks=control_from(3, 13)),
    ],
)
def test_socket_options(loop: Any, options: dict[str, Any], option: int, expected: bool) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, **options)
        assert bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, option)) is expected
        server.close()

    loop.run_until_complete(main())


def test_reuse_port_lets_two_servers_share_a_port(loop: Any) -> None:
    async def main() -> None:
        first = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await loop.create_server(Echo, "127.0.0.1", port, reuse_port=True)
        first.close()
        client = await Client.connect(second)
        assert await client.ask(b"x") == b"x"
        client.close()
        second.close()
        await second.wait_closed()

    loop.run_until_complete(main())


def test_a_given_socket_is_the_server_s(loop: Any) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        assert server.sockets[0].fileno() == sock.fileno()
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        assert sock.fileno() == -1
        await server.wait_closed()

    loop.run_until_complete(main())


def test_connections_know_their_addresses_and_socket(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        (protocol,) = Echo.made
        assert protocol.transport.get_extra_info("peername") == client.sock.getsockname()
        assert protocol.transport.get_extra_info("sockname") == client.sock.getpeername()
        sock = protocol.transport.get_extra_info("socket")
        assert (sock.family, sock.type, sock.gettimeout()) == (socket.AF_INET, socket.SOCK_STREAM, 0)
        assert not os.get_blocking(sock.fileno())
        assert not os.get_inheritable(sock.fileno())
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_many_clients_at_once_are_all_served(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)

        async def client(i: int) -> None:
            client = await Client.connect(server)
            assert await client.ask(b"%d" % i) == b"%d" % i
            client.close()

        await asyncio.gather(*(client(i) for i in range(80)))
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio before 3.14 accepts nothing with a backlog of 0")
def test_a_backlog_of_zero_still_accepts(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=0)
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio accepts as many at once as the backlog holds")
def test_a_crowd_at_the_door_does_not_hold_up_the_loop(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=400, start_serving=False)
        await server.start_serving()
        clients = []
        for _ in range(300):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.sockets[0].getsockname())
            clients.append(client)
        seen = [0]
        while len(Echo.made) < 300:
            await asyncio.sleep(0)
            seen.append(len(Echo.made))
        assert max(after - before for before, after in zip(seen, seen[1:], strict=False)) <= 64
        for client in clients:
            client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


# ---- starting and stopping ----


def test_a_server_that_was_not_started_accepts_nothing(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(server)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio fails on its way, with a TypeError")
def test_a_closed_server_can_not_be_started(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        server.close()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.start_serving()

    loop.run_until_complete(main())


def test_serve_forever_ends_when_cancelled_and_closes_the_server(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
        serving = loop.create_task(server.serve_forever())
        await asyncio.sleep(0)
        assert server.is_serving()
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        await Echo.made[0].lost
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert not server.is_serving()
        assert server.sockets == ()

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio waits for the clients before 3.14")
def test_serve_forever_when_cancelled_closes_the_connections(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        serving = loop.create_task(server.serve_forever())
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 10)
        assert Echo.made[0].lost.done()
        assert await client.ended()
        client.close()

    loop.run_until_complete(main())


def test_serve_forever_ends_when_the_server_is_closed(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        serving = loop.create_task(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await serving

    loop.run_until_complete(main())


def test_serve_forever_twice_is_an_error(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        serving = loop.create_task(server.serve_forever())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    loop.run_until_complete(main())


@control_from(3, 12, 1)
def test_a_server_closes_at_the_end_of_its_block(loop: Any) -> None:
    async def main() -> None:
        async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
            client = await Client.connect(server)
            assert await client.ask(b"x") == b"x"
            client.close()
        assert server.sockets == ()
        assert Echo.made[0].lost.done()

    loop.run_until_complete(main())


@control_from(3, 12, 1)
def test_wait_closed_waits_for_the_close_and_for_the_last_connection(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        unclosed = loop.create_task(server.wait_closed())
        await asyncio.sleep(0.01)
        assert not unclosed.done()
        clients = [await Client.connect(server) for _ in range(2)]
        for client in clients:
            await client.ask(b"x")
        server.close()
        connected = loop.create_task(server.wait_closed())
        cancelled = loop.create_task(server.wait_closed())
        clients[0].close()
        await Echo.made[0].lost
        await asyncio.sleep(0.01)
        cancelled.cancel()
        assert not unclosed.done() and not connected.done()
        clients[1].close()
        await asyncio.wait_for(asyncio.gather(unclosed, connected), 10)
        assert Echo.made[1].lost.done()
        await server.wait_closed()

    loop.run_until_complete(main())


@control_from(3, 12, 1)
def test_wait_closed_of_an_idle_server_ends_with_the_close(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        waiting = loop.create_task(server.wait_closed())
        await asyncio.sleep(0)
        server.close()
        await asyncio.wait_for(waiting, 10)

    loop.run_until_complete(main())


@control_from(3, 13)
def test_close_clients_lets_what_was_written_arrive(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        clients = [await Client.connect(server) for _ in range(3)]
        await until(lambda: len(Echo.made) == 3 and all(protocol.connected.done() for protocol in Echo.made))
        for protocol in Echo.made:
            protocol.transport.write(b"farewell")
        server.close()
        server.close_clients()
        assert all(protocol.transport.is_closing() for protocol in Echo.made)
        await asyncio.wait_for(server.wait_closed(), 10)
        for client in clients:
            assert await client.read() == b"farewell"
            assert await client.ended()
            client.close()

    loop.run_until_complete(main())


@control_from(3, 13)
def test_abort_clients_drops_what_was_written(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        client = await Client.connect(server)
        await until(lambda: Echo.made and Echo.made[0].connected.done())
        transport = Echo.made[0].transport
        while not transport.get_write_buffer_size():
            transport.write(bytes(1_000_000))
        server.close()
        closing = loop.create_task(server.wait_closed())
        server.close_clients()
        await asyncio.sleep(0.01)
        assert not closing.done()
        server.abort_clients()
        await asyncio.wait_for(closing, 10)
        client.close()

    loop.run_until_complete(main())


@control_from(3, 13)
def test_close_clients_knows_only_the_server_s_own(loop: Any) -> None:
    async def main() -> None:
        servers = [await loop.create_server(Echo, "127.0.0.1", 0) for _ in range(2)]
        clients = [await Client.connect(server) for server in servers]
        for client in clients:
            await client.ask(b"x")
        servers[0].close_clients()
        assert await clients[0].ended()
        assert await clients[1].ask(b"still") == b"still"
        for client, server in zip(clients, servers, strict=True):
            client.close()
            server.close()
            await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio's servers before 3.13.1 wait for an abandoned connection for ever")
def test_a_connection_that_its_protocol_abandons_is_collected_and_no_longer_waited_for(loop: Any) -> None:
    class Careless(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # nothing holds a transport that doesn't read
            transport.pause_reading()  # type: ignore[attr-defined]

    async def main() -> None:
        server = await loop.create_server(Careless, "127.0.0.1", 0)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            client = await Client.connect(server)
            ended = loop.create_task(client.ended())
            while not ended.done():
                gc.collect()
                await asyncio.sleep(0.001)
            assert ended.result()
        client.close()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 10)

    loop.run_until_complete(main())


def test_a_server_that_outlives_its_loop_can_be_closed(aio: Any) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)

    with aio.Runner() as runner:
        server = runner.run(main())
    with contextlib.suppress(RuntimeError):
        server.close()


# ---- protocols ----


def test_each_connection_has_a_context_of_its_own(loop: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen = []

    def factory() -> asyncio.Protocol:
        seen.append(variable.get())
        variable.set(f"connection {len(seen)}")
        return Protocol()

    class Protocol(Echo):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            seen.append(variable.get())

    async def main() -> None:
        variable.set("server")
        server = await loop.create_server(factory, "127.0.0.1", 0)
        variable.set("later")
        for _ in range(2):
            client = await Client.connect(server)
            await client.ask(b"x")
            client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert seen == ["server", "connection 1", "server", "connection 3"]


@pytest.mark.extra("asyncio reports it in debug mode only, and the error keeps the connection open")
def test_a_protocol_factory_that_raises_is_reported_and_harms_no_other(loop: Any) -> None:
    reports = []
    failures = 2

    def factory() -> asyncio.Protocol:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ZeroDivisionError("no protocol")
        return Echo()

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(2):
            client = await Client.connect(server)
            assert await client.ended()
            client.close()
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.run_until_complete(main())
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError] * 2
    assert {report["message"] for report in reports} == {"Error on transport creation for incoming connection"}


@pytest.mark.extra("asyncio reports it in debug mode only")
def test_a_factory_that_makes_no_protocol_is_reported(loop: Any) -> None:
    reports = []

    async def main() -> None:
        server = await loop.create_server(object, "127.0.0.1", 0)
        client = await Client.connect(server)
        assert await client.ended()
        client.close()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 10)

    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.run_until_complete(main())
    (report,) = reports
    assert isinstance(report["exception"], AttributeError)
    assert type(report["protocol"]) is object


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_protocol_factory_ends_the_loop(loop: Any, error: type[BaseException]) -> None:
    def factory() -> asyncio.Protocol:
        raise error

    async def main() -> None:
        client = await Client.connect(server)
        try:
            await asyncio.Event().wait()
        finally:
            client.close()

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
    waiting = loop.create_task(main())
    with pytest.raises(error):
        loop.run_forever()
    server.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)


@pytest.mark.extra("asyncio's transports then attach to a closed server: AssertionError")
def test_a_protocol_factory_may_close_the_server(loop: Any) -> None:
    def factory() -> asyncio.Protocol:
        server.close()
        return Echo()

    async def main() -> None:
        clients = [socket.create_connection(address) for _ in range(2)]
        await until(lambda: Echo.made)
        await asyncio.sleep(0.01)
        assert len(Echo.made) == 1
        for client in clients:
            client.close()
        await asyncio.wait_for(server.wait_closed(), 10)

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    loop.run_until_complete(main())


def test_a_connection_that_was_reset_before_it_was_accepted_harms_nobody(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            # close() now sends a reset
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await until(lambda: Echo.made and Echo.made[0].lost.done())
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


# ---- when accepting fails ----

OUT_OF_DESCRIPTORS = """
import asyncio, errno, os, resource, socket, sys, time
import {module} as aio

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def main():
    loop = asyncio.get_running_loop()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append((context, time.monotonic())))
    server = await loop.create_server(Echo, '127.0.0.1', 0)
    clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
    highest = max(client.fileno() for client in clients)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # no descriptor below the limit is free any more
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        while True:
            fillers.append(os.dup(0))
    except OSError as e:
        assert e.errno == errno.EMFILE
    used = time.process_time()
    await asyncio.sleep(0.5)
    used = time.process_time() - used
    assert len(reports) == 1, reports
    context, first = reports[0]
    assert context['message'] == 'socket.accept() out of system resource', context
    assert context['exception'].errno == errno.EMFILE, context
    assert isinstance(context['socket'], asyncio.trsock.TransportSocket), context
    assert used < 0.2, used
    if {close_early}:
        server.close()
        for fd in fillers: os.close(fd)
        await asyncio.sleep(0.8)
        assert len(reports) == 1, reports
        return 'closed'
    for fd in fillers:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for client in clients:
        client.setblocking(False)
        await loop.sock_sendall(client, b'x')
        assert await asyncio.wait_for(loop.sock_recv(client, 1), 5) == b'x'
    assert time.monotonic() - first < 3
    assert len(reports) == 1, reports
    for client in clients:
        client.close()
    server.close()
    await server.wait_closed()
    return 'recovered'

with aio.Runner() as runner:
    print(runner.run(main()))
"""


@pytest.mark.extra("asyncio before 3.14 reports it as often as the backlog is long")
@pytest.mark.parametrize("close_early", [False, True])
def test_out_of_descriptors_is_reported_once_and_recovered_from(
    python: Callable[..., Any], tmp_path: Path, close_early: bool
) -> None:
    program = tmp_path / "program.py"
    program.write_text(OUT_OF_DESCRIPTORS.format(module="glassloop", close_early=close_early))
    done = python(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ("closed" if close_early else "recovered")
    assert done.stderr == ""


@pytest.mark.extra("asyncio reports it over and over, in a busy loop")
def test_a_listening_socket_that_fails_is_reported_without_a_busy_loop(loop: Any) -> None:
    reports = []

    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        sock.shutdown(socket.SHUT_RDWR)  # accept() answers EINVAL from now on
        await until(lambda: reports)
        await asyncio.sleep(0.3)
        server.close()

    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.run_until_complete(main())
    (report,) = reports
    assert report["message"] == "socket.accept() failed"
    assert report["exception"].errno == errno.EINVAL


# ---- Unix ----


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_unix_server_by_path(loop: Any, unix_path: str, kind: Callable[[str], Any]) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, kind(unix_path))
        assert server.sockets[0].getsockname() == unix_path
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_unix_server_by_abstract_name(loop: Any, kind: Callable[[str], Any]) -> None:
    async def main() -> None:
        name = f"\0glassloop-server-{os.getpid()}"
        server = await loop.create_unix_server(Echo, kind(name))
        assert server.sockets[0].getsockname() == name.encode()
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_stale_socket_file_is_replaced(loop: Any, unix_path: str) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(unix_path)
        server = await loop.create_unix_server(Echo, unix_path)
        client = await Client.connect(server)
        assert await client.ask(b"x") == b"x"
        client.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_file_that_is_no_socket_is_left_alone(loop: Any, unix_path: str) -> None:
    Path(unix_path).write_text("precious")
    with pytest.raises(OSError, match=f"Address '{unix_path}' is already in use") as raised:
        loop.run_until_complete(loop.create_unix_server(Echo, unix_path))
    assert raised.value.errno == errno.EADDRINUSE
    assert Path(unix_path).read_text() == "precious"


def test_a_unix_path_in_a_missing_folder_is_told(loop: Any, unix_path: str) -> None:
    with pytest.raises(FileNotFoundError):
        loop.run_until_complete(loop.create_unix_server(Echo, os.path.join(unix_path, "deeper")))


def test_a_unix_path_that_is_too_long_is_told(loop: Any, unix_path: str) -> None:
    with pytest.raises(OSError, match="path too long"):
        loop.run_until_complete(loop.create_unix_server(Echo, unix_path + "x" * 200))


@control_from(3, 13)
@pytest.mark.parametrize("given", ["path", "sock"])
def test_the_socket_file_is_removed_with_the_server(loop: Any, unix_path: str, given: str) -> None:
    async def main() -> None:
        if given == "path":
            server = await loop.create_unix_server(Echo, unix_path)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(unix_path)
            server = await loop.create_unix_server(Echo, sock=sock)
        assert os.path.exists(unix_path)
        server.close()
        assert not os.path.exists(unix_path)

    loop.run_until_complete(main())


@control_from(3, 13)
def test_the_socket_file_stays_if_it_is_to_stay(loop: Any, unix_path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, unix_path, cleanup_socket=False)
        server.close()
        assert os.path.exists(unix_path)

    loop.run_until_complete(main())


def test_a_socket_file_that_is_gone_is_no_error(loop: Any, unix_path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, unix_path)
        os.unlink(unix_path)
        server.close()

    loop.run_until_complete(main())


def test_a_socket_file_that_somebody_replaced_stays(loop: Any, unix_path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, unix_path)
        os.rename(unix_path, unix_path + ".away")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(unix_path)
            server.close()
            assert os.path.exists(unix_path)

    loop.run_until_complete(main())


# ---- arguments ----


@contextlib.contextmanager
def sockets() -> Iterator[dict[str, Any]]:
    """Sockets of all kinds, by name."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as plain:
        context = ssl.create_default_context()
        with context.wrap_socket(plain, do_handshake_on_connect=False, server_hostname="localhost") as tls:
            yield {"tcp": tcp, "udp": udp, "tls": tls}


@pytest.mark.parametrize(
    ("method", "options", "error", "message"),
    [
        ("tcp", {}, ValueError, "Neither host/port nor sock were specified"),
        ("tcp", {"host": "127.0.0.1", "port": 0, "sock": "tcp"}, ValueError, "can not be specified at the same time"),
        ("tcp", {"port": 0, "sock": "tcp"}, ValueError, "can not be specified at the same time"),
        ("tcp", {"sock": "udp"}, ValueError, "A Stream Socket was expected"),
        ("tcp", {"sock": "tls"}, TypeError, "Socket cannot be of type SSLSocket"),
        ("tcp", {"host": "127.0.0.1", "port": 0, "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ("tcp", {"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ("tcp", {"host": "127.0.0.1", "port": 0, "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ("tcp", {"host": "127.0.0.1", "port": 0, "nonsense": 1}, TypeError, "nonsense"),
        ("tcp", {"host": "127.0.0.1", "port": "no-such-service"}, OSError, None),
        ("tcp", {"host": "127.0.0.1", "port": 70000}, OverflowError, "0-65535"),
        ("tcp", {"host": 5, "port": 0}, TypeError, None),
        ("unix", {}, ValueError, "path was not specified, and no sock specified"),
        ("unix", {"path": "/x", "sock": "tcp"}, ValueError, "path and sock can not be specified at the same time"),
        ("unix", {"sock": "tcp"}, ValueError, "A UNIX Domain Stream Socket was expected"),
        ("unix", {"path": "/x", "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ("unix", {"path": "/x", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ("unix", {"path": "/x", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ("unix", {"path": 5}, TypeError, "PathLike"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_together_are_told(
    loop: Any, method: str, options: dict[str, Any], error: type[Exception], message: str | None
) -> None:
    call = loop.create_server if method == "tcp" else loop.create_unix_server
    with sockets() as made:
        if "sock" in options:
            options = {**options, "sock": made[options["sock"]]}

        async def main() -> None:
            await call(Echo, **options)

        with pytest.raises(error, match=message):
            loop.run_until_complete(main())
        if "sock" in options:
            assert options["sock"].fileno() >= 0, "the caller's socket was closed"


def test_a_port_taken_between_bind_and_listen_leaves_no_socket_open(loop: Any) -> None:
    async def main() -> None:
        # two sockets may be bound to a port, but only one may listen
        server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(server.sockets[0].getsockname())
            taken.listen()
            with pytest.raises(OSError) as raised:
                await server.start_serving()
            assert raised.value.errno == errno.EADDRINUSE
        server.close()

    loop.run_until_complete(main())


def test_debug_mode_tells_of_the_server(loop: Any, caplog: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        client = await Client.connect(server)
        await client.ask(b"x")
        client.close()
        server.close()
        await server.wait_closed()

    loop.set_debug(True)
    with caplog.at_level("DEBUG", logger="asyncio"):
        loop.run_until_complete(main())
    assert any("is serving" in message for message in caplog.messages)
    assert any("got a new connection" in message for message in caplog.messages)


def test_thousands_of_connections_leave_nothing(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(40):
            clients = await asyncio.gather(*(Client.connect(server) for _ in range(50)))
            assert await clients[0].ask(b"x") == b"x"
            for client in clients:
                client.close()
            await until(lambda: len(Echo.made) == 50)
            await asyncio.gather(*(protocol.lost for protocol in Echo.made))
            Echo.made.clear()
        assert len(os.listdir("/proc/self/fd")) == before
        server.close()
        await asyncio.wait_for(server.wait_closed(), 10)

    loop.run_until_complete(main())
