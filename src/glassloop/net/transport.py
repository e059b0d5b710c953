"""Stream sockets: a StreamTransport moves bytes between a TCP or Unix socket and its protocol.

The states, the events that lead from one to the next, and nothing else that does:

    NEW      made; connection_made() is in the ready queue
    OPEN     connection_made() was called
    CLOSING  closed by the program or by the peer's end of stream: what is queued is still sent, nothing is read
    LOST     nothing moves any more; connection_lost() is in the ready queue
    CLOSED   connection_lost() was called, the descriptor is closed

What a call does in which state:

                            NEW, OPEN                     CLOSING            LOST, CLOSED
    data or end received    given to the protocol, but    never              never
                            not while paused
    pause_, resume_reading  yes                           nothing            nothing
    write, writelines       yes; RuntimeError after       yes, if it comes   dropped and counted; a warning
                            write_eof()                   while bytes wait   from the fifth on
    write_eof               yes, once                     nothing            nothing
    close                   CLOSE, then FLUSHED if        nothing            nothing
                            nothing is queued
    abort, an error         FAIL                          FAIL               nothing

Reading. Level-triggered, one recv per event. Its size follows the sizes seen: small reads go through a buffer on the
stack into a `bytes` of exact length, larger ones straight into a `bytes`, kept below the size from which malloc() maps
and unmaps memory for each.

Writing is corked: what a callback or a step of a task writes is kept until it ends and sent by one call (`_uncork`,
from the turn). It is sent at once when more than CORKED bytes or the high-water mark come together, by close() and
write_eof(), and when no entry of the ready queue runs. So a write never waits for the next poll, bulk data isn't held
back, and a limit of 0 gives a send per write. What is queued is immutable: what isn't `bytes` is copied.

Errors. Nothing escapes into the turn but KeyboardInterrupt and SystemExit. A failing protocol loses its connection and is
reported; an OSError ends the connection and is told to connection_lost(); so does a poller that can't watch the
descriptor. connection_lost() is called exactly once, from the ready queue, and the descriptor is closed after it and after
it left the poller.

Invariants: `_protocol_paused` only while `_blocked`; `_blocked` (the socket takes no more, WRITE is watched) only while
`_out` holds something; READ is watched only when OPEN. Callbacks that the loop makes run in the context in which the
transport was made. Not here: making the socket, listening, TLS.
"""
import asyncio
import socket as _socket
import warnings
from asyncio import constants, trsock
from asyncio.log import logger

from ..core import leaf as _leaf
from ..core.leaf import Runnable, Watcher

READ = 1
WRITE = 2

# ---- the states and their only transitions ----

NEW = 0
OPEN = 1
CLOSING = 2
LOST = 3
CLOSED = 4

MADE = 0
CLOSE = 1
FLUSHED = 2
FAIL = 3
END = 4

_NEXT = (
    # NEW      OPEN     CLOSING  LOST    CLOSED
    (OPEN,     OPEN,    CLOSING, LOST,   CLOSED),  # MADE: connection_made() was called
    (CLOSING,  CLOSING, CLOSING, LOST,   CLOSED),  # CLOSE: close(), or the peer's end and the protocol wants no more
    (NEW,      OPEN,    LOST,    LOST,   CLOSED),  # FLUSHED: nothing is queued any more
    (LOST,     LOST,    LOST,    LOST,   CLOSED),  # FAIL: abort(), or an error
    (CLOSED,   CLOSED,  CLOSED,  CLOSED, CLOSED),  # END: connection_lost() was called
)

# what takes the bytes that were read
DATA = 0  # data_received()
BUFFERED = 1  # get_buffer() and buffer_updated()
DIRECT = 2  # a Sink

CORKED = 8192  # bytes that may wait for the end of a callback or step
JOINED = 16384  # several pieces of together as much are sent as one
SMALL_READ = 16384
LARGE_READ = 126 * 1024  # with its header still below 128 KiB
HIGH_WATER = 64 * 1024

BufferedProtocol = asyncio.BufferedProtocol
_family = _socket.socket.family.__get__ if not hasattr(_socket, '_socket') else _socket._socket.socket.family.__get__
_INTERNET = (_socket.AF_INET, _socket.AF_INET6)


class Sink:
    """A protocol of ours that takes what was read without a call of data_received() in between, if `_direct` is set."""

    __slots__ = ('_direct',)

    def _feed(self, data):
        raise NotImplementedError


class _Start(Runnable):
    """The ready queue's entry that begins a connection."""

    __slots__ = ('_transport', '_made', '_waiter')

    def _run(self, core):
        return self._transport._start(core, self._made, self._waiter)


class _End(Runnable):
    """The ready queue's entry that ends a connection."""

    __slots__ = ('_transport', '_error')

    def _run(self, core):
        return self._transport._end(core, self._error)


class StreamTransport(Watcher):
    """A connected stream socket as an asyncio transport. Made by create_connection(), create_server() and the like.

    sock: a connected non-blocking socket, which the transport owns from now on. waiter: a future that gets its result
    when connection_made() was called and reading has begun. extra: a dict for get_extra_info(). server: told of the
    beginning and the end of the connection.
    """

    __slots__ = ('_sock', '_protocol', '_context', '_server', '_extra', '_peername', '_out', '_out_at', '_out_size',
                 '_high', '_low', '_hint', '_state', '_kind', '_conn_lost', '_paused', '_ended', '_shut', '_blocked',
                 '_protocol_paused', '_in_cork', '_dropped', '__weakref__')

    _start_tls_compatible = True

    def __init__(self, loop, sock, protocol, waiter=None, extra=None, server=None):
        self._open(loop, sock, protocol, waiter, extra, server)

    def _open(self, loop, sock, protocol, waiter, extra, server):
        self._sock = None
        made = protocol.connection_made
        if loop.is_closed():
            raise RuntimeError('Event loop is closed')
        self._core = loop
        self._poller = loop._poller
        self._fd = sock.fileno()
        self._interest = 0
        self._arrived = 0
        self._queued = False
        self._after = None
        self._context = _leaf.copy_context()
        self._server = server
        self._extra = extra
        self._out = None
        self._out_at = 0
        self._out_size = 0
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4
        self._hint = SMALL_READ
        self._state = NEW
        self._conn_lost = 0
        self._paused = False
        self._ended = False
        self._shut = False
        self._blocked = False
        self._protocol_paused = False
        self._in_cork = False
        self._dropped = False
        self._set_protocol(protocol)
        self._peername = None
        if extra is None or 'peername' not in extra:
            # asked for now: after a reset it can't be had any more
            try:
                self._peername = sock.getpeername()
            except OSError:
                self._peername = None
        if _family(sock) in _INTERNET:
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._sock = sock
        if server is not None:
            server._attach(self)
        loop._transports[self._fd] = self
        start = _Start.__new__(_Start)
        start._transport = self
        start._made = made
        start._waiter = waiter
        return self._core._push(start)

    def __del__(self):
        if self._sock is None or self._state == CLOSED:
            return
        warnings.warn(f'unclosed transport {self!r}', ResourceWarning, source=self)
        self._sock.close()
        if self._server is not None:
            self._server._detach(self)

    # ---- seen by asyncio ----

    @property
    def __class__(self):
        return asyncio.Transport

    @property
    def _loop(self):
        return self._core

    @property
    def _closing(self):
        return self._state >= CLOSING

    @property
    def _sock_fd(self):
        return self._fd

    def __repr__(self):
        info = [type(self).__name__]
        if self._state == CLOSED:
            info.append('closed')
        elif self._state >= CLOSING:
            info.append('closing')
        info.append(f'fd={self._fd}')
        if self._state != CLOSED:
            info.append('read=polling' if self._interest & READ else 'read=idle')
            polling = 'polling' if self._interest & WRITE else 'idle'
            info.append(f'write=<{polling}, bufsize={self._out_size}>')
        return f'<{" ".join(info)}>'

    # ---- beginning and end ----

    def _start(self, core, made, waiter):
        if core._published is not None:
            core._unpublish()
        error = _leaf.call1(self._context, made, self)
        self._state = _NEXT[MADE][self._state]
        self._watch()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if error is not None:
            self._callback_failed(error, made)
        return 0

    def _watch(self):
        """Watch the descriptor for what the state asks for."""
        wanted = 0
        if self._state == OPEN and not self._paused and not self._ended:
            wanted = READ
        if self._blocked:
            wanted |= WRITE
        if wanted != self._interest:
            try:
                self._want(wanted)
            except (OSError, ValueError, MemoryError) as error:
                self._fatal_error(error, 'Fatal error: the descriptor cannot be watched')
        return 0

    def _lose(self, event, error):
        """FLUSHED or FAIL: nothing moves from now on, and connection_lost() will be called."""
        self._state = _NEXT[event][self._state]
        self._conn_lost += 1
        if self._out is not None:
            self._out = None
            self._out_at = 0
            self._out_size = 0
            self._dropped = True
        self._blocked = False
        self._want(0)
        core = self._core
        if core.is_closed():
            raise RuntimeError('Event loop is closed')
        end = _End.__new__(_End)
        end._transport = self
        end._error = error
        return core._push(end)

    def _end(self, core, error):
        if core._published is not None:
            core._unpublish()
        failed = None
        lost = None
        try:
            lost = self._protocol.connection_lost
        except Exception as e:
            failed = e
        if lost is not None:
            failed = _leaf.call1(self._context, lost, error)
        self._state = _NEXT[END][self._state]
        self._free()
        try:
            if failed is not None:
                self._callback_failed(failed, lost)
        finally:
            self._protocol = None
        return 0

    def _free(self):
        """Close the descriptor, and let go of what is not needed any more."""
        core = self._core
        extra = self._extra
        if extra is None:
            extra = self._extra = {}
        if 'sockname' not in extra:
            extra['sockname'] = self._sockname()
        transports = core._transports
        if transports.get(self._fd) is self:
            del transports[self._fd]
        try:
            self._sock.close()
        except OSError as e:
            if core._debug:
                logger.debug('%r: %s on close', self, e)
        self._context = None
        server = self._server
        if server is not None:
            self._server = None
            server._detach(self)
        return 0

    def _callback_failed(self, error, callback):
        """connection_made() or connection_lost() raised."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        self._core.call_exception_handler({
            'message': f'Exception in callback {getattr(callback, "__qualname__", "connection_lost")}()',
            'exception': error,
            'transport': self,
            'protocol': self._protocol,
        })
        return 0

    def _fatal_error(self, exc, message='Fatal error on transport'):
        self._failed(exc, message)

    def _force_close(self, exc):
        if self._state < LOST:
            self._lose(FAIL, exc)

    def _failed(self, error, message):
        """An exception ended the connection. One that is no OSError is reported."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        if isinstance(error, OSError):
            if self._core._debug:
                logger.debug('%r: %s', self, message, exc_info=(type(error), error, error.__traceback__))
        else:
            self._core.call_exception_handler({
                'message': message,
                'exception': error,
                'transport': self,
                'protocol': self._protocol,
            })
        if self._state < LOST:
            self._lose(FAIL, error)
        return 0

    def close(self):
        """Send what is queued, then close. Nothing is received any more. Nothing if it is closed or closing."""
        if self._state >= CLOSING:
            return
        if self._out is not None and not self._blocked:
            self._send()
            if self._state >= CLOSING:
                return
        self._state = _NEXT[CLOSE][self._state]
        if self._out is None:
            self._lose(FLUSHED, None)
        else:
            self._watch()

    def abort(self):
        """Close at once; what is queued is dropped."""
        if self._state < LOST:
            self._lose(FAIL, None)

    def is_closing(self):
        """True from close(), abort(), the end of the stream or an error on."""
        return self._state >= CLOSING

    # ---- the protocol ----

    def set_protocol(self, protocol):
        """Give what comes from now on to another protocol, of any kind."""
        self._set_protocol(protocol)

    def get_protocol(self):
        """The protocol; None after connection_lost()."""
        return self._protocol

    def _set_protocol(self, protocol):
        self._protocol = protocol
        if isinstance(protocol, Sink) and protocol._direct:
            self._kind = DIRECT
        elif isinstance(protocol, BufferedProtocol):
            self._kind = BUFFERED
        else:
            self._kind = DATA
        return 0

    def get_extra_info(self, name, default=None):
        """'socket' (an asyncio.trsock.TransportSocket), 'sockname', 'peername', or what the maker of the transport
        added; the default for anything else."""
        extra = self._extra
        if extra is not None and name in extra:
            return extra[name]
        if name == 'peername':
            return self._peername
        if name == 'sockname':
            return self._sockname()
        if name == 'socket':
            if extra is None:
                extra = self._extra = {}
            extra['socket'] = wrapped = trsock.TransportSocket(self._sock)
            return wrapped
        return default

    def _sockname(self):
        try:
            return self._sock.getsockname()
        except OSError:
            return None

    # ---- reading ----

    def is_reading(self):
        """True unless paused, closing or closed."""
        return self._state < CLOSING and not self._paused

    def pause_reading(self):
        """Receive nothing until resume_reading(). Nothing if paused or closing."""
        if self._paused or self._state >= CLOSING:
            return
        self._paused = True
        self._watch()
        if self._core._debug:
            logger.debug('%r pauses reading', self)

    def resume_reading(self):
        """Receive again. Nothing if not paused, or closing."""
        if not self._paused or self._state >= CLOSING:
            return
        self._paused = False
        self._watch()
        if self._core._debug:
            logger.debug('%r resumes reading', self)

    def _run(self, core):
        arrived = self._arrived
        self._arrived = 0
        self._queued = False
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
            if self._protocol_paused and self._out_size <= self._low and self._state < LOST:
                self._resume_writing()
            self._sent()
        return 0

    def _read(self, core):
        size = self._hint
        try:
            data = _leaf.recv(self._fd, size)
        except BaseException as e:
            return self._failed(e, 'Fatal read error on socket transport')
        if data is None:
            return 0
        n = len(data)
        if n == 0:
            return self._read_end(core)
        if n == size:
            self._hint = min(size * 4, LARGE_READ)
        elif size > SMALL_READ and n < size // 4:
            self._hint = max(size // 2, SMALL_READ)
        try:
            if self._kind == DIRECT:
                self._protocol._feed(data)
                return 0
            received = self._protocol.data_received
        except BaseException as e:
            return self._failed(e, 'Fatal error: protocol.data_received() call failed.')
        error = _leaf.call1(self._context, received, data)
        if error is not None:
            self._failed(error, 'Fatal error: protocol.data_received() call failed.')
        return 0

    def _read_into(self, core):
        try:
            buffer = self._context.run(self._protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError('get_buffer() returned an empty buffer')
        except BaseException as e:
            return self._failed(e, 'Fatal error: protocol.get_buffer() call failed.')
        if not self._interest & READ:
            return 0
        try:
            n = _leaf.recv_into(self._fd, buffer)
        except BaseException as e:
            return self._failed(e, 'Fatal read error on socket transport')
        if n < 0:
            return 0
        if n == 0:
            return self._read_end(core)
        try:
            updated = self._protocol.buffer_updated
        except BaseException as e:
            return self._failed(e, 'Fatal error: protocol.buffer_updated() call failed.')
        error = _leaf.call1(self._context, updated, n)
        if error is not None:
            self._failed(error, 'Fatal error: protocol.buffer_updated() call failed.')
        return 0

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
        if self._state >= LOST:
            self._write_lost()
        elif self._out is not None:
            if type(self._out) is list:
                self._out.append(data)
            else:
                self._out = [self._out, data]
            self._queue(size)
        elif size <= CORKED and size <= self._high and self._core._corking:
            self._out = data
            self._out_size = size
            if not self._in_cork:
                self._cork()
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
        elif self._state >= LOST:
            self._write_lost()
        else:
            if self._out is None:
                self._out = pieces
            elif type(self._out) is list:
                self._out.extend(pieces)
            else:
                self._out = [self._out, *pieces]
            self._queue(total)

    def _write_lost(self):
        if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning('socket.send() raised exception.')
        self._conn_lost += 1
        return 0

    def _queue(self, size):
        """`size` bytes were added to what was queued."""
        self._out_size += size
        if not self._blocked:
            if self._out_size <= CORKED and self._out_size <= self._high and self._core._corking:
                if not self._in_cork:
                    self._cork()
                return 0
            self._send()
        return self._pause_writing()

    def _cork(self):
        """Send at the end of the entry of the ready queue that runs."""
        core = self._core
        self._in_cork = True
        if core._corked is None:
            core._corked = self
        else:
            core._corked_last._after = self
        core._corked_last = self
        return 0

    def _flush(self):
        """Send now what waits for the end of the entry."""
        if self._out is not None and not self._blocked:
            self._send()
            self._sent()
        return 0

    def _uncork(self):
        self._in_cork = False
        if self._out is not None and not self._blocked:
            self._send()
            self._sent()
        return 0

    def _send_first(self, data, size):
        """Nothing is queued: send, and queue what remains."""
        try:
            n = _leaf.send(self._fd, data, 0)
        except BaseException as e:
            return self._failed(e, 'Fatal write error on socket transport')
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
        try:
            if type(self._out) is list:
                if size <= JOINED or size < 512 * len(self._out):
                    self._out = b''.join(self._out)
                    n = _leaf.send(self._fd, self._out, self._out_at)
                else:
                    n = _leaf.sendv(self._fd, self._out, self._out_at)
            else:
                n = _leaf.send(self._fd, self._out, self._out_at)
        except BaseException as e:
            return self._failed(e, 'Fatal write error on socket transport')
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
        if self._out is None and self._state < LOST:
            if self._state == CLOSING:
                self._lose(FLUSHED, None)
            elif self._shut:
                try:
                    self._sock.shutdown(_socket.SHUT_WR)
                except OSError as e:
                    self._failed(e, 'Fatal write error on socket transport')
        return 0

    def can_write_eof(self):
        """True: stream sockets have two sides."""
        return True

    def write_eof(self):
        """Send what is queued, then the end of the stream; receiving goes on. Nothing if closing or done before."""
        if self._state >= CLOSING or self._shut:
            return
        if self._out is not None and not self._blocked:
            self._send()
            if self._state >= CLOSING:
                return
        self._shut = True
        if self._out is None:
            self._sock.shutdown(_socket.SHUT_WR)

    # ---- flow control of writing ----

    def get_write_buffer_size(self):
        """Bytes that wait to be sent."""
        return self._out_size

    def get_write_buffer_limits(self):
        """(low, high): the marks in bytes."""
        return (self._low, self._high)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the marks in bytes: above `high` the protocol's pause_writing() is called, at `low` or below its
        resume_writing(). By default 64 KiB and a quarter of `high`. Raises ValueError unless high >= low >= 0."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f'high ({high!r}) must be >= low ({low!r}) must be >= 0')
        self._high = high
        self._low = low
        if self._out is not None and not self._blocked and self._out_size > self._high:
            self._send()
        self._pause_writing()

    def _pause_writing(self):
        if self._protocol_paused or self._out_size <= self._high:
            return 0
        self._protocol_paused = True
        try:
            self._protocol.pause_writing()
        except BaseException as e:
            self._flow_failed(e, 'protocol.pause_writing() failed')
        return 0

    def _resume_writing(self):
        self._protocol_paused = False
        try:
            self._context.run(self._protocol.resume_writing)
        except BaseException as e:
            self._flow_failed(e, 'protocol.resume_writing() failed')
        return 0

    def _flow_failed(self, error, message):
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        self._core.call_exception_handler({
            'message': message,
            'exception': error,
            'transport': self,
            'protocol': self._protocol,
        })
        return 0


def make_transport(loop, sock, protocol, waiter=None, extra=None, server=None):
    """A StreamTransport for a connected socket: connection_made() is called and reading begins in the next turn."""
    transport = StreamTransport.__new__(StreamTransport)
    transport._open(loop, sock, protocol, waiter, extra, server)
    return transport
