"""The smoke runs: a small program for each of some frameworks, on the loop under test.

A program is run as it stands, `python smoke/NAME.py` on asyncio and `python -m glassloop run smoke/NAME.py` on ours; it
checks what it gets, and that its loop is of the kind that ECOSYSTEM_LOOP names, and ends with exit code 0.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import projects
from servers import NotAvailable, Server

PASSED, FAILED, NOT_RUN = "passed", "failed", "NOT RUN"
LIMIT = 120.0

NEEDS: dict[str, tuple[str, ...]] = {
    "grpc_aio": (),
    "psycopg_async": ("postgresql",),
    "sqlalchemy_asyncpg": ("postgresql",),
    "dask_distributed": (),
    "taskiq_queue": ("redis",),
}
NAMES = tuple(NEEDS)


def run(
    name: str, loop: str, glassloop: Path, serving: Callable[[tuple[str, ...]], AbstractContextManager[Server]],
) -> tuple[str, str]:
    """(outcome, last line of what it said)."""
    try:
        python = projects.environment("smoke", projects.HERE / "requirements" / "smoke.txt")
        with serving(NEEDS[name]) as server:
            return _program(name, loop, glassloop, python, server)
    except (NotAvailable, projects.NotPossible) as why_not:
        return NOT_RUN, str(why_not)


def _program(name: str, loop: str, glassloop: Path, python: Path, server: Server) -> tuple[str, str]:
    program = str(projects.HERE / "smoke" / f"{name}.py")
    environment = {**os.environ, **server.environment, "ECOSYSTEM_LOOP": loop, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(python), program]
    if loop == "glassloop":
        environment["PYTHONPATH"] = str(glassloop)
        command = [str(python), "-m", "glassloop", "run", program]
    elif loop == "uvloop":
        return NOT_RUN, "the smoke programs are for asyncio and glassloop"
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        return FAILED, f"no end after {LIMIT:.0f} s; {said[-500:]}"
    if done.returncode != 0:
        return FAILED, f"exit code {done.returncode}: {done.stdout[-2000:]}"
    return PASSED, done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
