"""Random programs of tasks, futures, callbacks and cancellations do on our loop, step for step, what they do on asyncio's.

A program is a list of tasks, and each task a list of instructions. Both runtimes interpret it, noting what happens in
which order. No instruction depends on time, so that the two notes must be equal.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.extra("compares with asyncio")

TASKS = 5
FUTURES = 4
TURNS = 60

var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=-1)

INSTRUCTIONS = [
    "yield", "yield", "await future", "await future", "await task", "shield", "set result", "set exception",
    "cancel future", "cancel task", "cancel task", "cancel itself", "call soon", "add callback",
    "add callback to task", "remove callback", "spawn", "set variable", "gather", "wait", "raise", "call later",
    "take lock", "put", "get", "set event", "await event", "group", "time out", "stock task", "throw in",
]  # fmt: skip
if sys.version_info >= (3, 13):  # before, it did not take back what was not delivered yet
    INSTRUCTIONS.append("uncancel")

instructions = st.tuples(st.sampled_from(INSTRUCTIONS), st.integers(0, 7))
bodies = st.lists(st.tuples(instructions, st.sampled_from(["plain", "plain", "catch", "finally"])), max_size=8)
programs = st.lists(bodies, min_size=1, max_size=TASKS)


class Machine:
    def __init__(self, loop: asyncio.AbstractEventLoop, program: list[Any]) -> None:
        self.loop = loop
        self.notes: list[tuple[Any, ...]] = []
        self.futures = [loop.create_future() for _ in range(FUTURES)]
        self.spawned = 0
        self.lock = asyncio.Lock()
        self.queue: asyncio.Queue[str] = asyncio.Queue(1)
        self.event = asyncio.Event()
        self.tasks: list[Any] = []
        loop.call_soon(self.start_all, program)

    def start_all(self, program: list[Any]) -> None:
        for n, body in enumerate(program):
            self.start(str(n), body)

    def note(self, *what: Any) -> None:
        current = asyncio.current_task(self.loop)
        # a name given to an eager task is not there yet in its first step, before Python 3.13.3
        name = current and (current.get_name() if current in self.tasks else "new")
        self.notes.append((*what, name, var.get()))

    def start(self, name: str, body: list[Any]) -> None:
        task = self.loop.create_task(self.run(name, body), name=name)
        self.tasks.append(task)

    async def run(self, name: str, body: list[Any]) -> str:
        self.note("began")
        for i, (instruction, how) in enumerate(body):
            where = f"{name}.{i}"
            try:
                result = await self.do(where, *instruction)
            except GeneratorExit:
                raise
            except BaseException as error:
                # asyncio gives a cancellation's message to the first who looks, glassloop to all
                args = None if isinstance(error, asyncio.CancelledError) else repr(error.args)
                self.note(where, "raised", type(error).__name__, args)
                if how == "plain":
                    raise
                if how == "finally":
                    await asyncio.sleep(0)
                    self.note(where, "cleaned up")
                    raise
            else:
                self.note(where, instruction[0], repr(result))
        return name

    async def do(self, where: str, what: str, n: int) -> Any:
        future = self.futures[n % FUTURES]
        me = asyncio.current_task()
        assert me is not None
        task = self.tasks[n % len(self.tasks)] if self.tasks else me
        match what:
            case "yield":
                await asyncio.sleep(0)
            case "await future":
                return await future
            case "await task":
                if me in self.tasks and self.tasks.index(task) < self.tasks.index(me):  # no circle: there asyncio overflows its stack
                    return await task
            case "shield":
                return await asyncio.shield(future)
            case "set result":
                if not future.done():
                    future.set_result(where)
            case "set exception":
                if not future.done():
                    future.set_exception(ValueError(where))
            case "cancel future":
                return future.cancel(where)
            case "cancel task":
                return task.cancel(where) if n % 2 else task.cancel()
            case "cancel itself":
                return me.cancel(where), me.cancelling()
            case "uncancel":
                return me.cancelling() and me.uncancel()
            case "call soon":
                self.loop.call_soon(self.callback, where)
            case "add callback":
                future.add_done_callback(self.done)
            case "add callback to task":
                task.add_done_callback(self.done)
            case "remove callback":
                return future.remove_done_callback(self.done)
            case "spawn":
                self.spawned += 1
                if self.spawned < 5:
                    body = [(("yield", 0), "plain"), (("await future", n), "catch")]
                    self.start(f"child {self.spawned}", body)
            case "set variable":
                var.set(n)
            case "gather":
                return await asyncio.gather(future, self.futures[n // 2 % FUTURES], return_exceptions=bool(n % 2))
            case "wait":
                condition = asyncio.FIRST_COMPLETED if n % 2 else asyncio.ALL_COMPLETED
                done, pending = await asyncio.wait({future, self.futures[-1]}, return_when=condition)
                return len(done), len(pending)
            case "raise":
                raise KeyError(where)
            case "call later":
                self.loop.call_later(0, self.callback, where)
            case "take lock":
                async with self.lock:
                    self.note(where, "locked")
                    await (asyncio.sleep(0) if n % 2 else future)
            case "put":
                await self.queue.put(where)
            case "get":
                return await self.queue.get()
            case "set event":
                self.event.set()
            case "await event":
                return await self.event.wait()
            case "group":
                async with asyncio.TaskGroup() as group:  # of one: asyncio cancels several in the order of a set
                    body = [(("yield", 0), "plain"), (("await future", n), "plain")]
                    group.create_task(self.run(f"{where} member", body), name=f"{where} member")
                    if n == 7:
                        raise KeyError(where)
            case "time out":
                async with asyncio.timeout(0):
                    await future
            case "stock task":
                body = [(("yield", 0), "plain"), (("await future", n), "catch")]
                return await asyncio.Task(self.run(where, body), loop=self.loop, name=where)
            case "throw in":
                if n % 2:
                    self.loop.call_soon(self.raising, where)
                else:
                    future.add_done_callback(self.raising)
        return None

    def callback(self, where: str) -> None:
        self.note("called", where)

    def raising(self, thing: Any) -> None:
        self.note("called")
        raise OSError

    def done(self, future: Any) -> None:
        self.note("done", describe(future))

    def finish(self) -> list[tuple[Any, ...]]:
        """Run to the end: first by itself, then with all futures settled, then with all tasks cancelled."""
        for _ in range(TURNS):
            self.turn()
        for future in self.futures:
            if not future.done():
                future.set_result("end")
        for _ in range(TURNS):
            self.turn()
        while left := sorted(asyncio.all_tasks(self.loop), key=lambda task: task.get_name()):
            for task in left:
                task.cancel("the end")
            for _ in range(TURNS):
                self.turn()
        self.notes.append(("tasks", [(task.get_name(), describe(task), task.cancelling()) for task in self.tasks]))
        self.notes.append(("futures", [describe(future) for future in self.futures]))
        self.notes.append(("left", sorted(task.get_name() for task in asyncio.all_tasks(self.loop))))
        return self.notes

    def turn(self) -> None:
        self.loop.stop()
        self.loop.run_forever()
        self.notes.append(("turn",))


def describe(future: Any) -> tuple[Any, ...]:
    if not future.done():
        return ("pending",)
    if future.cancelled():
        return ("cancelled",)
    error = future.exception()
    return ("result", future.result()) if error is None else ("error", type(error).__name__, repr(error.args))


def play(make_loop: Any, program: list[Any], eager: bool) -> list[tuple[Any, ...]]:
    loop = make_loop()
    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)
    reports: list[tuple[Any, ...]] = []

    def report(loop: Any, context: dict[str, Any]) -> None:
        reports.append((context["message"], type(context.get("exception")).__name__))

    loop.set_exception_handler(report)
    try:
        machine = Machine(loop, program)
        notes = machine.finish()
        del machine
    finally:
        loop.close()
    return notes + reports


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs)
def test_random_programs(aio, program):
    assert play(aio.new_event_loop, program, eager=False) == play(asyncio.SelectorEventLoop, program, eager=False)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs)
def test_random_programs_of_eager_tasks(aio, program):
    assert play(aio.new_event_loop, program, eager=True) == play(asyncio.SelectorEventLoop, program, eager=True)
