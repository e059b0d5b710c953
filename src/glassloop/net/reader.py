# cython: binding=False
"""StreamReader: bytes come in from a transport, tasks take them out.

What was received stays in the chunks in which it came: a read that fits a chunk hands it over as it is, a longer one is
joined once. Chunks smaller than MERGED are merged, so that a peer that sends byte by byte costs no more memory than
its bytes. While somebody waits for all until the end, the chunks are joined as they come (`_whole`), FOLD bytes at a time:
to join them at the end would need twice the memory.

Reads are operations, not coroutines: they look into the buffer when awaited and are done at once if it holds enough. One
that must wait says how many bytes it needs at least, and isn't woken for less. A read that is cancelled has taken nothing:
what came stays in the buffer, also for read() until the end.

Memory is bounded: above twice the limit the transport is paused, at the limit or below it is resumed; only a read that
asks for more than that is given more. One task at a time may wait.

Not here: how bytes get in (transport.py, streams.py).
"""
import asyncio
import io
import sys
from asyncio import format_helpers
from types import GenericAlias

from ..core import future as _future
from ..core import leaf as _leaf
from ..core.future import Future
from ..core.leaf import LoopBase, Op

DEFAULT_LIMIT = 2 ** 16
MERGED = 4096
FOLD = 1 << 20
UNLIMITED = sys.maxsize

IncompleteReadError = asyncio.IncompleteReadError
LimitOverrunError = asyncio.LimitOverrunError


class StreamReader:
    """The reading side of a stream. See asyncio.StreamReader.

    limit: the longest line in bytes, and half of what is buffered at most. loop: the current one by default.
    """

    __slots__ = ('_loop', '_core', '_given_limit', '_bound', '_high', '_head', '_at', '_rest', '_whole', '_folded',
                 '_size', '_takes', '_need', '_eof', '_paused', '_waiter', '_exception', '_transport', '_source_traceback',
                 '__dict__', '__weakref__')

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, limit=DEFAULT_LIMIT, loop=None):
        if limit <= 0:
            raise ValueError('Limit cannot be <= 0')
        if loop is None:
            loop = asyncio.get_event_loop()
        self._loop = loop
        self._core = loop if isinstance(loop, LoopBase) else None
        self._set_limit(limit)
        self._head = None
        self._at = 0
        self._rest = None
        self._whole = None
        self._folded = 0
        self._size = 0
        self._takes = 0
        self._need = 0
        self._eof = False
        self._paused = False
        self._waiter = None
        self._exception = None
        self._transport = None
        self._source_traceback = None
        if loop.get_debug():
            self._source_traceback = format_helpers.extract_stack(sys._getframe(0))

    @property
    def __class__(self):
        return asyncio.StreamReader

    def __repr__(self):
        info = ['StreamReader']
        if self._size:
            info.append(f'{self._size} bytes')
        if self._eof:
            info.append('eof')
        if self._given_limit != DEFAULT_LIMIT:
            info.append(f'limit={self._given_limit}')
        if self._waiter:
            info.append(f'waiter={self._waiter!r}')
        if self._exception:
            info.append(f'exception={self._exception!r}')
        if self._transport:
            info.append(f'transport={self._transport!r}')
        if self._paused:
            info.append('paused')
        return f'<{" ".join(info)}>'

    @property
    def _limit(self):
        return self._given_limit

    @_limit.setter
    def _limit(self, limit):
        self._set_limit(limit)

    def _set_limit(self, limit):
        self._given_limit = limit
        self._bound = UNLIMITED if limit > UNLIMITED else int(limit)
        self._high = UNLIMITED if limit > UNLIMITED // 2 else int(limit * 2)
        return 0

    @property
    def _buffer(self):
        """A copy of what was received and not read."""
        if self._whole is not None:
            self._unfold()
        if self._head is None:
            return b''
        return b''.join([self._head[self._at:], *(self._rest or ())])

    # ---- bytes come in ----

    def set_transport(self, transport):
        """The transport to pause when too much is buffered."""
        assert self._transport is None, 'Transport already set'
        self._transport = transport

    def feed_data(self, data):
        """Bytes were received (bytes-like). AssertionError after feed_eof()."""
        assert not self._eof, 'feed_data after feed_eof'
        if len(data):
            self._feed(data if type(data) is bytes else bytes(data))

    def feed_eof(self):
        """No more bytes will come."""
        self._eof = True
        self._wake_up(None)

    def exception(self):
        """The exception that every read raises from now on, or None."""
        return self._exception

    def set_exception(self, exc):
        """Let every read raise exc from now on, also one that waits."""
        self._exception = exc
        self._wake_up(exc)

    def at_eof(self):
        """True if everything was read and no more will come."""
        return self._eof and self._size == 0

    def _feed(self, data):
        if self._head is None:
            self._head = data
            self._at = 0
        else:
            self._add(data)
        self._size += len(data)
        if self._waiter is not None:
            if self._size < self._need:
                if self._need == UNLIMITED and self._size - self._folded >= FOLD:
                    self._fold()
                return 0
            self._wake_up(None)
        if self._size > self._high and not self._paused and self._transport is not None:
            self._pause()
        return 0

    def _add(self, data):
        n = len(data)
        rest = self._rest
        if rest is None:
            if len(self._head) - self._at + n <= MERGED:
                self._head = self._head[self._at:] + data
                self._at = 0
            else:
                self._rest = [data]
        elif len(rest[len(rest) - 1]) + n <= MERGED:
            rest[len(rest) - 1] = rest[len(rest) - 1] + data
        else:
            rest.append(data)
        return 0

    def _fold(self):
        """Join what has come."""
        if self._whole is None:
            self._whole = io.BytesIO()
        write = self._whole.write
        if self._head is not None:
            write(self._head if self._at == 0 else self._head[self._at:])
        if self._rest is not None:
            for piece in self._rest:
                write(piece)
        self._head = None
        self._at = 0
        self._rest = None
        self._folded = self._size
        return 0

    def _unfold(self):
        """What was joined, and what has come since, is one chunk."""
        self._fold()
        self._head = self._whole.getvalue()  # not a copy
        self._whole = None
        self._folded = 0
        return 0

    def _wake_up(self, error):
        waiter = self._waiter
        if waiter is None:
            return 0
        self._waiter = None
        if type(waiter) is Future:
            future = waiter
            if future._st == 0:
                if error is None:
                    future._finish(None)
                else:
                    future._fail(error)
        elif not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        return 0

    def _pause(self):
        try:
            self._transport.pause_reading()
        except NotImplementedError:
            # it can't be paused: all that comes is buffered
            self._transport = None
        else:
            self._paused = True
        return 0

    def _resume(self):
        self._paused = False
        self._transport.resume_reading()
        return 0

    # ---- bytes are taken out ----

    def _wait(self, name, need):
        """A future that is done when `need` bytes are buffered, or none will come."""
        if self._waiter is not None:
            raise RuntimeError(f'{name}() called while another coroutine is already waiting for incoming data')
        if self._paused:
            # to wait while paused would be for ever
            self._resume()
        self._need = need
        waiter = self._loop.create_future() if self._core is None else _future.new_future(self._core)
        self._waiter = waiter
        return waiter

    def _waited(self, waiter, error):
        """A wait has ended, with that exception if it isn't None."""
        if self._waiter is waiter:
            self._waiter = None
        if error is not None:
            if self._size > self._high and not self._paused and self._transport is not None:
                self._pause()
            raise error
        return 0

    def _take(self, n):
        """The first n bytes; there are as many, and n > 0."""
        if self._whole is not None:
            self._unfold()
        self._size -= n
        self._takes += 1
        head = self._head
        at = self._at
        left = len(head) - at
        if n < left:
            data = head[at:at + n]
            self._at = at + n
        elif n == left:
            data = head if at == 0 else head[at:]
            self._next()
        else:
            data = self._take_several(n)
        if self._paused and self._size <= self._bound:
            self._resume()
        return data

    def _take_several(self, n):
        pieces = []
        while n > 0:
            piece = self._head if self._at == 0 else self._head[self._at:]
            if n < len(piece):
                self._at += n
                piece = piece[:n]
            else:
                self._next()
            pieces.append(piece)
            n -= len(piece)
        return b''.join(pieces)

    def _next(self):
        """The first chunk is used up."""
        self._at = 0
        rest = self._rest
        if rest is None:
            self._head = None
        else:
            self._head = rest.pop(0)
            if not rest:
                self._rest = None
        return 0

    def _take_all(self):
        return self._take(self._size) if self._size else b''

    def _hand_over(self):
        """All that is buffered, for somebody else; the transport needn't be paused any more."""
        self._paused = False
        return self._take_all()

    def _find(self, separator, start):
        """Where the separator begins, at `start` or later; -1 if it is not there."""
        if self._whole is not None:
            self._unfold()
        if self._rest is None:
            if self._head is None:
                return -1
            found = self._head.find(separator, self._at + start)
            return found if found < 0 else found - self._at
        return self._find_across(separator, start)

    def _find_across(self, separator, start):
        reach = len(separator) - 1
        chunks = [self._head, *self._rest]
        base = -self._at
        for i, chunk in enumerate(chunks):
            end = base + len(chunk)
            if end > start:
                first = max(start, base, 0)
                found = chunk.find(separator, first - base)
                if found >= 0:
                    return base + found
                if reach > 0:
                    # it may begin in this chunk and end in the next ones
                    seam = max(first, end - reach)
                    window = chunk[seam - base:]
                    missing = reach
                    for later in chunks[i + 1:]:
                        if missing <= 0:
                            break
                        window += later[:missing]
                        missing -= len(later)
                    found = window.find(separator)
                    if found >= 0:
                        return seam + found
            base = end
        return -1

    def read(self, n=-1):
        """Up to n bytes, as soon as there is one; all until the end if n is negative. b'' at the end. Coroutine."""
        return read(self, n, None)

    def readexactly(self, n):
        """Exactly n bytes. Raises IncompleteReadError if the stream ends before, ValueError if n is negative.
        Coroutine."""
        return readexactly(self, n, None)

    def readuntil(self, separator=b'\n'):
        """Bytes up to and with the separator (bytes, or a tuple of them: the one that ends first). Raises
        IncompleteReadError if the stream ends before, LimitOverrunError if there is more than the limit without one: the
        bytes then stay in the buffer. Coroutine."""
        return readuntil(self, separator, None)

    def readline(self):
        """Bytes up to and with the next newline; what there is if the stream ends before. Raises ValueError if the line is
        longer than the limit: it is dropped then, or all that is buffered if its end hasn't come. Coroutine."""
        return next_line(self, False, None)

    def __aiter__(self):
        return self

    def __anext__(self):
        return next_line(self, True, None)


# What a method of the same name gives. holder: what else must live as long as somebody waits.

def read(reader, n, holder):
    op = _leaf.new_op(_StreamReader_read)
    op._reader = reader
    op._n = n
    op._holder = holder
    return op


def readexactly(reader, n, holder):
    op = _leaf.new_op(_StreamReader_readexactly)
    op._reader = reader
    op._n = n
    op._holder = holder
    return op


def readuntil(reader, separator, holder):
    op = _leaf.new_op(_StreamReader_readuntil)
    op._reader = reader
    op._separator = separator
    op._several = None
    op._offset = 0
    op._takes = 0
    op._holder = holder
    return op


def next_line(reader, stop, holder):
    op = _leaf.new_op(_StreamReader_readline)
    op._reader = reader
    op._separator = b'\n'
    op._several = None
    op._offset = 0
    op._takes = 0
    op._stop = stop
    op._holder = holder
    return op


class StreamReader_read(Op):
    __slots__ = ('_reader', '_n', '_holder')

    def _begin(self):
        if self._reader._exception is not None:
            raise self._reader._exception
        return self._look()

    def _wake(self, exc):
        self._reader._waited(self._future, exc)
        return self._look()

    def _look(self):
        reader = self._reader
        n = self._n
        if n == 0:
            self._value = b''
        elif n < 0:
            if not reader._eof:
                return reader._wait('read', UNLIMITED)
            self._value = reader._take_all()
        elif reader._size:
            self._value = reader._take(min(n, reader._size))
        elif reader._eof:
            self._value = b''
        else:
            return reader._wait('read', 1)
        return None


class StreamReader_readexactly(Op):
    __slots__ = ('_reader', '_n', '_holder')

    def _begin(self):
        if self._n < 0:
            raise ValueError('readexactly size can not be less than zero')
        if self._reader._exception is not None:
            raise self._reader._exception
        return self._look()

    def _wake(self, exc):
        self._reader._waited(self._future, exc)
        return self._look()

    def _look(self):
        reader = self._reader
        n = self._n
        if n == 0:
            self._value = b''
        elif reader._size >= n:
            self._value = reader._take(n)
        elif reader._eof:
            raise IncompleteReadError(reader._take_all(), n)
        else:
            return reader._wait('readexactly', n)
        return None


class StreamReader_readuntil(Op):
    """`_offset`: before it no separator begins. It holds as long as nobody else took bytes away (`_takes`)."""

    __slots__ = ('_reader', '_separator', '_several', '_offset', '_takes', '_holder')

    def _begin(self):
        if isinstance(self._separator, tuple):
            self._several = sorted(self._separator, key=len)
            if not self._several:
                raise ValueError('Separator should contain at least one element')
            if not self._several[0]:
                raise ValueError('Separator should be at least one-byte string')
        elif not self._separator:
            raise ValueError('Separator should be at least one-byte string')
        if self._reader._exception is not None:
            raise self._reader._exception
        return self._look()

    def _wake(self, exc):
        self._reader._waited(self._future, exc)
        return self._look()

    def _look(self):
        reader = self._reader
        if self._takes != reader._takes:
            self._takes = reader._takes
            self._offset = 0
        end = -1
        if self._several is None:
            length = len(self._separator)
            start = reader._find(self._separator, self._offset)
            if start >= 0:
                end = start + length
        else:
            length = len(self._several[len(self._several) - 1])
            start = -1
            for separator in self._several:
                found = reader._find(separator, self._offset)
                if found >= 0 and (end < 0 or found + len(separator) < end):
                    start = found
                    end = found + len(separator)
        if end >= 0:
            if start > reader._bound:
                raise LimitOverrunError('Separator is found, but chunk is longer than limit', start)
            self._value = reader._take(end)
            return None
        # the separator may have begun in the last bytes
        self._offset = max(0, reader._size + 1 - length)
        if self._offset > reader._bound:
            raise LimitOverrunError('Separator is not found, and chunk exceed the limit', self._offset)
        if reader._eof:
            raise IncompleteReadError(reader._take_all(), None)
        return reader._wait('readuntil', reader._size + 1)


class StreamReader_readline(StreamReader_readuntil):
    """`_stop`: an empty line means the end of an iteration."""

    __slots__ = ('_stop',)

    def _look(self):
        try:
            future = StreamReader_readuntil._look(self)
        except IncompleteReadError as e:
            self._value = e.partial
            future = None
        except LimitOverrunError as e:
            reader = self._reader
            if reader._find(b'\n', e.consumed) == e.consumed:
                reader._take(e.consumed + 1)
            else:
                reader._take_all()
            raise ValueError(e.args[0]) from None
        if self._stop and future is None and not self._value:
            raise StopAsyncIteration
        return future


_StreamReader_read = _leaf.recycle_op(StreamReader_read)
_StreamReader_readexactly = _leaf.recycle_op(StreamReader_readexactly)
_StreamReader_readuntil = _leaf.recycle_op(StreamReader_readuntil)
_StreamReader_readline = _leaf.recycle_op(StreamReader_readline)
