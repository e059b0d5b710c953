"""What a transport sends that isn't bytes in memory.

A Source stands in the place of what is queued (`StreamTransport._out`). As long as it does, nothing can be written: the
transport asks it to send whenever the socket takes more, until it says that it is done, the connection ends, or it is
taken back.

FileSource sends a part of a file by os.sendfile(), after the bytes that were queued before. One system call for each time
that the socket takes more: a large file leaves the others their turn. What goes wrong with the file is the caller's
affair, and the connection goes on; what goes wrong with the connection ends it, and the caller is told.
"""
import errno

from ..core import leaf as _leaf
from . import calls

#: bytes that one call is asked to send at most
MOST = 1 << 30

#: errors that are about the file, or about what can't be sent by sendfile(), not about the connection
_OF_THE_FILE = frozenset((
    errno.EINVAL, errno.ENOSYS, errno.EBADF, errno.EIO, errno.ESPIPE, errno.EOVERFLOW, errno.EOPNOTSUPP, errno.EISDIR,
    errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENXIO,
))


def of_the_file(error):
    """True if an OSError of os.sendfile() says something about the file, False if about the socket."""
    return error.errno in _OF_THE_FILE


class Source:
    """`_pump` sends what the socket takes: True if that was all. It raises what ends the connection. `_lost`: the
    connection ended before. `_rest`: it is taken back; the bytes that come before it and weren't sent yet."""

    __slots__ = ()

    def _pump(self, fd):
        raise NotImplementedError

    def _lost(self, error):
        raise NotImplementedError

    def _rest(self):
        raise NotImplementedError


class FileSource(Source):
    """`count` bytes (None: all) of a file from `offset` on. `future`: done when they were sent, or when it failed. `sent`:
    how many were."""

    __slots__ = ('_file', '_head', '_head_at', '_left', '_offset', 'future', 'sent')

    def __init__(self, future, file, offset, count):
        self.future = future
        self.sent = 0
        self._file = file
        self._offset = offset
        self._left = -1 if count is None else count
        self._head = None
        self._head_at = 0

    def _follow(self, head):
        self._head = head
        return 0

    def _pump(self, fd):
        if self._head is not None:
            n = _leaf.send(fd, self._head, self._head_at)
            if n > 0:
                self._head_at += n
            if self._head_at < len(self._head):
                return False
            self._head = None
        try:
            n = calls.sendfile(fd, self._file.fileno(), self._offset, MOST if self._left < 0 else min(self._left, MOST))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as e:
            if not of_the_file(e):
                raise
            return self._settle(e)
        except Exception as e:  # closed
            return self._settle(e)
        self._offset += n
        self.sent += n
        if self._left > 0:
            self._left -= n
        if n > 0 and self._left != 0:
            return False
        return self._settle(None)

    def _settle(self, error):
        future = self.future
        if not future.done():
            if error is None:
                future.set_result(self.sent)
            else:
                future.set_exception(error)
        return True

    def _lost(self, error):
        self._settle(error or ConnectionError('the connection was closed in the middle of sendfile()'))
        return 0

    def _rest(self):
        if self._head is None:
            return None
        return self._head[self._head_at:]
