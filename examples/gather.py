"""gather: start many, wait for all, get the results in the order of the arguments.

What happens when one of them fails is the question to ask of every such tool, so it is shown too:

gather()                        the first exception goes to the caller at once; the others run on
gather(return_exceptions=True)  exceptions come back as results
TaskGroup                       the first failure cancels the others, and all failures come out together
"""

import asyncio
import time

REQUESTS = {"prices": 0.10, "stock": 0.15, "reviews": 0.20}


async def request(name, seconds):
    await asyncio.sleep(seconds)
    return f"{name}: ok"


async def broken(seconds):
    await asyncio.sleep(seconds)
    raise ConnectionError("the server hung up")


async def all_of_them():
    start = time.perf_counter()
    results = await asyncio.gather(*(request(name, seconds) for name, seconds in REQUESTS.items()))
    took = time.perf_counter() - start
    print(f"gather: {took * 1e3:.0f} ms, the longest wait, not the sum\n  {results}")


async def ten_thousand():
    start = time.perf_counter()
    results = await asyncio.gather(*(request(str(number), 0.1) for number in range(10_000)))
    took = time.perf_counter() - start
    print(f"gather of {len(results):,}, each waiting 100 ms: {took * 1e3:.0f} ms")


async def first_failure():
    start = time.perf_counter()
    slow = asyncio.create_task(request("slow", 0.1))
    try:
        await asyncio.gather(slow, broken(0.02))
    except ConnectionError as error:
        took = time.perf_counter() - start
        print(f"gather, one fails: ConnectionError({error}) after {took * 1e3:.0f} ms")
    print(f"  the other one runs on: done {slow.done()}, and a little later {await slow!r}")


async def failures_as_results():
    results = await asyncio.gather(request("fast", 0.01), broken(0.02), return_exceptions=True)
    print(f"gather, return_exceptions=True:\n  {results}")


async def group():
    start = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(request("slow", 0.1))
            tasks.create_task(broken(0.02))
            tasks.create_task(broken(0.02))
    except* ConnectionError as failures:
        took = time.perf_counter() - start
        print(f"TaskGroup, two fail: {len(failures.exceptions)} exceptions after {took * 1e3:.0f} ms")
        print(f"  the other one was cancelled: {slow.cancelled()}")


async def main():
    await all_of_them()
    await ten_thousand()
    await first_failure()
    await failures_as_results()
    await group()


if __name__ == "__main__":
    asyncio.run(main())
