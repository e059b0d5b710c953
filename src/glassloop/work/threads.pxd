cimport cython
from glassloop.core cimport future as _future, leaf as _leaf
from glassloop.core.future cimport Future, Listener
from glassloop.core.leaf cimport LoopBase, Op, Runnable
from glassloop.core.turn cimport Turn

cdef object CancelledByExecutor

@cython.final
cdef class _Withdrawal(Listener):
    cdef object _source

cdef class _Arrival(Runnable):
    cdef Turn _loop
    cdef Future _future
    cdef _Withdrawal _withdrawal
    cdef object _source
    cdef tuple _take(self)
    @cython.locals(future=Future, withdrawal=_Withdrawal)
    cdef int _run(self, LoopBase core) except -1

@cython.locals(future=Future, withdrawal=_Withdrawal, arrival=_Arrival)
cdef object _awaitable(Turn loop, object source)

cdef class to_thread_call(Op):
    cdef object _func
    cdef object _args
    cdef object _kwargs

@cython.locals(op=to_thread_call)
cdef object _thread_call(object func, tuple args, dict kwargs)
