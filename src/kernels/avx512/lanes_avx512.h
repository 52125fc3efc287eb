/* lanes_avx512.h - what kernels of sixteen lanes share. */
#ifndef FV_LANES_AVX512_H
#define FV_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

#endif
