"""Streams: StreamReader, StreamWriter, open_connection, start_server and their Unix twins."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import sys
import tracemalloc
import warnings
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers import LIMIT, receive, reports, reset, send, turns

pytestmark = pytest.mark.usefixtures("no_leaks")

EXAMPLES = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
since_313 = pytest.mark.skipif(
    "config.getoption('--runtime') == 'asyncio'" if sys.version_info < (3, 13) else "False",
    reason="asyncio has it from Python 3.13 on",
)


def fed(aio: Any, *chunks: bytes, end: bool = True, limit: int = 65536) -> Any:
    reader = aio.StreamReader(limit=limit)
    for chunk in chunks:
        reader.feed_data(chunk)
    if end:
        reader.feed_eof()
    return reader


@asynccontextmanager
async def pair(aio: Any, **options: Any) -> Any:
    """((reader, writer), (reader, writer)): the two ends of a connection."""
    ours, other = socket.socketpair()
    ends = []
    for sock in (ours, other):
        sock.setblocking(False)
        ends.append(await aio.open_unix_connection(sock=sock, **options))
    try:
        yield ends
    finally:
        for _, writer in ends:
            writer.close()
        await turns(4)


async def soon(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(LIMIT):
        return await awaitable


# ---- reading what is there ----


def test_read_gives_what_there_is_up_to_n(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"hello ", b"world")
        assert await reader.read(3) == b"hel"
        assert await reader.read(0) == b""
        assert await reader.read(5) == b"lo wo"  # across what came in two pieces
        assert not reader.at_eof()
        assert await reader.read(100) == b"rld"
        assert reader.at_eof()
        assert await reader.read(100) == b""
        assert await reader.read() == b""

    run(main())


def test_readexactly(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"abc", b"defg", b"h")
        assert await reader.readexactly(0) == b""
        assert await reader.readexactly(2) == b"ab"
        assert await reader.readexactly(5) == b"cdefg"
        with pytest.raises(ValueError, match="can not be less than zero"):
            await reader.readexactly(-1)
        with pytest.raises(asyncio.IncompleteReadError) as info:
            await reader.readexactly(2)
        assert (info.value.partial, info.value.expected) == (b"h", 2)
        with pytest.raises(asyncio.IncompleteReadError) as info:
            await reader.readexactly(1)
        assert info.value.partial == b""

    run(main())


def test_lines_and_iteration(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"one\ntw", b"o\n\nthree\nfo", b"ur")
        assert await reader.readline() == b"one\n"
        assert [line async for line in reader] == [b"two\n", b"\n", b"three\n", b"four"]
        assert await reader.readline() == b""

    run(main())


def test_readuntil(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"one--tw", b"o-", b"-three-", b"four")
        assert await reader.readuntil(b"--") == b"one--"
        assert await reader.readuntil(bytearray(b"--")) == b"two--"
        with pytest.raises(asyncio.IncompleteReadError) as info:
            await reader.readuntil(b"--")
        assert (info.value.partial, info.value.expected) == (b"three-four", None)
        with pytest.raises(ValueError, match="at least one-byte"):
            await reader.readuntil(b"")

    run(main())


@since_313
def test_readuntil_takes_the_separator_that_ends_first(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"one\r\ntwo\nthr", b"ee\rABCDEFG")
        separators = (b"\r", b"\n", b"\r\n")
        assert await reader.readuntil(separators) == b"one\r"
        assert await reader.readuntil(separators) == b"\n"
        assert await reader.readuntil(separators) == b"two\n"
        assert await reader.readuntil(separators) == b"three\r"
        assert await reader.readuntil((b"DEF", b"BCDE")) == b"ABCDE"
        with pytest.raises(ValueError, match="at least one element"):
            await reader.readuntil(())
        with pytest.raises(ValueError, match="at least one-byte"):
            await reader.readuntil((b"x", b""))

    run(main())


def test_lines_longer_than_the_limit(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"12345678\n", b"1234567\nrest", limit=7)
        with pytest.raises(asyncio.LimitOverrunError, match="Separator is found") as info:
            await reader.readuntil()
        assert info.value.consumed == 8
        with pytest.raises(ValueError, match="Separator is found"):
            await reader.readline()  # drops the line
        assert await reader.readline() == b"1234567\n"
        assert await reader.readline() == b"rest"

        reader = fed(aio, b"1234", b"56789", end=False, limit=7)
        with pytest.raises(asyncio.LimitOverrunError, match="not found") as info:
            await reader.readuntil()
        assert await reader.readexactly(4) == b"1234"  # left there
        reader.feed_data(b"123456789")
        with pytest.raises(ValueError, match="not found"):
            await reader.readline()  # drops what there is
        reader.feed_data(b"next\n")
        assert await reader.readline() == b"next\n"

    run(main())


def test_bad_limits(run: Any, aio: Any) -> None:
    async def main() -> None:
        for limit in (0, -1):
            with pytest.raises(ValueError, match="Limit"):
                aio.StreamReader(limit=limit)
        reader = aio.StreamReader(limit=float("inf"))
        reader.feed_data(b"x" * 1_000_000 + b"\n")
        assert len(await reader.readline()) == 1_000_001

    run(main())


def test_feeding_after_the_end_is_an_error(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"x")
        with pytest.raises(AssertionError):
            reader.feed_data(b"y")
        reader.feed_eof()
        assert await reader.read() == b"x"

    run(main())


def test_everything_raises_the_exception_that_was_set(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"data\n", end=False)
        assert reader.exception() is None
        error = ZeroDivisionError()
        reader.set_exception(error)
        assert reader.exception() is error
        for call in (reader.read, reader.readline, reader.readuntil, lambda: reader.readexactly(1), lambda: reader.read(1)):
            with pytest.raises(ZeroDivisionError):
                await call()
        with pytest.raises(ZeroDivisionError):
            async for _ in reader:
                pass

    run(main())


# ---- waiting ----


def test_reads_wait_for_what_they_need(run: Any, aio: Any) -> None:
    async def main() -> None:
        for read, chunks, result in (
            (lambda r: r.read(5), [b"x"], b"x"),
            (lambda r: r.read(), [b"one", b"two", None], b"onetwo"),
            (lambda r: r.readexactly(4), [b"a", b"bc", b"d"], b"abcd"),
            (lambda r: r.readline(), [b"a", b"b", b"\n"], b"ab\n"),
            (lambda r: r.readuntil(b"<>"), [b"a<", b"b<", b">"], b"a<b<>"),
            (lambda r: r.read(5), [None], b""),
            (lambda r: r.readline(), [b"part", None], b"part"),
        ):
            reader = aio.StreamReader()
            task = asyncio.ensure_future(read(reader))
            for chunk in chunks:
                await turns()
                assert not task.done()
                if chunk is None:
                    reader.feed_eof()
                else:
                    reader.feed_data(chunk)
            assert await soon(task) == result

    run(main())


def test_an_exception_wakes_who_waits(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        task = asyncio.ensure_future(reader.read(1))
        await turns()
        reader.set_exception(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await soon(task)

    run(main())


def test_only_one_task_may_wait(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        task = asyncio.ensure_future(reader.read(1))
        await turns()
        for name, call in (
            ("read", lambda: reader.read(1)),
            ("readexactly", lambda: reader.readexactly(1)),
            ("readuntil", reader.readline),
        ):
            with pytest.raises(RuntimeError, match=rf"{name}\(\) called while another coroutine is already waiting"):
                await call()
        reader.feed_data(b"x")
        assert await soon(task) == b"x"

    run(main())


def test_a_read_that_is_cancelled_has_taken_nothing(run: Any, aio: Any) -> None:
    async def main() -> None:
        for read in (lambda r: r.read(10), lambda r: r.readexactly(10), lambda r: r.readline()):
            reader = aio.StreamReader()
            task = asyncio.ensure_future(read(reader))
            await turns()
            reader.feed_data(b"data")
            task.cancel()  # in the turn in which it came
            await asyncio.wait([task])
            reader.feed_data(b"\n")
            reader.feed_eof()
            assert await reader.read() == (b"data\n" if task.cancelled() else b"\n")

    run(main())


@pytest.mark.extra("on asyncio what read() had taken is lost")
def test_a_cancelled_read_until_the_end_loses_nothing(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        task = asyncio.ensure_future(reader.read())
        for _ in range(3):
            await turns()
            reader.feed_data(b"data ")
        await turns()
        task.cancel()
        await asyncio.wait([task])
        reader.feed_eof()
        assert await reader.read() == b"data data data "

    run(main())


@pytest.mark.extra("asyncio gives b'', which means the end")
def test_a_reader_whose_bytes_another_took_waits_on(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        first = asyncio.ensure_future(reader.read(10))
        await turns()
        reader.feed_data(b"one")
        second = asyncio.ensure_future(reader.read(10))
        third = reader.read(10)
        assert await third == b"one"
        await turns()
        reader.feed_data(b"two")
        results = await soon(asyncio.gather(first, second, return_exceptions=True))
        assert b"two" in results and b"" not in results

    run(main())


@pytest.mark.extra("asyncio collects the task, the stream and the connection")
def test_a_stream_that_only_its_reading_task_holds_is_not_collected(run: Any, aio: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        ours.setblocking(False)
        other.setblocking(False)
        result = asyncio.get_running_loop().create_future()

        async def read() -> None:
            reader, writer = await aio.open_unix_connection(sock=ours)
            result.set_result(await reader.readexactly(4))
            writer.close()

        asyncio.get_running_loop().create_task(read())
        for _ in range(5):
            await asyncio.sleep(0.005)
            gc.collect()
        await send(other, b"data")
        assert await soon(result) == b"data"
        assert await receive(other, 1) == b""
        other.close()

    run(main())


def test_an_operation_that_is_not_awaited_is_warned_of(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"x")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            forgotten = [reader.read(1), reader.readline()]
            del forgotten
            gc.collect()
        told = [str(w.message) for w in caught if w.category is RuntimeWarning]
        assert len(told) == 2 and all("was never awaited" in text for text in told)
        assert await reader.read() == b"x"

    run(main())


def test_operations_are_coroutines(run: Any, aio: Any) -> None:
    async def main() -> None:
        reader = fed(aio, b"line\nab1234")
        assert asyncio.iscoroutine(operation := reader.readline())
        assert await asyncio.create_task(operation) == b"line\n"
        first, second = asyncio.gather(reader.read(1), reader.read(1)), asyncio.wait_for(reader.readexactly(2), LIMIT)
        assert await first == [b"a", b"b"]
        assert await second == b"12"
        operation = reader.read(1)
        assert await operation == b"3"
        with pytest.raises(RuntimeError):
            await operation

    run(main())


CHUNK = st.binary(max_size=12).map(lambda b: bytes(b"ab\n-"[byte % 4] for byte in b))
CALLS = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 30)),
    st.tuples(st.just("readexactly"), st.integers(0, 30)),
    st.tuples(st.just("readline")),
    st.tuples(st.just("readuntil"), st.sampled_from([b"\n", b"a", b"ab", b"-\n-", b"abab", b"a\nb-"])),
    st.tuples(st.just("feed"), CHUNK),
)


@EXAMPLES
@given(script=st.lists(CALLS, max_size=40), limit=st.integers(1, 60))
def test_it_does_what_asyncio_does_on_any_script(run: Any, aio: Any, script: list[Any], limit: int) -> None:
    async def outcome(reader: Any, name: str, arguments: Any) -> Any:
        try:
            return await getattr(reader, name)(*arguments)
        except asyncio.IncompleteReadError as e:
            return "incomplete", e.partial, e.expected
        except asyncio.LimitOverrunError as e:
            return "overrun", e.consumed, str(e)
        except ValueError as e:
            return "value", str(e)

    async def play(reader: Any) -> list[Any]:
        results: list[Any] = []
        waiting = None
        for name, *arguments in script:
            if name == "feed":
                reader.feed_data(*arguments)
            elif waiting is None:
                waiting = asyncio.ensure_future(outcome(reader, name, arguments))
            await turns()
            if waiting is not None and waiting.done():
                results.append(waiting.result())
                waiting = None
            results.append(bytes(reader._buffer))
        reader.feed_eof()
        if waiting is not None:
            results.append(await waiting)
        return [*results, await reader.read(), reader.at_eof()]

    async def main() -> None:
        assert await play(aio.StreamReader(limit=limit)) == await play(asyncio.StreamReader(limit=limit))

    run(main())


@EXAMPLES
@given(cuts=st.lists(st.integers(1, 9000), max_size=60), seed=st.integers(0, 1000))
def test_large_chunks_come_out_whole_whatever_is_read(run: Any, aio: Any, cuts: list[int], seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        data = bytes(chance.choice(b"abcdefghij\n") for _ in range(997)) * (sum(cuts) // 997 + 1)
        reader = aio.StreamReader(limit=1 << 20)
        at = 0
        for cut in cuts:
            reader.feed_data(data[at : at + cut])
            at += cut
        reader.feed_eof()
        out = b""
        while not reader.at_eof():
            how = chance.randrange(3)
            if how == 0:
                out += await reader.read(chance.randrange(1, 20_000))
            elif how == 1:
                out += await reader.readline()
            else:
                out += await reader.readexactly(chance.randrange(1, min(len(reader._buffer), 10_000) + 1))
        assert out == data[:at]

    run(main())


# ---- connections ----


def test_what_is_written_is_read_at_the_other_end(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with pair(aio) as ((reader, writer), (other_reader, other_writer)):
            writer.write(b"line\n")
            writer.writelines([b"more", b"\n", bytearray(b"rest")])
            await writer.drain()
            assert await soon(other_reader.readline()) == b"line\n"
            assert await soon(other_reader.readline()) == b"more\n"
            assert writer.can_write_eof()
            writer.write_eof()
            assert await soon(other_reader.read()) == b"rest"
            other_writer.write(b"x" * 1_000_000)
            other_writer.close()
            assert await soon(reader.read()) == b"x" * 1_000_000
            await soon(other_writer.wait_closed())
            assert other_writer.is_closing() and not writer.is_closing()

    run(main())


@pytest.mark.parametrize("kind", ["coroutine", "callback"])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_servers_call_back_for_each_connection(run: Any, aio: Any, tmp_path: Any, kind: str, family: str) -> None:
    async def main() -> None:
        tasks = set()

        async def serve(reader: Any, writer: Any) -> None:
            assert isinstance(reader, aio.StreamReader) and isinstance(writer, aio.StreamWriter)
            async for line in reader:
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        def call_back(reader: Any, writer: Any) -> None:
            tasks.add(asyncio.ensure_future(serve(reader, writer)))

        callback = serve if kind == "coroutine" else call_back
        if family == "tcp":
            server = await aio.start_server(callback, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            clients = [await aio.open_connection(*address) for _ in range(10)]
        else:
            path = str(tmp_path / "socket")
            server = await aio.start_unix_server(callback, path)
            clients = [await aio.open_unix_connection(path) for _ in range(10)]
        for number, (_, writer) in enumerate(clients):
            writer.write(b"client %d\n" % number)
        for number, (reader, writer) in enumerate(clients):
            assert await soon(reader.readline()) == b"CLIENT %d\n" % number
            writer.write_eof()
            assert await soon(reader.read()) == b""
            writer.close()
            await soon(writer.wait_closed())
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_a_handler_that_fails_is_reported_and_its_connection_closed(run: Any, aio: Any) -> None:
    async def main() -> None:
        told = reports()
        error = ZeroDivisionError()

        async def serve(reader: Any, writer: Any) -> None:
            if await reader.readline() == b"cancel\n":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(LIMIT)
            raise error

        server = await aio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"fail\n")
        assert await soon(reader.read()) == b""
        (context,) = told
        assert context["message"] == "Unhandled exception in client_connected_cb"
        assert context["exception"] is error and isinstance(context["transport"], asyncio.Transport)
        writer.close()
        server.close()
        await turns(4)

    run(main())


@pytest.mark.extra("asyncio does so late in 3.14")
def test_a_handler_that_is_no_coroutine_function_and_fails_is_reported_as_well(run: Any, aio: Any) -> None:
    async def main() -> None:
        told = reports()
        error = ZeroDivisionError()

        def serve(reader: Any, writer: Any) -> None:
            raise error

        server = await aio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        assert await soon(reader.read()) == b""
        (context,) = told
        assert context["message"] == "Unhandled exception in client_connected_cb"
        assert context["exception"] is error
        writer.close()
        server.close()
        await turns(4)

    run(main())


@pytest.mark.extra("asyncio does so from 3.12 on")
def test_a_handler_that_is_cancelled_closes_its_connection(run: Any, aio: Any) -> None:
    async def main() -> None:
        told = reports()

        async def serve(reader: Any, writer: Any) -> None:
            raise asyncio.CancelledError

        server = await aio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        assert await soon(reader.read()) == b""
        assert told == []
        writer.close()
        server.close()
        await turns(4)

    run(main())


def test_a_reset_is_raised_by_reads_and_drain(run: Any, aio: Any) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await aio.open_connection(*listener.getsockname())
            other, _ = listener.accept()
        task = asyncio.ensure_future(reader.read(1))
        await turns()
        reset(other)
        with pytest.raises(ConnectionResetError):
            await soon(task)
        for call in (lambda: reader.read(1), writer.drain):
            with pytest.raises(ConnectionResetError):
                await soon(call())
        writer.close()

    run(main())


@pytest.mark.extra("asyncio raises the reset again")
def test_wait_closed_does_not_raise_a_reset_that_cost_nothing(run: Any, aio: Any) -> None:
    async def main() -> None:
        for unsent in (0, 20_000_000):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                reader, writer = await aio.open_connection(*listener.getsockname())
                other, _ = listener.accept()
            writer.write(b"x" * unsent)
            reset(other)
            with pytest.raises(ConnectionError):
                await soon(reader.read(1))
            writer.close()
            if unsent:
                with pytest.raises(ConnectionError):
                    await soon(writer.wait_closed())
            else:
                await soon(writer.wait_closed())

    run(main())


@pytest.mark.extra("asyncio cancels what all of them wait for")
def test_several_tasks_may_wait_for_the_close_and_be_cancelled(run: Any, aio: Any) -> None:
    async def main() -> None:
        async with pair(aio) as ((_, writer), _):
            waits = [asyncio.ensure_future(writer.wait_closed()) for _ in range(3)]
            await turns()
            waits[0].cancel()
            await asyncio.wait([waits[0]])
            assert not waits[1].done()
            writer.close()
            await soon(asyncio.gather(*waits[1:]))
            await soon(writer.wait_closed())

    run(main())


@pytest.mark.extra("asyncio does so from 3.13 on")
def test_a_writer_that_is_dropped_closes_its_connection_and_warns(run: Any, aio: Any) -> None:
    async def main() -> None:
        ours, other = socket.socketpair()
        ours.setblocking(False)
        other.setblocking(False)
        reader, writer = await aio.open_unix_connection(sock=ours)
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del writer
            gc.collect()
        assert await receive(other, 1) == b""
        assert await soon(reader.read()) == b""
        other.close()

    run(main())


def test_repr(run: Any, aio: Any) -> None:
    async def main() -> None:
        assert repr(aio.StreamReader()) == "<StreamReader>"
        assert repr(fed(aio, b"abc", limit=10)) == "<StreamReader 3 bytes eof limit=10>"
        async with pair(aio) as ((reader, writer), _):
            assert "<StreamReader transport=<" in repr(reader)
            assert repr(writer).startswith("<StreamWriter transport=<") and "reader=<StreamReader" in repr(writer)
            assert writer.transport is reader._transport
            assert writer.get_extra_info("nothing", 5) == 5

    run(main())


def test_classes_may_be_extended(run: Any, aio: Any) -> None:
    class Reader(aio.StreamReader):  # type: ignore[name-defined,misc]
        def feed_data(self, data: bytes) -> None:
            super().feed_data(data.upper())

    class Protocol(aio.StreamReaderProtocol):  # type: ignore[name-defined,misc]
        def data_received(self, data: bytes) -> None:
            super().data_received(data + b"!")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for reader, protocol_class, result in (
            (Reader(), aio.StreamReaderProtocol, b"DATA"),
            (aio.StreamReader(), Protocol, b"data!"),
        ):
            protocol = protocol_class(reader)
            assert isinstance(protocol, asyncio.Protocol) and isinstance(reader, asyncio.StreamReader)
            protocol.attribute = reader.attribute = "users may set their own"
            ours, other = socket.socketpair()
            ours.setblocking(False)
            transport, _ = await loop.create_unix_connection(lambda protocol=protocol: protocol, sock=ours)
            writer = aio.StreamWriter(transport, protocol, reader, loop)
            other.send(b"data")
            assert await soon(reader.readexactly(len(result))) == result
            writer.close()
            await soon(writer.wait_closed())
            other.close()

    run(main())


# ---- together with asyncio's own ----


async def echo_with(client: Any, server_of: Any, expected: Callable[[Any], bool]) -> None:
    async def serve(reader: Any, writer: Any) -> None:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await server_of.start_server(serve, "127.0.0.1", 0)
    reader, writer = await client.open_connection(*server.sockets[0].getsockname())
    assert expected(writer.transport)
    for size in (1, 1000, 200_000):
        writer.write(b"x" * size + b"\n")
        await writer.drain()
        assert len(await soon(reader.readuntil(b"\n") if size < 60_000 else reader.readexactly(size + 1))) == size + 1
    writer.close()
    await soon(writer.wait_closed())
    server.close()
    await soon(server.wait_closed())


def test_asyncios_own_streams_work_on_this_loop(run: Any, aio: Any) -> None:
    run(echo_with(asyncio, aio, lambda transport: True))
    run(echo_with(aio, asyncio, lambda transport: True))


@pytest.mark.extra("glassloop's streams on asyncio's loop")
def test_the_streams_work_on_asyncios_loop(aio: Any) -> None:
    def foreign(transport: Any) -> bool:
        return type(transport).__module__ == "asyncio.selector_events"

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(echo_with(aio, aio, foreign))
        runner.run(echo_with(asyncio, aio, foreign))


# ---- all until the end ----

MiB = 1 << 20


def in_pieces(data: bytes, size: int = 50_000) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.extra("asyncio needs twice as much: it joins in the end")
def test_reading_all_needs_little_more_memory_than_what_is_read(aio: Any, run: Any) -> None:
    size = 20 * MiB
    piece = bytes(65536)

    async def main() -> None:
        reader = aio.StreamReader()
        reading = asyncio.ensure_future(reader.read())
        await asyncio.sleep(0)
        tracemalloc.start()
        try:
            for _ in range(size // len(piece)):
                # a piece of its own, as from a transport
                reader.feed_data(bytes(bytearray(piece)))
            reader.feed_eof()
            assert len(await reading) == size
            assert tracemalloc.get_traced_memory()[1] < 1.3 * size
        finally:
            tracemalloc.stop()

    run(main())


@pytest.mark.extra("asyncio loses what it had read")
def test_a_cancelled_read_of_all_leaves_what_came(aio: Any, run: Any) -> None:
    data = b"".join(b"line %d\n" % i for i in range(300_000))
    assert len(data) > 3 * MiB

    async def begun(reader: Any, pieces: list[bytes]) -> None:
        """read() waits for all, gets the pieces and is cancelled."""
        reading = asyncio.ensure_future(reader.read())
        await asyncio.sleep(0)
        for piece in pieces:
            reader.feed_data(piece)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    async def main() -> None:
        pieces = in_pieces(data)
        for lines in (True, False):
            reader = aio.StreamReader(limit=2 * len(data))
            await begun(reader, pieces[:30])
            assert bytes(reader._buffer) == b"".join(pieces[:30])
            await begun(reader, pieces[30:60])
            if lines:
                assert await reader.readline() == b"line 0\n"
                assert await reader.readuntil(b" 2\n") == b"line 1\nline 2\n"
                taken = len(b"line 0\nline 1\nline 2\n")
            else:
                assert await reader.readexactly(100_000) == data[:100_000]
                assert await reader.read(10) == data[100_000:100_010]
                taken = 100_010
            reading = asyncio.ensure_future(reader.read())
            await asyncio.sleep(0)
            for piece in pieces[60:]:
                reader.feed_data(piece)
            reader.feed_eof()
            assert await reading == data[taken:]
            assert reader.at_eof()
            assert await reader.read() == b""

    run(main())


@pytest.mark.extra("asyncio loses what it had read")
def test_an_error_while_all_is_read_leaves_what_came(aio: Any, run: Any) -> None:
    data = os.urandom(2 * MiB)

    async def main() -> None:
        reader = aio.StreamReader(limit=len(data))
        reading = asyncio.ensure_future(reader.read())
        await asyncio.sleep(0)
        for piece in in_pieces(data):
            reader.feed_data(piece)
        reader.set_exception(ConnectionResetError())
        with pytest.raises(ConnectionResetError):
            await reading
        assert bytes(reader._buffer) == data

    run(main())
