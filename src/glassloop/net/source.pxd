cimport cython
from glassloop.core cimport leaf as _leaf

cdef object MOST
cdef object _OF_THE_FILE

cpdef bint of_the_file(object error) except -1

cdef class Source:
    cdef bint _pump(self, int fd) except -1
    cdef int _lost(self, object error) except -1
    cdef bytes _rest(self)

@cython.final
cdef class FileSource(Source):
    cdef readonly object future
    cdef readonly object sent
    cdef object _file
    cdef object _offset
    cdef object _left
    cdef bytes _head
    cdef Py_ssize_t _head_at
    cdef int _follow(self, bytes head) except -1
    cdef bint _settle(self, object error) except -1
