"""run(..., stop_on=, grace=): the first signal asks, the deadline and the second signal insist. Real processes, real
signals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import glassloop

LONG = 1000  # seconds that nobody waits for
PRELUDE = f"""\
import asyncio, glassloop, hashlib, os, signal, sys, threading, time
LONG = {LONG}
BOTH = signal.SIGTERM, signal.SIGINT

def say(*words):
    print(*words, flush=True)

async def stubborn():
    while True:
        try:
            await glassloop.sleep(LONG)
        except asyncio.CancelledError:
            say('no')
"""
STUCK = PRELUDE.splitlines().index("            await glassloop.sleep(LONG)") + 1


class Program:
    """A program in a process of its own, which says when it is ready for a signal."""

    def __init__(self, text: str, tmp_path, *arguments) -> None:
        path = tmp_path / "program.py"
        path.write_text(PRELUDE + textwrap.dedent(text))
        # Unbuffered, so that no output is read ahead. A background shell may have had SIGINT ignored, which children
        # inherit.
        self.process = subprocess.Popen(
            [sys.executable, str(path), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": ""},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # fmt: skip
        self.lines = [line.rstrip("\n") for line in PRELUDE.splitlines() + textwrap.dedent(text).splitlines()]

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            assert self.process.returncode is not None
        self.process.communicate()

    def line(self) -> str:
        return self.process.stdout.readline().decode().rstrip("\n")

    def hears(self, expected: str) -> None:
        line = self.line()
        if line != expected:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(line + self.process.stderr.read().decode())

    def send(self, number: int) -> None:
        self.sent = time.monotonic()
        os.kill(self.process.pid, number)

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=40)
        self.took = time.monotonic() - self.sent
        return self.process.returncode, out.decode(), err.decode()

    def line_of(self, code: str) -> int:
        (number,) = [i for i, line in enumerate(self.lines, 1) if line.strip() == code]
        return number


@pytest.fixture
def program(tmp_path):
    return lambda text, *arguments: Program(text, tmp_path, *arguments)


class TestInTime:
    def test_main_is_cancelled_and_the_status_tells_the_signal(self, program):
        text = """
            async def main():
                try:
                    say('ready')
                    await glassloop.sleep(LONG)
                finally:
                    say('cleaned up')
            try:
                glassloop.run(main(), stop_on=BOTH)
            finally:
                say('the end')
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (128 + signal.SIGTERM, "cleaned up\nthe end\n", "")

    def test_sigint_is_a_keyboard_interrupt_as_ever(self, program):
        text = """
            async def main():
                say('ready')
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGINT)
            code, _, err = p.ended()
            assert code == -signal.SIGINT
            assert err.rstrip().endswith("KeyboardInterrupt")

    def test_what_main_returns_when_it_is_cancelled_is_returned(self, program):
        text = """
            async def main():
                try:
                    say('ready')
                    await glassloop.sleep(LONG)
                except asyncio.CancelledError:
                    return 'done by myself'
            say(glassloop.run(main(), stop_on=BOTH))
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (0, "done by myself\n", "")

    def test_what_main_raises_instead_is_raised(self, program):
        text = """
            async def main():
                try:
                    say('ready')
                    await glassloop.sleep(LONG)
                except asyncio.CancelledError:
                    raise LookupError('instead') from None
            try:
                glassloop.run(main(), stop_on=BOTH)
            except LookupError as error:
                say(error)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (0, "instead\n", "")

    def test_the_tasks_that_are_left_are_cancelled_and_have_their_time(self, program):
        text = """
            async def other():
                try:
                    await glassloop.sleep(LONG)
                finally:
                    await glassloop.sleep(0.05)
                    say('the other, too')
            async def main():
                glassloop.create_task(other())
                await glassloop.sleep(0)
                say('ready')
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=[signal.SIGTERM], grace=30)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (143, "the other, too\n", "")

    def test_a_signal_before_main_begins_is_not_lost(self, program):
        text = """
            class Loop(glassloop.EventLoop):
                def create_task(self, coro, **options):
                    self.create_task = super().create_task
                    os.kill(os.getpid(), signal.SIGTERM)
                    return super().create_task(coro, **options)
            async def main():
                say('began')
                await glassloop.sleep(LONG)
                say('went on')
            glassloop.run(main(), stop_on=BOTH, loop_factory=Loop)
            """
        with program(text) as p:
            p.sent = time.monotonic()
            assert p.ended() == (143, "began\n", "")

    def test_a_signal_after_main_has_ended_ends_the_program_when_the_loop_is_closed(self, program):
        text = """
            import atexit
            async def other():
                try:
                    await glassloop.sleep(LONG)
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)
                    await glassloop.sleep(0.05)
                    say('finished')
            async def main():
                glassloop.create_task(other())
                await glassloop.sleep(0)
                return 'unheard'
            atexit.register(say, 'atexit')
            say(glassloop.run(main(), stop_on=BOTH, grace=30))
            """
        with program(text) as p:
            p.sent = time.monotonic()
            assert p.ended() == (143, "finished\natexit\n", "")

    def test_asyncios_loop_is_stopped_as_well(self, program):
        text = """
            async def main():
                say('ready')
                await asyncio.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH, loop_factory=asyncio.SelectorEventLoop)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (143, "", "")

    def test_who_catches_it_may_go_on(self, program):
        """Neither the handlers nor the deadline outlive the run."""
        text = """
            async def main():
                say('ready')
                await glassloop.sleep(LONG)
            try:
                glassloop.run(main(), stop_on=BOTH, grace=1)
            except SystemExit as error:
                say(error.code)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            for thread in threading.enumerate():
                if thread.name == 'glassloop-stop':
                    thread.join()
            async def again():
                return 'again'
            say(glassloop.run(again(), stop_on=BOTH))
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (0, "143\nagain\n", "")

    def test_a_runner_can_be_stopped_in_each_run(self, program):
        text = """
            async def main(name):
                say(name)
                await glassloop.sleep(LONG)
            with glassloop.Runner(stop_on=BOTH, grace=30) as runner:
                for name in 'one', 'two':
                    try:
                        runner.run(main(name))
                    except SystemExit as error:
                        say(error.code)
                    except KeyboardInterrupt:
                        say('interrupted')
            """
        with program(text) as p:
            p.hears("one")
            p.send(signal.SIGTERM)
            p.hears("143")
            p.hears("two")
            p.send(signal.SIGINT)
            assert p.ended() == (0, "interrupted\n", "")

    def test_a_subprocess_does_not_hold_it_up(self, program):
        text = """
            async def main():
                process = await glassloop.create_subprocess_exec('sleep', str(LONG))
                say(process.pid)
                await process.wait()
            glassloop.run(main(), stop_on=BOTH, grace=30)
            """
        with program(text) as p:
            p.line()
            p.send(signal.SIGTERM)
            assert p.process.wait(timeout=40) == 143

    def test_spawned_tasks_are_drained_for_half_of_what_is_left(self, program):
        text = """
            async def draining():
                try:
                    await glassloop.sleep(LONG)
                finally:
                    say('cancelled')
            async def main():
                glassloop.spawn(draining(), drain=True)
                await glassloop.sleep(0)
                say('ready')
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH, grace=1)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (143, "cancelled\n", "")


class TestTimeIsUp:
    def test_a_task_that_will_not_end_is_reported_with_its_line(self, program):
        text = """
            async def main():
                glassloop.create_task(stubborn(), name='mule')
                await glassloop.sleep(0)
                say('ready')
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH, grace=0.3)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            code, out, err = p.ended()
            assert code == 143
            assert out == "no\n"
            first, *rest = err.splitlines()
            assert first == "glassloop: SIGTERM: not everything ended within 0.3 s"
            (told,) = rest
            assert told.startswith("  task mule  stubborn()  waits for sleep()  ")
            assert f"program.py:{STUCK}  " in told
            assert 0.3 <= p.took < 10

    def test_main_itself_that_will_not_end(self, program):
        text = """
            async def main():
                say('ready')
                await stubborn()
            glassloop.run(main(), stop_on=BOTH, grace=0.1)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGINT)
            code, out, err = p.ended()
            assert (code, out) == (130, "no\n")
            assert err.startswith("glassloop: SIGINT: not everything ended within 0.1 s\n  task Task-1  main()  waits for")

    @pytest.mark.parametrize("hanging", [
        "time.sleep(LONG)", "while True: pass", "lock.acquire()",
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)",  # minutes of C in which no handler is called
    ])  # fmt: skip
    def test_a_loop_that_hangs_when_the_signal_comes(self, program, hanging):
        text = f"""
            lock = threading.Lock()
            assert lock.acquire()
            async def main():
                say('ready')
                deep()
            def deep():
                {hanging}
            glassloop.run(main(), stop_on=BOTH, grace=0.2)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            code, _, err = p.ended()
            assert code == 143
            assert "task Task-1  main()  running  " in err
            at = p.line_of(hanging)
            *_, above, last = err.splitlines()
            assert above.endswith(f"program.py:{at - 2}, in main")
            assert last.endswith(f"program.py:{at}, in deep")
            assert "the loop hangs here:" in err
            assert p.took < 10

    def test_a_loop_that_hangs_during_the_grace(self, program):
        text = """
            async def main():
                try:
                    say('ready')
                    await glassloop.sleep(LONG)
                finally:
                    say('hanging')
                    while True:
                        pass
            glassloop.run(main(), stop_on=BOTH, grace=0.3)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            code, out, err = p.ended()
            assert (code, out) == (143, "hanging\n")
            assert "the loop hangs here:" in err

    def test_a_callback_that_hangs_has_no_task_but_a_stack(self, program):
        text = """
            def hang():
                say('ready')
                time.sleep(LONG)
            async def main():
                asyncio.get_running_loop().call_soon(hang)
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH, grace=0.1)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            code, _, err = p.ended()
            assert code == 143
            assert err.splitlines()[-1].endswith("in hang")

    def test_a_thread_of_the_default_executor_that_never_ends(self, program):
        text = """
            async def main():
                def blocking():
                    say('ready')
                    time.sleep(LONG)
                await glassloop.to_thread(blocking)
            glassloop.run(main(), stop_on=BOTH, grace=0.2)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            code, _, err = p.ended()
            assert code == 143
            assert f"thread asyncio_0  {p.process.args[1]}:{p.line_of('time.sleep(LONG)')}" in err
            assert p.took < 10

    @pytest.mark.parametrize("kind", ["executor", "thread"])
    def test_a_thread_that_only_the_interpreter_would_wait_for(self, program, kind):
        """run() has ended in time. What hangs is the end of the interpreter."""
        start = {
            "executor": "pool = ThreadPoolExecutor(1); pool.submit(blocking)",
            "thread": "threading.Thread(target=blocking, name='busy').start()",
        }[kind]
        text = f"""
            from concurrent.futures import ThreadPoolExecutor
            def blocking():
                say('ready')
                time.sleep(LONG)
            async def main():
                {start}
                await glassloop.sleep(LONG)
            try:
                glassloop.run(main(), stop_on=BOTH, grace=0.5)
            finally:
                say('run() has ended')
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            code, out, err = p.ended()
            assert (code, out) == (143, "run() has ended\n")
            assert err.startswith("glassloop: SIGTERM: not everything ended within 0.5 s\n  thread ")
            assert f"program.py:{p.line_of('time.sleep(LONG)')}" in err
            assert p.took < 10

    def test_what_was_printed_is_not_lost_and_the_loops_children_are_killed(self, program):
        text = """
            async def main():
                process = await glassloop.create_subprocess_exec('sleep', str(LONG))
                print('kept in the buffer', end='')
                os.write(1, b'%d\\n' % process.pid)
                await stubborn_too(process)
            async def stubborn_too(process):
                while True:
                    try:
                        await process.wait()
                    except asyncio.CancelledError:
                        continue
            glassloop.run(main(), stop_on=BOTH, grace=0.1)
            """
        with program(text) as p:
            child = int(p.line())
            pidfd = os.pidfd_open(child)
            try:
                p.send(signal.SIGTERM)
                code, out, err = p.ended()
                assert (code, out) == (143, "kept in the buffer")
                assert "waits for Process.wait()" in err
                assert select.select([pidfd], [], [], 20)[0], "the child lives on"
            finally:
                os.close(pidfd)

    def test_a_reader_of_stderr_that_does_not_read_does_not_hold_it_up(self, program):
        text = """
            async def main():
                for i in range(3000):
                    glassloop.create_task(stubborn(), name=f'{i}' + 'x' * 100)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                await glassloop.sleep(0)
                os.write(2, b'ready')
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH, grace=0.1)
            """
        with program(text) as p:
            assert os.read(p.process.stderr.fileno(), 5) == b"ready"
            p.send(signal.SIGTERM)
            assert p.process.wait(timeout=40) == 143


class TestASecondSignal:
    @pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
    def test_ends_it_at_once(self, program, second):
        text = """
            async def main():
                say('ready')
                await stubborn()
            glassloop.run(main(), stop_on=BOTH, grace=LONG)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            p.hears("no")
            p.send(second)
            code, _, err = p.ended()
            assert code == 128 + second
            assert f"{second.name} after SIGTERM: ended before everything had\n  task Task-1  main()" in err

    def test_also_while_the_loop_hangs(self, program):
        text = """
            async def main():
                say('ready')
                time.sleep(LONG)
            glassloop.run(main(), stop_on=BOTH, grace=LONG)
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            # two of a kind that come at once are one signal: let the first be seen
            while signal.SIGTERM in _pending(p.process.pid):
                time.sleep(0.001)
            p.send(signal.SIGINT)
            assert p.ended()[0] == 130


def _pending(pid: int) -> set[int]:
    with open(f"/proc/{pid}/status") as status:
        masks = dict(line.split(":\t", 1) for line in status)
    mask = int(masks["SigPnd"], 16) | int(masks["ShdPnd"], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


class TestOthersHandlers:
    def test_a_handler_of_mains_own_takes_the_place_and_is_left_alone(self, program):
        text = """
            async def main():
                stopped = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
                say('ready')
                await stopped.wait()
                return 'by itself'
            say(glassloop.run(main(), stop_on=BOTH))
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (0, "by itself\n", "")

    def test_what_was_set_before_is_set_again(self):
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
        mine = signal.getsignal(signal.SIGUSR1)
        try:

            async def main():
                return signal.getsignal(signal.SIGUSR1)

            during = glassloop.run(main(), stop_on=[signal.SIGUSR1])
            assert during is not mine
            assert signal.getsignal(signal.SIGUSR1) is mine
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_signals_that_are_not_named_do_what_they_always_did(self, program):
        text = """
            async def main():
                say('ready')
                await glassloop.sleep(LONG)
            glassloop.run(main(), stop_on=[signal.SIGINT])
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGTERM)
            assert p.ended() == (-signal.SIGTERM, "", "")

    def test_ctrl_c_that_is_not_named_cancels_main_as_ever(self, program):
        text = """
            async def main():
                try:
                    say('ready')
                    await glassloop.sleep(LONG)
                finally:
                    say('cancelled')
            try:
                glassloop.run(main(), stop_on=[signal.SIGTERM])
            except KeyboardInterrupt:
                say('interrupted')
            """
        with program(text) as p:
            p.hears("ready")
            p.send(signal.SIGINT)
            assert p.ended() == (0, "cancelled\ninterrupted\n", "")

    def test_a_forked_child_ends_as_it_would_have(self, program):
        text = """
            async def main():
                child = os.fork()
                if not child:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(LONG)
                _, status = os.waitpid(child, 0)
                return os.waitstatus_to_exitcode(status)
            say(glassloop.run(main(), stop_on=BOTH))
            """
        with program(text) as p:
            p.sent = time.monotonic()
            code, out, _ = p.ended()
            assert (code, out) == (0, "-15\n")


class TestArguments:
    @pytest.mark.parametrize("grace", [-1, float("nan"), float("-inf")])
    def test_a_grace_that_is_no_time(self, grace):
        with pytest.raises(ValueError, match="grace"):
            glassloop.Runner(stop_on=[signal.SIGTERM], grace=grace)

    def test_a_grace_without_limit(self):
        async def main():
            return 1

        assert glassloop.run(main(), stop_on=[signal.SIGTERM], grace=float("inf")) == 1

    @pytest.mark.parametrize(
        ("stop_on", "error"),
        [(signal.SIGTERM, TypeError), (None, TypeError), (["SIGTERM"], TypeError), ([[]], TypeError), ([9999], ValueError), ([0], ValueError)],
    )  # fmt: skip
    def test_what_is_no_signal(self, stop_on, error):
        with pytest.raises(error, match="stop_on"):
            glassloop.Runner(stop_on=stop_on)

    def test_a_grace_that_is_no_number(self):
        with pytest.raises(TypeError, match="grace"):
            glassloop.Runner(stop_on=[signal.SIGTERM], grace="10")

    def test_a_signal_that_cannot_be_caught(self, no_leaks):
        async def main():
            raise AssertionError("it ran")

        coro = main()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(RuntimeError, match="SIGKILL cannot be caught"):
            glassloop.run(coro, stop_on=[signal.SIGTERM, signal.SIGKILL])
        coro.close()
        assert signal.getsignal(signal.SIGTERM) is before

    def test_outside_of_the_main_thread(self, no_leaks):
        async def main():
            raise AssertionError("it ran")

        caught = []

        def run():
            coro = main()
            try:
                glassloop.run(coro, stop_on=[signal.SIGTERM])
            except RuntimeError as error:
                caught.append(str(error))
            coro.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        (text,) = caught
        assert "main thread" in text

    def test_nothing_is_left_behind(self, no_leaks):
        async def main():
            await glassloop.sleep(0)

        for _ in range(20):
            glassloop.run(main(), stop_on=[signal.SIGTERM, signal.SIGINT])
        for thread in threading.enumerate():
            if thread.name == "glassloop-stop":
                thread.join()

    def test_without_it_nothing_is_loaded(self, python):
        program = (
            "import sys, glassloop\n"
            "async def main(): pass\n"
            "glassloop.run(main())\n"
            "print(*{'glassloop.stopping', 'glassloop.snapshot'} & set(sys.modules))"
        )
        assert python("-c", program).stdout == "\n"
