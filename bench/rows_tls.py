"""TLS: servers that the load client works on. TLS 1.3, the key is on the curve P-256; an accepted connection makes a full
handshake."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path
from socket import socket
from typing import Any

from rows import BACKLOG, Row, Unavailable, add
from rows_net import KIB, AnswerAndClose, Echo

CERTIFICATE = Path(__file__).resolve().parent.parent / "tests" / "certs" / "server.pem"


@cache
def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE)
    return made


async def served(starting: Any) -> Any:
    try:
        return await starting
    except NotImplementedError as error:
        raise Unavailable("it has no TLS servers") from error


def tls_server(protocol: type) -> Callable[..., Any]:
    async def start(aio: Any, listener: socket) -> Any:
        loop = aio.get_running_loop()
        return await served(loop.create_server(protocol, sock=listener, backlog=BACKLOG, ssl=context()))

    start.__module__ = __name__
    return start


async def tls_stream_echo(aio: Any, listener: socket) -> Any:
    async def serve(reader: Any, writer: Any) -> None:
        while data := await reader.read(64 * KIB):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await served(aio.start_server(serve, sock=listener, backlog=BACKLOG, ssl=context()))


for _title, _function in (("Protocol", tls_server(Echo)), ("streams", tls_stream_echo)):
    for _size in (1, 10, 100):
        _load = {"tls": 1, "mode": "echo", "conns": 10, "request": _size * KIB, "response": _size * KIB}
        add(
            Row(
                f"TLS echo {_title}, {_size} KiB, 10 connections",
                "serve",
                _function,
                native=_function is tls_stream_echo,
                load=_load,
            )
        )

_HANDSHAKE = {"tls": 1, "mode": "connect", "conns": 10, "request": 64, "response": 64}
add(Row("TLS handshake, one message", "serve", tls_server(AnswerAndClose), native=False, load=_HANDSHAKE))
