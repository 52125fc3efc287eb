/* threads.c - the one pool of threads that all calls share, opened when the first call is large enough for it. */
#include "binding.h"
#include <stdlib.h>

#define WORK_LEAST 2e6 /* multiplications below which one thread is done before others are awake */

/* The pool that calls take now, and how many calls have it. All under the GIL. */
struct shared_pool {
    fv_pool *pool;
    size_t users;
};

static shared_pool *current;
static uint32_t wanted; /* threads; 0: one for each processor */

static void close_unused(shared_pool *pool) {
    if (pool->users > 0 || pool == current) return;
    fv_pool_close(pool->pool);
    free(pool);
}

shared_pool *threads_take(double work) {
    if (wanted == 1 || work < WORK_LEAST) return NULL;
    if (!current) {
        shared_pool *pool = calloc(1, sizeof *pool);
        if (!pool) return NULL;
        if (fv_pool_open(&pool->pool, wanted, NULL) != FV_OK) { /* no threads to be had: the caller's does it */
            free(pool);
            return NULL;
        }
        current = pool;
    }
    current->users++;
    return current;
}

const fv_parallel *threads_parallel(shared_pool *pool) { return pool ? fv_pool_parallel(pool->pool) : NULL; }

void threads_give(shared_pool *pool) {
    if (!pool) return;
    pool->users--;
    close_unused(pool);
}

PyObject *threads_set(PyObject *module, PyObject *arguments) {
    (void)module;
    unsigned long count = PyLong_AsUnsignedLong(arguments);
    if (PyErr_Occurred()) return NULL;
    if (count > 1024)
        return PyErr_Format(PyExc_ValueError, "threads: 0 (one for each processor) to 1024, not %lu", count);
    shared_pool *old = current;
    wanted = (uint32_t)count;
    current = NULL;
    if (old) close_unused(old);
    Py_RETURN_NONE;
}

PyObject *threads_get(PyObject *module, PyObject *arguments) {
    (void)module;
    (void)arguments;
    if (wanted) return PyLong_FromUnsignedLong(wanted);
    shared_pool *pool = threads_take(WORK_LEAST);
    const fv_parallel *parallel = threads_parallel(pool);
    uint32_t count = parallel ? parallel->workers : 1;
    threads_give(pool);
    return PyLong_FromUnsignedLong(count ? count : 1);
}

PyObject *threads_forked(PyObject *module, PyObject *arguments) {
    (void)module;
    (void)arguments;
    current = NULL; /* its threads are the parent's: nobody would work */
    Py_RETURN_NONE;
}
