cimport cython
from glassloop.core.future cimport Future, Listener
from glassloop.core.leaf cimport LoopBase
from glassloop.core.task cimport Task
from glassloop.sync cimport tasks as _tasks

cdef int PENDING
cdef int CANCELLED
cdef object CancelledError
cdef object CoroutineType

@cython.final
cdef class _GatheringFuture(Future):
    cdef readonly list _children
    cdef readonly bint _cancel_requested

@cython.locals(stack=list, path=set, task=Task, inner=_GatheringFuture)
cdef object _cancel_children(_GatheringFuture outer, object message)

@cython.locals(stack=list, gathered=_GatheringFuture)
cdef bint _is_busy(_GatheringFuture outer) except -1

cdef class _Gathering(Listener):
    cdef _GatheringFuture _outer
    cdef list _children
    cdef Py_ssize_t _left
    cdef bint _return_exceptions

    @cython.locals(outer=_GatheringFuture)
    cdef int _done(self, Future future) except -1
    @cython.locals(children=list, ours=Future)
    cdef int _complete(self) except -1
    @cython.locals(outer=_GatheringFuture)
    cdef int _end(self, object error, list results) except -1

cdef object _error_of(object future)
cdef object _outcome(object future)
cdef list _noted(list done, object child)

@cython.locals(gathering=_Gathering, children=list, known=dict, done=list, ours=Future, task=Task,
               outer=_GatheringFuture)
cdef object _gather(LoopBase core, tuple awaitables, bint return_exceptions)
