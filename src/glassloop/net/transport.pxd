cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Runnable, Watcher

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
cdef int DATA
cdef int BUFFERED
cdef int DIRECT
cdef Py_ssize_t CORKED
cdef Py_ssize_t JOINED
cdef Py_ssize_t SMALL_READ
cdef Py_ssize_t LARGE_READ
cdef Py_ssize_t HIGH_WATER
cdef tuple _NEXT
cdef object BufferedProtocol
cdef object _family
cdef tuple _INTERNET

cdef class Sink:
    cdef bint _direct
    cdef int _feed(self, bytes data) except -1

@cython.final
cdef class _Start(Runnable):
    cdef StreamTransport _transport
    cdef object _made
    cdef object _waiter

@cython.final
cdef class _End(Runnable):
    cdef StreamTransport _transport
    cdef object _error

@cython.final
cdef class StreamTransport(Watcher):
    cdef readonly object _sock
    cdef readonly object _protocol
    cdef object _context
    cdef readonly object _server
    cdef object _extra
    cdef object _peername
    cdef object _out
    cdef Py_ssize_t _out_at
    cdef Py_ssize_t _out_size
    cdef Py_ssize_t _high
    cdef Py_ssize_t _low
    cdef Py_ssize_t _hint
    cdef int _conn_lost
    cdef char _state
    cdef char _kind
    cdef bint _paused
    cdef bint _ended
    cdef bint _shut
    cdef bint _blocked
    cdef bint _protocol_paused
    cdef bint _in_cork
    cdef readonly bint _dropped
    cdef object __weakref__

    @cython.locals(start=_Start)
    cdef int _open(self, LoopBase loop, object sock, object protocol, object waiter, object extra, object server) except -1
    cdef int _start(self, LoopBase core, object made, object waiter) except -1
    cdef int _end(self, LoopBase core, object error) except -1
    cdef int _free(self) except -1
    @cython.locals(wanted=int)
    cdef int _watch(self) except -1
    @cython.locals(core=LoopBase, end=_End)
    cdef int _lose(self, int event, object error) except -1
    cdef int _callback_failed(self, object error, object callback) except -1
    cdef int _failed(self, object error, str message) except -1
    cdef int _set_protocol(self, object protocol) except -1
    cdef object _sockname(self)
    @cython.locals(size=Py_ssize_t, n=Py_ssize_t)
    cdef int _read(self, LoopBase core) except -1
    @cython.locals(n=Py_ssize_t)
    cdef int _read_into(self, LoopBase core) except -1
    cdef int _read_end(self, LoopBase core) except -1
    @cython.locals(size=Py_ssize_t)
    cpdef write(self, object data)
    @cython.locals(total=Py_ssize_t)
    cpdef writelines(self, object list_of_data)
    cpdef close(self)
    cpdef is_closing(self)
    cpdef pause_reading(self)
    cpdef resume_reading(self)
    cdef int _write_lost(self) except -1
    cdef int _queue(self, Py_ssize_t size) except -1
    @cython.locals(core=LoopBase)
    cdef int _cork(self) except -1
    cdef int _flush(self) except -1
    @cython.locals(n=Py_ssize_t)
    cdef int _send_first(self, object data, Py_ssize_t size) except -1
    @cython.locals(size=Py_ssize_t, n=Py_ssize_t)
    cdef int _send(self) except -1
    @cython.locals(at=Py_ssize_t, sent=Py_ssize_t, out=list)
    cdef int _advance(self, Py_ssize_t n) except -1
    cdef int _sent(self) except -1
    cdef int _pause_writing(self) except -1
    cdef int _resume_writing(self) except -1
    cdef int _flow_failed(self, object error, str message) except -1

@cython.locals(transport=StreamTransport)
cpdef StreamTransport make_transport(object loop, object sock, object protocol, object waiter=*, object extra=*, object server=*)
