# The types of the public names. They are asyncio's, whose faces our objects have; what asyncio has only on newer
# Pythons is added here for the older ones.
import asyncio
import sys
import typing
from asyncio import *
from asyncio import Server as Server
from asyncio import TaskGroup as TaskGroup
from asyncio import Timeout as Timeout
from asyncio import timeout as timeout
from asyncio import timeout_at as timeout_at
from collections.abc import Callable, Coroutine
from contextvars import Context

from . import subprocess as subprocess
from .core import poller as _poller
from .runner import EventLoopPolicy as EventLoopPolicy
from .runner import Runner as Runner
from .runner import install as install
from .runner import new_event_loop as new_event_loop
from .runner import run as run

_T = typing.TypeVar("_T")

class _Clock(typing.Protocol):
    def time(self) -> float: ...

# For a type checker BaseEventLoop is the class that has all methods; at run time the base is AbstractEventLoop.
class EventLoop(asyncio.BaseEventLoop):
    slow_callback_duration: float
    def __init__(self, *, clock: _Clock | None = None, poller: _poller.Poller | None = None) -> None: ...

__version__: str
compiled: bool

if sys.version_info < (3, 12):
    def eager_task_factory(
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[typing.Any, typing.Any, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[_T]: ...
    def create_eager_task_factory(
        custom_task_constructor: Callable[..., asyncio.Task[typing.Any]],
    ) -> Callable[..., asyncio.Task[typing.Any]]: ...

if sys.version_info < (3, 13):
    class QueueShutDown(Exception): ...
