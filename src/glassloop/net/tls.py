# cython: binding=False
"""TLSTransport: TLS over any transport, with OpenSSL between two buffers in memory.

Its states and what a call does in which are in tlslife.py.

Ciphertext that arrives goes into one buffer and out of OpenSSL as plaintext, what is written comes out of the other
buffer as ciphertext. OpenSSL is asked for no more than there is: to ask in vain raises an exception, which costs as much as
a record. Plaintext is passed on by the record to a reader, and in pieces up to BATCH to a protocol. What is written is
encrypted at once, in pieces that keep the buffers small, as long as the transport below takes it; what that doesn't take
waits as plaintext. Over a transport of ours ciphertext is handed over without a call of a protocol's or transport's method,
and sent with all else that the callback or step writes.

Not here: certificates; who makes such a transport when (connect.py, server.py, upgrade.py).
"""
import ssl
from asyncio import constants
from asyncio.log import logger

from ..core import leaf as _leaf
from . import tlslife as _life
from . import transport as _below
from .tlslife import TLSConnection

DATA = 0  # as in tlslife.py
BUFFERED = 1
DIRECT = 2

RECORD = 16384  # plaintext bytes in a record at most
BATCH = 96 * 1024  # plaintext bytes given above in one piece; with a record more still below 128 KiB
CHUNK = RECORD  # plaintext bytes encrypted at once: OpenSSL keeps a buffer of a third more for good
BURST = 256 * 1024  # bytes handed to the transport below in one call

SSLObject = ssl.SSLObject
MemoryBIO = ssl.MemoryBIO

_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError)
_SSLError = ssl.SSLError
_SSLZeroReturnError = ssl.SSLZeroReturnError


class TLSTransport(TLSConnection):
    """TLS over a transport, as an asyncio transport. Made by make_tls()."""

    __slots__ = ()

    # ---- ciphertext comes in ----

    def data_received(self, data):
        """Ciphertext, from a transport below that isn't ours."""
        self._feed(data if type(data) is bytes else bytes(data))

    def _feed(self, data):
        state = self._state
        if state == _life.OPEN:
            self._bio_write(data)
            if self._paused:
                if not self._lower_paused and self._incoming.pending > self._in_high:
                    self._lower_paused = True
                    self._lower.pause_reading()
                return 0
            return self._receive()
        if state < _life.OPEN:
            self._bio_write(data)
            if state == _life.HANDSHAKE:
                self._shake()
        elif state < _life.CLOSING:
            self._bio_write(data)
            self._discard()
        return 0

    def _receive(self):
        """Give what has come above, unless that is paused."""
        more = True
        while more and self._state == _life.OPEN and not self._paused:
            if self._kind == BUFFERED:
                more = self._receive_into()
            else:
                more = self._receive_bytes()
        if self._state != _life.OPEN:
            return 0
        self._unread = more
        if self._outgoing.pending:
            # an answer of OpenSSL's own: a key update, a renegotiation
            self._answer()
        if self._queue is not None:
            self._flush()
        if self._lower_paused and self._state == _life.OPEN and self._incoming.pending <= self._in_low:
            self._lower_paused = False
            self._lower.resume_reading()
        if self._ended and not more and self._state == _life.OPEN:
            self._peer_ended()
        return 0

    def _receive_bytes(self):
        """Give some above; True if there may be more."""
        first = None
        pieces = None
        error = None
        more = True
        total = 0
        try:
            while total < BATCH:
                data = self._ssl_read(RECORD)
                n = len(data)
                if n == 0:
                    self._notified = True
                    more = False
                    break
                total += n
                if first is None:
                    first = data
                elif pieces is None:
                    pieces = [first, data]
                else:
                    pieces.append(data)
                if not self._incoming.pending and (n < RECORD or not self._sslobj.pending()):
                    more = False
                    break
                if self._kind >= DIRECT:
                    break
        except _AGAIN:
            more = False
        except BaseException as e:
            more = False
            error = e
        if first is not None:
            try:
                if self._kind == DIRECT:
                    self._sink._feed(first)
                else:
                    if pieces is not None:
                        first = b''.join(pieces)
                    _leaf.method1(self._context, self._protocol, 'data_received', first)
            except BaseException as e:
                self._failed(e, 'Fatal error on SSL protocol')
                return False
        if error is not None:
            self._failed(error, 'Fatal error on SSL protocol')
        elif self._notified and self._state == _life.OPEN:
            self._peer_ended()
        return more

    def _receive_into(self):
        """Fill the protocol's buffer once; True if there may be more."""
        try:
            buffer = memoryview(_leaf.method1(self._context, self._protocol, 'get_buffer', self._incoming.pending or -1))
            if not len(buffer):
                raise RuntimeError('get_buffer() returned an empty buffer')
        except BaseException as e:
            self._failed(e, 'Fatal error: protocol.get_buffer() call failed.')
            return False
        if self._state != _life.OPEN or self._paused:
            return True
        error = None
        more = True
        filled = 0
        room = len(buffer)
        try:
            while filled < room:
                n = self._ssl_read(room - filled, buffer[filled:])
                if n == 0:
                    self._notified = True
                    more = False
                    break
                filled += n
                if filled < room and not self._incoming.pending:
                    more = False
                    break
        except _AGAIN:
            more = False
        except BaseException as e:
            more = False
            error = e
        # the protocol may want to resize it
        buffer.release()
        if filled:
            try:
                _leaf.method1(self._context, self._protocol, 'buffer_updated', filled)
            except BaseException as e:
                self._failed(e, 'Fatal error on SSL protocol')
                return False
        if error is not None:
            self._failed(error, 'Fatal error on SSL protocol')
        elif self._notified and self._state == _life.OPEN:
            self._peer_ended()
        return more

    def _discard(self):
        """Nobody takes what comes any more; only the peer's close_notify counts."""
        over = self._read_away()
        if over and self._state == _life.SHUTDOWN:
            self._done()
        elif self._queue is not None:
            self._flush()
        return 0

    def _read_away(self):
        """True if there is nothing to wait for: the peer has ended, or sends what nobody takes."""
        came = False
        try:
            while self._incoming.pending:
                if not self._ssl_read(RECORD):
                    self._notified = True
                    return True
                came = True
        except _AGAIN:
            return came
        except _SSLZeroReturnError:
            self._notified = True
            return True
        except _SSLError as e:
            if self._core._debug:
                logger.debug('%r: %s after close()', self, e)
            return True
        return came

    # ---- plaintext goes out ----

    def write(self, data):
        """Send data (bytes, bytearray or memoryview); never blocks. Raises TypeError for anything else."""
        if type(data) is bytes:
            size = len(data)
        elif isinstance(data, (bytes, bytearray, memoryview)):
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            if size > CHUNK or (type(data) is memoryview and not data.c_contiguous):
                data = bytes(data)
        else:
            raise TypeError(f'data argument must be a bytes-like object, not {type(data).__name__!r}')
        if self._state >= _life.FLUSHING:
            self._write_lost()
        elif size == 0:
            return
        elif self._state == _life.OPEN and not self._blocked and self._queue is None and size <= CHUNK:
            self._encrypt(data, size)
        else:
            self._wait(data, size)
            if self._state == _life.OPEN:
                self._send_queued()
            self._control()
            if self._protocol_paused and self._queue_size <= self._low:
                self._core.call_soon(self._written)

    def _written(self):
        if self._protocol_paused and self._queue_size <= self._low:
            self._resume_writing()

    def writelines(self, list_of_data):
        """Send the pieces (an iterable) in order, as one write() of all of them together."""
        pieces = list(list_of_data)
        if len(pieces) > 1:
            total = 0
            for piece in pieces:
                if not isinstance(piece, (bytes, bytearray, memoryview)):
                    raise TypeError(f'data argument must be a bytes-like object, not {type(piece).__name__!r}')
                total += piece.nbytes if isinstance(piece, memoryview) else len(piece)
            if total <= CHUNK:
                pieces = [b''.join(pieces)]
        for piece in pieces:
            self.write(piece)

    def _write_lost(self):
        if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning('SSL connection is closed')
        self._conn_lost += 1
        return 0

    def _encrypt(self, data, size):
        """Encrypt and send; nothing is queued, and it is a CHUNK at most."""
        try:
            self._ssl_write(data)
            self._put(self._bio_read())
        except _AGAIN:
            self._wait(data, size)
            self._answer()
            self._control()
        except BaseException as e:
            self._failed(e, 'Fatal error on SSL protocol')
        return 0

    def _wait(self, data, size):
        """Queue data."""
        if type(data) is not bytes:
            data = bytes(data)
        if self._queue is None:
            self._queue = [data]
            self._queue_at = 0
        else:
            self._queue.append(data)
        self._queue_size += size
        return 0

    def _send_queued(self):
        try:
            while self._queue is not None and not self._blocked and self._state < _life.SHUTDOWN:
                self._flush_some()
        except _AGAIN:
            self._answer()
        except BaseException as e:
            self._failed(e, 'Fatal error on SSL protocol')
        return 0

    def _flush_some(self):
        pieces = []
        total = 0
        try:
            while self._queue is not None and total < BURST:
                chunk = self._chunk()
                n = self._ssl_write(chunk)
                self._queue_at += n
                self._queue_size -= n
                if self._queue_at == len(self._queue[0]):
                    self._queue_at = 0
                    if len(self._queue) == 1:
                        self._queue = None
                    else:
                        del self._queue[0]
                pieces.append(self._bio_read())
                total += n
        finally:
            if pieces:
                if self._stream is not None:
                    self._stream.writelines(pieces)
                else:
                    self._lower.write(b''.join(pieces))
        return 0

    def _chunk(self):
        """What is encrypted next. It stays the first piece of the queue until that has succeeded: OpenSSL wants to see it
        again if not."""
        queue = self._queue
        head = queue[0]
        size = len(head) - self._queue_at
        if size > CHUNK:
            return memoryview(head)[self._queue_at:self._queue_at + CHUNK]
        if len(queue) > 1 and size + len(queue[1]) <= CHUNK:
            last = 1
            size += len(queue[1])
            while last + 1 < len(queue) and size + len(queue[last + 1]) <= CHUNK:
                last += 1
                size += len(queue[last])
            if self._queue_at:
                queue[0] = head[self._queue_at:]
            queue[:last + 1] = [b''.join(queue[:last + 1])]
            self._queue_at = 0
            return queue[0]
        return memoryview(head)[self._queue_at:] if self._queue_at else head


def client_context(server_hostname):
    """What ssl=True means: the system's certificates are trusted, and the host's name checked if there is one."""
    context = ssl.create_default_context()
    if not server_hostname:
        context.check_hostname = False
    return context


def make_tls(loop, protocol, sslcontext, waiter=None, server_side=False, server_hostname=None, made=False,
             handshake_timeout=None, shutdown_timeout=None):
    """A TLSTransport that waits for the transport below: make it that one's protocol, and call its connection_made().

    waiter: a future for the end of the handshake; None on connections that a server accepted. made: connection_made() was
    called above already. Timeouts in seconds. Raises what sslcontext.wrap_bio() does, ValueError for a timeout that isn't
    positive."""
    if handshake_timeout is None:
        handshake_timeout = constants.SSL_HANDSHAKE_TIMEOUT
    elif not handshake_timeout > 0:
        raise ValueError(f'ssl_handshake_timeout should be a positive number, got {handshake_timeout}')
    if shutdown_timeout is None:
        shutdown_timeout = constants.SSL_SHUTDOWN_TIMEOUT
    elif not shutdown_timeout > 0:
        raise ValueError(f'ssl_shutdown_timeout should be a positive number, got {shutdown_timeout}')
    if not sslcontext:
        if server_side:
            raise ValueError('Server side SSL needs a valid SSLContext')
        sslcontext = client_context(server_hostname)
    incoming = MemoryBIO()
    outgoing = MemoryBIO()
    sslobj = sslcontext.wrap_bio(
        incoming, outgoing, server_side=server_side,
        server_hostname=server_hostname if server_hostname and not server_side else None,
    )
    tls = TLSTransport.__new__(TLSTransport)
    tls._state = _life.NEW
    tls._direct = True
    tls._core = loop
    tls._set_protocol(protocol)
    tls._context = _leaf.copy_context()
    tls._waiter = waiter
    tls._told = False
    tls._dropped = False
    tls._lower = None
    tls._stream = None
    tls._sslcontext = sslcontext
    tls._sslobj = sslobj
    # past the standard library's wrapper, where it adds nothing
    raw = sslobj._sslobj if type(sslobj) is SSLObject else sslobj
    tls._ssl_read = raw.read
    tls._ssl_write = raw.write
    tls._incoming = incoming
    tls._outgoing = outgoing
    tls._bio_write = incoming.write
    tls._bio_read = outgoing.read
    tls._peercert = None
    tls._error = None
    tls._timer = None
    tls._began = 0.0
    tls._handshake_timeout = handshake_timeout
    tls._shutdown_timeout = shutdown_timeout
    tls._queue = None
    tls._queue_at = 0
    tls._queue_size = 0
    tls._high = constants.FLOW_CONTROL_HIGH_WATER_SSL_WRITE * 1024
    tls._low = tls._high // 4
    tls._in_high = constants.FLOW_CONTROL_HIGH_WATER_SSL_READ * 1024
    tls._in_low = tls._in_high // 4
    tls._conn_lost = 0
    tls._made = made
    tls._shook = False
    tls._paused = False
    tls._lower_paused = False
    tls._unread = False
    tls._ended = False
    tls._notified = False
    tls._blocked = False
    tls._protocol_paused = False
    return tls


def over_socket(loop, sock, protocol, sslcontext, waiter, server, server_side, server_hostname, handshake_timeout,
                shutdown_timeout):
    """A TLSTransport over a transport of ours for a connected socket (or its bare descriptor), which that owns from now on.
    The handshake begins in the next turn."""
    tls = make_tls(
        loop, protocol, sslcontext, waiter, server_side, server_hostname, False, handshake_timeout, shutdown_timeout
    )
    tls._over(_below.make_transport(loop, sock, tls, None, None, server))
    return tls
