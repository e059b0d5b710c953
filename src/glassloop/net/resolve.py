"""Names to addresses, on threads of its own.

The system's resolver blocks, so lookups run on threads; not on the default executor's, where jobs of any length would hold
up each connection. The threads are made as they are needed, up to 16 for a loop, end after ten idle seconds, and are
daemons: a lookup that hangs holds up neither close() nor the end of the process.

What needs no lookup is answered at once, without a thread (lookup.py): a host that is an address already (the IPv6 zone
is kept), or no host, with a numeric port. The answer is the one that the thread would have given.

A job's answer goes back through call_soon_threadsafe(), and only while the resolver is open: after close() no thread
touches the loop. Who asked and was cancelled is not served; a job that no thread took up yet is then dropped.

`ensure_resolved()` is what connect and bind use: an address with a literal host is complete by itself; anything else goes
through `loop.getaddrinfo`, which a program may have replaced.
"""
from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from .lookup import lookup

MAX_THREADS = 16
IDLE_SECONDS = 10.0

AddrInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

_IPV4 = socket.AF_INET
_IPV6 = socket.AF_INET6
_STREAM = socket.SOCK_STREAM
_DATAGRAM = socket.SOCK_DGRAM
_TCP = socket.IPPROTO_TCP
_UDP = socket.IPPROTO_UDP
_NUMERIC_NAME = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Resolver:
    """The resolver of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pool = _Pool()

    def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Awaitable[list[AddrInfo]]:
        """What socket.getaddrinfo() returns. Raises what it raises (socket.gaierror, UnicodeError, TypeError), and
        RuntimeError if the loop is closed, when awaited."""
        return lookup(self, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """What socket.getnameinfo() returns. Raises what it raises, and RuntimeError if the loop is closed."""
        self._check_open()
        if flags & _NUMERIC_NAME == _NUMERIC_NAME:
            return socket.getnameinfo(sockaddr, flags)
        return await self._submit(socket.getnameinfo, (sockaddr, flags))  # type: ignore[no-any-return]

    def _check_open(self) -> None:
        if self._loop.is_closed():
            raise RuntimeError('Event loop is closed')

    def _submit(self, call: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        job = _Job(self._loop, call, args)
        future = job.future
        assert future is not None  # settled by this thread, later
        self._pool.submit(job)
        return future

    def close(self) -> None:
        """End the threads. Those that are in a lookup end by themselves afterwards; their answers are dropped."""
        self._pool.close()


# ---- threads ----


class _Job:
    """One lookup: asked for by a future of the loop, run in a thread, answered in the loop."""

    __slots__ = ('args', 'call', 'error', 'future', 'loop', 'result')

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] | None = loop.create_future()
        self.call = call
        self.args = args
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.call(*self.args)
        except BaseException as e:
            # whatever it is, it belongs to whoever waits
            self.error = e

    def deliver(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            # nobody waits any more

    def _settle(self) -> None:
        # the error's traceback leads to this job: it may keep neither
        future, error = self.future, self.error
        self.future = self.error = None
        if future is None or future.done():
            return
        if error is None:
            future.set_result(self.result)
        else:
            future.set_exception(error)


class _Pool:
    """Threads that run jobs in the order in which they came. It knows no loop, so that a loop that was never closed can
    still be collected."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._threads: set[threading.Thread] = set()
        self._looking_up: set[threading.Thread] = set()
        self._made = 0
        self._closed = False

    def submit(self, job: _Job) -> None:
        with self._changed:
            self._jobs.append(job)
            free = len(self._threads) - len(self._looking_up)
            if free >= len(self._jobs) or len(self._threads) == MAX_THREADS:
                self._changed.notify()
                return
            self._made += 1
            thread = threading.Thread(target=self._work, name=f'glassloop-dns-{self._made}', daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # the system gives no more threads: those that are there will do, if there are any
                if not self._threads:
                    self._jobs.remove(job)
                    raise
            else:
                self._threads.add(thread)

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                while not self._jobs:
                    if self._closed or not (self._changed.wait(IDLE_SECONDS) or self._jobs):
                        self._threads.discard(me)
                        return
                job = self._jobs.popleft()
                if job.future is not None and job.future.cancelled():
                    continue
                self._looking_up.add(me)
            job.run()
            with self._changed:
                self._looking_up.discard(me)
                if not self._closed:
                    job.deliver()
            # an idle thread keeps nothing of its last job alive
            del job

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._jobs.clear()
            free = self._threads - self._looking_up
            self._changed.notify_all()
        for thread in free:
            thread.join()


# ---- addresses ----


async def ensure_resolved(
    loop: asyncio.AbstractEventLoop,
    address: tuple[Any, ...],
    *,
    family: int = 0,
    type: int = socket.SOCK_STREAM,
    proto: int = 0,
    flags: int = 0,
) -> list[AddrInfo]:
    """The entries of getaddrinfo() for (host, port, [flowinfo, [scope_id]]); without a lookup where host is a literal.
    Raises OSError if there is none."""
    host, port = address[:2]
    info = literal(host, port, family, type, proto, *address[2:])
    if info is not None:
        return [info]
    infos: list[AddrInfo] = await loop.getaddrinfo(  # type: ignore[assignment]
        host, port, family=family, type=type, proto=proto, flags=flags
    )
    if not infos:
        raise OSError(f'getaddrinfo({host!r}) returned empty list')
    return infos


def literal(
    host: Any, port: Any, family: int, type: int, proto: int, flowinfo: int = 0, scope_id: int = 0
) -> AddrInfo | None:
    """The one entry of getaddrinfo() for a host that is an IPv4 or IPv6 address, with or without a zone ('fe80::1%eth0'),
    for TCP or UDP; None if it has to be looked up."""
    if proto and proto != _TCP and proto != _UDP:
        return None
    if type == _STREAM:
        proto = _TCP
    elif type == _DATAGRAM:
        proto = _UDP
    else:
        return None
    if port is None or (isinstance(port, (str, bytes)) and not port):
        port = 0
    else:
        try:
            port = int(port)
        except (TypeError, ValueError):
            return None  # a service's name
    if isinstance(host, bytes):
        host = host.decode('idna')
    if not isinstance(host, str):
        return None
    try:
        if ':' not in host:
            if family and family != _IPV4:
                return None
            socket.inet_pton(_IPV4, host)
            return _IPV4, type, proto, '', (host, port)
        if family and family != _IPV6:
            return None
        if '%' in host:
            return _zoned(host, port, type, proto, flowinfo)
        socket.inet_pton(_IPV6, host)
        return _IPV6, type, proto, '', (host, port, flowinfo, scope_id)
    except OSError:
        return None  # a name


def _zoned(host: str, port: int, type: int, proto: int, flowinfo: int) -> AddrInfo | None:
    """The zone's number is the scope: the system knows it. Raises OSError if there is no such interface."""
    infos = socket.getaddrinfo(host, port, _IPV6, type, proto, socket.AI_NUMERICHOST)
    address, port, _, scope_id = infos[0][4]  # type: ignore[misc]
    return _IPV6, type, proto, '', (address, port, flowinfo, scope_id)
