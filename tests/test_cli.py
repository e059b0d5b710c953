"""`glassloop run X` is `python X`: run by both, what programs print and how they end is compared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.extra("asyncio has no launcher")

LAUNCHER = """\
import sys
from glassloop.cli import main
sys.exit(main())
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str


def without_runpy(text: str) -> str:
    """Without the frames that `python -m` has above the program, and without addresses."""
    lines = text.splitlines()
    lines = [line for line in lines if not re.match(r'[ |]+File "(<frozen |.*/)runpy(\.py)?>?", ', line)]
    return re.sub(r"0x[0-9a-f]+", "0x", "\n".join(lines))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, source: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    return write


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Outcome]:
    """Run a command of Python's in the folder of the test's files."""

    def start(*command: object, input: str = "", env: dict[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=tmp_path, input=input, capture_output=True, text=True, timeout=50,
            env={**os.environ, **(env or {})},
        )
        return Outcome(done.returncode, without_runpy(done.stdout), without_runpy(done.stderr))

    return start


@pytest.fixture
def same(start: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Run a program by python and by the launcher; they must not differ. `flags` are python's own."""

    def same(*program: object, flags: tuple[str, ...] = (), **options: Any) -> Outcome:
        expected = start(*flags, *program, **options)
        got = start(*flags, "-m", "glassloop", "run", *program, **options)
        assert got == expected
        return got

    return same


class TestTheProgramsSurroundings:
    NAMESPACE = """\
        import sys
        for name in sorted(globals()):
            if name != 'name':
                print(name, repr(globals()[name]))
        print(sys.modules['__main__'].__dict__ is globals(), sys.argv, sys.path, sys.flags)
        """

    @pytest.mark.parametrize("name", ["app.py", "./app.py", "folder/../app.py", "folder/link.py"])
    def test_a_script_gets_the_namespace_arguments_and_path_of_python(self, write, same, tmp_path, name):
        write("app.py", self.NAMESPACE)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "link.py").symlink_to("../app.py")
        outcome = same(name, "run", "-m", "--version", "-h", "--", "-x", "")
        assert "['" + name + "', 'run', '-m', '--version', '-h', '--', '-x', '']" in outcome.out

    @pytest.mark.parametrize("name", ["package", "package.module", "package.sub"])
    def test_a_module_gets_the_namespace_arguments_and_path_of_python(self, write, same, name):
        for file in ("package/__main__.py", "package/module.py", "package/sub/__main__.py"):
            write(file, self.NAMESPACE)
        write("package/__init__.py", "")
        write("package/sub/__init__.py", "print('the package first')")
        same("-m", name, "-m", "x", "--help")

    def test_the_module_may_be_joined_to_its_option(self, write, same):
        write("module.py", self.NAMESPACE)
        assert same("-mmodule", "a").code == 0

    def test_a_folder_and_a_zip_file_are_run_by_their_main_module(self, write, same, tmp_path):
        write("folder/__main__.py", self.NAMESPACE + "import beside\n")
        write("folder/beside.py", "print('beside')")
        with zipfile.ZipFile(tmp_path / "app.zip", "w") as file:
            file.write(tmp_path / "folder" / "__main__.py", "__main__.py")
            file.write(tmp_path / "folder" / "beside.py", "beside.py")
        assert "beside\n" in same("folder", "a").out + "\n"
        assert "beside\n" in same("app.zip", "a").out + "\n"
        same("folder", "a", flags=("-P",))

    def test_a_compiled_file_is_run(self, write, same, start):
        write("app.py", self.NAMESPACE)
        assert start("-c", "import py_compile; py_compile.compile('app.py', 'app.pyc')").code == 0
        assert "SourcelessFileLoader" in same("app.pyc").out

    @pytest.mark.parametrize(
        "flags",
        [("-O",), ("-P",), ("-I", "-X", "utf8"), ("-W", "error"), ("-X", "dev"), ("-b", "-B", "-u")],
        ids=" ".join,
    )
    def test_options_of_python_hold(self, write, same, start, flags):
        write("app.py", "import sys; print(sys.flags, sys.warnoptions, __debug__, sys.path)")
        if "-I" in flags and start("-I", "-c", "import glassloop").code:
            pytest.skip("glassloop is on PYTHONPATH here, which -I ignores")
        assert same("app.py", flags=flags).code == 0

    def test_modules_beside_the_script_are_importable(self, write, same):
        write("folder/app.py", "import beside; print(beside.__file__)")
        write("folder/beside.py", "")
        assert same("folder/app.py").out.endswith("beside.py")

    def test_a_module_named_like_one_of_the_launchers_is_the_programs(self, write, same):
        write("folder/app.py", "import cli, runner; print(cli.__file__, runner.__file__)")
        write("folder/cli.py", "")
        write("folder/runner.py", "")
        assert same("folder/app.py").code == 0

    def test_imports_of_the_launchers_future_don_t_reach_the_program(self, write, same):
        write("app.py", "def f(x: 1 + 1): pass\nprint(f.__annotations__)")
        assert same("app.py").out == "{'x': 2}"

    def test_the_encoding_that_a_script_declares_holds(self, same, tmp_path):
        source = "# coding: latin-1\nprint(ascii('gr\u00fc\u00df'))"
        (tmp_path / "app.py").write_bytes(source.encode("latin-1"))
        assert same("app.py").out == r"'gr\xfc\xdf'"

    def test_the_source_of_the_program_is_found(self, write, same):
        write("app.py", "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))")
        assert "return 1" in same("app.py").out

    def test_the_program_reads_standard_input(self, write, same):
        write("app.py", "import sys\nprint(input())\nprint(sys.stdin.read().upper())")
        assert same("app.py", input="one\ntwo\n").out == "one\nTWO\n"

    def test_the_program_comes_from_standard_input(self, same):
        assert same("-", "a", "-m", input=textwrap.dedent(self.NAMESPACE)).code == 0
        assert same("-", input="def f():\n    1 / 0\nf()\n").code == 1


class TestMain:
    def test_the_guard_of_a_script_is_true_and_what_it_defines_can_be_pickled(self, write, same):
        write("app.py", """\
            import pickle

            class Point:
                pass

            if __name__ == '__main__':
                print(type(pickle.loads(pickle.dumps(Point()))) is Point, Point.__module__)
            """)
        assert same("app.py").out == "True __main__"

    @pytest.mark.parametrize("program", [("app.py",), ("-m", "app")], ids=" ".join)
    def test_processes_that_multiprocessing_spawns_find_it(self, write, same, program):
        write("app.py", """\
            import multiprocessing
            import sys

            def double(x):
                return 2 * x

            if __name__ == '__main__':
                with multiprocessing.get_context('spawn').Pool(1) as pool:
                    print(pool.map(double, [1, 2, 3]), __name__)
            """)
        assert same(*program).out == "[2, 4, 6] __main__"


class TestTheEnd:
    @pytest.mark.parametrize(
        "statement",
        [
            "pass",
            "sys.exit()",
            "sys.exit(0)",
            "sys.exit(3)",
            "sys.exit(True)",
            "sys.exit(-1)",
            "sys.exit(256 + 7)",
            "sys.exit('a message')",
            "sys.exit(2.5)",
            "sys.exit((1, 2))",
            "raise SystemExit",
            "raise type('Own', (SystemExit,), {})(4)",
            "exit(5)",
            "os._exit(6)",
            "os.kill(os.getpid(), 15)",
            "1 / 0",
            "raise KeyboardInterrupt",
            "raise KeyboardInterrupt('why')",
            "raise type('Own', (KeyboardInterrupt,), {})",
            "raise GeneratorExit",
            "raise BaseException('base')",
            "raise ExceptionGroup('group', [ValueError(1), ExceptionGroup('inner', [KeyError(2)])])",
            "asyncio.run(asyncio.sleep(0, 1))",
        ],
    )
    @pytest.mark.parametrize("how", ["file", "module"])
    def test_the_exit_code_and_what_is_printed(self, write, same, statement, how):
        write("app.py", f"import asyncio, os, sys\nprint('begun', flush=True)\n{statement}\n")
        same(*(("app.py",) if how == "file" else ("-m", "app")))

    @pytest.mark.parametrize("statement", ["sys.exit(3)", "1 / 0", "raise KeyboardInterrupt", "pass"])
    def test_the_same_by_the_installed_command(self, write, start, statement):
        launcher = write("bin/glassloop", LAUNCHER)
        write("app.py", f"import sys\nprint(sys.argv, sys.path)\n{statement}\n")
        assert start(launcher, "run", "app.py", "-a") == start("app.py", "-a")

    def test_what_a_coroutine_raises_ends_the_program(self, write, same):
        for statement in ("sys.exit(3)", "sys.exit('message')"):
            write("app.py", f"""\
                import asyncio, sys

                async def main():
                    try:
                        {statement}
                    finally:
                        print('finally')

                asyncio.run(main())
                """)
            same("app.py")

    def test_threads_are_joined_and_atexit_functions_run_in_order(self, write, same):
        write("app.py", """\
            import atexit, threading

            begun = threading.Event()
            ended = threading.Event()

            def work():
                begun.set()
                ended.wait()
                print('thread done', __name__)

            def before_threads():
                print('main thread done')
                ended.set()

            atexit.register(lambda: print('first registered', __name__))
            atexit.register(lambda: print('last registered', __name__))
            threading.Thread(target=work).start()
            threading._register_atexit(before_threads)
            begun.wait()
            print('end of file')
            """)
        assert same("app.py").out.splitlines() == [
            "end of file", "main thread done", "thread done __main__", "last registered __main__",
            "first registered __main__",
        ]

    def test_what_the_program_leaves_is_deleted_at_the_end(self, write, same):
        write("app.py", """\
            class Last:
                def __del__(self):
                    print('deleted')

            last = Last()
            print('end of file')
            """)
        assert same("app.py").out == "end of file\ndeleted"

    def test_an_exception_in_a_thread_changes_nothing_for_the_program(self, write, same):
        write("app.py", """\
            import threading

            def fail():
                1 / 0

            thread = threading.Thread(target=fail, name='worker')
            thread.start()
            thread.join()
            print('end')
            """)
        assert same("app.py").code == 0

    def test_ctrl_c_ends_a_coroutine_and_the_process_dies_of_the_signal(self, write, tmp_path):
        write("app.py", """\
            import asyncio

            async def main():
                try:
                    print('ready', flush=True)
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    print('cancelled', flush=True)
                    raise

            asyncio.run(main())
            """)
        ends = []
        for launcher in ((), ("-m", "glassloop", "run")):
            with subprocess.Popen(
                [sys.executable, *launcher, "app.py"],
                cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
            ends.append((process.returncode, out, err.splitlines()[-1]))
        assert ends[0] == ends[1] == (-signal.SIGINT, "cancelled\n", "KeyboardInterrupt")


class TestTracebacks:
    def test_nested_and_chained(self, write, same):
        write("app.py", """\
            import beside

            def f():
                try:
                    beside.fail()
                except ZeroDivisionError as error:
                    raise ValueError('no') from error

            try:
                f()
            except ValueError:
                raise KeyError
            """)
        write("beside.py", "def fail():\n    1 / 0\n")
        for program in (("app.py",), ("-m", "app")):
            assert "direct cause" in same(*program).err

    @pytest.mark.parametrize("source", ["def f(:\n", "x = '\n", "  x\n", "import beside\n", "return\n"])
    def test_syntax_errors(self, write, same, source):
        write("app.py", source)
        write("beside.py", "def f(:\n")
        same("app.py")

    def test_errors_while_a_module_is_looked_for(self, write, start):
        write("package/__init__.py", "def f():\n    1 / 0\nf()\n")
        write("package/module.py", "")
        write("broken.py", "def f(:\n")
        outcome = start("-m", "glassloop", "run", "-m", "package.module")
        assert outcome.code == 1
        assert re.findall(r'File "(?:.*/)?(.*)", line (\d+), in (\S+)', outcome.err) == [
            ("__init__.py", "3", "<module>"), ("__init__.py", "2", "f")
        ]
        outcome = start("-m", "glassloop", "run", "-m", "broken")
        assert outcome.code == 1
        assert "SyntaxError" in outcome.err
        assert "glassloop" not in outcome.err
        assert "importlib" not in outcome.err

    def test_of_a_coroutine_shows_the_programs_frames_as_python_does(self, write, start, tmp_path):
        write("app.py", """\
            import asyncio

            async def inner():
                await asyncio.sleep(0)
                1 / 0

            async def main():
                await asyncio.create_task(inner())

            asyncio.run(main())
            """)

        def frames(outcome: Outcome) -> list[str]:
            lines = outcome.err.splitlines()
            return [line for line in lines if str(tmp_path) in line] + lines[-1:]

        expected = start("app.py")
        got = start("-m", "glassloop", "run", "app.py")
        assert frames(got) == frames(expected)
        assert len(frames(got)) == 4
        assert "cli.py" not in got.err
        assert "runpy" not in got.err

    @pytest.mark.parametrize(
        "hook",
        [
            "lambda kind, value, trace: print(kind, value, [f.name for f in traceback.extract_tb(trace)])",
            "lambda kind, value, trace: sys.exit(9)",
            "lambda kind, value, trace: traceback.print_exception(value)",
        ],
    )
    def test_the_programs_own_excepthook_gets_them(self, write, same, hook):
        write("app.py", f"import sys, traceback\nsys.excepthook = {hook}\ndef f():\n    1 / 0\nf()\n")
        same("app.py")

    def test_a_traceback_that_the_program_prints_itself_is_not_touched(self, write, same):
        write("app.py", """\
            import traceback
            try:
                1 / 0
            except ZeroDivisionError:
                traceback.print_exc()
            """)
        assert same("app.py").code == 0

    def test_warnings_of_the_program_are_shown(self, write, same):
        write("app.py", "import warnings\nwarnings.warn('old', DeprecationWarning)\n")
        assert "app.py:2: DeprecationWarning: old" in same("app.py").err


WHICH = """\
import asyncio

async def main():
    return type(asyncio.get_running_loop()).__module__.partition('.')[0]
"""


class TestTheLoop:
    @pytest.mark.parametrize(
        "expression",
        [
            "asyncio.run(main())",
            "asyncio.run(main(), debug=True)",
            "asyncio.Runner().run(main())",
            "asyncio.Runner(loop_factory=None).run(main())",
            "asyncio.Runner(loop_factory=asyncio.new_event_loop).run(main())",
            "asyncio.Runner(loop_factory=asyncio.SelectorEventLoop).run(main())",
            "asyncio.new_event_loop().run_until_complete(main())",
            "by_name()",
            "uvloop_by_name()",
            "uvloop_installed()",
            "in_thread()",
            "in_forked_child()",
        ],
    )
    def test_is_glassloops(self, write, start, expression):
        write("uvloop.py", """\
            import asyncio

            class Loop(asyncio.SelectorEventLoop):
                pass

            class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
                def new_event_loop(self):
                    return Loop()

            def new_event_loop():
                return Loop()

            def install():
                asyncio.set_event_loop_policy(EventLoopPolicy())
            """)
        write("app.py", WHICH + textwrap.dedent("""\

            import multiprocessing, sys, threading

            def by_name():
                if sys.version_info < (3, 13):
                    return 'glassloop'
                return asyncio.run(main(), loop_factory=asyncio.EventLoop)

            def uvloop_by_name():
                import uvloop
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    return runner.run(main())

            def uvloop_installed():
                import uvloop
                uvloop.install()
                return asyncio.run(main())

            def in_thread():
                found = []
                thread = threading.Thread(target=lambda: found.append(asyncio.run(main())))
                thread.start()
                thread.join()
                return found[0]

            def in_forked_child():
                context = multiprocessing.get_context('fork')
                queue = context.SimpleQueue()
                process = context.Process(target=lambda: queue.put(asyncio.run(main())))
                process.start()
                process.join()
                return queue.get()
            """) + f"\nprint({expression})\n")
        outcome = start("-W", "ignore::DeprecationWarning", "-m", "glassloop", "run", "app.py")
        assert (outcome.out, outcome.code) == ("glassloop\n".strip(), 0), outcome.err

    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_is_glassloops_in_processes_that_multiprocessing_starts(self, write, start, method):
        write("app.py", WHICH + textwrap.dedent(f"""\

            import multiprocessing

            def run():
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    return asyncio.run(main()), runner.run(main())

            def begin(work):
                process = multiprocessing.get_context({method!r}).Process(target=work)
                process.start()
                process.join()

            def child():
                print('child', *run(), flush=True)
                begin(grandchild)

            def grandchild():
                print('grandchild', *run(), flush=True)

            if __name__ == '__main__':
                begin(child)
            """))
        outcome = start("-m", "glassloop", "run", "app.py")
        assert outcome.out.splitlines() == [
            "child glassloop glassloop", "grandchild glassloop glassloop"
        ], outcome.err

    def test_is_the_programs_own_where_it_makes_one(self, write, start):
        write("app.py", WHICH + textwrap.dedent("""\

            class Loop(asyncio.SelectorEventLoop):
                pass

            with asyncio.Runner(loop_factory=Loop) as runner:
                print(runner.run(main()))
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop()) as runner:
                print(runner.run(main()))
            """))
        assert start("-m", "glassloop", "run", "app.py").out.split() == ["__main__", "asyncio"]

    def test_of_unittest_is_glassloops(self, write, start):
        write("test_app.py", """\
            import asyncio
            import unittest

            class Test(unittest.IsolatedAsyncioTestCase):
                async def asyncSetUp(self):
                    await asyncio.sleep(0)

                async def test_loop(self):
                    module = type(asyncio.get_running_loop()).__module__
                    self.assertEqual(module.partition('.')[0], 'glassloop')
            """)
        outcome = start("-m", "glassloop", "run", "-m", "unittest", "test_app")
        assert outcome.code == 0, outcome.err
        assert "OK" in outcome.err


class TestWhatCannotRun:
    @pytest.mark.parametrize(
        "program",
        [
            ("missing.py",),
            ("missing.py", "-m", "x"),
            ("empty",),
            ("-m", "missing"),
            ("-m", "missing.module"),
            ("-m", "package"),
            ("-m", "package.missing"),
            ("-m", "module.py"),
            ("-m", ".module"),
            ("-m", ""),
        ],
        ids=repr,
    )
    def test_is_refused_as_python_refuses_it(self, write, start, tmp_path, program):
        (tmp_path / "empty").mkdir()
        write("package/__init__.py", "")
        write("module.py", "")
        expected = start(*program)
        got = start("-m", "glassloop", "run", *program)
        assert got.code == expected.code
        assert got.err.partition(": ")[2] == expected.err.partition(": ")[2]
        assert got.out == expected.out == ""

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read(self, write, start):
        write("app.py", "").chmod(0)
        got = start("-m", "glassloop", "run", "app.py")
        assert got.code == 2
        assert "[Errno 13] Permission denied" in got.err


class TestTheCommandItself:
    def test_help_shows_examples(self, start):
        for arguments in (("--help",), ("-h",), ("run", "-h"), ("run", "--help")):
            outcome = start("-m", "glassloop", *arguments)
            assert outcome.code == 0
            assert "glassloop run app.py" in outcome.out
            assert outcome.err == ""

    def test_version(self, start, runtime):
        outcome = start("-m", "glassloop", "--version")
        assert outcome.code == 0
        assert re.fullmatch(rf"glassloop \d+\.\d+\S* \({runtime}, cpython 3\.\d+\.\d+\S*\)", outcome.out)

    def test_without_arguments_it_explains_itself(self, start):
        outcome = start("-m", "glassloop")
        assert (outcome.code, outcome.out) == (2, "")
        assert "glassloop run app.py" in outcome.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("run",), "nothing to run: name a FILE, or -m MODULE"),
            (("run", "-m"), "argument -m: expected one argument"),
            (("run", "--unknown", "app.py"), "unrecognized arguments: --unknown"),
            (("walk", "app.py"), "invalid choice: 'walk'"),
            (("app.py",), "to run that file: glassloop run app.py"),
            (("--unknown",), "unrecognized arguments: --unknown"),
        ],
        ids=repr,
    )
    def test_what_it_does_not_understand_it_refuses(self, write, start, arguments, message):
        write("app.py", "print('ran')")
        outcome = start("-m", "glassloop", *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err
        assert "Traceback" not in outcome.err

    def test_two_dashes_end_its_options(self, write, start):
        write("-app.py", "import sys; print(sys.argv)")
        assert start("-m", "glassloop", "run", "--", "-app.py", "--", "-x").out == "['-app.py', '--', '-x']"
