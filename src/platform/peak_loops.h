/* peak_loops.h - loops that do one thing as fast as an instruction set can, to measure a machine by. They share nothing
 * with the kernels: a limit that was measured with the code that is to be judged would be none. */
#ifndef FV_PEAK_LOOPS_H
#define FV_PEAK_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#ifndef FV_BUILD_AVX2 /* the compiler's command line defines what is in the build */
#define FV_BUILD_AVX2 0
#endif
#ifndef FV_BUILD_AVX512
#define FV_BUILD_AVX512 0
#endif
#ifndef FV_BUILD_AVXVNNI
#define FV_BUILD_AVXVNNI 0
#endif

/* Makes `rounds` rounds of independent multiply-adds on registers; returns the operations of one round (a multiply-add
 * of one element is two). At least 8 chains, since two units of a latency of four cycles want as many. */
typedef size_t fv_peak_loop_fn(size_t rounds);

/* Reads `bytes` (a multiple of 1024, 64-byte aligned) once, in rising order. The result keeps the loads alive. */
typedef uint64_t fv_peak_read_fn(const void *memory, size_t bytes);

fv_peak_loop_fn fv_peak_f32_scalar;
fv_peak_read_fn fv_peak_read_scalar;

fv_peak_loop_fn fv_peak_f32_avx2, fv_peak_int8_avx2;
fv_peak_read_fn fv_peak_read_avx2, fv_peak_read_ahead_avx2;

fv_peak_loop_fn fv_peak_int8_avxvnni;

fv_peak_loop_fn fv_peak_f32_avx512, fv_peak_int8_avx512, fv_peak_bf16_avx512; /* bf16: see fv_cpu_has_bf16() */
fv_peak_read_fn fv_peak_read_avx512;

#endif
