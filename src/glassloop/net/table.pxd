cimport cython

cdef object ref

@cython.final
cdef class Transports:
    cdef dict _refs
    cpdef get(self, fd)
