cimport cython
from libc.stdint cimport uint64_t
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport EpollPoller, HandleBase, Heap, LoopBase, Poller, Runnable, Watcher
from glassloop.core.handle cimport Handle, SharedHandle, TimerHandle
from glassloop.core cimport future as _future, task as _task
from glassloop.core.future cimport Future
from glassloop.core.task cimport Task
from glassloop.core.poller cimport Waker

cdef object CoroutineType
cdef int POLL_ITEMS
cdef double NEAR
cdef bint _SHARED_HANDLES

cdef class Turn(LoopBase):
    cdef readonly Poller _poller
    cdef readonly Waker _waker
    cdef object _clock
    cdef object _task_factory
    cdef public bint _closed
    cdef public bint _stopping
    cdef bint _asleep
    cdef bint _waiting
    cdef public double slow_callback_duration
    cdef public dict _parts
    cdef public object _exception_handler
    cdef public object _asyncgens
    cdef public bint _asyncgens_shutdown_called
    cdef public bint _executor_shutdown_called
    cdef public bint _origin_tracking
    cdef public int _origin_depth
    cdef object __weakref__

    @cython.final
    cdef double _now(self) except? -1.0
    @cython.final
    @cython.locals(handle=Handle)
    cdef Handle _handle(self, object callback, object args, object context)
    @cython.locals(handle=Handle)
    cdef int _soon(self, object callback, object arg, object context) except -1
    @cython.final
    cdef TimerHandle _later(self, double delay, object callback, object args, object context)
    @cython.final
    @cython.locals(handle=TimerHandle)
    cdef TimerHandle _at(self, double when, object callback, object args, object context)
    cdef int _callback_failed(self, object handle, object error) except -1
    @cython.locals(ticks=uint64_t, life=uint64_t, looked=uint64_t, seconds=double)
    cpdef object _busy_for(self)
    @cython.final
    @cython.locals(n=Py_ssize_t, done=Py_ssize_t, item=Runnable)
    cdef int _turns(self) except -1
    @cython.final
    @cython.locals(n=Py_ssize_t, item=Runnable)
    cdef int _watched_batch(self, Py_ssize_t n) except -1
    @cython.final
    @cython.locals(watcher=Watcher)
    cdef int _uncork(self) except -1
    @cython.final
    @cython.locals(timers=Heap, timeout=double, now=double, due=HandleBase)
    cdef int _poll(self) except -1
