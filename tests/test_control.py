"""What `glassloop ps`, `tree` and `cancel` show of a program and do in it, also while its loop hangs."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from outside import (
    HERE,
    Loop,
    command,
    eventually,
    forever,
    glass,
    listed,
    tasks_of,
)

import glassloop
from glassloop.control import client

pytest_plugins = ("outside_fixtures",)
pytestmark = pytest.mark.usefixtures("private")


class TestPs:
    def test_tells_what_a_process_is_and_what_its_loop_does(self, runtime):
        with Loop(forever):
            told = listed()
            assert told["python"] == platform.python_version()
            assert told["glassloop"] == glassloop.__version__
            assert told["compiled"] is (runtime == "compiled")
            assert told["uptime"] > 0
            [loop] = told["loops"]
            assert (loop["thread"], loop["state"], loop["task_count"]) == ("program", "idle", 2)
            shown = glass("ps")
        heading, line = shown.out.splitlines()
        assert heading.split() == ["PID", "UPTIME", "PYTHON", "TASKS", "LOOP", "PROGRAM"]
        assert line.split()[0] == str(HERE)
        assert " idle " in line

    def test_without_any_program_the_list_is_empty(self):
        assert glass("ps").out.split() == ["PID", "UPTIME", "PYTHON", "TASKS", "LOOP", "PROGRAM"]
        assert glass("ps", "--json").json == []

    def test_the_uptime_is_that_of_the_process(self, start):
        program = start("""
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        began = os.stat(f"/proc/{program.pid}").st_ctime
        assert abs(listed(program.pid)["uptime"] - (time.time() - began)) < 5

    def test_a_loop_that_is_blocked_is_said_to_hang_since_when_and_where(self, start):
        program = start("""
            def block():
                time.sleep(1000)  # here
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(0)
                block()
            glassloop.run(main(), control=True)
        """)
        began = time.monotonic()

        def hung() -> Any:
            [loop] = listed(program.pid)["loops"]
            return loop if loop["state"] == "hung" else None

        loop = eventually(hung)
        assert 1.0 <= loop["busy"] <= time.monotonic() - began + 1
        file, line, function = loop["at"]
        assert "# here" in Path(file).read_text().splitlines()[line - 1]
        assert function == "block"
        assert f"at {file}:{line}" in glass("ps").out
        assert "running" in glass("tree", program.pid).out

    def test_what_doesnt_answer_is_listed_as_such(self, start, monkeypatch):
        monkeypatch.setattr(client, "LIST", 0.3)
        program = start("""
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        program.send_signal(signal.SIGSTOP)
        try:
            told = listed(program.pid)
            assert told["error"] == f"process {program.pid} does not answer"
            assert "does not answer" in glass("ps").out
        finally:
            program.send_signal(signal.SIGCONT)


class TestAnswersAtOnce:
    """Within 100 ms. The fastest of many tries, since other processes may have the processor meanwhile."""

    @pytest.mark.parametrize("body", ["time.sleep(30)", "while time.monotonic() < ends: sum(range(100))"])
    def test_while_the_loop_is_busy(self, start, body):
        program = start(f"""
            async def main():
                [asyncio.create_task(asyncio.sleep(1000)) for _ in range(10)]
                await asyncio.sleep(0)
                ends = time.monotonic() + 30
                print('ready', flush=True)
                {body}
            glassloop.run(main(), control=True)
        """)
        for do, fields in (("ps", {}), ("tree", {"loop": None, "stacks": False})):
            took = []
            while len(took) < 20 and (not took or min(took) > 0.1):
                began = time.monotonic()
                client.ask(program.pid, do, **fields)
                took.append(time.monotonic() - began)
            assert min(took) < 0.1, took


class TestTree:
    def test_shows_who_waits_for_whom_and_where(self):
        async def parent() -> None:
            async def child() -> None:
                await asyncio.sleep(1000)  # the line

            await asyncio.create_task(child(), name="child")

        with Loop(parent):
            tasks = tasks_of()
            shown = glass("tree", HERE)
        child, body = tasks["child"], tasks["body"]
        assert (child["state"], child["awaits"], body["awaits"]) == ("waiting", "sleep()", "task 'child'")
        assert child["awaited_by"] == [body["id"]]
        assert "# the line" in Path(child["file"]).read_text().splitlines()[child["line"] - 1]
        assert child["age"] >= 0
        lines = shown.out.splitlines()
        assert re.fullmatch(r"loop \d+ in program: \w+, 3 tasks", lines[0])
        above = next(i for i, line in enumerate(lines) if f"{body['id']}  body" in line)
        assert f"└─ {child['id']}  child" in lines[above + 1]
        assert f"test_control.py:{child['line']}" in lines[above + 1]

    def test_of_many_tasks_is_whole(self):
        count = 10_000

        async def many() -> None:
            for i in range(count):
                asyncio.create_task(forever(), name=f"t{i}")
            await forever()

        with Loop(many):
            began = time.monotonic()
            told = glass("tree", HERE, "--json").json
            took = time.monotonic() - began
            [loop] = told["loops"]
            tasks = loop["tasks"]
            assert {f"t{i}" for i in range(count)} <= {task["name"] for task in tasks}
            assert len({task["id"] for task in tasks}) == len(tasks) == loop["task_count"] == count + 2
            assert took < 20

    def test_what_a_name_would_do_to_a_terminal_is_escaped(self):
        async def evil() -> None:
            asyncio.current_task().set_name("\x1b[2J\x9b\nloop 7\u202e")
            await forever()

        with Loop(evil):
            shown = glass("tree", HERE).out
            assert tasks_of().keys() >= {"\x1b[2J\x9b\nloop 7\u202e"}
        assert "\\x1b[2J\\x9b\\nloop 7\\u202e" in shown
        assert all(line.isprintable() for line in shown.split("\n"))

    def test_a_name_of_any_length_fits(self):
        async def long() -> None:
            asyncio.current_task().set_name("\U0001f40d" * 3_000_000)
            await forever()

        with Loop(long):
            assert any(len(name) == 1000 and name.endswith("...") for name in tasks_of())

    def test_its_reader_may_close_early(self, start):
        program = start("""
            async def main():
                tasks = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(5000)]
                await asyncio.sleep(0)
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        shown = subprocess.Popen(command("tree", program.pid), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert shown.stdout is not None
        shown.stdout.readline()
        shown.stdout.close()
        assert shown.stderr is not None
        with shown.stderr as err:
            assert err.read() == b""
        assert shown.wait(30) == 1


class TestSeveralLoops:
    def test_are_all_listed_and_can_be_told_apart(self):
        async def first() -> None:
            asyncio.current_task().set_name("first")
            await forever()

        async def second() -> None:
            asyncio.current_task().set_name("second")
            await forever()

        with Loop(first), Loop(second, control=False):
            loops = listed()["loops"]
            assert len({loop["loop"] for loop in loops}) == 2
            for loop in loops:
                tasks = tasks_of(HERE, "--loop", loop["loop"])
                assert ("first" in tasks) != ("second" in tasks)
            assert {"first", "second"} <= tasks_of().keys()
            assert glass("tree", HERE).out.count("loop ") == 2
            first_line, second_line = glass("ps").out.splitlines()[1:]
            assert first_line.split()[0] == str(HERE)
            assert str(HERE) not in second_line
            refused = glass("tree", HERE, "--loop", 12345)
        assert (refused.code, "no loop 12345" in refused.err) == (2, True)

    def test_a_call_goes_to_the_one_that_is_meant(self):
        @glassloop.expose
        async def where() -> str:
            return threading.current_thread().name + str(id(asyncio.get_running_loop()))

        with Loop() as first, Loop() as second:
            unclear = glass("call", HERE, "where")
            assert (unclear.code, "several loops run" in unclear.err) == (2, True)
            answers = [glass("call", HERE, "where", "--loop", loop["loop"]).json for loop in listed()["loops"]]
        assert sorted(answers) == sorted(f"program{id(loop.loop)}" for loop in (first, second))

    def test_a_call_without_a_choice_goes_to_the_main_threads(self, start):
        program = start("""
            import threading
            @glassloop.expose
            async def where():
                return threading.current_thread().name
            async def main(ready):
                ready()
                await asyncio.sleep(1000)
            go = threading.Event()
            threading.Thread(target=lambda: glassloop.run(main(go.set)), daemon=True).start()
            go.wait()
            glassloop.run(main(lambda: print('ready', flush=True)), control=True)
        """)
        assert glass("call", program.pid, "where").json == "MainThread"

    def test_a_loop_that_ended_is_not_listed_any_more(self):
        with Loop():
            number = listed()["loops"][0]["loop"]
            with Loop(control=False):
                assert len(listed()["loops"]) == 2
            assert [loop["loop"] for loop in listed()["loops"]] == [number]


class TestCancel:
    def test_by_number_and_by_name(self):
        async def two() -> None:
            asyncio.create_task(forever(), name="one")
            asyncio.create_task(forever(), name="two")
            await forever()

        with Loop(two):
            tasks = tasks_of()
            by_number = glass("cancel", HERE, tasks["one"]["id"])
            assert by_number.out == f"task {tasks['one']['id']} (one) cancelled\n"
            by_name = glass("cancel", HERE, "two")
            assert by_name.out == f"task {tasks['two']['id']} (two) cancelled\n"
            eventually(lambda: not {"one", "two"} & tasks_of().keys())
            again = glass("cancel", HERE, tasks["one"]["id"])
            assert (again.code, again.err) == (2, f"glassloop: no task {tasks['one']['id']}\n")
            assert glass("cancel", HERE, "two").code == 2

    def test_a_name_that_several_have_is_refused_with_their_numbers(self):
        async def two() -> None:
            asyncio.create_task(forever(), name="same")
            asyncio.create_task(forever(), name="same")
            await forever()

        with Loop(two):
            said = glass("cancel", HERE, "same")
            assert "2 tasks are named 'same'" in said.err
            numbers = re.findall(r"\d+", said.err.rpartition(":")[2])
            assert said.code == 2
            assert len(numbers) == 2
            assert glass("cancel", HERE, numbers[0]).code == 0
            eventually(lambda: glass("cancel", HERE, "same").code == 0)

    def test_a_number_is_never_given_again(self):
        seen: set[int] = set()
        with Loop() as loop:
            for i in range(50):
                async def short(name: str) -> asyncio.Task[None]:
                    return asyncio.create_task(forever(), name=name)

                task = loop.do(short(f"t{i}"))
                number = tasks_of()[f"t{i}"]["id"]
                assert number not in seen
                seen.add(number)
                loop.loop.call_soon_threadsafe(task.cancel)
                del task

    def test_of_a_loop_that_hangs_is_carried_out_later_and_said_so(self):
        go_on = threading.Event()
        hangs = threading.Event()

        async def hang() -> None:
            asyncio.create_task(forever(), name="other")
            await asyncio.sleep(0)
            hangs.set()
            go_on.wait()
            await forever()

        with Loop() as loop:
            asyncio.run_coroutine_threadsafe(hang(), loop.loop)
            hangs.wait()
            said = glass("cancel", HERE, "other")
            assert (said.code, "as soon as its loop gets to it" in said.out) == (0, True)
            assert "other" in tasks_of()
            go_on.set()
            eventually(lambda: "other" not in tasks_of())

    def test_of_a_loop_that_stands_still_is_refused(self):
        loop = glassloop.new_event_loop()
        task = loop.create_task(forever(), name="asleep")
        try:
            with Loop():
                said = glass("cancel", HERE, "asleep")
                assert (said.code, "not running" in said.err) == (2, True)
                assert [entry["state"] for entry in listed()["loops"]].count("stopped") == 1
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()


class TestTheCommands:
    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("tree",), "the following arguments are required: PID"),
            (("tree", "x"), "argument PID: invalid int value: 'x'"),
            (("cancel", "1"), "the following arguments are required: TASK"),
            (("ps", "1"), "unrecognized arguments: 1"),
            (("call",), "the following arguments are required: PID"),
        ],
        ids=repr,
    )
    def test_refuse_what_they_do_not_understand(self, words, why):
        said = glass(*words)
        assert (said.code, said.out) == (2, "")
        assert why in said.err

    def test_may_have_the_word_run_among_their_arguments(self):
        @glassloop.expose
        async def run(what: str) -> str:
            return what

        with Loop():
            assert glass("call", HERE, "run", '["-m"]').json == "-m"

    def test_do_not_mind_files_of_their_names(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("ps", "run"):
            Path(name).write_text("")
        assert glass("ps").code == 0

    def test_help_tells_the_exit_codes(self):
        said = glass("call", "--help")
        assert said.code == 0
        assert "exit code: 0; 1 and the exception on standard error if it raised" in said.out


class TestABusyLoop:
    def test_says_for_how_long(self):
        with Loop() as loop:
            assert loop.loop._busy_for() == 0.0 or eventually(lambda: loop.loop._busy_for() == 0.0) is True
            begun, go_on = threading.Event(), threading.Event()

            def block() -> None:
                begun.set()
                go_on.wait()

            loop.loop.call_soon_threadsafe(block)
            begun.wait()
            since = time.monotonic()
            time.sleep(0.2)
            busy = loop.loop._busy_for()
            assert 0.2 <= busy * 1.1
            assert busy <= time.monotonic() - since + 1
            go_on.set()
            eventually(lambda: loop.loop._busy_for() == 0.0)

    def test_that_stands_still_is_not_busy(self, loop):
        assert loop._busy_for() == 0.0
        loop.run_until_complete(asyncio.sleep(0))
        assert loop._busy_for() == 0.0
