/* What the leaf says in C: a ring of owned references, a step of a coroutine inside its context, a call of a
 * callback inside its context, exceptions as values, clocks. Everything here needs the GIL unless it says so. */
#ifndef GLASSLOOP_LEAF_H
#define GLASSLOOP_LEAF_H

#include <Python.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* ---- the ring: owned references, first in first out, a power of two long ---- */

typedef struct { PyObject **buf; size_t mask, head, tail; } gl_ring;

static inline int gl_ring_grow(gl_ring *r) {
    size_t n = r->buf ? r->mask + 1 : 0, m = n ? 2 * n : 64, i;
    PyObject **nb = (PyObject **)PyMem_Malloc(m * sizeof(PyObject *));
    if (!nb) { PyErr_NoMemory(); return -1; }
    for (i = 0; i < n; i++) nb[i] = r->buf[(r->head + i) & r->mask];
    PyMem_Free(r->buf);
    r->buf = nb; r->mask = m - 1; r->head = 0; r->tail = n;
    return 0;
}

static inline int gl_ring_push(gl_ring *r, PyObject *o) {
    if (__builtin_expect(r->buf == NULL || r->tail - r->head > r->mask, 0))
        if (gl_ring_grow(r) < 0) return -1;
    Py_INCREF(o);
    r->buf[r->tail++ & r->mask] = o;
    return 0;
}

/* the caller knows that the ring isn't empty; the reference is handed over */
static inline PyObject *gl_ring_pop(gl_ring *r) { return r->buf[r->head++ & r->mask]; }

/* ---- the collector ---- */

static inline void gl_track(PyObject *o) {
    if (!PyObject_GC_IsTracked(o)) PyObject_GC_Track(o);
}

/* `o` leaves the loop, the caller's reference was the loop's: if anybody else holds it, the collector must know of it */
static inline void gl_leave(PyObject *o) {
    if (Py_REFCNT(o) > 1 && PyObject_IS_GC(o)) gl_track(o);
}

/* What a container visits for what it owns: what the collector doesn't know, it sees through. */
static inline int gl_visit(PyObject *o, visitproc visit, void *arg) {
    if (PyObject_IS_GC(o) && !PyObject_GC_IsTracked(o)) return Py_TYPE(o)->tp_traverse(o, visit, arg);
    return visit(o, arg);
}

/* ---- clocks ---- */

static inline double gl_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A cheap counter, only to bound how long the loop goes without a poll: GL_TICKS_POLL of them are 50 to 100 us. */
#if defined(__x86_64__)
#define GL_TICKS_POLL 200000u
static inline uint64_t gl_ticks(void) { return __rdtsc(); }
#else
#define GL_TICKS_POLL 100000u
static inline uint64_t gl_ticks(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#endif

/* ---- exceptions as values ---- */

/* the exception that is set, normalised, with its traceback; a new reference */
static inline PyObject *gl_take_error(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *t, *v, *tb;
    PyErr_Fetch(&t, &v, &tb);
    PyErr_NormalizeException(&t, &v, &tb);
    if (tb) PyException_SetTraceback(v, tb);
    Py_XDECREF(t);
    Py_XDECREF(tb);
    return v;
#endif
}

static inline void gl_set_error(PyObject *e) { PyErr_SetObject((PyObject *)Py_TYPE(e), e); }

/* ---- a step and a call, inside a context ---- */

/* One step of a coroutine. Returns a new reference to what it yielded; or `returned` with the result in *value; or
 * `raised` with the exception in *value (also where the context can't be entered, being entered already). */
static inline PyObject *gl_step(PyObject *ctx, PyObject *coro, PyObject *returned, PyObject *raised,
                                PyObject **value) {
    PyObject *res = NULL, *old;
    PySendResult st;
    if (PyContext_Enter(ctx)) { res = gl_take_error(); goto raise; }
    st = PyIter_Send(coro, Py_None, &res);
    if (st == PYGEN_NEXT) {
        (void)PyContext_Exit(ctx);
        return res;
    }
    if (st == PYGEN_RETURN) {
        (void)PyContext_Exit(ctx);
        raised = returned;
    } else {
        res = gl_take_error();
        (void)PyContext_Exit(ctx);
    }
raise:
    old = *value;
    *value = res;
    Py_XDECREF(old);
    Py_INCREF(raised);
    return raised;
}

/* The same with an exception thrown in. */
static inline PyObject *gl_throw(PyObject *ctx, PyObject *coro, PyObject *exc, PyObject *returned,
                                 PyObject *raised, PyObject **value) {
    PyObject *res, *old, *what = NULL;
    if (PyContext_Enter(ctx)) { what = gl_take_error(); res = raised; goto done; }
    res = PyObject_CallMethod(coro, "throw", "O", exc);
    if (res == NULL) {
        what = gl_take_error();
        if (PyErr_GivenExceptionMatches(what, PyExc_StopIteration)) {
            PyObject *v = ((PyStopIterationObject *)what)->value;
            Py_XINCREF(v);
            Py_DECREF(what);
            if (v == NULL) { v = Py_None; Py_INCREF(v); }
            what = v;
            res = returned;
        } else
            res = raised;
    }
    (void)PyContext_Exit(ctx);
    if (what == NULL) return res;
done:
    old = *value;
    *value = what;
    Py_XDECREF(old);
    Py_INCREF(res);
    return res;
}

/* callback(*args) in ctx; None, or the exception as a value */
static inline PyObject *gl_call(PyObject *ctx, PyObject *callback, PyObject *args) {
    PyObject *res;
    if (PyContext_Enter(ctx)) return gl_take_error();
    if (args == Py_None)
        res = PyObject_CallNoArgs(callback);
    else
        res = PyObject_Vectorcall(callback, &PyTuple_GET_ITEM(args, 0), (size_t)PyTuple_GET_SIZE(args), NULL);
    if (res == NULL) res = gl_take_error();
    else { Py_DECREF(res); res = Py_None; Py_INCREF(res); }
    (void)PyContext_Exit(ctx);
    return res;
}

/* obj.name(arg) in ctx, without a bound method in between; its result, or NULL with the exception set */
static inline PyObject *gl_method1(PyObject *ctx, PyObject *obj, PyObject *name, PyObject *arg) {
    PyObject *res, *argv[2];
    argv[0] = obj;
    argv[1] = arg;
    if (PyContext_Enter(ctx)) return NULL;
    res = PyObject_VectorcallMethod(name, argv, 2, NULL);
    (void)PyContext_Exit(ctx);
    return res;
}

/* obj.name(first, second) in ctx, likewise */
static inline PyObject *gl_method2(PyObject *ctx, PyObject *obj, PyObject *name, PyObject *first, PyObject *second) {
    PyObject *res, *argv[3];
    argv[0] = obj;
    argv[1] = first;
    argv[2] = second;
    if (PyContext_Enter(ctx)) return NULL;
    res = PyObject_VectorcallMethod(name, argv, 3, NULL);
    (void)PyContext_Exit(ctx);
    return res;
}

/* callback(arg) in ctx */
static inline PyObject *gl_call1(PyObject *ctx, PyObject *callback, PyObject *arg) {
    PyObject *res;
    if (PyContext_Enter(ctx)) return gl_take_error();
    res = PyObject_CallOneArg(callback, arg);
    if (res == NULL) res = gl_take_error();
    else { Py_DECREF(res); res = Py_None; Py_INCREF(res); }
    (void)PyContext_Exit(ctx);
    return res;
}

#endif
