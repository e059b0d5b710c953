"""EventLoop: the asyncio face.

It composes the parts and holds no logic of its own:

    core.turn.Turn            scheduling, tasks, turns                     (compiled)
    core.lifecycle.Lifecycle  run_forever, close, exception handler, asynchronous generators, debug mode
    net.connect, net.server   create_connection, create_server, and their Unix twins
    net.resolve.Resolver      getaddrinfo, getnameinfo
    net.socks.Sockets         sock_* and add_reader, add_writer            (compiled)
    work.threads.Executors    run_in_executor and the default executor
    work.signals.Signals      add_signal_handler
    work.spawn, work.children subprocess_exec, subprocess_shell
    work.processes.Pools      the worker processes of to_process() and ProcessPool
    work.interpreters         to_interpreter()
    net.upgrade               start_tls
"""
import asyncio
import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from .core.lifecycle import Lifecycle
from .core.turn import Turn

if TYPE_CHECKING:
    from .net.resolve import Resolver
    from .net.socks import Sockets
    from .net.table import Transports
    from .work.children import Children
    from .work.interpreters import Interpreters
    from .work.processes import Pools
    from .work.signals import Signals
    from .work.threads import Executors


@cache
def _connections() -> Any:
    # loaded with the first connection or server
    from .net import connect

    return connect


@cache
def _spawn() -> Any:
    # loaded with the first subprocess
    from .work import spawn

    return spawn


async def _nothing() -> None:
    """A coroutine with nothing to do."""


def _part(make: Callable[[Any], Any]) -> property:
    """A part that many programs never need: made when it is asked for. It isn't kept in the loop's own dictionary: as long
    as that is empty the interpreter calls the loop's methods the short way."""
    name = make.__name__

    def get(self: Any) -> Any:
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = make(self)
        return part

    return property(get, doc=make.__doc__)


class EventLoop(Turn, Lifecycle, asyncio.AbstractEventLoop):
    """An asyncio event loop. `clock`: an object with `time() -> float` in seconds (the monotonic clock by default);
    `poller`: a core.poller.Poller (the system's best by default)."""

    def __init__(self, *, clock: Any = None, poller: Any = None) -> None:
        Turn.__init__(self, clock=clock, poller=poller)
        self._begin_life()
        self._executor_shutdown_called = False

    @_part
    def _resolver(self) -> 'Resolver':
        from .net.resolve import Resolver

        return Resolver(self)

    @_part
    def _sockets(self) -> 'Sockets':
        from .net.socks import Sockets

        self._check_closed()
        return Sockets(self)

    @_part
    def _transports(self) -> 'Transports':
        # descriptor -> transport, kept by the transports: who reads or writes a bare descriptor is told if one has it
        from .net.table import Transports

        return Transports()

    @_part
    def _executors(self) -> 'Executors':
        from .work.threads import Executors

        executors = Executors(self)
        executors._shut = self._executor_shutdown_called
        return executors

    @_part
    def _signals(self) -> 'Signals':
        from .work.signals import Signals

        return Signals(self)

    @_part
    def _children(self) -> 'Children':
        from .work.children import Children

        return Children(self)

    @_part
    def _processes(self) -> 'Pools':
        from .work.processes import Pools

        return Pools(self)

    @_part
    def _interpreters(self) -> 'Interpreters':
        from .work.interpreters import Interpreters

        return Interpreters(self)

    def _close_parts(self) -> None:
        for name in ('_signals', '_executors', '_resolver', '_sockets', '_processes', '_interpreters', '_children'):
            part = self._parts.get(name)
            if part is not None:
                part.close()
        for name in ('_signals', '_executors', '_resolver', '_sockets', '_children'):
            # they hold the loop, which without them is freed at once; those above know that they are closed
            self._parts.pop(name, None)

    def _forked(self) -> None:
        super()._forked()
        if '_processes' in self._parts:
            self._processes.forked()
        self._parts.pop('_interpreters', None)  # their threads are the parent's

    # ---- connections and servers ----

    def create_connection(self, protocol_factory, host=None, port=None, **options):
        """Connect a TCP stream. See asyncio.loop.create_connection. Coroutine: (transport, protocol)."""
        return _connections().create_connection(self, protocol_factory, host, port, **options)

    def create_server(self, protocol_factory, host=None, port=None, **options):
        """Listen on TCP. See asyncio.loop.create_server. Coroutine: a Server."""
        return _connections().create_server(self, protocol_factory, host, port, **options)

    def create_unix_connection(self, protocol_factory, path=None, **options):
        """Connect a Unix stream socket. See asyncio.loop.create_unix_connection. Coroutine: (transport, protocol)."""
        return _connections().create_unix_connection(self, protocol_factory, path, **options)

    def create_unix_server(self, protocol_factory, path=None, **options):
        """Listen on a Unix stream socket. See asyncio.loop.create_unix_server. Coroutine: a Server."""
        return _connections().create_unix_server(self, protocol_factory, path, **options)

    def connect_accepted_socket(self, protocol_factory, sock, **options):
        """Wrap a connection accepted elsewhere. See asyncio.loop.connect_accepted_socket. Coroutine: (transport,
        protocol)."""
        return _connections().connect_accepted_socket(self, protocol_factory, sock, **options)

    # ---- datagrams ----

    def create_datagram_endpoint(self, protocol_factory, local_addr=None, remote_addr=None, **options):
        """Open a datagram socket. See asyncio.loop.create_datagram_endpoint. Coroutine: (transport, protocol)."""
        from .net import endpoint

        return endpoint.create_datagram_endpoint(self, protocol_factory, local_addr, remote_addr, **options)

    def start_tls(self, transport, protocol, sslcontext, **options):
        """Go on over TLS on a connection. See asyncio.loop.start_tls. Coroutine: the transport to use from now on."""
        from .net.upgrade import start_tls

        return start_tls(self, transport, protocol, sslcontext, **options)

    # ---- names ----

    def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        """socket.getaddrinfo() on a thread; literals are answered at once. Coroutine."""
        return self._resolver.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    def getnameinfo(self, sockaddr, flags=0):
        """socket.getnameinfo() on a thread. Coroutine."""
        return self._resolver.getnameinfo(sockaddr, flags)

    # ---- pipes ----

    def connect_read_pipe(self, protocol_factory, pipe):
        """Read from a pipe, FIFO, socket or character device, a file object. Coroutine: (transport, protocol)."""
        from .net import pipes

        return pipes.connect_read_pipe(self, protocol_factory, pipe)

    def connect_write_pipe(self, protocol_factory, pipe):
        """Write into a pipe, FIFO, socket or character device, a file object. Coroutine: (transport, protocol)."""
        from .net import pipes

        return pipes.connect_write_pipe(self, protocol_factory, pipe)

    # ---- subprocesses ----

    def subprocess_exec(self, protocol_factory, program, *args, **options):
        """Start a program. See asyncio.loop.subprocess_exec. Coroutine: (transport, protocol)."""
        return _spawn().subprocess_exec(self, protocol_factory, program, *args, **options)

    def subprocess_shell(self, protocol_factory, cmd, **options):
        """Run a command in the shell. See asyncio.loop.subprocess_shell. Coroutine: (transport, protocol)."""
        return _spawn().subprocess_shell(self, protocol_factory, cmd, **options)

    # ---- descriptors and bare sockets ----

    def add_reader(self, fd, callback, *args):
        """Call callback(*args) whenever fd (int, or an object with fileno()) is readable."""
        self._check_closed()
        self._sockets.add_reader(fd, callback, *args)

    def remove_reader(self, fd):
        """Stop watching fd for reading; True if it was watched."""
        return not self._closed and self._sockets.remove_reader(fd)

    def add_writer(self, fd, callback, *args):
        """Call callback(*args) whenever fd (int, or an object with fileno()) is writable."""
        self._check_closed()
        self._sockets.add_writer(fd, callback, *args)

    def remove_writer(self, fd):
        """Stop watching fd for writing; True if it was watched."""
        return not self._closed and self._sockets.remove_writer(fd)

    def sock_recv(self, sock, nbytes):
        """Receive up to nbytes bytes from a non-blocking socket. Coroutine."""
        return self._sockets.recv(sock, nbytes)

    def sock_recv_into(self, sock, buf):
        """Receive into a writable buffer; the number of bytes. Coroutine."""
        return self._sockets.recv_into(sock, buf)

    def sock_recvfrom(self, sock, bufsize):
        """Receive a datagram of up to bufsize bytes: (data, address). Coroutine."""
        return self._sockets.recvfrom(sock, bufsize)

    def sock_recvfrom_into(self, sock, buf, nbytes=0):
        """Receive a datagram of up to nbytes bytes (0: as fits) into a buffer: (number of bytes, address). Coroutine."""
        return self._sockets.recvfrom_into(sock, buf, nbytes)

    def sock_sendall(self, sock, data):
        """Send all of data. Coroutine."""
        return self._sockets.sendall(sock, data)

    def sock_sendto(self, sock, data, address):
        """Send a datagram; the number of bytes. Coroutine."""
        return self._sockets.sendto(sock, data, address)

    def sock_connect(self, sock, address):
        """Connect a non-blocking socket. Coroutine."""
        return self._sockets.connect(sock, address)

    def sock_accept(self, sock):
        """Accept a connection: (socket, address). Coroutine."""
        return self._sockets.accept(sock)

    # ---- files ----

    def sendfile(self, transport, file, offset=0, count=None, *, fallback=True):
        """Send a file over a transport. See asyncio.loop.sendfile. Coroutine: the number of bytes."""
        from .net import sendfile

        return sendfile.sendfile(self, transport, file, offset, count, fallback=fallback)

    def _sendfile_native(self, transport, file, offset, count):
        from .net import sendfile

        return sendfile.sendfile_native(self, transport, file, offset, count)

    def sock_sendfile(self, sock, file, offset=0, count=None, *, fallback=True):
        """Send a file over a stream socket. See asyncio.loop.sock_sendfile. Coroutine: the number of bytes."""
        from .net import sendfile

        return sendfile.sock_sendfile(self, sock, file, offset, count, fallback=fallback)

    # ---- threads ----

    def run_in_executor(self, executor, func, *args):
        """Run func(*args) in a concurrent.futures.Executor (None: the default one). A Future."""
        self._check_closed()
        return self._executors.run_in_executor(executor, func, *args)

    def set_default_executor(self, executor):
        """Use this ThreadPoolExecutor for run_in_executor(None, ...)."""
        self._executors.set_default_executor(executor)

    @property
    def _default_executor(self):
        return self._executors._default if '_executors' in self._parts else None

    def shutdown_default_executor(self, timeout=None):
        """Wait until the default executor's threads have ended, up to timeout seconds. Coroutine."""
        self._executor_shutdown_called = True
        if '_executors' not in self._parts:
            return _nothing()
        return self._executors.shutdown_default_executor(timeout)

    # ---- signals ----

    def add_signal_handler(self, sig, callback, *args):
        """Call callback(*args) in the loop when the signal comes. Main thread only."""
        self._check_closed()
        self._signals.add_signal_handler(sig, callback, *args)

    def remove_signal_handler(self, sig):
        """Undo add_signal_handler(); True if there was one."""
        return self._signals.remove_signal_handler(sig)

    def _signals_wanted(self):
        return '_signals' in self._parts and self._signals.active()


# asyncio's are coroutine functions, and mocks and inspecting frameworks go by that; ours return their coroutines
for _name in (
    'connect_accepted_socket', 'connect_read_pipe', 'connect_write_pipe', 'create_connection', 'create_datagram_endpoint',
    'create_server', 'create_unix_connection', 'create_unix_server', 'getaddrinfo', 'getnameinfo', 'sendfile',
    'shutdown_default_executor', 'sock_accept', 'sock_connect', 'sock_recv', 'sock_recv_into', 'sock_recvfrom',
    'sock_recvfrom_into', 'sock_sendall', 'sock_sendfile', 'sock_sendto', 'start_tls', 'subprocess_exec', 'subprocess_shell',
):
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(vars(EventLoop)[_name])
    else:
        vars(EventLoop)[_name]._is_coroutine = asyncio.coroutines._is_coroutine
