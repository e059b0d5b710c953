"""The load client: builds load.c, and stands in for it where there is no C compiler.

    load.py mode=echo pid=... port=... ...      the same arguments and the same JSON as load.c, which see

The stand-in is a Python process with one selector. It is slower than the servers that it measures; CPU time
per operation stays comparable, because every loop is measured with the same client.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import selectors
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHUNK = 1 << 18


def cpu_clock(pid: int) -> int:
    """The clock of another process's CPU time, user and system, as Linux numbers it; for clock_gettime()."""
    return (~pid << 3) | 2


def client(prefer_python: bool = False) -> tuple[list[str], str]:
    """The command that starts the load client, and a note when it isn't the one in C."""
    python = [sys.executable, str(HERE / "load.py")]
    if prefer_python:
        return python, "the load client is the one in Python, as asked"
    command = shlex.split(os.environ.get("CC", "")) or next(
        ([cc] for cc in ("cc", "gcc", "clang") if shutil.which(cc)), []
    )
    if not command:
        return python, "no C compiler: the load client is the slow one in Python"
    source = HERE / "load.c"
    name = "load-" + hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    private = Path(tempfile.gettempdir()) / f"glassloop-bench-{os.getuid()}"
    for folder in (HERE.parent / "build" / "bench", private):
        program = folder / name
        if program.exists():
            return [str(program)], ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = program.with_name(f"{name}.{os.getpid()}")
            built = subprocess.run([*command, "-O2", "-o", part, source], capture_output=True, text=True)
        except OSError:
            continue
        if built.returncode:
            return (
                python,
                f"load.c doesn't compile, so the client is the slow one in Python: {built.stderr[:500]}",
            )
        part.replace(program)
        return [str(program)], ""
    return python, "no folder to build load.c in: the load client is the slow one in Python"


class Connection:
    def __init__(self) -> None:
        self.sent = self.got = 0


class Client:
    """What load.c does, in Python."""

    def __init__(self, mode: str, path: str = "", **numbers: str) -> None:
        self.mode, self.path = mode, path
        number = {key: int(value) for key, value in numbers.items()}
        self.pid, self.port = number.get("pid", 0), number.get("port", 0)
        self.conns = min(number.get("conns", 1), 20_000)
        self.request, self.response = number.get("request", 0), number.get("response", 0)
        self.ops, line = number.get("ops", 1), number.get("line", 0)
        self.type = socket.SOCK_DGRAM if number.get("udp") else socket.SOCK_STREAM
        self.warm, self.time = number.get("warm", 100) / 1e3, min(number.get("time", 500), 60_000) / 1e3
        self.payload = bytes(
            10 if line and i % line == line - 1 else 97 + (i + i // 997) % 26 for i in range(self.request)
        )
        self.exchanges = 0
        self.selector = selectors.DefaultSelector()

    def dial(self) -> socket.socket:
        if self.path:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.path)
        else:
            sock = socket.socket(socket.AF_INET, self.type)
            sock.connect(("127.0.0.1", self.port))
            if self.type == socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def begin(self) -> None:
        sock = self.dial()
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, Connection())
        self.send(sock, self.selector.get_key(sock).data)

    def send(self, sock: socket.socket, c: Connection) -> None:
        with contextlib.suppress(BlockingIOError):
            while c.sent < self.request:
                c.sent += sock.send(memoryview(self.payload)[c.sent :])
        more = selectors.EVENT_WRITE if c.sent < self.request else 0
        if self.selector.get_key(sock).events != selectors.EVENT_READ | more:
            self.selector.modify(sock, selectors.EVENT_READ | more, c)

    def receive(self, sock: socket.socket, c: Connection) -> None:
        try:
            data = sock.recv(CHUNK)
        except BlockingIOError:
            return
        if self.request == self.response and data != self.payload[c.got : c.got + len(data)]:
            raise RuntimeError("the response is not the request")
        c.got += len(data)
        if c.got > self.response:
            raise RuntimeError("the response is longer than it should be")
        if self.mode == "connect":
            if not data:
                if c.got < self.response:
                    raise RuntimeError("the server closed before its whole response")
                self.selector.unregister(sock)
                sock.close()
                self.exchanges += 1
                self.begin()
        elif not data:
            raise RuntimeError("the server closed a connection")
        elif c.got == self.response:
            self.exchanges += 1
            c.sent = c.got = 0
            self.send(sock, c)

    def drive(self) -> None:
        server_clock = cpu_clock(self.pid)
        for _ in range(self.conns):
            self.begin()
        start, marked = time.monotonic(), 0.0
        while True:
            ready = self.selector.select(5)
            if not ready:
                raise RuntimeError("nothing came for five seconds")
            for key, events in ready:
                if events & selectors.EVENT_WRITE:
                    self.send(key.fileobj, key.data)  # type: ignore[arg-type]
                if events & selectors.EVENT_READ:
                    self.receive(key.fileobj, key.data)  # type: ignore[arg-type]
            now = time.monotonic()
            if not marked:
                if now - start >= self.warm:
                    before, marked = self.exchanges, now
                    own, server = time.process_time(), time.clock_gettime(server_clock)
            elif now - marked >= self.time and self.exchanges > before:
                cpu = time.clock_gettime(server_clock) - server
                own = time.process_time() - own
                ops = (self.exchanges - before) * self.ops
                print(
                    json.dumps({"ops": ops, "cpu": cpu, "wall": now - marked, "client_cpu": own}), flush=True
                )
                sys.stdin.read()
                return

    def hold(self) -> None:
        kept = []
        for i in range(self.conns):
            if i == 100 and not sys.stdin.readline():
                raise RuntimeError("stdin ended")
            kept.append(self.dial())
        print(json.dumps({"held": len(kept)}), flush=True)
        sys.stdin.read()

    def sink(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(listener.getsockname())
        self.selector.register(datagrams, selectors.EVENT_READ)
        self.selector.register(listener, selectors.EVENT_READ)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            for key, _ in self.selector.select():
                sock = key.fileobj
                if sock is sys.stdin:
                    return
                if sock is datagrams:
                    data, peer_address = datagrams.recvfrom(CHUNK)
                    datagrams.sendto(data, peer_address)
                    continue
                if sock is listener:
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            peer, _ = listener.accept()
                            self.selector.register(peer, selectors.EVENT_READ)
                    continue
                assert isinstance(sock, socket.socket)
                if data := sock.recv(CHUNK):
                    sock.send(data)
                else:
                    self.selector.unregister(sock)
                    # no TIME_WAIT on the measured side: its ports would run out
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.close()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    worker = Client(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
    {"echo": worker.drive, "connect": worker.drive, "hold": worker.hold, "sink": worker.sink}[worker.mode]()


if __name__ == "__main__":
    main()
