cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport Op
from glassloop.sync cimport waiting as _waiting
from glassloop.sync.waiting cimport Bound, Line

cdef object CancelledError
cdef object _THE_LOCK
cdef object _THE_SEMAPHORE
cdef object _THE_BOUNDED
cdef object _THE_CONDITION

cdef str _describe(object primitive, str state, Line line)

@cython.locals(i=Py_ssize_t)
cdef bint _all_cancelled(Line line) except -1


@cython.final
cdef class Lock_acquire(Op):
    cdef _Lock _lock
    cdef bint _entering

cdef class _Lock(Bound):
    cdef public bint _locked
    cdef Line _line

    @cython.final
    @cython.locals(op=Lock_acquire)
    cdef object _acquire(self, bint entering)
    @cython.final
    cdef int _free(self) except -1
    @cython.final
    cdef bint _is_free(self) except -1
    @cython.final
    cdef object _stand_in_line(self)
    @cython.final
    cdef int _wake_first(self) except -1


cdef class Event_wait(Op):
    cdef _Event _event
    cdef object _begin(self)
    cdef object _wake(self, object exc)

cdef class _Event(Bound):
    cdef public bint _value
    cdef Line _line

@cython.locals(op=Event_wait)
cdef object _event_wait(_Event event)


@cython.final
cdef class Semaphore_acquire(Op):
    cdef _Semaphore _semaphore
    cdef bint _entering

cdef class _Semaphore(Bound):
    cdef public object _value
    cdef Line _line

    @cython.final
    @cython.locals(op=Semaphore_acquire)
    cdef object _acquire(self, bint entering)
    cdef int _give(self) except -1
    @cython.final
    cdef bint _is_free(self) except -1
    @cython.final
    @cython.locals(line=Line, i=Py_ssize_t)
    cdef bint _wake_one(self) except -1
    @cython.final
    cdef int _wake_many(self) except -1

cdef class _BoundedSemaphore(_Semaphore):
    cdef public object _bound_value
    cdef int _give(self) except -1


@cython.final
cdef class Condition_wait(Op):
    cdef _Condition _condition
    cdef _Lock _lock
    cdef object _predicate
    cdef bint _notified
    cdef object _error
    cdef object _sleep(self)
    cdef object _awake(self)

cdef class _Condition(Bound):
    cdef public object _lock
    cdef bint _own
    cdef Line _line
    cdef public object locked
    cdef public object acquire
    cdef public object release

@cython.locals(op=Condition_wait)
cdef object _condition_wait(_Condition condition, object predicate)

cdef object _waiter_of(_Condition condition)
cdef int _Lock_acquire
cdef int _Event_wait
cdef int _Semaphore_acquire
cdef int _Condition_wait
