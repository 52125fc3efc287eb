/* Taking appended tokens back bit for bit. */
#include "cache/rewind.h"
#include "cache/cache_pages.h"
#include "cache/summaries.h"

void fv_cache_mark_save(const fv_cache *cache, float *saved) {
    if (!cache->config.landmark_tokens || cache->tokens % cache->config.landmark_tokens == 0) return;
    uint32_t mark = cache->tokens / cache->config.landmark_tokens;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++, saved += 2 * (size_t)cache->config.head_dim)
        fv_cache_landmark_read(cache, head, mark, saved, saved + cache->config.head_dim);
}

void fv_cache_rewind(fv_cache *cache, uint32_t tokens, const float *saved) {
    cache->tokens = tokens;
    fv_summaries_cut(cache);
    if (!cache->config.landmark_tokens || tokens % cache->config.landmark_tokens == 0) return;
    size_t dim = cache->config.head_dim;
    uint32_t mark = tokens / cache->config.landmark_tokens;
    for (uint32_t head = 0; head < cache->config.kv_heads; head++, saved += 2 * dim) {
        float *key = fv_cache_mark_key_row(cache, head, mark), *value = fv_cache_mark_value_row(cache, head, mark);
        for (size_t c = 0; c < dim; c++) key[c] = saved[c];
        for (size_t c = 0; c < dim; c++) value[c] = saved[dim + c];
    }
}
