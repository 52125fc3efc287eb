/* Limit: FMA for six rows (12 accumulators hide its latency), loads and conversions of the key for fewer.
 * Blocking: 6 rows x 16 keys and 6 rows x 16 channels leave 4 of 16 registers for the panel and the broadcast. */
#include "kernels/avx2/element_avx2.h"
#include "kernels/avx2/exp_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>
#include <stdbool.h>

/* What is read next comes from memory. Into L2, since L1 is too small to hold it until then. */
INLINE void prefetch(element type, const void *data, size_t index, size_t count) {
    for (size_t i = 0; i < count * element_size(type); i += 64)
        _mm_prefetch((const char *)data + index * element_size(type) + i, _MM_HINT_T1);
}

enum { FEW_ROWS = 8 }; /* a decode: more rows find enough to do while memory is slow */

/* Channel c of `pages` pages for all rows. */
INLINE void score_channel(element type, size_t rows, size_t pages, size_t c, const float *query, size_t query_stride,
                          const void *const *key, __m256 *sum) {
    for (size_t p = 0; p < pages; p++) {
        __m256 low = load_alone8(type, key[p], c * 16), high = load_alone8(type, key[p], c * 16 + 8);
        for (size_t r = 0; r < rows; r++) {
            __m256 q = broadcast(query + r * query_stride + c);
            sum[(r * pages + p) * 2] = _mm256_fmadd_ps(q, low, sum[(r * pages + p) * 2]);
            sum[(r * pages + p) * 2 + 1] = _mm256_fmadd_ps(q, high, sum[(r * pages + p) * 2 + 1]);
        }
    }
}

/* `rows` x `pages` pages at once: rows * pages * 2 chains. */
INLINE void score_block(element type, bool ahead, size_t rows, size_t pages, size_t head_dim, const float *query,
                        size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                        float *score, size_t score_stride) {
    __m256 sum[12];
    size_t c = 0;
    for (size_t i = 0; i < rows * pages * 2; i++) sum[i] = _mm256_setzero_ps();
    for (; c + 2 <= head_dim; c += 2) { /* two channels of f16 are a line */
        for (size_t p = 0; ahead && p < pages; p++) prefetch(type, next[p], c * 16, 2 * 16);
        score_channel(type, rows, pages, c, query, query_stride, key, sum);
        score_channel(type, rows, pages, c + 1, query, query_stride, key, sum);
    }
    if (c < head_dim) score_channel(type, rows, pages, c, query, query_stride, key, sum);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < pages * 2; i++) {
            __m256 value = sum[r * pages * 2 + i];
            if (type == ELEMENT_Q8) value = _mm256_mul_ps(value, _mm256_loadu_ps(key_scale + 8 * i));
            _mm256_storeu_ps(score + r * score_stride + 8 * i, value);
        }
}

/* `together` pages while they fit, then one at a time. */
INLINE void score_rows(element type, bool ahead, size_t rows, size_t together, size_t pages, size_t head_dim,
                       const float *query, size_t query_stride, const void *const *key, const void *const *next,
                       const float *key_scale, float *score, size_t score_stride) {
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(type, ahead, rows, together, head_dim, query, query_stride, key + p, ahead ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
    for (; p < pages; p++)
        score_block(type, ahead, rows, 1, head_dim, query, query_stride, key + p, ahead ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
}

/* Few rows take several pages, so that there are always enough chains to hide the latency of FMA. */
#define SCORE_ROWS(ahead, rows, together) \
    score_rows(type, ahead, rows, together, pages, head_dim, query, query_stride, key, next, key_scale, score, \
               score_stride)
#define SCORE_FEW(ahead) \
    if (rows == 5) SCORE_ROWS(ahead, 5, 1); \
    if (rows == 4) SCORE_ROWS(ahead, 4, 1); \
    if (rows == 3) SCORE_ROWS(ahead, 3, 2); \
    if (rows == 2) SCORE_ROWS(ahead, 2, 2); \
    if (rows == 1) SCORE_ROWS(ahead, 1, 4)
INLINE void score_page(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                       float *score, size_t score_stride) {
    bool ahead = next && rows <= FEW_ROWS;
    for (; rows >= 6; rows -= 6, query += 6 * query_stride, score += 6 * score_stride) {
        if (ahead) SCORE_ROWS(true, 6, 1);
        if (!ahead) SCORE_ROWS(false, 6, 1);
        ahead = false;
    }
    if (ahead) {
        SCORE_FEW(true);
    } else {
        SCORE_FEW(false);
    }
}

#define SCORE_PAGE(type, name) \
    void fv_score_page_##name##_avx2(size_t rows, size_t pages, size_t head_dim, const float *query, \
                                     size_t query_stride, const void *const *key, const void *const *next, \
                                     const float *key_scale, float *score, size_t score_stride) { \
        score_page(type, rows, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride); \
    }
SCORE_PAGE(ELEMENT_F32, f32)
SCORE_PAGE(ELEMENT_F16, f16)
SCORE_PAGE(ELEMENT_Q8, q8)

/* rows x (8 * vectors) channels, from channel `first` on. */
INLINE void value_block(element type, bool ahead, size_t rows, size_t vectors, size_t first, size_t head_dim,
                        size_t keys, const float *weight, size_t weight_stride, const void *value, const void *next,
                        float *out, size_t out_stride) {
    __m256 sum[12];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] = _mm256_loadu_ps(out + r * out_stride + first + 8 * j);
    for (size_t t = 0; t < keys; t++) {
        __m256 v[4];
        if (ahead) prefetch(type, next, t * head_dim + first, 8 * vectors);
        for (size_t j = 0; j < vectors; j++) v[j] = load_alone8(type, value, t * head_dim + first + 8 * j);
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
INLINE void value_rows(element type, bool ahead, size_t rows, size_t wide, size_t head_dim, size_t keys,
                       const float *weight, size_t weight_stride, const void *value, const void *next, float *out,
                       size_t out_stride) {
    size_t c = 0;
    for (; c + 8 * wide <= head_dim; c += 8 * wide)
        value_block(type, ahead, rows, wide, c, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    for (; c + 8 <= head_dim; c += 8)
        value_block(type, ahead, rows, 1, c, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    for (; c < head_dim; c++)
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < keys; t++)
                out[r * out_stride + c] = __builtin_fmaf(
                    weight[r * weight_stride + t], element_at(type, value, t * head_dim + c), out[r * out_stride + c]);
}

#define VALUE_ROWS(ahead, rows, wide) \
    value_rows(type, ahead, rows, wide, head_dim, keys, weight, weight_stride, value, next, out, out_stride)
#define VALUE_FEW(ahead) \
    if (rows == 5) VALUE_ROWS(ahead, 5, 2); \
    if (rows == 4) VALUE_ROWS(ahead, 4, 2); \
    if (rows == 3) VALUE_ROWS(ahead, 3, 4); \
    if (rows == 2) VALUE_ROWS(ahead, 2, 4); \
    if (rows == 1) VALUE_ROWS(ahead, 1, 4)
INLINE void value_sum(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                      size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    bool ahead = next && rows <= FEW_ROWS;
    for (; rows >= 6; rows -= 6, weight += 6 * weight_stride, out += 6 * out_stride) {
        if (ahead) VALUE_ROWS(true, 6, 2);
        if (!ahead) VALUE_ROWS(false, 6, 2);
        ahead = false;
    }
    if (ahead) {
        VALUE_FEW(true);
    } else {
        VALUE_FEW(false);
    }
}

#define VALUE_SUM(type, name) \
    void fv_value_sum_##name##_avx2(size_t rows, size_t head_dim, size_t keys, const float *weight, \
                                    size_t weight_stride, const void *value, const void *next, float *out, \
                                    size_t out_stride) { \
        value_sum(type, rows, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
    }
VALUE_SUM(ELEMENT_F32, f32)
VALUE_SUM(ELEMENT_F16, f16)
VALUE_SUM(ELEMENT_Q8, q8)

INLINE void value_parts(element type, size_t positions, size_t group, size_t head_dim, const fv_value_part *part,
                        const float *weight, size_t weight_stride, const unsigned char *value, float *out,
                        size_t out_stride) {
    for (size_t p = 0; p < positions; p++)
        for (size_t g = 0; g < group; g++, weight += weight_stride, out += out_stride)
            if (part[p].keys)
                value_rows(type, false, 1, 4, head_dim, part[p].keys, weight + part[p].column, 0,
                           value + part[p].first * head_dim * element_size(type), NULL, out, 0);
}

#define VALUE_PARTS(type, name) \
    void fv_value_parts_##name##_avx2(size_t positions, size_t group, size_t head_dim, const fv_value_part *part, \
                                      const float *weight, size_t weight_stride, const void *value, float *out, \
                                      size_t out_stride) { \
        value_parts(type, positions, group, head_dim, part, weight, weight_stride, value, out, out_stride); \
    }
VALUE_PARTS(ELEMENT_F32, f32)
VALUE_PARTS(ELEMENT_F16, f16)
VALUE_PARTS(ELEMENT_Q8, q8)

/* `pages` at once: twice as many chains. */
INLINE void own_scores(size_t pages, size_t head_dim, const float *query, const float *const *key, float *score) {
    __m256 sum[8];
    for (size_t i = 0; i < 2 * pages; i++) sum[i] = _mm256_setzero_ps();
    for (size_t c = 0; c < head_dim; c++) {
        __m256 low = _mm256_loadu_ps(query + 16 * c), high = _mm256_loadu_ps(query + 16 * c + 8);
        for (size_t p = 0; p < pages; p++) {
            sum[2 * p] = _mm256_fmadd_ps(low, _mm256_loadu_ps(key[p] + 16 * c), sum[2 * p]);
            sum[2 * p + 1] = _mm256_fmadd_ps(high, _mm256_loadu_ps(key[p] + 16 * c + 8), sum[2 * p + 1]);
        }
    }
    for (size_t i = 0; i < 2 * pages; i++) _mm256_storeu_ps(score + 8 * i, sum[i]);
}

void fv_score_own_f32_avx2(size_t pages, size_t head_dim, const float *query, const float *const *key, float *score) {
    size_t p = 0;
    for (; p + 4 <= pages; p += 4) own_scores(4, head_dim, query, key + p, score + 16 * p);
    for (; p + 2 <= pages; p += 2) own_scores(2, head_dim, query, key + p, score + 16 * p);
    if (p < pages) own_scores(1, head_dim, query, key + p, score + 16 * p);
}

INLINE void own_values(size_t vectors, size_t pages, size_t at, const float *weight, const float *const *value,
                       float *out) {
    __m256 sum[8];
    for (size_t j = 0; j < vectors; j++) sum[j] = _mm256_loadu_ps(out + 8 * j);
    for (size_t p = 0; p < pages; p++) {
        __m256 w = _mm256_broadcast_ss(weight + p);
        for (size_t j = 0; j < vectors; j++)
            sum[j] = _mm256_fmadd_ps(w, _mm256_loadu_ps(value[p] + at + 8 * j), sum[j]);
    }
    for (size_t j = 0; j < vectors; j++) _mm256_storeu_ps(out + 8 * j, sum[j]);
}

void fv_value_own_f32_avx2(size_t pages, size_t head_dim, const float *weight, size_t weight_stride,
                           const float *const *value, float *out, size_t out_stride) {
    for (size_t t = 0; t < 16; t++, weight += weight_stride, out += out_stride) {
        size_t c = 0, row = t * head_dim;
        for (; c + 64 <= head_dim; c += 64) own_values(8, pages, row + c, weight, value, out + c);
        for (; c + 8 <= head_dim; c += 8) own_values(1, pages, row + c, weight, value, out + c);
        for (; c < head_dim; c++)
            for (size_t p = 0; p < pages; p++) out[c] = __builtin_fmaf(weight[p], value[p][row + c], out[c]);
    }
}

/* The maximum of one row rises to hold `best`; rare once a few chunks are read. */
INLINE void raise_maximum(size_t head_dim, float best, float *maximum, float *sum, float *out) {
    __m256 whole = _mm256_round_ps(_mm256_set1_ps(best), _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    __m256 factor = exp2_8(_mm256_set1_ps(*maximum), whole);
    size_t c = 0;
    for (; c + 8 <= head_dim; c += 8) _mm256_storeu_ps(out + c, _mm256_mul_ps(factor, _mm256_loadu_ps(out + c)));
    for (; c < head_dim; c++) out[c] *= _mm256_cvtss_f32(factor);
    for (size_t i = 0; i < FV_SUM_LANES; i += 8)
        _mm256_storeu_ps(sum + i, _mm256_mul_ps(factor, _mm256_loadu_ps(sum + i)));
    *maximum = _mm256_cvtss_f32(whole);
}

INLINE void softmax_rows(size_t rows, size_t columns, size_t head_dim, float factor, float *score, float *maximum,
                         float *sum, float *out, size_t out_stride) {
    const __m256 factor8 = _mm256_set1_ps(factor), limit = _mm256_set1_ps(3.402823466e38f);
    for (size_t r = 0; r < rows; r++, score += FV_CHUNK_KEYS, sum += FV_SUM_LANES, out += out_stride) {
        __m256 best = _mm256_set1_ps(-FV_NO_MAXIMUM);
        for (size_t t = 0; t < columns; t += 8) {
            __m256 x = _mm256_min_ps(_mm256_mul_ps(factor8, _mm256_loadu_ps(score + t)), limit);
            _mm256_storeu_ps(score + t, x);
            best = _mm256_max_ps(best, x);
        }
        __m256 enough = _mm256_set1_ps(maximum[r] + FV_SOFTMAX_SLACK);
        if (_mm256_movemask_ps(_mm256_cmp_ps(best, enough, _CMP_GT_OQ)))
            raise_maximum(head_dim, max8(best), maximum + r, sum, out);
        __m256 whole = _mm256_set1_ps(maximum[r]), low = _mm256_loadu_ps(sum), high = _mm256_loadu_ps(sum + 8);
        for (size_t t = 0; t < columns; t += 16) {
            __m256 p = exp2_8(_mm256_loadu_ps(score + t), whole), q = exp2_8(_mm256_loadu_ps(score + t + 8), whole);
            low = _mm256_add_ps(low, p);
            high = _mm256_add_ps(high, q);
            _mm256_storeu_ps(score + t, p);
            _mm256_storeu_ps(score + t + 8, q);
        }
        _mm256_storeu_ps(sum, low);
        _mm256_storeu_ps(sum + 8, high);
    }
}

void fv_softmax_chunk_avx2(size_t rows, size_t columns, size_t head_dim, float factor, float *score, float *maximum,
                           float *sum, float *out, size_t out_stride) {
    if (columns == FV_CHUNK_KEYS)
        softmax_rows(rows, FV_CHUNK_KEYS, head_dim, factor, score, maximum, sum, out, out_stride);
    else
        softmax_rows(rows, columns, head_dim, factor, score, maximum, sum, out, out_stride);
}
