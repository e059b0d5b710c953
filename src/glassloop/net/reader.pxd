cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Op
from glassloop.core cimport future as _future
from glassloop.core.future cimport Future

cdef Py_ssize_t MERGED
cdef Py_ssize_t FOLD
cdef Py_ssize_t UNLIMITED
cdef object IncompleteReadError
cdef object LimitOverrunError

cdef class StreamReader:
    cdef readonly object _loop
    cdef LoopBase _core
    cdef object _given_limit
    cdef Py_ssize_t _bound
    cdef Py_ssize_t _high
    cdef bytes _head
    cdef Py_ssize_t _at
    cdef list _rest
    cdef object _whole
    cdef Py_ssize_t _folded
    cdef Py_ssize_t _size
    cdef unsigned long _takes
    cdef Py_ssize_t _need
    cdef public bint _eof
    cdef public bint _paused
    cdef public object _waiter
    cdef public object _exception
    cdef public object _transport
    cdef readonly object _source_traceback
    cdef dict __dict__
    cdef object __weakref__

    @cython.final
    cdef int _set_limit(self, object limit) except -1
    cpdef feed_data(self, object data)
    cpdef exception(self)
    @cython.final
    cdef int _feed(self, bytes data) except -1
    @cython.final
    @cython.locals(n=Py_ssize_t, rest=list)
    cdef int _add(self, bytes data) except -1
    @cython.final
    cdef int _fold(self) except -1
    @cython.final
    cdef int _unfold(self) except -1
    @cython.final
    @cython.locals(future=Future)
    cdef int _wake_up(self, object error) except -1
    @cython.final
    cdef int _pause(self) except -1
    @cython.final
    cdef int _resume(self) except -1
    @cython.final
    cdef object _wait(self, str name, Py_ssize_t need)
    @cython.final
    cdef int _waited(self, object waiter, object error) except -1
    @cython.final
    @cython.locals(head=bytes, at=Py_ssize_t, left=Py_ssize_t, data=bytes)
    cdef bytes _take(self, Py_ssize_t n)
    @cython.final
    @cython.locals(pieces=list, piece=bytes)
    cdef bytes _take_several(self, Py_ssize_t n)
    @cython.final
    @cython.locals(rest=list)
    cdef int _next(self) except -1
    @cython.final
    cdef bytes _take_all(self)
    cpdef bytes _hand_over(self)
    @cython.final
    @cython.locals(found=Py_ssize_t)
    cdef Py_ssize_t _find(self, object separator, Py_ssize_t start) except -2
    @cython.final
    @cython.locals(reach=Py_ssize_t, base=Py_ssize_t, end=Py_ssize_t, first=Py_ssize_t, found=Py_ssize_t, seam=Py_ssize_t, missing=Py_ssize_t, i=Py_ssize_t, chunks=list, chunk=bytes, later=bytes, window=bytes)
    cdef Py_ssize_t _find_across(self, object separator, Py_ssize_t start) except -2
    cpdef read(self, Py_ssize_t n=*)
    cpdef readexactly(self, Py_ssize_t n)
    cpdef readuntil(self, object separator=*)
    cpdef readline(self)

@cython.locals(op=StreamReader_read)
cdef object read(StreamReader reader, Py_ssize_t n, object holder)
@cython.locals(op=StreamReader_readexactly)
cdef object readexactly(StreamReader reader, Py_ssize_t n, object holder)
@cython.locals(op=StreamReader_readuntil)
cdef object readuntil(StreamReader reader, object separator, object holder)
@cython.locals(op=StreamReader_readline)
cdef object next_line(StreamReader reader, bint stop, object holder)

@cython.final
cdef class StreamReader_read(Op):
    cdef StreamReader _reader
    cdef object _holder
    cdef Py_ssize_t _n
    @cython.locals(reader=StreamReader, n=Py_ssize_t)
    cdef object _look(self)

@cython.final
cdef class StreamReader_readexactly(Op):
    cdef StreamReader _reader
    cdef object _holder
    cdef Py_ssize_t _n
    @cython.locals(reader=StreamReader, n=Py_ssize_t)
    cdef object _look(self)

cdef class StreamReader_readuntil(Op):
    cdef StreamReader _reader
    cdef object _holder
    cdef object _separator
    cdef list _several
    cdef Py_ssize_t _offset
    cdef unsigned long _takes
    @cython.locals(reader=StreamReader, start=Py_ssize_t, end=Py_ssize_t, length=Py_ssize_t, found=Py_ssize_t)
    cdef object _look(self)

@cython.final
cdef class StreamReader_readline(StreamReader_readuntil):
    cdef bint _stop
cdef int _StreamReader_read
cdef int _StreamReader_readexactly
cdef int _StreamReader_readuntil
cdef int _StreamReader_readline
