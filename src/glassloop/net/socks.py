"""Bare sockets: the loop.sock_*() calls.

A call is an awaitable of its own. When awaited it tries the system call, and waits in the descriptor's line
(descriptors.py) only if that would block. What becomes ready wakes the first in line, and *the awoken call does the
system call itself*, in the step of its task. So whatever cancels it in between has taken no bytes and no connection
with it; the poller, which reports levels, reports the same event again and wakes the next in line. Calls of one
direction on one socket are served in the order in which they came: two readers each get what comes at their turn,
two sendall() never mix their bytes.

A call on a plain socket.socket reads and writes its descriptor without an exception where nothing is there yet; one on
a subclass calls the object's own methods, which may do more.
"""
import asyncio
import errno
import os
import socket as _socket
from _socket import socket as _BaseSocket

from ..core import future as _future
from ..core import leaf as _leaf
from ..core.leaf import Op
from . import calls, checks
from . import descriptors as _descriptors
from .descriptors import Descriptors
from .resolve import ensure_resolved, literal

READ = 1
WRITE = 2

MOST = 1 << 30  # bytes that sendfile() is asked to send at once
LARGE_READ = 126 * 1024  # with its header still below the size from which malloc() maps memory for each

FIRST_PAUSE = 0.001
LAST_PAUSE = 0.064

_Socket = _socket.socket
_family = _BaseSocket.family.__get__
_type = _BaseSocket.type.__get__
# with this flag the socket object knows that its descriptor is non-blocking
_NON_BLOCKING = getattr(_socket, 'SOCK_NONBLOCK', 0)
_INTERNET = (_socket.AF_INET, _socket.AF_INET6)


def _check(loop, sock):
    if type(sock) is not _Socket:
        checks.no_ssl_socket(sock)
    if loop._debug and sock.gettimeout() != 0:
        raise ValueError('the socket must be non-blocking')


class SockOp(Op):
    """A call on a socket, when awaited. `_attempt` does the system call: False if it would block. `_finish` lets go of
    what the call held."""

    __slots__ = ('_descriptor', '_line', '_plain', '_sock', '_sockets', '_writes')

    def _begin(self):
        sock = self._sock
        self._plain = type(sock) is _Socket
        if not self._plain or self._sockets._loop._debug:
            _check(self._sockets._loop, sock)
        descriptor = self._sockets._descriptor(sock)
        self._descriptor = descriptor
        self._line = descriptor._writers if self._writes else descriptor._readers
        if not self._line and self._attempt():
            return None
        return self._wait()

    def _wait(self):
        descriptor = self._descriptor
        bit = WRITE if self._writes else READ
        descriptor._watch(bit)
        # what came before the attempt says nothing of now
        descriptor._arrived &= ~bit
        future = _future.new_future(descriptor._loop)
        self._line.append(future)
        return future

    def _wake(self, exc):
        if exc is not None:
            self._leave()
            raise exc
        try:
            descriptor = self._descriptor
            if self._sock.fileno() != descriptor._fd:
                raise _descriptors.closed_error()
            if self._attempt():
                self._leave()
                return None
            # woken for nothing: wait on, at the same place
            line = descriptor._writers if self._writes else descriptor._readers
            if self._line is not line:
                self._line = line
                return self._wait()
            descriptor._watch(WRITE if self._writes else READ)
            future = _future.new_future(descriptor._loop)
            line[line.index(self._future)] = future
            return future
        except BaseException:
            self._leave()
            raise

    def _leave(self):
        line = self._line
        if self._future in line:
            line.remove(self._future)
        descriptor = self._descriptor
        if self._writes:
            if not descriptor._writers and descriptor._writer is None:
                descriptor._unwatch(WRITE)
        elif not self._sockets._keeps and not descriptor._readers and descriptor._reader is None:
            descriptor._unwatch(READ)
        self._finish()
        return 0

    def _attempt(self):
        raise NotImplementedError

    def _finish(self):
        return 0


class sock_recv(SockOp):
    __slots__ = ('_size',)

    def _attempt(self):
        if not self._plain:
            try:
                self._value = self._sock.recv(self._size)
            except (BlockingIOError, InterruptedError):
                return False
            return True
        descriptor = self._descriptor
        size = self._size
        if size <= 0:
            if size < 0:
                raise ValueError('negative buffersize in recv')
            self._value = b''
            return True
        limit = descriptor._limit
        if limit != 0 and size > limit:
            size = limit
        data = _leaf.recv(descriptor._fd, size)
        if data is None:
            return False
        if size == limit:
            # a full read: the next one may be larger
            if len(data) == size and size < LARGE_READ:
                descriptor._limit = min(4 * size, LARGE_READ)
        elif limit > _descriptors.SMALL_READ and len(data) < _descriptors.SMALL_READ // 2:
            descriptor._limit = max(_descriptors.SMALL_READ, limit // 2)
        self._value = data
        return True


class sock_recv_into(SockOp):
    __slots__ = ('_buffer',)

    def _attempt(self):
        buffer = self._buffer
        try:
            if not self._plain:
                self._value = self._sock.recv_into(buffer)
                return True
            n = _leaf.recv_into(self._descriptor._fd, buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except BufferError:
            kind = type(buffer).__name__
            raise TypeError(f'sock_recv_into() needs a read-write bytes-like object, not {kind}') from None
        if n < 0:
            if memoryview(buffer).nbytes:
                return False
            # an empty buffer waits for nothing
            n = 0
        self._value = n
        return True


class sock_recvfrom(SockOp):
    __slots__ = ('_size',)

    def _attempt(self):
        try:
            self._value = self._sock.recvfrom(self._size)
        except (BlockingIOError, InterruptedError):
            return False
        return True


class sock_recvfrom_into(SockOp):
    __slots__ = ('_buffer', '_size')

    def _attempt(self):
        try:
            self._value = self._sock.recvfrom_into(self._buffer, self._size or len(self._buffer))
        except (BlockingIOError, InterruptedError):
            return False
        return True


class sock_accept(SockOp):
    __slots__ = ()

    def _attempt(self):
        sock = self._sock
        try:
            if not self._plain:
                connection, address = sock.accept()
                connection.setblocking(False)
                self._value = connection, address
                return True
            fd, address = sock._accept()
        except (BlockingIOError, InterruptedError):
            return False
        try:
            os.set_blocking(fd, False)
            connection = _Socket(_family(sock), _type(sock) | _NON_BLOCKING, sock.proto, fd)
        except BaseException:
            os.close(fd)
            raise
        self._value = connection, address
        return True


class sock_sendall(SockOp):
    __slots__ = ('_data', '_sent', '_size')

    def _begin(self):
        data = self._data
        if type(data) is bytes:
            self._size = len(data)
        else:
            # keeps the buffer's owner from resizing it
            self._data = data = memoryview(data)
            self._size = data.nbytes
        return SockOp._begin(self)

    def _attempt(self):
        if self._plain:
            n = _leaf.send(self._descriptor._fd, self._data, self._sent)
            if n < 0:
                return False
        else:
            data = self._data
            if self._sent:
                data = memoryview(data).cast('B')[self._sent:]
            try:
                n = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                return False
        self._sent += n
        return self._sent >= self._size

    def _finish(self):
        self._data = None
        return 0


class sock_sendfile(SockOp):
    """`sent`: how many bytes were, also after it failed."""

    __slots__ = ('_file', '_left', '_offset', 'sent')

    def _attempt(self):
        size = MOST if self._left is None else min(self._left, MOST)
        try:
            n = calls.sendfile(self._descriptor._fd, self._file.fileno(), self._offset, size)
        except (BlockingIOError, InterruptedError):
            return False
        self._offset += n
        self.sent += n
        if self._left is not None:
            self._left -= n
        if n and self._left != 0:
            # the rest when the socket takes more: a large file leaves the others their turn
            return False
        self._value = self.sent
        return True


class sock_sendto(SockOp):
    __slots__ = ('_address', '_data')

    def _attempt(self):
        try:
            self._value = self._sock.sendto(self._data, self._address)
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def _finish(self):
        self._data = None
        return 0


class _Connect(SockOp):
    """connect() to a resolved address."""

    __slots__ = ('_address', '_connecting')

    def _attempt(self):
        sock = self._sock
        if self._connecting:
            error = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if error:
                raise OSError(error, f'Connect call failed {self._address}')
            return True
        try:
            sock.connect(self._address)
        except (BlockingIOError, InterruptedError) as e:
            if e.errno == errno.EAGAIN and sock.family == _socket.AF_UNIX:
                raise  # nothing is under way
            self._connecting = True
            return False
        return True


async def sock_connect(loop, connect, sock, address):
    _check(loop, sock)
    family = sock.family
    if family in _INTERNET:
        type_ = sock.type
        info = literal(address[0], address[1], family, type_, sock.proto, *address[2:])
        if info is None:
            infos = await ensure_resolved(loop, address, family=family, type=type_, proto=sock.proto)
            info = infos[0]
        address = info[4]
    pause = FIRST_PAUSE
    while True:
        try:
            return await connect(sock, address)
        except BlockingIOError:
            # A Unix socket's backlog is full; the kernel tells nobody when there is room again.
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)


class Sockets(Descriptors):
    """The descriptors of one loop, and the calls on bare sockets."""

    __slots__ = ()

    def recv(self, sock, n):
        """Up to n bytes; b'' at the end of the stream. A stream gives at most some 126 KiB at once."""
        op = _leaf.new_op(_sock_recv)
        op._sockets = self
        op._sock = sock
        op._size = n
        op._writes = False
        return op

    def recv_into(self, sock, buf):
        """The number of bytes received into buf; 0 at the end of the stream."""
        op = _leaf.new_op(_sock_recv_into)
        op._sockets = self
        op._sock = sock
        op._buffer = buf
        op._writes = False
        return op

    def recvfrom(self, sock, bufsize):
        """(data, address) of one datagram."""
        op = sock_recvfrom.__new__(sock_recvfrom)
        op._sockets = self
        op._sock = sock
        op._size = bufsize
        op._writes = False
        return op

    def recvfrom_into(self, sock, buf, nbytes=0):
        """(number of bytes, address) of one datagram received into buf."""
        op = sock_recvfrom_into.__new__(sock_recvfrom_into)
        op._sockets = self
        op._sock = sock
        op._buffer = buf
        op._size = nbytes
        op._writes = False
        return op

    def accept(self, sock):
        """(socket, address) of one connection; the socket is non-blocking."""
        op = sock_accept.__new__(sock_accept)
        op._sockets = self
        op._sock = sock
        op._writes = False
        return op

    def sendall(self, sock, data):
        """None when all was sent. After an error it isn't known how much was."""
        op = _leaf.new_op(_sock_sendall)
        op._sockets = self
        op._sock = sock
        op._data = data
        op._sent = 0
        op._writes = True
        return op

    def sendfile(self, sock, file, offset, count):
        """The number of bytes sent of a file, by os.sendfile(); count None: all."""
        op = sock_sendfile.__new__(sock_sendfile)
        op._sockets = self
        op._sock = sock
        op._file = file
        op._offset = offset
        op._left = count
        op.sent = 0
        op._writes = True
        return op

    def sendto(self, sock, data, address):
        """The number of bytes sent to address."""
        op = sock_sendto.__new__(sock_sendto)
        op._sockets = self
        op._sock = sock
        op._data = data
        op._address = address
        op._writes = True
        return op

    def connect(self, sock, address):
        """None when connected. A host's name is looked up first."""
        return sock_connect(self._loop, self._connect, sock, address)

    def _connect(self, sock, address):
        op = _Connect.__new__(_Connect)
        op._sockets = self
        op._sock = sock
        op._address = address
        op._connecting = False
        op._writes = True
        return op


_sock_recv = _leaf.recycle_op(sock_recv)
_sock_recv_into = _leaf.recycle_op(sock_recv_into)
_sock_sendall = _leaf.recycle_op(sock_sendall)
