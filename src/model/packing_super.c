/* One row of a block of 256 values (Q2_K to Q6_K, IQ4_XS) to its places among eight and back. Both directions are
 * the same exchanges of nibbles and bits, read the other way round. */
#include "build.h"
#include "kernels/blocks.h"
#include "model/packing.h"

#if FV_BUILD_MODEL || FV_BUILD_DITHER

/* Input i of group g lies in the nibble at i % 16 of the packed row; two groups share the file's bytes. */
typedef struct nibble_pair {
    size_t first, second; /* groups in the low and in the high nibbles of the file's 32 bytes */
} nibble_pair;

static nibble_pair pair_of(fv_packed_type type, size_t pair) {
    size_t first = type == FV_PACKED_Q6_K ? 4 * (pair / 2) + pair % 2 : 2 * pair;
    return (nibble_pair){first, first + (type == FV_PACKED_Q6_K ? 2 : 1)};
}

static size_t low_offset(fv_packed_type type) { return type == FV_PACKED_Q4_K ? 16 : type == FV_PACKED_Q5_K ? 48 : 0; }

static size_t group_at(fv_packed_type type, size_t group) {
    return fv_packed_header_bytes(type) + group * fv_packed_group_bytes(type);
}

static size_t nibble_at(fv_packed_type type, size_t group, size_t r, size_t place) {
    return group_at(type, group) + place / 4 * 32 + r * 4 + place % 4;
}

static uint8_t low_nibbles(uint8_t a, uint8_t b) { return (uint8_t)((a & 15) | b << 4); }
static uint8_t high_nibbles(uint8_t a, uint8_t b) { return (uint8_t)(a >> 4 | (b & 0xF0)); }

static void nibbles_pack(fv_packed_type type, const uint8_t *block, size_t r, uint8_t *packed) {
    for (size_t pair = 0; pair < 4; pair++) {
        const uint8_t *bytes = block + low_offset(type) + 32 * pair;
        nibble_pair groups = pair_of(type, pair);
        for (size_t i = 0; i < 16; i++) {
            packed[nibble_at(type, groups.first, r, i)] = low_nibbles(bytes[i], bytes[16 + i]);
            packed[nibble_at(type, groups.second, r, i)] = high_nibbles(bytes[i], bytes[16 + i]);
        }
    }
}

static void nibbles_unpack(fv_packed_type type, const uint8_t *packed, size_t r, uint8_t *block) {
    for (size_t pair = 0; pair < 4; pair++) {
        uint8_t *bytes = block + low_offset(type) + 32 * pair;
        nibble_pair groups = pair_of(type, pair);
        for (size_t i = 0; i < 16; i++) {
            uint8_t first = packed[nibble_at(type, groups.first, r, i)];
            uint8_t second = packed[nibble_at(type, groups.second, r, i)];
            bytes[i] = low_nibbles(first, second);
            bytes[16 + i] = high_nibbles(first, second);
        }
    }
}

/* out[g] field j = in[j] field g, fields of `width` bits, 8 / width bytes; its own inverse. */
static void fields_transpose(int width, const uint8_t *in, uint8_t *out) {
    int count = 8 / width, mask = (1 << width) - 1;
    for (int g = 0; g < count; g++) {
        int byte = 0;
        for (int j = 0; j < count; j++) byte |= (in[j] >> (width * g) & mask) << (width * j);
        out[g] = (uint8_t)byte;
    }
}

/* Upper bits, and those of Q2_K and Q3_K, which are all like that: `i` counts the sets of bytes that are transposed
 * together, 16 of 4 bytes (pairs of bits) or 4 of 8 (single bits, after the pairs). */
typedef struct upper_set {
    int width;
    size_t file, file_stride, packed, packed_stride;
} upper_set;

static upper_set bits_of(fv_packed_type type, size_t i, size_t r) {
    size_t file = type == FV_PACKED_Q5_K ? 16 : 0, packed = type == FV_PACKED_Q5_K ? 128 : FV_PACKED_Q3_K_THIRDS;
    return (upper_set){1, file + i, 4, group_at(type, 0) + packed + r * 4 + i, fv_packed_group_bytes(type)};
}

static upper_set pairs_of(fv_packed_type type, size_t i, size_t r) {
    size_t half = i / 8, sixteen = i / 4 % 2, byte = i % 4;
    size_t file = type == FV_PACKED_Q6_K ? 128 : type == FV_PACKED_Q2_K ? 16 : 32;
    size_t packed = type == FV_PACKED_Q6_K ? 128 : 0;
    return (upper_set){2, file + 32 * half + 16 * sixteen + byte, 4,
                       group_at(type, 4 * half) + packed + 32 * sixteen + r * 4 + byte, fv_packed_group_bytes(type)};
}

static size_t pair_sets(fv_packed_type type) { return type == FV_PACKED_Q6_K || fv_packed_is_pairs(type) ? 16 : 0; }

static size_t upper_sets(fv_packed_type type) {
    bool bits = type == FV_PACKED_Q5_K || (fv_packed_is_pairs(type) && type == FV_PACKED_Q3_K);
    return pair_sets(type) + (bits ? 4 : 0);
}

static upper_set upper_of(fv_packed_type type, size_t i, size_t r) {
    return i < pair_sets(type) ? pairs_of(type, i, r) : bits_of(type, i - pair_sets(type), r);
}

static void upper_move(int width, const uint8_t *from, size_t from_stride, uint8_t *to, size_t to_stride) {
    uint8_t in[8] = {0}, out[8];
    for (int i = 0; i < 8 / width; i++) in[i] = from[(size_t)i * from_stride];
    fields_transpose(width, in, out);
    for (int i = 0; i < 8 / width; i++) to[(size_t)i * to_stride] = out[i];
}

/* Six bits of scale and of minimum: four of each in one byte, the upper two of groups g and g + 4 in another. */
static void scales_pack(const uint8_t *block, size_t r, uint8_t *packed) {
    int scale[8], minimum[8];
    for (int g = 0; g < 8; g++) fv_scale_q45_k(block, g, &scale[g], &minimum[g]);
    for (size_t g = 0; g < 8; g++)
        packed[FV_PACKED_SUPER_SCALES + 8 * g + r] = (uint8_t)((scale[g] & 15) | (minimum[g] & 15) << 4);
    for (size_t g = 0; g < 4; g++)
        packed[FV_PACKED_SUPER_TOPS + 8 * g + r] =
            (uint8_t)(scale[g] >> 4 | minimum[g] >> 4 << 2 | scale[g + 4] >> 4 << 4 | minimum[g + 4] >> 4 << 6);
}

static void scales_unpack(const uint8_t *packed, size_t r, uint8_t *block) {
    uint8_t *scales = block + 4;
    for (size_t g = 0; g < 4; g++) {
        int low = packed[FV_PACKED_SUPER_SCALES + 8 * g + r], high = packed[FV_PACKED_SUPER_SCALES + 8 * (g + 4) + r];
        int tops = packed[FV_PACKED_SUPER_TOPS + 8 * g + r];
        scales[g] = (uint8_t)((low & 15) | (tops & 3) << 4 | (tops & 0x30) << 2);
        scales[g + 4] = (uint8_t)(low >> 4 | (tops & 0x0C) << 2 | (tops & 0xC0));
        scales[g + 8] = (uint8_t)high;
    }
}

/* IQ4_XS: each group has its own 16 bytes of nibbles, as they are packed; six bits of scale. */
static void xs_pack(const uint8_t *block, size_t r, uint8_t *packed) {
    uint32_t tops = fv_load_u16(block + 2);
    for (size_t i = 0; i < 2; i++) packed[2 * r + i] = block[i];
    for (size_t g = 0; g < 4; g++) {
        int first = block[4 + g / 2] >> (4 * (g % 2)) & 15, second = block[6 + g / 2] >> (4 * (g % 2)) & 15;
        packed[FV_PACKED_XS_SCALES + 8 * g + r] = (uint8_t)(first | second << 4);
    }
    for (size_t p = 0; p < 2; p++) {
        uint32_t byte = 0;
        for (size_t n = 0; n < 4; n++) byte |= (tops >> (4 * n + 2 * p) & 3) << (2 * n);
        packed[FV_PACKED_XS_TOPS + 8 * p + r] = (uint8_t)byte;
    }
    for (size_t i = 0; i < FV_HALF_VALUES; i++) packed[nibble_at(FV_PACKED_IQ4_XS, i / 16, r, i % 16)] = block[8 + i];
}

static void xs_unpack(const uint8_t *packed, size_t r, uint8_t *block) {
    uint32_t tops = 0;
    for (size_t i = 0; i < 2; i++) block[i] = packed[2 * r + i];
    for (size_t n = 0; n < 4; n++)
        for (size_t p = 0; p < 2; p++)
            tops |= (uint32_t)(packed[FV_PACKED_XS_TOPS + 8 * p + r] >> (2 * n) & 3) << (4 * n + 2 * p);
    for (size_t i = 0; i < 2; i++) block[2 + i] = (uint8_t)(tops >> (8 * i));
    for (size_t g = 0; g < 2; g++) {
        const uint8_t *low = packed + FV_PACKED_XS_SCALES + 16 * g + r;
        block[4 + g] = low_nibbles(low[0], low[8]);
        block[6 + g] = high_nibbles(low[0], low[8]);
    }
    for (size_t i = 0; i < FV_HALF_VALUES; i++) block[8 + i] = packed[nibble_at(FV_PACKED_IQ4_XS, i / 16, r, i % 16)];
}

static void uppers_pack(fv_packed_type type, const uint8_t *block, size_t r, uint8_t *packed) {
    for (size_t i = 0; i < upper_sets(type); i++) {
        upper_set set = upper_of(type, i, r);
        upper_move(set.width, block + set.file, set.file_stride, packed + set.packed, set.packed_stride);
    }
}

static void uppers_unpack(fv_packed_type type, const uint8_t *packed, size_t r, uint8_t *block) {
    for (size_t i = 0; i < upper_sets(type); i++) {
        upper_set set = upper_of(type, i, r);
        upper_move(set.width, packed + set.packed, set.packed_stride, block + set.file, set.file_stride);
    }
}

/* Where a row of Q2_K or Q3_K has its bytes of scales, which are packed as they are. */
typedef struct pair_scales {
    size_t count, file, packed, halves; /* halves: f16 numbers, in the file */
} pair_scales;

static pair_scales pair_scales_of(fv_packed_type type) {
    if (type == FV_PACKED_Q2_K) return (pair_scales){16, 0, FV_PACKED_Q2_K_SCALES, 80};
    return (pair_scales){12, 96, FV_PACKED_Q3_K_SCALES, 108};
}

static void pairs_pack(fv_packed_type type, const uint8_t *block, size_t r, uint8_t *packed) {
    pair_scales at = pair_scales_of(type);
    for (size_t i = 0; i < 2; i++) packed[2 * r + i] = block[at.halves + i];
    for (size_t i = 0; type == FV_PACKED_Q2_K && i < 2; i++)
        packed[FV_PACKED_MINIMA + 2 * r + i] = block[at.halves + 2 + i];
    for (size_t g = 0; g < at.count; g++) packed[at.packed + 8 * g + r] = block[at.file + g];
    uppers_pack(type, block, r, packed);
}

static void pairs_unpack(fv_packed_type type, const uint8_t *packed, size_t r, uint8_t *block) {
    pair_scales at = pair_scales_of(type);
    for (size_t i = 0; i < 2; i++) block[at.halves + i] = packed[2 * r + i];
    for (size_t i = 0; type == FV_PACKED_Q2_K && i < 2; i++)
        block[at.halves + 2 + i] = packed[FV_PACKED_MINIMA + 2 * r + i];
    for (size_t g = 0; g < at.count; g++) block[at.file + g] = packed[at.packed + 8 * g + r];
    uppers_unpack(type, packed, r, block);
}

void fv_super_pack(fv_packed_type type, const uint8_t *block, size_t r, uint8_t *packed) {
    if (FV_BUILD_GRIDS && type == FV_PACKED_IQ4_XS) {
        xs_pack(block, r, packed);
        return;
    }
    if (fv_packed_is_pairs(type)) {
        pairs_pack(type, block, r, packed);
        return;
    }
    bool six = type == FV_PACKED_Q6_K;
    for (size_t i = 0; i < 2; i++) packed[2 * r + i] = block[six ? 208 + i : i];
    for (size_t i = 0; !six && i < 2; i++) packed[FV_PACKED_MINIMA + 2 * r + i] = block[2 + i];
    for (size_t g = 0; six && g < 16; g++) packed[16 + 8 * g + r] = block[192 + g];
    if (!six) scales_pack(block, r, packed);
    nibbles_pack(type, block, r, packed);
    uppers_pack(type, block, r, packed);
}

void fv_super_unpack(fv_packed_type type, const uint8_t *packed, size_t r, uint8_t *block) {
    if (FV_BUILD_GRIDS && type == FV_PACKED_IQ4_XS) {
        xs_unpack(packed, r, block);
        return;
    }
    if (fv_packed_is_pairs(type)) {
        pairs_unpack(type, packed, r, block);
        return;
    }
    bool six = type == FV_PACKED_Q6_K;
    for (size_t i = 0; i < 2; i++) block[six ? 208 + i : i] = packed[2 * r + i];
    for (size_t i = 0; !six && i < 2; i++) block[2 + i] = packed[FV_PACKED_MINIMA + 2 * r + i];
    for (size_t g = 0; six && g < 16; g++) block[192 + g] = packed[16 + 8 * g + r];
    if (!six) scales_unpack(packed, r, block);
    nibbles_unpack(type, packed, r, block);
    uppers_unpack(type, packed, r, block);
}

#endif
