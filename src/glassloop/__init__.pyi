# The types of the public names. They are asyncio's, whose faces our objects have; what asyncio has only on newer
# Pythons is added here for the older ones.
import asyncio
import sys
import typing
from asyncio import ALL_COMPLETED as ALL_COMPLETED
from asyncio import FIRST_COMPLETED as FIRST_COMPLETED
from asyncio import FIRST_EXCEPTION as FIRST_EXCEPTION
from asyncio import AbstractEventLoop as AbstractEventLoop
from asyncio import AbstractServer as AbstractServer
from asyncio import Barrier as Barrier
from asyncio import BaseEventLoop as BaseEventLoop
from asyncio import BaseProtocol as BaseProtocol
from asyncio import BaseTransport as BaseTransport
from asyncio import BoundedSemaphore as BoundedSemaphore
from asyncio import BrokenBarrierError as BrokenBarrierError
from asyncio import BufferedProtocol as BufferedProtocol
from asyncio import CancelledError as CancelledError
from asyncio import Condition as Condition
from asyncio import DatagramProtocol as DatagramProtocol
from asyncio import DatagramTransport as DatagramTransport
from asyncio import Event as Event
from asyncio import Future as Future
from asyncio import Handle as Handle
from asyncio import IncompleteReadError as IncompleteReadError
from asyncio import InvalidStateError as InvalidStateError
from asyncio import LimitOverrunError as LimitOverrunError
from asyncio import Lock as Lock
from asyncio import Protocol as Protocol
from asyncio import QueueEmpty as QueueEmpty
from asyncio import QueueFull as QueueFull
from asyncio import ReadTransport as ReadTransport
from asyncio import SelectorEventLoop as SelectorEventLoop
from asyncio import Semaphore as Semaphore
from asyncio import SendfileNotAvailableError as SendfileNotAvailableError
from asyncio import Server as Server
from asyncio import StreamReader as StreamReader
from asyncio import StreamReaderProtocol as StreamReaderProtocol
from asyncio import StreamWriter as StreamWriter
from asyncio import SubprocessProtocol as SubprocessProtocol
from asyncio import SubprocessTransport as SubprocessTransport
from asyncio import Task as Task
from asyncio import Timeout as Timeout
from asyncio import TimeoutError as TimeoutError
from asyncio import TimerHandle as TimerHandle
from asyncio import Transport as Transport
from asyncio import WriteTransport as WriteTransport
from asyncio import _enter_task as _enter_task
from asyncio import _get_running_loop as _get_running_loop
from asyncio import _leave_task as _leave_task
from asyncio import _register_task as _register_task
from asyncio import _set_running_loop as _set_running_loop
from asyncio import _unregister_task as _unregister_task
from asyncio import all_tasks as all_tasks
from asyncio import as_completed as as_completed
from asyncio import create_subprocess_exec as create_subprocess_exec
from asyncio import create_subprocess_shell as create_subprocess_shell
from asyncio import create_task as create_task
from asyncio import current_task as current_task
from asyncio import ensure_future as ensure_future
from asyncio import gather as gather
from asyncio import get_event_loop as get_event_loop
from asyncio import get_event_loop_policy as get_event_loop_policy
from asyncio import get_running_loop as get_running_loop
from asyncio import iscoroutine as iscoroutine
from asyncio import iscoroutinefunction as iscoroutinefunction
from asyncio import isfuture as isfuture
from asyncio import open_connection as open_connection
from asyncio import open_unix_connection as open_unix_connection
from asyncio import run_coroutine_threadsafe as run_coroutine_threadsafe
from asyncio import set_event_loop as set_event_loop
from asyncio import set_event_loop_policy as set_event_loop_policy
from asyncio import shield as shield
from asyncio import sleep as sleep
from asyncio import start_server as start_server
from asyncio import start_unix_server as start_unix_server
from asyncio import timeout as timeout
from asyncio import timeout_at as timeout_at
from asyncio import to_thread as to_thread
from asyncio import wait as wait
from asyncio import wait_for as wait_for
from asyncio import wrap_future as wrap_future
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context

from _typeshed import SupportsRichComparison

from . import subprocess as subprocess
from .control import expose as expose
from .core import poller as _poller
from .portal import BlockingPortal as BlockingPortal
from .portal import start_blocking_portal as start_blocking_portal
from .runner import EventLoopPolicy as EventLoopPolicy
from .runner import Runner as Runner
from .runner import install as install
from .runner import new_event_loop as new_event_loop
from .runner import run as run
from .sync.amap import amap as amap
from .sync.background import spawn as spawn
from .work.cluster import DaskPool as DaskPool
from .work.interpreters import to_interpreter as to_interpreter
from .work.processes import BrokenWorkerProcess as BrokenWorkerProcess
from .work.processes import ProcessPool as ProcessPool
from .work.processes import report_progress as report_progress
from .work.processes import to_process as to_process

_T = typing.TypeVar("_T")
_Sortable = typing.TypeVar("_Sortable", bound=SupportsRichComparison)

class _Clock(typing.Protocol):
    def time(self) -> float: ...

# For a type checker BaseEventLoop is the class that has all methods; at run time the base is AbstractEventLoop.
class EventLoop(asyncio.BaseEventLoop):
    slow_callback_duration: float
    def __init__(self, *, clock: _Clock | None = None, poller: _poller.Poller | None = None) -> None: ...

__version__: str
compiled: bool

class TaskGroup(asyncio.TaskGroup):
    def __init__(self, *, limit: int | None = None) -> None: ...
    def create_task(
        self,
        coro: Generator[typing.Any, None, _T] | Coroutine[typing.Any, typing.Any, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **kwargs: typing.Any,
    ) -> asyncio.Task[_T]: ...
    def cancel(self) -> None: ...

if sys.version_info < (3, 14):
    from asyncio import AbstractChildWatcher as AbstractChildWatcher
    from asyncio import AbstractEventLoopPolicy as AbstractEventLoopPolicy
    from asyncio import DefaultEventLoopPolicy as DefaultEventLoopPolicy
    from asyncio import FastChildWatcher as FastChildWatcher
    from asyncio import MultiLoopChildWatcher as MultiLoopChildWatcher
    from asyncio import PidfdChildWatcher as PidfdChildWatcher
    from asyncio import SafeChildWatcher as SafeChildWatcher
    from asyncio import ThreadedChildWatcher as ThreadedChildWatcher
    from asyncio import get_child_watcher as get_child_watcher
    from asyncio import set_child_watcher as set_child_watcher

if sys.version_info >= (3, 12):
    from asyncio import create_eager_task_factory as create_eager_task_factory
    from asyncio import eager_task_factory as eager_task_factory
else:
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

if sys.version_info >= (3, 13):
    from asyncio import LifoQueue as LifoQueue
    from asyncio import PriorityQueue as PriorityQueue
    from asyncio import Queue as Queue
    from asyncio import QueueShutDown as QueueShutDown
else:
    class QueueShutDown(Exception): ...
    class Queue(asyncio.Queue[_T]):
        def shutdown(self, immediate: bool = False) -> None: ...
    class PriorityQueue(Queue[_Sortable], asyncio.PriorityQueue[_Sortable]): ...
    class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]): ...

if sys.version_info >= (3, 14):
    from asyncio import FrameCallGraphEntry as FrameCallGraphEntry
    from asyncio import FutureCallGraph as FutureCallGraph
    from asyncio import capture_call_graph as capture_call_graph
    from asyncio import format_call_graph as format_call_graph
    from asyncio import future_add_to_awaited_by as future_add_to_awaited_by
    from asyncio import future_discard_from_awaited_by as future_discard_from_awaited_by
    from asyncio import print_call_graph as print_call_graph
else:
    from .graph import FrameCallGraphEntry as FrameCallGraphEntry
    from .graph import FutureCallGraph as FutureCallGraph
    from .graph import capture_call_graph as capture_call_graph
    from .graph import format_call_graph as format_call_graph
    from .graph import print_call_graph as print_call_graph
    def future_add_to_awaited_by(fut: typing.Any, waiter: typing.Any, /) -> None: ...
    def future_discard_from_awaited_by(fut: typing.Any, waiter: typing.Any, /) -> None: ...
