"""What each request does, and what is told of a loop. It runs in the control thread, next to loops that go on, hang or
end meanwhile; what must happen in a loop is a Job.

A request is an object with "glassloop": PROTOCOL, "do": one of the names below, and its fields; one too many, one
missing or one of another type is refused.

    do        fields                              answer
    ps                                            the process: pid, program, python, ..., and its loops
    tree      loop, stacks                        frames with tasks, with their stacks or without, and at last the loops
    cancel    loop, task                          what was cancelled
    exposed   loop                                what can be called
    call      loop, name, args, kwargs, wait      the result

`loop` is a loop's number or null. Loops and tasks are numbered when they are first told of, and a number is never given
again: an id() would be, and then a task would be cancelled that nobody meant.

An answer is {"error": {"kind", "type", "message"}}, or anything else. The kinds: malformed, refused (who asks, or how
much), usage (there is no such thing), raised (by the function that was called), ended (the program, or the loop),
internal (a defect here; it is logged).
"""
from __future__ import annotations

import inspect
import itertools
import os
import shlex
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .. import __version__, compiled
from ..core import visible
from . import frames
from .exposed import exposed_to

if TYPE_CHECKING:
    from .server import Server

PROTOCOL = 1
HUNG = 1.0  # seconds in one step or callback
CONFIRM = 1.0  # seconds that a loop has to carry out a cancel before it is said that it hangs
ENTRIES = 100  # that are put into one frame of a long answer, if they fit
MAX_TEXT = 1000  # characters of a name; of a message it is ten times that
MAX_STACK = 30  # frames of a task that are told, the innermost


def error(kind: str, message: str, type: str | None = None) -> bytes:
    """The frame of an error."""
    return frames.encode({'error': {'kind': kind, 'type': type, 'message': cut(message, 10 * MAX_TEXT)}})


def cut(text: Any, length: int = MAX_TEXT) -> str:
    text = str(text)
    return text if len(text) <= length else f'{text[:length - 3]}...'


class Refusal(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.frame = error(kind, message)


class Numbers:
    """Numbers for loops and tasks. Loops are found by identity: to hash one is its own thread's affair."""

    def __init__(self) -> None:
        self._next_loop = itertools.count(1)
        self._loops: list[tuple[int, weakref.ref[Any]]] = []
        self._next_task = itertools.count(1)
        self._tasks: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def of_loop(self, loop: Any) -> int:
        self._loops = [(number, known) for number, known in self._loops if known() is not None]
        for number, known in self._loops:
            if known() is loop:
                return number
        number = next(self._next_loop)
        self._loops.append((number, weakref.ref(loop)))
        return number

    def of_task(self, task: Any) -> int:
        number = self._tasks.get(task)
        if number is None:
            number = self._tasks[task] = next(self._next_task)
        return number


class Answers:
    """What a process answers. Only the control thread may use it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = Numbers()
        self._started = _start_of_process()
        self._requests: dict[str, tuple[dict[str, tuple[type, ...]], Callable[..., Any]]] = {
            'ps': ({}, self._ps),
            'tree': ({'loop': _NUMBER, 'stacks': (bool,)}, self._tree),
            'cancel': ({'loop': _NUMBER, 'task': (str,)}, self._cancel),
            'exposed': ({'loop': _NUMBER}, self._exposed),
            'call': ({'loop': _NUMBER, 'name': (str,), 'args': (list,), 'kwargs': (dict,), 'wait': (bool,)}, self._call),
        }

    def to(self, request: dict[str, Any], jobs_allowed: bool) -> Job | Iterator[bytes]:
        """The answer: frames, one at least, or a job that has to begin. Raises Refusal."""
        fields = dict(request)
        spoken = fields.pop('glassloop', None)
        if spoken != PROTOCOL or type(spoken) is not int:
            raise Refusal('malformed', f'protocol {PROTOCOL} is spoken here, not {cut(spoken, 20)}')
        name = fields.pop('do', None)
        if not isinstance(name, str) or name not in self._requests:
            raise Refusal('malformed', f'no request {cut(name, 50)!r}')
        wanted, answer = self._requests[name]
        if fields.keys() != wanted.keys():
            raise Refusal('malformed', f'{name} has the fields {", ".join(wanted) or "none"}')
        for field, types in wanted.items():
            if type(fields[field]) not in types:
                raise Refusal('malformed', f'{field} of {name} is of the wrong type')
        if name in ('cancel', 'call') and not jobs_allowed:
            raise Refusal('refused', 'too many calls are running already')
        return answer(**fields)  # type: ignore[no-any-return]

    # ---- loops ----

    def _loops(self, number: int | None = None) -> list[tuple[int, Any]]:
        """The loops that are not closed, by their numbers; or the one of this number."""
        known: Any = visible._loops
        living = [reference() for reference in list(known.data)]  # a copy, at once: other threads make loops
        loops = [(self._numbers.of_loop(loop), loop) for loop in living if loop is not None and not loop.is_closed()]
        loops.sort(key=lambda pair: pair[0])
        if number is None:
            return loops
        for pair in loops:
            if pair[0] == number:
                return [pair]
        raise Refusal('usage', f'no loop {number}; ' + _choice(loops))

    def _running(self, number: int | None) -> list[tuple[int, Any]]:
        loops = self._loops(number)
        running = [pair for pair in loops if pair[1].is_running()]
        if not running:
            raise Refusal('usage', 'no loop runs in this process' if number is None else f'loop {number} is not running')
        return running

    def _one(self, loops: list[tuple[int, Any]]) -> Any:
        """The loop that is meant: the only one, or that of the main thread."""
        if len(loops) == 1:
            return loops[0][1]
        main = threading.main_thread().ident
        for _, loop in loops:
            if loop._thread_id == main:
                return loop
        raise Refusal('usage', 'several loops run, none of them in the main thread; ' + _choice(loops))

    def _state(self, number: int, loop: Any, tasks: int) -> dict[str, Any]:
        ident, busy = loop._thread_id, loop._busy_for()
        state: dict[str, Any] = {'loop': number, 'thread': None, 'task_count': tasks, 'busy': round(busy, 3), 'at': None}
        if ident is None:
            return {**state, 'state': 'stopped', 'busy': 0.0}
        state['thread'] = next((cut(t.name) for t in threading.enumerate() if t.ident == ident), str(ident))
        state['state'] = 'idle' if not busy else 'running' if busy < HUNG else 'hung'
        if state['state'] == 'hung':
            state['at'] = _place_of(ident)
        return state

    # ---- requests ----

    def _ps(self) -> Iterator[bytes]:
        from ..snapshot import _tasks_of

        yield frames.encode({
            'pid': os.getpid(),
            'program': cut(shlex.join(map(str, sys.argv))),
            'python': sys.version.split()[0],
            'glassloop': __version__,
            'compiled': compiled,
            'uptime': round(time.clock_gettime(time.CLOCK_BOOTTIME) - self._started, 1),
            'loops': [self._state(number, loop, len(list(_tasks_of(loop)))) for number, loop in self._loops()][:100],
        })

    def _tree(self, loop: int | None, stacks: bool) -> Iterator[bytes]:
        from ..snapshot import _tasks_of, snapshot

        loops, tasks = [], []
        for number, its_loop in self._loops(loop):
            held = {id(task): task for task in _tasks_of(its_loop)}  # so that no other task gets its id() meanwhile
            infos = [info for info in snapshot(its_loop) if info.id in held]
            numbers = {info.id: self._numbers.of_task(held[info.id]) for info in infos}
            tasks += [(number, info, numbers) for info in infos]
            loops.append(self._state(number, its_loop, len(infos)))
        # told before the first frame is sent, made frame by frame
        return self._tree_frames(tasks, loops, stacks)

    def _tree_frames(self, tasks: list[Any], loops: list[dict[str, Any]], stacks: bool) -> Iterator[bytes]:
        for start in range(0, len(tasks), ENTRIES):
            yield from _part('tasks', [
                _told(number, info, numbers, stacks) for number, info, numbers in tasks[start:start + ENTRIES]])
        yield frames.encode({'loops': loops})

    def _cancel(self, loop: int | None, task: str) -> Job:
        from ..snapshot import _tasks_of

        by_number = task.isascii() and task.isdigit()
        meant = [(its_loop, candidate) for _, its_loop in self._loops(loop) for candidate in _tasks_of(its_loop)
                 if task == str(self._numbers.of_task(candidate) if by_number else candidate.get_name())]
        if not meant:
            raise Refusal('usage', f'no task {task}' if by_number else f'no task is named {cut(task)!r}')
        if len(meant) > 1:
            numbers = sorted(self._numbers.of_task(candidate) for _, candidate in meant)
            shown = ', '.join(map(str, numbers[:20])) + (', ...' if len(numbers) > 20 else '')
            raise Refusal('usage', f'{len(meant)} tasks are named {cut(task)!r}; say which, by its number: {shown}')
        its_loop, candidate = meant[0]
        return Cancel(self._server, its_loop, candidate, self._numbers.of_task(candidate))

    def _exposed(self, loop: int | None) -> Iterator[bytes]:
        found: dict[str, Any] = {}
        for _, its_loop in self._loops(loop):
            found.update(exposed_to(its_loop))
        if loop is None:
            found.update(exposed_to(None))
        described = [_described(name, found[name]) for name in sorted(found)]
        parts = (_part('exposed', described[start:start + ENTRIES]) for start in range(0, len(described), ENTRIES))
        return itertools.chain(itertools.chain.from_iterable(parts), [frames.encode({})])

    def _call(self, loop: int | None, name: str, args: list[Any], kwargs: dict[str, Any],
              wait: bool) -> Job | Iterator[bytes]:
        running = self._running(loop)
        able = [pair for pair in running if name in exposed_to(pair[1])]
        if not able:
            known = sorted({known for _, its_loop in running for known in exposed_to(its_loop)})
            shown = ', '.join(cut(known, 50) for known in known[:20]) or 'nothing'
            raise Refusal('usage', f'{cut(name)!r} is not exposed; exposed: {shown}')
        its_loop = self._one(able)
        function = exposed_to(its_loop)[name]
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as problem:
            raise Refusal('usage', f'{cut(name)}{_signature(function)}: {problem}') from None
        call = Call(self._server, its_loop, name, function, args, kwargs)
        if wait:
            return call
        try:
            its_loop.call_soon_threadsafe(call.start_unattended)
        except RuntimeError:
            raise Refusal('ended', 'the loop was closed') from None
        return iter([frames.encode({'accepted': name})])


_NUMBER = (int, type(None))


def _part(key: str, entries: list[Any]) -> Iterator[bytes]:
    """Entries of a long answer, in one frame if they fit."""
    try:
        yield frames.encode({'more': True, key: entries})
    except frames.FrameError:
        middle = len(entries) // 2
        yield from _part(key, entries[:middle])
        yield from _part(key, entries[middle:])


def _place_of(ident: int) -> list[Any] | None:
    """Where a thread is: the innermost line of the program's own code, if there is one."""
    from ..snapshot import _Reader, thread_stack

    place = _Reader(None)._own_place(thread_stack(ident))
    return None if place[0] is None else [cut(place[0]), place[1], cut(place[2])]


def _choice(loops: list[tuple[int, Any]]) -> str:
    return 'loops: ' + (', '.join(str(number) for number, _ in loops) or 'none')


def _start_of_process() -> float:
    """Seconds since the boot; see proc_pid_stat(5): starttime is the 22nd field, and the second may have blanks and
    brackets."""
    with open('/proc/self/stat', 'rb') as stat:
        started: float = int(stat.read().rpartition(b')')[2].split()[19]) / os.sysconf('SC_CLK_TCK')
    return started


def _told(loop: int, info: Any, numbers: dict[int, int], stacks: bool) -> dict[str, Any]:
    """A TaskInfo as JSON says it."""
    stack = info.stack[-MAX_STACK:] if stacks else ()
    return {
        'loop': loop,
        'id': numbers[info.id],
        'name': cut(info.name),
        'state': info.state,
        'coroutine': cut(info.coroutine),
        'awaits': None if info.awaits is None else cut(info.awaits),
        'file': None if info.file is None else cut(info.file),
        'line': info.line,
        'function': None if info.function is None else cut(info.function),
        'stack': [[cut(file, 300), line, cut(function, 100)] for file, line, function in stack],
        'age': None if info.age is None else round(info.age, 3),
        'awaited_by': [numbers[waiter] for waiter in info.awaited_by if waiter in numbers][:MAX_TEXT],
    }


def _described(name: str, function: Any) -> dict[str, Any]:
    lines = (inspect.getdoc(function) or '').splitlines()
    return {'name': name, 'signature': cut(_signature(function)), 'doc': cut(lines[0]) if lines else None}


def _signature(function: Any) -> str:
    return str(inspect.signature(function))


# ---- what happens in a loop ----

class Job:
    """Something that is done in a loop for a client. The control thread calls begin(), look() now and then, and abandon()
    when the client went away; it ends with one finish(), which may come from any thread."""

    def __init__(self, server: Server, loop: Any) -> None:
        self._server = server
        self._loop = loop

    def begin(self) -> None:
        self._in_loop(self._start)

    def _in_loop(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            self._finish(error('ended', 'the loop was closed'))

    def _start(self) -> None:
        raise NotImplementedError

    def _finish(self, frame: bytes) -> None:
        self._server.finish(self, frame)

    def look(self, now: float) -> None:
        if self._loop.is_closed():
            self._finish(error('ended', 'the loop was closed'))

    def abandon(self) -> None:
        """Nobody waits for it any more."""


class Cancel(Job):
    """Cancels a task. Where the loop hangs, it will be done later, and that is said."""

    def __init__(self, server: Server, loop: Any, task: Any, number: int) -> None:
        super().__init__(server, loop)
        self._task = task
        self._told = {'task': number, 'name': cut(task.get_name())}
        self._deadline = time.monotonic() + CONFIRM

    def begin(self) -> None:
        if self._loop.is_running():
            super().begin()
        else:
            self._finish(error('usage', 'the loop of that task is not running'))

    def _start(self) -> None:
        self._finish(frames.encode({**self._told, 'cancelled': bool(self._task.cancel()), 'pending': False}))

    def look(self, now: float) -> None:
        super().look(now)
        if now >= self._deadline:
            self._finish(frames.encode({**self._told, 'cancelled': True, 'pending': True}))


class Call(Job):
    """Runs an exposed function as a task of the loop."""

    def __init__(self, server: Server, loop: Any, name: str, function: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
        super().__init__(server, loop)
        self._name = name
        self._coroutine = lambda: function(*args, **kwargs)
        self._task: Any = None
        self._abandoned = False

    def _start(self) -> None:
        if self._abandoned:
            return
        try:
            self._task = self._loop.create_task(self._coroutine(), name=f'call {self._name}')
        except Exception as problem:
            self._finish(_raised(problem))
        else:
            self._task.add_done_callback(self._done)

    def start_unattended(self) -> None:
        """Run it as spawn() runs coroutines: what it raises is told to the exception handler."""
        from ..sync.background import spawn

        spawn(self._coroutine(), name=f'call {self._name}')

    def _done(self, task: Any) -> None:
        if task.cancelled():
            self._finish(error('raised', 'the call was cancelled', 'CancelledError'))
            return
        problem = task.exception()
        if problem is None:
            try:
                frame = frames.encode({'result': task.result()})
            except Exception as unfit:  # the encoder may call the program's own code
                frame = error('raised', f'the result can not be sent as JSON: {unfit}', type(unfit).__name__)
            self._finish(frame)
        else:
            self._finish(_raised(problem))

    def abandon(self) -> None:
        self._abandoned = True
        self._in_loop(self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _raised(problem: BaseException) -> bytes:
    try:
        message = str(problem)
    except Exception as worse:
        message = f'its str() raised {type(worse).__name__}'
    kind = type(problem)
    module = '' if kind.__module__ in ('builtins', '__main__') else f'{kind.__module__}.'
    return error('raised', message, cut(f'{module}{kind.__qualname__}'))
