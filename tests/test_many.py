"""Many at once: loops in threads, tasks cancelled together, clients that are slow or never stop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from typing import Any

import pytest

LIMIT = 30  # seconds


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(LIMIT):
        return await awaitable


def memory() -> int:
    """Resident, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- loops in threads ----


@pytest.mark.timeout(120)
def test_many_loops_in_many_threads_do_their_work_beside_each_other(aio: Any, no_leaks: None) -> None:
    results: dict[int, Any] = {}

    async def work(n: int) -> Any:
        loop = asyncio.get_running_loop()

        async def serve(reader: Any, writer: Any) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        async def visit(i: int) -> bytes:
            reader, writer = await aio.open_connection(*address)
            writer.write(b"%d %d\n" % (n, i))
            answer: bytes = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return answer

        answers = await soon(aio.gather(*[visit(i) for i in range(20)]))
        queue: Any = aio.Queue(1)
        async with aio.TaskGroup() as group:
            group.create_task(put(queue, 200))
            items = [await queue.get() for _ in range(200)]
        in_thread = await aio.to_thread(threading.get_ident)
        assert asyncio.get_running_loop() is loop and in_thread != threading.get_ident()
        assert {task.get_loop() for task in asyncio.all_tasks()} == {loop}
        server.close()
        await server.wait_closed()
        return answers == [b"%d %d\n" % (n, i) for i in range(20)] and items == list(range(200))

    async def put(queue: Any, n: int) -> None:
        for item in range(n):
            await queue.put(item)

    def thread(n: int) -> None:
        for _ in range(3):
            with aio.Runner() as runner:
                results[n] = runner.run(work(n))

    threads = [threading.Thread(target=thread, args=(n,)) for n in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert results == dict.fromkeys(range(16), True)


@pytest.mark.timeout(120)
def test_loops_in_threads_call_each_other(aio: Any) -> None:
    loops: list[Any] = []
    ready, stop = threading.Barrier(5), threading.Event()

    async def answer(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    async def stay() -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.get_running_loop().run_in_executor(None, ready.wait)
        await asyncio.get_running_loop().run_in_executor(None, stop.wait)

    def thread() -> None:
        with aio.Runner() as runner:
            runner.run(stay())

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for one in threads:
        one.start()
    ready.wait()
    try:
        async def main() -> int:
            n = 0
            for i in range(400):
                n = await asyncio.wrap_future(aio.run_coroutine_threadsafe(answer(n), loops[i % 4]))
            return n

        with aio.Runner() as runner:
            assert runner.run(soon(main())) == 400
    finally:
        stop.set()
        for one in threads:
            one.join()


@pytest.mark.timeout(120)
def test_threads_that_call_one_loop_lose_nothing(aio: Any) -> None:
    loop = aio.new_event_loop()
    got: list[tuple[int, int]] = []
    ended = 0

    def call(n: int) -> None:
        nonlocal ended
        for i in range(2_000):
            loop.call_soon_threadsafe(got.append, (n, i))
            if i % 500 == 0:
                time.sleep(0.001)  # the loop falls asleep now and then
        loop.call_soon_threadsafe(end)

    def end() -> None:
        nonlocal ended
        ended += 1
        if ended == 8:
            loop.stop()

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for one in threads:
        one.start()
    loop.run_forever()
    for one in threads:
        one.join()
    loop.close()
    assert sorted(got) == [(n, i) for n in range(8) for i in range(2_000)]
    for n in range(8):
        assert [i for m, i in got if m == n] == list(range(2_000))


# ---- tasks ----


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["sleep", "future", "queue", "lock", "shield"])
def test_fifty_thousand_tasks_cancelled_at_once(aio: Any, run: Any, runtime: str, how: str) -> None:
    many = 50_000 if runtime == "compiled" or how == "sleep" else 5_000

    async def main() -> None:
        queue, lock = aio.Queue(), aio.Lock()
        await lock.acquire()
        cleaned = 0

        async def work() -> None:
            nonlocal cleaned
            try:
                if how == "sleep":
                    await aio.sleep(3600)
                elif how == "future":
                    await asyncio.get_running_loop().create_future()
                elif how == "shield":
                    await aio.shield(asyncio.get_running_loop().create_future())
                elif how == "queue":
                    await queue.get()
                else:
                    await lock.acquire()
            finally:
                cleaned += 1

        tasks = [aio.create_task(work()) for _ in range(many)]
        await aio.sleep(0)
        for task in tasks:
            task.cancel()
        results = await soon(aio.gather(*tasks, return_exceptions=True))
        assert cleaned == many
        assert all(type(result) is asyncio.CancelledError for result in results)
        assert len(asyncio.all_tasks()) == 1
        queue.put_nowait(1)
        assert queue.get_nowait() == 1
        lock.release()
        assert await lock.acquire()

    run(main())


@pytest.mark.timeout(120)
def test_a_task_group_of_fifty_thousand_ends_with_its_first_failure(aio: Any, run: Any) -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as caught:
            async with aio.TaskGroup() as group:
                tasks = [group.create_task(aio.sleep(3600)) for _ in range(50_000)]
                await aio.sleep(0)
                group.create_task(fail())
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
        assert all(task.cancelled() for task in tasks)

    run(main())


# ---- clients ----


@pytest.mark.timeout(120)
def test_clients_that_send_a_byte_now_and_then_hold_up_nobody(aio: Any, run: Any) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            try:
                async with aio.timeout(0.5):
                    line = await reader.readline()
                writer.write(line)
            except TimeoutError:
                pass
            finally:
                writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0, backlog=500)
        address = server.sockets[0].getsockname()
        slow = [socket.create_connection(address) for _ in range(200)]
        waits = []
        for _ in range(20):
            for sock in slow[::10]:
                try:
                    sock.send(b"x")
                except OSError:
                    pass  # the server has had enough of it
            before = time.monotonic()
            reader, writer = await aio.open_connection(*address)
            writer.write(b"quick\n")
            assert await soon(reader.readline()) == b"quick\n"
            waits.append(time.monotonic() - before)
            writer.close()
            await aio.sleep(0.02)
        assert sorted(waits)[10] < 0.5
        for sock in slow:
            sock.settimeout(0)
            async with asyncio.timeout(LIMIT):
                while True:
                    try:
                        if not sock.recv(10):
                            break
                    except BlockingIOError:
                        await aio.sleep(0.01)
                    except OSError:
                        break
            sock.close()
        server.close()
        await soon(server.wait_closed())

    run(main())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("read", ["readline", "readuntil", "nothing"])
def test_a_client_that_never_ends_its_line_costs_bounded_memory(aio: Any, run: Any, read: str) -> None:
    limit = 1 << 16

    async def main() -> None:
        ended = asyncio.get_running_loop().create_future()

        async def serve(reader: Any, writer: Any) -> None:
            outcome: Any = None
            try:
                if read == "nothing":
                    await aio.sleep(1)
                elif read == "readline":
                    await reader.readline()
                else:
                    await reader.readuntil(b"\r\n\r\n")
            except (ValueError, asyncio.LimitOverrunError) as error:
                outcome = type(error).__name__
            ended.set_result((outcome, len(reader._buffer)))
            writer.transport.abort()

        server = await aio.start_server(serve, "127.0.0.1", 0, limit=limit)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        gc.collect()
        before = memory()

        async def flood() -> None:
            piece = b"x" * 1_000_000
            while True:
                await asyncio.get_running_loop().sock_sendall(sock, piece)

        flooding = aio.create_task(flood())
        outcome, held = await soon(ended)
        assert outcome == {"readline": "ValueError", "readuntil": "LimitOverrunError", "nothing": None}[read]
        assert held <= 2 * limit + 300_000
        assert memory() - before < 30_000_000
        flooding.cancel()
        await asyncio.wait([flooding])
        if not flooding.cancelled():
            flooding.exception()
        sock.close()
        server.close()

    run(main())


@pytest.mark.timeout(120)
def test_a_thousand_clients_that_come_and_go_in_disorder(aio: Any, run: Any, no_leaks: None) -> None:
    async def main() -> None:
        served = 0

        async def serve(reader: Any, writer: Any) -> None:
            nonlocal served
            try:
                while data := await reader.read(1000):
                    writer.write(data)
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                served += 1
                writer.close()

        server = await aio.start_server(serve, "127.0.0.1", 0, backlog=1000)
        address = server.sockets[0].getsockname()

        async def visit(n: int) -> None:
            reader, writer = await aio.open_connection(*address)
            try:
                for _ in range(n % 4):
                    writer.write(b"%d" % n)
                    await writer.drain()
                    if n % 3:
                        await reader.read(100)
                if n % 5 == 0:
                    writer.transport.abort()
            finally:
                writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass

        tasks = [aio.create_task(visit(n)) for n in range(1000)]
        for n in range(0, 1000, 7):
            asyncio.get_running_loop().call_later(n / 10_000, tasks[n].cancel)
        await soon(asyncio.wait(tasks))
        assert not [task for task in tasks if not task.cancelled() and task.exception()]
        server.close()
        await soon(server.wait_closed())
        while len(asyncio.all_tasks()) > 1:
            await aio.sleep(0.001)
        assert served <= 1000

    run(main())
