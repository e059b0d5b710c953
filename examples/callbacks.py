"""Callbacks: what the event loop is made of.

Below tasks and futures the loop knows only functions to call: soon, at a time, from another thread, or when a
future is done. Coroutines are built on top of these, and a program that mixes in older code meets them
directly.

The order is part of the contract: callbacks run in the order in which they were scheduled, and never inside
the call that schedules them.
"""

import asyncio
import contextvars
import threading
import time

user = contextvars.ContextVar("user", default="nobody")


class Clock:
    """Prints each line with the time since the start."""

    def __init__(self):
        self.start = time.perf_counter()

    def say(self, text):
        print(f"  {(time.perf_counter() - self.start) * 1e3:5.1f} ms  {text}")


async def order():
    print("call_soon, call_later, call_at and cancel:")
    loop = asyncio.get_running_loop()
    clock = Clock()
    done = loop.create_future()
    loop.call_later(0.03, clock.say, "call_later(0.03)")
    loop.call_at(loop.time() + 0.02, clock.say, "call_at(now + 0.02)")
    loop.call_later(0.01, clock.say, "call_later(0.01)")
    loop.call_soon(clock.say, "call_soon, first")
    loop.call_soon(clock.say, "call_soon, second")
    handle = loop.call_later(0.025, clock.say, "never printed")
    handle.cancel()
    loop.call_later(0.04, done.set_result, None)
    clock.say("all scheduled, nothing has run yet")
    await done


async def threads():
    print("call_soon_threadsafe, the one call that another thread may make:")
    loop = asyncio.get_running_loop()
    clock = Clock()
    done = asyncio.Event()

    def work():
        time.sleep(0.02)
        loop.call_soon_threadsafe(clock.say, "called in the loop's thread, from another one")
        loop.call_soon_threadsafe(done.set)

    worker = threading.Thread(target=work)
    worker.start()
    await done.wait()
    worker.join()


async def contexts():
    print("A callback runs in the context in which it was scheduled:")
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    user.set("ada")
    loop.call_soon(lambda: print(f"  scheduled while the user was ada: {user.get()}"))
    user.set("grace")
    loop.call_soon(lambda: print(f"  scheduled while the user was grace: {user.get()}"))
    loop.call_soon(done.set_result, None)
    await done


async def errors():
    print("A callback that raises stops nothing but itself:")
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: print(f"  reported: {context['exception']!r}"))
    loop.call_soon(lambda: 1 // 0)
    done = loop.create_future()
    loop.call_soon(done.set_result, "the next one ran all the same")
    print(f"  {await done}")
    loop.set_exception_handler(None)


async def speed():
    """A chain: each callback schedules the next."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    count = 100_000

    def link(left):
        if left:
            loop.call_soon(link, left - 1)
        else:
            done.set_result(None)

    start = time.perf_counter()
    link(count)
    await done
    took = time.perf_counter() - start
    print(f"A chain of {count:,} callbacks took {took * 1e3:.0f} ms: {took / count * 1e6:.2f} us each.")


async def main():
    await order()
    await threads()
    await contexts()
    await errors()
    await speed()


if __name__ == "__main__":
    asyncio.run(main())
