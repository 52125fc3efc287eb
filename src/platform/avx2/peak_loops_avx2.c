/* 12 chains in 16 registers: two units of up to five cycles' latency are kept busy. */
#include "platform/peak_loops.h"
#include <immintrin.h>

enum { CHAINS = 12 };
#define KEEP(x) __asm__ volatile("" : "+x"(x)) /* the compiler must believe that x has changed */

size_t fv_peak_f32_avx2(size_t rounds) {
    __m256 factor = _mm256_set1_ps(0.5f), term = _mm256_set1_ps(1.0f), chain[CHAINS];
    KEEP(factor);
    KEEP(term);
    for (size_t i = 0; i < CHAINS; i++) chain[i] = term;
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm256_fmadd_ps(chain[i], factor, term);
    for (size_t i = 0; i < CHAINS; i++) KEEP(chain[i]);
    return CHAINS * 8 * 2;
}

/* Without a dot product of bytes: 32 products to 16 bits, to 32 bits, added. */
size_t fv_peak_int8_avx2(size_t rounds) {
    __m256i left = _mm256_set1_epi8(3), right = _mm256_set1_epi8(-2), ones = _mm256_set1_epi16(1), chain[CHAINS];
    KEEP(ones);
    for (size_t i = 0; i < CHAINS; i++) chain[i] = _mm256_setzero_si256();
    for (size_t r = 0; r < rounds; r++) {
        KEEP(left);
        for (size_t i = 0; i < CHAINS; i++) {
            __m256i pairs = _mm256_maddubs_epi16(left, right);
            KEEP(pairs); /* one for each chain, not one for all */
            chain[i] = _mm256_add_epi32(chain[i], _mm256_madd_epi16(pairs, ones));
        }
    }
    for (size_t i = 0; i < CHAINS; i++) KEEP(chain[i]);
    return CHAINS * 32 * 2;
}

uint64_t fv_peak_read_avx2(const void *memory, size_t bytes) {
    const __m256i *lines = memory;
    __m256i any[8], all = _mm256_setzero_si256();
    for (size_t k = 0; k < 8; k++) any[k] = all;
    for (size_t i = 0; i < bytes / 32; i += 8)
        for (size_t k = 0; k < 8; k++) any[k] = _mm256_or_si256(any[k], _mm256_load_si256(lines + i + k));
    for (size_t k = 0; k < 8; k++) all = _mm256_or_si256(all, any[k]);
    return (uint64_t)_mm256_movemask_epi8(all);
}

/* Asks for each line 8 KiB before it is read: from main memory the hardware's own prefetching is slower. */
uint64_t fv_peak_read_ahead_avx2(const void *memory, size_t bytes) {
    const unsigned char *line = memory;
    __m256i all = _mm256_setzero_si256(), other = all;
    for (size_t i = 0; i < bytes; i += 64, line += 64) {
        _mm_prefetch((const char *)line + 8192, _MM_HINT_T0);
        all = _mm256_or_si256(all, _mm256_load_si256((const __m256i *)(const void *)line));
        other = _mm256_or_si256(other, _mm256_load_si256((const __m256i *)(const void *)(line + 32)));
    }
    return (uint64_t)_mm256_movemask_epi8(_mm256_or_si256(all, other));
}
