"""add_reader() and add_writer(): a callback for each time a descriptor is ready."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("no_leaks")

Run = Callable[..., Any]


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    r, w = os.pipe()
    os.set_blocking(r, False)
    os.set_blocking(w, False)
    try:
        yield r, w
    finally:
        for fd in (r, w):
            with contextlib.suppress(OSError):
                os.close(fd)


@contextlib.contextmanager
def pair() -> Iterator[tuple[Any, Any]]:
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        yield a, b


async def poll() -> None:
    """Long enough for the loop to look at its descriptors."""
    await asyncio.sleep(0.01)


def test_reader_is_called_each_time(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w):
            got = []
            assert loop.add_reader(r, lambda *args: got.append((os.read(r, 10), args)), 1, "two") is None
            for data in (b"a", b"b", b"c"):
                os.write(w, data)
                await poll()
            assert got == [(data, (1, "two")) for data in (b"a", b"b", b"c")]
            assert loop.remove_reader(r) is True
            assert loop.remove_reader(r) is False
            os.write(w, b"d")
            await poll()
            assert len(got) == 3

    run(main())


def test_reader_is_called_again_while_there_is_something_to_read(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w):
            got: list[bytes] = []
            done = loop.create_future()

            def read_one() -> None:
                got.append(os.read(r, 1))
                if len(got) == 4:
                    done.set_result(None)

            loop.add_reader(r, read_one)
            os.write(w, b"abcd")
            await done
            assert got == [b"a", b"b", b"c", b"d"]
            loop.remove_reader(r)

    run(main())


def test_writer_is_called_when_there_is_room(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(w, b"x" * 4096)
            calls: list[str] = []

            def write(what: str) -> None:
                calls.append(what)
                loop.remove_writer(w)

            loop.add_writer(w, write, "room")
            await poll()
            assert not calls
            os.read(r, 65536)
            await poll()
            assert calls == ["room"]
            assert loop.remove_writer(w) is False

    run(main())


def test_reader_and_writer_of_one_descriptor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            calls: list[str] = []

            def read() -> None:
                calls.append("read")
                a.recv(10)

            def write() -> None:
                calls.append("write")
                assert loop.remove_writer(a)

            loop.add_reader(a, read)
            loop.add_writer(a, write)
            await poll()
            assert calls == ["write"]
            b.send(b"x")
            await poll()
            assert calls == ["write", "read"]
            loop.add_writer(a.fileno(), write)
            await poll()
            assert calls == ["write", "read", "write"]
            assert loop.remove_reader(a.fileno())

    run(main())


def test_a_reader_may_remove_the_writer_of_the_same_event(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            calls: list[str] = []

            def read() -> None:
                calls.append("read")
                loop.remove_reader(a)
                loop.remove_writer(a)

            loop.add_reader(a, read)
            loop.add_writer(a, calls.append, "write")
            b.send(b"x")
            await poll()
            assert calls in (["read"], ["write", "read"])

    run(main())


def test_a_new_callback_replaces_the_old_one(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w):
            calls: list[str] = []

            def second() -> None:
                calls.append("second")
                os.read(r, 10)

            loop.add_reader(r, calls.append, "first")
            loop.add_reader(r, second)
            os.write(w, b"x")
            await poll()
            assert calls == ["second"]
            assert loop.remove_reader(r) is True
            assert loop.remove_reader(r) is False

    run(main())


@pytest.mark.parametrize("removed", [True, False])
def test_a_callback_added_by_another_is_not_called_for_what_is_gone(run: Run, removed: bool) -> None:
    """The event was for the callback that was removed or replaced, and the bytes are read by then."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w), pipe() as (r2, w2):
            calls: list[bytes] = []

            def take_over() -> None:
                for fd in (r, r2):
                    if removed:
                        loop.remove_reader(fd)
                    with contextlib.suppress(BlockingIOError):
                        os.read(fd, 10)
                loop.add_reader(r, lambda: calls.append(os.read(r, 10)))
                loop.add_reader(r2, lambda: calls.append(os.read(r2, 10)))

            loop.add_reader(r, take_over)
            loop.add_reader(r2, take_over)
            os.write(w, b"x")
            os.write(w2, b"x")
            errors: list[Any] = []
            loop.set_exception_handler(lambda loop, context: errors.append(context))
            await poll()
            assert not calls
            assert not errors
            os.write(w, b"y")
            await poll()
            assert calls == [b"y"]
            loop.remove_reader(r)
            loop.remove_reader(r2)

    run(main())


def test_callbacks_run_in_the_context_in_which_they_were_added(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="outside")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w):
            seen: list[tuple[str, object]] = []

            def read() -> None:
                os.read(r, 10)
                seen.append((variable.get(), asyncio.current_task()))
                variable.set("changed by the callback")

            variable.set("inside")
            loop.add_reader(r, read)
            variable.set("later")
            os.write(w, b"x")
            await poll()
            assert seen == [("inside", None)]
            assert variable.get() == "later"
            loop.remove_reader(r)

    run(main())


def test_a_callback_that_raises_is_reported_and_called_again(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w), pipe() as (r2, w2):
            errors: list[dict[str, Any]] = []
            others: list[bytes] = []
            loop.set_exception_handler(lambda loop, context: errors.append(context))

            def fails() -> None:
                os.read(r, 10)
                raise LookupError("on purpose")

            loop.add_reader(r, fails)
            loop.add_reader(r2, lambda: others.append(os.read(r2, 10)))
            for _ in range(2):
                os.write(w, b"x")
                os.write(w2, b"x")
                await poll()
            assert [str(context["exception"]) for context in errors] == ["on purpose"] * 2
            assert all(context["message"].startswith("Exception in callback ") for context in errors)
            assert "fails()" in errors[0]["message"]
            assert isinstance(errors[0]["handle"], asyncio.Handle)
            assert others == [b"x"] * 2
            loop.remove_reader(r)
            loop.remove_reader(r2)

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_leave_the_loop(loop: Any, error: type[BaseException]) -> None:
    with pipe() as (r, w):

        def stop() -> None:
            os.read(r, 10)
            raise error

        loop.add_reader(r, stop)
        os.write(w, b"x")
        with pytest.raises(error):
            loop.run_forever()
        os.write(w, b"x")
        with pytest.raises(error):
            loop.run_forever()
        assert loop.remove_reader(r)


def test_the_end_of_a_pipe_is_readable(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, w):
            ended = loop.create_future()

            def read() -> None:
                loop.remove_reader(r)
                ended.set_result(os.read(r, 10))

            loop.add_reader(r, read)
            os.close(w)
            assert await ended == b""

    run(main())


# ---- descriptors that are closed, and used again ----


def test_a_closed_object_can_still_be_removed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            loop.add_reader(a, pytest.fail, "never")
            a.close()
            assert loop.remove_reader(a) is True
            with pytest.raises(ValueError, match="Invalid file descriptor"):
                loop.remove_reader(a)

    run(main())


@pytest.mark.extra("asyncio never calls the second one")
def test_a_number_used_again_is_watched_again(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (r, _):
            loop.add_reader(r, pytest.fail, "never")
            os.close(r)  # without a word to the loop
            with pipe() as (r2, w2):
                assert r2 == r
                got: list[bytes] = []
                loop.add_reader(r2, lambda: got.append(os.read(r2, 10)))
                os.write(w2, b"x")
                await poll()
                assert got == [b"x"]
                assert loop.remove_reader(r2)
            os.open(os.devnull, os.O_RDONLY)  # what the outer pipe() closes

    run(main())


@pytest.mark.extra("asyncio raises FileNotFoundError")
def test_callbacks_of_a_closed_file_are_not_called_for_its_successor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            number = a.fileno()
            loop.add_writer(number, pytest.fail, "never")
            a.close()
            with pair() as (c, d):
                assert c.fileno() == number
                got: list[bytes] = []
                loop.add_reader(number, lambda: got.append(c.recv(10)))
                d.send(b"x")
                await poll()
                assert got == [b"x"]
                assert loop.remove_writer(number) is False
                assert loop.remove_reader(number) is True

    run(main())


@pytest.mark.extra("asyncio's sock_recv() takes the callback's place, or fails")
@pytest.mark.parametrize("closed", [False, True])
def test_a_callback_and_a_sock_call_on_one_number(run: Run, closed: bool) -> None:
    """The call gets its bytes; the callback is called for its own file alone."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            number = a.fileno()
            calls: list[int] = []
            loop.add_writer(number, lambda: (calls.append(1), loop.remove_writer(number)))
            if closed:
                a.close()
                a, b = socket.socketpair()
                a.setblocking(False)
                assert a.fileno() == number
            with a, b:
                task = loop.create_task(loop.sock_recv(a, 10))
                await poll()
                b.send(b"x")
                assert await task == b"x"
                assert calls == ([] if closed else [1])
                assert loop.remove_writer(number) is False

    run(main())


# ---- bad input ----


def test_what_is_no_descriptor(loop: Any) -> None:
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(ValueError, match="Invalid file object"):
            method("text", print)
        with pytest.raises(ValueError, match="Invalid file object"):
            method(None, print)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            method(-1, print)
        with pytest.raises(OSError, match="Bad file descriptor"):
            method(10_000, print)
    for method in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(ValueError, match="Invalid file object"):
            method("text")
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            method(-1)
        assert method(10_000) is False


def test_a_regular_file_cannot_be_watched(loop: Any) -> None:
    with tempfile.TemporaryFile() as file:
        for method in (loop.add_reader, loop.add_writer):
            with pytest.raises(PermissionError):
                method(file, print)
        assert loop.remove_reader(file) is False
        assert loop.remove_writer(file) is False


def test_the_descriptor_of_a_transport_is_refused(run: Run) -> None:
    class Lost(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with b:
            transport, protocol = await loop.create_connection(Lost, sock=a)
            for fd in (a, a.fileno(), transport.get_extra_info("socket")):
                for method in (loop.add_reader, loop.add_writer):
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        method(fd, print)
                for method in (loop.remove_reader, loop.remove_writer):
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        method(fd)
            transport.close()
            await protocol.lost

    run(main())


def test_a_closed_loop(aio: ModuleType) -> None:
    loop = aio.new_event_loop()
    with pipe() as (r, w):
        loop.add_reader(r, print)
        loop.close()
        for method in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                method(r, print)
        assert loop.remove_reader(r) is False
        assert loop.remove_writer(w) is False
