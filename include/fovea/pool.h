/* pool.h - a pool of threads that serves fv_parallel. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_POOL_H
#define FOVEA_POOL_H

#include "fovea/api.h"
#include "fovea/message.h"
#include "fovea/parallel.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Threads that share out the tasks of a run. Any number of threads may use one pool at the same time, with the same
 * results, and a task may use the pool that runs it: no call waits for another one's run. One run has the threads at a
 * time; a caller that meets a busy pool works its tasks off in its own thread and shares them out from the moment
 * that the pool is free. So a server opens one pool with a thread for each processor and hands it to every session.
 */
typedef struct fv_pool fv_pool;

#define FV_POOL_PROCESSORS 1024 /* highest number of a processor + 1 */

/** Where threads run and how they wait. Start from fv_pool_config_default(). */
typedef struct fv_pool_config {
    uint32_t threads; /* 1..1024; 0 = one for each processor that they may use (default): see fv_machine_limits */
    int32_t priority; /* -1: only when nothing else wants to; 0: as the process (default); 1..3: before all others,
                         rising: the system must allow it */
    uint32_t poll; /* 0..100: a thread waits 2 us awake for each before it sleeps; default 50. 0 where threads are more
                      than processors */
    uint32_t strict; /* 0 or 1, default 0: thread i runs on the i-th of `processors` alone, round and round */
    uint64_t
        processors[FV_POOL_PROCESSORS / 64]; /* bit p % 64 of word p / 64: may run on p; all 0 (default) = on any */
} fv_pool_config;

FV_API void fv_pool_config_default(fv_pool_config *config);

/* Add processors to config->processors from a text: hexadecimal digits, bit 0 the first processor ("f0", "0xF0"); two
 * numbers ("0-3"). False, and some may have been added, if it is no such text or above FV_POOL_PROCESSORS. */
FV_API bool fv_pool_config_mask(fv_pool_config *config, const char *text);
FV_API bool fv_pool_config_range(fv_pool_config *config, const char *text);

/** fv_pool_open() with more to say. The calling thread is placed, too, until it closes the pool; other threads that use
 * the pool run where they are. FV_ERROR_ARGUMENT also if the process may not use any of `processors`, or the system
 * does not allow the priority. */
FV_API fv_status fv_pool_open_config(fv_pool **pool, const fv_pool_config *config, fv_message *message);

/** Starts `threads` - 1 threads (the caller of run() is the last). threads 1..1024; 0 means one per processor. */
FV_API fv_status fv_pool_open(fv_pool **pool, uint32_t threads, fv_message *message);
FV_API void fv_pool_close(fv_pool *pool); /* NULL is allowed; no run() may be going on */

/** What to hand to the library; valid while the pool is open. NULL for NULL: one thread. Thread-safe, and so is its
 *  run(). */
FV_API const fv_parallel *fv_pool_parallel(fv_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
