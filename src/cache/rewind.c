#include "cache/rewind.h"
#include "cache/cache_pages.h"

static size_t mark_offset(const fv_cache *cache, uint32_t head, uint32_t mark) {
    return head * cache->mark_head_stride + (size_t)(mark / FV_PAGE_TOKENS) * FV_PAGE_TOKENS * cache->config.head_dim;
}

void fv_cache_mark_save(const fv_cache *cache, float *saved) {
    if (!cache->mark_keys || cache->tokens % cache->config.landmark_tokens == 0) return;
    uint32_t mark = cache->tokens / cache->config.landmark_tokens;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++, saved += 2 * (size_t)cache->config.head_dim)
        fv_cache_landmark_read(cache, head, mark, saved, saved + cache->config.head_dim);
}

void fv_cache_rewind(fv_cache *cache, uint32_t tokens, const float *saved) {
    cache->tokens = tokens;
    if (!cache->mark_keys || tokens % cache->config.landmark_tokens == 0) return;
    size_t dim = cache->config.head_dim;
    uint32_t mark = tokens / cache->config.landmark_tokens, column = mark % FV_PAGE_TOKENS;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++, saved += 2 * dim) {
        float *panel = cache->mark_keys + mark_offset(cache, head, mark) + column;
        float *row = cache->mark_values + mark_offset(cache, head, mark) + column * dim;
        for (size_t c = 0; c < dim; c++) panel[c * FV_PAGE_TOKENS] = saved[c];
        for (size_t c = 0; c < dim; c++) row[c] = saved[dim + c];
    }
}
