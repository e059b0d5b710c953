"""loop.sendfile() and loop.sock_sendfile(): by the kernel, and by reading where it can't."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from peers import LIMIT, Recorder, connected, lost, receive, reset, send, turns

pytestmark = pytest.mark.usefixtures("no_leaks")

KIB = 1024
DATA = bytes(range(256)) * (12 * KIB)  # 3 MiB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def small_buffer(sock: Any) -> None:
    """With a send buffer of its own a socket doesn't take a whole file at once."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * KIB)


async def sending(protocol: Any, other: socket.socket, expected: int, *args: Any, **options: Any) -> tuple[int, bytes]:
    """What sendfile() returns, and what the peer received."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT):
        return tuple(  # type: ignore[return-value]
            await asyncio.gather(loop.sendfile(protocol.transport, *args, **options), receive(other, expected))
        )


class OnlyReadinto:
    """The least that is a file for sendfile()."""

    def __init__(self, data: bytes) -> None:
        self.rest = memoryview(data)

    def readinto(self, buffer: memoryview) -> int:
        piece = self.rest[: min(1000, len(buffer))]
        buffer[: len(piece)] = piece
        self.rest = self.rest[len(piece) :]
        return len(piece)


# ---- what is sent ----


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_whole_file(run: Any, path: Path, family: int, buffering: int) -> None:
    async def main() -> None:
        async with connected(Recorder, family) as (protocol, other):
            with open(path, "rb", buffering) as file:
                assert await sending(protocol, other, len(DATA), file) == (len(DATA), DATA)
                assert file.tell() == len(DATA)
            protocol.transport.write(b"after")
            assert await receive(other, 5) == b"after"

    run(main())


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (1000, None, DATA[1000:]), (0, 100, DATA[:100]), (1000, 100_000, DATA[1000:101_000]),
        (len(DATA) - 10, 100, DATA[-10:]), (len(DATA), None, b""), (len(DATA) + 10, 5, b""),
    ],
)
@pytest.mark.parametrize("kind", ["file", "BytesIO"])
def test_a_part(run: Any, path: Path, kind: str, offset: int, count: int | None, expected: bytes) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            with open(path, "rb") if kind == "file" else io.BytesIO(DATA) as file:
                result = await sending(protocol, other, len(expected), file, offset, count)
                assert result == (len(expected), expected)
                if expected:
                    assert file.tell() == offset + len(expected)
        async with connected() as (protocol, other):
            with open(path, "rb") if kind == "file" else io.BytesIO(DATA) as file:
                sock = protocol.transport.get_extra_info("socket")
                sock = socket.socket(fileno=os.dup(sock.fileno()))
                with sock:
                    sock.setblocking(False)
                    loop = asyncio.get_running_loop()
                    sent, got = await asyncio.gather(
                        loop.sock_sendfile(sock, file, offset, count), receive(other, len(expected))
                    )
                    assert (sent, got) == (len(expected), expected)
                    if expected:
                        assert file.tell() == offset + len(expected)

    run(main())


def test_an_empty_file(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "empty").touch()
        async with connected() as (protocol, other):
            with open(tmp_path / "empty", "rb") as file:
                assert await sending(protocol, other, 0, file) == (0, b"")
            assert await sending(protocol, other, 0, io.BytesIO()) == (0, b"")
            assert protocol.transport.is_reading()

    run(main())


def test_what_has_no_descriptor_is_read(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            assert await sending(protocol, other, len(DATA), io.BytesIO(DATA)) == (len(DATA), DATA)
            assert await sending(protocol, other, 10_500, OnlyReadinto(DATA[:10_500])) == (10_500, DATA[:10_500])
            assert await sending(protocol, other, 50, OnlyReadinto(DATA), 0, 50) == (50, DATA[:50])
            assert protocol.events == ["made"]

    run(main())


@pytest.mark.extra("asyncio takes a pipe for an empty file")
def test_a_pipe_is_read(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            for native in (False, True):
                reader, writer = os.pipe()
                os.write(writer, b"through a pipe")
                os.close(writer)
                with open(reader, "rb", 0) as file:
                    if native:
                        with pytest.raises(asyncio.SendfileNotAvailableError):
                            await sending(protocol, other, 0, file, fallback=False)
                    else:
                        assert await sending(protocol, other, 14, file) == (14, b"through a pipe")

    run(main())


@pytest.mark.extra("asyncio leaves what was read ahead in the file's buffer")
def test_the_position_is_right_for_who_read_ahead(run: Any, path: Path) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            with open(path, "rb") as file:
                file.read(10)
                await sending(protocol, other, 1000, file, 0, 1000)
                assert file.read(5) == DATA[1000:1005]
            file = io.BytesIO(DATA)
            file.read(10)
            assert await sending(protocol, other, 100, file, 0, 100) == (100, DATA[:100])

    run(main())


def test_order_with_what_is_written_before_and_after(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for before in (b"x", b"x" * 20_000, b"x" * 5_000_000):
            async with connected() as (protocol, other):
                transport = protocol.transport
                small_buffer(transport.get_extra_info("socket"))

                async def write(transport: Any = transport, before: bytes = before) -> None:
                    transport.write(before[:-1])
                    transport.write(before[-1:])
                    with open(path, "rb") as file:
                        assert await loop.sendfile(transport, file, 0, 1_000_000) == 1_000_000
                    transport.write(b"between")
                    assert await loop.sendfile(transport, io.BytesIO(b"memory")) == 6
                    transport.write(b"after")

                expected = before + DATA[:1_000_000] + b"betweenmemoryafter"
                _, got = await asyncio.gather(write(), receive(other, len(expected)))
                assert got == expected
                await turns()
                assert not protocol.paused

    run(main())


def test_several_files_in_turn_from_many_connections(run: Any, path: Path) -> None:
    async def one() -> None:
        async with connected() as (protocol, other):
            with open(path, "rb") as file:
                for _ in range(2):
                    assert await sending(protocol, other, len(DATA), file) == (len(DATA), DATA)

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(5)))

    run(main())


def test_over_tls_it_is_read_and_written(run: Any, path: Path) -> None:
    from tls_peer import client_context, server_context

    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Server(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                servers.append(self)

        servers: list[Recorder] = []
        server = await loop.create_server(Server, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(
            Recorder, *address, ssl=client_context(), server_hostname="localhost"
        )
        with open(path, "rb") as file:
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)
            transport.write(b"before")
            async with asyncio.timeout(LIMIT):
                assert await loop.sendfile(transport, file, 1000) == len(DATA) - 1000
            assert file.tell() == len(DATA)
        transport.write(b"after")
        assert transport.get_protocol() is protocol
        expected = b"before" + DATA[1000:] + b"after"
        await servers[0].until(lambda: len(servers[0].data) >= len(expected))
        assert servers[0].data == expected
        servers[0].transport.write(b"answer")
        await protocol.until(lambda: protocol.data == b"answer")
        transport.close()
        await lost(protocol)
        await lost(servers[0])
        server.close()
        await server.wait_closed()

    run(main())


def test_between_the_lines_of_a_stream(aio: Any, run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def serve(reader: Any, writer: Any) -> None:
            assert await reader.readline() == b"get\n"
            writer.write(b"head\n")
            with open(path, "rb") as file:
                await loop.sendfile(writer.transport, file)
            writer.write(b"tail\n")
            assert await reader.readline() == b"thanks\n"
            writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"get\nthanks\n")
        async with asyncio.timeout(LIMIT):
            assert await reader.readline() == b"head\n"
            assert await reader.readexactly(len(DATA)) == DATA
            assert await reader.read() == b"tail\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


# ---- meanwhile ----


def test_nothing_can_be_written_meanwhile(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            with open(path, "rb") as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await turns(5)
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    protocol.transport.write(b"x")
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    protocol.transport.writelines([b"x" * 5000, b"y" * 5000])
                assert not protocol.transport.is_reading()
                assert await receive(other, len(DATA)) == DATA
                assert await task == len(DATA)
            assert protocol.transport.is_reading()
            protocol.transport.write(b"x")
            assert await receive(other, 1) == b"x"

    run(main())


@pytest.mark.parametrize("kind", ["file", "BytesIO"])
@pytest.mark.parametrize("paused", [False, True])
def test_what_comes_meanwhile_is_received_afterwards(run: Any, path: Path, kind: str, paused: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            if paused:
                protocol.transport.pause_reading()
            with open(path, "rb") if kind == "file" else io.BytesIO(DATA) as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await turns(5)
                await send(other, b"meanwhile")
                await turns(5)
                assert not protocol.data
                assert await receive(other, len(DATA)) == DATA
                await task
            assert protocol.transport.is_reading() is not paused
            assert protocol.transport.get_protocol() is protocol
            protocol.transport.resume_reading()
            await protocol.until(lambda: protocol.data == b"meanwhile")

    run(main())


@pytest.mark.extra("asyncio forgets the file in the middle")
def test_close_meanwhile_sends_the_rest(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            with open(path, "rb") as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await turns(5)
                protocol.transport.close()
                assert await receive(other, len(DATA) + 1) == DATA
                assert await task == len(DATA)
            assert await lost(protocol) is None

    run(main())


@pytest.mark.extra("asyncio ends the stream in the middle of the file")
def test_write_eof_meanwhile_comes_after_the_file(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            with open(path, "rb") as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await turns(5)
                protocol.transport.write_eof()
                assert await receive(other, len(DATA) + 1) == DATA
                assert await task == len(DATA)
            await send(other, b"x")
            await protocol.until(lambda: protocol.data == b"x")

    run(main())


# ---- broken off ----


@pytest.mark.parametrize("kind", ["file", "BytesIO"])
def test_the_peer_goes_in_the_middle(run: Any, path: Path, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            with open(path, "rb") if kind == "file" else io.BytesIO(DATA) as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await receive(other, 50_000)
                reset(other)
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(LIMIT):
                        await task
                assert 50_000 <= file.tell() < len(DATA)
            await lost(protocol)

    run(main())


@pytest.mark.extra("asyncio waits for ever, or raises what it meets")
@pytest.mark.parametrize("kind", ["file", "BytesIO"])
def test_abort_in_the_middle(run: Any, path: Path, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            with open(path, "rb") if kind == "file" else io.BytesIO(DATA) as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await receive(other, 50_000)
                protocol.transport.abort()
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(LIMIT):
                        await task
                assert await lost(protocol) is None

    run(main())


@pytest.mark.extra("asyncio leaves the file's position where it was")
@pytest.mark.parametrize("kind", ["file", "BytesIO"])
def test_cancelled_in_the_middle_the_transport_goes_on(run: Any, path: Path, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            with open(path, "rb") if kind == "file" else io.BytesIO(DATA) as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                got = await receive(other, 50_000)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                sent = file.tell()
                assert 50_000 <= sent < len(DATA)
                assert protocol.transport.get_protocol() is protocol
                assert protocol.transport.is_reading()
                protocol.transport.write(b"after")
                got += await receive(other, sent + 5 - len(got))
                assert got == DATA[:sent] + b"after"
                await send(other, b"x")
                await protocol.until(lambda: protocol.data == b"x")

    run(main())


@pytest.mark.extra("asyncio drops what was written before")
def test_cancelled_before_its_turn_what_was_written_is_sent(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            before = b"x" * 1_000_000
            protocol.transport.write(before)
            assert protocol.paused
            with open(path, "rb") as file:
                task = loop.create_task(loop.sendfile(protocol.transport, file))
                await turns(3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert file.tell() == 0
            protocol.transport.write(b"after")
            assert await receive(other, 1_000_005) == before + b"after"
            await protocol.until(lambda: not protocol.paused)
            assert protocol.transport.get_write_buffer_size() == 0

    run(main())


def test_a_file_that_fails_in_the_middle(run: Any) -> None:
    class Failing(OnlyReadinto):
        def readinto(self, buffer: memoryview) -> int:
            if len(self.rest) < 5000:
                raise LookupError("in the middle")
            return super().readinto(buffer)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            with pytest.raises(LookupError):
                await loop.sendfile(protocol.transport, Failing(DATA[:10_000]))
            protocol.transport.write(b"after")
            got = await receive(other, 6005)
            assert got == DATA[:6000] + b"after"
            assert protocol.transport.get_protocol() is protocol
            assert protocol.transport.is_reading()

    run(main())


@pytest.mark.extra("asyncio reads whatever has the number of the descriptor by then")
def test_a_file_closed_in_the_middle_is_an_error(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            file = open(path, "rb")
            task = loop.create_task(loop.sendfile(protocol.transport, file))
            await turns(5)
            file.close()
            with open("/dev/zero", "rb"):
                reading = loop.create_task(receive(other, len(DATA)))
                with pytest.raises(ValueError, match="closed file"):
                    await task
                protocol.transport.write(b"after")
                protocol.transport.close()
                got = await reading
            assert got.endswith(b"after") and DATA.startswith(got[:-5])

    run(main())


def test_flow_control_told_to_the_protocol_is_complete(run: Any) -> None:
    """Who was paused before is resumed, at last."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            small_buffer(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"x" * 1_000_000)
            assert protocol.paused
            task = loop.create_task(loop.sendfile(protocol.transport, io.BytesIO(DATA)))
            assert len(await receive(other, 1_000_000 + len(DATA))) == 1_000_000 + len(DATA)
            await task
            await protocol.until(lambda: not protocol.paused)
            assert protocol.events == ["made", "pause", "resume"]

    run(main())


# ---- arguments ----


def test_wrong_arguments(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, other):
            with socket.socket(fileno=os.dup(other.fileno())) as sock, open(path, "rb") as file, open(path) as text:
                sock.setblocking(False)
                for send_to in (
                    lambda *args: loop.sendfile(protocol.transport, *args),
                    lambda *args: loop.sock_sendfile(sock, *args),
                ):
                    with pytest.raises(ValueError, match="binary mode"):
                        await send_to(text)
                    for count in ("5", 5.0):
                        with pytest.raises(TypeError, match="count must be a positive integer"):
                            await send_to(file, 0, count)
                    for count in (0, -1):
                        with pytest.raises(ValueError, match="count must be a positive integer"):
                            await send_to(file, 0, count)
                    for offset in ("5", 5.0, None):
                        with pytest.raises(TypeError, match="offset must be a non-negative integer"):
                            await send_to(file, offset)
                    with pytest.raises(ValueError, match="offset must be a non-negative integer"):
                        await send_to(file, -1)
                    with pytest.raises(asyncio.SendfileNotAvailableError):
                        await loop.sendfile(protocol.transport, io.BytesIO(DATA), fallback=False)
                    with pytest.raises(asyncio.SendfileNotAvailableError):
                        await loop.sock_sendfile(sock, io.BytesIO(DATA), fallback=False)
                assert file.tell() == 0
                assert protocol.transport.is_reading()
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                    datagrams.setblocking(False)
                    with pytest.raises(ValueError, match="SOCK_STREAM"):
                        await loop.sock_sendfile(datagrams, file)
                protocol.transport.close()
                with pytest.raises(RuntimeError, match="Transport is closing"):
                    await loop.sendfile(protocol.transport, file)

    run(main())


def test_a_transport_that_cannot(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        with open(path, "rb") as file, pytest.raises(RuntimeError, match="sendfile is not supported"):
            await loop.sendfile(transport, file)
        transport.close()
        await turns()

    run(main())


def test_a_blocking_socket_in_debug_mode(run: Any, path: Path) -> None:
    async def main() -> None:
        one, two = socket.socketpair()
        with one, two, open(path, "rb") as file, pytest.raises(ValueError, match="must be non-blocking"):
            await asyncio.get_running_loop().sock_sendfile(one, file)

    run(main(), debug=True)


# ---- bare sockets ----


def test_a_bare_socket_sends_in_order_with_sendall(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, two = socket.socketpair()
        with one, two, open(path, "rb") as file:
            one.setblocking(False)
            two.setblocking(False)
            reading = loop.create_task(receive(two, len(DATA) + 10 + len(DATA)))
            await loop.sock_sendall(one, b"befor")
            assert await loop.sock_sendfile(one, file) == len(DATA)
            await loop.sock_sendall(one, b"after")
            assert await loop.sock_sendfile(one, io.BytesIO(DATA)) == len(DATA)
            assert await reading == b"befor" + DATA + b"after" + DATA

    run(main())


@pytest.mark.extra("asyncio mixes them")
def test_two_calls_at_once_do_not_mix(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, two = socket.socketpair()
        with one, two, open(path, "rb") as file:
            one.setblocking(False)
            two.setblocking(False)
            first = loop.create_task(loop.sock_sendfile(one, file, 0, 1_000_000))
            second = loop.create_task(loop.sock_sendall(one, b"x" * 1_000_000))
            assert await receive(two, 2_000_000) == DATA[:1_000_000] + b"x" * 1_000_000
            await asyncio.gather(first, second)

    run(main())


@pytest.mark.extra("asyncio leaves the file's position where it was")
def test_a_bare_socket_is_free_again_after_cancellation(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, two = socket.socketpair()
        with one, two, open(path, "rb") as file:
            one.setblocking(False)
            two.setblocking(False)
            task = loop.create_task(loop.sock_sendfile(one, file))
            await turns(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not loop.remove_writer(one)
            sent = file.tell()
            got = await receive(two, sent) if sent else b""
            assert got == DATA[:sent]
            await loop.sock_sendall(one, b"after")
            assert await receive(two, 5) == b"after"

    run(main())


def test_the_peer_of_a_bare_socket_goes(run: Any, path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for at_once in (True, False):
            one, two = socket.socketpair()
            with one, two, open(path, "rb") as file:
                one.setblocking(False)
                two.setblocking(False)
                if at_once:
                    two.close()
                task = loop.create_task(loop.sock_sendfile(one, file))
                await turns(3)
                two.close()
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(LIMIT):
                        await task

    run(main())


@pytest.mark.extra("asyncio reads the file in the default executor, behind whatever is there")
def test_no_thread_is_needed_where_the_kernel_sends(run: Any, path: Path) -> None:
    async def main() -> None:
        before = threading.active_count()
        async with connected() as (protocol, other):
            with open(path, "rb") as file:
                await sending(protocol, other, len(DATA), file)
            await sending(protocol, other, 1000, io.BytesIO(DATA), 0, 1000)
        assert threading.active_count() == before

    run(main())
