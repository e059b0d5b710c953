"""System calls that fail: nothing is lost, nothing is left behind, nothing hangs.

The cases are in faults/cases.py. All of them run in one process, in which a small library of C stands before the system
calls (faults/shim.c) and makes those fail that a case names, on the descriptor that it names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FAULTS = Path(__file__).resolve().parent / "faults"
COMPILER = next((cc for cc in (os.environ.get("CC", ""), "cc", "gcc", "clang") if cc and shutil.which(cc)), None)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the library stands before Linux's calls"),
    pytest.mark.skipif(COMPILER is None, reason="the library has to be compiled"),
]


def cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fault_cases", FAULTS / "cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters() -> list[Any]:
    module = cases()
    return [
        pytest.param(name, marks=pytest.mark.extra(module.EXTRA[name]) if name in module.EXTRA else ())
        for name in (*module.CASES, *module.BARE)
    ]


@pytest.fixture(scope="module")
def outcomes(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Case -> what went wrong, or None."""
    assert COMPILER is not None
    shim = tmp_path_factory.mktemp("faults") / "shim.so"
    command = [COMPILER, "-O1", "-shared", "-fPIC", "-o", str(shim), str(FAULTS / "shim.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    child = subprocess.run(
        [sys.executable, str(FAULTS / "cases.py"), "asyncio" if runtime == "asyncio" else "glassloop", str(shim)],
        env={**os.environ, "LD_PRELOAD": ":".join(filter(None, [os.environ.get("LD_PRELOAD"), str(shim)]))},
        capture_output=True,
        text=True,
        timeout=55,
    )
    found: dict[str, str | None] = {}
    for line in child.stdout.splitlines():
        said = json.loads(line)
        if "begun" in said:
            found[said["begun"]] = f"the process ended in it:\n{child.stderr[-5000:]}"
        else:
            found[said["case"]] = said["failed"]
    return found


@pytest.mark.parametrize("name", parameters())
def test(outcomes: dict[str, str | None], name: str) -> None:
    assert name in outcomes, "the process ended before"
    if outcomes[name] is not None:
        pytest.fail(outcomes[name], pytrace=False)
