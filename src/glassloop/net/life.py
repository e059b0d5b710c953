# cython: binding=False
"""The life of a connection: what every transport of ours shares, whatever it moves.

The states, and the events that lead from one to the next; `_NEXT` below is the only place that says how:

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
    write, writelines       yes; RuntimeError after       yes, as long as    dropped and counted; a
                            write_eof()                   bytes wait         warning from the fifth on
    write_eof               yes, once                     nothing            nothing
    close                   CLOSE, then FLUSHED if        nothing            nothing
                            nothing is queued
    abort, an error         FAIL                          FAIL               nothing

Invariants: connection_lost() is called exactly once, from the ready queue; the descriptor is closed after it, and after it
left the poller. READ is watched only when OPEN. `_blocked` (the socket takes no more, WRITE is watched) only while `_out`
holds something; `_protocol_paused` only while `_blocked`. The loop's callbacks run in the context in which the
transport was made.

Errors. Nothing escapes into the turn but KeyboardInterrupt and SystemExit. A failing protocol loses its connection and is
reported; an OSError ends the connection and is told to connection_lost(); so does a poller that can't watch the
descriptor.

Not here: reading and writing (transport.py); what a datagram socket still sends when it is LOST (datagram.py).
"""
import asyncio
import os
import socket
import warnings
from asyncio import trsock
from asyncio.log import logger
from weakref import ref

from ..core import leaf as _leaf
from ..core.leaf import Runnable, Watcher

READ = 1
WRITE = 2

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
    # NEW     OPEN     CLOSING  LOST    CLOSED
    (OPEN,    OPEN,    CLOSING, LOST,   CLOSED),  # MADE: connection_made() was called
    (CLOSING, CLOSING, CLOSING, LOST,   CLOSED),  # CLOSE: close(), or the peer's end and the protocol wants no more
    (NEW,     OPEN,    LOST,    LOST,   CLOSED),  # FLUSHED: nothing is queued any more
    (LOST,    LOST,    LOST,    LOST,   CLOSED),  # FAIL: abort(), or an error
    (CLOSED,  CLOSED,  CLOSED,  CLOSED, CLOSED),  # END: connection_lost() was called
)

HIGH_WATER = 64 * 1024


class _Start(Runnable):
    """The ready queue's entry that begins a connection."""

    __slots__ = ('_connection', '_made', '_waiter')

    def _run(self, core):
        return self._connection._start(core, self._made, self._waiter)


class _End(Runnable):
    """The ready queue's entry that ends a connection."""

    __slots__ = ('_connection', '_error')

    def _run(self, core):
        return self._connection._end(core, self._error)


class _Socket(trsock.TransportSocket):
    """What get_extra_info('socket') gives. Who shuts it down past the transport loses nothing written before."""

    __slots__ = ('_connection',)

    def shutdown(self, how):
        connection = self._connection()
        if connection is not None:
            connection._send_held()
        super().shutdown(how)


class Connection(Watcher):
    """A transport's life: beginning, end, errors, the protocol, flow control, extra information. A subclass moves the bytes.

    `_alive`: it owns its descriptor, in `_owned` if that is a socket object. `_out`, `_out_size`: what waits to be sent.
    `_paused`: pause_reading(). `_ended`: the peer's end was received. `_dropped`: the end came before all was sent.
    """

    __slots__ = ('_owned', '_alive', '_protocol', '_context', '_server', '_extra', '_peer', '_name', '_out', '_out_size',
                 '_high', '_low', '_state', '_conn_lost', '_paused', '_ended', '_blocked', '_protocol_paused', '_dropped',
                 '__dict__', '__weakref__')

    def _begin(self, loop, sock, protocol, waiter, extra, server):
        """Own the socket (or a bare descriptor, an int) from now on; call connection_made() in the next turn. If it raises
        the caller still owns it."""
        made = protocol.connection_made
        core = loop
        if core._closed:
            raise RuntimeError('Event loop is closed')
        self._core = core
        self._poller = core._poller
        self._interest = 0
        self._arrived = 0
        self._queued = False
        self._after = None
        self._context = _leaf.copy_context()
        self._server = server
        self._extra = extra
        self._out = None
        self._out_size = 0
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4
        self._state = NEW
        self._conn_lost = 0
        self._paused = False
        self._ended = False
        self._blocked = False
        self._protocol_paused = False
        self._dropped = False
        self._protocol = protocol
        self._name = None
        if type(sock) is int:
            self._fd = sock
        else:
            self._fd = sock.fileno()
            self._owned = sock
        # asked for now: after a reset it can't be had any more
        self._peer = _leaf.address(self._fd, True)
        loop._transports[self._fd] = self
        start = _Start.__new__(_Start)
        start._connection = self
        start._made = made
        start._waiter = waiter
        core._push(start)
        self._alive = True
        if server is not None:
            server._attach(self)
        return 0

    def _socket(self):
        """The socket; made on the bare descriptor when somebody asks for it."""
        if self._owned is None and self._alive:
            self._owned = socket.socket(fileno=self._fd)
            self._owned.setblocking(False)
        return self._owned

    def _close_socket(self):
        self._alive = False
        if self._owned is not None:
            self._owned.close()
        else:
            os.close(self._fd)
        return 0

    def __del__(self):
        if not self._alive:
            return
        warnings.warn(f'unclosed transport {self!r}', ResourceWarning, source=self)
        self._close_socket()
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
    def _sock(self):
        return self._socket()

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
            self._drop()
            self._dropped = True
        self._blocked = False
        self._want(0)
        core = self._core
        if core._closed:
            raise RuntimeError('Event loop is closed')
        end = _End.__new__(_End)
        end._connection = self
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
        self._name = _leaf.address(self._fd, False)
        transports = core._transports
        if transports.get(self._fd) is self:
            del transports[self._fd]
        try:
            self._close_socket()
        except OSError as e:
            if core._debug:
                logger.debug('%r: %s on close', self, e)
        core._soon_due = True
        self._context = None
        server = self._server
        if server is not None:
            self._server = None
            server._detach(self)
        return 0

    def _callback_failed(self, error, callback):
        """connection_made() or connection_lost() raised."""
        name = getattr(callback, '__qualname__', 'connection_lost')
        return report(self._core, self, self._protocol, error, f'Exception in callback {name}()')

    def _fatal_error(self, exc, message='Fatal error on transport'):
        self._failed(exc, message)

    def _force_close(self, exc):
        if self._state < LOST:
            self._lose(FAIL, exc)

    def _failed(self, error, message):
        """An exception ended the connection. One that is no OSError is reported."""
        ended(self._core, self, self._protocol, error, message)
        if self._state < LOST:
            self._lose(FAIL, error)
        return 0

    def abort(self):
        """Close at once; what the peer has not taken yet is dropped."""
        if self._state < LOST:
            self._flush()
        if self._state < LOST:
            self._lose(FAIL, None)

    def is_closing(self):
        """True from close(), abort(), the end of the stream or an error on."""
        return self._state >= CLOSING

    # ---- what it is for ----

    def get_protocol(self):
        """The protocol; None after connection_lost()."""
        return self._protocol

    def get_extra_info(self, name, default=None):
        """'socket' (an asyncio.trsock.TransportSocket), 'sockname', 'peername', or what the maker of the transport
        added; the default for anything else."""
        extra = self._extra
        if extra is not None and name in extra:
            return extra[name]
        if name == 'peername':
            return _leaf.as_address(self._peer)
        if name == 'sockname':
            return _leaf.as_address(_leaf.address(self._fd, False) if self._alive else self._name)
        if name == 'socket':
            if extra is None:
                extra = self._extra = {}
            extra['socket'] = wrapped = _Socket(self._socket() or _closed_socket())
            wrapped._connection = ref(self)
            return wrapped
        return default

    # ---- flow control of reading ----

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

    # ---- flow control of writing ----

    def _drop(self):
        """Forget what is queued."""
        raise NotImplementedError(type(self).__name__)

    def _send_held(self):
        self._flush()

    def _flush(self):
        """Try to send what waits for the end of the entry of the ready queue that runs."""
        raise NotImplementedError(type(self).__name__)

    def get_write_buffer_size(self):
        """Bytes that wait to be sent."""
        return self._out_size

    def get_write_buffer_limits(self):
        """(low, high): the marks in bytes."""
        return (self._low, self._high)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the marks in bytes: above `high` the protocol's pause_writing() is called, at `low` or below its
        resume_writing(). By default 64 KiB and a quarter of `high`. Raises ValueError unless high >= low >= 0."""
        self._high, self._low = limits(high, low, HIGH_WATER)
        if self._out_size > self._high:
            self._flush()
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
        return report(self._core, self, self._protocol, error, message)


def limits(high, low, default):
    """(high, low): the marks in bytes of flow control, as the program gave them. `default`: of the high one. Raises
    ValueError unless high >= low >= 0."""
    if high is None:
        high = default if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f'high ({high!r}) must be >= low ({low!r}) must be >= 0')
    return high, low


def report(core, transport, protocol, error, message):
    """Tell the loop's exception handler of what a protocol raised. KeyboardInterrupt and SystemExit go on their way."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    core.call_exception_handler({'message': message, 'exception': error, 'transport': transport, 'protocol': protocol})
    return 0


def ended(core, transport, protocol, error, message):
    """An exception ends a connection: one that is no OSError is reported."""
    if not isinstance(error, OSError):
        return report(core, transport, protocol, error, message)
    if core._debug:
        logger.debug('%r: %s', transport, message, exc_info=(type(error), error, error.__traceback__))
    return 0


def _closed_socket():
    sock = socket.socket()
    sock.close()
    return sock
