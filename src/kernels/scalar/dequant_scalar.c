/* dequant_scalar.c - values of weight blocks; operations in the order of gguf-py, so the bits are its bits. */
#include "build.h"
#include "kernels/blocks.h"
#include "kernels/dequant.h"

#if FV_BUILD_MODEL || FV_BUILD_DITHER

void fv_dequant_f32_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *bytes = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i++) out[i] = fv_f32_from_bits(fv_load_u32(bytes + 4 * i));
}

void fv_dequant_f16_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *bytes = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i++) out[i] = fv_load_f16(bytes + 2 * i);
}

void fv_dequant_bf16_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *bytes = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i++) out[i] = fv_f32_from_bf16(fv_load_u16(bytes + 2 * i));
}

/* out = scale * (quants - shift) */
static void scale_shifted(int count, float scale, const uint8_t *quants, int shift, float *out) {
    for (int i = 0; i < count; i++) out[i] = scale * (float)(quants[i] - shift);
}

/* out = scale * quants + offset, two roundings */
static void scale_offset(int count, float scale, float offset, const uint8_t *quants, float *out) {
    for (int i = 0; i < count; i++) out[i] = scale * (float)quants[i] + offset;
}

void fv_dequant_q4_0_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_BLOCK_VALUES_Q4_0];
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q4_0, block += FV_BLOCK_BYTES_Q4_0) {
        fv_quants_q4_0(block, quants);
        scale_shifted(32, fv_load_f16(block), quants, 8, out + i);
    }
}

void fv_dequant_q4_1_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_BLOCK_VALUES_Q4_1];
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q4_1, block += FV_BLOCK_BYTES_Q4_1) {
        fv_quants_q4_1(block, quants);
        scale_offset(32, fv_load_f16(block), fv_load_f16(block + 2), quants, out + i);
    }
}

void fv_dequant_q5_0_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_BLOCK_VALUES_Q5_0];
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q5_0, block += FV_BLOCK_BYTES_Q5_0) {
        fv_quants_q5_0(block, quants);
        scale_shifted(32, fv_load_f16(block), quants, 16, out + i);
    }
}

void fv_dequant_q5_1_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_BLOCK_VALUES_Q5_1];
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q5_1, block += FV_BLOCK_BYTES_Q5_1) {
        fv_quants_q5_1(block, quants);
        scale_offset(32, fv_load_f16(block), fv_load_f16(block + 2), quants, out + i);
    }
}

void fv_dequant_q8_0_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_BLOCK_VALUES_Q8_0];
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q8_0, block += FV_BLOCK_BYTES_Q8_0) {
        fv_quants_q8_0(block, quants);
        scale_shifted(32, fv_load_f16(block), quants, 128, out + i);
    }
}

void fv_dequant_iq4_nl_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_BLOCK_VALUES_IQ4_NL];
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_IQ4_NL, block += FV_BLOCK_BYTES_IQ4_NL) {
        fv_quants_iq4_nl(block, quants);
        scale_shifted(32, fv_load_f16(block), quants, 128, out + i);
    }
}

void fv_dequant_q2_k_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_HALF_VALUES];
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q2_K) {
        float scale = fv_load_f16(block + 80), minimum = fv_load_f16(block + 82);
        for (int group = 0; group < 16; group++, out += 16) {
            if (group % 8 == 0) fv_quants_q2_k(block, group / 8, quants);
            scale_offset(16, scale * (float)(block[group] & 15), -(minimum * (float)(block[group] >> 4)),
                         quants + group % 8 * 16, out);
        }
    }
}

void fv_dequant_q3_k_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_HALF_VALUES];
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q3_K) {
        float scale = fv_load_f16(block + 108);
        for (int group = 0; group < 16; group++, out += 16) {
            if (group % 8 == 0) fv_quants_q3_k(block, group / 8, quants);
            scale_shifted(16, scale * (float)fv_scale_q3_k(block, group), quants + group % 8 * 16, 4, out);
        }
    }
}

/* One half of a block of Q4_K or Q5_K. */
static void dequant_q45_k(const uint8_t *block, int half, const uint8_t *quants, float *out) {
    float scale = fv_load_f16(block), minimum = fv_load_f16(block + 2);
    for (int group = 0; group < 4; group++) {
        int group_scale, group_minimum;
        fv_scale_q45_k(block, 4 * half + group, &group_scale, &group_minimum);
        scale_offset(32, scale * (float)group_scale, -(minimum * (float)group_minimum), quants + 32 * group,
                     out + 32 * group);
    }
}

void fv_dequant_q4_k_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_HALF_VALUES];
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q4_K)
        for (int half = 0; half < 2; half++, out += FV_HALF_VALUES) {
            fv_quants_q4_k(block, half, quants);
            dequant_q45_k(block, half, quants, out);
        }
}

void fv_dequant_q5_k_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_HALF_VALUES];
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q5_K)
        for (int half = 0; half < 2; half++, out += FV_HALF_VALUES) {
            fv_quants_q5_k(block, half, quants);
            dequant_q45_k(block, half, quants, out);
        }
}

void fv_dequant_q6_k_scalar(size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[FV_HALF_VALUES];
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q6_K) {
        float scale = fv_load_f16(block + 208);
        for (int group = 0; group < 16; group++, out += 16) {
            if (group % 8 == 0) fv_quants_q6_k(block, group / 8, quants);
            scale_shifted(16, scale * (float)fv_scale_q6_k(block, group), quants + group % 8 * 16, 32, out);
        }
    }
}

#endif
