# cython: binding=False
"""DatagramTransport: moves datagrams between a UDP, Unix or other datagram socket and its protocol.

Its states and what a call does in which are in life.py; `sendto()` stands for write there.

Receiving. As long as datagrams come one by one, each event receives one. Now and then a second one is looked for; if
there is one, each event receives all there are, up to BATCH, until it is only one again. Then the others have their turn,
and the poller, which reports levels, comes back. A datagram is received into a buffer of the transport's that has room
for the largest one.

Sending. A datagram is sent at once; the kernel keeps nothing of a socket's own, so there is nothing to gain by waiting. If
the kernel takes none now it waits in `_out`, and those after it too: the order is kept. What waits is immutable, and
counts with a few bytes more than it has, so that empty ones are bounded too.

Names. An address whose host is a name is looked up by the loop's resolver, and the datagram waits in `_out` until the
answer is there; so do those after it. asyncio blocks the whole loop meanwhile. Datagrams to one name that wait at the
same time share a lookup.

After close(). What is sent until connection_lost() has returned is still sent, as asyncio does: an endpoint that answers to
many says good-bye then. But nothing waits any more, and one with a remote address is silent at once.

Errors. An OSError in receiving, sending or looking up is told to error_received(), and the transport goes on: it is
about one datagram, or the peer, not about the socket. What a protocol raises is reported, and the transport goes on too.

A socket of a class of its own, or of a family whose addresses the leaf can't read, is used through its methods.

Not here: making the socket (endpoint.py).
"""
import asyncio
import errno
import os
import socket
from asyncio import constants
from asyncio.log import logger
from collections import deque

from ..core import leaf as _leaf
from ..core.leaf import Datagrams
from . import life as _life
from .life import Connection
from .resolve import literal

READ = 1
WRITE = 2

BATCH = 32
STEADY = 8  # events that received one, until a second one is looked for
HEADER = 8  # bytes that a waiting datagram counts for besides its own
LARGEST = 256 * 1024
UNREADABLE = -3

_Socket = socket.socket
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_FAMILIES = (*_INTERNET, getattr(socket, 'AF_UNIX', socket.AF_INET))


class _Face(asyncio.Transport, asyncio.DatagramTransport):
    """What a DatagramTransport says its class is: asyncio's own is both."""


class _Lookup:
    """An address whose host is a name. `_address` or `_error` when the answer is there; `_task` until then."""

    __slots__ = ('_address', '_error', '_host', '_rest', '_task')


def _give_up(lookup):
    lookup._task.cancel()


class DatagramTransport(Connection):
    """A datagram socket as an asyncio transport. Made by create_datagram_endpoint().

    sock: a non-blocking socket, which the transport owns from now on. address: the only one to send to, or None. waiter: a
    future that gets its result when connection_made() was called and receiving has begun. extra: a dict for
    get_extra_info().
    """

    __slots__ = ('_address', '_batch', '_box', '_connected', '_lookups', '_plain', '_steady')

    def __init__(self, loop, sock, protocol, address=None, waiter=None, extra=None):
        family = sock.family
        self._owned = None
        self._alive = False
        self._address = address
        self._batch = 1
        self._steady = 0
        self._plain = type(sock) is _Socket and family in _FAMILIES
        self._box = Datagrams(family)
        self._lookups = None
        self._begin(loop, sock, protocol, waiter, extra, None)
        self._connected = self._peer is not None

    @property
    def __class__(self):
        return _Face

    def set_protocol(self, protocol):
        """Give what comes from now on to another protocol."""
        self._protocol = protocol

    def close(self):
        """Send what waits, then close. Nothing is received any more. Nothing if it is closed or closing."""
        if self._state >= _life.CLOSING:
            return
        self._state = _life._NEXT[_life.CLOSE][self._state]
        if self._out is None:
            self._lose(_life.FLUSHED, None)
        else:
            self._watch()

    def _run(self, core):
        arrived = self._arrived
        self._queued = False
        self._arrived = 0
        if core._published is not None:
            core._unpublish()
        # what isn't wanted any more doesn't count
        if arrived & self._interest & READ:
            self._receive()
        if arrived & self._interest & WRITE:
            self._send()
        return 0

    # ---- receiving ----

    def _receive(self):
        received = 0
        while received < self._batch:
            try:
                if self._plain:
                    data = self._box.receive(self._fd)
                else:
                    data = self._receive_by_method()
            except BaseException as e:
                return self._receive_failed(e)
            if data is None:
                # in a burst it pays to look once more than needed, else it doesn't
                self._batch = BATCH if received > 1 else 1
                self._steady = 0
                return 0
            try:
                _leaf.method2(self._context, self._protocol, 'datagram_received', data, self._box.sender)
            except BaseException as e:
                self._raised(e, 'datagram_received')
            if not self._interest & READ:
                return 0
            received += 1
        self._steady += 1
        if self._steady == STEADY:
            self._batch = BATCH
        return 0

    def _receive_by_method(self):
        try:
            data, self._box.sender = self._owned.recvfrom(LARGEST)
            return data
        except (BlockingIOError, InterruptedError):
            return None

    def _receive_failed(self, error):
        if not isinstance(error, OSError):
            return self._failed(error, 'Fatal read error on datagram transport')
        return self._tell(error)

    def _tell(self, error):
        """Tell the protocol of an error, in the context of the transport."""
        try:
            _leaf.method1(self._context, self._protocol, 'error_received', error)
        except BaseException as e:
            self._raised(e, 'error_received')
        return 0

    def _raised(self, error, name):
        """The protocol raised."""
        return self._callback_failed(error, getattr(self._protocol, name, None))

    # ---- sending ----

    def sendto(self, data, addr=None):
        """Send data (bytes, bytearray or memoryview) as one datagram, to addr or to where the socket is connected; now, or
        when the kernel takes it or the host's name is looked up. Never blocks. Raises TypeError for other data, ValueError
        for another address than the one of the endpoint; what can't be sent is told to error_received()."""
        if type(data) is not bytes and not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f'data argument must be a bytes-like object, not {type(data).__name__!r}')
        if self._address:
            if addr is not None and addr != self._address:
                raise ValueError(f'Invalid address: must be None or {self._address}')
            addr = self._address
        if self._state >= _life.LOST and (self._address or not self._alive):
            return self._send_lost()
        if self._connected:
            addr = None
        if not self._out:
            try:
                if self._plain and (addr is not None or self._connected):
                    n = self._box.send(self._fd, data, addr)
                    if n == UNREADABLE:
                        n, addr = self._send_elsewhere(data, addr)
                else:
                    n, addr = self._send_elsewhere(data, addr)
            except OSError as e:
                self._protocol.error_received(e)
                return
            except BaseException as e:
                self._failed(e, 'Fatal write error on datagram transport')
                return
            if n >= 0:
                return
            if self._state >= _life.LOST:
                self._drop()
                return self._send_lost()
            if self._out is None:
                self._out = deque()
            if type(addr) is not _Lookup:
                self._blocked = True
                self._watch()
        elif addr is not None:
            # its name is looked up while those before it wait
            addr = self._looked_up(addr) or addr
        data = bytes(data)
        self._out.append((data, addr))
        self._out_size += len(data) + HEADER
        self._pause_writing()

    def _send_lost(self):
        if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning('socket.send() raised exception.')
        self._conn_lost += 1

    def _send_elsewhere(self, data, addr):
        """Send by the socket's own method: (bytes sent or -1, the address if it must wait). An address with a name isn't
        sent to, it is looked up."""
        sock = self._socket()
        if addr is not None:
            lookup = self._looked_up(addr)
            if lookup is not None:
                return -1, lookup
        try:
            return (sock.send(data) if self._connected else sock.sendto(data, addr)), addr
        except (BlockingIOError, InterruptedError):
            return -1, addr

    def _looked_up(self, addr):
        """A lookup under way, if the host of this address is a name; None otherwise. Whatever isn't an address at all is
        the socket's to refuse."""
        sock = self._socket()
        if sock.family not in _INTERNET:
            return None
        if type(addr) is not tuple or not 2 <= len(addr) <= (2 if sock.family == socket.AF_INET else 4):
            return None
        host, port = addr[:2]
        if isinstance(host, (bytes, bytearray)):
            host = bytes(host)
        if not host or not isinstance(host, (str, bytes)) or host == '<broadcast>' or host == b'<broadcast>':
            return None
        if not isinstance(port, int) or not 0 <= port <= 65535 or not all(isinstance(part, int) for part in addr[2:]):
            return None
        if literal(host, port, sock.family, socket.SOCK_DGRAM, 0) is not None:
            return None
        if self._lookups is None:
            self._lookups = {}
        lookup = self._lookups.get(addr)
        if lookup is None:
            lookup = self._lookups[addr] = _Lookup()
            lookup._host = host
            lookup._rest = addr[1:]
            lookup._address = lookup._error = None
            coro = self._core.getaddrinfo(host, port, family=sock.family, type=sock.type, proto=sock.proto)
            lookup._task = asyncio.ensure_future(coro, loop=self._core)
            lookup._task.add_done_callback(lambda task: self._answered(addr, lookup, task))
        return lookup

    def _answered(self, addr, lookup, task):
        """The name was looked up."""
        if self._lookups is not None and self._lookups.get(addr) is lookup:
            del self._lookups[addr]
        lookup._task = None
        if task.cancelled():
            lookup._error = OSError(errno.ECANCELED, f'{os.strerror(errno.ECANCELED)}: lookup of {lookup._host!r}')
        else:
            lookup._error = task.exception()
            if lookup._error is None:
                infos = task.result()
                if infos:
                    found = infos[0][4]
                    # flow and scope are what was said, if it was
                    lookup._address = (found[0], *lookup._rest, *found[1 + len(lookup._rest):])
                else:
                    lookup._error = OSError(f'getaddrinfo({lookup._host!r}) returned empty list')
        self._flush()

    def _drop(self):
        lookups = self._lookups
        self._lookups = None
        self._out = None
        self._out_size = 0
        if lookups:
            for lookup in lookups.values():
                _give_up(lookup)
        return 0

    def _flush(self):
        if self._out is not None and not self._blocked:
            self._send()
        return 0

    def _send(self):
        """Send what waits, in order, up to what has to wait on."""
        out = self._out
        blocked = False
        while out:
            data, addr = out[0]
            error = None
            try:
                if type(addr) is _Lookup:
                    lookup = addr
                    if lookup._task is not None:
                        break
                    if lookup._error is not None:
                        raise lookup._error
                    addr = lookup._address
                n = UNREADABLE
                if self._plain and (addr is not None or self._connected):
                    n = self._box.send(self._fd, data, addr)
                if n == UNREADABLE:
                    n, addr = self._send_elsewhere(data, addr)
                    if type(addr) is _Lookup:
                        out[0] = data, addr
                        break
                if n == -1:
                    blocked = True
                    break
            except OSError as e:
                error = e
            except BaseException as e:
                return self._failed(e, 'Fatal write error on datagram transport')
            out.popleft()
            self._out_size -= len(data) + HEADER
            if error is not None:
                self._tell(error)
            if self._out is not out:
                return 0
        if blocked != self._blocked:
            self._blocked = blocked
            self._watch()
        if self._protocol_paused and self._out_size <= self._low:
            self._resume_writing()  # may send
        if self._out is out and not out:
            self._out = None
            if self._blocked:
                self._blocked = False
                self._watch()
            if self._state == _life.CLOSING:
                self._lose(_life.FLUSHED, None)
        return 0
