/* Freed objects of a few types are kept for the next of their kind: an allocation and the collector's count saved.
 * The type's tp_alloc and tp_free are ours; subclasses made in Python have their own and are not kept.
 *
 * Handles are not tracked by the collector while the loop has them: it would look at each of them over and over, and
 * many callbacks scheduled at once would set it off again and again. So they don't count for it either, but have its
 * header. The loop's own traverse slot looks through them (see leaf.pyx); one that leaves the loop and is held by
 * somebody else is tracked from then on (gl_track).
 *
 * An operation (Op) lives for one await, which mostly doesn't wait. So it is made by copying a pristine one, is tracked by
 * the collector only once it waits or belongs to a task (gl_track), is freed without a finalizer when it was awaited to
 * its end, and is kept. Its fields that hold objects are found in the pristine one: they hold None.
 *
 * The StopIteration by which an iterator returns its value is kept, too. */
#ifndef GLASSLOOP_RECYCLE_H
#define GLASSLOOP_RECYCLE_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#if !defined(Py_GIL_DISABLED) && !defined(GLASSLOOP_SANITIZE)
#define GL_KEPT 128
#define GL_KEPT_TYPES 32
#define GL_FIELDS 12
typedef struct {
    PyTypeObject *type;
    int n, untracked;
    PyObject *kept[GL_KEPT];
    /* of an operation: */
    destructor dealloc; /* the type's own */
    PyObject *pristine;
    Py_ssize_t phase; /* offset of an int: it is `done` when there is nothing to finalize */
    int done, fields;
    Py_ssize_t field[GL_FIELDS];
} gl_recycler;
static gl_recycler gl_recyclers[GL_KEPT_TYPES];
static PyObject *gl_no_args;

#define GL_GC_HEADER (2 * sizeof(uintptr_t))

static PyObject *gl_recycle_alloc(gl_recycler *r, PyTypeObject *t, Py_ssize_t nitems) {
    PyObject *o;
    if (t != r->type || (r->n == 0 && !r->untracked)) return PyType_GenericAlloc(t, nitems);
    if (r->n)
        o = r->kept[--r->n];
    else {
        char *p = (char *)PyObject_Malloc(GL_GC_HEADER + (size_t)t->tp_basicsize);
        if (p == NULL) return PyErr_NoMemory();
        memset(p, 0, GL_GC_HEADER);
        o = (PyObject *)(p + GL_GC_HEADER);
    }
    memset((char *)o + sizeof(PyObject), 0, (size_t)t->tp_basicsize - sizeof(PyObject));
    PyObject_Init(o, t);
    if (!r->untracked && PyType_IS_GC(t)) PyObject_GC_Track(o);
    return o;
}

static void gl_recycle_free(gl_recycler *r, void *p) {
    PyObject *o = (PyObject *)p;
    PyTypeObject *t = Py_TYPE(o);
    int gc = PyType_IS_GC(t);
    if (t != r->type || r->n == GL_KEPT) {
        if (t == r->type && r->untracked) {
            if (PyObject_GC_IsTracked(o)) PyObject_GC_UnTrack(o);
            PyObject_Free((char *)o - GL_GC_HEADER);
        } else if (gc) PyObject_GC_Del(o);
        else PyObject_Free(o);
        return;
    }
    if (gc) {
        if (PyObject_GC_IsTracked(o)) PyObject_GC_UnTrack(o);
        /* the collector's header: not tracked, not finalized */
        ((uintptr_t *)o)[-1] = 0;
        ((uintptr_t *)o)[-2] = 0;
    }
    r->kept[r->n++] = o;
}

static void gl_recycle_dealloc(gl_recycler *r, PyObject *o) {
    int i;
    if (Py_TYPE(o) != r->type) {
        r->dealloc(o);
        return;
    }
    if (*(int *)((char *)o + r->phase) != r->done && PyObject_CallFinalizerFromDealloc(o) < 0) return;
    if (PyObject_GC_IsTracked(o)) PyObject_GC_UnTrack(o);
    for (i = 0; i < r->fields; i++) Py_DECREF(*(PyObject **)((char *)o + r->field[i]));
    gl_recycle_free(r, o);
}

/* one of each for every recycler, numbered in octal */
#define GL_RECYCLER(k) \
    static PyObject *gl_alloc_##k(PyTypeObject *t, Py_ssize_t n) { return gl_recycle_alloc(&gl_recyclers[0##k], t, n); } \
    static void gl_free_##k(void *o) { gl_recycle_free(&gl_recyclers[0##k], o); } \
    static void gl_dealloc_##k(PyObject *o) { gl_recycle_dealloc(&gl_recyclers[0##k], o); }
#define GL_RECYCLERS(k) GL_RECYCLER(k##0) GL_RECYCLER(k##1) GL_RECYCLER(k##2) GL_RECYCLER(k##3) \
    GL_RECYCLER(k##4) GL_RECYCLER(k##5) GL_RECYCLER(k##6) GL_RECYCLER(k##7)
#define GL_NAMES(f, k) f##k##0, f##k##1, f##k##2, f##k##3, f##k##4, f##k##5, f##k##6, f##k##7
GL_RECYCLERS(0) GL_RECYCLERS(1) GL_RECYCLERS(2) GL_RECYCLERS(3)

static int gl_recycle(PyObject *type, int untracked) {
    static const allocfunc allocs[] = {GL_NAMES(gl_alloc_, 0), GL_NAMES(gl_alloc_, 1), GL_NAMES(gl_alloc_, 2),
                                       GL_NAMES(gl_alloc_, 3)};
    static const freefunc frees[] = {GL_NAMES(gl_free_, 0), GL_NAMES(gl_free_, 1), GL_NAMES(gl_free_, 2),
                                     GL_NAMES(gl_free_, 3)};
    PyTypeObject *t = (PyTypeObject *)type;
    int k;
    for (k = 0; k < GL_KEPT_TYPES; k++)
        if (gl_recyclers[k].type == NULL) {
            gl_recyclers[k].type = t;
            gl_recyclers[k].untracked = untracked;
            t->tp_alloc = allocs[k];
            t->tp_free = frees[k];
            return k;
        }
    PyErr_SetString(PyExc_SystemError, "no recycler left");
    return -1;
}

/* A type of operations: its number for gl_new_op(). */
static int gl_recycle_op(PyObject *type, Py_ssize_t phase, int done) {
    static const destructor deallocs[] = {GL_NAMES(gl_dealloc_, 0), GL_NAMES(gl_dealloc_, 1), GL_NAMES(gl_dealloc_, 2),
                                          GL_NAMES(gl_dealloc_, 3)};
    PyTypeObject *t = (PyTypeObject *)type;
    PyObject *pristine = t->tp_new(t, gl_no_args, NULL);
    gl_recycler *r;
    Py_ssize_t at;
    int k = pristine == NULL ? -1 : gl_recycle(type, 0);
    if (k < 0) return -1;
    r = &gl_recyclers[k];
    PyObject_GC_UnTrack(pristine);
    for (at = sizeof(PyObject); at < t->tp_basicsize; at += sizeof(PyObject *))
        if (*(PyObject **)((char *)pristine + at) == Py_None) {
            if (r->fields == GL_FIELDS) {
                PyErr_SetString(PyExc_SystemError, "an operation with too many fields");
                return -1;
            }
            r->field[r->fields++] = at;
        }
    r->pristine = pristine;
    r->phase = phase;
    r->done = done;
    r->dealloc = t->tp_dealloc;
    t->tp_dealloc = deallocs[k];
    return k;
}

static PyObject *gl_new_op(int k) {
    gl_recycler *r = &gl_recyclers[k];
    PyObject *o;
    if (r->n == 0) return r->type->tp_new(r->type, gl_no_args, NULL);
    o = r->kept[--r->n];
    memcpy((char *)o + sizeof(PyObject), (char *)r->pristine + sizeof(PyObject),
           (size_t)r->type->tp_basicsize - sizeof(PyObject));
#if PY_VERSION_HEX < 0x030C0000
    for (k = 0; k < r->fields; k++) Py_INCREF(Py_None);
#endif
    if (r->type->tp_flags & Py_TPFLAGS_HEAPTYPE) return PyObject_Init(o, r->type);
    Py_SET_REFCNT(o, 1);
    return o;
}

#if PY_VERSION_HEX >= 0x030C0000
static PyTypeObject gl_stop_type = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "StopIteration",
                                    .tp_basicsize = sizeof(PyStopIterationObject),
                                    .tp_flags = Py_TPFLAGS_DEFAULT};
static PyObject *gl_stops[8];
static int gl_stops_kept;

/* set StopIteration(v): in an await nobody but the interpreter sees it, and frees it at once */
static void gl_set_stop(PyObject *v) {
    PyStopIterationObject *e;
    if (v == Py_None) return; /* NULL without an exception: StopIteration(None) */
    if (gl_stops_kept) {
        e = (PyStopIterationObject *)gl_stops[--gl_stops_kept];
        PyObject_Init((PyObject *)e, &gl_stop_type);
    } else {
        e = (PyStopIterationObject *)PyType_GenericAlloc(&gl_stop_type, 0);
        if (e == NULL) return;
        PyObject_GC_UnTrack(e);
    }
    e->args = Py_NewRef(gl_no_args);
    e->value = Py_NewRef(v);
    PyErr_SetRaisedException((PyObject *)e);
}

static void gl_stop_dealloc(PyObject *o) {
    PyStopIterationObject *e = (PyStopIterationObject *)o;
    if (gl_stops_kept == 8 || e->dict || e->notes || e->traceback || e->context || e->cause ||
        PyObject_GC_IsTracked(o)) {
        if (!PyObject_GC_IsTracked(o)) PyObject_GC_Track(o);
        gl_stop_type.tp_base->tp_dealloc(o);
        return;
    }
    Py_CLEAR(e->args);
    Py_CLEAR(e->value);
    gl_stops[gl_stops_kept++] = o;
}

static int gl_ready(void) {
    gl_stop_type.tp_base = (PyTypeObject *)PyExc_StopIteration;
    gl_stop_type.tp_dealloc = gl_stop_dealloc;
    gl_no_args = PyTuple_New(0);
    return gl_no_args == NULL || PyType_Ready(&gl_stop_type) < 0 ? -1 : 0;
}
#define GL_OWN_STOP
#else
static int gl_ready(void) { return (gl_no_args = PyTuple_New(0)) == NULL ? -1 : 0; }
#endif

#else /* nothing is kept */
#define GL_OP_TYPES 32
static PyTypeObject *gl_op_types[GL_OP_TYPES];
static PyObject *gl_no_args;
static int gl_recycle(PyObject *type, int untracked) { (void)type; (void)untracked; return 0; }
static int gl_recycle_op(PyObject *type, Py_ssize_t phase, int done) {
    int k = 0;
    (void)phase;
    (void)done;
    while (k < GL_OP_TYPES && gl_op_types[k]) k++;
    if (k == GL_OP_TYPES) {
        PyErr_SetString(PyExc_SystemError, "too many kinds of operations");
        return -1;
    }
    gl_op_types[k] = (PyTypeObject *)type;
    return k;
}
static PyObject *gl_new_op(int k) { return gl_op_types[k]->tp_new(gl_op_types[k], gl_no_args, NULL); }
static int gl_ready(void) { return (gl_no_args = PyTuple_New(0)) == NULL ? -1 : 0; }
#endif

#ifndef GL_OWN_STOP
/* set StopIteration(v) as cheaply as the interpreter accepts it */
static void gl_set_stop(PyObject *v) {
    if (v == Py_None) return; /* NULL without an exception: StopIteration(None) */
    if (PyTuple_Check(v) || PyExceptionInstance_Check(v)) {
        PyObject *e = PyObject_CallOneArg(PyExc_StopIteration, v);
        if (e) { PyErr_SetObject(PyExc_StopIteration, e); Py_DECREF(e); }
    } else
        PyErr_SetObject(PyExc_StopIteration, v);
}
#endif

#endif
