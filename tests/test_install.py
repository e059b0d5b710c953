"""install() and EventLoopPolicy: asyncio's entry points make glassloop's loops. Each in its own process."""

from __future__ import annotations

import textwrap

import pytest

pytestmark = pytest.mark.extra("asyncio installs itself")

BEGIN = """
import asyncio, sys, warnings
warnings.simplefilter('ignore', DeprecationWarning)
import glassloop

def kind(loop):
    return type(loop).__module__.partition('.')[0]

async def main():
    return kind(asyncio.get_running_loop())

"""


@pytest.fixture
def output(python):
    def output(program: str, *flags: str) -> str:
        done = python(*flags, "-c", BEGIN + textwrap.dedent(program))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return output


@pytest.mark.parametrize(
    "expression",
    [
        "asyncio.run(main())",
        "asyncio.Runner().run(main())",
        "asyncio.Runner(loop_factory=None).run(main())",
        "kind(asyncio.new_event_loop())",
        "kind(asyncio.get_event_loop_policy().new_event_loop())",
    ],
)
def test_entry_points_of_asyncio_make_glassloops(output, expression):
    assert output(f"glassloop.install()\nprint({expression})") == "glassloop"


def test_importing_alone_changes_nothing(output):
    assert output("print(asyncio.run(main()))") == "asyncio"


def test_installing_twice_is_the_same_as_once(output):
    assert output("""
        glassloop.install()
        policy = asyncio.get_event_loop_policy()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        glassloop.install()
        print(asyncio.get_event_loop_policy() is policy, asyncio.get_event_loop() is loop)
        """) == "True True"


def test_the_policy_can_be_set_by_hand_and_unset(output):
    assert output("""
        asyncio.set_event_loop_policy(glassloop.EventLoopPolicy())
        print(asyncio.run(main()))
        asyncio.set_event_loop_policy(None)
        print(asyncio.run(main()))
        """).split() == ["glassloop", "asyncio"]


def test_the_policy_is_asyncios_but_for_the_loops(output):
    assert output("""
        policy = glassloop.EventLoopPolicy()
        print(isinstance(policy, asyncio.DefaultEventLoopPolicy))
        print(isinstance(policy, asyncio.AbstractEventLoopPolicy))
        loop = policy.new_event_loop()
        policy.set_event_loop(loop)
        print(policy.get_event_loop() is loop, type(loop) is glassloop.EventLoop)
        """).split() == ["True"] * 4


def test_unittests_asynchronous_tests_run_on_it(output):
    assert output("""
        import unittest

        class Test(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                await asyncio.sleep(0)

            async def test_loop(self):
                self.assertEqual(await main(), 'glassloop')

        glassloop.install()
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Test).run(result)
        print(result.testsRun, result.errors, result.failures)
        """) == "1 [] []"


def test_a_thread_of_the_program_gets_them_too(output):
    assert output("""
        import threading
        glassloop.install()
        thread = threading.Thread(target=lambda: print(asyncio.run(main())))
        thread.start()
        thread.join()
        """) == "glassloop"


def test_neither_importing_nor_running_warns(output):
    program = "print(glassloop.run(main()), len(glassloop.EventLoopPolicy.__mro__) > 2)"
    assert output(program, "-W", "error") == "glassloop True"


def test_where_policies_are_deprecated_it_says_how_else(output):
    said = output("""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            glassloop.install()
        told = [(w.category.__name__, 'glassloop run FILE' in str(w.message)) for w in caught]
        print(asyncio.run(main()), told, {w.filename for w in caught} <= {'<string>'})
        print(sys.version_info >= (3, 14))
        """).splitlines()
    expected = "[('DeprecationWarning', True)]" if said[1] == "True" else "[]"
    assert said[0] == f"glassloop {expected} True"
