"""The other side of the control socket: which processes there are, and one request to one of them.

Not here: what is printed (commands.py).
"""
from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

from . import frames
from .answers import PROTOCOL
from .folder import Folder, all_paths

CONNECT = 5.0  # seconds until a process is said not to answer
LIST = 2.0  # seconds for all processes together to answer when they are listed
LIST_CONNECT = 0.1  # seconds for each to take the connection

_CHUNK = 1 << 16


class Unanswered(Exception):
    """A request that was not carried out, or failed. kind: see answers.py; 'lost': the process was gone, or sent what
    is no answer. type: the name of the exception's type, of kind 'raised'."""

    def __init__(self, kind: str, message: str, type: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.type = type


def folders() -> tuple[list[Folder], list[str]]:
    """The folders of this user that are there and private, and what is wrong with those that aren't."""
    found, wrong = [], []
    for path in all_paths():
        try:
            found.append(Folder.open(path))
        except FileNotFoundError:
            continue
        except OSError as problem:
            wrong.append(str(problem))
    return found, wrong


class Connection:
    """A request on its way: what comes back is read from it. A context manager; to leave it early gives the request up."""

    def __init__(self, pid: int, request: dict[str, Any], timeout: float = CONNECT) -> None:
        """Raises ProcessLookupError if there is no such process, TimeoutError if it takes no connection, Unanswered if
        the request is too large."""
        try:
            frame = frames.encode({'glassloop': PROTOCOL, **request})
        except ValueError as problem:
            raise Unanswered('usage', f'this can not be sent: {problem}') from None
        self._socket = _connect(pid, timeout)
        self._pid = pid
        try:
            self._socket.sendall(frame)
        except TimeoutError:
            self.close()
            raise TimeoutError(f'process {pid} does not answer') from None
        except OSError:
            return  # refused before it was read: the reason is there to be read

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def messages(self, deadline: float | None = None) -> Iterator[dict[str, Any]]:
        """The frames of the answer. deadline: of time.monotonic(). Raises Unanswered, TimeoutError."""
        decoder = frames.Decoder()
        more = True
        while more:
            try:
                self._socket.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
                data = self._socket.recv(_CHUNK)
            except TimeoutError:
                raise TimeoutError(f'process {self._pid} does not answer') from None
            except OSError:
                data = b''
            if not data:
                raise Unanswered('lost', f'process {self._pid} ended before it answered')
            try:
                messages = decoder.feed(data)
            except frames.FrameError as problem:
                raise Unanswered('lost', f'process {self._pid} answered what is no answer: {problem}') from None
            for message in messages:
                error = message.get('error')
                if isinstance(error, dict):
                    raise Unanswered(str(error.get('kind')), str(error.get('message')), error.get('type'))
                more = message.get('more') is True
                yield message


def _connect(pid: int, timeout: float) -> socket.socket:
    found, wrong = folders()
    try:
        for folder in found:
            try:
                return folder.connect(pid, timeout)
            except ProcessLookupError:
                continue
    finally:
        for folder in found:
            folder.close()
    raise ProcessLookupError('; '.join([f'no process {pid} of this user has a control socket', *wrong]))


def ask(pid: int, do: str, *, timeout: float | None = CONNECT, **fields: Any) -> list[dict[str, Any]]:
    """The frames of the answer to a request; timeout: seconds for it, None: as long as it takes. Raises
    ProcessLookupError, TimeoutError, Unanswered."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with Connection(pid, {'do': do, **fields}) as connection:
        return list(connection.messages(deadline))


def processes() -> tuple[list[dict[str, Any]], list[str]]:
    """What each process of this user says of itself (of one that doesn't: 'error'), by pid; and what
    was wrong with the folders. They are all asked before the first answer is waited for. Sockets of dead processes are
    removed."""
    found, wrong = folders()
    pids = sorted({pid for folder in found for pid in folder.pids()})
    for folder in found:
        folder.close()
    deadline = time.monotonic() + LIST
    asked: dict[int, Connection | None] = {}
    for pid in pids:
        try:
            asked[pid] = Connection(pid, {'do': 'ps'}, timeout=LIST_CONNECT)
        except ProcessLookupError:
            continue  # dead, and removed
        except TimeoutError:
            asked[pid] = None
    told = []
    for pid, connection in asked.items():
        answer: dict[str, Any] = {'error': f'process {pid} does not answer'}
        if connection is not None:
            with connection:
                try:
                    [answer] = connection.messages(deadline)
                except TimeoutError as problem:
                    answer = {'error': str(problem)}
                except Unanswered as problem:
                    if problem.kind in ('lost', 'ended'):
                        continue  # it ended meanwhile
                    answer = {'error': str(problem)}
        told.append({**answer, 'pid': pid})
    return told, wrong
