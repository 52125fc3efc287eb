/* limits.h - a speed as a share of the limit that binds it: products or bytes, measured on this machine. */
#ifndef FOVEA_LIMITS_H
#define FOVEA_LIMITS_H

#include "fovea/isa.h"
#include "fovea/parallel.h"

/** Measured with the threads and the instruction set that ran. NAN: there is no such instruction. */
typedef struct cli_peaks {
    double f32_gflops, int8_gops, gb_per_s; /* the last: reading as many bytes as the work goes through */
} cli_peaks;

/** CLI_GO_ON or CLI_FAILED. About 0.2 s. bytes: what the work goes through again and again. */
int cli_peaks_measure(cli_peaks *peaks, fv_isa limit, double bytes, const fv_parallel *parallel);

/** What some work must do at least. */
typedef struct cli_work {
    double f32_operations, int8_operations, bytes;
} cli_work;

/** The larger of the times that products and bytes need at the peaks, over `ns`; 1 is the limit. *name: "compute" or
 *  "memory". Without int8 instructions those products count as f32. */
double cli_limit_share(const cli_peaks *peaks, const cli_work *work, double ns, const char **name);

#endif
