"""Making connections: create_connection(), create_unix_connection(), connect_accepted_socket()."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks")

Address = tuple[Any, ...]


class Recorder(asyncio.Protocol):
    """Keeps what it received; `lost` is done at the end of the connection."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.data = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class HangingListener:
    """A listening socket whose backlog is full: whoever connects waits until `free()`."""

    def __init__(self, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> None:
        self.listener = socket.socket(family)
        self.listener.bind(address)
        self.listener.listen(0)
        self.address = self.listener.getsockname()
        self.fillers = [self.try_connect() for _ in range(4)]

    def try_connect(self) -> socket.socket:
        filler = socket.socket(self.listener.family)
        filler.setblocking(False)
        filler.connect_ex(self.address)
        return filler

    def free(self) -> None:
        for filler in self.fillers:
            filler.close()
        self.listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.listener.accept()[0].close()

    def close(self) -> None:
        for sock in (self.listener, *self.fillers):
            sock.close()


@pytest.fixture
def hanging() -> Iterator[HangingListener]:
    listener = HangingListener()
    yield listener
    listener.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def refusing() -> Callable[..., Address]:
    """`refusing(host)`: an address where nobody listens."""

    def refusing(host: str = "127.0.0.1") -> Address:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.bind((host, 0))
            address: Address = sock.getsockname()
            return address

    return refusing


@pytest.fixture
def unix_path() -> Iterator[str]:
    """A path that fits into a socket's address, wherever the test's folder is."""
    with tempfile.TemporaryDirectory(prefix="gl") as folder:
        yield os.path.join(folder, "socket")


def entry(address: Address) -> tuple[Any, ...]:
    """What getaddrinfo() says about an address."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


def resolve_to(loop: Any, **names: list[Address]) -> None:
    """Let names stand for these addresses."""
    real = loop.getaddrinfo

    async def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host in names:
            return [entry(address) for address in names[host]]
        return await real(host, *args, **kwargs)

    loop.getaddrinfo = getaddrinfo


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """The addresses that sockets are connected to from now on, in order."""
    attempts: list[Address] = []

    class Watched(socket.socket):
        watched = False

        def note(self, address: Address) -> None:
            if not self.watched:
                self.watched = True
                attempts.append(address)

        def connect(self, address: Any) -> None:
            self.note(address)
            super().connect(address)

        def connect_ex(self, address: Any) -> int:
            self.note(address)
            return super().connect_ex(address)

    monkeypatch.setattr(socket, "socket", Watched)
    return attempts


async def finish(transport: Any) -> None:
    """Close a transport whose protocol is a Recorder, and wait for its end."""
    transport.close()
    await asyncio.wait_for(transport.get_protocol().lost, 10)


# ---- TCP ----


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", b"127.0.0.1"])
def test_a_connection_carries_bytes_both_ways(loop: Any, host: str | bytes) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "::1" if host == "::1" else "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(Recorder, host, port)
        assert isinstance(transport, asyncio.Transport)
        assert protocol.transport is transport
        transport.write(b"there and back")
        while protocol.data != b"there and back":
            await asyncio.sleep(0.001)
        await finish(transport)
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_the_transport_knows_both_addresses(loop: Any, listening: socket.socket) -> None:
    async def main() -> None:
        transport, _ = await loop.create_connection(Recorder, *listening.getsockname())
        peer, address = listening.accept()
        with peer:
            assert transport.get_extra_info("peername") == listening.getsockname()
            assert transport.get_extra_info("sockname") == address
            await finish(transport)

    loop.run_until_complete(main())


def test_a_connected_socket_becomes_a_connection(loop: Any) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            theirs.sendall(b"hello")
            while protocol.data != b"hello":
                await asyncio.sleep(0.001)
            await finish(transport)
        assert ours.fileno() == -1

    loop.run_until_complete(main())


def test_connecting_where_nobody_listens_raises_connection_refused(loop: Any, refusing: Any) -> None:
    address = refusing()
    with pytest.raises(ConnectionRefusedError) as raised:
        loop.run_until_complete(loop.create_connection(Recorder, *address))
    assert raised.value.errno == errno.ECONNREFUSED
    assert str(address) in str(raised.value)


def test_an_unknown_name_raises_gaierror(loop: Any) -> None:
    with pytest.raises(socket.gaierror):
        loop.run_until_complete(loop.create_connection(Recorder, "nosuchhost.invalid", 80))


def test_a_name_without_addresses_raises_os_error(loop: Any) -> None:
    resolve_to(loop, nowhere=[])
    with pytest.raises(OSError, match="empty list"):
        loop.run_until_complete(loop.create_connection(Recorder, "nowhere", 80))


@pytest.mark.parametrize(
    ("host", "port", "error"),
    [
        (5, 80, TypeError),
        (object(), 80, TypeError),
        ("127.0.0.1", "no-such-service", socket.gaierror),
        ("127.0.0.1", 70000, OverflowError),
        ("127.0.0.1", -1, OverflowError),
        ("a" * 64 + ".example", 80, UnicodeError),
    ],
)
def test_an_impossible_address_raises(loop: Any, host: Any, port: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        loop.run_until_complete(loop.create_connection(Recorder, host, port))


# ---- several addresses ----


def test_the_next_address_is_tried_when_one_fails(loop: Any, listening: socket.socket, refusing: Any) -> None:
    async def main() -> None:
        resolve_to(loop, many=[refusing(), refusing("::1"), listening.getsockname()])
        transport, _ = await loop.create_connection(Recorder, "many", 1)
        assert transport.get_extra_info("peername") == listening.getsockname()
        await finish(transport)

    loop.run_until_complete(main())


@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 5}])
def test_failures_of_several_addresses_are_all_told(loop: Any, refusing: Any, options: dict[str, Any]) -> None:
    addresses = [refusing(), refusing("::1"), refusing("127.0.0.2")]
    resolve_to(loop, many=addresses)
    with pytest.raises(OSError, match="^Multiple exceptions: ") as raised:
        loop.run_until_complete(loop.create_connection(Recorder, "many", 1, **options))
    for address in addresses:
        assert str(address) in str(raised.value)


@pytest.mark.extra("asyncio raises a plain OSError without errno")
def test_failures_of_one_kind_are_that_kind_of_error(loop: Any, refusing: Any) -> None:
    resolve_to(loop, many=[refusing(), refusing("::1")])
    with pytest.raises(ConnectionRefusedError, match="^Multiple exceptions: ") as raised:
        loop.run_until_complete(loop.create_connection(Recorder, "many", 1))
    assert raised.value.errno == errno.ECONNREFUSED


def test_failures_of_different_kinds_are_a_plain_os_error(loop: Any, refusing: Any) -> None:
    # broadcasting is not allowed without an option
    resolve_to(loop, many=[refusing(), ("255.255.255.255", 1)])
    with pytest.raises(OSError, match="^Multiple exceptions: ") as raised:
        loop.run_until_complete(loop.create_connection(Recorder, "many", 1))
    assert type(raised.value) is OSError


def test_failures_that_say_the_same_are_one(loop: Any, refusing: Any) -> None:
    address = refusing()
    resolve_to(loop, many=[address, address])
    with pytest.raises(ConnectionRefusedError) as raised:
        loop.run_until_complete(loop.create_connection(Recorder, "many", 1))
    assert not str(raised.value).startswith("Multiple exceptions")


@pytest.mark.skipif(sys.version_info < (3, 12) and "--runtime=asyncio" in sys.argv, reason="asyncio has it from 3.12 on")
@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 5}])
def test_all_errors_gives_a_group_of_what_each_address_failed_with(
    loop: Any, refusing: Any, options: dict[str, Any]
) -> None:
    addresses = [refusing(), refusing("::1")]
    resolve_to(loop, many=addresses)
    with pytest.raises(ExceptionGroup) as raised:
        loop.run_until_complete(loop.create_connection(Recorder, "many", 1, all_errors=True, **options))
    assert [type(error) for error in raised.value.exceptions] == [ConnectionRefusedError] * 2
    for address, error in zip(addresses, raised.value.exceptions, strict=True):
        assert str(address) in str(error)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "aaabb"),
        ({"interleave": 0}, "aaabb"),
        ({"interleave": 1}, "ababa"),
        ({"interleave": 2}, "aabab"),
        ({"interleave": 9}, "aaabb"),
        ({"happy_eyeballs_delay": 5}, "ababa"),
        ({"happy_eyeballs_delay": 5, "interleave": 0}, "aaabb"),
    ],
)
def test_interleave_mixes_the_families(
    loop: Any, refusing: Any, attempts: list[Address], options: dict[str, Any], expected: str
) -> None:
    addresses = [refusing(host) for host in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "::1", "::1")]
    resolve_to(loop, many=addresses)
    with pytest.raises(OSError):
        loop.run_until_complete(loop.create_connection(Recorder, "many", 1, **options))
    assert "".join("b" if ":" in address[0] else "a" for address in attempts) == expected
    assert sorted(map(str, attempts)) == sorted(map(str, addresses))


# ---- Happy Eyeballs ----


def test_an_address_that_hangs_does_not_hold_up_the_next(
    loop: Any, hanging: HangingListener, listening: socket.socket
) -> None:
    async def main() -> None:
        resolve_to(loop, many=[hanging.address, listening.getsockname()])
        began = loop.time()
        connecting = loop.create_connection(Recorder, "many", 1, happy_eyeballs_delay=0.1)
        transport, _ = await asyncio.wait_for(connecting, 10)
        assert loop.time() - began >= 0.1
        assert transport.get_extra_info("peername") == listening.getsockname()
        await finish(transport)

    loop.run_until_complete(main())


def test_without_a_delay_an_address_that_hangs_holds_up_the_next(
    loop: Any, hanging: HangingListener, listening: socket.socket, attempts: list[Address]
) -> None:
    async def main() -> None:
        resolve_to(loop, many=[hanging.address, listening.getsockname()])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_connection(Recorder, "many", 1), 0.3)
        assert attempts == [hanging.address]

    loop.run_until_complete(main())


def test_the_next_attempt_starts_at_once_when_the_latest_fails(
    loop: Any, listening: socket.socket, refusing: Any
) -> None:
    async def main() -> None:
        resolve_to(loop, many=[refusing(), refusing("::1"), listening.getsockname()])
        connecting = loop.create_connection(Recorder, "many", 1, happy_eyeballs_delay=60)
        transport, _ = await asyncio.wait_for(connecting, 10)
        await finish(transport)

    loop.run_until_complete(main())


def test_the_first_that_is_connected_wins_though_it_began_earlier(
    loop: Any, hanging: HangingListener, attempts: list[Address]
) -> None:
    async def main() -> None:
        never = HangingListener()
        resolve_to(loop, many=[hanging.address, never.address])
        connecting = loop.create_task(loop.create_connection(Recorder, "many", 1, happy_eyeballs_delay=0.05))
        while never.address not in attempts:
            await asyncio.sleep(0.001)
        # the kernel tries again a second after the first time
        hanging.free()
        transport, _ = await asyncio.wait_for(connecting, 10)
        assert transport.get_extra_info("peername") == hanging.address
        await finish(transport)
        never.close()

    loop.run_until_complete(main())


def test_losing_attempts_have_ended_when_the_winner_is_there(
    loop: Any, hanging: HangingListener, listening: socket.socket
) -> None:
    async def main() -> None:
        resolve_to(loop, many=[hanging.address, hanging.address, listening.getsockname()])
        tasks = asyncio.all_tasks()
        descriptors = len(os.listdir("/proc/self/fd"))
        transport, _ = await loop.create_connection(Recorder, "many", 1, happy_eyeballs_delay=0.02)
        assert asyncio.all_tasks() == tasks
        assert len(os.listdir("/proc/self/fd")) == descriptors + 1
        await finish(transport)

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio's race swallows it, and fails with IndexError or a timeout")
def test_an_attempt_that_fails_with_another_error_ends_the_race(loop: Any, hanging: HangingListener) -> None:
    async def main() -> None:
        resolve_to(loop, many=[hanging.address, ("127.0.0.1", 70000)])
        with pytest.raises(OverflowError):
            await loop.create_connection(Recorder, "many", 1, happy_eyeballs_delay=0.01)

    loop.run_until_complete(main())


# ---- a local address ----


def test_a_connection_comes_from_its_local_address(loop: Any, listening: socket.socket) -> None:
    async def main() -> None:
        address = listening.getsockname()
        transport, _ = await loop.create_connection(Recorder, *address, local_addr=("127.0.0.2", 0))
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        await finish(transport)

    loop.run_until_complete(main())


def test_a_local_address_in_use_is_told(loop: Any, listening: socket.socket) -> None:
    address = listening.getsockname()
    with pytest.raises(OSError, match="error while attempting to bind on address") as raised:
        loop.run_until_complete(loop.create_connection(Recorder, *address, local_addr=address))
    assert raised.value.errno == errno.EADDRINUSE
    assert str(address) in str(raised.value)


def test_the_next_local_address_is_tried_when_one_fails(loop: Any, listening: socket.socket) -> None:
    async def main() -> None:
        resolve_to(loop, here=[("::1", 0, 0, 0), listening.getsockname(), ("127.0.0.3", 0)])
        address = listening.getsockname()
        transport, _ = await loop.create_connection(Recorder, *address, local_addr=("here", 0))
        assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
        await finish(transport)

    loop.run_until_complete(main())


def test_a_local_address_of_another_family_does_not_do(loop: Any, listening: socket.socket) -> None:
    resolve_to(loop, here=[("::1", 0, 0, 0)])
    with pytest.raises(OSError, match="no matching local address with .* found"):
        coroutine = loop.create_connection(Recorder, *listening.getsockname(), local_addr=("here", 0))
        loop.run_until_complete(coroutine)


# ---- nothing is left behind ----


@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.01}])
def test_a_cancelled_connection_leaves_nothing(
    loop: Any, hanging: HangingListener, attempts: list[Address], options: dict[str, Any]
) -> None:
    async def main() -> None:
        resolve_to(loop, many=[hanging.address] * 3)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            attempts.clear()
            connecting = loop.create_task(loop.create_connection(Recorder, "many", 1, **options))
            while len(attempts) < (3 if options else 1):
                await asyncio.sleep(0.001)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
        # cancelled attempts of asyncio's race end a turn or two later
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == before

    loop.run_until_complete(main())


@pytest.mark.parametrize("turns", range(12))
def test_a_connection_cancelled_in_any_turn_leaves_nothing(loop: Any, listening: socket.socket, turns: int) -> None:
    async def main() -> None:
        resolve_to(loop, many=[listening.getsockname(), listening.getsockname()])
        connecting = loop.create_task(
            loop.create_connection(Recorder, "many", 1, happy_eyeballs_delay=0, local_addr=("127.0.0.1", 0))
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        try:
            transport, _ = await connecting
        except asyncio.CancelledError:
            return
        await finish(transport)

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0.01))


@pytest.mark.parametrize("by", ["address", "sock", "unix", "accepted"])
def test_a_protocol_factory_that_raises_closes_the_socket(loop: Any, unix_path: str, by: str) -> None:
    class Failure(Exception):
        pass

    def factory() -> asyncio.Protocol:
        raise Failure("no protocol")

    async def main() -> None:
        family, address = (socket.AF_UNIX, unix_path) if by == "unix" else (socket.AF_INET, ("127.0.0.1", 0))
        with socket.socket(family) as listener:
            listener.bind(address)
            listener.listen()
            if by == "unix":
                connecting = loop.create_unix_connection(factory, unix_path)
            elif by == "address":
                connecting = loop.create_connection(factory, *listener.getsockname())
            else:
                sock = socket.create_connection(listener.getsockname())
                if by == "sock":
                    connecting = loop.create_connection(factory, sock=sock)
                else:
                    connecting = loop.connect_accepted_socket(factory, sock)
            with pytest.raises(Failure, match="no protocol"):
                await connecting
            if by in ("sock", "accepted") and type(loop).__module__.startswith("asyncio"):
                sock.close()  # asyncio leaves it open before 3.14
            peer = listener.accept()[0]
            with peer:
                peer.settimeout(5)
                assert peer.recv(1) == b""

    loop.run_until_complete(main())


@pytest.mark.extra("asyncio's failed attempts leave cycles")
@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 1}, {"all_errors": True}])
def test_failed_connections_leave_nothing_to_the_garbage_collector(
    loop: Any, refusing: Any, runtime: str, options: dict[str, Any]
) -> None:
    async def fail() -> None:
        with contextlib.suppress(OSError, ExceptionGroup):
            await loop.create_connection(asyncio.Protocol, "many", 1, **options)

    async def main() -> int:
        await fail()
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await fail()
            return gc.collect()
        finally:
            gc.enable()

    resolve_to(loop, many=[refusing(), refusing("::1")])
    assert loop.run_until_complete(main()) == 0


# ---- Unix ----


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_unix_connection_by_path(loop: Any, unix_path: str, kind: Callable[[str], Any]) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, unix_path)
        transport, protocol = await loop.create_unix_connection(Recorder, kind(unix_path))
        transport.write(b"there and back")
        while protocol.data != b"there and back":
            await asyncio.sleep(0.001)
        await finish(transport)
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_unix_connection_by_abstract_name(loop: Any, kind: Callable[[str], Any]) -> None:
    async def main() -> None:
        name = kind(f"\0glassloop-{os.getpid()}")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
            listener.listen()
            transport, _ = await loop.create_unix_connection(Recorder, name)
            await finish(transport)

    loop.run_until_complete(main())


def test_a_connected_unix_socket_becomes_a_connection(loop: Any) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, protocol = await loop.create_unix_connection(Recorder, sock=ours)
            theirs.sendall(b"hello")
            while protocol.data != b"hello":
                await asyncio.sleep(0.001)
            await finish(transport)

    loop.run_until_complete(main())


def test_a_missing_unix_socket_raises_file_not_found(loop: Any, unix_path: str) -> None:
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        loop.run_until_complete(loop.create_unix_connection(Recorder, unix_path))


def test_a_unix_socket_where_nobody_listens_refuses(loop: Any, unix_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(unix_path)
        with pytest.raises(ConnectionRefusedError):
            loop.run_until_complete(loop.create_unix_connection(Recorder, unix_path))


@pytest.mark.extra("asyncio takes a socket that is not connected for one that is")
def test_a_unix_connection_waits_for_room_in_the_backlog(loop: Any, unix_path: str) -> None:
    async def main() -> None:
        hanging = HangingListener(socket.AF_UNIX, unix_path)
        connecting = loop.create_task(loop.create_unix_connection(Recorder, unix_path))
        await asyncio.sleep(0.05)
        assert not connecting.done()
        hanging.free()
        transport, protocol = await asyncio.wait_for(connecting, 10)
        peer, _ = hanging.listener.accept()
        with peer:
            peer.sendall(b"hello")
            while protocol.data != b"hello":
                await asyncio.sleep(0.001)
        await finish(transport)
        hanging.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("turns", [1, 2])
def test_a_connection_cancelled_while_it_dials_meets_no_protocol(loop: Any, listening: socket.socket, turns: int) -> None:
    protocols = []

    def factory() -> asyncio.Protocol:
        protocols.append(Recorder())
        return protocols[-1]

    async def main() -> None:
        connecting = loop.create_task(loop.create_connection(factory, *listening.getsockname()))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    before = len(os.listdir("/proc/self/fd"))
    loop.run_until_complete(main())
    assert protocols == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.extra("asyncio takes a socket that is not connected for one that is")
def test_a_unix_connection_that_waits_for_room_can_be_cancelled(loop: Any, unix_path: str) -> None:
    async def main() -> None:
        hanging = HangingListener(socket.AF_UNIX, unix_path)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_unix_connection(Recorder, unix_path), 0.05)
        hanging.close()

    loop.run_until_complete(main())


# ---- accepted elsewhere ----


def test_an_accepted_socket_becomes_a_connection(loop: Any, listening: socket.socket) -> None:
    async def main() -> None:
        with socket.create_connection(listening.getsockname()) as client:
            sock, address = listening.accept()
            transport, protocol = await loop.connect_accepted_socket(Recorder, sock)
            assert transport.get_extra_info("peername") == address
            client.sendall(b"hello")
            while protocol.data != b"hello":
                await asyncio.sleep(0.001)
            await finish(transport)

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
        ("connection", {}, ValueError, "host and port was not specified and no sock specified"),
        ("connection", {"host": "localhost", "port": 1, "sock": "tcp"}, ValueError, "can not be specified at the same time"),
        ("connection", {"port": 1, "sock": "tcp"}, ValueError, "can not be specified at the same time"),
        ("connection", {"sock": "udp"}, ValueError, "A Stream Socket was expected"),
        ("connection", {"sock": "tls"}, TypeError, "Socket cannot be of type SSLSocket"),
        ("connection", {"host": "x", "port": 1, "server_hostname": "x"}, ValueError, "only meaningful with ssl"),
        ("connection", {"sock": "tcp", "ssl": True}, ValueError, "You must set server_hostname when using ssl without a host"),
        ("connection", {"host": "x", "port": 1, "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ("connection", {"host": "x", "port": 1, "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ("connection", {"host": "x", "port": 1, "nonsense": 1}, TypeError, "nonsense"),
        ("unix", {}, ValueError, "no path and sock were specified"),
        ("unix", {"path": "/x", "sock": "tcp"}, ValueError, "path and sock can not be specified at the same time"),
        ("unix", {"sock": "tcp"}, ValueError, "A UNIX Domain Stream Socket was expected"),
        ("unix", {"path": "/x", "server_hostname": "x"}, ValueError, "server_hostname is only meaningful with ssl"),
        ("unix", {"path": "/x", "ssl": True}, ValueError, "you have to pass server_hostname when using ssl"),
        ("unix", {"path": "/x", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ("unix", {"path": "/x", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
        ("unix", {"path": 5}, TypeError, "PathLike"),
        ("accepted", {"sock": "udp"}, ValueError, "A Stream Socket was expected"),
        ("accepted", {"sock": "tls"}, TypeError, "Socket cannot be of type SSLSocket"),
        ("accepted", {"sock": "tcp", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ("accepted", {"sock": "tcp", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_together_are_told(
    loop: Any, method: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    call = {
        "connection": loop.create_connection,
        "unix": loop.create_unix_connection,
        "accepted": loop.connect_accepted_socket,
    }[method]
    with sockets() as made:
        if "sock" in options:
            options = {**options, "sock": made[options["sock"]]}

        async def main() -> None:
            await call(Recorder, **options)

        with pytest.raises(error, match=message):
            loop.run_until_complete(main())
        if "sock" in options:
            assert options["sock"].fileno() >= 0, "the caller's socket was closed"


def test_debug_mode_tells_of_each_connection(loop: Any, listening: socket.socket, caplog: Any) -> None:
    async def main() -> None:
        transport, _ = await loop.create_connection(Recorder, *listening.getsockname())
        await finish(transport)

    loop.set_debug(True)
    with caplog.at_level("DEBUG", logger="asyncio"):
        loop.run_until_complete(main())
    assert any("connected to" in message for message in caplog.messages)


def test_many_connections_at_once(loop: Any) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=200)
        address = server.sockets[0].getsockname()

        async def client(i: int) -> None:
            transport, protocol = await loop.create_connection(Recorder, *address)
            message = b"%d" % i
            transport.write(message)
            while protocol.data != message:
                await asyncio.sleep(0.001)
            await finish(transport)

        began = time.monotonic()
        await asyncio.gather(*(client(i) for i in range(200)))
        assert time.monotonic() - began < 30
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
