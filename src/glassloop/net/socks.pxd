cimport cython
from glassloop.core cimport future as _future, leaf as _leaf
from glassloop.core.future cimport Future
from glassloop.core.leaf cimport Op
from glassloop.net cimport descriptors as _descriptors
from glassloop.net.descriptors cimport Descriptor, Descriptors

cdef int READ
cdef int WRITE
cdef Py_ssize_t LARGE_READ
cdef object MOST
cdef object _Socket
cdef object _family
cdef object _type
cdef int _NON_BLOCKING
cdef tuple _INTERNET

cdef class Sockets(Descriptors)

cdef class SockOp(Op):
    cdef Sockets _sockets
    cdef Descriptor _descriptor
    cdef object _sock
    cdef list _line
    cdef bint _plain
    cdef bint _writes

    @cython.locals(descriptor=Descriptor)
    cdef object _begin(self)
    @cython.locals(descriptor=Descriptor, future=Future, bit=int)
    cdef object _wait(self)
    @cython.locals(descriptor=Descriptor, future=Future, line=list)
    cdef object _wake(self, object exc)
    @cython.final
    @cython.locals(descriptor=Descriptor, line=list)
    cdef int _leave(self) except -1
    cdef bint _attempt(self) except -1
    cdef int _finish(self) except -1

cdef class sock_recv(SockOp):
    cdef object _size
    @cython.locals(descriptor=Descriptor, size=Py_ssize_t, limit=Py_ssize_t)
    cdef bint _attempt(self) except -1

cdef class sock_recv_into(SockOp):
    cdef object _buffer
    @cython.locals(n=Py_ssize_t)
    cdef bint _attempt(self) except -1

@cython.final
cdef class sock_recvfrom(SockOp):
    cdef object _size

@cython.final
cdef class sock_recvfrom_into(SockOp):
    cdef object _buffer
    cdef object _size

@cython.final
cdef class sock_accept(SockOp):
    pass

cdef class sock_sendall(SockOp):
    cdef object _data
    cdef Py_ssize_t _size
    cdef Py_ssize_t _sent
    @cython.locals(n=Py_ssize_t)
    cdef bint _attempt(self) except -1

@cython.final
cdef class sock_sendfile(SockOp):
    cdef readonly object sent
    cdef object _file
    cdef object _left
    cdef object _offset

@cython.final
cdef class sock_sendto(SockOp):
    cdef object _data
    cdef object _address

@cython.final
cdef class _Connect(SockOp):
    cdef object _address
    cdef bint _connecting

cdef class Sockets(Descriptors):
    @cython.locals(op=sock_recv)
    cpdef recv(self, object sock, object n)
    @cython.locals(op=sock_recv_into)
    cpdef recv_into(self, object sock, object buf)
    @cython.locals(op=sock_recvfrom)
    cpdef recvfrom(self, object sock, object bufsize)
    @cython.locals(op=sock_recvfrom_into)
    cpdef recvfrom_into(self, object sock, object buf, object nbytes=*)
    @cython.locals(op=sock_accept)
    cpdef accept(self, object sock)
    @cython.locals(op=sock_sendall)
    cpdef sendall(self, object sock, object data)
    @cython.locals(op=sock_sendfile)
    cpdef sendfile(self, object sock, object file, object offset, object count)
    @cython.locals(op=sock_sendto)
    cpdef sendto(self, object sock, object data, object address)
    @cython.locals(op=_Connect)
    cpdef _connect(self, object sock, object address)
cdef int _sock_recv
cdef int _sock_recv_into
cdef int _sock_sendall
