"""TLS with the openssl command at the other end, which can do what Python's ssl module can't: new keys and a second handshake
in the middle of a connection."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from contextlib import asynccontextmanager
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from peers import LIMIT, Recorder, lost
from tls_peer import server_context

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")

ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # OpenSSL 3; the ssl module has no name for it


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(b"<" + data.strip() + b">\n")


class Client:
    def __init__(self, process: Any) -> None:
        self.process = process

    async def says(self, line: bytes, answer: bytes) -> None:
        """A line is typed; wait until the answer is seen."""
        self.process.stdin.write(line + b"\n")
        async with asyncio.timeout(LIMIT):
            await self.process.stdout.readuntil(answer)


@asynccontextmanager
async def client(context: ssl.SSLContext, *options: str) -> Any:
    """(the server's protocol, an openssl that is connected to it)"""
    loop = asyncio.get_running_loop()
    connected = loop.create_future()

    def factory() -> Echo:
        protocol = Echo()
        connected.set_result(protocol)
        return protocol

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT):
            protocol = await connected
            await protocol.until(lambda: protocol.events)
        yield protocol, Client(process)
    finally:
        process.stdin.close()
        async with asyncio.timeout(LIMIT):
            await process.stdout.read()
            await process.wait()
        server.close()


def test_new_keys_in_the_middle_are_answered(run: Any) -> None:
    async def main() -> None:
        async with client(server_context(), "-msg") as (protocol, peer):
            await peer.says(b"before", b"<before>")
            # with its next line it asks for new keys of ours as well
            await peer.says(b"K", b"KEYUPDATE")
            await peer.says(b"after", b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
            await peer.says(b"more", b"<more>")
        assert await lost(protocol) is None
        assert protocol.data == b"before\nafter\nmore\n"

    run(main())


def test_a_second_handshake_is_refused(run: Any) -> None:
    async def main() -> None:
        async with client(server_context(tls12=True)) as (protocol, peer):
            await peer.says(b"before", b"<before>")
            await peer.says(b"R", b"RENEGOTIATING")
            assert isinstance(await lost(protocol), ssl.SSLError)
        assert protocol.data == b"before\n"
        assert protocol.events[-1] == "lost"

    run(main())


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3,), reason="there it can't be asked for")
def test_a_second_handshake_is_made_where_that_is_allowed(run: Any) -> None:
    async def main() -> None:
        context = server_context(tls12=True)
        context.options |= ALLOW_CLIENT_RENEGOTIATION
        async with client(context) as (protocol, peer):
            await peer.says(b"before", b"<before>")
            await peer.says(b"R", b"RENEGOTIATING")
            await peer.says(b"after", b"<after>")
        assert await lost(protocol) is None
        assert protocol.data == b"before\nafter\n"

    run(main())
