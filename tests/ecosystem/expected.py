"""Tests that pass on asyncio and fail on the runtime, each with the reason: the strict list.

A test on it that passes is an unexpected pass and fails the run, unless the entry says `sometimes`; so does an entry
that matches no test of a whole run. The list is for tests of asyncio's private parts and for differences that are
meant; it is not for faults.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

Version = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """`tests`: a shell pattern over a suite's test ids; `[` is a plain character in it. `until` is inclusive."""

    suite: str
    tests: str
    reason: str
    sometimes: bool = False
    since: Version = (3, 11)
    until: Version = (3, 99)

    def applies(self, suite: str, version: Version) -> bool:
        return self.suite == suite and self.since <= version and version[: len(self.until)] <= self.until

    def matches(self, test: str) -> bool:
        return matches(test, self.tests)


def matches(test: str, pattern: str) -> bool:
    return fnmatchcase(test, pattern.replace("[", "[[]"))


class Expected:
    """The entries for one suite, and which of them matched a test."""

    def __init__(self, suite: str, version: Version, entries: Iterable[Entry] | None = None) -> None:
        self.entries = [entry for entry in (EXPECTED if entries is None else entries) if entry.applies(suite, version)]
        self.used: set[Entry] = set()

    def find(self, test: str) -> Entry | None:
        found = [entry for entry in self.entries if entry.matches(test)]
        self.used.update(found)
        return found[0] if found else None

    @property
    def unused(self) -> list[Entry]:
        return [entry for entry in self.entries if entry not in self.used]


EXPECTED = (
    Entry("uvicorn", "tests/test_auto_detection.py::test_loop_auto", "looks at the name of the loop's module: asyncio"),
    Entry(
        "websockets",
        "tests/legacy/test_client_server.py::*ClientServerTests::test_explicit_socket",
        "a subclass of socket counts the calls of its recv() and send(); ours are the system's, on the descriptor",
    ),
    Entry(
        "websockets",
        "tests/asyncio/test_connection.py::*ConnectionTests::test_*_address",
        "patches get_extra_info() in asyncio.BaseTransport, which our transports don't inherit",
    ),
    Entry(
        "aiohttp",
        "tests/test_connector.py::test_start_tls_connection_returns_none",
        "start_tls() on a transport that is closing returns None in asyncio; ours raises ConnectionAbortedError. aiohttp's plugin "
        "doesn't close the loop of a test that fails: a later test may get its ResourceWarning, and so fail by chance",
    ),
    Entry(
        "aiohttp",
        "tests/test_web_functional.py::test_keepalive_expires_on_time*",
        "replaces loop.time() by a mock, to have timers come due; our loop asks its clock",
    ),
    Entry(
        "anyio",
        "tests/test_to_thread.py::test_asyncio_run_does_not_leak_event_loop",
        "collects garbage at once after run(): a worker thread of anyio's, told to end, may not have ended yet, and holds its "
        "loop; on asyncio it is the same matter of chance",
        sometimes=True,
    ),
)
