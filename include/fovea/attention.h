/* attention.h - attention of a batch of positions: asks a selector for each tile's plan, runs it, fills the report.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_ATTENTION_H
#define FOVEA_ATTENTION_H

#include "fovea/api.h"
#include "fovea/attend.h"
#include "fovea/deadline.h"
#include "fovea/exchange.h"
#include "fovea/executor.h"
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
    uint32_t state_rows; /* 0..attend.tile_rows, 0 = 1: rows that are read together where fv_attention_rows.deadline is
                            set; memory grows with it */
    uint32_t chooses;    /* 1: also policies that choose by the queries (fv_policy_is_dynamic()); memory grows with
                            max_tokens */
    const fv_executor *executor; /* who runs the plans: NULL, the CPU in attention's own memory, or another one of the
                                    same shape, which is the caller's and outlives this. What it returns besides FV_OK
                                    is returned by fv_attention_run(), and `out` is undefined then */
} fv_attention_config;

/** Scratch and settings in the caller's memory; serves any number of caches of the shape, one call at a time. */
typedef struct fv_attention fv_attention;

/** FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW; *bytes untouched on error. */
FV_API fv_status fv_attention_size(const fv_attention_config *config, size_t *bytes);

/** memory: FV_CACHE_ALIGN aligned. FV_OK, FV_ERROR_MEMORY and what fv_attention_size() returns. */
FV_API fv_status fv_attention_init(fv_attention **attention, const fv_attention_config *config,
                                   const fv_kernels *kernels, void *memory, size_t bytes);

/** Which positions, where their rows are, and what else is wanted of them. Start from {0}. */
typedef struct fv_attention_rows {
    uint32_t first_token, count; /* all in the cache; count >= 1 */
    uint32_t local_window; /* the model's own mask: a row sees its last local_window tokens only and the policy does
                              not apply; 0 = none */
    uint32_t layer;        /* whose head_share of the policy applies */
    const float *query;    /* [count][query_heads][head_dim], finite; of position first_token first */
    size_t query_stride;   /* elements from a row to the next, at least query_heads * head_dim */
    float *out;            /* the same shape; no overlap with query */
    size_t out_stride;
    float *lse; /* NULL, or [count][query_heads]: log-sum-exps of what was read, as of fv_state_lse(); with it, out
                   can be merged with attention over other keys */
    size_t lse_stride;           /* at least query_heads */
    const fv_deadline *deadline; /* NULL, or when reading must stop */
    fv_progress *progress;       /* with a deadline: how far the call came, written unless it fails for another reason;
                                    NULL only if on_deadline is FV_DEADLINE_FAIL */
} fv_attention_rows;

/**
 * Attention of positions of `cache` (appended already) under `policy`.
 *
 * parallel  NULL or at most config.workers workers; 0 workers are the calling thread.
 * report    counters are added to; may be NULL.
 * returns   FV_OK; FV_ERROR_ARGUMENT: a NULL, rows not in the cache, a stride, a shape that is not config's; a policy
 * out of range; a pattern whose block is not the cache's; a policy that chooses without config.chooses or a cache with
 * a shadow; a certificate without margins in the cache; a tail without a cache with a tail; a certificate or a tail
 * with a soft cap; a deadline without a clock, or without `progress`; a report without its size.
 *           tokens that the rows see whose segment is not there.
 *           FV_ERROR_FULL: config.plan_steps are too few.
 *           FV_ERROR_UNSUPPORTED: a policy of quality > 0 with a deadline; what this build leaves out (several rows,
 *           reports, log-sum-exps, deadlines: src/build.h).
 *           FV_ERROR_DEADLINE: with FV_DEADLINE_FAIL, too late.
 * `out`, `lse` and the report are untouched on error, except `out` and `lse` of more than one row after
 * FV_ERROR_DEADLINE: rows that were done in time are written.
 *
 * The same bits for any number of workers, any cutting of rows into calls, and with a deadline if there was time for
 * all. A policy that is not causal reads what is in the cache, no more: cut the rows then, not the appending.
 *
 * With a deadline, config.state_rows rows are read together, and the clock is looked at as deadline.h says and before
 * each row that chooses. Where it was too late and on_deadline is FV_DEADLINE_BEST, a row's output is the softmax over
 * what was read of it; rows not reached are zeros (lse: -infinity). Keys of the progress are those of one KV head; of a
 * policy that chooses, those of all KV heads, and planned are those of rows that have chosen. A certificate is of what
 * was read: all that the row had chosen, window and sinks included, may be unread, and rows not reached are certified
 * as zeros.
 */
FV_API fv_status fv_attention_run(fv_attention *attention, const fv_cache *cache, const fv_policy *policy,
                                  const fv_attention_rows *rows, const fv_parallel *parallel, fv_report *report);

/** Bytes that fv_attention_set_exchange() needs: about 32 MiB at most, unless a row's scores or a segment's states are
 *  more. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW, FV_ERROR_UNSUPPORTED (this build); *bytes untouched on error. */
FV_API fv_status fv_attention_exchange_size(const fv_attention *attention, uint32_t ranks, size_t *bytes);

/**
 * From now on caches are those of one rank of several (fv_cache_divide()), and fv_attention_run() is called by all
 * ranks of the group alike. Each scores its own pages and reads its own segments; scores and states are exchanged,
 * every rank chooses the same pages and writes the same `out`: the bits of one cache that holds all. Reports count what
 * all ranks read together, as one cache would; only where a row's scores take more than 1 MiB (4 bytes a page and query
 * head) tiles pass in parts, each of which counts the coarse keys that it reads.
 *
 * exchange, memory  the caller's; they outlive their use. memory: FV_CACHE_ALIGN aligned. exchange NULL: no more.
 * returns           FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY, FV_ERROR_UNSUPPORTED (an executor of the caller's; this
 *                   build). O(1).
 *
 * fv_attention_run() then also returns FV_ERROR_ARGUMENT for a cache that is not of exchange->rank or that
 * fv_cache_link() was not called for, FV_ERROR_UNSUPPORTED for a deadline or a policy that is not
 * fv_policy_divides(), and what the exchange returns: `out` is undefined then. Observers see every plan; the cache that
 * they are shown lacks the other ranks' segments (fv_cache_segment_at()).
 */
FV_API fv_status fv_attention_set_exchange(fv_attention *attention, const fv_exchange *exchange, void *memory,
                                           size_t bytes);

/** Bytes that came from other ranks so far: their parts of all exchanges. 0 without an exchange. */
FV_API uint64_t fv_attention_exchanged_bytes(const fv_attention *attention);

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

/** From now on `observer` (NULL: nobody) is shown every plan before it is run: for measuring, see measure/mass.h. Built
 * without FV_BUILD_REPORT it is never called. O(1). */
FV_API void fv_attention_observe(fv_attention *attention, fv_attention_observer_fn *observer, void *context);

/** From now on reports say where the time went, by `clock` (NULL: no time is taken). It is called from the threads of
 * all workers: of several rows, once or twice for each tile or row that chooses; of a single row, two to four times in
 * all, by the caller. Built without FV_BUILD_REPORT it is never called. O(1). */
FV_API void fv_attention_time(fv_attention *attention, fv_clock_fn *clock, void *context);

#ifdef __cplusplus
}
#endif

#endif
