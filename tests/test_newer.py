"""What newer versions of asyncio added is there, with their semantics, on every version of Python. On asyncio itself
each test runs from the version on that added it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import io
import socket
import sys
from typing import Any

import pytest


def since(*version: int) -> Any:
    """asyncio has it from this version of Python on."""
    if sys.version_info >= version:
        return lambda test: test
    return pytest.mark.extra(f"in asyncio since Python {'.'.join(map(str, version))}")


async def turns(n: int = 4) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(10):
        return await awaitable


# ---- 3.12 ----


@since(3, 12)
class TestEagerTasks:
    def test_a_factory_starts_each_task_at_once(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
            seen = []

            async def work(n: int) -> int:
                seen.append((n, aio.current_task().get_name()))
                if n:
                    await asyncio.sleep(0)
                return n

            at_once = aio.create_task(work(0), name="zero")
            assert at_once.done() and at_once.result() == 0
            later = aio.create_task(work(1), name="one")
            assert not later.done()
            assert [n for n, _ in seen] == [0, 1]
            assert aio.current_task() is not later
            assert await later == 1
            async with aio.TaskGroup() as group:
                assert group.create_task(work(0)).done()
            assert await aio.gather(work(0), work(2)) == [0, 2]

        run(main())

    def test_a_factory_of_tasks_of_another_class(self, aio: Any, run: Any) -> None:
        made = []

        def constructor(coro: Any, **kwargs: Any) -> Any:
            made.append(sorted(kwargs))
            return aio.Task(coro, **kwargs)

        async def work() -> str:
            return "done"

        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(aio.create_eager_task_factory(constructor))
            task = aio.create_task(work())
            assert task.done() and task.result() == "done"
            assert "eager_start" in made[0] and "loop" in made[0]

        run(main())

    def test_a_task_may_be_started_eagerly(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            async def work() -> int:
                return 1

            task = aio.Task(work(), loop=asyncio.get_running_loop(), eager_start=True)
            assert task.done() and await task == 1

        run(main())


@since(3, 12)
def test_a_task_tells_its_context(aio: Any, run: Any) -> None:
    async def main() -> None:
        context = contextvars.copy_context()
        task = aio.create_task(asyncio.sleep(0), context=context)
        assert task.get_context() is context
        await task

    run(main())


@since(3, 12)
def test_run_takes_a_loop_factory(aio: Any) -> None:
    made = []

    def factory() -> Any:
        made.append(aio.new_event_loop())
        return made[0]

    async def main() -> Any:
        return asyncio.get_running_loop()

    assert aio.run(main(), loop_factory=factory) is made[0]
    assert made[0].is_closed()


@since(3, 12)
def test_shutdown_of_the_default_executor_takes_a_timeout(aio: Any, run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, int, "3") == 3
        await loop.shutdown_default_executor(timeout=10)

    run(main())


@since(3, 12)
def test_all_errors_of_a_connect(aio: Any, run: Any) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port, all_errors=True)
        assert all(isinstance(error, OSError) for error in caught.value.exceptions)

    run(main())


@since(3, 12)
def test_a_handle_tells_its_context(run: Any) -> None:
    async def main() -> None:
        context = contextvars.copy_context()
        assert asyncio.get_running_loop().call_soon(int, context=context).get_context() is context

    run(main())


@since(3, 12)
def test_wait_for_cancels_and_raises_timeout_error(aio: Any, run: Any) -> None:
    async def main() -> None:
        async def stubborn() -> str:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "finished all the same"
            return ""

        assert await aio.wait_for(stubborn(), 0.01) == "finished all the same"
        with pytest.raises(TimeoutError):
            await aio.wait_for(asyncio.sleep(60), 0)

    run(main())


# ---- 3.13 ----


@since(3, 13)
class TestQueueShutdown:
    @pytest.mark.parametrize("kind", ["Queue", "PriorityQueue", "LifoQueue"])
    def test_ends_puts_at_once_and_gets_when_it_is_empty(self, aio: Any, run: Any, kind: str) -> None:
        async def main() -> None:
            queue = getattr(aio, kind)()
            queue.put_nowait(1)
            queue.shutdown()
            with pytest.raises(aio.QueueShutDown):
                await queue.put(2)
            assert await queue.get() == 1
            with pytest.raises(aio.QueueShutDown):
                await queue.get()

        run(main())

    def test_at_once_drops_what_is_left(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            queue = aio.Queue()
            queue.put_nowait(1)
            joining = asyncio.ensure_future(queue.join())
            await turns()
            queue.shutdown(immediate=True)
            await soon(joining)
            with pytest.raises(aio.QueueShutDown):
                queue.get_nowait()

        run(main())


@since(3, 13)
def test_as_completed_can_be_gone_through_asynchronously(aio: Any, run: Any) -> None:
    async def main() -> None:
        gates = [asyncio.get_running_loop().create_future() for _ in range(3)]

        async def work(n: int) -> int:
            await gates[n]
            return n

        tasks = [aio.create_task(work(n)) for n in range(3)]
        seen = []
        await turns()
        gates[2].set_result(None)
        async for task in aio.as_completed(tasks):
            assert task in tasks
            seen.append(await task)
            for gate in (gates[0], gates[1]):
                if not gate.done():
                    gate.set_result(None)
                    break
        assert seen == [2, 0, 1]

    run(main())


@since(3, 13)
def test_readuntil_takes_several_separators(aio: Any, run: Any) -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        reader.feed_data(b"one\ntwo;three")
        assert await reader.readuntil((b";", b"\n")) == b"one\n"
        assert await reader.readuntil((b";", b"\n")) == b"two;"
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readuntil((b";", b"\n"))
        with pytest.raises(ValueError):
            await reader.readuntil(())

    run(main())


@since(3, 13)
@pytest.mark.parametrize("end", ["close_clients", "abort_clients"])
def test_a_server_ends_its_connections(aio: Any, run: Any, end: str) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            await reader.read()

        server = await aio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        await asyncio.sleep(0.01)
        server.close()
        getattr(server, end)()
        await soon(server.wait_closed())
        try:
            assert await soon(reader.read()) == b""
        except ConnectionResetError:
            assert end == "abort_clients"
        writer.close()

    run(main())


@since(3, 13)
@pytest.mark.parametrize("cleanup", [True, False])
def test_a_unix_server_removes_its_socket_file_or_not(aio: Any, run: Any, tmp_path: Any, cleanup: bool) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(asyncio.Protocol, path, cleanup_socket=cleanup)
        server.close()
        await soon(server.wait_closed())
        await turns()
        assert path.exists() is not cleanup

    run(main())


@since(3, 13)
def test_a_task_group_leaves_a_cancellation_from_outside_counted(aio: Any, run: Any) -> None:
    async def main() -> None:
        async def fail() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise ZeroDivisionError

        async def parent() -> str:
            try:
                async with aio.TaskGroup() as group:
                    group.create_task(fail())
            except* ZeroDivisionError:
                pass
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return f"cancelled, {aio.current_task().cancelling()}"
            return ""

        task = aio.create_task(parent())
        await turns()
        task.cancel()
        assert await soon(task) == "cancelled, 1"

    run(main())


@since(3, 13)
def test_a_task_group_that_takes_no_tasks_closes_the_coroutine(aio: Any) -> None:
    async def work() -> None:
        pass

    coroutine = work()
    with pytest.raises(RuntimeError):
        aio.TaskGroup().create_task(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@since(3, 13)
def test_the_event_loop_has_a_name(aio: Any) -> None:
    loop = aio.EventLoop()
    loop.close()
    assert isinstance(loop, asyncio.AbstractEventLoop)


@since(3, 13)
def test_keep_alive_is_an_option_of_servers(run: Any) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        server.close()

    run(main())


# ---- 3.14 ----


@since(3, 14)
def test_create_task_passes_on_what_it_does_not_know(aio: Any, run: Any) -> None:
    passed = []

    def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
        passed.append({key: value for key, value in kwargs.items() if value is not None})
        kwargs.pop("own", None)
        return aio.Task(coro, loop=loop, **kwargs)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        await loop.create_task(asyncio.sleep(0), own=1)
        await aio.create_task(asyncio.sleep(0), own=2)
        async with aio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0), own=3)

    run(main())
    assert [kwargs["own"] for kwargs in passed if "own" in kwargs] == [1, 2, 3]


@since(3, 14)
@pytest.mark.parametrize("how", ["loop", "function", "group"])
def test_create_task_takes_eager_start(aio: Any, run: Any, how: str) -> None:
    async def main() -> None:
        async def work() -> int:
            return 1

        async with aio.TaskGroup() as group:
            create = {"loop": asyncio.get_running_loop().create_task, "function": aio.create_task,
                      "group": group.create_task}[how]
            task = create(work(), eager_start=True)
            assert task.done() and task.result() == 1
            assert not create(work(), eager_start=False).done()
            await turns()

    run(main())


@since(3, 14)
def test_a_runner_runs_any_awaitable(aio: Any) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 5

    with aio.Runner() as runner:
        assert runner.run(Awaitable()) == 5


async def inner(gate: Any) -> None:
    await gate


async def outer(gate: Any) -> None:
    await inner(gate)


@since(3, 14)
class TestCallGraph:
    def test_of_a_task_that_waits(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            gate = asyncio.get_running_loop().create_future()
            task = aio.create_task(outer(gate), name="waits")
            await turns()
            graph = aio.capture_call_graph(task)
            assert isinstance(graph, aio.FutureCallGraph)
            assert graph.future is task
            assert all(isinstance(entry, aio.FrameCallGraphEntry) for entry in graph.call_stack)
            assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["inner", "outer"]
            assert graph.awaited_by == ()
            gate.set_result(None)
            await task
            assert aio.capture_call_graph(task).call_stack == ()

        run(main())

    def test_of_who_waits_for_it(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            gate = asyncio.get_running_loop().create_future()
            first = aio.create_task(outer(gate), name="first")
            second = aio.create_task(inner(first), name="second")
            await turns()
            graph = aio.capture_call_graph(gate)
            assert graph.call_stack == ()
            (by,) = graph.awaited_by
            assert by.future is first
            (by,) = by.awaited_by
            assert by.future is second
            gate.set_result(None)
            await second

        run(main())

    @pytest.mark.parametrize("how", ["gather", "wait", "group", "shield", "as_completed", "wait_for"])
    def test_through_what_asyncio_offers(self, aio: Any, run: Any, how: str) -> None:
        async def main() -> None:
            gate = asyncio.get_running_loop().create_future()
            child = aio.create_task(outer(gate), name="child")

            async def parent() -> None:
                nonlocal child
                if how == "gather":
                    await aio.gather(child)
                elif how == "wait":
                    await aio.wait([child])
                elif how == "shield":
                    await aio.shield(child)
                elif how == "wait_for":
                    await aio.wait_for(child, 60)
                elif how == "as_completed":
                    for one in aio.as_completed([child]):
                        await one
                else:
                    async with aio.TaskGroup() as group:
                        child = group.create_task(outer(gate))

            task = aio.create_task(parent(), name="parent")
            await turns(6)
            assert [by.future for by in aio.capture_call_graph(child).awaited_by] == [task]
            gate.set_result(None)
            await soon(task)
            assert aio.capture_call_graph(child).awaited_by == ()

        run(main())

    def test_of_the_task_that_runs(self, aio: Any, run: Any) -> None:
        def deep() -> Any:
            return aio.capture_call_graph()

        async def work() -> Any:
            return deep()

        async def main() -> None:
            graph = await work()
            assert graph.future is aio.current_task()
            names = [entry.frame.f_code.co_name for entry in graph.call_stack]
            assert names == ["deep", "work", "main"]
            assert [entry.frame.f_code.co_name for entry in aio.capture_call_graph(limit=1).call_stack] == ["main"]
            assert aio.capture_call_graph(limit=0).call_stack == ()
            assert aio.capture_call_graph(aio.current_task(), depth=1).future is aio.current_task()

        run(main())

    def test_limits(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            gate = asyncio.get_running_loop().create_future()
            task = aio.create_task(outer(gate))
            await turns()

            def names(limit: int) -> list[str]:
                return [entry.frame.f_code.co_name for entry in aio.capture_call_graph(task, limit=limit).call_stack]

            assert (names(1), names(-1), names(0), names(5)) == (["outer"], ["inner"], [], ["inner", "outer"])
            gate.set_result(None)
            await task

        run(main())

    def test_outside_of_a_task(self, aio: Any, run: Any) -> None:
        with pytest.raises(RuntimeError):
            aio.capture_call_graph()
        with pytest.raises(TypeError):
            aio.capture_call_graph(5)
        loop = aio.new_event_loop()
        seen = []
        loop.call_soon(lambda: seen.append((aio.capture_call_graph(), aio.format_call_graph())))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        assert seen == [(None, "")]

    def test_as_text(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            gate = asyncio.get_running_loop().create_future()
            first = aio.create_task(outer(gate), name="first")
            second = aio.create_task(inner(first), name="second")
            await turns()
            lines = aio.format_call_graph(first).splitlines()
            assert lines[0] == f"* Task(name='first', id={id(first):#x})"
            assert lines[1] == "  + Call stack:"
            assert lines[2].startswith("  |   File ") and lines[2].endswith(" in async inner()")
            assert lines[3].endswith(" in async outer()")
            assert lines[4] == "  + Awaited by:"
            assert lines[5] == f"    * Task(name='second', id={id(second):#x})"
            assert aio.format_call_graph(gate).splitlines()[0] == f"* Future(id={id(gate):#x})"
            text = io.StringIO()
            aio.print_call_graph(first, file=text)
            assert text.getvalue() == "\n".join(lines) + "\n"
            here = aio.format_call_graph()
            assert here.splitlines()[2].endswith(" in async TestCallGraph.test_as_text.<locals>.main()")
            gate.set_result(None)
            await second

        run(main())

    def test_of_an_asynchronous_generator(self, aio: Any, run: Any) -> None:
        async def numbers() -> Any:
            yield aio.format_call_graph()

        async def main() -> None:
            async for text in numbers():
                assert " in async generator " in text
                assert text.splitlines()[3].endswith("main()")

        run(main())

    def test_who_waits_may_be_told(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            future, waiter = aio.Future(loop=loop), aio.current_task()
            aio.future_add_to_awaited_by(future, waiter)
            aio.future_add_to_awaited_by(future, waiter)
            assert [by.future for by in aio.capture_call_graph(future).awaited_by] == [waiter]
            aio.future_discard_from_awaited_by(future, waiter)
            aio.future_discard_from_awaited_by(future, waiter)
            assert aio.capture_call_graph(future).awaited_by == ()

        run(main())


# ---- 3.15 ----


@since(3, 15)
class TestCancelOfATaskGroup:
    def test_ends_its_tasks_and_its_block_without_an_error(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            reached = []
            async with aio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(60))
                await turns()
                group.cancel()
                reached.append("after cancel()")
                await asyncio.sleep(60)
                reached.append("never")
            assert task.cancelled()
            assert reached == ["after cancel()"]
            assert aio.current_task().cancelling() == 0
            await asyncio.sleep(0)

        run(main())

    def test_by_a_task_of_its_own(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            found = []

            async def find() -> None:
                await turns()
                found.append(1)
                group.cancel()

            async with aio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(60)) for _ in range(3)]
                tasks.append(group.create_task(find()))
            assert found == [1]
            assert all(task.cancelled() for task in tasks)
            assert aio.current_task().cancelling() == 0

        run(main())

    def test_in_a_block_that_does_not_wait_any_more(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            async with aio.TaskGroup() as group:
                group.cancel()
            async with aio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(60))
                group.cancel()
            assert task.cancelled()
            assert aio.current_task().cancelling() == 0
            await asyncio.sleep(0)

        run(main())

    def test_before_it_is_entered(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            group = aio.TaskGroup()
            group.cancel()
            reached = []
            async with group:
                reached.append("entered")
                await asyncio.sleep(60)
                reached.append("never")
            assert reached == ["entered"]
            assert aio.current_task().cancelling() == 0

        run(main())

    def test_again_and_after_the_end(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            async with aio.TaskGroup() as group:
                group.cancel()
                group.cancel()
                await asyncio.sleep(60)
            group.cancel()
            await asyncio.sleep(0)
            assert aio.current_task().cancelling() == 0

        run(main())

    def test_what_fails_meanwhile_is_raised(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            async def fail() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    raise ZeroDivisionError

            with pytest.raises(ExceptionGroup) as caught:
                async with aio.TaskGroup() as group:
                    group.create_task(fail())
                    await turns()
                    group.cancel()
                    await asyncio.sleep(60)
            assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
            with pytest.raises(ExceptionGroup):
                async with aio.TaskGroup() as group:
                    group.cancel()
                    raise KeyError
            assert aio.current_task().cancelling() == 0

        run(main())

    @pytest.mark.parametrize("waits", [True, False])
    def test_a_cancellation_from_outside_is_not_lost(self, aio: Any, run: Any, waits: bool) -> None:
        async def main() -> None:
            async def slow() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    await turns(6)

            async def parent() -> None:
                async with aio.TaskGroup() as group:
                    groups.append(group)
                    group.create_task(slow())
                    if waits:
                        await asyncio.sleep(60)

            groups: list[Any] = []
            task = aio.create_task(parent())
            await turns()
            groups[0].cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        run(main())

    def test_it_takes_no_more_tasks(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            async with aio.TaskGroup() as group:
                group.cancel()
                with pytest.raises(RuntimeError, match="is shutting down"):
                    group.create_task(asyncio.sleep(0))

        run(main())

    def test_of_groups_one_within_another(self, aio: Any, run: Any) -> None:
        async def main() -> None:
            reached = []
            async with aio.TaskGroup() as outer:
                async with aio.TaskGroup() as inner:
                    outer.create_task(asyncio.sleep(60))
                    inner.create_task(asyncio.sleep(60))
                    await turns()
                    inner.cancel()
                    await asyncio.sleep(60)
                reached.append("inner left")
                await asyncio.sleep(0)
                async with aio.TaskGroup() as inner:
                    inner.create_task(asyncio.sleep(60))
                    outer.cancel()
                    await asyncio.sleep(60)
                reached.append("never")
            assert reached == ["inner left"]
            assert aio.current_task().cancelling() == 0

        run(main())
