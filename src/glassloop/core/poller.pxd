cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Poller, Watcher

cdef class SelectorPoller(Poller):
    cdef object _selector
    cdef object _watchers

@cython.final
cdef class Waker(Watcher):
    cdef int _wfd
    cdef bint _signalled
    cdef public object on_signal
    cpdef open(self, LoopBase core, Poller poller)
    cpdef wake(self)
    cpdef close(self)
