"""Call graphs: where a task is, and who waits for it, and who for those.

A future's waiters are known from the future itself (`Future._asyncio_awaited_by`), so that nothing is recorded while
the program runs. Of asyncio's own futures the waiting tasks are read from their callbacks where the version of Python
does not tell.

The classes are asyncio's where it has them (from Python 3.14 on). Not compiled: it walks frames, once in a while.
"""
from __future__ import annotations

import asyncio
import dataclasses
import inspect
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

__all__ = ('FrameCallGraphEntry', 'FutureCallGraph', 'capture_call_graph', 'format_call_graph', 'print_call_graph')

_ASYNC = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR

if sys.version_info >= (3, 14):
    FrameCallGraphEntry = asyncio.FrameCallGraphEntry
    FutureCallGraph = asyncio.FutureCallGraph
else:
    @dataclasses.dataclass(frozen=True, slots=True)
    class FrameCallGraphEntry:
        """One call: its frame."""

        frame: FrameType

    @dataclasses.dataclass(frozen=True, slots=True)
    class FutureCallGraph:
        """A future or task; the calls it is in, the innermost first; the same of those who wait for it."""

        future: asyncio.Future[Any]
        call_stack: tuple[FrameCallGraphEntry, ...]
        awaited_by: tuple[FutureCallGraph, ...]


def capture_call_graph(future: asyncio.Future[Any] | None = None, /, *, depth: int = 1,
                       limit: int | None = None) -> FutureCallGraph | None:
    """The call graph of a future or task, by default of the task that runs; None if none does.

    depth: how many of the innermost calls to leave out, of the task that runs. limit: how many calls of each stack to
    keep: the outermost if positive, the innermost if negative, none if 0. Raises TypeError for what is no future,
    RuntimeError without a future outside of a running loop.
    """
    loop = asyncio._get_running_loop()
    if future is None and loop is None:
        raise RuntimeError('no event loop is running: a future to look at must be given')
    current: Any = None if loop is None else asyncio.current_task(loop)
    target: Any = current if future is None else future
    if target is None:
        return None
    if not isinstance(target, asyncio.Future):
        raise TypeError(f'{target!r} is no asyncio.Future')
    if target is not current:
        return _graph(target, limit, frozenset())
    calls = [] if limit == 0 else list(_running(sys._getframe(depth)))
    if limit is not None:
        calls = calls[-limit:] if limit > 0 else calls[:-limit]
    return FutureCallGraph(target, tuple(calls), _waiters(target, limit, frozenset()))


def _graph(future: Any, limit: int | None, within: frozenset[int]) -> FutureCallGraph:
    calls = []
    if limit != 0 and hasattr(future, 'get_coro'):
        calls = list(_suspended(future.get_coro()))
        if limit is not None:
            calls = calls[:limit] if limit > 0 else calls[limit:]
    calls.reverse()
    return FutureCallGraph(future, tuple(calls), _waiters(future, limit, within))


def _waiters(future: Any, limit: int | None, within: frozenset[int]) -> tuple[FutureCallGraph, ...]:
    # tasks may wait for one another in a circle: who is in the graph above is not gone into again
    within |= {id(future)}
    return tuple(_graph(waiter, limit, within) if id(waiter) not in within else FutureCallGraph(waiter, (), ())
                 for waiter in _awaited_by(future))


def _awaited_by(future: Any) -> Any:
    if hasattr(future, '_asyncio_awaited_by'):
        return future._asyncio_awaited_by or ()
    owners = (getattr(callback, '__self__', None) for callback, _ in future._callbacks or ())
    return [owner for owner in owners if isinstance(owner, asyncio.Task)]


def _running(frame: FrameType | None) -> Iterator[FrameCallGraphEntry]:
    """From the innermost call out to the coroutine that the task drives."""
    while frame is not None:
        yield FrameCallGraphEntry(frame)
        caller = frame.f_back
        if frame.f_code.co_flags & _ASYNC and (caller is None or not _is_generator(caller)):
            return
        frame = caller


def _is_generator(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & (_ASYNC | inspect.CO_GENERATOR))


def _suspended(coroutine: Any) -> Iterator[FrameCallGraphEntry]:
    """From the coroutine that the task drives in to where it waits."""
    while coroutine is not None:
        prefix = 'cr' if hasattr(coroutine, 'cr_await') else 'ag'
        if not hasattr(coroutine, f'{prefix}_await'):
            return
        frame = getattr(coroutine, f'{prefix}_frame')
        if frame is not None:
            yield FrameCallGraphEntry(frame)
        coroutine = getattr(coroutine, f'{prefix}_await')


def format_call_graph(future: asyncio.Future[Any] | None = None, /, *, depth: int = 1,
                      limit: int | None = None) -> str:
    """capture_call_graph() as text: '' where there is none."""
    graph = capture_call_graph(future, depth=depth + 1, limit=limit)
    try:
        return '' if graph is None else '\n'.join(_lines(graph, ''))
    finally:
        del graph  # it holds frames


def _lines(graph: FutureCallGraph, indent: str) -> Iterator[str]:
    future = graph.future
    if isinstance(future, asyncio.Task):
        yield f'{indent}* Task(name={future.get_name()!r}, id={id(future):#x})'
    else:
        yield f'{indent}* Future(id={id(future):#x})'
    if graph.call_stack:
        yield f'{indent}  + Call stack:'
        for entry in graph.call_stack:
            code = entry.frame.f_code
            yield (f'{indent}  |   File {code.co_filename!r}, line {entry.frame.f_lineno}, in '
                   f'{_kind(code.co_flags)}{code.co_qualname}()')
    if graph.awaited_by:
        yield f'{indent}  + Awaited by:'
        for waiter in graph.awaited_by:
            yield from _lines(waiter, f'{indent}    ')


def _kind(flags: int) -> str:
    if flags & inspect.CO_ASYNC_GENERATOR:
        return 'async generator '
    if flags & inspect.CO_COROUTINE:
        return 'async '
    return 'generator ' if flags & inspect.CO_GENERATOR else ''


def print_call_graph(future: asyncio.Future[Any] | None = None, /, *, file: TextIO | None = None, depth: int = 1,
                     limit: int | None = None) -> None:
    """Print format_call_graph(), to sys.stdout by default."""
    print(format_call_graph(future, depth=depth + 1, limit=limit), file=file)
