"""A suite's folder under build/ecosystem: its tests, and an environment with what they need.

Both are made once and kept; a change of version, checksum, requirements or interpreter makes them anew. pip fetches
what is on PyPI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path

from suites import Source, Suite

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / "build" / "ecosystem"
TAG = sys.implementation.cache_tag
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


class NotPossible(Exception):
    """Why a suite's tests or environment can't be had."""


def _run(command: list[str], **options: object) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise NotPossible(f"{' '.join(command[:6])} ...: {done.stdout.strip()[-800:]}")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fetch(source: Source) -> Path:
    """The archive, checked against its checksum."""
    folder = CACHE / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{source.name}-{source.version}.tar.gz"
    if path.exists() and _checksum(path) == source.sha256:
        return path
    if source.url is not None:
        try:
            with urllib.request.urlopen(source.url, timeout=60) as answer, path.open("wb") as out:
                shutil.copyfileobj(answer, out)
        except OSError as error:
            raise NotPossible(f"{source.url}: {error}") from error
    else:
        wanted = folder / f"{source.name}.txt"
        wanted.write_text(f"{source.name}=={source.version} --hash=sha256:{source.sha256}\n")
        _run([*PIP, "download", "--no-deps", "--no-binary", ":all:", "--require-hashes", "-d", str(folder), "-r", str(wanted)])
    if not path.exists():
        raise NotPossible(f"pip did not leave {path.name}")
    if _checksum(path) != source.sha256:
        path.unlink()
        raise NotPossible(f"the checksum of {path.name} is not {source.sha256}")
    return path


def tests_of(suite: Suite) -> Path:
    """The folder with the suite's tests, unpacked."""
    folder = CACHE / suite.name / f"{suite.source.name}-{suite.source.version}"
    stamp = folder / ".unpacked"
    state = f"{suite.source.sha256} {suite.drop}"
    if stamp.exists() and stamp.read_text() == state:
        return folder
    archive = _fetch(suite.source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder.parent, filter="data") if hasattr(tarfile, "data_filter") else packed.extractall(folder.parent)
    if not folder.is_dir():
        raise NotPossible(f"{archive.name} holds no folder {folder.name}")
    for name in suite.drop:
        shutil.rmtree(folder / name)
    stamp.write_text(state)
    return folder


def environment(name: str, requirements: Path) -> Path:
    """The interpreter of an environment with these requirements."""
    folder = CACHE / name / f"venv-{TAG}"
    stamp = folder / ".made"
    state = f"{sys.version}\n{requirements.read_text()}"
    python = folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == state:
        return python
    print(f"{name}: installing what it needs", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    environment = {**os.environ, "PIP_NO_INPUT": "1"}
    _run([*PIP, "--python", str(python), "install", "--no-deps", "-r", str(requirements)], env=environment)
    stamp.write_text(state)
    return python


def requirements_of(suite: Suite) -> Path:
    return HERE / "requirements" / f"{suite.name}.txt"


def uvloop_folder() -> Path:
    """uvloop by itself, put on the path only when it is what is run: suites that find it use it on their own."""
    folder = CACHE / f"uvloop-{TAG}"
    if not folder.is_dir():
        _run([*PIP, "install", "--no-deps", "--target", str(folder), "-r", str(HERE / "requirements" / "uvloop.txt")])
    return folder
