"""Coroutine objects awaited in turn: asynchronous, and not a bit faster.

`await request(...)` starts the request and waits for its end before the next line. To make three coroutine
objects first and await them afterwards changes nothing: a coroutine object runs only while it is awaited.

This is the most common way to gain nothing from asyncio. Next: tasks.py
"""

import asyncio
import time

REQUESTS = {"prices": 0.10, "stock": 0.15, "reviews": 0.20}


async def request(name, seconds, start):
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  ask for {name}")
    await asyncio.sleep(seconds)
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  {name} arrived")
    return f"{name}: ok"


async def main():
    print("Three coroutine objects, made first and awaited in turn:")
    start = time.perf_counter()
    coroutines = [request(name, seconds, start) for name, seconds in REQUESTS.items()]
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  three coroutine objects exist, none has started")
    results = [await coroutine for coroutine in coroutines]
    took = time.perf_counter() - start
    print(results)
    print(f"{took * 1e3:.0f} ms in all: still the sum of the waits ({sum(REQUESTS.values()) * 1e3:.0f} ms).")


if __name__ == "__main__":
    asyncio.run(main())
