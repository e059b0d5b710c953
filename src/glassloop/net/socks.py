"""Descriptors and bare sockets: loop.add_reader(), add_writer() and the loop.sock_*() calls.

A Descriptor is the loop's watcher of one descriptor. For each direction it has a callback (add_reader, add_writer)
and a line of futures, one for each sock_*() call that waits.

A sock_*() call is an awaitable of its own. When awaited it tries the system call, and waits in line only if that
would block. What becomes ready wakes the first in line, and *the awoken call does the system call itself*, in the
step of its task. So whatever cancels it in between has taken no bytes and no connection with it; the poller, which
reports levels, reports the same event again and wakes the next in line. Calls of one direction on one socket are
served in the order in which they came: two readers each get what comes at their turn, two sendall() never mix their
bytes.

The compiled epoll poller goes on watching for READ after a wait, until an event comes for which nobody waits: a
program that receives in a loop would otherwise pay for two changes of the poller per message. Any other poller is
told at once, and so is each of WRITE, since a socket is nearly always writable.

What is watched must not outlive its file. A number alone doesn't name a file: it may have been closed, and be
another file's now. So
- a Descriptor remembers (weakly) the socket object it served last. Another object with the same number takes it
  over: if the poller finds that the file is the same one, whoever waits goes on waiting; if not, all are let go;
- who was let go and waits tries again on his own socket, and learns there that it is closed;
- a watcher that another one replaced in the poller has no interest left, and so touches nothing of its successor's.

Not here: transports, which own their sockets. A descriptor that one uses is refused.
"""
import asyncio
import errno
import os
import socket as _socket
import weakref
from _socket import socket as _BaseSocket

from ..core import future as _future
from ..core import leaf as _leaf
from ..core.leaf import EpollPoller, Op, Watcher
from . import checks
from .resolve import ensure_resolved, literal

READ = 1
WRITE = 2

SMALL_READ = 16384
LARGE_READ = 126 * 1024  # with its header still below the size from which malloc() maps memory for each

FIRST_PAUSE = 0.001
LAST_PAUSE = 0.064

_Socket = _socket.socket
_family = _BaseSocket.family.__get__
_type = _BaseSocket.type.__get__
# with this flag the socket object knows that its descriptor is non-blocking; with accept() it makes it so
_NON_BLOCKING = getattr(_socket, 'SOCK_NONBLOCK', 0)
_INTERNET = (_socket.AF_INET, _socket.AF_INET6)


class Descriptor(Watcher):
    """What waits for one descriptor."""

    __slots__ = ('_limit', '_loop', '_object', '_reader', '_readers', '_ref', '_writer', '_writers')

    def __init__(self, loop, fd):
        self._core = loop
        self._loop = loop
        self._poller = loop._poller
        self._fd = fd
        self._interest = 0
        self._arrived = 0
        self._queued = False
        self._after = None
        self._reader = None
        self._writer = None
        self._readers = []
        self._writers = []
        self._object = None
        self._ref = None
        self._limit = 0

    def __repr__(self):
        info = [f'<{type(self).__name__} fd={self._fd}']
        for name, handle, line in (('read', self._reader, self._readers), ('write', self._writer, self._writers)):
            if handle is not None:
                info.append(f'{name}={handle!r}')
            if line:
                info.append(f'waiting to {name}: {len(line)}')
        return ' '.join(info) + '>'

    def _serve(self, sock):
        """From now on this is `sock`."""
        try:
            self._ref = weakref.ref(sock)
        except TypeError:
            self._ref = None  # taken over anew by each call
        # 0: no limit, a datagram can't be read in parts
        stream = type(sock) is _Socket and _type(sock) == _socket.SOCK_STREAM
        self._limit = SMALL_READ if stream else 0
        return 0

    def _run(self, core):
        arrived = self._arrived
        self._queued = False
        self._arrived = 0
        reader = writer = None
        if arrived & READ:
            reader = self._reader
            if self._readers:
                _wake_first(self._readers)
            elif reader is None:
                self._unwatch(READ)
        if arrived & WRITE:
            writer = self._writer
            if self._writers:
                _wake_first(self._writers)
            elif writer is None:
                self._unwatch(WRITE)
        if reader is not None:
            self._call(core, reader)
        if writer is not None:
            self._call(core, writer)
        return 0

    def _call(self, core, handle):
        if handle._cancelled:
            return 0
        if core._published is not None:
            core._unpublish()
        error = _leaf.call(handle._context, handle._callback, handle._args)
        if error is not None:
            core._callback_failed(handle, error)
        return 0

    def _watch(self, bit):
        if not self._interest & bit:
            _refuse_transport(self._loop, self._fd, self._fd)
            self._want(self._interest | bit)
        return 0

    def _unwatch(self, bit):
        try:
            self._want(self._interest & ~bit)
        except OSError:
            # closed behind our back: the kernel has forgotten it
            self._want(0)
        return 0

    def _busy(self):
        """True if anybody waits."""
        return self._reader is not None or self._writer is not None or bool(self._readers) or bool(self._writers)

    def _is_same_file(self):
        """True if the file that is watched is still the one with this number."""
        if self._interest == 0:
            return False
        try:
            return not self._poller.modify(self._fd, self, self._interest)
        except OSError:
            return False

    def _forget(self):
        """The file is gone: let go of all who wait."""
        reader = self._reader
        writer = self._writer
        self._reader = self._writer = self._object = None
        if reader is not None:
            reader.cancel()
        if writer is not None:
            writer.cancel()
        readers = self._readers
        writers = self._writers
        self._readers = []
        self._writers = []
        _wake_all(readers)
        _wake_all(writers)
        self._arrived = 0
        self._want(0)
        return 0


def _wake_first(line):
    future = line[0]
    # one that is done belongs to a call that will leave the line when its task runs
    if future._st == 0:
        future._finish(None)
    return 0


def _wake_all(line):
    for item in line:
        future = item
        if future._st == 0:
            future._finish(None)
    return 0


def _refuse_transport(loop, number, fd):
    transport = loop._transports.get(number)
    if transport is not None and not transport.is_closing():
        raise RuntimeError(f'File descriptor {fd!r} is used by transport {transport!r}')


def _closed_error():
    return OSError(errno.EBADF, os.strerror(errno.EBADF))


def _check(loop, sock):
    if type(sock) is not _Socket:
        checks.no_ssl_socket(sock)
    if loop._debug and sock.gettimeout() != 0:
        raise ValueError('the socket must be non-blocking')


# ---- the calls ----


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
                raise _closed_error()
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
        elif limit > SMALL_READ and len(data) < SMALL_READ // 2:
            descriptor._limit = max(SMALL_READ, limit // 2)
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


class Sockets:
    """The descriptors and bare sockets of one loop."""

    __slots__ = ('_keeps', '_loop', '_table')

    def __init__(self, loop):
        self._loop = loop
        self._table = {}
        # only the compiled epoll poller tells the events of a file that was closed while watched from its successor's
        self._keeps = _leaf.COMPILED and type(loop._poller) is EpollPoller

    def close(self):
        """Let go of everything. The loop's poller is closed afterwards."""
        for item in self._table.values():
            descriptor = item
            descriptor._forget()
        self._table.clear()

    # ---- callbacks ----

    def add_reader(self, fd, callback, *args):
        """callback(*args) whenever fd is readable; it replaces the one that was there."""
        self._add(fd, READ, callback, args)

    def remove_reader(self, fd):
        """True if there was a callback."""
        return self._remove(fd, READ)

    def add_writer(self, fd, callback, *args):
        """callback(*args) whenever fd is writable; it replaces the one that was there."""
        self._add(fd, WRITE, callback, args)

    def remove_writer(self, fd):
        """True if there was a callback."""
        return self._remove(fd, WRITE)

    def _number(self, fd):
        if isinstance(fd, int):
            number = fd
        else:
            try:
                number = int(fd.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f'Invalid file object: {fd!r}') from None
        _refuse_transport(self._loop, number, fd)
        return number

    def _add(self, fd, bit, callback, args):
        number = self._number(fd)
        handle = self._loop._handle(callback, args, None)
        descriptor = self._table.get(number)
        if descriptor is None:
            descriptor = self._new(number)
        elif not descriptor._is_same_file():
            descriptor._forget()
        descriptor._want(descriptor._interest | bit)
        descriptor._arrived &= ~bit
        if bit == READ:
            old = descriptor._reader
            descriptor._reader = handle
        else:
            old = descriptor._writer
            descriptor._writer = handle
        if old is not None:
            old.cancel()
        if not isinstance(fd, int):
            descriptor._object = fd
        self._table[number] = descriptor
        return 0

    def _remove(self, fd, bit):
        number = self._number(fd)
        if self._loop._closed:
            return False
        descriptor = self._given(fd) if number < 0 else self._table.get(number)
        if descriptor is None:
            return False
        if bit == READ:
            handle = descriptor._reader
            descriptor._reader = None
            line = descriptor._readers
        else:
            handle = descriptor._writer
            descriptor._writer = None
            line = descriptor._writers
        if handle is None:
            return False
        handle.cancel()
        if descriptor._reader is None and descriptor._writer is None:
            descriptor._object = None
        if not line:
            descriptor._arrived &= ~bit
            descriptor._unwatch(bit)
        return True

    def _given(self, fd):
        """What watches the descriptor of an object that is closed by now."""
        for item in self._table.values():
            descriptor = item
            if descriptor._object is fd:
                return descriptor
        raise ValueError(f'Invalid file descriptor: {fd.fileno() if hasattr(fd, "fileno") else fd}')

    # ---- bare sockets ----

    def _descriptor(self, sock):
        fd = sock.fileno()
        descriptor = self._table.get(fd)
        if descriptor is not None and descriptor._ref is not None and descriptor._ref() is sock:
            return descriptor
        return self._adopt(sock, fd, descriptor)

    def _adopt(self, sock, fd, descriptor):
        """This object has that number now."""
        if fd < 0:
            raise _closed_error()
        if descriptor is None:
            descriptor = self._table[fd] = self._new(fd)
        elif not descriptor._busy():
            descriptor._want(0)
            descriptor._arrived = 0
        elif not descriptor._is_same_file():
            descriptor._forget()
        descriptor._serve(sock)
        return descriptor

    def _new(self, fd):
        return Descriptor(self._loop, fd)

    def recv(self, sock, n):
        """Up to n bytes; b'' at the end of the stream. A stream gives at most some 126 KiB at once."""
        op = sock_recv.__new__(sock_recv)
        op._sockets = self
        op._sock = sock
        op._size = n
        op._writes = False
        return op

    def recv_into(self, sock, buf):
        """The number of bytes received into buf; 0 at the end of the stream."""
        op = sock_recv_into.__new__(sock_recv_into)
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
        op = sock_sendall.__new__(sock_sendall)
        op._sockets = self
        op._sock = sock
        op._data = data
        op._sent = 0
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
