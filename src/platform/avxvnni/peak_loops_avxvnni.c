/* 12 chains in 16 registers of 256 bits. */
#include "platform/peak_loops.h"
#include <immintrin.h>

enum { CHAINS = 12 };
#define KEEP(x) __asm__ volatile("" : "+x"(x)) /* the compiler must believe that x has changed */

size_t fv_peak_int8_avxvnni(size_t rounds) {
    __m256i left = _mm256_set1_epi8(3), right = _mm256_set1_epi8(-2), chain[CHAINS];
    KEEP(left);
    KEEP(right);
    for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm256_setzero_si256();
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm256_dpbusd_avx_epi32(chain[i], left, right);
    for (size_t i = 0; i < CHAINS; i++) KEEP(chain[i]);
    return CHAINS * 32 * 2;
}
