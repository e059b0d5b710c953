"""Waiting for one another: sleep, gather, wait, timeouts, task groups, locks, queues. All of it works on asyncio's loops
too, where it is as fast as asyncio lets it be.

    waiting.py      what the others are made of: the line of waiters, loop binding, awaitables that are done at once
    sleep.py        sleep
    tasks.py        create_task, ensure_future, shield, eager task factories
    gather.py       gather
    wait.py         wait, as_completed
    timeouts.py     timeout, timeout_at, Timeout, wait_for
    taskgroups.py   TaskGroup
    locks.py        Lock, Event, Condition, Semaphore, BoundedSemaphore
    barrier.py      Barrier
    queues.py       Queue, PriorityQueue, LifoQueue
    amap.py         amap: a function over many items, so many at a time               (plain)
    progress.py     the bar that shows how far amap is                                (plain)
    background.py   spawn: tasks that nobody waits for                                (plain)

What asyncio has and is right for our loops as it is (current_task, all_tasks, isfuture, iscoroutine, wrap_future,
run_coroutine_threadsafe...) is not repeated here.
"""
from .barrier import Barrier
from .gather import gather
from .locks import BoundedSemaphore, Condition, Event, Lock, Semaphore
from .queues import LifoQueue, PriorityQueue, Queue, QueueEmpty, QueueFull, QueueShutDown
from .sleep import sleep
from .taskgroups import TaskGroup
from .tasks import (
    create_eager_task_factory,
    create_task,
    eager_task_factory,
    ensure_future,
    future_add_to_awaited_by,
    future_discard_from_awaited_by,
    shield,
)
from .tasks import mark_coroutine_functions as _mark
from .timeouts import Timeout, timeout, timeout_at, wait_for
from .wait import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait

__all__ = (
    'ALL_COMPLETED',
    'FIRST_COMPLETED',
    'FIRST_EXCEPTION',
    'Barrier',
    'BoundedSemaphore',
    'Condition',
    'Event',
    'LifoQueue',
    'Lock',
    'PriorityQueue',
    'Queue',
    'QueueEmpty',
    'QueueFull',
    'QueueShutDown',
    'Semaphore',
    'TaskGroup',
    'Timeout',
    'as_completed',
    'create_eager_task_factory',
    'create_task',
    'eager_task_factory',
    'ensure_future',
    'future_add_to_awaited_by',
    'future_discard_from_awaited_by',
    'gather',
    'shield',
    'sleep',
    'timeout',
    'timeout_at',
    'wait',
    'wait_for',
)

_mark(sleep, wait, Queue.get, Queue.put, Queue.join, Event.wait, Lock.acquire, Semaphore.acquire, Condition.wait,
      Condition.wait_for)
