/* panel_avx2.h - products of a panel of 32 rows from what dot products of bytes an instruction set has: scales, sums
 * and blocks of tokens; shared by AVX2 and AVX-VNNI. */
#ifndef FV_PANEL_AVX2_H
#define FV_PANEL_AVX2_H

#include "kernels/avx2/packed_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>

enum { PANEL_VECTORS = FV_PANEL_ROWS / 8, PANEL_TOKENS = 3 /* at most, that are multiplied at once */ };

/* Dot products of a group of inputs: dot[token * PANEL_VECTORS + vector]. */
typedef void panel_dot_fn(size_t tokens, size_t group, size_t deep, size_t columns, const uint8_t *w, const int8_t *x,
                          __m256i *dot);

INLINE void panel_block(panel_dot_fn *dot_of, size_t tokens, size_t group, size_t deep, size_t columns,
                        const fv_panel *panel, const int8_t *quants, const float *scale, const float *sum, float *out,
                        size_t out_stride) {
    __m256 a[PANEL_TOKENS * PANEL_VECTORS], b[PANEL_TOKENS * PANEL_VECTORS];
    size_t groups = columns / group;
    for (size_t i = 0; i < tokens * PANEL_VECTORS; i++) a[i] = b[i] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++) {
        __m256i dot[PANEL_TOKENS * PANEL_VECTORS];
        dot_of(tokens, group, deep, columns, panel->quants + g * group * FV_PANEL_ROWS, quants + g * group, dot);
        for (size_t v = 0; v < PANEL_VECTORS; v++) {
            __m256 weight_scale = _mm256_loadu_ps(panel->scale + g * FV_PANEL_ROWS + 8 * v);
            __m256 offset = _mm256_loadu_ps(panel->offset + g * FV_PANEL_ROWS + 8 * v);
            for (size_t t = 0; t < tokens; t++) {
                size_t i = t * PANEL_VECTORS + v;
                __m256 s =
                    _mm256_mul_ps(weight_scale, _mm256_broadcast_ss(scale + t * (columns / 32) + g * group / 32));
                a[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i]), s, a[i]);
                b[i] = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(sum + t * groups + g), b[i]);
            }
        }
    }
    for (size_t t = 0; t < tokens; t++)
        for (size_t v = 0; v < PANEL_VECTORS; v++)
            _mm256_storeu_ps(out + t * out_stride + 8 * v,
                             _mm256_add_ps(a[t * PANEL_VECTORS + v], b[t * PANEL_VECTORS + v]));
}

/* `together` tokens at once, then what is left. */
INLINE void panel_product(panel_dot_fn *dot_of, size_t together, size_t group, size_t deep, size_t columns,
                          size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    size_t t = 0;
#define PANEL_BLOCK(count) \
    panel_block(dot_of, count, group, deep, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32), \
                sums + t * (columns / group), out + t * out_stride, out_stride)
    for (; t + together <= tokens; t += together) PANEL_BLOCK(together);
    if (together > 2 && t + 2 <= tokens) {
        PANEL_BLOCK(2);
        t += 2;
    }
    if (t < tokens) PANEL_BLOCK(1);
#undef PANEL_BLOCK
}

#endif
