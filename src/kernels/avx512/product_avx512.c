/* AVX-512 VNNI on 256-bit registers. Limit: dpbusd (two a cycle on Zen 4), 32 registers let eight rows share a load. */
#include "kernels/avx2/rows_avx2.h"
#include "kernels/kernels.h"

INLINE __m256i broadcast4(const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

INLINE void panel_block(size_t tokens, size_t group, size_t columns, const fv_panel *panel, const int8_t *quants,
                        const float *scale, const float *sum, float *out, size_t out_stride) {
    __m256 a[8], b[8];
    size_t groups = columns / group;
    for (size_t t = 0; t < tokens; t++) a[t] = b[t] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++) {
        const uint8_t *w = panel->quants + g * group * 8;
        __m256i dot[8];
        for (size_t t = 0; t < tokens; t++) dot[t] = _mm256_setzero_si256();
        for (size_t k = 0; k < group / 4; k++) {
            __m256i step = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32 * k));
            for (size_t t = 0; t < tokens; t++)
                dot[t] = _mm256_dpbusd_epi32(dot[t], step, broadcast4(quants + t * columns + g * group + 4 * k));
        }
        __m256 weight_scale = _mm256_loadu_ps(panel->scale + 8 * g), offset = _mm256_loadu_ps(panel->offset + 8 * g);
        for (size_t t = 0; t < tokens; t++) {
            __m256 s = _mm256_mul_ps(weight_scale, _mm256_broadcast_ss(scale + t * (columns / 32) + g * group / 32));
            a[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[t]), s, a[t]);
            b[t] = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(sum + t * groups + g), b[t]);
        }
    }
    for (size_t t = 0; t < tokens; t++) _mm256_storeu_ps(out + t * out_stride, _mm256_add_ps(a[t], b[t]));
}

INLINE void product_panel(size_t group, size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x,
                          float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    size_t t = 0;
    for (; t + 8 <= tokens; t += 8)
        panel_block(8, group, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                    sums + t * (columns / group), out + t * out_stride, out_stride);
    for (; t < tokens; t++)
        panel_block(1, group, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                    sums + t * (columns / group), out + t * out_stride, out_stride);
}

void fv_product_panel_u4_avx512(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                                size_t out_stride) {
    product_panel(32, columns, tokens, panel, x, out, out_stride);
}

void fv_product_panel_u6_avx512(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                                size_t out_stride) {
    product_panel(16, columns, tokens, panel, x, out, out_stride);
}

INLINE void product_rows(block_type type, size_t columns, size_t panels, const void *weights, size_t row_bytes,
                         const fv_q8_rows *x, float *out) {
    const uint8_t *rows = weights;
    for (size_t p = 0; p < panels; p++, rows += 8 * row_bytes, out += 8) {
        __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
        const uint8_t *block = rows;
        for (size_t g = 0; g < columns / 32; g++, block += block_bytes(type)) {
            __m256 scale, offset;
            block_scales(type, block, row_bytes, &scale, &offset);
            __m256i quants = _mm256_loadu_si256((const __m256i *)(const void *)(x->quants + 32 * g)), v[8];
            for (size_t r = 0; r < 8; r++)
                v[r] = _mm256_dpbusd_epi32(_mm256_setzero_si256(), block_quants(type, block + r * row_bytes), quants);
            a = _mm256_fmadd_ps(_mm256_cvtepi32_ps(reduce8(v)), _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + g)), a);
            b = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(x->sum32 + g), b);
        }
        _mm256_storeu_ps(out, _mm256_add_ps(a, b));
    }
}

void fv_product_rows_q4_0_avx512(size_t columns, size_t panels, const void *weights, size_t row_bytes,
                                 const fv_q8_rows *x, float *out) {
    product_rows(BLOCK_Q4_0, columns, panels, weights, row_bytes, x, out);
}

void fv_product_rows_q4_1_avx512(size_t columns, size_t panels, const void *weights, size_t row_bytes,
                                 const fv_q8_rows *x, float *out) {
    product_rows(BLOCK_Q4_1, columns, panels, weights, row_bytes, x, out);
}

void fv_product_rows_q5_0_avx512(size_t columns, size_t panels, const void *weights, size_t row_bytes,
                                 const fv_q8_rows *x, float *out) {
    product_rows(BLOCK_Q5_0, columns, panels, weights, row_bytes, x, out);
}

void fv_product_rows_q8_0_avx512(size_t columns, size_t panels, const void *weights, size_t row_bytes,
                                 const fv_q8_rows *x, float *out) {
    product_rows(BLOCK_Q8_0, columns, panels, weights, row_bytes, x, out);
}
