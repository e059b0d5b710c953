"""The parent's side of one worker process: its start, its channel, its end.

A worker is started as a new program (by subprocess.Popen, so by vfork(), never a bare fork: threads and locks of this
process aren't copied), and is given two descriptors: its end of a socketpair, the channel, and the reading end of a
pipe, the life line (see worker.py).

The loop watches the channel. A job goes out with one send(), its answer comes with one recvmsg(), both called right here:
there is no thread and no queue between a call and its worker. A frame that the socket doesn't take at once goes on when it
is writable.

**Who ran what.** A worker has one job at a time, so when one ends it is clear whose end that is. There is one question
left: a worker that dies while it has nothing to do, in the very moment in which a job is sent to it. The kernel knows
whether it had read the job: the channel's end is ECONNRESET if something was left unread, else a plain end (unix(7)). In
the first case the job was never begun, and another worker gets it; in the second it may have been, and fails.

**The end.** A process has ended when the kernel says so (children.py), not when its channel has: so what it sent before it
died is read, its exit status is known, and nothing of it is left. What is sent after the answer belongs to nobody.

Not here: which worker gets which job (processes.py).
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from . import carry

#: How a worker loads its modules without the package around them: by path, under their own names. What importlib.util offers
#: for it takes milliseconds to import.
START = '''\
import sys
from _frozen_importlib import module_from_spec, spec_from_loader
from _frozen_importlib_external import SourceFileLoader
for name in "progress", "carry", "variables", "worker":
    full = "glassloop.work." + name
    loader = SourceFileLoader(full, sys.argv[1] + "/" + name + ".py")
    sys.modules[full] = module = module_from_spec(spec_from_loader(full, loader))
    loader.exec_module(module)
module.main(int(sys.argv[2]), int(sys.argv[3]))
'''

FOLDER = os.path.dirname(os.path.abspath(__file__))

#: outcomes that no frame brings
BROKEN = 0xF0       # the worker ended
NEVER_BEGUN = 0xF1  # the worker had ended before

Outcome = tuple[int, Any, Sequence[Any]]

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


class Job:
    """One call on its way. `outcome`: a future of (kind of frame, pickle, buffers)."""

    __slots__ = ('context', 'function', 'on_progress', 'outcome')

    def __init__(self, function: Any, outcome: Any, on_progress: Callable[[Any], object] | None,
                 context: Context | None) -> None:
        self.function = function
        self.outcome = outcome
        self.on_progress = on_progress
        self.context = context


class WorkerProcess:
    """A worker. `job`: the one that it runs; `idle_since`: a time of the loop; `unread`: it ended without having read all.
    Raises OSError if it can't be started."""

    __slots__ = ('_child', '_ended', '_inbox', '_line', '_loop', '_number', '_out', '_owner', '_process', '_sock', 'done',
                 'idle_since', 'job', 'killed', 'patience', 'pid', 'returncode', 'unread')

    def __init__(self, owner: Any, loop: Any) -> None:
        self._owner = owner
        self._loop = loop
        self._out: list[tuple[memoryview, int]] = []
        self._number = 0
        self.unread = False
        self._ended: Any = None
        self.job: Job | None = None
        self.done = 0  # jobs
        self.idle_since = 0.0
        self.killed = False
        self.patience: Any = None  # the timer that kills it if it doesn't end
        self.returncode: int | None = None
        self._process: Any = None
        self._child: Any = None
        setup = carry.pack((absolute_path(), [str(argument) for argument in getattr(sys, 'argv', [''])]))
        with contextlib.ExitStack() as undo:
            self._start(undo)
            loop.add_reader(self._sock, self._readable)
            undo.callback(loop.remove_reader, self._sock)
            self._child = owner._children.wait_for(self._process, self._exited)
            undo.pop_all()
        self._write(setup, carry.SETUP)

    def _start(self, undo: contextlib.ExitStack) -> None:
        """The process, and our ends of what connects us; `undo` takes them back."""
        if not sys.executable:
            raise RuntimeError('sys.executable is not known: no Python to start worker processes with')
        self._sock, theirs = socket.socketpair()
        undo.callback(self._sock.close)
        with contextlib.ExitStack() as given:
            channel = _no_standard_stream(theirs.detach())
            given.callback(os.close, channel)
            line, self._line = os.pipe()
            undo.callback(os.close, self._line)
            line = _no_standard_stream(line)
            given.callback(os.close, line)
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            command = [sys.executable, *flags, '-P', '-c', START, FOLDER, str(channel), str(line)]
            # Ctrl-C finds a new Python with a traceback: the worker lets it in when it has a handler
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(channel, line))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        undo.callback(self._process.wait)
        undo.callback(self._process.kill)
        self._sock.setblocking(False)
        self.pid = self._process.pid
        self._inbox = carry.Inbox(self._sock)

    def __repr__(self) -> str:
        state = f'returncode={self.returncode}' if self.returncode is not None else 'busy' if self.job else 'idle'
        return f'<{type(self).__name__} pid={self.pid} {state}>'

    # ---- jobs ----

    def send(self, job: Job, letter: carry.Letter) -> None:
        """Give it a job; the outcome comes to job.outcome. Raises OSError if there is no memory or descriptor for the
        letter; the worker is as free as before then."""
        if self.returncode is not None:
            # it died while it was ours
            letter.close()
            self.unread = True
            job.outcome.set_result((NEVER_BEGUN if self.done else BROKEN, self, ()))
            return
        self._number = self._number + 1 & 0xFFFFFFFF
        self._write(letter, carry.JOB, job)

    def _write(self, letter: carry.Letter, kind: int, job: Job | None = None) -> None:
        data = letter.frame(kind, self._number)
        self.job = job
        memory = letter.memory
        sent = 0
        if not self._out:
            try:
                if memory < 0:
                    sent = self._sock.send(data)
                else:
                    sent = _send_with(self._sock, data, memory)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                letter.close()
                if error.errno not in _GONE:
                    self.job = None
                    raise
                # it has ended; the loop will hear of it, and what was sent wasn't read
                self.unread = True
                return
        if sent == len(data):
            letter.close()
            return
        if sent and memory >= 0:
            letter.close()  # it went with the first byte
        if not self._out:
            self._loop.add_writer(self._sock, self._writable)
        self._out.append((memoryview(data)[sent:], letter.memory))
        letter.memory = -1  # closed when it has gone

    def _writable(self) -> None:
        out = self._out
        while out:
            data, memory = out[0]
            try:
                sent = self._sock.send(data) if memory < 0 else _send_with(self._sock, data, memory)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.unread = True
                self._drop_out()
                break
            if memory >= 0:
                os.close(memory)
            if sent == len(data):
                out.pop(0)
            else:
                out[0] = data[sent:], -1
        self._loop.remove_writer(self._sock)

    def _drop_out(self) -> None:
        for _, memory in self._out:
            if memory >= 0:
                os.close(memory)
        self._out.clear()

    def _readable(self) -> None:
        self._receive()

    def _receive(self) -> bool:
        """Read once; True if there may be more."""
        try:
            frames = self._inbox.read()
        except (BlockingIOError, InterruptedError):
            return False
        except (EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ECONNRESET:
                self.unread = True
            # the channel's end: the process's own is to come
            self._loop.remove_reader(self._sock)
            self._owner._hung_up(self)
            return False
        except (ValueError, OverflowError):
            # something in the worker has written into the channel: nothing that it says can be trusted
            self._loop.remove_reader(self._sock)
            self._owner._hung_up(self)
            self.kill()
            return False
        for kind, number, pickle, buffers in frames:
            job = self.job
            if job is None or number != self._number:
                continue  # of a job that is over
            if kind == carry.PROGRESS:
                self._progress(job, pickle, buffers)
            elif kind in (carry.RESULT, carry.ERROR):
                self.job = None
                self.done += 1
                if not job.outcome.done():
                    job.outcome.set_result((kind, pickle, buffers))
                self._owner._free(self)
        return True

    def _progress(self, job: Job, pickle: Any, buffers: Any) -> None:
        """The job reports. What goes wrong here is no matter of the job's."""
        if job.on_progress is None or job.outcome.done():
            return
        assert job.context is not None
        try:
            if isinstance(pickle, OSError):
                raise pickle
            job.context.run(job.on_progress, carry.loads(pickle, buffers))
        except (SystemExit, KeyboardInterrupt) as error:
            self._loop.call_soon(_raise, error)  # there may be more to read than this
        except BaseException as error:
            self._loop.call_exception_handler({
                'message': f'on_progress of {name_of(job.function)} failed',
                'exception': error,
            })

    # ---- the end ----

    def retire(self) -> None:
        """Let it end: it has nothing to do any more."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has ended already

    def kill(self) -> None:
        """End it at once. SIGKILL, not SIGTERM: a Python program that doesn't care ends by either at once, and one that does
        could go on."""
        self.killed = True
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)

    def _exited(self, returncode: int) -> None:
        """The process has ended."""
        self.returncode = returncode
        if self._process.returncode is None:
            self._process.returncode = returncode
        try:
            # what it sent before
            while self._receive():
                continue
        finally:
            self._child = None
            self._close()
            job, self.job = self.job, None
            if job is not None and not job.outcome.done():
                # one that is new and doesn't even read its first job won't do better a second time
                kind = NEVER_BEGUN if self.unread and self.done and not self.killed else BROKEN
                job.outcome.set_result((kind, self, ()))
            self._owner._ended(self)
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)

    async def wait(self) -> None:
        """Until it has ended. For one waiter."""
        if self.returncode is None:
            self._ended = self._loop.create_future()
            await self._ended

    def _close(self) -> None:
        loop = self._loop
        loop.remove_reader(self._sock)
        if self._out:
            loop.remove_writer(self._sock)
            self._drop_out()
        self._inbox.close()
        self._sock.close()
        os.close(self._line)

    def end_now(self, seconds: float) -> None:
        """The loop is closed: wait up to so many seconds for its end, then kill it and wait for that."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.abandon(self._process.returncode)

    def abandon(self, returncode: int) -> None:
        """Close our descriptors, wait for nothing."""
        self.returncode = self._process.returncode = returncode
        self.job = None
        if self._child is not None:
            self._child.close()
            self._child = None
        self._close()


def _send_with(sock: Any, data: Any, memory: int) -> int:
    sent: int = socket.send_fds(sock, [data], [memory])
    return sent


def _no_standard_stream(fd: int) -> int:
    """The same, but not as a standard stream of the worker, where this process has none."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _raise(error: BaseException) -> None:
    raise error


def absolute_path() -> list[str]:
    """sys.path, as another working directory sees it."""
    return [os.path.abspath(entry) for entry in sys.path]


def name_of(function: Any) -> str:
    """module.name of a function; never its repr(), which may be large or fail."""
    while hasattr(function, 'func') and not hasattr(function, '__qualname__'):
        function = function.func  # a functools.partial
    named = function if hasattr(function, '__qualname__') else type(function)
    return f'{getattr(named, "__module__", None) or "?"}.{named.__qualname__}'


def ending_of(returncode: int) -> str:
    """How a process ended, in words."""
    if returncode >= 0:
        return f'ended with exit code {returncode}'
    try:
        return f'was killed by signal {-returncode} ({signal.Signals(-returncode).name})'
    except ValueError:
        return f'was killed by signal {-returncode}'
