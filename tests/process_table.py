"""What the system knows of processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

from peers import LIMIT

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """What it gives; TimeoutError if that takes too long."""
    async with asyncio.timeout(LIMIT):
        return await awaitable


async def there(path: Path) -> str:
    """When the file is there, which another process makes: its text."""
    end = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)
    return path.read_text()


def children() -> list[int]:
    """The numbers of our child processes, dead ones included. Not that of multiprocessing's resource tracker: whatever test
    has made locks or queues for other processes leaves it behind until this one ends."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found += [int(number) for number in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
    tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    return sorted(number for number in found if number != tracker)


def alive(pid: int) -> bool:
    """False for one that has ended and that nobody has waited for, too."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
