"""A transport takes attributes of its user's, and methods in the place of its own, as asyncio's do.

Suites of libraries replace write() to lose what is sent, or get_extra_info() to be somewhere else.
"""

from __future__ import annotations

import asyncio
import socket
from types import ModuleType
from typing import Any


async def pair(aio: ModuleType) -> tuple[Any, Any]:
    loop = aio.get_running_loop()
    here, there = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
    other, _ = await loop.create_connection(asyncio.Protocol, sock=there)
    return transport, other


def test_a_transport_takes_attributes_and_methods(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        transport, other = await pair(aio)
        written: list[bytes] = []
        transport.label = "mine"
        transport.write = written.append
        transport.get_extra_info = lambda name, default=None: ("sock", 1234)
        transport.write(b"kept back")
        assert (written, transport.label) == ([b"kept back"], "mine")
        assert transport.get_extra_info("sockname") == ("sock", 1234)
        del transport.get_extra_info
        assert transport.get_extra_info("socket") is not None
        transport.close()
        other.close()
        await aio.sleep(0.01)

    run(main())


def test_a_streams_transport_takes_a_method(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        reader, writer = await aio.open_connection(sock=here)
        _, other = await aio.open_connection(sock=there)
        writer.transport.write = lambda data: None
        other.transport.abort()
        assert await reader.read() == b""
        writer.close()
        await aio.sleep(0.01)

    run(main())
