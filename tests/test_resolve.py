"""Names to addresses: getaddrinfo() and getnameinfo() of the loop, and what connections make of literal addresses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks")

LOOPBACK = socket.if_nametoindex("lo")


def lookup_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("glassloop-dns")]


class Gate:
    """socket.getaddrinfo() made to block until the gate opens; the answers of names that start with `slow`."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.inside = 0
        self.most = 0
        self.lock = threading.Lock()
        self.real = socket.getaddrinfo

    def getaddrinfo(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        if not (isinstance(host, str) and host.startswith("slow")):
            return self.real(host, *args, **kwargs)
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        if not self.opened.wait(30):
            raise TimeoutError("the gate was never opened")
        with self.lock:
            self.inside -= 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]

    async def wait_entered(self, count: int = 1) -> None:
        """Until so many lookups are in progress."""
        for _ in range(count):
            while not self.entered.acquire(blocking=False):
                await asyncio.sleep(0.001)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(socket, "getaddrinfo", gate.getaddrinfo)
    try:
        yield gate
    finally:
        gate.opened.set()
        for thread in lookup_threads():
            thread.join(10)


# ---- literals ----

LITERALS = [
    ("127.0.0.1", 80, {}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "80", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", b"80", {"type": socket.SOCK_DGRAM}),
    (b"127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", None, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 0, {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_CANONNAME}),
    ("127.0.0.1", 80, {"family": socket.AF_INET6, "type": socket.SOCK_STREAM, "flags": socket.AI_V4MAPPED}),
    ("127.1", 80, {"type": socket.SOCK_STREAM}),
    ("0x7f000001", 80, {"type": socket.SOCK_STREAM}),
    ("::1", 80, {}),
    ("::1", 80, {"family": socket.AF_INET6, "type": socket.SOCK_STREAM}),
    ("::ffff:127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
    ("fe80::1%lo", 80, {"type": socket.SOCK_STREAM}),
    (f"fe80::1%{LOOPBACK}", 80, {"type": socket.SOCK_STREAM}),
    (None, 80, {"type": socket.SOCK_STREAM}),
    (None, 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
]


@pytest.mark.parametrize(("host", "port", "options"), LITERALS)
def test_a_literal_gives_what_the_system_gives(run: Any, host: Any, port: Any, options: dict[str, int]) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().getaddrinfo(host, port, **options)

    assert run(main()) == socket.getaddrinfo(host, port, **options)


@pytest.mark.extra("asyncio asks on a thread")
@pytest.mark.parametrize(("host", "port", "options"), LITERALS)
def test_a_literal_is_answered_at_once(loop: Any, host: Any, port: Any, options: dict[str, int]) -> None:
    coroutine = loop.getaddrinfo(host, port, **options)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == socket.getaddrinfo(host, port, **options)
    assert not lookup_threads()


@pytest.mark.parametrize(
    ("host", "port", "options"),
    [
        ("1.2.3.4.5", 80, {"flags": socket.AI_NUMERICHOST}),
        ("localhost", 80, {"flags": socket.AI_NUMERICHOST}),
        ("fe80::1%nosuchinterface", 80, {}),
        ("127.0.0.1", 80, {"family": socket.AF_INET6}),
        ("127.0.0.1", "no-such-service", {}),
        ("::1:::", 80, {}),
        ("a" * 64 + ".example", 80, {}),
        (object(), 80, {}),
        ("127.0.0.1", object(), {}),
        ("127.0.0.1", 80, {"type": "stream"}),
    ],
)
def test_what_can_not_be_resolved_raises_what_the_system_raises(
    run: Any, host: Any, port: Any, options: dict[str, Any]
) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().getaddrinfo(host, port, **options)

    with pytest.raises(Exception) as expected:
        socket.getaddrinfo(host, port, **options)
    with pytest.raises(type(expected.value)) as raised:
        run(main())
    assert type(raised.value) is type(expected.value)
    assert str(raised.value) == str(expected.value)


# ---- names ----


def test_a_name_gives_what_the_system_gives(run: Any) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)

    assert run(main()) == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)


def test_a_service_gives_its_port(run: Any) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", "https", type=socket.SOCK_STREAM)

    assert run(main()) == socket.getaddrinfo("127.0.0.1", "https", type=socket.SOCK_STREAM)


def test_an_unknown_name_raises_gaierror(run: Any) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().getaddrinfo("nosuchhost.invalid", 80)

    with pytest.raises(socket.gaierror):
        run(main())


@pytest.mark.extra("asyncio looks up in the default executor")
def test_lookups_run_on_daemon_threads_of_their_own(run: Any, gate: Gate) -> None:
    async def main() -> tuple[list[threading.Thread], Any]:
        loop = asyncio.get_running_loop()
        lookup = loop.create_task(loop.getaddrinfo("slow.example", 1))
        await gate.wait_entered()
        threads = lookup_threads()
        gate.opened.set()
        return threads, await lookup

    threads, infos = run(main())
    assert [thread.daemon for thread in threads] == [True]
    assert infos[0][4] == ("127.0.0.1", 1)


@pytest.mark.extra("asyncio looks up in the default executor")
def test_a_lookup_does_not_wait_for_a_full_default_executor(run: Any) -> None:
    done = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(None, done.wait, 30) for _ in range(64)]
        try:
            assert await asyncio.wait_for(loop.getaddrinfo("localhost", 80), 10)
            assert not any(job.done() for job in jobs)
        finally:
            done.set()
            await asyncio.gather(*jobs)

    run(main())


@pytest.mark.extra("the bound is glassloop's")
def test_many_lookups_share_a_bounded_number_of_threads(run: Any, gate: Gate) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        lookups = [loop.create_task(loop.getaddrinfo(f"slow{i}.example", 1)) for i in range(40)]
        await gate.wait_entered(16)
        gate.opened.set()
        return await asyncio.gather(*lookups)

    assert len(run(main())) == 40
    assert gate.most == 16


@pytest.mark.extra("the threads are glassloop's")
def test_one_thread_does_what_is_asked_one_after_another(run: Any) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            await loop.getaddrinfo("localhost", 80)
        return len(lookup_threads())

    assert run(main()) == 1


def test_a_cancelled_lookup_ends_at_once(run: Any, gate: Gate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lookup = loop.create_task(loop.getaddrinfo("slow.example", 1))
        await gate.wait_entered()
        lookup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lookup
        gate.opened.set()
        # the late answer must find nobody, and do no harm
        assert await loop.getaddrinfo("localhost", 80)

    run(main())


@pytest.mark.extra("closing an asyncio loop waits for the lookup")
def test_a_lookup_that_hangs_does_not_hold_up_close(aio: ModuleType, gate: Gate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lookup = loop.create_task(loop.getaddrinfo("slow.example", 1))
        await gate.wait_entered()
        lookup.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lookup

    began = time.monotonic()
    with aio.Runner() as runner:
        runner.run(main())
    assert time.monotonic() - began < 5
    assert not gate.opened.is_set()


@pytest.mark.extra("asyncio waits for the lookup")
def test_an_answer_after_the_loop_was_closed_is_dropped_in_silence(
    python: Callable[..., Any], tmp_path: Path, runtime: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import asyncio, glassloop, socket, threading

real = socket.getaddrinfo
gate, entered = threading.Event(), threading.Event()

def getaddrinfo(*args):
    entered.set()
    gate.wait(30)
    return real(*args)

socket.getaddrinfo = getaddrinfo
loop = glassloop.new_event_loop()
task = loop.create_task(loop.getaddrinfo('localhost', 80))
while not entered.is_set():
    loop.run_until_complete(asyncio.sleep(0.001))
task.cancel()
loop.run_until_complete(asyncio.wait([task]))
loop.close()
threads = [t for t in threading.enumerate() if t.name.startswith('glassloop-dns')]
assert len(threads) == 1, threads
gate.set()
threads[0].join(10)
print('end', threads[0].is_alive())
"""
    )
    done = python(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end False\n"
    assert done.stderr == ""


def test_a_closed_loop_looks_nothing_up(aio: ModuleType) -> None:
    loop = aio.new_event_loop()
    loop.close()
    coroutine = loop.getaddrinfo("localhost", 80)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        coroutine.send(None)


@pytest.mark.extra("asyncio's exceptions hold the executor's frames")
def test_a_failed_lookup_leaves_nothing_to_the_garbage_collector(run: Any, runtime: str) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()

        async def fail() -> None:
            with contextlib.suppress(OSError):
                await loop.getaddrinfo("nosuchhost.invalid", 80)

        await fail()
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await fail()
            return gc.collect()
        finally:
            gc.enable()

    assert run(main()) == 0


# ---- addresses to names ----


@pytest.mark.parametrize("flags", [0, socket.NI_NUMERICHOST, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV])
@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 443, 0, 0)])
def test_getnameinfo_gives_what_the_system_gives(run: Any, address: tuple[Any, ...], flags: int) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().getnameinfo(address, flags)

    assert run(main()) == socket.getnameinfo(address, flags)


@pytest.mark.parametrize("address", ["127.0.0.1", ("localhost.invalid", 80)])
def test_getnameinfo_of_no_address_raises_what_the_system_raises(run: Any, address: Any) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().getnameinfo(address)

    with pytest.raises((TypeError, OSError)) as expected:
        socket.getnameinfo(address, 0)
    with pytest.raises(type(expected.value)):
        run(main())


# ---- what connections resolve ----


def test_connecting_to_a_literal_asks_nobody(loop: Any) -> None:
    asked = []
    real = loop.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        return real(host, *args, **kwargs)

    loop.getaddrinfo = getaddrinfo
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for host in "127.0.0.1", "localhost":
            transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, host, port))
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
    assert asked == ["localhost"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_the_zone_of_an_address_is_kept(loop: Any) -> None:
    async def main() -> Any:
        server = await loop.create_server(asyncio.Protocol, f"::1%{LOOPBACK}", 0)
        try:
            address = server.sockets[0].getsockname()
            return address[0]
        finally:
            server.close()

    assert loop.run_until_complete(main()) == "::1"
    assert loop.run_until_complete(dialled(loop, "fe80::1%lo")) == [("fe80::1", 80, 0, LOOPBACK)]


async def dialled(loop: Any, host: str) -> list[Any]:
    """The addresses that a connection to this host connects to."""
    connected = []

    class Watched(socket.socket):
        def connect(self, address: Any) -> None:
            connected.append(address)
            raise OSError("enough")

        connect_ex = connect  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Watched)
        with pytest.raises(OSError, match="enough"):
            await loop.create_connection(asyncio.Protocol, host, 80)
    return connected
