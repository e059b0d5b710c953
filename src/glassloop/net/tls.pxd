cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.net cimport tlslife as _life
from glassloop.net cimport transport as _below
from glassloop.net.tlslife cimport TLSConnection

cdef int DATA
cdef int BUFFERED
cdef int DIRECT
cdef Py_ssize_t RECORD
cdef Py_ssize_t BATCH
cdef Py_ssize_t CHUNK
cdef Py_ssize_t BURST
cdef object SSLObject
cdef object MemoryBIO
cdef tuple _AGAIN
cdef object _SSLError
cdef object _SSLZeroReturnError

@cython.final
cdef class TLSTransport(TLSConnection):
    @cython.locals(data=bytes, first=bytes, pieces=list, n=Py_ssize_t, total=Py_ssize_t, more=bint)
    cdef bint _receive_bytes(self) except -1
    @cython.locals(n=Py_ssize_t, room=Py_ssize_t, filled=Py_ssize_t, more=bint)
    cdef bint _receive_into(self) except -1
    @cython.locals(over=bint)
    cdef int _discard(self) except -1
    @cython.locals(came=bint)
    cdef bint _read_away(self) except -1
    @cython.locals(size=Py_ssize_t)
    cpdef write(self, object data)
    cdef int _write_lost(self) except -1
    cdef int _encrypt(self, object data, Py_ssize_t size) except -1
    cdef int _wait(self, object data, Py_ssize_t size) except -1
    @cython.locals(pieces=list, total=Py_ssize_t, n=Py_ssize_t)
    cdef int _flush_some(self) except -1
    @cython.locals(queue=list, head=bytes, size=Py_ssize_t, last=Py_ssize_t)
    cdef object _chunk(self)

@cython.locals(tls=TLSTransport)
cpdef TLSTransport make_tls(object loop, object protocol, object sslcontext, object waiter=*, bint server_side=*, object server_hostname=*, bint made=*, object handshake_timeout=*, object shutdown_timeout=*)

@cython.locals(tls=TLSTransport)
cpdef TLSTransport over_socket(object loop, object sock, object protocol, object sslcontext, object waiter, object server, bint server_side, object server_hostname, object handshake_timeout, object shutdown_timeout)
