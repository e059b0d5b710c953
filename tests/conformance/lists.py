"""The form of the two lists, scope.py and expected.py, and the rules that keep them strict.

An entry names tests by a shell pattern over `module.Class.test`, a span of Python versions, and the reason.
An entry that matches no test of a whole run is an error: it hides a misspelling or a test that is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

Version = tuple[int, ...]

EVERY_MODE = ("drop-in", "whole")
EVERY_BUILD = ("compiled", "interpreted")


@dataclass(frozen=True)
class Entry:
    """`until` is inclusive: (3, 12) takes in every 3.12.x, (3, 12, 5) ends there."""

    tests: str
    reason: str
    since: Version = (3, 11)
    until: Version = (3, 99)
    modes: tuple[str, ...] = EVERY_MODE
    builds: tuple[str, ...] = EVERY_BUILD

    def applies(self, version: Version, mode: str, build: str) -> bool:
        is_meant = self.since <= version and version[: len(self.until)] <= self.until
        return is_meant and mode in self.modes and build in self.builds

    def matches(self, test: str) -> bool:
        return fnmatchcase(test, self.tests)

    def __str__(self) -> str:
        return f"{self.tests} ({self.reason})"


class Marks:
    """The entries that apply to one run, and which of them matched a test."""

    def __init__(self, entries: Iterable[Entry], version: Version, mode: str, build: str) -> None:
        self.entries = [entry for entry in entries if entry.applies(version, mode, build)]
        self._unused = set(self.entries)

    def find(self, test: str) -> Entry | None:
        found = [entry for entry in self.entries if entry.matches(test)]
        self._unused.difference_update(found)
        return found[0] if found else None

    @property
    def unused(self) -> list[Entry]:
        return [entry for entry in self.entries if entry in self._unused]
