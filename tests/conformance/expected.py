"""Tests that fail on the runtime, each with the reason: the strict list.

A test on it that passes is an unexpected pass and fails the run. The list is for tests of CPython's private
parts and for differences that are meant; it is not for faults.
"""

from __future__ import annotations

from lists import Entry

EXPECTED: tuple[Entry, ...] = ()
