"""The runtime under test.

A test is written against a namespace, `aio`, and the same test runs on three runtimes, each in a process of
its own because two of them share the name `glassloop`:

    pytest --runtime=compiled       the package that `make build` made (the default)
    pytest --runtime=interpreted    the same source, from src/
    pytest --runtime=asyncio        the control: it shows that the test states what asyncio does

A test that states what only glassloop does is marked `@pytest.mark.extra("why")`; the control run deselects
it. A test file that imports glassloop at its top is about glassloop alone, and the control run leaves the
file out. Glassloop is never imported in the control run, nor is the wrong build of it in the others: both are
checked.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# A shell that starts a job in the background has it ignore Ctrl-C, and Python then leaves it so; the tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).resolve().parent.parent
RUNTIMES = ("compiled", "interpreted", "asyncio")
IMPORTS_GLASSLOOP = re.compile(r"^(import|from) glassloop\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("glassloop")
    group.addoption("--runtime", choices=RUNTIMES, default="compiled", help="what the tests run on")
    group.addoption("--build", default=ROOT / "build", type=Path, help="the BUILD of `make build`")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "extra(reason): what only glassloop does; deselected on asyncio")
    runtime = config.getoption("--runtime")
    if runtime == "asyncio":
        return
    folder = package_folder(config, runtime)
    if not (folder / "glassloop").is_dir():
        raise pytest.UsageError(f"nothing in {folder}: run `make build`, or choose --runtime=interpreted")
    sys.path.insert(0, str(folder))
    # for the tests that start processes
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    glassloop = importlib.import_module("glassloop")
    found = Path(glassloop.__file__ or "").resolve().parent
    compiled = getattr(glassloop, "compiled", None)
    if found != (folder / "glassloop").resolve() or compiled is not (runtime == "compiled"):
        raise pytest.UsageError(f"--runtime={runtime}, but {found} was imported: compiled is {compiled}")


def package_folder(config: pytest.Config, runtime: str) -> Path:
    if runtime == "interpreted":
        return ROOT / "src"
    build: Path = config.getoption("--build")
    return build.resolve() / f"compiled-{sys.implementation.cache_tag}"


def pytest_report_header(config: pytest.Config) -> str:
    runtime = config.getoption("--runtime")
    if runtime == "asyncio":
        return "runtime: asyncio (the control)"
    folder = package_folder(config, runtime)
    stale = sorted(
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*.p[yx]*")
        if path.suffix in (".py", ".pyx", ".pxd") and is_newer(path, folder / path.relative_to(ROOT / "src"))
    )
    warning = f"; STALE, run `make build`: {', '.join(stale)}" if stale else ""
    return f"runtime: glassloop, {runtime}, from {folder}{warning}"


def is_newer(path: Path, copy: Path) -> bool:
    return not copy.exists() or path.stat().st_mtime > copy.stat().st_mtime


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("--runtime") != "asyncio" or collection_path.suffix != ".py":
        return None
    return True if IMPORTS_GLASSLOOP.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("extra"):
            if not (mark.args and isinstance(mark.args[0], str)):
                raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.extra needs its reason")
    if config.getoption("--runtime") == "asyncio":
        extras = [item for item in items if item.get_closest_marker("extra")]
        config.hook.pytest_deselected(items=extras)
        items[:] = [item for item in items if not item.get_closest_marker("extra")]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--runtime") == "asyncio" and "glassloop" in sys.modules:
        raise pytest.UsageError("the control run imported glassloop: what it shows is worth nothing")


@pytest.fixture(scope="session")
def runtime(pytestconfig: pytest.Config) -> str:
    """`compiled`, `interpreted` or `asyncio`."""
    name: str = pytestconfig.getoption("--runtime")
    return name


@pytest.fixture(scope="session")
def aio(runtime: str) -> ModuleType:
    """The namespace under test: glassloop or asyncio."""
    return asyncio if runtime == "asyncio" else importlib.import_module("glassloop")


@pytest.fixture
def loop(aio: ModuleType) -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop of the runtime, not set as the current one. What is pending at the end is cancelled."""
    loop = aio.new_event_loop()
    try:
        yield loop
    finally:
        if not loop.is_closed():
            if pending := asyncio.all_tasks(loop):
                for task in pending:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(pending))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


@pytest.fixture
def run(aio: ModuleType) -> Callable[..., Any]:
    """`run(coroutine, debug=None)`: run it on a fresh loop of the runtime, and return its result."""

    def run(main: Coroutine[Any, Any, Any], *, debug: bool | None = None) -> Any:
        with aio.Runner(debug=debug) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python(*args)`: run this Python with the same runtime importable, and return the finished process."""

    def python(*args: object, timeout: float = 50, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)

    return python


def descriptors() -> dict[int, str]:
    """What this process has open: descriptor -> what it leads to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listdir had open
            continue
    return found


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails the test when it leaves a descriptor or a thread behind."""
    gc.collect()
    before = descriptors()
    threads = set(threading.enumerate())
    yield
    gc.collect()
    after = descriptors()
    left = {fd: target for fd, target in after.items() if before.get(fd) != target}
    assert not left, f"descriptors left open: {left}"
    stray = [thread.name for thread in threading.enumerate() if thread not in threads]
    assert not stray, f"threads left running: {stray}"
