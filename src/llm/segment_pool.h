/* segment_pool.h - segments with owners: memory of a pool, or memory of somebody else's that is only read. Private to
 * src/llm. */
#ifndef FV_SEGMENT_POOL_H
#define FV_SEGMENT_POOL_H

#include "fovea/sequence.h"
#include <stdatomic.h>

typedef struct fv_segment_group fv_segment_group;

/* One segment of one layer. */
typedef struct fv_segment {
    void *memory;
    atomic_uint holders;
    fv_segment_group *group; /* NULL: borrowed memory */
    struct fv_segment *next; /* free ones of a group */
    void (*release)(void *context);
    void *context;
} fv_segment;

/* Whether `needed` bytes more may be taken, once `spared` of those in use have gone back; they count as in use from now
 * on. FV_OK, FV_ERROR_FULL. */
fv_status fv_segments_charge(fv_segments *pool, uint64_t needed, uint64_t spared);
void fv_segments_refund(fv_segments *pool, uint64_t bytes); /* charged, but not taken */

void fv_segments_hold(fv_segments *pool); /* one holder more; fv_segments_close() is one less */

/* A segment with one holder, of bytes that were charged. `together`: how many of this size are taken one after the
 * other: they lie side by side. What it holds is not defined. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_segment_take(fv_segments *pool, size_t bytes, uint32_t together, fv_segment **segment);

/* A segment that is never written and belongs to no pool: `release` is called when the last holder has gone. Its memory
 * is FV_CACHE_ALIGN aligned. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_segment_borrow(void *memory, void (*release)(void *context), void *context, fv_segment **segment);

void fv_segment_hold(fv_segment *segment);
void fv_segment_drop(fv_segment *segment); /* NULL is allowed; the last holder's frees it */

/* Whether its only holder may write to it. */
static inline bool fv_segment_is_own(fv_segment *segment) {
    return segment->group && atomic_load_explicit(&segment->holders, memory_order_acquire) == 1;
}

/* It is filled by half or more: its memory and that of its neighbours becomes huge pages, if all of them are in use. */
void fv_segment_fills(fv_segment *segment);

#endif
