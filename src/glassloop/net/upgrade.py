"""start_tls(): a connection goes on over TLS.

The transport that is there gets a TLSTransport as its protocol, at once, and the protocol that is there gets that one as its
transport when the handshake is over. In between nothing may get lost or in the wrong hands: what a StreamReader has
received and nobody has read yet came after the agreement on TLS, so it is the beginning of the handshake, and goes there. (A
peer that sends plaintext where TLS should begin so fails the handshake, and isn't taken for one that was authenticated.)

Not here: TLS (tls.py).
"""
from __future__ import annotations

import asyncio
from typing import Any

from .adopt import Adopted
from .reader import StreamReader

try:
    import ssl
except ImportError:  # a Python without OpenSSL
    ssl = None  # type: ignore[assignment]


async def start_tls(
    loop: asyncio.AbstractEventLoop,
    transport: Any,
    protocol: asyncio.BaseProtocol,
    sslcontext: Any,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """Begin TLS on a transport, and return the transport that the protocol is to use from now on.

    Raises TypeError if sslcontext is no SSLContext or the transport can't do it, ValueError for a timeout that isn't
    positive, what the handshake failed with; the connection is closed then."""
    if ssl is None:
        raise RuntimeError('Python ssl module is not available')
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(f'sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}')
    if not getattr(transport, '_start_tls_compatible', False):
        raise TypeError(f'transport {transport!r} is not supported by start_tls()')
    from .tls import make_tls

    waiter = loop.create_future()
    tls = make_tls(
        loop, protocol, sslcontext, waiter, server_side, server_hostname, True, ssl_handshake_timeout, ssl_shutdown_timeout
    )
    # one that isn't ours may hand out what came before it knows its new protocol
    transport.pause_reading()
    received = _take_received(protocol)
    tls._over(transport)
    transport.set_protocol(tls)
    if received:
        tls.data_received(received)
    reader = getattr(protocol, '_stream_reader', None)
    if reader is not None and getattr(reader, '_transport', None) is transport:
        # what it is to pause from now on
        reader._transport = tls
    tls.connection_made(transport)
    transport.resume_reading()
    try:
        await waiter
    except BaseException:
        tls.abort()
        # the exception's traceback holds this frame: no circle
        tls = waiter = transport = protocol = reader = None  # type: ignore[assignment]
        raise
    return tls


def _take_received(protocol: Any) -> bytes:
    """What a stream's protocol has received and nobody has read yet."""
    reader: Any = getattr(protocol, '_stream_reader', None)
    if isinstance(reader, StreamReader):
        return reader._hand_over()
    if isinstance(reader, Adopted):
        return reader._native._hand_over()  # type: ignore[no-any-return]
    buffer = getattr(reader, '_buffer', None)
    if not isinstance(buffer, bytearray):
        return b''
    received = bytes(buffer)
    buffer.clear()
    # what paused the transport is gone
    reader._paused = False
    return received
