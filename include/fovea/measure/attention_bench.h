/* attention_bench.h - the attention core on random keys and values: caches of several layers, visited in turn. Hosted.
 */
#ifndef FOVEA_ATTENTION_BENCH_H
#define FOVEA_ATTENTION_BENCH_H

#include "fovea/api.h"
#include "fovea/attention.h"
#include "fovea/isa.h"
#include "fovea/peaks.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_ATTENTION_BENCH_BLOCK 256 /* tokens that are made at once */

typedef struct fv_attention_bench_shape {
    uint32_t heads, kv_heads, head_dim, layers, tokens; /* >= 1; heads a multiple of kv_heads */
    uint32_t key_type, value_type;                      /* fv_element */
    uint32_t batch; /* positions of one call: 1 = decode of the last token; else all tokens, `batch` a call */
} fv_attention_bench_shape;

/** Caches, queries, room for the results. One caller at a time. */
typedef struct fv_attention_bench fv_attention_bench;

/**
 * Allocates and fills the caches.
 *
 * policy    copied; the arrays that it points to must outlive the bench.
 * parallel  must outlive the bench; NULL: one thread.
 * limit     as for fv_kernels_init().
 * returns   FV_OK, FV_ERROR_MEMORY, and what fv_cache_init(), fv_attention_init() and fv_cache_append() return. *bench
 *           untouched on error.
 */
FV_API fv_status fv_attention_bench_open(fv_attention_bench **bench, const fv_attention_bench_shape *shape,
                                         const fv_policy *policy, const fv_parallel *parallel, fv_isa limit);
FV_API void fv_attention_bench_close(fv_attention_bench *bench); /* NULL is allowed */

/** One layer's whole pass, and the nanoseconds that it took; report may be NULL. Returns what
 *  fv_attention_run() returns. */
FV_API fv_status fv_attention_bench_visit(fv_attention_bench *bench, uint32_t layer, fv_report *report, uint64_t *ns);

/** What visits of all layers, in turn, have shown; of one layer and call. */
typedef struct fv_attention_bench_figures {
    size_t samples; /* timed calls; 0: nothing else is valid */
    uint64_t median_ns, min_ns;
    uint64_t choose_ns,
        read_ns;    /* medians over layers, summed over threads, of one more visit whose clock the core asks */
    double density; /* keys read / visible */
    double keys_read, bytes_read; /* means */
    double mass;                  /* share of dense attention's mass that a decode reads; NaN for a prompt */
    fv_peak_work work;            /* of a call, at least: products; bytes that must come from memory */
} fv_attention_bench_figures;

/**
 * Visits all layers 1 + repetitions times; the first time is not counted.
 *
 * progress  calls made, of all; false stops. NULL: nobody.
 * figures   out, also where it was stopped: of the calls that were made.
 * returns   FV_OK, FV_ERROR_INTERRUPTED, FV_ERROR_MEMORY and what fv_attention_bench_visit() returns.
 */
FV_API fv_status fv_attention_bench_run(fv_attention_bench *bench, size_t repetitions,
                                        bool (*progress)(void *context, size_t done, size_t total), void *context,
                                        fv_attention_bench_figures *figures);

/** From now on reports say where the time goes, see fv_attention_time(). */
FV_API void fv_attention_bench_time(fv_attention_bench *bench, fv_clock_fn *clock, void *context);

/** Mean share of dense attention's mass that a decode of the first layer reads exactly, over its query heads; not
 *  timed. FV_OK, FV_ERROR_MEMORY; *mass is valid on FV_OK only. */
FV_API fv_status fv_attention_bench_mass(fv_attention_bench *bench, double *mass);

/** Of `bytes` that a pass over one layer reads, those that it must read from memory: tiles of a prompt read a cache
 *  again and again, and find it in a nearer one. */
FV_API double fv_attention_bench_once(const fv_attention_bench *bench, double bytes);

FV_API fv_isa fv_attention_bench_isa(const fv_attention_bench *bench);         /* that runs */
FV_API uint32_t fv_attention_bench_rows(const fv_attention_bench *bench);      /* of a pass: 1, or all tokens */
FV_API const float *fv_attention_bench_query(const fv_attention_bench *bench); /* [rows][heads][head_dim] */
FV_API const float *fv_attention_bench_out(const fv_attention_bench *bench);   /* of the last visit, likewise */

/** The keys (values: false) or values of a block of FV_ATTENTION_BENCH_BLOCK tokens of a layer: uniform in -1..1, so
 *  that weights spread over all keys; the same for everyone who asks. rows [FV_ATTENTION_BENCH_BLOCK][width]. Pure. */
FV_API void fv_attention_bench_data(uint32_t layer, bool values, uint32_t block, size_t width, float *rows);

#ifdef __cplusplus
}
#endif

#endif
