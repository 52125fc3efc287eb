/* attention_figures.c - visits of the attention bench, counted and timed. */
#include "fovea/machine.h"
#include "fovea/measure/attention_bench.h"
#include "fovea/report_sum.h"
#include "measure/attention_caches.h"
#include <math.h>
#include <stdlib.h>

typedef struct samples {
    uint64_t *ns, *choose_ns, *read_ns; /* [repetitions * layers], [layers], [layers] */
    size_t count;
    fv_report report;
} samples;

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t median_of(uint64_t *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

/* The first visit of all layers warms up and is not counted. */
static fv_status visit_all(fv_attention_bench *bench, size_t repetitions,
                           bool (*progress)(void *context, size_t done, size_t total), void *context, samples *all) {
    size_t layers = bench->shape.layers, calls = layers * (repetitions + 1);
    for (size_t call = 0; call < calls; call++) {
        uint64_t ns;
        fv_status status =
            fv_attention_bench_visit(bench, (uint32_t)(call % layers), call < layers ? NULL : &all->report, &ns);
        if (status != FV_OK) return status;
        if (call >= layers) all->ns[all->count++] = ns;
        if (progress && !progress(context, call + 1, calls)) return FV_ERROR_INTERRUPTED;
    }
    return FV_OK;
}

/* Every layer once more, with the clock in the core's hands: what looking at it costs is not in all->ns. */
static fv_status visit_timed(fv_attention_bench *bench, samples *all) {
    fv_status status = FV_OK;
    fv_attention_bench_time(bench, fv_machine_clock, NULL);
    for (uint32_t layer = 0; layer < bench->shape.layers && status == FV_OK; layer++) {
        uint64_t ns;
        fv_report report = {.struct_bytes = sizeof report};
        status = fv_attention_bench_visit(bench, layer, &report, &ns);
        all->choose_ns[layer] = report.choose_ns;
        all->read_ns[layer] = report.read_ns;
    }
    fv_attention_bench_time(bench, NULL, NULL);
    return status;
}

static fv_attention_bench_figures figures_of(fv_attention_bench *bench, samples *all) {
    const fv_attention_bench_shape *shape = &bench->shape;
    fv_attention_bench_figures figures = {.samples = all->count, .density = fv_report_density(&all->report)};
    if (all->count == 0) return figures;
    figures.median_ns = median_of(all->ns, all->count);
    figures.min_ns = all->ns[0];
    figures.choose_ns = median_of(all->choose_ns, shape->layers);
    figures.read_ns = median_of(all->read_ns, shape->layers);
    figures.keys_read = (double)all->report.keys_read / (double)all->count;
    figures.bytes_read = (double)all->report.bytes_read / (double)all->count;
    /* a key is counted per KV head: each query head of its group multiplies it with q, and its value with a weight */
    double products = figures.keys_read * (double)(shape->heads / shape->kv_heads) * (double)shape->head_dim;
    figures.work =
        (fv_peak_work){.f32_operations = 4 * products, .bytes = fv_attention_bench_once(bench, figures.bytes_read)};
    if (bench->rows != 1 || fv_attention_bench_mass(bench, &figures.mass) != FV_OK) figures.mass = (double)NAN;
    return figures;
}

fv_status fv_attention_bench_run(fv_attention_bench *bench, size_t repetitions,
                                 bool (*progress)(void *context, size_t done, size_t total), void *context,
                                 fv_attention_bench_figures *figures) {
    size_t layers = bench->shape.layers;
    samples all = {.report = {.struct_bytes = sizeof(fv_report)}};
    all.ns = calloc(repetitions * layers, sizeof *all.ns);
    all.choose_ns = calloc(layers, sizeof *all.choose_ns);
    all.read_ns = calloc(layers, sizeof *all.read_ns);
    fv_status status = all.ns && all.choose_ns && all.read_ns ? FV_OK : FV_ERROR_MEMORY;
    if (status == FV_OK) status = visit_all(bench, repetitions, progress, context, &all);
    if (status == FV_OK) status = visit_timed(bench, &all);
    if (status == FV_OK || status == FV_ERROR_INTERRUPTED) *figures = figures_of(bench, &all);
    free(all.ns);
    free(all.choose_ns);
    free(all.read_ns);
    return status;
}
