"""Computing beside the loop: `to_process` runs a function on another core.

A loop goes on only where somebody awaits. A function that computes for half a second holds up everything for half a
second: requests, timers, the heartbeat below. A thread doesn't help much: one interpreter computes on one core. A worker
process does: `await to_process(function, ...)` is for what computes what `to_thread` is for what blocks.

    python examples/cpu_bound.py           (needs glassloop[offload], since the function is this program's own)
    python examples/cpu_bound.py 2000000   more to compute
"""

import asyncio
import os
import sys
import time

import glassloop
from glassloop import to_process

LIMIT = int(sys.argv[1]) if len(sys.argv) > 1 else 600_000
EVERY = 0.001


def primes_below(limit):
    """How many primes there are: a sieve, and nothing but computing."""
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            for multiple in range(number * number, limit, number):
                sieve[multiple] = 0
    return sum(sieve)


class Heartbeat:
    """A task that wants to run each millisecond, and notes by how much it was late at most."""

    async def __aenter__(self):
        self.latest = 0.0
        self.beats = 0
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *error):
        await asyncio.sleep(0.02)
        self._task.cancel()

    async def _beat(self):
        while True:
            due = time.perf_counter() + EVERY
            await asyncio.sleep(EVERY)
            self.latest = max(self.latest, time.perf_counter() - due)
            self.beats += 1

    def __str__(self):
        return f"{self.beats} heartbeats, {self.latest * 1e3:.1f} ms late at most"


async def main():
    print(f"How many primes are there below {LIMIT:,}? On the loop:")
    async with Heartbeat() as heartbeat:
        start = time.perf_counter()
        answer = primes_below(LIMIT)
        alone = time.perf_counter() - start
    print(f"  {answer:,} in {alone * 1e3:.0f} ms; {heartbeat}")
    print("  For all that time the loop did nothing else.")

    print("\nIn a worker process, by to_process:")
    async with Heartbeat() as heartbeat:
        for which in ("the first call, which starts the worker", "the second"):
            start = time.perf_counter()
            answer = await to_process(primes_below, LIMIT)
            print(f"  {answer:,} in {(time.perf_counter() - start) * 1e3:.0f} ms, {which}")
    print(f"  {heartbeat}")

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"\nEight of them at once, on {cores} cores:")
    async with Heartbeat() as heartbeat:
        start = time.perf_counter()
        await asyncio.gather(*[to_process(primes_below, LIMIT) for _ in range(8)])
        took = time.perf_counter() - start
    print(f"  {took * 1e3:.0f} ms, one after another on the loop it would be {8 * alone * 1e3:.0f} ms; {heartbeat}")

    print("\nOne that takes too long is ended, whatever it does:")
    start = time.perf_counter()
    try:
        async with asyncio.timeout(0.1):
            await to_process(primes_below, 10**9)
    except TimeoutError:
        print(f"  gave up after {(time.perf_counter() - start) * 1e3:.0f} ms, and its process is gone")

    print("\nWhat a call costs that computes nothing:")
    start = time.perf_counter()
    for _ in range(1000):
        await to_process(abs, -1)
    print(f"  {(time.perf_counter() - start) * 1e3:.0f} us there and back: what takes less than that stays on the loop")


if __name__ == "__main__":
    glassloop.run(main())
