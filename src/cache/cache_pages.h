/* cache_pages.h - where things lie inside a cache; for the executor and the cache itself.
 * Per head, in this order: key panels [pages][head_dim][16], value rows [pages * 16][head_dim] (so that neighbouring
 * pages are one run of rows), and for Q8_0 one f32 scale per token of either. Landmarks are f32 rows
 * [landmarks][head_dim], of keys and of values.
 * Q4_0 holds its f16 scales itself. A panel: scales [head_dim / 32][16], then [head_dim / 2][16] bytes, of which the
 * low nibbles are the even channels. A row of values: blocks of 32 channels as in a GGUF file. */
#ifndef FV_CACHE_PAGES_H
#define FV_CACHE_PAGES_H

#include "cache/margin.h"
#include "cache/shadow.h"
#include "cache/tail_values.h"
#include "fovea/cache.h"
#include <stdbool.h>

struct fv_cache {
    fv_cache_config config;
    const fv_kernels *kernels;
    uint32_t tokens;
    unsigned char *keys, *values;
    float *key_scales, *value_scales; /* NULL unless Q8_0 */
    float *mark_keys, *mark_values;   /* NULL unless landmarks are kept */
    size_t key_page_bytes, value_row_bytes;
    size_t key_head_bytes, value_head_bytes; /* from one head to the next */
    size_t scale_head_stride;                /* elements; likewise */
    size_t mark_head_stride;
    fv_shadow shadow;
    fv_margins margins;
    fv_tail_values tail;
};

static inline const void *fv_cache_key_page(const fv_cache *cache, uint32_t head, uint32_t page) {
    return cache->keys + head * cache->key_head_bytes + page * cache->key_page_bytes;
}

static inline const void *fv_cache_value_row(const fv_cache *cache, uint32_t head, uint32_t token) {
    return cache->values + head * cache->value_head_bytes + token * cache->value_row_bytes;
}

/* NULL unless Q8_0. */
static inline const float *fv_cache_key_scale(const fv_cache *cache, uint32_t head, uint32_t token) {
    return cache->key_scales ? cache->key_scales + head * cache->scale_head_stride + token : NULL;
}

static inline const float *fv_cache_value_scale(const fv_cache *cache, uint32_t head, uint32_t token) {
    return cache->value_scales ? cache->value_scales + head * cache->scale_head_stride + token : NULL;
}

static inline const float *fv_cache_mark_key_row(const fv_cache *cache, uint32_t head, uint32_t mark) {
    return cache->mark_keys + head * cache->mark_head_stride + (size_t)mark * cache->config.head_dim;
}

static inline const float *fv_cache_mark_value_row(const fv_cache *cache, uint32_t head, uint32_t mark) {
    return cache->mark_values + head * cache->mark_head_stride + (size_t)mark * cache->config.head_dim;
}

/* In rising order: the two may overlap if `into` is the lower one. */
static inline void fv_bytes_copy(void *into, const void *from, size_t bytes) {
    unsigned char *to = (unsigned char *)into;
    const unsigned char *x = (const unsigned char *)from;
    for (size_t i = 0; i < bytes; i++) to[i] = x[i];
}

/* Whether tokens of one lie in the other as they are; max_tokens and summaries may differ. */
static inline bool fv_cache_shape_equals(const fv_cache_config *a, const fv_cache_config *b) {
    return a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->key_type == b->key_type &&
           a->value_type == b->value_type && a->landmark_tokens == b->landmark_tokens;
}

/* Cache lines of 64 bytes that a page of keys and values takes (one head); what reports count as bytes read. */
uint64_t fv_cache_page_bytes(const fv_cache *cache);

#endif
