/* cache_pages.h - where things lie inside a cache; for the executor and the cache itself.
 * In each segment (segment_table.h), per head and in this order: key panels [pages][head_dim][16], value rows [pages *
 * 16][head_dim] (so that neighbouring pages are one run of rows), and for Q8_0 one f32 scale per token of either.
 * Landmarks are f32 rows [landmarks][head_dim], of keys and of values; each is in the segment of its first token. Q4_0
 * holds its f16 scales itself. A panel: scales [head_dim / 32][16], then [head_dim / 2][16] bytes, of which the low
 * nibbles are the even channels. A row of values: blocks of 32 channels as in a GGUF file. */
#ifndef FV_CACHE_PAGES_H
#define FV_CACHE_PAGES_H

#include "cache/margin.h"
#include "cache/segment_table.h"
#include "cache/shadow.h"
#include "cache/tail_values.h"
#include "fovea/cache.h"
#include "fovea/exchange.h"
#include <stdbool.h>

struct fv_cache {
    fv_cache_config config;
    const fv_kernels *kernels;
    uint32_t tokens;
    fv_segment_table table;
#if FV_BUILD_SEGMENTS
    unsigned char *block; /* the only segment, unless the caller sets them */
#endif
    uint32_t segments;                           /* that the table has room for; 0: there is the block */
    size_t key_offset, value_offset;             /* bytes in a segment, as all offsets */
    size_t key_scale_offset, value_scale_offset; /* 0 unless Q8_0 */
    size_t mark_key_offset, mark_value_offset;   /* 0 unless landmarks are kept */
    size_t key_page_bytes, value_row_bytes;
    size_t key_head_bytes, value_head_bytes; /* from one head to the next */
    size_t scale_head_stride;                /* elements; likewise */
    size_t mark_head_stride;                 /* elements */
    fv_shadow shadow;
    fv_margins margins;
    fv_tail_values tail;
#if FV_BUILD_EXCHANGE
    uint32_t rank, ranks; /* ranks 0: the cache is not divided */
    uint32_t linked;      /* segments before it know the centre of their first block, which the segment before says */
#endif
};

static inline unsigned char *fv_cache_key_page(const fv_cache *cache, uint32_t head, uint32_t page) {
    return fv_segment_of(&cache->table, page) + cache->key_offset + head * cache->key_head_bytes +
           fv_segment_page(&cache->table, page) * cache->key_page_bytes;
}

/* Those of its segment lie one after the other. */
static inline unsigned char *fv_cache_value_row(const fv_cache *cache, uint32_t head, uint32_t token) {
    uint32_t page = token / FV_PAGE_TOKENS;
    size_t row = (size_t)fv_segment_page(&cache->table, page) * FV_PAGE_TOKENS + token % FV_PAGE_TOKENS;
    return fv_segment_of(&cache->table, page) + cache->value_offset + head * cache->value_head_bytes +
           row * cache->value_row_bytes;
}

static inline float *fv_cache_scale(const fv_cache *cache, size_t offset, uint32_t head, uint32_t token) {
    uint32_t page = token / FV_PAGE_TOKENS;
    float *scales = (float *)(void *)(fv_segment_of(&cache->table, page) + offset);
    return scales + head * cache->scale_head_stride + fv_segment_page(&cache->table, page) * FV_PAGE_TOKENS +
           token % FV_PAGE_TOKENS;
}

/* NULL unless Q8_0. */
static inline float *fv_cache_key_scale(const fv_cache *cache, uint32_t head, uint32_t token) {
    return FV_BUILD_Q8 && cache->key_scale_offset ? fv_cache_scale(cache, cache->key_scale_offset, head, token) : NULL;
}

static inline float *fv_cache_value_scale(const fv_cache *cache, uint32_t head, uint32_t token) {
    return FV_BUILD_Q8 && cache->value_scale_offset ? fv_cache_scale(cache, cache->value_scale_offset, head, token)
                                                    : NULL;
}

static inline float *fv_cache_mark_row(const fv_cache *cache, size_t offset, uint32_t head, uint32_t mark) {
    uint32_t block = cache->config.landmark_tokens, token = mark * block;
    unsigned char *segment = fv_segment_of(&cache->table, token / FV_PAGE_TOKENS);
    if (FV_BUILD_SEGMENTS && cache->segments) /* less those that begin in segments before */
        mark -= (token / FV_SEGMENT_TOKENS * FV_SEGMENT_TOKENS + block - 1) / block;
    return (float *)(void *)(segment + offset) + head * cache->mark_head_stride + (size_t)mark * cache->config.head_dim;
}

/* Where there are landmarks. */
static inline float *fv_cache_mark_key_row(const fv_cache *cache, uint32_t head, uint32_t mark) {
    return fv_cache_mark_row(cache, cache->mark_key_offset, head, mark);
}

static inline float *fv_cache_mark_value_row(const fv_cache *cache, uint32_t head, uint32_t mark) {
    return fv_cache_mark_row(cache, cache->mark_value_offset, head, mark);
}

/* Whether the segments of tokens begin..end-1 are there, and those of the first one's landmark. */
#if FV_BUILD_SEGMENTS
bool fv_cache_has(const fv_cache *cache, uint32_t begin, uint32_t end);
#else
static inline bool fv_cache_has(const fv_cache *cache, uint32_t begin, uint32_t end) {
    (void)cache, (void)begin, (void)end;
    return true;
}
#endif

static inline bool fv_cache_is_divided(const fv_cache *cache) {
#if FV_BUILD_EXCHANGE
    return cache->ranks > 1;
#else
    (void)cache;
    return false;
#endif
}

/* Whether another rank holds the segment of a page. */
static inline bool fv_cache_is_foreign(const fv_cache *cache, uint32_t page) {
#if FV_BUILD_EXCHANGE
    return fv_cache_is_divided(cache) && fv_exchange_owner(page / FV_SEGMENT_PAGES, cache->ranks) != cache->rank;
#else
    (void)cache, (void)page;
    return false;
#endif
}

/* Whether the cache is what a call over `exchange` (NULL: there is none) works on. */
static inline bool fv_cache_suits_exchange(const fv_cache *cache, const fv_exchange *exchange) {
#if FV_BUILD_EXCHANGE
    if (!exchange) return !fv_cache_is_divided(cache);
    return (cache->ranks ? cache->ranks : 1) == exchange->ranks && cache->rank == exchange->rank;
#else
    (void)cache, (void)exchange;
    return true;
#endif
}

/* fv_cache_has() of the segments that are not another rank's. */
#if FV_BUILD_EXCHANGE
bool fv_cache_holds(const fv_cache *cache, uint32_t begin, uint32_t end);
#else
static inline bool fv_cache_holds(const fv_cache *cache, uint32_t begin, uint32_t end) {
    return fv_cache_has(cache, begin, end);
}
#endif

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

/* fv_cache_append() of tokens that there is room for, all of them in the range of the cache's elements. */
void fv_cache_add(fv_cache *cache, uint32_t tokens, const float *keys, size_t key_stride, const float *values,
                  size_t value_stride);

/* Cache lines of 64 bytes that a page of keys and values takes (one head); what reports count as bytes read. */
uint64_t fv_cache_page_bytes(const fv_cache *cache);

#endif
