"""State machines: the same operations, drawn at random, on glassloop's objects and on asyncio's own, each on a loop of
its own kind; after each of them all that can be seen must be equal.

Operations happen between turns of the loop (no task runs), so that a turn is a step like any other and everything that
can come between two turns does: tasks are started, cancelled, woken, and cancelled after they were woken. At the end of
a machine all of its tasks are cancelled, and the loop must have nothing left.

No step depends on time. Examples are drawn the same way in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import socket
import sys
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

pytestmark = pytest.mark.extra("compares with asyncio")

bounded = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None)

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)


class World:
    """One of the two: a loop, what was made on it, and a record of what came out."""

    def __init__(self, names: Any, make_loop: Any) -> None:
        self.names = names
        self.loop = make_loop()
        self.loop.set_exception_handler(self.report)
        self.tasks: list[Any] = []
        self.futures: list[Any] = []
        self.record: list[Any] = []
        self.thing: Any = None

    def report(self, loop: Any, context: dict[str, Any]) -> None:
        self.record.append((context["message"].partition(" (")[0], type(context.get("exception")).__name__))

    def start(self, function: Any, *arguments: Any) -> None:
        self.tasks.append(self.loop.create_task(self.noted(len(self.tasks), function, arguments)))

    async def noted(self, number: int, function: Any, arguments: Any) -> Any:
        try:
            result = await function(*arguments)
        except BaseException as error:
            self.record.append((number, "raised", type(error).__name__))
            raise
        self.record.append((number, "got", plain(result)))
        return result

    def turn(self) -> None:
        self.loop.stop()
        self.loop.run_forever()

    def call(self, name: str, *arguments: Any) -> None:
        """A method of the thing; what it returns or raises is noted."""
        try:
            self.record.append((name, plain(getattr(self.thing, name)(*arguments))))
        except Exception as error:
            self.record.append((name, type(error).__name__))

    def seen(self) -> Any:
        state = repr(self.thing).partition(" [")[2] if " [" in repr(self.thing) else str(self.thing)
        return self.record, state, [outcome(task) for task in self.tasks], [outcome(future) for future in self.futures]

    def end(self) -> None:
        for _ in range(100):
            if not (left := [task for task in self.tasks if not task.done()]):
                break
            for task in left:
                task.cancel()
            self.turn()
            if hasattr(self.thing, "release") and self.thing.locked():  # for those who must take the lock to leave
                self.call("release")
        for _ in range(4):
            self.turn()

    def close(self) -> None:
        assert [task for task in self.tasks if not task.done()] == []
        assert asyncio.all_tasks(self.loop) == set()
        for future in (*self.tasks, *self.futures):
            if future.done() and not future.cancelled():
                future.exception()  # heard of
        self.loop.close()


def plain(value: Any) -> Any:
    return value if isinstance(value, (type(None), bool, int, float, str, list, tuple)) else type(value).__name__


def outcome(future: Any) -> Any:
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    return ("result", plain(future.result())) if error is None else ("error", type(error).__name__, str(error))


class Machine(RuleBasedStateMachine):
    """What all have: two worlds, turns, tasks that are cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.worlds = (
            World(importlib.import_module("glassloop"), importlib.import_module("glassloop").new_event_loop),
            World(asyncio, asyncio.SelectorEventLoop),
        )

    def both(self, operation: Any) -> None:
        for world in self.worlds:
            operation(world)
        self.compare()

    def compare(self) -> None:
        ours, theirs = self.worlds
        assert ours.seen() == theirs.seen()

    def make(self, kind: str, *arguments: Any) -> None:
        for world in self.worlds:
            world.thing = getattr(world.names, kind)(*arguments)

    @rule()
    def turn(self) -> None:
        self.both(World.turn)

    @rule(turns=st.integers(2, 6))
    def turns(self, turns: int) -> None:
        for _ in range(turns):
            self.both(World.turn)

    @precondition(lambda self: self.worlds[0].tasks)
    @rule(number=st.integers(0, 100))
    def cancel_a_task(self, number: int) -> None:
        def cancel(world: World) -> None:
            task = world.tasks[number % len(world.tasks)]
            world.record.append(("cancel", task.cancel(), task.cancelling()))

        self.both(cancel)

    @precondition(lambda self: len(self.worlds[0].tasks) > 1)
    @rule(number=st.integers(0, 100), turn_before=st.booleans())
    def cancel_two_tasks(self, number: int, turn_before: bool) -> None:
        self.cancel_a_task(number)
        if turn_before:
            self.turn()
        self.cancel_a_task(number + 1)

    def teardown(self) -> None:
        try:
            for world in self.worlds:
                world.end()
            self.compare()
        finally:
            for world in self.worlds:
                world.close()


class LockMachine(Machine):
    @initialize()
    def begin(self) -> None:
        self.make("Lock")

    @rule()
    def acquire(self) -> None:
        self.both(lambda world: world.start(world.thing.acquire))

    @rule(turns=st.integers(0, 3))
    def a_block(self, turns: int) -> None:
        self.both(lambda world: world.start(block, world.thing, turns))

    @rule()
    def release(self) -> None:
        self.both(lambda world: world.call("release"))

    @rule()
    def locked(self) -> None:
        self.both(lambda world: world.call("locked"))


async def block(lock: Any, turns: int) -> str:
    async with lock:
        for _ in range(turns):
            await asyncio.sleep(0)
    return "left"


class SemaphoreMachine(LockMachine):
    kind = "Semaphore"

    @initialize(value=st.integers(0, 3))
    def begin(self, value: int) -> None:
        self.make(self.kind, value)

    @rule(times=st.integers(2, 3))
    def release_many(self, times: int) -> None:
        for _ in range(times):
            self.release()


class BoundedSemaphoreMachine(SemaphoreMachine):
    kind = "BoundedSemaphore"


class EventMachine(Machine):
    @initialize()
    def begin(self) -> None:
        self.make("Event")

    @rule()
    def wait(self) -> None:
        self.both(lambda world: world.start(world.thing.wait))

    @rule(name=st.sampled_from(["set", "clear", "is_set"]))
    def call(self, name: str) -> None:
        self.both(lambda world: world.call(name))

    @rule()
    def set_and_clear(self) -> None:
        self.call("set")
        self.call("clear")


class ConditionMachine(LockMachine):
    @initialize(shared=st.booleans())
    def begin(self, shared: bool) -> None:
        for world in self.worlds:
            world.thing = world.names.Condition(world.names.Lock()) if shared else world.names.Condition()
        self.flags = [False, False]

    @rule()
    def wait(self) -> None:
        async def wait(condition: Any) -> Any:
            async with condition:
                return await condition.wait()

        self.both(lambda world: world.start(wait, world.thing))

    @rule()
    def wait_without_the_lock(self) -> None:
        self.both(lambda world: world.start(world.thing.wait))

    @rule()
    def wait_for_the_flag(self) -> None:
        async def wait(world: World) -> Any:
            async with world.thing:
                return await world.thing.wait_for(lambda: self.flags[world is self.worlds[0]])

        self.both(lambda world: world.start(wait, world))

    @rule(value=st.booleans())
    def set_the_flag(self, value: bool) -> None:
        self.flags = [value, value]

    @rule(n=st.integers(0, 4))
    def notify(self, n: int) -> None:
        async def notify(condition: Any) -> None:
            async with condition:
                if n == 4:
                    condition.notify_all()
                else:
                    condition.notify(n)

        self.both(lambda world: world.start(notify, world.thing))

    @rule(n=st.integers(0, 2))
    def notify_at_once(self, n: int) -> None:
        self.both(lambda world: world.call("notify", n))


class BarrierMachine(Machine):
    @initialize(parties=st.integers(1, 4))
    def begin(self, parties: int) -> None:
        self.make("Barrier", parties)

    @rule()
    def wait(self) -> None:
        self.both(lambda world: world.start(world.thing.wait))

    @rule(n=st.integers(2, 5))
    def wait_all(self, n: int) -> None:
        for _ in range(n):
            self.wait()

    @rule(name=st.sampled_from(["reset", "abort"]))
    def end(self, name: str) -> None:
        self.both(lambda world: world.start(getattr(world.thing, name)))


class QueueMachine(Machine):
    @initialize(kind=st.sampled_from(["Queue", "PriorityQueue", "LifoQueue"]), maxsize=st.integers(0, 3))
    def begin(self, kind: str, maxsize: int) -> None:
        self.make(kind, maxsize)
        self.items = 0

    def item(self) -> float:
        self.items += 1
        return self.items * 7 % 5 + self.items / 1000

    @rule()
    def get(self) -> None:
        self.both(lambda world: world.start(world.thing.get))

    @rule()
    def put(self) -> None:
        item = self.item()
        self.both(lambda world: world.start(world.thing.put, item))

    @rule()
    def join(self) -> None:
        self.both(lambda world: world.start(world.thing.join))

    @rule()
    def put_nowait(self) -> None:
        item = self.item()
        self.both(lambda world: world.call("put_nowait", item))

    @rule(name=st.sampled_from(["get_nowait", "get_nowait", "task_done", "qsize", "empty", "full"]))
    def call(self, name: str) -> None:
        self.both(lambda world: world.call(name))

    @precondition(lambda self: sys.version_info >= (3, 13, 1))
    @rule(immediate=st.booleans(), sure=st.integers(0, 4))
    def shutdown(self, immediate: bool, sure: int) -> None:
        if not sure:  # not too often: little happens afterwards
            self.both(lambda world: world.call("shutdown", immediate))


WAYS = ["await", "shield", "catch", "again", "finally", "wait_for", "timeout", "uncancel"]
if sys.version_info >= (3, 13):  # before, it forgot a cancellation of the parent that came together with an error
    WAYS.append("group")


class TaskMachine(Machine):
    """Futures, tasks that wait for them or for one another through what asyncio offers, and cancellation."""

    futures = Bundle("futures")
    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        for world in self.worlds:
            world.thing = ""

    @rule(target=futures)
    def make_a_future(self) -> int:
        for world in self.worlds:
            world.futures.append(world.loop.create_future())
        return len(self.worlds[0].futures) - 1

    @rule(future=futures, how=st.sampled_from(["result", "exception", "cancel", "cancel"]))
    def settle(self, future: int, how: str) -> None:
        def settle(world: World) -> None:
            world.thing = world.futures[future]
            if how == "result":
                world.call("set_result", future)
            elif how == "exception":
                world.call("set_exception", KeyError(future))
            else:
                world.call("cancel", "message")
            world.thing = ""

        self.both(settle)

    @rule(future=futures, number=st.integers(0, 9))
    def add_a_callback(self, future: int, number: int) -> None:
        def add(world: World) -> None:
            def done(settled: Any) -> None:
                world.record.append(("callback", number, outcome(settled), variable.get()))
                if number == 9:
                    raise OSError

            context = contextvars.copy_context()
            context.run(variable.set, number)
            world.futures[future].add_done_callback(done, context=context)

        self.both(add)

    @rule(target=tasks, future=futures, how=st.sampled_from(WAYS))
    def await_a_future(self, future: int, how: str) -> int:
        self.both(lambda world: world.start(await_one, world, world.futures[future], how))
        return len(self.worlds[0].tasks) - 1

    @rule(target=tasks, task=tasks, how=st.sampled_from(WAYS[:6]))
    def await_a_task(self, task: int, how: str) -> int:
        self.both(lambda world: world.start(await_one, world, world.tasks[task], how))
        return len(self.worlds[0].tasks) - 1

    @precondition(lambda self: sys.version_info >= (3, 12))  # before, it took a turn more where all were done
    @rule(target=tasks, first=futures, second=tasks, exceptions=st.booleans())
    def gather(self, first: int, second: int, exceptions: bool) -> int:
        async def gather(world: World) -> Any:
            both = (world.futures[first], world.tasks[second])
            return [plain(one) for one in await world.names.gather(*both, return_exceptions=exceptions)]

        self.both(lambda world: world.start(gather, world))
        return len(self.worlds[0].tasks) - 1

    @rule(target=tasks, first=futures, second=tasks,
          condition=st.sampled_from(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]))
    def wait(self, first: int, second: int, condition: str) -> int:
        async def wait(world: World) -> Any:
            both = (world.futures[first], world.tasks[second])
            done, pending = await world.names.wait(both, return_when=condition)
            return [one in done for one in both], [one in pending for one in both]

        self.both(lambda world: world.start(wait, world))
        return len(self.worlds[0].tasks) - 1

    @rule(target=tasks, first=futures, second=futures)
    def as_completed(self, first: int, second: int) -> int:
        async def go_through(world: World) -> Any:
            results = []
            for one in world.names.as_completed([world.futures[first], world.futures[second]]):
                try:
                    results.append(await one)
                except KeyError as error:
                    results.append(str(error))
            return sorted(map(str, results))

        self.both(lambda world: world.start(go_through, world))
        return len(self.worlds[0].tasks) - 1

    @rule(task=tasks)
    def uncancel(self, task: int) -> None:
        if sys.version_info >= (3, 13):  # before, it did not take back what was not delivered yet
            self.both(lambda world: world.record.append(("uncancel", world.tasks[task].uncancel())))

    @rule(target=tasks, turns=st.integers(0, 3))
    def start_a_task(self, turns: int) -> int:
        async def yields() -> int:
            for _ in range(turns):
                await asyncio.sleep(0)
            return turns

        self.both(lambda world: world.start(yields))
        return len(self.worlds[0].tasks) - 1


async def await_one(world: World, one: Any, how: str) -> Any:
    names = world.names
    if how == "shield":
        return await names.shield(one)
    if how in ("catch", "again", "uncancel"):
        try:
            return await one
        except asyncio.CancelledError:
            if how == "uncancel":
                return names.current_task().uncancel()
            if how == "again":
                await asyncio.sleep(0)
                return await names.shield(one)
            return "caught"
    if how == "finally":
        try:
            return await one
        finally:
            await asyncio.sleep(0)
            world.record.append("cleaned up")
    if how == "wait_for":
        return await names.wait_for(one, None)
    if how == "timeout":
        async with names.timeout(None):
            return await one
    if how == "group":
        async def member() -> Any:
            return await one

        async with names.TaskGroup() as group:
            group.create_task(member())
        return "left"
    return await one


class Ends:
    """A transport, its protocol's notes, and the other end as a bare socket."""

    def __init__(self, make_loop: Any) -> None:
        self.loop = make_loop()
        self.loop.set_exception_handler(lambda loop, context: None)
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.arrived = bytearray()  # at the peer
        self.peer_ended: Any = None
        self.notes: list[Any] = []
        self.received = bytearray()
        self.paused = False
        self.keep_open = False
        ends = self

        class Notes(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                ends.received += data

            def eof_received(self) -> bool:
                note = ("eof", len(ends.received))
                if note not in ends.notes:  # asyncio tells it again when reading is resumed
                    ends.notes.append(note)
                return ends.keep_open

            def pause_writing(self) -> None:
                assert not ends.paused
                ends.paused = True

            def resume_writing(self) -> None:
                assert ends.paused
                ends.paused = False

            def connection_lost(self, error: Exception | None) -> None:
                ends.notes.append(("lost", type(error).__name__))

        connect = self.loop.create_unix_connection(Notes, sock=ours)
        self.transport, _ = self.loop.run_until_complete(connect)

    def settle(self) -> None:
        """Until nothing more happens by itself."""
        quiet = 0
        while quiet < 4:
            before = self.seen()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            quiet = quiet + 1 if self.seen() == before else 0

    def peer_reads(self, size: int) -> None:
        while size and self.peer.fileno() >= 0:
            try:
                data = self.peer.recv(size)
            except BlockingIOError:
                return
            except OSError as error:
                self.peer_ended = type(error).__name__
                return
            if not data:
                self.peer_ended = "eof"
                return
            self.arrived += data
            size -= len(data)

    def peer_sends(self, data: bytes) -> None:
        try:
            self.peer.send(data)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self.notes.append(("peer's send", type(error).__name__))

    def lost(self) -> bool:
        return any(name == "lost" for name, _ in self.notes)

    def call(self, name: str, *arguments: Any) -> None:
        if self.lost():  # what asyncio does then depends on how it came to that
            return
        try:
            getattr(self.transport, name)(*arguments)
        except Exception as error:
            self.notes.append((name, type(error).__name__))

    def seen(self) -> Any:
        transport = self.transport
        return (self.notes[:], bytes(self.received), bytes(self.arrived), self.peer_ended, self.paused,
                transport.is_closing(), transport.is_reading(), transport.get_write_buffer_size())

    def close(self) -> None:
        self.call("abort")
        self.settle()
        self.peer.close()
        self.loop.close()
        assert [name for name, _ in self.notes].count("lost") == 1


class TransportMachine(RuleBasedStateMachine):
    """A stream transport between its protocol and a peer that sends, reads, ends and breaks off as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = (Ends(importlib.import_module("glassloop").new_event_loop), Ends(asyncio.SelectorEventLoop))
        self.sent = 0

    def both(self, operation: Any) -> None:
        for ends in self.ends:
            operation(ends)
            ends.settle()
        ours, theirs = self.ends
        assert ours.seen() == theirs.seen()

    def data(self, size: int) -> bytes:
        self.sent += 1
        return bytes([self.sent % 256]) * size

    @rule(size=st.sampled_from([1, 1, 1_000, 100_000, 600_000]))
    def write(self, size: int) -> None:
        data = self.data(size)
        self.both(lambda ends: ends.call("write", data))

    @precondition(lambda self: sys.version_info < (3, 12))  # from then on it pauses the protocol sometimes only
    @rule(sizes=st.lists(st.sampled_from([1, 1_000, 150_000]), min_size=1, max_size=3))
    def writelines(self, sizes: list[int]) -> None:
        pieces = [self.data(size) for size in sizes]
        self.both(lambda ends: ends.call("writelines", pieces))

    @rule(low=st.sampled_from([0, 1_000]), high=st.sampled_from([1_000, 200_000]))
    def set_write_buffer_limits(self, low: int, high: int) -> None:
        self.both(lambda ends: ends.call("set_write_buffer_limits", high, low))

    @precondition(lambda self: not self.ends[0].notes)
    @rule(keep_open=st.booleans())
    def keep_open(self, keep_open: bool) -> None:
        for ends in self.ends:
            ends.keep_open = keep_open

    @rule(name=st.sampled_from(["pause_reading", "resume_reading", "resume_reading"]))
    def reading(self, name: str) -> None:
        self.both(lambda ends: ends.call(name))

    @rule(name=st.sampled_from(["write_eof", "close", "abort"]), sure=st.integers(0, 4))
    def end(self, name: str, sure: int) -> None:
        if not sure:  # not too often: little happens afterwards
            self.both(lambda ends: ends.call(name))

    @rule(size=st.sampled_from([1, 1_000, 100_000, 1_000_000]))
    def the_peer_reads(self, size: int) -> None:
        self.both(lambda ends: ends.peer_reads(size))

    @rule(size=st.sampled_from([1, 1_000, 100_000]))
    def the_peer_sends(self, size: int) -> None:
        data = self.data(size)
        self.both(lambda ends: ends.peer_sends(data))

    @rule(how=st.sampled_from([socket.SHUT_WR, socket.SHUT_RD, None]), sure=st.integers(0, 4))
    def the_peer_ends(self, how: int | None, sure: int) -> None:
        def end(ends: Ends) -> None:
            if how is None:
                ends.peer.close()
            elif ends.peer.fileno() >= 0:
                with contextlib.suppress(OSError):
                    ends.peer.shutdown(how)

        if not sure:
            self.both(end)

    def teardown(self) -> None:
        for ends in self.ends:
            ends.close()


def test_lock_does_what_asyncios_does() -> None:
    run_state_machine_as_test(LockMachine, settings=bounded)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own wakes one too few before Python 3.13")
def test_semaphore_does_what_asyncios_does() -> None:
    run_state_machine_as_test(SemaphoreMachine, settings=bounded)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own wakes one too few before Python 3.13")
def test_bounded_semaphore_does_what_asyncios_does() -> None:
    run_state_machine_as_test(BoundedSemaphoreMachine, settings=bounded)


def test_event_does_what_asyncios_does() -> None:
    run_state_machine_as_test(EventMachine, settings=bounded)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own loses notifications before Python 3.13")
def test_condition_does_what_asyncios_does() -> None:
    run_state_machine_as_test(ConditionMachine, settings=bounded)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's own loses notifications before Python 3.13")
def test_barrier_does_what_asyncios_does() -> None:
    run_state_machine_as_test(BarrierMachine, settings=bounded)


def test_queues_do_what_asyncios_do() -> None:
    run_state_machine_as_test(QueueMachine, settings=bounded)


def test_futures_tasks_and_cancellation_do_what_asyncios_do() -> None:
    run_state_machine_as_test(TaskMachine, settings=settings(bounded, max_examples=150))


def test_a_transport_does_what_asyncios_does() -> None:
    run_state_machine_as_test(TransportMachine, settings=settings(bounded, max_examples=100))
