"""One measurement: one row on one runtime, in fresh processes. Each kind of row has its function here."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import cpu_clock
from loops import Runtime, environment
from rows import Row

HERE = Path(__file__).resolve().parent
LIMIT = 30.0  # seconds that a measured process may take, besides the measurement itself

Sample = dict[
    str, Any
]  # "value": an operation's cost in the row's unit; "ops", "cpu", "wall"... if they exist


class MeasurementFailed(Exception):
    """The measured program failed. The text is what it said."""


class NotAvailable(Exception):
    """It can't be measured here. The text says why."""


@dataclass(frozen=True)
class Settings:
    seconds: float  # CPU or wall time of one measurement
    client: tuple[str, ...]  # the load client's command
    folder: str  # for sockets
    gc: bool = True
    environment: tuple[tuple[str, str], ...] = ()  # added to every measured process
    seed: int = 0  # of str hashes, the same for all runtimes of a round

    @property
    def limit(self) -> float:
        return LIMIT + 10 * self.seconds

    def env(self, runtime: Runtime) -> dict[str, str]:
        base = {**os.environ, "PYTHONHASHSEED": str(self.seed), **dict(self.environment)}
        return environment(runtime, base)


class Process:
    """A process that talks in lines of JSON. Leaving the block kills it."""

    def __init__(self, command: list[str], limit: float, env: dict[str, str] | None = None) -> None:
        self.limit = limit
        self.errors = tempfile.TemporaryFile()  # closed in __exit__
        self.rest = b""
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        self.pid = self.process.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def said_on_stderr(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        deadline = time.monotonic() + self.limit
        fd = self.process.stdout.fileno()
        while b"\n" not in self.rest:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise MeasurementFailed(f"nothing came in {self.limit:.0f} s\n{self.said_on_stderr()}")
            data = os.read(fd, 65536)
            if not data:
                self.process.wait()
                raise MeasurementFailed(self.said_on_stderr() or f"exit code {self.process.returncode}")
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        if "unavailable" in said:
            raise NotAvailable(said["unavailable"])
        return said


def child(settings: Settings, runtime: Runtime, **order: Any) -> Process:
    order |= {
        "seconds": settings.seconds,
        "gc": settings.gc,
        "folder": settings.folder,
        "limit": settings.limit,
    }
    command = [sys.executable, str(HERE / "child.py"), json.dumps(order)]
    return Process(command, settings.limit + 5, settings.env(runtime))


def start_load(settings: Settings, arguments: dict[str, Any]) -> Process:
    client = [sys.executable, str(HERE / "load_tls.py")] if "tls" in arguments else settings.client
    return Process([*client, *(f"{key}={value}" for key, value in arguments.items())], settings.limit)


def probe(settings: Settings, runtime: Runtime) -> str:
    """The runtime's version.

    Raises:
        NotAvailable: it isn't installed.
    """
    with child(settings, runtime, probe=runtime.key) as process:
        return str(process.line()["version"])


def measure(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    """What one operation of the row costs on the runtime.

    Raises:
        MeasurementFailed: the program crashed, hung or gave wrong bytes.
        NotAvailable: it can't be measured on this runtime or this machine.
    """
    sample = KINDS[row.kind](row, runtime, settings)
    if "value" not in sample:
        sample["value"] = sample["wall" if row.kind == "wall" else "cpu"] / sample["ops"] * 1e9
    return sample


def finished(process: Process, sample: Sample) -> Sample:
    """The sample, with what the measured process said on stderr: a row that isn't silent isn't right."""
    if said := process.said_on_stderr():
        sample["stderr"] = said[-2000:]
    return sample


def alone(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    with child(settings, runtime, row=row.name, loop=runtime.key) as process:
        sample = process.line()
        if process.process.wait(settings.limit):
            raise MeasurementFailed(process.said_on_stderr())
        return finished(process, sample)


def with_peer(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    with (
        start_load(settings, {"mode": "sink"}) as peer,
        child(settings, runtime, row=row.name, loop=runtime.key, port=peer.line()["port"]) as process,
    ):
        return finished(process, process.line())


def address_of(server: Process) -> dict[str, Any]:
    address = server.line()["address"]
    return {"path": address} if isinstance(address, str) else {"port": address[1]}


def under_load(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    with child(settings, runtime, row=row.name, loop=runtime.key) as server:
        address = address_of(server)
        warm, measured = int(settings.seconds * 400), int(settings.seconds * 1000)
        arguments = {**row.load, **address, "pid": server.pid, "warm": warm, "time": measured}
        with start_load(settings, arguments) as client:
            try:
                sample = client.line()
            except MeasurementFailed as error:
                raise MeasurementFailed(f"{error}\n{server.said_on_stderr()}".strip()) from None
            finished(server, sample)
            server.process.kill()  # before the client goes: no server shall meet broken connections
            server.process.wait()
            return sample


def under_wrk(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise NotAvailable("wrk isn't installed (on Debian: apt-get install wrk)")
    with child(settings, runtime, row=row.name, loop=runtime.key) as server:
        url = f"http://127.0.0.1:{address_of(server)['port']}/"

        def load(seconds: int) -> int:
            command = [wrk, "-t1", "-c32", f"-d{seconds}s", url]
            out = subprocess.run(command, capture_output=True, text=True, timeout=settings.limit).stdout
            requests = re.search(r"(\d+) requests in", out)
            if "Non-2xx" in out or "Socket errors" in out or not requests or requests[1] == "0":
                raise MeasurementFailed(f"{out}\n{server.said_on_stderr()}")
            return int(requests[1])

        load(1)
        clock = cpu_clock(server.pid)
        before, wall = time.clock_gettime(clock), time.perf_counter()
        requests = load(max(1, round(settings.seconds * 4)))
        cpu, wall = time.clock_gettime(clock) - before, time.perf_counter() - wall
        return finished(server, {"ops": requests, "cpu": cpu, "wall": wall})


def idle(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    with child(settings, runtime, row=row.name, loop=runtime.key) as server:
        arguments = {"mode": "hold", **address_of(server), "conns": row.n + 100}
        with start_load(settings, arguments) as client:
            server.line()
            client.say("go on")
            return finished(server, server.line())


def start_up(row: Row, runtime: Runtime, settings: Settings) -> Sample:
    env = settings.env(runtime)

    def run(program: str) -> float:
        with tempfile.TemporaryFile() as errors:
            to_file = [(os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
            command = [sys.executable, "-c", program]
            pid = os.posix_spawn(sys.executable, command, env, file_actions=to_file)
            _, status, usage = os.wait4(pid, 0)
            if status:
                errors.seek(0)
                raise MeasurementFailed(errors.read().decode(errors="replace"))
            return usage.ru_utime + usage.ru_stime

    run(runtime.start)  # byte code is cached now
    pairs = [(run("pass"), run(runtime.start)) for _ in range(max(8, round(settings.seconds * 20)))]
    bare, whole = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {"value": (whole - bare) * 1e9, "ops": 1, "bare": bare * 1e9}


KINDS: dict[str, Callable[[Row, Runtime, Settings], Sample]] = {
    "operation": alone,
    "wall": alone,
    "connect": with_peer,
    "serve": under_load,
    "http": under_wrk,
    "memory": alone,
    "idle": idle,
    "startup": start_up,
}
