"""Runs each test in a process of its own, forked from this warm one.

The parent has imported CPython's tests once; a child costs a fork and the test itself. A child leads a
process group of its own, so that what it leaves behind dies with it, and works in a folder of its own,
since CPython's tests name files after the parent. What it prints goes to an anonymous file, what it found
to another: neither can block it or be held open by a grandchild.

A child that doesn't end within the limit is killed, after its stacks were written to its output. That is
the failure of one test and never stops the run.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import unittest
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
STACKS_BEFORE_KILL = 1.0
LOOK_AGAIN = 0.005
OUTPUT_KEPT = 16_000


@dataclass
class Outcome:
    test: str
    status: str
    reason: str = ""
    detail: str = ""
    seconds: float = 0.0


@dataclass
class _Child:
    test: str
    pid: int
    result: IO[bytes]
    output: IO[bytes]
    folder: str
    started: float
    watched: int = -1
    killed: bool = False


class _Result(unittest.TestResult):
    """Keeps the first line of what went wrong beside the whole traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[tuple[str, str]] = []
        self.skips: list[str] = []

    def _note(self, kind: str, test: unittest.TestCase, err: Any) -> None:
        last = traceback.format_exception_only(err[0], err[1])[-1].strip().splitlines()
        self.wrong.append((f"{kind}: {last[0] if last else err[0].__name__}", self._exc_info_to_string(err, test)))

    def addError(self, test: Any, err: Any) -> None:
        self._note("error", test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._note("failure", test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._note(f"subtest {subtest._subDescription()}", test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self.skips.append(reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.wrong.append(("unexpected success of a test that CPython expects to fail", ""))


def _run_test(case: unittest.TestCase) -> dict[str, str]:
    """The body of a child: one test, then what it left behind."""
    from test import support

    left: list[str] = []

    def unraisable(info: Any) -> None:
        left.append(f"unraisable {info.exc_type.__name__}: {info.exc_value} ({info.err_msg or ''} {info.object!r})")
        sys.__unraisablehook__(info)

    def in_thread(info: Any) -> None:
        left.append(f"in a thread {info.exc_type.__name__}: {info.exc_value}")
        threading.__excepthook__(info)

    sys.unraisablehook = unraisable
    threading.excepthook = in_thread
    result = _Result()
    unittest.TestSuite([case]).run(result)
    del case
    gc.collect()
    if result.wrong:
        return {
            "status": FAILED,
            "reason": result.wrong[0][0],
            "detail": "\n".join(detail for _, detail in result.wrong),
        }
    if support.environment_altered:
        left.append("the test's surroundings were changed (dangling threads or processes)")
    if left:
        return {"status": FAILED, "reason": "left behind: " + left[0], "detail": "\n".join(left)}
    if result.skips:
        return {"status": SKIPPED, "reason": result.skips[0], "detail": ""}
    return {"status": PASSED, "reason": "", "detail": ""}


def _be_child(case: unittest.TestCase, result: IO[bytes], output: IO[bytes], folder: str, limit: float) -> None:
    """Never returns: what a test raises, forks or leaves running must not get into the parent's code."""
    code = 70
    try:
        me = os.getpid()
        os.setpgid(0, 0)
        os.chdir(folder)
        tempfile.tempdir = folder
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        os.close(nowhere)
        faulthandler.enable(file=2)
        faulthandler.dump_traceback_later(max(limit - STACKS_BEFORE_KILL, limit / 2), file=2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        found = _run_test(case)
        if os.getpid() != me:
            os._exit(71)  # a fork made by the test that went on into our code
        faulthandler.cancel_dump_traceback_later()
        result.write(json.dumps(found).encode())
        result.flush()
        code = 0
    except BaseException as err:  # what unittest lets through, as KeyboardInterrupt
        traceback.print_exc()
        result.write(json.dumps({"status": FAILED, "reason": f"error: {err!r}", "detail": ""}).encode())
        result.flush()
        code = 0
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _start(test: str, case: unittest.TestCase, limit: float) -> _Child:
    result, output = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    folder = tempfile.mkdtemp(prefix="conformance-")
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_child(case, result, output, folder, limit)
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass  # the child was faster, or is already gone
    return _Child(test, pid, result, output, folder, started)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nothing was left


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    text = file.read().decode(errors="replace")
    file.close()
    if len(text) > OUTPUT_KEPT:
        text = text[: OUTPUT_KEPT // 2] + "\n[...]\n" + text[-OUTPUT_KEPT // 2 :]
    return text


def _outcome(child: _Child, status: int, limit: float) -> Outcome:
    seconds = time.monotonic() - child.started
    output = _text(child.output)
    found = _text(child.result)
    if child.killed:
        return Outcome(child.test, FAILED, f"hang: not done after {limit:g} s", output, seconds)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Outcome(child.test, FAILED, f"crash: killed by {name}", output, seconds)
    if status or not found:  # the test ended the process
        return Outcome(child.test, FAILED, f"crash: exit code {os.WEXITSTATUS(status)}", output, seconds)
    answer = json.loads(found)
    detail = answer["detail"]
    if answer["status"] == FAILED and output:
        detail += "\n--- printed by the test:\n" + output
    return Outcome(child.test, answer["status"], answer["reason"], detail, seconds)


def run(tests: Iterable[tuple[str, Callable[[], unittest.TestCase]]], *, workers: int, limit: float) -> Iterator[Outcome]:
    """Yield the outcome of each test as it ends; `tests` gives (id, maker of the test case).

    `limit` is in seconds and for each test. The children of a run that is broken off are killed.
    """
    gc.collect()
    gc.freeze()
    waiting = iter(tests)
    running: dict[int, _Child] = {}
    watch = selectors.DefaultSelector()
    has_pidfd = hasattr(os, "pidfd_open")
    more = True
    try:
        while more or running:
            while more and len(running) < workers:
                try:
                    test, make = next(waiting)
                except StopIteration:
                    more = False
                    break
                child = _start(test, make(), limit)
                running[child.pid] = child
                if has_pidfd:
                    child.watched = os.pidfd_open(child.pid)
                    watch.register(child.watched, selectors.EVENT_READ)
            if not running:
                continue
            deadline = min(child.started + limit for child in running.values())
            pause = max(deadline - time.monotonic(), LOOK_AGAIN)
            watch.select(pause if has_pidfd else LOOK_AGAIN)
            now = time.monotonic()
            for child in list(running.values()):
                if not child.killed and now - child.started >= limit:
                    child.killed = True
                    _kill_group(child.pid)
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if not pid:
                    continue
                del running[child.pid]
                if child.watched >= 0:
                    watch.unregister(child.watched)
                    os.close(child.watched)
                _kill_group(child.pid)
                shutil.rmtree(child.folder, ignore_errors=True)
                yield _outcome(child, status, limit)
    finally:
        for child in running.values():
            _kill_group(child.pid)
            os.waitpid(child.pid, 0)
            shutil.rmtree(child.folder, ignore_errors=True)
        watch.close()
