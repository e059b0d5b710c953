"""Tools that look into a program while it runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

pytestmark = [
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.extra("of asyncio such a tool knows the files' names"),
]


@pytest.fixture
def nothing_may_block(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a tool does that looks for calls which block a loop: it puts others in os's place."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError(f"blocks: {args}")

    with monkeypatch.context() as patch:
        for name in ("stat", "unlink", "remove", "sendfile"):
            patch.setattr(os, name, refuse)
        yield


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


def test_the_files_of_unix_sockets_are_no_calls_of_the_program(
    aio: Any, run: Any, tmp_path: Path, nothing_may_block: None
) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        server = await aio.start_unix_server(echo, path)
        reader, writer = await aio.open_unix_connection(path)
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_the_files_of_unix_datagram_sockets_are_none_either(run: Any, tmp_path: Path, nothing_may_block: None) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
            stale.bind(path)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, path, family=socket.AF_UNIX)
        transport.close()
        await asyncio.sleep(0)

    run(main())


def test_nor_is_sendfile_on_a_socket_that_does_not_block(aio: Any, run: Any, tmp_path: Path, nothing_may_block: None) -> None:
    data = os.urandom(200_000)
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[bytes] = loop.create_future()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(await reader.read())
            writer.close()
            await writer.wait_closed()

        server = await aio.start_server(take, "127.0.0.1", 0)
        with open(tmp_path / "file", "rb") as file:
            _, writer = await aio.open_connection(*server.sockets[0].getsockname())
            assert await loop.sendfile(writer.transport, file, fallback=False) == len(data)
            writer.close()
            await writer.wait_closed()
            assert await received == data
            one, other = socket.socketpair()
            with one, other:
                one.setblocking(False)
                other.setblocking(False)
                assert await loop.sock_sendfile(one, file, 10, 1000, fallback=False) == 1000
                assert await loop.sock_recv(other, 2000) == data[10:1010]
        server.close()
        await server.wait_closed()

    run(main())
