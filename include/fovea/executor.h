/* executor.h - who runs plans: a table of one function, filled here for the CPU. */
#ifndef FOVEA_EXECUTOR_H
#define FOVEA_EXECUTOR_H

#include "fovea/api.h"
#include "fovea/attend.h"
#include "fovea/parallel.h"
#include "fovea/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Plans to run, over one cache, and where their states go.
 *
 * A part of a head is a segment, or what is gathered. The state of head h and part p, p < segments + gathered, is
 *
 *   fv_state_at(states + h * head_stride + p * part_stride, rows * group, head_dim)
 *
 * with the rows of the plans and group = query_heads / kv_heads, rows outside. If part_stride is 0, a head has one
 * state: that of its parts, merged in rising order.
 */
typedef struct fv_execution {
    const fv_attend_config *config;
    const fv_cache *cache;
    const fv_plan *plans;             /* [heads], all of the same rows; fv_plan_check() holds */
    uint32_t first_head, heads;       /* KV heads first_head .. first_head + heads - 1 */
    const float *query;               /* [rows][query_heads][head_dim] f32, of the plans' first row */
    size_t query_stride;              /* elements from a row to the next */
    uint32_t first_segment, segments; /* of SPAN steps only these tokens: first_segment * FV_SEGMENT_TOKENS and on, so
                                         many segments; one that nothing is read of has a cleared state */
    uint32_t gathered;                /* 1: DIAG and MARK steps are one more part, after the segments */
    float *states;
    size_t head_stride, part_stride; /* floats */
    const fv_parallel *parallel;     /* NULL: the calling thread alone */
    size_t worker;                   /* without `parallel`: which worker of the caller's that thread is */
} fv_execution;

/**
 * An executor. run() writes every state, whatever was there, and returns when it is done; called by several workers at
 * a time, each with a `worker` of its own. An error ends the call of attention, which returns it.
 */
typedef struct fv_executor {
    fv_status (*run)(void *self, const fv_execution *execution);
    void *self;
} fv_executor;

/** Bytes of the CPU's executor for up to `workers` workers, 64-byte aligned. FV_OK, FV_ERROR_ARGUMENT,
 *  FV_ERROR_OVERFLOW. */
FV_API fv_status fv_executor_cpu_size(const fv_attend_config *config, uint32_t workers, size_t *bytes);

/**
 * The CPU's: exact attention by `kernels`. *executor points into `memory`, which is the caller's, as `kernels` is.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY (too little, not 64-byte aligned), FV_ERROR_OVERFLOW.
 * Its run() returns FV_ERROR_ARGUMENT for another shape than `config`'s or more workers, FV_ERROR_UNSUPPORTED for
 * part_stride 0 where prompts are not built in. The same bits for any workers. Cost: fv_attend_tile().
 */
FV_API fv_status fv_executor_cpu_init(fv_executor *executor, const fv_attend_config *config, const fv_kernels *kernels,
                                      uint32_t workers, void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
