# cython: binding=False
"""Pipe transports: one moves what a pipe, FIFO, socket or character device gives to a protocol, the other what a
program writes into one.

A pipe is a connection that only reads or only writes: its states are those of life.py. What is of its own:

- The end of what is read ends the connection: there is no other side to keep open.
- The writing transport watches for READ as well, for nothing but the reader's end: the poller tells of it then, even if
  nothing is written. A terminal has no such end.
- Bytes are written at once; what the pipe doesn't take is queued, and nothing is corked: there is no packet to save.
- A protocol that fails in data_received() is reported, and keeps its pipe.
- What the poller doesn't take because it is always ready (/dev/null) is put into the ready queue again and again.
- A descriptor that another transport has (a terminal, a socket) is duplicated, since the poller tells one watcher only.

The descriptor becomes non-blocking, which holds for everybody who has the same open file.

Not here: subprocesses (work/spawn.py).
"""
import asyncio
import errno
import os
import select
import stat
from asyncio import constants
from asyncio.log import logger

from ..core import leaf as _leaf
from ..core.leaf import Watcher
from . import adopt as _adopt
from . import life as _life
from .life import Connection
from .transport import Sink

READ = 1
WRITE = 2

SMALL_READ = 16384
LARGE_READ = 65536  # what a pipe holds
READS = 8  # at most so many in a row
JOINED = 65536  # small pieces that are queued are written in one of up to so many bytes

GONE = select.POLLERR | select.POLLHUP | getattr(select, 'POLLRDHUP', 0)


class PipeTransport(Connection):
    """What both directions share.

    `_always`: the poller doesn't take the descriptor, it is always ready.
    """

    __slots__ = ('_always', '_mode')

    def _open(self, loop, pipe, protocol, waiter, server, writes):
        """Own the pipe, a file object, from now on. Raises ValueError, and owns nothing, if it is none."""
        self._always = False
        self._owned = None
        self._alive = False
        fd = pipe.fileno()
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
            raise ValueError('Pipe transport is only for pipes, sockets and character devices')
        self._mode = mode
        os.set_blocking(fd, False)
        extra = {'pipe': pipe}
        if loop._transports.get(fd) is None:
            self._begin(loop, pipe, protocol, waiter, extra, server)
            return 0
        own = os.fdopen(os.dup(fd), 'wb' if writes else 'rb', 0)
        try:
            self._begin(loop, own, protocol, waiter, extra, server)
        except BaseException:
            own.close()
            raise
        return 0

    def __repr__(self):
        info = [type(self).__name__]
        if self._state == _life.CLOSED:
            info.append('closed')
        elif self._state >= _life.CLOSING:
            info.append('closing')
        else:
            info.append('open')
        info.append(f'fd={self._fd}')
        if self._state != _life.CLOSED:
            self._describe(info)
        return f'<{" ".join(info)}>'

    def _describe(self, info):
        raise NotImplementedError(type(self).__name__)

    @property
    def _pipe(self):
        return self._owned

    @_pipe.setter
    def _pipe(self, pipe):
        # None: somebody else closes it
        self._owned = pipe
        self._alive = pipe is not None

    def get_extra_info(self, name, default=None):
        """'pipe': the file object that was given. The default for anything else."""
        return self._extra.get(name, default)

    def _want(self, events):
        if not self._always:
            try:
                return Watcher._want(self, events)
            except PermissionError:
                self._always = True
        self._interest = events
        if events:
            self._ready(events)
        return 0

    def _flush(self):
        return 0


class ReadPipeTransport(PipeTransport):
    """The reading side of a pipe as an asyncio.ReadTransport. Made by connect_read_pipe().

    pipe: a file object, which the transport owns from now on. waiter: a future that gets its result when
    connection_made() was called. server: told of the beginning and the end.
    """

    __slots__ = ('_hint', '_direct')

    def __init__(self, loop, pipe, protocol, waiter=None, server=None):
        self._hint = SMALL_READ
        self._set_protocol(protocol)
        self._open(loop, pipe, protocol, waiter, server, False)

    @property
    def __class__(self):
        return asyncio.ReadTransport

    def _describe(self, info):
        info.append('polling' if self._interest & READ else 'idle')

    def set_protocol(self, protocol):
        """Give what comes from now on to another protocol."""
        self._set_protocol(protocol)

    def _set_protocol(self, protocol):
        self._protocol = protocol
        self._direct = False
        if isinstance(protocol, Sink):
            sink = protocol
            self._direct = sink._direct
        else:
            _adopt.adopt(protocol)
        return 0

    def close(self):
        """Read no more, and close. Nothing if it is closed or closing."""
        if self._state < _life.CLOSING:
            self._state = _life._NEXT[_life.CLOSE][self._state]
            self._lose(_life.FLUSHED, None)

    def _run(self, core):
        self._queued = False
        arrived = self._arrived & self._interest
        self._arrived = 0
        if core._published is not None:
            core._unpublish()
        if arrived & READ:
            self._read(core)
            if self._always and self._interest:
                self._ready(READ)
        return 0

    def _read_what_is_there(self):
        """Read what is in the pipe now, as far as the protocol wants it. For who knows that its writer has gone."""
        reads = 0
        while reads < READS and self._interest & READ and self._read(self._core):
            reads += 1

    def _read(self, core):
        """Read once. 1 if there was something."""
        size = self._hint
        try:
            data = _leaf.read(self._fd, size)
        except BaseException as e:
            return self._broke(e)
        if data is None:
            return 0
        n = len(data)
        if n == 0:
            return self._read_end(core)
        if n == size:
            self._hint = LARGE_READ
        elif size > SMALL_READ and n < size // 4:
            self._hint = SMALL_READ
        try:
            if self._direct:
                sink = self._protocol
                sink._feed(data)
            else:
                _leaf.method1(self._context, self._protocol, 'data_received', data)
        except BaseException as e:
            self._flow_failed(e, 'Exception in protocol.data_received() of a pipe')
        return 1

    def _broke(self, error):
        """Reading failed. A terminal's EIO is its end; anything else is reported."""
        if isinstance(error, OSError) and error.errno != errno.EIO:
            self._flow_failed(error, 'Fatal read error on pipe transport')
        return self._failed(error, 'Fatal read error on pipe transport')

    def _read_end(self, core):
        """The writers have closed it."""
        if core._debug:
            logger.info('%r was closed by peer', self)
        self._state = _life._NEXT[_life.CLOSE][self._state]
        try:
            self._context.run(self._protocol.eof_received)
        except BaseException as e:
            self._flow_failed(e, 'Exception in protocol.eof_received() of a pipe')
        finally:
            if self._state < _life.LOST:
                self._lose(_life.FLUSHED, None)
        return 0


class WritePipeTransport(PipeTransport):
    """The writing side of a pipe as an asyncio transport. Made by connect_write_pipe().

    pipe: a file object, which the transport owns from now on. waiter: a future that gets its result when
    connection_made() was called. server: told of the beginning and the end. `_out`: the pieces that wait; of the first one
    `_out_at` bytes are written.
    """

    __slots__ = ('_out_at',)

    def __init__(self, loop, pipe, protocol, waiter=None, server=None):
        self._out_at = 0
        self._open(loop, pipe, protocol, waiter, server, True)
        # no READ is watched for then
        self._ended = stat.S_ISCHR(self._mode)

    @property
    def __class__(self):
        return asyncio.Transport  # as asyncio's is, which has the methods to read too

    def _describe(self, info):
        info.append('polling' if self._interest & WRITE else 'idle')
        info.append(f'bufsize={self._out_size}')

    def set_protocol(self, protocol):
        """Tell another protocol of flow control and the end."""
        self._protocol = protocol

    def write(self, data):
        """Write data (bytes, bytearray or memoryview), now or when the pipe takes it; never blocks. What is written after
        close() or the reader's end is dropped and counted; a warning from the fifth on."""
        assert isinstance(data, (bytes, bytearray, memoryview)), repr(data)
        if isinstance(data, memoryview):
            size = data.nbytes
            if not data.c_contiguous:
                data = bytes(data)
        else:
            size = len(data)
        if size == 0:
            return
        if self._state >= _life.CLOSING:
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning('pipe closed by peer or os.write(pipe, data) raised exception.')
            self._conn_lost += 1
        elif self._out is not None:
            self._out.append(bytes(data))
            self._out_size += size
            self._pause_writing()
        else:
            self._write_first(data, size)

    def writelines(self, list_of_data):
        """Write the pieces (an iterable) in order, as one."""
        self.write(b''.join(list_of_data))

    def _write_first(self, data, size):
        """Nothing is queued: write, and queue what remains."""
        try:
            n = _leaf.write(self._fd, data, 0)
        except BaseException as e:
            return self._failed(e, 'Fatal write error on pipe transport')
        if n == size:
            return 0
        if n < 0:
            n = 0
        self._out_size = size - n
        if type(data) is bytes:
            self._out = [data]
            self._out_at = n
        else:
            self._out = [bytes(memoryview(data).cast('B')[n:])]
            self._out_at = 0
        self._blocked = True
        self._watch()
        return self._pause_writing()

    def _run(self, core):
        self._queued = False
        arrived = self._arrived & self._interest
        self._arrived = 0
        if core._published is not None:
            core._unpublish()
        if arrived & READ:
            self._look_for_reader(core)
        if arrived & WRITE and self._out is not None:
            self._send()
            if self._protocol_paused and self._out_size <= self._low and self._state < _life.LOST:
                self._resume_writing()
            if self._out is None and self._state == _life.CLOSING:
                self._lose(_life.FLUSHED, None)
        if self._always and self._interest:
            self._ready(self._interest)
        return 0

    def _look_for_reader(self, core):
        """Something came from the reader: its end, or bytes, which are nothing to us."""
        poll = select.poll()
        poll.register(self._fd, GONE)
        found = poll.poll(0)
        if not found or not found[0][1] & GONE:
            self._ended = True
            return self._watch()
        if core._debug:
            logger.info('%r was closed by peer', self)
        if self._out is None:
            self._lose(_life.FAIL, None)
        else:
            self._lose(_life.FAIL, BrokenPipeError())
        return 0

    def _send(self):
        """Write what is queued; what remains goes when the pipe takes more."""
        out = self._out
        try:
            while out:
                if len(out) > 1 and len(out[0]) - self._out_at < JOINED:
                    self._join(out)
                size = len(out[0]) - self._out_at
                n = _leaf.write(self._fd, out[0], self._out_at)
                if n > 0:
                    self._out_size -= n
                if n != size:
                    if n > 0:
                        self._out_at += n
                    return 0
                del out[0]
                self._out_at = 0
        except BaseException as e:
            return self._failed(e, 'Fatal write error on pipe transport')
        self._out = None
        self._blocked = False
        return self._watch()

    def _join(self, out):
        """Make one of the first pieces."""
        pieces = [out[0][self._out_at:]]
        size = len(pieces[0])
        count = 1
        while count < len(out) and size + len(out[count]) <= JOINED:
            pieces.append(out[count])
            size += len(out[count])
            count += 1
        if count > 1:
            out[:count] = [b''.join(pieces)]
            self._out_at = 0
        return 0

    def _drop(self):
        self._out = None
        self._out_size = 0
        self._out_at = 0
        return 0

    def can_write_eof(self):
        """True: the end of what is written is the end of the pipe."""
        return True

    def write_eof(self):
        """The same as close()."""
        self.close()

    def close(self):
        """Write what is queued, then close. Nothing if it is closed or closing."""
        if self._state >= _life.CLOSING:
            return
        self._state = _life._NEXT[_life.CLOSE][self._state]
        if self._out is None:
            self._lose(_life.FLUSHED, None)
        else:
            self._watch()


async def connect_read_pipe(loop, protocol_factory, pipe):
    """Read from a file object: (transport, protocol). Raises ValueError if it is no pipe, socket or character device."""
    protocol = protocol_factory()
    waiter = loop.create_future()
    transport = ReadPipeTransport(loop, pipe, protocol, waiter)
    return await _connected(loop, 'Read', pipe, transport, protocol, waiter)


async def connect_write_pipe(loop, protocol_factory, pipe):
    """Write into a file object: (transport, protocol). Raises ValueError if it is no pipe, socket or character device."""
    protocol = protocol_factory()
    waiter = loop.create_future()
    transport = WritePipeTransport(loop, pipe, protocol, waiter)
    return await _connected(loop, 'Write', pipe, transport, protocol, waiter)


async def _connected(loop, direction, pipe, transport, protocol, waiter):
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    if loop.get_debug():
        logger.debug('%s pipe %r connected: (%r, %r)', direction, pipe.fileno(), transport, protocol)
    return transport, protocol
