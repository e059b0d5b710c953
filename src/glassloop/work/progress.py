"""Progress out of a job: report_progress().

A job doesn't know where it runs. Whoever runs it with somebody listening (a worker process, a cluster's worker) sets
`reporter` in the job's context to a function that takes the value there. Where nobody listens, nothing happens: a function
that reports its progress can be called anywhere.

A worker process loads this file by itself, so it imports nothing of the runtime.
"""
from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: what takes the values that the job of this context reports
reporter: ContextVar[Callable[[Any], object] | None] = ContextVar('reporter', default=None)


def report_progress(value: Any) -> None:
    """Tell whoever waits for the job that runs here how far it is: their on_progress(value) is called in their loop. See
    ProcessPool.submit().

    value: anything that can be pickled; raises pickle.PicklingError if it can't. Does nothing outside of a job and where
    nobody listens. It may be called from a thread that the job started, if that runs in a copy of the job's context
    (contextvars.copy_context().run). While the receiver is busy it blocks, as soon as the channel is full, for as long as
    the receiver runs something else.
    """
    report = reporter.get()
    if report is not None:
        report(value)
