"""The runtimes that are compared, and how a program gets to run on each of them.

A runtime has a key (`--loops` names it), a loop, and the module whose names the measured program uses:
`asyncio` for a program that just runs on another loop (drop-in), `glassloop` for one written with glassloop's
own (native). Which glassloop is imported is a matter of PYTHONPATH, which the parent process sets;
`import_runtime` checks that the right one came.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

NOOP = "async def noop():\n    pass\n"


@dataclass(frozen=True)
class Runtime:
    key: str
    module: str
    names: str = "asyncio"  # the module whose sleep, gather, Queue... the program uses
    compiled: bool | None = None  # of glassloop: which of its two forms; None for the others
    folder: str | None = None  # what goes first on PYTHONPATH
    start: str = ""  # the shortest program, for the start-up row

    @property
    def native(self) -> bool:
        return self.names != "asyncio"

    @property
    def interpreted(self) -> bool:
        return self.compiled is False


_GLASSLOOP = Runtime(
    "glassloop", "glassloop", compiled=True, start=f"import glassloop\n{NOOP}glassloop.run(noop())"
)

RUNTIMES = {
    runtime.key: runtime
    for runtime in (
        Runtime("asyncio", "asyncio", start=f"import asyncio\n{NOOP}asyncio.run(noop())"),
        Runtime("uvloop", "uvloop", start=f"import uvloop\n{NOOP}uvloop.run(noop())"),
        Runtime(
            "rloop",
            "rloop",
            start="import asyncio, rloop\n"
            f"{NOOP}with asyncio.Runner(loop_factory=rloop.new_event_loop) as r:\n    r.run(noop())",
        ),
        _GLASSLOOP,
        replace(_GLASSLOOP, key="native", names="glassloop"),
        replace(_GLASSLOOP, key="interpreted", compiled=False),
        replace(_GLASSLOOP, key="interpreted-native", compiled=False, names="glassloop"),
    )
}

DEFAULT = ("asyncio", "uvloop", "rloop", "glassloop", "native", "interpreted")


def choose(keys: list[str], compiled: Path | None, interpreted: Path | None) -> list[Runtime]:
    """The runtimes of those keys. `key@folder` is glassloop from another folder, under that name.

    Raises:
        ValueError: an unknown key, or a folder without glassloop.
    """
    chosen = []
    for key in keys:
        name, _, folder = key.partition("@")
        if name not in RUNTIMES:
            raise ValueError(f"unknown loop {name!r}; known are {', '.join(RUNTIMES)}")
        runtime = RUNTIMES[name]
        if runtime.module == "glassloop":
            default = compiled if runtime.compiled else interpreted
            path = Path(folder).resolve() if folder else default
            if path is not None and not (path / "glassloop").is_dir():
                raise ValueError(f"{path} has no glassloop in it")
            runtime = replace(runtime, key=key, folder=str(path) if path else None)
        elif folder:
            raise ValueError(f"only glassloop can be taken from a folder, not {name}")
        chosen.append(runtime)
    return chosen


def default_compiled() -> Path | None:
    """The development build for this Python, or None: then the installed package is meant."""
    folder = ROOT / "build" / f"compiled-{sys.implementation.cache_tag}"
    return folder if (folder / "glassloop").is_dir() else None


def stale(compiled: Path) -> bool:
    """Whether a source in `src/` is newer than everything in that build."""

    def newest(folder: Path, suffixes: tuple[str, ...]) -> float:
        return max((p.stat().st_mtime for p in folder.rglob("*") if p.suffix in suffixes), default=0.0)

    return newest(ROOT / "src", (".py", ".pyx", ".pxd", ".h")) > newest(compiled, (".so", ".py", ".pxd"))


def environment(runtime: Runtime, base: dict[str, str]) -> dict[str, str]:
    env = dict(base)
    if runtime.folder:
        rest = env.get("PYTHONPATH")
        env["PYTHONPATH"] = runtime.folder + (os.pathsep + rest if rest else "")
    return env


def import_runtime(key: str) -> tuple[Callable[[], Any], ModuleType, str]:
    """In the measured process: what makes the loop, the module of the names, and the version with its origin.

    Raises:
        ImportError: it isn't installed, or it is the wrong form of glassloop.
    """
    runtime = RUNTIMES[key.partition("@")[0]]
    module = importlib.import_module(runtime.module)
    version = getattr(module, "__version__", None)
    if version is None:
        version = importlib.import_module("platform").python_version()
        if runtime.module != "asyncio":
            version = importlib.import_module("importlib.metadata").version(runtime.module)
    if runtime.compiled is not None:
        if bool(module.compiled) is not runtime.compiled:
            form = "compiled" if module.compiled else "interpreted"
            raise ImportError(f"{key} is to be measured, but {module.__file__} is {form}")
        version = f"{version} ({Path(str(module.__file__)).parent})"
    return module.new_event_loop, importlib.import_module(runtime.names), version
