"""amap(): a function over many items, so many at a time, and an asynchronous iterator over its results.

An item is taken from the source, a call is made of it (a task of its own), and the call's result is given out. The bound
is on all of that together: at most `limit` items are taken and not given out, be they waiting, running or done. So the
source is never read ahead of the consumer by more than that, and what is done and not fetched holds back what is to come.

Who does what. A source that is an iterable is read by the consumer, within `anext()`: there alone items are given out, so
there alone is room for more. An asynchronous source is read by a task, the feeder, from beginning to end, its closing
included: generators with timeouts or task groups within them need that. Calls tell of their ends by callbacks.

The end comes once, by whatever is first: the source is exhausted, something fails, the consumer is cancelled, closes the
iterator or drops it. Then nothing more is taken, the calls are cancelled, and when the last of them has ended the source
is closed if it is a generator. Only then is it over, and whoever waits for the end goes on.

Errors. The first is raised where the results are iterated, after the results that were there before it. Those that come
after it, from calls that were being cancelled, or that nobody iterates for any more, go to the loop's exception handler.

AsyncMap is what the consumer holds, and holds the _Mapping; nothing in there leads back to it. So it is freed when the
consumer lets go of it, and that ends the calls. Plain Python, and works on any loop.
"""
from __future__ import annotations

import asyncio
import inspect
import operator
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
)
from functools import partial
from types import CoroutineType, TracebackType
from typing import Any, Generic, Protocol, TypeVar, overload

from . import progress as _progress
from .tasks import ensure_future

__all__ = ('AsyncMap', 'Pool', 'amap')

T = TypeVar('T')
R = TypeVar('R')
S = TypeVar('S', bound='AsyncMap[Any]')
CancelledError = asyncio.CancelledError
_END = object()


class Pool(Protocol):
    """What amap() asks of a pool; ProcessPool and DaskPool are such."""

    @property
    def limit(self) -> int:
        """How many jobs run at once."""

    def run(self, fn: Callable[[T], R], item: T, /) -> Awaitable[R]:
        """fn(item), elsewhere. Cancelling it cancels the job."""


class _Call:
    """An item that was taken, and what becomes of it."""

    __slots__ = ('_mapping', 'ended', 'future')

    def __init__(self, mapping):
        self._mapping = mapping
        self.ended = False
        self.future = None

    @property
    def _parent_task(self):
        """Who waits for it, for call graphs."""
        return self._mapping.consumer

    def heard(self, future):
        self.ended = True
        self._mapping.heard(self, future)


class _Mapping:
    def __init__(self, call, name, source, is_async, limit, ordered, bar):
        self.call = call
        self.name = name
        self.source = source  # None once there is nothing left in it and nothing to close
        self.is_async = is_async
        self.limit = limit
        self.bar = bar
        self.loop = None
        self.consumer = None  # the task that waits, or waited last
        self.asked = False  # it is within anext()
        self.taken = 0  # items taken and not given out
        self.running = set()
        self.order = deque() if ordered else None  # calls in the order of their items
        self.results = deque()  # calls that ended well, in the order in which to give them out
        self.exhausted = False
        self.ending = False
        self.over = False
        self.error = None  # the first one
        self.others = []
        self.waiters = []
        self.feeder = None
        self.feeding = False
        self.room = None  # the feeder waits for it

    # ---- for the consumer ----

    def begin(self):
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
            if self.bar is not None:
                self.bar.begin(loop)
            if self.is_async:
                self.feeding = True
                self.lead(self.feed())
        elif loop is not self.loop:
            raise RuntimeError(f'amap({self.name}) is bound to a different event loop')

    async def next(self):
        while True:
            if not self.is_async:
                self.take()
            if self.results:
                return self.give()
            if self.ending or (self.exhausted and not self.taken):
                break
            self.consumer = asyncio.current_task()
            try:
                await self.something()
            except BaseException as error:
                # cancelled; or closed, and then it must not wait any more
                self.abandon()
                if not isinstance(error, GeneratorExit):
                    await self.until_over()
                raise
        if not self.ending:
            self.end()
        cancelled = await self.until_over()
        error, self.error = self.error, None
        if error is None:
            if cancelled is not None:
                raise cancelled
            raise StopAsyncIteration
        if cancelled is not None:
            # the error comes first; the cancellation stays counted, and is delivered at the next await
            self.consumer = asyncio.current_task()
            self.consumer.uncancel()
            self.consumer.cancel(*cancelled.args)
        try:
            if isinstance(error, (StopIteration, StopAsyncIteration)):
                # it would end the loop that iterates, as if all were well
                raise RuntimeError(f'amap({self.name}): {type(error).__name__} was raised') from error
            raise error
        finally:
            del error  # no circle by way of this frame

    async def something(self):
        """Wait until something has happened."""
        waiter = self.loop.create_future()
        self.waiters.append(waiter)
        await waiter

    async def until_over(self):
        """Wait until nothing is left; returns the CancelledError if that came meanwhile: the calls are being cancelled
        already."""
        self.refuse_own_calls()
        cancelled = None
        while not self.over:
            try:
                await self.something()
            except CancelledError as error:
                cancelled = error
        return cancelled

    def refuse_own_calls(self):
        task = asyncio.current_task()
        if any(call.future is task for call in self.running):
            raise RuntimeError(f'amap({self.name}) is being ended by one of its own calls, for whose end it would wait')

    def give(self):
        call = self.results.popleft()
        self.taken -= 1
        if not self.is_async:
            self.take()
        elif self.room is not None:
            _wake(self.room)
        return call.future.result()

    # ---- the source ----

    def take(self):
        """Take items for which there is room from a source that is an iterable."""
        while self.taken < self.limit and not self.exhausted and not self.ending:
            try:
                item = next(self.source, _END)
            except BaseException as error:
                self.fail(error)
                return
            if item is _END:
                self.exhausted = True
                self.source = None
            else:
                self.start(item)

    def lead(self, coro):
        """Run the feeder, or what closes its source in its place."""
        self.feeder = self.loop.create_task(coro, name=f'amap({self.name}) source')
        self.feeder.add_done_callback(self.fed)

    async def feed(self):
        try:
            while not self.ending:
                if self.taken >= self.limit:
                    self.room = self.loop.create_future()
                    await self.room
                    continue
                try:
                    item = await anext(self.source)
                except StopAsyncIteration:
                    self.exhausted = True
                    self.source = None
                    return
                if not self.ending:
                    self.start(item)
        except GeneratorExit:
            raise  # destroyed with its loop: nothing can be awaited any more
        except BaseException as error:
            self.fail(error)
        await self.close_source()

    async def close_source(self):
        """Close the asynchronous source once no call uses any more what comes from it."""
        pause = True
        while pause or self.running:
            # also where no call runs: this task is cancelled by whoever ends the mapping, it itself perhaps
            pause = False
            try:
                if self.running:
                    self.room = self.loop.create_future()
                    await self.room
                else:
                    await asyncio.sleep(0)
            except CancelledError:
                continue
        source, self.source = self.source, None
        if _is_closed_with(source):
            try:
                await source.aclose()
            except CancelledError:
                return
            except BaseException as error:
                self.others.append(error)

    def fed(self, feeder):
        """The feeder has ended."""
        if self.ending and self.source is not None and _is_closed_with(self.source):
            # it was cancelled before its first step
            self.lead(self.close_source())
            return
        self.feeding = False
        if not self.exhausted:
            self.fail(CancelledError())  # if nothing has ended it yet: it was cancelled from outside, and never began
        self.look()

    # ---- the calls ----

    def start(self, item):
        self.taken += 1
        call = _Call(self)
        try:
            thing = self.call(item)
            if type(thing) is not CoroutineType and not _is_awaitable(thing):
                raise TypeError(f'amap({self.name}): a coroutine function is needed, but it returned '
                                f'{type(thing).__name__!r}, which cannot be awaited; plain functions need a pool')
            call.future = ensure_future(thing, loop=self.loop)
        except BaseException as error:
            self.fail(error)
            return
        self.running.add(call)
        if self.order is not None:
            self.order.append(call)
        call.future.add_done_callback(call.heard)
        if self.ending:
            call.future.cancel()

    def heard(self, call, future):
        """A call has ended."""
        self.running.discard(call)
        if future.cancelled():
            if not self.ending:
                self.fail(_cancellation_of(future))
        elif future.exception() is not None:
            self.fail(future.exception())
        elif not self.ending:
            if self.bar is not None:
                self.bar.advance()
            if self.order is None:
                self.results.append(call)
            else:
                while self.order and self.order[0].ended:
                    self.results.append(self.order.popleft())
        if self.ending and not self.running and self.room is not None:
            _wake(self.room)
        self.look()

    # ---- the end ----

    def fail(self, error):
        if not self.ending:
            self.error = error
            self.end()
        elif not isinstance(error, CancelledError):
            self.others.append(error)

    def end(self):
        """Nothing more is taken, what runs is cancelled."""
        self.ending = True
        if self.order is not None:
            self.order.clear()
        for call in tuple(self.running):
            call.future.cancel()
        if self.feeder is not None:
            self.feeder.cancel()
        self.look()

    def abandon(self):
        """Nobody will ask for anything any more."""
        self.results.clear()
        if self.error is not None:
            if not isinstance(self.error, CancelledError):
                self.others.append(self.error)
            self.error = None
        if not self.ending:
            self.end()
        if self.over:
            self.report()

    def look(self):
        """Something has happened: tell those who wait. Perhaps it is over."""
        if self.ending and not self.over and not self.running and not self.feeding:
            self.over = True
            source, self.source = self.source, None
            try:
                if not self.is_async and _is_closed_with(source):
                    source.close()
            except BaseException as error:
                self.others.append(error)
            try:
                if self.bar is not None:
                    self.bar.close()
            except Exception as error:
                self.others.append(error)
            self.report()
        if self.waiters:
            if self.results or self.ending or (self.exhausted and not self.taken):
                waiters, self.waiters = self.waiters, []
                for waiter in waiters:
                    _wake(waiter)

    def report(self):
        """Tell the loop of the errors that could not be raised where the results are iterated."""
        if self.others:
            others, self.others = self.others, []
            message = f'amap({self.name}) failed where the error could not be raised to who iterates'
            error = others[0] if len(others) == 1 else BaseExceptionGroup(message, others)
            self.loop.call_exception_handler({'message': message, 'exception': error})


class AsyncMap(Generic[R]):
    """The results of amap(): an asynchronous iterator and an asynchronous context manager."""

    def __init__(self, mapping: Any) -> None:
        self._mapping = mapping

    def __repr__(self) -> str:
        mapping = self._mapping
        state = 'over' if mapping.over else f'limit={mapping.limit} running={len(mapping.running)}'
        return f'<amap of {mapping.name} {state}>'

    def __aiter__(self: S) -> S:
        return self

    async def __anext__(self) -> R:
        """The next result. Raises StopAsyncIteration after the last one, and the first error of a call or of the
        source; RuntimeError if another task is being given a result, or on another loop than before."""
        mapping = self._mapping
        if mapping.asked:
            raise RuntimeError(f'{self!r} is being iterated by another task')
        if mapping.over and mapping.error is None and not mapping.results:
            raise StopAsyncIteration
        mapping.begin()
        try:
            if mapping.results:  # nothing to wait for
                result: R = mapping.give()
                return result
            mapping.asked = True
            try:
                result = await mapping.next()
            finally:
                mapping.asked = False
            return result
        finally:
            del self  # no circle by way of this frame, to which an error of the source leads that is kept for later

    async def aclose(self) -> None:
        """Cancel what runs, and wait until it has ended and the source is closed. Closing twice does nothing."""
        mapping = self._mapping
        if mapping.loop is None:
            source, mapping.source = mapping.source, None
            mapping.ending = mapping.over = True
            if _is_closed_with(source):
                if mapping.is_async:
                    await source.aclose()
                else:
                    source.close()
            return
        mapping.begin()  # on the same loop?
        mapping.refuse_own_calls()
        mapping.abandon()
        cancelled = await mapping.until_over()
        if cancelled is not None:
            raise cancelled

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        tb: TracebackType | None) -> None:
        await self.aclose()

    def __del__(self) -> None:
        mapping = self._mapping
        loop = mapping.loop
        if loop is None or loop.is_closed() or (mapping.over and mapping.error is None):
            return
        if asyncio._get_running_loop() is loop:
            mapping.abandon()
        else:
            # freed by another thread, or between two runs of the loop
            loop.call_soon_threadsafe(mapping.abandon)


@overload
def amap(fn: Callable[[T], Awaitable[R]], iterable: Iterable[T] | AsyncIterable[T], *, limit: int, ordered: bool = True,
         pool: None = None, progress: bool = False) -> AsyncMap[R]: ...
@overload
def amap(fn: Callable[[T], R], iterable: Iterable[T] | AsyncIterable[T], *, limit: int | None = None,
         ordered: bool = True, pool: Pool, progress: bool = False) -> AsyncMap[R]: ...
def amap(fn: Callable[[Any], Any], iterable: Iterable[Any] | AsyncIterable[Any], *, limit: int | None = None,
         ordered: bool = True, pool: Pool | None = None, progress: bool = False) -> AsyncMap[Any]:
    """Call fn with each item, so many at a time, and iterate over the results:

        async for page in amap(fetch, urls, limit=10): ...

    fn: a coroutine function of one argument (or whatever returns an awaitable); with a pool, a plain function.
    iterable: an iterable or asynchronous iterable; it may be infinite. Nothing is taken from it before the first result is
    asked for. One that blocks blocks the loop.
    limit: at most so many items are taken and their results not given out (int, at least 1); with a pool, by default the
    pool's limit.
    ordered: True gives results out in the order of the items, so that a slow one holds the others up; False as they come.
    pool: runs fn, by `await pool.run(fn, item)`: a ProcessPool, a DaskPool, or any object with that and `limit`.
    progress: True draws a progress bar on stderr while that is a terminal. Needs rich (the extra `cli`).

    The first error, of a call or of the source, cancels the calls that run, and is raised when they have ended and the
    results that were there before it are given out. Further errors go to the loop's exception handler. When the iteration
    ends early, a generator as the source is closed.

    Nothing is left running after `async with amap(...) as results:`, or `await results.aclose()`. Without it, leaving
    the loop (break, an exception) requests the cancellation when the iterator is freed, at once as a rule, but does not
    wait for it. A consumer that is cancelled while it waits for a result waits for the calls' end.

    Raises TypeError or ValueError for what it can't use, ModuleNotFoundError where progress needs rich and it is missing.
    """
    if not callable(fn):
        raise TypeError(f'amap() needs a function, got {fn!r}')
    name = _name_of(fn)
    call = fn
    if pool is not None:
        run = getattr(pool, 'run', None)
        if not callable(run):
            raise TypeError(f'a pool has a coroutine method run(fn, item), unlike {pool!r}')
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f'amap({name}): a pool runs plain functions, and this is a coroutine function')
        call = partial(run, fn)
        if limit is None:
            limit = getattr(pool, 'limit', None)
    if limit is None:
        raise TypeError(f'amap({name}) needs a limit: how many calls may run at once')
    try:
        limit = operator.index(limit)
    except TypeError:
        raise TypeError(f'limit must be an int, got {limit!r}') from None
    if limit < 1:
        raise ValueError(f'limit must be at least 1, got {limit}')
    source: Any
    is_async = isinstance(iterable, AsyncIterable)
    if isinstance(iterable, AsyncIterable):
        source = aiter(iterable)
    elif isinstance(iterable, Iterable) or hasattr(iterable, '__getitem__'):
        source = iter(iterable)
    else:
        raise TypeError(f'amap({name}) needs an iterable or an asynchronous one, got {iterable!r}')
    bar = _progress.bar(name, iterable) if progress else None
    return AsyncMap(_Mapping(call, name, source, is_async, limit, ordered, bar))


def _wake(future):
    if not future.done():
        future.set_result(None)


def _cancellation_of(future):
    try:
        future.result()
    except CancelledError as error:
        return error


def _is_awaitable(thing):
    return asyncio.iscoroutine(thing) or asyncio.isfuture(thing) or inspect.isawaitable(thing)


def _is_closed_with(source):
    """A file, say, belongs to whoever opened it; a generator is of no use to anybody after it was iterated."""
    return isinstance(source, (Generator, AsyncGenerator, AsyncMap))


def _name_of(fn):
    while isinstance(fn, partial):
        fn = fn.func
    return getattr(fn, '__qualname__', None) or type(fn).__qualname__
