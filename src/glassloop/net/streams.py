"""Streams: StreamWriter, the protocol that joins a reader and a writer to a transport, and the functions that open them.

A StreamReaderProtocol is an ordinary protocol and works with any loop's transports. Over a StreamTransport of ours two
hops are left out: what is received goes from the transport into the reader without a data_received() in between, and
the writer writes without a lookup.

drain() costs no turn where nothing is to be waited for. Over our transports it sends what the transport still holds back
for the end of the step, unless the reader has more input buffered: then the answer to that may go with it in one call.

Each waiter has a future of its own: several tasks may drain or wait for the close at once, and one that is cancelled takes
nothing from the others.

wait_closed() raises what ended the connection, but for a connection error that came too late to cost a byte: the
peer may reset what is being closed anyway.
"""
import asyncio
import socket as _socket
import warnings
from asyncio.log import logger

from ..core import future as _future
from ..core import leaf as _leaf
from ..core.leaf import LoopBase, Op
from .reader import DEFAULT_LIMIT
from .reader import StreamReader as Reader
from .transport import Sink, StreamTransport

__all__ = ['StreamReader', 'StreamReaderProtocol', 'StreamWriter', 'open_connection', 'start_server']
if hasattr(_socket, 'AF_UNIX'):
    __all__ += ['open_unix_connection', 'start_unix_server']

StreamReader = Reader  # the other name is the compiled class itself


class StreamReaderProtocol(Sink):
    """The protocol of a stream. See asyncio.StreamReaderProtocol.

    client_connected_cb(reader, writer), if given, is called for the connection; if it returns a coroutine, that is run as a
    task, and the connection is closed when the task fails or is cancelled.
    """

    __slots__ = ('_loop', '_core', '_stream_reader', '_reader', '_client_connected_cb', '_source_traceback', '_transport',
                 '_task', '_over_ssl', '_paused', '_connection_lost', '_error', '_drain_waiters', '_close_waiters',
                 '__dict__', '__weakref__')

    def __init__(self, stream_reader, client_connected_cb=None, loop=None):
        if loop is None:
            loop = asyncio.get_event_loop()
        self._loop = loop
        self._core = loop if isinstance(loop, LoopBase) else None
        self._stream_reader = stream_reader
        self._source_traceback = None if stream_reader is None else stream_reader._source_traceback
        self._reader = stream_reader if type(stream_reader) is Reader else None
        self._direct = type(self) is StreamReaderProtocol and self._reader is not None
        self._client_connected_cb = client_connected_cb
        self._transport = None
        self._task = None
        self._over_ssl = False
        self._paused = False
        self._connection_lost = False
        self._error = None
        self._drain_waiters = None
        self._close_waiters = None

    @property
    def __class__(self):
        return asyncio.StreamReaderProtocol

    def _replace_transport(self, transport):
        """The stream goes on over another transport (TLS)."""
        self._transport = transport
        self._over_ssl = transport.get_extra_info('sslcontext') is not None
        reader = self._stream_reader
        if reader is not None and reader._transport is not None:
            reader._transport = transport

    # ---- called by the transport ----

    def connection_made(self, transport):
        """The stream begins."""
        self._replace_transport(transport)
        reader = self._stream_reader
        if reader is not None:
            reader.set_transport(transport)
        if self._client_connected_cb is not None:
            try:
                handled = self._client_connected_cb(reader, StreamWriter(transport, self, reader, self._loop))
            except Exception as error:
                self._loop.call_exception_handler({
                    'message': 'Unhandled exception in client_connected_cb',
                    'exception': error,
                    'transport': transport,
                })
                transport.close()
                return
            if asyncio.iscoroutine(handled):
                self._task = self._loop.create_task(handled)
                self._task.add_done_callback(_Handled(self._loop, transport))

    def _feed(self, data):
        if self._reader is not None:
            self._reader.feed_data(data)
        return 0

    def data_received(self, data):
        """Bytes go to the reader."""
        if self._stream_reader is not None:
            self._stream_reader.feed_data(data)

    def eof_received(self):
        """The reader learns of the end; the writing side stays open, except under TLS, which can't be half closed."""
        if self._stream_reader is not None:
            self._stream_reader.feed_eof()
        return not self._over_ssl

    def connection_lost(self, exc):
        """Whoever reads, drains or waits for the close learns of the end."""
        reader = self._stream_reader
        if reader is not None:
            if exc is None:
                reader.feed_eof()
            else:
                reader.set_exception(exc)
        self._connection_lost = True
        self._error = exc
        for waiters in (self._drain_waiters, self._close_waiters):
            for waiter in waiters or ():
                _settle(waiter, exc)
        self._close_waiters = None
        self._stream_reader = None
        self._reader = None
        self._task = None
        self._transport = None

    def pause_writing(self):
        """The transport holds more than the high-water mark: drain() waits from now on."""
        assert not self._paused
        self._paused = True
        if self._loop.get_debug():
            logger.debug('%r pauses writing', self)

    def resume_writing(self):
        """Whoever drains goes on."""
        assert self._paused
        self._paused = False
        if self._loop.get_debug():
            logger.debug('%r resumes writing', self)
        for waiter in self._drain_waiters or ():
            _settle(waiter, None)

    # ---- called by writers ----

    def _new_waiter(self):
        return self._loop.create_future() if self._core is None else _future.new_future(self._core)

    async def _drain_helper(self):
        if self._connection_lost:
            raise ConnectionResetError('Connection lost')
        if self._paused:
            waiter = self._add_drain_waiter()
            try:
                await waiter
            finally:
                self._drain_waiters.remove(waiter)

    def _add_drain_waiter(self):
        if self._drain_waiters is None:
            self._drain_waiters = []
        waiter = self._new_waiter()
        self._drain_waiters.append(waiter)
        return waiter

    def _get_close_waiter(self, stream):
        """A future that is done when the connection is lost, with the exception that ended it."""
        waiter = self._new_waiter()
        if self._connection_lost:
            _settle(waiter, self._error)
        elif self._close_waiters is None:
            self._close_waiters = [waiter]
        else:
            self._close_waiters.append(waiter)
        return waiter


class _Handled:
    """What happens when the task of a client_connected_cb is done."""

    def __init__(self, loop, transport):
        self.loop = loop
        self.transport = transport

    def __call__(self, task):
        if task.cancelled():
            self.transport.close()
            return
        error = task.exception()
        if error is not None:
            self.loop.call_exception_handler({
                'message': 'Unhandled exception in client_connected_cb',
                'exception': error,
                'transport': self.transport,
            })
            self.transport.close()


def _settle(waiter, error):
    if not waiter.done():
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter._log_traceback = False  # told to the reader as well
    return 0


class StreamWriter:
    """The writing side of a stream. See asyncio.StreamWriter."""

    __slots__ = ('_transport', '_protocol', '_reader', '_loop', '_ours', '_flow', '_input', '__dict__', '__weakref__')

    def __init__(self, transport, protocol, reader, loop):
        self._transport = None
        assert reader is None or isinstance(reader, asyncio.StreamReader)
        self._loop = loop
        self._reader = reader
        self._input = reader if isinstance(reader, Reader) else None
        self._protocol = protocol
        self._flow = protocol if type(protocol) is StreamReaderProtocol else None
        self._use(transport)

    def _use(self, transport):
        self._transport = transport
        self._ours = transport if isinstance(transport, StreamTransport) else None
        return 0

    def __del__(self):
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._loop.is_closed():
            warnings.warn('loop is closed', ResourceWarning, source=self)
        else:
            self.close()
            warnings.warn(f'unclosed {self!r}', ResourceWarning, source=self)

    @property
    def __class__(self):
        return asyncio.StreamWriter

    def __repr__(self):
        info = [type(self).__name__, f'transport={self._transport!r}']
        if self._reader is not None:
            info.append(f'reader={self._reader!r}')
        return f'<{" ".join(info)}>'

    @property
    def transport(self):
        """The transport."""
        return self._transport

    def write(self, data):
        """Send data (bytes-like) in the background."""
        if self._ours is not None:
            self._ours.write(data)
        else:
            self._transport.write(data)

    def writelines(self, data):
        """Send the pieces (an iterable of bytes-likes) in the background."""
        self._transport.writelines(data)

    def can_write_eof(self):
        """True if write_eof() works here."""
        return self._transport.can_write_eof()

    def write_eof(self):
        """Send what is queued, then the end of the stream."""
        return self._transport.write_eof()

    def close(self):
        """Send what is queued, then close; wait_closed() tells when."""
        return self._transport.close()

    def is_closing(self):
        """True if closed or closing."""
        return self._transport.is_closing()

    def get_extra_info(self, name, default=None):
        """What the transport's get_extra_info() says."""
        return self._transport.get_extra_info(name, default)

    def wait_closed(self):
        """Wait until the connection is closed. Raises what ended it, if that cost data. Coroutine."""
        op = StreamWriter_wait_closed.__new__(StreamWriter_wait_closed)
        op._writer = self
        return op

    def drain(self):
        """Wait until the transport is ready for more. Raises the reader's exception if it has one, ConnectionResetError
        if the connection is lost. Coroutine."""
        if self._flow is None:
            return self._drain_foreign()
        op = _leaf.new_op(_StreamWriter_drain)
        op._writer = self
        op._stage = 0
        return op

    async def _drain_foreign(self):
        """drain() over a protocol that isn't ours."""
        if self._reader is not None:
            error = self._reader.exception()
            if error is not None:
                raise error
        if self._transport.is_closing():
            await asyncio.sleep(0)
        await self._protocol._drain_helper()

    async def start_tls(self, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None):
        """Go on over TLS. Coroutine."""
        protocol = self._protocol
        await self.drain()
        transport = await self._loop.start_tls(
            self._transport, protocol, sslcontext,
            server_side=protocol._client_connected_cb is not None, server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._use(transport)
        if hasattr(protocol, '_replace_transport'):
            protocol._replace_transport(transport)
        else:
            protocol._replace_writer(self)


class StreamWriter_drain(Op):
    """`_stage`: 0 begun; 1 the loop was given a turn, so that connection_lost() may be called; 2 waits for the flow."""

    __slots__ = ('_writer', '_stage', '_waiter')

    def _begin(self):
        writer = self._writer
        if writer._input is not None:
            error = writer._input._exception
        else:
            error = None if writer._reader is None else writer._reader.exception()
        if error is not None:
            raise error
        ours = writer._ours
        if ours is not None:
            if ours._in_cork and (writer._input is None or writer._input._size == 0):
                ours._flush()
            closing = ours.is_closing()
        else:
            closing = writer._transport.is_closing()
        if closing:
            # otherwise a loop of write() and drain() would never let connection_lost() be called
            self._stage = 1
            waiter = writer._flow._new_waiter()
            waiter.set_result(None)
            return waiter
        return self._flow()

    def _flow(self):
        flow = self._writer._flow
        if flow._connection_lost:
            raise ConnectionResetError('Connection lost')
        if not flow._paused:
            return None
        self._stage = 2
        self._waiter = flow._add_drain_waiter()
        return self._waiter

    def _wake(self, exc):
        if self._stage == 2:
            self._writer._flow._drain_waiters.remove(self._waiter)
        if exc is not None:
            raise exc
        return self._flow() if self._stage == 1 else None


class StreamWriter_wait_closed(Op):
    __slots__ = ('_writer',)

    def _begin(self):
        return self._writer._protocol._get_close_waiter(self._writer)

    def _wake(self, exc):
        if exc is not None:
            # transports that aren't ours don't say whether it cost data
            dropped = getattr(self._writer._transport, '_dropped', True)
            if dropped or not isinstance(exc, ConnectionError):
                raise exc
        return None


async def open_connection(host=None, port=None, *, limit=DEFAULT_LIMIT, **kwds):
    """Connect to host and port: (StreamReader, StreamWriter). kwds go to loop.create_connection()."""
    loop = asyncio.get_running_loop()
    reader = Reader(limit, loop)
    protocol = StreamReaderProtocol(reader, None, loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(client_connected_cb, host=None, port=None, *, limit=DEFAULT_LIMIT, **kwds):
    """Serve: client_connected_cb(reader, writer), a function or a coroutine function, is called for each connection. kwds
    go to loop.create_server(), whose Server is returned."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: StreamReaderProtocol(Reader(limit, loop), client_connected_cb, loop), host, port, **kwds
    )


async def open_unix_connection(path=None, *, limit=DEFAULT_LIMIT, **kwds):
    """Connect to a Unix stream socket: (StreamReader, StreamWriter). kwds go to loop.create_unix_connection()."""
    loop = asyncio.get_running_loop()
    reader = Reader(limit, loop)
    protocol = StreamReaderProtocol(reader, None, loop)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(client_connected_cb, path=None, *, limit=DEFAULT_LIMIT, **kwds):
    """Serve on a Unix stream socket, as start_server() does on TCP."""
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(
        lambda: StreamReaderProtocol(Reader(limit, loop), client_connected_cb, loop), path, **kwds
    )


_StreamWriter_drain = _leaf.recycle_op(StreamWriter_drain)
