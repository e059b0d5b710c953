"""How calls and results travel between two processes: letters and frames.

A **letter** is an object, pickled (protocol 5) into pieces, and the large buffers in it (of NumPy arrays and whatever else
hands out pickle.PickleBuffer), which are not copied into the pickle but lie beside it. Large bytes objects are a piece by
themselves, not copied either.

A **frame** is what goes through the channel, a stream socket between the two: a head of fixed size, the sizes of the
buffers, and what the letter holds. A letter larger than INLINE doesn't go through the socket: it is written into a memory
file without a name (memfd_create), whose descriptor the frame brings along. The receiver maps the file, and arrays are
made on the mapping, without a copy. As the file has no name, there is nothing to remove: it is gone with its last user,
however that ends. So a frame is never larger than INLINE and the table of sizes.

What pickle sends by name must have a name that the other process finds: lambdas, closures and what `__main__` defines have
none, since the worker doesn't run the program's `__main__` (it would do again what the program does, and a notebook, a
shell or `-c` has none to run). These go by value, through cloudpickle; where that isn't installed there is a clear error.

Worker processes load this file by itself, before anything else: it imports nothing of the runtime, and of the standard
library only what is quickly there (_pickle instead of pickle saves a third of the time that Python takes to start).
"""
from __future__ import annotations

import _pickle
import _socket
import errno
import os
import sys
from _struct import Struct
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PicklingError = _pickle.PicklingError
UnpicklingError = _pickle.UnpicklingError

# ---- kinds of frames ----

SETUP = 0     # to the worker: what it must know before its first job
JOB = 1       # to the worker
RESULT = 2    # from the worker, and all that follow
ERROR = 3
PROGRESS = 4

#: a larger letter goes through shared memory (bytes)
INLINE = 1 << 20
#: a larger buffer lies beside the pickle (bytes)
LARGE = 1 << 15
#: buffers beside one pickle at most; the others are copied into it
MOST = 4096
#: what buffers in shared memory are aligned to (bytes)
ALIGNMENT = 64

#: kind, whether there is shared memory, number of buffers, number of the job, bytes that follow, bytes of the pickle
HEAD = Struct('<BBHIIQ')
_SIZE = HEAD.size
_ONE = Struct('i')

_CHUNK = 1 << 16
_ROOM = _socket.CMSG_SPACE(_ONE.size)
_CLOEXEC = getattr(_socket, 'MSG_CMSG_CLOEXEC', 0)

ADVICE = 'lambdas, closures and what __main__ defines need cloudpickle: pip install glassloop[offload]'


# ---- letters ----

class _Pieces(list):
    """The file that a pickler writes to."""

    write = list.append


class Letter:
    """A pickled object; `whole`: with all buffers in the pickle. `memory`: the descriptor of the shared memory that it was
    written into, or -1. `met`: the context variables in it. Raises what the pickler raises."""

    __slots__ = ('_pickler', 'buffers', 'memory', 'met', 'pieces', 'size')

    def __init__(self, pickler: Callable[..., Any], thing: object, whole: bool) -> None:
        self.pieces = pieces = _Pieces()
        self.buffers = buffers = []
        self.memory = -1

        def beside(buffer: Any) -> bool:
            """True: into the pickle."""
            view = buffer.raw()
            if view.nbytes < LARGE or len(buffers) == MOST:
                return True
            buffers.append(view)
            return False

        # kept: a piece may be a view into something that nobody but the pickler holds
        self._pickler = pickler(pieces, 5, buffer_callback=None if whole else beside)
        self._pickler.dump(thing)
        self.met = getattr(self._pickler, 'met', ())
        if len(pieces) == 1:
            self.size = len(pieces[0])
        else:
            pieces[:] = [piece.raw() if type(piece) is _pickle.PickleBuffer else memoryview(piece) for piece in pieces]
            self.size = sum([piece.nbytes for piece in pieces])

    def total(self) -> int:
        """Bytes of all."""
        return self.size + sum([view.nbytes for view in self.buffers])

    def share(self) -> None:
        """Write it into shared memory. May run in another thread. Raises OSError."""
        memory = _memory_file()
        try:
            at = 0
            for piece in self.pieces:
                at += _write(memory, memoryview(piece), at)
            for view in self.buffers:
                at = _aligned(at)
                at += _write(memory, view, at)
        except BaseException:
            os.close(memory)
            raise
        self.memory = memory

    def frame(self, kind: int, job: int) -> bytes:
        """What to send, and `memory` with it. Raises OSError."""
        pieces = self.pieces
        size = self.size
        if not self.buffers and size <= INLINE:
            if len(pieces) == 1:
                return HEAD.pack(kind, 0, 0, job, size, size) + pieces[0]
            return b''.join([HEAD.pack(kind, 0, 0, job, size, size), *pieces])
        count = len(self.buffers)
        table = Struct(f'<{count}Q').pack(*[view.nbytes for view in self.buffers])
        if self.memory < 0 and self.total() > INLINE:
            self.share()
        if self.memory >= 0:
            return HEAD.pack(kind, 1, count, job, len(table), size) + table
        rest = len(table) + self.total()
        return b''.join([HEAD.pack(kind, 0, count, job, rest, size), table, *pieces, *self.buffers])

    def flat(self) -> bytes:
        """All of a letter that was packed whole."""
        return b''.join(self.pieces)

    def close(self) -> None:
        """Our descriptor of the shared memory isn't needed any more."""
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1


def pack(thing: object, whole: bool = False, by_name: bool = False) -> Letter:
    """A letter with the object, by cloudpickle where pickle can't (by_name: not even then, but for what is __main__'s).
    Raises PicklingError, and nothing else but what isn't an Exception."""
    try:
        letter = Letter(_pickle.Pickler, thing, whole)
    except Exception as error:
        by_value = None if by_name else _by_value()
        if by_value is None:
            raise PicklingError(f'{error} ({ADVICE})') from error
        return _pack_by_value(by_value, thing, whole)
    # a name stands in one of the pieces that the pickler filled; a larger one is something large by itself
    if any(len(piece) < 4 * _CHUNK and b'__main__' in bytes(piece) for piece in letter.pieces):
        by_value = _by_value()
        if by_value is not None:
            return _pack_by_value(by_value, thing, whole)
        _refuse_main(thing)
    return letter


def flat(thing: object, by_name: bool = False) -> bytes:
    """The object pickled into one piece. See pack()."""
    return pack(thing, True, by_name).flat()


def _pack_by_value(by_value: Any, thing: object, whole: bool) -> Letter:
    try:
        return Letter(by_value, thing, whole)
    except Exception as error:
        raise PicklingError(str(error) or type(error).__name__) from error


@cache
def _by_value() -> Any:
    """The pickler for what has no name that another process finds; None where cloudpickle isn't installed."""
    try:
        from cloudpickle import Pickler  # type: ignore[import-untyped]
    except ImportError:
        return None
    from contextvars import ContextVar

    from .variables import find, names

    class ByValue(Pickler):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.met: list[Any] = []

        def reducer_override(self, thing: Any) -> Any:
            if type(thing) is ContextVar:
                self.met.append(thing)
                return find, names.recipe(thing)
            return super().reducer_override(thing)

    return ByValue


def _refuse_main(thing: object) -> None:
    """Raise PicklingError if pickle sends something of __main__ by name. The word alone does no harm."""

    class Finder(_pickle.Pickler):
        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, (type, type(_refuse_main))) and thing.__module__ == '__main__':
                raise PicklingError(f'{thing.__qualname__} is defined in __main__, which a worker process does not run '
                                    f'({ADVICE}), or move it into a module')
            return NotImplemented

    Finder(_Pieces(), 5).dump(thing)


def loads(pickle: Any, buffers: Sequence[Any]) -> Any:
    """The object of a letter that came. Raises what unpickling raises: anything."""
    return _pickle.loads(pickle, buffers=buffers)


# ---- shared memory ----

def _memory_file() -> int:
    if hasattr(os, 'memfd_create'):
        try:
            return os.memfd_create('glassloop', os.MFD_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):  # some sandboxes don't have it
                raise
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(fd: int, view: memoryview, at: int) -> int:
    """All of it; the number of bytes."""
    view = view.cast('B') if view.nbytes else view
    done = 0
    while done < view.nbytes:
        done += os.pwrite(fd, view[done:], at + done)
    return done


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT


def _map(fd: int, size: int, sizes: Sequence[int]) -> tuple[memoryview, list[memoryview]]:
    """What share() wrote: the pickle and the buffers. They hold the mapping, and before Python 3.13 that holds a descriptor.
    Raises ValueError if the file is shorter than said, OSError."""
    import mmap

    end = size
    places = []
    for nbytes in sizes:
        at = _aligned(end)
        places.append(at)
        end = at + nbytes
    if sys.version_info >= (3, 13):
        whole = memoryview(mmap.mmap(fd, end, trackfd=False))
    else:
        whole = memoryview(mmap.mmap(fd, end))
    return whole[:size], [whole[at:at + nbytes] for at, nbytes in zip(places, sizes)]


# ---- frames ----

class Inbox:
    """What comes through a channel, cut into frames."""

    __slots__ = ('_descriptors', '_rest', '_sock')

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._rest = bytearray()
        self._descriptors: list[int] = []

    def read(self) -> Sequence[tuple[int, int, Any, Sequence[Any]]]:
        """Read once, and return the frames that are complete by now: (kind, number of the job, pickle, buffers).

        Raises EOFError at the end, ValueError for what is no frame, and what recvmsg() raises. An OSError in place of the
        pickle says that the letter came but couldn't be taken (no descriptor or no memory left)."""
        data, ancillary, flags, _ = self._sock.recvmsg(_CHUNK, _ROOM, _CLOEXEC)
        if ancillary or flags & _socket.MSG_CTRUNC:
            self._keep(ancillary, flags)
        if not data:
            raise EOFError
        if not self._rest:
            # the usual case: one frame, whole
            if len(data) >= _SIZE:
                kind, shared, count, job, rest, size = HEAD.unpack_from(data)
                if not shared and not count and len(data) == _SIZE + rest and rest == size and kind <= PROGRESS:
                    return ((kind, job, memoryview(data)[_SIZE:], ()),)
        self._rest += data
        return self._cut()

    def _keep(self, ancillary: Any, flags: int) -> None:
        # the kernel ends a read after the bytes that a descriptor came with, so there is one at most
        for _, _, descriptor in ancillary:
            self._descriptors.append(_ONE.unpack_from(descriptor)[0])
            if not _CLOEXEC:
                os.set_inheritable(self._descriptors[-1], False)
        if flags & _socket.MSG_CTRUNC and not ancillary:
            self._descriptors.append(-1)  # there was none left for it

    def _cut(self) -> list[tuple[int, int, Any, Sequence[Any]]]:
        frames = []
        at = 0
        held = self._rest
        while len(held) - at >= _SIZE:
            kind, shared, count, job, rest, size = HEAD.unpack_from(held, at)
            if kind > PROGRESS or shared > 1 or count > MOST or rest > INLINE + 8 * MOST:
                raise ValueError('what came through the channel is no frame')
            if len(held) - at < _SIZE + rest:
                break
            body = memoryview(bytearray(memoryview(held)[at + _SIZE:at + _SIZE + rest]))
            at += _SIZE + rest
            if 8 * count > rest:
                raise ValueError('a frame is shorter than its head says')
            sizes = Struct(f'<{count}Q').unpack_from(body)
            if shared:
                frames.append((kind, job, *self._mapped(size, sizes)))
                continue
            start = 8 * count
            if start + size + sum(sizes) != rest:
                raise ValueError('a frame is not as long as its head says')
            pickle = body[start:start + size]
            start += size
            buffers = []
            for nbytes in sizes:
                buffers.append(body[start:start + nbytes])
                start += nbytes
            frames.append((kind, job, pickle, buffers))
        if at:
            del held[:at]
        return frames

    def _mapped(self, size: int, sizes: Sequence[int]) -> tuple[Any, Sequence[Any]]:
        if not self._descriptors:
            raise ValueError('a frame speaks of shared memory that did not come with it')
        descriptor = self._descriptors.pop(0)
        if descriptor < 0:
            return OSError(errno.EMFILE, 'no descriptor was left for the shared memory that came'), ()
        try:
            return _map(descriptor, size, sizes)
        except OSError as error:
            return error, ()
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close what came and was not used."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            if descriptor >= 0:
                os.close(descriptor)


def send(sock: Any, data: bytes, memory: int) -> None:
    """Send a frame through a blocking socket. Raises OSError."""
    sent = 0
    if memory >= 0:
        sent = sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _ONE.pack(memory))])
    sock.sendall(memoryview(data)[sent:])
