"""What a runtime costs before it does anything, memory of what waits and start-up; and other processes: starting them,
reading what they write, pipes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from socket import socket
from subprocess import PIPE
from typing import Any

from rows import BACKLOG, Row, Unavailable, add

MIB = 1 << 20


async def sleeping_tasks(aio: Any, n: int) -> Any:
    async def sleeper() -> None:
        await aio.sleep(3600)

    tasks = [aio.create_task(sleeper()) for _ in range(n)]
    await aio.sleep(0)
    return tasks


async def idle_connections(aio: Any, listener: socket, made: Callable[[], None]) -> Any:
    class Idle(asyncio.Protocol):
        __slots__ = ("transport",)

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            made()

    return await aio.get_running_loop().create_server(Idle, sock=listener, backlog=BACKLOG)


async def spawn(aio: Any, n: int) -> None:
    for _ in range(n):
        process = await started(aio, "/bin/true")
        await process.wait()


async def started(aio: Any, *args: str, **options: Any) -> Any:
    try:
        return await aio.create_subprocess_exec(*args, **options)
    except NotImplementedError as e:
        raise Unavailable("it has no subprocesses") from e


_ballast: list[bytearray] = []


async def spawn_of_2_gib(aio: Any, n: int) -> None:
    if not _ballast:
        _ballast.append(bytearray(2 << 30))
        _ballast[0][::4096] = b"x" * (len(_ballast[0]) // 4096)  # so that every page is there
    await spawn(aio, n)


async def output(aio: Any, n: int) -> None:
    process = await started(aio, "head", "-c", str(n * MIB), "/dev/zero", stdout=PIPE)
    received = 0
    while data := await process.stdout.read(MIB):
        received += len(data)
    await process.wait()
    if received != n * MIB:
        raise ValueError(f"{received} bytes were received")


async def communicated(aio: Any, n: int) -> None:
    process = await started(aio, "head", "-c", str(n * MIB), "/dev/zero", stdout=PIPE)
    data, _ = await process.communicate()
    if len(data) != n * MIB:
        raise ValueError(f"{len(data)} bytes were received")


class _Counter(asyncio.Protocol):
    """Sends a message again for each that comes back, and counts."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.out: Any = None
        self.over = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.out.write(data)
        else:
            self.over.set_result(None)


class _PipeEcho(asyncio.Protocol):
    out: Any = None

    def data_received(self, data: bytes) -> None:
        self.out.write(data)


async def pipe_echo(aio: Any, n: int) -> None:
    """There and back through two pipes of this process."""
    loop = aio.get_running_loop()
    counter, echo = _Counter(n), _PipeEcho()
    there, back = os.pipe(), os.pipe()
    ends: list[Any] = []
    try:
        for protocol, fd in ((echo, there[0]), (counter, back[0])):
            ends.append((await loop.connect_read_pipe(lambda p=protocol: p, open(fd, "rb", 0)))[0])  # type: ignore[misc]
        for protocol, fd in ((counter, there[1]), (echo, back[1])):
            protocol.out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(fd, "wb", 0))
            ends.append(protocol.out)
    except NotImplementedError as e:
        raise Unavailable("it has no pipe transports") from e
    counter.out.write(b"x" * 1024)
    await counter.over
    for end in ends:
        end.close()
    await asyncio.sleep(0)


async def call_in_a_process(aio: Any, n: int) -> None:
    """A trivial function in a warm worker: by to_process() where there is one, else by ProcessPoolExecutor."""
    to_process = getattr(aio, "to_process", None)
    if to_process is not None:
        for _ in range(n):
            await to_process(abs, -1)
        return
    loop = aio.get_running_loop()
    if not _executors:
        _executors.append(ProcessPoolExecutor(1))
    for _ in range(n):
        await loop.run_in_executor(_executors[0], abs, -1)


_executors: list[ProcessPoolExecutor] = []


def start_up() -> None:
    """The programs are in loops.py."""


add(Row("memory of a sleeping task", "memory", sleeping_tasks, 100_000, unit="B"))
add(Row("memory of an idle connection", "idle", idle_connections, 5_000, native=False, unit="B"))
add(Row("start-up", "startup", start_up, native=False))
add(Row("subprocess spawn + wait", "wall", spawn, 50))
add(Row("subprocess spawn + wait, CPU", "operation", spawn, 50))
add(Row("subprocess spawn + wait, parent of 2 GiB", "wall", spawn_of_2_gib, 50, quick=False))
add(Row("subprocess output, 1 MiB", "operation", output, 100))
add(Row("subprocess communicate, 1 MiB", "operation", communicated, 100))
add(Row("call in a worker process", "wall", call_in_a_process, 500))
add(Row("call in a worker process, CPU of the parent", "operation", call_in_a_process, 500))
add(Row("pipe echo, 1 KiB", "operation", pipe_echo, 5000, native=False))
