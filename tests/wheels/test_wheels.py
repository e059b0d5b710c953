"""Installing: with a compiler, without one, and with one when a module is broken.

`make test-install` runs this. Each test installs a copy of the source tree into a fresh environment, without
network: Cython and setuptools come from the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "src")
TELL = "import glassloop; print(glassloop.compiled)"
WORK = """
import asyncio, glassloop

async def main():
    async with asyncio.timeout(10):
        return sum(await asyncio.gather(*(asyncio.sleep(0, number) for number in range(100))))

print(glassloop.run(main()))
"""

pytestmark = pytest.mark.timeout(400)


class Machine:
    """A copy of the source tree and an environment to install it into."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, self.source / part)
        venv.create(folder / "env", with_pip=True)
        self.python = folder / "env" / "bin" / "python"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.environment = {
            name: value for name, value in os.environ.items() if name not in ("CC", "PYTHONPATH", "CFLAGS")
        }

    def install(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Make the wheel with this Python's build tools, and install it where there are none."""
        wheels = self.source.parent / "wheels"
        options = ["-v", "--no-deps", "--no-build-isolation", "-w", wheels]
        command = [sys.executable, "-m", "pip", "wheel", *options, "."]
        made = self.run(command, self.source, **environment)
        if made.returncode == 0:
            [wheel] = wheels.iterdir()
            installed = self.run([self.python, "-m", "pip", "install", "--no-deps", wheel], self.elsewhere)
            assert installed.returncode == 0, installed.stdout
        return made

    def run(self, command: list[Any], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def says(self, code: str) -> str:
        done = self.run([self.python, "-c", code], self.elsewhere)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def version(self) -> str:
        return self.says("import importlib.metadata; print(importlib.metadata.version('glassloop'))")

    def without_compiler(self) -> dict[str, str]:
        """A PATH with nothing but the interpreter on it."""
        empty = self.elsewhere / "bin"
        empty.mkdir(exist_ok=True)
        (empty / "python3").symlink_to(sys.executable)
        return {"PATH": str(empty)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_with_a_compiler_the_compiled_runtime_is_installed(machine: Machine) -> None:
    made = machine.install()
    assert made.returncode == 0, made.stdout
    assert machine.says(TELL) == "True"
    assert machine.says(WORK) == "4950"
    assert "+" not in machine.version()


def test_without_a_compiler_the_interpreted_runtime_is_installed_and_says_so(machine: Machine) -> None:
    made = machine.install(**machine.without_compiler())
    assert made.returncode == 0, made.stdout
    assert "INTERPRETED" in made.stdout
    assert machine.says(TELL) == "False"
    assert machine.says(WORK) == "4950"
    assert machine.version().endswith("+interpreted")


def test_a_compiler_that_does_not_work_counts_as_none(machine: Machine) -> None:
    made = machine.install(CC="/nonexistent/cc")
    assert made.returncode == 0, made.stdout
    assert "INTERPRETED" in made.stdout
    assert machine.says(TELL) == "False"


def test_interpreted_on_request(machine: Machine) -> None:
    made = machine.install(GLASSLOOP_PURE="1")
    assert made.returncode == 0, made.stdout
    assert machine.says(TELL) == "False"


def test_compiled_on_request_fails_without_a_compiler(machine: Machine) -> None:
    made = machine.install(GLASSLOOP_COMPILED="1", CC="/nonexistent/cc")
    assert made.returncode != 0
    assert "GLASSLOOP_COMPILED" in made.stdout


@pytest.mark.parametrize(
    ("name", "addition"),
    [
        ("task.py", "\ndef broken(:\n"),
        ("leaf.pyx", "\ncdef int broken():\n    return no_such_name()\n"),
        ("leaf.h", "\n#error broken\n"),
    ],
)
def test_a_module_that_does_not_compile_fails_the_install(machine: Machine, name: str, addition: str) -> None:
    with (machine.source / "src" / "glassloop" / "core" / name).open("a") as source:
        source.write(addition)
    made = machine.install()
    assert made.returncode != 0, made.stdout
    assert "INTERPRETED" not in made.stdout


def test_what_was_removed_from_the_source_is_not_in_the_next_wheel(machine: Machine) -> None:
    package = machine.source / "src" / "glassloop"
    (package / "gone.py").write_text("here = True\n")
    (package / "gone.pxd").write_text("")
    assert machine.install().returncode == 0
    assert machine.says("import glassloop.gone as gone; print(gone.__file__[-3:], gone.here)") == ".so True"
    shutil.rmtree(machine.source.parent / "wheels")
    (package / "gone.py").unlink()
    (package / "gone.pxd").unlink()
    machine.run([machine.python, "-m", "pip", "uninstall", "-y", "glassloop"], machine.elsewhere)
    assert machine.install().returncode == 0
    assert machine.says("import importlib.util; print(importlib.util.find_spec('glassloop.gone'))") == "None"


def test_an_installed_package_is_complete(machine: Machine) -> None:
    assert machine.install(GLASSLOOP_PURE="1").returncode == 0
    where = Path(machine.says("import glassloop; print(glassloop.__path__[0])"))
    source = machine.source / "src" / "glassloop"
    files = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert [str(path) for path in files if path.suffix != ".pyc" and not (where / path).exists()] == []
    assert (where / "py.typed").exists()
