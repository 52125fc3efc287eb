/* rank_link.h - the ring of stages over a job's letters: rank r is stage r, and hands messages to rank r + 1. */
#ifndef FV_RANK_LINK_H
#define FV_RANK_LINK_H

#include "fovea/stage.h"
#include "job.h"

typedef struct fv_rank_link {
    fv_job *job;
    uint32_t before, after; /* ranks */
    fv_stage_link link;     /* its context is this struct */
} fv_rank_link;

void fv_rank_link_init(fv_rank_link *link, fv_job *job);

#endif
