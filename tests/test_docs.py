"""What the documents show is what comes out: each program in them is run, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PROGRAM = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PROGRAMS = [
    pytest.param(program, output, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, (program, output) in enumerate(PROGRAM.findall(path.read_text(encoding="utf-8")), 1)
]


@pytest.mark.extra("glassloop's documents")
@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_prints_what_stands_below(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, program: str, output: str
) -> None:
    file = tmp_path / "program.py"
    file.write_text(program, encoding="utf-8")
    done = python("-W", "default::ResourceWarning", file)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (output.strip(), "", 0)


def test_there_are_such_programs() -> None:
    assert any(parameters.id == "concurrency-1" for parameters in PROGRAMS)
