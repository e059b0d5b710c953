"""CPU-bound work in this process, but in another interpreter: to_interpreter() (Python 3.14 and later, PEP 734).

An interpreter has a GIL of its own, so it computes beside the loop on another core, and no other process is needed. The
price: what runs there can't be stopped, a crash ends the whole process, and extension modules have to support it (NumPy
doesn't yet).

Calls and results travel as they do to worker processes, pickled, functions by name or by value (carry.py, which each
interpreter loads by itself, as a worker process does: the runtime's compiled modules are for the main interpreter). What
differs: there is no shared memory, large buffers are copied.

The interpreters and their threads are concurrent.futures' (InterpreterPoolExecutor), one executor for each loop.
"""
from __future__ import annotations

import asyncio
import concurrent.futures
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .processes import packed, unpacked
from .workerprocess import FOLDER, absolute_path

P = ParamSpec('P')
T = TypeVar('T')

AVAILABLE = sys.version_info >= (3, 14)


class Interpreters:
    """The interpreters of one loop."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._executor: Any = None
        self._running = 0

    async def run(self, fn: Any, args: Any, kwargs: Any) -> Any:
        """fn(*args, **kwargs) in one of them."""
        call = packed(fn, args, kwargs, whole=True).flat()
        if self._executor is None:
            self._executor = concurrent.futures.InterpreterPoolExecutor(  # type: ignore[attr-defined]
                initializer=_enter, initargs=(FOLDER, tuple(absolute_path())))
        self._running += 1
        try:
            kind, answer = await self._loop.run_in_executor(self._executor, _run, call)
        finally:
            self._running -= 1
        return unpacked(fn, kind, answer, ())

    def close(self) -> None:
        """Let the threads end; those that still run a job are not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=not self._running, cancel_futures=True)
            self._executor = None


# What these two are is sent into the interpreter as it stands: they refer to nothing of this module.

def _enter(folder: str, path: tuple[str, ...]) -> None:
    import sys
    from _frozen_importlib import module_from_spec, spec_from_loader  # type: ignore[import-not-found]
    from _frozen_importlib_external import SourceFileLoader  # type: ignore[import-not-found]

    sys.path[:] = path
    for name in ('progress', 'carry', 'variables', 'worker'):
        full = 'glassloop.work.' + name
        loader = SourceFileLoader(full, folder + '/' + name + '.py')
        sys.modules[full] = module = module_from_spec(spec_from_loader(full, loader))
        loader.exec_module(module)


def _run(call: bytes) -> tuple[int, bytes]:
    import sys

    answer: tuple[int, bytes] = sys.modules['glassloop.work.worker'].run_flat(call)
    return answer


async def to_interpreter(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """fn(*args, **kwargs) in another interpreter of this process, on a thread: what it returns or raises. The interpreters
    are the running loop's own, and are kept.

    As with to_process(), functions and values travel by pickle (by cloudpickle where that can't), context variables are
    carried, and an exception comes with its traceback as a note. Cancelling doesn't stop a function that has begun; what it
    gives is dropped, as with to_thread(). An extension module that can't be loaded in another interpreter raises
    ImportError.

    Raises RuntimeError before Python 3.14 and in a loop that isn't glassloop's, and else what to_process() raises."""
    if not AVAILABLE:
        raise RuntimeError('to_interpreter() needs Python 3.14 or later; to_process() works on every version')
    loop: Any = asyncio.get_running_loop()
    interpreters = getattr(loop, '_interpreters', None)
    if not isinstance(interpreters, Interpreters):
        raise RuntimeError('to_interpreter() needs a glassloop event loop: glassloop.run(), or `glassloop run FILE`')
    result: T = await interpreters.run(fn, args, kwargs)
    return result
