"""Datagram endpoints: UDP over IPv4 and IPv6, Unix sockets, connected and not."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import logging
import os
import socket
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from peers import LIMIT, reports, turns

pytestmark = pytest.mark.usefixtures("no_leaks")

LOCAL = ("127.0.0.1", 0)
HEADER = 8  # bytes that a waiting datagram counts for besides its own


class Recorder(asyncio.DatagramProtocol):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.got: list[bytes] = []
        self.senders: list[Any] = []
        self.errors: list[Exception] = []
        self.paused = False
        self.news = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def note(self, event: Any) -> None:
        self.events.append(event)
        self.news.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(data)
        self.senders.append(addr)
        self.note("datagram")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.note("error")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost")
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.paused = True
        self.note("pause")

    def resume_writing(self) -> None:
        self.paused = False
        self.note("resume")

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def received(self, count: int) -> list[bytes]:
        await self.until(lambda: len(self.got) >= count)
        return self.got


@asynccontextmanager
async def endpoint(factory: Any = Recorder, *args: Any, **options: Any) -> AsyncIterator[Any]:
    """A protocol on an endpoint, which is gone at the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, *args, **options)
    try:
        yield protocol
    finally:
        if not transport.is_closing():
            transport.abort()
        async with asyncio.timeout(LIMIT):
            await protocol.lost


def name_of(protocol: Any) -> Any:
    return protocol.transport.get_extra_info("sockname")


@asynccontextmanager
async def blocked(folder: Path, factory: Any = Recorder) -> AsyncIterator[tuple[Any, socket.socket, int]]:
    """A protocol on a Unix socket whose peer has a full queue; the peer; how many datagrams are in the queue."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        peer.setblocking(False)
        sock.setblocking(False)
        peer.bind(str(folder / "peer"))
        sock.connect(str(folder / "peer"))
        count = 0
        with pytest.raises(BlockingIOError):
            while True:
                sock.send(b"filler")
                count += 1
        async with endpoint(factory, sock=sock) as protocol:
            yield protocol, peer, count


async def receive(sock: socket.socket, count: int) -> list[bytes]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT):
        return [await loop.sock_recv(sock, 100_000) for _ in range(count)]


# ---- there and back ----


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_datagram_goes_there_and_back(run: Any, family: int, host: str) -> None:
    async def main() -> None:
        async with endpoint(local_addr=(host, 0)) as server, endpoint(remote_addr=name_of(server)[:2]) as client:
            assert client.transport.get_extra_info("peername") == name_of(server)
            assert server.transport.get_extra_info("peername") is None
            client.transport.sendto(b"there")
            assert await server.received(1) == [b"there"]
            assert server.senders == [name_of(client)]
            assert server.transport.get_extra_info("socket").family == family
            server.transport.sendto(b"back", server.senders[0])
            assert await client.received(1) == [b"back"]
            assert client.senders == [name_of(server)]

    run(main())


def test_many_senders_are_told_apart(run: Any) -> None:
    async def main() -> None:
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
        try:
            async with endpoint(local_addr=LOCAL) as server:
                for turn in range(2):
                    for sock in socks:
                        if not turn:
                            sock.bind(LOCAL)
                        sock.sendto(repr(sock.getsockname()).encode(), name_of(server))
                    await server.received(200 * (turn + 1))
                assert server.got == [repr(sender).encode() for sender in server.senders]
                for sock, sender in zip(socks, server.senders, strict=False):
                    server.transport.sendto(sender[0].encode() + b"%d" % sender[1], sender)
                    assert sock.recv(100) == b"127.0.0.1%d" % sock.getsockname()[1]
        finally:
            for sock in socks:
                sock.close()

    run(main())


@pytest.mark.parametrize("data", [bytes(65507), bytearray(b"array"), memoryview(b"view"), memoryview(b"abcdefgh").cast("I")])
def test_what_can_be_sent(run: Any, data: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            client.transport.sendto(data)
            client.transport.sendto(b"end")
            assert await server.received(2) == [bytes(data), b"end"]
            assert not client.errors

    run(main())


@pytest.mark.extra("asyncio drops an empty datagram before 3.12")
def test_an_empty_datagram_is_sent(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            for data in (b"", bytearray(), memoryview(b"")):
                client.transport.sendto(data)
            assert await server.received(3) == [b"", b"", b""]
            server.transport.sendto(b"", server.senders[0])
            assert await client.received(1) == [b""]

    run(main())


def test_what_cannot_be_sent(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            for data in ("text", None, 5, [b"x"]):
                with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                    client.transport.sendto(data)
            with pytest.raises(ValueError, match="Invalid address: must be None or"):
                client.transport.sendto(b"x", ("127.0.0.1", 9))
            client.transport.sendto(b"x", name_of(server))
            assert await server.received(1) == [b"x"]

    run(main())


@pytest.mark.parametrize("address", [None, "text", ("127.0.0.1",), ("127.0.0.1", "http"), ("127.0.0.1", 1, 2), (1, 2)])
def test_an_address_that_is_none_ends_the_transport(run: Any, address: Any) -> None:
    async def main() -> None:
        told = reports()
        async with endpoint(family=socket.AF_INET) as protocol:
            protocol.transport.sendto(b"x", address)
            assert isinstance(await protocol.lost, TypeError)
            assert [context["message"] for context in told] == ["Fatal write error on datagram transport"]

    run(main())


def test_a_burst_comes_whole_and_in_order(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            for start in range(0, 1000, 100):
                for n in range(start, start + 100):
                    client.transport.sendto(b"%d" % n)
                await server.received(start + 100)
            assert server.got == [b"%d" % n for n in range(1000)]

    run(main())


def test_a_flood_of_datagrams_leaves_the_others_their_turn(run: Any) -> None:
    """Who sends to itself in datagram_received() is never without a datagram to receive."""

    class Flooded(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    async def main() -> None:
        async with endpoint(Flooded, local_addr=LOCAL) as flooded, endpoint(local_addr=LOCAL) as other:
            for _ in range(50):
                flooded.transport.sendto(b"x", name_of(flooded))
            for n in range(1, 20):
                other.transport.sendto(b"y", name_of(other))
                await other.received(n)

    run(main())


def test_nothing_is_received_after_close_in_the_middle_of_a_burst(run: Any) -> None:
    class Closing(Recorder):
        limit = 1

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.got) == self.limit:
                self.transport.close()

    class ClosingLater(Closing):
        limit = 45

    async def main() -> None:
        for factory in (Closing, ClosingLater):
            async with endpoint(factory, local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
                for _ in range(100):
                    client.transport.sendto(b"x")
                assert await server.lost is None
                assert len(server.got) == factory.limit

    run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_an_endpoint_without_a_remote_address_sends_until_connection_lost_returns(run: Any, end: str) -> None:
    class Polite(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            self.transport.sendto(b"last", self.to)  # type: ignore[attr-defined]
            super().connection_lost(exc)

    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as peer, endpoint(Polite, local_addr=LOCAL) as polite:
            polite.to = name_of(peer)
            getattr(polite.transport, end)()
            assert polite.transport.is_closing()
            polite.transport.sendto(b"good-bye", polite.to)
            assert await polite.lost is None
            assert await peer.received(2) == [b"good-bye", b"last"]

    run(main())


def test_one_with_a_remote_address_is_silent_once_it_is_closed(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as peer:
            async with endpoint(remote_addr=name_of(peer)) as client:
                client.transport.close()
                client.transport.sendto(b"too late")
                await client.lost
            async with endpoint(remote_addr=name_of(peer)) as other:
                other.transport.sendto(b"x")
                assert await peer.received(1) == [b"x"]

    run(main())


@pytest.mark.extra("asyncio reports an AttributeError: its socket is None")
def test_what_is_sent_after_connection_lost_is_dropped(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as peer, endpoint(local_addr=LOCAL) as gone:
            gone.transport.close()
            await gone.lost
            reported = reports()
            for _ in range(5):
                gone.transport.sendto(b"too late", name_of(peer))
            assert reported == []
            peer.transport.sendto(b"x", name_of(peer))
            assert await peer.received(1) == [b"x"]

    run(main())


@pytest.mark.extra("asyncio looks names up at once, and blocks")
def test_a_name_is_not_looked_up_after_close(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as closed:
            closed.transport.close()
            closed.transport.sendto(b"x", ("localhost", 9))
            assert closed.transport.get_write_buffer_size() == 0
            await closed.lost

    run(main())


def test_the_protocol_can_be_replaced(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            assert server.transport.get_protocol() is server
            other = Recorder()
            server.transport.set_protocol(other)
            assert server.transport.get_protocol() is other
            client.transport.sendto(b"x")
            assert await other.received(1) == [b"x"]
            server.transport.set_protocol(server)

    run(main())


# ---- the endpoint ----


def test_connection_made_comes_before_anything_else(run: Any) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            sock.bind(LOCAL)
            peer.sendto(b"early", sock.getsockname())
            async with endpoint(sock=sock) as protocol:
                assert protocol.events[0] == "made"
                assert await protocol.received(1) == [b"early"]
                assert protocol.senders == [("127.0.0.1", peer.getsockname()[1])]
                assert protocol.events == ["made", "datagram"]

    run(main())


def test_what_a_transport_is(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as protocol:
            transport = protocol.transport
            assert isinstance(transport, asyncio.Transport)
            assert not transport.is_closing()
            assert transport.get_extra_info("nothing") is None
            assert transport.get_extra_info("nothing", 5) == 5
            assert "DatagramTransport fd=" in repr(transport)
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert "closed" in repr(transport)

    run(main())


@pytest.mark.extra("asyncio's transport is no DatagramTransport before 3.13")
def test_a_transport_is_a_datagram_transport(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as protocol:
            assert isinstance(protocol.transport, asyncio.DatagramTransport)

    run(main())


def test_arguments_that_do_not_fit(run: Any) -> None:
    async def main() -> None:
        create = asyncio.get_running_loop().create_datagram_endpoint
        with pytest.raises(ValueError, match="unexpected address family"):
            await create(Recorder)
        for address in ("127.0.0.1", ["127.0.0.1", 5], ("127.0.0.1", 1, 2)):
            with pytest.raises(TypeError, match="2-tuple is expected"):
                await create(Recorder, local_addr=address)
        with pytest.raises(ValueError, match="can not get address information"):
            await create(Recorder, local_addr=LOCAL, remote_addr=("::1", 5))
        with pytest.raises(TypeError, match="string is expected"):
            await create(Recorder, local_addr=LOCAL, family=socket.AF_UNIX)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for options in (
                {"local_addr": LOCAL}, {"remote_addr": LOCAL}, {"family": socket.AF_INET}, {"proto": 1}, {"flags": 1},
                {"reuse_port": True}, {"allow_broadcast": True},
            ):
                with pytest.raises(ValueError, match="socket modifier keyword arguments can not be used .*" + next(iter(options))):
                    await create(Recorder, sock=sock, **options)  # type: ignore[arg-type]
        with socket.socket() as stream, pytest.raises(ValueError, match="[Ss]ocket was expected"):
            await create(Recorder, sock=stream)
        with pytest.raises(socket.gaierror):
            await create(Recorder, local_addr=("256.0.0.1", 0), flags=socket.AI_NUMERICHOST)
        with pytest.raises(TypeError):
            await create(Recorder, local_addr=LOCAL, reuse_address=True, nonsense=1)

    run(main())


def test_an_address_in_use_and_one_that_is_shared(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with endpoint(local_addr=LOCAL, reuse_port=True) as first:
            with pytest.raises(OSError) as caught:
                await loop.create_datagram_endpoint(Recorder, local_addr=name_of(first))
            assert caught.value.errno == errno.EADDRINUSE
            async with endpoint(local_addr=name_of(first), reuse_port=True) as second:
                assert name_of(second) == name_of(first)

    run(main())


def test_broadcast(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server:
            address = name_of(server)
            async with endpoint(remote_addr=address, allow_broadcast=True) as client:
                sock = client.transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
                assert client.transport.get_extra_info("peername") is None
                client.transport.sendto(b"one")
                client.transport.sendto(b"two", address)
                assert await server.received(2) == [b"one", b"two"]
                with pytest.raises(ValueError, match="Invalid address"):
                    client.transport.sendto(b"x", ("127.0.0.1", 9))

    run(main())


def test_a_failing_factory_leaves_nothing_open(run: Any) -> None:
    def factory() -> asyncio.BaseProtocol:
        raise LookupError("no protocol")

    async def main() -> None:
        with pytest.raises(LookupError):
            await asyncio.get_running_loop().create_datagram_endpoint(factory, local_addr=LOCAL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio leaves the socket to the collector
        run(main())
        gc.collect()


def test_a_failing_connection_made_is_reported(run: Any) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            raise LookupError("made")

    async def main() -> None:
        told = reports()
        async with endpoint(Failing, local_addr=LOCAL) as protocol:
            assert [str(context["exception"]) for context in told] == ["made"]
            assert not protocol.transport.is_closing()

    run(main())


def test_a_cancelled_call_closes_what_it_opened(run: Any) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[0]

        task = asyncio.ensure_future(
            asyncio.get_running_loop().create_datagram_endpoint(factory, local_addr=LOCAL)
        )
        await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if made:
            assert await made[0].lost is None

    run(main())


# ---- Unix sockets ----


def test_unix_sockets_by_path(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        here, there = str(tmp_path / "here"), str(tmp_path / "there")
        async with (
            endpoint(local_addr=here, family=socket.AF_UNIX) as server,
            endpoint(local_addr=there, remote_addr=here, family=socket.AF_UNIX) as client,
            endpoint(remote_addr=here, family=socket.AF_UNIX) as nameless,
        ):
            assert name_of(server) == here
            assert client.transport.get_extra_info("peername") == here
            client.transport.sendto(b"there")
            nameless.transport.sendto(b"x" * 100_000)
            assert await server.received(2) == [b"there", b"x" * 100_000]
            assert server.senders == [there, None]
            server.transport.sendto(b"back", there)
            assert await client.received(1) == [b"back"]
            assert client.senders == [here]

    run(main())


def test_an_abstract_unix_socket(run: Any) -> None:
    async def main() -> None:
        name = f"\0glassloop-test-{os.getpid()}"
        async with (
            endpoint(local_addr=name, family=socket.AF_UNIX) as server,
            endpoint(local_addr=name + "-client", remote_addr=name, family=socket.AF_UNIX) as client,
        ):
            client.transport.sendto(b"x")
            await server.received(1)
            assert server.senders == [(name + "-client").encode()]
            server.transport.sendto(b"y", server.senders[0])
            assert await client.received(1) == [b"y"]

    run(main())


def test_a_socket_left_at_the_path_is_replaced_and_a_file_is_not(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
            stale.bind(path)
        async with endpoint(local_addr=path, family=socket.AF_UNIX) as protocol:
            assert name_of(protocol) == path
        (tmp_path / "file").write_text("kept")
        with pytest.raises(OSError) as caught:
            await asyncio.get_running_loop().create_datagram_endpoint(
                Recorder, local_addr=str(tmp_path / "file"), family=socket.AF_UNIX
            )
        assert caught.value.errno == errno.EADDRINUSE
        assert (tmp_path / "file").read_text() == "kept"

    run(main())


@pytest.mark.extra("asyncio takes a peer without a name for none, and fails")
def test_a_socket_pair(run: Any) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        async with endpoint(sock=ours) as one, endpoint(sock=theirs) as two:
            one.transport.sendto(b"x")
            assert await two.received(1) == [b"x"]

    run(main())


# ---- errors ----


def test_a_refusal_is_told_and_the_transport_goes_on(run: Any) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(LOCAL)
            address = gone.getsockname()
        async with endpoint(remote_addr=address) as protocol:
            protocol.transport.sendto(b"x")
            await protocol.until(lambda: protocol.errors)
            assert isinstance(protocol.errors[0], ConnectionRefusedError)
            assert not protocol.transport.is_closing()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
                back.bind(address)
                back.sendto(b"back again", name_of(protocol))
                assert await protocol.received(1) == [b"back again"]

    run(main())


def test_one_that_is_too_long_is_told(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            client.transport.sendto(bytes(65508))
            assert [error.errno for error in client.errors] == [errno.EMSGSIZE]
            client.transport.sendto(b"x")
            assert await server.received(1) == [b"x"]

    run(main())


def test_a_failing_datagram_received_is_reported_and_the_transport_goes_on(run: Any) -> None:
    class Failing(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            raise LookupError(data.decode())

    async def main() -> None:
        told = reports()
        async with endpoint(Failing, local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            client.transport.sendto(b"one")
            client.transport.sendto(b"two")
            await server.received(2)
            await turns(3)
            assert [str(context["exception"]) for context in told] == ["one", "two"]
            assert not server.transport.is_closing()

    run(main())


def test_a_failing_error_received_is_reported(run: Any) -> None:
    class Failing(Recorder):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise LookupError("error_received")

    async def main() -> None:
        told = reports()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(LOCAL)
            address = gone.getsockname()
        async with endpoint(Failing, remote_addr=address) as protocol:
            protocol.transport.sendto(b"x")
            await protocol.until(lambda: protocol.errors)
            await turns(3)
            assert [str(context["exception"]) for context in told] == ["error_received"]
            # from within sendto() it is the caller's
            with pytest.raises(LookupError):
                protocol.transport.sendto(bytes(100_000))

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_the_loop(loop: Any, error: type[BaseException]) -> None:
    class Interrupted(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            raise error

    async def main() -> None:
        async with endpoint(Interrupted, local_addr=LOCAL) as protocol:
            protocol.transport.sendto(b"x", name_of(protocol))
            await asyncio.sleep(LIMIT)

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


@pytest.mark.extra("asyncio raises AttributeError, or says nothing")
def test_sending_after_the_end_is_dropped_and_warned_of(run: Any, caplog: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as protocol:
            protocol.transport.abort()
            await protocol.lost
            for _ in range(10):
                protocol.transport.sendto(b"x", LOCAL)

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main())
    assert {record.message for record in caplog.records} == {"socket.send() raised exception."}


def test_callbacks_run_in_the_context_of_the_endpoint(run: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    class Seeing(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(variable.get().encode(), addr)

    async def main() -> None:
        variable.set("endpoint")
        async with endpoint(Seeing, local_addr=LOCAL) as server, endpoint(remote_addr=name_of(server)) as client:
            variable.set("later")
            client.transport.sendto(b"x")
            assert await server.received(1) == [b"endpoint"]

    run(main())


# ---- flow control ----


def test_what_the_kernel_does_not_take_waits_and_comes_in_order(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with blocked(tmp_path) as (protocol, peer, before):
            array = bytearray(b"array")
            protocol.transport.sendto(array)
            array[:] = b"other"
            protocol.transport.sendto(memoryview(b"view"))
            for n in range(100):
                protocol.transport.sendto(b"%d" % n)
            assert protocol.transport.get_write_buffer_size() > 190
            got = await receive(peer, before + 102)
            assert got == [b"filler"] * before + [b"array", b"view"] + [b"%d" % n for n in range(100)]
            await turns(3)
            assert protocol.events == ["made"]

    run(main())


@pytest.mark.extra("asyncio 3.12 and 3.13 count the address of each datagram and never give it back")
def test_a_full_queue_pauses_the_protocol_until_it_is_sent(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with blocked(tmp_path) as (protocol, peer, before):
            transport = protocol.transport
            transport.set_write_buffer_limits(high=1000, low=100)
            assert transport.get_write_buffer_limits() == (100, 1000)
            sent = 0
            while not protocol.paused:
                transport.sendto(b"%03d" % sent)
                sent += 1
                assert sent <= 1000
            assert transport.get_write_buffer_size() > 1000
            transport.sendto(b"more")
            assert protocol.events == ["made", "pause"]
            await receive(peer, before + sent + 1)
            await protocol.until(lambda: not protocol.paused)
            assert protocol.events == ["made", "pause", "resume"]
            await turns(3)

    run(main())


@pytest.mark.extra("before 3.12 asyncio counts nothing for the address, and later never gives it back")
def test_empty_datagrams_that_wait_are_bounded_too(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with blocked(tmp_path) as (protocol, peer, before):
            for _ in range(64 * 1024 // HEADER + 1):
                protocol.transport.sendto(b"")
            assert protocol.paused
            protocol.transport.abort()
            assert protocol.transport.get_write_buffer_size() == 0

    run(main())


@pytest.mark.extra("asyncio 3.12 and 3.13 count the address of each datagram and never give it back")
def test_resume_writing_may_send(run: Any, tmp_path: Path) -> None:
    class Sending(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            for n in range(3):
                self.transport.sendto(b"resumed %d" % n)

    async def main() -> None:
        async with blocked(tmp_path, Sending) as (protocol, peer, before):
            protocol.transport.set_write_buffer_limits(high=0)
            protocol.transport.sendto(b"waits")
            assert protocol.paused
            got = await receive(peer, before + 4)
            assert got[before:] == [b"waits", b"resumed 0", b"resumed 1", b"resumed 2"]

    run(main())


def test_close_sends_what_waits_and_abort_does_not(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with blocked(tmp_path) as (protocol, peer, before):
            protocol.transport.sendto(b"last")
            protocol.transport.close()
            await turns(3)
            assert protocol.events == ["made"]
            assert (await receive(peer, before + 1))[-1] == b"last"
            assert await protocol.lost is None
        (tmp_path / "peer").unlink()
        async with blocked(tmp_path) as (protocol, peer, before):
            protocol.transport.sendto(b"last")
            protocol.transport.abort()
            assert await protocol.lost is None
            assert set(await receive(peer, before)) == {b"filler"}
            with pytest.raises(BlockingIOError):
                peer.recv(100)

    run(main())


@pytest.mark.extra("asyncio waits with the rest until the socket is writable again")
def test_one_that_fails_does_not_hold_up_those_behind_it(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with blocked(tmp_path) as (protocol, peer, before):
            protocol.transport.sendto(b"one")
            protocol.transport.sendto(bytes(1_000_000))
            protocol.transport.sendto(b"two")
            assert (await receive(peer, before + 2))[before:] == [b"one", b"two"]
            assert [error.errno for error in protocol.errors] == [errno.EMSGSIZE]

    run(main())


# ---- names ----


def test_a_name_is_looked_up(run: Any) -> None:
    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(family=socket.AF_INET) as client:
            port = name_of(server)[1]
            client.transport.sendto(b"one", ("localhost", port))
            client.transport.sendto(b"two", (b"localhost", port))
            client.transport.sendto(b"three", ("127.0.0.1", port))
            client.transport.sendto(b"four", ("localhost", port))
            client.transport.sendto(b"five", ("", port))
            assert await server.received(5) == [b"one", b"two", b"three", b"four", b"five"]
            client.transport.sendto(b"x", ("name.invalid", port))
            await client.until(lambda: client.errors)
            assert isinstance(client.errors[0], socket.gaierror)
            assert not client.transport.is_closing()

    run(main())


class Names:
    """In the place of loop.getaddrinfo(): answers when it is told to."""

    def __init__(self, loop: Any) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, asyncio.Future[Any]] = {}
        self.loop = loop
        loop.getaddrinfo = self.getaddrinfo

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        self.asked.append(host)
        return await self.answers.setdefault(host, self.loop.create_future())

    def answer(self, host: str, address: Any) -> None:
        self.answers[host].set_result([(socket.AF_INET, socket.SOCK_DGRAM, 17, "", address)])


@pytest.mark.extra("asyncio looks names up in the loop's own thread")
def test_lookups_keep_the_order_and_are_shared(run: Any) -> None:
    async def main() -> None:
        names = Names(asyncio.get_running_loop())
        async with endpoint(local_addr=LOCAL) as server, endpoint(family=socket.AF_INET) as client:
            address = name_of(server)
            for n in range(3):
                client.transport.sendto(b"first %d" % n, ("first", address[1]))
            client.transport.sendto(b"plain", address)
            client.transport.sendto(b"second", ("second", address[1]))
            assert client.transport.get_write_buffer_size() == 3 * 7 + 5 + 6 + 5 * HEADER
            await turns(5)
            assert names.asked == ["first", "second"]
            names.answer("second", address)
            await turns(5)
            assert server.got == []
            names.answer("first", address)
            assert await server.received(5) == [b"first 0", b"first 1", b"first 2", b"plain", b"second"]
            assert client.transport.get_write_buffer_size() == 0

    run(main())


@pytest.mark.extra("asyncio looks names up in the loop's own thread")
def test_close_waits_for_a_lookup_and_abort_ends_it(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        names = Names(loop)
        async with endpoint(local_addr=LOCAL) as server:
            async with endpoint(family=socket.AF_INET) as client:
                client.transport.sendto(b"x", ("name", name_of(server)[1]))
                client.transport.close()
                await turns(5)
                assert client.events == ["made"]
                names.answer("name", name_of(server))
                assert await server.received(1) == [b"x"]
                assert await client.lost is None
            async with endpoint(family=socket.AF_INET) as client:
                client.transport.sendto(b"x", ("other", name_of(server)[1]))
                await turns(3)
                client.transport.abort()
                assert await client.lost is None
                await turns(3)
                assert names.answers["other"].cancelled()
        assert len(asyncio.all_tasks()) == 1

    run(main())


@pytest.mark.extra("asyncio looks names up in the loop's own thread")
def test_a_lookup_does_not_block_the_loop(run: Any, monkeypatch: Any) -> None:
    real, release = socket.getaddrinfo, threading.Event()

    def slow(host: Any, *args: Any, **options: Any) -> Any:
        if host == "slow.test":
            assert release.wait(LIMIT)
            host = "127.0.0.1"
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main() -> None:
        async with endpoint(local_addr=LOCAL) as server, endpoint(family=socket.AF_INET) as client:
            client.transport.sendto(b"slow", ("slow.test", name_of(server)[1]))
            await asyncio.sleep(0.02)
            assert not server.got
            server.transport.sendto(b"meanwhile", name_of(server))
            await server.received(1)
            release.set()
            assert await server.received(2) == [b"meanwhile", b"slow"]

    try:
        run(main())
    finally:
        release.set()


# ---- what is left behind ----


def test_an_abandoned_transport_warns_and_closes_its_socket(run: Any) -> None:
    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=LOCAL
        )
        await turns(2)
        del transport

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in caught)
