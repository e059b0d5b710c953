"""The checks that connections and servers share: arguments that can't be what was meant, told before anything is done."""
from __future__ import annotations

import socket
from typing import Any

try:
    import ssl as _ssl
except ImportError:  # a Python without OpenSSL
    _ssl = None  # type: ignore[assignment]


def tls_timeouts(ssl: Any, handshake: float | None, shutdown: float | None) -> None:
    """Raise ValueError for a TLS timeout without TLS, or one that isn't positive."""
    for name, timeout in (('handshake', handshake), ('shutdown', shutdown)):
        if timeout is None:
            continue
        if not ssl:
            raise ValueError(f'ssl_{name}_timeout is only meaningful with ssl')
        if not timeout > 0:
            raise ValueError(f'ssl_{name}_timeout should be a positive number, got {timeout}')


def server_tls(ssl: Any, handshake: float | None, shutdown: float | None) -> None:
    """A server has no default SSLContext: raise TypeError for True. ValueError for a TLS timeout without TLS."""
    if isinstance(ssl, bool):
        raise TypeError('ssl argument must be an SSLContext or None')
    tls_timeouts(ssl, handshake, shutdown)


def no_ssl_socket(sock: socket.socket | None) -> None:
    """Raise TypeError for an ssl.SSLSocket, which is no socket for a loop: it reads and writes by itself."""
    if _ssl is not None and isinstance(sock, _ssl.SSLSocket):
        raise TypeError('Socket cannot be of type SSLSocket')


def stream(sock: socket.socket) -> None:
    """Raise ValueError unless it is a stream socket."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f'A Stream Socket was expected, got {sock!r}')


def unix_stream(sock: socket.socket) -> None:
    """Raise ValueError unless it is a Unix stream socket."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f'A UNIX Domain Stream Socket was expected, got {sock!r}')
