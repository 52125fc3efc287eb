/* Scores, softmax and value sums over f32, f16, bf16, q8 and Q4_0, converted in registers; the same chains for all
 * types. Limit: FMA for eight rows and more, memory for the few of a decode. Twelve rows x two pages, or x 32 channels,
 * are 24 of 32 registers of sums, fed by two of keys and a broadcast: 14 loads for 24 FMA. */
#include "kernels/avx512/element_avx512.h"
#include "kernels/avx512/exp_avx512.h"
#include "kernels/avx512/row_blocks_avx512.h"
#include "kernels/kernels.h"

/* One channel of `rows` queries times `pages` x 16 keys. */
INLINE void score_add(size_t rows, size_t pages, const float *query, size_t query_stride, const __m512 *keys,
                      __m512 *sum) {
    for (size_t r = 0; r < rows; r++) {
        __m512 q = _mm512_set1_ps(query[r * query_stride]);
        for (size_t p = 0; p < pages; p++) sum[r * pages + p] = _mm512_fmadd_ps(q, keys[p], sum[r * pages + p]);
    }
}

/* Channels begin..end-1, a block of Q4_0: two of them lie in the nibbles of a byte. */
INLINE void score_q4(size_t rows, size_t pages, size_t head_dim, size_t begin, size_t end, const float *query,
                     size_t query_stride, const void *const *key, const void *const *next, __m512 *sum) {
    const size_t quants = fv_q4_panel_quants(head_dim) + begin * 8;
    __m512 scale[4], keys[4];
    __m512i both[4];
    for (size_t p = 0; p < pages; p++) {
        scale[p] = load16(ELEMENT_F16, (const unsigned char *)key[p] + begin);
        prefetch_line(rows, next ? next[p] : NULL, begin);
    }
    for (size_t c = begin; c < end; c += 2) {
        for (size_t p = 0; p < pages; p++) {
            const unsigned char *at = (const unsigned char *)key[p] + quants + (c - begin) * 8;
            if ((c - begin) % 8 == 0)
                prefetch_line(rows, next ? (const unsigned char *)next[p] + quants + (c - begin) * 8 : NULL, 0);
            both[p] = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at));
            keys[p] = _mm512_mul_ps(_mm512_permutexvar_ps(both[p], q4_table()), scale[p]);
        }
        score_add(rows, pages, query + c, query_stride, keys, sum);
        if (c + 1 == end) break;
        for (size_t p = 0; p < pages; p++) {
            __m512i high = _mm512_srli_epi32(both[p], 4);
            keys[p] = _mm512_mul_ps(_mm512_permutexvar_ps(high, q4_table()), scale[p]);
        }
        score_add(rows, pages, query + c + 1, query_stride, keys, sum);
    }
}

/* `rows` x `pages` at once: as many chains. */
INLINE void score_block(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                        size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                        float *score, size_t score_stride) {
    __m512 sum[24];
    for (size_t i = 0; i < rows * pages; i++) sum[i] = _mm512_setzero_ps();
    for (size_t block = 0; block < head_dim; block += FV_Q4_VALUES) {
        size_t end = head_dim - block < FV_Q4_VALUES ? head_dim : block + FV_Q4_VALUES;
        if (type == ELEMENT_Q4) score_q4(rows, pages, head_dim, block, end, query, query_stride, key, next, sum);
        for (size_t c = block; type != ELEMENT_Q4 && c < end; c++) {
            __m512 k[4];
            for (size_t p = 0; p < pages; p++) {
                prefetch_line(rows, next ? next[p] : NULL, c * lane_bytes(type));
                k[p] = load16(type, (const unsigned char *)key[p] + c * lane_bytes(type));
            }
            for (size_t r = 0; r < rows; r++) {
                __m512 q = _mm512_set1_ps(query[r * query_stride + c]);
                for (size_t p = 0; p < pages; p++) sum[r * pages + p] = _mm512_fmadd_ps(q, k[p], sum[r * pages + p]);
            }
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t p = 0; p < pages; p++) {
            __m512 value = sum[r * pages + p];
            if (type == ELEMENT_Q8) value = _mm512_mul_ps(value, _mm512_loadu_ps(key_scale + 16 * p));
            _mm512_storeu_ps(score + r * score_stride + 16 * p, value);
        }
}

/* `together` pages while they fit, of few rows then two, whose chains of sums are too few to fill the pipes by one,
 * then one at a time. */
INLINE void score_rows(element type, size_t rows, size_t together, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                       float *score, size_t score_stride) {
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(type, rows, together, head_dim, query, query_stride, key + p, next ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
    for (; together > 2 && p + 2 <= pages; p += 2)
        score_block(type, rows, 2, head_dim, query, query_stride, key + p, next ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
    for (; p < pages; p++)
        score_block(type, rows, 1, head_dim, query, query_stride, key + p, next ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
}

/* With strides known to the compiler, many rows need one pointer. */
INLINE void score_many(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                       float *score, size_t score_stride) {
    enum { OUT = FV_CHUNK_KEYS };
    size_t known = score_stride == OUT ? query_stride : 0;
    if (known == 64)
        score_rows(type, rows, 2, pages, head_dim, query, 64, key, next, key_scale, score, OUT);
    else if (known == 128)
        score_rows(type, rows, 2, pages, head_dim, query, 128, key, next, key_scale, score, OUT);
    else if (known == 256)
        score_rows(type, rows, 2, pages, head_dim, query, 256, key, next, key_scale, score, OUT);
    else
        score_rows(type, rows, 2, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride);
}

INLINE void score_page(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                       float *score, size_t score_stride) {
#define SCORE_MANY(count) \
    case count: \
        score_many(type, count, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride); \
        break;
#define SCORE_FEW(count, together) \
    case count: \
        score_rows(type, count, together, pages, head_dim, query, query_stride, key, next, key_scale, score, \
                   score_stride); \
        break;
    for (size_t block; rows; rows -= block, query += block * query_stride, score += block * score_stride) {
        block = block_rows(rows);
        switch (block) {
            SCORE_MANY(12)
            SCORE_MANY(8)
            SCORE_FEW(7, 2)
            SCORE_FEW(6, 4)
            SCORE_FEW(5, 4)
            SCORE_FEW(4, 4)
            SCORE_FEW(3, 4)
            SCORE_FEW(2, 4)
            SCORE_FEW(1, 4)
        }
    }
}

#define SCORE_PAGE(type, name) \
    void fv_score_page_##name##_avx512(size_t rows, size_t pages, size_t head_dim, const float *query, \
                                       size_t query_stride, const void *const *key, const void *const *next, \
                                       const float *key_scale, float *score, size_t score_stride) { \
        score_page(type, rows, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride); \
    }
SCORE_PAGE(ELEMENT_F32, f32)
SCORE_PAGE(ELEMENT_F16, f16)
SCORE_PAGE(ELEMENT_BF16, bf16)
SCORE_PAGE(ELEMENT_Q8, q8)
SCORE_PAGE(ELEMENT_Q4, q4)

/* rows x (16 * vectors) channels, from channel `first` on; `last` masks the last vector's. */
INLINE void value_block(element type, size_t rows, size_t vectors, size_t first, __mmask16 last, size_t head_dim,
                        size_t keys, const float *weight, size_t weight_stride, const unsigned char *value,
                        const unsigned char *next, float *out, size_t out_stride) {
    const size_t bytes = row_bytes16(type, head_dim),
                 place = type == ELEMENT_Q4 ? first / FV_Q4_VALUES * FV_Q4_BYTES : first / 16 * lane_bytes(type);
    __m512 sum[24], v[8];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] =
                _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, out + r * out_stride + first + 16 * j);
    for (size_t t = 0; t < keys; t++, value += bytes) {
        for (size_t i = 0; i < vectors * lane_bytes(type); i += LINE_BYTES)
            prefetch_line(rows, next ? next + t * bytes + place + i : NULL, 0);
        row_widen(type, vectors, value, first, last, v);
        for (size_t r = 0; r < rows; r++) {
            __m512 w = _mm512_set1_ps(weight[r * weight_stride + t]);
            for (size_t j = 0; j < vectors; j++) sum[r * vectors + j] = _mm512_fmadd_ps(w, v[j], sum[r * vectors + j]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            _mm512_mask_storeu_ps(out + r * out_stride + first + 16 * j, j + 1 < vectors ? 0xFFFF : last,
                                  sum[r * vectors + j]);
}

/* `wide` vectors while they fit, then two, of which a block of Q4_0 is made, then one, or the masked rest. */
INLINE void value_rows(element type, size_t rows, size_t wide, size_t head_dim, size_t keys, const float *weight,
                       size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    size_t c = 0;
    for (; c + 16 * wide <= head_dim; c += 16 * wide)
        value_block(type, rows, wide, c, 0xFFFF, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    for (; c + 16 < head_dim; c += 32) {
        __mmask16 last = (__mmask16)(head_dim - c >= 32 ? 0xFFFF : (1u << (head_dim - c - 16)) - 1);
        value_block(type, rows, 2, c, last, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    }
    if (c >= head_dim) return;
    __mmask16 last = lanes_of(head_dim - c);
    value_block(type, rows, 1, c, last, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
}

INLINE void value_many(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                       size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    if (weight_stride == FV_CHUNK_KEYS)
        value_rows(type, rows, 2, head_dim, keys, weight, FV_CHUNK_KEYS, value, next, out, out_stride);
    else
        value_rows(type, rows, 2, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
}

INLINE void value_sum(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                      size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
#define VALUE_MANY(count) \
    case count: \
        value_many(type, count, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
        break;
#define VALUE_FEW(count, wide) \
    case count: \
        value_rows(type, count, wide, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
        break;
    for (size_t block; rows; rows -= block, weight += block * weight_stride, out += block * out_stride) {
        block = block_rows(rows);
        switch (block) {
            VALUE_MANY(12)
            VALUE_MANY(8)
            VALUE_FEW(7, 2)
            VALUE_FEW(6, 4)
            VALUE_FEW(5, 4)
            VALUE_FEW(4, 4)
            VALUE_FEW(3, 4)
            VALUE_FEW(2, 4)
        case 1: /* four vectors are as many chains as hide the latency of an FMA */
            if (head_dim % 128 == 0)
                value_rows(type, 1, 8, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
            else
                value_rows(type, 1, 4, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
            break;
        }
    }
}

#define VALUE_SUM(type, name) \
    void fv_value_sum_##name##_avx512(size_t rows, size_t head_dim, size_t keys, const float *weight, \
                                      size_t weight_stride, const void *value, const void *next, float *out, \
                                      size_t out_stride) { \
        value_sum(type, rows, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
    }
VALUE_SUM(ELEMENT_F32, f32)
VALUE_SUM(ELEMENT_F16, f16)
VALUE_SUM(ELEMENT_BF16, bf16)
VALUE_SUM(ELEMENT_Q8, q8)
VALUE_SUM(ELEMENT_Q4, q4)

INLINE void value_parts(element type, size_t positions, size_t group, size_t head_dim, const fv_value_part *part,
                        const float *weight, size_t weight_stride, const unsigned char *value, float *out,
                        size_t out_stride) {
    for (size_t p = 0; p < positions; p++)
        for (size_t g = 0; g < group; g++, weight += weight_stride, out += out_stride)
            if (part[p].keys)
                value_rows(type, 1, 4, head_dim, part[p].keys, weight + part[p].column, 0,
                           value + part[p].first * row_bytes16(type, head_dim), NULL, out, 0);
}

#define VALUE_PARTS(type, name) \
    void fv_value_parts_##name##_avx512(size_t positions, size_t group, size_t head_dim, const fv_value_part *part, \
                                        const float *weight, size_t weight_stride, const void *value, float *out, \
                                        size_t out_stride) { \
        value_parts(type, positions, group, head_dim, part, weight, weight_stride, value, out, out_stride); \
    }
VALUE_PARTS(ELEMENT_F32, f32)
VALUE_PARTS(ELEMENT_F16, f16)
VALUE_PARTS(ELEMENT_BF16, bf16)
VALUE_PARTS(ELEMENT_Q8, q8)
VALUE_PARTS(ELEMENT_Q4, q4)

/* `pages` at once: as many chains. */
INLINE void own_scores(size_t pages, size_t head_dim, const float *query, const float *const *key, float *score) {
    __m512 sum[4];
    for (size_t p = 0; p < pages; p++) sum[p] = _mm512_setzero_ps();
    for (size_t c = 0; c < head_dim; c++) {
        __m512 q = _mm512_loadu_ps(query + 16 * c);
        for (size_t p = 0; p < pages; p++) sum[p] = _mm512_fmadd_ps(q, _mm512_loadu_ps(key[p] + 16 * c), sum[p]);
    }
    for (size_t p = 0; p < pages; p++) _mm512_storeu_ps(score + 16 * p, sum[p]);
}

void fv_score_own_f32_avx512(size_t pages, size_t head_dim, const float *query, const float *const *key, float *score) {
    size_t p = 0;
    for (; p + 4 <= pages; p += 4) own_scores(4, head_dim, query, key + p, score + 16 * p);
    for (; p + 2 <= pages; p += 2) own_scores(2, head_dim, query, key + p, score + 16 * p);
    if (p < pages) own_scores(1, head_dim, query, key + p, score + 16 * p);
}

/* `vectors` of a row's channels; `last` masks the last one's. */
INLINE void own_values(size_t vectors, __mmask16 last, size_t pages, size_t at, const float *weight,
                       const float *const *value, float *out) {
    __m512 sum[4];
    for (size_t j = 0; j < vectors; j++) sum[j] = _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, out + 16 * j);
    for (size_t p = 0; p < pages; p++) {
        __m512 w = _mm512_set1_ps(weight[p]);
        for (size_t j = 0; j < vectors; j++) {
            __m512 v = _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, value[p] + at + 16 * j);
            sum[j] = _mm512_fmadd_ps(w, v, sum[j]);
        }
    }
    for (size_t j = 0; j < vectors; j++) _mm512_mask_storeu_ps(out + 16 * j, j + 1 < vectors ? 0xFFFF : last, sum[j]);
}

void fv_value_own_f32_avx512(size_t pages, size_t head_dim, const float *weight, size_t weight_stride,
                             const float *const *value, float *out, size_t out_stride) {
    for (size_t t = 0; t < 16; t++, weight += weight_stride, out += out_stride) {
        size_t c = 0;
        for (; c + 64 <= head_dim; c += 64) own_values(4, 0xFFFF, pages, t * head_dim + c, weight, value, out + c);
        for (; c < head_dim; c += 16) {
            __mmask16 last = lanes_of(head_dim - c);
            own_values(1, last, pages, t * head_dim + c, weight, value, out + c);
        }
    }
}

/* Turns 16 x 16: four neighbouring quarters at a time, within them first, then among them. */
INLINE void turn16(const float *x, size_t stride, __mmask16 columns, size_t rows_out, float *out) {
    __m512 a[16], b[16];
    for (size_t t = 0; t < 16; t++) a[t] = _mm512_maskz_loadu_ps(columns, x + t * stride);
    for (size_t t = 0; t < 16; t += 2) {
        b[t] = _mm512_unpacklo_ps(a[t], a[t + 1]);
        b[t + 1] = _mm512_unpackhi_ps(a[t], a[t + 1]);
    }
    for (size_t t = 0; t < 16; t += 4)
        for (size_t i = 0; i < 2; i++) {
            __m512d low = _mm512_castps_pd(b[t + i]), high = _mm512_castps_pd(b[t + i + 2]);
            a[t + 2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            a[t + 2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        } /* a[4 i + j]: rows 4 i .. 4 i + 3 of columns j, j + 4, j + 8, j + 12 */
    for (size_t j = 0; j < 4; j++) {
        __m512 first = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88),
               second = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
        __m512 third = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xDD),
               fourth = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xDD);
        b[j] = _mm512_shuffle_f32x4(first, second, 0x88);
        b[j + 8] = _mm512_shuffle_f32x4(first, second, 0xDD);
        b[j + 4] = _mm512_shuffle_f32x4(third, fourth, 0x88);
        b[j + 12] = _mm512_shuffle_f32x4(third, fourth, 0xDD);
    }
    for (size_t c = 0; c < rows_out; c++) _mm512_storeu_ps(out + 16 * c, b[c]);
}

void fv_transpose16_f32_avx512(size_t columns, const float *x, size_t stride, float *out) {
    size_t c = 0;
    for (; c + 16 <= columns; c += 16) turn16(x + c, stride, 0xFFFF, 16, out + 16 * c);
    if (c < columns) turn16(x + c, stride, (__mmask16)((1u << (columns - c)) - 1), columns - c, out + 16 * c);
}

/* The maximum of one row rises to hold `best`; rare once a few chunks are read. */
static void raise_maximum(size_t head_dim, float best, float *maximum, float *sum, float *out) {
    __m512 whole = _mm512_roundscale_ps(_mm512_set1_ps(best), _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    __m512 factor = exp2_16(_mm512_set1_ps(*maximum), whole);
    size_t c = 0;
    for (; c + 16 <= head_dim; c += 16) _mm512_storeu_ps(out + c, _mm512_mul_ps(factor, _mm512_loadu_ps(out + c)));
    __mmask16 rest = (__mmask16)((1u << (head_dim - c)) - 1);
    _mm512_mask_storeu_ps(out + c, rest, _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(rest, out + c)));
    _mm512_storeu_ps(sum, _mm512_mul_ps(factor, _mm512_loadu_ps(sum)));
    *maximum = _mm512_cvtss_f32(whole);
}

INLINE void softmax_rows(size_t rows, size_t pages, size_t head_dim, float factor, float *score, float *maximum,
                         float *sum, float *out, size_t out_stride) {
    const __m512 factor16 = _mm512_set1_ps(factor), limit = _mm512_set1_ps(3.402823466e38f);
    for (size_t r = 0; r < rows; r++, score += FV_CHUNK_KEYS, sum += FV_SUM_LANES, out += out_stride) {
        __m512 x[FV_CHUNK_KEYS / 16], best = _mm512_set1_ps(-FV_NO_MAXIMUM), total = _mm512_loadu_ps(sum);
        for (size_t p = 0; p < pages; p++) {
            x[p] = _mm512_min_ps(_mm512_mul_ps(factor16, _mm512_loadu_ps(score + 16 * p)), limit);
            best = _mm512_max_ps(best, x[p]);
        }
        if (_mm512_cmp_ps_mask(best, _mm512_set1_ps(maximum[r] + FV_SOFTMAX_SLACK), _CMP_GT_OQ)) {
            raise_maximum(head_dim, _mm512_reduce_max_ps(best), maximum + r, sum, out);
            total = _mm512_loadu_ps(sum);
        }
        __m512 whole = _mm512_set1_ps(maximum[r]);
        for (size_t p = 0; p < pages; p++) {
            x[p] = exp2_16(x[p], whole);
            _mm512_storeu_ps(score + 16 * p, x[p]);
            total = _mm512_add_ps(total, x[p]);
        }
        _mm512_storeu_ps(sum, total);
    }
}

void fv_softmax_chunk_avx512(size_t rows, size_t columns, size_t head_dim, float factor, float *score, float *maximum,
                             float *sum, float *out, size_t out_stride) {
    switch (columns / 16) {
    case 4:
        softmax_rows(rows, 4, head_dim, factor, score, maximum, sum, out, out_stride);
        break;
    case 3:
        softmax_rows(rows, 3, head_dim, factor, score, maximum, sum, out, out_stride);
        break;
    case 2:
        softmax_rows(rows, 2, head_dim, factor, score, maximum, sum, out, out_stride);
        break;
    case 1:
        softmax_rows(rows, 1, head_dim, factor, score, maximum, sum, out, out_stride);
        break;
    }
}
