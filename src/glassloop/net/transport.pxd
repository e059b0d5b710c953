cimport cython
from glassloop.core cimport leaf as _leaf
from glassloop.core.leaf cimport LoopBase, Runnable
from glassloop.net cimport adopt as _adopt
from glassloop.net cimport life as _life
from glassloop.net.life cimport Connection
from glassloop.net.source cimport FileSource, Source

cdef int READ
cdef int WRITE
cdef int DATA
cdef int BUFFERED
cdef int DIRECT
cdef int ADOPTED
cdef Py_ssize_t CORKED
cdef Py_ssize_t COPIED
cdef Py_ssize_t JOINED
cdef Py_ssize_t SMALL_READ
cdef Py_ssize_t LARGE_READ
cdef Py_ssize_t BULK
cdef object BufferedProtocol
cdef object _CORK

cdef object _BULK_TAKEN

@cython.final
cdef class _BulkTaken(Runnable):
    pass

cdef class Sink:
    cdef bint _direct
    cdef int _feed(self, bytes data) except -1

@cython.final
cdef class StreamTransport(Connection):
    cdef Py_ssize_t _hint
    cdef Py_ssize_t _out_at
    cdef char _kind
    cdef bint _shut
    cdef bint _in_cork

    cdef int _open(self, LoopBase loop, object sock, object protocol, object waiter, object extra, object server) except -1
    @cython.locals(sink=Sink)
    cdef int _set_protocol(self, object protocol) except -1
    cdef int _move(self, LoopBase core, int arrived) except -1
    @cython.locals(size=Py_ssize_t, n=Py_ssize_t, data=bytes, sink=Sink, doing=str)
    cdef int _read(self, LoopBase core) except -1
    @cython.locals(n=Py_ssize_t, doing=str)
    cdef int _read_into(self, LoopBase core) except -1
    cdef int _broke(self, object error, str doing) except -1
    cdef int _read_end(self, LoopBase core) except -1
    @cython.locals(size=Py_ssize_t)
    cpdef write(self, object data)
    @cython.locals(total=Py_ssize_t)
    cpdef writelines(self, object list_of_data)
    cpdef close(self)
    cdef int _write_lost(self) except -1
    @cython.locals(core=LoopBase)
    cdef int _hold(self, object data, Py_ssize_t size) except -1
    @cython.locals(core=LoopBase, total=Py_ssize_t)
    cdef int _add(self, object data, Py_ssize_t size) except -1
    cdef list _listed(self)
    cdef int _added(self, Py_ssize_t size) except -1
    @cython.locals(n=Py_ssize_t)
    cdef int _send_first(self, object data, Py_ssize_t size) except -1
    @cython.locals(size=Py_ssize_t, n=Py_ssize_t)
    cdef int _send(self) except -1
    @cython.locals(at=Py_ssize_t, sent=Py_ssize_t, out=list)
    cdef int _advance(self, Py_ssize_t n) except -1
    cdef int _sent(self) except -1
    cpdef _send_source(self, FileSource source)
    cpdef _take_back(self, FileSource source)
    @cython.locals(done=bint)
    cdef int _pump(self, Source source) except -1
    cdef int _may_resume(self) except -1

cdef object _source_lost(Source source)

@cython.locals(transport=StreamTransport)
cpdef StreamTransport make_transport(object loop, object sock, object protocol, object waiter=*, object extra=*, object server=*)
