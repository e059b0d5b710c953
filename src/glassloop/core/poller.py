"""The poller's contract, and its makers.

A poller tells a loop which descriptors are ready. It has six functions:

- `open(loop)`: start; called once, before anything else.
- `register(fd, watcher, events)`, `modify(fd, watcher, events)`, `unregister(fd)`: events are READ, WRITE or both.
  Registering a descriptor that is registered already replaces it, and the watcher replaced has no interest left;
  unregistering an unknown or closed one is no error. `modify` returns True where the descriptor had to be added anew:
  it was closed behind our back, and its number is another file's now (where the system can tell).
- `wait(timeout)`: wait up to `timeout` seconds (0: not at all; negative: without limit) and report: for each ready
  descriptor call `watcher._ready(events)`, which puts the watcher in the ready queue. It may return early, never late
  by its own doing, and must let signals through.
- `close()`: free everything. The loop unregisters nothing first.

Errors and hang-ups count as both READ and WRITE, of what the watcher wants: whoever reads or writes next learns of them.
A loop takes any Poller as a parameter: a test may give it one that lives on virtual time or on a simulated network.

Here: the epoll poller of the leaf (Linux), one on `selectors` for other systems, and the Waker, the pipe through which
other threads and signals wake a loop that sleeps in its poller. Not here: what a ready descriptor means.
"""
import os
import select
import selectors

from . import leaf as _leaf
from .leaf import EpollPoller, Poller, Watcher  # noqa: F401  Poller is for those who write one

READ = 1
WRITE = 2


class SelectorPoller(_leaf.Poller):
    """A poller on the standard library's `selectors`."""

    def __init__(self):
        self._selector = None
        self._watchers = {}

    def open(self, loop):
        self._selector = selectors.DefaultSelector()

    def register(self, fd, watcher, events):
        mask = self._mask(events)
        old = self._watchers.get(fd)
        if old is not None:
            self._selector.modify(fd, mask, watcher)
            if old is not watcher:
                old._interest = 0
        else:
            self._selector.register(fd, mask, watcher)
        self._watchers[fd] = watcher

    def modify(self, fd, watcher, events):
        self._selector.modify(fd, self._mask(events), watcher)
        self._watchers[fd] = watcher
        return False

    def unregister(self, fd):
        if self._watchers.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def wait(self, timeout):
        for key, mask in self._selector.select(None if timeout < 0 else timeout):
            watcher = key.data
            events = 0
            if mask & selectors.EVENT_READ:
                events |= READ
            if mask & selectors.EVENT_WRITE:
                events |= WRITE
            watcher._ready(events)

    def close(self):
        for watcher in self._watchers.values():
            watcher._interest = 0
        self._watchers.clear()
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def _mask(self, events):
        return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


def default_poller():
    """The best poller of this system."""
    return EpollPoller() if hasattr(select, 'epoll') else SelectorPoller()


class Waker(Watcher):
    """A pipe into the poller: one byte wakes the loop. The interpreter writes signal numbers into it too
    (signal.set_wakeup_fd); they go to `on_signal(bytes)`, if that is set."""

    __slots__ = ('_wfd', '_signalled', 'on_signal')

    def __init__(self):
        self._core = None
        self._poller = None
        self._fd = -1
        self._wfd = -1
        self._interest = 0
        self._arrived = 0
        self._queued = False
        self._signalled = False
        self.on_signal = None

    def open(self, core, poller):
        self._core = core
        self._poller = poller
        self._fd, self._wfd = os.pipe()
        os.set_blocking(self._fd, False)
        os.set_blocking(self._wfd, False)
        self._want(READ)

    def write_fd(self):
        """The descriptor to write to."""
        return self._wfd

    def wake(self):
        """From any thread: let the loop's wait end."""
        if self._wfd < 0:
            return
        try:
            os.write(self._wfd, b'\0')
        except BlockingIOError:
            return  # full: it will wake all the same

    def _run(self, core):
        self._queued = False
        self._arrived = 0
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return 0
        if self.on_signal is not None:
            signals = data.replace(b'\0', b'')
            if signals:
                if core._published is not None:
                    core._unpublish()
                self.on_signal(signals)
        return 0

    def close(self):
        if self._fd >= 0:
            os.close(self._fd)
            os.close(self._wfd)
            self._fd = self._wfd = -1
            # a closed loop is freed at once, without the collector
            self._core = self._poller = None
