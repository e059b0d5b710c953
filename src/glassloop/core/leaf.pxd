cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "glassloop/core/leaf.h":
    ctypedef struct gl_ring:
        PyObject **buf
        size_t mask, head, tail
    int gl_ring_push(gl_ring *, object) except -1
    PyObject *gl_ring_pop(gl_ring *)
    void gl_track(object)
    void gl_leave(PyObject *)
    double gl_now()
    uint64_t gl_ticks()
    uint64_t GL_TICKS_POLL
    object gl_step(object ctx, object coro, object returned, object raised, PyObject **value)
    object gl_throw(object ctx, object coro, object exc, object returned, object raised, PyObject **value)
    object gl_call(object ctx, object callback, object args)
    object gl_call1(object ctx, object callback, object arg)
    object gl_method1(object ctx, object obj, object name, object arg)
    object gl_method2(object ctx, object obj, object name, object first, object second)
    object PyContext_CopyCurrent()
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1

cdef bint OWN_THREAD_CURRENT
cdef object RETURNED
cdef object RAISED

cdef inline double now():
    return gl_now()

cdef inline uint64_t ticks():
    return gl_ticks()

cdef inline object copy_context():
    return PyContext_CopyCurrent()

cdef inline object call(object context, object callback, object args):
    return gl_call(context, callback, args)

cdef inline object call1(object context, object callback, object arg):
    return gl_call1(context, callback, arg)

cdef inline object method1(object context, object obj, object name, object arg):
    return gl_method1(context, obj, name, arg)

cdef inline object method2(object context, object obj, object name, object first, object second):
    return gl_method2(context, obj, name, first, second)

cdef inline object step(LoopBase core, object context, object coro):
    return gl_step(context, coro, RETURNED, RAISED, &core.handed)

cdef inline object throw(LoopBase core, object context, object coro, object exc):
    return gl_throw(context, coro, exc, RETURNED, RAISED, &core.handed)

cdef object cancel(object future, object message)
cdef int check_signals() except -1
cdef int recycle(object cls) except -1
cdef int recycle_handles(object cls) except -1

cdef inline int track_handle(object handle) except -1:
    gl_track(handle)
    return 0

cdef inline int leave(object handle) except -1:
    gl_leave(<PyObject *>handle)
    return 0

cdef int recycle_op(object cls) except -1
cdef object new_op(int kind)
cdef int track(object coro) except -1


cdef class Runnable:
    cdef int _run(self, LoopBase core) except -1


cdef class Watcher(Runnable)


cdef class LoopBase:
    cdef gl_ring ring
    cdef PyObject **held
    cdef Py_ssize_t held_n, held_room
    cdef PyObject *handed
    cdef readonly object _published
    cdef bint shown
    cdef Heap _timers
    cdef object _recorder
    cdef public object _thread_id
    cdef public bint _debug
    cdef bint _recording
    cdef bint _soon_due
    cdef uint64_t _task_number
    cdef uint64_t _polled
    cdef uint64_t _first_ticks
    cdef double _first_time
    cdef bint _corking
    cdef Watcher _corked
    cdef Watcher _corked_last
    cdef char cork_bytes[8192]
    cdef Py_ssize_t _cork_size
    cdef Py_ssize_t _bulk
    cdef inline int _push(self, object item) except -1:
        return gl_ring_push(&self.ring, item)
    cdef inline Runnable _pop(self):
        return <Runnable>_owned(gl_ring_pop(&self.ring))
    cdef inline Py_ssize_t _size(self):
        return <Py_ssize_t>(self.ring.tail - self.ring.head)
    cdef inline object _take(self):
        cdef object value = _owned(self.handed)
        self.handed = NULL
        return value
    cdef inline int _publish(self, object task) except -1:
        if OWN_THREAD_CURRENT or self.shown:
            self._show(task)
        self._published = task
        return 0
    cdef int _show(self, object task) except -1
    @cython.final
    cdef int _unpublish(self) except -1
    cdef object _swap_published(self, object task)
    cdef int _hold(self, FutureBase task) except -1
    cdef int _release(self, FutureBase task) except -1
    cpdef list _held_tasks(self)
    cpdef int _drop_held(self) except -1
    cdef int _soon(self, object callback, object arg, object context) except -1
    cdef int _callback_failed(self, object handle, object error) except -1

cdef extern from *:
    """
    /* an owned pointer becomes an object without counting again */
    #define gl_owned(p) (p)
    """
    object _owned "gl_owned" (PyObject *)


cdef class HandleBase(Runnable):
    cdef double _due
    cdef int _index  # in the heap
    cdef readonly bint _cancelled  # a Handle's; here it takes no room

cdef struct Entry:
    double when
    uint64_t seq
    PyObject *handle

@cython.final
cdef class Heap:
    cdef Entry *entries
    cdef Py_ssize_t n, room
    cdef uint64_t seq
    cdef int push(self, HandleBase handle) except -1
    cdef int remove(self, HandleBase handle) except -1
    cdef HandleBase pop_due(self, double now)
    cdef int clear(self) except -1
    cdef list handles(self)
    cdef inline Py_ssize_t size(self):
        return self.n
    cdef inline double first(self):
        return self.entries[0].when


cdef class FutureBase(Runnable):
    cdef object _value
    cdef object _error
    cdef int _st
    cdef bint _blocking
    cdef Py_ssize_t _slot
    cdef PyObject *attributes
    cdef object _failure(self)

@cython.final
cdef class FutureIter:
    cdef FutureBase _future
    cdef bint _started

cdef class Op:
    cdef object _future
    cdef object _value
    cdef int _phase
    cdef object _begin(self)
    cdef object _wake(self, object exc)
    @cython.final
    cdef object _step(self)
    @cython.final
    cdef object _settle(self, object future)


cdef class Watcher(Runnable):
    cdef LoopBase _core
    cdef Poller _poller
    cdef int _fd
    cdef int _interest
    cdef int _arrived
    cdef bint _queued
    cdef Watcher _after
    cdef int _uncork(self) except -1
    cpdef int _ready(self, int events) except -1
    cpdef int _want(self, int events) except -1

cdef class Poller:
    cpdef open(self, LoopBase loop)
    cpdef register(self, int fd, Watcher watcher, int events)
    cpdef modify(self, int fd, Watcher watcher, int events)
    cpdef unregister(self, int fd)
    cpdef wait(self, double timeout)
    cpdef close(self)

cdef struct Registered:
    PyObject *watcher
    uint32_t generation
    int events

@cython.final
cdef class EpollPoller(Poller):
    cdef int epfd
    cdef bint no_pwait2
    cdef Registered *table
    cdef Py_ssize_t room
    cdef LoopBase loop
    cdef int _control(self, int op, int fd, int events) except? -2
    cdef int _renew(self) except -1


cdef object recv(int fd, Py_ssize_t size)
cdef Py_ssize_t recv_into(int fd, object buffer) except -2
cdef Py_ssize_t send(int fd, object data, Py_ssize_t offset) except -2
cdef Py_ssize_t sendv(int fd, list pieces, Py_ssize_t offset) except -2
cdef object read(int fd, Py_ssize_t size)
cdef Py_ssize_t write(int fd, object data, Py_ssize_t offset) except -2
cdef int accept(int fd) except -2
cdef object address(int fd, bint peer)
cdef object as_address(object raw)
cdef int nodelay(int fd) except -1
cdef int shut(int fd) except -1
cdef int cork(LoopBase core, object data) except -1
cdef Py_ssize_t cork_send(LoopBase core, int fd) except -2
cdef bytes cork_take(LoopBase core)

cdef struct Known:
    char raw[28]
    int size
    PyObject *address

@cython.final
cdef class Datagrams:
    cdef object sender
    cdef int family
    cdef char *buffer
    cdef Py_ssize_t room
    cdef Known *known
    cdef char raw[128]
    cdef int size
    cdef object receive(self, int fd)
    cdef Py_ssize_t send(self, int fd, object data, object address) except -2
    cdef int _name(self, const char *raw, int size) except -1
    cdef int _parse(self, object address, char *raw) except -1
