# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""What Python can't say: the ready ring, the heap of deadlines, one step of a coroutine, the type slots of awaitables,
the epoll table, and reading and writing sockets straight from and into Python's buffers.

`leaf.py` beside this file says the same in plain Python, name by name, for the interpreted runtime; this is the only
pair of twins. The rules here:

- An owned pointer is named in a comment. The ring, the heap, the table of held tasks and the table of watchers own
  what they hold, and the garbage collector sees all of it (the traverse slots are extended below).
- An exception that a step or a callback raises travels as a value, not as a raised exception: it is cheaper, and the
  caller always knows whose exception it is.
- No function here knows what a task, a transport or a loop means.
"""
import asyncio.tasks
import os
import socket
import sys
import warnings

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject, visitproc
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.errno cimport EAGAIN, EEXIST, EINTR, ENOENT, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "Python.h":
    void *PyMem_Realloc(void *, size_t)
    void PyMem_Free(void *)
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    int PyDict_SetItem(object, object, object) except -1
    int PyDict_DelItem(object, object) except -1
    object PyUnicode_FromString(const char *)
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    object PyObject_GenericGetDict(object, void *)
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *raw_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <unistd.h>
    #ifdef __linux__
    #include <sys/epoll.h>
    #include <sys/syscall.h>
    #ifndef SYS_epoll_pwait2
    #define SYS_epoll_pwait2 441
    #endif
    /* timeout in seconds; < 0: without limit. Nanosecond timeouts where the kernel has them (5.11), otherwise
       milliseconds rounded up: a timer must not fire early. */
    static int gl_epoll_wait(int ep, struct epoll_event *ev, int max, double timeout, char *no_pwait2) {
        int n;
        if (timeout == 0) return epoll_wait(ep, ev, max, 0);
        if (timeout < 0) return epoll_wait(ep, ev, max, -1);
        if (!*no_pwait2) {
            struct { long long sec, nsec; } ts;
            if (timeout > 1e9) timeout = 1e9;
            ts.sec = (long long)timeout;
            ts.nsec = (long long)((timeout - (double)ts.sec) * 1e9) + 1;
            if (ts.nsec >= 1000000000) { ts.sec++; ts.nsec -= 1000000000; }
            n = (int)syscall(SYS_epoll_pwait2, ep, ev, max, &ts, NULL, 8);
            if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
            *no_pwait2 = 1;
        }
        if (timeout > 86400) timeout = 86400;
        return epoll_wait(ep, ev, max, (int)(timeout * 1000) + 1);
    }
    static int gl_epoll_ctl(int ep, int op, int fd, unsigned events, uint64_t data) {
        struct epoll_event e;
        memset(&e, 0, sizeof e);
        e.events = events;
        e.data.u64 = data;
        return epoll_ctl(ep, op, fd, &e);
    }
    static inline uint64_t gl_event_data(struct epoll_event *e) { return e->data.u64; }
    #define gl_epoll_create() epoll_create1(EPOLL_CLOEXEC)
    /* the set gets the other's descriptor, which is closed: whoever watches the loop's descriptor keeps it */
    #define gl_epoll_replace(ep, other) (dup3(ep, other, O_CLOEXEC) < 0 ? -1 : 0)
    #else
    /* no epoll here: core.poller makes a SelectorPoller instead */
    enum { EPOLLIN = 1, EPOLLOUT = 4, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL };
    struct epoll_event { uint32_t events; uint64_t data; };
    static int gl_epoll_create(void) { errno = ENOSYS; return -1; }
    #define gl_epoll_replace(ep, other) (-1)
    static int gl_epoll_wait(int ep, struct epoll_event *ev, int max, double timeout, char *no_pwait2) {
        errno = ENOSYS; return -1;
    }
    static int gl_epoll_ctl(int ep, int op, int fd, unsigned events, uint64_t data) { errno = ENOSYS; return -1; }
    static uint64_t gl_event_data(struct epoll_event *e) { return e->data; }
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    #endif
    static int gl_address(int fd, int peer, struct sockaddr_storage *a, socklen_t *n) {
        return peer ? getpeername(fd, (struct sockaddr *)a, n) : getsockname(fd, (struct sockaddr *)a, n);
    }
    static int gl_accept(int fd) {
    #ifdef __linux__
        return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    #else
        int n = accept(fd, NULL, NULL);
        if (n >= 0) { fcntl(n, F_SETFL, O_NONBLOCK); fcntl(n, F_SETFD, FD_CLOEXEC); }
        return n;
    #endif
    }
    typedef int (*gl_traverse)(PyObject *, visitproc, void *);
    typedef int (*gl_clear)(PyObject *);
    static gl_traverse gl_get_traverse(PyObject *t) { return ((PyTypeObject *)t)->tp_traverse; }
    static gl_clear gl_get_clear(PyObject *t) { return ((PyTypeObject *)t)->tp_clear; }
    static void gl_set_gc(PyObject *t, gl_traverse tr, gl_clear cl) {
        ((PyTypeObject *)t)->tp_traverse = tr;
        ((PyTypeObject *)t)->tp_clear = cl;
    }
    static void gl_set_iter(PyObject *t, iternextfunc next, sendfunc send, unaryfunc await) {
        PyTypeObject *tp = (PyTypeObject *)t;
        tp->tp_iternext = next;
        tp->tp_as_async->am_send = send;
        if (await) tp->tp_as_async->am_await = await;
        PyType_Modified(tp);
    }
    static void gl_set_dict(PyObject *t, Py_ssize_t offset) {
        ((PyTypeObject *)t)->tp_dictoffset = offset;
        PyType_Modified((PyTypeObject *)t);
    }
    static PyObject *gl_self(PyObject *o) { Py_INCREF(o); return o; }
    #define GL_PIECES 64
    """
    ctypedef struct epoll_event "struct epoll_event":
        uint32_t events
    int gl_epoll_wait(int, epoll_event *, int, double, char *) nogil
    int gl_epoll_ctl(int, int, int, unsigned, uint64_t)
    uint64_t gl_event_data(epoll_event *)
    int gl_epoll_create()
    int gl_epoll_replace(int, int)
    int gl_accept(int)
    ctypedef unsigned int socklen_t
    struct sockaddr_storage:
        unsigned short ss_family
    int gl_address(int, bint, sockaddr_storage *, socklen_t *)
    int c_setsockopt "setsockopt"(int, int, int, const void *, socklen_t)
    int c_shutdown "shutdown"(int, int)
    int AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP, TCP_NODELAY, SHUT_WR
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT
    int c_close "close"(int)
    ctypedef int (*gl_traverse)(PyObject *, visitproc, void *)
    ctypedef int (*gl_clear)(PyObject *)
    int gl_visit(PyObject *, visitproc, void *) noexcept
    gl_traverse gl_get_traverse(object)
    gl_clear gl_get_clear(object)
    void gl_set_gc(object, gl_traverse, gl_clear)
    ctypedef PyObject *(*iternextfunc)(PyObject *)
    ctypedef int (*sendfunc)(PyObject *, PyObject *, PyObject **)
    ctypedef PyObject *(*unaryfunc)(PyObject *)
    void gl_set_iter(object, iternextfunc, sendfunc, unaryfunc)
    PyObject *gl_self(PyObject *)
    void gl_set_dict(object, Py_ssize_t)
    void gl_set_error(object)
    ssize_t c_recv "recv"(int, void *, size_t, int)
    ssize_t c_send "send"(int, const void *, size_t, int)
    struct sockaddr:
        pass
    struct sockaddr_in:
        unsigned short sin_family, sin_port
    struct sockaddr_in6:
        unsigned short sin6_family, sin6_port
        uint32_t sin6_flowinfo, sin6_scope_id
    ssize_t c_recvfrom "recvfrom"(int, void *, size_t, int, sockaddr *, socklen_t *)
    ssize_t c_sendto "sendto"(int, const void *, size_t, int, const sockaddr *, socklen_t)
    int inet_pton(int, const char *, void *)
    const char *inet_ntop(int, const void *, char *, socklen_t)
    unsigned short htons(unsigned short)
    unsigned short ntohs(unsigned short)
    uint32_t ntohl(uint32_t)
    uint32_t htonl(uint32_t)
    ssize_t c_read "read"(int, void *, size_t)
    ssize_t c_write "write"(int, const void *, size_t)
    int MSG_NOSIGNAL, MSG_DONTWAIT
    int GL_PIECES
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_sendmsg "sendmsg"(int, const msghdr *, int)

COMPILED = True
RETURNED = object()
RAISED = object()

#: bits of a watcher's interest and of what arrived
READ = 1
WRITE = 2

cdef bint OWN_THREAD_CURRENT = sys.version_info >= (3, 14)
cdef object CURRENT_TASKS = None if OWN_THREAD_CURRENT else asyncio.tasks._current_tasks
cdef object SWAP_CURRENT = asyncio.tasks._swap_current_task if OWN_THREAD_CURRENT else None


cdef extern from "glassloop/core/recycle.h":
    int gl_ready() except -1
    int gl_recycle(object, bint) except -1
    int gl_recycle_op(object, Py_ssize_t, int) except -1
    object gl_new_op(int)
    void gl_set_stop(object)

gl_ready()


cdef int recycle(object cls) except -1:
    """Keep freed objects of this class for its next ones."""
    return gl_recycle(cls, False)


cdef int recycle_handles(object cls) except -1:
    """The same for handles, which the collector isn't told of while they belong to the loop (see LoopBase)."""
    return gl_recycle(cls, True)


cdef int recycle_op(object cls) except -1:
    """Make operations of this class by new_op(), with the number that is returned, and keep freed ones."""
    cdef Op op = Op.__new__(Op)
    op._phase = DONE
    return gl_recycle_op(cls, <char *>&op._phase - <char *><PyObject *>op, DONE)


cdef object new_op(int kind):
    """A new operation of the class that recycle_op() gave this number to."""
    return gl_new_op(kind)


cdef int track(object coro) except -1:
    """Somebody holds the coroutine before it has begun: the collector must know of it, also if it is an Op."""
    if isinstance(coro, Op):
        gl_track(coro)
    return 0


cdef extern from *:
    """
    static int gl_go_deeper(void) { return Py_EnterRecursiveCall(" while cancelling a task") ? -1 : 0; }
    """
    int gl_go_deeper() except -1
    void Py_LeaveRecursiveCall()


cdef object cancel(object future, object message):
    """future.cancel(msg=message). What is cancelled may cancel further: endlessly, where tasks wait for one another in a
    circle; RecursionError then."""
    gl_go_deeper()
    try:
        return future.cancel(msg=message)
    finally:
        Py_LeaveRecursiveCall()


cdef int check_signals() except -1:
    return PyErr_CheckSignals()


cdef class Runnable:
    """What may stand in the ready queue."""

    cdef int _run(self, LoopBase core) except -1:
        raise NotImplementedError(type(self).__name__)


cdef class LoopBase:
    """What the parts of a loop share: the ready ring, the heap of deadlines, the pending tasks (held strongly), and
    which task asyncio was told is running.

    The handles in ring and heap are not tracked by the collector; the loop's traverse slot sees through them, as if what
    they hold were the loop's own. So a handle is tracked as soon as it leaves both and somebody else has it: when it
    has run (leave), is cancelled (track_handle), or the loop is closed."""

    def __cinit__(self, *args, **kwargs):
        self._timers = Heap.__new__(Heap)

    def __dealloc__(self):
        loop_clear_ring(self)
        loop_clear_held(self)
        PyMem_Free(self.ring.buf)
        PyMem_Free(self.held)
        Py_XDECREF(self.handed)

    # asyncio.current_task(): from 3.14 on asyncio is told of each change. Before, asyncio looks the loop up in a dict,
    # and so asks for the loop's hash first: the dict is written then, and not in each step.

    def __hash__(self):
        if self._published is not None and not self.shown and not OWN_THREAD_CURRENT:
            self.shown = True
            PyDict_SetItem(CURRENT_TASKS, self, self._published)
        return <Py_hash_t>((<size_t><void *>self) >> 4)

    def __eq__(self, other):
        return self is other

    cdef int _show(self, object task) except -1:
        if OWN_THREAD_CURRENT:
            SWAP_CURRENT(self, task)
        elif task is not None:
            PyDict_SetItem(CURRENT_TASKS, self, task)
        return 0

    def _forget_task(self):
        """_unpublish() for callers that aren't compiled."""
        self._unpublish()

    cdef int _unpublish(self) except -1:
        """Tell asyncio that none of our tasks runs now. Not cpdef: on a class that may be extended in Python each call would
        look for an override."""
        self._published = None
        if OWN_THREAD_CURRENT:
            SWAP_CURRENT(self, None)
        elif self.shown:
            self.shown = False
            if PyDict_GetItemWithError(CURRENT_TASKS, self) != NULL:
                PyDict_DelItem(CURRENT_TASKS, self)
        return 0

    cdef object _swap_published(self, object task):
        """Tell asyncio that `task` (or None) runs; returns what ran before, ours or a foreign one."""
        cdef PyObject *item
        cdef object before = None
        if OWN_THREAD_CURRENT:
            before = SWAP_CURRENT(self, task)
        else:
            item = PyDict_GetItemWithError(CURRENT_TASKS, self)
            if item != NULL:
                before = <object>item
            if task is not None:
                PyDict_SetItem(CURRENT_TASKS, self, task)
            elif item != NULL:
                PyDict_DelItem(CURRENT_TASKS, self)
            self.shown = task is not None
        self._published = task
        return before

    cdef int _hold(self, FutureBase task) except -1:
        """Keep a pending task alive."""
        cdef Py_ssize_t room
        cdef void *p
        if self.held_n == self.held_room:
            room = self.held_room * 2 if self.held_room else 16
            p = PyMem_Realloc(self.held, room * sizeof(PyObject *))
            if p == NULL:
                raise MemoryError
            self.held = <PyObject **>p
            self.held_room = room
        Py_INCREF(task)
        self.held[self.held_n] = <PyObject *>task
        task._slot = self.held_n
        self.held_n += 1
        return 0

    cdef int _release(self, FutureBase task) except -1:
        """Let go of a task that `_hold` kept; nothing if it isn't kept."""
        cdef Py_ssize_t i = task._slot
        if i < 0:
            return 0
        task._slot = -1
        self.held_n -= 1
        if i != self.held_n:
            self.held[i] = self.held[self.held_n]
            (<FutureBase>self.held[i])._slot = i
        Py_DECREF(task)
        return 0

    cpdef list _held_tasks(self):
        cdef Py_ssize_t i
        return [<object>self.held[i] for i in range(self.held_n)]

    cpdef int _drop_held(self) except -1:
        loop_clear_held(self)
        return 0

    cdef int _soon(self, object callback, object arg, object context) except -1:
        """callback(arg) in `context`, at its place in the ready queue."""
        raise NotImplementedError

    cdef int _callback_failed(self, object handle, object error) except -1:
        raise NotImplementedError

    def _clear_ready(self):
        loop_clear_ring(self)

    def _timers_clear(self):
        self._timers.clear()


cdef void loop_clear_ring(LoopBase self) noexcept:
    cdef PyObject *o
    while self.ring.tail != self.ring.head:
        o = gl_ring_pop(&self.ring)
        gl_leave(o)
        Py_XDECREF(o)

cdef void loop_clear_held(LoopBase self) noexcept:
    cdef FutureBase task
    while self.held_n:
        self.held_n -= 1
        task = <FutureBase>self.held[self.held_n]
        task._slot = -1
        Py_DECREF(task)

cdef gl_traverse loop_traverse_fields = gl_get_traverse(LoopBase)
cdef gl_clear loop_clear_fields = gl_get_clear(LoopBase)

cdef int loop_traverse(PyObject *o, visitproc visit, void *arg) noexcept:
    cdef LoopBase self = <LoopBase>o
    cdef size_t i
    cdef Py_ssize_t k
    cdef int r
    i = self.ring.head
    while i != self.ring.tail:
        r = gl_visit(self.ring.buf[i & self.ring.mask], visit, arg)
        if r:
            return r
        i += 1
    for k in range(self.held_n):
        r = visit(self.held[k], arg)
        if r:
            return r
    # the heap is the loop's alone, and not tracked itself
    if self._timers is not None:
        for k in range(self._timers.n):
            r = gl_visit(self._timers.entries[k].handle, visit, arg)
            if r:
                return r
    if self.handed != NULL:
        r = visit(self.handed, arg)
        if r:
            return r
    return loop_traverse_fields(o, visit, arg)

cdef int loop_clear(PyObject *o) noexcept:
    loop_clear_ring(<LoopBase>o)
    loop_clear_held(<LoopBase>o)
    if (<LoopBase>o)._timers is not None:
        heap_clear((<LoopBase>o)._timers)
    return loop_clear_fields(o)

gl_set_gc(LoopBase, loop_traverse, loop_clear)


# ---- deadlines: a 4-ary heap, the entry's place kept in its handle, so that a cancel removes it at once ----

cdef class HandleBase(Runnable):
    pass

cdef inline bint before(Entry *a, Entry *b) noexcept:
    return a.when < b.when or (a.when == b.when and a.seq < b.seq)

cdef inline void place(Heap heap, Py_ssize_t i, Entry *e) noexcept:
    heap.entries[i] = e[0]
    (<HandleBase>e.handle)._index = <int>i

cdef void sift_up(Heap heap, Py_ssize_t i) noexcept:
    cdef Entry e = heap.entries[i]
    cdef Py_ssize_t parent
    while i > 0:
        parent = (i - 1) >> 2
        if not before(&e, &heap.entries[parent]):
            break
        place(heap, i, &heap.entries[parent])
        i = parent
    place(heap, i, &e)

cdef void sift_down(Heap heap, Py_ssize_t i) noexcept:
    cdef Entry e = heap.entries[i]
    cdef Py_ssize_t n = heap.n, child, k, least
    while True:
        child = (i << 2) + 1
        if child >= n:
            break
        least = child
        for k in range(child + 1, min(child + 4, n)):
            if before(&heap.entries[k], &heap.entries[least]):
                least = k
        if not before(&heap.entries[least], &e):
            break
        place(heap, i, &heap.entries[least])
        i = least
    place(heap, i, &e)

@cython.final
cdef class Heap:
    """Handles by deadline, the earliest first, first come first served among equals. Owns its handles."""

    def __dealloc__(self):
        self.clear()
        PyMem_Free(self.entries)

    cdef int push(self, HandleBase handle) except -1:
        cdef Py_ssize_t room
        cdef void *p
        if self.n == self.room:
            room = self.room * 2 if self.room else 64
            if room > 0x7fffffff:
                raise MemoryError
            p = PyMem_Realloc(self.entries, room * sizeof(Entry))
            if p == NULL:
                raise MemoryError
            self.entries = <Entry *>p
            self.room = room
        Py_INCREF(handle)
        self.seq += 1
        self.entries[self.n].when = handle._due
        self.entries[self.n].seq = self.seq
        self.entries[self.n].handle = <PyObject *>handle
        self.n += 1
        sift_up(self, self.n - 1)
        return 0

    cdef int remove(self, HandleBase handle) except -1:
        cdef Py_ssize_t i = handle._index
        cdef Entry e
        if i < 0:
            return 0
        handle._index = -1
        self.n -= 1
        if i != self.n:
            e = self.entries[self.n]
            place(self, i, &e)
            if i > 0 and before(&e, &self.entries[(i - 1) >> 2]):
                sift_up(self, i)
            else:
                sift_down(self, i)
        Py_DECREF(handle)
        return 0

    cdef HandleBase pop_due(self, double now):
        """The earliest handle if it is due at `now`, else None."""
        cdef HandleBase handle
        if self.n and self.entries[0].when <= now:
            handle = <HandleBase>self.entries[0].handle
            self.remove(handle)
            return handle
        return None

    cdef list handles(self):
        cdef Py_ssize_t i
        return [<object>self.entries[i].handle for i in range(self.n)]

    cdef int clear(self) except -1:
        heap_clear(self)
        return 0

cdef void heap_clear(Heap self) noexcept:
    cdef HandleBase handle
    while self.n:
        self.n -= 1
        handle = <HandleBase>self.entries[self.n].handle
        handle._index = -1
        Py_DECREF(handle)
        gl_leave(<PyObject *>handle)


# ---- awaitables ----

cdef class FutureBase(Runnable):
    """A future's state and its type slots: awaiting one costs no object. `await future` iterates the future itself;
    `iter(future)` and `future.__await__()` give a FutureIter, so that a future never looks like a coroutine."""

    def __cinit__(self, *args, **kwargs):
        self._slot = -1

    def __await__(self):
        return _new_iter(self)

    def __iter__(self):
        return _new_iter(self)

    cdef object _failure(self):
        """The exception that a finished future ended with, marked as retrieved; None where it has a result."""
        raise NotImplementedError

    def __dealloc__(self):
        Py_XDECREF(self.attributes)

    @property
    def __dict__(self):
        return PyObject_GenericGetDict(self, NULL)

cdef FutureBase _probe = FutureBase.__new__(FutureBase)

cdef PyObject *future_next(PyObject *o) noexcept:
    cdef FutureBase self = <FutureBase>o
    if self._st == 0:
        self._blocking = True
        Py_INCREF(self)
        return o
    if self._st == 2 and self._error is None:
        gl_set_stop(self._value)
        return NULL
    try:
        error = self._failure()
    except BaseException as e:
        error = e
    gl_set_error(error)
    return NULL

cdef int future_send(PyObject *o, PyObject *value, PyObject **result) noexcept:
    cdef FutureBase self = <FutureBase>o
    if self._st == 0:
        self._blocking = True
        Py_INCREF(self)
        result[0] = o
        return 1
    if self._st == 2 and self._error is None:
        Py_INCREF(self._value)
        result[0] = <PyObject *>self._value
        return 0
    try:
        error = self._failure()
    except BaseException as e:
        error = e
    gl_set_error(error)
    result[0] = NULL
    return -1

gl_set_iter(FutureBase, future_next, future_send, gl_self)

# Attributes that users set on a future live in a dict made at the first of them.

cdef gl_traverse future_traverse_fields = gl_get_traverse(FutureBase)
cdef gl_clear future_clear_fields = gl_get_clear(FutureBase)

cdef int future_traverse(PyObject *o, visitproc visit, void *arg) noexcept:
    cdef FutureBase self = <FutureBase>o
    cdef int r
    if self.attributes != NULL:
        r = visit(self.attributes, arg)
        if r:
            return r
    return future_traverse_fields(o, visit, arg)

cdef int future_clear(PyObject *o) noexcept:
    cdef FutureBase self = <FutureBase>o
    cdef PyObject *attributes = self.attributes
    self.attributes = NULL
    Py_XDECREF(attributes)
    return future_clear_fields(o)

gl_set_gc(FutureBase, future_traverse, future_clear)
gl_set_dict(FutureBase, <char *>&(<FutureBase>_probe).attributes - <char *><PyObject *>_probe)


cdef FutureIter _new_iter(FutureBase future):
    cdef FutureIter it = FutureIter.__new__(FutureIter)
    it._future = future
    return it

@cython.final
cdef class FutureIter:
    """What `iter(future)` gives: a generator's face over one wait."""

    def __iter__(self):
        return self

    def __await__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef FutureBase future = self._future
        if future is None:
            raise StopIteration
        if future._st == 0:
            if self._started:
                raise RuntimeError("await wasn't used with future")
            self._started = True
            future._blocking = True
            return future
        self._future = None
        error = future._failure()
        if error is not None:
            raise error
        raise StopIteration(future._value)

    def throw(self, type, value=None, traceback=None):
        self._future = None
        raise as_exception(type, value, traceback)

    def close(self):
        self._future = None


cdef as_exception(type_, value, traceback):
    """The exception that generator.throw(type, value, traceback) means."""
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

from types import TracebackType


cdef enum:
    NEW = 0
    WAITING = 1
    DONE = 2

cdef object failure_of(object future):
    """The exception of a future that is done, its cancellation too; or None."""
    try:
        future.result()
    except BaseException as e:
        return e


cdef class Op:
    """One awaitable operation with a coroutine's face (send, throw, close), which costs no frame.

    `_begin` runs at the first send, `_wake` when the future waited for is done (exc None) or when an exception comes
    in at the wait (the future's own, its cancellation, or one thrown in). Each returns the future to wait for next,
    or None when the operation is done, its result in `_value`; or raises. While `_wake` runs, `_future` is still the
    future that was waited for.
    """

    cdef object _begin(self):
        raise NotImplementedError

    cdef object _wake(self, object exc):
        if exc is not None:
            raise exc
        if isinstance(self._future, FutureBase):
            self._value = (<FutureBase>self._future)._value
        else:
            self._value = self._future.result()
        return None

    cdef object _settle(self, object future):
        """Note the future to wait for; returns it marked as blocking, or None when done."""
        if future is None:
            self._future = None
            return None
        self._phase = WAITING
        self._future = future
        gl_track(self)
        if isinstance(future, FutureBase):
            (<FutureBase>future)._blocking = True
        else:
            future._asyncio_future_blocking = True
        return future

    cdef object _step(self):
        cdef FutureBase future
        cdef int phase = self._phase
        self._phase = DONE
        if phase == NEW:
            begun = self._begin()
            return begun if begun is None else self._settle(begun)
        if phase == DONE:
            raise RuntimeError('cannot reuse already awaited coroutine')
        if isinstance(self._future, FutureBase):
            future = <FutureBase>self._future
            if future._st == 2 and future._error is None:
                return self._settle(self._wake(None))
            if future._st == 0:
                self._phase = WAITING
                raise RuntimeError("await wasn't used with future")
            return self._settle(self._wake(future._failure()))
        return self._settle(self._wake(failure_of(self._future)))

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def send(self, value):
        future = self._step()
        if future is None:
            value = self._value
            self._value = None
            raise StopIteration(value)
        return future

    def throw(self, type, value=None, traceback=None):
        exc = as_exception(type, value, traceback)
        if self._phase == DONE:
            raise RuntimeError('cannot reuse already awaited coroutine')
        if self._phase == NEW:
            self._phase = DONE
            raise exc
        self._phase = DONE
        future = self._settle(self._wake(exc))
        if future is None:
            value = self._value
            self._value = None
            raise StopIteration(value)
        return future

    def close(self):
        if self._phase == WAITING:
            self._phase = DONE
            try:
                future = self._wake(GeneratorExit())
            except (GeneratorExit, StopIteration):
                future = None
            finally:
                self._future = None
            if future is not None:
                raise RuntimeError('coroutine ignored GeneratorExit')
        self._phase = DONE

    def __del__(self):
        if self._phase == WAITING:
            self.close()
        elif self._phase == NEW:
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

    @property
    def __name__(self):
        return type(self).__name__

    @property
    def __qualname__(self):
        return type(self).__qualname__

cdef object op_step(object op):
    return (<Op>op)._step()

# the same as C sees it: NULL with the exception set, and no exception handler of ours in between
ctypedef PyObject *(*bare_step)(PyObject *) noexcept

cdef PyObject *op_next(PyObject *o) noexcept:
    cdef PyObject *future = (<bare_step><void *>op_step)(o)
    cdef PyObject *value
    if future != <PyObject *>None:
        return future
    Py_DECREF(None)
    value = <PyObject *>(<Op>o)._value
    if value != <PyObject *>None:
        gl_set_stop(<object>value)
        (<Op>o)._value = None
    return NULL

cdef PyObject *take_value(PyObject *o) noexcept:
    cdef PyObject *value = <PyObject *>(<Op>o)._value
    Py_INCREF(<object>value)
    (<Op>o)._value = None
    return value

cdef int op_send(PyObject *o, PyObject *sent, PyObject **result) noexcept:
    cdef PyObject *future = (<bare_step><void *>op_step)(o)
    result[0] = future
    if future == NULL:
        return -1
    if future != <PyObject *>None:
        return 1
    Py_DECREF(None)
    result[0] = take_value(o)
    return 0

gl_set_iter(Op, op_next, op_send, gl_self)


# ---- descriptors ----

cdef class Watcher(Runnable):
    """What a poller reports to: one descriptor, the events it wants, the events that came since its last run. When
    events come it takes a place in the ready queue, so that all work of a turn runs in one order."""

    cdef int _uncork(self) except -1:
        """The entry of the ready queue that wrote to this descriptor has ended: send now (see Turn._uncork)."""
        raise NotImplementedError(type(self).__name__)

    cpdef int _ready(self, int events) except -1:
        self._arrived |= events
        if not self._queued:
            self._queued = True
            self._core._push(self)
        return 0

    cpdef int _want(self, int events) except -1:
        """Watch for exactly these events from now on (0: none)."""
        cdef int now = self._interest
        if events == now:
            return 0
        if events == 0:
            self._interest = 0
            self._poller.unregister(self._fd)
        elif now == 0:
            self._poller.register(self._fd, self, events)
            self._interest = events
        else:
            self._poller.modify(self._fd, self, events)
            self._interest = events
        return 0


cdef class Poller:
    cpdef open(self, LoopBase loop):
        raise NotImplementedError
    cpdef register(self, int fd, Watcher watcher, int events):
        raise NotImplementedError
    cpdef modify(self, int fd, Watcher watcher, int events):
        raise NotImplementedError
    cpdef unregister(self, int fd):
        raise NotImplementedError
    cpdef wait(self, double timeout):
        raise NotImplementedError
    cpdef close(self):
        raise NotImplementedError


cdef enum:
    MAX_EVENTS = 256

@cython.final
cdef class EpollPoller(Poller):
    """Level-triggered epoll. The table, by descriptor, owns its watchers; the kernel is given descriptor and
    generation, never a pointer, so that a late event of a descriptor closed behind our back finds nothing."""

    def __cinit__(self):
        self.epfd = -1

    def __dealloc__(self):
        poller_clear_table(self)
        PyMem_Free(self.table)
        if self.epfd >= 0:
            c_close(self.epfd)

    cpdef open(self, LoopBase loop):
        self.loop = loop
        self.epfd = gl_epoll_create()
        if self.epfd < 0:
            PyErr_SetFromErrno(OSError)

    cdef int _control(self, int op, int fd, int events) except? -2:
        cdef unsigned mask = 0
        if events & 1:
            mask |= EPOLLIN
        if events & 2:
            mask |= EPOLLOUT
        if gl_epoll_ctl(self.epfd, op, fd, mask, <uint64_t>fd | (<uint64_t>self.table[fd].generation << 32)) < 0:
            return errno
        return 0

    cpdef register(self, int fd, Watcher watcher, int events):
        cdef Py_ssize_t room
        cdef void *p
        cdef int err
        cdef PyObject *old
        if fd < 0:
            raise ValueError(f'Invalid file descriptor: {fd}')
        if fd >= self.room:
            room = max(64, self.room)
            while room <= fd:
                room *= 2
            p = PyMem_Realloc(self.table, room * sizeof(Registered))
            if p == NULL:
                raise MemoryError
            self.table = <Registered *>p
            memset(self.table + self.room, 0, (room - self.room) * sizeof(Registered))
            self.room = room
        self.table[fd].generation += 1
        err = self._control(EPOLL_CTL_ADD, fd, events)
        if err == EEXIST:
            err = self._control(EPOLL_CTL_MOD, fd, events)
        if err:
            raise OSError(err, error_text(err))
        old = self.table[fd].watcher
        Py_INCREF(watcher)
        self.table[fd].watcher = <PyObject *>watcher
        self.table[fd].events = events
        if old != NULL:
            if old != <PyObject *>watcher:
                (<Watcher>old)._interest = 0
            Py_DECREF(<object>old)

    cpdef modify(self, int fd, Watcher watcher, int events):
        cdef int err = self._control(EPOLL_CTL_MOD, fd, events)
        cdef bint anew = err == ENOENT
        if anew:
            err = self._control(EPOLL_CTL_ADD, fd, events)
        if err:
            raise OSError(err, error_text(err))
        self.table[fd].events = events
        return anew

    cpdef unregister(self, int fd):
        """Forget a descriptor. One that was closed already has left the kernel's set by itself: no error."""
        cdef PyObject *old
        if fd < 0 or fd >= self.room or self.table[fd].watcher == NULL:
            return
        gl_epoll_ctl(self.epfd, EPOLL_CTL_DEL, fd, 0, 0)
        old = self.table[fd].watcher
        self.table[fd].watcher = NULL
        self.table[fd].events = 0
        Py_XDECREF(old)

    cpdef wait(self, double timeout):
        cdef epoll_event events[MAX_EVENTS]
        cdef char no_pwait2 = self.no_pwait2
        cdef int n, i, fd, got, err
        cdef uint32_t flags
        cdef uint64_t data
        cdef int ep = self.epfd
        cdef bint stray = False
        if timeout == 0:
            n = gl_epoll_wait(ep, events, MAX_EVENTS, 0, &no_pwait2)
        else:
            with nogil:
                n = gl_epoll_wait(ep, events, MAX_EVENTS, timeout, &no_pwait2)
            self.no_pwait2 = no_pwait2
        if n < 0:
            err = errno
            PyErr_CheckSignals()
            if err != EINTR:
                raise OSError(err, error_text(err))
            return
        for i in range(n):
            data = gl_event_data(&events[i])
            fd = <int><uint32_t>data
            if (fd >= self.room or self.table[fd].watcher == NULL
                    or self.table[fd].generation != <uint32_t>(data >> 32)):
                stray = True
                continue
            flags = events[i].events
            got = 0
            if flags & ~EPOLLOUT:
                got |= 1
            if flags & ~EPOLLIN:
                got |= 2
            got &= self.table[fd].events
            if got:
                # straight to the method: a watcher with attributes of its own isn't asked for an override in each event
                Watcher._ready(<Watcher>self.table[fd].watcher, got)
        if stray:
            self._renew()

    cdef int _renew(self) except -1:
        """An event came that is nobody's: a descriptor was closed while watched, but its file lives on as another one
        (a duplicate, in this process or a child). The kernel would report it for ever, and without the descriptor it can't
        be taken out. So make the kernel's set anew."""
        cdef Py_ssize_t fd
        cdef int epfd = gl_epoll_create(), old = self.epfd
        if epfd < 0:
            return 0  # out of descriptors: at the next such event then
        self.epfd = epfd
        for fd in range(self.room):
            if self.table[fd].watcher != NULL:
                self._control(EPOLL_CTL_ADD, <int>fd, self.table[fd].events)
        if gl_epoll_replace(epfd, old) == 0:
            self.epfd = old
            c_close(epfd)
        else:
            c_close(old)
        return 0

    cpdef close(self):
        poller_clear_table(self)
        self.loop = None
        if self.epfd >= 0:
            c_close(self.epfd)
            self.epfd = -1

    def fileno(self):
        return self.epfd

cdef void poller_clear_table(EpollPoller self) noexcept:
    cdef Py_ssize_t fd
    cdef PyObject *old
    for fd in range(self.room):
        old = self.table[fd].watcher
        self.table[fd].watcher = NULL
        self.table[fd].events = 0
        if old != NULL:
            (<Watcher>old)._interest = 0
            Py_DECREF(<object>old)

cdef gl_traverse poller_traverse_fields = gl_get_traverse(EpollPoller)
cdef gl_clear poller_clear_fields = gl_get_clear(EpollPoller)

cdef int poller_traverse(PyObject *o, visitproc visit, void *arg) noexcept:
    cdef EpollPoller self = <EpollPoller>o
    cdef Py_ssize_t fd
    cdef int r
    for fd in range(self.room):
        if self.table[fd].watcher != NULL:
            r = visit(self.table[fd].watcher, arg)
            if r:
                return r
    return poller_traverse_fields(o, visit, arg)

cdef int poller_clear(PyObject *o) noexcept:
    poller_clear_table(<EpollPoller>o)
    return poller_clear_fields(o)

gl_set_gc(EpollPoller, poller_traverse, poller_clear)


cdef error_text(int err):
    import os
    return os.strerror(err)


# ---- sockets: never block, whatever the socket's own mode ----

cdef enum:
    SMALL = 16384

cdef object recv(int fd, Py_ssize_t size):
    """Up to `size` bytes; b'' at the end of the stream; None where nothing is there yet."""
    cdef char small[SMALL]
    cdef ssize_t n
    cdef PyObject *o
    while True:
        if size <= SMALL:
            n = c_recv(fd, small, size, MSG_DONTWAIT)
            if n >= 0:
                return PyBytes_FromStringAndSize(small, n)
        else:
            o = raw_bytes(NULL, size)
            n = c_recv(fd, PyBytes_AS_STRING(<object>o), size, MSG_DONTWAIT)
            if n >= 0:
                if n != size:
                    _PyBytes_Resize(&o, n)
                return _owned(o)
            Py_DECREF(<object>o)
        if errno == EAGAIN:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


cdef Py_ssize_t recv_into(int fd, object buffer) except -2:
    """Bytes received into the writable buffer; 0 at the end of the stream; -1 where nothing is there yet."""
    cdef Py_buffer view
    cdef ssize_t n
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    try:
        while True:
            n = c_recv(fd, view.buf, view.len, MSG_DONTWAIT)
            if n >= 0:
                return n
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t send(int fd, object data, Py_ssize_t offset) except -2:
    """Bytes of data[offset:] that the kernel took; -1 where it takes none now."""
    cdef Py_buffer view
    cdef ssize_t n
    if type(data) is bytes:
        while True:
            n = c_send(fd, PyBytes_AS_STRING(data) + offset, PyBytes_GET_SIZE(data) - offset, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n >= 0:
                return n
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while True:
            n = c_send(fd, <char *>view.buf + offset, view.len - offset, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n >= 0:
                return n
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t sendv(int fd, list pieces, Py_ssize_t offset) except -2:
    """Bytes that the kernel took of the first 64 pieces, the first from `offset`; -1 where it takes none now."""
    cdef Py_buffer views[64]
    cdef iovec vec[64]
    cdef msghdr message
    cdef ssize_t n
    cdef int held = 0, i
    memset(&message, 0, sizeof(message))
    try:
        for piece in pieces:
            if held == 64:
                break
            PyObject_GetBuffer(piece, &views[held], PyBUF_SIMPLE)
            vec[held].iov_base = views[held].buf
            vec[held].iov_len = views[held].len
            held += 1
        if held:
            vec[0].iov_base = <char *>vec[0].iov_base + offset
            vec[0].iov_len -= offset
        message.msg_iov = vec
        message.msg_iovlen = held
        while True:
            n = c_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n >= 0:
                return n
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    finally:
        for i in range(held):
            PyBuffer_Release(&views[i])


cdef object address(int fd, bint peer):
    """The socket's own or its peer's address for as_address(); None where it has none. Raw, since few are asked for."""
    cdef sockaddr_storage storage
    cdef socklen_t size = sizeof(storage)
    if gl_address(fd, peer, &storage, &size) < 0:
        return None
    if storage.ss_family in (AF_INET, AF_INET6, AF_UNIX) and size <= sizeof(storage):
        return PyBytes_FromStringAndSize(<char *>&storage, size)
    # of a rare family: as the socket module has it, through an object made on the descriptor and detached again
    sock = socket.socket(fileno=fd)
    try:
        return sock.getpeername() if peer else sock.getsockname()
    finally:
        sock.detach()


cdef object as_address(object raw):
    """The address as socket.getsockname() gives it."""
    cdef sockaddr_storage *storage
    cdef int family
    cdef bytes path
    if type(raw) is not bytes:
        return raw
    storage = <sockaddr_storage *>PyBytes_AS_STRING(raw)
    family = storage.ss_family
    if family == AF_INET:
        return socket.inet_ntop(family, raw[4:8]), int.from_bytes(raw[2:4], 'big')
    if family == AF_INET6:
        return (socket.inet_ntop(family, raw[8:24]), int.from_bytes(raw[2:4], 'big'),
                int.from_bytes(raw[4:8], 'big'), int.from_bytes(raw[24:28], sys.byteorder))
    path = raw[2:]
    if path[:1] == b'\0':
        return path  # abstract
    return os.fsdecode(path.partition(b'\0')[0])


cdef int nodelay(int fd) except -1:
    """Send small pieces at once, where the socket is TCP."""
    cdef int one = 1
    c_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    return 0


cdef int shut(int fd) except -1:
    """Shut the writing side down."""
    if c_shutdown(fd, SHUT_WR) < 0:
        PyErr_SetFromErrno(OSError)
    return 0


# ---- datagrams ----

cdef enum:
    KNOWN = 128  # addresses, a power of two
    UNREADABLE = -3  # == core.leaf.UNREADABLE of the twin

cdef tuple internet_address(const char *raw, int size):
    """An IPv4 or IPv6 address as the socket module has it."""
    cdef char text[64]
    cdef const sockaddr_in6 *six = <const sockaddr_in6 *>raw
    cdef int port = ntohs(six.sin6_port)  # in the same place in both
    if size == 16:
        inet_ntop(AF_INET, raw + 4, text, sizeof(text))
        return PyUnicode_FromString(text), port
    inet_ntop(AF_INET6, raw + 8, text, sizeof(text))
    return PyUnicode_FromString(text), port, ntohl(six.sin6_flowinfo), six.sin6_scope_id


cdef class Datagrams:
    """What a datagram socket needs to receive and send: room for the largest datagram, and the addresses it heard of, so
    that they aren't made anew for each. `sender`: where the last datagram came from."""

    def __cinit__(self, int family):
        self.family = family
        self.room = 65536 if family in (AF_INET, AF_INET6) else 262144
        self.buffer = NULL
        self.known = NULL
        self.size = 0

    def __dealloc__(self):
        cdef int i
        PyMem_Free(self.buffer)
        if self.known != NULL:
            for i in range(KNOWN):
                Py_XDECREF(self.known[i].address)
            PyMem_Free(self.known)

    cdef object receive(self, int fd):
        """One datagram; None where none waits."""
        cdef sockaddr_storage storage
        cdef socklen_t size
        cdef ssize_t n
        if self.buffer == NULL:
            self.buffer = <char *>PyMem_Realloc(NULL, self.room)
            if self.buffer == NULL:
                raise MemoryError
        while True:
            size = sizeof(storage)
            n = c_recvfrom(fd, self.buffer, self.room, MSG_DONTWAIT, <sockaddr *>&storage, &size)
            if n >= 0:
                if <int>size != self.size or memcmp(&storage, self.raw, size) != 0:
                    self._name(<char *>&storage, size)
                return PyBytes_FromStringAndSize(self.buffer, n)
            if errno == EAGAIN:
                return None
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()

    cdef int _name(self, const char *raw, int size) except -1:
        """This is the sender: set `sender`, `raw` and `size`."""
        cdef int family = (<sockaddr_storage *>raw).ss_family
        cdef int place
        cdef Known *known
        self.sender = None
        self.size = 0
        if size == 0:
            return 0
        if not (family == AF_INET and size == 16 or family == AF_INET6 and size == 28):
            self.sender = as_address(PyBytes_FromStringAndSize(raw, size))
        else:
            if self.known == NULL:
                self.known = <Known *>PyMem_Realloc(NULL, KNOWN * sizeof(Known))
                if self.known == NULL:
                    raise MemoryError
                memset(self.known, 0, KNOWN * sizeof(Known))
            # by the port and the host's last byte, in one of two places
            place = (raw[2] * 31 + raw[3] + raw[7 if size == 16 else 23]) & (KNOWN - 1)
            known = &self.known[place]
            if known.size != size or memcmp(known.raw, raw, size) != 0:
                known = &self.known[place ^ 1]
                if known.size != size or memcmp(known.raw, raw, size) != 0:
                    Py_XDECREF(known.address)
                    known[0] = self.known[place]
                    known = &self.known[place]
                    known.address = NULL
                    known.size = 0
                    made = internet_address(raw, size)
                    Py_INCREF(made)
                    known.address = <PyObject *>made
                    known.size = size
                    memcpy(known.raw, raw, size)
            self.sender = <object>known.address
        if size <= <int>sizeof(self.raw):
            memcpy(self.raw, raw, size)
            self.size = size
        return 0

    cdef Py_ssize_t send(self, int fd, object data, object address) except -2:
        """The size of what was sent, to an address, or for None to the one that the socket is connected to; -1 where the
        kernel takes none now; UNREADABLE if `address` isn't one of digits, as the socket's family has them."""
        cdef Py_buffer view
        cdef char storage[128]
        cdef char *raw = NULL
        cdef const char *start
        cdef Py_ssize_t length
        cdef int size = 0
        cdef ssize_t n
        cdef bint plain = type(data) is bytes
        if address is not None:
            if address is self.sender and self.size != 0:
                raw = self.raw
                size = self.size
            else:
                raw = storage
                size = self._parse(address, storage)
                if size == 0:
                    return UNREADABLE
        if plain:
            start = PyBytes_AS_STRING(data)
            length = PyBytes_GET_SIZE(data)
        else:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            start = <char *>view.buf
            length = view.len
        try:
            while True:
                if size == 0:
                    n = c_send(fd, start, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                else:
                    n = c_sendto(fd, start, length, MSG_DONTWAIT | MSG_NOSIGNAL, <sockaddr *>raw, size)
                if n >= 0:
                    return n
                if errno == EAGAIN:
                    return -1
                if errno != EINTR:
                    PyErr_SetFromErrno(OSError)
                PyErr_CheckSignals()
        finally:
            if not plain:
                PyBuffer_Release(&view)

    cdef int _parse(self, object address, char *raw) except -1:
        """The size of the address in `raw`; 0 if it can't be read."""
        cdef sockaddr_in *four = <sockaddr_in *>raw
        cdef sockaddr_in6 *six = <sockaddr_in6 *>raw
        cdef Py_ssize_t length, n
        cdef const char *host
        if type(address) is not tuple:
            return 0
        n = len(<tuple>address)
        if n != 2 and (n != 4 or self.family != AF_INET6):
            return 0
        if type((<tuple>address)[0]) is not str or type((<tuple>address)[1]) is not int:
            return 0
        if not 0 <= (<tuple>address)[1] <= 65535:
            return 0
        host = PyUnicode_AsUTF8AndSize((<tuple>address)[0], &length)
        if length > 64 or memchr(host, 0, length) != NULL:
            return 0
        if self.family == AF_INET:
            memset(raw, 0, 16)
            if inet_pton(AF_INET, host, raw + 4) != 1:
                return 0
            four.sin_family = AF_INET
            four.sin_port = htons((<tuple>address)[1])
            return 16
        if self.family == AF_INET6:
            memset(raw, 0, 28)
            if inet_pton(AF_INET6, host, raw + 8) != 1:
                return 0
            six.sin6_family = AF_INET6
            six.sin6_port = htons((<tuple>address)[1])
            if n == 4:
                if type((<tuple>address)[2]) is not int or type((<tuple>address)[3]) is not int:
                    return 0
                if not (0 <= (<tuple>address)[2] <= 0xfffff and 0 <= (<tuple>address)[3] <= 0xffffffff):
                    return 0
                six.sin6_flowinfo = htonl((<tuple>address)[2])
                six.sin6_scope_id = (<tuple>address)[3]
            return 28
        return 0


# A loop's cork: what the entry of the ready queue that runs writes to one descriptor, in small pieces, is gathered here.

cdef int cork(LoopBase core, object data) except -1:
    """Add bytes; the caller knows that there is room (8192 in all)."""
    cdef Py_buffer view
    if type(data) is bytes:
        memcpy(core.cork_bytes + core._cork_size, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        core._cork_size += PyBytes_GET_SIZE(data)
    else:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        memcpy(core.cork_bytes + core._cork_size, view.buf, view.len)
        core._cork_size += view.len
        PyBuffer_Release(&view)
    return 0


cdef Py_ssize_t cork_send(LoopBase core, int fd) except -2:
    """Bytes of the cork that the kernel took; -1 where it takes none now. It is empty then if all were taken; otherwise,
    and where it raises, all of them are still there."""
    cdef ssize_t n
    while True:
        n = c_send(fd, core.cork_bytes, core._cork_size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if n >= 0:
            if n == core._cork_size:
                core._cork_size = 0
            return n
        if errno == EAGAIN:
            return -1
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


cdef bytes cork_take(LoopBase core):
    """What is in the cork, which is empty then."""
    cdef Py_ssize_t n = core._cork_size
    core._cork_size = 0
    return PyBytes_FromStringAndSize(core.cork_bytes, n)


cdef int accept(int fd) except -2:
    """A new connection's descriptor, non-blocking and close-on-exec; -1 where none waits."""
    cdef int n
    while True:
        n = gl_accept(fd)
        if n >= 0:
            return n
        if errno == EAGAIN:
            return -1
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


# ---- pipes and character devices: these block unless the descriptor is non-blocking ----

cdef object read(int fd, Py_ssize_t size):
    """Up to `size` bytes; b'' at the end; None where nothing is there yet."""
    cdef char small[SMALL]
    cdef ssize_t n
    cdef PyObject *o
    while True:
        if size <= SMALL:
            n = c_read(fd, small, size)
            if n >= 0:
                return PyBytes_FromStringAndSize(small, n)
        else:
            o = raw_bytes(NULL, size)
            n = c_read(fd, PyBytes_AS_STRING(<object>o), size)
            if n >= 0:
                if n != size:
                    _PyBytes_Resize(&o, n)
                return _owned(o)
            Py_DECREF(<object>o)
        if errno == EAGAIN:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


cdef Py_ssize_t write(int fd, object data, Py_ssize_t offset) except -2:
    """Bytes of data[offset:] that the kernel took; -1 where it takes none now."""
    cdef Py_buffer view
    cdef ssize_t n
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while True:
            n = c_write(fd, <char *>view.buf + offset, view.len - offset)
            if n >= 0:
                return n
            if errno == EAGAIN:
                return -1
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)
