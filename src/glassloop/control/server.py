"""The thread that answers: it accepts, reads, answers, and gives up on whoever is slow. No loop takes part in it, so
that it answers while they hang.

A connection is in one of these states, and moves on by what is in this table alone:

    state     what happens                              next
    READING   the request is complete                   WORKING
              it is no request, or from another user    WRITING (an error)
              it took longer than READ_TIMEOUT          WRITING (an error)
              the client closed                         CLOSED
    WORKING   the answer is there                       WRITING
              the client closed, or sends more          CLOSED (the job is told: it cancels its task)
    WRITING   all is sent                               CLOSED
              it took longer than WRITE_TIMEOUT         CLOSED
              the client closed                         CLOSED

What is done in a loop (answers.py) ends in that loop's thread: finish() hands the frame over and wakes this one. What is
held for a client is bounded: one request while reading, one frame while writing; the frames of a long answer are made as
they are sent. So is the number of clients, and that of the calls among them, so that calls that run for hours leave
room for the others.

Not here: what requests mean (answers.py), the socket's place (folder.py), when there is a server (process.py).
"""
from __future__ import annotations

import collections
import enum
import os
import selectors
import socket
import struct
import threading
import time
from asyncio.log import logger
from collections.abc import Iterator
from typing import Any

from . import frames
from .answers import Answers, Job, Refusal, error
from .folder import Folder

MAX_CLIENTS = 64
MAX_JOBS = 48
READ_TIMEOUT = 5.0  # seconds, for the whole request
WRITE_TIMEOUT = 30.0  # seconds, for the whole answer
TICK = 1.0  # seconds between looks at jobs whose loop may have been closed
PAUSE = 1.0  # seconds without accepting when the process has no descriptors left
JOIN_TIMEOUT = 10.0  # seconds

_CHUNK = 1 << 16
_CREDENTIALS = struct.Struct('iII')  # struct ucred: pid, uid, gid; see unix(7)


class State(enum.Enum):
    READING = 'reading'
    WORKING = 'working'
    WRITING = 'writing'
    CLOSED = 'closed'


class Client:
    """A connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.state = State.READING
        self.deadline = time.monotonic() + READ_TIMEOUT
        self.decoder = frames.Decoder()
        self.job: Job | None = None
        self.out = memoryview(b'')
        self.rest: Iterator[bytes] = iter(())


class Server:
    """The control socket of a process, and its thread. start() opens it; stop() closes everything."""

    def __init__(self) -> None:
        self._uid = os.geteuid()
        self._answers = Answers(self)
        self._clients: set[Client] = set()
        self._finished: collections.deque[tuple[Job, bytes]] = collections.deque()
        self._stopping = False
        self._accept_again = 0.0
        self._lock = threading.Lock()  # the waking descriptor: other threads write to it while it is open
        self._wake_fds: tuple[int, int] | None = None

    def start(self, path: str) -> None:
        """Listen in the folder at this path. Raises PermissionError if that isn't private, another OSError,
        RuntimeError."""
        self._folder = Folder.open(path, make=True)
        try:
            self._listener, self._identity = self._folder.listen(os.getpid())
        except BaseException:
            self._folder.close()
            raise
        try:
            self._selector = selectors.DefaultSelector()
            self._wake_fds = os.pipe()
            for fd in self._wake_fds:
                os.set_blocking(fd, False)
            self._selector.register(self._wake_fds[0], selectors.EVENT_READ)
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._serve, name='glassloop-control', daemon=True)
            self._thread.start()
        except BaseException:
            self._folder.remove(os.getpid(), self._identity)
            self._close()
            raise

    def stop(self) -> None:
        """Tell whoever waits that the program ends, remove the socket, end the thread."""
        self._folder.remove(os.getpid(), self._identity)
        self._stopping = True
        self._wake()
        self._thread.join(JOIN_TIMEOUT)

    def forget(self) -> None:
        """In the child after a fork: close what is the parent's, and touch nothing else of it."""
        self._lock = threading.Lock()  # its holder may have been left behind
        for client in self._clients:
            client.socket.close()
        self._close()

    def _close(self) -> None:
        for part in ('_listener', '_selector', '_folder'):
            if hasattr(self, part):
                getattr(self, part).close()
        with self._lock:
            fds, self._wake_fds = self._wake_fds, None
        for fd in fds or ():
            os.close(fd)

    # ---- from any thread ----

    def finish(self, job: Job, frame: bytes) -> None:
        """A job's answer is there. Where nobody waits for it any more it is dropped."""
        self._finished.append((job, frame))
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._wake_fds is not None:
                try:
                    os.write(self._wake_fds[1], b'\0')
                except BlockingIOError:
                    return  # full: it wakes all the same

    # ---- the thread ----

    def _serve(self) -> None:
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._timeout()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.data is None:
                        self._drain()
                    else:
                        self._attend(key.data)
                self._deliver()
                self._look_at_the_clock()
            self._end()
        finally:
            self._close()

    def _timeout(self) -> float | None:
        deadlines = [client.deadline for client in self._clients if client.state is not State.WORKING]
        if self._accept_again:
            deadlines.append(self._accept_again)
        if any(client.state is State.WORKING for client in self._clients):
            deadlines.append(time.monotonic() + TICK)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _drain(self) -> None:
        assert self._wake_fds is not None
        try:
            os.read(self._wake_fds[0], 4096)
        except BlockingIOError:
            return

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            # no descriptors or memory left: the connection waits, and this thread must not spin
            self._selector.unregister(self._listener)
            self._accept_again = time.monotonic() + PAUSE
            return
        connection.setblocking(False)
        client = Client(connection)
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, client)
        uid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
        if uid != self._uid:
            self._reply(client, error('refused', f'this process takes requests from user {self._uid} only, not {uid}'))
        elif len(self._clients) > MAX_CLIENTS:
            self._reply(client, error('refused', f'{MAX_CLIENTS} clients are connected already'))

    def _attend(self, client: Client) -> None:
        try:
            if client.state is State.WRITING:
                self._write(client)
            else:
                self._read(client)
        except Exception as problem:
            # a defect of ours must not take the thread away from the other clients
            logger.exception('glassloop: the control socket could not answer')
            if client.state is State.WRITING:
                self._drop(client)
            else:
                self._reply(client, error('internal', f'{type(problem).__name__}: {problem}'))

    def _read(self, client: Client) -> None:
        try:
            data = client.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data or client.state is State.WORKING:
            self._drop(client)
            return
        try:
            messages = client.decoder.feed(data)
            if len(messages) > 1 or (messages and not client.decoder.is_empty()):
                raise frames.FrameError('more than one request')
        except frames.FrameError as problem:
            self._reply(client, error('malformed', str(problem)))
            return
        if messages:
            self._answer(client, messages[0])

    def _answer(self, client: Client, request: dict[str, Any]) -> None:
        try:
            answer = self._answers.to(request, jobs_allowed=self._jobs() < MAX_JOBS)
        except Refusal as refusal:
            answer = iter([refusal.frame])
        if isinstance(answer, Job):
            client.state, client.job = State.WORKING, answer
            answer.begin()
        else:
            self._reply(client, next(answer), answer)

    def _jobs(self) -> int:
        return sum(client.state is State.WORKING for client in self._clients)

    def _reply(self, client: Client, frame: bytes, rest: Iterator[bytes] | None = None) -> None:
        client.state, client.job = State.WRITING, None
        client.deadline = time.monotonic() + WRITE_TIMEOUT
        client.out, client.rest = memoryview(frame), rest or iter(())
        self._selector.modify(client.socket, selectors.EVENT_WRITE, client)
        self._attend(client)

    def _write(self, client: Client) -> None:
        while True:
            if not client.out:
                frame = next(client.rest, None)
                if frame is None:
                    self._drop(client)
                    return
                client.out = memoryview(frame)
            try:
                client.out = client.out[client.socket.send(client.out):]
            except BlockingIOError:
                return
            except OSError:
                self._drop(client)  # nobody is there any more
                return

    def _drop(self, client: Client) -> None:
        if client.state is State.CLOSED:
            return
        job, client.state, client.job = client.job, State.CLOSED, None
        self._selector.unregister(client.socket)
        client.socket.close()
        self._clients.discard(client)
        if job is not None:
            job.abandon()

    def _deliver(self) -> None:
        while self._finished:
            job, frame = self._finished.popleft()
            for client in self._clients:
                if client.job is job:
                    self._reply(client, frame)
                    break

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._accept_again and now >= self._accept_again:
            self._accept_again = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)
        for client in list(self._clients):
            if client.job is not None:
                client.job.look(now)
            elif now >= client.deadline:
                if client.state is State.READING:
                    self._reply(client, error('malformed', f'no request within {READ_TIMEOUT:g} s'))
                else:
                    self._drop(client)
        self._deliver()

    def _end(self) -> None:
        self._deliver()
        for client in list(self._clients):
            if client.job is not None:
                client.job.abandon()
                self._reply(client, error('ended', 'the program ends'))
        for client in list(self._clients):
            self._drop(client)
