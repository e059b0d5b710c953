"""What the system knows of processes."""

from __future__ import annotations

import os


def children() -> list[int]:
    """The numbers of our child processes, dead ones included."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found += [int(number) for number in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
    return sorted(found)


def alive(pid: int) -> bool:
    """False for one that has ended and that nobody has waited for, too."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
