cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport HandleBase, LoopBase, Runnable

cdef class Handle(HandleBase):
    cdef readonly object _callback
    cdef readonly object _args
    cdef readonly object _context
    cdef readonly object _loop
    cdef readonly object _source_traceback
    cdef readonly object _shown
    cdef object __weakref__
    @cython.locals(error=object)
    cdef int _run(self, LoopBase core) except -1
    cpdef cancel(self)

cdef class SharedHandle(Handle):
    cdef object _thread
    cdef list _gates
    cdef int _run(self, LoopBase core) except -1
    @cython.final
    cdef int _wait_while_it_runs(self) except -1
    cpdef cancel(self)

cdef class TimerHandle(Handle):
    cdef object _given
    @cython.locals(core=LoopBase)
    cpdef cancel(self)
