"""For tests of TLS: contexts from the certificates in certs/, and a peer that does each step only when told to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peers import LIMIT, Recorder, receive, send, turns

CERTS = Path(__file__).resolve().parent / "certs"


def server_context(name: str = "server", *, tls12: bool = False, client_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / f"{name}.pem")
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CERTS / "authority.pem")
    return context


def client_context(certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=CERTS / "authority.pem")
    if certificate:
        context.load_cert_chain(CERTS / f"{certificate}.pem")
    return context


class Peer:
    """The other end of a connection: a socket and an SSLObject, and nothing happens by itself."""

    def __init__(self, sock: socket.socket, *, server_side: bool, context: ssl.SSLContext | None = None) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or (server_context() if server_side else client_context())
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=None if server_side else "localhost"
        )

    async def flush(self) -> None:
        if data := self.outgoing.read():
            await send(self.sock, data)

    async def more(self) -> None:
        """Receive something."""
        async with asyncio.timeout(LIMIT):
            if data := await asyncio.get_running_loop().sock_recv(self.sock, 65536):
                self.incoming.write(data)
            else:
                self.incoming.write_eof()

    async def do(self, method: Any, *args: Any) -> Any:
        while True:
            try:
                result = method(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.more()
            except ssl.SSLError:
                await self.flush()
                raise
            else:
                await self.flush()
                return result

    async def handshake(self) -> None:
        await self.do(self.tls.do_handshake)

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), 65536):
            self.tls.write(data[start : start + 65536])
            await self.flush()

    def encrypted(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    async def receive(self, size: int) -> bytes:
        """So many bytes, or what came before the close_notify."""
        data = b""
        while len(data) < size:
            try:
                piece = await self.do(self.tls.read, size - len(data))
            except ssl.SSLZeroReturnError:
                break
            if not piece:
                break
            data += piece
        return data

    async def close_notify(self) -> None:
        """Say that nothing more will come."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        await self.flush()

    async def ended(self) -> bool:
        """True if the connection ends with a close_notify, False without. What comes before is thrown away."""
        try:
            while await self.receive(65536):
                pass
        except (ssl.SSLEOFError, ConnectionError):
            return False
        return True

    async def raw_end(self) -> bytes:
        """What comes until the end of the stream, as it is."""
        return await receive(self.sock, 1 << 30)

    def close(self) -> None:
        self.sock.close()


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    ours.setblocking(False)
    other.setblocking(False)
    return ours, other


@asynccontextmanager
async def secured(factory: Any = Recorder, *, server_side: bool = False, handshake: bool = True, **options: Any) -> Any:
    """(protocol with its transport, its Peer). Without the handshake: (the task that makes the connection, Peer)."""
    loop = asyncio.get_running_loop()
    ours, other = pair()
    peer = Peer(other, server_side=not server_side, context=options.pop("peer_context", None))
    if server_side:
        options.setdefault("ssl", server_context())
        connecting = loop.connect_accepted_socket(factory, ours, **options)
    else:
        options.setdefault("ssl", client_context())
        options.setdefault("server_hostname", "localhost")
        connecting = loop.create_connection(factory, sock=ours, **options)
    task = asyncio.ensure_future(connecting)
    transport = None
    try:
        if handshake:
            await peer.handshake()
            async with asyncio.timeout(LIMIT):
                transport, protocol = await task
            yield protocol, peer
        else:
            yield task, peer
    finally:
        peer.close()
        if not task.done():
            task.cancel()
        if transport is not None:
            transport.abort()
        await turns(5)
