"""The leaf in plain Python: the twin of `leaf.pyx`, name by name, for the interpreted runtime.

It keeps the compiled leaf's contracts (see there): exceptions of steps and callbacks travel as values, watchers take a
place in the ready queue, sockets never block. What C needs and Python does not (owned references, type slots) is absent.
"""
import asyncio.tasks
import heapq
import os
import select
import socket
import sys
import time
import warnings
from collections import deque
from contextvars import copy_context
from types import TracebackType

COMPILED = False
RETURNED = object()
RAISED = object()
READ = 1
WRITE = 2
GL_TICKS_POLL = 100_000

now = time.monotonic
ticks = time.monotonic_ns

_OWN_THREAD_CURRENT = sys.version_info >= (3, 14)
_CURRENT_TASKS = None if _OWN_THREAD_CURRENT else asyncio.tasks._current_tasks
_SWAP_CURRENT = asyncio.tasks._swap_current_task if _OWN_THREAD_CURRENT else None


def recycle(cls):
    """Nothing to do here."""


def recycle_handles(cls):
    """Nothing to do here."""


def track_handle(handle):
    """Nothing to do here."""


def leave(handle):
    return 0


def recycle_op(cls):
    return cls


def new_op(kind):
    return kind.__new__(kind)


def track(coro):
    """Nothing to do here."""


def cancel(future, message):
    return future.cancel(msg=message)


def check_signals():
    return 0


# A traceback of the callback may keep these frames: what they hold must not live as long. That of a step keeps the
# frames that called it too, and so the task that holds the exception: the frame is taken out, as there is none in C.

def call(context, callback, args):
    try:
        if args is None:
            context.run(callback)
        else:
            context.run(callback, *args)
    except BaseException as e:
        return e
    finally:
        callback = args = None
    return None


def call1(context, callback, arg):
    try:
        context.run(callback, arg)
    except BaseException as e:
        return e
    finally:
        callback = arg = None
    return None


def method1(context, obj, name, arg):
    return context.run(getattr(obj, name), arg)


def method2(context, obj, name, first, second):
    return context.run(getattr(obj, name), first, second)


def step(core, context, coro):
    try:
        return context.run(coro.send, None)
    except StopIteration as e:
        core._handed = e.value
        return RETURNED
    except BaseException as e:
        core._handed = e.with_traceback(e.__traceback__.tb_next)
        return RAISED


def throw(core, context, coro, exc):
    try:
        return context.run(coro.throw, exc)
    except StopIteration as e:
        core._handed = e.value
        return RETURNED
    except BaseException as e:
        core._handed = e.with_traceback(e.__traceback__.tb_next)
        return RAISED


class Runnable:
    __slots__ = ()

    def _run(self, core):
        raise NotImplementedError(type(self).__name__)


class LoopBase:
    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        ring = deque()
        self._ring = ring
        self._push = ring.append
        self._pop = ring.popleft
        self._size = ring.__len__
        self._clear_ready = ring.clear
        self._held = set()
        self._handed = None
        self._published = None
        self._timers = Heap()
        self._recorder = None
        self._thread_id = None
        self._debug = False
        self._recording = False
        self._soon_due = False
        self._task_number = 0
        self._corking = False
        self._corked = None
        self._corked_last = None
        self._cork = bytearray()
        self._cork_size = 0
        self._bulk = 0
        return self

    def _take(self):
        value = self._handed
        self._handed = None
        return value

    def _publish(self, task):
        if _OWN_THREAD_CURRENT:
            _SWAP_CURRENT(self, task)
        else:
            _CURRENT_TASKS[self] = task
        self._published = task

    def _unpublish(self):
        self._published = None
        if _OWN_THREAD_CURRENT:
            _SWAP_CURRENT(self, None)
        else:
            _CURRENT_TASKS.pop(self, None)

    def _forget_task(self):
        self._unpublish()

    def _swap_published(self, task):
        if _OWN_THREAD_CURRENT:
            before = _SWAP_CURRENT(self, task)
        else:
            before = _CURRENT_TASKS.get(self)
            if task is not None:
                _CURRENT_TASKS[self] = task
            else:
                _CURRENT_TASKS.pop(self, None)
        self._published = task
        return before

    def _hold(self, task):
        self._held.add(task)
        task._slot = 0

    def _release(self, task):
        self._held.discard(task)
        task._slot = -1

    def _held_tasks(self):
        return list(self._held)

    def _timers_clear(self):
        self._timers.clear()

    def _drop_held(self):
        for task in self._held:
            task._slot = -1
        self._held.clear()

    def _soon(self, callback, arg, context):
        raise NotImplementedError

    def _callback_failed(self, handle, error):
        raise NotImplementedError


class HandleBase(Runnable):
    __slots__ = ('_due', '_index', '_cancelled')


class Heap:
    """Entries are (when, seq, handle). A removed handle leaves its entry behind; entries of removed handles are swept
    before they outnumber the others."""

    __slots__ = ('_entries', '_seq', '_removed')

    def __init__(self):
        self._entries = []
        self._seq = 0
        self._removed = 0

    def push(self, handle):
        self._seq += 1
        handle._index = self._seq
        heapq.heappush(self._entries, (handle._due, self._seq, handle))

    def remove(self, handle):
        if handle._index < 0:
            return
        handle._index = -1
        self._removed += 1
        if self._removed > 64 and self._removed * 2 > len(self._entries):
            self._entries = [e for e in self._entries if e[2]._index == e[1]]
            heapq.heapify(self._entries)
            self._removed = 0
        else:
            self._trim()

    def _trim(self):
        entries = self._entries
        while entries and entries[0][2]._index != entries[0][1]:
            heapq.heappop(entries)
            self._removed -= 1

    def pop_due(self, now):
        entries = self._entries
        if entries and entries[0][0] <= now:
            handle = heapq.heappop(entries)[2]
            handle._index = -1
            self._trim()
            return handle
        return None

    def handles(self):
        return [e[2] for e in self._entries if e[2]._index == e[1]]

    def clear(self):
        for e in self._entries:
            e[2]._index = -1
        self._entries = []
        self._removed = 0

    def size(self):
        return len(self._entries)

    def first(self):
        return self._entries[0][0]


class FutureBase(Runnable):
    # C fields start at zero: what futures and tasks have until they are told otherwise
    _st = 0
    _slot = -1
    _cancels = 0
    _blocking = _log_tb = _listened = _must = _log_destroy_pending = False
    _value = _error = _loop = _core = _waiter = _cbs = _message = _trace = _source_traceback = None
    _coro = _context = _waits = _name = None

    def __await__(self):
        if self._st == 0:
            self._blocking = True
            yield self
            if self._st == 0:
                raise RuntimeError("await wasn't used with future")
        error = self._failure()
        if error is not None:
            try:
                raise error
            finally:
                error = None  # no circle by way of this frame
        return self._value

    __iter__ = __await__

    def _failure(self):
        raise NotImplementedError


def as_exception(type_, value, traceback):
    if (value is not None or traceback is not None) and sys.version_info >= (3, 12):
        warnings.warn('the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead',
                      DeprecationWarning, stacklevel=2)
    if traceback is not None and not isinstance(traceback, TracebackType):
        raise TypeError('throw() third argument must be a traceback object')
    if isinstance(type_, type) and issubclass(type_, BaseException):
        if isinstance(value, type_):
            exc = value
        elif value is None:
            exc = type_()
        elif isinstance(value, tuple):
            exc = type_(*value)
        else:
            exc = type_(value)
    elif isinstance(type_, BaseException):
        if value is not None:
            raise TypeError('instance exception may not have a separate value')
        exc = type_
    else:
        raise TypeError('exceptions must be classes or instances deriving from BaseException, '
                        f'not {type(type_).__name__}')
    if traceback is not None:
        exc.__traceback__ = traceback
    return exc


def _outside(trace):
    """A traceback from where it leaves the runtime. In C the frames of an operation hold nothing; these would, and so keep
    an exception that they pass on in a circle."""
    while trace is not None and trace.tb_frame.f_globals.get('__name__', '').startswith('glassloop.'):
        trace = trace.tb_next
    return trace


_NEW = 0
_WAITING = 1
_DONE = 2


class _ClassName:
    """`__qualname__` of an operation is its class's: a coroutine's face wants it on the instance."""

    def __get__(self, instance, owner):
        return owner.__name__


def _failure_of(future):
    """The exception of a future that is done, its cancellation too; or None."""
    try:
        future.result()
    except BaseException as e:
        return e
    return None


class Op:
    """See the compiled twin for the contract of `_begin` and `_wake`."""

    _future = _value = None
    _phase = _NEW

    def _begin(self):
        raise NotImplementedError

    def _wake(self, exc):
        if exc is not None:
            raise exc
        self._value = self._future.result()
        return None

    def _settle(self, future):
        if future is None:
            self._phase = _DONE
            self._future = None
            return None
        self._phase = _WAITING
        self._future = future
        future._asyncio_future_blocking = True
        return future

    def _step(self):
        phase = self._phase
        if phase == _WAITING:
            if not self._future.done():
                raise RuntimeError("await wasn't used with future")
            self._phase = _DONE
            return self._settle(self._wake(_failure_of(self._future)))
        if phase == _DONE:
            raise RuntimeError('cannot reuse already awaited coroutine')
        self._phase = _DONE
        return self._settle(self._begin())

    def __await__(self):
        # a generator that goes on by itself: an await costs half of what it costs by way of send()
        if self._phase != _NEW:
            raise RuntimeError('cannot reuse already awaited coroutine')
        self._phase = _DONE
        future = exc = None
        try:
            future = self._begin()
            while future is not None:
                try:
                    yield self._settle(future)
                except BaseException as e:
                    exc = e
                else:
                    if not self._future.done():
                        raise RuntimeError("await wasn't used with future")
                    exc = _failure_of(self._future)
                self._phase = _DONE
                future = self._wake(exc)
        except BaseException as e:
            e.__traceback__ = _outside(e.__traceback__)
            # no circle by way of this frame, which the exception holds
            self._future = None
            del self, future, exc
            raise
        self._future = None
        value = self._value
        self._value = None
        return value

    def __iter__(self):
        return self

    def send(self, value=None):
        try:
            future = self._step()
        except BaseException as e:
            e.__traceback__ = _outside(e.__traceback__)
            del self  # no circle by way of this frame, which the exception holds
            raise
        if future is None:
            value = self._value
            self._value = None
            raise StopIteration(value)
        return future

    __next__ = send

    def throw(self, type, value=None, traceback=None):
        exc = as_exception(type, value, traceback)
        if self._phase == _DONE:
            raise RuntimeError('cannot reuse already awaited coroutine')
        if self._phase == _NEW:
            self._phase = _DONE
            raise exc
        self._phase = _DONE
        try:
            future = self._settle(self._wake(exc))
        except BaseException as e:
            e.__traceback__ = _outside(e.__traceback__)
            del self
            raise
        finally:
            exc = type = None
        if future is None:
            value = self._value
            self._value = None
            raise StopIteration(value)
        return future

    def close(self):
        if self._phase == _WAITING:
            self._phase = _DONE
            try:
                future = self._wake(GeneratorExit())
            except (GeneratorExit, StopIteration):
                future = None
            finally:
                self._future = None
            if future is not None:
                raise RuntimeError('coroutine ignored GeneratorExit')
        self._phase = _DONE

    def __del__(self):
        if self._phase == _WAITING:
            self.close()
        elif self._phase == _NEW:
            warnings.warn(f"coroutine '{type(self).__qualname__}' was never awaited", RuntimeWarning, source=self)

    @property
    def cr_await(self):
        return self._future

    @property
    def cr_running(self):
        return False

    @property
    def cr_frame(self):
        return None

    __name__ = _ClassName()


class Watcher(Runnable):
    __slots__ = ('_core', '_poller', '_fd', '_interest', '_arrived', '_queued', '_after')

    def _uncork(self):
        raise NotImplementedError(type(self).__name__)

    def _ready(self, events):
        self._arrived |= events
        if not self._queued:
            self._queued = True
            self._core._push(self)

    def _want(self, events):
        now = self._interest
        if events == now:
            return
        if events == 0:
            self._interest = 0
            self._poller.unregister(self._fd)
        elif now == 0:
            self._poller.register(self._fd, self, events)
            self._interest = events
        else:
            self._poller.modify(self._fd, self, events)
            self._interest = events


class Poller:
    def open(self, loop):
        raise NotImplementedError

    def register(self, fd, watcher, events):
        raise NotImplementedError

    def modify(self, fd, watcher, events):
        raise NotImplementedError

    def unregister(self, fd):
        raise NotImplementedError

    def wait(self, timeout):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError


class EpollPoller(Poller):
    def __init__(self):
        self._epoll = None
        self._table = {}

    def open(self, loop):
        self._epoll = select.epoll()

    @staticmethod
    def _mask(events):
        return (select.EPOLLIN if events & READ else 0) | (select.EPOLLOUT if events & WRITE else 0)

    def register(self, fd, watcher, events):
        if fd < 0:
            raise ValueError(f'Invalid file descriptor: {fd}')
        try:
            self._epoll.register(fd, self._mask(events))
        except FileExistsError:
            self._epoll.modify(fd, self._mask(events))
        old = self._table.get(fd)
        if old is not None and old[0] is not watcher:
            old[0]._interest = 0
        self._table[fd] = (watcher, events)

    def modify(self, fd, watcher, events):
        anew = False
        try:
            self._epoll.modify(fd, self._mask(events))
        except FileNotFoundError:
            anew = True
            self._epoll.register(fd, self._mask(events))
        self._table[fd] = (watcher, events)
        return anew

    def unregister(self, fd):
        if self._table.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:
                return  # closed already: the kernel has forgotten it

    def wait(self, timeout):
        if timeout > 0:
            # select.epoll rounds a timeout up to the next millisecond: never early
            timeout = min(timeout, 86400.0)
        elif timeout < 0:
            timeout = None
        for fd, flags in self._epoll.poll(timeout, max(len(self._table), 1)):
            entry = self._table.get(fd)
            if entry is None:
                continue
            got = 0
            if flags & ~select.EPOLLOUT:
                got |= READ
            if flags & ~select.EPOLLIN:
                got |= WRITE
            got &= entry[1]
            if got:
                entry[0]._ready(got)

    def close(self):
        for watcher, _ in self._table.values():
            watcher._interest = 0
        self._table.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def fileno(self):
        return -1 if self._epoll is None else self._epoll.fileno()


# ---- sockets ----
#
# Calls go through a socket object made for the call on the same descriptor and detached again.

def _on(fd):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)


def recv(fd, size):
    sock = _on(fd)
    try:
        return sock.recv(size, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    finally:
        sock.detach()


def recv_into(fd, buffer):
    sock = _on(fd)
    try:
        return sock.recv_into(buffer, 0, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return -1
    finally:
        sock.detach()


def send(fd, data, offset):
    sock = _on(fd)
    try:
        return sock.send(memoryview(data).cast('B')[offset:] if offset else data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return -1
    finally:
        sock.detach()


def sendv(fd, pieces, offset):
    pieces = list(pieces[:64])
    if offset:
        pieces[0] = memoryview(pieces[0]).cast('B')[offset:]
    sock = _on(fd)
    try:
        return sock.sendmsg(pieces, (), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return -1
    finally:
        sock.detach()


def address(fd, peer):
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None  # not a socket
    try:
        return sock.getpeername() if peer else sock.getsockname()
    except OSError:
        return None
    finally:
        sock.detach()


def as_address(raw):
    return raw


def nodelay(fd):
    sock = _on(fd)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return 0  # not TCP
    finally:
        sock.detach()


def shut(fd):
    sock = _on(fd)
    try:
        sock.shutdown(socket.SHUT_WR)
    finally:
        sock.detach()


UNREADABLE = -3


class Datagrams:
    __slots__ = ('family', 'room', 'sender')

    def __init__(self, family):
        self.family = family
        self.room = 65536 if family in (socket.AF_INET, socket.AF_INET6) else 262144
        self.sender = None

    def receive(self, fd):
        sock = socket.socket(self.family, socket.SOCK_DGRAM, 0, fileno=fd)
        try:
            data, self.sender = sock.recvfrom(self.room, socket.MSG_DONTWAIT)
            return data
        except BlockingIOError:
            return None
        finally:
            sock.detach()

    def send(self, fd, data, address):
        if address is not None and address is not self.sender and not self._readable(address):
            return UNREADABLE
        flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        sock = socket.socket(self.family, socket.SOCK_DGRAM, 0, fileno=fd)
        try:
            return sock.send(data, flags) if address is None else sock.sendto(data, flags, address)
        except BlockingIOError:
            return -1
        finally:
            sock.detach()

    def _readable(self, address):
        if self.family not in (socket.AF_INET, socket.AF_INET6) or type(address) is not tuple:
            return False
        if len(address) != 2 and (len(address) != 4 or self.family != socket.AF_INET6):
            return False
        host, port, *rest = address
        if type(host) is not str or type(port) is not int or not 0 <= port <= 65535:
            return False
        if rest and not (type(rest[0]) is type(rest[1]) is int and 0 <= rest[0] <= 0xfffff and 0 <= rest[1] <= 0xffffffff):
            return False
        try:
            socket.inet_pton(self.family, host)
        except (OSError, ValueError):
            return False
        return True


def cork(core, data):
    core._cork += data
    core._cork_size = len(core._cork)


def cork_send(core, fd):
    n = send(fd, core._cork, 0)
    if n == core._cork_size:
        core._cork.clear()
        core._cork_size = 0
    return n


def cork_take(core):
    data = bytes(core._cork)
    core._cork.clear()
    core._cork_size = 0
    return data


def accept(fd):
    sock = _on(fd)
    try:
        new, _ = sock._accept()
        os.set_blocking(new, False)
        return new
    except BlockingIOError:
        return -1
    finally:
        sock.detach()


def read(fd, size):
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return None


def write(fd, data, offset):
    try:
        return os.write(fd, memoryview(data).cast('B')[offset:] if offset else data)
    except BlockingIOError:
        return -1
