/* parallel.h - the loop over tasks that the caller may hand in; the library starts no threads of its own. */
#ifndef FOVEA_PARALLEL_H
#define FOVEA_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

/** One task. `task` is 0..tasks-1; `worker` is 0..workers-1 and is never in use by two tasks of one run at the same
 * time. */
typedef void fv_task_fn(void *context, size_t task, size_t worker);

/** run() calls task(context, i, worker) once for each i and returns when all are done. The order is free: results
 *  never depend on it, nor on `workers`. NULL in place of an fv_parallel means a plain loop in the calling
 *  thread. Whoever hands one fv_parallel to callers in several threads needs a run() that allows it, as fv_pool's does.
 */
typedef struct fv_parallel {
    void (*run)(void *pool, size_t tasks, fv_task_fn *task, void *context);
    void *pool;
    uint32_t workers; /* 0 and 1: the loop, in the calling thread */
} fv_parallel;

/** The loop itself, with or without workers. */
static inline void fv_parallel_run(const fv_parallel *parallel, size_t tasks, fv_task_fn *task, void *context) {
    if (parallel && parallel->workers > 1 && tasks > 1) {
        parallel->run(parallel->pool, tasks, task, context);
        return;
    }
    for (size_t i = 0; i < tasks; i++) task(context, i, 0);
}

#endif
