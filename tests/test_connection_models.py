"""A state machine: the same operations, drawn at random, on a connection of glassloop and on one of asyncio, plain and over
TLS. After each of them both must have delivered the same and be in the same state; at the end each has been lost exactly once,
and its peer has everything.

Left out is what is different on purpose: what comes after close() (asyncio over TLS fails), what is written after the peer's
end (asyncio over TLS drops it), abort() after two calls of close() (does nothing with asyncio over TLS), and at which byte
a protocol is told to pause writing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import ssl
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from tls_peer import client_context, server_context

pytestmark = pytest.mark.extra("compares with asyncio")

bounded = settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, database=None)
SERVER, CLIENT = server_context(), client_context()
UNREAD = 100_000  # bytes that the sockets hold for sure


class Above(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []
        self.paused = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert data and self.events[-1] == "made"
        self.data += data

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(f"lost: {type(exc).__name__}")

    def pause_writing(self) -> None:
        self.paused += 1
        assert self.paused == 1

    def resume_writing(self) -> None:
        self.paused -= 1
        assert self.paused == 0


class World:
    """One of the two: a loop, a connection on it, and its peer, a socket."""

    def __init__(self, make_loop: Any, secure: bool) -> None:
        self.loop = make_loop()
        self.reports: list[Any] = []
        self.loop.set_exception_handler(lambda loop, context: self.reports.append(context))
        ours, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.received = b""
        self.ended = False  # the peer has seen the end of what we send
        self.tls: ssl.SSLObject | None = None
        options: dict[str, Any] = {}
        if secure:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = SERVER.wrap_bio(self.incoming, self.outgoing, server_side=True)
            options = {"ssl": CLIENT, "server_hostname": "localhost"}
        connecting = self.loop.create_task(self.loop.create_connection(Above, sock=ours, **options))
        shaken = False
        while not connecting.done():
            self.turns(2)
            if self.tls is not None and not shaken:
                with contextlib.suppress(ssl.SSLWantReadError):
                    self.take()
                    self.tls.do_handshake()
                    shaken = True
                self.give()
        self.transport, self.protocol = connecting.result()

    def turns(self, n: int = 8) -> None:
        for _ in range(n):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def take(self) -> bytes:
        """What the peer's socket has; the end of the stream is noted."""
        data = b""
        while True:
            try:
                piece = self.sock.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionError:
                self.ended = True
                break
            if not piece:
                self.ended = True
                break
            data += piece
        if self.tls is not None:
            self.incoming.write(data)
        return data

    def give(self, data: bytes = b"") -> None:
        if self.tls is not None:
            data = self.outgoing.read()
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[self.sock.send(data) :]

    def peer_reads(self) -> None:
        for _ in range(3):
            self.turns()
            data = self.take()
            if self.tls is None:
                self.received += data
                continue
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while piece := self.tls.read(1 << 20):
                    self.received += piece
                self.ended = True  # a close_notify

    def peer_sends(self, data: bytes) -> None:
        if self.tls is not None:
            self.tls.write(data)
        self.give(data)

    def peer_says_goodbye(self) -> None:
        assert self.tls is not None
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.give()

    def seen(self, closed: bool) -> Any:
        """All that a program can see; not what asyncio over TLS does with the answer to our own close()."""
        events = [event for event in self.protocol.events if not (closed and event == "eof")]
        lost = any(event.startswith("lost") for event in events)
        reading = lost or self.transport.is_closing() or self.transport.is_reading()
        return self.protocol.data, events, lost or self.transport.is_closing(), reading, len(self.reports)

    def close(self) -> None:
        self.sock.close()
        self.turns()
        if not self.loop.is_closed():
            self.transport.abort()
            self.turns()
            self.loop.close()


class ConnectionMachine(RuleBasedStateMachine):
    secure = False

    def __init__(self) -> None:
        super().__init__()
        glassloop = importlib.import_module("glassloop")
        self.worlds = [World(make, self.secure) for make in (glassloop.new_event_loop, asyncio.new_event_loop)]
        self.written = b""
        self.sent = b""
        self.unread = 0
        self.paused = self.closed = self.aborted = self.peer_ended = False
        self.closed_twice = False
        self.number = 0

    def both(self, do: Any) -> None:
        for world in self.worlds:
            do(world)
            world.turns()
        ours, theirs = (world.seen(self.closed or self.aborted) for world in self.worlds)
        assert ours == theirs
        if not (self.paused or self.closed or self.aborted):
            assert ours[0] == self.sent

    def fresh(self, size: int) -> bytes:
        self.number += 1
        return bytes([self.number % 256]) * size

    open = precondition(lambda self: not (self.closed or self.aborted or self.peer_ended))
    sizes = st.sampled_from([1, 100, 5000, 16384, 16385, 40_000])

    @open
    @rule(size=sizes, kind=st.sampled_from([bytes, bytearray, memoryview]), lines=st.booleans())
    def write(self, size: int, kind: Any, lines: bool) -> None:
        if self.unread + size > UNREAD:
            self.peer_reads()
        data = self.fresh(size)
        self.written += data
        self.unread += size
        if lines:
            self.both(lambda world: world.transport.writelines([kind(data[:10]), kind(data[10:])]))
        else:
            self.both(lambda world: world.transport.write(kind(data)))

    @open
    @rule(size=sizes, pieces=st.integers(1, 3))
    def peer_sends(self, size: int, pieces: int) -> None:
        if len(self.sent) - len(self.worlds[0].protocol.data) + size * pieces > UNREAD:
            return
        for _ in range(pieces):
            data = self.fresh(size)
            self.sent += data
            for world in self.worlds:
                world.peer_sends(data)
        self.both(lambda world: None)

    @rule()
    def peer_reads(self) -> None:
        self.both(lambda world: world.peer_reads())
        self.unread = 0
        if not self.aborted:
            assert self.worlds[0].received == self.worlds[1].received == self.written

    @open
    @rule()
    def pause_reading(self) -> None:
        self.paused = True
        self.both(lambda world: world.transport.pause_reading())

    @precondition(lambda self: self.paused and not (self.closed or self.aborted))
    @rule()
    def resume_reading(self) -> None:
        self.paused = False
        self.both(lambda world: world.transport.resume_reading())

    @open
    @rule()
    def the_peers_stream_ends(self) -> None:
        self.peer_ended = True
        self.both(lambda world: world.sock.shutdown(socket.SHUT_WR))

    @precondition(lambda self: self.secure and not (self.closed or self.aborted or self.peer_ended))
    @rule()
    def the_peer_says_goodbye(self) -> None:
        self.peer_ended = True
        self.both(lambda world: world.peer_says_goodbye())

    @open
    @precondition(lambda self: self.sent == self.worlds[0].protocol.data)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.both(lambda world: world.transport.close())

    @precondition(lambda self: not (self.aborted or (self.secure and self.closed_twice)))
    @rule()
    def abort(self) -> None:
        self.aborted = True
        self.both(lambda world: world.transport.abort())

    @rule()
    def all_over_again(self) -> None:
        """What may be said twice."""
        if self.closed:
            self.closed_twice = True
            self.both(lambda world: world.transport.close())
        if self.aborted:
            self.both(lambda world: world.transport.abort())

    def teardown(self) -> None:
        try:
            if self.paused and not (self.closed or self.aborted):
                self.resume_reading()
            if not (self.closed or self.aborted or self.peer_ended):
                self.close()
            self.peer_reads()
            if self.closed and not self.aborted:
                self.both(lambda world: world.sock.shutdown(socket.SHUT_WR))
            self.peer_reads()
            for world in self.worlds:
                assert sum(event.startswith("lost") for event in world.protocol.events) == 1, world.protocol.events
                assert world.ended
        finally:
            for world in self.worlds:
                world.close()


class TLSMachine(ConnectionMachine):
    secure = True


def test_a_connection_does_what_asyncios_does() -> None:
    run_state_machine_as_test(ConnectionMachine, settings=bounded)


def test_a_connection_over_tls_does_what_asyncios_does() -> None:
    run_state_machine_as_test(TLSMachine, settings=bounded)
