"""Other programs: started, fed, read while they run, and ended.

`create_subprocess_exec` starts a program and returns at once. Its pipes are streams, as those of a connection are: the
loop waits for many programs as it waits for many sockets, without a thread for each.
"""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE

# A small program in place of a real one: counts slowly, and says so line by line.
COUNT = """
import sys, time
for number in range(int(sys.argv[1])):
    print(number, flush=True)
    time.sleep(0.02)
sys.exit(3)
"""


def ms(start):
    return f"{(time.perf_counter() - start) * 1e3:4.0f} ms"


async def run(*command):
    """Run a program to its end: (exit code, output)."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    output, _ = await process.communicate()
    return process.returncode, output


async def main():
    print("One program, read while it runs:")
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COUNT, "4", stdout=PIPE)
    async for line in process.stdout:
        print(f"  {ms(start)}  it says {line.decode().strip()}")
    code = await process.wait()
    print(f"  {ms(start)}  it has ended with exit code {code}")

    print("\nFed and read at the same time, which needs no care about full pipes:")
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec("sort", "-n", stdin=PIPE, stdout=PIPE)
    numbers = "\n".join(str(number) for number in range(100_000, 0, -1))
    output, _ = await process.communicate(numbers.encode())
    print(f"  {ms(start)}  {len(output):,} bytes sorted, from {output.split()[0].decode()} to {output.split()[-1].decode()}")

    print("\nA hundred programs, ten at a time:")
    start = time.perf_counter()
    places = asyncio.Semaphore(10)

    async def one(number):
        async with places:
            return await run("sh", "-c", f"exit {number % 4}")

    ended = await asyncio.gather(*[one(number) for number in range(100)])
    codes = [code for code, _ in ended]
    print(f"  {ms(start)}  all have ended; exit codes: " + ", ".join(f"{codes.count(code)} x {code}" for code in range(4)))

    print("\nOne that takes too long:")
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        async with asyncio.timeout(0.1):
            await process.wait()
    except TimeoutError:
        process.terminate()
        code = await process.wait()
        print(f"  {ms(start)}  ended by signal {-code}")

    print("\nPrograms connected by a pipe of the system's, past this one:")
    start = time.perf_counter()
    reading, writing = os.pipe()
    first = await asyncio.create_subprocess_exec("seq", "1", "200000", stdout=writing)
    os.close(writing)
    second = await asyncio.create_subprocess_exec("tail", "-n", "1", stdin=reading, stdout=PIPE)
    os.close(reading)
    output, _ = await second.communicate()
    await first.wait()
    print(f"  {ms(start)}  the last line is {output.decode().strip()}")


if __name__ == "__main__":
    asyncio.run(main())
