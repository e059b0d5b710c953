"""One after another, without asyncio: the program to beat.

Three requests, each answered after a while. `time.sleep` stands for the wait: the process does nothing, and
so does everything else in it. The waits add up.

Next: awaited_one_by_one.py
"""

import time

REQUESTS = {"prices": 0.10, "stock": 0.15, "reviews": 0.20}


def request(name, seconds, start):
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  ask for {name}")
    time.sleep(seconds)
    print(f"  {(time.perf_counter() - start) * 1e3:4.0f} ms  {name} arrived")
    return f"{name}: ok"


def main():
    print("Three requests, one after another, with blocking calls:")
    start = time.perf_counter()
    results = [request(name, seconds, start) for name, seconds in REQUESTS.items()]
    took = time.perf_counter() - start
    print(results)
    print(f"{took * 1e3:.0f} ms in all: the sum of the waits ({sum(REQUESTS.values()) * 1e3:.0f} ms).")


if __name__ == "__main__":
    main()
