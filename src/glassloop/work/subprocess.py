"""Subprocesses with streams: create_subprocess_exec(), create_subprocess_shell() and the Process they return.

On a loop of ours each pipe has a stream's protocol of its own, which gives what was read straight to its StreamReader. On
any other loop SubprocessStreamProtocol is an ordinary protocol of a process.

A communicate() that is cancelled, by a timeout for instance, has taken nothing: what was read stays in the readers, what
was to be written is still written, and a second communicate() or read() has it.

Not here: starting a process (spawn.py).
"""
from __future__ import annotations

import asyncio
import asyncio.subprocess as _asyncio_subprocess
import subprocess
from asyncio.log import logger
from collections.abc import Coroutine
from typing import Any

from ..net.streams import StreamReader, StreamReaderProtocol, StreamWriter
from ..sync import gather

__all__ = ['create_subprocess_exec', 'create_subprocess_shell']

PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
DEVNULL = subprocess.DEVNULL

DEFAULT_LIMIT = 2 ** 16


class SubprocessStreamProtocol(asyncio.SubprocessProtocol):
    """The protocol of a process whose pipes are streams: `stdin`, `stdout` and `stderr`, None where there is no pipe."""

    def __init__(self, limit: int, loop: Any) -> None:
        self._limit = limit
        self._loop = loop
        self._transport: Any = None
        self._exited = False
        self._protocols: dict[int, Any] = {}
        self._reading: set[int] = set()
        self.stdin: Any = None
        self.stdout: Any = None
        self.stderr: Any = None

    def __repr__(self) -> str:
        info = [type(self).__name__]
        info += [f'{name}={stream!r}' for name in ('stdin', 'stdout', 'stderr') if (stream := getattr(self, name))]
        return f'<{" ".join(info)}>'

    def _stream_protocol(self, fd: int) -> Any:
        """The stream's protocol of one pipe."""
        reader = None if fd == 0 else StreamReader(limit=self._limit, loop=self._loop)
        protocol = self._protocols[fd] = StreamReaderProtocol(reader, loop=self._loop)
        if fd == 1:
            self.stdout = reader
        elif fd == 2:
            self.stderr = reader
        return protocol

    def connection_made(self, transport: Any) -> None:
        """The process runs."""
        self._transport = transport
        for fd in (0, 1, 2):
            pipe = transport.get_pipe_transport(fd)
            if pipe is None:
                continue
            if fd not in self._protocols:
                self._stream_protocol(fd).connection_made(pipe)
            if fd == 0:
                self.stdin = StreamWriter(pipe, self._protocols[0], None, self._loop)
            else:
                self._reading.add(fd)

    def process_exited(self) -> None:
        """The process has ended; its output may still come."""
        self._exited = True
        self._close_if_over()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process and all pipes have ended."""

    def _pipe_ended(self, pipe: Any) -> None:
        for fd in list(self._reading):
            if self._transport.get_pipe_transport(fd) is pipe:
                self._reading.discard(fd)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._exited and not self._reading and self._transport is not None:
            self._transport.close()
            self._transport = None

    # ---- called by transports that aren't ours ----

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Bytes go to the reader."""
        if fd in self._protocols:
            self._protocols[fd].data_received(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The stream learns of its end."""
        if fd in self._protocols:
            self._protocols[fd].connection_lost(exc)
        if fd == 0 and self.stdin is not None:
            self.stdin.close()
        self._reading.discard(fd)
        self._close_if_over()

    def pause_writing(self) -> None:
        """drain() of stdin waits from now on."""
        self._protocols[0].pause_writing()

    def resume_writing(self) -> None:
        """Whoever drains stdin goes on."""
        self._protocols[0].resume_writing()


class Process(_asyncio_subprocess.Process):
    """A process that was started. See asyncio.subprocess.Process. `pid`: its number; `stdin`, `stdout`, `stderr`: its
    streams, None where there is no pipe."""

    def __init__(self, transport: Any, protocol: Any, loop: Any) -> None:
        self._transport = transport
        self._protocol = protocol
        self._loop = loop
        self.stdin = protocol.stdin
        self.stdout = protocol.stdout
        self.stderr = protocol.stderr
        self.pid = transport.get_pid()

    @property
    def returncode(self) -> int | None:
        """The exit status, -N after signal N; None while the process runs."""
        code: int | None = self._transport.get_returncode()
        return code

    def wait(self) -> Coroutine[Any, Any, int]:  # type: ignore[override]
        """Wait until the process has ended: its exit status. Doesn't wait for the end of its output, which a process
        that it started may go on writing. Coroutine."""
        waiting: Coroutine[Any, Any, int] = self._transport._wait()
        return waiting

    def send_signal(self, signal: int) -> None:
        """Send a signal; to a process that has ended, nothing. Raises ProcessLookupError when its pipes have ended, too."""
        self._transport.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM. Raises as send_signal() does."""
        self._transport.terminate()

    def kill(self) -> None:
        """Send SIGKILL. Raises as send_signal() does."""
        self._transport.kill()

    async def communicate(self, input: Any = None) -> tuple[Any, Any]:
        """Write input (bytes-like) to stdin and close it, read stdout and stderr to their ends, wait for the process:
        (stdout, stderr), None where there is no pipe. Can be called again after it was cancelled."""
        work = []
        if self.stdin is not None:
            work.append(self._feed(input))
        if self.stdout is not None:
            work.append(self._read(1, self.stdout))
        if self.stderr is not None:
            work.append(self._read(2, self.stderr))
        results = await gather(*work)
        error = results.pop() if self.stderr is not None else None
        output = results.pop() if self.stdout is not None else None
        await self.wait()
        return output, error

    async def _feed(self, input: Any) -> None:
        debug = self._loop.get_debug()
        stdin: Any = self.stdin
        try:
            if input is not None:
                stdin.write(input)
                if debug:
                    logger.debug('%r communicate: feed stdin (%s bytes)', self, len(input))
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as e:
            # a process need not read all of its input
            if debug:
                logger.debug('%r communicate: stdin got %r', self, e)
        if debug:
            logger.debug('%r communicate: close stdin', self)
        stdin.close()

    async def _read(self, fd: int, reader: Any) -> Any:
        debug = self._loop.get_debug()
        if debug:
            logger.debug('%r communicate: read %s', self, 'stdout' if fd == 1 else 'stderr')
        data = await reader.read()
        if debug:
            logger.debug('%r communicate: close %s', self, 'stdout' if fd == 1 else 'stderr')
        self._transport.get_pipe_transport(fd).close()
        return data


async def create_subprocess_exec(program: Any, *args: Any, stdin: Any = None, stdout: Any = None, stderr: Any = None,
                                 limit: int = DEFAULT_LIMIT, **kwds: Any) -> Process:
    """Start a program with these arguments. stdin, stdout, stderr: PIPE, DEVNULL, a file or descriptor, None (the same as
    ours), stderr also STDOUT. limit: of the StreamReaders, in bytes. kwds go to subprocess.Popen; raises what it raises."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit, loop), program, *args, stdin=stdin, stdout=stdout, stderr=stderr, **kwds)
    return Process(transport, protocol, loop)


async def create_subprocess_shell(cmd: str | bytes, stdin: Any = None, stdout: Any = None, stderr: Any = None,
                                  limit: int = DEFAULT_LIMIT, **kwds: Any) -> Process:
    """Run a command in the shell. The rest as with create_subprocess_exec()."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_shell(
        lambda: SubprocessStreamProtocol(limit, loop), cmd, stdin=stdin, stdout=stdout, stderr=stderr, **kwds)
    return Process(transport, protocol, loop)
