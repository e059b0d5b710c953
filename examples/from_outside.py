"""A running program, seen and driven from another process.

The program is a little service of workers on a queue. It runs with `control=True` and exposes three functions; nothing
else of it can be called. This file starts it and then types the commands that one would type in a terminal:
`glassloop ps`, `tree`, `call` and `cancel`, also while the program hangs in a call that blocks its loop.
"""

import asyncio
import json
import shlex
import subprocess
import sys
import time

import glassloop

queue = asyncio.Queue()
done = 0


async def worker():
    global done
    while True:
        seconds = await queue.get()
        await asyncio.sleep(seconds)
        done += 1


@glassloop.expose
async def submit(seconds: float, count: int = 1):
    """Give the workers something to do."""
    for _ in range(count):
        await queue.put(seconds)
    return queue.qsize()


@glassloop.expose
async def status():
    """How far they are."""
    return {"done": done, "waiting": queue.qsize()}


@glassloop.expose
async def block(seconds: float):
    """What one should never do: the loop stands still meanwhile."""
    time.sleep(seconds)


async def service():
    async with asyncio.TaskGroup() as workers:
        for i in range(3):
            workers.create_task(worker(), name=f"worker {i}")
        print("ready", flush=True)


def command(*words):
    """Run a command as in a terminal, and show it with what it prints. Returns its exit code."""
    print(f"\n$ {shlex.join(['glassloop', *words])}", flush=True)
    ended = subprocess.run([sys.executable, "-m", "glassloop", *words], capture_output=True, text=True)
    print(ended.stdout + ended.stderr, end="")
    if ended.returncode:
        print(f"exit code {ended.returncode}")
    return ended


def drive(pid):
    command("ps")
    command("call", pid)
    command("call", pid, "submit", json.dumps({"seconds": 100, "count": 4}))
    command("tree", pid)

    print("\nA worker is cancelled; the others go on.")
    command("cancel", pid, "worker 1")
    command("call", pid, "status")

    print("\nErrors come back as such.")
    command("call", pid, "submit")
    command("call", pid, "block", '["long"]')

    print("\nThe loop is blocked, on purpose, and the answers come all the same.")
    command("call", pid, "block", "[30]", "--no-wait")
    while "hung" not in command("ps").stdout:
        time.sleep(0.5)
    command("tree", pid)


def main():
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as program:
        program.stdout.readline()
        try:
            drive(str(program.pid))
        finally:
            program.terminate()
    print("\nThe program was terminated, and is not listed any more:")
    listed = command("ps").stdout
    print(f"\n{program.pid} is gone: {str(program.pid) not in listed}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        glassloop.run(service(), control=True)
    else:
        main()
