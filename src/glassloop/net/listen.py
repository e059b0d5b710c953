"""Making servers: what create_server() and create_unix_server() do.

In this order, once per server: check the arguments, resolve names, make and bind sockets, give them to a Server. The
sockets made here are closed on any way out but the last. A socket that the caller gave is the Server's once it exists.

Not here: accepting (server.py), names (resolve.py).
"""
from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import stat
import sys
from asyncio.log import logger
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import calls, checks
from .resolve import AddrInfo, ensure_resolved
from .server import Server

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


async def create_server(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    host: Any = None,
    port: Any = None,
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: Any = None,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
) -> Server:
    """A Server that listens on TCP: on each address of `host` (a name or address, a sequence of them; '' or None: all
    interfaces), or on `sock`, bound already, which the server then owns. IPv6 sockets take no IPv4 connections.

    `ssl`: the SSLContext of a TLS server; timeouts in seconds. A connection whose handshake fails is closed, and its
    protocol never called; in debug mode the exception handler hears of it.

    Raises OSError (its errno is bind()'s); ValueError and TypeError for arguments that don't fit together."""
    checks.server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    checks.no_ssl_socket(sock)
    named = host is not None or port is not None
    if sock is None:
        if not named:
            raise ValueError('Neither host/port nor sock were specified')
    elif named:
        raise ValueError('host/port and sock can not be specified at the same time')
    else:
        checks.stream(sock)

    if sock is None:
        if reuse_address is None:
            reuse_address = os.name == 'posix' and sys.platform != 'cygwin'
        infos = await _listening_addresses(loop, host, port, family, flags)
        sockets = _bound_sockets(infos, reuse_address, reuse_port, keep_alive, loop.get_debug())
    else:
        sockets = [sock]
    tls = None if ssl is None else (ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    return _serve(loop, protocol_factory, sockets, sock is None, backlog, start_serving, tls)


async def create_unix_server(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    path: str | bytes | os.PathLike[str] | None = None,
    *,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: Any = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
    cleanup_socket: bool = True,
) -> Server:
    """A Server that listens on a Unix stream socket: by its path (abstract: beginning with a null), where a socket's file
    that is there already is replaced; or on `sock`, bound already. `cleanup_socket`: the server removes the file when it
    is closed. Raises as create_server() does."""
    checks.server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    if path is None:
        if sock is None:
            raise ValueError('path was not specified, and no sock specified')
        checks.unix_stream(sock)
    elif sock is not None:
        raise ValueError('path and sock can not be specified at the same time')
    else:
        path = os.fspath(path)

    made = sock is None
    if sock is None:
        sock = _bound_unix_socket(path)
    files = _socket_files(sock) if cleanup_socket else ()
    tls = None if ssl is None else (ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    return _serve(loop, protocol_factory, [sock], made, backlog, start_serving, tls, files)


def _serve(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    sockets: list[socket.socket],
    made: bool,
    backlog: int,
    start_serving: bool,
    tls: tuple[Any, float | None, float | None] | None,
    socket_files: Sequence[tuple[str | bytes, int]] = (),
) -> Server:
    """The Server of these sockets. On an error those that were made here are closed."""
    try:
        for sock in sockets:
            sock.setblocking(False)
        server = Server(loop, sockets, protocol_factory, backlog, socket_files, tls)
        if start_serving:
            server._start_serving()
    except BaseException:
        if made:
            for sock in sockets:
                sock.close()
        raise
    if loop.get_debug():
        logger.info('%r is serving', server)
    return server


async def _listening_addresses(
    loop: asyncio.AbstractEventLoop, host: Any, port: Any, family: int, flags: int
) -> list[AddrInfo]:
    """The entries for all hosts, each once."""
    hosts = [host] if isinstance(host, (str, bytes)) or not isinstance(host, Iterable) else list(host)
    lookups = [
        ensure_resolved(loop, (name if name != '' else None, port), family=family, flags=flags) for name in hosts
    ]
    return list(dict.fromkeys(itertools.chain.from_iterable(await asyncio.gather(*lookups))))


def _bound_sockets(
    infos: Sequence[AddrInfo],
    reuse_address: bool | None,
    reuse_port: bool | None,
    keep_alive: bool | None,
    debug: bool,
) -> list[socket.socket]:
    """A bound socket for each address that this machine has. Raises OSError if there is none, or one is taken."""
    sockets: list[socket.socket] = []
    try:
        for family, type_, proto, _, address in infos:
            try:
                sock = socket.socket(family, type_, proto)
            except OSError:
                # the system knows the family, but can't do it
                if debug:
                    logger.warning('create_server() failed to create socket.socket(%r, %r, %r)', family, type_, proto,
                                   exc_info=True)
                continue
            sockets.append(sock)
            _set_listening_options(sock, family, reuse_address, reuse_port, keep_alive)
            try:
                sock.bind(address)
            except OSError as e:
                message = f'error while attempting to bind on address {address!r}: {str(e).lower()}'
                if e.errno != errno.EADDRNOTAVAIL:
                    raise OSError(e.errno, message) from None
                # a name may stand for addresses of a family that is switched off
                sockets.pop().close()
                if debug:
                    logger.warning(message)
        if not sockets:
            raise OSError(f'could not bind on any address out of {[info[4] for info in infos]!r}')
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _set_listening_options(
    sock: socket.socket, family: int, reuse_address: bool | None, reuse_port: bool | None, keep_alive: bool | None
) -> None:
    if reuse_address:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
    if reuse_port and family in (socket.AF_INET, socket.AF_INET6):
        if not hasattr(socket, 'SO_REUSEPORT'):
            raise ValueError('reuse_port not supported by socket module')
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError:
            raise ValueError('reuse_port not supported by socket module, '
                             'SO_REUSEPORT defined but not implemented.') from None
    if keep_alive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    if family == socket.AF_INET6 and hasattr(socket, 'IPPROTO_IPV6'):
        # the same port on IPv4 has a socket of its own
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)


def _bound_unix_socket(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not _is_abstract(path):
            _remove_stale(path)
        sock.bind(path)
    except OSError as e:
        sock.close()
        if e.errno == errno.EADDRINUSE:
            raise OSError(e.errno, f'Address {path!r} is already in use') from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def _is_abstract(path: str | bytes) -> bool:
    return path[:1] in ('\0', b'\0') if isinstance(path, bytes) else path[:1] == '\0'


def _remove_stale(path: str | bytes) -> None:
    """A socket's file outlives the socket: bind() would find the address in use."""
    try:
        if stat.S_ISSOCK(calls.stat(path).st_mode):
            calls.remove(path)
    except FileNotFoundError:
        return
    except OSError as e:
        # the folder may allow to make sockets only: bind() decides
        logger.error('Unable to check or remove stale UNIX socket %r: %r', path, e)


def _socket_files(sock: socket.socket) -> list[tuple[str | bytes, int]]:
    """The file that a bound Unix socket made: its path and inode."""
    path = sock.getsockname()
    if not path or _is_abstract(path):
        return []
    try:
        return [(path, calls.stat(path).st_ino)]
    except FileNotFoundError:
        return []
