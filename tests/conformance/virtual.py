"""TestLoop: a glassloop loop on virtual time, with the face of CPython's `test.test_asyncio.utils.TestLoop`.

The test gives a generator. It is sent the deadline of each timer that was made, in that order, and yields
by how many seconds to move the time forward. Clock and poller are the loop's parameters: the clock reads
the virtual time, and the poller, which the loop asks when it has nothing to run, feeds the generator
instead of sleeping. Descriptors are never ready on such a loop.

That takes timers made by call_at() and call_later(). The runtime's own sleep() and timeouts set their
deadlines below these, so in whole mode the generator is not asked: when the loop is idle the time jumps to
the next deadline, and the tests' assertions on results and on loop.time() are what counts.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any

import glassloop
from glassloop.core.poller import Poller

RESOLUTION = 1e-9
IDLE_PAUSE = 0.0002

TimeGenerator = Generator[float | None, float, None]


class _Clock:
    """What the loop compares deadlines with: a resolution ahead, as sums of decimal fractions are inexact."""

    def __init__(self, resolution: float) -> None:
        self.now = 0.0
        self._resolution = resolution

    def time(self) -> float:
        return self.now + self._resolution


class _VirtualPoller(Poller):
    def __init__(self) -> None:
        self.new_run = True
        self.stop_when_idle = False

    def open(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)

    def register(self, fd: int, watcher: Any, events: int) -> None:
        pass

    def modify(self, fd: int, watcher: Any, events: int) -> None:
        pass

    def unregister(self, fd: int) -> None:
        pass

    def close(self) -> None:
        pass

    def wait(self, timeout: float) -> None:
        loop = self._loop()
        if self.new_run:
            self.new_run = False  # CPython's loop moves the time after a batch, so not before the first
        else:
            loop._feed_generator()
        if timeout and self.stop_when_idle:
            loop.stop()
        elif timeout > 0 and loop.jumps:
            loop.jump(timeout)
        elif timeout < 0:
            time.sleep(IDLE_PAUSE)


def _one_yield() -> TimeGenerator:
    yield None


class TestLoop(glassloop.EventLoop):
    __test__ = False
    jumps = False
    _default_executor = None  # CPython's test cases look here when they close a loop

    def __init__(self, gen: Callable[[], TimeGenerator] | None = None) -> None:
        self._virtual = _Clock(0.0 if self.jumps else RESOLUTION)
        self._idle = _VirtualPoller()
        super().__init__(clock=self._virtual, poller=self._idle)
        self._check_on_close = gen is not None
        self._gen = (gen or _one_yield)()
        next(self._gen)
        self._deadlines: list[float] = []

    def time(self) -> float:
        return self._virtual.now

    def advance_time(self, advance: float | None) -> None:
        if advance:
            self._virtual.now += advance

    def jump(self, timeout: float) -> None:
        """To the next deadline; never short of it by a rounding error."""
        self._virtual.now = math.nextafter(self._virtual.now + timeout, math.inf)

    def _feed_generator(self) -> None:
        made, self._deadlines = self._deadlines, []
        if not self.jumps:
            for when in made:
                self.advance_time(self._gen.send(when))

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = super().call_later(delay, callback, *args, context=context)
        self._deadlines.append(handle.when())
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = super().call_at(when, callback, *args, context=context)
        self._deadlines.append(when)
        return handle

    def run_forever(self) -> None:
        self._idle.new_run = True
        super().run_forever()
        self._feed_generator()

    @property
    def _ready(self) -> tuple[()]:
        """CPython's tests run a loop briefly until this is empty. Ours is run until it is idle."""
        self._idle.stop_when_idle = True
        try:
            self.run_forever()
        finally:
            self._idle.stop_when_idle = False
        return ()

    def close(self) -> None:
        super().close()
        if self._check_on_close and not self.jumps:
            try:
                self._gen.send(0)
            except StopIteration:
                return
            raise AssertionError("Time generator is not finished")
