/* attend_lists.h - a prompt's positions that each read whole pages of their own, their own page up to themselves. */
#ifndef FV_ATTEND_LISTS_H
#define FV_ATTEND_LISTS_H

#include "attend/attend_state.h"
#include "build.h"

_Static_assert(FV_TILE_ROWS <= 16, "a position is a bit of 16");

/* Bytes of the memory that fv_attend_lists() needs, 64-byte aligned; SIZE_MAX on overflow. */
size_t fv_attend_lists_bytes(const fv_attend_config *config);

/* The state of the rows of the job's plan, which has no steps: readers [pages] says who reads what, bit i of
 * readers[page] is position first_token + i. Only the last page that a position reads may be its own. The bits of
 * fv_attend_plan() of a plan for each position. */
const fv_state *fv_attend_lists(fv_attend_job *job, const uint16_t *readers, uint32_t pages, void *memory);

#if FV_BUILD_EXCHANGE
/* The state of one segment of it, which is cleared where nobody reads any of its pages. */
void fv_attend_lists_segment(fv_attend_job *job, const uint16_t *readers, uint32_t pages, uint32_t segment,
                             fv_state state, void *memory);
#endif

#endif
