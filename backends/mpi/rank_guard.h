/* rank_guard.h - a small process that waits for the one that does a rank's work: what kills the worker (the kernel,
 * where memory runs out) does not kill the one that says so. */
#ifndef FV_RANK_GUARD_H
#define FV_RANK_GUARD_H

#include "fovea/message.h"
#include <stdint.h>

/**
 * Returns in a new process, which does the work and dies with the first one; the first hands signals on, waits, says on
 * stderr which rank on which host was killed by what, and ends as the other did. Call it while there is one
 * thread.
 *
 * returns  FV_OK, FV_ERROR_MEMORY: no process can be had.
 */
fv_status fv_rank_guard(uint32_t rank, fv_message *message);

#endif
