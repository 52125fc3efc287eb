/* Packed weights to panels, and the product of one activation row with eight-bit ones where they lie. */
#include "build.h"
#include "kernels/blocks.h"
#include "kernels/kernels.h"
#include "kernels/packed.h"

#if FV_BUILD_MODEL

/* 32 inputs of eight rows, four inputs at a time. */
static void quants_unpack(fv_packed_type type, const uint8_t *bytes, uint8_t *quants) {
    enum { STEP = 4 * FV_PACKED_ROWS };
    const uint8_t *upper = bytes + 4 * STEP, *values = fv_packed_lookup(type);
    for (size_t step = 0; step < 8; step++, quants += 4 * FV_PANEL_ROWS) {
        const uint8_t *low = bytes + step % 4 * STEP, *pairs = upper + step / 4 * STEP;
        for (size_t i = 0; i < STEP; i++) quants[i] = (uint8_t)(low[i] >> (step < 4 ? 0 : 4) & 15);
        for (size_t i = 0; type == FV_PACKED_Q8_0 && i < STEP; i++) quants[i] = bytes[step * STEP + i];
        for (size_t i = 0; fv_packed_has_fifths(type) && i < STEP; i++)
            quants[i] = (uint8_t)(quants[i] | (upper[i] >> step & 1) << 4);
        for (size_t i = 0; type == FV_PACKED_Q6_K && i < STEP; i++)
            quants[i] = (uint8_t)(quants[i] | (pairs[i] >> (2 * (step % 4)) & 3) << 4);
    }
    for (size_t step = 0; values && step < 8; step++) { /* from the last step to the first */
        quants -= 4 * FV_PANEL_ROWS;
        for (size_t i = 0; i < STEP; i++) quants[i] = values[quants[i]];
    }
}

static void quants_unpack_pairs(fv_packed_type type, const uint8_t *bytes, uint8_t *quants) {
    enum { STEP = 4 * FV_PACKED_ROWS };
    for (size_t step = 0; step < 8; step++, quants += 4 * FV_PANEL_ROWS)
        for (size_t i = 0; i < STEP; i++) {
            int third = type == FV_PACKED_Q3_K ? bytes[FV_PACKED_Q3_K_THIRDS + i] >> step & 1 : 0;
            quants[i] = (uint8_t)((bytes[step / 4 * STEP + i] >> (2 * (step % 4)) & 3) | third << 2);
        }
}

static void scales_unpack(fv_packed_type type, const uint8_t *block, float *scale, float *offset) {
    const uint8_t *minima = fv_packed_has_minima(type) ? block + FV_PACKED_MINIMA : NULL;
    float bias = fv_packed_bias(type);
    for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
        scale[r] = fv_load_f16(block + 2 * r);
        offset[r] = minima ? fv_load_f16(minima + 2 * r) : scale[r] * bias;
    }
}

static void scales_unpack_mxfp4(const uint8_t *block, float *scale, float *offset) {
    for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
        scale[r] = fv_half_e8m0(block[r]);
        offset[r] = scale[r] * fv_packed_bias(FV_PACKED_MXFP4);
    }
}

/* Q4_K, Q5_K: one group of 32. */
static void scales_unpack_q45_k(const uint8_t *block, size_t group, float *scale, float *offset) {
    const uint8_t *low = block + FV_PACKED_SUPER_SCALES + 8 * group,
                  *tops = block + FV_PACKED_SUPER_TOPS + 8 * (group % 4);
    for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
        int top = tops[r] >> (group < 4 ? 0 : 4), steps = (low[r] & 15) | (top & 3) << 4;
        int minimum = low[r] >> 4 | (top >> 2 & 3) << 4;
        scale[r] = fv_load_f16(block + 2 * r) * (float)steps;
        offset[r] = -(fv_load_f16(block + FV_PACKED_MINIMA + 2 * r) * (float)minimum);
    }
}

static void scales_unpack_iq4_xs(const uint8_t *block, size_t group, float *scale, float *offset) {
    const uint8_t *low = block + FV_PACKED_XS_SCALES + 8 * (group % 4),
                  *tops = block + FV_PACKED_XS_TOPS + 8 * (group % 2);
    for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
        int steps = (low[r] >> (group < 4 ? 0 : 4) & 15) | (tops[r] >> (2 * (group / 2)) & 3) << 4;
        scale[r] = fv_load_f16(block + 2 * r) * (float)(steps - 32);
        offset[r] = scale[r] * fv_packed_bias(FV_PACKED_IQ4_XS);
    }
}

/* Group g of 16. */
static void scales_unpack_q2_k(const uint8_t *block, size_t g, float *scale, float *offset) {
    for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
        int both = block[FV_PACKED_Q2_K_SCALES + 8 * g + r];
        scale[r] = fv_load_f16(block + 2 * r) * (float)(both & 15);
        offset[r] = -(fv_load_f16(block + FV_PACKED_MINIMA + 2 * r) * (float)(both >> 4));
    }
}

static void scales_unpack_q3_k(const uint8_t *block, size_t g, float *scale, float *offset) {
    for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
        int low = block[FV_PACKED_Q3_K_SCALES + 8 * (g % 8) + r] >> (g < 8 ? 0 : 4) & 15;
        int top = block[FV_PACKED_Q3_K_TOPS + 8 * (g % 4) + r] >> (2 * (g / 4)) & 3;
        scale[r] = fv_load_f16(block + 2 * r) * (float)((low | top << 4) - 32);
        offset[r] = scale[r] * fv_packed_bias(FV_PACKED_Q3_K);
    }
}

/* Two groups of 16. */
static void scales_unpack_pairs(fv_packed_type type, const uint8_t *block, size_t group, float *scale, float *offset) {
    for (size_t half = 0; half < 2; half++, scale += FV_PANEL_ROWS, offset += FV_PANEL_ROWS)
        if (type == FV_PACKED_Q2_K)
            scales_unpack_q2_k(block, 2 * group + half, scale, offset);
        else
            scales_unpack_q3_k(block, 2 * group + half, scale, offset);
}

/* Two groups of 16. */
static void scales_unpack_q6_k(const uint8_t *block, size_t group, float *scale, float *offset) {
    for (size_t half = 0; half < 2; half++)
        for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
            int byte = block[16 + 8 * (2 * group + half) + r], steps = byte < 128 ? byte : byte - 256;
            float value = fv_load_f16(block + 2 * r) * (float)steps;
            scale[half * FV_PANEL_ROWS + r] = value;
            offset[half * FV_PANEL_ROWS + r] = value * fv_packed_bias(FV_PACKED_Q6_K);
        }
}

void fv_panel_unpack_scalar(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                            float *offset) {
    size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    const uint8_t *block = (const uint8_t *)packed;
    for (size_t b = 0; b < columns / 32 / groups; b++, block += fv_packed_block_bytes(type))
        for (size_t g = 0; g < groups; g++) {
            if (type == FV_PACKED_Q6_K)
                scales_unpack_q6_k(block, g, scale, offset);
            else if (FV_BUILD_GRIDS && type == FV_PACKED_IQ4_XS)
                scales_unpack_iq4_xs(block, g, scale, offset);
            else if (fv_packed_is_mxfp4(type))
                scales_unpack_mxfp4(block, scale, offset);
            else if (fv_packed_is_pairs(type))
                scales_unpack_pairs(type, block, g, scale, offset);
            else if (groups > 1)
                scales_unpack_q45_k(block, g, scale, offset);
            else
                scales_unpack(type, block, scale, offset);
            const uint8_t *bytes = block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type);
            if (fv_packed_is_pairs(type))
                quants_unpack_pairs(type, bytes, quants);
            else
                quants_unpack(type, bytes, quants);
            quants += 32 * FV_PANEL_ROWS;
            scale += scales * FV_PANEL_ROWS;
            offset += scales * FV_PANEL_ROWS;
        }
}

/* For chips, which have no fast kernels and no room for panels: a weight is loaded once and not copied. Sums in the
 * order of the panel product. */
static void product_q8_0(size_t columns, size_t eights, const uint8_t *group, const fv_q8_rows *x, float *out) {
    for (size_t e = 0; e < eights; e++, out += FV_PACKED_ROWS) {
        float sum[FV_PACKED_ROWS] = {0}, offset[FV_PACKED_ROWS] = {0};
        for (size_t g = 0; g < columns / 32; g++, group += fv_packed_block_bytes(FV_PACKED_Q8_0)) {
            for (size_t r = 0; r < FV_PACKED_ROWS; r++) {
                const uint8_t *w = group + fv_packed_header_bytes(FV_PACKED_Q8_0) + 4 * r;
                const int8_t *quants = x->quants + 32 * g;
                float scale = fv_load_f16(group + 2 * r);
                int32_t dot = 0;
                for (size_t k = 0; k < 8; k++, w += 4 * FV_PACKED_ROWS, quants += 4)
                    dot += w[0] * quants[0] + w[1] * quants[1] + w[2] * quants[2] + w[3] * quants[3];
                sum[r] += (float)dot * (scale * x->scale[g]);
                offset[r] += scale * fv_packed_bias(FV_PACKED_Q8_0) * x->sum32[g];
            }
        }
        for (size_t r = 0; r < FV_PACKED_ROWS; r++) out[r] = sum[r] + offset[r];
    }
}

bool fv_product_packed_scalar(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                              const fv_q8_rows *x, float *out, size_t out_stride) {
    if (type != FV_PACKED_Q8_0 || tokens > FV_PACKED_TOKENS) return false;
    for (size_t t = 0; t < tokens; t++) {
        fv_q8_rows one = fv_q8_rows_from(x, columns, t);
        product_q8_0(columns, eights, (const uint8_t *)packed, &one, out + t * out_stride);
    }
    return true;
}

#endif
