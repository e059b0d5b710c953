"""Flow control: a peer that doesn't read pauses the writer, a program that doesn't read pauses the peer."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any

import pytest
from peers import LIMIT, Recorder, connected, lost, receive, reports, reset, send, turns

pytestmark = pytest.mark.usefixtures("no_leaks")

KIB = 1024
MIB = 1024 * KIB


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# ---- transports ----


def test_a_peer_that_stops_reading_pauses_the_protocol_until_it_reads_again(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            sent = 0
            while not protocol.paused:
                transport.write(b"x" * 10_000)
                sent += 10_000
                await asyncio.sleep(0)
                assert sent < 50 * MIB
            low, high = transport.get_write_buffer_limits()
            assert (low, high) == (16 * KIB, 64 * KIB)
            assert high < transport.get_write_buffer_size() <= high + 10_000
            await asyncio.sleep(0.02)
            assert protocol.events == ["made", "pause"]
            assert await receive(other, sent) == b"x" * sent
            await protocol.until(lambda: not protocol.paused)
            assert protocol.events == ["made", "pause", "resume"]
            assert transport.get_write_buffer_size() <= low

    run(main())


def test_pause_writing_comes_from_within_write(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, _):
            protocol.transport.write(b"x" * (20 * MIB))
            assert protocol.events == ["made", "pause"]
            protocol.transport.write(b"more")
            assert protocol.events == ["made", "pause"]

    run(main())


def test_resume_writing_may_write(run: Any) -> None:
    class Feeding(Recorder):
        left = 5

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(bytes([self.left]) * (4 * MIB))
            else:
                self.transport.write(b"end")
                self.transport.close()

    async def main() -> None:
        async with connected(Feeding) as (protocol, other):
            # without a size of its own the socket's buffer grows, and may take all
            protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * KIB)
            protocol.transport.write(b"x" * (4 * MIB))
            expected = b"".join(bytes([n]) * (4 * MIB) for n in (ord("x"), 4, 3, 2, 1, 0)) + b"end"
            assert await receive(other, len(expected) + 1) == expected
            assert await lost(protocol) is None
            assert protocol.events == ["made", *["pause", "resume"] * 6, "lost"]

    run(main())


def test_limits(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, _):
            transport = protocol.transport
            for arguments, limits in (
                ({"high": 1000}, (250, 1000)),
                ({"low": 100}, (100, 400)),
                ({"high": 1000, "low": 1000}, (1000, 1000)),
                ({"high": 0}, (0, 0)),
                ({}, (16 * KIB, 64 * KIB)),
            ):
                transport.set_write_buffer_limits(**arguments)
                assert transport.get_write_buffer_limits() == limits
            for bad in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
                with pytest.raises(ValueError, match="must be >= low"):
                    transport.set_write_buffer_limits(**bad)
            assert transport.get_write_buffer_limits() == (16 * KIB, 64 * KIB)

    run(main())


def test_a_limit_of_0_pauses_only_when_the_socket_takes_no_more(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            transport.set_write_buffer_limits(0)
            for _ in range(10):
                transport.write(b"small")
                assert transport.get_write_buffer_size() == 0
            assert protocol.events == ["made"]
            assert other.recv(100) == b"small" * 10
            transport.write(b"x" * (20 * MIB))
            assert protocol.paused
            await receive(other, 20 * MIB)
            await protocol.until(lambda: not protocol.paused)

    run(main())


def test_a_lowered_limit_pauses_at_once(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            transport.set_write_buffer_limits(100 * MIB)
            transport.write(b"x" * (20 * MIB))
            assert protocol.events == ["made"]
            transport.set_write_buffer_limits(10)
            assert protocol.events == ["made", "pause"]
            await receive(other, 20 * MIB)
            await protocol.until(lambda: not protocol.paused)

    run(main())


@pytest.mark.parametrize("where", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises_is_reported_and_the_connection_goes_on(run: Any, where: str) -> None:
    error = ZeroDivisionError()

    def fail() -> None:
        raise error

    async def main() -> None:
        told = reports()
        async with connected() as (protocol, other):
            setattr(protocol, where, fail)
            data = os.urandom(20 * MIB)
            protocol.transport.write(data)
            assert await receive(other, len(data)) == data
            await turns()
            (context,) = told
            assert context["message"] == f"protocol.{where}() failed"
            assert context["exception"] is error and context["transport"] is protocol.transport
            await send(other, b"alive")
            await protocol.until(lambda: protocol.data == b"alive")

    run(main())


def test_many_pieces_queued_behind_a_peer_that_does_not_read(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            transport.set_write_buffer_limits(1 << 30)
            transport.write(b"x" * (8 * MIB))
            expected = [b"x" * (8 * MIB)]
            for number in range(5000):
                for piece in (b"%d," % number, b"-" * (number % 3000)):
                    transport.write(piece)
                    expected.append(piece)
            data = b"".join(expected)
            assert await receive(other, len(data)) == data

    run(main())


# ---- streams, reading ----


async def stream(aio: Any, limit: int = 64 * KIB) -> Any:
    """(reader, writer, the other end as a socket)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    ours.setblocking(False)
    other.setblocking(False)
    reader, writer = await aio.open_connection(sock=ours, limit=limit)
    return reader, writer, other


async def finish(writer: Any, other: socket.socket) -> None:
    other.close()
    writer.transport.abort()
    await turns(4)


def test_a_reader_that_nobody_reads_pauses_its_transport_and_keeps_memory_bounded(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader, writer, other = await stream(aio)
        before = resident()
        total = 64 * MIB
        sender = asyncio.ensure_future(send(other, b"x" * total))
        await asyncio.sleep(0.1)
        assert not writer.transport.is_reading()
        assert resident() - before < 70 * MIB  # of which 64 are what is being sent
        buffered = len(reader._buffer)
        assert 128 * KIB < buffered <= (128 + 256) * KIB
        await asyncio.sleep(0.05)
        assert len(reader._buffer) == buffered
        got = 0
        while got < total:
            got += len(await reader.read(MIB))
        await sender
        assert writer.transport.is_reading()
        await finish(writer, other)

    run(main())


def test_a_reader_is_resumed_when_it_is_read_down_to_its_limit(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader, writer, other = await stream(aio, limit=1000)
        await send(other, b"x" * 10_000)
        async with asyncio.timeout(LIMIT):
            while writer.transport.is_reading():
                await asyncio.sleep(0.001)
        buffered = len(reader._buffer)
        assert buffered > 2000
        await reader.readexactly(buffered - 1001)
        assert not writer.transport.is_reading()
        await reader.readexactly(1)
        assert writer.transport.is_reading()
        await finish(writer, other)

    run(main())


def test_more_than_the_limit_can_be_read_exactly_and_until_the_end(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader, writer, other = await stream(aio, limit=1000)
        data = os.urandom(3 * MIB)

        async def sender() -> None:
            await send(other, data)
            other.shutdown(socket.SHUT_WR)

        sending = asyncio.ensure_future(sender())
        assert await reader.readexactly(2 * MIB) == data[: 2 * MIB]
        assert await reader.read() == data[2 * MIB :]
        assert await reader.read() == b""
        await sending
        await finish(writer, other)

    run(main())


@pytest.mark.skipif("GLASSLOOP_SANITIZE" in os.environ, reason="the address sanitizer keeps what was freed for a while")
def test_a_peer_that_sends_byte_by_byte_costs_no_more_memory_than_its_bytes(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = aio.StreamReader(limit=MIB)
        before = resident()
        for _ in range(MIB):
            reader.feed_data(b"xy")
        assert resident() - before < 16 * MIB
        assert len(await reader.readexactly(2 * MIB)) == 2 * MIB

    run(main())


# ---- streams, writing ----


def test_drain_waits_while_the_peer_does_not_read(run: Any, aio: Any) -> None:
    async def main() -> None:
        _, writer, other = await stream(aio)
        writer.write(b"x" * (8 * MIB))
        drain = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0.02)
        assert not drain.done()
        await receive(other, 8 * MIB)
        async with asyncio.timeout(LIMIT):
            await drain
        await finish(writer, other)

    run(main())


def test_a_writer_that_drains_keeps_memory_bounded(run: Any, aio: Any) -> None:
    async def main() -> None:
        _, writer, other = await stream(aio)
        sent = 0

        async def pump() -> None:
            nonlocal sent
            while True:
                writer.write(b"x" * 100_000)
                sent += 100_000
                await writer.drain()

        pumping = asyncio.ensure_future(pump())
        before = resident()
        await asyncio.sleep(0.1)
        assert writer.transport.get_write_buffer_size() < 200_000
        assert resident() - before < 20 * MIB
        stuck = sent
        await asyncio.sleep(0.05)
        assert sent == stuck
        await receive(other, stuck)
        async with asyncio.timeout(LIMIT):
            while sent == stuck:
                await asyncio.sleep(0.001)
        pumping.cancel()
        await asyncio.wait([pumping])
        await finish(writer, other)

    run(main())


def test_several_tasks_may_drain_and_one_that_is_cancelled_harms_no_other(run: Any, aio: Any) -> None:
    async def main() -> None:
        _, writer, other = await stream(aio)
        writer.write(b"x" * (8 * MIB))
        drains = [asyncio.ensure_future(writer.drain()) for _ in range(10)]
        await turns()
        drains[0].cancel()
        drains[5].cancel()
        await receive(other, 8 * MIB)
        async with asyncio.timeout(LIMIT):
            results = await asyncio.gather(*drains, return_exceptions=True)
        assert [type(result) for result in results].count(type(None)) == 8
        assert isinstance(results[0], asyncio.CancelledError) and isinstance(results[5], asyncio.CancelledError)
        await finish(writer, other)

    run(main())


def test_drain_ends_when_the_connection_is_lost(run: Any, aio: Any) -> None:
    async def main() -> None:
        _, writer, other = await stream(aio)
        writer.write(b"x" * (8 * MIB))
        drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        await turns()
        reset(other)
        async with asyncio.timeout(LIMIT):
            results = await asyncio.gather(*drains, return_exceptions=True)
        assert all(isinstance(result, ConnectionResetError) for result in results)
        with pytest.raises(ConnectionResetError):
            await writer.drain()

    run(main())


def test_a_loop_of_write_and_drain_notices_that_the_peer_is_gone(run: Any, aio: Any) -> None:
    async def main() -> None:
        _, writer, other = await stream(aio)
        writer.transport.pause_reading()
        other.close()
        async with asyncio.timeout(LIMIT):
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()

    run(main())


def test_what_was_written_is_sent_when_drain_returns(run: Any, aio: Any) -> None:
    async def main() -> None:
        _, writer, other = await stream(aio)
        writer.write(b"head")
        writer.write(b"body")
        await writer.drain()
        assert other.recv(8) == b"headbody"
        await finish(writer, other)

    run(main())
