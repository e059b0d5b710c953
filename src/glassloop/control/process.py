"""One control server per process, kept as long as somebody holds it.

Each Runner that was told control=True holds it while it runs; GLASSLOOP_CONTROL and `glassloop run --control` hold it to
the end of the process. The first opens the socket, the last closes it and waits for the thread's end; so does the
interpreter's exit. A process killed leaves its socket behind: whoever lists the processes removes it (folder.py).

The server is module-level state, by design: a socket named by the process' id, which any number of loops in any
threads share, belongs to the process and to none of them. It is guarded by a lock.

After a fork the child holds nothing: it closes its copies of the parent's descriptors, and leaves the parent's socket
where it is. It may open one of its own.
"""
from __future__ import annotations

import atexit
import os
import threading
import warnings

from . import VARIABLE
from .folder import default_path
from .server import Server


class _Process:
    """What a process has: its server while it is held, and by how many."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server: Server | None = None
        self.holders = 0
        self.to_the_end = False


_process = _Process()


class Hold:
    """Keeps the server; close() it. Raises, when it is made, PermissionError if the folder of the sockets isn't private
    to this user, NotImplementedError where there is no control socket, RuntimeError or another OSError."""

    def __init__(self) -> None:
        process = _process
        with process.lock:
            if process.server is None:
                server = Server()
                server.start(default_path())
                process.server = server
                atexit.register(_at_exit, process)
            process.holders += 1
            self._process: _Process | None = process

    def close(self) -> None:
        """Twice does nothing, nor does it in a child after a fork."""
        process, self._process = self._process, None
        if process is not None and process is _process:
            with process.lock:
                process.holders -= 1
                if not process.holders:
                    _stop(process)


def hold_to_the_end() -> None:
    """Keep the server until the process ends. Raises as Hold does."""
    if not _process.to_the_end:
        Hold()
        _process.to_the_end = True


def obey_environment() -> None:
    """Keep the server until the process ends, since the environment says so. Where that can't be, a RuntimeWarning
    tells: somebody who can make a folder in /tmp is not to stop programs by it."""
    try:
        hold_to_the_end()
    except (OSError, RuntimeError) as problem:
        _process.to_the_end = True  # one warning is enough
        warnings.warn(f'{VARIABLE} is set, but there will be no control socket: {problem}', RuntimeWarning)


def _stop(process: _Process) -> None:
    server, process.server = process.server, None
    if server is not None:
        atexit.unregister(_at_exit)
        server.stop()


def _at_exit(process: _Process) -> None:
    if process is _process:
        with process.lock:
            _stop(process)


def _after_fork() -> None:
    global _process
    parents, _process = _process, _Process()
    if parents.server is not None:
        parents.server.forget()


os.register_at_fork(after_in_child=_after_fork)
