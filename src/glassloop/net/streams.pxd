cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Op
from glassloop.core cimport future as _future
from glassloop.net.reader cimport StreamReader as Reader
from glassloop.net.transport cimport Sink, StreamTransport

cdef class StreamReaderProtocol(Sink):
    cdef readonly object _loop
    cdef LoopBase _core
    cdef readonly object _stream_reader
    cdef Reader _reader
    cdef readonly object _client_connected_cb
    cdef readonly object _source_traceback
    cdef readonly object _transport
    cdef readonly object _task
    cdef readonly bint _over_ssl
    cdef readonly bint _paused
    cdef readonly bint _connection_lost
    cdef object _error
    cdef readonly list _drain_waiters
    cdef list _close_waiters
    cdef dict __dict__
    cdef object __weakref__

    @cython.final
    cdef object _new_waiter(self)
    @cython.final
    cdef object _add_drain_waiter(self)

cdef int _settle(object waiter, object error) except -1

cdef class StreamWriter:
    cdef readonly object _transport
    cdef readonly object _protocol
    cdef readonly object _reader
    cdef readonly object _loop
    cdef StreamTransport _ours
    cdef StreamReaderProtocol _flow
    cdef Reader _input
    cdef dict __dict__
    cdef object __weakref__

    @cython.final
    cdef int _use(self, object transport) except -1
    @cython.locals(op=StreamWriter_wait_closed)
    cpdef wait_closed(self)
    @cython.locals(op=StreamWriter_drain)
    cpdef drain(self)

@cython.final
cdef class StreamWriter_drain(Op):
    cdef StreamWriter _writer
    cdef object _waiter
    cdef int _stage
    @cython.locals(flow=StreamReaderProtocol)
    cdef object _flow(self)

@cython.final
cdef class StreamWriter_wait_closed(Op):
    cdef StreamWriter _writer
cdef int _StreamWriter_drain
