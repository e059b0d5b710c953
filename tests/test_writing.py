"""Stream transports: what is written goes out once, in order, unchanged and soon."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers import LIMIT, Recorder, connected, lost, receive, send

pytestmark = pytest.mark.usefixtures("no_leaks")

WAYS = ["write", "lines", "array", "turn", "long"]
EXAMPLES = settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_write_takes_bytes_likes_and_nothing_else(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            for bad in ("text", 1, None, [b"x"]):
                with pytest.raises(TypeError):
                    transport.write(bad)
            with pytest.raises(TypeError):
                transport.writelines([b"x", "text"])
            transport.write(b"")
            transport.write(bytearray(b"a"))
            transport.write(memoryview(b"b"))
            transport.write(memoryview(b"c d e f ")[::2].tobytes())
            transport.writelines([])
            transport.writelines([b"g", bytearray(b"h"), memoryview(b"i")])
            transport.writelines(piece for piece in (b"j", b"", b"k"))
            assert await receive(other, 11) == b"abcdefghijk"
            assert not transport.is_closing()

    run(main())


@pytest.mark.extra("asyncio closes the connection for the one, and loses bytes of the other")
def test_memoryviews_of_any_shape_are_sent_whole(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            sliced, wide, short = memoryview(b"01" * 30_000)[::2], memoryview(bytes(400_000)), memoryview(b"1234")
            for source in (sliced, wide.cast("Q"), short.cast("H")):
                protocol.transport.write(source)
                assert await receive(other, source.nbytes) == source.tobytes()

    run(main())


@pytest.mark.extra("asyncio sends what the buffer holds when it gets to it")
@pytest.mark.parametrize("size", [10, 5000, 5_000_000])
def test_a_buffer_changed_after_write_is_sent_unchanged(run: Any, size: int) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            transport = protocol.transport
            transport.write(b"<")
            sources = bytearray(b"a" * size), bytearray(b"b" * size), bytearray(b"c" * size)
            transport.write(sources[0])
            transport.write(memoryview(sources[1]))
            transport.writelines([sources[2]])
            for source in sources:
                source[:] = bytes(size)
            assert await receive(other, 3 * size + 1) == b"<" + b"a" * size + b"b" * size + b"c" * size

    run(main())


def test_what_a_callback_writes_is_sent_when_it_ends(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            found = asyncio.get_running_loop().create_future()

            def writes() -> None:
                asyncio.get_running_loop().call_soon(reads)
                for piece in (b"a", b"b" * 500, b"c" * 3000, bytearray(b"d")):
                    protocol.transport.write(piece)

            def reads() -> None:
                found.set_result(other.recv(5000))

            asyncio.get_running_loop().call_soon(writes)
            assert await found == b"a" + b"b" * 500 + b"c" * 3000 + b"d"

    run(main())


def test_a_shutdown_of_the_socket_itself_comes_after_what_was_written(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            sock = protocol.transport.get_extra_info("socket")
            protocol.transport.write(b"last words")
            sock.shutdown(socket.SHUT_WR)
            assert await receive(other, 20) == b"last words"
            other.close()
            assert await lost(protocol) is None

    run(main())


def test_what_a_step_of_a_task_writes_is_sent_when_it_ends(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.transport.write(b"head")
            protocol.transport.write(b"body")
            asyncio.get_running_loop().call_soon(lambda: protocol.note(other.recv(100)))
            await asyncio.sleep(0)
            assert protocol.events == ["made", b"headbody"]

    run(main())


def test_bulk_data_is_sent_at_once(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.transport.write(b"head")
            protocol.transport.write(b"b" * 20_000)
            assert other.recv(4) == b"head"

    run(main())


@pytest.mark.extra("asyncio has sent it by then")
def test_what_is_held_back_counts_as_buffered(run: Any) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            protocol.transport.write(b"12345")
            assert protocol.transport.get_write_buffer_size() == 5
            protocol.transport.write(b"678")
            assert protocol.transport.get_write_buffer_size() == 8
            await asyncio.sleep(0)
            assert protocol.transport.get_write_buffer_size() == 0
            with pytest.raises(BlockingIOError):
                other.recv(8) and other.recv(1)

    run(main())


@pytest.mark.extra("asyncio sends each write by itself")
def test_small_writes_leave_in_one_piece(run: Any) -> None:
    async def main() -> None:
        async with connected(family=socket.AF_UNIX) as (protocol, other):
            for _ in range(100):
                protocol.transport.write(b"line\n")
            assert await receive(other, 1) == b"l"
            assert other.recv(1000) == b"ine\n" + b"line\n" * 99

    run(main())


def test_writes_to_many_transports_in_one_step(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ends = []
        for number in range(50):
            ours, other = socket.socketpair()
            ours.setblocking(False)
            other.setblocking(False)
            transport, protocol = await loop.create_unix_connection(Recorder, sock=ours)
            ends.append((number, transport, protocol, other))
        for round in range(3):
            for number, transport, _, _ in ends:
                transport.write(b"%d" % number)
                transport.write(b"-" * (1 + number * 100))
                if number % 3 == round:
                    transport.write(b"+")
        for number, transport, protocol, other in ends:
            expected = b"".join(
                b"%d" % number + b"-" * (1 + number * 100) + (b"+" if number % 3 == round else b"") for round in range(3)
            )
            assert await receive(other, len(expected)) == expected
            transport.close()
            await lost(protocol)
            other.close()

    run(main())


def test_a_write_while_the_loop_does_not_run_goes_out_at_once(loop: asyncio.AbstractEventLoop) -> None:
    ours, other = socket.socketpair()
    ours.setblocking(False)
    other.settimeout(LIMIT)
    transport, protocol = loop.run_until_complete(loop.create_unix_connection(lambda: Recorder(), sock=ours))
    transport.write(b"between runs")
    assert other.recv(100) == b"between runs"
    transport.write(b"and ")
    transport.write(b"again")
    assert other.recv(4) + other.recv(5) == b"and again"
    transport.close()
    loop.run_until_complete(lost(protocol))
    other.close()


def test_a_write_from_another_thread_while_the_loop_sleeps_goes_out(run: Any) -> None:
    # nobody should, but programs do, and asyncio sends it
    async def main() -> None:
        async with connected() as (protocol, other):
            other.setblocking(True)
            other.settimeout(LIMIT)
            answer: list[bytes] = []
            done = asyncio.get_running_loop().create_future()

            def thread() -> None:
                loop.call_soon_threadsafe(lambda: None)
                protocol.transport.write(b"from a thread")
                answer.append(other.recv(100))
                loop.call_soon_threadsafe(done.set_result, None)

            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.01)
            worker = threading.Thread(target=thread)
            loop.call_later(0.01, worker.start)
            await done
            worker.join()
            assert answer == [b"from a thread"]

    run(main())


# ---- all bytes, in order, unchanged ----


@EXAMPLES
@given(
    pieces=st.lists(st.tuples(st.integers(0, 200_000) | st.integers(0, 600), st.sampled_from(WAYS)), max_size=30),
    slow=st.booleans(),
)
def test_what_is_written_in_any_pieces_comes_out_whole(run: Any, pieces: list[tuple[int, str]], slow: bool) -> None:
    async def main() -> None:
        async with connected() as (protocol, other):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            transport = protocol.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            sent = bytearray()
            reader = None if slow else asyncio.ensure_future(receive(other, 1 << 30))
            for number, (size, how) in enumerate(pieces):
                data = bytes([number + 1]) * size
                sent += data
                if how == "lines":
                    transport.writelines([data[: size // 3], data[size // 3 :]])
                elif how == "array":
                    transport.write(bytearray(data))
                else:
                    transport.write(data)
                if how == "turn":
                    await asyncio.sleep(0)
                elif how == "long":
                    await asyncio.sleep(0.001)
            transport.write_eof()
            received = await (reader or receive(other, 1 << 30))
            assert received == sent
            assert transport.get_write_buffer_size() == 0

    run(main())


@EXAMPLES
@given(pieces=st.lists(st.integers(1, 300_000) | st.integers(1, 2000), max_size=15), buffered=st.booleans())
def test_what_comes_in_any_pieces_goes_back_whole(run: Any, pieces: list[int], buffered: bool) -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def eof_received(self) -> bool:
            self.transport.write_eof()
            return True

    class BufferedEcho(asyncio.BufferedProtocol):
        connection_made = Echo.connection_made
        eof_received = Echo.eof_received

        def get_buffer(self, sizehint: int) -> bytearray:
            self.buffer = bytearray(5000)
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.transport.write(memoryview(self.buffer)[:nbytes])

    async def main() -> None:
        async with connected(BufferedEcho if buffered else Echo) as (_, other):
            sent = b"".join(bytes([number + 1]) * size for number, size in enumerate(pieces))

            async def sender() -> None:
                at = 0
                for size in pieces:
                    await send(other, sent[at : at + size])
                    at += size
                other.shutdown(socket.SHUT_WR)

            sending = asyncio.ensure_future(sender())
            assert await receive(other, len(sent) + 1) == sent
            await sending

    run(main())
