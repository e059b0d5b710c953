"""TLS: flow control, protocols of every kind above, what is written and how it arrives."""

from __future__ import annotations

import array
import asyncio
import hashlib
import random
from typing import Any

import pytest
from peers import LIMIT, Recorder, lost, reports, turns
from tls_peer import Peer, client_context, pair, secured, server_context


class Filling(asyncio.BufferedProtocol):
    """Takes what comes into a buffer of `size` bytes, which it makes anew each time; stops when told to."""

    size = 4096

    def __init__(self) -> None:
        self.received = b""
        self.fills: list[int] = []
        self.hints: list[int] = []
        self.events: list[str] = []
        self.news = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> Any:
        self.hints.append(sizehint)
        self.buffer = bytearray(self.size)
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.fills.append(nbytes)
        self.received += self.buffer[:nbytes]
        self.news.set()

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def until(self, size: int) -> None:
        async with asyncio.timeout(LIMIT):
            while len(self.received) < size:
                self.news.clear()
                await self.news.wait()


def test_everything_written_arrives_in_order(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            expected = []
            for i in range(300):
                piece = bytes([i % 256]) * (i * 37 % 5000)
                transport.write(piece)
                expected.append(piece)
            changed = bytearray(b"mutable " * 20_000)
            expected.append(bytes(changed))
            transport.write(changed)
            changed[:] = b"X" * len(changed)
            transport.writelines([b"one", bytearray(b"two"), memoryview(b"three"), b""])
            expected.append(b"onetwothree")
            transport.writelines(iter([b"a" * 70_000, b"b" * 10]))
            expected.append(b"a" * 70_000 + b"b" * 10)
            transport.write(b"")
            everything = b"".join(expected)
            assert await peer.receive(len(everything)) == everything

    run(main())


@pytest.mark.extra("asyncio counts items for bytes, wants them side by side, and loses the connection")
@pytest.mark.parametrize("size", [4, 30_000])
def test_a_memoryview_of_any_shape_is_written_as_its_bytes(run: Any, size: int) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            numbers = array.array("I", range(size))
            protocol.transport.write(memoryview(numbers))
            every_second = memoryview(bytes(size))[::2]
            protocol.transport.write(every_second)
            assert await peer.receive(4 * size + size // 2) == numbers.tobytes() + bytes(every_second)

    run(main())


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]])
def test_what_is_not_bytes_is_refused(run: Any, data: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            with pytest.raises(TypeError):
                protocol.transport.write(data)
            protocol.transport.write(b"ok")
            assert await peer.receive(2) == b"ok"

    run(main())


def test_a_protocol_is_told_to_stop_and_to_go_on_writing(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            transport.set_write_buffer_limits(high=100_000)
            assert transport.get_write_buffer_limits() == (25_000, 100_000)
            written = 0
            while not protocol.paused:
                transport.write(b"w" * 50_000)
                written += 50_000
                assert written < 50_000_000
            assert transport.get_write_buffer_size() > 100_000
            assert await peer.receive(written) == b"w" * written
            await protocol.until(lambda: not protocol.paused)
            assert transport.get_write_buffer_size() <= 25_000
            assert [event for event in protocol.events if event in ("pause", "resume")] == ["pause", "resume"]

    run(main())


def test_a_protocol_is_told_to_stop_within_data_received(run: Any) -> None:
    async def main() -> None:
        class Flooding(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                while not self.paused:
                    self.transport.write(b"f" * 100_000)
                    self.written += 100_000

            written = 0

        async with secured(Flooding) as (protocol, peer):
            told = reports()
            await peer.send(b"go")
            await protocol.until(lambda: protocol.paused)
            assert await peer.receive(protocol.written) == b"f" * protocol.written
            await protocol.until(lambda: not protocol.paused)
            assert told == []

    run(main())


@pytest.mark.extra("asyncio buffers without bound until the handshake is over")
def test_what_waits_for_the_handshake_counts(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, other = pair()
        _, protocol = await loop.create_connection(Recorder, sock=ours)
        peer = Peer(other, server_side=True)
        upgrade = loop.create_task(
            loop.start_tls(protocol.transport, protocol, client_context(), server_hostname="localhost")
        )
        await turns(1)
        transport = protocol.transport.get_protocol()
        data = b"early " * 200_000
        transport.write(data)
        assert protocol.paused and transport.get_write_buffer_size() == len(data)
        await peer.handshake()
        assert await upgrade is transport
        assert await peer.receive(len(data)) == data
        await protocol.until(lambda: not protocol.paused)
        transport.abort()
        await lost(protocol)
        peer.close()

    run(main())


def test_limits_that_make_no_sense_are_refused(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            for limits in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
                with pytest.raises(ValueError):
                    transport.set_write_buffer_limits(**limits)
                with pytest.raises(ValueError):
                    transport.set_read_buffer_limits(**limits)
            transport.set_write_buffer_limits(low=10)
            assert transport.get_write_buffer_limits() == (10, 40)
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            transport.set_read_buffer_limits(low=100)
            assert transport.get_read_buffer_limits() == (100, 400)

    run(main())


def test_nothing_is_delivered_while_reading_is_paused_and_nothing_is_lost(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            await peer.send(b"one")
            await peer.send(b"two")
            async with asyncio.timeout(LIMIT):
                while transport.get_read_buffer_size() < 50:
                    await asyncio.sleep(0)
            assert protocol.data == b""
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            await protocol.until(lambda: protocol.data == b"onetwo")

    run(main())


def test_while_reading_is_paused_no_more_than_the_limit_is_kept(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            transport = protocol.transport
            transport.set_read_buffer_limits(high=50_000)
            transport.pause_reading()
            data = random.Random(1).randbytes(10_000_000)
            sending = asyncio.ensure_future(peer.send(data))
            await asyncio.sleep(0.2)
            assert not sending.done()
            assert transport.get_read_buffer_size() < 500_000
            transport.resume_reading()
            await sending
            await protocol.until(lambda: len(protocol.data) == len(data))
            assert hashlib.sha256(protocol.data).digest() == hashlib.sha256(data).digest()

    run(main())


def test_a_protocol_that_pauses_in_data_received_gets_the_rest_later(run: Any) -> None:
    async def main() -> None:
        class Sipping(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)

        async with secured(Sipping) as (protocol, peer):
            data = random.Random(2).randbytes(1_000_000)
            await peer.send(data)
            await peer.close_notify()
            assert await lost(protocol) is None
            assert protocol.data == data

    run(main())


def test_the_end_of_the_stream_waits_until_reading_goes_on(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            protocol.transport.pause_reading()
            await peer.send(b"the last bytes")
            peer.sock.shutdown(1)
            await asyncio.sleep(0.02)
            assert protocol.events == ["made"]
            protocol.transport.resume_reading()
            assert await lost(protocol) is None
            assert protocol.events == ["made", b"the last bytes", "eof", "lost"]

    run(main())


@pytest.mark.parametrize("size", [7, 4096, 200_000])
def test_a_buffered_protocol_gets_everything(run: Any, size: int) -> None:
    async def main() -> None:
        async with secured(Filling) as (protocol, peer):
            protocol.size = size
            data = random.Random(size).randbytes(min(size * 1000, 1_000_000))
            await peer.send(data)
            await protocol.until(len(data))
            assert protocol.received == data
            assert max(protocol.fills) <= size
            assert all(isinstance(hint, int) for hint in protocol.hints)
            await peer.close_notify()
            assert await lost(protocol) is None
            assert protocol.events == ["eof"]

    run(main())


@pytest.mark.extra("asyncio takes the slices of a bytearray for the bytearray, and loses data")
def test_a_buffered_protocol_may_give_a_bytearray_and_change_its_size_later(run: Any) -> None:
    async def main() -> None:
        class Growing(Filling):
            size = 100_000

            def get_buffer(self, sizehint: int) -> Any:
                super().get_buffer(sizehint)
                return self.buffer

            def buffer_updated(self, nbytes: int) -> None:
                super().buffer_updated(nbytes)
                self.buffer.extend(b"!")

        async with secured(Growing) as (protocol, peer):
            data = random.Random(4).randbytes(500_000)
            await peer.send(data)
            await protocol.until(len(data))
            assert protocol.received == data

    run(main())


@pytest.mark.extra("asyncio takes an empty buffer for the end of the stream")
def test_a_buffered_protocol_without_room_is_an_error(run: Any) -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with secured(Filling) as (protocol, peer):
            protocol.size = 0
            await peer.send(b"data")
            assert isinstance(await lost(protocol), RuntimeError)
            assert told[0]["message"] == "Fatal error: protocol.get_buffer() call failed."

    run(main())


def test_the_protocol_can_be_exchanged_for_one_of_another_kind(run: Any) -> None:
    async def main() -> None:
        async with secured() as (protocol, peer):
            await peer.send(b"for the first")
            await protocol.until(lambda: protocol.data == b"for the first")
            second = Filling()
            second.connection_made(protocol.transport)
            protocol.transport.set_protocol(second)
            assert protocol.transport.get_protocol() is second
            await peer.send(b"for the second")
            await second.until(14)
            third = Recorder()
            second.transport.set_protocol(third)
            await peer.send(b"for the third")
            await third.until(lambda: third.data == b"for the third")
            assert second.received == b"for the second" and protocol.data == b"for the first"

    run(main())


def test_a_stream_reader_bounds_what_it_buffers(run: Any, aio: Any) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def serve(reader: Any, writer: Any) -> None:
            await done.wait()
            data = await reader.readexactly(20_000_000)
            writer.write(hashlib.sha256(data).digest())
            writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname(), ssl=client_context())
        data = random.Random(3).randbytes(20_000_000)
        writer.write(data)
        await asyncio.sleep(0.1)
        below = writer.transport._ssl_protocol._transport
        assert writer.transport.get_write_buffer_size() + below.get_write_buffer_size() > 0
        done.set()
        async with asyncio.timeout(LIMIT):
            await writer.drain()
            assert await reader.read() == hashlib.sha256(data).digest()
        writer.close()
        server.close()

    run(main())


def test_readline_and_readexactly_over_tls(run: Any, aio: Any) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            async for line in reader:
                writer.write(b"%d " % len(line) + line)
                await writer.drain()
            writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        async with asyncio.timeout(LIMIT):
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname(), ssl=client_context())
            writer.writelines(b"x" * n + b"\n" for n in range(500))
            for n in range(500):
                assert await reader.readline() == b"%d " % (n + 1) + b"x" * n + b"\n"
            writer.close()
            await writer.wait_closed()
        server.close()

    run(main())


def test_two_peers_that_write_before_they_read_do_not_block_each_other(run: Any, aio: Any) -> None:
    async def main() -> None:
        size = 3_000_000

        async def exchange(reader: Any, writer: Any) -> None:
            writer.write(b"z" * size)
            assert await reader.readexactly(size) == b"z" * size
            await writer.drain()
            writer.close()

        served = asyncio.get_running_loop().create_future()

        async def serve(reader: Any, writer: Any) -> None:
            await exchange(reader, writer)
            served.set_result(None)

        server = await aio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        async with asyncio.timeout(LIMIT):
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname(), ssl=client_context())
            await exchange(reader, writer)
            await served
        server.close()
        await turns()

    run(main())
