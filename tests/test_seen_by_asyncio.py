"""What the standard library, and what is built on it, sees of our loops and tasks; its own on our loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import threading

import anyio
import pytest

since_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")


@pytest.fixture
def seen():
    return []


def turn(loop):
    loop.stop()
    loop.run_forever()


async def work(value=None, delay=0.0):
    await asyncio.sleep(delay)
    return value


async def fail(delay=0.0):
    await asyncio.sleep(delay)
    raise ZeroDivisionError


class TestTypes:
    def test_of_a_loop(self, aio, loop):
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert isinstance(loop, aio.AbstractEventLoop)

    def test_of_a_future(self, aio, loop):
        future = loop.create_future()
        assert isinstance(future, asyncio.Future)
        assert isinstance(future, aio.Future)
        assert not isinstance(future, asyncio.Task)
        assert asyncio.isfuture(future)
        assert not asyncio.iscoroutine(future)
        assert inspect.isawaitable(future)

    def test_of_a_task(self, aio, loop):
        task = loop.create_task(work())
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert isinstance(task, aio.Task)
        assert isinstance(task, aio.Future)
        assert asyncio.isfuture(task)
        loop.run_until_complete(task)

    def test_of_handles(self, aio, loop):
        handle, timer = loop.call_soon(int), loop.call_later(1, int)
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
        assert isinstance(timer, asyncio.Handle)
        assert isinstance(timer, asyncio.TimerHandle)
        assert isinstance(timer, aio.TimerHandle)
        assert isinstance(loop.call_soon_threadsafe(int), asyncio.Handle)

    def test_of_transports_and_servers(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            accepted = loop.create_future()

            class Accepting(asyncio.Protocol):
                def connection_made(self, transport):
                    accepted.set_result(transport)

            server = await loop.create_server(Accepting, "127.0.0.1", 0)
            assert isinstance(server, asyncio.AbstractServer)
            transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
            for one in (transport, await accepted):
                assert isinstance(one, asyncio.Transport)
                assert isinstance(one, asyncio.ReadTransport)
                assert isinstance(one, asyncio.WriteTransport)
                assert isinstance(one, asyncio.BaseTransport)
                one.close()
            server.close()
            await server.wait_closed()

        run(main())

    def test_of_streams(self, aio, run):
        async def main():
            async def serve(reader, writer):
                writer.close()

            server = await aio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
            assert isinstance(reader, aio.StreamReader)
            assert isinstance(writer, aio.StreamWriter)
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

        run(main())


class TestTasksInSight:
    def test_the_running_loop(self, loop):
        async def main():
            return asyncio.get_running_loop(), asyncio.get_event_loop()

        assert loop.run_until_complete(main()) == (loop, loop)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    def test_the_current_task(self, loop, seen):
        async def main():
            seen.append(asyncio.current_task())
            seen.append(asyncio.current_task(loop))
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        task = loop.create_task(main())
        loop.run_until_complete(task)
        assert seen == [task] * 3

    def test_there_is_none_in_callbacks_of_any_kind(self, loop, seen):
        def note(*_):
            seen.append(asyncio.current_task())

        async def main():
            loop.call_soon(note)
            loop.call_later(0, note)
            loop.call_soon_threadsafe(note)
            future = loop.create_future()
            future.add_done_callback(note)
            future.set_result(None)
            asyncio.current_task().add_done_callback(note)
            await asyncio.sleep(0.001)

        loop.run_until_complete(main())
        turn(loop)
        assert seen == [None] * 5

    def test_seen_from_another_thread(self, loop, seen):
        async def main():
            thread = threading.Thread(target=lambda: seen.append(asyncio.current_task(loop)))
            thread.start()
            thread.join()

        task = loop.create_task(main())
        loop.run_until_complete(task)
        assert seen == [task]

    def test_all_tasks(self, loop):
        async def main():
            tasks = {loop.create_task(work(delay=1000)) for _ in range(5)}
            done = loop.create_task(work())
            await done
            assert asyncio.all_tasks() == {asyncio.current_task(), *tasks}
            assert asyncio.all_tasks(loop) == asyncio.all_tasks()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        loop.run_until_complete(main())
        assert asyncio.all_tasks(loop) == set()

    def test_all_tasks_are_those_of_one_loop(self, aio, loop):
        other, third = aio.new_event_loop(), asyncio.SelectorEventLoop()
        try:
            mine, others = loop.create_task(work()), other.create_task(work())
            stock = third.create_task(work())
            assert asyncio.all_tasks(loop) == {mine}
            assert asyncio.all_tasks(other) == {others}
            assert asyncio.all_tasks(third) == {stock}
            for each in (loop, other, third):
                each.run_until_complete(asyncio.wait(asyncio.all_tasks(each)))
                assert asyncio.all_tasks(each) == set()
        finally:
            other.close()
            third.close()

    def test_all_tasks_while_threads_make_and_end_them(self, aio):
        stop = threading.Event()
        errors = []

        async def churn():
            while not stop.is_set():
                await asyncio.gather(*[work() for _ in range(10)])

        def run():
            try:
                aio.run(churn())
            except Exception as error:
                errors.append(error)

        async def main():
            for _ in range(300):
                assert asyncio.all_tasks() == {asyncio.current_task()}
                await asyncio.sleep(0)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            aio.run(main())
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert errors == []

    def test_a_task_that_ended_with_an_interrupt_leaves_none_behind(self, loop):
        async def interrupt():
            raise KeyboardInterrupt

        task = loop.create_task(interrupt())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        assert asyncio.current_task(loop) is None
        assert asyncio.all_tasks(loop) == set()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="new in Python 3.14")
class TestCallGraphs:
    @staticmethod
    def waiting_for(future):
        return sorted(graph.future.get_name() for graph in asyncio.capture_call_graph(future).awaited_by)

    @pytest.mark.parametrize("way", ["await", "gather", "gather of gather", "wait", "shield", "wait_for", "as_completed"])
    def test_tell_who_waits_for_a_task(self, aio, run, way):
        async def wait_for(task):
            match way:
                case "await":
                    await task
                case "gather":
                    await aio.gather(task, work())
                case "gather of gather":
                    await aio.gather(aio.gather(task))
                case "wait":
                    await aio.wait([task], timeout=60)
                case "shield":
                    await aio.shield(task)
                case "wait_for":
                    await aio.wait_for(task, 60)
                case _:
                    for first in aio.as_completed([task]):
                        await first

        async def main():
            stop = aio.Event()
            task = aio.create_task(stop.wait(), name="awaited")
            waiting = aio.create_task(wait_for(task), name="waiting")
            assert self.waiting_for(task) == []
            await aio.sleep(0.01)
            assert self.waiting_for(task) == ["waiting"]
            assert "waiting" in asyncio.format_call_graph(task)
            stop.set()
            await waiting
            assert self.waiting_for(task) == []

        run(main())

    def test_tell_who_waits_for_a_group(self, aio, run):
        async def main():
            stop = aio.Event()

            async def parent():
                async with aio.TaskGroup() as group:
                    children.append(group.create_task(stop.wait()))

            children = []
            task = aio.create_task(parent(), name="parent")
            await aio.sleep(0.01)
            assert self.waiting_for(children[0]) == ["parent"]
            stop.set()
            await task
            assert self.waiting_for(children[0]) == []

        run(main())

    def test_of_the_running_task(self, aio, run):
        async def inner():
            return asyncio.capture_call_graph()

        async def main():
            graph = await aio.create_task(inner())
            assert graph.call_stack[0].frame.f_code is inner.__code__
            (waiting,) = graph.awaited_by
            assert waiting.future is asyncio.current_task()

        run(main())


class TestTheStandardLibraryOnOurTasks:
    def test_gather(self, run):
        async def main():
            assert await asyncio.gather(work(1), asyncio.create_task(work(2)), work(3)) == [1, 2, 3]
            with pytest.raises(ZeroDivisionError):
                await asyncio.gather(work(1), fail())
            values = await asyncio.gather(fail(), work(2), return_exceptions=True)
            assert type(values[0]) is ZeroDivisionError and values[1] == 2
            assert await asyncio.gather() == []

        run(main())

    def test_cancelling_gather(self, run):
        async def main():
            tasks = [asyncio.create_task(work(delay=1000)) for _ in range(3)]
            gathered = asyncio.gather(*tasks)
            await asyncio.sleep(0)
            gathered.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathered
            return [task.cancelled() for task in tasks]

        assert run(main()) == [True] * 3

    def test_wait_wait_for_as_completed_shield(self, run):
        async def main():
            quick, slow = asyncio.create_task(work(1)), asyncio.create_task(work(2, 1000))
            done, pending = await asyncio.wait([quick, slow], return_when=asyncio.FIRST_COMPLETED)
            assert (done, pending) == ({quick}, {slow})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(slow), 0.001)
            assert not slow.done()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(slow, 0.001)
            assert slow.cancelled()
            assert [await f for f in asyncio.as_completed([work(1, 0.02), work(2)])] == [2, 1]

        run(main())

    def test_taskgroup(self, run, seen):
        async def watch():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async def main():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work(n)) for n in range(3)]
            assert [task.result() for task in tasks] == [0, 1, 2]
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(watch())
                    group.create_task(fail())
                    await asyncio.sleep(1000)
            assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
            assert asyncio.current_task().cancelling() == 0

        run(main())
        assert seen == ["cancelled"]

    def test_timeout(self, run):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(1000)
            async with asyncio.timeout(1000) as scope:
                await asyncio.sleep(0)
                scope.reschedule(None)
            assert asyncio.current_task().cancelling() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    async with asyncio.timeout(1000):
                        await asyncio.sleep(1000)

        run(main())

    def test_queue(self, run):
        async def produce(queue):
            for i in range(100):
                await queue.put(i)
            await queue.join()

        async def consume(queue, into):
            while True:
                into.append(await queue.get())
                queue.task_done()

        async def main():
            queue, into = asyncio.Queue(3), []
            consumers = [asyncio.create_task(consume(queue, into)) for _ in range(4)]
            await produce(queue)
            for consumer in consumers:
                consumer.cancel()
            await asyncio.wait(consumers)
            return sorted(into)

        assert run(main()) == list(range(100))

    def test_locks(self, run, seen):
        async def enter(lock, n):
            async with lock:
                seen.append(n)
                await asyncio.sleep(0)
                seen.append(n)

        async def main():
            for kind in (asyncio.Lock, asyncio.Condition, asyncio.Semaphore, asyncio.BoundedSemaphore):
                lock = kind()
                seen.clear()
                await asyncio.gather(*[enter(lock, n) for n in range(5)])
                assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
            event = asyncio.Event()
            waiting = asyncio.create_task(event.wait())
            await asyncio.sleep(0)
            event.set()
            assert await waiting is True
            barrier = asyncio.Barrier(3)
            assert sorted(await asyncio.gather(*[barrier.wait() for _ in range(3)])) == [0, 1, 2]
            condition = asyncio.Condition()

            async def wait():
                async with condition:
                    await condition.wait_for(lambda: ready)

            ready = []
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            async with condition:
                ready.append(1)
                condition.notify_all()
            await waiting

        run(main())

    def test_threads_and_pools(self, run):
        var = contextvars.ContextVar("var", default=0)

        async def main():
            var.set(3)
            assert await asyncio.to_thread(var.get) == 3
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, functools.partial(int, "7")) == 7
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(lambda: 1 / 0)

        run(main())

    def test_run_coroutine_threadsafe(self, loop):
        def ask():
            results.append(asyncio.run_coroutine_threadsafe(work(3), loop).result(10))
            loop.call_soon_threadsafe(loop.stop)

        results = []
        thread = threading.Thread(target=ask)
        thread.start()
        loop.run_forever()
        thread.join()
        assert results == [3]

    def test_ensure_future_and_wrap_future(self, run):
        async def main():
            task = asyncio.ensure_future(work(1))
            assert asyncio.ensure_future(task) is task
            assert asyncio.wrap_future(task) is task

            class Awaitable:
                def __await__(self):
                    return work(5).__await__()

            assert await asyncio.ensure_future(Awaitable()) == 5
            return await task

        assert run(main()) == 1

    def test_streams(self, run):
        async def echo(reader, writer):
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"one\ntwo\n")
            assert await reader.readline() == b"one\n"
            assert await reader.readexactly(4) == b"two\n"
            payload = bytes(1_000_000)
            writer.write(payload)
            assert await reader.readexactly(len(payload)) == payload
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

        run(main())


class TestStockFuturesAndTasksOnOurLoop:
    FUTURES = [asyncio.Future, asyncio.futures._PyFuture]
    TASKS = [asyncio.Task, asyncio.tasks._PyTask]

    @pytest.mark.parametrize("kind", FUTURES)
    def test_our_task_awaits_their_future(self, loop, kind):
        async def main():
            future = kind(loop=loop)
            loop.call_soon(future.set_result, 1)
            first = await future
            second = await future
            failing = kind(loop=loop)
            loop.call_soon(failing.set_exception, ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await failing
            return first, second

        assert loop.run_until_complete(main()) == (1, 1)

    @pytest.mark.parametrize("kind", FUTURES)
    def test_cancelling_our_task_cancels_their_future(self, aio, loop, kind):
        async def main():
            await future

        future = kind(loop=loop)
        task = loop.create_task(main())
        turn(loop)
        assert task._fut_waiter is future
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            loop.run_until_complete(task)
        assert future.cancelled()

    @pytest.mark.parametrize("kind", FUTURES)
    def test_our_task_keeps_its_context_and_place_when_their_future_wakes_it(self, loop, kind, seen):
        var = contextvars.ContextVar("var", default=0)

        async def main():
            var.set(1)
            future = kind(loop=loop)
            loop.call_soon(future.set_result, None)
            await future
            seen.append((var.get(), asyncio.current_task() is task))
            var.set(2)
            await asyncio.sleep(0)
            seen.append((var.get(), asyncio.current_task() is task))

        task = loop.create_task(main())
        loop.run_until_complete(task)
        assert seen == [(1, True), (2, True)]
        assert var.get() == 0

    @pytest.mark.parametrize("kind", TASKS)
    def test_their_task_runs_and_awaits_ours(self, loop, kind):
        async def main():
            me = asyncio.current_task()
            if kind is asyncio.Task or sys.version_info < (3, 14):  # since then the two don't know each other
                assert type(me) is kind
                assert me in asyncio.all_tasks()
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            values = [await future, await loop.create_task(work(2)), await kind(work(3), loop=loop)]
            with pytest.raises(ZeroDivisionError):
                await loop.create_task(fail())
            assert asyncio.current_task() is me
            return values

        assert loop.run_until_complete(kind(main(), loop=loop)) == [1, 2, 3]

    @pytest.mark.parametrize("kind", TASKS)
    def test_cancelling_goes_through_both(self, loop, kind):
        async def main():
            await waited

        for outer, inner in ((loop.create_task, functools.partial(kind, loop=loop)),
                             (functools.partial(kind, loop=loop), loop.create_task)):
            waited = inner(work(delay=1000))
            task = outer(main())
            turn(loop)
            turn(loop)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
            assert waited.cancelled()

    def test_a_mixture_of_them_sees_the_right_current_task(self, loop, seen):
        async def check(kind):
            me = asyncio.current_task()
            for _ in range(10):
                await asyncio.sleep(0)
                seen.append(asyncio.current_task() is me)

        tasks = []
        for _ in range(3):
            tasks += [loop.create_task(check(0)), asyncio.Task(check(1), loop=loop)]
            tasks.append(asyncio.tasks._PyTask(check(2), loop=loop))
        loop.run_until_complete(asyncio.wait(tasks))
        assert seen == [True] * 90
        assert asyncio.current_task(loop) is None

    @since_3_12
    def test_asyncios_eager_tasks(self, aio, loop, seen):
        async def child(value):
            me = asyncio.current_task()
            seen.append(value)
            await asyncio.sleep(0)
            assert asyncio.current_task() is me
            return value

        async def main():
            me = asyncio.current_task()
            task = asyncio.create_task(child(1), name="fred")
            assert seen == [1]
            assert task.get_name() == "fred"
            assert asyncio.current_task() is me
            eager = asyncio.Task(child(2), loop=loop, eager_start=True)
            assert seen == [1, 2]
            assert asyncio.current_task() is me
            async with asyncio.TaskGroup() as group:
                group.create_task(child(3))
                assert seen == [1, 2, 3]
            assert await asyncio.gather(child(4), child(5)) == [4, 5]
            return await task, await eager

        loop.set_task_factory(asyncio.eager_task_factory)
        assert loop.run_until_complete(main()) == (1, 2)

    @since_3_12
    def test_factories_made_by_create_eager_task_factory(self, loop, seen):
        class Mine(asyncio.Task):
            pass

        async def child():
            seen.append(type(asyncio.current_task()))

        async def main():
            task = asyncio.create_task(child())
            assert task.done()

        loop.set_task_factory(asyncio.create_eager_task_factory(Mine))
        loop.run_until_complete(main())
        assert seen == [Mine]

    def test_asyncgenerators_and_asyncio_helpers_in_one_program(self, run):
        async def numbers(n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

        async def main():
            return sum([i async for i in numbers(10)])

        assert run(main()) == 45


class TestAnyio:
    @pytest.fixture
    def arun(self, aio):
        def arun(main):
            options = {"loop_factory": aio.new_event_loop}
            return anyio.run(main, backend="asyncio", backend_options=options)

        return arun

    def test_task_groups(self, arun, seen):
        async def child(n):
            await anyio.sleep(0)
            seen.append(n)

        async def main():
            async with anyio.create_task_group() as group:
                for n in range(5):
                    group.start_soon(child, n)
            assert seen == [0, 1, 2, 3, 4]
            with pytest.raises(ExceptionGroup):
                async with anyio.create_task_group() as group:
                    group.start_soon(fail)
                    group.start_soon(anyio.sleep, 1000)

        arun(main)

    def test_started_tasks_and_names(self, arun):
        async def child(*, task_status):
            task_status.started("ready")
            await anyio.sleep(1000)

        async def main():
            async with anyio.create_task_group() as group:
                assert await group.start(child, name="fred") == "ready"
                assert "fred" in {task.name for task in anyio.get_running_tasks()}
                group.cancel_scope.cancel()

        arun(main)

    def test_cancel_scopes(self, arun, seen):
        async def main():
            with anyio.move_on_after(0.001) as scope:
                await anyio.sleep(1000)
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError), anyio.fail_after(0.001):
                await anyio.sleep(1000)
            with anyio.CancelScope() as outer:
                outer.cancel()
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.001)
                    seen.append("shielded")
                await anyio.sleep(0)
                seen.append("not reached")
            assert asyncio.current_task().cancelling() == 0
            await anyio.sleep(0)

        arun(main)
        assert seen == ["shielded"]

    def test_a_cancelled_scope_cancels_again_and_again(self, arun, seen):
        async def stubborn():
            for _ in range(3):
                try:
                    await anyio.sleep(1000)
                except asyncio.CancelledError:
                    seen.append("caught")
            await anyio.sleep(1000)

        async def main():
            async with anyio.create_task_group() as group:
                group.start_soon(stubborn)
                await anyio.sleep(0)
                group.cancel_scope.cancel()

        arun(main)
        assert seen == ["caught"] * 3

    def test_threads_streams_and_locks(self, arun):
        async def main():
            def in_thread():
                anyio.from_thread.run(anyio.sleep, 0)
                return anyio.from_thread.run_sync(asyncio.get_running_loop)

            assert await anyio.to_thread.run_sync(in_thread) is asyncio.get_running_loop()
            send, receive = anyio.create_memory_object_stream[int](2)
            got = []

            async def consume():
                async with receive:
                    async for item in receive:
                        got.append(item)

            async with anyio.create_task_group() as group:
                group.start_soon(consume)
                async with send:
                    for i in range(10):
                        await send.send(i)
            assert got == list(range(10))
            lock, limiter, event = anyio.Lock(), anyio.CapacityLimiter(2), anyio.Event()
            async with lock, limiter:
                event.set()
                await event.wait()

        arun(main)

    def test_sockets(self, arun):
        async def main():
            async def echo(stream):
                async with stream:
                    async for data in stream:
                        await stream.send(data)

            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, echo)
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await stream.send(b"hello")
                    assert await stream.receive() == b"hello"
                group.cancel_scope.cancel()
            await listener.aclose()

        arun(main)

    def test_the_blocking_portal(self, aio):
        with anyio.from_thread.start_blocking_portal(
            "asyncio", backend_options={"loop_factory": aio.new_event_loop}
        ) as portal:
            assert portal.call(work, 3) == 3
            future = portal.start_task_soon(work, 4)
            assert future.result(10) == 4


@pytest.mark.parametrize("when", [5.5, 5])
def test_a_timer_has_its_deadline_in_an_attribute_as_well(loop, when):
    handle = loop.call_at(when, int)
    assert handle._when == handle.when() == when
    assert type(handle._when) is type(when)
    handle.cancel()
    assert handle._when == when
