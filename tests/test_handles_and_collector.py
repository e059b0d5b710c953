"""Handles and the garbage collector: whatever holds a handle, and whatever a handle holds, no cycle through it stays behind,
and nothing that will still be called is taken away."""

from __future__ import annotations

import contextvars
import gc
import socket
import weakref

import pytest

var: contextvars.ContextVar[object] = contextvars.ContextVar("var")


class Holder:
    """Holds a handle whose callback, and whose context, hold it."""

    def __init__(self, loop=None):
        self.loop = loop
        self.handle = None
        self.called = 0

    def callback(self, *args):
        self.called += 1


def in_own_context(holder, schedule, *args):
    """A handle made where the holder is a context variable's value."""
    context = contextvars.copy_context()
    context.run(var.set, holder)
    holder.handle = context.run(schedule, *args)


def soon(loop, holder):
    return loop.call_soon(holder.callback, holder)


def later(loop, holder):
    return loop.call_later(3600, holder.callback, holder)


def at(loop, holder):
    return loop.call_at(loop.time() + 3600, holder.callback, holder)


def threadsafe(loop, holder):
    return loop.call_soon_threadsafe(holder.callback, holder)


WAYS = pytest.mark.parametrize("schedule", [soon, later, at, threadsafe])


@WAYS
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_loop_that_is_dropped_unclosed_takes_its_pending_handles_along(aio, schedule):
    loop = aio.new_event_loop()
    holder = Holder(loop)
    in_own_context(holder, schedule, loop, holder)
    gone = weakref.ref(holder), weakref.ref(loop)
    del holder, loop
    gc.collect()
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@WAYS
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_so_it_does_if_nobody_kept_the_handles(aio, schedule):
    loop = aio.new_event_loop()
    holder = Holder(loop)
    context = contextvars.copy_context()
    context.run(var.set, holder)
    for _ in range(300):
        context.run(schedule, loop, holder)
    gone = weakref.ref(holder), weakref.ref(loop)
    del holder, loop, context
    gc.collect()
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@WAYS
def test_a_closed_loop_leaves_no_cycle_through_a_pending_handle(aio, schedule):
    loop = aio.new_event_loop()
    holder = Holder()
    in_own_context(holder, schedule, loop, holder)
    gone = weakref.ref(holder)
    loop.close()
    del holder
    gc.collect()
    assert gone() is None


@WAYS
def test_a_cancelled_handle_leaves_no_cycle(loop, schedule):
    holder = Holder()
    in_own_context(holder, schedule, loop, holder)
    holder.handle.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert not holder.called
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("schedule", [soon, threadsafe, lambda loop, holder: loop.call_later(0, holder.callback)])
def test_a_handle_that_has_run_leaves_no_cycle(loop, schedule):
    holder = Holder()
    in_own_context(holder, schedule, loop, holder)
    while not holder.called:
        loop.call_soon(loop.stop)
        loop.run_forever()
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_a_handle_whose_callback_failed_leaves_no_cycle_even_if_the_exception_handler_keeps_it(loop):
    class Failing(Holder):
        def callback(self, *args):
            self.called += 1
            1 / 0

    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["handle"]))
    holder = Failing()
    in_own_context(holder, soon, loop, holder)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert reports == [holder.handle]
    reports.clear()
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_a_handle_made_by_hand_leaves_no_cycle(aio, loop):
    holder = Holder()
    in_own_context(holder, aio.Handle, holder.callback, (holder,), loop)
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_the_handle_of_a_reader_leaves_no_cycle(loop):
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        holder = Holder()
        context = contextvars.copy_context()
        context.run(var.set, holder)
        context.run(loop.add_reader, one, holder.callback, holder)
        other.send(b"x")
        gc.collect()
        while not holder.called:
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.remove_reader(one)
        gone = weakref.ref(holder)
        del holder, context
        gc.collect()
        assert gone() is None


def test_what_is_to_be_called_survives_collections_at_every_moment(loop):
    class Argument:
        alive = 0

        def __init__(self):
            Argument.alive += 1
            self.me = self  # only the collector frees it

        def __del__(self):
            Argument.alive -= 1

    seen = []
    kept = []
    thresholds = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        for i in range(400):
            argument = Argument()
            kept.append(loop.call_soon(lambda a, i=i: (seen.append(i), a.me), argument))
            kept.append(loop.call_later(0.0001 * (i % 7), lambda a: seen.append(a.me is a), argument))
            if i % 3 == 0:
                kept.pop().cancel()
            if i % 5 == 0:
                del kept[: len(kept) // 2]
        del argument
        gc.collect()
        assert Argument.alive == 400
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
    finally:
        gc.set_threshold(*thresholds)
    assert [i for i in seen if i is not True] == list(range(400))
    assert sum(x is True for x in seen) == 400 - 134
    seen.clear()
    kept.clear()
    gc.collect()
    assert Argument.alive == 0
