"""Tests of what the runtime doesn't have yet: they are not run.

Each entry goes away with the piece of work that brings the thing.
"""

from __future__ import annotations

from lists import Entry

TLS = "TLS"
DATAGRAMS = "datagram endpoints"
PIPES = "pipe transports"
SUBPROCESSES = "subprocesses"
SENDFILE = "sendfile"

SCOPE: tuple[Entry, ...] = ()
