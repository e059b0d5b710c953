"""What the tasks of a loop are doing at this moment: snapshot(), for any thread, and tree(), which renders it.

The loop takes no part in it. It may run, sleep, hang in a blocking call or stand still: its tasks are read from
outside, as they are. Each single read (the table of held tasks, a coroutine's frame, what it awaits) is atomic under the
GIL; between two of them the loop goes on, so that a task may have ended or moved on in between. Then its entry tells
what could be read, and nothing else happens. What everybody else let go of meanwhile is given back to the loop, so that
finalizers run in its thread.

What is told of a task are names and places: of the task, of functions, of types, of files. User values are never looked
at, nor is their repr() called.

A task's frames are its own, those of libraries, and those of the runtime (glassloop, asyncio, the standard library). Its
place is the innermost of its own, since that is the line somebody can change; what it awaits is the first thing of the
runtime below: `await queue.get()` is `Queue.get()`, whatever that does inside.

Not here: call graphs of futures (graph.py), how long a step took (nothing is recorded).
"""
from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import operator
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from .core.future import Listener
from .core.leaf import LoopBase, Op
from .core.task import age_of

__all__ = ('TaskInfo', 'describe', 'is_runtime', 'name_of', 'snapshot', 'thread_stack', 'tree')

#: (file, line, function)
Place = tuple[str, int, str]

_OWN, _LIBRARY, _RUNTIME = range(3)
_HERE = os.path.dirname(__file__) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_COMPILED_FROM = 'src/glassloop/'  # what the compiled modules' code objects call their file

# Awaitables that hide what they drive: it is among the objects that they refer to.
_OPAQUE = ('async_generator_asend', 'async_generator_athrow', 'anext_awaitable', 'coroutine_wrapper')
# What only waits for something else on somebody's behalf.
_TRANSPARENT = ('__await__', '_wait_for', 'awaited', 'wait_for')
# What our operations are called, where the rule does not say it (see _name_of_op).
_OPS = {
    'As_completed_next': 'as_completed()',
    'TaskGroup_exit': 'TaskGroup',
    '_Connect': 'sock_connect()',
    'to_thread_call': 'to_thread()',
}
# Coroutines that users know by another name.
_PLACE = 'a place in the TaskGroup'
_COROUTINES = {'SubprocessTransport._wait': 'Process.wait()', 'TaskGroup.__aexit__': 'TaskGroup', '_Mapping.next': 'amap()',
               'begun_after': _PLACE}
# Who hears first of a future that was made for him.
_HEARERS = {'_Withdrawal': 'run_in_executor()', '_Shield': 'shield()'}

_MAX_CHAIN = 10_000  # awaits within awaits of one task: more is a circle made by a foreign awaitable
_MAX_INDENT = 24  # levels of a tree that are indented


@dataclasses.dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as it was when it was looked at."""

    #: id() of the task
    id: int
    #: its name
    name: str
    #: 'running', 'ready' (it stands in the ready queue), 'waiting' or 'done' (it ended meanwhile)
    state: str
    #: the qualified name of the coroutine that it drives
    coroutine: str
    #: what it waits for: `sleep()`, `Queue.get()`, `Future`, `task 'name'`; None when it isn't waiting
    awaits: str | None
    #: where it stands: the innermost frame of its own code, or else of any; None where it has no Python frame
    file: str | None
    line: int | None
    function: str | None
    #: all its frames, the outermost first: (file, line, function)
    stack: tuple[Place, ...]
    #: seconds since it was made; None for tasks that aren't glassloop's
    age: float | None
    #: the ids of the tasks that wait for it
    awaited_by: tuple[int, ...]


def snapshot(loop: asyncio.AbstractEventLoop) -> list[TaskInfo]:
    """The tasks of the loop that have not ended, the oldest first; those of unknown age come last.

    May be called from any thread, whatever the loop is doing; also for a loop that isn't glassloop's.
    """
    reader = _Reader(loop)
    made = []
    for task in reader.tasks():
        info = reader.read(task)
        # to the millisecond: those of one moment stay in the order in which the loop holds them
        made.append((math.inf if info.age is None else round(time.monotonic() - info.age, 3), info))
        del task
    reader.give_back()
    made.sort(key=operator.itemgetter(0))
    return [info for _, info in made]


def thread_stack(ident: int | None) -> tuple[Place, ...]:
    """Where the thread of this identifier stands now, the outermost frame first: (file, line, function). Empty for a
    thread that has ended, and for None."""
    reader = _Reader(None)
    frame = None if ident is None else sys._current_frames().get(ident)
    places = []
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            places.append(reader.place(frame))
        frame = frame.f_back
    return tuple(reversed(places))


# ---- which tasks ----

def _tasks_of(loop: Any) -> list[Any]:
    """The loop's tasks that have not ended, in no order; for any thread."""
    tasks = loop._held_tasks() if isinstance(loop, LoopBase) else []
    known = {id(task) for task in tasks}
    return tasks + [task for task in _stock_tasks(loop)
                    if id(task) not in known and task.get_loop() is loop and not task.done()]


def _stock_tasks(loop: Any) -> Iterable[Any]:
    """asyncio's tasks. asyncio.all_tasks() walks weak sets step by step, and begins anew when one changed meanwhile: on a
    busy loop of another thread that may take seconds. A copy of what is within is made at once."""
    module: Any = asyncio.tasks
    if sys.version_info >= (3, 14):
        return asyncio.all_tasks(loop)
    weak = module._all_tasks if sys.version_info < (3, 12) else module._scheduled_tasks
    tasks = [reference() for reference in list(weak.data)]
    if sys.version_info >= (3, 12):
        tasks.extend(list(module._eager_tasks))
    return [task for task in tasks if task is not None]


# ---- one task ----

class _Reader:
    """Reads tasks for one snapshot. `_kinds` remembers whose a file is, `_held` is all that was looked at (by id)."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._kinds: dict[str, int] = {}
        self._held: dict[int, Any] = {}

    def tasks(self) -> list[Any]:
        tasks = _tasks_of(self._loop)
        self._hold(*tasks)
        return tasks

    def _hold(self, *things: Any) -> None:
        for thing in things:
            self._held[id(thing)] = thing

    def give_back(self) -> None:
        """Let the loop's thread be the one to free what nobody else refers to any more."""
        held, self._held = self._held, {}
        if getattr(self._loop, '_thread_id', None) in (None, threading.get_ident()):
            return
        # this dict, the variable and the argument
        last = [thing for thing in held.values() if sys.getrefcount(thing) <= 3]
        held.clear()
        if last:
            try:
                self._loop.call_soon_threadsafe(last.clear)
            except RuntimeError:
                return  # it was closed

    def read(self, task: Any) -> TaskInfo:
        coroutine = _coroutine_of(task)
        waits = getattr(task, '_fut_waiter', None)
        self._hold(coroutine, waits)
        state = _state(task, coroutine, waits)
        frames, awaitables = self._walk(coroutine)
        if state == 'running':
            frames = self._running(coroutine) or frames
        stack = tuple(self.place(frame) for frame in frames)
        file, line, function = self._own_place(stack)
        return TaskInfo(
            id=id(task), name=str(task.get_name()), state=state, coroutine=name_of(coroutine),
            awaits=_awaited(awaitables, waits) if state == 'waiting' else None,
            file=file, line=line, function=function, stack=stack, age=age_of(task), awaited_by=_awaited_by(task))

    def _walk(self, coroutine: Any) -> tuple[list[FrameType], list[Any]]:
        """The frames from the coroutine in to where it waits, and what the innermost of them that isn't the runtime's
        awaits: awaitables of the runtime, from the outside in."""
        frames: list[FrameType] = []
        awaitables: list[Any] = []
        for awaitable, frame in _chain(coroutine):
            self._hold(awaitable, frame)
            if frame is not None:
                frames.append(frame)
            if frame is None or self._kind(frame.f_code.co_filename) == _RUNTIME:
                awaitables.append(awaitable)
            else:
                awaitables.clear()
        return frames, awaitables

    def _running(self, coroutine: Any) -> list[FrameType]:
        """The frames of the task that runs now, down to the innermost call of its thread, whichever that is; empty if it
        stopped."""
        outermost = getattr(coroutine, 'cr_frame', None)
        for frame in sys._current_frames().values() if outermost is not None else ():
            at: FrameType | None = frame
            frames = []
            while at is not None:
                if at.f_code.co_filename != __file__:
                    frames.append(at)
                if at is outermost:
                    frames.reverse()
                    return frames
                at = at.f_back
        return []

    def place(self, frame: FrameType) -> Place:
        code = frame.f_code
        # a frame between two lines has none, nor has one of Cython's
        return code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_qualname

    def _own_place(self, stack: tuple[Place, ...]) -> Place | tuple[None, None, None]:
        best: Place | tuple[None, None, None] = (None, None, None)
        best_kind = _RUNTIME + 1
        for place in reversed(stack):
            kind = self._kind(place[0])
            if kind < best_kind:
                best, best_kind = place, kind
                if kind == _OWN:
                    break
        return best

    def _kind(self, file: str) -> int:
        kind = self._kinds.get(file)
        if kind is None:
            kind = self._kinds[file] = _kind_of(file)
        return kind


def _kind_of(file: str) -> int:
    """Whose code a file is: the program's own, an installed library's, the runtime's."""
    if file.startswith((_HERE, _COMPILED_FROM, '<frozen ')):
        return _RUNTIME
    if f'{os.sep}site-packages{os.sep}' in file or f'{os.sep}dist-packages{os.sep}' in file:
        return _LIBRARY
    return _RUNTIME if file.startswith(_STANDARD_LIBRARY) else _OWN


def is_runtime(file: str) -> bool:
    """True if the file is glassloop's, asyncio's or the standard library's."""
    return _kind_of(file) == _RUNTIME


def _coroutine_of(task: Any) -> Any:
    get = getattr(task, 'get_coro', None)  # a task of a factory's own class may have none
    return None if get is None else get()


def _state(task: Any, coroutine: Any, waits: Any) -> str:
    if task.done():
        return 'done'
    if isinstance(coroutine, CoroutineType):
        running = coroutine.cr_running
    elif isinstance(coroutine, GeneratorType):
        running = coroutine.gi_running
    else:
        running = bool(getattr(coroutine, 'cr_running', False))
    if running:
        return 'running'
    return 'ready' if waits is None or waits.done() else 'waiting'


def _chain(awaitable: Any) -> Iterator[tuple[Any, FrameType | None]]:
    """What a coroutine drives, from the outside in: each awaitable that can be looked into, and its frame, if it has
    one."""
    for _ in range(_MAX_CHAIN):
        if isinstance(awaitable, CoroutineType):
            yield awaitable, awaitable.cr_frame
            awaitable = awaitable.cr_await
        elif isinstance(awaitable, GeneratorType):
            inner = awaitable.gi_yieldfrom
            operation = None
            if inner is None and awaitable.gi_code is _INTERPRETED_AWAIT:
                operation = _referred(awaitable, Op)
            if operation is not None:
                yield operation, None
                return
            yield awaitable, awaitable.gi_frame
            awaitable = inner
        elif isinstance(awaitable, AsyncGeneratorType):
            yield awaitable, awaitable.ag_frame
            awaitable = awaitable.ag_await
        elif isinstance(awaitable, Op):
            yield awaitable, None
            return
        elif type(awaitable).__name__ in _OPAQUE:
            awaitable = _referred(awaitable, (CoroutineType, GeneratorType, AsyncGeneratorType), by_name=True)
        elif _is_cython(awaitable):
            yield awaitable, getattr(awaitable, 'cr_frame', None)
            awaitable = getattr(awaitable, 'cr_await', None)
        else:
            return


# Interpreted, `await operation` goes by way of a generator.
_INTERPRETED_AWAIT: CodeType | None = getattr(Op.__await__, '__code__', None)


def _referred(awaitable: Any, kinds: Any, by_name: bool = False) -> Any:
    """The first object that the awaitable refers to and that is of one of these kinds; None if there is none."""
    for thing in gc.get_referents(awaitable):
        if isinstance(thing, kinds):
            return thing
        if by_name and (type(thing).__name__ in _OPAQUE or _is_cython(thing)):
            return thing
    return None


def _is_cython(awaitable: Any) -> bool:
    """A coroutine or generator that Cython compiled."""
    return str(type(awaitable).__module__).startswith('_cython_')


# ---- names ----

def name_of(awaitable: Any) -> str:
    """A coroutine's qualified name; of anything else with a coroutine's face, what its type is called."""
    if isinstance(awaitable, Op):
        return _name_of_op(awaitable).removesuffix('()')
    name = getattr(awaitable, '__qualname__', None)
    return name if isinstance(name, str) else type(awaitable).__qualname__


def _name_of_op(operation: Op) -> str:
    """What the user calls an operation. Its class is named so that one can tell: Queue_get, sock_recv, Sleep."""
    name = type(operation).__name__
    if name in _OPS:
        return _OPS[name]
    owner, _, method = name.partition('_')
    if not owner[:1].isupper():
        return f'{name}()'
    return f'{owner}.{method}()' if method else f'{owner.lower()}()'


def _awaited(awaitables: list[Any], waits: Any) -> str:
    """What a task waits for: the first thing of the runtime that its code awaits and that has a name of its own."""
    found = None
    if type(waits).__name__ == 'TaskGroup_slot':
        return _PLACE  # its code has not begun
    for awaitable in awaitables:
        if isinstance(awaitable, Op):
            return _name_of_op(awaitable)
        name = name_of(awaitable)
        if name in _COROUTINES:
            return _COROUTINES[name]
        last = name.rpartition('.')[2]
        if last in _TRANSPARENT:
            continue
        if not last.startswith('_'):
            return f'{name}()'
        found = found or f'{name}()'
    return found or _name_of_future(waits)


def _name_of_future(future: Any) -> str:
    if isinstance(future, asyncio.Task):
        return f'task {str(future.get_name())!r}'
    name = type(future).__name__
    if name == '_GatheringFuture':
        return 'gather()'
    callbacks = getattr(future, '_callbacks', None) if type(future).__module__ == 'glassloop.core.future' else None
    if callbacks:
        return _HEARERS.get(type(_referred(callbacks[0][0], Listener)).__name__, name)
    return name


def _awaited_by(task: Any) -> tuple[int, ...]:
    from .graph import _awaited_by as waiters

    try:
        return tuple({id(waiter): None for waiter in waiters(task)})
    except (AttributeError, RuntimeError, TypeError):
        # the lists of waiters changed under our hands: the task ended, or somebody gave up waiting
        return ()


# ---- rendering ----

def tree(infos: Iterable[TaskInfo]) -> str:
    """The tasks as a tree, a line each: who waits stands above what he waits for. A task that several wait for is shown
    in full once; where tasks wait for one another in a circle it is cut. '' if there are none."""
    everything = list(infos)
    known = {info.id: info for info in everything}
    below: dict[int, list[TaskInfo]] = {}
    for info in everything:
        for waiter in info.awaited_by:
            below.setdefault(waiter, []).append(info)
    lines: list[str] = []
    shown: set[int] = set()
    roots = [info for info in everything if not any(waiter in known for waiter in info.awaited_by)]
    # what stands in a circle is below no root
    for root in (*roots, *everything):
        if root.id not in shown:
            _draw(root, below, shown, lines)
    return '\n'.join(lines)


def _draw(root: TaskInfo, below: dict[int, list[TaskInfo]], shown: set[int], lines: list[str]) -> None:
    # not by recursion: a chain of tasks may be longer than the stack is deep
    to_draw: list[tuple[TaskInfo, str, str, int]] = [(root, '', '', 0)]
    while to_draw:
        info, branch, indent, depth = to_draw.pop()
        if info.id in shown:
            lines.append(f'{branch}{info.name}  (see above)')
            continue
        shown.add(info.id)
        lines.append(branch + describe(info))
        children = below.get(info.id, [])
        deep = depth >= _MAX_INDENT
        for child in reversed(children):
            last = child is children[-1]
            if deep:
                to_draw.append((child, f'{indent}({depth + 1}) ', indent, depth + 1))
            else:
                to_draw.append((child, indent + ('└─ ' if last else '├─ '), indent + ('   ' if last else '│  '), depth + 1))


def describe(info: TaskInfo) -> str:
    """A task in one line: name, coroutine, state and what it awaits, file:line, age."""
    state = info.state if info.awaits is None else f'waits for {info.awaits}'
    parts = [info.name, f'{info.coroutine}()' if info.coroutine else '', state,
             '' if info.file is None else f'{info.file}:{info.line}', '' if info.age is None else _duration(info.age)]
    return '  '.join(part for part in parts if part)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f'{seconds * 1000:.0f} ms'
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {seconds} s'
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes} min'
