"""@expose: which functions of a program may be called from outside.

A decorator at the top of a module runs when the module is imported, before there is a loop to belong to, and what it
says holds for the whole program. So those functions are kept here, for the process, and this is state at the level of
a module by design: written when modules are imported, under a lock, and only read otherwise. A function that is made
while a loop runs (a closure of main(), a method of an object) knows that loop's state: it is kept by that loop, goes with
it, and other loops never see it.

Names are unique: the second function of a name is refused, where the mistake is made. The same definition executed anew
(a module reloaded) takes the place of the old one; a program's main module that is imported a second time under its own
name does not: the state is in __main__.
"""
from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar, overload

Exposed: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]
F = TypeVar('F', bound=Exposed)

MAX_NAME = 200  # characters
PART = 'exposed'  # where a loop keeps its own

_of_process: dict[str, Exposed] = {}
_lock = threading.Lock()  # of who writes; a copy is made at once
os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]


@overload
def expose(function: F, /, *, name: str | None = None) -> F: ...
@overload
def expose(*, name: str | None = None) -> Callable[[F], F]: ...
def expose(function: Any = None, /, *, name: str | None = None) -> Any:
    """Let a coroutine function be called from another process of the same user: `glassloop call PID NAME ARGS`. A
    decorator; `name` is the function's own by default.

    The arguments that it will get, and what it returns, are what JSON can say. It does not by itself open anything: see
    run(..., control=True). Returns the function. Raises TypeError for what is no coroutine function, ValueError for a
    name that isn't printable or is exposed already.
    """
    if function is None:
        return functools.partial(expose, name=name)
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f'a coroutine function was expected, got {function!r}')
    if name is None:
        name = getattr(function, '__name__', None)
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f'an exposed function needs a printable name of up to {MAX_NAME} characters, got {name!r}')
    loop = asyncio._get_running_loop()
    with _lock:
        if loop is not None and _belongs_to_loop(function) and hasattr(loop, '_parts'):
            _add(loop._parts.setdefault(PART, {}), name, function)
        else:
            _add(_of_process, name, function)
    return function


def _belongs_to_loop(function: Any) -> bool:
    return inspect.ismethod(function) or '<locals>' in getattr(function, '__qualname__', '<locals>')


def _add(names: dict[str, Exposed], name: str, function: Any) -> None:
    before: Any = names.get(name)
    if before is not None:
        if _place(before) != _place(function):
            raise ValueError(f'{name!r} is exposed already: by {_describe(before)}, and now by {_describe(function)}')
        if before.__module__ == '__main__' != function.__module__:
            return
    names[name] = function


def _place(function: Any) -> tuple[str | None, str | None]:
    code = getattr(inspect.unwrap(function), '__code__', None)
    return getattr(code, 'co_filename', None), getattr(function, '__qualname__', None)


def _describe(function: Any) -> str:
    code = getattr(inspect.unwrap(function), '__code__', None)
    where = '' if code is None else f' ({code.co_filename}:{code.co_firstlineno})'
    return f"{getattr(function, '__qualname__', function)}{where}"


def exposed_to(loop: Any) -> dict[str, Exposed]:
    """What can be called in a loop: name -> function. From any thread."""
    return {**_of_process, **getattr(loop, '_parts', {}).get(PART, {})}
