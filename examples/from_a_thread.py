"""From a thread: a synchronous program that has an event loop beside it.

start_blocking_portal() runs a loop in a thread of its own. Into it goes one call at a time (call), or many at once
(submit, each with a concurrent.futures.Future): what a thread pool does, but that a wait costs no thread and that a
job can be cancelled in the middle.
"""

import concurrent.futures
import time

import glassloop

REQUESTS = {"prices": 0.10, "stock": 0.15, "reviews": 0.20}


async def request(name, seconds):
    await glassloop.sleep(seconds)
    return f"{name}: ok"


async def endless(name):
    try:
        await glassloop.Event().wait()
    finally:
        print(f"  {name} was cancelled where it waited, and cleans up")


def main():
    with glassloop.start_blocking_portal() as portal:
        print("One call, as if it were a function:")
        print(f"  {portal.call(request, 'prices', 0.1)}")

        print("Many at once, each a future:")
        start = time.perf_counter()
        futures = [portal.submit(request, name, seconds) for name, seconds in REQUESTS.items()]
        for future in concurrent.futures.as_completed(futures):
            print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  {future.result()}")
        print(f"  the longest wait ({max(REQUESTS.values()) * 1e3:.0f} ms), not the sum")

        print("A thousand that wait need one thread:")
        start = time.perf_counter()
        futures = [portal.submit(request, str(i), 0.1) for i in range(1000)]
        print(f"  {sum(future.result().endswith('ok') for future in futures)} done in ", end="")
        print(f"{(time.perf_counter() - start) * 1e3:.0f} ms")

        print("What is it doing?")
        future = portal.submit(endless, "the job")
        portal.call(glassloop.sleep, 0.05)
        for task in portal.tasks():
            print(f"  {task.coroutine}() waits for {task.awaits}, line {task.line}")
        future.cancel()
    print("The block has ended, and with it all that ran in the loop.")


if __name__ == "__main__":
    main()
