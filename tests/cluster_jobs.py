"""Functions that test_cluster.py has run elsewhere: workers import this file."""

from __future__ import annotations

import contextvars
import os
import pickle
import sys
from typing import Any

from glassloop import report_progress

wanted: contextvars.ContextVar[str] = contextvars.ContextVar("wanted", default="nothing")


def same(value: Any) -> Any:
    return value


def note(log: str, number: int) -> int:
    """Leaves a line that tells that it was called, and where."""
    with open(log, "a") as file:
        file.write(f"{number} {os.getpid()}\n")
    return number


def note_and_wait(log: str, number: int, gate: str) -> int:
    """Says so when it has begun; goes on when somebody has opened the gate, a FIFO, for writing; says so again."""
    note(log, number)
    report_progress(os.getpid())
    with open(gate) as file:
        file.read()
    note(log, -number)
    return number


def note_and_die(log: str, number: int) -> None:
    note(log, number)
    os.kill(os.getpid(), 9)


def note_and_give(log: str, number: int, size: int) -> bytes:
    note(log, number)
    return os.urandom(size)


def count(number: int) -> str:
    for done in range(number):
        report_progress({"done": done})
    return "counted"


def length(log: str, number: int, value: Any) -> int:
    note(log, number)
    return len(value)


class Pixels:
    """Pickled out of band, as NumPy's arrays are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __sizeof__(self) -> int:
        return len(self.data)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Pixels, (pickle.PickleBuffer(self.data),)


def first_then_changed(pixels: Pixels) -> int:
    """What is there first; and writes something else over it."""
    first: int = pixels.data[0]
    pixels.data[0] = 99
    return first


class Odd(Exception):
    """Not to be called with its args."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


def fail(kind: str) -> None:
    """Raises one of several."""
    try:
        deeper(kind)
    except OSError as e:
        raise ValueError("caused", 7) from e


def deeper(kind: str) -> None:
    if kind == "os":
        raise FileNotFoundError(2, "No such file", "x.txt")
    if kind == "odd":
        raise Odd(code=5)
    if kind == "unpicklable":
        raise Unpicklable("has no pickle")
    if kind == "context":
        try:
            raise Unpicklable("before")
        except Unpicklable:
            raise KeyError("after")
    if kind == "recursion":
        deeper(kind)
    if kind == "exit":
        sys.exit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "noted":
        error = KeyError("k")
        error.add_note("a note")
        raise error
    raise AssertionError(kind)


def what_is_wanted() -> str:
    found = wanted.get()
    wanted.set("changed on the worker")
    return found
