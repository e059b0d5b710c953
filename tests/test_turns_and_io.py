"""What a task finds that yields a turn or two after it sent something to a peer on the same loop.

Many suites count on it: they write, yield twice and look at what came.
"""

from __future__ import annotations

import socket
from types import ModuleType
from typing import Any

import pytest


class Peer:
    def __init__(self) -> None:
        self.got = b""
        self.seen_end = False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.seen_end = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.seen_end = True

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


async def pair(aio: ModuleType) -> tuple[Any, Peer]:
    loop = aio.get_running_loop()
    here, there = socket.socketpair()
    transport, _ = await loop.create_connection(Peer, sock=here)
    _, peer = await loop.create_connection(Peer, sock=there)
    return transport, peer


@pytest.mark.parametrize("size", [1, 3000, 100_000])
def test_bytes_have_arrived_two_turns_after_they_were_written(aio: ModuleType, run: Any, size: int) -> None:
    async def main() -> None:
        transport, peer = await pair(aio)
        for count in range(1, 20):
            transport.write(b"x" * size)
            await aio.sleep(0)
            await aio.sleep(0)
            assert len(peer.got) > (count - 1) * size, f"nothing of write number {count} has arrived"
            while len(peer.got) < count * size:
                await aio.sleep(0)
        transport.close()
        peer.transport.close()
        await aio.sleep(0.01)

    run(main())


def test_the_end_has_arrived_two_turns_after_write_eof(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        transport, peer = await pair(aio)
        transport.write(b"the last")
        await aio.sleep(0)
        await aio.sleep(0)
        transport.write_eof()
        await aio.sleep(0)
        await aio.sleep(0)
        assert peer.seen_end
        transport.close()
        peer.transport.close()
        await aio.sleep(0.01)

    run(main())


def test_the_end_has_arrived_three_turns_after_close(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        transport, peer = await pair(aio)
        await aio.sleep(0)
        transport.close()
        for _ in range(3):
            await aio.sleep(0)
        assert peer.seen_end
        peer.transport.close()
        await aio.sleep(0.01)

    run(main())


def test_a_timer_of_a_microsecond_comes_before_what_takes_many_turns(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        loop = aio.get_running_loop()
        for _ in range(20):
            due: list[int] = []
            loop.call_later(1e-6, due.append, 1)
            for turns in range(40):
                await aio.sleep(0)
                if due:
                    break
            assert due, "not due after 40 turns"
            assert turns < 20

    run(main())


def test_what_was_written_just_before_abort_arrives(aio: ModuleType, run: Any) -> None:
    async def main() -> None:
        transport, peer = await pair(aio)
        transport.write(b"the last ")
        transport.write(b"words")
        transport.abort()
        while not peer.seen_end:
            await aio.sleep(0.001)
        assert peer.got == b"the last words"
        peer.transport.close()
        await aio.sleep(0.01)

    run(main())
