/* limits.c - a speed as a share of the limit that binds it: a roofline of two lines. */
#include "fovea/peaks.h"
#include <math.h>

static fv_status measure_operations(fv_isa limit, fv_peak kind, const fv_parallel *parallel, double *rate) {
    *rate = NAN;
    fv_status status = fv_peak_operations(limit, kind, parallel, rate);
    return status == FV_ERROR_UNSUPPORTED ? FV_OK : status;
}

fv_status fv_peaks_measure(fv_peaks *peaks, fv_isa limit, double bytes, const fv_parallel *parallel) {
    fv_peaks measured = {0};
    size_t most = fv_peak_memory_bytes(), size = bytes < (double)most ? (size_t)bytes : most;
    fv_status status = measure_operations(limit, FV_PEAK_F32, parallel, &measured.f32_gflops);
    if (status == FV_OK) status = measure_operations(limit, FV_PEAK_INT8, parallel, &measured.int8_gops);
    if (status == FV_OK) status = fv_peak_read(limit, size > 0 ? size : 1, parallel, &measured.gb_per_s);
    if (status == FV_OK) *peaks = measured;
    return status;
}

double fv_peaks_share(const fv_peaks *peaks, const fv_peak_work *work, double ns, const char **name) {
    double int8_rate = isnan(peaks->int8_gops) ? peaks->f32_gflops : peaks->int8_gops;
    double compute = work->f32_operations / peaks->f32_gflops + work->int8_operations / int8_rate;
    double memory = work->bytes / peaks->gb_per_s;
    *name = compute > memory ? "compute" : "memory";
    return ns > 0 ? (compute > memory ? compute : memory) / ns : 0;
}
