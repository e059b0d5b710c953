"""What asyncio and the operating system must know of our loops.

- `asyncio.all_tasks()` walks a WeakSet of the standard library; ours are not in it (an entry per task costs more than
  the task's step). The set gets a subclass as its class, whose iteration adds the tasks that our loops hold.
  Where that can't be done, each task is registered by itself: `register` is then the function to call, else None.
- After a fork the child must not touch what the parent waits for: every loop gets a poller and a wake-up pipe of its
  own, and none is running.

The only module-level state of the runtime is here: the weak set of living loops.
"""
import asyncio
import os
import signal
import sys
import weakref

_loops: weakref.WeakSet = weakref.WeakSet()


def watch(loop):
    """From now on asyncio.all_tasks() and a fork know of this loop."""
    _loops.add(loop)


class _TasksOfAll(weakref.WeakSet):
    def __iter__(self):
        yield from super().__iter__()
        for loop in list(_loops):
            yield from loop._held_tasks()


def _standard_set():
    """The WeakSet that asyncio.all_tasks() walks on this version, or None."""
    tasks = asyncio.tasks
    if sys.version_info < (3, 12):
        return tasks._all_tasks
    if sys.version_info < (3, 14):
        return tasks._scheduled_tasks

    # C code keeps the set, and shows it in no module. A weak set's entry is a weak reference whose callback holds the
    # set by a weak reference of its own.
    class Sentinel:
        pass

    sentinel = Sentinel()
    tasks._register_task(sentinel)
    try:
        return weakref.getweakrefs(sentinel)[0].__callback__.__defaults__[0]()
    finally:
        tasks._unregister_task(sentinel)


def _join():
    try:
        standard = _standard_set()
        standard.__class__ = _TasksOfAll
    except (AttributeError, IndexError, TypeError):
        return asyncio.tasks._register_task
    return None


register = _join()


def _after_fork():
    for loop in list(_loops):
        loop._forked()
    asyncio._set_running_loop(None)
    if _loops:
        signal.set_wakeup_fd(-1)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_after_fork)
