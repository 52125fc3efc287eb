/* Limit: FMA for four rows, loads and conversions of the key for fewer. Blocking: 4 rows x 16 keys (or 16 channels) are
 * 16 sums; with four registers of keys and four of queries, whose lanes FMA takes as they are, 24 of 32 registers are
 * used. f16 is widened and not computed with: sums of f16 products in f16 would be outside the bound. */
#include "kernels/kernels.h"
#include "kernels/neon/exp_neon.h"
#include <arm_neon.h>

typedef enum element { ELEMENT_F32, ELEMENT_F16, ELEMENT_Q8 } element;

INLINE float32x4_t widen4_f16(const uint16_t *x) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x))); }

/* Sixteen elements from `index` on. */
INLINE void load16(element type, const void *data, size_t index, float32x4_t out[4]) {
    if (type == ELEMENT_Q8) {
        int8x16_t bytes = vld1q_s8((const int8_t *)data + index);
        int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
        out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
        out[1] = vcvtq_f32_s32(vmovl_high_s16(low));
        out[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
        out[3] = vcvtq_f32_s32(vmovl_high_s16(high));
        return;
    }
    for (size_t i = 0; i < 4; i++)
        out[i] = type == ELEMENT_F32 ? vld1q_f32((const float *)data + index + 4 * i)
                                     : widen4_f16((const uint16_t *)data + index + 4 * i);
}

INLINE float element_at(element type, const void *data, size_t index) {
    if (type == ELEMENT_F32) return ((const float *)data)[index];
    if (type == ELEMENT_F16)
        return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16((const uint16_t *)data + index))), 0);
    return (float)((const int8_t *)data)[index];
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
                        size_t query_stride, const void *key, const float *key_scale, float *score,
                        size_t score_stride) {
    float32x4_t sum[4][4], q[4], k[4]; /* [row * pages + page] */
    for (size_t i = 0; i < rows * pages; i++)
        for (size_t j = 0; j < 4; j++) sum[i][j] = vdupq_n_f32(0.0f);
    size_t c = 0;
    for (; c + 4 <= head_dim; c += 4) {
        for (size_t r = 0; r < rows; r++) q[r] = vld1q_f32(query + r * query_stride + c);
        for (size_t p = 0; p < pages; p++) {
            load16(type, key, (p * head_dim + c) * 16, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 0);
            load16(type, key, (p * head_dim + c + 1) * 16, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 1);
            load16(type, key, (p * head_dim + c + 2) * 16, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 2);
            load16(type, key, (p * head_dim + c + 3) * 16, k);
            for (size_t r = 0; r < rows; r++) FMA16(sum[r * pages + p], k, q[r], 3);
        }
    }
    for (; c < head_dim; c++)
        for (size_t p = 0; p < pages; p++) {
            load16(type, key, (p * head_dim + c) * 16, k);
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
                       size_t query_stride, const void *key, const float *key_scale, float *score,
                       size_t score_stride) {
    const size_t page_bytes = 16 * head_dim * (type == ELEMENT_F32 ? 4 : type == ELEMENT_F16 ? 2 : 1);
    const unsigned char *panel = key;
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(type, rows, together, head_dim, query, query_stride, panel + p * page_bytes,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
    for (; p < pages; p++)
        score_block(type, rows, 1, head_dim, query, query_stride, panel + p * page_bytes,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
}

/* Few rows take several pages, so that there are always enough chains to hide the latency of FMA. */
INLINE void score_page(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *key, const float *key_scale, float *score,
                       size_t score_stride) {
    for (; rows >= 4; rows -= 4, query += 4 * query_stride, score += 4 * score_stride)
        score_rows(type, 4, 1, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 3) score_rows(type, 3, 1, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 2) score_rows(type, 2, 2, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 1) score_rows(type, 1, 4, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_f32_neon(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                            const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_F32, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_f16_neon(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                            const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_F16, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_q8_neon(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                           const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_Q8, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

/* rows x 16 channels, from channel `first` on. */
INLINE void value_block(element type, size_t rows, size_t first, size_t head_dim, size_t keys, const float *weight,
                        size_t weight_stride, const void *value, float *out, size_t out_stride) {
    float32x4_t sum[4][4], w[4], v[4];
    for (size_t r = 0; r < rows; r++) load16(ELEMENT_F32, out + r * out_stride + first, 0, sum[r]);
    size_t t = 0;
    for (; t + 4 <= keys; t += 4) {
        for (size_t r = 0; r < rows; r++) w[r] = vld1q_f32(weight + r * weight_stride + t);
        load16(type, value, t * head_dim + first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 0);
        load16(type, value, (t + 1) * head_dim + first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 1);
        load16(type, value, (t + 2) * head_dim + first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 2);
        load16(type, value, (t + 3) * head_dim + first, v);
        for (size_t r = 0; r < rows; r++) FMA16(sum[r], v, w[r], 3);
    }
    for (; t < keys; t++) {
        load16(type, value, t * head_dim + first, v);
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
                       size_t weight_stride, const void *value, float *out, size_t out_stride) {
    size_t c = 0;
    for (; c + 16 <= head_dim; c += 16)
        value_block(type, rows, c, head_dim, keys, weight, weight_stride, value, out, out_stride);
    for (; c < head_dim; c++)
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < keys; t++)
                out[r * out_stride + c] = __builtin_fmaf(
                    weight[r * weight_stride + t], element_at(type, value, t * head_dim + c), out[r * out_stride + c]);
}

INLINE void value_sum(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                      size_t weight_stride, const void *value, float *out, size_t out_stride) {
    for (; rows >= 4; rows -= 4, weight += 4 * weight_stride, out += 4 * out_stride)
        value_rows(type, 4, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 3) value_rows(type, 3, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 2) value_rows(type, 2, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 1) value_rows(type, 1, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_f32_neon(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                           const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_F32, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_f16_neon(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                           const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_F16, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_q8_neon(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                          const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_Q8, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

/* Sixteen scores at a time; where all of them are masked their exponentials are 0 and not computed. */
void fv_softmax_chunk_neon(size_t rows, size_t head_dim, float scale, float *score, float *maximum, float *sum,
                           float *out, size_t out_stride) {
    enum { VECTORS = FV_CHUNK_KEYS / 4 };
    const float32x4_t limit = vdupq_n_f32(3.402823466e38f);
    for (size_t r = 0; r < rows; r++, score += FV_CHUNK_KEYS, out += out_stride) {
        float32x4_t s[VECTORS], best[4], total = vdupq_n_f32(0.0f);
        for (size_t j = 0; j < VECTORS; j++) { /* minnm: of a NaN and the limit, the limit */
            s[j] = vminnmq_f32(vmulq_n_f32(vld1q_f32(score + 4 * j), scale), limit);
            best[j / 4] = j % 4 ? vmaxq_f32(best[j / 4], s[j]) : s[j];
        }
        float32x4_t all = vmaxq_f32(vmaxq_f32(best[0], best[1]), vmaxq_f32(best[2], best[3]));
        float top = vmaxvq_f32(vmaxq_f32(all, vdupq_n_f32(maximum[r])));
        for (size_t j = 0; j < VECTORS; j++) {
            float32x4_t p = vdupq_n_f32(0.0f);
            if (vmaxvq_f32(best[j / 4]) >= -3.402823466e38f) p = exp4(vsubq_f32(s[j], vdupq_n_f32(top)));
            total = vaddq_f32(total, p);
            vst1q_f32(score + 4 * j, p);
        }
        if (top > maximum[r]) { /* most chunks raise no maximum: nothing to rescale, the factor is exactly 1 */
            float factor = vgetq_lane_f32(exp4(vdupq_n_f32(maximum[r] - top)), 0);
            sum[r] *= factor;
            size_t c = 0;
            for (; c + 4 <= head_dim; c += 4) vst1q_f32(out + c, vmulq_n_f32(vld1q_f32(out + c), factor));
            for (; c < head_dim; c++) out[c] *= factor;
            maximum[r] = top;
        }
        sum[r] += vaddvq_f32(total);
    }
}
