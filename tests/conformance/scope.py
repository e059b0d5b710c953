"""Tests of what the runtime doesn't have yet: they are not run (`--all` runs them too).

Each entry goes away with the piece of work that brings the thing. There is nothing left.
"""

from __future__ import annotations

from lists import Entry

SCOPE: tuple[Entry, ...] = ()
