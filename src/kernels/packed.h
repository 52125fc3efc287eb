/* packed.h - sizes inside eight packed rows (kernels.h says the layout); read by the packing and its kernels. */
#ifndef FV_PACKED_H
#define FV_PACKED_H

#include "build.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(NAME, name): the types that can be packed; from Q4_K on blocks of 256. */
#define FV_PACKED_LIST(X) \
    X(Q4_0, q4_0) \
    X(Q4_1, q4_1) \
    X(Q5_0, q5_0) \
    X(Q5_1, q5_1) \
    X(Q8_0, q8_0) \
    X(IQ4_NL, iq4_nl) \
    X(MXFP4, mxfp4) \
    X(Q4_K, q4_k) \
    X(Q5_K, q5_k) \
    X(Q6_K, q6_k) \
    X(IQ4_XS, iq4_xs) \
    X(Q2_K, q2_k) \
    X(Q3_K, q3_k)

#define FV_PACKED_ENUM(NAME, name) FV_PACKED_##NAME,
typedef enum fv_packed_type { FV_PACKED_LIST(FV_PACKED_ENUM) FV_PACKED_COUNT } fv_packed_type;
#undef FV_PACKED_ENUM

enum { FV_PACKED_ROWS = 8, FV_PACKED_MINIMA = 16, FV_PACKED_SUPER_SCALES = 32, FV_PACKED_SUPER_TOPS = 96 };
enum { FV_PACKED_XS_SCALES = 16, FV_PACKED_XS_TOPS = 48 }; /* IQ4_XS */
enum { FV_PACKED_Q2_K_SCALES = 32, FV_PACKED_Q3_K_SCALES = 16, FV_PACKED_Q3_K_TOPS = 80, FV_PACKED_Q3_K_THIRDS = 64 };

/* What the nibbles of IQ4_NL and IQ4_XS stand for, shifted up by 128. */
static const uint8_t fv_iq4_nl_values[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

/* What the nibbles of MXFP4 stand for, e2m1 numbers doubled and shifted up by 12. */
static const uint8_t fv_mxfp4_values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

/* Inputs of a block. */
static inline size_t fv_packed_block_values(fv_packed_type type) { return type >= FV_PACKED_Q4_K ? 256 : 32; }

/* Whether blocks of 32 have minima of their own. */
static inline bool fv_packed_has_minima(fv_packed_type type) {
    return type == FV_PACKED_Q4_1 || type == FV_PACKED_Q5_1;
}

static inline bool fv_packed_has_fifths(fv_packed_type type) {
    return type == FV_PACKED_Q5_0 || type == FV_PACKED_Q5_1 || type == FV_PACKED_Q5_K;
}

/* A build without grids has no such weights. */
static inline bool fv_packed_is_mxfp4(fv_packed_type type) { return FV_BUILD_GRIDS && type == FV_PACKED_MXFP4; }

/* Q2_K and Q3_K are packed where a kernel reads them so; without one, as on chips, they are left as they lie. */
#if FV_BUILD_GRIDS && ((defined(FV_BUILD_AVX2) && FV_BUILD_AVX2) || (defined(FV_BUILD_NEON) && FV_BUILD_NEON))
#define FV_PACKED_PAIRS 1
#else
#define FV_PACKED_PAIRS 0
#endif

/* Whether quants are pairs of bits. */
static inline bool fv_packed_is_pairs(fv_packed_type type) {
    return FV_PACKED_PAIRS && (type == FV_PACKED_Q2_K || type == FV_PACKED_Q3_K);
}

/* Whether groups that share a scale are of 16 inputs, not of 32. */
static inline bool fv_packed_by_16(fv_packed_type type) { return type == FV_PACKED_Q6_K || fv_packed_is_pairs(type); }

/* What nibbles are indices of; NULL: they are the quants. */
static inline const uint8_t *fv_packed_lookup(fv_packed_type type) {
    if (fv_packed_is_mxfp4(type)) return fv_mxfp4_values;
    return type == FV_PACKED_IQ4_NL || type == FV_PACKED_IQ4_XS ? fv_iq4_nl_values : NULL;
}

/* Whether quants use all of a byte: their bias is 128. */
static inline bool fv_packed_is_wide(fv_packed_type type) {
    return type == FV_PACKED_Q8_0 || type == FV_PACKED_IQ4_NL || type == FV_PACKED_IQ4_XS;
}

/* Bytes of a block's scales: where the quants of eight rows begin. */
static inline size_t fv_packed_header_bytes(fv_packed_type type) {
    if (fv_packed_is_pairs(type)) return type == FV_PACKED_Q2_K ? 160 : 112;
    if (type >= FV_PACKED_Q4_K) return type == FV_PACKED_Q6_K ? 144 : type == FV_PACKED_IQ4_XS ? 64 : 128;
    return fv_packed_has_minima(type) ? 32 : fv_packed_is_mxfp4(type) ? 8 : 16;
}

/* Bytes of the quants of 32 inputs of eight rows. */
static inline size_t fv_packed_group_bytes(fv_packed_type type) {
    if (fv_packed_has_fifths(type)) return 160;
    if (fv_packed_is_pairs(type)) return type == FV_PACKED_Q2_K ? 64 : 96;
    return type == FV_PACKED_Q6_K ? 192 : type == FV_PACKED_Q8_0 ? 256 : 128;
}

static inline size_t fv_packed_block_bytes(fv_packed_type type) {
    return fv_packed_header_bytes(type) + fv_packed_block_values(type) / 32 * fv_packed_group_bytes(type);
}

/* offset = scale * this, for the types without minima of their own. */
static inline float fv_packed_bias(fv_packed_type type) {
    if (fv_packed_is_wide(type)) return -128.0f;
    if (fv_packed_is_pairs(type)) return -4.0f;
    return type == FV_PACKED_Q4_0     ? -8.0f
           : type == FV_PACKED_Q5_0   ? -16.0f
           : fv_packed_is_mxfp4(type) ? -12.0f
                                      : -32.0f;
}

#endif
