/* exchange.h - how ranks that hold one context together tell each other what each has of it: a table of one function.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_EXCHANGE_H
#define FOVEA_EXCHANGE_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_EXCHANGE_RANKS 256 /* most ranks of a group */

/**
 * One rank's end of a group of ranks. All ranks of a group evaluate the same rows with the same weights; each holds
 * the keys and values of its own segments only (fv_exchange_owner()).
 *
 * all_gather  all     parts of all ranks, rank 0's first, without gaps. The own part is there already, at its place;
 *                     the call writes the others. 64-byte aligned, the caller's.
 *             bytes   [ranks], of each rank's part, multiples of 4, some of them may be 0; at most 2^30 in all. Every
 *                     rank calls with the same numbers: they follow from what all ranks know, so no length travels.
 *             returns FV_OK once all parts are there, or any other status: then the step ends with it, the caches
 *                     hold the tokens that they held, and what is in `all` is not read. A rank that fails must not
 *                     leave the others waiting: their calls are to fail, too, in a time that the table decides. Not
 *                     FV_ERROR_RANGE, FV_ERROR_NOT_FINITE or FV_ERROR_DEADLINE, which are of one part of a step.
 *
 * Calls come from one thread at a time, the one that called the library, in the same order on every rank: a rank that
 * evaluates a step without the others, or with other rows, policy or settings, leaves the group out of order.
 */
typedef struct fv_exchange {
    fv_status (*all_gather)(void *self, void *all, const size_t *bytes);
    void *self;
    uint32_t rank, ranks; /* rank < ranks, 1..FV_EXCHANGE_RANKS */
} fv_exchange;

/** The rank that holds segment `segment` (1,024 tokens, FV_SEGMENT_TOKENS) of every layer: one after the other, so that
 *  memory and reading divide evenly however long the context is, and no segment moves as it grows. */
static inline uint32_t fv_exchange_owner(uint32_t segment, uint32_t ranks) { return segment % ranks; }

#ifdef __cplusplus
}
#endif

#endif
