cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport Datagrams, LoopBase
from glassloop.net cimport life as _life
from glassloop.net.life cimport Connection

cdef int READ
cdef int WRITE
cdef int BATCH
cdef int STEADY
cdef int HEADER
cdef Py_ssize_t LARGEST
cdef Py_ssize_t UNREADABLE
cdef object _Socket
cdef tuple _INTERNET
cdef tuple _FAMILIES

@cython.final
cdef class _Lookup:
    cdef object _address
    cdef object _error
    cdef object _host
    cdef tuple _rest
    cdef object _task

cdef object _give_up(_Lookup lookup)

@cython.final
cdef class DatagramTransport(Connection):
    cdef object _address
    cdef int _batch
    cdef int _steady
    cdef Datagrams _box
    cdef bint _connected
    cdef bint _plain
    cdef dict _lookups

    @cython.locals(received=int)
    cdef int _receive(self) except -1
    cdef object _receive_by_method(self)
    cdef int _receive_failed(self, object error) except -1
    cdef int _tell(self, object error) except -1
    cdef int _raised(self, object error, str name) except -1
    @cython.locals(n=Py_ssize_t)
    cpdef sendto(self, object data, object addr=*)
    cdef object _send_lost(self)
    cdef tuple _send_elsewhere(self, object data, object addr)
    @cython.locals(lookup=_Lookup)
    cdef _Lookup _looked_up(self, object addr)
    cpdef _answered(self, object addr, _Lookup lookup, object task)
    @cython.locals(lookup=_Lookup, n=Py_ssize_t, blocked=bint, out=object)
    cdef int _send(self) except -1
