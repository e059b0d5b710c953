"""A worker process: reads a job, runs it, answers, reads the next.

Jobs run in the main thread, one at a time, so signals and libraries that want the main thread work as in any program. There
is no loop and no other thread here.

**The life line.** A worker must not survive its parent, not even one that was killed, and not even while a job holds the GIL
for minutes. The parent holds the writing end of a pipe, writes nothing, and closes it never: when the parent ends, in
whichever way, the kernel closes it. We told the kernel to send SIGKILL to this process then (O_ASYNC and F_SETSIG, see
fcntl(2)). That needs no thread, and isn't tied to the thread that started us, as PR_SET_PDEATHSIG is. Where there
is no F_SETSIG a thread waits for the pipe's end.

**The end.** When the parent closes its side of the channel, this process ends like any Python program: non-daemon threads
are waited for, atexit runs.

Ctrl-C in a terminal reaches workers as well; that is the parent's to handle, so SIGINT does nothing here (a job may set a
handler of its own). It isn't ignored in the kernel's sense, so programs that a job starts are interrupted.

The parent starts this file by its path, with carry.py, variables.py and progress.py, without the package around them (see
START in workerprocess.py): importing the runtime takes longer than starting Python.
"""
from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import os
import sys
from _thread import allocate_lock
from contextvars import Context

from .carry import (
    ERROR,
    PROGRESS,
    RESULT,
    SETUP,
    Inbox,
    Letter,
    PicklingError,
    UnpicklingError,
    flat,
    loads,
    pack,
    send,
)
from .progress import reporter
from .variables import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_F_SETSIG = 10  # Linux, <asm-generic/fcntl.h>; the fcntl module has no name for it


def main(channel: int, line: int) -> None:
    """The life of a worker process. channel, line: the descriptors of its socket and of its life line."""
    os.set_inheritable(channel, False)
    os.set_inheritable(line, False)
    _hold(line)
    _signal.signal(_signal.SIGINT, _nothing)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])  # the parent blocked it for our start
    sock = _socket.socket(fileno=channel)

    def let_go() -> None:
        sock.close()
        os.close(line)

    os.register_at_fork(after_in_child=let_go)  # a child that a job forks is no worker
    Worker(sock).serve()
    sock.close()


def _hold(line: int) -> None:
    """From now on this process ends with its parent."""
    try:
        if sys.platform != 'linux':
            raise OSError
        fcntl.fcntl(line, _F_SETSIG, _signal.SIGKILL)
        fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(line, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    except OSError:
        from threading import Thread

        Thread(target=_wait_for_end, args=(line,), daemon=True).start()
        return
    try:
        os.read(line, 1)
    except BlockingIOError:
        return  # the parent lives
    os._exit(1)


def _wait_for_end(line: int) -> None:
    os.read(line, 1)
    os._exit(1)


def _nothing(number: int, frame: Any) -> None:
    """The handler of SIGINT."""


class Worker:
    """This process's side of the channel."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._inbox = Inbox(sock)
        self._sending = allocate_lock()  # a job's threads may report
        self._job = 0

    def serve(self) -> None:
        """Until the parent closes the channel."""
        while True:
            try:
                frames = list(self._inbox.read())
            except (EOFError, ConnectionResetError):
                return
            while frames:
                # taken out and handed on, so that whoever uses up a large letter frees it
                kind, job, *letter = frames.pop(0)
                if kind == SETUP:
                    sys.path[:], sys.argv[:] = loads(*letter)
                else:
                    self._serve_one(job, letter)

    def _serve_one(self, job: int, call: list[Any]) -> None:
        self._job = job
        try:
            letter = _packed(_Job(self, job).run(call))
            data = letter.frame(RESULT, job)
        except BaseException as error:
            letter = _failure(error)
            data = letter.frame(ERROR, job)
        self._job = 0
        for stream in sys.stdout, sys.stderr:
            try:
                stream.flush()  # what a job printed is not lost if a later one is killed
            except (AttributeError, OSError, ValueError):
                continue  # there is none, or nobody reads it
        self._send(data, letter)

    def report(self, job: int, value: object) -> None:
        """Send a job's progress; not that of a job which is over."""
        letter = pack(value)
        if job == self._job:
            self._send(letter.frame(PROGRESS, job), letter)

    def _send(self, data: bytes, letter: Letter) -> None:
        try:
            with self._sending:
                send(self._sock, data, letter.memory)
        finally:
            letter.close()


class _Job:
    """One call, and who runs it: a worker process, which reports the progress of job `number`, or None."""

    def __init__(self, worker: Worker | None, number: int) -> None:
        self._worker = worker
        self._number = number

    def run(self, call: list[Any]) -> object:
        """The result of a call, a pickle and its buffers, which are taken out. Raises what the function raises,
        UnpicklingError if the call can't be unpacked."""
        pickle, buffers = call
        call.clear()
        if isinstance(pickle, OSError):
            raise pickle
        try:
            function, args, kwargs, variables, listened = loads(pickle, buffers)
        except Exception as error:
            raise UnpicklingError(
                f'the call cannot be unpickled in a worker process: {type(error).__name__}: {error}') from error
        del pickle, buffers
        context = Context()
        if variables or listened:
            context.run(self._prepare, variables, listened)
        return context.run(function, *args, **kwargs)

    def _prepare(self, variables: list[bytes], listened: bool) -> None:
        if variables:
            names.restore(variables)
        if listened:
            reporter.set(self._report)

    def _report(self, value: object) -> None:
        assert self._worker is not None
        self._worker.report(self._number, value)


def _packed(result: object, whole: bool = False) -> Letter:
    try:
        return pack(result, whole)
    except PicklingError as error:
        raise PicklingError(f'the result (type {type(result).__name__}) cannot be pickled: {error}') from error


def run_flat(call: bytes) -> tuple[int, bytes]:
    """In an interpreter of its own (interpreters.py): run a call; the kind of the answer, and the answer."""
    try:
        return RESULT, _packed(_Job(None, 0).run([call, ()]), True).flat()
    except BaseException as error:
        return ERROR, _failure(error).flat()


def _failure(error: BaseException) -> Letter:
    """An exception and its traceback, packed: (the exception pickled, '', text); if it can't be pickled (None, what it said,
    text)."""
    from traceback import format_exception

    shown = error.__traceback__
    while shown is not None and shown.tb_frame.f_code.co_filename == __file__:
        shown = shown.tb_next  # our own frames say nothing
    text = ''.join(format_exception(type(error), error, shown or error.__traceback__))
    try:
        flattened = flat(error)
        # many can be pickled, but not be unpickled: __init__ has other parameters than Exception.args
        same = type(loads(flattened, ())) is type(error)
        reason = '' if same else 'it does not come back as what it was'
    except Exception as why:
        flattened, reason = None, f'{type(why).__name__}: {why}'
    if not reason:
        return pack((flattened, '', text))
    name = f'{type(error).__module__}.{type(error).__qualname__}'
    return pack((None, f'the job raised {name}, which cannot be pickled ({reason}); it said: {_said(error)}', text))


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as why:
        return f'<str() of it raised {type(why).__name__}>'
