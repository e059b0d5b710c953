"""What the system knows of processes."""

from __future__ import annotations

import os
from multiprocessing import resource_tracker


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
