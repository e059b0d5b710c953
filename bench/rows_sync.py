"""Synchronisation and what is built on tasks: groups, queues, locks, time limits, threads."""

from __future__ import annotations

from typing import Any

from rows import operation


async def nothing() -> None:
    pass


@operation("TaskGroup 10k", 10_000)
async def task_group(aio: Any, n: int) -> None:
    async with aio.TaskGroup() as group:
        for _ in range(n):
            group.create_task(nothing())


async def through_queue(aio: Any, n: int, size: int) -> None:
    queue = aio.Queue(size)

    async def produce() -> None:
        for item in range(n):
            await queue.put(item)

    producer = aio.create_task(produce())
    for _ in range(n):
        await queue.get()
    await producer


@operation("Queue(1)", 10_000)
async def queue_of_1(aio: Any, n: int) -> None:
    await through_queue(aio, n, 1)


@operation("Queue(100)", 20_000)
async def queue_of_100(aio: Any, n: int) -> None:
    await through_queue(aio, n, 100)


@operation("Lock, 10 tasks contend", 5_000)
async def contended_lock(aio: Any, n: int) -> None:
    """Each holder gives up the turn once, so that the others wait. An operation is an acquire and release."""
    lock = aio.Lock()
    sleep = aio.sleep

    async def contend() -> None:
        for _ in range(n // 10):
            async with lock:
                await sleep(0)

    await aio.gather(*[contend() for _ in range(10)])


@operation("Semaphore(3), 10 tasks contend", 5_000)
async def contended_semaphore(aio: Any, n: int) -> None:
    semaphore = aio.Semaphore(3)
    sleep = aio.sleep

    async def contend() -> None:
        for _ in range(n // 10):
            async with semaphore:
                await sleep(0)

    await aio.gather(*[contend() for _ in range(10)])


@operation("Event, 10 waiters", 5_000)
async def event(aio: Any, n: int) -> None:
    """An operation is one waiter's wait."""
    event = aio.Event()
    sleep = aio.sleep

    async def wait() -> None:
        for _ in range(n // 10):
            await event.wait()

    waiters = [aio.create_task(wait()) for _ in range(10)]
    while not waiters[-1].done():
        event.set()
        event.clear()
        await sleep(0)
    await aio.gather(*waiters)


@operation("wait_for", 5_000)
async def wait_for(aio: Any, n: int) -> None:
    sleep = aio.sleep

    async def once() -> None:
        await sleep(0)

    for _ in range(n):
        await aio.wait_for(once(), 10)


@operation("timeout", 5_000)
async def timeout(aio: Any, n: int) -> None:
    sleep = aio.sleep
    for _ in range(n):
        async with aio.timeout(10):
            await sleep(0)


@operation("to_thread", 1_000)
async def to_thread(aio: Any, n: int) -> None:
    def work() -> None:
        pass

    for _ in range(n):
        await aio.to_thread(work)
