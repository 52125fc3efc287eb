/* limits.c - a roofline of two lines. */
#include "limits.h"
#include "cli.h"
#include "fovea/peaks.h"
#include <math.h>

static int measure_operations(fv_isa limit, fv_peak kind, const fv_parallel *parallel, double *rate) {
    *rate = NAN;
    fv_status status = fv_peak_operations(limit, kind, parallel, rate);
    return status == FV_OK || status == FV_ERROR_UNSUPPORTED ? CLI_GO_ON : cli_fail_status(status, NULL);
}

int cli_peaks_measure(cli_peaks *peaks, fv_isa limit, double bytes, const fv_parallel *parallel) {
    cli_peaks made = {0};
    size_t most = fv_peak_memory_bytes(), size = bytes < (double)most ? (size_t)bytes : most;
    int result = measure_operations(limit, FV_PEAK_F32, parallel, &made.f32_gflops);
    if (result == CLI_GO_ON) result = measure_operations(limit, FV_PEAK_INT8, parallel, &made.int8_gops);
    if (result != CLI_GO_ON) return result;
    fv_status status = fv_peak_read(limit, size > 0 ? size : 1, parallel, &made.gb_per_s);
    if (status != FV_OK) return cli_fail_status(status, NULL);
    *peaks = made;
    return CLI_GO_ON;
}

double cli_limit_share(const cli_peaks *peaks, const cli_work *work, double ns, const char **name) {
    double int8_rate = isnan(peaks->int8_gops) ? peaks->f32_gflops : peaks->int8_gops;
    double compute = work->f32_operations / peaks->f32_gflops + work->int8_operations / int8_rate;
    double memory = work->bytes / peaks->gb_per_s;
    *name = compute > memory ? "compute" : "memory";
    return ns > 0 ? (compute > memory ? compute : memory) / ns : 0;
}
