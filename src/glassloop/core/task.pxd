cimport cython
from libc.stdint cimport uint64_t
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Runnable
from glassloop.core.future cimport Future, Listener

cdef int PENDING
cdef int CANCELLED
cdef int FINISHED
cdef object _RETURNED
cdef object _RAISED
cdef object CancelledError
cdef object Context
cdef object InvalidStateError
cdef object _register

@cython.final
cdef class _Throw(Runnable):
    cdef Task _task
    cdef object _exception

@cython.trashcan(True)
cdef class Task(Future):
    cdef readonly object _coro
    cdef readonly object _context
    cdef object _waits
    cdef object _name
    cdef bint _must
    cdef public bint _log_destroy_pending
    cdef int _cancels
    cdef uint64_t _born

    @cython.final
    @cython.locals(core=LoopBase)
    cdef int _setup(self, object coro, object name, object context) except -1
    cdef int _run(self, LoopBase core) except -1
    @cython.final
    cdef int _stepped_when_done(self, LoopBase core) except -1
    @cython.final
    cdef int _start_eagerly(self, LoopBase core) except -1
    @cython.final
    @cython.locals(future=Future)
    cdef int _stepped(self, LoopBase core, object res) except -1
    @cython.final
    cdef object _cancellation(self)
    @cython.final
    cdef int _throw(self, LoopBase core, object exception) except -1
    @cython.final
    @cython.locals(throw=_Throw)
    cdef int _reject(self, LoopBase core, str message) except -1
    @cython.final
    cdef int _wait_foreign(self, LoopBase core, object res) except -1
    @cython.final
    cdef int _ended(self, LoopBase core, object value) except -1
    @cython.final
    cdef int _broke(self, LoopBase core, object error) except -1
    @cython.final
    cdef bint _cancel_task(self, object message) except -1
    @cython.final
    @cython.locals(task=Task, inner=Task, mark=Task, steps=Py_ssize_t, stretch=Py_ssize_t)
    cdef object _cancel_down(self, object message, object stop)
    @cython.final
    @cython.locals(throw=_Throw, waits=Future)
    cdef bint _break_cycle(self, object message) except -1

cdef list _describe(Task task)

@cython.locals(ours=Task, core=LoopBase, ticks=uint64_t, life=uint64_t, seconds=double)
cpdef object age_of(object task)

@cython.locals(task=Task)
cdef Task new_task(LoopBase core, object coro, object name, object context)
