cimport cython
from glassloop.core cimport task as _task
from glassloop.core.future cimport Future, Listener
from glassloop.core.leaf cimport Op
from glassloop.core.task cimport Task
from glassloop.core.turn cimport Turn
from glassloop.sync cimport tasks as _tasks
from glassloop.sync cimport waiting as _waiting

cdef int PENDING
cdef int CANCELLED
cdef object CancelledError
cdef object CoroutineType

@cython.final
cdef class TaskGroup_enter(Op):
    cdef _TaskGroup _group

@cython.final
cdef class TaskGroup_exit(Op):
    cdef _TaskGroup _group
    cdef object _exc
    cdef object _cancelled
    cdef object _later
    cdef object _drain(self)

@cython.locals(op=TaskGroup_exit)
cdef object _exiting(_TaskGroup group, object exc)

@cython.locals(op=TaskGroup_enter)
cdef object _entering(_TaskGroup group)

@cython.final
cdef class TaskGroup_slot(Future):
    cdef _TaskGroup _group
    cdef object _behind_it

cdef class _TaskGroup(Listener):
    cdef readonly bint _entered
    cdef readonly bint _exiting
    cdef readonly bint _aborting
    cdef readonly bint _parent_cancel_requested
    cdef bint _cancel_at_entry
    cdef bint _own
    cdef readonly object _loop
    cdef readonly object _parent_task
    cdef readonly set _tasks
    cdef readonly list _errors
    cdef readonly object _base_error
    cdef object _ended
    cdef readonly object _limit
    cdef Py_ssize_t _free
    cdef object _line

    @cython.final
    cdef int _enter(self) except -1
    @cython.final
    @cython.locals(core=Turn, own=Task)
    cdef object _start(self, object coro, object name, object context, dict kwargs)
    @cython.final
    cdef int _set_limit(self, object limit) except -1
    @cython.final
    cdef object _admit(self, object coro, object name, object context, dict kwargs)
    @cython.final
    @cython.locals(core=Turn, own=Task, slot=TaskGroup_slot)
    cdef object _line_up(self, object coro, object name, object context, dict kwargs)
    @cython.final
    cdef int _take_place(self, TaskGroup_slot slot) except -1
    @cython.final
    cdef int _give_place_back(self) except -1
    @cython.final
    cdef int _abort(self) except -1
    cdef int _done(self, Future future) except -1
    @cython.final
    cdef int _failed(self, object task, object error) except -1
    @cython.final
    @cython.locals(errors=list)
    cdef int _finish(self, object exc, object cancelled, object later) except -1
