cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport FutureBase, LoopBase, Runnable

cdef int PENDING
cdef int CANCELLED
cdef int FINISHED
cdef bint _MADE_ONCE
cdef object CancelledError
cdef object InvalidStateError

cdef class Listener:
    cdef int _done(self, Future future) except -1
    cdef object _behind(self)

@cython.final
cdef class Notice(Runnable):
    cdef Future _future
    cdef Listener _listener

cdef class Waiting:
    cdef object _who

@cython.trashcan(True)
cdef class Future(FutureBase):
    cdef readonly object _loop
    cdef LoopBase _core
    cdef object _waiter
    cdef list _cbs
    cdef object _message
    cdef object _trace
    cdef readonly object _source_traceback
    cdef bint _log_tb
    cdef bint _listened
    cdef object __weakref__

    @cython.final
    cdef int _check_made(self) except -1
    @cython.final
    cdef int _attach(self, object loop) except -1
    @cython.final
    cdef int _report_unretrieved(self) except -1
    cdef object _failure(self)
    cdef object _cancelled_error(self)
    @cython.final
    @cython.locals(core=LoopBase, notice=Notice)
    cdef int _settled(self) except -1
    @cython.locals(listener=Listener)
    cdef int _run(self, LoopBase core) except -1
    @cython.final
    cdef int _finish(self, object value) except -1
    @cython.final
    cdef int _fail(self, object error) except -1
    @cython.final
    cdef bint _cancel(self, object message) except -1
    @cython.final
    cdef int _wait(self, Runnable task) except -1
    @cython.final
    @cython.locals(notice=Notice)
    cdef int _listen(self, Listener listener) except -1
    @cython.final
    cdef int _unlisten(self, object waiter) except -1
    @cython.final
    cdef list _waiters(self)
    @cython.final
    cdef int _call_back(self, object callback, object context) except -1

@cython.locals(ours=Future)
cdef set _awaiting(object future)
@cython.locals(listener=Listener)
cdef object _who_waits(object entry)
@cython.locals(future=Future)
cdef Future new_future(LoopBase core)
