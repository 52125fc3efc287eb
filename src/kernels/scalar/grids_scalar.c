/* grids_scalar.c - values of the types whose quants are looked up: IQ2, IQ3 (points of a grid and signs), IQ4_XS and
 * MXFP4 (sixteen values). Each type is one function that reads 32 values; dequant and unpack are the same loop around
 * it. */
#include "build.h"
#include "kernels/blocks.h"
#include "kernels/dequant.h"
#include "kernels/grids.h"
#include "kernels/unpack.h"

#if FV_BUILD_GRIDS && (FV_BUILD_MODEL || FV_BUILD_DITHER)

enum { GROUP = 32, HALVES = 2 };

/* value = scale[i / 16] * (quants[i] - shift): group `group` of a block. */
typedef void group_fn(const uint8_t *block, size_t group, uint8_t *quants, float *scale);

typedef struct grid_type {
    group_fn *read;
    size_t block_values, block_bytes;
    int shift; /* the largest magnitude */
} grid_type;

/* Eight values at a time, a byte each: no sum here reaches the next byte. */
#define BYTES(value) (UINT64_C(0x0101010101010101) * (value))

/* shift + magnitude, or - where its sign bit is set. */
static void eight_quants(uint64_t magnitudes, unsigned signs, unsigned shift, uint8_t *quants) {
    uint64_t bits = BYTES(signs) & UINT64_C(0x8040201008040201);
    uint64_t negative = ((bits + BYTES(0x7F)) >> 7 & BYTES(1)) * 0xFF;
    uint64_t eight = BYTES(shift) + magnitudes - 2 * (magnitudes & negative);
    quants[0] = (uint8_t)eight; /* written out, compilers make one store of it */
    quants[1] = (uint8_t)(eight >> 8);
    quants[2] = (uint8_t)(eight >> 16);
    quants[3] = (uint8_t)(eight >> 24);
    quants[4] = (uint8_t)(eight >> 32);
    quants[5] = (uint8_t)(eight >> 40);
    quants[6] = (uint8_t)(eight >> 48);
    quants[7] = (uint8_t)(eight >> 56);
}

/* Eight magnitudes of IQ2, of two bits each: 8, 25, 43; no point has a 3. */
static void point_iq2(unsigned point, unsigned signs, uint8_t *quants) {
    uint64_t x = point;
    x = (x | x << 24) & UINT64_C(0x000000FF000000FF);
    x = (x | x << 12) & UINT64_C(0x000F000F000F000F);
    x = (x | x << 6) & BYTES(3);
    eight_quants(BYTES(8) + (x & BYTES(1)) * 17 + (x >> 1 & BYTES(1)) * 35, signs, 43, quants);
}

/* Four numbers of three bits, as bytes. */
static uint32_t four_of_3_bits(unsigned point) {
    uint32_t x = (point | (uint32_t)point << 10) & 0x003F003F;
    return (x | x << 5) & 0x07070707;
}

static uint64_t eight_of_3_bits(unsigned first, unsigned second) {
    return four_of_3_bits(first) | (uint64_t)four_of_3_bits(second) << 32;
}

/* Of seven signs the eighth: an even number of them is negative. */
static unsigned eight_signs(unsigned seven) {
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

/* f16 scale, 8 x (4 points, u32 of four times seven signs and four bits of scale). */
static void group_iq2_xxs(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    const uint8_t *points = block + 2 + 8 * group;
    uint32_t rest = fv_load_u32(points + 4);
    scale[0] = scale[1] = fv_load_f16(block) * (0.5f + (float)(rest >> 28)) * 0.25f;
    for (size_t k = 0; k < 4; k++)
        point_iq2(fv_grid_iq2_xxs[points[k]], eight_signs(rest >> (7 * k) & 127), quants + 8 * k);
}

/* f16 scale, u16[32] of nine bits of point and seven signs, scales[8] of two nibbles. */
static void group_iq2_xs(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    int scales = block[66 + group];
    scale[0] = fv_load_f16(block) * (0.5f + (float)(scales & 15)) * 0.25f;
    scale[1] = fv_load_f16(block) * (0.5f + (float)(scales >> 4)) * 0.25f;
    for (size_t k = 0; k < 4; k++) {
        unsigned code = fv_load_u16(block + 2 + 8 * group + 2 * k);
        point_iq2(fv_grid_iq2_xs[code & 511], eight_signs(code >> 9), quants + 8 * k);
    }
}

/* f16 scale, points[32], signs[32], high bits of points[8], scales[8] of two nibbles. */
static void group_iq2_s(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    int scales = block[74 + group];
    scale[0] = fv_load_f16(block) * (0.5f + (float)(scales & 15)) * 0.25f;
    scale[1] = fv_load_f16(block) * (0.5f + (float)(scales >> 4)) * 0.25f;
    for (size_t k = 0; k < 4; k++) {
        unsigned point = block[2 + 4 * group + k] | (block[66 + group] >> (2 * k) & 3u) << 8;
        point_iq2(fv_grid_iq2_s[point], block[34 + 4 * group + k], quants + 8 * k);
    }
}

/* f16 scale, points[64], u32[8] as in IQ2_XXS. Magnitudes 4, 12, 20, 28, 36, 44, 52, 62. */
static void group_iq3_xxs(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    const uint8_t *points = block + 2 + 8 * group;
    uint32_t rest = fv_load_u32(block + 66 + 4 * group);
    scale[0] = scale[1] = fv_load_f16(block) * (0.5f + (float)(rest >> 28)) * 0.5f;
    for (size_t k = 0; k < 4; k++) {
        uint64_t x = eight_of_3_bits(fv_grid_iq3_xxs[points[2 * k]], fv_grid_iq3_xxs[points[2 * k + 1]]);
        uint64_t last = x & x >> 1 & x >> 2 & BYTES(1);
        eight_quants(BYTES(4) + 8 * x + 2 * last, eight_signs(rest >> (7 * k) & 127), 62, quants + 8 * k);
    }
}

/* f16 scale, points[64], high bits of points[8], signs[32], scales[4] of two nibbles. Magnitudes 1, 3 .. 15. */
static void group_iq3_s(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    const uint8_t *points = block + 2 + 8 * group;
    int nibble = block[106 + group / 2] >> (4 * (group % 2)) & 15;
    scale[0] = scale[1] = fv_load_f16(block) * (float)(1 + 2 * nibble);
    for (size_t k = 0; k < 4; k++) {
        unsigned high = block[66 + group] >> (2 * k);
        uint64_t x = eight_of_3_bits(fv_grid_iq3_s[points[2 * k] | (high & 1) << 8],
                                     fv_grid_iq3_s[points[2 * k + 1] | (high >> 1 & 1) << 8]);
        eight_quants(BYTES(1) + 2 * x, block[74 + 4 * group + k], 15, quants + 8 * k);
    }
}

/* f16 scale, u16 of the scales' upper two bits, scales[4] of two nibbles, nibbles[128]. */
static void group_iq4_xs(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    int low = block[4 + group / 2] >> (4 * (group % 2)) & 15, high = fv_load_u16(block + 2) >> (2 * group) & 3;
    scale[0] = scale[1] = fv_load_f16(block) * (float)((low | high << 4) - 32);
    fv_nibbles_32(block + 8 + 16 * group, quants);
    for (size_t i = 0; i < GROUP; i++) quants[i] = fv_iq4_nl_values[quants[i]];
}

/* An exponent, nibbles[16] of e2m1 numbers, doubled (OCP Microscaling Formats 1.0). */
static void group_mxfp4(const uint8_t *block, size_t group, uint8_t *quants, float *scale) {
    (void)group;
    scale[0] = scale[1] = fv_half_e8m0(block[0]);
    fv_nibbles_32(block + 1, quants);
    for (size_t i = 0; i < GROUP; i++) quants[i] = fv_mxfp4_values[quants[i]];
}

static void dequant(const grid_type *type, size_t values, const void *blocks, float *out) {
    const uint8_t *block = (const uint8_t *)blocks;
    uint8_t quants[GROUP];
    float scale[HALVES];
    for (size_t i = 0; i < values; i += GROUP) {
        if (i && i % type->block_values == 0) block += type->block_bytes;
        type->read(block, i % type->block_values / GROUP, quants, scale);
        for (size_t k = 0; k < GROUP; k++) out[i + k] = scale[k / 16] * (float)(quants[k] - type->shift);
    }
}

/* One scale for 32 values. */
static void unpack(const grid_type *type, size_t values, const void *blocks, uint8_t *quants, float *scale,
                   float *offset) {
    const uint8_t *block = (const uint8_t *)blocks;
    float halves[HALVES];
    for (size_t i = 0; i < values; i += GROUP) {
        if (i && i % type->block_values == 0) block += type->block_bytes;
        type->read(block, i % type->block_values / GROUP, quants + i, halves);
        *scale++ = halves[0];
        *offset++ = -(float)type->shift * halves[0];
    }
}

#define GRID_TYPE(NAME, name, shift) \
    static const grid_type type_##name = {group_##name, FV_BLOCK_VALUES_##NAME, FV_BLOCK_BYTES_##NAME, shift}; \
    void fv_dequant_##name##_scalar(size_t values, const void *blocks, float *out) { \
        dequant(&type_##name, values, blocks, out); \
    }
#define GRID_UNPACK(name) \
    void fv_unpack_##name##_scalar(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset) { \
        unpack(&type_##name, values, blocks, quants, scale, offset); \
    }

GRID_TYPE(IQ2_XXS, iq2_xxs, 43)
GRID_TYPE(IQ2_XS, iq2_xs, 43)
GRID_TYPE(IQ2_S, iq2_s, 43)
GRID_TYPE(IQ3_XXS, iq3_xxs, 62)
GRID_TYPE(IQ3_S, iq3_s, 15)
GRID_TYPE(IQ4_XS, iq4_xs, 128)
GRID_TYPE(MXFP4, mxfp4, 12)
GRID_UNPACK(iq2_xxs)
GRID_UNPACK(iq3_xxs)
GRID_UNPACK(iq3_s)
GRID_UNPACK(iq4_xs)
GRID_UNPACK(mxfp4)

#endif
