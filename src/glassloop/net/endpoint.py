"""Making datagram endpoints: what create_datagram_endpoint() does.

Once per endpoint: check the arguments, resolve both addresses, make a socket for the first pair that fits and works, hand
it to a transport. A socket made here is closed on any way out but success; one that the caller gave is the caller's until
its protocol is being made.

Not here: moving datagrams (datagram.py), names (resolve.py).
"""
from __future__ import annotations

import asyncio
import socket
import stat
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from . import calls
from .datagram import DatagramTransport
from .resolve import ensure_resolved

__all__ = ['create_datagram_endpoint']

Pair = tuple[int, int, Any, Any]  # family, protocol, local address, remote address

_UNIX = getattr(socket, 'AF_UNIX', None)


async def create_datagram_endpoint(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    local_addr: Any = None,
    remote_addr: Any = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: socket.socket | None = None,
) -> tuple[asyncio.DatagramTransport, asyncio.BaseProtocol]:
    """A transport of its own for a datagram socket: bound to `local_addr`, connected to `remote_addr` (both a host and a
    port, or a path for family AF_UNIX, where a socket that was left there is removed), or `sock` as it is.

    With `allow_broadcast` it isn't connected: `remote_addr` is where it sends to, whoever answers.

    Raises OSError, the first one if several addresses failed; ValueError and TypeError for arguments that don't fit
    together."""
    address = None
    if sock is not None:
        if sock.type == socket.SOCK_STREAM:
            raise ValueError(f'A datagram socket was expected, got {sock!r}')
        options = {
            'local_addr': local_addr, 'remote_addr': remote_addr, 'family': family, 'proto': proto, 'flags': flags,
            'reuse_port': reuse_port, 'allow_broadcast': allow_broadcast,
        }
        if given := ', '.join(f'{name}={value}' for name, value in options.items() if value):
            raise ValueError(f'socket modifier keyword arguments can not be used when sock is specified. ({given})')
        sock.setblocking(False)
    else:
        pairs = await _pairs(loop, local_addr, remote_addr, family, proto, flags)
        sock, address = await _first(loop, pairs, bool(reuse_port), bool(allow_broadcast))
    transport, protocol = await _transport_for(loop, sock, address, protocol_factory)
    if loop.get_debug():
        logger.debug(
            'Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)', local_addr, remote_addr, transport, protocol
        )
    return transport, protocol  # type: ignore[return-value]


async def _pairs(
    loop: asyncio.AbstractEventLoop, local: Any, remote: Any, family: int, proto: int, flags: int
) -> list[Pair]:
    """What to try: the families and protocols in which both addresses can be had."""
    if not (local or remote):
        if family == 0:
            raise ValueError('unexpected address family')
        return [(family, proto, None, None)]
    if _UNIX is not None and family == _UNIX:
        for path in (local, remote):
            if path is not None and not isinstance(path, str):
                raise TypeError('string is expected')
        if local and local[0] != '\x00':
            _remove_stale(local)
        return [(family, proto, local, remote)]
    found: dict[tuple[int, int], list[Any]] = {}
    for index, address in enumerate((local, remote)):
        if address is None:
            continue
        if not (isinstance(address, tuple) and len(address) == 2):
            raise TypeError('2-tuple is expected')
        infos = await ensure_resolved(loop, address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags)
        for family_, _, proto_, _, resolved in infos:
            found.setdefault((family_, proto_), [None, None])[index] = resolved
    pairs = [
        (*key, *pair)
        for key, pair in found.items()
        if not ((local and pair[0] is None) or (remote and pair[1] is None))
    ]
    if not pairs:
        raise ValueError('can not get address information')
    return pairs


def _remove_stale(path: str) -> None:
    """Remove the socket that an earlier process left at this path."""
    try:
        if stat.S_ISSOCK(calls.stat(path).st_mode):
            calls.remove(path)
    except FileNotFoundError:
        return
    except OSError as e:
        # a folder may allow to make files and nothing else: bind() will tell
        logger.error('Unable to check or remove stale UNIX socket %r: %r', path, e)


async def _first(
    loop: asyncio.AbstractEventLoop, pairs: list[Pair], reuse_port: bool, broadcast: bool
) -> tuple[socket.socket, Any]:
    """A socket for the first pair that works, and the address that it sends to, if that is settled."""
    failed: OSError | None = None
    try:
        for family, proto, local, remote in pairs:
            sock = None
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM, proto)
                sock.setblocking(False)
                if reuse_port:
                    _share_port(sock)
                if broadcast:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                if local:
                    sock.bind(local)
                if remote and not broadcast:
                    await loop.sock_connect(sock, remote)
                return sock, remote or None
            except BaseException as e:
                if sock is not None:
                    sock.close()
                if not isinstance(e, OSError):
                    raise
                failed = failed or e
        assert failed is not None
        raise failed
    finally:
        del failed


def _share_port(sock: socket.socket) -> None:
    if not hasattr(socket, 'SO_REUSEPORT'):
        raise ValueError('reuse_port not supported by socket module')
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        raise ValueError('reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented.') from None


async def _transport_for(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, address: Any, protocol_factory: Callable[[], asyncio.BaseProtocol]
) -> tuple[DatagramTransport, asyncio.BaseProtocol]:
    """A transport of its own for the socket, once connection_made() has run."""
    try:
        protocol = protocol_factory()
        waiter = loop.create_future()
        transport = DatagramTransport(loop, sock, protocol, address, waiter)
    except BaseException:
        sock.close()
        raise
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol
