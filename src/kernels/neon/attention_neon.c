/* Limit: FMA for four rows, loads and conversions of the key for fewer. Blocking: 4 rows x 16 keys (or 16 channels) are
 * 16 sums; with four registers of keys and four of queries, whose lanes FMA takes as they are, 24 of 32 registers are
 * used. f16 is widened and not computed with: sums in f16 would be outside the bound. */
#include "kernels/element_kind.h"
#include "kernels/kernels.h"
#include "kernels/neon/exp_neon.h"
#include "kernels/q4_layout.h"
#include <arm_neon.h>
#include <stdbool.h>

INLINE float32x4_t widen4(element type, const void *x) {
    if (type == ELEMENT_F32) return vld1q_f32(x);
    uint16x4_t halves = vld1_u16(x);
    if (type == ELEMENT_F16) return vcvt_f32_f16(vreinterpret_f16_u16(halves));
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

INLINE void widen16(int8x16_t bytes, float32x4_t out[4]) {
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
    out[1] = vcvtq_f32_s32(vmovl_high_s16(low));
    out[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
    out[3] = vcvtq_f32_s32(vmovl_high_s16(high));
}

/* The low (high: the upper) nibbles of sixteen bytes, minus 8. */
INLINE int8x16_t nibbles16(const uint8_t *x, bool high) {
    uint8x16_t bytes = vld1q_u8(x), quants = high ? vshrq_n_u8(bytes, 4) : vandq_u8(bytes, vdupq_n_u8(15));
    return vsubq_s8(vreinterpretq_s8_u8(quants), vdupq_n_s8(8));
}

INLINE size_t bytes_of(element type, size_t elements) {
    return elements * (type == ELEMENT_F32 ? 4 : type == ELEMENT_Q8 ? 1 : 2);
}

/* Sixteen elements from `data` on; of any type but Q4. */
INLINE void load16(element type, const uint8_t *data, float32x4_t out[4]) {
    if (type == ELEMENT_Q8)
        widen16(vld1q_s8((const int8_t *)data), out);
    else
        for (size_t i = 0; i < 4; i++) out[i] = widen4(type, data + bytes_of(type, 4 * i));
}

/* Channel c of sixteen keys. */
INLINE void keys16(element type, const uint8_t *panel, size_t head_dim, size_t c, float32x4_t out[4]) {
    if (type != ELEMENT_Q4) {
        load16(type, panel + bytes_of(type, c * 16), out);
        return;
    }
    widen16(nibbles16(panel + fv_q4_panel_quants(head_dim) + c / 2 * 16, c % 2), out);
    for (size_t i = 0; i < 4; i++)
        out[i] = vmulq_f32(out[i], widen4(ELEMENT_F16, panel + c / FV_Q4_VALUES * 32 + 8 * i));
}

INLINE size_t row_bytes(element type, size_t head_dim) {
    return type == ELEMENT_Q4 ? fv_q4_row_bytes(head_dim) : bytes_of(type, head_dim);
}

INLINE float value_at(element type, const uint8_t *row, size_t c) {
    if (type == ELEMENT_F32) return ((const float *)(const void *)row)[c];
    if (type == ELEMENT_Q8) return (float)((const int8_t *)row)[c];
    const uint8_t *block = type == ELEMENT_Q4 ? row + c / FV_Q4_VALUES * FV_Q4_BYTES : row + 2 * c;
    uint16x4_t half = vdup_n_u16((uint16_t)(block[0] | block[1] << 8));
    if (type == ELEMENT_BF16) return vgetq_lane_f32(vreinterpretq_f32_u32(vshll_n_u16(half, 16)), 0);
    float value = vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(half)), 0);
    if (type == ELEMENT_F16) return value;
    return (float)((block[2 + c % 16] >> (c % FV_Q4_VALUES < 16 ? 0 : 4) & 15) - 8) * value;
}

/* Channels c..c+15 of a row; c a multiple of 16. */
INLINE void values16(element type, const uint8_t *row, size_t c, float32x4_t out[4]) {
    if (type != ELEMENT_Q4) {
        load16(type, row + bytes_of(type, c), out);
        return;
    }
    const uint8_t *block = row + c / FV_Q4_VALUES * FV_Q4_BYTES;
    uint16x4_t half = vdup_n_u16((uint16_t)(block[0] | block[1] << 8));
    float32x4_t scale = vcvt_f32_f16(vreinterpret_f16_u16(half));
    widen16(nibbles16(block + 2, c % FV_Q4_VALUES >= 16), out);
    for (size_t i = 0; i < 4; i++) out[i] = vmulq_f32(out[i], scale);
}

/* Few rows are a decode: what is read next comes from memory. Into L2, since L1 is too small to hold it until then. */
INLINE void prefetch(size_t rows, const uint8_t *next, size_t offset) {
    if (rows <= 2 && next) __builtin_prefetch(next + offset, 0, 2);
}

/* sum[i] += x[i] * the lane of `factor`; the lane must be a constant. */
#define FMA16(sum, x, factor, lane) \
    do { \
        (sum)[0] = vfmaq_laneq_f32((sum)[0], (x)[0], factor, lane); \
        (sum)[1] = vfmaq_laneq_f32((sum)[1], (x)[1], factor, lane); \
        (sum)[2] = vfmaq_laneq_f32((sum)[2], (x)[2], factor, lane); \
        (sum)[3] = vfmaq_laneq_f32((sum)[3], (x)[3], factor, lane); \
    } while (0)

/* `rows` x `pages` pages at once. */
INLINE void score_block(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                        size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                        float *score, size_t score_stride) {
    float32x4_t sum[4][4], q[4], k[4]; /* [row * pages + page] */
    for (size_t i = 0; i < rows * pages; i++)
        for (size_t j = 0; j < 4; j++) sum[i][j] = vdupq_n_f32(0.0f);
    size_t c = 0;
    for (; c + 4 <= head_dim; c += 4) {
        for (size_t r = 0; r < rows; r++) q[r] = vld1q_f32(query + r * query_stride + c);
        for (size_t p = 0; p < pages; p++) {
            for (size_t i = 0; i < 4; i++)
                prefetch(rows, next ? next[p] : NULL, type == ELEMENT_Q4 ? (c + i) * 8 : bytes_of(type, (c + i) * 16));
            keys16(type, key[p], head_dim, c, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 0);
            keys16(type, key[p], head_dim, c + 1, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 1);
            keys16(type, key[p], head_dim, c + 2, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 2);
            keys16(type, key[p], head_dim, c + 3, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 3);
        }
    }
    for (; c < head_dim; c++)
        for (size_t p = 0; p < pages; p++) {
            keys16(type, key[p], head_dim, c, k);
            for (size_t r = 0; r < rows; r++) {
                float32x4_t one = vld1q_dup_f32(query + r * query_stride + c);
                FMA16(sum[r * pages + p], k, one, 0);
            }
        }
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < pages * 4; i++) {
            float32x4_t value = sum[r * pages + i / 4][i % 4];
            if (type == ELEMENT_Q8) value = vmulq_f32(value, vld1q_f32(key_scale + 4 * i));
            vst1q_f32(score + r * score_stride + 4 * i, value);
        }
}

/* `together` pages while they fit, then one at a time. */
INLINE void score_rows(element type, size_t rows, size_t together, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                       float *score, size_t score_stride) {
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(type, rows, together, head_dim, query, query_stride, key + p, next ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
    for (; p < pages; p++)
        score_block(type, rows, 1, head_dim, query, query_stride, key + p, next ? next + p : NULL,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
}

/* Few rows take several pages, so that there are always enough chains to hide the latency of FMA. */
INLINE void score_page(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *const *key, const void *const *next, const float *key_scale,
                       float *score, size_t score_stride) {
    for (; rows >= 4; rows -= 4, query += 4 * query_stride, score += 4 * score_stride)
        score_rows(type, 4, 1, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride);
    if (rows == 3)
        score_rows(type, 3, 1, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride);
    if (rows == 2)
        score_rows(type, 2, 2, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride);
    if (rows == 1)
        score_rows(type, 1, 4, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride);
}

#define SCORE_PAGE(type, name) \
    void fv_score_page_##name##_neon(size_t rows, size_t pages, size_t head_dim, const float *query, \
                                     size_t query_stride, const void *const *key, const void *const *next, \
                                     const float *key_scale, float *score, size_t score_stride) { \
        score_page(type, rows, pages, head_dim, query, query_stride, key, next, key_scale, score, score_stride); \
    }
SCORE_PAGE(ELEMENT_F32, f32)
SCORE_PAGE(ELEMENT_F16, f16)
SCORE_PAGE(ELEMENT_BF16, bf16)
SCORE_PAGE(ELEMENT_Q8, q8)
SCORE_PAGE(ELEMENT_Q4, q4)

/* rows x 16 channels, from channel `first` on. */
INLINE void value_block(element type, size_t rows, size_t first, size_t head_dim, size_t keys, const float *weight,
                        size_t weight_stride, const uint8_t *value, const uint8_t *next, float *out,
                        size_t out_stride) {
    const size_t step = row_bytes(type, head_dim);
    float32x4_t sum[4][4], w[4], v[4];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < 4; j++) sum[r][j] = vld1q_f32(out + r * out_stride + first + 4 * j);
    size_t t = 0;
    for (; t + 4 <= keys; t += 4, value += 4 * step) {
        for (size_t r = 0; r < rows; r++) w[r] = vld1q_f32(weight + r * weight_stride + t);
        for (size_t i = 0; i < 4; i++) prefetch(rows, next, (t + i) * step + row_bytes(type, first));
        values16(type, value, first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 0);
        values16(type, value + step, first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 1);
        values16(type, value + 2 * step, first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 2);
        values16(type, value + 3 * step, first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 3);
    }
    for (; t < keys; t++, value += step) {
        values16(type, value, first, v);
        for (size_t r = 0; r < rows; r++) {
            float32x4_t one = vld1q_dup_f32(weight + r * weight_stride + t);
            FMA16(sum[r], v, one, 0);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < 4; j++) vst1q_f32(out + r * out_stride + first + 4 * j, sum[r][j]);
}

/* Sixteen channels while they fit, then single ones: each channel is the same chain in both. */
INLINE void value_rows(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                       size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    size_t c = 0;
    for (; c + 16 <= head_dim; c += 16)
        value_block(type, rows, c, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    for (; c < head_dim; c++)
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < keys; t++) {
                float x = value_at(type, (const uint8_t *)value + t * row_bytes(type, head_dim), c);
                out[r * out_stride + c] = __builtin_fmaf(weight[r * weight_stride + t], x, out[r * out_stride + c]);
            }
}

INLINE void value_sum(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                      size_t weight_stride, const void *value, const void *next, float *out, size_t out_stride) {
    for (; rows >= 4; rows -= 4, weight += 4 * weight_stride, out += 4 * out_stride)
        value_rows(type, 4, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 3) value_rows(type, 3, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 2) value_rows(type, 2, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
    if (rows == 1) value_rows(type, 1, head_dim, keys, weight, weight_stride, value, next, out, out_stride);
}

#define VALUE_SUM(type, name) \
    void fv_value_sum_##name##_neon(size_t rows, size_t head_dim, size_t keys, const float *weight, \
                                    size_t weight_stride, const void *value, const void *next, float *out, \
                                    size_t out_stride) { \
        value_sum(type, rows, head_dim, keys, weight, weight_stride, value, next, out, out_stride); \
    }
VALUE_SUM(ELEMENT_F32, f32)
VALUE_SUM(ELEMENT_F16, f16)
VALUE_SUM(ELEMENT_BF16, bf16)
VALUE_SUM(ELEMENT_Q8, q8)
VALUE_SUM(ELEMENT_Q4, q4)

INLINE void raise_maximum(size_t head_dim, float best, float *maximum, float *sum, float *out) {
    float32x4_t whole = vrndpq_f32(vdupq_n_f32(best)), factor = exp2_4(vdupq_n_f32(*maximum), whole);
    size_t c = 0;
    for (; c + 4 <= head_dim; c += 4) vst1q_f32(out + c, vmulq_f32(factor, vld1q_f32(out + c)));
    for (; c < head_dim; c++) out[c] *= vgetq_lane_f32(factor, 0);
    for (size_t i = 0; i < FV_SUM_LANES; i += 4) vst1q_f32(sum + i, vmulq_f32(factor, vld1q_f32(sum + i)));
    *maximum = vgetq_lane_f32(whole, 0);
}

void fv_softmax_chunk_neon(size_t rows, size_t columns, size_t head_dim, float factor, float *score, float *maximum,
                           float *sum, float *out, size_t out_stride) {
    const float32x4_t limit = vdupq_n_f32(3.402823466e38f);
    for (size_t r = 0; r < rows; r++, score += FV_CHUNK_KEYS, sum += FV_SUM_LANES, out += out_stride) {
        float32x4_t best4 = vdupq_n_f32(-FV_NO_MAXIMUM), total[4];
        for (size_t t = 0; t < columns; t += 4) { /* minnm: of a NaN and the limit, the limit */
            float32x4_t x = vminnmq_f32(vmulq_n_f32(vld1q_f32(score + t), factor), limit);
            vst1q_f32(score + t, x);
            best4 = vmaxq_f32(best4, x);
        }
        float best = vmaxvq_f32(best4);
        if (best > maximum[r] + FV_SOFTMAX_SLACK) raise_maximum(head_dim, best, maximum + r, sum, out);
        float32x4_t whole = vdupq_n_f32(maximum[r]);
        for (size_t i = 0; i < 4; i++) total[i] = vld1q_f32(sum + 4 * i);
        for (size_t t = 0; t < columns; t += 16)
            for (size_t i = 0; i < 4; i++) {
                float32x4_t p = exp2_4(vld1q_f32(score + t + 4 * i), whole);
                total[i] = vaddq_f32(total[i], p);
                vst1q_f32(score + t + 4 * i, p);
            }
        for (size_t i = 0; i < 4; i++) vst1q_f32(sum + 4 * i, total[i]);
    }
}
