"""When a process has a control socket, where, for whom, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from outside import (
    HERE,
    Loop,
    call_request,
    eventually,
    forever,
    glass,
    listed,
    sockets,
    tasks_of,
)

import glassloop
from glassloop.control import client, frames, server

pytest_plugins = ("outside_fixtures",)
pytestmark = pytest.mark.usefixtures("private")


class TestTheFolder:
    def test_is_made_private_and_empty_again(self, private):
        with Loop():
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert sockets(private) == [f"{HERE}.sock"]
            assert stat.S_IMODE((private / f"{HERE}.sock").stat().st_mode) == 0o600
        assert sockets(private) == []

    def test_of_mode_other_than_0700_is_refused(self, private):
        private.mkdir(mode=0o755)
        private.chmod(0o755)
        with pytest.raises(PermissionError, match="is open to others .mode 0755, not 0700."):
            glassloop.run(forever(), control=True)
        assert sockets(private) == []
        said = glass("ps")
        assert "is open to others" in said.err

    @pytest.mark.parametrize("what", ["symlink", "file"])
    def test_that_is_none_is_refused(self, private, tmp_path, what):
        if what == "symlink":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            private.symlink_to("elsewhere")
        else:
            private.write_text("")
        with pytest.raises(PermissionError, match="is not a folder"):
            glassloop.run(forever(), control=True)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
    def test_of_another_user_is_refused(self, private):
        private.mkdir(mode=0o700)
        os.chown(private, 12345, 12345)
        with pytest.raises(PermissionError, match="belongs to user 12345, not to user 0"):
            glassloop.run(forever(), control=True)
        os.chmod(private, 0o777)
        with pytest.raises(PermissionError, match="belongs to user 12345"):
            glassloop.run(forever(), control=True)
        assert sockets(private) == []
        assert "belongs to user 12345" in glass("ps").err

    def test_without_xdg_runtime_dir_is_in_tmp(self, monkeypatch, tmp_path):
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        with Loop():
            assert sockets(tmp_path / "shared") == [f"{HERE}.sock"]
        # who logged in sees what a service without the variable runs
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        program = Loop()
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        with program:
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
            assert listed()["pid"] == HERE
            assert tasks_of()

    def test_may_have_a_name_longer_than_a_sockets_address(self, monkeypatch, tmp_path):
        deep = tmp_path / ("d" * 100) / ("e" * 100)
        deep.mkdir(parents=True)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
        with Loop():
            assert listed()["pid"] == HERE

    def test_sockets_of_the_dead_are_removed(self, private, start):
        program = start("""
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        program.kill()
        program.wait()
        assert sockets(private) == [f"{program.pid}.sock"]
        assert glass("ps", "--json").json == []
        assert sockets(private) == []

    def test_a_pid_that_lives_again_does_not_bring_a_dead_socket_back(self, private):
        private.mkdir(mode=0o700)
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(private / "1.sock"))  # process 1 lives, and has nothing to do with it
        dead.listen()
        dead.close()
        assert glass("tree", 1).code == 2
        assert sockets(private) == []

    def test_a_dead_socket_of_its_own_pid_is_replaced(self, private):
        private.mkdir(mode=0o700)
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(private / f"{HERE}.sock"))
        dead.close()
        with Loop():
            assert listed()["pid"] == HERE

    def test_a_living_socket_of_its_own_pid_is_not(self, private):
        private.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(str(private / f"{HERE}.sock"))
            living.listen()
            with pytest.raises(RuntimeError, match=f"{HERE}.sock is in use already"):
                glassloop.run(forever(), control=True)

    def test_what_never_got_its_name_is_swept_away(self, private, monkeypatch):
        private.mkdir(mode=0o700)
        for name in (".1-ab", ".2-cd"):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(private / name))
        os.utime(private / ".1-ab", (0, 0))
        (private / "notes.txt").write_text("somebody's")
        (private / "x.sock").write_text("not a pid")
        assert glass("ps", "--json").json == []
        assert sockets(private) == [".2-cd", "notes.txt", "x.sock"]


class TestOtherUsers:
    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_are_refused_by_what_the_kernel_says_of_them(self, private, tmp_path):
        with Loop():
            # everything that keeps others out but the kernel's word is taken away
            for path in (*reversed(private.parents), private):
                if path != Path("/"):
                    os.chmod(path, os.stat(path).st_mode | 0o055)
            os.chmod(private / f"{HERE}.sock", 0o777)
            source = f"""
                import os, socket, sys
                os.setgroups([]); os.setgid(12345); os.setuid(12345)
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(30)
                    s.connect({str(private / f'{HERE}.sock')!r})
                    try:
                        s.sendall({frames.encode({"glassloop": 1, "do": "ps"})!r})
                    except BrokenPipeError:
                        pass
                    said = b''
                    try:
                        while data := s.recv(65536):
                            said += data
                    except ConnectionResetError:
                        pass
                sys.stdout.write(said[4:].decode())
            """
            done = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, timeout=30, cwd="/",
                env={"PATH": os.environ["PATH"]},
            )
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)["error"]
            assert told["kind"] == "refused"
            assert told["message"] == "this process takes requests from user 0 only, not 12345"
            os.chmod(private, 0o700)
            assert listed()["pid"] == HERE

    def test_are_refused_also_where_root_may_not_be_had(self, monkeypatch):
        monkeypatch.setattr(server.os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(PermissionError, match="belongs to user"):
            glassloop.run(forever(), control=True)


class TestAskedFor:
    def test_off_it_costs_no_thread_no_module_and_no_file(self, python, private):
        done = python("-c", textwrap.dedent("""
            import glassloop, sys, threading
            async def main():
                return threading.active_count()
            print(glassloop.run(main()), [name for name in sys.modules if name.startswith('glassloop.control')])
        """))
        assert done.stdout == "1 []\n", done.stderr
        assert sockets(private) == []

    @pytest.mark.parametrize("value", ["1", "yes"])
    def test_by_the_environment(self, start, private, value):
        source = """
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main())
        """
        program = start(source, env={"GLASSLOOP_CONTROL": value})
        assert listed(program.pid)["loops"][0]["thread"] == "MainThread"

    @pytest.mark.parametrize("value", ["", "0"])
    def test_not_by_the_environment(self, start, private, value):
        start("""
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main())
        """, env={"GLASSLOOP_CONTROL": value})
        assert sockets(private) == []

    def test_false_overrides_the_environment(self, start, private):
        start("""
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=False)
        """, env={"GLASSLOOP_CONTROL": "1"})
        assert sockets(private) == []

    @pytest.mark.parametrize("launcher", [("run", "--control"), ("run",)], ids=" ".join)
    def test_by_the_launcher_for_a_program_that_knows_nothing_of_it(self, start, private, launcher):
        program = start(
            """
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            asyncio.run(main())
            """,
            "-m", "glassloop", *launcher,
            env={} if "--control" in launcher else {"GLASSLOOP_CONTROL": "1"},
        )
        told = listed(program.pid)
        assert told["program"].endswith("app0.py")
        assert told["loops"][0]["task_count"] == 1
        program.terminate()
        program.wait(30)

    def test_by_the_environment_of_a_program_that_installs_glassloop(self, start, private):
        program = start("""
            import warnings
            warnings.simplefilter('ignore')
            async def main():
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.install()
            asyncio.run(main())
        """, env={"GLASSLOOP_CONTROL": "1"})
        assert listed(program.pid)["loops"]

    def test_by_the_environment_of_a_program_with_a_portal(self, start, private):
        program = start("""
            with glassloop.start_blocking_portal() as portal:
                print('ready', flush=True)
                sys.stdin.readline()
        """, env={"GLASSLOOP_CONTROL": "1"})
        assert listed(program.pid)["loops"][0]["state"] == "idle"
        program.communicate("end\n", timeout=30)
        assert sockets(private) == []

    def test_by_a_runner_from_the_first_to_the_last(self, private):
        with glassloop.Runner(control=True) as runner:
            assert sockets(private) == []
            runner.get_loop()
            for _ in range(2):
                runner.run(asyncio.sleep(0))
                assert sockets(private) == [f"{HERE}.sock"]
        assert sockets(private) == []
        with pytest.raises(RuntimeError, match="Runner is closed"):
            runner.run(asyncio.sleep(0))
        assert sockets(private) == []

    def test_where_it_cant_be_had_the_environment_only_warns(self, python, private):
        private.mkdir(mode=0o755)
        private.chmod(0o755)
        done = python("-c", "import glassloop\nasync def main(): print('ran')\nglassloop.run(main())\nglassloop.run(main())",
                      env={**os.environ, "GLASSLOOP_CONTROL": "1"})
        assert (done.returncode, done.stdout) == (0, "ran\nran\n")
        assert done.stderr.count("RuntimeWarning: GLASSLOOP_CONTROL is set, but there will be no control socket:") == 1
        assert "is open to others" in done.stderr

    def test_where_it_cant_be_had_the_launcher_says_so(self, python, private, tmp_path):
        private.mkdir(mode=0o755)
        private.chmod(0o755)
        (tmp_path / "app.py").write_text("print('ran')")
        done = python("-m", "glassloop", "run", "--control", tmp_path / "app.py")
        assert (done.returncode, done.stdout) == (2, "")
        assert "glassloop: --control: the folder for control sockets" in done.stderr

    def test_by_two_programs_in_two_threads_there_is_one_socket_until_both_end(self, private):
        with Loop():
            with Loop():
                assert sockets(private) == [f"{HERE}.sock"]
                assert len([t for t in threading.enumerate() if t.name == "glassloop-control"]) == 1
            assert sockets(private) == [f"{HERE}.sock"]
            assert listed()["loops"]
        assert sockets(private) == []


class TestTheEnd:
    @pytest.mark.parametrize(
        ("end", "code"),
        [
            ("return", 0),
            ("raise ValueError", 1),
            ("sys.exit(3)", 3),
            ("raise KeyboardInterrupt", -2),
        ],
    )
    @pytest.mark.parametrize("how", ["argument", "environment"])
    def test_removes_the_socket(self, start, private, end, code, how):
        program = start(f"""
            async def main():
                print('ready', flush=True)
                sys.stdin.readline()
                {end}
            glassloop.run(main(){', control=True' if how == 'argument' else ''})
        """, env={"GLASSLOOP_CONTROL": "1"} if how == "environment" else {})
        assert sockets(private) == [f"{program.pid}.sock"]
        out, err = program.communicate("go\n", timeout=30)
        assert program.returncode == code, err
        assert sockets(private) == []
        assert "glassloop-control" not in err
        assert (err == "") is (code in (0, 3))

    def test_of_the_interpreter_is_clean_while_clients_are_connected(self, start, private):
        program = start("""
            import threading
            @glassloop.expose
            async def wait():
                await asyncio.sleep(1000)
            async def main():
                await asyncio.sleep(0.01)
            async def wait_for_input():
                print('ready', flush=True)
                await asyncio.to_thread(sys.stdin.readline)
            glassloop.run(wait_for_input())
        """, env={"GLASSLOOP_CONTROL": "1"})
        waiting = [client.Connection(program.pid, {"do": "call", **call_request("wait", do=None)}) for _ in range(10)]
        half = [client._connect(program.pid, 5) for _ in range(10)]
        for connection in half:
            connection.sendall(b"\0\0")
        eventually(lambda: listed(program.pid)["loops"][0]["task_count"] == 11)
        out, err = program.communicate("go\n", timeout=30)
        assert (program.returncode, err) == (0, "")
        for connection in waiting:
            with connection, pytest.raises(client.Unanswered, match="cancelled|ends"):
                list(connection.messages())
        for connection in half:
            connection.close()
        assert sockets(private) == []

    def test_leaves_no_thread_and_no_descriptor(self, no_leaks):
        @glassloop.expose
        async def f() -> int:
            return 1

        for _ in range(5):
            with Loop(forever):
                for _ in range(10):
                    listed()
                    tasks_of()
                    glass("call", HERE, "f")
                    glass("cancel", HERE, "nobody")
                    client._connect(HERE, 5).close()

    def test_clients_that_come_and_go_leave_no_descriptor_and_no_task(self, no_leaks):
        @glassloop.expose
        async def wait() -> None:
            await forever()

        with Loop() as loop:
            listed()
            before = len(os.listdir("/proc/self/fd"))
            for i in range(100):
                connection = client.Connection(HERE, {"do": "call", **call_request("wait", do=None)})
                if i % 2:
                    eventually(lambda: "call wait" in tasks_of())
                connection.close()
            eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
            eventually(lambda: len(asyncio.all_tasks(loop.loop)) == 1)


class TestFork:
    def test_the_child_has_no_server_and_the_parent_keeps_its_own(self, start, private):
        program = start("""
            import threading, warnings
            warnings.simplefilter('ignore')  # of a fork beside threads, from Python 3.12 on
            async def nothing():
                return [t.name for t in threading.enumerate()]
            def sockets():
                links = (f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd'))
                return [link for link in links if os.path.lexists(link) and os.readlink(link).startswith('socket:')]
            mine = os.path.join(os.environ['XDG_RUNTIME_DIR'], 'glassloop', '{}.sock')
            parents = os.getpid()
            with glassloop.Runner(control=True) as runner:
                assert 'glassloop-control' in runner.run(nothing())
                assert sockets()
                pid = os.fork()
                if pid:
                    _, status = os.waitpid(pid, 0)
                    print('ready', status, flush=True)
                    runner.run(asyncio.sleep(1000))
                assert runner.run(nothing()) == ['MainThread']
                assert not sockets()
                assert not os.path.exists(mine.format(os.getpid()))
            assert os.path.exists(mine.format(parents))
        """, first="ready 0\n")
        assert sockets(private) == [f"{program.pid}.sock"]
        assert listed(program.pid)["loops"]
        assert glass("tree", program.pid).code == 0

    def test_a_child_that_outlives_its_parent_does_not_keep_its_socket_alive(self, start, private):
        program = start("""
            import warnings
            warnings.simplefilter('ignore')
            async def main():
                if not os.fork():
                    os.close(1)
                    sys.stdin.readline()
                    os._exit(0)
                print('ready', flush=True)
                await asyncio.sleep(1000)
            glassloop.run(main(), control=True)
        """)
        assert listed(program.pid)["loops"]
        program.kill()
        program.wait()
        assert glass("ps", "--json").json == []
        assert sockets(private) == []

    def test_a_child_may_have_a_socket_of_its_own(self, start, private):
        program = start("""
            import warnings
            warnings.simplefilter('ignore')
            async def wait(pid):
                if pid:
                    sys.stdin.readline()
                print(os.getpid(), flush=True)
                await asyncio.sleep(1000)
            with glassloop.Runner(control=True) as runner:
                runner.run(asyncio.sleep(0))
                pid = os.fork()
                if pid:
                    runner.run(wait(pid))
            glassloop.run(wait(pid), control=True)
        """)
        program.stdin.write("\n")
        program.stdin.flush()
        assert int(program.stdout.readline()) == program.pid
        told = glass("ps", "--json").json
        try:
            assert [entry["loops"][0]["task_count"] for entry in told] == [1, 1]
            assert program.pid in [entry["pid"] for entry in told]
        finally:
            for entry in told:
                os.kill(entry["pid"], signal.SIGKILL)
