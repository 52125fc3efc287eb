/* blocks.h - where the bits of ggml's weight blocks lie: the only place that knows, read by dequant and unpack alike.
 * Bytes are taken one by one: blocks have no alignment. Layouts: ggml-common.h of ggml, quants.py of gguf-py. */
#ifndef FV_BLOCKS_H
#define FV_BLOCKS_H

#include "fovea/weight.h"
#include "kernels/packed.h"
#include "numeric/half.h"

#define FV_BLOCK_ENUM(NAME, name, number, values, bytes) FV_BLOCK_VALUES_##NAME = values, FV_BLOCK_BYTES_##NAME = bytes,
enum { FV_WEIGHT_LIST(FV_BLOCK_ENUM) };
#undef FV_BLOCK_ENUM

enum { FV_SUPER_VALUES = 256, FV_HALF_VALUES = 128 }; /* of a block of the K types, of half of one */

static inline uint16_t fv_load_u16(const uint8_t *bytes) { return (uint16_t)(bytes[0] | bytes[1] << 8); }

static inline uint32_t fv_load_u32(const uint8_t *bytes) {
    return fv_load_u16(bytes) | (uint32_t)fv_load_u16(bytes + 2) << 16;
}

static inline float fv_load_f16(const uint8_t *bytes) { return fv_f32_from_f16(fv_load_u16(bytes)); }

/* MXFP4's scale, halved as its values are doubled: 2^(exponent - 128). */
static inline float fv_half_e8m0(uint32_t exponent) {
    return fv_f32_from_bits(exponent < 2 ? UINT32_C(0x200000) << exponent : (exponent - 1) << 23);
}

/* 16 bytes hold 32 quants: the low nibbles are the first half. */
static inline void fv_nibbles_32(const uint8_t *bytes, uint8_t *quants) {
    for (int i = 0; i < 16; i++) {
        quants[i] = bytes[i] & 15;
        quants[i + 16] = bytes[i] >> 4;
    }
}

/* The same with a fifth bit: bit i of `high` belongs to quant i. */
static inline void fv_fives_32(const uint8_t *high, const uint8_t *nibbles, uint8_t *quants) {
    uint32_t bits = fv_load_u32(high);
    fv_nibbles_32(nibbles, quants);
    for (int i = 0; i < 32; i++) quants[i] = (uint8_t)(quants[i] | (bits >> i & 1) << 4);
}

/* Q4_0, IQ4_NL: f16 scale, nibbles[16].          Q4_1: f16 scale, f16 minimum, nibbles[16].
 * Q5_0: f16 scale, high bits[4], nibbles[16].    Q5_1: f16 scale, f16 minimum, high bits[4], nibbles[16].
 * Q8_0: f16 scale, int8[32]. */
static inline void fv_quants_q4_0(const uint8_t *block, uint8_t *quants) { fv_nibbles_32(block + 2, quants); }
static inline void fv_quants_q4_1(const uint8_t *block, uint8_t *quants) { fv_nibbles_32(block + 4, quants); }
static inline void fv_quants_q5_0(const uint8_t *block, uint8_t *quants) { fv_fives_32(block + 2, block + 6, quants); }
static inline void fv_quants_q5_1(const uint8_t *block, uint8_t *quants) { fv_fives_32(block + 4, block + 8, quants); }

/* Shifted up by 128. */
static inline void fv_quants_q8_0(const uint8_t *block, uint8_t *quants) {
    for (int i = 0; i < 32; i++) quants[i] = block[2 + i] ^ 0x80;
}

/* The sixteen values of IQ4_NL, shifted up by 128. */
static inline void fv_quants_iq4_nl(const uint8_t *block, uint8_t *quants) {
    fv_nibbles_32(block + 2, quants);
    for (int i = 0; i < 32; i++) quants[i] = fv_iq4_nl_values[quants[i]];
}

/* Values of the K types are taken by halves of a block, so that nobody needs a buffer for a whole one.
 * 32 bytes hold 128 pairs of bits: the lowest pairs are the first 32 values, and so on. */
static inline void fv_pairs_128(const uint8_t *bytes, uint8_t *quants) {
    for (int pair = 0; pair < 4; pair++)
        for (int i = 0; i < 32; i++) quants[32 * pair + i] = bytes[i] >> (2 * pair) & 3;
}

/* 64 bytes hold 128 nibbles: of each 32 bytes, the low nibbles are the first 32 values. */
static inline void fv_nibbles_128(const uint8_t *bytes, uint8_t *quants) {
    for (int quarter = 0; quarter < 2; quarter++)
        for (int i = 0; i < 32; i++) {
            quants[64 * quarter + i] = bytes[32 * quarter + i] & 15;
            quants[64 * quarter + 32 + i] = bytes[32 * quarter + i] >> 4;
        }
}

/* Adds one more bit above: bit `first` + g of bytes[i] belongs to value 32 g + i. */
static inline void fv_add_bits_128(const uint8_t *bytes, int first, int shift, uint8_t *quants) {
    for (int group = 0; group < 4; group++)
        for (int i = 0; i < 32; i++)
            quants[32 * group + i] = (uint8_t)(quants[32 * group + i] | (bytes[i] >> (first + group) & 1) << shift);
}

/* Q2_K: scales[16] (low nibble scale, high nibble minimum), pairs[64], f16 scale, f16 minimum. */
static inline void fv_quants_q2_k(const uint8_t *block, int half, uint8_t *quants) {
    fv_pairs_128(block + 16 + 32 * half, quants);
}

/* Q3_K: high bits[32], pairs[64], scales[12], f16 scale. Shifted up by 4. */
static inline void fv_quants_q3_k(const uint8_t *block, int half, uint8_t *quants) {
    fv_pairs_128(block + 32 + 32 * half, quants);
    fv_add_bits_128(block, 4 * half, 2, quants);
}

/* Scale of group `group`, 0..15, as 6 bits less 32: 4 low bits in the first 8 bytes, 2 high bits in the last 4. */
static inline int fv_scale_q3_k(const uint8_t *block, int group) {
    const uint8_t *scales = block + 96;
    int low = scales[group & 7] >> (group < 8 ? 0 : 4) & 15;
    int high = scales[8 + (group & 3)] >> (2 * (group >> 2)) & 3;
    return (low | high << 4) - 32;
}

/* Q4_K: f16 scale, f16 minimum, scales[12], nibbles[128].
 * Q5_K: f16 scale, f16 minimum, scales[12], high bits[32], nibbles[128]. */
static inline void fv_quants_q4_k(const uint8_t *block, int half, uint8_t *quants) {
    fv_nibbles_128(block + 16 + 64 * half, quants);
}
static inline void fv_quants_q5_k(const uint8_t *block, int half, uint8_t *quants) {
    fv_nibbles_128(block + 48 + 64 * half, quants);
    fv_add_bits_128(block + 16, 4 * half, 4, quants);
}

/* Scale and minimum of group `group`, 0..7, of Q4_K and Q5_K, 6 bits each: whole bytes for the first four groups, whose
 * upper two bits are the upper two of the other four. */
static inline void fv_scale_q45_k(const uint8_t *block, int group, int *scale, int *minimum) {
    const uint8_t *scales = block + 4;
    if (group < 4) {
        *scale = scales[group] & 63;
        *minimum = scales[group + 4] & 63;
    } else {
        *scale = (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
        *minimum = scales[group + 4] >> 4 | scales[group] >> 6 << 4;
    }
}

/* Q6_K: nibbles[128] (of each 64 bytes, the low ones are the first 64 values), pairs[64], int8 scales[16], f16 scale.
 * Shifted up by 32. */
static inline void fv_quants_q6_k(const uint8_t *block, int half, uint8_t *quants) {
    fv_pairs_128(block + 128 + 32 * half, quants);
    for (int i = 0; i < 64; i++) {
        uint8_t byte = block[64 * half + i], *low = quants + i, *high = low + 64;
        *low = (uint8_t)(*low << 4 | (byte & 15));
        *high = (uint8_t)(*high << 4 | byte >> 4);
    }
}

static inline int fv_scale_q6_k(const uint8_t *block, int group) {
    int byte = block[192 + group];
    return byte < 128 ? byte : byte - 256;
}

#endif
