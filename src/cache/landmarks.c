/* Landmarks: running means of a block's keys and values. */
#include "cache/landmarks.h"
#include "cache/cache_pages.h"
#include "cache/cache_read.h"
#include "cache/element.h"
#include "kernels/kernels.h"

void fv_rows_mean_add(const fv_kernels *kernels, uint32_t before, uint32_t tokens, size_t channels, const float *x,
                      size_t x_stride, float *mean) {
    if (FV_BUILD_AVX2 && kernels->mean_add_f32) {
        kernels->mean_add_f32(before, tokens, channels, x, x_stride, mean);
        return;
    }
    for (size_t c = 0; !before && c < channels; c++) mean[c] = 0.0f;
    for (uint32_t t = 0; t < tokens; t++) {
        const float *row = x + t * x_stride, share = 1.0f / (float)(before + t + 1);
        for (size_t c = 0; c < channels; c++) mean[c] = mean[c] + (row[c] - mean[c]) * share;
    }
}

void fv_landmark_rebuild(fv_cache *cache, uint32_t head, uint32_t first) {
    size_t dim = cache->config.head_dim;
    for (uint32_t token = first - first % cache->config.landmark_tokens; token < cache->tokens; token++)
        for (size_t c = 0; c < dim; c += FV_ELEMENT_RUN) {
            float run[FV_ELEMENT_RUN];
            uint32_t before = token % cache->config.landmark_tokens, mark = token / cache->config.landmark_tokens;
            size_t n = dim - c < FV_ELEMENT_RUN ? dim - c : FV_ELEMENT_RUN;
            fv_cache_key_run(cache, head, token, c, n, run);
            fv_rows_mean_add(cache->kernels, before, 1, n, run, dim, fv_cache_mark_key_row(cache, head, mark) + c);
            fv_cache_value_run(cache, head, token, c, n, run);
            fv_rows_mean_add(cache->kernels, before, 1, n, run, dim, fv_cache_mark_value_row(cache, head, mark) + c);
        }
}

fv_status fv_cache_landmark_read(const fv_cache *cache, uint32_t head, uint32_t mark, float *key, float *value) {
    if (!cache || !cache->config.landmark_tokens || head >= cache->config.kv_heads) return FV_ERROR_ARGUMENT;
    if (cache->tokens == 0 || mark > (cache->tokens - 1) / cache->config.landmark_tokens) return FV_ERROR_ARGUMENT;
    uint32_t first = mark * cache->config.landmark_tokens;
    if (!fv_cache_has(cache, first, first + 1)) return FV_ERROR_ARGUMENT;
    const float *mean_key = fv_cache_mark_key_row(cache, head, mark),
                *mean_value = fv_cache_mark_value_row(cache, head, mark);
    for (size_t c = 0; key && c < cache->config.head_dim; c++) key[c] = mean_key[c];
    for (size_t c = 0; value && c < cache->config.head_dim; c++) value[c] = mean_value[c];
    return FV_OK;
}
