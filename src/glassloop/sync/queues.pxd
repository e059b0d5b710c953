cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport Op
from glassloop.sync cimport waiting as _waiting
from glassloop.sync.locks cimport Event_wait, _Event
from glassloop.sync.waiting cimport Bound, Line

cdef object _heappush
cdef object _heappop
cdef int OTHER
cdef int FIRST_OUT
cdef int LAST_OUT
cdef int LEAST_OUT

cdef int _kind_of(object cls, object items) except -1

cdef class Queue_get(Op):
    cdef _Queue _queue
    @cython.locals(queue=_Queue, line=Line)
    cdef object _begin(self)
    @cython.locals(queue=_Queue, line=Line)
    cdef object _wake(self, object exc)

cdef class Queue_put(Op):
    cdef _Queue _queue
    cdef object _item
    @cython.locals(queue=_Queue, line=Line)
    cdef object _begin(self)
    @cython.locals(queue=_Queue, line=Line)
    cdef object _wake(self, object exc)

@cython.final
cdef class Queue_join(Event_wait):
    cdef _Queue _queue

cdef class _Queue(Bound):
    cdef int _kind
    cdef object _items
    cdef Line _line
    cdef object _most
    cdef Py_ssize_t _limit
    cdef readonly Line _getters
    cdef readonly Line _putters
    cdef public Py_ssize_t _unfinished_tasks
    cdef public bint _is_shutdown
    cdef readonly _Event _finished

    @cython.final
    cdef int _set_kind(self) except -1
    @cython.final
    cdef bint _is_empty(self) except -1
    @cython.final
    cdef bint _is_full(self) except -1
    @cython.final
    @cython.locals(items=list)
    cdef object _take(self)
    @cython.final
    @cython.locals(items=list)
    cdef object _give(self, object item)
    @cython.final
    cdef int _added(self) except -1
    @cython.final
    cdef int _wake(self, Line waiters) except -1

@cython.locals(op=Queue_get)
cdef object _getting(_Queue queue)

@cython.locals(op=Queue_put)
cdef object _putting(_Queue queue, object item)

@cython.locals(op=Queue_join)
cdef object _joining(_Queue queue)
cdef int _Queue_get
cdef int _Queue_put
