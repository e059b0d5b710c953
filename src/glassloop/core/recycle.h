/* Freed objects of a few types are kept for the next of their kind: an allocation and the collector's count saved.
 * The type's tp_alloc and tp_free are ours; subclasses made in Python have their own and are not kept. */
#ifndef GLASSLOOP_RECYCLE_H
#define GLASSLOOP_RECYCLE_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#ifndef Py_GIL_DISABLED
#define GL_KEPT 256
#define GL_KEPT_TYPES 8
typedef struct { PyTypeObject *type; int n; PyObject *kept[GL_KEPT]; } gl_recycler;
static gl_recycler gl_recyclers[GL_KEPT_TYPES];

static PyObject *gl_recycle_alloc(gl_recycler *r, PyTypeObject *t, Py_ssize_t nitems) {
    PyObject *o;
    if (t != r->type || r->n == 0) return PyType_GenericAlloc(t, nitems);
    o = r->kept[--r->n];
    memset((char *)o + sizeof(PyObject), 0, (size_t)t->tp_basicsize - sizeof(PyObject));
    PyObject_Init(o, t);
    if (PyType_IS_GC(t)) PyObject_GC_Track(o);
    return o;
}

static void gl_recycle_free(gl_recycler *r, void *p) {
    PyObject *o = (PyObject *)p;
    PyTypeObject *t = Py_TYPE(o);
    int gc = PyType_IS_GC(t);
    if (t != r->type || r->n == GL_KEPT) {
        if (gc) PyObject_GC_Del(o); else PyObject_Free(o);
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

#define GL_RECYCLER(k) \
    static PyObject *gl_alloc_##k(PyTypeObject *t, Py_ssize_t n) { return gl_recycle_alloc(&gl_recyclers[k], t, n); } \
    static void gl_free_##k(void *o) { gl_recycle_free(&gl_recyclers[k], o); }
GL_RECYCLER(0) GL_RECYCLER(1) GL_RECYCLER(2) GL_RECYCLER(3)
GL_RECYCLER(4) GL_RECYCLER(5) GL_RECYCLER(6) GL_RECYCLER(7)

static int gl_recycle(PyObject *type) {
    static const allocfunc allocs[] = {gl_alloc_0, gl_alloc_1, gl_alloc_2, gl_alloc_3,
                                       gl_alloc_4, gl_alloc_5, gl_alloc_6, gl_alloc_7};
    static const freefunc frees[] = {gl_free_0, gl_free_1, gl_free_2, gl_free_3,
                                     gl_free_4, gl_free_5, gl_free_6, gl_free_7};
    PyTypeObject *t = (PyTypeObject *)type;
    int k;
    for (k = 0; k < GL_KEPT_TYPES; k++)
        if (gl_recyclers[k].type == NULL) {
            gl_recyclers[k].type = t;
            t->tp_alloc = allocs[k];
            t->tp_free = frees[k];
            return 0;
        }
    PyErr_SetString(PyExc_SystemError, "no recycler left");
    return -1;
}
#else
static int gl_recycle(PyObject *type) { (void)type; return 0; }
#endif

#endif
