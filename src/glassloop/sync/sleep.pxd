cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Op
from glassloop.sync cimport waiting as _waiting
from glassloop.sync.waiting cimport Alarm

cdef int NEW
cdef int YIELDED
cdef int DONE

@cython.final
@cython.freelist(32)
cdef class Sleep_zero:
    cdef int _phase
    cdef object _result

@cython.final
cdef class Sleep(Op):
    cdef object _delay
    cdef object _result
    cdef Alarm _alarm
    cdef object _handle

@cython.locals(op=Sleep_zero)
cdef Sleep_zero _give_way(object result)

@cython.locals(op=Sleep)
cdef Sleep _sleep(object delay, object result)
cdef int _Sleep
