"""Puts the loop under test, and in whole mode its classes, in the place of asyncio's.

CPython's tests reach a loop in three ways: through the policy (`asyncio.new_event_loop`, `asyncio.run`,
IsolatedAsyncioTestCase), by class (`asyncio.SelectorEventLoop`, `asyncio.BaseEventLoop`) and, for virtual
time, through `test.test_asyncio.utils.TestLoop`. Each is led to the loop under test. In whole mode every
public name of asyncio that the runtime has an own object for is replaced too, in the package and in each of
its modules, so that `asyncio.tasks.Task` and `asyncio.locks.Lock` are the runtime's.

It must run before CPython's test modules are imported: they take some names at import.
"""

from __future__ import annotations

import asyncio
import asyncio.log
import importlib
import pkgutil
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DROP_IN, WHOLE = "drop-in", "whole"
LOOPS = ("asyncio", "uvloop", "glassloop")

_SKIPPED_MODULES = {"__main__", "windows_events", "windows_utils"}
_LOOP_NAMES = ("SelectorEventLoop", "EventLoop", "BaseEventLoop")
_POLICY_NAMES = (*_LOOP_NAMES, "new_event_loop")  # what tests get by these goes through a policy, to our loop
_POLICIES = (
    ("asyncio", "DefaultEventLoopPolicy"),
    ("asyncio.unix_events", "_UnixDefaultEventLoopPolicy"),
    ("asyncio.unix_events", "_DefaultEventLoopPolicy"),
)


class NotRunnable(Exception):
    """This loop, mode or interpreter can't be tested; the message says why."""


@dataclass
class Runtime:
    """What is under test. `own` is the namespace its classes come from in whole mode."""

    loop: str
    mode: str
    version: str
    build: str
    loop_class: type
    own: types.ModuleType | None
    replaced: list[str]

    def new_loop(self) -> Any:
        return self.loop_class()


def _stock_modules() -> list[types.ModuleType]:
    modules: list[types.ModuleType] = [asyncio]
    for info in pkgutil.iter_modules(asyncio.__path__):
        if info.name not in _SKIPPED_MODULES:
            try:
                modules.append(importlib.import_module(f"asyncio.{info.name}"))
            except ImportError:
                if not info.name.startswith(("windows", "tools")):
                    raise
    return modules


def _lead_loops_to(loop_class: type) -> type:
    from asyncio import base_events

    def loop_factory(self: Any = None) -> Any:
        return loop_class()

    for module, name in _POLICIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            policy = getattr(sys.modules.get(module), name, None)
        if policy is not None:
            policy._loop_factory = loop_factory

    def __init__(self: Any, selector: Any = None, **parts: Any) -> None:
        loop_class.__init__(self, **parts)

    def _run_once(self: Any) -> None:
        self.call_soon(self.stop)
        self.run_forever()

    # A plain subclass has room for the attributes that tests set on a loop, takes a selector, and can be told
    # to run a single turn.
    attributes = {"__init__": __init__, "_run_once": _run_once, "__module__": loop_class.__module__}
    open_class = type(loop_class.__name__, (loop_class,), attributes)
    for name in _LOOP_NAMES:
        for holder in (asyncio, base_events, sys.modules.get("asyncio.unix_events")):
            if hasattr(holder, name):
                setattr(holder, name, open_class)
    return open_class


def _lead_names_to(own: types.ModuleType) -> list[str]:
    replaced = []
    modules = _stock_modules()
    for name in sorted(name for name in vars(asyncio) if not name.startswith("_")):
        stock, ours = getattr(asyncio, name), getattr(own, name, None)
        if name in _POLICY_NAMES or ours is None or ours is stock or isinstance(stock, types.ModuleType):
            continue
        replaced.append(name)
        for module in modules:
            if vars(module).get(name) is stock:
                setattr(module, name, ours)
    return replaced


class _LoggerOfTheTests:
    """The logger that `mock.patch('asyncio.base_events.logger')` puts in place while a test runs."""

    def __getattr__(self, name: str) -> Any:
        from asyncio import base_events

        return getattr(base_events.logger, name)


def _lead_logger(package: str) -> None:
    """The runtime logs where asyncio does; let it be seen by the tests that patch asyncio's modules."""
    proxy = _LoggerOfTheTests()
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(package + "."):
            for attribute, value in list(vars(module).items()):
                if value is asyncio.log.logger:
                    setattr(module, attribute, proxy)


def _close_loop(loop: Any) -> None:
    """`TestCase.close_loop` of CPython's tests, without a look into the loop's private attributes."""
    if not loop.is_closed():
        if getattr(loop, "_default_executor", None) is not None or not hasattr(loop, "_default_executor"):
            loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def _change_test_utils(test_loop: Callable[..., Any] | None) -> None:
    from test.test_asyncio import utils

    utils.TestCase.close_loop = staticmethod(_close_loop)
    if test_loop is not None:
        utils.TestLoop = test_loop


def install(loop: str, mode: str) -> Runtime:
    """Put `loop` in asyncio's place and say what is now under test.

    Raises NotRunnable if this interpreter can't run it.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    _stock_modules()
    importlib.import_module("test.test_asyncio.utils")  # while asyncio's loops are there: it derives from one
    if loop == "asyncio":
        _change_test_utils(None)
        loop_class = getattr(asyncio, "EventLoop", asyncio.SelectorEventLoop)
        return Runtime(loop, mode, version, "compiled", loop_class, asyncio if mode == WHOLE else None, [])
    if loop == "uvloop":
        if mode == WHOLE:
            raise NotRunnable("uvloop has no tasks, futures or streams of its own: only --mode drop-in")
        try:
            import uvloop
        except ImportError as err:
            raise NotRunnable(f"uvloop can't be imported: {err}") from err
        _lead_loops_to(uvloop.Loop)
        _change_test_utils(None)
        return Runtime(loop, mode, version, "compiled", uvloop.Loop, None, [])
    try:
        import glassloop
    except ImportError as err:
        raise NotRunnable(f"glassloop can't be imported (PYTHONPATH says from where): {err}") from err
    import virtual

    _lead_logger("glassloop")
    open_class = _lead_loops_to(glassloop.EventLoop)
    replaced = _lead_names_to(glassloop) if mode == WHOLE else []
    _change_test_utils(type("TestLoop", (virtual.TestLoop, open_class), {"jumps": mode == WHOLE}))
    build = "compiled" if glassloop.compiled else "interpreted"
    return Runtime(loop, mode, version, build, glassloop.EventLoop, glassloop if mode == WHOLE else None, replaced)
