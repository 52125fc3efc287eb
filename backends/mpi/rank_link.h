/* rank_link.h - the ring of stages over a job's letters: rank r hands messages to the rank that has the next
 * layers and the same part of the context. */
#ifndef FV_RANK_LINK_H
#define FV_RANK_LINK_H

#include "fovea/stage.h"
#include "job.h"

typedef struct fv_rank_link {
    fv_job *job;
    uint32_t before, after; /* ranks */
    fv_stage_link link;     /* its context is this struct */
} fv_rank_link;

/** per_stage: ranks that have the same layers; rank r is stage r / per_stage. */
void fv_rank_link_init(fv_rank_link *link, fv_job *job, uint32_t per_stage);

#endif
