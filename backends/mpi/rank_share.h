/* rank_share.h - what ranks that hold one context together gather, over a job's letters: each sends its part to all
 * others. Lengths that come are checked against those that this rank knows. */
#ifndef FV_RANK_SHARE_H
#define FV_RANK_SHARE_H

#include "fovea/exchange.h"
#include "job.h"

typedef struct fv_rank_share_group {
    fv_job *job;
    uint32_t first;       /* of the group's ranks, which follow each other */
    fv_exchange exchange; /* its self is this struct */
} fv_rank_share_group;

/** count >= 1 ranks from `first` on; this one is one of them. */
void fv_rank_share_init(fv_rank_share_group *group, fv_job *job, uint32_t first, uint32_t count);

#endif
