/* peaks.h - what this machine can do at most, measured by loops of their own: the limits to hold a speed against.
 * Hosted. */
#ifndef FOVEA_PEAKS_H
#define FOVEA_PEAKS_H

#include "fovea/api.h"
#include "fovea/isa.h"
#include "fovea/parallel.h"
#include "fovea/status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name): multiply-adds of f32; dot products of bf16 into f32, of bytes into 32-bit integers. */
#define FV_PEAK_LIST(X) X(F32, f32) X(BF16, bf16) X(INT8, int8)
#define FV_PEAK_ENUM(NAME, name) FV_PEAK_##NAME,
typedef enum fv_peak { FV_PEAK_LIST(FV_PEAK_ENUM) FV_PEAK_COUNT } fv_peak;
#undef FV_PEAK_ENUM

/**
 * Operations per nanosecond (10^9 a second) of all workers together; a multiply-add of one element is two. Best of
 * short repetitions, about 30 ms.
 *
 * limit     the instruction set that is used at most, as for fv_kernels_init(); the best one of this processor below
 * it.
 * parallel  NULL: one thread.
 * rate      out; untouched on error.
 * returns   FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_UNSUPPORTED (no such instruction at that level, or no loop for it).
 */
FV_API fv_status fv_peak_operations(fv_isa limit, fv_peak kind, const fv_parallel *parallel, double *rate);

/**
 * Bytes per nanosecond (GB a second) at which all workers together read `bytes` again and again, each its own part: the
 * size decides which memory that is. Best of short repetitions, as they lie and, with AVX2, asked for 8 KiB ahead;
 * about 60 ms (main memory: 200 ms) after writing it once.
 *
 * bytes     >= 1; rounded up to 1 KiB a worker.  returns also FV_ERROR_MEMORY.
 */
FV_API fv_status fv_peak_read(fv_isa limit, size_t bytes, const fv_parallel *parallel, double *rate);

/** Bytes of the data cache of `level` 1, 2, 3, as the system says; if it does not: 32 KiB, 512 KiB, 16 MiB. */
FV_API size_t fv_peak_cache_bytes(uint32_t level);

/** A size that is read from main memory: 4 x the last cache, within 128 MiB .. 2 GiB. */
FV_API size_t fv_peak_memory_bytes(void);

/** A size that all workers of `parallel` (NULL: one) together read from the cache of `level` 1, 2, 3: half of it, the
 * other half being for what else goes on; 1 and 2 belong to one worker each. Above 3: fv_peak_memory_bytes(). */
FV_API size_t fv_peak_read_bytes(uint32_t level, const fv_parallel *parallel);

/** The limits of one machine, set of threads and instruction set. NAN: there is no such instruction. */
typedef struct fv_peaks {
    double f32_gflops, int8_gops; /* operations per nanosecond */
    double gb_per_s;              /* bytes per nanosecond, of reading as many bytes as the work goes through */
} fv_peaks;

/**
 * Measures all three, in about 0.2 s.
 *
 * limit     as for fv_peak_operations().
 * bytes     what the work goes through again and again, >= 0; clamped to fv_peak_memory_bytes().
 * parallel  NULL: one thread.
 * returns   FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; `peaks` untouched on error.
 */
FV_API fv_status fv_peaks_measure(fv_peaks *peaks, fv_isa limit, double bytes, const fv_parallel *parallel);

/** What some work must do at least. */
typedef struct fv_peak_work {
    double f32_operations, int8_operations, bytes;
} fv_peak_work;

/**
 * The larger of the times that products and bytes need at the peaks, over `ns`, the time that the work took; 1 is the
 * limit, 0 if ns is not positive. Without int8 instructions those products count as f32.
 * name  out: "compute" or "memory", the limit that binds; static.  Pure.
 */
FV_API double fv_peaks_share(const fv_peaks *peaks, const fv_peak_work *work, double ns, const char **name);

#ifdef __cplusplus
}
#endif

#endif
