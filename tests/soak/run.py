"""The soak: a program that does everything at once, at random, for as long as one likes, and must end as it began.

    python tests/soak/run.py [--minutes 10] [--connections N] [--seed S] [--runtime glassloop|asyncio] [--build BUILD]

Workers connect, talk, break off, time out, are cancelled, over TCP, Unix sockets, TLS, UDP, bare sockets, subprocesses,
threads, queues and locks. Now and then they all stop, and what is open is counted: descriptors, tasks, threads, child
processes, memory and objects. After a warm-up none of these may grow. With --connections it goes on until there were
that many, though the time is over.

The last line has the totals; the exit code is 1 if something grew, was reported to the exception handler, or hung.
Which actions come in which order is given by the seed; when they are cancelled is not.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import gc
import importlib
import os
import random
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
CERTS = ROOT / "tests" / "certs"
WORKERS = 50
ROUND = 5.0  # seconds
WARM_UP = 3  # rounds
LIMIT = 30.0  # seconds that one action may take
LOST = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError)
OUTPUT = 200_000  # bytes that a subprocess may print

Action = Callable[["Soak"], Awaitable[None]]
actions: list[tuple[int, Action]] = []


def often(weight: int) -> Callable[[Action], Action]:
    def register(action: Action) -> Action:
        actions.append((weight, action))
        return action

    return register


class Soak:
    def __init__(self, names: Any, seed: int) -> None:
        self.names = names
        self.random = random.Random(seed)
        self.done: collections.Counter[str] = collections.Counter()
        self.reports: list[str] = []
        self.folder = tempfile.TemporaryDirectory()
        self.servers: list[Any] = []

    # ---- what is talked to ----

    async def start(self) -> None:
        names, loop = self.names, asyncio.get_running_loop()
        loop.set_exception_handler(self.report)
        server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_side.load_cert_chain(CERTS / "server.pem")
        self.client_side = ssl.create_default_context(cafile=str(CERTS / "authority.pem"))
        self.path = str(Path(self.folder.name) / "socket")
        streams = await names.start_server(self.echo_stream, "127.0.0.1", 0, backlog=500)
        protocols = await loop.create_server(Echo, "127.0.0.1", 0, backlog=500)
        unix = await names.start_unix_server(self.echo_stream, self.path, backlog=500)
        tls = await names.start_server(self.echo_stream, "127.0.0.1", 0, ssl=server_side, backlog=500)
        self.streams, self.protocols, self.tls = (one.sockets[0].getsockname() for one in (streams, protocols, tls))
        self.servers = [streams, protocols, unix, tls]
        self.datagrams, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=("127.0.0.1", 0))

    async def stop(self) -> None:
        for server in self.servers:
            server.close()
            await server.wait_closed()
        self.datagrams.close()
        self.folder.cleanup()

    async def echo_stream(self, reader: Any, writer: Any) -> None:
        try:
            while data := await reader.read(20_000):
                writer.write(data)
                await writer.drain()
        except LOST:
            pass
        finally:
            writer.close()

    def report(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, LOST):  # a peer that broke off
            return
        self.reports.append(f"{context['message']}: {error!r}")
        print("reported:", self.reports[-1], file=sys.stderr, flush=True)

    # ---- the workers ----

    async def work(self, until: float) -> None:
        weights = [weight for weight, _ in actions]
        while time.monotonic() < until:
            (_, action), = self.random.choices(actions, weights)
            name = getattr(action, "__name__", "action")
            task = asyncio.ensure_future(action(self))
            if self.random.random() < 0.15:
                name = "cancelled"
                await asyncio.wait([task], timeout=self.random.choice([0, 0, 0.001, 0.005]))
                task.cancel()
            done, _ = await asyncio.wait([task], timeout=LIMIT)
            if not done:
                self.reports.append(f"{name} hangs")
                task.cancel()
                return
            if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LOST):
                self.reports.append(f"{name}: {error!r}")
                print("failed:", self.reports[-1], file=sys.stderr, flush=True)
            self.done[name] += 1

    async def round(self) -> None:
        until = time.monotonic() + ROUND
        workers = [asyncio.ensure_future(self.work(until)) for _ in range(WORKERS)]
        await asyncio.wait(workers)
        for worker in workers:
            worker.result()

    def connected(self) -> int:
        return sum(self.done[name] for name in CONNECTING)


async def settled() -> dict[str, int]:
    """Wait until all that ends by itself has ended, and count what is left."""
    before: dict[str, int] = {}
    for _ in range(100):
        for _ in range(3):
            await asyncio.sleep(0.02)
        gc.collect()
        now = count()
        if {**now, "memory": 0} == {**before, "memory": 0}:
            break
        before = now
    return now


def count() -> dict[str, int]:
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "children": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        "objects": len(gc.get_objects()),
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
    }


# What a run may end with beyond what it had after the warm-up. Pools of threads grow up to their bounds, and the memory
# allocator keeps some; a leak of one object per connection would be far above.
ALLOWED = {"descriptors": 0, "tasks": 0, "threads": 24, "children": 0, "objects": 2_000, "memory": 8_192}


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


def reset(writer: Any) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def talk(soak: Soak, reader: Any, writer: Any, sizes: list[int]) -> None:
    end = soak.random.random()
    try:
        for size in soak.random.choices(sizes, k=3):
            data = os.urandom(16) * (size // 16 + 1)
            writer.write(data)
            await writer.drain()
            if end < 0.1:
                break  # without waiting for the answer
            if await reader.readexactly(len(data)) != data:
                soak.reports.append("an echo came back changed")
    finally:
        if end < 0.2:
            reset(writer)
        else:
            writer.close()
    with contextlib.suppress(*LOST):
        await writer.wait_closed()


# ---- what they do ----


@often(40)
async def tcp_streams(soak: Soak) -> None:
    reader, writer = await soak.names.open_connection(*soak.streams)
    await talk(soak, reader, writer, [1, 100, 10_000])


@often(3)
async def tcp_bulk(soak: Soak) -> None:
    reader, writer = await soak.names.open_connection(*soak.protocols)
    await talk(soak, reader, writer, [60_000])


@often(15)
async def unix_streams(soak: Soak) -> None:
    reader, writer = await soak.names.open_unix_connection(soak.path)
    await talk(soak, reader, writer, [1, 100, 30_000])


@often(15)
async def tcp_protocols(soak: Soak) -> None:
    loop = asyncio.get_running_loop()

    class Talk(asyncio.Protocol):
        def __init__(self) -> None:
            self.answer = loop.create_future()

        def data_received(self, data: bytes) -> None:
            if not self.answer.done():
                self.answer.set_result(data)

        def connection_lost(self, error: Exception | None) -> None:
            if not self.answer.done():
                self.answer.cancel()

    transport, protocol = await loop.create_connection(Talk, *soak.protocols)
    try:
        transport.write(b"hello")
        await protocol.answer
    finally:
        transport.abort() if soak.random.random() < 0.3 else transport.close()


@often(10)
async def bare_sockets(soak: Soak) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, soak.protocols)
        data = b"y" * soak.random.choice([1, 5_000])
        await loop.sock_sendall(sock, data)
        got = 0
        while got < len(data):
            more = await loop.sock_recv(sock, 10_000)
            if not more:
                raise ConnectionResetError
            got += len(more)


@often(4)
async def tls(soak: Soak) -> None:
    reader, writer = await soak.names.open_connection(
        *soak.tls, ssl=soak.client_side, server_hostname="localhost", ssl_handshake_timeout=LIMIT)
    await talk(soak, reader, writer, [1, 1_000, 40_000])


@often(5)
async def datagrams(soak: Soak) -> None:
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    class Ask(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: Any) -> None:
            if not answered.done():
                answered.set_result(data)

        def error_received(self, error: OSError) -> None:
            pass

    address = soak.datagrams.get_extra_info("sockname")
    transport, _ = await loop.create_datagram_endpoint(Ask, remote_addr=address)
    try:
        transport.sendto(b"hello")
        async with soak.names.timeout(1):
            await answered
    finally:
        transport.close()


@often(1)
async def subprocesses(soak: Soak) -> None:
    command = [f"cat; head -c {OUTPUT} /dev/zero", "exit 3", "kill -9 $$", "exec sleep 60"]
    process = await soak.names.create_subprocess_shell(
        soak.random.choice(command), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL)
    try:
        async with soak.names.timeout(soak.random.choice([0.05, 1])):
            if soak.random.random() < 0.5:
                await process.communicate(b"input")
            else:
                process.stdin.close()
                await process.stdout.read()
                await process.wait()
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        await process.wait()


@often(5)
async def threads(soak: Soak) -> None:
    await soak.names.to_thread(time.sleep, soak.random.choice([0, 0.001]))


@often(5)
async def names(soak: Soak) -> None:
    host = soak.random.choice(["localhost", "127.0.0.1", "::1"])
    await asyncio.get_running_loop().getaddrinfo(host, 80, type=socket.SOCK_STREAM)


@often(10)
async def queues(soak: Soak) -> None:
    queue = soak.names.Queue(3)

    async def put() -> None:
        for n in range(20):
            await queue.put(n)
            if n == soak_stops:
                raise KeyError

    soak_stops = soak.random.choice([5, 50])
    try:
        async with soak.names.TaskGroup() as group:
            group.create_task(put())
            for _ in range(20):
                await queue.get()
    except* KeyError:
        pass


@often(10)
async def locks(soak: Soak) -> None:
    lock, semaphore, condition = soak.names.Lock(), soak.names.Semaphore(2), soak.names.Condition()

    async def hold() -> None:
        async with lock, semaphore:
            await asyncio.sleep(0)
        async with condition:
            condition.notify_all()

    await soak.names.gather(*[hold() for _ in range(5)])
    with contextlib.suppress(TimeoutError):
        async with condition:
            await soak.names.wait_for(condition.wait(), 0.002)


CONNECTING = ("tcp_streams", "tcp_bulk", "unix_streams", "tcp_protocols", "bare_sockets", "tls")


async def soak(options: argparse.Namespace, names: Any) -> int:
    soak = Soak(names, options.seed)
    await soak.start()
    began = time.monotonic()
    baseline: dict[str, int] = {}
    rounds = 0
    while True:
        await soak.round()
        counts = await settled()
        rounds += 1
        if rounds == WARM_UP:
            baseline = counts
        state = ", ".join(f"{key} {value}" for key, value in counts.items())
        print(f"{time.monotonic() - began:6.0f} s, {soak.connected()} connections: {state}", flush=True)
        over = time.monotonic() - began >= options.minutes * 60 and soak.connected() >= options.connections
        if soak.reports or (baseline and over and rounds > WARM_UP):
            break
    seconds = time.monotonic() - began
    await soak.stop()
    baseline = baseline or counts
    grown = [key for key in ALLOWED if counts[key] > baseline[key] + ALLOWED[key]]
    for problem in soak.reports:
        print("PROBLEM:", problem)
    totals = ", ".join(f"{value} {key}" for key, value in soak.done.most_common())
    flat = ", ".join(f"{key} {baseline[key]} -> {counts[key]}" for key in ALLOWED)
    verdict = "passed" if not grown and not soak.reports else f"FAILED ({', '.join(grown) or 'see above'})"
    print(f"soak {verdict}: {seconds / 60:.1f} minutes, {soak.connected()} connections; {totals}; {flat}")
    return 0 if verdict == "passed" else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtime", choices=["glassloop", "asyncio"], default="glassloop")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the BUILD of `make build`")
    options = parser.parse_args()
    compiled = options.build / f"compiled-{sys.implementation.cache_tag}"
    sys.path.insert(0, str(compiled if compiled.is_dir() else ROOT / "src"))
    names = importlib.import_module(options.runtime)
    print(f"soak on {names.__name__}, compiled: {getattr(names, 'compiled', '-')}, Python {sys.version.split()[0]}")
    with asyncio.Runner(loop_factory=names.new_event_loop) as runner:
        return int(runner.run(soak(options, names)))


if __name__ == "__main__":
    sys.exit(main())
