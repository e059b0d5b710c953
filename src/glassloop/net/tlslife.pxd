cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase
from glassloop.net cimport adopt as _adopt
from glassloop.net cimport life as _life
from glassloop.net.transport cimport Sink, StreamTransport

cdef int NEW
cdef int HANDSHAKE
cdef int OPEN
cdef int FLUSHING
cdef int SHUTDOWN
cdef int CLOSING
cdef int CLOSED
cdef int MADE
cdef int SHAKEN
cdef int CLOSE
cdef int FLUSHED
cdef int DONE
cdef int FAIL
cdef int END
cdef int DATA
cdef int BUFFERED
cdef int DIRECT
cdef int ADOPTED
cdef Py_ssize_t READ_HIGH
cdef Py_ssize_t WRITE_HIGH
cdef tuple _NEXT
cdef tuple _NAMES
cdef object BufferedProtocol
cdef tuple _AGAIN
cdef object _SSLError

cdef class TLSConnection(Sink):
    cdef LoopBase _core
    cdef readonly object _protocol
    cdef Sink _sink
    cdef object _context
    cdef object _waiter
    cdef object _lower
    cdef StreamTransport _stream
    cdef readonly object _sslcontext
    cdef readonly object _sslobj
    cdef object _incoming
    cdef object _outgoing
    cdef object _ssl_read
    cdef object _ssl_write
    cdef object _bio_write
    cdef object _bio_read
    cdef object _peercert
    cdef object _error
    cdef object _timer
    cdef object _handshake_timeout
    cdef object _shutdown_timeout
    cdef double _began
    cdef list _queue
    cdef Py_ssize_t _queue_at
    cdef Py_ssize_t _queue_size
    cdef Py_ssize_t _high
    cdef Py_ssize_t _low
    cdef Py_ssize_t _in_high
    cdef Py_ssize_t _in_low
    cdef readonly int _conn_lost
    cdef int _state
    cdef int _kind
    cdef bint _made
    cdef bint _shook
    cdef bint _told
    cdef bint _paused
    cdef bint _lower_paused
    cdef bint _unread
    cdef bint _ended
    cdef bint _notified
    cdef bint _blocked
    cdef readonly bint _protocol_paused
    cdef readonly bint _dropped
    cdef dict __dict__
    cdef object __weakref__

    cpdef int _over(self, object transport) except -1
    @cython.final
    cdef int _shake(self) except -1
    @cython.final
    cdef int _answer(self) except -1
    @cython.final
    cdef int _shaken(self) except -1
    @cython.final
    cdef int _handshake_failed(self, object error) except -1
    @cython.final
    cdef int _wake(self, object error) except -1
    @cython.final
    cdef int _stop_timer(self) except -1
    cdef int _receive(self) except -1
    @cython.final
    cdef int _peer_ended(self) except -1
    @cython.final
    cdef int _put(self, bytes data) except -1
    @cython.final
    cdef int _send_out(self) except -1
    @cython.final
    cdef int _flush(self) except -1
    cdef int _send_queued(self) except -1
    cpdef close(self)
    @cython.final
    cdef int _begin_close(self) except -1
    @cython.final
    @cython.locals(over=bint)
    cdef int _shut_down(self) except -1
    @cython.final
    cdef bint _say_goodbye(self) except -1
    @cython.final
    cdef int _done(self) except -1
    @cython.final
    cdef int _drop(self) except -1
    @cython.final
    cdef int _failed(self, object error, str message) except -1
    cpdef is_closing(self)
    @cython.final
    @cython.locals(sink=Sink)
    cdef int _set_protocol(self, object protocol) except -1
    @cython.final
    cdef int _control(self) except -1
    @cython.final
    cdef int _resume_writing(self) except -1
    @cython.final
    cdef int _flow_failed(self, object error, str message) except -1
