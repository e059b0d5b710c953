"""Starting processes: loop.subprocess_exec(), loop.subprocess_shell() and the transport they return.

subprocess.Popen starts the process. It suspends this thread, by vfork(), until the child has become the new program, and
copies no page tables: what a start costs doesn't depend on how large this process is (unless preexec_fn, user, group or
extra_groups are given).

The order in which the protocol is called: connection_made() first; pipe_connection_lost() of a pipe after all its data;
process_exited() when the process has ended, before or after those; connection_lost() last, when both the process and all
pipes have ended. wait() doesn't wait for the pipes: a grandchild may hold them for as long as it likes. But what the
process itself left in them is read before, so that normally all is over when wait() returns.

Not here: how the end of a process is noticed (children.py), pipes (net/pipes.py), streams (subprocess.py).
"""
from __future__ import annotations

import asyncio
import asyncio.subprocess
import signal
import subprocess
import warnings
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from ..net.adopt import adopt_reader
from ..net.pipes import ReadPipeTransport, WritePipeTransport
from .children import Child
from .subprocess import SubprocessStreamProtocol

_OriginalProtocol = asyncio.subprocess.SubprocessStreamProtocol

#: turns of the loop after the process's end in which wait() gives the protocol the time to hear of all ends
LINGER = 8


class _PipeEnd(asyncio.Protocol):
    """The protocol of one pipe: tells the process's protocol."""

    def __init__(self, protocol: Any, fd: int) -> None:
        self._protocol = protocol
        self._fd = fd

    def data_received(self, data: bytes) -> None:
        self._protocol.pipe_data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.pipe_connection_lost(self._fd, exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class SubprocessTransport(asyncio.SubprocessTransport):
    """A process and its pipes. Raises what subprocess.Popen raises if there is no such program."""

    def __init__(self, loop: Any, protocol: Any, args: Any, waiter: asyncio.Future[None], **options: Any) -> None:
        self._loop = loop
        self._protocol = protocol
        self._closed = True  # as long as there is no process
        self._finished = False
        self._told = False  # whoever waits for the end
        self._pid: int | None = None
        self._returncode: int | None = None
        self._proc: subprocess.Popen[bytes] | None = None
        self._child: Child | None = None
        self._pipes: dict[int, Any] = {}
        self._open_pipes = 0
        self._exit_waiters: list[asyncio.Future[int]] = []
        process = self._proc = subprocess.Popen(args, **options)
        self._closed = False
        self._pid = process.pid
        self._extra = {'subprocess': process}
        made = None
        try:
            for fd, pipe in enumerate((process.stdin, process.stdout, process.stderr)):
                if pipe is not None:
                    make: Any = ReadPipeTransport if fd else WritePipeTransport
                    self._pipes[fd] = make(loop, pipe, self._protocol_of(fd), None, self)
            # first: a protocol that hears of the end before it has pipes closes them, with what is in them
            made = loop.call_soon(self._made, waiter)
            self._child = loop._children.wait_for(process, self._process_exited)
        except BaseException:
            self._closed = True
            if made is not None:
                made.cancel()
            process.kill()
            with process:  # closes the pipes
                process.wait()
            raise
        if loop.get_debug():
            logger.debug('process %r created: pid %s', args if isinstance(args, (bytes, str)) else args[0], self._pid)

    def _protocol_of(self, fd: int) -> Any:
        protocol = self._protocol
        if type(protocol) is SubprocessStreamProtocol:
            return protocol._stream_protocol(fd)
        return _PipeEnd(protocol, fd)

    def _made(self, waiter: asyncio.Future[None]) -> None:
        protocol = self._protocol
        try:
            protocol.connection_made(self)
        finally:
            if not waiter.done():
                waiter.set_result(None)
        if type(protocol) is _OriginalProtocol:
            adopt_reader(protocol.stdout)
            adopt_reader(protocol.stderr)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._closed:
            info.append('closed')
        if self._pid is not None:
            info.append(f'pid={self._pid}')
        if self._returncode is not None:
            info.append(f'returncode={self._returncode}')
        elif self._pid is not None:
            info.append('running')
        else:
            info.append('not started')
        for fd, name in enumerate(('stdin', 'stdout', 'stderr')):
            if fd in self._pipes:
                info.append(f'{name}={self._pipes[fd]!r}')
        return f'<{" ".join(info)}>'

    # ---- the face ----

    def set_protocol(self, protocol: Any) -> None:
        """Tell another protocol from now on."""
        self._protocol = protocol
        for pipe in self._pipes.values():
            end = pipe.get_protocol()
            if isinstance(end, _PipeEnd):
                end._protocol = protocol

    def get_protocol(self) -> Any:
        """The protocol; None after connection_lost()."""
        return self._protocol

    def is_closing(self) -> bool:
        """True from close() on."""
        return self._closed

    def get_pid(self) -> int | None:
        """The number of the process."""
        return self._pid

    def get_returncode(self) -> int | None:
        """The exit status, -N after signal N; None while the process runs."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> Any:
        """The transport of stdin (0), stdout (1) or stderr (2), if that is a pipe, else None."""
        return self._pipes.get(fd)

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process; to one that has ended, nothing. Raises ProcessLookupError after connection_lost():
        when the process has ended and so have its pipes (as asyncio does)."""
        if self._child is None:
            raise ProcessLookupError
        if self._returncode is None:
            self._child.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM. Raises as send_signal() does."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL. Raises as send_signal() does."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes, and kill the process if it runs."""
        if self._closed:
            return
        self._closed = True
        loop = self._loop
        if loop is None:
            return
        if not loop.is_closed():
            # of a closed loop they close themselves when they are freed
            for pipe in self._pipes.values():
                pipe.close()
        # poll() may take the exit status before the loop does: it is taken from Popen then
        if self._returncode is None and self._proc is not None and self._proc.poll() is None:
            if loop.get_debug():
                logger.warning('Close running child process: kill %r', self)
            try:
                self._proc.kill()
            except PermissionError:
                return  # it has become somebody else's

    def __del__(self) -> None:
        if not self._closed and not self._finished:
            warnings.warn(f'unclosed transport {self!r}', ResourceWarning, source=self)
            self.close()

    async def _wait(self) -> int:
        """Wait until the process has ended: its exit status."""
        if self._told:
            assert self._returncode is not None
            return self._returncode
        waiter = self._loop.create_future()
        self._exit_waiters.append(waiter)
        try:
            code: int = await waiter
        finally:
            if waiter in self._exit_waiters:
                self._exit_waiters.remove(waiter)
        return code

    # ---- the end ----

    def _attach(self, pipe: Any) -> None:
        """A pipe begins."""
        self._open_pipes += 1

    def _detach(self, pipe: Any) -> None:
        """A pipe has ended, and its protocol was told."""
        self._open_pipes -= 1
        if self._protocol is not None and type(self._protocol) is SubprocessStreamProtocol:
            self._protocol._pipe_ended(pipe)
        self._finish()

    def _process_exited(self, returncode: int) -> None:
        if self._loop.get_debug():
            logger.info('%r exited with return code %r', self, returncode)
        self._returncode = returncode
        assert self._proc is not None
        if self._proc.returncode is None:
            self._proc.returncode = returncode
        self._loop.call_soon(self._protocol.process_exited)
        try:
            for fd, pipe in self._pipes.items():
                if fd:
                    pipe._read_what_is_there()
        finally:
            self._finish()
            if not self._finished:
                self._linger(LINGER)

    def _finish(self) -> None:
        if self._returncode is not None and not self._open_pipes and not self._finished:
            self._finished = True
            if not self._loop.is_closed():
                self._loop.call_soon(self._lost)

    def _lost(self) -> None:
        try:
            self._protocol.connection_lost(None)
        finally:
            self._wake()
            self._loop = self._protocol = self._proc = self._child = None

    def _linger(self, turns: int) -> None:
        if turns and self._loop is not None:
            self._loop.call_soon(self._linger, turns - 1)
        else:
            self._wake()

    def _wake(self) -> None:
        self._told = True
        for waiter in self._exit_waiters:
            if not waiter.done():
                waiter.set_result(self._returncode)
        self._exit_waiters.clear()


def _check(options: dict[str, Any], shell: bool) -> None:
    """Raises ValueError for what of Popen's options a transport of bytes can't have."""
    if not options:
        return
    if options.pop('universal_newlines', False):
        raise ValueError('universal_newlines must be False')
    if bool(options.pop('shell', shell)) is not shell:
        raise ValueError(f'shell must be {shell}')
    if options.pop('bufsize', 0) != 0:
        raise ValueError('bufsize must be 0')
    if options.pop('text', None):
        raise ValueError('text must be False')
    for name in ('encoding', 'errors'):
        if options.pop(name, None) is not None:
            raise ValueError(f'{name} must be None')


async def subprocess_exec(loop: Any, protocol_factory: Callable[[], Any], program: Any, *args: Any,
                          stdin: Any = subprocess.PIPE, stdout: Any = subprocess.PIPE, stderr: Any = subprocess.PIPE,
                          **options: Any) -> tuple[SubprocessTransport, Any]:
    """Start a program. Raises ValueError for options that ask for text or a shell, and what subprocess.Popen raises."""
    _check(options, False)
    doing = f'execute program {program!r}' if loop.get_debug() else ''
    return await _start(loop, protocol_factory, (program, *args), doing, shell=False, stdin=stdin, stdout=stdout,
                        stderr=stderr, **options)


async def subprocess_shell(loop: Any, protocol_factory: Callable[[], Any], cmd: str | bytes, *,
                           stdin: Any = subprocess.PIPE, stdout: Any = subprocess.PIPE, stderr: Any = subprocess.PIPE,
                           **options: Any) -> tuple[SubprocessTransport, Any]:
    """Run a command in the shell. Raises ValueError for a command that is no str or bytes and for options that ask for text
    or no shell, and what subprocess.Popen raises."""
    if not isinstance(cmd, (bytes, str)):
        raise ValueError('cmd must be a string')
    _check(options, True)
    doing = f'run shell command {cmd!r}' if loop.get_debug() else ''
    return await _start(loop, protocol_factory, cmd, doing, shell=True, stdin=stdin, stdout=stdout, stderr=stderr,
                        **options)


async def _start(loop: Any, protocol_factory: Callable[[], Any], args: Any, doing: str,
                 **options: Any) -> tuple[SubprocessTransport, Any]:
    protocol = protocol_factory()
    if doing:
        logger.debug('%s%s', doing, ''.join(_named(name, options[name]) for name in ('stdin', 'stdout', 'stderr')))
    waiter = loop.create_future()
    transport = SubprocessTransport(loop, protocol, args, waiter, bufsize=0, **options)
    try:
        await waiter
    except BaseException:
        transport.close()
        await transport._wait()
        raise
    if doing:
        logger.info('%s: %r', doing, transport)
    return transport, protocol


def _named(name: str, given: Any) -> str:
    if given is None:
        return ''
    names = {subprocess.PIPE: '<pipe>', subprocess.STDOUT: '<stdout>', subprocess.DEVNULL: '<devnull>'}
    return f' {name}={names.get(given, repr(given)) if isinstance(given, int) else repr(given)}'
