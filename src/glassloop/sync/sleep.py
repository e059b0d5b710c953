"""sleep(): a turn of the loop, or a deadline.

sleep(0) gives way once: it yields the bare None that every task, ours or asyncio's, takes for "go on in the next turn".
Any other delay is a future and an Alarm. Neither costs a coroutine frame.
"""
from __future__ import annotations

import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..core import leaf as _leaf
from ..core.leaf import LoopBase, Op
from . import waiting as _waiting

__all__ = ('sleep',)

T = TypeVar('T')

NEW = 0
YIELDED = 1
DONE = 2


class Sleep_zero:
    """One bare yield, with a coroutine's face."""

    __slots__ = ('_phase', '_result')

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self._phase == NEW:
            self._phase = YIELDED
            return None
        if self._phase == DONE:
            raise RuntimeError('cannot reuse already awaited coroutine')
        self._phase = DONE
        if self._result is None:
            raise StopIteration
        raise StopIteration(self._result)

    def send(self, value):
        return self.__next__()

    def throw(self, type, value=None, traceback=None):
        if self._phase == DONE:
            raise RuntimeError('cannot reuse already awaited coroutine')
        self._phase = DONE
        return _waiting.NOTHING.throw(type, value, traceback)

    def close(self):
        self._phase = DONE

    def __del__(self):
        if self._phase == NEW:
            warnings.warn("coroutine 'sleep' was never awaited", RuntimeWarning, source=self)


class Sleep(Op):
    __slots__ = ('_delay', '_result', '_alarm', '_handle')

    def _begin(self):
        delay = self._delay
        at_once = delay <= 0
        if delay != delay:
            raise ValueError('Invalid delay: NaN (not a number)')
        loop = _waiting.running()
        future = _waiting.make_waiter(loop)
        if at_once:
            _waiting.wake(future)
        elif isinstance(loop, LoopBase):
            self._alarm = _waiting.set_alarm(loop, delay, future, None)
        else:
            self._handle = loop.call_later(delay, _waiting.settle, future)
        return future

    def _wake(self, exc):
        if exc is None:
            self._value = self._result
            return None
        if self._alarm is not None:
            self._alarm._disarm()
        elif self._handle is not None:
            self._handle.cancel()
        raise exc


def sleep(delay: float, result: T = None) -> Coroutine[Any, Any, T]:
    """Wait for `delay` seconds (give way once if it is zero or negative), then return `result`. Raises ValueError if
    the delay is not a number."""
    if (type(delay) is int or type(delay) is float) and delay <= 0:
        return _give_way(result)
    return _sleep(delay, result)


def _give_way(result):
    op = Sleep_zero.__new__(Sleep_zero)
    op._phase = NEW
    op._result = result
    return op


def _sleep(delay, result):
    op = _leaf.new_op(_Sleep)
    op._delay = delay
    op._result = result
    op._alarm = None
    op._handle = None
    return op


_Sleep = _leaf.recycle_op(Sleep)
