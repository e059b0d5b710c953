"""Scheduling: callbacks, timers, tasks and futures."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from typing import Any

from rows import Unavailable, operation


async def nothing() -> None:
    pass


def noop(*args: object) -> None:
    pass


@operation("call_soon chain", 20_000, native=False)
async def call_soon_chain(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    done = loop.create_future()
    call_soon = loop.call_soon
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            call_soon(step)
        else:
            done.set_result(None)

    call_soon(step)
    await done


@operation("call_soon batch", 10_000, native=False)
async def call_soon_batch(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    done = loop.create_future()
    call_soon = loop.call_soon
    for _ in range(n - 1):
        call_soon(noop)
    call_soon(done.set_result, None)
    await done


@operation("call_soon with 3 arguments", 20_000, native=False)
async def call_soon_with_arguments(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    done = loop.create_future()
    call_soon = loop.call_soon

    def step(left: int, a: str, b: str) -> None:
        if left:
            call_soon(step, left - 1, a, b)
        else:
            done.set_result(None)

    call_soon(step, n - 1, "a", "b")
    await done


@operation("call_soon_threadsafe chain", 5_000, native=False)
async def call_soon_threadsafe_chain(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    done = loop.create_future()
    call_soon = loop.call_soon_threadsafe
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            call_soon(step)
        else:
            done.set_result(None)

    call_soon(step)
    await done


@operation("call_soon_threadsafe from a thread", 10_000, native=False)
async def call_soon_threadsafe_from_a_thread(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    done = loop.create_future()

    def post() -> None:
        for _ in range(n - 1):
            loop.call_soon_threadsafe(noop)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=post)
    thread.start()
    await done
    thread.join()


@operation("call from a thread", 1_000)
async def call_from_a_thread(aio: Any, n: int) -> None:
    """A thread calls a coroutine function in a loop of another thread and waits for its result: by a portal where there is
    one, else by run_coroutine_threadsafe()."""
    loop = aio.get_running_loop()
    if hasattr(aio, "start_blocking_portal"):
        await loop.run_in_executor(None, by_portal, aio, n)
    else:
        await loop.run_in_executor(None, by_future, aio, type(loop)(), n)


def by_portal(aio: Any, n: int) -> None:
    with aio.start_blocking_portal() as portal:
        for _ in range(n):
            portal.call(nothing)


def by_future(aio: Any, loop: Any, n: int) -> None:
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    for _ in range(n):
        aio.run_coroutine_threadsafe(nothing(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@operation("timer set and cancel", 10_000, native=False)
async def timer_set_and_cancel(aio: Any, n: int) -> None:
    loop = aio.get_running_loop()
    call_later = loop.call_later
    for _ in range(n // 100):
        for _ in range(100):
            call_later(60, noop).cancel()
        await aio.sleep(0)  # the loop has its turns, and its chance to throw cancelled timers away


@operation("100k timers firing", 100_000, native=False)
async def timers_firing(aio: Any, n: int) -> None:
    """Sets them with delays of 0 to 50 ms in random order, and waits for all."""
    loop = aio.get_running_loop()
    done = loop.create_future()
    delay = random.Random(n).random
    call_later = loop.call_later
    left = n

    def fire() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for _ in range(n):
        call_later(delay() * 0.05, fire)
    await done


@operation("sleep(0), 1 task", 20_000)
async def sleep_0(aio: Any, n: int) -> None:
    sleep = aio.sleep
    for _ in range(n):
        await sleep(0)


@operation("sleep(0), 1000 tasks", 20_000)
async def sleep_0_in_1000_tasks(aio: Any, n: int) -> None:
    sleep = aio.sleep

    async def sleeper() -> None:
        for _ in range(n // 1000):
            await sleep(0)

    for task in [aio.create_task(sleeper()) for _ in range(1000)]:
        await task


@operation("ping-pong on futures", 20_000, native=False)
async def ping_pong(aio: Any, n: int) -> None:
    """Two tasks: each wakes the other through a future and waits on a new one. An operation is a wake."""
    loop = aio.get_running_loop()
    create_future = loop.create_future
    balls = [create_future(), create_future()]

    async def player(mine: int, other: int) -> None:
        for _ in range(n // 2):
            await balls[mine]
            balls[mine] = create_future()
            balls[other].set_result(None)

    tasks = [loop.create_task(player(0, 1)), loop.create_task(player(1, 0))]
    balls[0].set_result(None)
    for task in tasks:
        await task


@operation("create_task + await", 5_000)
async def create_task_and_await(aio: Any, n: int) -> None:
    create_task = aio.create_task
    for _ in range(n):
        await create_task(nothing())


@operation("eager spawn", 5_000)
async def eager_spawn(aio: Any, n: int) -> None:
    """create_task() of a coroutine that ends without waiting, run at once; then await it."""
    loop = aio.get_running_loop()
    if aio is not asyncio or sys.version_info >= (3, 14):
        for _ in range(n):
            await loop.create_task(nothing(), eager_start=True)
        return
    if sys.version_info < (3, 12):
        raise Unavailable("asyncio has eager tasks from 3.12 on")

    def eager_task_factory(loop: Any, coro: Any, eager_start: object = None, **options: Any) -> Any:
        return asyncio.eager_task_factory(loop, coro, **options)

    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        first = nothing()
        try:
            await loop.create_task(first)
        except TypeError:  # a loop that hands the factory an argument which it doesn't know before 3.13.3
            first.close()
            loop.set_task_factory(eager_task_factory)
        for _ in range(n):
            await loop.create_task(nothing())
    finally:
        loop.set_task_factory(None)


@operation("gather 10k", 10_000)
async def gather(aio: Any, n: int) -> None:
    await aio.gather(*[nothing() for _ in range(n)])


@operation("gather 10k that wait once", 10_000)
async def gather_that_waits(aio: Any, n: int) -> None:
    sleep = aio.sleep

    async def once() -> None:
        await sleep(0)

    await aio.gather(*[once() for _ in range(n)])
