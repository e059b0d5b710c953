cimport cython
from glassloop.core.leaf cimport Op

cdef object _IPV4
cdef object _IPV6
cdef object _STREAM
cdef object _DATAGRAM
cdef object _TCP
cdef object _UDP
cdef object _REFUSED
cdef tuple _ENTRY
cdef tuple _BY_FAMILY
cdef object inet_ntop
cdef object inet_pton

@cython.locals(entry=tuple)
cpdef object at_once(object host, object port, object family, object type_, object proto, object flags)
cpdef bint needs_no_lookup(object host, object port, object flags) except -1

@cython.final
cdef class getaddrinfo(Op):
    cdef object _resolver
    cdef object _host
    cdef object _port
    cdef object _family
    cdef object _type
    cdef object _proto
    cdef object _flags

@cython.locals(op=getaddrinfo)
cpdef object lookup(object resolver, object host, object port, object family, object type_, object proto, object flags)
