"""glassloop: an asyncio runtime, compiled from plain Python.

    import glassloop
    glassloop.run(main())               # asyncio.run, on a glassloop loop
    import glassloop as asyncio         # every name of asyncio is here, glassloop's own where there is one

Where things are, as data flows:

    core/       futures, tasks, handles, the turn of the loop, the poller       (compiled)
    net/        transports, servers, streams, names, bare sockets
    sync/       gather, wait, timeouts, task groups, locks, queues              (compiled)
    work/       threads and signals
    loop.py     EventLoop: the asyncio face, composed of the above
    runner.py   run, Runner, install
    cli.py      the `glassloop` command

`compiled` is True where the compiled runtime runs, False where the same source is interpreted.
"""
import asyncio as _asyncio
from asyncio import *  # noqa: F403
from typing import Any

from .core import leaf as _leaf
from .core.future import Future
from .core.handle import Handle, TimerHandle
from .core.task import Task
from .loop import EventLoop
from .net.server import Server
from .net.streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)
from .runner import EventLoopPolicy, Runner, install, new_event_loop, run
from .sync import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    Semaphore,
    TaskGroup,
    Timeout,
    as_completed,
    create_eager_task_factory,
    create_task,
    eager_task_factory,
    ensure_future,
    gather,
    shield,
    sleep,
    timeout,
    timeout_at,
    wait,
    wait_for,
)
from .work.threads import to_thread

__version__ = "0.1.0"

#: True: compiled by Cython; False: interpreted
compiled: bool = _leaf.COMPILED

_OURS = (
    'ALL_COMPLETED', 'FIRST_COMPLETED', 'FIRST_EXCEPTION', 'Barrier', 'BoundedSemaphore', 'Condition', 'Event',
    'EventLoop', 'EventLoopPolicy', 'Future', 'Handle', 'LifoQueue', 'Lock', 'PriorityQueue', 'Queue', 'QueueEmpty',
    'QueueFull', 'QueueShutDown', 'Runner', 'Semaphore', 'Server', 'StreamReader', 'StreamReaderProtocol',
    'StreamWriter', 'Task', 'TaskGroup', 'TimerHandle', 'Timeout', 'as_completed', 'compiled',
    'create_eager_task_factory', 'create_task', 'eager_task_factory', 'ensure_future', 'gather', 'install',
    'new_event_loop', 'open_connection', 'open_unix_connection', 'run', 'shield', 'sleep', 'start_server',
    'start_unix_server', 'timeout', 'timeout_at', 'to_thread', 'wait', 'wait_for',
)

__all__ = (*_OURS, *(name for name in _asyncio.__all__ if name not in _OURS))


def __getattr__(name: str) -> Any:
    # asyncio's submodules, and what it has without naming it in __all__
    try:
        return getattr(_asyncio, name)
    except AttributeError:
        raise AttributeError(f"module 'glassloop' has no attribute {name!r}") from None
