/* AVX-512 VNNI on 256-bit registers. Limit: dpbusd (two a cycle on Zen 4), 32 registers let eight rows share a load. */
#include "kernels/avx2/packed_avx2.h"
#include "kernels/kernels.h"

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

INLINE void product_packed(fv_packed_type type, size_t columns, size_t panels, const void *packed, const fv_q8_rows *x,
                           float *out) {
    const uint8_t *group = packed;
    for (size_t p = 0; p < panels; p++, out += 8) {
        __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
        for (size_t g = 0; g < columns / 32; g++, group += fv_packed_group_bytes(type)) {
            __m256 scale, offset;
            __m256i steps[8], even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
            packed_steps(type, group, steps);
            packed_scales(type, group, &scale, &offset);
            for (size_t k = 0; k < 8; k += 2) {
                even = _mm256_dpbusd_epi32(even, steps[k], broadcast4(x->quants + 32 * g + 4 * k));
                odd = _mm256_dpbusd_epi32(odd, steps[k + 1], broadcast4(x->quants + 32 * g + 4 * k + 4));
            }
            __m256 dot = _mm256_cvtepi32_ps(_mm256_add_epi32(even, odd));
            a = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + g)), a);
            b = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(x->sum32 + g), b);
        }
        _mm256_storeu_ps(out, _mm256_add_ps(a, b));
    }
}

void fv_product_packed_q4_0_avx512(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q4_0, columns, panels, packed, x, out);
}

void fv_product_packed_q4_1_avx512(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q4_1, columns, panels, packed, x, out);
}

void fv_product_packed_q5_0_avx512(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q5_0, columns, panels, packed, x, out);
}

void fv_product_packed_q8_0_avx512(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q8_0, columns, panels, packed, x, out);
}
