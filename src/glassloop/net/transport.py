# cython: binding=False
"""StreamTransport: moves bytes between a TCP or Unix stream socket and its protocol.

Its states and what a call does in which are in life.py.

Reading. Level-triggered, one recv per event. Its size follows the sizes seen: small reads go through a buffer on the
stack into a `bytes` of exact length, larger ones straight into a `bytes`, kept below the size from which malloc() maps
and unmaps memory for each. Where streams read in bulk, a few are served, then their tasks run, then the next few: so the
memory in use, and in the processor's cache, is that of a few, not of all that are ready.

Writing is corked: what a callback or a step of a task writes is kept until it ends and sent by one call (`_uncork`,
from the turn). It is sent at once when more than CORKED bytes or the high-water mark come together, by close() and
write_eof(), and when no entry of the ready queue runs. So a write never waits for the next poll, bulk data isn't held
back, and a limit of 0 gives a send per write. Small pieces are gathered in a buffer of the loop's, its cork, which belongs
to one transport at a time; who finds it taken keeps a list. What is queued is immutable: what isn't `bytes` is copied.

Not here: making the socket (connect.py), listening (server.py), TLS.
"""
import asyncio
from asyncio import constants
from asyncio.log import logger

from ..core import leaf as _leaf
from ..core.leaf import Runnable
from . import adopt as _adopt
from . import life as _life
from .life import Connection
from .source import Source

READ = 1
WRITE = 2

# what takes the bytes that were read
DATA = 0  # data_received()
BUFFERED = 1  # get_buffer() and buffer_updated()
DIRECT = 2  # a Sink
ADOPTED = 3  # data_received() of asyncio's streams, with a reader of ours behind

CORKED = 8192  # bytes that may wait for the end of a callback or step; the loop's cork has room for as many
COPIED = 512  # a first piece up to this goes into the loop's cork at once; a larger one when a second follows
JOINED = 16384  # several pieces of together as much are sent as one
SMALL_READ = 16384
LARGE_READ = 126 * 1024  # with its header still below 128 KiB
BULK = 256 * 1024  # bytes that tasks are given in a batch before the other transports with large reads let them run

BufferedProtocol = asyncio.BufferedProtocol

_CORK = object()  # `_out` when what is queued is in the loop's cork


class Sink:
    """A protocol of ours that takes what was read without a call of data_received() in between, if `_direct` is set."""

    __slots__ = ('_direct',)

    def _feed(self, data):
        raise NotImplementedError


class _BulkTaken(Runnable):
    """The ready queue's entry behind the first task that was woken to take bulk data."""

    __slots__ = ()

    def _run(self, core):
        core._bulk = 0
        return 0


_BULK_TAKEN = _BulkTaken()


class StreamTransport(Connection):
    """A connected stream socket as an asyncio transport. Made by create_connection(), create_server() and the like.

    sock: a connected non-blocking socket, or its bare descriptor (int), which the transport owns from now on. waiter: a
    future that gets its result when connection_made() was called and reading has begun. extra: a dict for
    get_extra_info(). server: told of the beginning and the end of the connection.
    """

    __slots__ = ('_hint', '_out_at', '_kind', '_shut', '_in_cork')

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(self, loop, sock, protocol, waiter=None, extra=None, server=None):
        self._open(loop, sock, protocol, waiter, extra, server)

    def _open(self, loop, sock, protocol, waiter, extra, server):
        self._hint = SMALL_READ
        self._out_at = 0
        self._shut = False
        self._in_cork = False
        self._owned = None
        self._alive = False
        self._begin(loop, sock, protocol, waiter, extra, server)
        self._set_protocol(protocol)
        return _leaf.nodelay(self._fd)

    # ---- the protocol ----

    def set_protocol(self, protocol):
        """Give what comes from now on to another protocol, of any kind."""
        self._set_protocol(protocol)

    def _set_protocol(self, protocol):
        self._protocol = protocol
        self._kind = DATA
        if isinstance(protocol, Sink):
            sink = protocol
            if sink._direct:
                self._kind = DIRECT
        elif isinstance(protocol, BufferedProtocol):
            self._kind = BUFFERED
        elif _adopt.adopt(protocol):
            self._kind = ADOPTED
        return 0

    def close(self):
        """Send what is queued, then close. Nothing is received any more. Nothing if it is closed or closing."""
        if self._state >= _life.CLOSING:
            return
        if self._out is not None and not self._blocked:
            self._send()
            if self._state >= _life.CLOSING:
                return
        self._state = _life._NEXT[_life.CLOSE][self._state]
        if self._out is None:
            self._lose(_life.FLUSHED, None)
        else:
            self._watch()

    # ---- reading ----

    def _run(self, core):
        self._queued = False
        return self._move(core, self._arrived)

    def _move(self, core, arrived):
        """Read or write, as the events that arrived allow."""
        self._arrived = 0
        if core._published is not None:
            core._unpublish()
        # what isn't wanted any more doesn't count
        if arrived & self._interest & READ:
            if self._kind == BUFFERED:
                self._read_into(core)
            else:
                self._read(core)
        if arrived & self._interest & WRITE:
            self._send()
            self._may_resume()
            if self._shut or self._state == _life.CLOSING:
                self._sent()
        return 0

    def _read(self, core):
        size = self._hint
        if core._bulk > BULK and size > SMALL_READ and self._kind >= DIRECT:
            # after those who have their bytes already
            self._queued = True
            self._arrived |= READ
            return core._push(self)
        doing = 'Fatal read error on socket transport'
        try:
            data = _leaf.recv(self._fd, size)
            if data is None:
                return 0
            n = len(data)
            if n == size:
                self._hint = min(size * 4, LARGE_READ)
            elif size > SMALL_READ and n < size // 4:
                self._hint = max(size // 2, SMALL_READ)
            if n > 0:
                doing = 'Fatal error: protocol.data_received() call failed.'
                if self._kind == DIRECT:
                    sink = self._protocol
                    sink._feed(data)
                else:
                    self._in_cork = True
                    _leaf.method1(self._context, self._protocol, 'data_received', data)
                if n > SMALL_READ and self._kind >= DIRECT:
                    if core._bulk == 0:
                        core._push(_BULK_TAKEN)
                    core._bulk += n
        except BaseException as e:
            return self._broke(e, doing)
        if n == 0:
            return self._read_end(core)
        if self._in_cork:
            self._in_cork = False
            if self._out is not None:
                self._flush()
        return 0

    def _read_into(self, core):
        doing = 'Fatal error: protocol.get_buffer() call failed.'
        try:
            buffer = _leaf.method1(self._context, self._protocol, 'get_buffer', -1)
            if not len(buffer):
                raise RuntimeError('get_buffer() returned an empty buffer')
            if not self._interest & READ:
                return 0
            doing = 'Fatal read error on socket transport'
            n = _leaf.recv_into(self._fd, buffer)
            if n > 0:
                doing = 'Fatal error: protocol.buffer_updated() call failed.'
                self._in_cork = True
                _leaf.method1(self._context, self._protocol, 'buffer_updated', n)
        except BaseException as e:
            return self._broke(e, doing)
        if n == 0:
            return self._read_end(core)
        if self._in_cork:
            self._in_cork = False
            if self._out is not None:
                self._flush()
        return 0

    def _broke(self, error, doing):
        """Reading, or the protocol, raised. What it wrote before still goes out."""
        if self._in_cork:
            self._in_cork = False
            self._flush()
        return self._failed(error, doing)

    def _read_end(self, core):
        """The peer will send no more."""
        if core._debug:
            logger.debug('%r received EOF', self)
        self._ended = True
        try:
            keep_open = self._context.run(self._protocol.eof_received)
        except BaseException as e:
            return self._failed(e, 'Fatal error: protocol.eof_received() call failed.')
        if keep_open:
            self._watch()
        else:
            self.close()
        return 0

    # ---- writing ----

    def write(self, data):
        """Send data (bytes, bytearray or memoryview), now or when the socket takes it; never blocks. Raises TypeError
        for anything else, RuntimeError after write_eof()."""
        if type(data) is bytes:
            size = len(data)
        elif isinstance(data, (bytes, bytearray, memoryview)):
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            # a large one is sent from where it is, and what remains is copied; all else is copied first
            if size <= CORKED or self._out is not None or (type(data) is memoryview and not data.c_contiguous):
                data = bytes(data)
        else:
            raise TypeError(f'data argument must be a bytes-like object, not {type(data).__name__!r}')
        if self._shut:
            raise RuntimeError('Cannot call write() after write_eof()')
        if size == 0:
            return
        if self._state >= _life.LOST:
            self._write_lost()
        elif self._out is not None:
            self._add(data, size)
        elif size <= CORKED and size <= self._high and self._core._corking:
            self._hold(data, size)
        else:
            self._send_first(data, size)

    def writelines(self, list_of_data):
        """Send the pieces (an iterable) in order, as one write() of all of them together."""
        if self._shut:
            raise RuntimeError('Cannot call writelines() after write_eof()')
        pieces = list(list_of_data)
        total = 0
        for piece in pieces:
            if type(piece) is not bytes:
                total = 0
                break
            total += len(piece)
        if total <= CORKED:
            self.write(b''.join(pieces))
        elif self._state >= _life.LOST:
            self._write_lost()
        else:
            if self._out is None:
                self._out = pieces
            else:
                self._listed().extend(pieces)
            self._added(total)

    def _write_lost(self):
        if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning('socket.send() raised exception.')
        self._conn_lost += 1
        return 0

    def _hold(self, data, size):
        """Nothing is queued: keep data until the entry of the ready queue that runs has ended."""
        core = self._core
        if size <= COPIED and core._cork_size == 0:
            _leaf.cork(core, data)
            self._out = _CORK
        else:
            self._out = data
        self._out_size = size
        if not self._in_cork:
            self._in_cork = True
            if core._corked is None:
                core._corked = self
            else:
                core._corked_last._after = self
            core._corked_last = self
        return 0

    def _add(self, data, size):
        """Something is queued: data comes after it."""
        core = self._core
        total = self._out_size + size
        if not self._blocked and total <= CORKED and total <= self._high and core._corking:
            if self._out is _CORK:
                _leaf.cork(core, data)
                self._out_size = total
                return 0
            if core._cork_size == 0 and type(self._out) is bytes:
                _leaf.cork(core, self._out)
                _leaf.cork(core, data)
                self._out = _CORK
                self._out_size = total
                return 0
            self._listed().append(data)
            self._out_size = total
            return 0
        self._listed().append(data)
        return self._added(size)

    def _listed(self):
        """What is queued, as a list to add to."""
        if isinstance(self._out, Source):
            raise RuntimeError('unable to write; sendfile is in progress')
        if type(self._out) is not list:
            self._out = [_leaf.cork_take(self._core) if self._out is _CORK else self._out]
        return self._out

    def _added(self, size):
        """`size` bytes were added, and it's too much to be held back."""
        self._out_size += size
        if not self._blocked:
            self._send()
        return self._pause_writing()

    def _drop(self):
        out = self._out
        if out is _CORK:
            _leaf.cork_take(self._core)
        self._out = None
        self._out_size = 0
        if isinstance(out, Source):
            _source_lost(out)
        return 0

    def _flush(self):
        """Send now what is held back."""
        if self._out is not None and not self._blocked:
            self._send()
            if self._shut or self._state == _life.CLOSING:
                self._sent()
        return 0

    def _uncork(self):
        self._in_cork = False
        return self._flush()

    def _send_first(self, data, size):
        """Nothing is queued: send, and queue what remains."""
        try:
            n = _leaf.send(self._fd, data, 0)
        except BaseException as e:
            return self._failed(e, 'Fatal write error on socket transport')
        self._core._soon_due = True
        if n == size:
            return 0
        if n < 0:
            n = 0
        self._out_size = size - n
        if type(data) is bytes:
            self._out = data
            self._out_at = n
        else:
            self._out = bytes(memoryview(data).cast('B')[n:])
        self._blocked = True
        self._watch()
        return self._pause_writing()

    def _send(self):
        """Send what is queued; what remains goes when the socket takes more."""
        size = self._out_size
        if isinstance(self._out, Source):
            return self._pump(self._out)
        try:
            if self._out is _CORK:
                n = _leaf.cork_send(self._core, self._fd)
                if n != size:
                    self._out = _leaf.cork_take(self._core)
            elif type(self._out) is list:
                if size <= JOINED or size < 512 * len(self._out):
                    self._out = b''.join(self._out)
                    n = _leaf.send(self._fd, self._out, self._out_at)
                else:
                    n = _leaf.sendv(self._fd, self._out, self._out_at)
            else:
                n = _leaf.send(self._fd, self._out, self._out_at)
        except BaseException as e:
            return self._failed(e, 'Fatal write error on socket transport')
        self._core._soon_due = True
        if n == size:
            self._out = None
            self._out_at = 0
            self._out_size = 0
            if self._blocked:
                self._blocked = False
                self._watch()
            return 0
        if n > 0:
            self._advance(n)
        if not self._blocked:
            self._blocked = True
            self._watch()
        return 0

    # ---- a source in the place of what is queued ----

    def _send_source(self, source):
        """Send what `source` (a FileSource) gives, after what is queued. Nothing can be written until that is done."""
        if self._state >= _life.CLOSING or self._shut:
            raise RuntimeError('Transport is closing')
        if self._out is not None:
            head = b''.join(self._listed())
            source._follow(head[self._out_at:] if self._out_at else head)
            self._out_at = 0
        self._out = source
        self._pump(source)
        self._may_resume()

    def _take_back(self, source):
        """If it isn't done yet: what was queued before it is still sent, the rest of it is not."""
        if self._out is not source:
            return
        rest = source._rest()
        if rest is None:
            self._out = None
            self._out_size = 0
            self._blocked = False
            self._watch()
            self._sent()
        else:
            self._out = rest
            self._out_size = len(rest)
        self._may_resume()

    def _pump(self, source):
        """Let it send. `_out_size` is what was queued before it, until it is done."""
        done = False
        try:
            done = source._pump(self._fd)
        except BaseException as e:
            if self._out is source:
                self._out = None
                self._out_size = 0
                self._dropped = True
            try:
                return self._failed(e, 'Fatal write error on socket transport')
            finally:
                source._lost(e if isinstance(e, Exception) else None)
        if done:
            self._out = None
            self._out_size = 0
        if self._blocked == done:
            self._blocked = not done
            self._watch()
        return 0

    def _may_resume(self):
        if self._protocol_paused and self._out_size <= self._low and self._state < _life.LOST:
            self._resume_writing()
        return 0

    def _advance(self, n):
        """n bytes of what is queued were sent, not all."""
        self._out_size -= n
        at = self._out_at + n
        if type(self._out) is list:
            out = self._out
            sent = 0
            while at >= len(out[sent]):
                at -= len(out[sent])
                sent += 1
            del out[:sent]
        self._out_at = at
        return 0

    def _sent(self):
        """If nothing is queued any more: what waited for that."""
        if self._out is None and self._state < _life.LOST:
            if self._state == _life.CLOSING:
                self._lose(_life.FLUSHED, None)
            elif self._shut:
                self._core._soon_due = True
                try:
                    _leaf.shut(self._fd)
                except OSError as e:
                    self._failed(e, 'Fatal write error on socket transport')
        return 0

    def can_write_eof(self):
        """True: stream sockets have two sides."""
        return True

    def write_eof(self):
        """Send what is queued, then the end of the stream; receiving goes on. Nothing if closing or done before."""
        if self._state >= _life.CLOSING or self._shut:
            return
        if self._out is not None and not self._blocked:
            self._send()
            if self._state >= _life.CLOSING:
                return
        self._shut = True
        if self._out is None:
            self._core._soon_due = True
            _leaf.shut(self._fd)


def _source_lost(source):
    source._lost(None)


def make_transport(loop, sock, protocol, waiter=None, extra=None, server=None):
    """A StreamTransport for a connected socket: connection_made() is called and reading begins in the next turn."""
    transport = StreamTransport.__new__(StreamTransport)
    transport._open(loop, sock, protocol, waiter, extra, server)
    return transport
