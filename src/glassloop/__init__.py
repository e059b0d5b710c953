"""glassloop: an asyncio runtime, compiled from plain Python.

    import glassloop
    glassloop.run(main())               # asyncio.run, on a glassloop loop
    import glassloop as asyncio         # every name of asyncio is here, glassloop's own where there is one

Where things are, as data flows:

    core/       futures, tasks, handles, the turn of the loop, the poller       (compiled)
    net/        transports, servers, streams, names, bare sockets
    sync/       gather, wait, timeouts, task groups, locks, queues              (compiled)
    work/       threads, signals, subprocesses, worker processes and clusters
    graph.py    call graphs: who waits for whom
    loop.py     EventLoop: the asyncio face, composed of the above
    runner.py   run, Runner, install
    control/    a program seen and driven from outside, by another process
    cli.py      the `glassloop` command

`compiled` is True where the compiled runtime runs, False where the same source is interpreted. The types of the public
names are in __init__.pyi.
"""
import asyncio as _asyncio
import importlib as _importlib
from asyncio import *  # noqa: F403
from typing import Any

from .core import leaf as _leaf
from .core.future import Future
from .core.handle import Handle, TimerHandle
from .core.task import Task
from .loop import EventLoop
from .runner import EventLoopPolicy, Runner, install, new_event_loop, run

__version__ = "0.1.0"

#: True: compiled by Cython; False: interpreted
compiled: bool = _leaf.COMPILED

# Ours that are loaded when they are first asked for: a program that only runs on the loop starts sooner.
_LAZY = {
    **dict.fromkeys(('Server',), '.net.server'),
    **dict.fromkeys(('StreamReader', 'StreamReaderProtocol', 'StreamWriter', 'open_connection', 'open_unix_connection',
                     'start_server', 'start_unix_server'), '.net.streams'),
    **dict.fromkeys(('ALL_COMPLETED', 'FIRST_COMPLETED', 'FIRST_EXCEPTION', 'Barrier', 'BoundedSemaphore', 'Condition',
                     'Event', 'LifoQueue', 'Lock', 'PriorityQueue', 'Queue', 'QueueEmpty', 'QueueFull',
                     'QueueShutDown', 'Semaphore', 'TaskGroup', 'Timeout', 'as_completed',
                     'create_eager_task_factory', 'create_task', 'eager_task_factory', 'ensure_future',
                     'future_add_to_awaited_by', 'future_discard_from_awaited_by', 'gather', 'shield', 'sleep', 'timeout',
                     'timeout_at', 'wait', 'wait_for'), '.sync'),
    **dict.fromkeys(('amap',), '.sync.amap'),
    **dict.fromkeys(('spawn',), '.sync.background'),
    **dict.fromkeys(('create_subprocess_exec', 'create_subprocess_shell'), '.work.subprocess'),
    **dict.fromkeys(('to_thread',), '.work.threads'),
    **dict.fromkeys(('expose',), '.control'),
    **dict.fromkeys(('to_interpreter',), '.work.interpreters'),
    **dict.fromkeys(('BrokenWorkerProcess', 'ProcessPool', 'report_progress', 'to_process'), '.work.processes'),
    **dict.fromkeys(('DaskPool',), '.work.cluster'),
    **dict.fromkeys(('BlockingPortal', 'start_blocking_portal'), '.portal'),
    **dict.fromkeys(('FrameCallGraphEntry', 'FutureCallGraph', 'capture_call_graph', 'format_call_graph',
                     'print_call_graph'), '.graph'),
}

for _name in _LAZY:
    globals().pop(_name, None)  # asyncio's of the same name
del _name

__all__ = (  # noqa: PLE0604
    *_LAZY, 'EventLoop', 'EventLoopPolicy', 'Future', 'Handle', 'Runner', 'Task', 'TimerHandle', 'compiled', 'install',
    'new_event_loop', 'run',
    *(name for name in _asyncio.__all__ if name not in _LAZY and name not in (
        'EventLoop', 'Future', 'Handle', 'Runner', 'Task', 'TimerHandle', 'new_event_loop', 'run')),
)


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is not None:
        value = globals()[name] = getattr(_importlib.import_module(module, __name__), name)
        return value
    if name == 'subprocess':
        return _importlib.import_module('.subprocess', __name__)
    # asyncio's submodules, and what it has without naming it in __all__
    try:
        return getattr(_asyncio, name)
    except AttributeError:
        raise AttributeError(f"module 'glassloop' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
