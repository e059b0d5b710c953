"""The servers that some suites need: Debian's redis-server and postgresql, started here and ended here.

Each runs on loopback, on a port that was free, with its files in a temporary folder that goes with it. Where the
binaries aren't installed, the suites that need them are not run, and say so.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0


class NotAvailable(Exception):
    """Why a server can't be had here."""


@dataclass
class Server:
    """What a suite must be told of it."""

    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def _free_port(wanted: int = 0) -> int:
    """A port nobody listens on: the one that is wanted, or any."""
    try:
        with socket.create_server(("127.0.0.1", wanted)) as listening:
            port: int = listening.getsockname()[1]
            return port
    except OSError:
        if wanted == 0:
            raise
        return _free_port()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise NotAvailable(f"it did not start: {log.read_text(errors='replace')[-500:]}")


@contextlib.contextmanager
def _running(command: list[str], port: int, folder: Path, user: str | None = None) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, user=user)
    try:
        _wait_for(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def redis() -> Iterator[Server]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise NotAvailable("no redis-server here (Debian: install redis-server)")
    port = _free_port(6379)  # some tests take that for granted
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", name, "--save", "", "--appendonly", "no",
                   "--enable-debug-command", "yes"]
        with _running(command, port, Path(name)):
            url = f"redis://127.0.0.1:{port}/0"
            yield Server([f"--redis-url={url}"], {"REDIS_URL": url})


def _postgres_folder() -> Path:
    """The newest installed PostgreSQL's programs: Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path is not None:
        return Path(on_path).resolve().parent
    raise NotAvailable("no PostgreSQL here (Debian: install postgresql)")


def _postgres_user() -> str | None:
    """Its server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NotAvailable("PostgreSQL does not run as root, and there is no other user to run it as")


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    programs, user = _postgres_folder(), _postgres_user()
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, cwd=folder, user=user,
        )
        settings = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": name, "fsync": "off",
            "max_connections": 200, "jit": "off", "log_connections": "on", "max_prepared_transactions": 20,
        }
        command = [str(programs / "postgres"), "-D", str(data)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        with _running(command, port, folder, user):
            _wait_until_ready(programs, port)
            yield Server([], {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": "postgres"})


def _wait_until_ready(programs: Path, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready).returncode != 0:
        if time.monotonic() > deadline:
            raise NotAvailable("it started, but takes no connections")
        time.sleep(0.1)


STARTERS = {"redis": redis, "postgresql": postgresql}
