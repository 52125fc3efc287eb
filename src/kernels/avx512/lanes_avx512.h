/* lanes_avx512.h - what kernels of sixteen lanes share. */
#ifndef FV_LANES_AVX512_H
#define FV_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* The lanes that are left of n, sixteen at most. */
INLINE __mmask16 lanes_of(size_t n) { return (__mmask16)(n >= 16 ? 0xFFFF : (1u << n) - 1); }

#endif
