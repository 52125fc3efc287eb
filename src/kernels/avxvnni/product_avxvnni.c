/* AVX-VNNI. Limit: dpbusd, two a cycle; of 12 operations on its ports per 256 products 8 are dpbusd, 4 apply scales.
 * Three tokens by 32 rows are 12 chains of dpbusd, which hide its latency; sums wait in memory. Exact for any byte. */
#include "kernels/avx2/packed_pairs.h"
#include "kernels/avx2/panel_avx2.h"
#include "kernels/kernels.h"

INLINE void panel_dots(size_t tokens, size_t group, size_t deep, size_t columns, const uint8_t *w, const int8_t *x,
                       __m256i *dot) {
    (void)deep;
    for (size_t i = 0; i < tokens * PANEL_VECTORS; i++) dot[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t k = 0; k < group / 4; k++) {
        __m256i four[PANEL_TOKENS];
        for (size_t t = 0; t < tokens; t++) four[t] = broadcast4(x + t * columns + 4 * k);
        for (size_t v = 0; v < PANEL_VECTORS; v++) {
            __m256i step = load32(w + k * 4 * FV_PANEL_ROWS + 32 * v);
            for (size_t t = 0; t < tokens; t++)
                dot[t * PANEL_VECTORS + v] = _mm256_dpbusd_avx_epi32(dot[t * PANEL_VECTORS + v], step, four[t]);
        }
    }
}

/* Each in a function of its own: together they would share registers badly. */
#define PANEL(name, ...) \
    static __attribute__((noinline)) void name(size_t columns, size_t tokens, const fv_panel *panel, \
                                               const fv_q8_rows *x, float *out, size_t out_stride) { \
        panel_product(panel_dots, PANEL_TOKENS, __VA_ARGS__, 0, columns, tokens, panel, x, out, out_stride); \
    }
PANEL(panel_16, 16)
PANEL(panel_32, 32)

void fv_product_panel_avxvnni(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                              size_t out_stride) {
    if (panel->group == 16)
        panel_16(columns, tokens, panel, x, out, out_stride);
    else
        panel_32(columns, tokens, panel, x, out, out_stride);
}

INLINE __m256 packed_dot(fv_packed_type type, size_t count, const __m256i *steps, const int8_t *x) {
    (void)type;
    __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
    for (size_t k = 0; k < count; k += 2) {
        even = _mm256_dpbusd_avx_epi32(even, steps[k], broadcast4(x + 4 * k));
        odd = _mm256_dpbusd_avx_epi32(odd, steps[k + 1], broadcast4(x + 4 * k + 4));
    }
    return _mm256_cvtepi32_ps(_mm256_add_epi32(even, odd));
}

#define PRODUCT(NAME, name) PACKED_PAIR(NAME, name, avxvnni, packed_dot)
FV_PACKED_LIST(PRODUCT)
#undef PRODUCT

/* Tokens up to which unpacking weights for every block of tokens costs less than a panel. */
enum { FEW_TOKENS = 8 };

bool fv_product_packed_avxvnni(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                               const fv_q8_rows *x, float *out, size_t out_stride) {
    if (tokens > FEW_TOKENS) return false; /* panels share what is loaded by more */
#define PRODUCT_CASE(NAME, name) PACKED_PAIR_CASE(NAME, name, avxvnni)
    switch (type) {
        FV_PACKED_LIST(PRODUCT_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef PRODUCT_CASE
    return false;
}
