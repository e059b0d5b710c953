"""spawn(): tasks that nobody waits for.

A task that is made and forgotten must not be lost by the collector while it runs, nor its failure until it is freed. So
whoever belongs to a loop's spawned tasks is held until it ends, and its error goes to the loop's exception handler as soon
as it has ended, with the place that spawned it.

When a Runner ends (glassloop's, and so glassloop.run()), those with drain=True are waited for while everything else still
runs; then the other spawned tasks are cancelled and waited for, and after them whatever runs besides. asyncio.Runner and
asyncio.run() know nothing of this, and cancel all of them.

Not here: supervision. Who wants to know how a task ended awaits it, or makes it in a TaskGroup.
"""
from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context
from types import CodeType
from typing import Any, TypeVar

from ..core.leaf import LoopBase

__all__ = ('spawn',)

T = TypeVar('T')
_PART = '_spawned'


class Spawned:
    """The spawned tasks of a loop that have not ended."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        # task -> the code and line that spawned it, and whether it is drained
        self._tasks: dict[Any, tuple[CodeType, int, bool]] = {}

    def add(self, task: Any, code: CodeType, line: int, drain: bool) -> None:
        self._tasks[task] = (code, line, drain)
        task.add_done_callback(self._ended)

    def _ended(self, task: Any) -> None:
        code, line, _ = self._tasks.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None or isinstance(error, (SystemExit, KeyboardInterrupt)):
            return  # those two have left run_forever() already
        self._loop.call_exception_handler({
            'message': f'Exception in the task spawned at {code.co_filename}:{line}, in {code.co_qualname}',
            'exception': error,
            'task': task,
        })

    def _pending(self, drained_alone: bool) -> list[Any]:
        return [task for task, (_, _, drain) in self._tasks.items()
                if not task.done() and (drain or not drained_alone)]

    async def wind_up(self, grace: float | None = None) -> None:
        """Wait until those to be drained have ended, `grace` seconds at most (None: however long it takes), then cancel
        all spawned tasks that are left, and wait for them. Also for those that are spawned meanwhile."""
        ends = None if grace is None else self._loop.time() + grace
        while draining := self._pending(True):
            left = None if ends is None else ends - self._loop.time()
            if left is not None and left <= 0:
                break
            await asyncio.wait(draining, timeout=left)
        while pending := self._pending(False):
            for task in pending:
                task.cancel()
            await asyncio.wait(pending)


def spawned_of(loop: Any) -> Spawned | None:
    """The loop's spawned tasks; None if there never were any."""
    parts: dict[str, Any] = _parts(loop)
    return parts.get(_PART)


def spawn(coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None,
          drain: bool = False) -> asyncio.Task[T]:
    """Run a coroutine as a task that nobody needs to wait for, or to keep a reference to.

    If it fails, the loop's exception handler is told at once, with the file and line of this call; who awaits the task
    gets the exception, too, and it isn't reported again. drain: True lets it end when the program does: glassloop.run()
    and Runner wait for it before they cancel what is left, however long it takes; after a signal of stop_on, as long as
    grace allows. False: it is cancelled then, as all tasks are. (asyncio.run() cancels either.)

    name, context: as for create_task(). Raises RuntimeError if no loop is running, TypeError if coro is no coroutine; a
    coroutine that is refused is closed.
    """
    caller = sys._getframe(1)
    try:
        loop = asyncio.get_running_loop()
        parts = _parts(loop)
        options = {} if context is None else {'context': context}
        if name is not None:
            options['name'] = name  # type: ignore[assignment]
        task: asyncio.Task[T] = loop.create_task(coro, **options)  # type: ignore[arg-type]
    except BaseException:
        if asyncio.iscoroutine(coro):
            coro.close()
        raise
    spawned = parts.get(_PART)
    if spawned is None:
        spawned = parts[_PART] = Spawned(loop)
    spawned.add(task, caller.f_code, caller.f_lineno, drain)
    return task


def _parts(loop: Any) -> dict[str, Any]:
    """Where what belongs to a loop is kept: in the loop itself, also if it is another's."""
    parts: dict[str, Any] = loop._parts if isinstance(loop, LoopBase) else vars(loop)
    return parts
