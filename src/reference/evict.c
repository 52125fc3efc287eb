/* Who leaves a full cache. Everything is checked before anything leaves. */
#include "fovea/reference/evict.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "numeric/size.h"
#include <stdbool.h>

#if FV_BUILD_EVICT

void fv_evict_config_default(fv_evict_config *config) {
    *config = (fv_evict_config){.when_all_protected = FV_EVICT_REFUSE};
}

static bool config_is_valid(const fv_evict_config *config) {
    return config && config->when_all_protected <= FV_EVICT_OLDEST && (config->globals || !config->globals_count);
}

static bool is_protected(const fv_evict_config *config, uint32_t tokens, uint32_t slot) {
    if (config->window >= tokens || slot >= tokens - config->window) return true;
    for (uint32_t i = 0; i < config->globals_count; i++)
        if (config->globals[i] == slot) return true;
    return false;
}

fv_status fv_evict_victim(const fv_evict_config *config, uint32_t tokens, const float *scores, uint32_t *victim) {
    if (!config_is_valid(config) || tokens < 1 || !scores || !victim) return FV_ERROR_ARGUMENT;
    uint32_t best = FV_EVICT_NONE;
    for (uint32_t slot = 0; slot < tokens; slot++) {
        if (is_protected(config, tokens, slot)) continue;
        if (best == FV_EVICT_NONE || scores[slot] < scores[best]) best = slot;
    }
    if (best == FV_EVICT_NONE && config->when_all_protected == FV_EVICT_REFUSE) return FV_ERROR_PROTECTED;
    *victim = best == FV_EVICT_NONE ? 0 : best;
    return FV_OK;
}

fv_status fv_evict_append(fv_cache *cache, const fv_evict_config *config, uint32_t scores_count, const float *scores,
                          const float *key, const float *value, uint32_t *victim) {
    if (!cache || !config_is_valid(config) || !key || !value) return FV_ERROR_ARGUMENT;
    const fv_cache_config *cached = &cache->config;
    size_t width = (size_t)cached->kv_heads * cached->head_dim;
    uint32_t leaves = FV_EVICT_NONE;
    if (!fv_element_holds(cache->kernels, cached->key_type, width, key) ||
        !fv_element_holds(cache->kernels, cached->value_type, width, value))
        return FV_ERROR_RANGE; /* before anything leaves */
    if (cache->tokens == cache->config.max_tokens) {
        if (scores_count != cache->tokens) return FV_ERROR_SHAPE;
        fv_status status = fv_evict_victim(config, cache->tokens, scores, &leaves);
        if (status == FV_OK) status = fv_cache_remove(cache, leaves);
        if (status != FV_OK) return status;
    }
    if (victim) *victim = leaves;
    return fv_cache_append(cache, 1, key, width, value, width);
}

fv_status fv_evict_compact(void *items, size_t item_bytes, uint32_t count, uint32_t victim) {
    size_t total = 0;
    if (!items || victim >= count) return FV_ERROR_ARGUMENT;
    if (!fv_size_add(&total, count, item_bytes, 1)) return FV_ERROR_OVERFLOW;
    unsigned char *to = (unsigned char *)items + victim * item_bytes;
    size_t bytes = (count - victim - 1) * item_bytes;
    for (size_t i = 0; i < bytes; i++) to[i] = to[i + item_bytes];
    return FV_OK;
}

#endif
