/* 16 chains in 32 registers of 512 bits. */
#include "platform/peak_loops.h"
#include <immintrin.h>

enum { CHAINS = 16 };
#define KEEP(x) __asm__ volatile("" : "+v"(x)) /* the compiler must believe that x has changed */

size_t fv_peak_f32_avx512(size_t rounds) {
    __m512 factor = _mm512_set1_ps(0.5f), term = _mm512_set1_ps(1.0f), chain[CHAINS];
    KEEP(factor);
    KEEP(term);
    for (size_t i = 0; i < CHAINS; i++) chain[i] = term;
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm512_fmadd_ps(chain[i], factor, term);
    for (size_t i = 0; i < CHAINS; i++) KEEP(chain[i]);
    return CHAINS * 16 * 2;
}

size_t fv_peak_int8_avx512(size_t rounds) {
    __m512i left = _mm512_set1_epi8(3), right = _mm512_set1_epi8(-2), chain[CHAINS];
    KEEP(left);
    KEEP(right);
    for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm512_setzero_si512();
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm512_dpbusd_epi32(chain[i], left, right);
    for (size_t i = 0; i < CHAINS; i++) KEEP(chain[i]);
    return CHAINS * 64 * 2;
}

__attribute__((target("avx512bf16"))) size_t fv_peak_bf16_avx512(size_t rounds) {
    __m512 chain[CHAINS];
    __m512i half = _mm512_set1_epi16(0x3f00); /* 0.5 */
    KEEP(half);
    for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm512_setzero_ps();
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm512_dpbf16_ps(chain[i], (__m512bh)half, (__m512bh)half);
    for (size_t i = 0; i < CHAINS; i++) KEEP(chain[i]);
    return CHAINS * 32 * 2;
}

uint64_t fv_peak_read_avx512(const void *memory, size_t bytes) {
    const __m512i *lines = memory;
    __m512i any[8], all = _mm512_setzero_si512();
    for (size_t k = 0; k < 8; k++) any[k] = all;
    for (size_t i = 0; i < bytes / 64; i += 8)
        for (size_t k = 0; k < 8; k++) any[k] = _mm512_or_si512(any[k], _mm512_load_si512(lines + i + k));
    for (size_t k = 0; k < 8; k++) all = _mm512_or_si512(all, any[k]);
    return (uint64_t)_mm512_reduce_or_epi64(all);
}
