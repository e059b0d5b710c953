"""Futures: the bridge from callbacks to `await`.

A library that reports by callback becomes awaitable in four lines: make a future, let the callback set its
result, await it. That is also how every `await` in asyncio ends: somewhere at the bottom a coroutine waits
for a future.

Shown are the bridge, several waiters on one future, a time limit, and a request that is given up.
"""

import asyncio
import threading
import time


class Thermometer:
    """An old-fashioned library: it answers by calling back, from a thread of its own."""

    def read(self, on_value, on_error, broken=False):
        def work():
            time.sleep(0.03)
            if broken:
                on_error(OSError("no answer from the sensor"))
            else:
                on_value(21.5)

        threading.Thread(target=work).start()


async def temperature(thermometer, broken=False):
    """The bridge. The answers come from another thread, hence call_soon_threadsafe."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def answer(method, value):
        if not future.done():  # the caller may have given up meanwhile
            method(value)

    thermometer.read(
        lambda value: loop.call_soon_threadsafe(answer, future.set_result, value),
        lambda error: loop.call_soon_threadsafe(answer, future.set_exception, error),
        broken,
    )
    return await future


async def bridge():
    print("A library with callbacks, awaited:")
    thermometer = Thermometer()
    start = time.perf_counter()
    value = await temperature(thermometer)
    print(f"  {value} degrees after {(time.perf_counter() - start) * 1e3:.0f} ms")
    start = time.perf_counter()
    both = await asyncio.gather(temperature(thermometer), temperature(thermometer))
    print(f"  two at the same time: {both} after {(time.perf_counter() - start) * 1e3:.0f} ms")
    try:
        await temperature(thermometer, broken=True)
    except OSError as error:
        print(f"  its errors are raised here: OSError({error})")


async def waiters():
    print("Many may wait for one future; all go on with the same result:")
    future = asyncio.get_running_loop().create_future()
    start = time.perf_counter()

    async def wait(name):
        value = await future
        return f"{name} got {value!r} after {(time.perf_counter() - start) * 1e3:.0f} ms"

    tasks = [asyncio.create_task(wait(name)) for name in ("ada", "grace", "edsger")]
    future.add_done_callback(lambda future: print(f"  done, says a callback: {future.result()!r}"))
    await asyncio.sleep(0.02)
    future.set_result("the signal")
    for line in await asyncio.gather(*tasks):
        print(f"  {line}")


async def limits():
    print("Giving up:")
    future = asyncio.get_running_loop().create_future()
    start = time.perf_counter()
    try:
        async with asyncio.timeout(0.02):
            await future
    except TimeoutError:
        took = (time.perf_counter() - start) * 1e3
        print(f"  TimeoutError after {took:.0f} ms; the future was cancelled: {future.cancelled()}")
    task = asyncio.create_task(temperature(Thermometer()))
    await asyncio.sleep(0.01)
    task.cancel("not needed any more")
    try:
        await task
    except asyncio.CancelledError as error:
        print(f"  the cancelled task raised CancelledError({error})")
    await asyncio.sleep(0.03)  # the late answer comes and finds nobody: nothing breaks


async def main():
    await bridge()
    await waiters()
    await limits()


if __name__ == "__main__":
    asyncio.run(main())
