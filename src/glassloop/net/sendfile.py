"""Sending files: what loop.sendfile() and loop.sock_sendfile() do.

By the kernel (os.sendfile) where socket and file are fit for it: a transport then sends the file from its own events
(source.py), a bare socket from its line (socks.py); no thread is needed. Else, if the caller allows it, by reading the
file piece by piece in the default executor and writing to the transport or socket, as fast as that takes it: over TLS, from
an io.BytesIO, from a pipe.

While a transport sends a file nothing is received and nothing can be written by others. What was written before comes
first. Whatever happens in the middle, protocol and reading are as they were afterwards, and the file's position is behind
what was sent, so that one can go on from there.
"""
from __future__ import annotations

import asyncio
import io
import os
import socket
from asyncio import constants
from typing import Any

from . import checks
from .source import FileSource, of_the_file

_MODE = constants._SendfileMode  # type: ignore[attr-defined]

#: bytes that are read at a time where the kernel can't send the file by itself
BLOCK = 64 * 1024


async def sendfile(
    loop: Any, transport: Any, file: Any, offset: int = 0, count: int | None = None, *, fallback: bool = True
) -> int:
    """Send `count` bytes (None: all) of a file, opened in binary mode, from `offset` on; the number of bytes sent.

    Raises RuntimeError if the transport is closing or can't do it, asyncio.SendfileNotAvailableError if the kernel can't and
    `fallback` is false, ConnectionError or another OSError if the connection ends before all was sent; ValueError and
    TypeError for arguments that can't be meant."""
    if transport.is_closing():
        raise RuntimeError('Transport is closing')
    mode = getattr(transport, '_sendfile_compatible', _MODE.UNSUPPORTED)
    if mode is _MODE.UNSUPPORTED:
        raise RuntimeError(f'sendfile is not supported for transport {transport!r}')
    _check(file, offset, count)
    if mode is _MODE.TRY_NATIVE:
        try:
            return await loop._sendfile_native(transport, file, offset, count)  # type: ignore[no-any-return]
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
    if not fallback:
        raise RuntimeError(f'fallback is disabled and native sendfile is not supported for transport {transport!r}')
    return await _by_writing(loop, transport, file, offset, count)


async def sendfile_native(loop: Any, transport: Any, file: Any, offset: int, count: int | None) -> int:
    """By the kernel, from the events of a StreamTransport. Raises asyncio.SendfileNotAvailableError if it can't."""
    _descriptor(file)
    source = FileSource(loop.create_future(), file, offset, count)
    reading = transport.is_reading()
    transport.pause_reading()
    try:
        transport._send_source(source)
        return await source.future  # type: ignore[no-any-return]
    except OSError as e:
        if not source.sent and of_the_file(e):
            raise _not_available(e) from e
        raise
    finally:
        transport._take_back(source)
        _move(file, offset, source.sent)
        if reading:
            transport.resume_reading()


async def sock_sendfile(
    loop: Any, sock: socket.socket, file: Any, offset: int = 0, count: int | None = None, *, fallback: bool = True
) -> int:
    """The same for a non-blocking stream socket."""
    if loop.get_debug() and sock.gettimeout() != 0:
        raise ValueError('the socket must be non-blocking')
    checks.no_ssl_socket(sock)
    _check(file, offset, count)
    if sock.type != socket.SOCK_STREAM:
        raise ValueError('only SOCK_STREAM type sockets are supported')
    try:
        return await _sock_sendfile_native(loop, sock, file, offset, count)
    except asyncio.SendfileNotAvailableError:
        if not fallback:
            raise
    sent = 0
    try:
        while data := await _read(loop, file, offset, sent, count):
            await loop.sock_sendall(sock, data)
            sent += len(data)
        return sent
    finally:
        _move(file, offset, sent)


async def _sock_sendfile_native(loop: Any, sock: socket.socket, file: Any, offset: int, count: int | None) -> int:
    _descriptor(file)
    call = loop._sockets.sendfile(sock, file, offset, count)
    try:
        return await call  # type: ignore[no-any-return]
    except OSError as e:
        if not call.sent and of_the_file(e):
            raise _not_available(e) from e
        raise
    finally:
        _move(file, offset, call.sent)


def _check(file: Any, offset: Any, count: Any) -> None:
    if 'b' not in getattr(file, 'mode', 'b'):
        raise ValueError('file should be opened in binary mode')
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f'count must be a positive integer (got {count!r})')
        if count <= 0:
            raise ValueError(f'count must be a positive integer (got {count!r})')
    if not isinstance(offset, int):
        raise TypeError(f'offset must be a non-negative integer (got {offset!r})')
    if offset < 0:
        raise ValueError(f'offset must be a non-negative integer (got {offset!r})')


def _not_available(error: OSError | None = None) -> asyncio.SendfileNotAvailableError:
    return asyncio.SendfileNotAvailableError('os.sendfile call failed' if error is not None else 'not a regular file')


def _descriptor(file: Any) -> int:
    """Raises asyncio.SendfileNotAvailableError if there is none."""
    if not hasattr(os, 'sendfile'):
        raise asyncio.SendfileNotAvailableError('os.sendfile() is not available')
    try:
        fd: int = file.fileno()
        os.fstat(fd)
    except (AttributeError, io.UnsupportedOperation, OSError):
        raise _not_available() from None
    return fd


def _move(file: Any, offset: int, sent: int) -> None:
    """The file's position is behind what was sent, if it has one."""
    try:
        if hasattr(file, 'seek'):
            file.seek(offset + sent)
        elif hasattr(file, 'fileno'):
            os.lseek(file.fileno(), offset + sent, os.SEEK_SET)
    except (OSError, ValueError):
        return  # a pipe has no position, a closed file none any more


async def _read(loop: Any, file: Any, offset: int, sent: int, count: int | None) -> bytes:
    """The next piece; b'' at the end. Only the first one may need a seek."""
    size = BLOCK if count is None else min(BLOCK, count - sent)
    if size == 0:
        return b''

    def read() -> bytes:
        if sent == 0 and hasattr(file, 'seek') and (offset or getattr(file, 'seekable', bool)()):
            file.seek(offset)
        piece = bytearray(size)
        n = file.readinto(piece)
        return bytes(memoryview(piece)[:n])

    if isinstance(file, io.BytesIO):
        return read()
    return await loop.run_in_executor(None, read)  # type: ignore[no-any-return]


# ---- by writing to a transport ----


async def _by_writing(loop: Any, transport: Any, file: Any, offset: int, count: int | None) -> int:
    writer = _Writer(transport)
    sent = 0
    try:
        while data := await _read(loop, file, offset, sent, count):
            await writer.writable()
            transport.write(data)
            sent += len(data)
        await writer.writable()
        return sent
    finally:
        _move(file, offset, sent)
        writer.restore()


class _Writer(asyncio.Protocol):
    """Stands in for a transport's protocol while a file is written to it: knows when the transport takes more."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._reading = transport.is_reading()
        self._was_paused = self._paused = bool(getattr(transport, '_protocol_paused', False))
        self._waiter: asyncio.Future[None] | None = None
        self._gone = False
        self._error: Exception | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    async def writable(self) -> None:
        """Wait until the transport takes more. Raises if the connection has ended."""
        if self._paused and not self._gone:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._gone or self._transport.is_closing():
            raise self._error or ConnectionError('Connection closed by peer')

    def restore(self) -> None:
        if self._gone:
            return
        self._transport.set_protocol(self._protocol)
        if self._reading:
            self._transport.resume_reading()
        # what it missed
        if self._was_paused and not self._paused:
            self._protocol.resume_writing()
        elif self._paused and not self._was_paused:
            self._protocol.pause_writing()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone, self._error = True, exc
        self._wake()
        self._protocol.connection_lost(exc)

    # reading is paused; what a transport had in hand all the same is the protocol's

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()  # type: ignore[no-any-return]
