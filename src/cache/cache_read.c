/* Reading what is stored, as f32. Knows nothing of what else a cache keeps. */
#include "cache/cache_read.h"
#include "cache/cache_pages.h"
#include "cache/element.h"

void fv_cache_key_run(const fv_cache *cache, uint32_t head, uint32_t token, size_t channel, size_t count, float *out) {
    fv_element_key_read(cache->config.key_type, cache->config.head_dim,
                        fv_cache_key_page(cache, head, token / FV_PAGE_TOKENS), token % FV_PAGE_TOKENS,
                        fv_cache_key_scale(cache, head, token), channel, count, out);
}

void fv_cache_value_run(const fv_cache *cache, uint32_t head, uint32_t token, size_t channel, size_t count,
                        float *out) {
    fv_element_row_read(cache->config.value_type, fv_cache_value_row(cache, head, token),
                        fv_cache_value_scale(cache, head, token), channel, count, out);
}

fv_status fv_cache_read(const fv_cache *cache, uint32_t head, uint32_t first_token, uint32_t count, float *keys,
                        float *values) {
    if (!cache || head >= cache->config.kv_heads || first_token > cache->tokens || count > cache->tokens - first_token)
        return FV_ERROR_ARGUMENT;
    if (!fv_cache_has(cache, first_token, first_token + count)) return FV_ERROR_ARGUMENT;
    size_t dim = cache->config.head_dim;
    for (uint32_t token = first_token; token < first_token + count; token++)
        for (size_t c = 0; c < dim; c += FV_ELEMENT_RUN) {
            size_t n = dim - c < FV_ELEMENT_RUN ? dim - c : FV_ELEMENT_RUN, at = (token - first_token) * dim + c;
            if (keys) fv_cache_key_run(cache, head, token, c, n, keys + at);
            if (values) fv_cache_value_run(cache, head, token, c, n, values + at);
        }
    return FV_OK;
}
