/* immintrin.h - AVX-512 and AVX-VNNI for processors that lack them: SIMDe's functions and, after Intel's description,
 * those that SIMDe 0.7.4 lacks. tools/avx512.sh puts this folder before the compiler's own. */
#ifndef FV_EMULATION_IMMINTRIN_H
#define FV_EMULATION_IMMINTRIN_H

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#define EMULATED static inline __attribute__((always_inline, unused))

typedef union emulated_lanes {
    __m512 ps;
    __m512i si;
    __m256 ps256[2];
    __m256i si256[2];
    float f32[16];
    int32_t i32[16];
    uint32_t u32[16];
} emulated_lanes;

/* ---- conversions: two halves of AVX2 ---- */

EMULATED __m512 emulated_cvtepi32_ps(__m512i a) {
    emulated_lanes x = {.si = a}, y = {.ps256 = {_mm256_cvtepi32_ps(x.si256[0]), _mm256_cvtepi32_ps(x.si256[1])}};
    return y.ps;
}
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps

EMULATED __m512i emulated_cvtps_epi32(__m512 a) {
    emulated_lanes x = {.ps = a}, y = {.si256 = {_mm256_cvtps_epi32(x.ps256[0]), _mm256_cvtps_epi32(x.ps256[1])}};
    return y.si;
}
#define _mm512_cvtps_epi32 emulated_cvtps_epi32

EMULATED __m512i emulated_cvttps_epi32(__m512 a) {
    emulated_lanes x = {.ps = a}, y = {.si256 = {_mm256_cvttps_epi32(x.ps256[0]), _mm256_cvttps_epi32(x.ps256[1])}};
    return y.si;
}
#define _mm512_cvttps_epi32 emulated_cvttps_epi32

EMULATED __m512i emulated_cvtepi8_epi32(__m128i a) {
    emulated_lanes y = {.si256 = {_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))}};
    return y.si;
}
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32

EMULATED __m512i emulated_cvtepu8_epi32(__m128i a) {
    emulated_lanes y = {.si256 = {_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8))}};
    return y.si;
}
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32

EMULATED __m512i emulated_cvtepu16_epi32(__m256i a) {
    emulated_lanes y = {.si256 = {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                                  _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))}};
    return y.si;
}
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32

EMULATED __m512i emulated_cvtepu8_epi16(__m256i a) {
    emulated_lanes y = {.si256 = {_mm256_cvtepu8_epi16(_mm256_castsi256_si128(a)),
                                  _mm256_cvtepu8_epi16(_mm256_extracti128_si256(a, 1))}};
    return y.si;
}
#define _mm512_cvtepu8_epi16 emulated_cvtepu8_epi16

EMULATED __m512 emulated_cvtph_ps(__m256i a) {
    emulated_lanes y = {
        .ps256 = {_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))}};
    return y.ps;
}
#define _mm512_cvtph_ps emulated_cvtph_ps

EMULATED float emulated_cvtss_f32(__m512 a) { return _mm256_cvtss_f32(((emulated_lanes){.ps = a}).ps256[0]); }
#define _mm512_cvtss_f32 emulated_cvtss_f32

EMULATED __m256 emulated_extractf32x8_ps(__m512 a, int half) { return ((emulated_lanes){.ps = a}).ps256[half & 1]; }
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps emulated_extractf32x8_ps

/* a * 2^b for a whole b; SIMDe has it, by way of a polynomial for 2^b. */
EMULATED __m512 emulated_maskz_scalef_ps(__mmask16 some, __m512 a, __m512 b) {
    emulated_lanes x = {.ps = a}, power = {.ps = b}, y = {.f32 = {0}};
    for (int i = 0; i < 16; i++) {
        if (!(some >> i & 1)) continue;
        int n = power.f32[i] > 254.0f    ? 254
                : power.f32[i] > -252.0f ? (int)power.f32[i]
                                         : -252; /* two factors at most */
        int first = n > 127 ? 127 : n < -126 ? -126 : n;
        emulated_lanes factor = {.i32 = {(first + 127) << 23, (n - first + 127) << 23}};
        y.f32[i] = x.f32[i] * factor.f32[0] * factor.f32[1];
    }
    return y.ps;
}
#undef _mm512_maskz_scalef_ps
#define _mm512_maskz_scalef_ps emulated_maskz_scalef_ps

/* ---- all lanes into one ---- */

EMULATED int32_t emulated_reduce_add_epi32(__m512i a) {
    emulated_lanes x = {.si = a};
    uint32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += x.u32[i];
    return (int32_t)sum;
}
#define _mm512_reduce_add_epi32 emulated_reduce_add_epi32

EMULATED int32_t emulated_reduce_max_epi32(__m512i a) {
    emulated_lanes x = {.si = a};
    for (int i = 1; i < 16; i++) x.i32[0] = x.i32[i] > x.i32[0] ? x.i32[i] : x.i32[0];
    return x.i32[0];
}
#define _mm512_reduce_max_epi32 emulated_reduce_max_epi32

EMULATED uint32_t emulated_reduce_max_epu32(__m512i a) {
    emulated_lanes x = {.si = a};
    for (int i = 1; i < 16; i++)
        if (x.u32[i] > x.u32[0]) x.u32[0] = x.u32[i];
    return x.u32[0];
}
#define _mm512_reduce_max_epu32 emulated_reduce_max_epu32

EMULATED __m512 emulated_i32gather_ps(__m512i index, const void *base, int scale) {
    emulated_lanes x = {.si = index}, y;
    for (int i = 0; i < 16; i++)
        y.f32[i] = *(const float *)(const void *)((const char *)base + (ptrdiff_t)x.i32[i] * scale);
    return y.ps;
}
#define _mm512_i32gather_ps emulated_i32gather_ps

EMULATED float emulated_reduce_max_ps(__m512 a) {
    emulated_lanes x = {.ps = a};
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x.f32[i] = x.f32[i] > x.f32[i + half] ? x.f32[i] : x.f32[i + half];
    return x.f32[0];
}
#define _mm512_reduce_max_ps emulated_reduce_max_ps

/* ---- memory under a mask: what it leaves out is not touched ---- */

#define EMULATED_MASKZ_LOADU(name, vector, mask, element, lanes) \
    EMULATED vector emulated_maskz_##name(mask some, const void *from) { \
        vector y; \
        element x[lanes] = {0}; \
        for (int i = 0; i < lanes; i++) \
            if (some >> i & 1) __builtin_memcpy(x + i, (const element *)from + i, sizeof *x); \
        __builtin_memcpy(&y, x, sizeof y); \
        return y; \
    }
#define EMULATED_MASK_STOREU(name, vector, mask, element, lanes) \
    EMULATED void emulated_mask_##name(void *to, mask some, vector y) { \
        element x[lanes]; \
        __builtin_memcpy(x, &y, sizeof x); \
        for (int i = 0; i < lanes; i++) \
            if (some >> i & 1) __builtin_memcpy((element *)to + i, x + i, sizeof *x); \
    }

EMULATED_MASKZ_LOADU(loadu_ps, __m512, __mmask16, float, 16)
EMULATED_MASKZ_LOADU(loadu_epi32, __m512i, __mmask16, int32_t, 16)
EMULATED_MASKZ_LOADU(loadu_epi64, __m512i, __mmask8, int64_t, 8)
EMULATED_MASKZ_LOADU(loadu_epi16_256, __m256i, __mmask16, int16_t, 16)
EMULATED_MASKZ_LOADU(loadu_epi8_128, __m128i, __mmask16, int8_t, 16)
EMULATED_MASK_STOREU(storeu_ps, __m512, __mmask16, float, 16)
EMULATED_MASK_STOREU(storeu_epi32, __m512i, __mmask16, int32_t, 16)
EMULATED_MASK_STOREU(storeu_ps_128, __m128, __mmask8, float, 4)
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_maskz_loadu_epi32 emulated_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi64 emulated_maskz_loadu_epi64
#define _mm256_maskz_loadu_epi16 emulated_maskz_loadu_epi16_256
#define _mm_maskz_loadu_epi8 emulated_maskz_loadu_epi8_128
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#define _mm512_mask_storeu_epi32 emulated_mask_storeu_epi32
#define _mm_mask_storeu_ps emulated_mask_storeu_ps_128

/* ---- what SIMDe has, but not under this name, with an argument too many, or with one that it does not put in brackets
 * ---- */

#undef _mm512_mask_cmpge_epu32_mask
#define _mm512_mask_cmpge_epu32_mask simde_mm512_mask_cmpge_epu32_mask
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(a, how) simde_mm512_roundscale_ps((a), (how))
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 simde_mm512_shuffle_f32x4

#endif
