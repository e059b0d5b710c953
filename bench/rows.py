"""The registry of rows. A row is one small program whose cost per operation is compared.

A row's function is written once against `aio`, the module of the names (asyncio or glassloop), and runs on
every loop. How it is measured depends on its kind:

    operation   await function(aio, n) does n operations; its own process's CPU time
    wall        the same, but time on the wall counts: what is waited for is part of the cost
    connect     the same with a peer's port: await function(aio, n, port)
    serve       await function(aio, listener) starts a server; under the load client; the server's CPU time
    http        the same, under wrk
    memory      await function(aio, n) returns n objects; the growth of resident memory
    idle        await function(aio, listener, counter) starts a server; resident memory per connection held
    startup     the shortest program on the runtime, less the bare interpreter
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

BACKLOG = 1024


class Unavailable(Exception):
    """The row can't be run on this loop or this Python. The text says why."""


@dataclass(frozen=True)
class Row:
    name: str
    kind: str
    function: Callable[..., Any]
    n: int = 1  # operations in one batch
    native: bool = True  # the program differs when it uses glassloop's names
    interpreted: bool = False  # the interpreted runtime is measured as well
    quick: bool = True  # part of --quick
    unit: str = "ns"
    load: dict[str, int] = field(default_factory=dict)  # what the load client is told
    unix: bool = False
    udp: bool = False

    @property
    def theme(self) -> str:
        return self.function.__module__.removeprefix("rows_")


ROWS: dict[str, Row] = {}


def add(row: Row) -> None:
    if row.name in ROWS:
        raise ValueError(f"two rows are called {row.name!r}")
    ROWS[row.name] = row


def operation(name: str, n: int, *, native: bool = True) -> Callable[..., Any]:
    """Registers `async def function(aio, n)`, which does n operations."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        add(Row(name, "operation", function, n, native=native, interpreted=True))
        return function

    return register


def load_all() -> dict[str, Row]:
    """Imports every file of rows, in the order of the report. Each registers its own."""
    for theme in ("core", "sync", "net", "tls", "web", "process"):
        import_module(f"rows_{theme}")
    return ROWS
