"""The words of asyncio, each shown on a live object.

coroutine function   an `async def`. Calling it runs nothing.
coroutine object     what the call returns: a body that is paused before its first line.
task                 a coroutine object handed to the event loop, which runs it whenever it can go on.
future               a result that is not there yet. A task is a future whose result its coroutine computes.

The last part shows the classic mistake: a coroutine object that nobody awaits.
"""

import asyncio
import gc
import inspect
import time
import warnings


async def measure(seconds):
    """Take some time, as a network request would."""
    await asyncio.sleep(seconds)
    return seconds


async def fail():
    raise ValueError("no such host")


def state(future):
    """A future is in one of three states, and a finished one holds either a result or an exception."""
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    if future.exception() is not None:
        return f"finished with the exception {future.exception()!r}"
    return f"finished with the result {future.result()!r}"


def title(text):
    print(f"\n{text}\n{'-' * len(text)}")


async def coroutines():
    title("Coroutine function and coroutine object")
    print(f"measure        is a coroutine function: {inspect.iscoroutinefunction(measure)}")
    start = time.perf_counter()
    coroutine = measure(0.05)
    took = time.perf_counter() - start
    print(f"measure(0.05)  is a coroutine object:   {inspect.iscoroutine(coroutine)}")
    print(f"The call took {took * 1e6:.1f} us and ran nothing: {inspect.getcoroutinestate(coroutine)}.")
    start = time.perf_counter()
    result = await coroutine
    took = time.perf_counter() - start
    print(f"`await` ran it to its end, in {took * 1e3:.0f} ms, and gave its result: {result}.")
    try:
        await coroutine
    except RuntimeError as error:
        print(f"It runs once. A second await raises RuntimeError: {error}.")


async def tasks():
    title("Task")
    start = time.perf_counter()
    task = asyncio.create_task(measure(0.05), name="measuring")
    took = time.perf_counter() - start
    print(f"create_task() returned after {took * 1e6:.0f} us; the task {task.get_name()!r} is {state(task)}.")
    print(f"A task is a future: {isinstance(task, asyncio.Future)}.")
    await asyncio.sleep(0.03)
    print("30 ms later, in which we waited for something else, the task has been waiting as well.")
    since = time.perf_counter()
    await task
    end = time.perf_counter()
    rest, total = end - since, end - start
    print(f"So `await task` took only the remaining {rest * 1e3:.0f} ms, {total * 1e3:.0f} ms in all.")


async def states():
    title("The states of a future")
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    print(f"A new future is {state(future)}.")
    loop.call_later(0.01, future.set_result, 42)
    start = time.perf_counter()
    await future
    took = time.perf_counter() - start
    print(f"A callback set its result after {took * 1e3:.0f} ms: it is {state(future)}.")
    try:
        future.set_result(43)
    except asyncio.InvalidStateError as error:
        print(f"That is final. Setting it again raises InvalidStateError: {error}.")

    succeeding = asyncio.create_task(measure(0.01))
    failing = asyncio.create_task(fail())
    endless = asyncio.create_task(measure(3600))
    print(f"Three new tasks are {state(succeeding)}, {state(failing)} and {state(endless)}.")
    await asyncio.wait([succeeding, failing])
    endless.cancel()
    print(f"cancel() is a request: just after it, the task is still {state(endless)}.")
    await asyncio.wait([endless])
    for name, task in (("succeeding", succeeding), ("failing", failing), ("endless", endless)):
        print(f"{name:10} is {state(task)}.")


async def forgotten():
    title("A coroutine that was never awaited")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        measure(0.05)  # meant: await measure(0.05)
        took = time.perf_counter() - start
        gc.collect()
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    print(f"It took {took * 1e6:.0f} us, not 50 ms, for nothing was measured: look for a missing `await`.")


async def main():
    await coroutines()
    await tasks()
    await states()
    await forgotten()


if __name__ == "__main__":
    asyncio.run(main())
