cimport cython
from glassloop.core cimport future as _future, task as _task
from glassloop.core.future cimport Future, Listener
from glassloop.core.leaf cimport LoopBase, Op
from glassloop.core.task cimport Task
from glassloop.core.turn cimport Turn
from glassloop.sync cimport waiting as _waiting

cdef int PENDING
cdef int CANCELLED
cdef object CoroutineType
cdef object _own_create_task

cdef bint makes_own_tasks(object loop) except -1

@cython.locals(task=Task)
cdef object spawn(Turn core, object coro)

cdef bint is_future(object thing) except -1
cdef bint is_coroutine(object thing) except -1

@cython.locals(ours=Future)
cdef object loop_of(object future)

@cython.locals(ours=Future)
cdef bint is_of(object future, object loop) except -1

cdef object to_future(object thing, object loop, bint own)

@cython.final
cdef class _Shield(Listener):
    cdef Future _inner
    cdef Future _outer

@cython.locals(outer=Future, listener=_Shield)
cdef object _shield(LoopBase core, Future inner)

@cython.final
cdef class _Told(Listener):
    cdef object _who

cdef object _asyncio_add
cdef object _asyncio_discard
@cython.locals(told=_Told)
cdef object _add_waiter(Future ours, object waiter)
cdef object _discard_waiter(Future ours, object waiter)
@cython.locals(told=_Told)
cdef object _told_of(Future ours, object waiter)
