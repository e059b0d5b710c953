"""Where the control sockets are: a private folder, one socket in it per process, named by its pid.

The folder is $XDG_RUNTIME_DIR/glassloop, or /tmp/glassloop-UID where that variable is not set. In /tmp anybody can make
a folder of that name first, so it is used only if it is a real folder (no symbolic link), belongs to this user, and
nobody else may enter it. It is opened once, checked by its descriptor, and from then on reached by that descriptor
(/proc/self/fd/N): what is under the name by then does not matter, and a path may be longer than a socket's address.

A socket appears under its name by a rename, when it listens already. So a socket that refuses a connection is one that
nobody listens to any more, whatever process has that pid by now: it is dead, provably, and may be removed.
"""
from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time

SUFFIX = '.sock'
BACKLOG = 64
RETRY = 0.01  # seconds
UNFINISHED = 60.0  # seconds after which a socket that has no name yet is somebody's who died

_PRIVATE = 0o700


def default_path() -> str:
    """The folder that a program of this user and environment uses."""
    runtime = os.environ.get('XDG_RUNTIME_DIR', '')
    if os.path.isabs(runtime):  # the specification says to ignore others
        return os.path.join(runtime, 'glassloop')
    return _shared_path()


def all_paths() -> list[str]:
    """Where programs of this user may be: a service has often no XDG_RUNTIME_DIR where a login has one."""
    return list(dict.fromkeys((default_path(), _shared_path())))


def _shared_path() -> str:
    return f'/tmp/glassloop-{os.geteuid()}'


class Folder:
    """An open, checked folder. Close it."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: str, *, make: bool = False) -> Folder:
        """The folder at a path; make: made if it is missing. Raises PermissionError if it isn't private to this user,
        another OSError if it isn't there."""
        if not hasattr(socket, 'SO_PEERCRED') or not os.path.isdir('/proc/self/fd'):
            raise NotImplementedError('the control socket needs Linux, with /proc')
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, _PRIVATE)
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise PermissionError(f'{path} is not a folder: control sockets are put nowhere else') from None
            raise
        found = os.fstat(fd)
        wrong = None
        if found.st_uid != os.geteuid():
            wrong = f'belongs to user {found.st_uid}, not to user {os.geteuid()}'
        elif stat.S_IMODE(found.st_mode) & 0o077:
            wrong = f'is open to others (mode {stat.S_IMODE(found.st_mode):04o}, not 0700)'
        if wrong is not None:
            os.close(fd)
            raise PermissionError(f'the folder for control sockets, {path}, {wrong}')
        return cls(path, fd)

    def close(self) -> None:
        """Twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _at(self, name: str) -> str:
        return f'/proc/self/fd/{self._fd}/{name}'

    def listen(self, pid: int) -> tuple[socket.socket, tuple[int, int]]:
        """A socket that listens under the name of a process, and what remove() is to be told. Raises RuntimeError if
        another process listens there, OSError."""
        name = f'{pid}{SUFFIX}'
        if self._answers(name):
            # the same pid in another namespace, or another interpreter in this process
            raise RuntimeError(f'{os.path.join(self.path, name)} is in use already')
        unfinished = f'.{pid}-{os.urandom(8).hex()}'
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.bind(self._at(unfinished))
            try:
                os.chmod(self._at(unfinished), 0o600)
                listener.listen(BACKLOG)
                found = os.stat(unfinished, dir_fd=self._fd, follow_symlinks=False)
                os.rename(unfinished, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except BaseException:
                os.unlink(unfinished, dir_fd=self._fd)
                raise
        except BaseException:
            listener.close()
            raise
        return listener, (found.st_dev, found.st_ino)

    def remove(self, pid: int, identity: tuple[int, int]) -> None:
        """Remove the name of a process, if it is still that of this socket. What can't be removed, since this process
        became another user's, is left: it refuses connections, and the next who sees it removes it."""
        self._remove(f'{pid}{SUFFIX}', identity)

    def _remove(self, name: str, identity: tuple[int, int]) -> None:
        try:
            if self._identity(name) == identity:
                os.unlink(name, dir_fd=self._fd)
        except (FileNotFoundError, PermissionError):
            return  # gone, or not ours to remove any more

    def _identity(self, name: str) -> tuple[int, int]:
        found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        return found.st_dev, found.st_ino

    def pids(self) -> list[int]:
        """Whose sockets are here, dead ones too. What never got a name, and is dead, is removed."""
        found = []
        for name in os.listdir(f'/proc/self/fd/{self._fd}'):
            pid = name.removesuffix(SUFFIX)
            if name.startswith('.'):
                self._sweep(name)
            elif name.endswith(SUFFIX) and pid.isascii() and pid.isdigit():
                found.append(int(pid))
        return sorted(found)

    def _sweep(self, name: str) -> None:
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISSOCK(found.st_mode) and time.time() - found.st_mtime > UNFINISHED:
            self._answers(name)

    def _answers(self, name: str) -> bool:
        try:
            self._connect(name, 0.0).close()
        except BlockingIOError:
            return True  # its backlog is full
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def connect(self, pid: int, timeout: float) -> socket.socket:
        """A connection to a process; `timeout` seconds also for each call on it. Raises ProcessLookupError if there is
        none (a dead one's socket is removed), TimeoutError if it doesn't take it, OSError."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._connect(f'{pid}{SUFFIX}', timeout)
            except (FileNotFoundError, ConnectionRefusedError):
                raise ProcessLookupError(f'no process {pid} with a control socket in {self.path}') from None
            except (BlockingIOError, TimeoutError):
                # as many as may wait are waiting; the kernel does not tell when there is room
                if time.monotonic() >= deadline:
                    raise TimeoutError(f'process {pid} does not answer') from None
                time.sleep(RETRY)

    def _connect(self, name: str, timeout: float) -> socket.socket:
        identity = self._identity(name)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(timeout)
            connection.connect(self._at(name))
        except ConnectionRefusedError:
            connection.close()
            self._remove(name, identity)
            raise
        except BaseException:
            connection.close()
            raise
        return connection
