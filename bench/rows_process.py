"""What a runtime costs before it does anything: memory of what waits, and start-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from socket import socket
from typing import Any

from rows import BACKLOG, Row, add


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


def start_up() -> None:
    """The programs are in loops.py."""


add(Row("memory of a sleeping task", "memory", sleeping_tasks, 100_000, unit="B"))
add(Row("memory of an idle connection", "idle", idle_connections, 5_000, native=False, unit="B"))
add(Row("start-up", "startup", start_up, native=False))
