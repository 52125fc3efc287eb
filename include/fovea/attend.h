/* attend.h - runs a plan: exact attention of a tile of query rows over what the plan says, for one KV head.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_ATTEND_H
#define FOVEA_ATTEND_H

#include "fovea/api.h"
#include "fovea/cache.h"
#include "fovea/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fv_attend_config {
    uint32_t query_heads;        /* a multiple of kv_heads; consecutive query heads share a KV head */
    uint32_t kv_heads, head_dim; /* as the cache's */
    float scale;                 /* of scores; usually 1/sqrt(head_dim); > 0, finite */
    float softcap;               /* score = cap * tanh(score / cap); 0 = off */
    uint32_t tile_rows;          /* most rows of a plan, 1..FV_TILE_ROWS; 0 = FV_TILE_ROWS. Scratch grows with it */
    uint32_t gather_keys; /* strided keys, or landmarks, that are read at a time: 16, 32, 48 or 64; 0 = 64. It changes
                             no bit. Fewer need less scratch */
} fv_attend_config;

/** Query heads that share a KV head. */
static inline uint32_t fv_attend_group(const fv_attend_config *config) {
    return config->query_heads / config->kv_heads;
}

/** Bytes of scratch that one fv_attend_tile() needs, 64-byte aligned. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW. */
FV_API fv_status fv_attend_size(const fv_attend_config *config, size_t *bytes);

/**
 * Attention of plan->rows positions for the query heads of one KV head.
 *
 *   out[i][h] = sum over keys t that row i reads of softmax_t(scale * query[i][h] . key[t]) * value[t]
 *
 * plan     for this cache; checked by fv_plan_check(), not here. A row that reads nothing gives zeros.
 * query    [rows][query_heads][head_dim] f32, rows query_stride elements apart; finite.
 * out      the same shape, rows out_stride apart; only the heads of kv_head are written. No overlap with query.
 * scratch  as fv_attend_size() says; contents need not be cleared.
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY (scratch).
 *
 * Reentrant with distinct scratch. A key that a row does not read cannot change its output, not even if it is not
 * finite. Cost: the bytes of the plan's pages once for all rows and heads of the group.
 * Method: online softmax, Milakov & Gimelshein 2018; merging of states, Dao et al. 2022.
 */
FV_API fv_status fv_attend_tile(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                                const fv_plan *plan, uint32_t kv_head, const float *query, size_t query_stride,
                                float *out, size_t out_stride, void *scratch, size_t scratch_bytes);

/** Cache lines x 64 that running `plan` reads for one KV head. O(steps). */
FV_API uint64_t fv_attend_bytes(const fv_cache *cache, const fv_plan *plan);

#ifdef __cplusplus
}
#endif

#endif
