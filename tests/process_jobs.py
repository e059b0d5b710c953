"""Functions that the tests of to_process() and ProcessPool run in worker processes, which import this file: what takes long to
import is imported where it is used."""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import time
from typing import Any

variable = contextvars.ContextVar("variable", default="unset")


class TwoArguments(Exception):
    """Can be pickled, but not be unpickled."""

    def __init__(self, a: object, b: object) -> None:
        super().__init__(f"{a} and {b}")


class Detailed(Exception):
    """Comes back with what it has."""

    def __init__(self, text: str, detail: object) -> None:
        super().__init__(text, detail)
        self.detail = detail


class Stubborn:
    """Can't be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("this is no number",)


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


def same(thing: Any) -> Any:
    return thing


def add(a: int, b: int = 1) -> int:
    return a + b


def both(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def pid(*_: object) -> int:
    return os.getpid()


def count() -> int:
    """How many times it was called in this process."""
    global _counted
    _counted += 1
    return _counted


_counted = 0


def compute(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i
    return total


def wait_for_file(path: str, seconds: float = 30) -> int:
    """Until the file is there; the number of the process."""
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.002)
    return os.getpid()


def announce(begun: str, then: str, *args: Any) -> Any:
    """Say in a file that it runs here, then do something by name."""
    with open(f"{begun}.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{begun}.part", begun)
    return globals()[then](*args)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def hold_the_gil() -> None:
    """For minutes, in one operation of C."""
    print((3 ** (10**8)) % 7)


def hold_the_gil_for(seconds: float) -> float:
    """At least; in few operations of C."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        (3 ** (10**6)) % 7
    return time.monotonic() - begun


def ignore_terms(begun: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    announce(begun, "sleep", 60)


def fail(text: str) -> None:
    raise ValueError(text)


def fail_with(error: BaseException) -> None:
    raise error


def fail_from() -> None:
    try:
        fail("first")
    except ValueError as e:
        raise Detailed("second", {"a": 1}) from e


def fail_oddly() -> None:
    raise TwoArguments(1, 2)


def fail_silently() -> None:
    raise Silent()


def segmentation_fault() -> None:
    import ctypes

    ctypes.string_at(0)


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def exit_now(code: int) -> None:
    os._exit(code)


def exit_politely(code: int) -> None:
    sys.exit(code)


def unpicklable() -> Any:
    return threading.Lock()


def stubborn() -> Stubborn:
    return Stubborn()


def interrupt() -> str:
    signal.raise_signal(signal.SIGINT)  # its handler has run when this returns
    return "still here"


def own_handler() -> list[int]:
    """A signal handler works, as in any main thread."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    return seen


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread() and threading.active_count() == 1


def modules() -> list[str]:
    return sorted(sys.modules)


def descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def inheritable() -> list[int]:
    return [fd for fd in descriptors() if fd > 2 and os.get_inheritable(fd)]


def stdin() -> str:
    return os.readlink("/proc/self/fd/0") + sys.stdin.read()


def get_variable() -> str:
    return variable.get()


def set_variable(value: str) -> str:
    before = variable.get()
    variable.set(value)
    return before


def mutate(array: Any) -> Any:
    array += 1
    return array


def zeros(size: int) -> Any:
    import numpy as np

    return np.zeros(size, "u1")


def start_and_hold() -> int:
    """A program that goes on after this process, with its channel."""
    import subprocess

    sockets = [fd for fd, target in descriptors().items() if target.startswith("socket:")]
    return subprocess.Popen(["sleep", "60"], pass_fds=sockets).pid


def fork_and_return() -> int:
    """Both come back: this process, and a child that should have ended."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return os.getpid()


def work_elsewhere() -> Any:
    """A job may have a loop, and workers of its own."""
    import glassloop

    return glassloop.run(glassloop.to_process(pid)), os.getpid()


def nested() -> int:
    """Processes of a job's own."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(add, (1, 2))


def leave_at_exit(path: str) -> None:
    import atexit

    def leave() -> None:
        with open(path, "w") as file:
            file.write("left")

    atexit.register(leave)


def stay_at_exit() -> None:
    import atexit

    atexit.register(time.sleep, 60)


def close_everything() -> None:
    os.closerange(3, 100)


def write_into_channel() -> None:
    for fd, target in descriptors().items():
        if target.startswith("socket:"):
            os.write(fd, b"\xff" * 100)
    time.sleep(60)


def report(values: Any) -> str:  # the import is the job's own: a worker doesn't have it
    from glassloop import report_progress

    for value in values:
        report_progress(value)
    return "done"


def report_stubborn() -> str:
    return report([Stubborn()])


def report_from_threads(threads: int, each: int) -> None:
    from glassloop import report_progress

    def work(number: int) -> None:
        for i in range(each):
            report_progress((number, i))

    running = [
        threading.Thread(target=contextvars.copy_context().run, args=(work, number)) for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def report_later(path: str) -> None:
    """A thread that reports when the job is over."""
    from glassloop import report_progress

    def work() -> None:
        wait_for_file(path)
        report_progress("too late")

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()


def mark(folder: str, name: str, then: str, *args: Any) -> Any:
    """Say that job `name` runs here, by a file with a line for each time; then do something by name."""
    with open(os.path.join(folder, name), "a") as file:
        file.write(f"{os.getpid()}\n")
    return globals()[then](*args)
