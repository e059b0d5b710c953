"""asyncio's own streams on a loop: what they read, and that nobody can tell who does the work behind them."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers import LIMIT, turns

pytestmark = pytest.mark.usefixtures("no_leaks")


@asynccontextmanager
async def stream(limit: int = 65536) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]]:
    """A stream of asyncio's, and the other end of its connection, a blocking socket."""
    ours, other = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=limit)
    try:
        yield reader, writer, other
    finally:
        writer.close()
        other.close()
        await turns(4)


async def until_buffered(reader: asyncio.StreamReader, size: int) -> None:
    async with asyncio.timeout(LIMIT):
        while len(reader._buffer) < size:  # type: ignore[attr-defined]
            await asyncio.sleep(0)


def test_every_kind_of_read(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other), asyncio.timeout(LIMIT):
            assert isinstance(reader, asyncio.StreamReader)
            other.sendall(b"line\nexact|until|one\ntwo\nthe rest")
            other.shutdown(socket.SHUT_WR)
            assert await reader.readline() == b"line\n"
            assert await reader.readexactly(5) == b"exact"
            assert await reader.readuntil(b"|") == b"|"
            assert await reader.readuntil(b"|") == b"until|"
            assert await reader.read(0) == b""
            async for line in reader:
                assert line == b"one\n"
                break
            assert not reader.at_eof()
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(100)
            assert (caught.value.partial, caught.value.expected) == (b"two\nthe rest", 100)
            assert reader.at_eof()
            assert await reader.read() == b"" == await reader.read(5) == await reader.readline()
            assert reader.exception() is None

    run(main())


def test_reads_given_to_tasks_and_combinators(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other), asyncio.timeout(LIMIT):
            task = asyncio.create_task(reader.readexactly(3))
            await turns()
            other.sendall(b"abcdef\n")
            assert await task == b"abc"
            assert await asyncio.wait_for(reader.readline(), LIMIT) == b"def\n"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.001)
            other.sendall(b"x")
            assert await asyncio.gather(reader.read(1), asyncio.sleep(0, "y")) == [b"x", "y"]

    run(main())


def test_a_second_reader_is_told(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other):
            first = asyncio.create_task(reader.read(1))
            await turns()
            with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
                await reader.read(1)
            first.cancel()
            await asyncio.wait([first])

    run(main())


def test_limits_and_their_errors(run: Any) -> None:
    async def main() -> None:
        async with stream(limit=8) as (reader, writer, other), asyncio.timeout(LIMIT):
            other.sendall(b"0123456789\nshort\n")
            with pytest.raises(asyncio.LimitOverrunError):
                await reader.readuntil(b"\n")
            with pytest.raises(ValueError):
                await reader.readline()
            assert await reader.readline() == b"short\n"

    run(main())


def test_who_does_not_read_stops_the_peer(run: Any) -> None:
    async def main() -> None:
        async with stream(limit=1000) as (reader, writer, other), asyncio.timeout(LIMIT):
            other.setblocking(False)
            sent = 0
            idle = 0
            while idle < 20:
                try:
                    sent += other.send(bytes(10_000))
                    idle = 0
                except BlockingIOError:
                    idle += 1
                await turns()
            assert not writer.transport.is_reading()
            assert len(await reader.readexactly(sent)) == sent
            assert writer.transport.is_reading()

    run(main())


def test_an_error_of_the_connection_is_raised_by_reads(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other):
            waiting = asyncio.create_task(reader.read(1))
            await turns()
            reader.set_exception(ZeroDivisionError())
            for _ in range(2):
                with pytest.raises(ZeroDivisionError):
                    await waiting
                waiting = asyncio.create_task(reader.readline())
            assert isinstance(reader.exception(), ZeroDivisionError)

    run(main())


def test_a_stream_that_only_its_reading_task_holds_is_read_to_the_end(run: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()

        streams = [await asyncio.open_unix_connection(sock=ours)]
        writer = streams[0][1]

        async def read() -> bytes:
            return await streams.pop()[0].read()

        task = asyncio.create_task(read())
        await turns(6)
        gc.collect()
        other.sendall(b"all")
        other.close()
        async with asyncio.timeout(LIMIT):
            assert await task == b"all"
        writer.close()
        await turns()

    run(main())


def test_the_private_buffer_is_there_and_may_be_changed(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other), asyncio.timeout(LIMIT):
            inside: Any = reader
            other.sendall(b"secret\npublic\n")
            await until_buffered(reader, 14)
            assert isinstance(inside._buffer, bytearray)
            del inside._buffer[:7]
            other.sendall(b"more\n")
            assert await reader.readline() == b"public\n"
            assert await reader.readline() == b"more\n"
            inside._buffer.extend(b"put in\n")
            assert await reader.readline() == b"put in\n"
            assert inside._limit == 65536 and not inside._eof and not inside._paused and inside._waiter is None
            assert inside._transport is writer.transport

    run(main())


def test_the_private_buffer_can_be_seen_while_somebody_waits(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other), asyncio.timeout(LIMIT):
            task = asyncio.create_task(reader.readexactly(6))
            await turns()
            other.sendall(b"abc")
            await until_buffered(reader, 3)
            assert reader._buffer == b"abc"  # type: ignore[attr-defined]
            other.sendall(b"def")
            assert await task == b"abcdef"

    run(main())


def test_changed_subclassed_and_used_readers_stay_what_they_are(run: Any) -> None:
    class Reader(asyncio.StreamReader):
        fed = b""

        def feed_data(self, data: bytes) -> None:
            self.fed += data
            super().feed_data(data)

    class Protocol(asyncio.StreamReaderProtocol):
        pass

    async def connect(reader: asyncio.StreamReader, kind: Any = asyncio.StreamReaderProtocol) -> socket.socket:
        loop = asyncio.get_running_loop()
        ours, other = socket.socketpair()
        transport, _ = await loop.create_unix_connection(lambda: kind(reader), sock=ours)
        transports.append(transport)
        others.append(other)
        other.sendall(b"data\n")
        return other

    transports: list[Any] = []
    others: list[socket.socket] = []

    async def main() -> None:
        async with asyncio.timeout(LIMIT):
            own = Reader()
            await connect(own)
            assert await own.readline() == b"data\n" == own.fed and type(own) is Reader
            plain = asyncio.StreamReader()
            await connect(plain, Protocol)
            assert await plain.readline() == b"data\n" and type(plain) is asyncio.StreamReader
            used = asyncio.StreamReader()
            used.feed_data(b"before ")
            await connect(used)
            assert await used.readline() == b"before data\n" and type(used) is asyncio.StreamReader
            patched: Any = asyncio.StreamReader()
            patched.feed_data = lambda data: asyncio.StreamReader.feed_data(patched, data.upper())
            await connect(patched)
            assert await patched.readline() == b"DATA\n"
            with pytest.MonkeyPatch.context() as patch:
                original = asyncio.StreamReader.feed_data
                patch.setattr(asyncio.StreamReader, "feed_data", lambda self, data: original(self, data[::-1]))
                instrumented = asyncio.StreamReader()
                await connect(instrumented)
                assert await instrumented.readuntil(b"d") == b"\natad"
        for transport, other in zip(transports, others, strict=True):
            transport.close()
            other.close()
        await turns(4)

    run(main())


@pytest.mark.extra("asyncio has no other reader")
def test_the_work_is_done_by_the_runtimes_reader(run: Any) -> None:
    async def main() -> None:
        async with stream() as (reader, writer, other):
            assert type(reader) is not asyncio.StreamReader and type(reader).__mro__[1] is asyncio.StreamReader
            assert type(reader).__qualname__ == "StreamReader" and repr(reader).startswith("<StreamReader transport=")
            assert reader._buffer == bytearray()  # type: ignore[attr-defined]
            assert type(reader) is asyncio.StreamReader

    run(main())


def test_a_reader_that_is_dropped_is_freed_at_once(run: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        other.sendall(b"x")
        await reader.read(1)
        freed = weakref.ref(reader)
        transport = writer.transport
        del reader, writer
        assert freed() is None
        transport.close()
        other.close()
        await turns()

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(st.binary(max_size=40).map(lambda b: bytes(b"ab\n-"[byte % 4] for byte in b)), max_size=12),
    limit=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_it_reads_what_asyncios_own_reader_reads(run: Any, chunks: list[bytes], limit: int, seed: int) -> None:
    class Protocol(asyncio.StreamReaderProtocol):
        """As it isn't exactly asyncio's, its reader stays asyncio's."""

    async def play(kind: Any) -> list[Any]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit)
        ours, other = socket.socketpair()
        other.sendall(b"".join(chunks))
        other.shutdown(socket.SHUT_WR)
        transport, _ = await loop.create_unix_connection(lambda: kind(reader), sock=ours)
        chance = random.Random(seed)
        results: list[Any] = []
        for _ in range(30):
            name, *arguments = chance.choice(
                [("read", chance.randrange(20)), ("readexactly", chance.randrange(20)), ("readline",), ("readuntil", b"ab")]
            )
            try:
                results.append(await getattr(reader, name)(*arguments))
            except asyncio.IncompleteReadError as e:
                results.append(("incomplete", e.partial, e.expected))
            except asyncio.LimitOverrunError as e:
                results.append(("overrun", e.consumed, str(e)))
            except ValueError as e:
                results.append(("value", str(e)))
        results += [await reader.read(), reader.at_eof()]
        transport.close()
        other.close()
        await turns()
        return results

    async def main() -> None:
        async with asyncio.timeout(LIMIT):
            assert await play(asyncio.StreamReaderProtocol) == await play(Protocol)

    run(main())
