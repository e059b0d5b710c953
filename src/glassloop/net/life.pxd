cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Runnable, Watcher
from glassloop.core.turn cimport Turn

cdef int READ
cdef int WRITE
cdef int NEW
cdef int OPEN
cdef int CLOSING
cdef int LOST
cdef int CLOSED
cdef int MADE
cdef int CLOSE
cdef int FLUSHED
cdef int FAIL
cdef int END
cdef tuple _NEXT
cdef Py_ssize_t HIGH_WATER

@cython.final
cdef class _Start(Runnable):
    cdef Connection _connection
    cdef object _made
    cdef object _waiter

@cython.final
cdef class _End(Runnable):
    cdef Connection _connection
    cdef object _error

cdef class Connection(Watcher):
    cdef object _owned
    cdef bint _alive
    cdef readonly object _protocol
    cdef object _context
    cdef readonly object _server
    cdef object _extra
    cdef object _peer
    cdef object _name
    cdef object _out
    cdef Py_ssize_t _out_size
    cdef Py_ssize_t _high
    cdef Py_ssize_t _low
    cdef readonly int _conn_lost
    cdef char _state
    cdef bint _paused
    cdef bint _ended
    cdef bint _blocked
    cdef readonly bint _protocol_paused
    cdef readonly bint _dropped
    cdef dict __dict__
    cdef object __weakref__

    @cython.final
    @cython.locals(start=_Start, core=Turn)
    cdef int _begin(self, LoopBase loop, object sock, object protocol, object waiter, object extra, object server) except -1
    @cython.final
    cdef int _start(self, LoopBase core, object made, object waiter) except -1
    @cython.final
    cdef int _end(self, LoopBase core, object error) except -1
    @cython.final
    cdef int _free(self) except -1
    @cython.final
    @cython.locals(wanted=int)
    cdef int _watch(self) except -1
    @cython.final
    @cython.locals(core=Turn, end=_End)
    cdef int _lose(self, int event, object error) except -1
    @cython.final
    cdef int _callback_failed(self, object error, object callback) except -1
    @cython.final
    cdef int _failed(self, object error, str message) except -1
    @cython.final
    cdef object _socket(self)
    @cython.final
    cdef int _close_socket(self) except -1
    cdef int _drop(self) except -1
    cdef int _flush(self) except -1
    @cython.final
    cdef int _pause_writing(self) except -1
    @cython.final
    cdef int _resume_writing(self) except -1
    @cython.final
    cdef int _flow_failed(self, object error, str message) except -1
    cpdef is_closing(self)

cdef tuple limits(object high, object low, Py_ssize_t default)
cdef int report(LoopBase core, object transport, object protocol, object error, str message) except -1
cdef int ended(LoopBase core, object transport, object protocol, object error, str message) except -1
