"""spawn(): what nobody waits for is neither lost nor silent, and ends with the program."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import textwrap
import weakref
from pathlib import Path

import pytest

import glassloop


async def turns(n=1):
    for _ in range(n):
        await asyncio.sleep(0)


async def forever():
    await asyncio.get_running_loop().create_future()


async def fail(error=ZeroDivisionError, after=0):
    await turns(after)
    raise error


def loops(request):
    return asyncio.SelectorEventLoop if request.param == "asyncio's loop" else glassloop.new_event_loop


@pytest.fixture(params=["glassloop's loop", "asyncio's loop"])
def run(request):
    """On either loop; `run(main())` with glassloop's Runner. What is reported to the loop is in run.reports."""
    reports = []

    def run(main):
        with glassloop.Runner(loop_factory=loops(request)) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: reports.append(context))
            return runner.run(main)

    run.reports = reports
    return run


class TestFailures:
    def test_are_reported_at_once_with_the_place(self, run):
        async def main():
            task = glassloop.spawn(fail())  # this line
            await turns(3)
            assert len(run.reports) == 1
            return task

        run(main())
        (report,) = run.reports
        line = 1 + next(
            n for n, text in enumerate(Path(__file__).read_text().splitlines()) if text.endswith("# this line")
        )
        assert f"{__file__}:{line}, in " in report["message"]
        assert report["message"].endswith("test_are_reported_at_once_with_the_place.<locals>.main")
        assert isinstance(report["exception"], ZeroDivisionError)
        assert isinstance(report["task"], asyncio.Task)

    def test_are_reported_once_though_somebody_waits(self, run):
        async def main():
            task = glassloop.spawn(fail(after=2))
            with pytest.raises(ZeroDivisionError):
                await task
            assert isinstance(task.exception(), ZeroDivisionError)
            del task
            gc.collect()
            await turns(2)

        run(main())
        gc.collect()
        assert len(run.reports) == 1

    def test_are_reported_once_though_nobody_waits(self, run):
        async def main():
            glassloop.spawn(fail())
            await turns(3)
            gc.collect()

        run(main())
        gc.collect()
        assert [type(report["exception"]) for report in run.reports] == [ZeroDivisionError]

    def test_are_logged_by_default(self, caplog):
        async def main():
            glassloop.spawn(fail(), name="the spawned one")
            await turns(3)

        with caplog.at_level(logging.ERROR, "asyncio"):
            glassloop.run(main())
        (record,) = caplog.records
        assert f"spawned at {__file__}:" in record.getMessage()
        assert "the spawned one" in record.getMessage()
        assert record.exc_info[0] is ZeroDivisionError

    def test_of_one_that_is_cancelled_is_none(self, run):
        async def main():
            task = glassloop.spawn(forever())
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())
        assert run.reports == []

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
    def test_that_end_the_program_end_it(self, run, error):
        async def main():
            glassloop.spawn(fail(error))
            await forever()

        with pytest.raises(type(error)):
            run(main())
        assert run.reports == []


class TestTasks:
    def test_run_and_give_their_results(self, run):
        async def work():
            await turns(2)
            return 5

        async def main():
            task = glassloop.spawn(work(), name="work")
            assert task.get_name() == "work"
            assert not task.done()
            assert await task == 5

        run(main())

    def test_run_in_the_context_given(self, run):
        variable = contextvars.ContextVar("variable", default=0)

        async def read():
            return variable.get()

        async def main():
            own = contextvars.copy_context()
            own.run(variable.set, 7)
            variable.set(1)
            assert await glassloop.spawn(read()) == 1
            assert await glassloop.spawn(read(), context=own) == 7

        run(main())

    def test_are_kept_alive_without_a_reference(self, run):
        async def main():
            ended = asyncio.Event()
            inner = None

            async def work():
                nonlocal inner
                # nothing but the task's own frame knows of this future
                future = asyncio.get_running_loop().create_future()
                inner = weakref.ref(future)
                await future
                ended.set()

            glassloop.spawn(work())
            await turns(2)
            gc.collect()
            inner().set_result(None)
            await asyncio.wait_for(ended.wait(), 5)

        run(main())

    def test_are_forgotten_when_they_have_ended(self, run):
        async def main():
            task = weakref.ref(glassloop.spawn(turns(2)))
            await turns(5)
            gc.collect()
            assert task() is None

        run(main())

    def test_of_a_task_factory_that_starts_them_at_once(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            if sys.version_info >= (3, 12):
                loop.set_task_factory(asyncio.eager_task_factory)
            elif isinstance(loop, glassloop.EventLoop):
                loop.set_task_factory(glassloop.eager_task_factory)
            glassloop.spawn(fail())
            await turns(3)

        run(main())
        assert len(run.reports) == 1

    def test_spawn_others(self, run):
        ended = []

        async def work(depth):
            if depth:
                glassloop.spawn(work(depth - 1), drain=True)
            await turns(2)
            ended.append(depth)

        async def main():
            glassloop.spawn(work(4), drain=True)

        run(main())
        assert sorted(ended) == [0, 1, 2, 3, 4]


class TestMisuse:
    def test_outside_of_a_loop(self, recwarn):
        coro = fail()
        with pytest.raises(RuntimeError, match="no running event loop"):
            glassloop.spawn(coro)
        del coro
        gc.collect()
        assert not recwarn.list

    def test_what_is_no_coroutine(self, run, recwarn):
        async def main():
            for wrong in (5, None, fail, asyncio.get_running_loop().create_future()):
                with pytest.raises(TypeError, match="coroutine was expected"):
                    glassloop.spawn(wrong)
            if isinstance(asyncio.get_running_loop(), glassloop.EventLoop):
                # asyncio's makes a task of it that never runs
                with pytest.raises(TypeError):
                    glassloop.spawn(fail(), context=5)

        run(main())
        gc.collect()
        assert run.reports == []
        assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


class TestEnd:
    def test_cancels_them(self, run):
        heard = []

        async def work():
            try:
                await forever()
            except asyncio.CancelledError:
                heard.append("cancelled")
                await turns(2)
                heard.append("ended")
                raise

        async def main():
            glassloop.spawn(work())
            await turns(2)

        run(main())
        assert heard == ["cancelled", "ended"]
        assert run.reports == []

    def test_reports_once_what_fails_then(self, run):
        async def work():
            try:
                await forever()
            finally:
                raise KeyError

        async def main():
            glassloop.spawn(work())
            await turns(2)

        run(main())
        assert [type(report["exception"]) for report in run.reports] == [KeyError]

    def test_waits_for_those_to_be_drained_while_the_others_run(self, run):
        heard = []

        async def serve(requests):
            while True:
                (await requests.get()).set_result(None)

        async def work(requests):
            for n in range(3):
                request = asyncio.get_running_loop().create_future()
                requests.put_nowait(request)
                await request
                heard.append(n)

        async def main():
            requests = glassloop.Queue()
            glassloop.spawn(serve(requests))
            glassloop.spawn(work(requests), drain=True)

        run(main())
        assert heard == [0, 1, 2]
        assert run.reports == []

    def test_drains_when_main_fails(self, run):
        heard = []

        async def work():
            await asyncio.sleep(0.01)
            heard.append("ended")

        async def main():
            glassloop.spawn(work(), drain=True)
            raise LookupError

        with pytest.raises(LookupError):
            run(main())
        assert heard == ["ended"]

    def test_waits_no_longer_than_the_grace(self):
        async def main():
            task = glassloop.spawn(forever(), drain=True)
            quick = glassloop.spawn(turns(2), drain=True)
            await turns()
            from glassloop.sync.background import spawned_of

            await asyncio.wait_for(spawned_of(asyncio.get_running_loop()).wind_up(grace=0.01), 5)
            assert task.cancelled()
            assert not quick.cancelled()

        glassloop.run(main())

    def test_of_asyncios_own_runner_cancels_all(self):
        async def main():
            nonlocal task
            task = glassloop.spawn(forever(), drain=True)
            await turns()

        task = None
        with asyncio.Runner(loop_factory=glassloop.new_event_loop) as runner:
            runner.run(main())
        assert task.cancelled()

    def test_a_second_run_of_a_runner_goes_on_with_them(self, run):
        async def first():
            return glassloop.spawn(turns(3))

        async def second(task):
            await task

        with glassloop.Runner() as runner:
            runner.run(second(runner.run(first())))

    def test_ctrl_c_ends_the_wait(self, python, tmp_path):
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent("""
            import asyncio
            import signal
            import glassloop

            async def work():
                # while main runs, Ctrl-C is the runner's affair
                while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
                    await asyncio.sleep(0.001)
                asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    print("cancelled")
                    raise

            async def main():
                glassloop.spawn(work(), drain=True)

            try:
                glassloop.run(main())
            except KeyboardInterrupt:
                print("interrupted")
            """)
        )
        done = python(program)
        assert (done.stdout, done.stderr, done.returncode) == ("cancelled\ninterrupted\n", "", 0)
