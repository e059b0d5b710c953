"""Where a program starts: run(), Runner, and the ways to make asyncio itself use glassloop.

run() and Runner are asyncio's own, on our loop: what Ctrl-C does, how the tasks that are left over are
cancelled, how asynchronous generators and the default executor are shut down, is asyncio.Runner's work and
stays its work, so that each version of Python keeps its own behaviour. What is added: any awaitable can be
run on every version, spawned tasks have their end, and signals can stop the program within a given time
(stop_on=, grace=; see stopping.py, which is loaded only then).

install() makes asyncio's event loop policy ours, so that asyncio.run(), asyncio.Runner,
asyncio.new_event_loop() and whatever is built on them make glassloop's loops. take_over() goes further, for
`glassloop run`: there even a program that asks for asyncio's loop or uvloop's by name, as web servers do that
look for a fast loop by themselves, gets ours.

Not here: what a loop does when it starts and ends (core/lifecycle.py), and running a program's file (cli.py).
"""
import asyncio
import functools
import inspect
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from .loop import EventLoop

if TYPE_CHECKING:
    from .control.process import Hold
    from .stopping import GracefulStop

T = TypeVar('T')
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_ELSE = ('glassloop.run(main()), asyncio.run(main(), loop_factory=glassloop.new_event_loop), '
         'or `glassloop run FILE` without a change to the program')

# what asyncio.Runner.run() raises for something that can't be awaited
_NotAwaitable = TypeError if sys.version_info >= (3, 14) else ValueError
_EXPECTED = 'an awaitable is required' if sys.version_info >= (3, 14) else 'a coroutine was expected'


def new_event_loop() -> EventLoop:
    """A new glassloop event loop: fit to be a loop_factory."""
    return EventLoop()


class Runner(asyncio.Runner):  # type: ignore[misc]  # final for typeshed, but not in fact
    """An event loop and its life: a context manager. See asyncio.Runner.

    debug: True or False sets debug mode, None leaves it as the environment says. loop_factory: makes the
    loop; by default it is a glassloop loop, which is also set as the thread's current one.

    stop_on: signals that stop what run() runs and close() waits for, within `grace` seconds from the first of
    them; then, or at a second one, what has not ended is reported on stderr, and the process ends with the exit
    status 128 + N. Raises TypeError and ValueError for what are no signals and no such number of seconds,
    RuntimeError for signals that can't be caught.

    control: True lets `glassloop ps`, `tree`, `cancel` and `call` of the same user look at the process and drive it, from
    run() or get_loop() to close(). None: if GLASSLOOP_CONTROL is set. See docs/outside.md.
    """

    _loop: asyncio.AbstractEventLoop | None  # asyncio.Runner's

    def __init__(self, *, debug: bool | None = None, loop_factory: LoopFactory | None = None,
                 stop_on: Iterable[int] = (), grace: float = 10.0, control: bool | None = None) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory or self._make_current)
        self._made_current = False
        self._control = control
        self._held: Hold | None = None
        self._stop: GracefulStop | None = None
        if stop_on != ():
            from . import stopping

            self._stop = stopping.GracefulStop(stop_on, grace)

    def _make_current(self) -> asyncio.AbstractEventLoop:
        loop = new_event_loop()
        asyncio.set_event_loop(loop)
        self._made_current = True
        return loop

    def run(self, coro: Awaitable[T], *, context: Context | None = None) -> T:
        """Run a coroutine, or any other awaitable, and return its result; `context` is what it runs in.

        Ctrl-C cancels the coroutine and then raises KeyboardInterrupt here; a second one raises it at once.
        A signal N of stop_on cancels it, too, and then raises SystemExit(128 + N), for SIGINT KeyboardInterrupt;
        if the coroutine returns all the same, so does run().
        Raises ValueError (TypeError from Python 3.14 on) if coro can't be awaited, RuntimeError in a running
        loop, after close(), or with stop_on outside of the main thread; with control=True PermissionError if the
        folder of the control socket isn't private to this user, NotImplementedError without Linux.
        """
        if self._wants_control():
            try:
                self.get_loop()
            except BaseException:
                if asyncio.iscoroutine(coro):
                    coro.close()  # it isn't awaited, and that is no mistake of its own
                raise
        if not asyncio.iscoroutine(coro):
            if not inspect.isawaitable(coro):
                raise _NotAwaitable(f'{_EXPECTED}, got {coro!r}{_advice(coro)}')
            _refuse_in_loop('Runner.run()')
            self.get_loop()  # a closed runner says so before there is a coroutine that nobody would await
            coro = _wait_for(coro)
        result: T = super().run(coro, context=context) if self._stop is None else self._run_to_stop(coro, context)
        return result

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, made at the first call. Raises RuntimeError after close(), and what control=True raises in run()."""
        loop: asyncio.AbstractEventLoop = super().get_loop()
        if self._held is None and self._wants_control():
            from .control import hold

            self._held = hold(self._control)
        return loop

    def _wants_control(self) -> bool:
        return bool(self._control) or (self._control is None and 'GLASSLOOP_CONTROL' in os.environ)

    def _run_to_stop(self, coro: Any, context: Context | None) -> Any:
        _refuse_in_loop('Runner.run()')
        stop = self._stop
        assert stop is not None
        stop.begin()
        with stop.listen(self.get_loop()):
            try:
                return super().run(stop.drive(coro), context=context)
            except asyncio.CancelledError:
                stop.raise_if_stopped()
                raise

    def close(self) -> None:
        """Wait for the spawned tasks that are to be drained, cancel the tasks that are left, shut asynchronous
        generators and the default executor down, close the loop. Closing twice does nothing."""
        stop = self._stop
        if stop is None or self._loop is None or not stop.armed:
            self._close()
            return
        try:
            with stop.listen(self._loop):
                self._close()
        finally:
            stop.end()
        stop.raise_if_missed()

    def _close(self) -> None:
        try:
            try:
                self._wind_up()
            finally:
                super().close()
        finally:
            if self._made_current:
                self._made_current = False
                asyncio.set_event_loop(None)
            if self._held is not None:
                self._held.close()

    def _wind_up(self) -> None:
        """The end of the spawned tasks. Ctrl-C ends the wait for them."""
        background = sys.modules.get('glassloop.sync.background')  # else nothing was ever spawned
        loop = self._loop
        if background is None or loop is None or loop.is_running():
            return
        spawned = background.spawned_of(loop)
        if spawned is not None:
            left = None if self._stop is None else self._stop.left
            # after a signal: as much time again for those that are cancelled then
            loop.run_until_complete(spawned.wind_up(None if left is None else left / 2))


def run(main: Awaitable[T], *, debug: bool | None = None, loop_factory: LoopFactory | None = None,
        stop_on: Iterable[int] = (), grace: float = 10.0, control: bool | None = None) -> T:
    """Run main() on a new glassloop event loop, close the loop, return the result. See asyncio.run.

    stop_on, grace: the signals that stop the program, and within how many seconds; control: True opens a control
    socket; see Runner.
    Raises what main raises; ValueError (TypeError from Python 3.14 on) if it can't be awaited, RuntimeError
    in a running loop, or with stop_on outside of the main thread; what Runner() and Runner.run() raise.
    """
    _refuse_in_loop('glassloop.run()')
    runner = Runner(debug=debug, loop_factory=loop_factory, stop_on=stop_on, grace=grace, control=control)
    with runner:
        return runner.run(main)


def _refuse_in_loop(what: str) -> None:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(f'{what} cannot be called from a running event loop: await the coroutine there')


def _advice(thing: object) -> str:
    if inspect.iscoroutinefunction(thing):
        return f'; call it: {thing.__name__}()'
    return ''


async def _wait_for(awaitable: Awaitable[T]) -> T:
    return await awaitable


# ---- asyncio on glassloop ----

if TYPE_CHECKING:
    _DefaultPolicy = asyncio.DefaultEventLoopPolicy
else:
    # deprecated in 3.14, and gone one day: then there is nothing to inherit, and nothing to install
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        _DefaultPolicy = getattr(asyncio, 'DefaultEventLoopPolicy', object)


class EventLoopPolicy(_DefaultPolicy):
    """asyncio's default policy, but that the loops are glassloop's."""

    def new_event_loop(self) -> EventLoop:
        """A new glassloop event loop."""
        return new_event_loop()


def install() -> None:
    """From now on asyncio.run(), asyncio.Runner and asyncio.new_event_loop() use glassloop. Twice does
    nothing more.

    Python 3.14 deprecates event loop policies, hence a DeprecationWarning there: it names the other ways.
    Raises RuntimeError where Python has no policies any more.
    """
    _set_policy()
    if 'GLASSLOOP_CONTROL' in os.environ:
        from .control import hold

        hold(None)  # asyncio's runners know nothing of it
    if sys.version_info >= (3, 14):
        warnings.warn(f'glassloop.install() sets an event loop policy, and Python is going to drop those: '
                      f'use {_ELSE}', DeprecationWarning, stacklevel=2)


def _set_policy() -> None:
    if not hasattr(asyncio, 'set_event_loop_policy'):
        raise RuntimeError(f'this Python has no event loop policies: use {_ELSE}')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        if not isinstance(asyncio.get_event_loop_policy(), EventLoopPolicy):
            asyncio.set_event_loop_policy(EventLoopPolicy())


def take_over() -> None:
    """install(), and every asyncio.Runner that is told to make a loop of asyncio or uvloop makes one of
    glassloop (a factory of the program's own is left alone). So it is in the processes that multiprocessing
    starts, too."""
    from multiprocessing import spawn  # some milliseconds, which only `glassloop run` is to pay

    init = asyncio.Runner.__init__
    _set_policy()
    if hasattr(init, '__wrapped__'):
        return

    @functools.wraps(init)
    def initialize(self: asyncio.Runner, *, debug: bool | None = None,
                   loop_factory: LoopFactory | None = None) -> None:
        if loop_factory is None:
            if _is_replaced(type(_current_policy())):
                _set_policy()
        elif _is_replaced(loop_factory):
            loop_factory = new_event_loop
        init(self, debug=debug, loop_factory=loop_factory)

    prepare = spawn.get_preparation_data

    @functools.wraps(prepare)
    def prepare_too(name: str) -> dict[str, Any]:
        return {**prepare(name), 'glassloop': _TakeOver()}

    asyncio.Runner.__init__ = initialize  # type: ignore[method-assign]
    spawn.get_preparation_data = prepare_too


class _TakeOver:
    """Sent to a new process among what multiprocessing tells it first: take_over() is called where this is
    unpickled. That is before the new process has our sys.path."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str, dict[str, object]]]:
        return exec, (f'import sys\nsys.path[:] = {sys.path!r}\n'
                      'from glassloop.runner import take_over\ntake_over()', {})


def _current_policy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        return asyncio.get_event_loop_policy()


def _is_replaced(thing: Any) -> bool:
    return (getattr(thing, '__module__', None) or '').partition('.')[0] in ('asyncio', 'uvloop')
