"""`glassloop call`: which functions of a program can be called, with what, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import subprocess
import threading
from typing import Any

import pytest
from outside import (
    HERE,
    Loop,
    Said,
    ask_raw,
    call_request,
    command,
    eventually,
    forever,
    glass,
    listed,
    tasks_of,
)

import glassloop
from glassloop.control import client, exposed, frames

pytest_plugins = ("outside_fixtures",)
pytestmark = pytest.mark.usefixtures("private")


class TestCall:
    def test_gives_arguments_and_result_as_json(self):
        @glassloop.expose
        async def echo(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return [args, kwargs]

        value = {"ü": [1, 2.5, None, True, "\x07\u2028"], "n": 2**70}
        with Loop():
            assert glass("call", HERE, "echo").json == [[], {}]
            assert glass("call", HERE, "echo", json.dumps([value, 2])).json == [[value, 2], {}]
            assert glass("call", HERE, "echo", json.dumps(value)).json == [[], value]
            assert glass("call", HERE, "echo", "-", stdin="[1]").json == [[1], {}]
            assert glass("call", HERE, "echo", '["\\u001b[2J ü"]').out == '[["\\u001b[2J ü"], {}]\n'

    def test_raises_what_the_function_raises(self):
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        @glassloop.expose
        async def fail(what: str) -> None:
            raise {"value": ValueError("no\nway\x1b"), "json": json.JSONDecodeError("m", "d", 0), "broken": Broken()}[what]

        with Loop() as loop:
            said = glass("call", HERE, "fail", '["value"]')
            assert (said.code, said.out, said.err) == (1, "", "ValueError: no\nway\\x1b\n")
            assert glass("call", HERE, "fail", '["json"]').err.startswith("json.decoder.JSONDecodeError: m: line 1")
            said = glass("call", HERE, "fail", '["broken"]')
            assert said.code == 1
            assert "Broken: its str() raised RuntimeError" in said.err
            # a caller was told: the program isn't
            assert loop.reports == []

    def test_a_task_that_is_cancelled_from_within_is_told(self):
        @glassloop.expose
        async def give_up() -> None:
            asyncio.current_task().cancel()
            await forever()

        with Loop():
            said = glass("call", HERE, "give_up")
        assert (said.code, said.err) == (1, "CancelledError: the call was cancelled\n")

    @pytest.mark.parametrize(
        ("result", "why"),
        [
            (b"bytes", "TypeError: the result can not be sent as JSON: Object of type bytes"),
            (float("nan"), "ValueError: the result can not be sent as JSON: Out of range float"),
            ("x" * (frames.MAX_FRAME + 1), "FrameError: the result can not be sent as JSON: 1,048,"),
            (functools.reduce(lambda inner, _: [inner], range(200), None), "FrameError: the result can not be sent"),
        ],
        ids=["bytes", "nan", "large", "deep"],
    )
    def test_a_result_that_cant_be_sent_is_an_error(self, result, why):
        @glassloop.expose
        async def give() -> Any:
            return result

        with Loop():
            said = glass("call", HERE, "give")
        assert said.code == 1
        assert said.err.startswith(why), said

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("nothing",), "'nothing' is not exposed; exposed: add"),
            (("add",), "add(a, b=2): missing a required argument: 'a'"),
            (("add", '{"c": 1}'), "add(a, b=2): missing a required argument: 'a'"),
            (("add", "[1, 2, 3]"), "add(a, b=2): too many positional arguments"),
            (("add", "5"), "ARGS is to be a JSON array or object, such as [5]"),
            (("add", "[1"), "ARGS is no JSON"),
            (("add", "[NaN]"), "ARGS is no JSON: NaN is no JSON"),
            (("add", "[" * 100_000), "ARGS is no JSON"),
            (("add", "[" * 500 + "]" * 500), "this can not be sent: nested more than 100 deep"),
            (("add", json.dumps(["x" * 1_100_000])), "this can not be sent: 1,100,"),
            (("add", "[1]", "--loop", "77"), "no loop 77"),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_what_cant_be_called_is_refused(self, words, why):
        @glassloop.expose
        async def add(a, b=2):
            return a + b

        with Loop():
            said = glass("call", HERE, *words)
            assert (said.code, said.out) == (2, "")
            assert why in said.err, said

    @pytest.mark.parametrize("words", [("tree",), ("cancel", "1"), ("call", "f")])
    def test_of_no_such_process_is_refused(self, words):
        said = glass(words[0], 2**22 + 1, *words[1:])
        assert (said.code, said.err) == (2, f"glassloop: no process {2**22 + 1} of this user has a control socket\n")

    def test_without_a_name_shows_what_can_be_called(self):
        @glassloop.expose
        async def status(verbose: bool = False) -> str:
            """Say how it goes.

            At length.
            """
            return ""

        with Loop():
            assert glass("call", HERE).out == "status(verbose: 'bool' = False) -> 'str'  Say how it goes.\n"

    def test_is_a_task_that_can_be_seen_and_cancelled(self):
        entered = threading.Event()

        @glassloop.expose
        async def wait() -> None:
            entered.set()
            await forever()

        with Loop():
            said: list[Said] = []
            # another process' part, so that its output is not mixed with that of this thread
            thread = threading.Thread(target=lambda: said.append(ask_raw(call_request("wait"))))
            thread.start()
            assert entered.wait(30)
            assert tasks_of()["call wait"]["coroutine"].endswith("wait")
            assert glass("cancel", HERE, "call wait").code == 0
            thread.join(30)
        assert said[0][-1]["error"]["type"] == "CancelledError"

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
    def test_is_cancelled_when_its_client_goes(self, how):
        entered, cancelled = threading.Event(), threading.Event()

        @glassloop.expose
        async def wait() -> None:
            entered.set()
            try:
                await forever()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        with Loop() as loop:
            caller = subprocess.Popen(command("call", HERE, "wait"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert entered.wait(30)
            caller.send_signal(how)
            out, err = caller.communicate(timeout=30)
            assert caller.returncode == (130 if how is signal.SIGINT else -how)
            assert (out, err) == (b"", b"")
            assert cancelled.wait(30)
            eventually(lambda: "call wait" not in tasks_of())
            assert loop.reports == []

    def test_of_a_program_that_ends_is_told(self):
        entered = threading.Event()

        @glassloop.expose
        async def wait() -> None:
            entered.set()
            await forever()

        answers: list[Any] = []
        with Loop():
            thread = threading.Thread(target=lambda: answers.append(ask_raw(call_request("wait"))))
            thread.start()
            assert entered.wait(30)
        thread.join(30)
        assert answers[0][-1]["error"]["message"] in ("the call was cancelled", "the program ends")

    def test_of_a_program_that_is_killed_is_told(self, start):
        program = start("""
            @glassloop.expose
            async def die():
                os.kill(os.getpid(), 9)
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        said = glass("call", program.pid, "die")
        assert (said.code, said.err) == (1, f"glassloop: process {program.pid} ended before it answered\n")

    def test_no_wait_returns_at_once_and_the_program_hears_of_errors(self):
        go_on, done = threading.Event(), threading.Event()

        @glassloop.expose
        async def later(fail: bool) -> None:
            await asyncio.to_thread(go_on.wait)
            done.set()
            if fail:
                raise ValueError("later")

        with Loop() as loop:
            assert (said := glass("call", HERE, "later", "[false]", "--no-wait")).code == 0, said
            assert said.out == ""
            assert glass("call", HERE, "later", "[true]", "--no-wait").code == 0
            assert not done.is_set()
            assert glass("call", HERE, "later", "--no-wait").code == 2
            go_on.set()
            [report] = eventually(lambda: loop.reports)
            assert str(report["exception"]) == "later"
            assert "call later" in repr(report)

    def test_a_hundred_at_once_from_many_clients(self):
        @glassloop.expose
        async def double(n: int) -> int:
            await asyncio.sleep(0.001)
            return n * 2

        with Loop():
            def call(n: int, results: list[int]) -> None:
                for i in range(10):
                    results.append(client.ask(HERE, "call", **call_request("double", [n * 10 + i], do=None))[0]["result"])

            results: list[int] = []
            threads = [threading.Thread(target=call, args=(n, results)) for n in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        assert sorted(results) == [n * 2 for n in range(100)]


class TestExpose:
    def test_takes_coroutine_functions_alone(self):
        for wrong in (len, lambda: None, 5, object()):
            with pytest.raises(TypeError, match="a coroutine function was expected"):
                glassloop.expose(wrong)

    def test_returns_the_function(self):
        async def f() -> None: ...

        assert glassloop.expose(f) is f
        assert glassloop.expose(name="g")(f) is f
        assert exposed.exposed_to(None) == {"f": f, "g": f}

    @pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, 5])
    def test_refuses_names_that_nobody_could_type(self, name):
        async def f() -> None: ...

        with pytest.raises(ValueError, match="printable name"):
            glassloop.expose(f, name=name)

    def test_refuses_a_second_function_of_the_same_name(self):
        async def f() -> None: ...
        async def g() -> None: ...

        glassloop.expose(f)
        with pytest.raises(ValueError, match="'f' is exposed already: by .*f .*test_control_calls.py:"):
            glassloop.expose(g, name="f")

    def test_a_definition_that_is_executed_again_takes_its_own_place(self):
        def define() -> Any:
            @glassloop.expose
            async def f() -> None: ...

            return f

        define()
        again = define()
        assert exposed.exposed_to(None)["f"] is again

    def test_the_main_module_keeps_its_place_when_it_is_imported_again(self, start, tmp_path):
        (tmp_path / "beside.py").write_text("def ready():\n    import app0\n    print('ready', flush=True)\n")
        program = start("""
            state = __name__
            @glassloop.expose
            async def which():
                return state
            async def main():
                import beside
                beside.ready()
                await asyncio.sleep(1000)
            if __name__ == '__main__':
                glassloop.run(main(), control=True)
        """)
        assert glass("call", program.pid, "which").json == "__main__"

    def test_a_function_made_in_a_loop_is_that_loops_alone(self):
        class Service:
            async def name(self) -> str:
                return asyncio.current_task().get_name()

        async def body() -> None:
            glassloop.expose(Service().name)

            @glassloop.expose
            async def local() -> int:
                return 1

            await forever()

        with Loop(body), Loop():
            assert glass("call", HERE, "name").json == "call name"
            assert glass("call", HERE, "local").json == 1
            numbers = [loop["loop"] for loop in listed()["loops"]]
            assert sorted(glass("call", HERE, "local", "--loop", number).code for number in numbers) == [0, 2]
        assert exposed.exposed_to(None) == {}
        with Loop():
            assert glass("call", HERE, "local").code == 2
