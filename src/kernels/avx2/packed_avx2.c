/* Limit: DRAM for one token (about 40 operations for 256 products), stores for the panel. */
#include "kernels/avx2/packed_avx2.h"
#include "kernels/avx2/packed_rows_avx2.h"
#include "kernels/kernels.h"

INLINE void panel_unpack(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                         float *offset) {
    size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    const uint8_t *block = packed;
    for (size_t b = 0; b < columns / 32 / groups; b++, block += fv_packed_block_bytes(type)) {
        packed_header header;
        packed_header_load(type, block, &header);
        __asm__("" : "+m"(header)); /* read from memory below: as shuffles of registers it takes more instructions */
        for (size_t i = 0; i < groups * scales; i++, scale += FV_PANEL_ROWS, offset += FV_PANEL_ROWS) {
            __m256 s, o;
            packed_scales(type, block, &header, i, &s, &o);
            _mm256_storeu_ps(scale, s);
            _mm256_storeu_ps(offset, o);
        }
        for (size_t g = 0; g < groups; g++, quants += 32 * FV_PANEL_ROWS) {
            __m256i steps[8];
            packed_steps(type, block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type), steps);
            for (size_t k = 0; k < 8; k++)
                _mm256_storeu_si256((__m256i *)(void *)(quants + k * 4 * FV_PANEL_ROWS), steps[k]);
        }
    }
}

void fv_panel_unpack_avx2(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                          float *offset) {
#define UNPACK_CASE(NAME, name) \
    case FV_PACKED_##NAME: \
        panel_unpack(FV_PACKED_##NAME, columns, packed, quants, scale, offset); \
        break;
    switch (type) {
        FV_PACKED_LIST(UNPACK_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef UNPACK_CASE
}

/* Eight integer dot products over `count` steps, exact. In 16 bits fit eight steps of 4-bit weights (8 * 2 * 15 * 127 =
 * 30,480), four of 5 bits (31,496) and of MXFP4 (24,384), two of 6 (32,004); of 2 and 3 bits a
 * group of 16 has four steps. Of wide types the bias is taken off, |w|
 * and sign(x, w) multiplied, and the bias times the sum of x added back. */
INLINE __m256 packed_dot(fv_packed_type type, size_t count, const __m256i *steps, const int8_t *x) {
    const __m256i ones = _mm256_set1_epi16(1);
    size_t deep = type == FV_PACKED_Q6_K                                                               ? 2
                  : fv_packed_has_fifths(type) || fv_packed_is_mxfp4(type) || fv_packed_is_pairs(type) ? 4
                                                                                                       : 8;
    __m256i words = _mm256_setzero_si256(), sum = _mm256_setzero_si256();
    if (fv_packed_is_wide(type)) sum = packed_shift(x);
    for (size_t k = 0; k < count; k++) {
        __m256i a = broadcast4(x + 4 * k);
        if (fv_packed_is_wide(type)) {
            __m256i w = _mm256_xor_si256(steps[k], _mm256_set1_epi8((char)0x80));
            __m256i product = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(product, ones));
            continue;
        }
        words = _mm256_add_epi16(words, _mm256_maddubs_epi16(steps[k], a));
        if ((k + 1) % deep == 0) {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, ones));
            words = _mm256_setzero_si256();
        }
    }
    return _mm256_cvtepi32_ps(sum);
}

/* One token with eight rows, and a few with sixteen: each in a function of its own, for they must not share registers.
 */
#define PRODUCT(NAME, name) \
    static __attribute__((noinline)) void product_##name(size_t columns, const void *eight, const fv_q8_rows *x, \
                                                         size_t eights, float *out) { \
        packed_single(FV_PACKED_##NAME, packed_dot, columns, eights, eight, x, out); \
    } \
    static __attribute__((noinline)) void rows2_##name(size_t columns, const uint8_t *eight, size_t bytes, \
                                                       const fv_q8_rows *x, float *out, size_t out_stride) { \
        rows_product(FV_PACKED_##NAME, 2, columns, eight, bytes, x, out, out_stride); \
    } \
    static __attribute__((noinline)) void rows3_##name(size_t columns, const uint8_t *eight, size_t bytes, \
                                                       const fv_q8_rows *x, float *out, size_t out_stride) { \
        rows_product(FV_PACKED_##NAME, 3, columns, eight, bytes, x, out, out_stride); \
    } \
    static __attribute__((noinline)) void rows4_##name(size_t columns, const uint8_t *eight, size_t bytes, \
                                                       const fv_q8_rows *x, float *out, size_t out_stride) { \
        rows_product(FV_PACKED_##NAME, 4, columns, eight, bytes, x, out, out_stride); \
    }
FV_PACKED_LIST(PRODUCT)
#undef PRODUCT

typedef void one_fn(size_t columns, const void *packed, const fv_q8_rows *x, size_t eights, float *out);
typedef void rows_fn(size_t columns, const uint8_t *eight, size_t bytes, const fv_q8_rows *x, float *out,
                     size_t out_stride);

/* Products of a type. */
typedef struct packed_products {
    one_fn *one;
    rows_fn *rows[ROWS_TOKENS - 1]; /* of 2, 3, 4 tokens */
} packed_products;

#define PRODUCTS(NAME, name) [FV_PACKED_##NAME] = {product_##name, {rows2_##name, rows3_##name, rows4_##name}},
static const packed_products products[] = {FV_PACKED_LIST(PRODUCTS)};
#undef PRODUCTS

static void rows_all(const packed_products *product, size_t columns, const uint8_t *eight, size_t bytes, size_t tokens,
                     const fv_q8_rows *x, float *out, size_t out_stride) {
    for (size_t t = 0, some; t < tokens; t += some) {
        fv_q8_rows from = fv_q8_rows_from(x, columns, t);
        some = packed_some(tokens - t);
        product->rows[some - 2](columns, eight, bytes, &from, out + t * out_stride, out_stride);
    }
}

bool fv_product_packed_avx2(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                            const fv_q8_rows *x, float *out, size_t out_stride) {
    /* Many tokens pay for a panel with 6-bit weights first: their bits take the longest to put together. */
    if (type >= FV_PACKED_COUNT || tokens > (type == FV_PACKED_Q6_K ? 8 : 16)) return false;
    const size_t bytes = columns / fv_packed_block_values(type) * fv_packed_block_bytes(type);
    const uint8_t *eight = (const uint8_t *)packed;
    size_t pairs = tokens == 1 ? 0 : eights / ROWS_EIGHTS, left = eights - pairs * ROWS_EIGHTS;
    for (; pairs; pairs--, eight += ROWS_EIGHTS * bytes, out += ROWS_EIGHTS * FV_PACKED_ROWS)
        rows_all(&products[type], columns, eight, bytes, tokens, x, out, out_stride);
    for (size_t t = 0; left && t < tokens; t++) {
        fv_q8_rows one = fv_q8_rows_from(x, columns, t);
        products[type].one(columns, eight, &one, left, out + t * out_stride);
    }
    return true;
}
