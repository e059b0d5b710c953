cimport cython
from glassloop.core.future cimport Future, Listener
from glassloop.core.leaf cimport LoopBase, Op
from glassloop.sync cimport tasks as _tasks
from glassloop.sync cimport waiting as _waiting
from glassloop.sync.queues cimport Queue_get, _Queue
from glassloop.sync.waiting cimport Alarm

cdef int PENDING
cdef int CANCELLED

cdef class _Count(Listener):
    cdef object _waiter
    cdef Py_ssize_t _left
    cdef bint _first
    cdef bint _first_exception

    cdef int _done(self, Future future) except -1
    cdef int _seen(self, bint failed, Future ours) except -1

cdef class Wait(Op):
    cdef object _futures
    cdef object _timeout
    cdef object _return_when
    cdef object _loop
    cdef _Count _count
    cdef Alarm _alarm
    cdef object _handle

    @cython.locals(count=_Count, ours=Future)
    cdef object _begin(self)
    @cython.locals(count=_Count, ours=Future, done=set, pending=set)
    cdef object _wake(self, object exc)

@cython.locals(op=Wait)
cdef object _wait(object fs, object timeout, object return_when)


cdef class _AsCompleted(Listener)

@cython.final
cdef class As_completed_next(Queue_get):
    cdef bint _resolve
    cdef _AsCompleted _iterator
    cdef object _hand_over(self, object waiter)

cdef class _AsCompleted(Listener):
    cdef _Queue _ready
    cdef set _todo
    cdef Py_ssize_t _left
    cdef object _loop
    cdef Future _bell
    cdef Alarm _alarm
    cdef object _handle
    cdef object __weakref__

    @cython.locals(ours=Future)
    cdef int _start(self, object awaitables, object timeout) except -1
    cdef int _done(self, Future future) except -1
    @cython.locals(ours=Future)
    cpdef _expire(self)
    @cython.locals(op=As_completed_next)
    cdef object _next(self, bint resolve)

@cython.locals(iterator=_AsCompleted)
cdef object _as_completed(object awaitables, object timeout)
