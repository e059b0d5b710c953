"""For tests of the control socket: programs under control, and the command called in the test's process.

Mostly the program is a thread of that process: `glassloop ps` and the others do not care. Where a process must die, fork,
hang or be interrupted, it is a real one (`start`, in outside_fixtures.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import glassloop
from glassloop.cli import main
from glassloop.control import client, frames


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Look until it holds; what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
    return found


class Loop:
    """A loop in a thread, under control. `main` gets the loop's stopping event."""

    def __init__(self, body: Callable[[], Coroutine[Any, Any, Any]] | None = None, control: bool = True) -> None:
        self.body = body
        self.control = control
        self.reports: list[dict[str, Any]] = []
        self.ready = threading.Event()
        self.error: BaseException | None = None

    def __enter__(self) -> Loop:
        self.thread = threading.Thread(target=self._run, name="program")
        self.thread.start()
        assert self.ready.wait(30)
        if self.error is not None:
            self.thread.join()
            raise self.error
        return self

    def _run(self) -> None:
        try:
            glassloop.run(self._main(), control=self.control)
        except BaseException as error:
            self.error = error
        finally:
            self.ready.set()

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda loop, report: self.reports.append(report))
        self.end = asyncio.Event()
        body = None if self.body is None else asyncio.create_task(self.body(), name="body")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.ready.set()
        await self.end.wait()
        if body is not None:
            body.cancel()

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join(30)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"{self.code}: {self.out!r} {self.err!r}"

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


def glass(*words: object, stdin: str = "") -> Said:
    """`glassloop WORDS...`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.StringIO(stdin)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    finally:
        sys.stdin = before
    return Said(code, out.getvalue(), err.getvalue())


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "glassloop", *map(str, words)]


HERE = os.getpid()


def sockets(where: Path) -> list[str]:
    return sorted(os.listdir(where)) if where.is_dir() else []


def listed(pid: int = HERE) -> dict[str, Any]:
    [found] = [entry for entry in glass("ps", "--json").json if entry["pid"] == pid]
    return found


def tasks_of(pid: int = HERE, *options: object) -> dict[str, dict[str, Any]]:
    """name -> task"""
    told = glass("tree", pid, "--json", *options).json
    return {task["name"]: task for loop in told["loops"] for task in loop["tasks"]}


async def forever() -> None:
    await asyncio.Event().wait()


def call_request(name: str, args: Any = (), do: str | None = "call") -> dict[str, Any]:
    fields = {"loop": None, "name": name, "args": list(args), "kwargs": {}, "wait": True}
    return fields if do is None else {"glassloop": 1, "do": do, **fields}


def ask_raw(*parts: bytes | dict[str, Any], close: bool = False, timeout: float = 30) -> list[dict[str, Any]]:
    """Send bytes (or frames) to this process' server; what it answers until it closes."""
    connection = client._connect(HERE, 5)
    connection.settimeout(timeout)
    decoder, answers = frames.Decoder(), []
    with connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                connection.sendall(part if isinstance(part, bytes) else frames.encode(part))
            if close:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answers += decoder.feed(data)
    assert decoder.is_empty()
    return answers
