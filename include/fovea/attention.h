/* attention.h - attention of a batch of positions: asks a selector for each tile's plan, runs it, fills the report. */
#ifndef FOVEA_ATTENTION_H
#define FOVEA_ATTENTION_H

#include "fovea/api.h"
#include "fovea/attend.h"
#include "fovea/deadline.h"
#include "fovea/parallel.h"
#include "fovea/policy.h"
#include "fovea/report.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fv_attention_config {
    fv_attend_config attend;
    uint32_t max_tokens; /* of the caches that will be read */
    uint32_t workers;    /* of the fv_parallel that will be handed in; >= 1 */
    uint32_t plan_steps; /* room for plans; fv_policy_steps() of the policies that will be used and attend.tile_rows, at
                            most */
    uint32_t state_rows; /* 0..attend.tile_rows, 0 = 1: rows that are read together where a deadline is set; memory
                            grows with it */
    uint32_t chooses;    /* 1: also policies that choose by the queries (fv_policy_is_dynamic()); memory grows with
                            max_tokens */
} fv_attention_config;

/** Scratch and settings in the caller's memory; serves any number of caches of the shape, one call at a time. */
typedef struct fv_attention fv_attention;

/** FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW; *bytes untouched on error. */
FV_API fv_status fv_attention_size(const fv_attention_config *config, size_t *bytes);

/** memory: FV_CACHE_ALIGN aligned. FV_OK, FV_ERROR_MEMORY and what fv_attention_size() returns. */
FV_API fv_status fv_attention_init(fv_attention **attention, const fv_attention_config *config,
                                   const fv_kernels *kernels, void *memory, size_t bytes);

/**
 * Attention of the last `rows` tokens of `cache` (appended already) under `policy`.
 *
 * local_window  the model's own mask: 0, or a row sees its last local_window tokens only and the policy does not apply.
 * query, out    [rows][query_heads][head_dim] f32, rows query_stride / out_stride elements apart; no overlap.
 * parallel      NULL or at most config.workers workers.
 * report        counters are added to; may be NULL.
 * returns       FV_OK, FV_ERROR_ARGUMENT (shape; pattern whose block is not the cache's; a policy that chooses without
 *               a shadow in the cache or config.chooses), FV_ERROR_FULL (plan_steps).
 *               `out` is untouched on error.
 *
 * The same bits for any number of workers and any cutting of rows into calls. A policy that is not causal reads what is
 * in the cache, no more: cut the rows then, not the appending.
 */
FV_API fv_status fv_attention_run(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                  uint32_t local_window, uint32_t rows, const float *query, size_t query_stride,
                                  float *out, size_t out_stride, const fv_parallel *parallel, fv_report *report);

/** Which positions, and where their rows lie. */
typedef struct fv_attention_rows {
    uint32_t first_token, count; /* all in the cache; count >= 1 */
    uint32_t local_window;       /* as in fv_attention_run() */
    uint32_t layer;              /* whose head_share of the policy applies */
    const float *query;          /* of position first_token */
    size_t query_stride;
    float *out;
    size_t out_stride;
} fv_attention_rows;

/** fv_attention_run() for any positions of the cache. */
FV_API fv_status fv_attention_run_rows(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                       const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report);

/** What one KV head reads for rows of one tile. Valid during the observer's call. */
typedef struct fv_attention_seen {
    const fv_attend_config *attend;
    const fv_kernels *kernels;
    const fv_cache *cache;
    const fv_plan *plan;
    uint32_t layer, kv_head, local_window; /* as in fv_attention_rows */
    const float *query;                    /* of position plan->first_token, all query heads */
    size_t query_stride;
} fv_attention_seen;

/** Called from the thread of `worker`, several at a time, in no fixed order. */
typedef void fv_attention_observer_fn(void *context, const fv_attention_seen *seen, size_t worker);

/** From now on `observer` (NULL: nobody) is shown every plan before it is run: for measuring, see mass.h. Built without
 * FV_BUILD_REPORT it is never called. O(1). */
FV_API void fv_attention_observe(fv_attention *attention, fv_attention_observer_fn *observer, void *context);

/** From now on reports say where the time went, by `clock` (NULL: no time is taken). It is called from the threads of
 * all workers: of several rows, once or twice for each tile or row that chooses; of a single row, two to four times in
 * all, by the caller. Built without FV_BUILD_REPORT it is never called. O(1). */
FV_API void fv_attention_time(fv_attention *attention, fv_clock_fn *clock, void *context);

#ifdef __cplusplus
}
#endif

#endif
