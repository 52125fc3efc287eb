/* pattern_job.h - the call of an fv_pattern that is at work: its shape, what lies where in the arena, its policy. */
#ifndef FV_PATTERN_JOB_H
#define FV_PATTERN_JOB_H

#include "attention/tally.h"
#include "attention/watch.h"
#include "build.h"
#include "fovea/reference/pattern.h"

/* What a call needs in the arena. */
typedef struct fv_call_shape {
    uint32_t tokens; /* the most in the cache */
    uint32_t query_heads, kv_heads, head_dim, workers;
    uint32_t state_rows, staged_rows; /* with a deadline: rows read together, rows kept back until all are done */
    bool cache, gated;                /* a cache of its own; room for saliences and masks */
    bool by_row;                      /* scratch for one row at a time */
} fv_call_shape;

typedef struct fv_call_layout {
    fv_cache_config cache;
    fv_attention_config attention;
    size_t cache_bytes, attention_bytes;
    size_t attention_offset, gate_offset, mark_offset, stage_offset, bytes; /* the cache comes first */
} fv_call_layout;

/* What a call runs with. */
typedef struct fv_pattern_job {
    fv_policy policy;
    fv_attention *attention;
    float *marks, *stage; /* room for fv_cache_mark_save(), for staged rows */
    fv_watch watch;       /* of a call with a deadline */
    fv_call_shape shape;
    fv_call_layout layout;
    fv_attention_rows rows;
    fv_pattern_call inner; /* the call as it goes on, where that is another one */
    fv_report counted;     /* of rows that may be taken back */
} fv_pattern_job;

struct fv_pattern {
    fv_pattern_config config;
    const fv_kernels *kernels;
    unsigned char *arena;
    size_t arena_bytes;
    fv_pattern_job job; /* of the call at work; here and not on a chip's stack */
};

static inline bool fv_call_is_masked(const fv_pattern_call *call) { return call->keep || call->keep_until; }

static inline bool fv_masks_reach(const fv_policy *policy, uint32_t tokens) {
    return (!policy->keep && !policy->keep_until) || policy->keep_tokens >= tokens;
}

static inline uint32_t fv_call_workers(const fv_pattern_call *call) {
    return call->parallel && call->parallel->workers ? call->parallel->workers : 1;
}

/* FV_OK or FV_ERROR_OVERFLOW, and what the parts return. */
fv_status fv_call_layout_make(const fv_policy *policy, const fv_call_shape *shape, fv_call_layout *layout);

/* The job's policy: the pattern's with the call's masks. */
fv_policy *fv_pattern_call_policy(fv_pattern *pattern, const fv_pattern_call *call);

/* The job's layout from its policy and shape; FV_ERROR_MEMORY if there is no room. */
static inline fv_status fv_pattern_job_layout(fv_pattern *pattern) {
    fv_pattern_job *job = &pattern->job;
    fv_status status = fv_call_layout_make(&job->policy, &job->shape, &job->layout);
    if (status != FV_OK) return status;
    return job->layout.bytes > pattern->arena_bytes ? FV_ERROR_MEMORY : FV_OK;
}

/* The same, and the job's attention in it. */
fv_status fv_pattern_attention_make(fv_pattern *pattern);

#endif
