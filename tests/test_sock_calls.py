"""The sock_*() calls: bytes and connections over bare sockets, one at a time, and none lost."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import gc
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks")

Run = Callable[..., Any]


@contextlib.contextmanager
def pair(family: int = socket.AF_UNIX, type: int = socket.SOCK_STREAM) -> Iterator[tuple[Any, Any]]:
    a, b = socket.socketpair(family, type)
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        yield a, b


@contextlib.contextmanager
def listening(address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET, backlog: int = 100) -> Iterator[Any]:
    with socket.socket(family) as sock:
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(backlog)
        yield sock


@contextlib.contextmanager
def datagram() -> Iterator[Any]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        yield sock


def tcp() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


def fill(sock: socket.socket) -> int:
    """Send until the socket takes no more; how many bytes it took."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(b"-" * 4096)
    return total


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until_waiting(*tasks: asyncio.Task[Any]) -> None:
    """Until the tasks' calls have been tried, and wait."""
    await turns(3)
    assert not any(task.done() for task in tasks)


async def receive(loop: Any, sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        assert piece, "the stream ended early"
        data += piece
    return data


# ---- receiving ----


def test_recv_gives_what_is_there_without_waiting(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"hello")
            turned = []
            loop.call_soon(turned.append, True)
            assert await loop.sock_recv(a, 100) == b"hello"
            assert not turned

    run(main())


def test_recv_waits_and_is_given_the_end_of_the_stream(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = loop.create_task(loop.sock_recv(a, 3))
            await until_waiting(task)
            b.send(b"hello")
            assert await task == b"hel"
            assert await loop.sock_recv(a, 3) == b"lo"
            task = loop.create_task(loop.sock_recv(a, 3))
            await until_waiting(task)
            b.close()
            assert await task == b""
            assert await loop.sock_recv(a, 3) == b""

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 16384, 100_000, 3_000_000])
def test_a_stream_arrives_whole_and_in_order(run: Run, size: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        data = bytes(range(251)) * (size // 251 + 1)
        with listening() as listener, tcp() as client:
            accepted = loop.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            server, _ = await accepted
            with server:
                for _ in range(3):
                    sent = loop.create_task(loop.sock_sendall(server, data))
                    got = b""
                    while len(got) < len(data):
                        piece = await loop.sock_recv(client, 200_000)
                        assert 0 < len(piece) <= 200_000
                        got += piece
                    assert got == data
                    assert await sent is None

    run(main())


def test_recv_takes_a_datagram_whole(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with datagram() as a, datagram() as b:
            a.connect(b.getsockname())
            b.connect(a.getsockname())
            for size in (60_000, 1, 40_000):
                task = loop.create_task(loop.sock_recv(a, 65536))
                await until_waiting(task)
                await loop.sock_sendall(b, b"d" * size)
                assert len(await task) == size

    run(main())


def test_recv_of_nothing_waits_for_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            assert await loop.sock_recv(a, 0) == b""
            assert await loop.sock_recv_into(a, bytearray()) == 0

    run(main())


def test_recv_into_fills_the_buffer(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            buffer = bytearray(8)
            task = loop.create_task(loop.sock_recv_into(a, memoryview(buffer)[2:6]))
            await until_waiting(task)
            b.send(b"hello")
            assert await task == 4
            assert buffer == b"\0\0hell\0\0"
            assert await loop.sock_recv_into(a, buffer) == 1
            numbers = array.array("i", [0, 0])
            b.send(b"\1\0\0\0\2\0\0\0")
            assert await loop.sock_recv_into(a, numbers) == 8
            assert list(numbers) == [1, 2]
            b.close()
            assert await loop.sock_recv_into(a, buffer) == 0

    run(main())


def test_datagrams_with_their_addresses(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with datagram() as a, datagram() as b:
            task = loop.create_task(loop.sock_recvfrom(a, 100))
            await until_waiting(task)
            assert await loop.sock_sendto(b, b"one", a.getsockname()) == 3
            assert await task == (b"one", b.getsockname())

            buffer = bytearray(8)
            task = loop.create_task(loop.sock_recvfrom_into(a, buffer))
            await until_waiting(task)
            await loop.sock_sendto(b, b"two", a.getsockname())
            assert await task == (3, b.getsockname())
            assert buffer == b"two\0\0\0\0\0"
            await loop.sock_sendto(b, b"three", a.getsockname())
            assert await loop.sock_recvfrom_into(a, buffer, 2) == (2, b.getsockname())
            assert buffer == b"tho\0\0\0\0\0"

    run(main())


# ---- sending ----


@pytest.mark.parametrize(
    "data",
    [b"bytes" * 300_000, bytearray(b"array" * 300_000), memoryview(b"view" * 400_000)],
    ids=["bytes", "bytearray", "memoryview"],
)
def test_sendall_sends_any_buffer_in_parts(run: Run, data: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        whole = bytes(data)
        with pair() as (a, b):
            task = loop.create_task(loop.sock_sendall(a, data))
            await until_waiting(task)
            assert await receive(loop, b, len(whole)) == whole
            assert await task is None

    run(main())


@pytest.mark.extra("asyncio takes the items for bytes")
def test_sendall_counts_bytes_not_items(run: Run) -> None:
    numbers = array.array("q", range(100_000))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = loop.create_task(loop.sock_sendall(a, numbers))
            assert await receive(loop, b, 800_000) == numbers.tobytes()
            await task

    run(main())


def test_what_is_being_sent_cannot_be_resized(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            data = bytearray(1_000_000)
            task = loop.create_task(loop.sock_sendall(a, data))
            await until_waiting(task)
            with pytest.raises(BufferError):
                data.clear()
            await receive(loop, b, len(data))
            await task
            del task
            data.clear()

    run(main())


def test_sendall_of_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            assert await loop.sock_sendall(a, b"") is None
            assert await loop.sock_sendall(a, bytearray()) is None
            b.close()

    run(main())


def test_sendall_to_a_closed_peer(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = loop.create_task(loop.sock_sendall(a, b"x" * 1_000_000))
            await until_waiting(task)
            b.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await task
            with pytest.raises(BrokenPipeError):
                await loop.sock_sendall(a, b"more")

    run(main())


def test_one_task_receives_while_another_sends(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            data = os.urandom(1_000_000)
            send_a = loop.create_task(loop.sock_sendall(a, data))
            send_b = loop.create_task(loop.sock_sendall(b, data))
            recv_a = loop.create_task(receive(loop, a, len(data)))
            recv_b = loop.create_task(receive(loop, b, len(data)))
            assert await recv_a == await recv_b == data
            await send_a
            await send_b

    run(main())


# ---- connecting and accepting ----


def test_connect_and_accept(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener:
            task = loop.create_task(loop.sock_accept(listener))
            await until_waiting(task)
            with tcp() as client:
                assert await loop.sock_connect(client, listener.getsockname()) is None
                server, address = await task
                with server:
                    assert type(server) is socket.socket
                    assert address == client.getsockname() == server.getpeername()
                    assert server.gettimeout() == 0
                    assert not os.get_blocking(server.fileno())
                    assert not server.get_inheritable()
                    assert server.family is socket.AF_INET
                    assert server.type is socket.SOCK_STREAM
                    await loop.sock_sendall(client, b"hi")
                    assert await loop.sock_recv(server, 10) == b"hi"

    run(main())


def test_accept_one_after_another(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(tcp()) for _ in range(50)]
            await asyncio.gather(*[loop.sock_connect(client, listener.getsockname()) for client in clients])
            names = set()
            for _ in clients:
                server, address = await loop.sock_accept(listener)
                stack.enter_context(server)
                names.add(address)
            assert names == {client.getsockname() for client in clients}

    run(main())


def test_connect_by_name(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener, tcp() as client:
            await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()

    run(main())


class Recorder(socket.socket):
    """A socket that notes where it is to connect."""

    def connect(self, address: Any) -> None:
        self.address = address


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize("address", [("fe80::1%lo", 9), ("fe80::1", 9, 0, socket.if_nametoindex("lo"))])
def test_connect_keeps_the_zone_of_an_ipv6_address(run: Run, address: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Recorder(socket.AF_INET6) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            assert sock.address == ("fe80::1", 9, 0, socket.if_nametoindex("lo"))

    run(main())


def test_connect_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener:
            address = listener.getsockname()
        with tcp() as client, pytest.raises(ConnectionRefusedError, match=str(address[1])):
            await loop.sock_connect(client, address)

    run(main())


def test_unix_sockets(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with pytest.raises(FileNotFoundError):
                await loop.sock_connect(client, path)
            with listening(path, socket.AF_UNIX) as listener:
                await loop.sock_connect(client, path)
                server, address = await loop.sock_accept(listener)
                with server:
                    assert address == ""
                    await loop.sock_sendall(server, b"hi")
                    assert await loop.sock_recv(client, 10) == b"hi"

    run(main())


@pytest.mark.extra("asyncio takes the refusal for a connection")
def test_connect_waits_for_room_in_a_unix_backlog(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        with listening(path, socket.AF_UNIX, backlog=1) as listener, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(8)]
            for client in clients:
                client.setblocking(False)
            tasks = [loop.create_task(loop.sock_connect(client, path)) for client in clients]
            await turns(3)
            assert not all(task.done() for task in tasks)
            for _ in clients:
                server, _ = await loop.sock_accept(listener)
                stack.enter_context(server)
            for task in tasks:
                await task
            for client in clients:
                client.getpeername()

    run(main())


# ---- cancellation ----


def test_a_cancelled_call_leaves_the_socket_usable(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(a, 10), 0.001)
            filled = fill(a)
            task = loop.create_task(loop.sock_sendall(a, b"x"))
            await until_waiting(task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            b.send(b"hello")
            assert await loop.sock_recv(a, 10) == b"hello"
            await receive(loop, b, filled)
            await loop.sock_sendall(a, b"again")
            assert await loop.sock_recv(b, 10) == b"again"

    run(main())


async def cancelled_after(task: asyncio.Task[Any], event: Callable[[], object], count: int) -> Any:
    """Cancel the task `count` turns after what it waits for has happened. Its result, or None if it was cancelled."""
    await until_waiting(task)
    event()
    await turns(count)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


@pytest.mark.extra("asyncio loses what arrived in the turn of the cancellation")
@pytest.mark.parametrize("count", range(8))
def test_cancellation_loses_no_bytes(run: Run, count: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            buffer = bytearray(10)
            got = await cancelled_after(loop.create_task(loop.sock_recv(a, 10)), lambda: b.send(b"one"), count)
            assert got == b"one" or await loop.sock_recv(a, 10) == b"one"
            got = await cancelled_after(loop.create_task(loop.sock_recv_into(a, buffer)), lambda: b.send(b"two"), count)
            assert (got or await loop.sock_recv_into(a, buffer)) == 3
            assert buffer[:3] == b"two"
        with datagram() as a, datagram() as b:

            def send() -> None:
                b.sendto(b"three", a.getsockname())

            got = await cancelled_after(loop.create_task(loop.sock_recvfrom(a, 10)), send, count)
            assert (got or await loop.sock_recvfrom(a, 10)) == (b"three", b.getsockname())
            got = await cancelled_after(loop.create_task(loop.sock_recvfrom_into(a, buffer)), send, count)
            assert (got or await loop.sock_recvfrom_into(a, buffer)) == (5, b.getsockname())

    run(main())


@pytest.mark.extra("asyncio loses what arrived in the turn of the cancellation")
@pytest.mark.parametrize("count", range(8))
def test_cancellation_loses_no_connection(run: Run, count: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener, socket.socket() as client:
            task = loop.create_task(loop.sock_accept(listener))
            got = await cancelled_after(task, lambda: client.connect(listener.getsockname()), count)
            server, address = got or await loop.sock_accept(listener)
            with server:
                assert address == client.getsockname()

    run(main())


@pytest.mark.extra("asyncio's second call takes the place of the first")
@pytest.mark.parametrize("count", range(6))
def test_a_cancelled_reader_lets_the_next_in_line_read(run: Run, count: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            first = loop.create_task(loop.sock_recv(a, 10))
            await until_waiting(first)
            second = loop.create_task(loop.sock_recv(a, 10))
            await until_waiting(first, second)
            b.send(b"one")
            await turns(count)
            if first.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await first
            else:
                assert first.result() == b"one"
                b.send(b"one")
            assert await second == b"one"

    run(main())


# ---- several at once ----


@pytest.mark.extra("asyncio's second call takes the place of the first")
def test_readers_are_served_in_the_order_in_which_they_came(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            tasks = [loop.create_task(loop.sock_recv(a, 1)) for _ in range(10)]
            await until_waiting(*tasks)
            b.send(b"0123456789")
            assert [await task for task in tasks] == [b"%d" % i for i in range(10)]

    run(main())


@pytest.mark.extra("asyncio's second call takes the place of the first")
def test_what_several_tasks_send_is_not_mixed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            pieces = [bytes([i]) * 300_000 for i in range(5)]
            tasks = [loop.create_task(loop.sock_sendall(a, piece)) for piece in pieces]
            await until_waiting(*tasks)
            assert await receive(loop, b, 1_500_000) == b"".join(pieces)
            for task in tasks:
                await task

    run(main())


@pytest.mark.extra("asyncio's second call takes the place of the first")
def test_acceptors_share_the_connections(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener, contextlib.ExitStack() as stack:
            tasks = [loop.create_task(loop.sock_accept(listener)) for _ in range(5)]
            await until_waiting(*tasks)
            clients = [stack.enter_context(tcp()) for _ in tasks]
            for client in clients:
                await loop.sock_connect(client, listener.getsockname())
            for task, client in zip(tasks, clients):
                server, address = await task
                stack.enter_context(server)
                assert address == client.getsockname()

    run(main())


def test_many_connections_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def serve(sock: socket.socket) -> None:
            with sock:
                while data := await loop.sock_recv(sock, 1000):
                    await loop.sock_sendall(sock, data)

        async def ask(number: int) -> None:
            with tcp() as sock:
                await loop.sock_connect(sock, listener.getsockname())
                for i in range(10):
                    message = b"%d-%d" % (number, i)
                    await loop.sock_sendall(sock, message)
                    assert await receive(loop, sock, len(message)) == message

        with listening() as listener:
            asking = [loop.create_task(ask(number)) for number in range(200)]
            serving = []
            for _ in asking:
                sock, _ = await loop.sock_accept(listener)
                serving.append(loop.create_task(serve(sock)))
            await asyncio.gather(*asking, *serving)

    run(main())


# ---- descriptors that are closed, and used again ----


def test_a_closed_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            a.close()
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: loop.sock_recv(a, 1),
                lambda: loop.sock_recv_into(a, bytearray(1)),
                lambda: loop.sock_recvfrom(a, 1),
                lambda: loop.sock_recvfrom_into(a, bytearray(1)),
                lambda: loop.sock_sendall(a, b"x"),
                lambda: loop.sock_sendto(a, b"x", "/nowhere"),
                lambda: loop.sock_accept(a),
                lambda: loop.sock_connect(a, "/nowhere"),
            ]
            for call in calls:
                with pytest.raises(OSError) as caught:
                    await call()
                assert caught.value.errno == errno.EBADF

    run(main())


def test_a_number_used_again_is_another_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        numbers = set()
        for i in range(20):
            with pair() as (a, b):
                numbers.add(a.fileno())
                for j in range(3):
                    # waits, so that the poller has the descriptor when it is closed
                    task = loop.create_task(loop.sock_recv(a, 100))
                    await until_waiting(task)
                    b.send(b"%d %d" % (i, j))
                    assert await asyncio.wait_for(task, 5) == b"%d %d" % (i, j)
        assert len(numbers) < 20

    run(main())


@pytest.mark.extra("asyncio leaves whoever waited waiting")
def test_who_waited_for_a_closed_socket_learns_of_it_when_the_number_is_used_again(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with b:
            a.setblocking(False)
            number = a.fileno()
            recv = loop.create_task(loop.sock_recv(a, 100))
            fill(a)
            send = loop.create_task(loop.sock_sendall(a, b"x"))
            await until_waiting(recv, send)
            a.close()
            with pair() as (c, d):
                assert c.fileno() == number
                task = loop.create_task(loop.sock_recv(c, 100))
                for old in (recv, send):
                    with pytest.raises(OSError) as caught:
                        await asyncio.wait_for(old, 5)
                    assert caught.value.errno == errno.EBADF
                assert not task.done()
                d.send(b"for c")
                assert await asyncio.wait_for(task, 5) == b"for c"
        del a

    run(main())


def test_another_object_for_the_same_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = loop.create_task(loop.sock_recv(a, 100))
            await until_waiting(task)
            b.send(b"one")
            assert await task == b"one"
            with socket.socket(fileno=a.detach()) as other:
                other.setblocking(False)
                task = loop.create_task(loop.sock_recv(other, 100))
                await until_waiting(task)
                b.send(b"two")
                assert await asyncio.wait_for(task, 5) == b"two"

    run(main())


async def idles(seconds: float = 0.2) -> bool:
    """True if the loop sleeps while nothing is to be done."""
    begun = time.process_time()
    await asyncio.sleep(seconds)
    return time.process_time() - begun < seconds / 10


def test_bytes_that_nobody_waits_for_do_not_keep_the_loop_busy(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            task = loop.create_task(loop.sock_recv(a, 100))
            await until_waiting(task)
            b.send(b"one")
            await task
            b.send(b"two")
            assert await idles()
            assert await loop.sock_recv(a, 100) == b"two"
            # and the poller is asked again
            task = loop.create_task(loop.sock_recv(a, 100))
            await until_waiting(task)
            b.send(b"three")
            assert await asyncio.wait_for(task, 5) == b"three"

    run(main())


@pytest.mark.parametrize("again", [False, True], ids=["closed", "number used again"])
def test_a_duplicate_that_outlives_the_socket_does_not_keep_the_loop_busy(run: Run, again: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with b, a.dup(), contextlib.ExitStack() as stack:
            a.setblocking(False)
            number = a.fileno()
            task = loop.create_task(loop.sock_recv(a, 100))
            await until_waiting(task)
            b.send(b"one")
            await task
            a.close()
            waiting = None
            if again:
                c, d = stack.enter_context(pair())
                assert c.fileno() == number
                waiting = loop.create_task(loop.sock_recv(c, 100))
                await until_waiting(waiting)
            b.send(b"two")  # now the duplicate is readable, and stays so
            assert await idles()
            if waiting is not None:
                d.send(b"three")
                assert await asyncio.wait_for(waiting, 5) == b"three"

    run(main())


# ---- with transports ----


class Collect(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


def test_a_connected_socket_becomes_a_transport(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with listening() as listener:
            client = tcp()
            await loop.sock_connect(client, listener.getsockname())
            server, _ = await loop.sock_accept(listener)
            with server:
                task = loop.create_task(loop.sock_recv(client, 100))
                await until_waiting(task)
                await loop.sock_sendall(server, b"first")
                assert await task == b"first"
                transport, protocol = await loop.create_connection(Collect, sock=client)
                await loop.sock_sendall(server, b"second")
                transport.write(b"back")
                assert await loop.sock_recv(server, 100) == b"back"
                server.shutdown(socket.SHUT_WR)
                assert await asyncio.wait_for(protocol.lost, 5) is None
                assert protocol.data == b"second"

    run(main())


@pytest.mark.parametrize("busy", [0, 100])
def test_bytes_that_arrive_while_a_socket_becomes_a_transport(run: Run, busy: int) -> None:
    """With much to do the loop looks at its descriptors just then."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        client, server = socket.socketpair()
        with server:
            client.setblocking(False)
            server.setblocking(False)
            task = loop.create_task(loop.sock_recv(client, 100))
            await until_waiting(task)
            server.send(b"first")
            assert await task == b"first"
            for _ in range(busy):
                loop.call_soon(int)
            await asyncio.sleep(0)
            server.send(b"second")
            transport, protocol = await loop.create_connection(Collect, sock=client)
            await asyncio.sleep(0.01)
            server.send(b"third")
            server.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(protocol.lost, 5) is None
            assert protocol.data == b"secondthird"

    run(main())


def test_the_socket_of_a_transport_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with b:
            a.setblocking(False)
            b.setblocking(False)
            fill(a)
            transport, protocol = await loop.create_connection(Collect, sock=a)
            for call in (loop.sock_recv(a, 1), loop.sock_recv_into(a, bytearray(1)), loop.sock_sendall(a, b"x")):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await call
            transport.abort()
            await protocol.lost

    run(main())


# ---- bad input ----


def tls_socket() -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return context.wrap_socket(socket.socket(), server_hostname="localhost")


@pytest.mark.parametrize("kind", ["blocking", "TLS"])
def test_sockets_that_the_loop_cannot_use(run: Run, kind: str) -> None:
    """A blocking one is told of in debug mode only."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = tls_socket() if kind == "TLS" else socket.socket()
        with sock:
            calls = [
                loop.sock_recv(sock, 1),
                loop.sock_recv_into(sock, bytearray(1)),
                loop.sock_recvfrom(sock, 1),
                loop.sock_recvfrom_into(sock, bytearray(1)),
                loop.sock_sendall(sock, b"x"),
                loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
                loop.sock_accept(sock),
                loop.sock_connect(sock, ("127.0.0.1", 9)),
            ]
            for call in calls:
                if kind == "TLS":
                    with pytest.raises(TypeError, match="SSLSocket"):
                        await call
                else:
                    with pytest.raises(ValueError, match="the socket must be non-blocking"):
                        await call

    run(main(), debug=True)


def test_arguments_of_the_wrong_kind(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            with pytest.raises(ValueError, match="negative buffersize"):
                await loop.sock_recv(a, -1)
            with pytest.raises(ValueError):
                await loop.sock_recvfrom(a, -1)
            with pytest.raises(ValueError):
                await loop.sock_recvfrom_into(a, bytearray(3), 9)
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: loop.sock_recv(a, "x"),  # type: ignore[arg-type]
                lambda: loop.sock_recv(a, 1.5),  # type: ignore[arg-type]
                lambda: loop.sock_recv_into(a, b"read-only"),  # type: ignore[arg-type]
                lambda: loop.sock_recv_into(a, 5),  # type: ignore[arg-type]
                lambda: loop.sock_sendall(a, "text"),  # type: ignore[arg-type]
                lambda: loop.sock_sendall(a, None),  # type: ignore[arg-type]
                lambda: loop.sock_sendto(a, "text", b.getsockname()),  # type: ignore[arg-type]
            ]
            for call in calls:
                with pytest.raises(TypeError):
                    await call()

    run(main())


def test_a_call_that_is_not_awaited_says_so_and_does_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            b.send(b"hello")
            with pytest.warns(RuntimeWarning, match="sock_recv' was never awaited"):
                call = loop.sock_recv(a, 10)
                del call
                gc.collect()
            with pytest.warns(RuntimeWarning, match="sock_sendall' was never awaited"):
                call = loop.sock_sendall(a, b"x")
                del call
                gc.collect()
            assert await loop.sock_recv(a, 10) == b"hello"

    run(main())


# ---- other kinds of sockets ----


class Shouting(socket.socket):
    """A socket whose methods do more than the system's."""

    def recv(self, *args: Any) -> bytes:
        return super().recv(*args).upper()

    def send(self, data: Any, *args: Any) -> int:
        return super().send(bytes(data).upper(), *args)


def test_methods_of_a_subclass_are_used(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b), Shouting(a.family, a.type, 0, os.dup(a.fileno())) as shouting:
            shouting.setblocking(False)
            task = loop.create_task(loop.sock_recv(shouting, 10))
            await until_waiting(task)
            b.send(b"hello")
            assert await task == b"HELLO"
            task = loop.create_task(loop.sock_sendall(shouting, b"abc" * 200_000))
            assert await receive(loop, b, 600_000) == b"ABC" * 200_000
            await task

    run(main())


def test_a_loop_closed_while_calls_wait(aio: ModuleType) -> None:
    loop = aio.new_event_loop()
    with pair() as (a, _):
        task = loop.create_task(loop.sock_recv(a, 10))
        loop.run_until_complete(turns(3))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        assert a.fileno() >= 0
