"""The progress bar of long work: drawn by rich on stderr where that is a terminal, gone when the work ends.

Counting costs an addition. The bar is drawn by a timer of the loop, ten times a second, so that it goes on also while
nothing ends; no thread is started. On a terminal there is one display, however many bars there are, in whichever loops
and threads: the terminal is the process's, and so is the display.
"""
from __future__ import annotations

import atexit
import importlib.util
import sys
import threading
from typing import Any

INTERVAL = 0.1  # seconds from one drawing to the next


def bar(description: str, work: object) -> Bar | None:
    """A bar for that work, of len(work) steps where it tells; None where stderr is no terminal. Raises
    ModuleNotFoundError if rich is missing, terminal or not."""
    if importlib.util.find_spec('rich') is None:
        raise ModuleNotFoundError("a progress bar needs rich: pip install 'glassloop[cli]'", name='rich')
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    total = None
    if hasattr(type(work), '__len__'):
        total = len(work)  # type: ignore[arg-type]
    return Bar(description, total)


class Bar:
    def __init__(self, description: str, total: int | None) -> None:
        self._description = description
        self._total = total
        self._done = 0
        self._drawn: Any = None
        self._timer: Any = None

    def begin(self, loop: Any) -> None:
        self._drawn = _display.add(self._description, self._total)
        self._timer = loop.call_later(INTERVAL, self._draw, loop)

    def advance(self) -> None:
        self._done += 1

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            _display.remove(self._drawn)

    def _draw(self, loop: Any) -> None:
        _display.draw(self._drawn, self._done)
        self._timer = loop.call_later(INTERVAL, self._draw, loop)


class _Display:
    """The bars on the terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: set[Any] = set()
        self._progress: Any = None

    def add(self, description: str, total: int | None) -> Any:
        with self._lock:
            if self._progress is None:
                self._progress = _new_progress()
                self._progress.start()
                atexit.register(self.clear)
            added = self._progress.add_task(description, total=total)
            self._bars.add(added)
            return added

    def draw(self, added: Any, done: int) -> None:
        with self._lock:
            if added in self._bars:
                self._progress.update(added, completed=done, refresh=True)

    def remove(self, added: Any) -> None:
        with self._lock:
            if added in self._bars:
                self._bars.remove(added)
                self._progress.remove_task(added)
                if not self._bars:
                    self._stop()

    def clear(self) -> None:
        """At the interpreter's end: a terminal gets its cursor back whatever became of the loops."""
        with self._lock:
            if self._progress is not None:
                self._bars.clear()
                self._stop()

    def _stop(self) -> None:
        progress, self._progress = self._progress, None
        atexit.unregister(self.clear)
        progress.stop()


_display = _Display()


def _new_progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn('{task.description}', markup=False), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,  # that would be a thread
        transient=True,
        # what the program prints appears above the bar; but what goes into a pipe or a file must still go there
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )
