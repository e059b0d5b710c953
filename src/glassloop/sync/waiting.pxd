cimport cython
from glassloop.core cimport future as _future, leaf as _leaf
from glassloop.core.future cimport Future
from glassloop.core.leaf cimport HandleBase, LoopBase
from glassloop.core.turn cimport Turn

cdef int PENDING
cdef int FINISHED
cdef object _running_loop
cdef bint _knows
cdef object _type

@cython.locals(core=LoopBase)
cdef object current(object loop)
cdef object running()
cdef object make_waiter(object loop)

@cython.locals(ours=Future)
cdef bint wake(object future) except -1

@cython.locals(ours=Future)
cdef bint was_woken(object future) except -1

@cython.final
cdef class Line:
    cdef Py_ssize_t _n
    cdef object _one
    cdef list _next
    cdef list _last

    cdef int _add(self, object item) except -1
    @cython.locals(last=list)
    cdef object _shift(self)
    @cython.locals(n=Py_ssize_t)
    cdef object _at(self, Py_ssize_t i)
    @cython.locals(items=list, i=Py_ssize_t)
    cdef bint _drop(self, object item) except -1
    @cython.locals(n=Py_ssize_t)
    cdef int _remove_at(self, Py_ssize_t i) except -1
    @cython.locals(i=Py_ssize_t)
    cdef list _list(self)
    cdef bint _wake_next(self) except -1
    @cython.locals(i=Py_ssize_t)
    cdef int _wake_all(self) except -1

cdef class Bound:
    cdef object _bound
    cdef LoopBase _core
    @cython.final
    @cython.locals(core=LoopBase)
    cdef object _new_waiter(self)
    @cython.final
    cdef int _bind(self, object loop) except -1

@cython.final
cdef class Nothing:
    pass

cdef Nothing NOTHING

@cython.final
cdef class Alarm(HandleBase):
    cdef Future _future
    cdef object _value
    cdef int _disarm(self) except -1

@cython.locals(alarm=Alarm, when=double)
cdef Alarm set_alarm(Turn core, object delay, Future future, object value)
