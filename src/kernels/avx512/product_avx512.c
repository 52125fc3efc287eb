/* AVX-512 VNNI. Limit: dpbusd, two a cycle; of 11 operations on its ports per 512 products 8 are dpbusd, 3 apply
 * scales. */
#include "kernels/avx2/packed_pairs.h"
#include "kernels/avx512/packed_sixteen_avx512.h"
#include "kernels/kernels.h"

enum { TOKENS = 4, VECTORS = FV_PANEL_ROWS / 16 }; /* 8 dot products, 16 sums: 24 of 32 registers, and 8 hide dpbusd */

INLINE __m512i broadcast4_wide(const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}

INLINE void panel_block(size_t tokens, size_t group, size_t columns, const fv_panel *panel, const int8_t *quants,
                        const float *scale, const float *sum, float *out, size_t out_stride) {
    __m512 a[TOKENS][VECTORS], b[TOKENS][VECTORS];
    size_t groups = columns / group;
    for (size_t t = 0; t < tokens; t++)
        for (size_t v = 0; v < VECTORS; v++) a[t][v] = b[t][v] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g++) {
        const uint8_t *w = panel->quants + g * group * FV_PANEL_ROWS;
        __m512i dot[TOKENS][VECTORS];
        for (size_t t = 0; t < tokens; t++)
            for (size_t v = 0; v < VECTORS; v++) dot[t][v] = _mm512_setzero_si512();
        for (size_t k = 0; k < group / 4; k++) {
            __m512i step[VECTORS];
            for (size_t v = 0; v < VECTORS; v++) step[v] = _mm512_loadu_si512(w + k * 4 * FV_PANEL_ROWS + 64 * v);
            for (size_t t = 0; t < tokens; t++) {
                __m512i four = broadcast4_wide(quants + t * columns + g * group + 4 * k);
                for (size_t v = 0; v < VECTORS; v++) dot[t][v] = _mm512_dpbusd_epi32(dot[t][v], step[v], four);
            }
        }
        for (size_t v = 0; v < VECTORS; v++) {
            __m512 weight_scale = _mm512_loadu_ps(panel->scale + g * FV_PANEL_ROWS + 16 * v);
            __m512 offset = _mm512_loadu_ps(panel->offset + g * FV_PANEL_ROWS + 16 * v);
            for (size_t t = 0; t < tokens; t++) {
                __m512 s = _mm512_mul_ps(weight_scale, _mm512_set1_ps(scale[t * (columns / 32) + g * group / 32]));
                a[t][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t][v]), s, a[t][v]);
                b[t][v] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sum[t * groups + g]), b[t][v]);
            }
        }
    }
    for (size_t t = 0; t < tokens; t++)
        for (size_t v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(out + t * out_stride + 16 * v, _mm512_add_ps(a[t][v], b[t][v]));
}

INLINE void product_panel(size_t group, size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x,
                          float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    size_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS)
        panel_block(TOKENS, group, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                    sums + t * (columns / group), out + t * out_stride, out_stride);
    for (; t < tokens; t++)
        panel_block(1, group, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                    sums + t * (columns / group), out + t * out_stride, out_stride);
}

/* Each in a function of its own: together they would share registers badly. */
#define PANEL(name, ...) \
    static __attribute__((noinline)) void name(size_t columns, size_t tokens, const fv_panel *panel, \
                                               const fv_q8_rows *x, float *out, size_t out_stride) { \
        product_panel(__VA_ARGS__, columns, tokens, panel, x, out, out_stride); \
    }
PANEL(product_16, 16)
PANEL(product_32, 32)

/* dpbusd is exact for any byte. */
void fv_product_panel_avx512(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                             size_t out_stride) {
    if (panel->group == 16)
        product_16(columns, tokens, panel, x, out, out_stride);
    else
        product_32(columns, tokens, panel, x, out, out_stride);
}

INLINE __m256 packed_dot(fv_packed_type type, size_t count, const __m256i *steps, const int8_t *x) {
    (void)type;
    __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
    for (size_t k = 0; k < count; k += 2) {
        even = _mm256_dpbusd_epi32(even, steps[k], broadcast4(x + 4 * k));
        odd = _mm256_dpbusd_epi32(odd, steps[k + 1], broadcast4(x + 4 * k + 4));
    }
    return _mm256_cvtepi32_ps(_mm256_add_epi32(even, odd));
}

#define PRODUCT(NAME, name) \
    PACKED_PAIR(NAME, name, avx512, packed_dot) \
    static __attribute__((noinline)) void sixteen_##name(size_t columns, const uint8_t *eight, size_t bytes, \
                                                         size_t tokens, const fv_q8_rows *x, float *out, \
                                                         size_t out_stride) { \
        if (tokens == 4) \
            sixteen_product(FV_PACKED_##NAME, 4, columns, eight, bytes, x, out, out_stride); \
        else if (tokens == 3) \
            sixteen_product(FV_PACKED_##NAME, 3, columns, eight, bytes, x, out, out_stride); \
        else \
            sixteen_product(FV_PACKED_##NAME, 2, columns, eight, bytes, x, out, out_stride); \
    }
FV_PACKED_LIST(PRODUCT)
#undef PRODUCT

static void product_sixteen(fv_packed_type type, size_t columns, const uint8_t *eight, size_t bytes, size_t tokens,
                            const fv_q8_rows *x, float *out, size_t out_stride) {
#define PRODUCT_CASE(NAME, name) \
    case FV_PACKED_##NAME: \
        sixteen_##name(columns, eight, bytes, tokens, x, out, out_stride); \
        break;
    switch (type) {
        FV_PACKED_LIST(PRODUCT_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef PRODUCT_CASE
}

static bool product_eights(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                           const fv_q8_rows *x, float *out, size_t out_stride) {
#define PRODUCT_CASE(NAME, name) PACKED_PAIR_CASE(NAME, name, avx512)
    switch (type) {
        FV_PACKED_LIST(PRODUCT_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef PRODUCT_CASE
    return false;
}

/* Tokens up to which unpacking weights for every block of tokens costs less than a panel. */
enum { FEW_TOKENS = 32 };

bool fv_product_packed_avx512(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                              const fv_q8_rows *x, float *out, size_t out_stride) {
    if (type >= FV_PACKED_COUNT || tokens > FEW_TOKENS) return false; /* panels share what is loaded by more */
    const size_t bytes = columns / fv_packed_block_values(type) * fv_packed_block_bytes(type);
    const uint8_t *eight = (const uint8_t *)packed;
    /* one token waits for memory, which is read fastest as one stream: by eights */
    size_t alone = tokens == 1 ? eights : eights % SIXTEEN_EIGHTS;
    for (eights -= alone; eights; eights -= SIXTEEN_EIGHTS) {
        for (size_t t = 0, some; t < tokens; t += some) {
            fv_q8_rows from = fv_q8_rows_from(x, columns, t);
            some = packed_some(tokens - t);
            product_sixteen(type, columns, eight, bytes, some, &from, out + t * out_stride, out_stride);
        }
        eight += SIXTEEN_EIGHTS * bytes;
        out += SIXTEEN_EIGHTS * FV_PACKED_ROWS;
    }
    return !alone || product_eights(type, columns, alone, eight, tokens, x, out, out_stride);
}
