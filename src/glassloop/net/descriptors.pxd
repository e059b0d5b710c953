cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.future cimport Future
from glassloop.core.handle cimport Handle
from glassloop.core.leaf cimport EpollPoller, LoopBase, Watcher
from glassloop.core.turn cimport Turn

cdef int READ
cdef int WRITE
cdef Py_ssize_t SMALL_READ
cdef object _Socket
cdef object _type

cdef class Descriptor(Watcher):
    cdef Turn _loop
    cdef Handle _reader
    cdef Handle _writer
    cdef list _readers
    cdef list _writers
    cdef object _object
    cdef object _ref
    cdef Py_ssize_t _limit

    @cython.final
    cdef int _serve(self, object sock) except -1
    @cython.locals(arrived=int, reader=Handle, writer=Handle)
    cdef int _run(self, LoopBase core) except -1
    @cython.final
    cdef int _call(self, LoopBase core, Handle handle) except -1
    @cython.final
    cdef int _watch(self, int bit) except -1
    @cython.final
    cdef int _unwatch(self, int bit) except -1
    @cython.final
    cdef bint _busy(self) except -1
    @cython.final
    cdef bint _is_same_file(self) except -1
    @cython.final
    cdef int _forget(self) except -1

@cython.locals(future=Future)
cdef int _wake_first(list line) except -1

@cython.locals(future=Future)
cdef int _wake_all(list line) except -1

cpdef object closed_error()

cdef class Descriptors:
    cdef Turn _loop
    cdef dict _table
    cdef bint _keeps
    @cython.final
    @cython.locals(number=int)
    cdef int _number(self, object fd) except? -2
    @cython.final
    @cython.locals(number=int, descriptor=Descriptor, handle=Handle, old=Handle)
    cdef int _add(self, object fd, int bit, object callback, object args) except -1
    @cython.final
    @cython.locals(number=int, descriptor=Descriptor, handle=Handle, line=list)
    cdef bint _remove(self, object fd, int bit) except -1
    @cython.final
    @cython.locals(descriptor=Descriptor)
    cdef Descriptor _given(self, object fd)
    @cython.final
    @cython.locals(fd=int, descriptor=Descriptor)
    cdef Descriptor _descriptor(self, object sock)
    @cython.final
    cdef Descriptor _adopt(self, object sock, int fd, Descriptor descriptor)
    @cython.final
    @cython.locals(descriptor=Descriptor)
    cdef Descriptor _new(self, int fd)
    @cython.locals(descriptor=Descriptor)
    cpdef close(self)
