/* attention_caches.h - what the attention bench holds. */
#ifndef FV_ATTENTION_CACHES_H
#define FV_ATTENTION_CACHES_H

#include "fovea/measure/attention_bench.h"
#include <stdalign.h>

struct fv_attention_bench {
    fv_attention_bench_shape shape;
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
};

#endif
