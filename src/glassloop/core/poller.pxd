cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Watcher

cdef class SelectorPoller(_leaf.Poller):
    cdef object _selector
    cdef object _watchers
    @cython.locals(old=Watcher)
    cpdef register(self, int fd, Watcher watcher, int events)
    @cython.locals(watcher=Watcher, events=int)
    cpdef wait(self, double timeout)
    @cython.locals(watcher=Watcher)
    cpdef close(self)

@cython.final
cdef class Waker(Watcher):
    cdef int _wfd
    cdef bint _signalled
    cdef public object on_signal
    cpdef open(self, LoopBase core, _leaf.Poller poller)
    cpdef wake(self)
    cpdef close(self)
