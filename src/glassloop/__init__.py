"""glassloop: an asyncio runtime, compiled from plain Python."""
__version__ = "0.1.0"

import asyncio as _asyncio
import importlib as _importlib

from asyncio import *  # noqa: F403

from .core import leaf as _leaf
from .core.future import Future
from .core.handle import Handle, TimerHandle
from .core.task import Task

compiled = _leaf.COMPILED

# TEMPORARY while the parts are being written: what exists is taken
def _take(module, *names):
    try:
        m = _importlib.import_module(module, __name__)
    except ImportError as e:
        print('glassloop: not there yet:', module, e)
        return
    for n in names or getattr(m, '__all__', ()):
        if hasattr(m, n):
            globals()[n] = getattr(m, n)


class _Core:
    def __getattr__(self, name):
        raise NotImplementedError(name)


_take('.loop', 'EventLoop')
if 'EventLoop' not in globals() or not issubclass(globals()['EventLoop'], _leaf.LoopBase):
    from .core.turn import Turn as _Turn
    from .core.lifecycle import Lifecycle as _Lifecycle

    class EventLoop(_Turn, _Lifecycle, _asyncio.AbstractEventLoop):
        def __init__(self, **k):
            _Turn.__init__(self, **k)
            self._begin_life()

        async def shutdown_default_executor(self, timeout=None):
            pass


def new_event_loop():
    return EventLoop()


def run(main, *, debug=None):
    with _asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


_take('.sync')
_take('.net.streams')
_take('.work.threads', 'to_thread')
_take('.runner', 'run', 'Runner', 'new_event_loop', 'EventLoopPolicy', 'install')


def __getattr__(name):
    return getattr(_asyncio, name)
