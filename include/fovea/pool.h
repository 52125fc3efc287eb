/* pool.h - a pool of threads behind fv_parallel. Hosted. */
#ifndef FOVEA_POOL_H
#define FOVEA_POOL_H

#include "fovea/message.h"
#include "fovea/parallel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fv_pool fv_pool;

/** Starts `threads` - 1 threads (the caller of run() is the last). threads 1..1024; 0 means one per processor. */
fv_status fv_pool_open(fv_pool **pool, uint32_t threads, fv_message *message);
void fv_pool_close(fv_pool *pool); /* NULL is allowed; no run() may be going on */

/** What to hand to the library; valid while the pool is open. run() is for one caller at a time. */
const fv_parallel *fv_pool_parallel(const fv_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
