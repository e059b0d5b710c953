"""Fixtures for tests of the control socket: `private` and `start`. A plugin: `pytest_plugins = ("outside_fixtures",)`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glassloop.control import exposed, folder


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for sockets of this test alone, and no exposed functions of other tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("GLASSLOOP_CONTROL", raising=False)
    monkeypatch.setattr(folder, "_shared_path", lambda: str(tmp_path / "shared"))
    monkeypatch.setattr(exposed, "_of_process", {})
    return tmp_path / "glassloop"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program, and wait until it printed a line."""
    started: list[subprocess.Popen[str]] = []

    def start(
        source: str, *launcher: str, env: dict[str, str] | None = None, first: str | None = None
    ) -> subprocess.Popen[str]:
        file = tmp_path / f"app{len(started)}.py"
        file.write_text("import asyncio, os, sys, time\nimport glassloop\n" + textwrap.dedent(source))
        program = subprocess.Popen(
            [sys.executable, *launcher, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
        )
        started.append(program)
        assert program.stdout is not None
        line = program.stdout.readline()
        if not line:
            pytest.fail(f"it ended: {program.communicate()[1]}")
        assert first is None or line == first
        return program

    yield start
    for program in started:
        if program.poll() is None:
            program.kill()
        program.communicate()
