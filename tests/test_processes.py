"""to_process() and ProcessPool: what travels to a worker process and back, who gets a worker when, what jobs find there."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import process_jobs as jobs
import pytest
from process_table import children, soon, there

import glassloop
from glassloop import BrokenWorkerProcess, ProcessPool, report_progress, to_process
from glassloop.work import carry

T = TypeVar("T")
Run = Callable[..., Any]

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")


@pytest.fixture(autouse=True)
def nothing_left(no_leaks: None) -> Iterator[None]:
    """No descriptor, no thread, no process, not even a dead one."""
    before = children()
    yield
    assert children() == before


# ---- calls ----

def test_result_of_a_call_comes_back(run: Run) -> None:
    assert run(to_process(jobs.both, 1, "two", three=[3])) == ((1, "two"), {"three": [3]})


def test_a_call_runs_in_another_process_and_workers_stay_warm(run: Run) -> None:
    async def main() -> None:
        first = await to_process(jobs.pid)
        assert first != os.getpid()
        assert {await to_process(jobs.pid) for _ in range(20)} == {first}

    run(main())


def test_jobs_run_in_the_main_thread_and_signals_work_there(run: Run) -> None:
    async def main() -> None:
        assert await to_process(jobs.in_main_thread)
        assert await to_process(jobs.own_handler)

    run(main())


def test_a_worker_imports_neither_the_loop_nor_asyncio(run: Run) -> None:
    async def main() -> None:
        modules = await to_process(list, await to_process(eval, "list(__import__('sys').modules)"))
        assert "glassloop.work.worker" in modules
        assert not {"glassloop", "glassloop.loop", "asyncio", "socket", "pickle", "typing"} & set(modules)

    run(main())


def test_a_job_may_have_processes_of_its_own(run: Run) -> None:
    assert run(to_process(jobs.nested)) == 3


def test_a_job_may_have_a_loop_and_workers_of_its_own(run: Run) -> None:
    theirs, worker = run(to_process(jobs.work_elsewhere))
    assert len({theirs, worker, os.getpid()}) == 3


def test_what_a_listener_raises_to_end_the_program_loses_no_result(aio: Any) -> None:
    def leave(value: object) -> None:
        raise KeyboardInterrupt

    loop = aio.new_event_loop()
    try:
        pool = ProcessPool(1)
        job = loop.create_task(pool.submit(jobs.report, ([1],), on_progress=leave))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(job)
        assert loop.run_until_complete(soon(job)) == "done"
        loop.run_until_complete(pool.aclose())
    finally:
        loop.close()


def test_standard_input_is_empty_and_nothing_is_inherited_by_a_jobs_programs(run: Run) -> None:
    async def main() -> None:
        assert await to_process(jobs.stdin) == "/dev/null"
        assert await to_process(jobs.inheritable) == []

    run(main())


def test_what_a_job_prints_comes_out_in_time(tmp_path: Path, python: Callable[..., Any]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import glassloop, os, sys\n"
        "async def main():\n"
        "    await glassloop.to_process(print, 'from the job')\n"
        "    print('from here', flush=True)\n"
        "    os._exit(0)\n"
        "if __name__ == '__main__': glassloop.run(main())\n"
    )
    assert python(program).stdout == "from the job\nfrom here\n"


def test_ctrl_c_is_the_parents_to_handle(run: Run) -> None:
    assert run(to_process(jobs.interrupt)) == "still here"


# ---- what travels ----

def test_bytes_of_any_size_travel_both_ways(run: Run) -> None:
    async def main() -> None:
        for size in 0, 1, 65_535, 65_536, 300_000, (1 << 20) - 100, 1 << 20, (1 << 20) + 1, 5_000_000:
            data = os.urandom(size)
            assert await to_process(jobs.same, data) == data
            nested = {"a": [data, bytearray(data)], "text": "é" * (size // 2)}
            assert await to_process(jobs.same, nested) == nested

    run(main())


def test_arrays_travel_both_ways_and_can_be_written_to(run: Run) -> None:
    async def main() -> None:
        for size in 0, 10, 32_767, 32_768, 500_000, 3_000_000:
            array = np.arange(size, dtype="i8")
            there = await to_process(jobs.mutate, array)
            assert (there == array + 1).all()
            there += 1
            grid = np.asfortranarray(np.arange(size * 2).reshape(2, size))
            frozen = np.arange(size)
            frozen.flags.writeable = False
            back = await to_process(jobs.same, [grid, array[::2], frozen])
            assert (back[0] == grid).all() and (back[1] == array[::2]).all() and (back[2] == frozen).all()
            assert back[0].flags.f_contiguous == grid.flags.f_contiguous
            assert not back[2].flags.writeable

    run(main())


def test_an_array_that_came_stays_when_its_worker_and_pool_are_gone(run: Run) -> None:
    async def main() -> Any:
        async with ProcessPool(1) as pool:
            return await pool.run(jobs.zeros, 3_000_000)

    array = run(main())
    array[:] = 7
    assert int(array.sum()) == 21_000_000


def test_very_many_buffers_travel(run: Run) -> None:
    async def main() -> None:
        arrays = [np.asfortranarray(np.full((2, 4096), i)) for i in range(carry.MOST + 10)]
        back = await to_process(jobs.same, arrays)
        assert all((a == b).all() for a, b in zip(arrays, back, strict=True))

    run(main())


def test_memory_of_large_arguments_and_results_is_given_back(run: Run) -> None:
    async def main() -> None:
        array = np.zeros(20_000_000, "u1")
        async with ProcessPool(1) as pool:
            held = await pool.run(jobs.same, array)
            if sys.version_info >= (3, 13):
                assert not any("memfd:" in target for target in jobs.descriptors().values())  # mapped, not open
            assert not any("memfd:" in target for target in (await pool.run(jobs.descriptors)).values())
            with open("/proc/self/maps") as maps:
                assert "memfd:glassloop" in maps.read()
            del held
            with open("/proc/self/maps") as maps:
                assert "memfd:glassloop" not in maps.read()
            worker = await pool.run(jobs.pid)
            with open(f"/proc/{worker}/maps") as maps:
                assert "memfd:glassloop" not in maps.read()

    run(main())


def test_the_loop_goes_on_while_a_large_argument_is_written(run: Run) -> None:
    async def main() -> None:
        data = np.ones(150_000_000, "u1")
        call = asyncio.create_task(to_process(len, data))
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert await call == len(data)
        assert turns > 5  # writing alone takes 50 ms and more

    run(main())


def test_lambdas_closures_and_local_classes_travel(run: Run) -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    async def main() -> None:
        k = 20
        assert await to_process(lambda x: x * k, 3) == 60
        assert await to_process(functools.partial(lambda a, b: a - b, b=1), 3) == 2
        back = await to_process(lambda: Local(5))
        assert type(back) is Local and back.x == 5
        made = await to_process(lambda: lambda x: x + k)
        assert made(1) == 21

    run(main())


MAIN = """
import sys
import glassloop
from glassloop import to_process

class Thing:
    def __init__(self, x): self.x = x
    def twice(self): return Thing(self.x * 2)

class Wrong(Exception):
    pass

def work(thing):
    if thing.x < 0:
        raise Wrong(thing.x)
    return thing.twice()

async def main():
    there = await to_process(work, Thing(21))
    print(type(there) is Thing, there.x)
    try:
        await to_process(work, Thing(-1))
    except Wrong as e:
        print('Wrong', e.args)
    print(type(await to_process(Thing(4).twice)) is Thing)

print('run as', __name__)
glassloop.run(main())
"""


def test_what_main_defines_travels_and_the_program_is_not_run_again(tmp_path: Path, python: Callable[..., Any]) -> None:
    """There is no `if __name__ == '__main__'` in it, on purpose."""
    program = tmp_path / "program.py"
    program.write_text(MAIN)
    wanted = "run as __main__\nTrue 42\nWrong (-1,)\nTrue\n"
    done = python(program)
    assert (done.stdout, done.stderr) == (wanted, "")
    assert python("-c", MAIN).stdout == wanted
    assert python("-m", "glassloop", "run", program).stdout == wanted


def test_without_cloudpickle_what_main_defines_is_refused_with_advice(tmp_path: Path, python: Callable[..., Any]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "sys.modules['cloudpickle'] = None\n"
        "import glassloop, pickle\n"
        "def work(): pass\n"
        "async def main():\n"
        "    for call in (work, lambda: 1):\n"
        "        try: await glassloop.to_process(call)\n"
        "        except pickle.PicklingError as e: print(e)\n"
        "    print(await glassloop.to_process(str, '__main__ is only a word'))\n"
        "glassloop.run(main())\n"
    )
    done = python(program)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert "work is defined in __main__" in lines[0] and "glassloop[offload]" in lines[0]
    assert "lambda" in lines[1] and "glassloop[offload]" in lines[1]
    assert lines[2] == "__main__ is only a word"


# ---- contexts ----

def test_context_variables_are_carried(run: Run) -> None:
    async def main() -> None:
        assert await to_process(jobs.get_variable) == "unset"
        jobs.variable.set("mine")
        assert await to_process(jobs.get_variable) == "mine"
        assert await to_process(lambda: jobs.variable.get()) == "mine"

    run(main())


def test_what_a_job_sets_is_seen_in_that_job_only(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            assert await pool.run(jobs.set_variable, "of a job") == "unset"
            assert await pool.run(jobs.get_variable) == "unset"
            assert jobs.variable.get() == "unset"

    run(main())


def test_a_variable_without_a_name_is_carried_to_a_function_that_refers_to_it(run: Run) -> None:
    local: contextvars.ContextVar[int] = contextvars.ContextVar("local", default=1)

    async def main() -> None:
        async with ProcessPool(1) as pool:
            assert await pool.run(lambda: local.get()) == 1
            local.set(5)
            assert await pool.run(lambda: local.get()) == 5
            assert await pool.run(lambda: (local.set(7), local.get())[1]) == 7

    run(main())


def test_variables_of_main_and_those_that_main_has_from_a_module_are_carried(tmp_path: Path, python: Callable[..., Any]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import contextvars, glassloop\n"
        "from glassloop import to_process\n"
        "from process_jobs import get_variable, variable\n"
        "own = contextvars.ContextVar('own', default='default')\n"
        "def get(): return own.get(), variable.get()\n"
        "async def main():\n"
        "    print(await to_process(get))\n"
        "    own.set('mine')\n"
        "    variable.set('theirs')\n"
        "    print(await to_process(get), await to_process(get_variable))\n"
        "glassloop.run(main())\n"
    )
    assert python(program).stdout == "('default', 'unset')\n('mine', 'theirs') theirs\n"


def test_a_value_that_cannot_be_pickled_is_left_out(run: Run) -> None:
    async def main() -> None:
        variable.set(threading.Lock())
        jobs.variable.set("carried all the same")
        assert await to_process(jobs.get_variable) == "carried all the same"
        variable.set(jobs.Stubborn())
        assert await to_process(jobs.get_variable) == "carried all the same"

    run(main())


# ---- exceptions ----

def test_an_exception_comes_back_with_the_workers_traceback(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError) as caught:
            await to_process(jobs.fail, "nonsense")
        assert type(caught.value) is ValueError and caught.value.args == ("nonsense",)
        [note] = caught.value.__notes__
        assert "process_jobs.py" in note and "raise ValueError(text)" in note
        assert "worker.py" not in note  # the machinery says nothing

    run(main())


def test_an_exception_keeps_its_attributes_notes_and_the_story_of_its_cause(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(jobs.Detailed) as caught:
            await to_process(jobs.fail_from)
        assert caught.value.detail == {"a": 1}
        assert "ValueError: first" in caught.value.__notes__[-1]
        error = OSError(2, "gone", "name")
        error.add_note("mine")
        with pytest.raises(FileNotFoundError) as again:
            await to_process(jobs.fail_with, error)
        assert again.value.filename == "name" and again.value.__notes__[0] == "mine"

    run(main())


def test_groups_and_exits_and_stop_iteration_come_back(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await to_process(jobs.fail_with, ExceptionGroup("two", [ValueError(1), OSError(2)]))
        assert len(caught.value.exceptions) == 2
        with pytest.raises(RuntimeError, match="StopIteration"):
            await to_process(next, iter(()))
        with pytest.raises(SystemExit) as exit:
            await to_process(jobs.exit_politely, 3)
        assert exit.value.code == 3

    run(main())


def test_what_cannot_be_pickled_is_a_clear_error_and_does_not_cost_the_worker(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            worker = await pool.run(jobs.pid)
            with pytest.raises(pickle.PicklingError, match=r"the call of process_jobs.same cannot be pickled: .*lock"):
                await pool.run(jobs.same, threading.Lock())
            with pytest.raises(pickle.PicklingError, match=r"the result \(type lock\) cannot be pickled"):
                await pool.run(jobs.unpicklable)
            with pytest.raises(pickle.UnpicklingError, match="the call cannot be unpickled in a worker.*ValueError"):
                await pool.run(jobs.same, jobs.Stubborn())
            with pytest.raises(pickle.UnpicklingError, match="what process_jobs.stubborn gave cannot be unpickled here"):
                await pool.run(jobs.stubborn)
            with pytest.raises(RuntimeError, match="TwoArguments, which cannot be pickled.*1 and 2") as odd:
                await pool.run(jobs.fail_oddly)
            assert "raise TwoArguments(1, 2)" in odd.value.__notes__[0]
            with pytest.raises(RuntimeError, match="Silent, which cannot be pickled"):
                await pool.run(jobs.fail_silently)
            assert await pool.run(jobs.pid) == worker

    run(main())


def test_a_function_whose_module_the_worker_does_not_find_is_a_clear_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("nowhere_to_be_found")
    exec("def function(): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "nowhere_to_be_found", module)

    async def main() -> None:
        with pytest.raises(pickle.UnpicklingError, match="No module named 'nowhere_to_be_found'"):
            await to_process(module.function)

    run(main())


# ---- who gets a worker ----

def test_no_more_workers_than_the_limit_and_others_wait_in_order(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        order = []
        async with ProcessPool(2) as pool:
            assert pool.limit == 2
            gates = [tmp_path / f"gate{i}" for i in range(2)]
            held = [asyncio.create_task(pool.run(jobs.wait_for_file, str(gate))) for gate in gates]
            waiting = [asyncio.create_task(pool.run(jobs.pid, i)) for i in range(10)]
            for i, task in enumerate(waiting):
                task.add_done_callback(lambda _, i=i: order.append(i))
            await asyncio.sleep(0)
            assert "workers=2 idle=0 waiting=10" in repr(pool)
            gates[1].touch()
            pids = set(await soon(asyncio.gather(*waiting)))
            assert not held[0].done()
            gates[0].touch()
            both = await soon(asyncio.gather(*held))
            assert len(set(both)) == 2 and pids == {both[1]}
        assert order == list(range(10))

    run(main())


def test_many_cancelled_in_line_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            held = asyncio.create_task(pool.run(jobs.wait_for_file, str(tmp_path / "gate")))
            waiting = [asyncio.create_task(pool.run(jobs.pid)) for _ in range(1000)]
            await asyncio.sleep(0)
            assert "waiting=1000" in repr(pool)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            assert "waiting=0" in repr(pool)
            (tmp_path / "gate").touch()
            await soon(held)

    run(main())


def test_cancelling_one_that_waits_touches_no_worker(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        gate = tmp_path / "gate"
        async with ProcessPool(1) as pool:
            held = asyncio.create_task(pool.run(jobs.wait_for_file, str(gate)))
            waiting = [asyncio.create_task(pool.run(jobs.same, i)) for i in range(4)]
            await asyncio.sleep(0)
            waiting[1].cancel()
            waiting[2].cancel()
            await asyncio.wait(waiting[1:3])
            gate.touch()
            worker = await soon(held)
            assert [await soon(waiting[0]), await soon(waiting[3])] == [0, 3]
            assert await pool.run(jobs.pid) == worker

    run(main())


def test_one_cancelled_in_the_turn_in_which_it_gets_a_worker_hands_it_on(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            await pool.run(jobs.pid)
            for _ in range(20):
                first, second, third = (asyncio.create_task(pool.run(jobs.same, i)) for i in range(3))
                first.add_done_callback(lambda _: second.cancel())
                assert await soon(first) == 0
                assert await soon(third) == 2
                assert second.cancelled()

    run(main())


def test_a_worker_ends_after_so_many_tasks(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1, max_tasks_per_worker=3) as pool:
            pids = await soon(asyncio.gather(*(pool.run(jobs.pid) for _ in range(8))))
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 2]

    run(main())


def test_idle_workers_end_and_busy_ones_do_not(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with ProcessPool(2, idle_timeout=0.05) as pool:
            first = asyncio.create_task(pool.run(jobs.announce, str(tmp_path / "begun"), "wait_for_file", str(tmp_path / "gate")))
            busy = int(await there(tmp_path / "begun"))
            idle = await pool.run(jobs.pid)
            assert idle != busy
            while idle in children():
                await asyncio.sleep(0.005)
            assert "workers=1" in repr(pool)
            (tmp_path / "gate").touch()
            assert await soon(first) == busy
            assert await pool.run(jobs.pid) == busy
            while busy in children():
                await asyncio.sleep(0.005)
            assert await pool.run(jobs.add, 1) == 2

    run(main())


def test_numbers_that_make_no_sense_are_refused() -> None:
    for options in ({"max_workers": 0}, {"max_workers": -1}, {"max_workers": 1.5}, {"max_tasks_per_worker": 0},
                    {"idle_timeout": 0}, {"idle_timeout": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            ProcessPool(**options)
    assert ProcessPool().limit == len(os.sched_getaffinity(0))


# ---- the end of a pool ----

def test_the_end_of_the_block_waits_for_jobs_in_flight_and_in_line(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            tasks = [asyncio.create_task(pool.run(jobs.same, i)) for i in range(5)]
            await asyncio.sleep(0)
        assert all(task.done() for task in tasks)
        assert [task.result() for task in tasks] == list(range(5))
        with pytest.raises(RuntimeError, match="takes no more jobs"):
            await pool.run(jobs.pid)
        await pool.aclose()

    run(main())


def test_an_exception_in_the_block_cancels_the_jobs(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with ProcessPool(1) as pool:
                tasks = [asyncio.create_task(pool.run(jobs.sleep, 60)) for _ in range(3)]
                await asyncio.sleep(0)
                1 / 0
        assert all(task.cancelled() for task in tasks)

    run(main())


def test_a_cancelled_aclose_cancels_the_jobs(run: Run) -> None:
    async def main() -> None:
        pool = ProcessPool(2)
        job = asyncio.create_task(pool.run(jobs.sleep, 60))
        await asyncio.sleep(0)
        await pool.run(jobs.pid)  # there is an idle worker, too
        closing = [asyncio.create_task(pool.aclose()) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert not closing[0].done()
        closing[0].cancel()
        await soon(asyncio.wait([job, *closing]))
        assert job.cancelled() and closing[0].cancelled()
        assert closing[1].result() is None

    run(main())


def test_workers_that_end_run_their_atexit_functions(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            await pool.run(jobs.leave_at_exit, str(tmp_path / "left"))
        assert (tmp_path / "left").read_text() == "left"

    run(main())
    run(to_process(jobs.leave_at_exit, str(tmp_path / "left too")))
    assert (tmp_path / "left too").read_text() == "left"  # the loop's end is a worker's, too


def test_a_pool_that_was_never_used_and_one_that_was_closed_twice(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool() as pool:
            pass
        await pool.aclose()
        await ProcessPool().aclose()

    run(main())


def test_a_pool_belongs_to_one_loop(run: Run) -> None:
    async def use(pool: ProcessPool) -> int:
        return await pool.run(jobs.add, 1)

    async def main() -> None:
        async with ProcessPool(1) as pool:
            await use(pool)
            caught: list[BaseException] = []

            def elsewhere() -> None:
                try:
                    glassloop.run(use(pool))
                except RuntimeError as e:
                    caught.append(e)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert "is bound to a different event loop" in str(caught[0])
            assert await use(pool) == 2

    run(main())


def test_another_kind_of_loop_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="needs a glassloop event loop"):
            await to_process(jobs.pid)
        with pytest.raises(RuntimeError, match="needs a glassloop event loop"):
            await ProcessPool().run(jobs.pid)

    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_call_may_be_made_before_there_is_a_loop(run: Run) -> None:
    call = to_process(jobs.add, 4)
    assert run(call) == 5


# ---- progress ----

def test_progress_is_reported_in_order_and_before_the_result(run: Run) -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with ProcessPool(1) as pool:
            assert await pool.submit(jobs.report, (list(range(2000)),), on_progress=seen.append) == "done"
            assert seen == list(range(2000))
            assert await pool.run(jobs.report, [1, 2]) == "done"  # nobody listens
        assert len(seen) == 2000

    run(main())


def test_large_progress_and_a_listener_slower_than_the_job(run: Run) -> None:
    async def main() -> None:
        seen: list[int] = []

        def slow(value: bytes) -> None:
            time.sleep(0.001)
            seen.append(len(value))

        sizes = [10, 70_000, 2_000_000, 3, 900_000] * 20
        async with ProcessPool(1) as pool:
            await soon(pool.submit(jobs.report, ([b"x" * size for size in sizes],), on_progress=slow))
        assert seen == sizes

    run(main())


def test_progress_is_received_in_the_callers_context(run: Run) -> None:
    async def main() -> None:
        jobs.variable.set("of the caller")
        seen = []
        async with ProcessPool(1) as pool:
            await pool.run(jobs.pid)
            await pool.submit(jobs.report, ([1],), on_progress=lambda value: seen.append(jobs.variable.get()))
        assert seen == ["of the caller"]

    run(main())


def test_threads_of_a_job_report(run: Run) -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with ProcessPool(1) as pool:
            await pool.submit(jobs.report_from_threads, (4, 200), on_progress=seen.append)
        assert sorted(seen) == [(t, i) for t in range(4) for i in range(200)]

    run(main())


def test_progress_of_a_job_that_is_over_goes_nowhere(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with ProcessPool(1) as pool:
            await pool.submit(jobs.report_later, (str(tmp_path / "gate"),), on_progress=seen.append)
            (tmp_path / "gate").touch()
            await pool.submit(jobs.sleep, (0.05,), on_progress=seen.append)
        assert seen == []

    run(main())


def test_a_listener_that_fails_does_not_cost_the_job(run: Run) -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with ProcessPool(1) as pool:
            assert await pool.submit(jobs.report, ([1, 0],), on_progress=lambda value: 1 / value) == "done"
            assert await pool.submit(jobs.report_stubborn, on_progress=print) == "done"
        assert [type(context["exception"]) for context in told] == [ZeroDivisionError, ValueError]
        assert "process_jobs.report " in told[0]["message"]

    run(main())


def test_a_value_that_cannot_be_pickled_fails_in_the_job(run: Run) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool:
            with pytest.raises(pickle.PicklingError):
                await pool.submit(lambda: report_progress(threading.Lock()), on_progress=print)

    run(main())


def test_a_listener_has_to_be_a_plain_function(run: Run) -> None:
    async def listener(value: object) -> None: ...

    async def main() -> None:
        async with ProcessPool(1) as pool:
            for wrong in (listener, 5):
                with pytest.raises(TypeError, match="on_progress must be a plain function"):
                    await pool.submit(jobs.pid, on_progress=wrong)

    run(main())


def test_outside_of_a_job_reporting_does_nothing() -> None:
    assert report_progress(1) is None


def test_a_broken_worker_process_can_be_pickled() -> None:
    error = BrokenWorkerProcess("it ended")
    error.function, error.pid, error.returncode = "a.b", 5, -9
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is BrokenWorkerProcess and isinstance(again, RuntimeError)
    assert (str(again), again.function, again.pid, again.returncode) == ("it ended", "a.b", 5, -9)
