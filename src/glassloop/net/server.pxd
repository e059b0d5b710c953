cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Watcher
from glassloop.net cimport transport as _transport

cdef class Acceptor(Watcher):
    cdef object _loop
    cdef object _sock
    cdef object _server
    cdef object _factory
    cdef object _context
    cdef object _retry
    cdef object _tls
    cdef int _room

    @cython.locals(left=int, fd=int)
    cdef int _run(self, LoopBase core) except -1
    @cython.final
    cdef _failed(self, error)
    @cython.final
    cdef _secured(self, int fd, protocol)
