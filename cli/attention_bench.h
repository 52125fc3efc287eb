/* attention_bench.h - the attention core on random keys and values: caches of several layers, visited in turn. */
#ifndef FOVEA_ATTENTION_BENCH_H
#define FOVEA_ATTENTION_BENCH_H

#include "fovea/attention.h"
#include "fovea/pool.h"
#include <stdalign.h>
#include <stdbool.h>

#define CLI_BENCH_BLOCK 256 /* tokens that are made at once */

typedef struct cli_attention_shape {
    uint32_t heads, kv_heads, head_dim, layers, tokens;
    uint32_t key_type, value_type; /* fv_element */
    uint32_t batch; /* positions of one call: 1 = decode of the last token; else all tokens, `batch` a call */
} cli_attention_shape;

/** Fields are read-only outside attention_bench.c. */
typedef struct cli_attention_bench {
    cli_attention_shape shape;
    fv_policy policy;
    const fv_parallel *parallel;
    const fv_kernels *kernels;
    fv_cache **caches; /* [layers], each in memory of its own */
    void **memory;
    size_t cache_bytes; /* of one layer */
    fv_attention *attention;
    void *scratch;
    size_t scratch_bytes;
    float *query, *out; /* [rows][heads][head_dim]; rows: 1, or all tokens */
    uint32_t rows;
    alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
} cli_attention_bench;

/** Uniform in -1..1: weights then spread over all keys, the worst case for nothing in particular. Any block of
 *  CLI_BENCH_BLOCK tokens of any layer, the same for everyone who asks. rows [CLI_BENCH_BLOCK][width]. */
void cli_attention_rows(uint32_t layer, bool values, uint32_t block, size_t width, float *rows);

/** FV_OK or the status of what failed; close in any case. */
fv_status cli_attention_bench_open(cli_attention_bench *bench, const cli_attention_shape *shape,
                                   const fv_policy *policy, const fv_parallel *parallel, fv_isa limit);
void cli_attention_bench_close(cli_attention_bench *bench);

/** One layer's whole pass; report may be NULL. */
fv_status cli_attention_bench_visit(cli_attention_bench *bench, uint32_t layer, fv_report *report, uint64_t *ns);

/** Mean share of dense attention's mass that a decode of the first layer reads exactly, over its query heads; not
 *  timed. */
fv_status cli_attention_bench_mass(cli_attention_bench *bench, double *mass);

/** Of `bytes` that a pass over one layer reads, those that it must read from memory: tiles of a prompt read a cache
 *  again and again, and find it in a nearer one. */
double cli_attention_bench_once(const cli_attention_bench *bench, double bytes);

/** A block of memory, in huge pages where the system gives them; NULL if there is none. */
void *cli_memory_take(size_t bytes);
void cli_memory_free(void *memory, size_t bytes);

#endif
