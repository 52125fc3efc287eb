/* landmarks.h - the means of a cache's blocks of keys and values, as tokens come and go. */
#ifndef FV_LANDMARKS_H
#define FV_LANDMARKS_H

#include "cache/cache_pages.h"

/* `tokens` rows of `channels` channels go into the running mean of the `before` rows before them (Welford): exact
 * for one token, and the same numbers however the tokens arrive. */
void fv_rows_mean_add(const fv_kernels *kernels, uint32_t before, uint32_t tokens, size_t channels, const float *x,
                      size_t x_stride, float *mean);

/* Adds tokens of one block to its landmark; keys and values of one head. */
static inline void fv_landmark_add(fv_cache *cache, uint32_t head, uint32_t token, uint32_t tokens, const float *keys,
                                   size_t key_stride, const float *values, size_t value_stride) {
    uint32_t before = token % cache->config.landmark_tokens, dim = cache->config.head_dim;
    uint32_t mark = token / cache->config.landmark_tokens;
    fv_rows_mean_add(cache->kernels, before, tokens, dim, keys, key_stride, fv_cache_mark_key_row(cache, head, mark));
    fv_rows_mean_add(cache->kernels, before, tokens, dim, values, value_stride,
                     fv_cache_mark_value_row(cache, head, mark));
}

/* The landmarks from that of token `first` on are rebuilt from what is stored. */
void fv_landmark_rebuild(fv_cache *cache, uint32_t head, uint32_t first);

#endif
