cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Watcher
from glassloop.net cimport adopt as _adopt
from glassloop.net cimport life as _life
from glassloop.net.life cimport Connection
from glassloop.net.transport cimport Sink

cdef int READ
cdef int WRITE
cdef Py_ssize_t SMALL_READ
cdef Py_ssize_t LARGE_READ
cdef int READS
cdef Py_ssize_t JOINED
cdef int GONE

cdef class PipeTransport(Connection):
    cdef bint _always
    cdef object _mode

    @cython.final
    cdef int _open(self, object loop, object pipe, object protocol, object waiter, object server, bint writes) except -1
    cdef object _describe(self, list info)
    cpdef int _want(self, int events) except -1

@cython.final
cdef class ReadPipeTransport(PipeTransport):
    cdef Py_ssize_t _hint
    cdef bint _direct

    @cython.locals(sink=Sink)
    cdef int _set_protocol(self, object protocol) except -1
    @cython.locals(reads=int)
    cpdef _read_what_is_there(self)
    @cython.locals(size=Py_ssize_t, n=Py_ssize_t, data=bytes, sink=Sink)
    cdef int _read(self, LoopBase core) except -1
    cdef int _broke(self, object error) except -1
    cdef int _read_end(self, LoopBase core) except -1
    cpdef close(self)

@cython.final
cdef class WritePipeTransport(PipeTransport):
    cdef Py_ssize_t _out_at

    @cython.locals(size=Py_ssize_t)
    cpdef write(self, object data)
    @cython.locals(n=Py_ssize_t)
    cdef int _write_first(self, object data, Py_ssize_t size) except -1
    cdef int _look_for_reader(self, LoopBase core) except -1
    @cython.locals(out=list, size=Py_ssize_t, n=Py_ssize_t)
    cdef int _send(self) except -1
    @cython.locals(pieces=list, size=Py_ssize_t, count=Py_ssize_t)
    cdef int _join(self, list out) except -1
    cpdef close(self)
