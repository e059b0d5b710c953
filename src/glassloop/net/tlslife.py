# cython: binding=False
"""The life of a TLS connection: what happens to it, whatever bytes it moves.

It stands in the middle: to the transport below it is the protocol, to the protocol above it is the transport. The states,
and the events that lead from one to the next; `_NEXT` below is the only place that says how:

    NEW         made; the transport below hasn't begun
    HANDSHAKE   the handshake is under way
    OPEN        bytes move
    FLUSHING    closed by the program or by the peer: what is queued is still sent, nothing is received any more
    SHUTDOWN    our close_notify is sent; the peer's, or its end, is waited for
    CLOSING     done with TLS: the transport below was told to close, or to abort
    CLOSED      the transport below has gone, connection_lost() was called above

What happens in which state:

                     NEW, HANDSHAKE   OPEN                FLUSHING           SHUTDOWN            CLOSING, CLOSED
    data arrives     goes to OpenSSL  given above, but    thrown away        DONE: nobody takes  never
                                      not while paused                       it, as after any
                                                                             close()
    close_notify     -                eof_received(),     noted              DONE                never
                                      then CLOSE
    end below        FAIL             as close_notify     noted              DONE                never
    write            queued           sent                dropped, counted; a warning from the fifth on
    close            FAIL             CLOSE               nothing            nothing             nothing
    abort, an error  FAIL             FAIL                FAIL               FAIL                below is aborted

Invariants: connection_lost() is called above exactly once if connection_made() was, and whoever waits for the handshake
hears of its end in any case. A timer runs from the beginning to the end of the handshake, and another from the first
step of closing until the transport below has gone: a peer that doesn't answer holds nothing for longer. What was
encrypted before an error, an alert too, is sent if that is possible at once.

Errors. Nothing escapes to the transport below but KeyboardInterrupt and SystemExit. A failing protocol loses its connection
and is reported; an OSError, and so every ssl.SSLError, is told to connection_lost() and logged in debug mode.

Not here: moving bytes (tls.py).
"""
import asyncio
import ssl
import warnings
from asyncio import constants
from asyncio.log import logger
from asyncio.sslproto import _SSLProtocolTransport

from ..core import leaf as _leaf
from . import adopt as _adopt
from . import life as _life
from .transport import Sink, StreamTransport

NEW = 0
HANDSHAKE = 1
OPEN = 2
FLUSHING = 3
SHUTDOWN = 4
CLOSING = 5
CLOSED = 6

MADE = 0
SHAKEN = 1
CLOSE = 2
FLUSHED = 3
DONE = 4
FAIL = 5
END = 6

_NEXT = (
    # NEW       HANDSHAKE  OPEN      FLUSHING  SHUTDOWN  CLOSING  CLOSED
    (HANDSHAKE, HANDSHAKE, OPEN,     FLUSHING, SHUTDOWN, CLOSING, CLOSED),  # MADE: the transport below has begun
    (NEW,       OPEN,      OPEN,     FLUSHING, SHUTDOWN, CLOSING, CLOSED),  # SHAKEN: the handshake has succeeded
    (NEW,       HANDSHAKE, FLUSHING, FLUSHING, SHUTDOWN, CLOSING, CLOSED),  # CLOSE: close(), or the peer's end
    (NEW,       HANDSHAKE, OPEN,     SHUTDOWN, SHUTDOWN, CLOSING, CLOSED),  # FLUSHED: all was encrypted
    (NEW,       HANDSHAKE, OPEN,     FLUSHING, CLOSING,  CLOSING, CLOSED),  # DONE: nothing is waited for any more
    (CLOSING,   CLOSING,   CLOSING,  CLOSING,  CLOSING,  CLOSING, CLOSED),  # FAIL: abort(), or an error
    (CLOSED,    CLOSED,    CLOSED,   CLOSED,   CLOSED,   CLOSED,  CLOSED),  # END: the transport below has gone
)

_NAMES = ('new', 'handshake', 'open', 'flushing', 'shutdown', 'closing', 'closed')

# what takes the plaintext
DATA = 0  # data_received()
BUFFERED = 1  # get_buffer() and buffer_updated()
DIRECT = 2  # a Sink
ADOPTED = 3  # data_received() of asyncio's streams, with a reader of ours behind

# by default, in bytes
READ_HIGH = constants.FLOW_CONTROL_HIGH_WATER_SSL_READ * 1024
WRITE_HIGH = constants.FLOW_CONTROL_HIGH_WATER_SSL_WRITE * 1024

BufferedProtocol = asyncio.BufferedProtocol

_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError)
_SSLError = ssl.SSLError


class TLSConnection(Sink):
    """A TLS connection's beginning, end, errors, the protocol, flow control, extra information. A subclass moves the bytes.

    `_lower`: the transport below; `_stream` if it is one of ours. `_incoming`, `_outgoing`: OpenSSL's buffers of ciphertext.
    `_queue`: plaintext that waits, `_queue_at` bytes of the first piece are done. `_blocked`: below takes no more.
    `_unread`: there may be plaintext that nobody was asked to take. `_ended`: the end of the stream below was received,
    `_notified`: the peer's close_notify. `_made`: connection_made() was called above. `_shook`: the handshake has
    succeeded. `_told`: whoever waits for it knows its end. `_dropped`: the end came before all was sent.
    """

    __slots__ = ('_core', '_protocol', '_sink', '_context', '_waiter', '_lower', '_stream', '_sslcontext', '_sslobj',
                 '_incoming', '_outgoing', '_ssl_read', '_ssl_write', '_bio_write', '_bio_read', '_peercert', '_error',
                 '_timer', '_handshake_timeout', '_shutdown_timeout', '_began', '_queue', '_queue_at', '_queue_size',
                 '_high', '_low', '_in_high', '_in_low', '_conn_lost', '_state', '_kind', '_made', '_shook',
                 '_paused', '_lower_paused', '_unread', '_ended', '_notified', '_blocked', '_protocol_paused',
                 '_told', '_dropped', '__dict__', '__weakref__')

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    # ---- seen by asyncio ----

    @property
    def __class__(self):
        return _SSLProtocolTransport

    @property
    def _loop(self):
        return self._core

    @property
    def _ssl_protocol(self):
        return self

    @property
    def _transport(self):
        return self._lower

    def __repr__(self):
        info = [type(self).__name__, _NAMES[self._state]]
        if self._lower is not None:
            info.append(f'over={self._lower!r}')
        return f'<{" ".join(info)}>'

    def __del__(self):
        if HANDSHAKE <= self._state < CLOSING:
            warnings.warn(f'unclosed transport {self!r}', ResourceWarning, source=self)

    # ---- beginning: the protocol of the transport below ----

    def _over(self, transport):
        """The transport below; it will call connection_made(), or somebody in its place."""
        self._lower = transport
        self._stream = transport if isinstance(transport, StreamTransport) else None
        return 0

    def connection_made(self, transport):
        """Begin the handshake."""
        if self._state != NEW:
            return
        self._over(transport)
        self._state = _NEXT[MADE][self._state]
        core = self._core
        if core._debug:
            logger.debug('%r starts SSL handshake', self)
            self._began = core.time()
        self._timer = core.call_later(self._handshake_timeout, self._handshake_late)
        self._shake()

    def _shake(self):
        try:
            self._sslobj.do_handshake()
            self._send_out()
        except _AGAIN:
            return self._answer()
        except BaseException as e:
            return self._handshake_failed(e)
        return self._shaken()

    def _answer(self):
        """Send what OpenSSL wants to say by itself."""
        try:
            self._send_out()
        except BaseException as e:
            self._failed(e, 'Fatal error on SSL protocol')
        return 0

    def _shaken(self):
        self._state = _NEXT[SHAKEN][self._state]
        self._shook = True
        self._stop_timer()
        core = self._core
        if core._debug:
            logger.debug('%r: SSL handshake took %.1f ms', self, (core.time() - self._began) * 1e3)
        error = None
        if not self._made:
            self._made = True
            error = _leaf.call1(self._context, self._protocol.connection_made, self)
        if error is not None:
            self._wake(error)
            return self._failed(error, 'Fatal error: protocol.connection_made() call failed.')
        self._wake(None)
        if self._queue is not None:
            self._flush()
        return self._receive()

    def _handshake_failed(self, error):
        if self._state >= CLOSING:
            return 0
        message = 'SSL handshake failed'
        if isinstance(error, ssl.CertificateError):
            message = 'SSL handshake failed on verifying the certificate'
        self._wake(error)
        return self._failed(error, message)

    def _handshake_late(self):
        if self._state == HANDSHAKE:
            self._handshake_failed(ConnectionAbortedError(
                f'SSL handshake is taking longer than {self._handshake_timeout} seconds: aborting the connection'))

    def _wake(self, error):
        """Tell whoever waits for the handshake of its end; once."""
        if self._told:
            return 0
        self._told = True
        waiter = self._waiter
        if waiter is None:
            if error is not None and self._core._debug:
                self._core.call_exception_handler({
                    'message': 'Error on transport creation for incoming connection',
                    'exception': error,
                    'transport': self,
                    'protocol': self._protocol,
                })
            return 0
        self._waiter = None
        if not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        return 0

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return 0

    # ---- ciphertext comes in ----

    def eof_received(self):
        """The stream below ends. True if it is to stay open for what is still to be sent."""
        if self._core._debug:
            logger.debug('%r received EOF', self)
        state = self._state
        if state <= HANDSHAKE:
            self._handshake_failed(ConnectionResetError('the peer closed the connection during the SSL handshake'))
            return False
        self._ended = True
        if state == OPEN:
            if self._paused:
                return True
            self._peer_ended()
        elif state == SHUTDOWN:
            self._done()
        return self._state == FLUSHING

    def _peer_ended(self):
        """The peer's close_notify, or the end of the stream below: TLS can't be half closed."""
        try:
            keep_open = self._context.run(self._protocol.eof_received)
        except BaseException as e:
            return self._failed(e, 'Error calling eof_received()')
        if keep_open:
            logger.warning('returning true from eof_received() has no effect when using ssl')
        if self._state == OPEN:
            self._begin_close()
        return 0

    # ---- plaintext goes out ----

    def _put(self, data):
        if self._stream is not None:
            self._stream.write(data)
        else:
            self._lower.write(data)
        return 0

    def _send_out(self):
        """What OpenSSL has put out by itself."""
        if self._outgoing.pending:
            self._put(self._bio_read())
        return 0

    def can_write_eof(self):
        """False: TLS can't be half closed."""
        return False

    def write_eof(self):
        """Raises NotImplementedError: TLS can't be half closed."""
        raise NotImplementedError('TLS cannot be half closed')

    # ---- the end ----

    def close(self):
        """Send what is queued, then close, TLS and then what is below. Nothing is received any more."""
        if self._state < OPEN:
            self.abort()
        elif self._state == OPEN:
            self._begin_close()

    def _begin_close(self):
        self._state = _NEXT[CLOSE][self._state]
        self._timer = self._core.call_later(self._shutdown_timeout, self._shutdown_late)
        if self._lower_paused:
            self._lower_paused = False
            self._lower.resume_reading()
        if self._queue is not None:
            self._send_queued()
        if self._queue is None and self._state == FLUSHING:
            self._shut_down()
        return 0

    def _shut_down(self):
        """Send our close_notify."""
        self._state = _NEXT[FLUSHED][self._state]
        # a peer that has ended its stream without a close_notify expects none
        over = self._ended or self._say_goodbye() or self._notified
        self._answer()
        if over:
            self._done()
        return 0

    def _say_goodbye(self):
        """True if the peer has ended already, or sends what nobody takes."""
        try:
            self._sslobj.unwrap()
        except _AGAIN:
            return False
        except _SSLError as e:
            if self._core._debug:
                logger.debug('%r: %s in close()', self, e)
        return True

    def _done(self):
        """TLS has ended well. The timer runs until what is below has sent all."""
        if self._state == SHUTDOWN:
            self._state = _NEXT[DONE][self._state]
            self._lower.close()
        return 0

    def _shutdown_late(self):
        self._timer = None
        if self._state < CLOSED:
            self._force_close(TimeoutError('SSL shutdown timed out'))

    def abort(self):
        """Close at once; what is queued is dropped."""
        self._force_close(None)

    def _force_close(self, exc):
        if self._state == CLOSED:
            return
        if self._error is None:
            self._error = exc
        self._state = _NEXT[FAIL][self._state]
        self._drop()
        if self._lower is not None:
            self._lower.abort()

    def _drop(self):
        """Forget what is queued."""
        if self._queue is not None:
            self._dropped = True
        self._queue = None
        self._queue_at = 0
        self._queue_size = 0
        return 0

    def _fatal_error(self, exc, message='Fatal error on transport'):
        self._failed(exc, message)

    def _failed(self, error, message):
        """An exception ends the connection. One that is no OSError is reported. What was encrypted before still goes out, if
        that is possible at once."""
        _life.ended(self._core, self, self._protocol, error, message)
        if self._state >= CLOSING:
            return 0
        self._error = error
        self._state = _NEXT[FAIL][self._state]
        self._drop()
        if self._stream is not None:
            if self._outgoing.pending:
                self._stream.write(self._bio_read())
            self._stream.close()
        self._lower.abort()
        return 0

    def connection_lost(self, exc):
        """The transport below has gone."""
        if self._state == CLOSED:
            return
        self._state = _NEXT[END][self._state]
        self._conn_lost += 1
        self._stop_timer()
        self._drop()
        if self._stream is None or self._stream._dropped:
            self._dropped = True
        if self._error is not None:
            exc = self._error
        self._wake(ConnectionResetError('the connection ended during the SSL handshake') if exc is None else exc)
        protocol = self._protocol
        self._stream = None
        failed = None
        lost = None
        try:
            if self._made:
                lost = protocol.connection_lost
        except Exception as e:
            failed = e
        if lost is not None:
            failed = _leaf.call1(self._context, lost, exc)
        self._protocol = None
        self._sink = None
        self._error = None
        if failed is not None:
            name = getattr(lost, '__qualname__', 'connection_lost')
            _life.report(self._core, self, protocol, failed, f'Exception in callback {name}()')

    def is_closing(self):
        """True from close(), abort(), the peer's end or an error on."""
        return self._state >= FLUSHING or (self._stream is not None and self._stream.is_closing())

    # ---- what it is for ----

    def set_protocol(self, protocol):
        """Give what comes from now on to another protocol, of any kind."""
        self._set_protocol(protocol)

    def _set_protocol(self, protocol):
        self._protocol = protocol
        self._kind = DATA
        self._sink = None
        if isinstance(protocol, Sink):
            sink = protocol
            if sink._direct:
                self._sink = sink
                self._kind = DIRECT
        elif isinstance(protocol, BufferedProtocol):
            self._kind = BUFFERED
        elif _adopt.adopt(protocol):
            self._kind = ADOPTED
        return 0

    def get_protocol(self):
        """The protocol; None after connection_lost()."""
        return self._protocol

    def get_extra_info(self, name, default=None):
        """'sslcontext'; 'ssl_object', 'peercert', 'cipher', 'compression' after the handshake (see ssl.SSLObject); anything
        else is asked of the transport below."""
        if name == 'sslcontext':
            return self._sslcontext
        if self._shook:
            if name == 'ssl_object':
                return self._sslobj
            if name == 'peercert':
                if self._peercert is None:
                    # a dict made of the certificate: only for who asks
                    self._peercert = (self._sslobj.getpeercert(),)
                return self._peercert[0]
            if name == 'cipher':
                return self._sslobj.cipher()
            if name == 'compression':
                return self._sslobj.compression()
        if self._lower is None:
            return default
        return self._lower.get_extra_info(name, default)

    # ---- moving bytes ----

    def _receive(self):
        """Give what has come above, unless that is paused."""
        raise NotImplementedError(type(self).__name__)

    def _send_queued(self):
        """Encrypt what is queued, as long as the transport below takes it."""
        raise NotImplementedError(type(self).__name__)

    # ---- flow control of reading ----

    def is_reading(self):
        """True unless paused, closing or closed."""
        return self._state < FLUSHING and not self._paused

    def pause_reading(self):
        """Give nothing above until resume_reading(). Nothing if paused or closing."""
        if not self._paused and self._state < FLUSHING:
            self._paused = True

    def resume_reading(self):
        """Give again what comes. Nothing if not paused, or closing."""
        if not self._paused or self._state >= FLUSHING:
            return
        self._paused = False
        if self._unread or self._ended or self._incoming.pending:
            self._core.call_soon(self._resumed)

    def _resumed(self):
        if self._state == OPEN and not self._paused:
            self._receive()

    def get_read_buffer_size(self):
        """Bytes of ciphertext that wait while reading is paused."""
        return self._incoming.pending

    def get_read_buffer_limits(self):
        """(low, high): the marks in bytes."""
        return (self._in_low, self._in_high)

    def set_read_buffer_limits(self, high=None, low=None):
        """Set the marks in bytes: while reading is paused the transport below is read up to `high`, and again from `low` on.
        By default 256 KiB and a quarter of `high`. Raises ValueError unless high >= low >= 0."""
        self._in_high, self._in_low = _life.limits(high, low, READ_HIGH)
        if self._lower_paused and self._incoming.pending <= self._in_low:
            self._lower_paused = False
            self._lower.resume_reading()

    # ---- flow control of writing ----

    def pause_writing(self):
        """The transport below holds enough."""
        self._blocked = True

    def resume_writing(self):
        """The transport below takes more."""
        self._blocked = False
        if self._queue is not None and (self._state == OPEN or self._state == FLUSHING):
            self._flush()

    def get_write_buffer_size(self):
        """Bytes of plaintext that wait until the transport below takes them."""
        return self._queue_size

    def get_write_buffer_limits(self):
        """(low, high): the marks in bytes."""
        return (self._low, self._high)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the marks in bytes: above `high` the protocol's pause_writing() is called, at `low` or below its
        resume_writing(). By default 512 KiB and a quarter of `high`. Raises ValueError unless high >= low >= 0."""
        self._high, self._low = _life.limits(high, low, WRITE_HIGH)
        self._control()

    def _control(self):
        if self._protocol_paused or self._queue_size <= self._high:
            return 0
        self._protocol_paused = True
        try:
            # in the context of whoever writes
            self._protocol.pause_writing()
        except BaseException as e:
            self._flow_failed(e, 'protocol.pause_writing() failed')
        return 0

    def _flush(self):
        """Send what is queued, and let go on what waited for that. Not in a call of the protocol's."""
        self._send_queued()
        if self._protocol_paused and self._queue_size <= self._low:
            self._resume_writing()
        if self._queue is None and self._state == FLUSHING:
            self._shut_down()
        return 0

    def _resume_writing(self):
        self._protocol_paused = False
        try:
            self._context.run(self._protocol.resume_writing)
        except BaseException as e:
            self._flow_failed(e, 'protocol.resume_writing() failed')
        return 0

    def _flow_failed(self, error, message):
        return _life.report(self._core, self, self._protocol, error, message)
