cimport cython
from glassloop.net cimport reader as _reader
from glassloop.net.reader cimport StreamReader

cdef object _Original
cdef object _OriginalProtocol
cdef set _FIELDS
cdef tuple _METHODS

cpdef bint adopt(object protocol) except -1
@cython.locals(fields=dict, native=StreamReader)
cpdef bint adopt_reader(object reader) except -1
@cython.locals(fields=dict)
cdef _give_back(object reader)
