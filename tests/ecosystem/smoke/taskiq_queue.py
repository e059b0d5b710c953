"""taskiq: the broker in memory, then a queue in a redis server with a receiver of our own."""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version

from loop_check import check_loop
from taskiq import InMemoryBroker
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend


async def in_memory() -> None:
    broker = InMemoryBroker(await_inplace=False)

    @broker.task
    async def double(number: int) -> int:
        await asyncio.sleep(0.001)
        return number * 2

    @broker.task
    def in_thread(number: int) -> int:
        return number + 1

    await broker.startup()
    kicked = [await double.kiq(number) for number in range(50)]
    assert [(await task.wait_result(timeout=10)).return_value for task in kicked] == [number * 2 for number in range(50)]
    assert (await (await in_thread.kiq(41)).wait_result(timeout=10)).return_value == 42
    await broker.shutdown()


async def over_redis() -> None:
    url = os.environ["REDIS_URL"]
    broker = ListQueueBroker(url).with_result_backend(RedisAsyncResultBackend(url))

    @broker.task(task_name="triple")
    async def triple(number: int) -> int:
        return number * 3

    await broker.startup()
    receiver = asyncio.create_task(run_receiver_task(broker))
    kicked = [await triple.kiq(number) for number in range(50)]
    assert [(await task.wait_result(timeout=20)).return_value for task in kicked] == [number * 3 for number in range(50)]
    receiver.cancel()
    await asyncio.gather(receiver, return_exceptions=True)
    await broker.shutdown()


async def main() -> None:
    name = check_loop()
    await in_memory()
    await over_redis()
    print(f"taskiq {version('taskiq')} on {name}: in memory, and over redis, 50 tasks each")


asyncio.run(main())
