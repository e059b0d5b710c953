"""Pipe transports: what is read and written, flow control, and every way in which a pipe ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import socket
import tty
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import LIMIT, Recorder, lost, reports, turns

pytestmark = pytest.mark.usefixtures("no_leaks")

MANY = 3_000_000  # bytes: more than a pipe holds


@contextlib.contextmanager
def pipe() -> Iterator[tuple[Any, Any]]:
    """(read end, write end) as unbuffered files, closed at the end."""
    read_fd, write_fd = os.pipe()
    with open(read_fd, "rb", 0) as reader, open(write_fd, "wb", 0) as writer:
        yield reader, writer


async def reading(source: Any) -> tuple[Any, Any]:
    return await asyncio.get_running_loop().connect_read_pipe(Recorder, source)


async def writing(target: Any) -> tuple[Any, Any]:
    return await asyncio.get_running_loop().connect_write_pipe(Recorder, target)


async def fill(transport: Any) -> int:
    """Write until something is queued; how many bytes in all."""
    total = 0
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 4096)
        total += 4096
    return total


def take_all(fd: int) -> bytes:
    """What is in a pipe now."""
    os.set_blocking(fd, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(fd, 1 << 20):
            data += more
    return data


# ---- reading ----


def test_what_is_read_then_the_end(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await reading(reader)
            assert protocol.events == ["made"] and protocol.transport is transport
            os.write(writer.fileno(), b"one")
            await protocol.until(lambda: protocol.data == b"one")
            os.write(writer.fileno(), b"two")
            await protocol.until(lambda: protocol.data == b"onetwo")
            writer.close()
            assert await lost(protocol) is None
            await turns()
            assert protocol.events == ["made", b"one", b"two", "eof", "lost"]
            assert transport.is_closing() and reader.closed

    run(main())


def test_the_end_closes_though_the_protocol_would_keep_it_open(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            _, protocol = await reading(reader)
            protocol.keep_open = True
            writer.close()
            assert await lost(protocol) is None

    run(main())


def test_faces_and_extra_information(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            (source, read_protocol), (target, write_protocol) = await reading(reader), await writing(writer)
            assert isinstance(source, asyncio.ReadTransport) and isinstance(target, asyncio.WriteTransport)
            assert not isinstance(source, asyncio.WriteTransport)
            assert source.get_extra_info("pipe") is reader and target.get_extra_info("pipe") is writer
            assert source.get_extra_info("peername", "none") == "none"
            assert source.get_protocol() is read_protocol and target.get_protocol() is write_protocol
            assert target.can_write_eof()
            assert not os.get_blocking(reader.fileno()) and not os.get_blocking(writer.fileno())
            assert f"fd={reader.fileno()}" in repr(source) and "bufsize=0" in repr(target)
            target.close()
            assert "closing" in repr(target)
            assert await lost(read_protocol) is None
            await turns()
            assert "closed" in repr(source) and "closed" in repr(target)

    run(main())


def test_nothing_is_read_while_paused(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await reading(reader)
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            os.write(writer.fileno(), b"later")
            await turns(10)
            assert protocol.data == b""
            transport.resume_reading()
            transport.resume_reading()
            await protocol.until(lambda: protocol.data == b"later")
            transport.close()
            transport.pause_reading()
            transport.resume_reading()
            assert not transport.is_reading()
            assert await lost(protocol) is None

    run(main())


def test_paused_in_connection_made(run: Any) -> None:
    async def main() -> None:
        class Paused(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                transport.pause_reading()

        with pipe() as (reader, writer):
            os.write(writer.fileno(), b"early")
            transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Paused, reader)
            await turns(10)
            assert protocol.data == b""
            transport.resume_reading()
            await protocol.until(lambda: protocol.data == b"early")
            transport.close()
            await lost(protocol)

    run(main())


def test_a_closed_reader_reads_no_more(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await reading(reader)
            os.write(writer.fileno(), b"never seen")
            transport.close()
            transport.close()
            assert await lost(protocol) is None
            await turns()
            assert protocol.events == ["made", "lost"] and reader.closed

    run(main())


def test_another_protocol_goes_on(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, first = await reading(reader)
            second = Recorder()
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            os.write(writer.fileno(), b"data")
            await second.until(lambda: second.data == b"data")
            writer.close()
            assert await lost(second) is None
            assert first.events == ["made"]

    run(main())


def test_a_failing_data_received_is_reported_and_the_pipe_goes_on(run: Any) -> None:
    async def main() -> None:
        class Failing(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                raise ZeroDivisionError(data)

        told = reports()
        with pipe() as (reader, writer):
            _, protocol = await asyncio.get_running_loop().connect_read_pipe(Failing, reader)
            os.write(writer.fileno(), b"a")
            await protocol.until(lambda: protocol.data == b"a")
            os.write(writer.fileno(), b"b")
            await protocol.until(lambda: protocol.data == b"ab")
            writer.close()
            assert await lost(protocol) is None
            assert [type(context["exception"]) for context in told] == [ZeroDivisionError] * 2

    run(main())


def test_all_of_a_large_stream_arrives(run: Any, aio: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            stream = aio.StreamReader()
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: aio.StreamReaderProtocol(stream), reader)
            target, protocol = await writing(writer)
            data = bytes(range(256)) * (MANY // 256)
            for start in range(0, len(data), 100_000):
                target.write(data[start : start + 100_000])
            target.write(bytearray(b"tail"))
            target.writelines([b"one", b"", b"two"])
            target.close()
            async with asyncio.timeout(LIMIT):
                assert await stream.readexactly(1000) == data[:1000]
                assert await stream.read() == data[1000:] + b"tailonetwo"
            assert await lost(protocol) is None

    run(main())


@pytest.mark.parametrize("kind", ["own", "asyncio"])
def test_streams_over_pipes(run: Any, aio: Any, kind: str) -> None:
    names = aio if kind == "own" else asyncio

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (reader, writer):
            stream = names.StreamReader(limit=1000)
            transport, protocol = await loop.connect_read_pipe(lambda: names.StreamReaderProtocol(stream), reader)
            flow = names.StreamReaderProtocol(names.StreamReader())
            target, _ = await loop.connect_write_pipe(lambda: flow, writer)
            out = names.StreamWriter(target, flow, None, loop)
            for n in range(200):
                out.write(b"%d\n" % n)
                await out.drain()
                assert await stream.readline() == b"%d\n" % n
            out.write(b"x" * 200_000)
            draining = asyncio.ensure_future(out.drain())
            await turns()
            assert not draining.done()  # the reader is full, and then the pipe
            async with asyncio.timeout(LIMIT):
                assert await stream.readexactly(200_000) == b"x" * 200_000
                await draining
                out.close()
                assert await stream.read() == b""
                await out.wait_closed()

    run(main())


# ---- writing ----


def test_written_at_once(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            transport.write(b"now")
            assert take_all(reader.fileno()) == b"now"
            transport.write(memoryview(b"abc"))
            transport.write(b"")
            assert take_all(reader.fileno()) == b"abc"
            transport.close()
            assert await lost(protocol) is None
            assert protocol.events == ["made", "lost"] and writer.closed

    run(main())


@pytest.mark.extra("in asyncio it ends the pipe")
def test_a_view_with_gaps(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            transport.write(memoryview(b"a-b-c")[::2])
            assert take_all(reader.fileno()) == b"abc"
            transport.close()
            assert await lost(protocol) is None

    run(main())


def test_only_bytes_can_be_written(run: Any) -> None:
    async def main() -> None:
        with pipe() as (_, writer):
            transport, protocol = await writing(writer)
            for wrong in ("text", 1, None):
                with pytest.raises(AssertionError):
                    transport.write(wrong)
            transport.close()
            await lost(protocol)

    run(main())


def test_what_is_queued_does_not_change_with_its_source(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            total = await fill(transport)
            source = bytearray(b"abc")
            transport.write(source)
            source[:] = b"xyz"
            transport.close()
            data = b""
            async with asyncio.timeout(LIMIT):
                while len(data) < total + 3:
                    data += take_all(reader.fileno())
                    await asyncio.sleep(0)
            assert data[-3:] == b"abc"
            assert await lost(protocol) is None

    run(main())


def test_flow_control(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            transport.set_write_buffer_limits(high=10_000, low=100)
            assert transport.get_write_buffer_limits() == (100, 10_000)
            await fill(transport)
            assert not protocol.paused
            transport.write(b"x" * 10_001)
            assert protocol.paused and transport.get_write_buffer_size() > 10_000
            async with asyncio.timeout(LIMIT):
                while protocol.paused:
                    take_all(reader.fileno())
                    await asyncio.sleep(0)
            assert transport.get_write_buffer_size() <= 100
            transport.write(b"more")
            transport.close()
            assert await lost(protocol) is None
            assert take_all(reader.fileno()).endswith(b"more")
            assert protocol.events == ["made", "pause", "resume", "lost"]

    run(main())


def test_close_sends_what_is_queued_and_abort_drops_it(run: Any) -> None:
    async def main(end: str) -> bytes:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            await fill(transport)
            transport.write(b"last")
            getattr(transport, end)()
            assert transport.is_closing()
            getattr(transport, end)()
            transport.write(b"too late")
            data = b""
            async with asyncio.timeout(LIMIT):
                while not protocol.lost.done():
                    data += take_all(reader.fileno())
                    await asyncio.sleep(0)
            assert protocol.lost.result() is None
            return data + take_all(reader.fileno())

    assert run(main("close")).endswith(b"last")
    assert run(main("write_eof")).endswith(b"last")
    assert not run(main("abort")).endswith(b"last")


# ---- the other end ----


def test_the_reader_is_gone(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            reader.close()
            assert await lost(protocol) is None
            assert transport.is_closing()

    run(main())


def test_the_reader_is_gone_while_bytes_are_queued(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            await fill(transport)
            reader.close()
            assert isinstance(await lost(protocol), BrokenPipeError)

    run(main())


def test_the_reader_is_gone_when_the_rest_is_sent(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            await fill(transport)
            transport.close()
            reader.close()
            assert isinstance(await lost(protocol), BrokenPipeError)

    run(main())


def test_writes_to_nobody_are_dropped_and_warned_of(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            transport, protocol = await writing(writer)
            reader.close()
            for _ in range(10):
                transport.write(b"data")
            assert isinstance(await lost(protocol), BrokenPipeError)

    caplog.set_level(logging.WARNING, "asyncio")
    run(main())
    warned = [record for record in caplog.records if "pipe closed by peer" in record.message]
    assert 3 <= len(warned) <= 6


def test_a_socket_as_a_pipe(run: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        with other:
            transport, protocol = await writing(ours)
            transport.write(b"data")
            assert other.recv(10) == b"data"
            other.close()
            assert await lost(protocol) is None
        ours, other = socket.socketpair()
        with other:
            transport, protocol = await reading(ours)
            other.send(b"data")
            await protocol.until(lambda: protocol.data == b"data")
            other.close()
            assert await lost(protocol) is None

    run(main())


@pytest.mark.extra("asyncio takes bytes from the other side for its end")
def test_a_socket_that_answers_is_not_closed(run: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        with other:
            transport, protocol = await writing(ours)
            other.send(b"answer")
            await turns(10)
            assert not transport.is_closing()
            transport.write(b"data")
            assert other.recv(10) == b"data"
            transport.close()
            assert await lost(protocol) is None

    run(main())


@pytest.mark.extra("in asyncio the first transport to close takes the other's file away")
def test_one_socket_for_both_directions(run: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        with other:
            source, read_protocol = await reading(ours)
            target, write_protocol = await writing(ours)
            target.write(b"data")
            assert other.recv(10) == b"data"
            other.send(b"answer")
            await read_protocol.until(lambda: read_protocol.data == b"answer")
            target.close()
            assert await lost(write_protocol) is None
            await turns()
            other.send(b"more")
            await read_protocol.until(lambda: read_protocol.data == b"answermore")
            source.close()
            assert await lost(read_protocol) is None

    run(main())


def test_a_fifo(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        source, read_protocol = await reading(open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0))
        target, write_protocol = await writing(open(path, "wb", 0))
        target.write(b"through")
        await read_protocol.until(lambda: read_protocol.data == b"through")
        target.close()
        assert await lost(write_protocol) is None
        assert await lost(read_protocol) is None

    run(main())


@pytest.mark.extra("asyncio before 3.14 takes bytes that nobody has read yet for the reader's end")
def test_a_fifo_that_is_open_for_both(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        transport, protocol = await writing(open(os.open(path, os.O_RDWR), "wb", 0))
        transport.write(b"unread")
        await turns(10)
        assert not transport.is_closing()
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0) as reader:
            assert reader.read(100) == b"unread"
        transport.close()
        assert await lost(protocol) is None

    run(main())


def test_a_terminal(run: Any) -> None:
    async def main() -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        source, read_protocol = await reading(open(slave, "rb", 0))
        target, write_protocol = await writing(open(os.dup(slave), "wb", 0))
        os.write(master, b"typed")
        await read_protocol.until(lambda: read_protocol.data == b"typed")
        target.write(b"shown")
        assert os.read(master, 100) == b"shown"
        os.close(master)
        target.write(b"to nobody")
        assert await lost(read_protocol) is None
        error = await lost(write_protocol)
        assert isinstance(error, OSError)  # EIO

    run(main())


def test_the_end_of_a_terminal_seen_from_its_master(run: Any) -> None:
    async def main() -> None:
        told = reports()
        master, slave = os.openpty()
        _, protocol = await reading(open(master, "rb", 0))
        os.write(slave, b"output")
        await protocol.until(lambda: protocol.data == b"output")
        os.close(slave)
        error = await lost(protocol)
        assert isinstance(error, OSError)  # EIO, which is no error to report
        assert told == []

    run(main())


@pytest.mark.extra("asyncio waits for it for ever")
def test_what_is_always_ready(run: Any, aio: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stream = aio.StreamReader()
        await loop.connect_read_pipe(lambda: aio.StreamReaderProtocol(stream), open("/dev/null", "rb", 0))
        async with asyncio.timeout(LIMIT):
            assert await stream.read() == b""
        transport, protocol = await reading(open("/dev/zero", "rb", 0))
        await protocol.until(lambda: len(protocol.data) > 100_000)
        transport.close()
        assert await lost(protocol) is None
        transport, protocol = await writing(open("/dev/null", "wb", 0))
        transport.write(b"x" * MANY)
        transport.close()
        assert await lost(protocol) is None

    run(main())


def test_a_full_device(run: Any) -> None:
    async def main() -> None:
        transport, protocol = await writing(open("/dev/full", "wb", 0))
        transport.write(b"x")
        assert isinstance(await lost(protocol), OSError)

    run(main())


@pytest.mark.extra("a poller of glassloop's")
def test_what_cannot_be_watched_ends(aio: Any) -> None:
    from glassloop.core.poller import SelectorPoller

    class Picky(SelectorPoller):  # type: ignore[misc]
        refuses = False

        def register(self, fd: int, watcher: Any, events: int) -> None:
            if self.refuses:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().register(fd, watcher, events)

    async def main() -> None:
        with pipe() as (reader, writer):
            poller.refuses = True
            for connect, end in ((reading, reader), (writing, writer)):
                _, protocol = await connect(end)
                error = await lost(protocol)
                assert isinstance(error, OSError) and error.errno == errno.ENOSPC

    poller = Picky()
    loop = aio.EventLoop(poller=poller)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


# ---- what can't be a pipe ----


def test_a_regular_file_is_refused(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        with open(path, "wb", 0) as file:
            with pytest.raises(ValueError):
                await writing(file)
            file.write(b"still ours")
        with open(path, "rb", 0) as file:
            with pytest.raises(ValueError):
                await reading(file)
            assert file.read() == b"still ours"

    run(main())


def test_a_bad_descriptor_is_an_error(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            fd = reader.fileno()
            reader.close()
            with pytest.raises(ValueError):
                await reading(reader)
            with open(writer.fileno(), "wb", 0, closefd=False) as same:
                writer.close()
                with pytest.raises(OSError):
                    await writing(same)
            assert not os.path.exists(f"/proc/self/fd/{fd}")

    run(main())


def test_cancelled_while_it_connects(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            for connect, end in ((reading, reader), (writing, writer)):
                task = asyncio.ensure_future(connect(end))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await turns()
                assert end.closed

    run(main())


def test_a_failing_factory_leaves_the_pipe_alone(run: Any) -> None:
    async def main() -> None:
        def fail() -> Any:
            raise ZeroDivisionError

        with pipe() as (reader, writer):
            loop = asyncio.get_running_loop()
            with pytest.raises(ZeroDivisionError):
                await loop.connect_read_pipe(fail, reader)
            with pytest.raises(ZeroDivisionError):
                await loop.connect_write_pipe(fail, writer)
            assert not reader.closed and not writer.closed

    run(main())


def test_an_abandoned_transport_warns_and_closes(loop: Any) -> None:
    with pipe() as (reader, writer):
        source, _ = loop.run_until_complete(reading_on(loop, reader))
        target, _ = loop.run_until_complete(writing_on(loop, writer))
        loop.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del source, target, _
            gc.collect()
        messages = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
        assert len([message for message in messages if "unclosed transport" in message]) == 2
        assert reader.closed and writer.closed


async def reading_on(loop: Any, end: Any) -> tuple[Any, Any]:
    return await loop.connect_read_pipe(asyncio.Protocol, end)


async def writing_on(loop: Any, end: Any) -> tuple[Any, Any]:
    return await loop.connect_write_pipe(asyncio.BaseProtocol, end)


def test_many_pipes_leave_nothing(run: Any) -> None:
    async def one() -> None:
        with pipe() as (reader, writer):
            target, _ = await writing(writer)
            _, protocol = await reading(reader)
            target.write(b"data")
            target.close()
            assert await lost(protocol) is None
            assert protocol.data == b"data"

    async def main() -> None:
        before = set(os.listdir("/proc/self/fd"))
        await asyncio.gather(*[one() for _ in range(200)])
        assert set(os.listdir("/proc/self/fd")) == before
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_the_pipe_of_a_smaller_capacity_passes_everything(run: Any) -> None:
    async def main() -> None:
        with pipe() as (reader, writer):
            fcntl.fcntl(writer.fileno(), fcntl.F_SETPIPE_SZ, 4096)
            _, read_protocol = await reading(reader)
            target, _ = await writing(writer)
            pieces = [bytes([n % 256]) * (n % 700) for n in range(2000)]
            for piece in pieces:
                target.write(piece)
            target.close()
            assert await lost(read_protocol) is None
            assert read_protocol.data == b"".join(pieces)

    run(main())
