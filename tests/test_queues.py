"""Queue, PriorityQueue, LifoQueue: order, limits, waiting, cancellation, shutdown, subclasses, and a comparison with
asyncio's own, step by step."""

from __future__ import annotations

import asyncio
import collections
import gc
import heapq
import inspect
import math
import sys
import warnings
import weakref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def since(*version):
    """What asyncio's own does only from this version of Python on; glassloop's does it on all of them."""
    if sys.version_info >= version:
        return lambda test: test
    return pytest.mark.extra(f"asyncio's own: since Python {'.'.join(map(str, version))}")


@pytest.fixture
def shut_down(aio):
    return getattr(aio, "QueueShutDown", None)


class TestItems:
    @pytest.mark.parametrize("kind, order", [
        ("Queue", [3, 1, 2]), ("PriorityQueue", [1, 2, 3]), ("LifoQueue", [2, 1, 3])])
    def test_come_out_in_the_order_of_the_kind(self, aio, run, kind, order):
        async def main():
            queue = getattr(aio, kind)()
            for item in (3, 1, 2):
                queue.put_nowait(item)
            assert queue.qsize() == 3
            assert [queue.get_nowait() for _ in range(3)] == order
            for item in (3, 1, 2):
                await queue.put(item)
            assert [await queue.get() for _ in range(3)] == order
            assert queue.empty()

        run(main())

    def test_of_any_type_even_none(self, aio, run):
        async def main():
            queue = aio.Queue()
            items = [None, False, (), (1, 2), StopIteration(5), ValueError("x"), asyncio.CancelledError(), queue]
            for item in items:
                await queue.put(item)
            for item in items:
                assert await queue.get() is item

        run(main())

    @pytest.mark.parametrize("kind", ["Queue", "LifoQueue"])
    def test_many_of_them_in_waves(self, aio, run, kind):
        async def main():
            queue = getattr(aio, kind)()
            model = collections.deque()
            n = 0
            for wave in range(200):
                for _ in range(wave * 7 % 31):
                    queue.put_nowait(n)
                    model.append(n)
                    n += 1
                for _ in range(wave * 5 % 29):
                    if model:
                        expected = model.popleft() if kind == "Queue" else model.pop()
                        assert queue.get_nowait() == expected
                assert queue.qsize() == len(model)

        run(main())

    def test_that_were_got_are_not_kept(self, aio, run):
        class Item:
            pass

        async def main():
            queue = aio.Queue(2)
            for _ in range(10):
                item = Item()
                gone = weakref.ref(item)
                await queue.put(item)
                del item
                await queue.get()
                assert gone() is None

        run(main())

    def test_can_be_looked_at(self, aio, run):
        async def main():
            for kind in (aio.Queue, aio.PriorityQueue, aio.LifoQueue):
                queue = kind()
                for item in range(5):
                    queue.put_nowait(item)
                assert list(queue._queue) == [0, 1, 2, 3, 4]
                assert len(queue._queue) == 5
                assert queue._queue[2] == 2
                assert 3 in queue._queue
                queue._queue.remove(4)
                assert queue.qsize() == 4
                queue._queue.clear()
                assert queue.empty()

        run(main())

    def test_can_be_put_back_in_front(self, aio, run):
        async def main():
            queue = aio.Queue()
            for item in range(5):
                queue.put_nowait(item)
            assert queue.get_nowait() == 0
            queue._queue.appendleft(0)
            queue._queue.appendleft(-1)
            assert [queue.get_nowait() for _ in range(6)] == [-1, 0, 1, 2, 3, 4]

        run(main())

    def test_may_be_kept_in_what_the_user_likes(self, aio, run):
        async def main():
            queue = aio.Queue()
            queue._queue = collections.deque([1, 2], maxlen=2)
            queue.put_nowait(3)
            assert await queue.get() == 2
            assert await queue.get() == 3
            assert queue.empty()

        run(main())


class TestLimits:
    @pytest.mark.parametrize("maxsize, room", [(1, 1), (2, 2), (1.3, 2), (2.0, 2), (True, 1)])
    def test_full(self, aio, run, maxsize, room):
        async def main():
            queue = aio.Queue(maxsize)
            assert queue.maxsize == maxsize
            for item in range(room):
                assert not queue.full()
                queue.put_nowait(item)
            assert queue.full()
            with pytest.raises(asyncio.QueueFull):
                queue.put_nowait(room)
            assert queue.qsize() == room

        run(main())

    @pytest.mark.parametrize("maxsize", [0, -1, math.inf, -0.5])
    def test_none(self, aio, run, maxsize):
        async def main():
            queue = aio.Queue(maxsize)
            for item in range(1000):
                queue.put_nowait(item)
            assert not queue.full()

        run(main())

    def test_can_be_changed(self, aio, run):
        async def main():
            queue = aio.Queue(1)
            queue.put_nowait(1)
            queue._maxsize = 2
            assert queue.maxsize == 2
            queue.put_nowait(2)
            assert queue.full()

        run(main())

    def test_an_empty_queue_has_nothing_to_get(self, aio, run):
        async def main():
            for kind in (aio.Queue, aio.PriorityQueue, aio.LifoQueue):
                with pytest.raises(asyncio.QueueEmpty):
                    kind().get_nowait()

        run(main())


class TestWaiting:
    def test_get_waits_for_an_item(self, aio, run):
        async def main():
            queue = aio.Queue()
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            assert not getter.done()
            queue.put_nowait(5)
            assert await getter == 5

        run(main())

    def test_put_waits_for_room(self, aio, run):
        async def main():
            queue = aio.Queue(1)
            queue.put_nowait(1)
            putter = asyncio.create_task(queue.put(2))
            await asyncio.sleep(0)
            assert not putter.done()
            assert queue.get_nowait() == 1
            await putter
            assert queue.get_nowait() == 2

        run(main())

    def test_first_come_first_served(self, aio, run):
        async def main():
            queue = aio.Queue()
            served = []

            async def get(n):
                served.append((n, await queue.get()))

            getters = [asyncio.create_task(get(n)) for n in range(20)]
            await asyncio.sleep(0)
            for item in range(20):
                queue.put_nowait(item)
            await asyncio.gather(*getters)
            assert served == [(n, n) for n in range(20)]

        run(main())

    @pytest.mark.parametrize("maxsize", [1, 2, 7, 0])
    def test_every_item_arrives_once(self, aio, run, maxsize):
        async def main():
            queue = aio.Queue(maxsize)
            got = []

            async def produce(n):
                for i in range(50):
                    await queue.put((n, i))

            async def consume():
                while True:
                    got.append(await queue.get())
                    queue.task_done()

            consumers = [asyncio.create_task(consume()) for _ in range(3)]
            await asyncio.gather(*[produce(n) for n in range(4)])
            await queue.join()
            for consumer in consumers:
                consumer.cancel()
            assert sorted(got) == [(n, i) for n in range(4) for i in range(50)]
            for n in range(4):
                assert [i for m, i in got if m == n] == list(range(50))

        run(main())

    def test_nothing_happens_before_it_is_awaited(self, aio, run):
        async def main():
            queue = aio.Queue()
            putting = queue.put(1)
            assert queue.empty()
            getting = queue.get()
            await putting
            assert queue.qsize() == 1
            assert await getting == 1
            assert queue.empty()
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await getting

        run(main())

    def test_that_is_never_awaited_warns(self, aio):
        queue = aio.Queue()
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            queue.get()
            gc.collect()
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            queue.put(1)
            gc.collect()

    def test_get_and_put_are_coroutine_functions(self, aio):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert asyncio.iscoroutinefunction(aio.Queue().get)
            assert asyncio.iscoroutinefunction(aio.Queue().put)
        if sys.version_info >= (3, 12):
            assert inspect.iscoroutinefunction(aio.Queue().get)

    def test_one_loop_only(self, aio, run):
        queue = aio.Queue()

        async def bind():
            task = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            queue.put_nowait(1)
            await task

        async def use():
            with pytest.raises(RuntimeError, match="is bound to a different event loop"):
                await queue.get()

        run(bind())
        run(use())

    def test_without_a_loop_what_need_not_wait_works(self, aio):
        queue = aio.Queue()
        queue.put_nowait(1)
        assert queue.get_nowait() == 1
        with pytest.raises(StopIteration):
            queue.put(2).send(None)
        with pytest.raises(StopIteration) as result:
            queue.get().send(None)
        assert result.value.value == 2


class TestCancelled:
    def test_get_takes_nothing(self, aio, run):
        async def main():
            queue = aio.Queue()
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            getter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await getter
            assert len(queue._getters) == 0
            queue.put_nowait(1)
            assert queue.get_nowait() == 1

        run(main())

    def test_put_adds_nothing(self, aio, run):
        async def main():
            queue = aio.Queue(1)
            queue.put_nowait(1)
            putter = asyncio.create_task(queue.put(2))
            await asyncio.sleep(0)
            putter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putter
            assert len(queue._putters) == 0
            assert queue.get_nowait() == 1
            assert queue.empty()

        run(main())

    def test_a_getter_cancelled_after_it_was_woken_wakes_the_next(self, aio, run):
        async def main():
            queue = aio.Queue()
            first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            queue.put_nowait(1)
            first.cancel()
            assert await asyncio.wait_for(second, 5) == 1
            assert first.cancelled()

        run(main())

    def test_a_putter_cancelled_after_it_was_woken_wakes_the_next(self, aio, run):
        async def main():
            queue = aio.Queue(1)
            queue.put_nowait(0)
            first, second = asyncio.create_task(queue.put(1)), asyncio.create_task(queue.put(2))
            await asyncio.sleep(0)
            assert queue.get_nowait() == 0
            first.cancel()
            await asyncio.wait_for(second, 5)
            assert first.cancelled()
            assert queue.get_nowait() == 2

        run(main())

    def test_a_woken_getter_that_finds_nothing_waits_on(self, aio, run):
        async def main():
            queue = aio.Queue()
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            queue.put_nowait(1)
            assert queue.get_nowait() == 1  # faster
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not getter.done()
            queue.put_nowait(2)
            assert await getter == 2

        run(main())

    def test_closed_while_waiting(self, aio, run):
        async def main():
            queue = aio.Queue()
            closed = queue.get()
            closed.send(None)
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            closed.close()
            queue.put_nowait(1)
            assert await asyncio.wait_for(getter, 5) == 1

        run(main())

    def test_forgotten_while_waiting(self, aio, run):
        async def main():
            queue = aio.Queue()
            forgotten = queue.get()
            forgotten.send(None)
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            del forgotten
            gc.collect()
            queue.put_nowait(1)
            assert await asyncio.wait_for(getter, 5) == 1

        run(main())

    @pytest.mark.parametrize("order", ["first to last", "last to first", "every other"])
    def test_many_at_once(self, aio, run, order):
        async def main():
            queue = aio.Queue()
            getters = [asyncio.create_task(queue.get()) for _ in range(100)]
            await asyncio.sleep(0)
            gone = {"first to last": getters[:50], "last to first": getters[:49:-1], "every other": getters[::2]}[order]
            for getter in gone:
                getter.cancel()
            await asyncio.sleep(0)
            left = [getter for getter in getters if getter not in gone]
            for item in range(50):
                queue.put_nowait(item)
            assert await asyncio.gather(*left) == list(range(50))
            assert len(queue._getters) == 0

        run(main())


class TestJoin:
    def test_waits_until_all_is_done(self, aio, run):
        async def main():
            queue = aio.Queue()
            await queue.join()
            queue.put_nowait(1)
            queue.put_nowait(2)
            joined = asyncio.create_task(queue.join())
            for _ in range(2):
                await asyncio.sleep(0)
                assert not joined.done()
                queue.get_nowait()
                queue.task_done()
            assert await joined is None
            await queue.join()

        run(main())

    def test_goes_on_even_if_more_came_meanwhile(self, aio, run):
        async def main():
            queue = aio.Queue()
            queue.put_nowait(1)
            joined = asyncio.create_task(queue.join())
            await asyncio.sleep(0)
            queue.task_done()
            queue.put_nowait(2)
            await asyncio.wait_for(joined, 5)

        run(main())

    def test_cancelled(self, aio, run):
        async def main():
            queue = aio.Queue()
            queue.put_nowait(1)
            joined = asyncio.create_task(queue.join())
            await asyncio.sleep(0)
            joined.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joined
            queue.task_done()
            await queue.join()

        run(main())

    def test_done_more_often_than_put(self, aio, run):
        async def main():
            queue = aio.Queue()
            with pytest.raises(ValueError, match="called too many times"):
                queue.task_done()
            queue.put_nowait(1)
            queue.task_done()
            with pytest.raises(ValueError, match="called too many times"):
                queue.task_done()

        run(main())


class TestShutdown:
    @since(3, 13)
    def test_put_raises_and_get_does_once_it_is_empty(self, aio, run, shut_down):
        async def main():
            queue = aio.Queue()
            queue.put_nowait(1)
            queue.put_nowait(2)
            queue.shutdown()
            with pytest.raises(shut_down):
                queue.put_nowait(3)
            with pytest.raises(shut_down):
                await queue.put(3)
            assert queue.get_nowait() == 1
            assert await queue.get() == 2
            with pytest.raises(shut_down):
                queue.get_nowait()
            with pytest.raises(shut_down):
                await queue.get()
            assert "shutdown" in repr(queue)

        run(main())

    @since(3, 13)
    @pytest.mark.parametrize("immediate", [False, True])
    def test_wakes_all_who_wait(self, aio, run, shut_down, immediate):
        async def main():
            queue = aio.Queue()
            getters = [asyncio.create_task(queue.get()) for _ in range(3)]
            await asyncio.sleep(0)
            queue.shutdown(immediate)
            results = await asyncio.gather(*getters, return_exceptions=True)
            assert [type(result) for result in results] == [shut_down] * 3
            queue = aio.Queue(1)
            queue.put_nowait(0)
            putters = [asyncio.create_task(queue.put(n)) for n in range(3)]
            await asyncio.sleep(0)
            queue.shutdown(immediate)
            results = await asyncio.gather(*putters, return_exceptions=True)
            assert [type(result) for result in results] == [shut_down] * 3
            assert queue.qsize() == (0 if immediate else 1)

        run(main())

    @since(3, 13)
    def test_at_once_empties_it_and_counts_the_items_as_done(self, aio, run, shut_down):
        async def main():
            queue = aio.Queue()
            for item in range(3):
                queue.put_nowait(item)
            joined = asyncio.create_task(queue.join())
            await asyncio.sleep(0)
            queue.shutdown(immediate=True)
            await asyncio.wait_for(joined, 5)
            assert queue.empty()
            with pytest.raises(shut_down):
                queue.get_nowait()
            with pytest.raises(ValueError):
                queue.task_done()

        run(main())

    @since(3, 13)
    def test_at_once_leaves_what_was_got_to_be_done(self, aio, run):
        async def main():
            queue = aio.Queue()
            queue.put_nowait(1)
            queue.put_nowait(2)
            await queue.get()
            queue.shutdown(immediate=True)
            joined = asyncio.create_task(queue.join())
            await asyncio.sleep(0)
            assert not joined.done()
            queue.task_done()
            await asyncio.wait_for(joined, 5)

        run(main())

    @since(3, 13)
    def test_is_asyncios_exception_where_there_is_one(self, aio):
        assert issubclass(aio.QueueShutDown, Exception)
        assert aio.QueueShutDown is getattr(asyncio, "QueueShutDown", aio.QueueShutDown)


class TestSubclasses:
    def test_that_keep_items_their_own_way(self, aio, run):
        class Unique(aio.Queue):
            def _init(self, maxsize):
                self.items = {}

            def _put(self, item):
                self.items[item] = None

            def _get(self):
                item = next(iter(self.items))
                del self.items[item]
                return item

            def qsize(self):
                return len(self.items)

            def empty(self):
                return not self.items

        async def main():
            queue = Unique(2)
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            await queue.put(1)
            assert await getter == 1
            await queue.put(1)
            await queue.put(1)
            assert queue.qsize() == 1
            await queue.put(2)
            assert queue.full()
            putter = asyncio.create_task(queue.put(3))
            await asyncio.sleep(0)
            assert not putter.done()
            assert queue.get_nowait() == 1
            await putter
            assert [await queue.get(), await queue.get()] == [2, 3]

        run(main())

    def test_that_drop_the_oldest(self, aio, run):
        class Latest(aio.Queue):
            dropped = 0

            def put_nowait(self, item):
                if self.full():
                    self.dropped += 1
                    self.get_nowait()
                super().put_nowait(item)

            def full(self):
                return self.qsize() >= 3

        async def main():
            queue = Latest()
            for item in range(10):
                queue.put_nowait(item)
            assert queue.dropped == 7
            assert [queue.get_nowait() for _ in range(3)] == [7, 8, 9]
            await queue.put(1)
            assert await queue.get() == 1

        run(main())

    def test_that_only_add(self, aio, run):
        class Counted(aio.PriorityQueue):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.puts = 0

            async def put(self, item):
                self.puts += 1
                return await super().put(item)

        async def main():
            queue = Counted(maxsize=5)
            for item in (2, 1, 3):
                await queue.put(item)
            assert queue.puts == 3
            assert [await queue.get() for _ in range(3)] == [1, 2, 3]
            assert type(queue).__name__ in repr(queue)

        run(main())

    def test_that_use_what_asyncios_offers_inside(self, aio, run):
        class Peeking(aio.Queue):
            def _init(self, maxsize):
                self._queue = collections.deque()

            def replace(self, item):
                self._queue[-1] = item
                self._wakeup_next(self._getters)

            def _get(self):
                return self._queue.popleft()

        async def main():
            queue = Peeking()
            queue.put_nowait(1)
            queue.replace(2)
            getter = asyncio.create_task(queue.get())
            assert await getter == 2

        run(main())

    def test_of_a_priority_queue_with_another_order(self, aio, run):
        class Greatest(aio.PriorityQueue):
            def _put(self, item):
                heapq.heappush(self._queue, -item)

            def _get(self):
                return -heapq.heappop(self._queue)

        async def main():
            queue = Greatest()
            for item in (2, 3, 1):
                await queue.put(item)
            assert [await queue.get() for _ in range(3)] == [3, 2, 1]

        run(main())

    def test_are_asyncios_too(self, aio):
        class Own(aio.Queue):
            pass

        for kind in ("Queue", "PriorityQueue", "LifoQueue"):
            assert isinstance(getattr(aio, kind)(), getattr(asyncio, kind))
            assert issubclass(getattr(aio, kind), asyncio.Queue)
        assert isinstance(Own(), Own)
        assert isinstance(Own(), asyncio.Queue)
        assert type(Own()).__name__ == "Own"

    def test_and_attributes(self, aio):
        queue = aio.Queue()
        queue.name = "work"
        assert queue.name == "work"
        assert weakref.ref(queue)() is queue
        assert aio.Queue[int].__args__ == (int,)


class TestItemsThatCannotBeCompared:
    def test_are_refused_and_not_counted(self, aio, run):
        async def main():
            queue = aio.PriorityQueue()
            queue.put_nowait(1)
            with pytest.raises(TypeError):
                queue.put_nowait("a")
            with pytest.raises(TypeError):
                await queue.put(None)
            queue.task_done()
            await asyncio.wait_for(queue.join(), 5)

        run(main())


class TestRepr:
    def test_says_what_is_inside(self, aio, run):
        async def main():
            queue = aio.Queue(3)
            assert str(queue) == "<Queue maxsize=3>"
            getter = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            assert str(queue) == "<Queue maxsize=3 _getters[1]>"
            queue.put_nowait(1)
            await getter
            for item in range(3):
                queue.put_nowait(item)
            putter = asyncio.create_task(queue.put(3))
            await asyncio.sleep(0)
            assert str(queue) == "<Queue maxsize=3 _queue=[0, 1, 2] _putters[1] tasks=4>"
            assert repr(queue) == f"<Queue at {id(queue):#x} maxsize=3 _queue=[0, 1, 2] _putters[1] tasks=4>"
            putter.cancel()

        run(main())


@pytest.mark.extra("glassloop's names on a loop of asyncio's")
class TestOnAsynciosLoop:
    def test_producers_and_consumers(self, aio):
        async def main():
            queue = aio.Queue(2)

            async def produce():
                for item in range(20):
                    await queue.put(item)

            producer = asyncio.create_task(produce())
            assert [await queue.get() for _ in range(20)] == list(range(20))
            await producer
            getter = asyncio.create_task(queue.get())
            other = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            queue.put_nowait(1)
            getter.cancel()
            assert await asyncio.wait_for(other, 5) == 1

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())


# ---- compared with asyncio ----

STEPS = st.one_of(
    st.tuples(st.just("get"), st.just(0)),
    st.tuples(st.just("put"), st.just(0)),
    st.tuples(st.just("get_nowait"), st.just(0)),
    st.tuples(st.just("put_nowait"), st.just(0)),
    st.tuples(st.just("task_done"), st.just(0)),
    st.tuples(st.just("join"), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("turn"), st.just(0)),
)


async def play(queue, steps):
    """Take the steps; the record of all that could be seen."""
    record = []
    tasks = []
    item = 0

    async def recorded(number, operation, *arguments):
        try:
            record.append((number, await operation(*arguments)))
        except BaseException as error:
            record.append((number, type(error).__name__))
            raise

    for step, argument in steps:
        if step in ("get", "put", "join"):
            item += 1
            arguments = (item % 5 + item / 1000,) if step == "put" else ()
            tasks.append(asyncio.create_task(recorded(len(tasks), getattr(queue, step), *arguments)))
        elif step == "cancel":
            if tasks:
                tasks[argument % len(tasks)].cancel()
        elif step == "turn":
            await asyncio.sleep(0)
        else:
            item += 1
            try:
                record.append(queue.put_nowait(item % 5 + item / 1000) if step == "put_nowait" else getattr(queue, step)())
            except (asyncio.QueueEmpty, asyncio.QueueFull, ValueError) as error:
                record.append(type(error).__name__)
        record.append((str(queue), queue.qsize(), queue.full(), [task.done() for task in tasks]))
    for _ in range(4):
        await asyncio.sleep(0)
    record.append((str(queue), [task.done() for task in tasks]))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    record.append(str(queue))
    return record


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["Queue", "PriorityQueue", "LifoQueue"]), maxsize=st.integers(0, 3),
       steps=st.lists(STEPS, max_size=40))
def test_does_step_by_step_what_asyncios_own_does(aio, run, kind, maxsize, steps):
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        expected = runner.run(play(getattr(asyncio, kind)(maxsize), steps))
    assert run(play(getattr(aio, kind)(maxsize), steps)) == expected
