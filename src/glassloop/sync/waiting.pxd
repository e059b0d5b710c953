cimport cython
from glassloop.core cimport future as _future
from glassloop.core.future cimport Future
from glassloop.core.leaf cimport HandleBase, LoopBase
from glassloop.core.turn cimport Turn

cdef int PENDING
cdef int FINISHED
cdef int SMALLEST
cdef int LARGE
cdef object _running_loop
cdef dict _current
cdef object _type

cdef object current(object loop)
cdef object running()
cdef object make_waiter(object loop)

@cython.locals(ours=Future)
cdef bint wake(object future) except -1

@cython.locals(ours=Future)
cdef bint was_woken(object future) except -1

@cython.final
cdef class Ring:
    cdef list _items
    cdef Py_ssize_t _head
    cdef Py_ssize_t _n

    @cython.locals(items=list)
    cdef int _add(self, object item) except -1
    cdef object _first(self)
    @cython.locals(items=list)
    cdef object _at(self, Py_ssize_t i)
    @cython.locals(items=list, i=Py_ssize_t)
    cdef object _shift(self)
    @cython.locals(items=list, n=Py_ssize_t, i=Py_ssize_t, mask=Py_ssize_t, head=Py_ssize_t)
    cdef bint _drop(self, object item) except -1
    @cython.locals(items=list, k=Py_ssize_t, mask=Py_ssize_t, head=Py_ssize_t)
    cdef int _remove_at(self, Py_ssize_t i) except -1
    @cython.locals(items=list)
    cdef int _resize(self, Py_ssize_t room) except -1
    @cython.locals(i=Py_ssize_t)
    cdef list _list(self)
    cdef bint _wake_next(self) except -1
    @cython.locals(i=Py_ssize_t)
    cdef int _wake_all(self) except -1

cdef class Bound:
    cdef public object _loop
    cdef object _new_waiter(self)
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
