"""Tasks overlap: the waits run side by side.

`asyncio.create_task` hands a coroutine object to the event loop, which starts it at the next opportunity,
that is, as soon as the running coroutine waits for something. From then on each task goes on whenever what it
waits for is there. All in one thread: only the waiting overlaps, not the computing, which the second part
shows.

Next: gather.py, which says the same in one line.
"""

import asyncio
import time

REQUESTS = {"prices": 0.10, "stock": 0.15, "reviews": 0.20}


async def request(name, seconds, start):
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  ask for {name}")
    await asyncio.sleep(seconds)
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  {name} arrived")
    return f"{name}: ok"


async def compute(milliseconds):
    """Keep the processor busy. There is no await in here, so nothing else runs meanwhile."""
    end = time.perf_counter() + milliseconds / 1e3
    while time.perf_counter() < end:
        pass


async def main():
    print("Three tasks that wait:")
    start = time.perf_counter()
    tasks = [asyncio.create_task(request(name, wait, start)) for name, wait in REQUESTS.items()]
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  three tasks exist, none has started yet")
    results = [await task for task in tasks]
    took = time.perf_counter() - start
    longest = max(REQUESTS.values())
    print(results)
    print(f"{took * 1e3:.0f} ms in all: the longest wait ({longest * 1e3:.0f} ms), not the sum.")

    print("\nThree tasks that compute for 50 ms each:")
    start = time.perf_counter()
    tasks = [asyncio.create_task(compute(50)) for _ in range(3)]
    for task in tasks:
        await task
    took = time.perf_counter() - start
    print(f"{took * 1e3:.0f} ms in all: the sum again. Computing belongs into another thread or process.")

    print("\nThe same work in threads, through asyncio.to_thread, while the loop stays responsive:")
    start = time.perf_counter()
    blocking = asyncio.create_task(asyncio.to_thread(time.sleep, 0.1))
    ticks = 0
    while not blocking.done():
        await asyncio.sleep(0.01)
        ticks += 1
    took = time.perf_counter() - start
    print(f"{took * 1e3:.0f} ms, in which this coroutine went on {ticks} times.")


if __name__ == "__main__":
    asyncio.run(main())
