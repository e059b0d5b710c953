"""The measured process: runs one row on one loop and prints lines of JSON. measure.py starts one per figure.

    child.py '{"row": "sleep(0), 1 task", "loop": "uvloop", "seconds": 0.5}'
    child.py '{"probe": "uvloop"}'

It can be run by hand in the same way, which is handy under a profiler.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import os
import resource
import socket
import sys
import tempfile
import time
from typing import Any

from loops import import_runtime
from rows import BACKLOG, Row, Unavailable, load_all

PAGE = os.sysconf("SC_PAGE_SIZE")


# What the program itself prints goes to stderr, where it is noticed; stdout is for the parent.
_parent = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**what: Any) -> None:
    print(json.dumps(what), file=_parent, flush=True)


def resident() -> int:
    """Bytes of memory that this process has."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


async def repeat(row: Row, aio: Any, seconds: float, *rest: Any) -> None:
    """Runs the batch until it has used that much CPU time, after a warm-up of a fifth of it."""
    clock = time.process_time

    async def batches(seconds: float) -> tuple[int, float]:
        count, begun = 0, clock()
        while True:
            await row.function(aio, row.n, *rest)
            count += 1
            used = clock() - begun
            if used >= seconds:
                return count, used

    await batches(seconds / 5)
    gc.collect()
    wall = time.perf_counter()
    count, used = await batches(seconds)
    say(ops=count * row.n, cpu=used, wall=time.perf_counter() - wall)


async def grow(row: Row, aio: Any) -> None:
    kept = [await row.function(aio, 1000)]  # what is allocated once is there now
    before = resident()
    kept.append(await row.function(aio, row.n))
    say(value=(resident() - before) / row.n, ops=row.n)
    os._exit(0)  # the tasks sleep for an hour


async def hold(row: Row, aio: Any, listener: socket.socket) -> None:
    """Memory per connection, over n of them after the first 100."""
    loop = aio.get_running_loop()
    settled = asyncio.Event()
    count, target = 0, 100

    def made() -> None:
        nonlocal count
        count += 1
        if count == target:
            settled.set()

    address = listener.getsockname()
    server = await row.function(aio, listener, made)
    say(address=address)
    await settled.wait()
    before = resident()
    settled.clear()
    target += row.n
    say(first=100)
    await settled.wait()
    await asyncio.sleep(0.1)
    say(value=(resident() - before) / row.n, ops=row.n)
    await loop.create_future()
    del server


async def serve(row: Row, aio: Any, listener: socket.socket) -> None:
    address = listener.getsockname()  # before a loop takes the socket over
    server = await row.function(aio, listener)
    say(address=address)
    await (server if hasattr(server, "__await__") else aio.get_running_loop().create_future())


def listen(row: Row, folder: str) -> socket.socket:
    if row.unix:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(tempfile.mkdtemp(dir=folder), "socket"))
    elif row.udp:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
    else:
        # with its protocol, as getaddrinfo() gives it: asyncio sets TCP_NODELAY on no other
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    if row.kind == "idle":
        listener.listen(BACKLOG)
    return listener


def run(row: Row, key: str, order: dict[str, Any]) -> None:
    new_event_loop, aio, _ = import_runtime(key)
    seconds = order.get("seconds", 0.5)
    if row.kind in ("operation", "wall"):
        main = repeat(row, aio, seconds)
    elif row.kind == "connect":
        main = repeat(row, aio, seconds, order["port"])
    elif row.kind == "memory":
        main = grow(row, aio)
    elif row.kind == "idle":
        main = hold(row, aio, listen(row, order.get("folder") or tempfile.gettempdir()))
    else:
        main = serve(row, aio, listen(row, order.get("folder") or tempfile.gettempdir()))
    loop = new_event_loop()
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def main() -> None:
    order = json.loads(sys.argv[1])
    faulthandler.dump_traceback_later(order.get("limit", 60), exit=True)  # a loop that hangs says where
    try:
        if "probe" in order:
            say(version=import_runtime(order["probe"])[2])
            return
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if order.get("gc") is False:
            gc.disable()
        row = load_all()[order["row"]]
        run(row, order["loop"], order)
    except Unavailable as reason:
        say(unavailable=str(reason))
    except ImportError as error:
        say(unavailable=str(error), missing=True)


if __name__ == "__main__":
    main()
