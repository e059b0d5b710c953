"""Making connections: what create_connection() and its kin do.

In this order, once per connection: check the arguments (all that can be told without a look at the network), resolve
names, make a socket and connect it, give it to a transport. Each function owns the sockets that it makes until it hands
them over: on any way out, cancellation included, those that were not are closed. A socket that the caller gave is the
caller's until its protocol is being made.

Addresses are tried in order, one at a time; or staggered (Happy Eyeballs, RFC 8305): the next one starts when the one
before has failed or a delay has passed, and the first that is connected wins. Each failure is kept: the caller gets the
only one, or one that stands for all if they say the same, or one that lists them, or a group.

Errors hold tracebacks, tracebacks hold frames: no frame on their way keeps the list of errors, else each failed attempt
would leave a cycle to the garbage collector.

Not here: listening (listen.py, server.py), moving bytes (transport.py), names (resolve.py).
"""
from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import types
from asyncio.log import logger
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from . import checks
from . import transport as _transport
from .listen import create_server, create_unix_server
from .resolve import AddrInfo, ensure_resolved, literal

__all__ = [
    'connect_accepted_socket', 'create_connection', 'create_server', 'create_unix_connection', 'create_unix_server',
]

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Connected = tuple[asyncio.Transport, asyncio.BaseProtocol]

_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_CONNECTED = (0, errno.EISCONN)

_NON_BLOCKING = getattr(socket, 'SOCK_NONBLOCK', 0)


# ---- connections ----


async def create_connection(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    host: Any = None,
    port: Any = None,
    *,
    ssl: Any = None,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[Any, ...] | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
) -> Connected:
    """A TCP connection to host and port, or a transport for `sock`, connected already.

    `local_addr`: (host, port) to connect from. `happy_eyeballs_delay`: seconds until the next address is tried beside those
    before (None: one after another). `interleave`: mix the addresses' families, after so many of the first one.

    `ssl`: an SSLContext, or True for the default one: TLS, with `server_hostname` (`host` by default; '': not checked) as
    the name that the certificate has to have. Timeouts in seconds.

    Raises OSError (ssl.SSLError too), with all_errors an ExceptionGroup of what each address failed with; ValueError and
    TypeError for arguments that don't fit together."""
    if server_hostname is not None and not ssl:
        raise ValueError('server_hostname is only meaningful with ssl')
    if ssl and server_hostname is None and not host:
        raise ValueError('You must set server_hostname when using ssl without a host')
    if ssl_handshake_timeout is not None or ssl_shutdown_timeout is not None:
        checks.tls_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    if sock is not None:
        checks.no_ssl_socket(sock)
        if host is not None or port is not None:
            raise ValueError('host/port and sock can not be specified at the same time')
        checks.stream(sock)
    elif host is None and port is None:
        raise ValueError('host and port was not specified and no sock specified')

    if sock is None:
        info = literal(host, port, family, socket.SOCK_STREAM, proto)
        if info is None:
            infos = await ensure_resolved(loop, (host, port), family=family, proto=proto, flags=flags)
        else:
            infos = [info]
        local_infos = None
        if local_addr is not None:
            local_infos = await ensure_resolved(loop, local_addr, family=family, proto=proto, flags=flags)
        if len(infos) == 1 and local_infos is None and not all_errors:
            sock = await _dial(loop, infos[0], None, None)
        else:
            sock = await _dial_any(loop, infos, local_infos, happy_eyeballs_delay, interleave, all_errors)
    if ssl and server_hostname is None:
        server_hostname = host
    tls = _TLS(ssl, False, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout) if ssl else None
    transport, protocol = await _transport_for(loop, sock, protocol_factory, tls)
    if loop.get_debug():
        logger.debug('%r connected to %s:%r: (%r, %r)', sock, host, port, transport, protocol)
    return transport, protocol


async def create_unix_connection(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    path: str | bytes | os.PathLike[str] | None = None,
    *,
    ssl: Any = None,
    sock: socket.socket | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> Connected:
    """A connection to a Unix stream socket by its path (abstract: beginning with a null), or a transport for `sock`,
    connected already. Where the listener's backlog is full it waits for room. Raises as create_connection() does."""
    assert server_hostname is None or isinstance(server_hostname, str), 'server_hostname must be a string or None'
    if ssl:
        if server_hostname is None:
            raise ValueError('you have to pass server_hostname when using ssl')
    elif server_hostname is not None:
        raise ValueError('server_hostname is only meaningful with ssl')
    checks.tls_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    if path is None:
        if sock is None:
            raise ValueError('no path and sock were specified')
        checks.unix_stream(sock)
    elif sock is not None:
        raise ValueError('path and sock can not be specified at the same time')
    else:
        path = os.fspath(path)

    if sock is None:
        sock = await _dial(loop, (socket.AF_UNIX, socket.SOCK_STREAM, 0, '', path), None, None)
    tls = _TLS(ssl, False, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout) if ssl else None
    return await _transport_for(loop, sock, protocol_factory, tls)


async def connect_accepted_socket(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    sock: socket.socket,
    *,
    ssl: Any = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> Connected:
    """A transport for a stream connection that was accepted elsewhere; `ssl`: the SSLContext of a TLS server. Raises
    ValueError if it is no stream socket, TypeError if it is an SSLSocket, what the TLS handshake failed with."""
    checks.stream(sock)
    checks.tls_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    checks.no_ssl_socket(sock)
    tls = _TLS(ssl, True, None, ssl_handshake_timeout, ssl_shutdown_timeout) if ssl else None
    transport, protocol = await _transport_for(loop, sock, protocol_factory, tls)
    if loop.get_debug():
        logger.debug('%r handled: (%r, %r)', sock, transport, protocol)
    return transport, protocol


class _TLS(NamedTuple):
    """How a connection's TLS is to be."""

    ssl: Any  # an SSLContext, or True
    server_side: bool
    server_hostname: str | None
    handshake_timeout: float | None
    shutdown_timeout: float | None


async def _transport_for(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol_factory: ProtocolFactory, tls: _TLS | None = None
) -> Connected:
    """A transport of its own for a connected socket, once connection_made() has run."""
    try:
        if sock.gettimeout() != 0:
            sock.setblocking(False)
        protocol = protocol_factory()
        waiter = loop.create_future()
        if tls is None:
            transport = _transport.make_transport(loop, sock, protocol, waiter, None, None)
        else:
            from .tls import over_socket

            context = None if isinstance(tls.ssl, bool) else tls.ssl
            transport = over_socket(loop, sock, protocol, context, waiter, None, *tls[1:])
    except BaseException:
        sock.close()
        raise
    try:
        await waiter
    except BaseException:
        transport.close()
        # the exception's traceback holds this frame: no circle
        transport = protocol = waiter = None
        raise
    return transport, protocol


# ---- connecting ----


async def _dial_any(
    loop: asyncio.AbstractEventLoop,
    infos: Sequence[AddrInfo],
    local_infos: Sequence[AddrInfo] | None,
    delay: float | None,
    interleave: int | None,
    all_errors: bool,
) -> socket.socket:
    """A socket connected to one of the addresses. Raises what stands for all failures."""
    if interleave is None and delay is not None:
        interleave = 1
    if interleave:
        infos = _interleaved(infos, interleave)
    failures: list[list[OSError]] = []
    try:
        if delay is None:
            sock = await _dial_in_turn(loop, infos, local_infos, failures)
        else:
            sock = await _dial_staggered(loop, infos, local_infos, failures, delay)
        if sock is None:
            _raise_failures([error for errors in failures for error in errors], all_errors)
        return sock
    finally:
        del failures


async def _dial_in_turn(
    loop: asyncio.AbstractEventLoop,
    infos: Sequence[AddrInfo],
    local_infos: Sequence[AddrInfo] | None,
    failures: list[list[OSError]],
) -> socket.socket | None:
    """The first socket that can be connected, or None."""
    try:
        for info in infos:
            failures.append([])
            try:
                return await _dial(loop, info, local_infos, failures[-1])
            except OSError:
                continue  # it is among the failures
        return None
    finally:
        del failures


async def _dial_staggered(
    loop: asyncio.AbstractEventLoop,
    infos: Sequence[AddrInfo],
    local_infos: Sequence[AddrInfo] | None,
    failures: list[list[OSError]],
    delay: float,
) -> socket.socket | None:
    """The socket that is connected first, or None. No attempt outlives this call."""
    attempts: list[asyncio.Task[socket.socket]] = []
    winner = None

    def begin(info: AddrInfo) -> None:
        errors: list[OSError] = []
        failures.append(errors)
        attempts.append(loop.create_task(_dial(loop, info, local_infos, errors)))

    try:
        winner = await _race(loop, infos, delay, attempts, begin)
    finally:
        try:
            await _end(attempt for attempt in attempts if attempt is not winner)
        except BaseException:
            if winner is not None:
                _discard(winner)
            raise
        finally:
            attempts.clear()
    try:
        return None if winner is None else winner.result()
    finally:
        del winner


async def _race(
    loop: asyncio.AbstractEventLoop,
    infos: Sequence[AddrInfo],
    delay: float,
    attempts: list[asyncio.Task[socket.socket]],
    begin: Callable[[AddrInfo], None],
) -> asyncio.Task[socket.socket] | None:
    """The attempt that is connected first, or None. The next one begins when the latest has failed, or after `delay`
    seconds. Attempts fail with OSError; one that ends with any other error decides the race too."""
    rest = iter(infos)
    info = next(rest, None)
    running: set[asyncio.Task[socket.socket]] = set()
    due = loop.time()
    while info is not None or running:
        if info is not None and (not attempts or attempts[-1].done() or loop.time() >= due):
            begin(info)
            running.add(attempts[-1])
            due = loop.time() + delay
            info = next(rest, None)
        timeout = None if info is None else max(due - loop.time(), 0.0)
        done, running = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            if not attempt.cancelled() and not isinstance(attempt.exception(), OSError):
                return attempt
    return None


async def _end(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    """Cancel the attempts, wait until they have ended, and close what was connected all the same. If this is cancelled
    meanwhile, that comes after them: they end at once."""
    attempts = list(attempts)
    running = {attempt for attempt in attempts if not attempt.done()}
    for attempt in running:
        attempt.cancel()
    cancelled = None
    while running:
        try:
            _, running = await asyncio.wait(running)
        except asyncio.CancelledError as e:
            cancelled = e
            running = {attempt for attempt in running if not attempt.done()}
    for attempt in attempts:
        _discard(attempt)
    try:
        if cancelled is not None:
            raise cancelled
    finally:
        del cancelled


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _dial(
    loop: asyncio.AbstractEventLoop,
    info: AddrInfo,
    local_infos: Sequence[AddrInfo] | None,
    errors: list[OSError] | None,
) -> socket.socket:
    """One connected socket. An OSError is put in `errors`, if that is a list, and raised."""
    family, type_, proto, _, address = info
    sock = None
    try:
        sock = _non_blocking_socket(family, type_, proto)
        if local_infos is not None:
            _bind_local(sock, family, local_infos, errors)
        if _connected_at_once(sock, address):
            # asyncio learns it two turns later: a pool that is closed in the turn in which it dials counts on meeting no
            # protocol yet
            for _ in range(2):
                await _a_turn()
        else:
            await loop.sock_connect(sock, address)
        return sock
    except BaseException as e:
        if sock is not None:
            sock.close()
        if errors is not None and isinstance(e, OSError):
            errors.append(e)
        raise
    finally:
        del errors


@types.coroutine
def _a_turn() -> Generator[None, None, None]:
    yield


def _non_blocking_socket(family: int, type_: int, proto: int) -> socket.socket:
    if _NON_BLOCKING:
        return socket.socket(family, type_ | _NON_BLOCKING, proto)
    sock = socket.socket(family, type_, proto)
    sock.setblocking(False)
    return sock


def _connected_at_once(sock: socket.socket, address: Any) -> bool:
    """Connect; False where there is something to wait for: the peer, or room in a Unix socket's backlog. Within this
    machine there seldom is: the second look finds a connection that was under way at the first. Raises OSError."""
    error = sock.connect_ex(address)
    waited = error == errno.EINPROGRESS
    if waited:
        error = sock.connect_ex(address)
    if error in _CONNECTED:
        return True
    path = address if isinstance(address, (str, bytes)) else None
    if error in _UNDER_WAY or (error == errno.EAGAIN and path is not None):
        return False
    raise OSError(error, f'Connect call failed {address}' if waited else os.strerror(error), path)


def _bind_local(
    sock: socket.socket, family: int, local_infos: Sequence[AddrInfo], errors: list[OSError] | None
) -> None:
    """Bind to the first local address of this family that can be bound to."""
    failed: OSError | None = None
    for local_family, _, _, _, address in local_infos:
        if local_family != family:
            continue
        if failed is not None and errors is not None:
            errors.append(failed)
        try:
            return sock.bind(address)
        except OSError as e:
            failed = OSError(e.errno, f'error while attempting to bind on address {address!r}: {str(e).lower()}')
    try:
        raise failed or OSError(f'no matching local address with {family=} found')
    finally:
        del failed, errors


def _interleaved(infos: Iterable[AddrInfo], first_count: int) -> list[AddrInfo]:
    """The entries with their families taking turns, after `first_count` of the first one's."""
    families: dict[int, list[AddrInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    lists = list(families.values())
    head = lists[0][: max(first_count - 1, 0)]
    lists[0] = lists[0][len(head):]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return head + [info for info in turns if info is not None]


def _raise_failures(errors: list[OSError], all_errors: bool) -> NoReturn:
    try:
        if not errors:
            raise TimeoutError('create_connection failed')
        if all_errors:
            raise ExceptionGroup('create_connection failed', errors)
        messages = [str(error) for error in errors]
        if len(set(messages)) == 1:
            raise errors[0]
        raise _as_one(errors, f'Multiple exceptions: {", ".join(messages)}')
    finally:
        del errors


def _as_one(errors: list[OSError], message: str) -> OSError:
    """An OSError with this message; of the errors' class and errno, if they agree (as when all are refused)."""
    try:
        first = errors[0]
        if all(type(error) is type(first) and error.errno == first.errno for error in errors):
            if type(first).__module__ == 'builtins':
                combined = type(first)(message)
                combined.errno = first.errno
                return combined
        return OSError(message)
    finally:
        del errors
