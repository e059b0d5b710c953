cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport HandleBase, LoopBase, Op
from glassloop.core.task cimport Task
from glassloop.core.turn cimport Turn
from glassloop.sync cimport tasks as _tasks
from glassloop.sync cimport waiting as _waiting

cdef object CancelledError
cdef int CREATED
cdef int ACTIVE
cdef int EXPIRING
cdef int EXPIRED
cdef int FINISHED
cdef tuple _STATES

@cython.final
cdef class Timeout_enter(Op):
    cdef Timeout _limit

@cython.locals(op=Timeout_enter)
cdef object _entering(Timeout limit)

@cython.final
cdef class Timeout(HandleBase):
    cdef object _deadline
    cdef int _state
    cdef bint _armed
    cdef object _loop
    cdef object _task
    cdef object _handle
    cdef Py_ssize_t _cancelling
    cdef object __weakref__

    cdef int _set_up(self, object when) except -1
    @cython.locals(ours=Task)
    cdef int _enter(self) except -1
    @cython.locals(core=Turn)
    cdef int _arm(self, object when) except -1
    @cython.locals(core=Turn)
    cdef int _disarm(self) except -1
    cdef int _exit(self, object exc) except -1

cdef object _blame(object exc)

@cython.locals(core=Turn, limit=Timeout)
cdef Timeout _timeout(object delay)
cdef int _Timeout_enter
