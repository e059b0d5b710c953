"""Child processes: when one has ended, and how.

A pidfd is a descriptor that names exactly one process and becomes readable when that has ended: the loop's poller watches
it, the exit status is asked of it, and signals are sent to it. So no number of a process is ever mistaken for that of
a later one, SIGCHLD and other children are left alone, and a loop in any thread can have children.

Where the system has no pidfd, or is out of descriptors, a thread waits for that one process.

Somebody else may take the exit status first (a waitpid(-1), or SIGCHLD ignored). It is not to be had again then: 255 is
reported, with a warning.

Not here: starting a process and its pipes (spawn.py).
"""
from __future__ import annotations

import os
import signal
import subprocess
import threading
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

UNKNOWN = 255


class Child:
    """A process that a loop waits for; `exited(returncode)` is called in the loop, once."""

    def __init__(self, children: Children, process: subprocess.Popen[bytes], exited: Callable[[int], object]) -> None:
        self._children = children
        self._loop = children.loop
        self._process = process
        self._exited = exited
        self._pidfd: int | None = None
        children.waited_for.add(self)
        try:
            self._pidfd = os.pidfd_open(process.pid)
            self._loop.add_reader(self._pidfd, self._look)
        except (AttributeError, OSError):
            self.close()
            children.waited_for.add(self)
            threading.Thread(target=self._wait, name=f'wait for {process.pid}', daemon=True).start()

    def send_signal(self, number: int) -> None:
        """Send the signal; nothing if the process has ended. Raises PermissionError, and OSError for no signal."""
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self._process.returncode is None:
                os.kill(self._process.pid, number)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """Wait no more."""
        self._children.waited_for.discard(self)
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _look(self) -> None:
        """The pidfd is readable."""
        code = self._status()
        if code is not None:
            self.close()
            self._exited(code)

    def _status(self) -> int | None:
        """The exit status, -N after signal N; None if the process still runs."""
        assert self._pidfd is not None
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return self._unknown()
        if result is None:
            return None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def _unknown(self) -> int:
        if self._process.returncode is not None:
            return self._process.returncode  # by its Popen, which get_extra_info() gives out
        logger.warning('child process pid %d exit status already read:  will report returncode 255', self._process.pid)
        return UNKNOWN

    def _wait(self) -> None:
        """In a thread."""
        try:
            _, status = os.waitpid(self._process.pid, 0)
        except ChildProcessError:
            code = self._unknown()
        else:
            code = os.waitstatus_to_exitcode(status)
        try:
            self._loop.call_soon_threadsafe(self._ended, code)
        except RuntimeError:
            self._process.returncode = code
            logger.warning('Loop %r that handles pid %r is closed', self._loop, self._process.pid)

    def _ended(self, code: int) -> None:
        if self in self._children.waited_for:
            self.close()
            self._exited(code)


class Children:
    """The processes that one loop waits for."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.waited_for: set[Child] = set()

    def wait_for(self, process: subprocess.Popen[bytes], exited: Callable[[int], object]) -> Child:
        """Call exited(returncode) in the loop when the process has ended."""
        return Child(self, process, exited)

    def close(self) -> None:
        """Wait for none any more; what runs goes on running."""
        for child in list(self.waited_for):
            child.close()
