/* unpack_scalar.c - weight blocks to unsigned quants, scales and offsets, for the integer product. */
#include "build.h"
#include "kernels/blocks.h"
#include "kernels/unpack.h"

#if FV_BUILD_MODEL || FV_BUILD_DITHER

void fv_unpack_q4_0_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q4_0, block += FV_BLOCK_BYTES_Q4_0) {
        fv_quants_q4_0(block, quants + i);
        *scale = fv_load_f16(block);
        *offset++ = -8 * *scale++;
    }
}

void fv_unpack_q4_1_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q4_1, block += FV_BLOCK_BYTES_Q4_1) {
        fv_quants_q4_1(block, quants + i);
        *scale++ = fv_load_f16(block);
        *offset++ = fv_load_f16(block + 2);
    }
}

void fv_unpack_q5_0_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q5_0, block += FV_BLOCK_BYTES_Q5_0) {
        fv_quants_q5_0(block, quants + i);
        *scale = fv_load_f16(block);
        *offset++ = -16 * *scale++;
    }
}

void fv_unpack_q5_1_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q5_1, block += FV_BLOCK_BYTES_Q5_1) {
        fv_quants_q5_1(block, quants + i);
        *scale++ = fv_load_f16(block);
        *offset++ = fv_load_f16(block + 2);
    }
}

void fv_unpack_q8_0_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_Q8_0, block += FV_BLOCK_BYTES_Q8_0) {
        fv_quants_q8_0(block, quants + i);
        *scale = fv_load_f16(block);
        *offset++ = -128 * *scale++;
    }
}

void fv_unpack_iq4_nl_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_BLOCK_VALUES_IQ4_NL, block += FV_BLOCK_BYTES_IQ4_NL) {
        fv_quants_iq4_nl(block, quants + i);
        *scale = fv_load_f16(block);
        *offset++ = -128 * *scale++;
    }
}

void fv_unpack_q2_k_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q2_K) {
        float block_scale = fv_load_f16(block + 80), minimum = fv_load_f16(block + 82);
        for (int half = 0; half < 2; half++) fv_quants_q2_k(block, half, quants + i + FV_HALF_VALUES * half);
        for (int group = 0; group < 16; group++) {
            *scale++ = block_scale * (float)(block[group] & 15);
            *offset++ = -(minimum * (float)(block[group] >> 4));
        }
    }
}

void fv_unpack_q3_k_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q3_K) {
        float block_scale = fv_load_f16(block + 108);
        for (int half = 0; half < 2; half++) fv_quants_q3_k(block, half, quants + i + FV_HALF_VALUES * half);
        for (int group = 0; group < 16; group++) {
            *scale = block_scale * (float)fv_scale_q3_k(block, group);
            *offset++ = -4 * *scale++;
        }
    }
}

/* Scales and offsets of one block of Q4_K or Q5_K. */
static void scales_q45_k(const uint8_t *block, float *scale, float *offset) {
    float block_scale = fv_load_f16(block), minimum = fv_load_f16(block + 2);
    for (int group = 0; group < 8; group++) {
        int group_scale, group_minimum;
        fv_scale_q45_k(block, group, &group_scale, &group_minimum);
        scale[group] = block_scale * (float)group_scale;
        offset[group] = -(minimum * (float)group_minimum);
    }
}

void fv_unpack_q4_k_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q4_K) {
        for (int half = 0; half < 2; half++) fv_quants_q4_k(block, half, quants + i + FV_HALF_VALUES * half);
        scales_q45_k(block, scale + i / 32, offset + i / 32);
    }
}

void fv_unpack_q5_k_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q5_K) {
        for (int half = 0; half < 2; half++) fv_quants_q5_k(block, half, quants + i + FV_HALF_VALUES * half);
        scales_q45_k(block, scale + i / 32, offset + i / 32);
    }
}

void fv_unpack_q6_k_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    for (size_t i = 0; i < values; i += FV_SUPER_VALUES, block += FV_BLOCK_BYTES_Q6_K) {
        float block_scale = fv_load_f16(block + 208);
        for (int half = 0; half < 2; half++) fv_quants_q6_k(block, half, quants + i + FV_HALF_VALUES * half);
        for (int group = 0; group < 16; group++) {
            *scale = block_scale * (float)fv_scale_q6_k(block, group);
            *offset++ = -32 * *scale++;
        }
    }
}

#endif
