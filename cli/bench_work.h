/* bench_work.h - what a test of `fovea bench` has to compute and to read at least. */
#ifndef FOVEA_BENCH_WORK_H
#define FOVEA_BENCH_WORK_H

#include "bench_output.h"
#include "fovea/peaks.h"
#include "fovea/session.h"

/** Of the mean sample: products with the weights (int8, where they are quantised), attention's (f32), the bytes of the
 *  weights once for every evaluated batch, and the cache lines of keys and values. */
fv_peak_work cli_bench_work(const fv_llm *llm, const cli_bench_result *result);

/** Bytes that the work goes through again and again: weights, and keys and values of a token or batch. */
double cli_bench_bytes(const fv_llm *llm, const cli_bench_result *result);

#endif
