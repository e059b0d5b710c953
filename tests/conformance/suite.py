"""Which of CPython's tests are run, and on what.

CPython's modules are taken whole, then adapted by one function each, named after it:

- a family of test classes that differ in the selector only (EPollEventLoopTests, PollEventLoopTests...)
  becomes one class, EventLoopTests, on the loop under test;
- in whole mode the families for the C and the Python implementation (CFutureTests, PyFutureTests...)
  become one on the runtime's own class: its name begins with "Own";
- classes that test an abstract class, or objects that no loop is behind, are left out.

Not here at all: test_selector_events, test_proactor_events, test_windows_*, test_transports, test_protocols,
test_tools and most of test_unix_events, test_base_events and test_sslproto. They test one implementation through
its private parts, or classes that the runtime takes from asyncio unchanged.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from standin import Runtime

Classes = dict[str, type[unittest.TestCase]]
Test = tuple[str, Callable[[], unittest.TestCase]]

_PER_SELECTOR = ("Kqueue", "EPoll", "Poll", "Select", "Proactor")


def _drop(classes: Classes, *names: str) -> None:
    for name in names:
        classes.pop(name, None)


def _keep(classes: Classes, *names: str) -> None:
    for name in set(classes) - set(names):
        del classes[name]


def _add(classes: Classes, module: Any, name: str, bases: tuple[type, ...], **attributes: Any) -> None:
    classes[name] = type(name, bases, {"__module__": module.__name__, "__qualname__": name, **attributes})


def _without_mocks(module: Any, classes: Classes, name: str, *others: str) -> None:
    """Leave out the tests that run with mocks in the place of the socket module and parts of asyncio.base_events; the
    decorator shows it, but for the `others`."""
    parent = classes[name]
    patched = [test for test in dir(parent) if test.startswith("test_") and hasattr(getattr(parent, test), "patchings")]
    _add(classes, module, name, (parent,), **dict.fromkeys([*patched, *others]))


def _one_loop(module: Any, classes: Classes, runtime: Runtime, *bases: type) -> None:
    """Put EventLoopTests, on the loop under test, in the place of a class for each selector."""
    model = classes.get("SelectEventLoopTests")
    if not bases and model is not None:
        bases = model.__bases__
    _drop(classes, *(f"{kind}EventLoopTests" for kind in _PER_SELECTOR))
    _add(classes, module, "EventLoopTests", bases, create_event_loop=lambda self: runtime.new_loop())


def test_events(module: Any, classes: Classes, runtime: Runtime) -> None:
    # Not UnixEventLoopTestsMixin: its child watcher is not for loops that watch their children themselves.
    mixins = module.EventLoopTestsMixin, module.SubprocessTestsMixin, module.test_utils.TestCase
    _one_loop(module, classes, runtime, *mixins)
    _drop(classes, "AbstractEventLoopTests", "TestAbstractServer")

    def create_event_loop(self: Any) -> Any:
        loop = runtime.new_loop()
        if not hasattr(loop, "_stop_serving"):
            loop._stop_serving = lambda sock: None  # test_prompt_cancellation ends with a private call
        return loop

    classes["EventLoopTests"].create_event_loop = create_event_loop


def test_sock_lowlevel(module: Any, classes: Classes, runtime: Runtime) -> None:
    _one_loop(module, classes, runtime)


def test_sendfile(module: Any, classes: Classes, runtime: Runtime) -> None:
    _one_loop(module, classes, runtime)
    # Some tests want the hook of asyncio's base class, which says that the system has no sendfile().
    stock = asyncio.selector_events.BaseSelectorEventLoop.__base__
    module.base_events = types.SimpleNamespace(BaseEventLoop=stock)


def test_futures(module: Any, classes: Classes, runtime: Runtime) -> None:
    if runtime.own is None:
        return
    test_case = module.test_utils.TestCase
    own = runtime.own.Future
    sub = type("SubFuture", (own,), {})
    c_tests = classes["CFutureTests"]
    for start in ("C", "CSub", "Py"):
        for family in ("FutureTests", "FutureDoneCallbackTests", "FutureInheritanceTests"):
            _drop(classes, start + family)
    for name, cls in ("Own", own), ("OwnSub", sub):
        _add(classes, module, f"{name}FutureTests", (c_tests,), cls=cls)
        _add(
            classes,
            module,
            f"{name}FutureDoneCallbackTests",
            (module.BaseFutureDoneCallbackTests, test_case),
            _new_future=lambda self, cls=cls: cls(loop=self.loop),
        )
    _add(
        classes,
        module,
        "OwnFutureInheritanceTests",
        (module.BaseFutureInheritanceTests, test_case),
        _get_future_cls=lambda self: own,
    )


def test_futures2(module: Any, classes: Classes, runtime: Runtime) -> None:
    if runtime.own is None:
        return
    _drop(classes, "CFutureTests", "PyFutureTests")
    bases = module.FutureTests, unittest.IsolatedAsyncioTestCase
    if issubclass(module.FutureTests, unittest.TestCase):
        bases = (module.FutureTests,)
        _drop(classes, "FutureTests")
    _add(classes, module, "OwnTaskTests", bases, cls=runtime.own.Task)


def _views(tasks: Any, kind: str = "") -> dict[str, Any]:
    """Where the tests from 3.14 on look which tasks there are; up to then they call asyncio's functions."""
    names = "all_tasks", "current_task"
    return {name: staticmethod(getattr(tasks, kind + name, getattr(tasks, name))) for name in names}


def test_tasks(module: Any, classes: Classes, runtime: Runtime) -> None:
    if runtime.own is None:
        return
    test_case, base = module.test_utils.TestCase, module.BaseTaskTests
    own, tasks, futures = runtime.own, module.tasks, module.futures
    for name in list(classes):
        if "Task" in name and issubclass(classes[name], base):
            _drop(classes, name)
    kinds = {
        "OwnTask_OwnFuture_Tests": (own.Task, own.Future),
        "OwnTask_CFuture_Tests": (own.Task, getattr(futures, "_CFuture", None)),
        "OwnTask_PyFuture_Tests": (own.Task, futures._PyFuture),
        "CTask_OwnFuture_Tests": (getattr(tasks, "_CTask", None), own.Future),
        "PyTask_OwnFuture_Tests": (tasks._PyTask, own.Future),
    }
    for name, (task, future) in kinds.items():
        if task is not None and future is not None:
            bases: tuple[type, ...] = (base, test_case)
            if "Own" in name[:3] and future is own.Future:
                bases = (base, module.SetMethodsTest, test_case)
            kind = "_py_" if task is tasks._PyTask else ""
            _add(classes, module, name, bases, Task=task, Future=future, **_views(tasks, kind))
    _add(
        classes,
        module,
        "OwnTask_OwnFuture_SubclassTests",
        (base, test_case),
        Task=own.Task,
        Future=own.Future,
        **_views(tasks),
    )
    module.add_subclass_tests(classes["OwnTask_OwnFuture_SubclassTests"])

    _drop(classes, "PyIntrospectionTests", "CIntrospectionTests", "PyCurrentLoopTests", "CCurrentLoopTests")
    names = "_register_task", "_unregister_task", "_enter_task", "_leave_task"
    _add(
        classes,
        module,
        "OwnIntrospectionTests",
        (module.BaseTaskIntrospectionTests, test_case),
        **{name: staticmethod(getattr(own, name, getattr(tasks, name))) for name in names},
        **_views(tasks),
        Task=own.Task,
    )
    _add(
        classes,
        module,
        "OwnCurrentLoopTests",
        (module.BaseCurrentLoopTests, test_case),
        current_task=staticmethod(own.current_task),
        new_task=lambda self, coro: own.Task(coro, loop=self.loop),
    )


def test_eager_task_factory(module: Any, classes: Classes, runtime: Runtime) -> None:
    if runtime.own is None:
        return
    _drop(
        classes,
        *(name for name in classes if name.startswith(("Py", "C")) or "PyTask" in name or "CTask" in name),
    )
    bases = module.EagerTaskFactoryLoopTests, module.test_utils.TestCase
    _add(classes, module, "OwnEagerTaskFactoryLoopTests", bases, Task=runtime.own.Task)
    for name in "NonEagerTests", "EagerTests":
        classes[name].Task = runtime.own.Task


def test_runners(module: Any, classes: Classes, runtime: Runtime) -> None:
    """The runtime's own runner makes its own loops; these tests look at the loops that a policy made."""
    if runtime.loop == "asyncio" or runtime.own is None:
        return
    own_runner = sys.modules[runtime.own.Runner.__module__]
    for name, cls in list(classes.items()):

        def set_up(self: Any, parent: type = cls) -> None:
            patch = mock.patch.object(own_runner, "new_event_loop", asyncio.new_event_loop)
            patch.start()
            self.addCleanup(patch.stop)
            parent.setUp(self)

        _add(classes, module, name, (cls,), setUp=set_up)


def test_graph(module: Any, classes: Classes, runtime: Runtime) -> None:
    """asyncio's own gather(), wait()... draw the graph of asyncio's own tasks only: nothing of a loop is in it."""
    _drop(classes, "TestCallStackC", "TestCallStackPy")
    if runtime.own is not None:
        bases = module.CallStackTestBase, unittest.IsolatedAsyncioTestCase
        _add(classes, module, "OwnCallStackTests", bases)


def test_subprocess(module: Any, classes: Classes, runtime: Runtime) -> None:
    def set_up(self: Any) -> None:
        super(classes["SubprocessTests"], self).setUp()
        self.loop = runtime.new_loop()
        self.set_event_loop(self.loop)

    _keep(classes)
    _add(classes, module, "SubprocessTests", (module.SubprocessMixin, module.test_utils.TestCase), setUp=set_up)


def test_unix_events(module: Any, classes: Classes, runtime: Runtime) -> None:
    _keep(classes, "SelectorEventLoopUnixSocketTests", "TestFork", "TestFunctional")
    _without_mocks(module, classes, "SelectorEventLoopUnixSocketTests")


def test_base_events(module: Any, classes: Classes, runtime: Runtime) -> None:
    _keep(classes, "RunningLoopTests", "BaseEventLoopTests", "BaseEventLoopWithSelectorTests")
    connect = "connect_err", "multiple", "ssl_server_hostname_default"  # else they would reach out to the world
    others = "test_accept_connection_retry", *(f"test_create_connection_{test}" for test in connect)
    _without_mocks(module, classes, "BaseEventLoopWithSelectorTests", *others)


def test_sslproto(module: Any, classes: Classes, runtime: Runtime) -> None:
    _keep(classes, "SelectorStartTLSTests")
    in_sslproto = "test_create_connection_ssl_failed_certificate_no_cycles"  # looks into asyncio's own SSLProtocol
    _without_mocks(module, classes, "SelectorStartTLSTests", in_sslproto)


def test_free_threading(module: Any, classes: Classes, runtime: Runtime) -> None:
    _keep(classes, "TestCFreeThreading", "TestEagerCFreeThreading")


def as_it_is(module: Any, classes: Classes, runtime: Runtime) -> None:
    pass


MODULES: dict[str, Callable[[Any, Classes, Runtime], None]] = {
    "test_events": test_events,
    "test_sock_lowlevel": test_sock_lowlevel,
    "test_base_events": test_base_events,
    "test_unix_events": test_unix_events,
    "test_futures": test_futures,
    "test_futures2": test_futures2,
    "test_tasks": test_tasks,
    "test_eager_task_factory": test_eager_task_factory,
    "test_queues": as_it_is,
    "test_locks": as_it_is,
    "test_timeouts": as_it_is,
    "test_waitfor": as_it_is,
    "test_taskgroups": as_it_is,
    "test_staggered": as_it_is,
    "test_threads": as_it_is,
    "test_context": as_it_is,
    "test_pep492": as_it_is,
    "test_runners": test_runners,
    "test_graph": test_graph,
    "test_streams": as_it_is,
    "test_buffered_proto": as_it_is,
    "test_server": as_it_is,
    "test_sendfile": test_sendfile,
    "test_ssl": as_it_is,
    "test_sslproto": test_sslproto,
    "test_free_threading": test_free_threading,
    "test_subprocess": test_subprocess,
}
NOT_IN_EVERY_VERSION = {"test_eager_task_factory", "test_staggered", "test_graph", "test_free_threading"}


def tests(runtime: Runtime) -> Iterator[Test]:
    """Every test for this runtime, as (id, maker), in a fixed order."""
    loader = unittest.TestLoader()
    for name, adapt in MODULES.items():
        try:
            module = importlib.import_module(f"test.test_asyncio.{name}")
        except ModuleNotFoundError:
            if name in NOT_IN_EVERY_VERSION:
                continue
            raise
        classes: Classes = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__
        }
        adapt(module, classes, runtime)
        for key in sorted(key for key in classes if "Proactor" not in key):
            for method in loader.getTestCaseNames(classes[key]):
                yield f"{name}.{key}.{method}", lambda cls=classes[key], method=method: cls(method)
