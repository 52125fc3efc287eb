/* evict.h - a full cache that goes on: which token leaves, and appending with eviction. Tokens are counted by slot,
 * that is by their place in the cache now; who keeps numbers per token (scores, original positions) closes the gap
 * likewise. How structs may change: docs/abi.md. */
#ifndef FOVEA_EVICT_H
#define FOVEA_EVICT_H

#include "fovea/api.h"
#include "fovea/cache.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What happens when no token may leave. */
typedef enum fv_evict_rule {
    FV_EVICT_REFUSE = 0, /* FV_ERROR_PROTECTED, nothing changes */
    FV_EVICT_OLDEST = 1  /* slot 0 leaves, even if it is protected: what ruvllm_sparse_attention 0.1.1 does */
} fv_evict_rule;

/** Who may not leave. Start from fv_evict_config_default(). */
typedef struct fv_evict_config {
    const uint32_t *globals;     /* [globals_count] slots that stay; those that do not exist are ignored; may be NULL */
    uint32_t globals_count;      /* default 0 */
    uint32_t window;             /* newest slots that stay; default 0 */
    uint32_t when_all_protected; /* fv_evict_rule; default REFUSE */
} fv_evict_config;

#define FV_EVICT_NONE UINT32_MAX /* no token left */

FV_API void fv_evict_config_default(fv_evict_config *config);

/**
 * The slot that leaves: of those not protected the one with the lowest score, of equal ones the first. A NaN is neither
 * lower nor higher than any score.
 *
 * scores  [tokens]; tokens >= 1.
 * victim  out; untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_PROTECTED. Pure. O(tokens * globals_count).
 */
FV_API fv_status fv_evict_victim(const fv_evict_config *config, uint32_t tokens, const float *scores, uint32_t *victim);

/**
 * Appends one token; a full cache first lets the victim go (fv_cache_remove()).
 *
 * scores  [fv_cache_tokens()], read only if the cache is full; may be NULL otherwise.
 * key     [kv_heads][head_dim] f32, value likewise.
 * victim  out; the slot that left, numbered as before the call, or FV_EVICT_NONE; may be NULL.
 * returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_SHAPE (a full cache and scores_count is not its tokens),
 * FV_ERROR_PROTECTED, FV_ERROR_RANGE. On error the cache is as it was: all is checked first.
 */
FV_API fv_status fv_evict_append(fv_cache *cache, const fv_evict_config *config, uint32_t scores_count,
                                 const float *scores, const float *key, const float *value, uint32_t *victim);

/**
 * Takes item `victim` out of the caller's own list of `count` items of item_bytes each, one per slot: those after it
 * move up by one, so that the list fits the cache again. The last place keeps what it held.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT (items is NULL, no such item), FV_ERROR_OVERFLOW (the list would not fit in
 * size_t); items untouched on error. O((count - victim) * item_bytes).
 */
FV_API fv_status fv_evict_compact(void *items, size_t item_bytes, uint32_t count, uint32_t victim);

#ifdef __cplusplus
}
#endif

#endif
