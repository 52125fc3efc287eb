/* Scores and value sums over bf16 and Q4_0, converted in registers.
 * Limit: conversions, unless many rows share them. Blocking as in attention_avx2.c; the chains are those of the f32
 * kernels: the same bits. */
#include "kernels/avx2/element_avx2.h"
#include "kernels/kernels.h"
#include "kernels/q4_layout.h"
#include <immintrin.h>
#include <stdbool.h>

/* Few rows are a decode: what is read next comes from memory. Into L2, since L1 is too small to hold it until then. */
INLINE void prefetch(size_t rows, const unsigned char *next, size_t offset) {
    if (rows <= 8 && next) _mm_prefetch((const char *)next + offset, _MM_HINT_T1);
}

/* `rows` x `pages` pages at once: rows * pages * 2 chains. */
INLINE void score_block(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                        size_t query_stride, const void *const *key, const void *const *next, float *score,
                        size_t score_stride) {
    __m256 sum[12];
    for (size_t i = 0; i < rows * pages * 2; i++) sum[i] = _mm256_setzero_ps();
    for (size_t c = 0; c < head_dim; c++)
        for (size_t p = 0; p < pages; p++) {
            prefetch(rows, next ? next[p] : NULL, c * (type == ELEMENT_Q4 ? 8 : 32));
            __m256 low = keys8(type, key[p], head_dim, c, 0), high = keys8(type, key[p], head_dim, c, 1);
            for (size_t r = 0; r < rows; r++) {
                __m256 q = broadcast(query + r * query_stride + c);
                sum[(r * pages + p) * 2] = _mm256_fmadd_ps(q, low, sum[(r * pages + p) * 2]);
                sum[(r * pages + p) * 2 + 1] = _mm256_fmadd_ps(q, high, sum[(r * pages + p) * 2 + 1]);
            }
        }
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < pages * 2; i++)
            _mm256_storeu_ps(score + r * score_stride + 8 * i, sum[r * pages * 2 + i]);
}

/* `together` pages while they fit, then one at a time. */
INLINE void score_rows(element type, size_t rows, size_t together, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, float *score,
                       size_t score_stride) {
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(type, rows, together, head_dim, query, query_stride, key + p, next ? next + p : NULL,
                    score + 16 * p, score_stride);
    for (; p < pages; p++)
        score_block(type, rows, 1, head_dim, query, query_stride, key + p, next ? next + p : NULL, score + 16 * p,
                    score_stride);
}

INLINE void score_page(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, float *score,
                       size_t score_stride) {
    for (; rows >= 6; rows -= 6, query += 6 * query_stride, score += 6 * score_stride)
        score_rows(type, 6, 1, pages, head_dim, query, query_stride, key, next, score, score_stride);
    if (rows == 5) score_rows(type, 5, 1, pages, head_dim, query, query_stride, key, next, score, score_stride);
    if (rows == 4) score_rows(type, 4, 1, pages, head_dim, query, query_stride, key, next, score, score_stride);
    if (rows == 3) score_rows(type, 3, 2, pages, head_dim, query, query_stride, key, next, score, score_stride);
    if (rows == 2) score_rows(type, 2, 2, pages, head_dim, query, query_stride, key, next, score, score_stride);
    if (rows == 1) score_rows(type, 1, 4, pages, head_dim, query, query_stride, key, next, score, score_stride);
}

#define SCORE_PAGE(type, name) \
    void fv_score_page_##name##_avx2(size_t rows, size_t pages, size_t head_dim, const float *query, \
                                     size_t query_stride, const void *const *key, const void *const *next, \
                                     const float *key_scale, float *score, size_t score_stride) { \
        (void)key_scale; \
        score_page(type, rows, pages, head_dim, query, query_stride, key, next, score, score_stride); \
    }
SCORE_PAGE(ELEMENT_BF16, bf16)
SCORE_PAGE(ELEMENT_Q4, q4)

/* rows x (8 * vectors) channels, from channel `first` on. */
INLINE void value_block(element type, size_t rows, size_t vectors, size_t first, size_t head_dim, size_t keys,
                        const float *weight, size_t weight_stride, const unsigned char *value,
                        const unsigned char *next, float *out, size_t out_stride) {
    __m256 sum[12];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] = _mm256_loadu_ps(out + r * out_stride + first + 8 * j);
    for (size_t t = 0; t < keys; t++, value += row_bytes8(type, head_dim)) {
        __m256 v[4];
        prefetch(rows, next, t * row_bytes8(type, head_dim) + row_bytes8(type, first));
        for (size_t j = 0; j < vectors; j++) v[j] = values8(type, value, first + 8 * j);
        for (size_t r = 0; r < rows; r++) {
            __m256 w = _mm256_broadcast_ss(weight + r * weight_stride + t);
            for (size_t j = 0; j < vectors; j++) sum[r * vectors + j] = _mm256_fmadd_ps(w, v[j], sum[r * vectors + j]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            _mm256_storeu_ps(out + r * out_stride + first + 8 * j, sum[r * vectors + j]);
}

/* `wide` vectors while they fit, then one at a time, then single channels: each channel is the same chain in all three.
 */
INLINE void value_rows(element type, size_t rows, size_t wide, size_t head_dim, size_t keys, const float *weight,
                       size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    size_t c = 0;
    for (; c + 8 * wide <= head_dim; c += 8 * wide)
        value_block(type, rows, wide, c, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    for (; c + 8 <= head_dim; c += 8)
        value_block(type, rows, 1, c, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    for (; c < head_dim; c++)
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < keys; t++) {
                float x = one_value(type, (const unsigned char *)value + t * row_bytes8(type, head_dim), c);
                out[r * out_stride + c] = __builtin_fmaf(weight[r * weight_stride + t], x, out[r * out_stride + c]);
            }
}

INLINE void value_sum(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                      size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    for (; rows >= 6; rows -= 6, weight += 6 * weight_stride, out += 6 * out_stride)
        value_rows(type, 6, 2, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 5) value_rows(type, 5, 2, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 4) value_rows(type, 4, 2, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 3) value_rows(type, 3, 4, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 2) value_rows(type, 2, 4, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 1) value_rows(type, 1, 4, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
}

#define VALUE_SUM(type, name) \
    void fv_value_sum_##name##_avx2(size_t rows, size_t head_dim, size_t keys, const float *weight, \
                                    size_t weight_stride, const void *value, const void *next, float *out, \
                                    size_t out_stride) { \
        value_sum(type, rows, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
    }
VALUE_SUM(ELEMENT_BF16, bf16)
VALUE_SUM(ELEMENT_Q4, q4)

INLINE void value_parts(element type, size_t positions, size_t group, size_t head_dim, const fv_value_part *part,
                        const float *weight, size_t weight_stride, const unsigned char *value, float *out,
                        size_t out_stride) {
    for (size_t p = 0; p < positions; p++)
        for (size_t g = 0; g < group; g++, weight += weight_stride, out += out_stride)
            if (part[p].keys)
                value_rows(type, 1, 4, head_dim, part[p].keys, weight + part[p].column, 0,
                           value + part[p].first * row_bytes8(type, head_dim), NULL, out, 0);
}

#define VALUE_PARTS(type, name) \
    void fv_value_parts_##name##_avx2(size_t positions, size_t group, size_t head_dim, const fv_value_part *part, \
                                      const float *weight, size_t weight_stride, const void *value, float *out, \
                                      size_t out_stride) { \
        value_parts(type, positions, group, head_dim, part, weight, weight_stride, value, out, out_stride); \
    }
VALUE_PARTS(ELEMENT_BF16, bf16)
VALUE_PARTS(ELEMENT_Q4, q4)
