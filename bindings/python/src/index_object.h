/* index_object.h - what an Index of Python's is in C: the library's index. That may be asked and changed by any threads
 * at the same time, but not with the GIL: a search that holds up a change may wait for it to ask a filter. */
#ifndef FV_INDEX_OBJECT_H
#define FV_INDEX_OBJECT_H

#include "binding.h"
#include "fovea/index.h"

typedef struct index_object {
    PyObject ob_base;
    fv_index *index; /* NULL until it is made or opened */
} index_object;

/** Whether a call may begin. False: the index was never made, or this thread is in a filter that a search of it asks:
 * raised. */
bool index_is_ready(const index_object *self);

/** What the index says of itself. With the GIL, which it lets go. */
fv_index_info index_info_of(const index_object *self);

/** What of the library's threads a call has. */
typedef struct index_threads {
    shared_pool *shared;
    fv_pool *own;
} index_threads;

/** threads: 0 the pool that all calls share, if `work` (multiplications) is worth it; 1 the calling thread; else so
 * many of this call alone. NULL: the calling thread. With the GIL. */
const fv_parallel *index_threads_take(index_threads *threads, unsigned int count, double work);
void index_threads_give(index_threads *threads); /* with the GIL */

/** This thread asks a filter of Python's for a search of `self`; NULL: no longer. What it was before. */
const index_object *index_asks(const index_object *self);

PyObject *index_type_make(void);

/* The methods. Arguments are positional; fovea/_index.py is what people call. */
PyObject *index_add(PyObject *self, PyObject *arguments);       /* index_change.c: (vectors, labels, threads) */
PyObject *index_update(PyObject *self, PyObject *arguments);    /* index_change.c: (vectors, labels, threads) */
PyObject *index_remove(PyObject *self, PyObject *labels);       /* index_change.c */
PyObject *index_link(PyObject *self, PyObject *arguments);      /* index_change.c */
PyObject *index_calibrate(PyObject *self, PyObject *arguments); /* index_change.c: (queries, None, threads) */
PyObject *index_save(PyObject *self, PyObject *path);           /* index_store.c */
PyObject *index_open(PyObject *self, PyObject *path);           /* index_store.c */
PyObject *index_check(PyObject *self, PyObject *none);          /* index_store.c */
PyObject *index_vectors(PyObject *self, PyObject *arguments);   /* index_store.c: (labels, out) */
PyObject *index_contains(PyObject *self, PyObject *label);      /* index_store.c */
PyObject *index_nearest(PyObject *self, PyObject *arguments);   /* index_query.c */
PyObject *index_within(PyObject *self, PyObject *arguments);    /* index_query.c */

#endif
