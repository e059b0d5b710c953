"""snapshot() and tree(): what each task is doing, seen from any thread, whatever the loop does."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import linecache
import os
import random
import sys
import threading
import time

import pytest

import glassloop
from glassloop.snapshot import TaskInfo, describe, snapshot, thread_stack, tree

HERE = __file__


def info_of(task):
    """The entry of one task, looked at from within its loop."""
    (info,) = [info for info in snapshot(task.get_loop()) if info.id == id(task)]
    return info


def settled(awaiting):
    """Run `awaiting` as a task until it waits; its entry."""

    async def main():
        task = asyncio.create_task(awaiting, name="looked-at")
        for _ in range(5):
            await asyncio.sleep(0)
        info = info_of(task)
        task.cancel()
        await asyncio.wait([task])
        return info

    return glassloop.run(main())


def code_at(info):
    return linecache.getline(info.file, info.line).strip()


class TestWhatATaskAwaits:
    def test_sleep(self):
        async def nap():
            await glassloop.sleep(100)

        info = settled(nap())
        assert (info.state, info.awaits) == ("waiting", "sleep()")
        assert info.coroutine.endswith("nap")
        assert info.function.endswith("nap")
        assert info.file == HERE
        assert code_at(info) == "await glassloop.sleep(100)"

    @pytest.mark.parametrize("space", [glassloop, asyncio], ids=lambda space: space.__name__)
    def test_the_primitives_by_the_names_that_users_know(self, space):
        async def get():
            await space.Queue().get()

        async def put():
            queue = space.Queue(1)
            queue.put_nowait(1)
            await queue.put(2)

        async def join():
            queue = space.Queue()
            queue.put_nowait(1)
            await queue.join()

        async def lock():
            taken = space.Lock()
            await taken.acquire()
            async with taken:
                pass

        async def semaphore():
            await space.Semaphore(0).acquire()

        async def event():
            await space.Event().wait()

        async def condition():
            some = space.Condition()
            async with some:
                await some.wait()

        async def barrier():
            await space.Barrier(2).wait()

        async def timed():
            async with space.timeout(100):
                await space.Event().wait()

        async def waited_for():
            await space.wait_for(space.Queue().get(), 100)

        expected = {
            get: "Queue.get()", put: "Queue.put()", join: "Queue.join()", lock: "Lock.acquire()",
            semaphore: "Semaphore.acquire()", event: "Event.wait()", condition: "Condition.wait()",
            barrier: "Barrier.wait()", timed: "Event.wait()",
        }  # fmt: skip
        if space is glassloop or sys.version_info >= (3, 12):
            expected[waited_for] = "Queue.get()"  # before 3.12 asyncio makes a task of it
        assert {kind.__name__: settled(kind()).awaits for kind in expected} == {
            kind.__name__: name for kind, name in expected.items()
        }

    def test_futures_tasks_and_gatherings(self):
        async def future():
            await asyncio.get_running_loop().create_future()

        async def stock_future():
            await asyncio.Future()

        async def task():
            await asyncio.create_task(asyncio.sleep(100), name="the other")

        async def gathering():
            await glassloop.gather(future())

        async def shielding():
            await glassloop.shield(glassloop.create_task(glassloop.sleep(100)))

        async def some():
            await glassloop.wait([asyncio.get_running_loop().create_future()])

        async def group():
            async with glassloop.TaskGroup() as tasks:
                tasks.create_task(future())

        async def stock_group():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(future())

        async def mapping():
            async for _ in glassloop.amap(asyncio.sleep, [100], limit=1):
                raise AssertionError

        async def placed():
            async with glassloop.TaskGroup(limit=1) as tasks:
                tasks.create_task(future())
                await tasks.create_task(future(), name="the second")

        expected = {
            mapping: "amap()", placed: "task 'the second'",
            future: "Future", stock_future: "Future", task: "task 'the other'", gathering: "gather()",
            shielding: "shield()", some: "wait()", group: "TaskGroup", stock_group: "TaskGroup",
        }  # fmt: skip
        assert {kind.__name__: settled(kind()).awaits for kind in expected} == {
            kind.__name__: name for kind, name in expected.items()
        }

    @pytest.mark.parametrize("nap", [glassloop.sleep, asyncio.sleep], ids=["operation", "coroutine"])
    def test_a_task_beyond_its_groups_limit(self, nap):
        async def main():
            async with glassloop.TaskGroup(limit=1) as tasks:
                tasks.create_task(nap(100))
                tasks.create_task(nap(100), name="the second")
                await glassloop.sleep(0)
                infos = {info.name: info for info in snapshot(asyncio.get_running_loop())}
                tasks.cancel()
            return infos["the second"]

        second = glassloop.run(main())
        assert (second.state, second.awaits) == ("waiting", "a place in the TaskGroup")

    def test_streams(self):
        async def main():
            async def serve(reader, writer):
                await reader.readexactly(5)

            async def client():
                reader, writer = await glassloop.open_connection(*server.sockets[0].getsockname()[:2])
                writer.write(b"1")
                connected.set()
                await reader.readline()

            connected = glassloop.Event()
            server = await glassloop.start_server(serve, "127.0.0.1", 0)
            client_task = asyncio.create_task(client())
            await connected.wait()
            while True:  # until the server's task is there
                found = sorted(info.awaits for info in snapshot(asyncio.get_running_loop()) if info.awaits)
                if len(found) == 2:
                    break
                await asyncio.sleep(0)
            client_task.cancel()
            server.close()
            return found

        assert glassloop.run(main()) == ["StreamReader.readexactly()", "StreamReader.readline()"]

    def test_threads(self):
        go_on = threading.Event()

        async def main():
            loop = asyncio.get_running_loop()

            async def thread():
                await glassloop.to_thread(go_on.wait)

            async def executor():
                await loop.run_in_executor(None, go_on.wait)

            tasks = [asyncio.create_task(thread()), asyncio.create_task(executor())]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            try:
                return [info_of(task).awaits for task in tasks]
            finally:
                go_on.set()
                await asyncio.wait(tasks)

        assert glassloop.run(main()) == ["to_thread()", "run_in_executor()"]

    def test_an_operation_that_is_a_task_by_itself(self):
        info = settled(glassloop.Queue().get())
        assert (info.coroutine, info.awaits) == ("Queue.get", "Queue.get()")
        assert (info.file, info.line, info.function, info.stack) == (None, None, None, ())

    def test_nothing_is_awaited_by_who_is_ready(self):
        async def turning():
            while True:
                await glassloop.sleep(0)

        info = settled(turning())
        assert (info.state, info.awaits) == ("ready", None)
        assert code_at(info) == "await glassloop.sleep(0)"

    def test_a_task_that_has_not_begun_stands_at_its_first_line(self):
        async def main():
            async def begun():
                await asyncio.sleep(0)

            task = asyncio.create_task(begun())
            info = info_of(task)
            await task
            return info

        info = glassloop.run(main())
        assert (info.state, info.awaits) == ("ready", None)
        assert code_at(info) == "async def begun():"

    def test_who_was_woken_is_ready(self):
        async def main():
            event = glassloop.Event()
            task = asyncio.create_task(event.wait())
            await asyncio.sleep(0)
            before = info_of(task).state
            event.set()
            return before, info_of(task).state

        assert glassloop.run(main()) == ("waiting", "ready")


class TestWhereATaskStands:
    def test_the_stack_goes_through_coroutines_generators_and_asynchronous_generators(self):
        class Awaitable:
            def __await__(self):
                yield from asyncio.sleep(100).__await__()

        async def ticks():
            await Awaitable()
            yield 1

        async def inner():
            async for _ in ticks():
                pass

        async def outer():
            await inner()

        info = settled(outer())
        names = [function.rpartition(".")[2] for file, _, function in info.stack if file == HERE]
        assert names == ["outer", "inner", "ticks", "__await__"]
        assert info.function.endswith("Awaitable.__await__")
        assert info.awaits == "sleep()"

    def test_its_own_code_comes_before_the_runtimes(self):
        async def own():
            await asyncio.Queue().get()  # asyncio's: with frames

        info = settled(own())
        assert info.file == HERE
        assert code_at(info).startswith("await asyncio.Queue().get()")
        assert os.path.basename(info.stack[-1][0]) in ("queues.py", "leaf.py")

    def test_its_own_code_comes_before_that_of_installed_libraries(self, tmp_path):
        library = tmp_path / "site-packages" / "library.py"
        code = compile("async def fetch(queue):\n    await queue.get()\n", str(library), "exec")
        space = {}
        exec(code, space)

        async def own():
            await space["fetch"](glassloop.Queue())

        info = settled(own())
        assert (info.file, info.awaits) == (HERE, "Queue.get()")
        assert (str(library), 2, "fetch") in info.stack

    def test_the_running_task_stands_in_the_innermost_call(self):
        def deep():
            return snapshot(asyncio.get_running_loop())

        async def main():
            return deep()

        (info,) = glassloop.run(main())
        assert (info.state, info.awaits) == ("running", None)
        assert code_at(info) == "return snapshot(asyncio.get_running_loop())"
        assert [function.rpartition(".")[2] for _, _, function in info.stack] == ["main", "deep"]

    def test_a_hanging_loop_is_seen_from_another_thread(self):
        go_on, hanging = threading.Event(), threading.Event()
        loop = glassloop.new_event_loop()

        def hang():
            hanging.set()
            go_on.wait()

        async def main():
            asyncio.create_task(asyncio.sleep(0), name="behind")
            hang()

        thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
        thread.start()
        try:
            hanging.wait()
            infos = {info.name: info for info in snapshot(loop)}
            stack = thread_stack(thread.ident)
        finally:
            go_on.set()
            thread.join()
        assert thread_stack(thread.ident) == ()
        loop.close()
        assert snapshot(loop) == []
        behind = infos.pop("behind")
        assert behind.state == "ready"
        (info,) = infos.values()
        assert info.state == "running"
        assert info.function.endswith("hang")
        assert any(function.endswith("hang") for _, _, function in stack)
        assert stack[0][2].endswith("_bootstrap")


class TestWhatElseIsTold:
    def test_name_age_and_who_waits(self):
        async def main():
            async def child():
                await glassloop.sleep(100)

            async def parent():
                await glassloop.gather(children[0], children[1])

            children = [asyncio.create_task(child(), name=f"child {i}") for i in range(2)]
            waiting = asyncio.create_task(parent(), name="parent")
            began = time.monotonic()
            await asyncio.sleep(0.05)
            took = time.monotonic() - began
            infos = {info.name: info for info in snapshot(asyncio.get_running_loop())}
            waiting.cancel()
            await asyncio.wait([waiting])
            assert infos["child 0"].awaited_by == infos["child 1"].awaited_by == (id(waiting),)
            assert infos["parent"].awaited_by == ()
            assert took * 0.9 <= infos["parent"].age <= took + 30
            assert infos["child 0"].id == id(children[0])

        glassloop.run(main())

    def test_the_oldest_comes_first(self):
        async def main():
            tasks = []
            for i in range(5):
                tasks.append(asyncio.create_task(glassloop.sleep(100), name=str(i)))
                await asyncio.sleep(0.01)
            random.Random(1).shuffle(tasks)
            tasks.pop().cancel()
            await asyncio.sleep(0)
            infos = [info for info in snapshot(asyncio.get_running_loop()) if info.coroutine == "sleep"]
            assert [info.name for info in infos] == sorted(info.name for info in infos)
            assert len(infos) == 4
            assert [info.age for info in infos] == sorted((info.age for info in infos), reverse=True)

        glassloop.run(main())

    @pytest.mark.parametrize("new_loop", [glassloop.new_event_loop, asyncio.SelectorEventLoop])
    def test_asyncios_own_tasks_on_any_loop(self, new_loop):
        async def waiting():
            await asyncio.Event().wait()

        async def awaiting(task):
            await task

        async def main():
            loop = asyncio.get_running_loop()
            task = asyncio.Task(waiting(), loop=loop, name="stock")
            above = asyncio.Task(awaiting(task), loop=loop, name="above")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            infos = {info.name: info for info in snapshot(loop)}
            stock = infos["stock"]
            assert (stock.state, stock.awaits, stock.age) == ("waiting", "Event.wait()", None)
            assert stock.awaited_by == (id(above),)
            assert infos["above"].awaits == "task 'stock'"
            assert [info.state for info in infos.values()].count("running") == 1
            assert len(infos) == 3
            task.cancel()
            await asyncio.wait([task, above])

        loop = new_loop()
        loop.run_until_complete(main())
        loop.close()

    def test_a_loop_knows_only_its_own_tasks(self):
        async def other():
            await asyncio.sleep(100)

        first, second = glassloop.new_event_loop(), asyncio.SelectorEventLoop()
        tasks = [first.create_task(other(), name="first"), second.create_task(other(), name="second")]
        assert [info.name for info in snapshot(first)] == ["first"]
        assert [info.name for info in snapshot(second)] == ["second"]
        for loop, task in zip((first, second), tasks):
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
            loop.close()

    def test_values_of_the_user_are_neither_shown_nor_asked(self):
        class Secret:
            def __repr__(self):
                raise AssertionError("repr() of a value")

            __str__ = __repr__

        async def keeping(secret, queue):
            mine = secret  # noqa: F841
            await queue.get()

        queue = glassloop.Queue()
        info = settled(keeping(Secret(), queue))
        assert info.awaits == "Queue.get()"

    def test_an_entry_can_be_sent_as_json(self):
        async def nap():
            await asyncio.sleep(100)

        info = settled(nap())
        sent = json.loads(json.dumps(dataclasses.asdict(info)))
        assert sent["awaits"] == "sleep()"
        with pytest.raises(dataclasses.FrozenInstanceError):
            info.name = "another"


class TestWhileTheLoopRuns:
    @pytest.mark.parametrize("kind", ["own", "stock"])
    def test_tasks_that_end_and_change_meanwhile(self, kind):
        """All that a task can do, as fast as it can, while another thread looks on."""
        loop = glassloop.new_event_loop()
        stop = threading.Event()
        make = loop.create_task if kind == "own" else lambda coro: asyncio.Task(coro, loop=loop)

        async def stream():
            for i in range(3):
                yield i
                await glassloop.sleep(0)

        async def worker(queue, lock):
            async for _ in stream():
                async with lock:
                    await queue.put(1)
                await queue.get()

        async def waiting(tasks):
            await glassloop.gather(*tasks)

        async def main():
            rounds = 0
            while not stop.is_set():
                queue, lock = glassloop.Queue(3), glassloop.Lock()
                workers = [make(worker(queue, lock)) for _ in range(10)]
                doomed = make(glassloop.sleep(100))
                async with glassloop.TaskGroup() as group:
                    group.create_task(waiting(workers))
                    group.create_task(waiting(workers))
                doomed.cancel()
                rounds += 1
            return rounds

        rounds = []
        thread = threading.Thread(target=lambda: rounds.append(loop.run_until_complete(main())))
        thread.start()
        seen = set()
        try:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                for info in snapshot(loop):
                    seen.add(info.state)
                    assert info.state in ("running", "ready", "waiting", "done")
                    assert (info.awaits is not None) == (info.state == "waiting")
                tree(snapshot(loop))
        finally:
            stop.set()
            thread.join()
            loop.close()
        assert rounds[0] > 0
        assert {"ready", "waiting"} <= seen

    def test_what_ends_meanwhile_is_freed_in_the_loops_thread(self, monkeypatch):
        freed_in = []
        looking, ended = threading.Event(), threading.Event()

        class Value:
            def __del__(self):
                freed_in.append(threading.current_thread())

        def age_of(task):
            # the task has been looked at, but its entry isn't complete: now it ends
            if task.get_name() == "holding":
                looking.set()
                ended.wait(30)
            return None

        async def holding(value):
            await event.wait()
            value.looked_at = True

        async def main():
            nonlocal event
            event = glassloop.Event()
            task = asyncio.create_task(holding(Value()), name="holding")
            await asyncio.sleep(0)
            running.set()
            await asyncio.to_thread(looking.wait)
            event.set()
            await task
            del task
            await asyncio.sleep(0)
            ended.set()
            await asyncio.to_thread(done.wait)

        event = None
        running, done = threading.Event(), threading.Event()
        loop = glassloop.new_event_loop()
        thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
        thread.start()
        try:
            running.wait()
            monkeypatch.setattr("glassloop.snapshot.age_of", age_of)
            snapshot(loop)
        finally:
            ended.set()
            done.set()
            thread.join()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        assert freed_in == [thread]

    def test_twenty_thousand_tasks_take_no_longer_each_than_one_thousand(self):
        async def main(count):
            event = glassloop.Event()

            async def one():
                await event.wait()

            async with glassloop.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(one())
                await asyncio.sleep(0)
                took = []
                for _ in range(3):
                    began = time.process_time()
                    infos = snapshot(asyncio.get_running_loop())
                    took.append(time.process_time() - began)
                event.set()
            assert len(infos) == count + 1
            assert {info.awaits for info in infos} == {None, "Event.wait()"}
            return min(took) / count

        few, many = glassloop.run(main(1_000)), glassloop.run(main(20_000))
        assert many < 6 * few  # a quadratic one takes twenty times as long

    def test_it_keeps_nothing_alive(self, no_leaks):
        import gc
        import weakref

        class Value:
            pass

        async def main():
            async def holding(value):
                await asyncio.sleep(100)

            task = asyncio.create_task(holding(Value()))
            (value,) = [thing for thing in gc.get_objects() if isinstance(thing, Value)]
            alive = weakref.ref(value)
            del value
            await asyncio.sleep(0)
            infos = snapshot(asyncio.get_running_loop())
            task.cancel()
            await asyncio.wait([task])
            del task
            gc.collect()
            assert len(infos) == 2
            assert alive() is None

        glassloop.run(main())


def made(identity, *awaited_by, **changes):
    info = TaskInfo(id=identity, name=f"T{identity}", state="waiting", coroutine="work", awaits="Future", file="a.py",
                    line=identity, function="work", stack=(), age=None, awaited_by=awaited_by)  # fmt: skip
    return dataclasses.replace(info, **changes)


class TestTree:
    def test_a_line_says_what_one_wants_to_know(self):
        info = made(3, awaits="Queue.get()", age=1.26)
        assert describe(info) == "T3  work()  waits for Queue.get()  a.py:3  1.3 s"
        assert describe(made(3, state="running", awaits=None, file=None, age=0.5)) == "T3  work()  running  500 ms"
        assert describe(made(3, age=3 * 3600 + 125)).endswith("3 h 2 min")
        assert describe(made(3, age=125)).endswith("2 min 5 s")

    def test_nothing(self):
        assert tree([]) == ""

    def test_who_waits_stands_above_what_he_waits_for(self):
        infos = [made(1), made(2, 1), made(3, 1), made(4, 2), made(5)]
        names = [line.partition("  work()")[0] for line in tree(infos).splitlines()]
        assert names == ["T1", "├─ T2", "│  └─ T4", "└─ T3", "T5"]

    def test_a_task_that_several_wait_for_is_shown_in_full_once(self):
        infos = [made(1), made(2), made(3, 1, 2), made(4, 3)]
        lines = tree(infos).splitlines()
        assert [line.partition("  work()")[0] for line in lines] == ["T1", "└─ T3", "   └─ T4", "T2", "└─ T3  (see above)"]

    def test_circles_are_cut(self):
        infos = [made(1, 3), made(2, 1), made(3, 2), made(4, 4)]
        lines = [line.partition("  work()")[0] for line in tree(infos).splitlines()]
        assert lines == ["T1", "└─ T2", "   └─ T3", "      └─ T1  (see above)", "T4", "└─ T4  (see above)"]

    def test_waiters_that_are_not_among_the_tasks_do_not_hide_one(self):
        assert tree([made(1, 99)]).startswith("T1")

    def test_a_chain_of_thousands(self):
        infos = [made(1), *(made(i, i - 1) for i in range(2, 5001))]
        lines = tree(infos).splitlines()
        assert len(lines) == 5000
        assert max(map(len, lines)) < 300

    def test_a_circle_of_real_tasks(self):
        async def main():
            async def waiting(future):
                await future
                await others[1 - int(asyncio.current_task().get_name())]

            loop = asyncio.get_running_loop()
            future = loop.create_future()
            others = [loop.create_task(waiting(future), name=str(i)) for i in range(2)]
            await asyncio.sleep(0)
            future.set_result(None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            text = tree([info for info in snapshot(loop) if info.name in "01"])
            others[0].cancel()
            await asyncio.wait(others)
            return text

        lines = glassloop.run(main()).splitlines()
        assert len(lines) == 3
        first = lines[0][0]
        assert f"waits for task '{1 - int(first)}'" in lines[0]
        assert f"waits for task '{first}'" in lines[1]
        assert lines[2].endswith("(see above)")
