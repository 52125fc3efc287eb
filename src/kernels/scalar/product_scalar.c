/* Integer products of weight panels with int8 activations. */
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"

#if FV_BUILD_MODEL

void fv_quantize_q8_scalar(size_t n, const float *x, int8_t *quants, float *scale, float *sum16, float *sum32) {
    for (size_t b = 0; b < n / 32; b++, x += 32, quants += 32) {
        uint32_t best = 0; /* magnitudes in the order of their bits, so that a NaN is the largest */
        for (size_t i = 0; i < 32; i++) {
            uint32_t magnitude = fv_bits_from_f32(x[i]) & 0x7FFFFFFF;
            if (magnitude > best) best = magnitude;
        }
        float step = fv_f32_from_bits(best) / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
        int32_t half[2] = {0, 0};
        if (!(inverse <= 3.402823466e38f)) inverse = 0.0f; /* a subnormal block: all zero rather than infinite */
        for (size_t i = 0; i < 32; i++) {
            float q = x[i] * inverse;
            q = q < -127.0f ? -127.0f : q > 127.0f ? 127.0f : q == q ? q : 0.0f;
            q = (q + 12582912.0f) - 12582912.0f; /* nearest even */
            quants[i] = (int8_t)q;
            half[i / 16] += quants[i];
        }
        scale[b] = step;
        sum16[2 * b] = step * (float)half[0];
        sum16[2 * b + 1] = step * (float)half[1];
        sum32[b] = step * (float)(half[0] + half[1]);
    }
}

void fv_panel_pack_scalar(size_t columns, size_t groups, const uint8_t *quants, const float *scale, const float *offset,
                          uint8_t *out_quants, float *out_scale, float *out_offset) {
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < 8; r++) out_quants[(c / 4 * FV_PANEL_ROWS + r) * 4 + c % 4] = quants[r * columns + c];
    for (size_t g = 0; g < groups; g++)
        for (size_t r = 0; r < 8; r++) {
            out_scale[g * FV_PANEL_ROWS + r] = scale[r * groups + g];
            out_offset[g * FV_PANEL_ROWS + r] = offset[r * groups + g];
        }
}

static inline void product_panel(size_t group, size_t columns, size_t tokens, const fv_panel *panel,
                                 const fv_q8_rows *x, float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    size_t groups = columns / group, steps = group / 4;
    for (size_t token = 0; token < tokens; token++, out += out_stride) {
        const int8_t *quants = x->quants + token * columns;
        const float *scale = x->scale + token * (columns / 32);
        const float *sum = sums + token * groups;
        for (size_t r = 0; r < FV_PANEL_ROWS; r++) {
            float a = 0.0f, b = 0.0f;
            for (size_t g = 0; g < groups; g++) {
                const uint8_t *w = panel->quants + g * group * FV_PANEL_ROWS + r * 4;
                int32_t dot = 0;
                for (size_t k = 0; k < steps; k++)
                    for (size_t i = 0; i < 4; i++)
                        dot += (int32_t)w[k * 4 * FV_PANEL_ROWS + i] * quants[g * group + k * 4 + i];
                a += (float)dot * (panel->scale[g * FV_PANEL_ROWS + r] * scale[g * group / 32]);
                b += panel->offset[g * FV_PANEL_ROWS + r] * sum[g];
            }
            out[r] = a + b;
        }
    }
}

void fv_product_panel_scalar(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                             size_t out_stride) {
    if (panel->group == 16)
        product_panel(16, columns, tokens, panel, x, out, out_stride);
    else
        product_panel(32, columns, tokens, panel, x, out, out_stride);
}

#endif
