"""Who waits for a descriptor: the callbacks of add_reader() and add_writer(), and the calls on bare sockets.

A Descriptor is the loop's watcher of one descriptor. For each direction it has a callback and a line of futures, one
for each call that waits (socks.py). What becomes ready calls the callback and wakes the first in line.

The compiled epoll poller goes on watching for READ after a wait, until an event comes for which nobody waits: a
program that receives in a loop would otherwise pay for two changes of the poller per message. Any other poller is
told at once, and so is each of WRITE, since a socket is nearly always writable.

What is watched must not outlive its file. A number alone doesn't name a file: it may have been closed, and be
another file's now. So
- a Descriptor remembers (weakly) the socket object it served last. Another object with the same number takes it
  over: if the poller finds that the file is the same one, whoever waits goes on waiting; if not, all are let go;
- who was let go and waits tries again on his own socket, and learns there that it is closed;
- a watcher that another one replaced in the poller has no interest left, and so touches nothing of its successor's.

Not here: transports, which watch their sockets themselves. A descriptor that one uses is refused.
"""
import errno
import os
import socket as _socket
import weakref
from _socket import socket as _BaseSocket

from ..core import leaf as _leaf
from ..core.leaf import EpollPoller, Watcher

READ = 1
WRITE = 2

#: what a stream is first read by (bytes)
SMALL_READ = 16384

_Socket = _socket.socket
_type = _BaseSocket.type.__get__


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


def closed_error():
    return OSError(errno.EBADF, os.strerror(errno.EBADF))


class Descriptors:
    """The descriptors of one loop that somebody waits for, or waited for last, by number."""

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
        _leaf.track_handle(handle)
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

    # ---- sockets ----

    def _descriptor(self, sock):
        fd = sock.fileno()
        descriptor = self._table.get(fd)
        if descriptor is not None and descriptor._ref is not None and descriptor._ref() is sock:
            return descriptor
        return self._adopt(sock, fd, descriptor)

    def _adopt(self, sock, fd, descriptor):
        """This object has that number now."""
        if fd < 0:
            raise closed_error()
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
