"""Listening: the Server that users hold, and the watcher that accepts for it.

An Acceptor watches one listening socket. For each event it accepts up to as many connections as the backlog holds, and at
most 64, then lets the loop go on; what still waits is reported again in the next turn. A connection's protocol is made in
a context of its own, a copy of the one in which the server was started; its transport is made at once, and
connection_made() follows in the next turn.

What goes wrong in accepting takes down nothing but itself, and never in silence:
- out of descriptors or memory: reported once, then no accepting for a second, since the kernel would report the same
  event over and over;
- a connection that ended before it was accepted is skipped; so is one with an error of its own, which is reported;
- any other error of the listening socket: as when out of descriptors;
- a protocol factory that raises: reported; its connection is closed;
- a TLS handshake that fails: told in debug mode only, since anybody can bring that about; its connection is closed.

A server counts its connections and knows them through the loop's table of transports, which is weak: an abandoned
transport can be collected. It is finished, and wait_closed() returns, when it is closed and the last one has gone.

Not here: making and binding the sockets (connect.py), and what a connection does (transport.py).
"""
from __future__ import annotations

import asyncio
import errno
import os
from asyncio.log import logger
from asyncio.trsock import TransportSocket

from ..core import leaf as _leaf
from ..core.leaf import Watcher
from . import calls
from . import transport as _transport

READ = 1
BATCH = 64
RETRY_SECONDS = 1.0

# accept() hands over errors of the connection that it took from the queue; the listening socket is well
_OF_THE_CONNECTION = frozenset(
    getattr(errno, name)
    for name in ('ENETDOWN', 'EPROTO', 'ENOPROTOOPT', 'EHOSTDOWN', 'ENONET', 'EHOSTUNREACH', 'ENETUNREACH', 'EPERM')
    if hasattr(errno, name)
)
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Acceptor(Watcher):
    """Accepts connections of one listening socket. Called with a descriptor, it makes that connection's transport."""

    __slots__ = ('_context', '_factory', '_loop', '_retry', '_room', '_server', '_sock', '_tls')

    def __init__(self, loop, sock, protocol_factory, server, backlog, tls=None):
        """tls: (SSLContext, handshake timeout, shutdown timeout), or None."""
        self._core = loop
        self._poller = loop._poller
        self._fd = sock.fileno()
        self._interest = 0
        self._arrived = 0
        self._queued = False
        self._loop = loop
        self._sock = sock
        self._factory = protocol_factory
        self._tls = tls
        self._server = server
        self._room = min(max(backlog, 1), BATCH)
        self._context = _leaf.copy_context()
        self._retry = None

    def start(self):
        """Accept from now on."""
        self._retry = None
        if self._fd >= 0:
            self._want(READ)

    def close(self):
        """Stop accepting, for good."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._fd >= 0:
            self._want(0)
            self._fd = -1

    def _run(self, core):
        self._queued = False
        self._arrived = 0
        if core._published is not None:
            core._unpublish()
        left = self._room
        # a factory may close the server
        while left > 0 and self._interest != 0:
            left -= 1
            try:
                fd = _leaf.accept(self._fd)
            except OSError as e:
                self._failed(e)
                continue
            if fd < 0:
                return 0
            error = _leaf.call1(self._context.copy(), self, fd)
            if error is not None:
                raise error
        return 0

    def __call__(self, fd):
        """Make the transport of an accepted connection; called in the context that will be the connection's."""
        protocol = None
        try:
            protocol = self._factory()
            if self._tls is None:
                transport = _transport.make_transport(self._loop, fd, protocol, None, None, self._server)
            else:
                transport = self._secured(fd, protocol)
        except BaseException as e:
            os.close(fd)
            if isinstance(e, (KeyboardInterrupt, SystemExit)):
                raise
            context = {'message': 'Error on transport creation for incoming connection', 'exception': e}
            if protocol is not None:
                context['protocol'] = protocol
            self._loop.call_exception_handler(context)
            return
        if self._loop.get_debug():
            logger.debug('%r got a new connection: %r', self._server, transport)

    def _secured(self, fd, protocol):
        from .tls import over_socket

        context, handshake_timeout, shutdown_timeout = self._tls
        return over_socket(
            self._loop, fd, protocol, context, None, self._server, True, None, handshake_timeout, shutdown_timeout
        )

    def _failed(self, error):
        """accept() raised an OSError: go on, or stop for a while."""
        if isinstance(error, ConnectionAbortedError):
            return
        message = 'socket.accept() failed'
        if error.errno not in _OF_THE_CONNECTION:
            if error.errno in _OUT_OF_RESOURCES:
                message = 'socket.accept() out of system resource'
            self._want(0)
            self._retry = self._loop.call_later(RETRY_SECONDS, self.start)
        self._loop.call_exception_handler({
            'message': message,
            'exception': error,
            'socket': TransportSocket(self._sock),
        })


class Server(asyncio.Server):
    """What create_server() returns: listening sockets and the connections that came through them. See asyncio.Server.

    wait_closed(), close_clients() and abort_clients() work as in Python 3.13 on every version."""

    def __init__(self, loop, sockets, protocol_factory, backlog, socket_files=(), tls=None):
        """`sockets`: bound stream sockets, which the server owns from now on. `socket_files`: (path, inode) of the files
        to remove on close(). `tls`: (SSLContext, handshake timeout, shutdown timeout), or None."""
        self._loop = loop
        self._sockets = sockets
        self._socket_files = socket_files
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._tls = tls
        self._acceptors = []
        self._active_count = 0
        self._waiters = []
        self._serving = False
        self._serving_forever_fut = None

    def __repr__(self):
        return f'<{type(self).__name__} sockets={self.sockets!r}>'

    # ---- for transports ----

    def _attach(self, transport=None):
        self._active_count += 1

    def _detach(self, transport=None):
        self._active_count -= 1
        if self._active_count == 0 and self._sockets is None:
            self._wakeup()

    @property
    def _clients(self):
        """The connections that are there: their uppermost transports."""
        transports = []
        for transport in list(self._loop._transports.values()):
            if transport._server is self:
                while isinstance(above := transport.get_protocol(), asyncio.Transport):
                    transport = above  # TLS
                transports.append(transport)
        return transports

    def _wakeup(self):
        waiters = self._waiters
        if waiters is None:
            return
        self._waiters = None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def _ssl_context(self):
        # no part of the interface; libraries look there whether a server speaks TLS
        return None if self._tls is None else self._tls[0]

    # ---- the public face ----

    def get_loop(self):
        """The event loop that the server belongs to."""
        return self._loop

    def is_serving(self):
        """True while it accepts connections."""
        return self._serving

    @property
    def sockets(self):
        """The listening sockets, as a tuple of asyncio.TransportSocket; empty after close()."""
        if self._sockets is None:
            return ()
        return tuple(TransportSocket(sock) for sock in self._sockets)

    def _start_serving(self):
        if self._serving:
            return
        if self._sockets is None:
            raise RuntimeError(f'server {self!r} is closed')
        try:
            for sock in self._sockets:
                sock.listen(self._backlog)
                acceptor = Acceptor(self._loop, sock, self._protocol_factory, self, self._backlog, self._tls)
                self._acceptors.append(acceptor)
                acceptor.start()
        except BaseException:
            self._stop_accepting()
            raise
        self._serving = True

    def _stop_accepting(self):
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    async def start_serving(self):
        """Accept connections from now on; nothing if it does already. Raises RuntimeError if the server is closed."""
        self._start_serving()

    async def serve_forever(self):
        """Accept connections until cancelled or closed. Cancelled, it closes the server and its connections, and waits
        for them to end. Raises RuntimeError if the server is closed, or this is being awaited already."""
        if self._serving_forever_fut is not None:
            raise RuntimeError(f'server {self!r} is already being awaited on serve_forever()')
        if self._sockets is None:
            raise RuntimeError(f'server {self!r} is closed')
        self._start_serving()
        self._serving_forever_fut = self._loop.create_future()
        try:
            await self._serving_forever_fut
        except asyncio.CancelledError:
            try:
                self.close()
                self.close_clients()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever_fut = None

    def close(self):
        """Stop listening, and close the listening sockets. Connections go on. serve_forever() is cancelled."""
        sockets = self._sockets
        if sockets is None:
            return
        self._sockets = None
        self._serving = False
        self._stop_accepting()
        for sock in sockets:
            sock.close()
        self._remove_socket_files()
        future = self._serving_forever_fut
        if future is not None and not future.done():
            future.cancel()
            self._serving_forever_fut = None
        if self._active_count == 0:
            self._wakeup()

    def close_clients(self):
        """Call close() on each connection's transport: what was written is still sent."""
        for transport in self._clients:
            transport.close()

    def abort_clients(self):
        """Call abort() on each connection's transport."""
        for transport in self._clients:
            transport.abort()

    async def wait_closed(self):
        """Wait until the server is closed and its last connection has ended."""
        if self._waiters is None:
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _remove_socket_files(self):
        """Unless somebody else put a file of their own in the same place."""
        for path, inode in self._socket_files:
            try:
                if calls.stat(path).st_ino == inode:
                    calls.unlink(path)
            except FileNotFoundError:
                continue  # it is gone: that is what was wanted
            except OSError as e:
                logger.error('Unable to clean up listening UNIX socket %r: %r', path, e)
