"""Programs that use asyncio's own streams get our StreamReader behind their asyncio.StreamReader.

asyncio.open_connection() and asyncio.start_server() make an asyncio.StreamReader, which copies what was received into a
bytearray and out of it again and wakes its reader through two coroutines; a cancelled read() until the end loses what it has
taken. A transport of ours that meets such a reader, fresh and untouched, gives the object another class, a subclass of
asyncio.StreamReader that keeps the bytes in a StreamReader of ours. The object stays the same, isinstance() too, and reads
give the same.

Who looks into its private buffer gets the original back: contents and state move into it, and it's asyncio's own from then
on. A subclass, an object or a class that somebody has changed, and one that has received bytes already are left alone.
"""
import asyncio

from . import reader as _reader
from .reader import StreamReader

_Original = asyncio.StreamReader
_OriginalProtocol = asyncio.StreamReaderProtocol

# what a reader that we know consists of
_FIELDS = {'_limit', '_loop', '_buffer', '_eof', '_waiter', '_exception', '_transport', '_paused'}
_METHODS = tuple(
    (name, _Original.__dict__.get(name))
    for name in ('read', 'readline', 'readuntil', 'readexactly', 'feed_data', 'feed_eof', '__anext__', '_wait_for_data')
)


def adopt(protocol):
    """If the protocol is asyncio's own for streams: let us do the work of its reader, unless somebody has touched it.
    True if its reader is ours then."""
    return type(protocol) is _OriginalProtocol and adopt_reader(protocol._stream_reader)


def adopt_reader(reader):
    """Do the work of this asyncio.StreamReader, unless somebody has touched it. True if it is ours then."""
    if type(reader) is not _Original:
        return type(reader) is Adopted
    fields = reader.__dict__
    if fields.keys() ^ _FIELDS and fields.keys() ^ _FIELDS != {'_source_traceback'}:
        return False
    if fields['_buffer'] or fields['_eof'] or fields['_paused'] or fields['_exception'] or fields['_waiter']:
        return False
    for name, method in _METHODS:
        if _Original.__dict__.get(name) is not method:
            return False
    native = StreamReader(fields['_limit'], fields['_loop'])
    native._transport = fields['_transport']
    fields['_native'] = native
    reader.__class__ = Adopted
    return True


def _give_back(reader):
    """Make it asyncio's own again, with what it has. The original's fields."""
    fields = reader.__dict__
    native = fields.pop('_native')
    reader.__class__ = _Original
    fields['_limit'] = native._limit
    fields['_buffer'] = bytearray(native._buffer)
    for name in ('_eof', '_waiter', '_exception', '_transport', '_paused'):
        fields[name] = getattr(native, name)


def _forward(name):
    def get(self):
        return getattr(self._native, name)

    def set(self, value):
        setattr(self._native, name, value)

    return property(get, set)


class Adopted(_Original):
    """An asyncio.StreamReader whose work is done by ours, `_native`."""

    _limit = _forward('_limit')
    _eof = _forward('_eof')
    _waiter = _forward('_waiter')
    _exception = _forward('_exception')
    _transport = _forward('_transport')
    _paused = _forward('_paused')

    @property
    def _buffer(self):
        if self._native._waiter is not None:
            return bytearray(self._native._buffer)
        _give_back(self)
        return self._buffer

    @_buffer.setter
    def _buffer(self, value):
        _give_back(self)
        self._buffer = value

    def __repr__(self):
        return repr(self._native)

    def exception(self):
        return self._native.exception()

    def set_exception(self, exc):
        self._native.set_exception(exc)

    def set_transport(self, transport):
        self._native.set_transport(transport)

    def feed_data(self, data):
        self._native.feed_data(data)

    def feed_eof(self):
        self._native.feed_eof()

    def at_eof(self):
        return self._native.at_eof()

    def read(self, n=-1):
        return _reader.read(self._native, n, self)

    def readexactly(self, n):
        return _reader.readexactly(self._native, n, self)

    def readuntil(self, separator=b'\n'):
        return _reader.readuntil(self._native, separator, self)

    def readline(self):
        return _reader.next_line(self._native, False, self)

    def __anext__(self):
        return _reader.next_line(self._native, True, self)


Adopted.__name__ = Adopted.__qualname__ = 'StreamReader'
Adopted.__module__ = _Original.__module__
