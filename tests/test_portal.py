"""The blocking portal: calls from synchronous threads into a loop that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import inspect
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref

import pytest

import glassloop
from glassloop import BlockingPortal, start_blocking_portal


@pytest.fixture
def portal(no_leaks):
    with start_blocking_portal() as portal:
        yield portal


async def double(number):
    await glassloop.sleep(0)
    return 2 * number


class TestCall:
    def test_returns_what_the_coroutine_function_returns(self, portal):
        assert isinstance(portal, BlockingPortal)
        assert portal.call(double, 21) == 42

    def test_a_plain_function_runs_in_the_loop(self, portal):
        assert portal.call(threading.current_thread) is not threading.current_thread()
        loop = portal.call(asyncio.get_running_loop)
        assert isinstance(loop, glassloop.EventLoop)
        assert portal.call(divmod, 7, 2) == (3, 1)

    def test_any_awaitable_is_awaited(self, portal):
        def future():
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, "later")
            return future

        class Awaitable:
            def __await__(self):
                yield from glassloop.sleep(0).__await__()
                return "by hand"

        assert portal.call(future) == "later"
        assert portal.call(Awaitable) == "by hand"
        assert portal.call(glassloop.sleep, 0, "op") == "op"

    @pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, BaseException, StopIteration])
    def test_what_a_plain_function_raises(self, portal, kind):
        def fail():
            raise kind("why")

        with pytest.raises(kind, match="why"):
            portal.call(fail)
        assert portal.call(double, 1) == 2

    @pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, BaseException])
    def test_what_a_coroutine_raises_and_the_loop_goes_on(self, portal, kind):
        async def fail():
            await glassloop.sleep(0)
            raise kind("why")

        with pytest.raises(kind, match="why") as caught:
            portal.call(fail)
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert "fail" in names
        assert portal.call(double, 1) == 2

    def test_an_exception_leaves_no_circle(self, no_leaks):
        class Held:
            pass

        # From 3.12 on the frame of a coroutine that raised leads to that of the interpreted step, and so to the task
        # with its exception.
        factory = None if glassloop.compiled else asyncio.SelectorEventLoop

        async def fail(held):
            raise LookupError("why")

        held = Held()
        alive = weakref.ref(held)
        gc.collect()
        gc.disable()
        try:
            with start_blocking_portal(loop_factory=factory) as portal:
                with contextlib.suppress(LookupError):
                    portal.call(fail, held)
                with contextlib.suppress(LookupError):
                    portal.submit(fail, held).result()
                del held
                portal.call(double, 1)  # the loop is through with the one before
                assert alive() is None
        finally:
            gc.enable()

    def test_runs_in_a_copy_of_the_callers_context(self, portal):
        variable = contextvars.ContextVar("variable", default="unset")
        variable.set("caller's")

        async def look():
            await glassloop.sleep(0)
            found = variable.get()
            variable.set("the job's")
            return found

        assert portal.call(look) == "caller's"
        assert portal.call(variable.get) == "caller's"
        assert portal.submit(look).result() == "caller's"
        assert variable.get() == "caller's"

    def test_a_cancelled_task(self, portal):
        async def cancelled():
            asyncio.current_task().cancel()
            await glassloop.sleep(1000)

        with pytest.raises(concurrent.futures.CancelledError):
            portal.call(cancelled)

    def test_from_its_own_loop_is_refused(self, portal):
        async def inside():
            with pytest.raises(RuntimeError, match="wait for itself"):
                portal.call(double, 1)
            return "refused"

        assert portal.call(inside) == "refused"

    def test_from_the_loop_of_another_portal(self, portal):
        with start_blocking_portal() as other:
            assert other.call(lambda: portal.call(double, 4)) == 8

    def test_a_hundred_threads_with_a_thousand_calls_each(self, portal):
        calls = 1000 if os.environ.get("GLASSLOOP_WHOLE") else 100
        wrong = []

        def work(thread):
            total = 0
            for i in range(calls):
                total += portal.call(double, thread * calls + i)
            if total != sum(2 * (thread * calls + i) for i in range(calls)):
                wrong.append(thread)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestSubmit:
    def test_gives_a_future(self, portal):
        future = portal.submit(double, 4)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result() == 8
        futures = [portal.submit(double, i) for i in range(100)]
        assert sum(done.result() for done in concurrent.futures.as_completed(futures)) == 9900

    def test_an_exception(self, portal):
        async def fail():
            raise LookupError("why")

        assert isinstance(portal.submit(fail).exception(), LookupError)

    def test_cancelling_the_future_cancels_the_task(self, portal):
        begun, ended = threading.Event(), threading.Event()

        async def waiting():
            try:
                begun.set()
                await glassloop.sleep(1000)
            except asyncio.CancelledError:
                ended.set()
                raise

        future = portal.submit(waiting)
        begun.wait()
        assert future.cancel()
        assert ended.wait(30)
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
        assert concurrent.futures.wait([future], timeout=30).not_done == set()

    def test_a_job_that_is_cancelled_before_it_begins_never_does(self, portal):
        go_on = threading.Event()
        portal.spawn(go_on.wait)  # the loop is busy
        ran = []
        future = portal.submit(ran.append, 1)
        assert future.cancel()
        go_on.set()
        portal.call(double, 1)
        assert ran == []

    def test_a_cancelled_task_cancels_the_future(self, portal):
        async def cancelled():
            asyncio.current_task().cancel()
            await glassloop.sleep(1000)

        future = portal.submit(cancelled)
        assert concurrent.futures.wait([future], timeout=30).done == {future}
        assert future.cancelled()

    def test_an_error_after_the_cancellation_is_reported(self, portal):
        begun = threading.Event()

        async def failing():
            try:
                begun.set()
                await glassloop.sleep(1000)
            except asyncio.CancelledError:
                raise LookupError("while it was cancelled") from None

        reports = []
        portal.call(lambda: asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context)))
        future = portal.submit(failing)
        begun.wait()
        future.cancel()
        while portal._jobs:
            portal.call(double, 1)
        (report,) = reports
        assert isinstance(report["exception"], LookupError)

    def test_a_future_keeps_nothing_but_its_result(self, portal):
        class Argument:
            pass

        async def take(argument):
            return 1

        argument = Argument()
        alive = weakref.ref(argument)
        gc.disable()
        try:
            future = portal.submit(take, argument)
            assert future.result() == 1
            del argument
            portal.call(double, 1)
            assert alive() is None
        finally:
            gc.enable()


class TestSpawn:
    def test_nobody_waits_but_the_end_of_the_block(self, no_leaks):
        done = []

        async def work():
            await glassloop.sleep(0.01)
            done.append(1)

        with start_blocking_portal() as portal:
            assert portal.spawn(work) is None
        assert done == [1]

    def test_an_error_is_reported_with_the_place(self, no_leaks):
        reports = []

        async def fail():
            raise LookupError("why")

        with start_blocking_portal() as portal:
            portal.call(lambda: asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context)))
            line = inspect.currentframe().f_lineno + 1
            portal.spawn(fail)
        (report,) = reports
        assert f"{__file__}:{line}, in " in report["message"]
        assert isinstance(report["exception"], LookupError)

    def test_from_within_the_loop(self, portal):
        done = threading.Event()

        async def inside():
            portal.spawn(done.set)

        portal.call(inside)
        assert done.wait(30)


class TestTasks:
    def test_are_told_with_state_place_and_age(self, portal):
        begun = threading.Event()

        async def waiting():
            asyncio.current_task().set_name("the waiting one")
            begun.set()
            await glassloop.Queue().get()

        future = portal.submit(waiting)
        begun.wait()
        while True:
            (info,) = portal.tasks()
            if info.state == "waiting":
                break
        assert (info.name, info.awaits, info.file) == ("the waiting one", "Queue.get()", __file__)
        assert info.function.endswith("waiting")
        assert info.age >= 0
        future.cancel()

    def test_also_while_the_loop_hangs(self, portal):
        begun, go_on = threading.Event(), threading.Event()

        async def hanging():
            begun.set()
            go_on.wait()

        portal.submit(hanging)
        begun.wait()
        try:
            (info,) = portal.tasks()
        finally:
            go_on.set()
        assert info.state == "running"
        assert any(function.endswith("hanging") for _, _, function in info.stack)


class TestItsLife:
    def test_options(self, no_leaks):
        made = []

        def factory():
            made.append(asyncio.SelectorEventLoop())
            return made[0]

        with start_blocking_portal(name="my portal", debug=True, loop_factory=factory) as portal:
            assert portal.call(asyncio.get_running_loop) is made[0]
            assert portal.call(threading.current_thread).name == "my portal"
            assert made[0].get_debug()
            assert portal.call(double, 1) == 2
            assert portal.submit(double, 2).result() == 4
        assert made[0].is_closed()

    def test_a_loop_that_cannot_be_made(self, no_leaks):
        def factory():
            raise LookupError("no loop today")

        portal = start_blocking_portal(loop_factory=factory)
        with pytest.raises(LookupError, match="no loop today"):
            portal.__enter__()
        with pytest.raises(RuntimeError, match="not running"):
            portal.call(double, 1)

    def test_before_and_after_its_block_it_refuses(self, no_leaks):
        portal = start_blocking_portal()
        for use in (portal.call, portal.submit, portal.spawn):
            with pytest.raises(RuntimeError, match="not running"):
                use(double, 1)
        with pytest.raises(RuntimeError, match="not running"):
            portal.tasks()
        with portal:
            pass
        for use in (portal.call, portal.submit, portal.spawn):
            with pytest.raises(RuntimeError, match="not running"):
                use(double, 1)
        assert portal.tasks() == []
        with pytest.raises(RuntimeError, match="once"):
            portal.__enter__()

    def test_the_end_of_the_block_waits_for_what_runs(self, no_leaks):
        with start_blocking_portal() as portal:
            futures = [portal.submit(glassloop.sleep, 0.01 * i, i) for i in range(3)]
        assert [future.result(0) for future in futures] == [0, 1, 2]

    def test_an_exception_cancels_what_runs(self, no_leaks):
        cleaned_up = []

        async def work():
            try:
                await glassloop.sleep(1000)
            finally:
                await glassloop.sleep(0)
                cleaned_up.append(1)

        with pytest.raises(LookupError), start_blocking_portal() as portal:
            future = portal.submit(work)
            portal.call(double, 1)
            raise LookupError
        assert future.cancelled()
        assert cleaned_up == [1]

    def test_stop_takes_no_more_and_waits_for_nothing(self, no_leaks):
        go_on = threading.Event()
        with start_blocking_portal() as portal:
            future = portal.submit(glassloop.to_thread, go_on.wait)
            portal.stop()
            while not portal._stopping:
                time.sleep(0.001)
            with pytest.raises(RuntimeError, match="not running"):
                portal.call(double, 1)
            assert not future.done()
            portal.stop()
            go_on.set()
        assert future.result() is True
        portal.stop()

    def test_stop_may_cancel(self, no_leaks):
        with start_blocking_portal() as portal:
            future = portal.submit(glassloop.sleep, 1000)
            portal.stop(cancel_remaining=True)
        assert future.cancelled()

    def test_tasks_that_jobs_left_behind_are_cancelled(self, no_leaks):
        ended = []

        async def left_behind():
            try:
                await glassloop.sleep(1000)
            finally:
                ended.append(1)

        async def job():
            asyncio.create_task(left_behind())
            await glassloop.sleep(0)

        with start_blocking_portal() as portal:
            portal.call(job)
        assert ended == [1]

    def test_a_loop_that_is_stopped_by_a_job_goes_on(self, portal):
        portal.call(lambda: asyncio.get_running_loop().stop())
        assert portal.call(double, 1) == 2

    def test_no_call_is_lost_when_it_stops_at_that_moment(self, no_leaks):
        """Each one either has its result or is refused."""
        for _ in range(20):
            outcomes = []
            portal = start_blocking_portal()
            ready = threading.Barrier(5)

            def work(portal=portal, outcomes=outcomes, ready=ready):
                ready.wait()
                try:
                    for i in range(10_000):
                        assert portal.call(double, i) == 2 * i
                    outcomes.append("all")
                except (RuntimeError, concurrent.futures.CancelledError) as error:
                    outcomes.append(str(error))

            with portal:
                threads = [threading.Thread(target=work) for _ in range(4)]
                for thread in threads:
                    thread.start()
                ready.wait()
                portal.call(glassloop.sleep, 0.001)
            for thread in threads:
                thread.join()
            assert outcomes == ["the portal is not running"] * 4

    def test_a_hundred_portals_at_once(self, no_leaks):
        portals = [start_blocking_portal() for _ in range(100)]
        for portal in portals:
            portal.__enter__()
        futures = [portal.submit(double, i) for i, portal in enumerate(portals)]
        assert [future.result() for future in futures] == [2 * i for i in range(100)]
        for portal in portals:
            portal.__exit__(None, None, None)

    def test_thousands_one_after_another_leave_nothing(self, no_leaks):
        for i in range(300):
            with start_blocking_portal() as portal:
                assert portal.call(double, i) == 2 * i

    def test_a_portal_is_freed(self):
        portal = start_blocking_portal()
        with portal:
            portal.call(double, 1)
        alive = weakref.ref(portal)
        del portal
        gc.collect()
        assert alive() is None


class TestCtrlC:
    """The main thread waits in call(); the signal comes when the job says so. A signal that comes just before the main
    thread goes to sleep doesn't wake it, so it is sent until there was a KeyboardInterrupt."""

    PRELUDE = (
        "import asyncio, glassloop, os, signal, sys, threading, time\n"
        "wanted = 0\n"
        "def interrupt(number, frame):\n"
        "    global wanted\n"
        "    if wanted:\n"
        "        wanted -= 1\n"
        "        raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGINT, interrupt)\n"
        "def insist():\n"
        "    while wanted:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(0.01)\n"
        "def ctrl_c():\n"
        "    global wanted\n"
        "    wanted += 1\n"
        "    threading.Thread(target=insist, daemon=True).start()\n"
    )

    def test_cancels_the_call_and_waits_for_its_end(self, python):
        program = self.PRELUDE + (
            "async def work():\n"
            "    try:\n"
            "        ctrl_c()\n"
            "        await glassloop.sleep(1000)\n"
            "    finally:\n"
            "        await glassloop.sleep(0.05)\n"
            "        print('cleaned up')\n"
            "with glassloop.start_blocking_portal() as portal:\n"
            "    try:\n"
            "        portal.call(work)\n"
            "    except KeyboardInterrupt:\n"
            "        print('interrupted')\n"
            "    print(portal.call(glassloop.sleep, 0, 'goes on'))\n"
        )
        done = python("-c", program)
        assert (done.returncode, done.stdout) == (0, "cleaned up\ninterrupted\ngoes on\n"), done.stderr

    def test_an_error_of_the_cancelled_call_is_not_lost(self, python):
        program = self.PRELUDE + (
            "async def work():\n"
            "    try:\n"
            "        ctrl_c()\n"
            "        await glassloop.sleep(1000)\n"
            "    finally:\n"
            "        raise LookupError('while cleaning up')\n"
            "with glassloop.start_blocking_portal() as portal:\n"
            "    try:\n"
            "        portal.call(work)\n"
            "    except KeyboardInterrupt as error:\n"
            "        print(repr(error.__context__))\n"
        )
        done = python("-c", program)
        assert (done.returncode, done.stdout) == (0, "LookupError('while cleaning up')\n"), done.stderr

    def test_a_second_one_does_not_wait(self, python):
        program = self.PRELUDE + (
            "go_on = threading.Event()\n"
            "async def work():\n"
            "    try:\n"
            "        ctrl_c()\n"
            "        await glassloop.sleep(1000)\n"
            "    finally:\n"
            "        ctrl_c()\n"
            "        await glassloop.to_thread(go_on.wait)\n"
            "with glassloop.start_blocking_portal() as portal:\n"
            "    try:\n"
            "        portal.call(work)\n"
            "    except KeyboardInterrupt:\n"
            "        print('interrupted')\n"
            "    go_on.set()\n"
        )
        done = python("-c", program)
        assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr

    def test_at_the_end_of_the_block_cancels_what_it_waits_for(self, python):
        program = self.PRELUDE + (
            "async def work():\n"
            "    await started.wait()\n"
            "    ctrl_c()\n"
            "    await glassloop.sleep(1000)\n"
            "started = glassloop.Event()\n"
            "try:\n"
            "    with glassloop.start_blocking_portal() as portal:\n"
            "        future = portal.submit(work)\n"
            "        portal.spawn(started.set)\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted', future.cancelled())\n"
        )
        done = python("-c", program)
        assert (done.returncode, done.stdout) == (0, "interrupted True\n"), done.stderr


class TestTheInterpretersEnd:
    def ended(self, program):
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", "import glassloop\n" + program],
                              capture_output=True, text=True, timeout=50)  # fmt: skip
        self.took = time.monotonic() - began
        return done.returncode, done.stdout, done.stderr

    def test_a_portal_that_was_never_closed_is_stopped(self):
        program = (
            "async def work():\n"
            "    try:\n"
            "        await glassloop.sleep(1000)\n"
            "    finally:\n"
            "        await glassloop.sleep(0.01)\n"
            "        print('cleaned up', flush=True)\n"
            "portal = glassloop.start_blocking_portal()\n"
            "portal.__enter__()\n"
            "portal.submit(work)\n"
            "portal.call(glassloop.sleep, 0.01)\n"
        )
        assert self.ended(program) == (0, "cleaned up\n", "")

    def test_with_executor_threads(self):
        program = (
            "import time\n"
            "portal = glassloop.start_blocking_portal()\n"
            "portal.__enter__()\n"
            "print(portal.call(glassloop.to_thread, divmod, 7, 2))\n"
        )
        assert self.ended(program) == (0, "(3, 1)\n", "")

    def test_threads_of_the_program_may_use_it_until_they_end(self):
        program = (
            "import threading, time\n"
            "portal = glassloop.start_blocking_portal()\n"
            "portal.__enter__()\n"
            "def work():\n"
            "    threading.main_thread().join()\n"
            "    print(portal.call(glassloop.sleep, 0.01, 'still there'), flush=True)\n"
            "threading.Thread(target=work).start()\n"
        )
        assert self.ended(program) == (0, "still there\n", "")

    def test_after_it_was_stopped_calls_are_refused(self):
        program = (
            "import atexit\n"
            "def late():\n"
            "    try:\n"
            "        portal.call(print, 1)\n"
            "    except RuntimeError as error:\n"
            "        print(error)\n"
            "atexit.register(late)\n"
            "portal = glassloop.start_blocking_portal()\n"
            "portal.__enter__()\n"
        )
        assert self.ended(program) == (0, "the portal is not running\n", "")

    @pytest.mark.parametrize("hanging", ["time.sleep(1000)", "while_cancelled_stay()"])
    def test_one_that_does_not_end_is_reported_and_left(self, hanging):
        program = (
            "import asyncio, time, threading\n"
            "import glassloop.portal\n"
            "glassloop.portal.EXIT_SECONDS = 0.2\n"
            "begun = threading.Event()\n"
            "async def work():\n"
            "    begun.set()\n"
            + ("    time.sleep(1000)\n" if hanging.startswith("time") else
               "    while True:\n"
               "        try: await glassloop.sleep(1000)\n"
               "        except asyncio.CancelledError: pass\n")
            + "portal = glassloop.start_blocking_portal(name='mine')\n"
            "portal.__enter__()\n"
            "portal.submit(work)\n"
            "begun.wait()\n"
        )  # fmt: skip
        code, out, err = self.ended(program)
        assert (code, out) == (0, "")
        assert err.startswith("glassloop: 'mine' was never closed, and did not end within 0.2 s of its cancellation\n")
        assert "  work()  " in err
        assert self.took < 30

    def test_many(self):
        program = (
            "portals = [glassloop.start_blocking_portal() for _ in range(100)]\n"
            "for portal in portals: portal.__enter__()\n"
            "print(sum(portal.call(glassloop.sleep, 0, 1) for portal in portals))\n"
        )
        assert self.ended(program) == (0, "100\n", "")


class TestAfterFork:
    def test_a_child_is_told_that_the_thread_is_not_there(self, portal):
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is what is tested
            child = os.fork()
        if not child:
            said = []
            try:
                for use in (portal.call, portal.submit, portal.spawn):
                    try:
                        use(double, 1)
                    except RuntimeError as error:
                        said.append("fork" in str(error))
                try:
                    portal.tasks()
                except RuntimeError as error:
                    said.append("fork" in str(error))
                portal.__exit__(None, None, None)  # the end of a block that was entered in the parent
                portal._at_exit()
                os.write(write, repr(said).encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with os.fdopen(read) as answer:
            assert answer.read() == "[True, True, True, True]"
        assert portal.call(double, 3) == 6

    def test_a_child_may_start_its_own(self, python):
        program = (
            "import glassloop, os, warnings\n"
            "warnings.simplefilter('ignore')\n"
            "with glassloop.start_blocking_portal() as portal:\n"
            "    child = os.fork()\n"
            "    if not child:\n"
            "        with glassloop.start_blocking_portal() as mine:\n"
            "            os._exit(mine.call(glassloop.sleep, 0, 7))\n"
            "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), portal.call(glassloop.sleep, 0, 8))\n"
        )
        done = python("-c", program)
        assert (done.stdout, done.stderr) == ("7 8\n", "")
