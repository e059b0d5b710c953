"""Letters and frames between processes: however they are cut on their way, and whatever else comes."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassloop.work import carry

pytestmark = pytest.mark.usefixtures("no_leaks")

FRAMES = int(os.environ.get("GLASSLOOP_FRAMES", "300"))


class Cut:
    """A socket from which comes what is given, in pieces of these sizes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes

    def recvmsg(self, size: int, *_: int) -> tuple[bytes, list[Any], int, None]:
        size = min(size, self._sizes.pop() if self._sizes else size)
        data, self._data = self._data[:size], self._data[size:]
        return data, [], 0, None


def frames_of(inbox: carry.Inbox) -> Iterator[Any]:
    while True:
        try:
            yield from inbox.read()
        except EOFError:
            return


things = st.recursive(
    st.none() | st.integers() | st.text(max_size=50) | st.binary(max_size=100) | st.builds(bytes, st.integers(60_000, 70_000))
    | st.builds(lambda n: np.arange(n), st.integers(3_000, 9_000)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and bool((a == b).all())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@settings(max_examples=FRAMES // 3, deadline=None)
@given(st.lists(things, max_size=5), st.lists(st.integers(1, 40_000), max_size=30))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[Any], sizes: list[int]) -> None:
    data = b"".join([carry.pack(thing).frame(carry.JOB, number) for number, thing in enumerate(sent)])
    inbox = carry.Inbox(Cut(data, sizes))
    came = [(kind, number, carry.loads(pickle, buffers)) for kind, number, pickle, buffers in frames_of(inbox)]
    assert [(kind, number) for kind, number, _ in came] == [(carry.JOB, number) for number in range(len(sent))]
    assert all(equal(a, b) for a, (_, _, b) in zip(sent, came, strict=True))


@settings(max_examples=FRAMES, deadline=None)
@given(st.data())
def test_what_is_no_frame_is_refused_or_waited_for_and_never_believed(data: Any) -> None:
    """A frame with some bytes changed: it is refused, incomplete, or of the size that it says."""
    frame = bytearray(carry.pack(data.draw(things)).frame(carry.RESULT, 7))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(frame), 80) - 1))
        frame[at] = data.draw(st.integers(0, 255))
    inbox = carry.Inbox(Cut(bytes(frame), data.draw(st.lists(st.integers(1, 1000), max_size=5))))
    size = 0
    try:
        for kind, _, pickle, buffers in frames_of(inbox):
            assert kind <= carry.PROGRESS
            size += len(pickle) + sum([len(buffer) for buffer in buffers])
    except (ValueError, OverflowError):
        return
    assert size <= len(frame)


@settings(max_examples=FRAMES, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_noise_is_no_frame(noise: list[bytes]) -> None:
    inbox = carry.Inbox(Cut(b"".join(noise), [len(piece) or 1 for piece in noise]))
    try:
        for _, _, pickle, _ in frames_of(inbox):
            assert len(pickle) <= sum(map(len, noise))
    except (ValueError, OverflowError):
        return


def test_a_frame_is_bounded_and_a_larger_letter_is_shared() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for size in (carry.INLINE - 200, carry.INLINE, 50_000_000):
            letter = carry.pack([np.ones(size, "u1"), b"x" * 10])
            frame = letter.frame(carry.RESULT, 1)
            assert len(frame) <= carry.INLINE + carry.HEAD.size + 8
            assert (letter.memory >= 0) == (size >= carry.INLINE)
            if letter.memory >= 0:
                carry.send(ours, frame, letter.memory)
                letter.close()
                [(_, _, pickle, buffers)] = carry.Inbox(theirs).read()
                array, text = carry.loads(pickle, buffers)
                assert array.size == array.sum() == size and text == b"x" * 10


def test_shared_memory_that_is_shorter_than_its_frame_says_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for size in (10_000_000, 2**62, 2**64 - 1):
            memory = carry._memory_file()
            try:
                os.write(memory, b"short")
                carry.send(ours, carry.HEAD.pack(carry.RESULT, 1, 0, 1, 0, size), memory)
            finally:
                os.close(memory)
            inbox = carry.Inbox(theirs)
            with pytest.raises((ValueError, OverflowError)):
                inbox.read()
            inbox.close()


def test_a_frame_that_speaks_of_memory_without_any_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(carry.HEAD.pack(carry.RESULT, 1, 0, 1, 0, 100))
        with pytest.raises(ValueError, match="did not come with it"):
            carry.Inbox(theirs).read()


def test_what_came_and_was_not_used_is_closed() -> None:
    """A frame whose rest never comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        letter = carry.pack([np.ones(500_000, "u1") for _ in range(4)])
        frame = letter.frame(carry.RESULT, 1)
        carry.send(ours, frame[:-4], letter.memory)
        letter.close()
        inbox = carry.Inbox(theirs)
        assert list(inbox.read()) == []
        inbox.close()


def test_a_large_bytes_object_is_not_copied_to_be_pickled() -> None:
    data = bytes(10_000_000)
    before = sys.getrefcount(data)
    letter = carry.pack({"deep": [data]})
    assert sys.getrefcount(data) > before  # it is held, as it is
    assert letter.size > len(data) and max(len(piece) for piece in letter.pieces) == len(data)


@pytest.mark.parametrize("why", ["an old system", "a sandbox"])
def test_a_temporary_file_does_where_there_is_no_memfd(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.EPERM, "not permitted")

    if why == "a sandbox":
        monkeypatch.setattr(os, "memfd_create", refuse)
    else:
        monkeypatch.delattr(os, "memfd_create")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        letter = carry.pack(np.arange(1_000_000))
        carry.send(ours, letter.frame(carry.RESULT, 1), letter.memory)
        letter.close()
        [(_, _, pickle, buffers)] = carry.Inbox(theirs).read()
        assert int(carry.loads(pickle, buffers)[-1]) == 999_999
