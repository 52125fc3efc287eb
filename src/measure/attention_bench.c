/* attention_bench.c - fills caches and visits them in turn, as a model does it: with many layers they come from memory,
 * with one from the processor's own caches. Choosing what is read and merging are inside the clock. */
#include "fovea/measure/attention_bench.h"
#include "fovea/machine.h"
#include "fovea/measure/mass.h"
#include "measure/attention_caches.h"
#include "platform/pages.h"
#include <math.h>
#include <stdlib.h>

/* MurmurHash3's last step: seeds that follow each other must not give rows that do. */
static uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* Eight generators of Numerical Recipes side by side: one alone waits for its multiplication. */
static void fill_random(uint32_t seed, float *values, size_t count) {
    uint32_t state[8];
    for (uint32_t k = 0; k < 8; k++) state[k] = mix(seed * 8 + k);
    for (size_t i = 0; i < count; i += 8)
        for (size_t k = 0; k < 8 && i + k < count; k++) {
            state[k] = state[k] * 1664525u + 1013904223u;
            values[i + k] = (float)(int32_t)state[k] * 0x1p-31f;
        }
}

void fv_attention_bench_data(uint32_t layer, bool values, uint32_t block, size_t width, float *rows) {
    fill_random((layer * 2 + values + 1) * 65599u + block, rows, FV_ATTENTION_BENCH_BLOCK * width);
}

static fv_status fill_cache(const fv_attention_bench_shape *shape, uint32_t layer, fv_cache *cache, float *rows) {
    size_t width = (size_t)shape->kv_heads * shape->head_dim;
    float *values = rows + FV_ATTENTION_BENCH_BLOCK * width;
    fv_status status = FV_OK;
    for (uint32_t done = 0; done < shape->tokens && status == FV_OK; done += FV_ATTENTION_BENCH_BLOCK) {
        uint32_t left = shape->tokens - done,
                 tokens = left < FV_ATTENTION_BENCH_BLOCK ? left : FV_ATTENTION_BENCH_BLOCK;
        fv_attention_bench_data(layer, false, done / FV_ATTENTION_BENCH_BLOCK, width, rows);
        fv_attention_bench_data(layer, true, done / FV_ATTENTION_BENCH_BLOCK, width, values);
        status = fv_cache_append(cache, tokens, rows, width, values, width);
    }
    return status;
}

static fv_cache_config cache_config(const fv_attention_bench *bench) {
    const fv_attention_bench_shape *shape = &bench->shape;
    fv_cache_config config;
    fv_cache_config_default(&config);
    config.kv_heads = shape->kv_heads;
    config.head_dim = shape->head_dim;
    config.max_tokens = shape->tokens;
    config.key_type = shape->key_type;
    config.value_type = shape->value_type;
    fv_policy_needs(&bench->policy, &config);
    return config;
}

static fv_status make_caches(fv_attention_bench *bench) {
    fv_cache_config config = cache_config(bench);
    size_t layers = bench->shape.layers;
    fv_status status = fv_cache_size(&config, &bench->cache_bytes);
    if (status != FV_OK) return status;
    float *rows = malloc(2 * FV_ATTENTION_BENCH_BLOCK * (size_t)config.kv_heads * config.head_dim * sizeof *rows);
    bench->caches = calloc(layers, sizeof *bench->caches);
    bench->memory = calloc(layers, sizeof *bench->memory);
    if (!rows || !bench->caches || !bench->memory) status = FV_ERROR_MEMORY;
    for (uint32_t i = 0; i < layers && status == FV_OK; i++) {
        bench->memory[i] = fv_pages_map(bench->cache_bytes);
        status = fv_cache_init(&bench->caches[i], &config, bench->kernels, bench->memory[i], bench->cache_bytes);
        if (status == FV_OK) status = fill_cache(&bench->shape, i, bench->caches[i], rows);
    }
    free(rows);
    return status;
}

static fv_status make_attention(fv_attention_bench *bench) {
    const fv_attention_bench_shape *shape = &bench->shape;
    fv_attention_config config = {.attend = {.query_heads = shape->heads,
                                             .kv_heads = shape->kv_heads,
                                             .head_dim = shape->head_dim,
                                             .scale = 1.0f / sqrtf((float)shape->head_dim)},
                                  .max_tokens = shape->tokens,
                                  .workers = bench->parallel ? bench->parallel->workers : 1,
                                  .chooses = fv_policy_is_dynamic(&bench->policy),
                                  .plan_steps = fv_policy_steps(&bench->policy, shape->tokens, FV_TILE_ROWS)};
    fv_status status = fv_attention_size(&config, &bench->scratch_bytes);
    if (status != FV_OK) return status;
    bench->scratch = fv_pages_map(bench->scratch_bytes);
    return fv_attention_init(&bench->attention, &config, bench->kernels, bench->scratch, bench->scratch_bytes);
}

static fv_status make_rows(fv_attention_bench *bench) {
    size_t values = (size_t)bench->rows * bench->shape.heads * bench->shape.head_dim;
    bench->query = malloc(values * sizeof *bench->query);
    bench->out = calloc(values, sizeof *bench->out);
    if (!bench->query || !bench->out) return FV_ERROR_MEMORY;
    fill_random(0, bench->query, values);
    return FV_OK;
}

static fv_status bench_make(fv_attention_bench *bench, fv_isa limit) {
    bench->rows = bench->shape.batch == 1 ? 1 : bench->shape.tokens;
    fv_status status = fv_kernels_init(&bench->kernels, limit, bench->kernels_memory, sizeof bench->kernels_memory);
    if (status == FV_OK) status = make_caches(bench);
    if (status == FV_OK) status = make_attention(bench);
    if (status == FV_OK) status = make_rows(bench);
    return status;
}

fv_status fv_attention_bench_open(fv_attention_bench **bench, const fv_attention_bench_shape *shape,
                                  const fv_policy *policy, const fv_parallel *parallel, fv_isa limit) {
    fv_attention_bench *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    made->shape = *shape;
    made->policy = *policy;
    made->parallel = parallel;
    fv_status status = bench_make(made, limit);
    if (status == FV_OK)
        *bench = made;
    else
        fv_attention_bench_close(made);
    return status;
}

void fv_attention_bench_close(fv_attention_bench *bench) {
    if (!bench) return;
    for (uint32_t i = 0; bench->memory && i < bench->shape.layers; i++)
        fv_pages_unmap(bench->memory[i], bench->cache_bytes);
    free(bench->memory);
    free((void *)bench->caches);
    fv_pages_unmap(bench->scratch, bench->scratch_bytes);
    free(bench->query);
    free(bench->out);
    free(bench);
}

void fv_attention_bench_time(fv_attention_bench *bench, fv_clock_fn *clock, void *context) {
    fv_attention_time(bench->attention, clock, context);
}

fv_isa fv_attention_bench_isa(const fv_attention_bench *bench) { return fv_kernels_isa(bench->kernels); }
uint32_t fv_attention_bench_rows(const fv_attention_bench *bench) { return bench->rows; }
const float *fv_attention_bench_query(const fv_attention_bench *bench) { return bench->query; }
const float *fv_attention_bench_out(const fv_attention_bench *bench) { return bench->out; }

fv_status fv_attention_bench_visit(fv_attention_bench *bench, uint32_t layer, fv_report *report, uint64_t *ns) {
    const fv_attention_bench_shape *shape = &bench->shape;
    size_t stride = (size_t)shape->heads * shape->head_dim;
    fv_status status = FV_OK;
    uint64_t start_ns = fv_machine_clock_ns();
    for (uint32_t done = 0; done < bench->rows && status == FV_OK; done += shape->batch) {
        uint32_t left = bench->rows - done;
        fv_attention_rows rows = {.first_token = shape->tokens - bench->rows + done,
                                  .count = left < shape->batch ? left : shape->batch,
                                  .query = bench->query + done * stride,
                                  .query_stride = stride,
                                  .out = bench->out + done * stride,
                                  .out_stride = stride};
        status =
            fv_attention_run(bench->attention, bench->caches[layer], &bench->policy, &rows, bench->parallel, report);
    }
    *ns = fv_machine_clock_ns() - start_ns;
    return status;
}

/* Of one KV head at a time: its group's sum, or less than 0 where there was no memory. */
static void observe_mass(void *context, const fv_attention_seen *seen, size_t worker) {
    double *sums = context;
    uint32_t group = fv_attend_group(seen->attend), dim = seen->attend->head_dim;
    uint32_t position = seen->plan->first_token;
    size_t tokens = (size_t)group * (position + 1);
    float *mass = malloc((tokens + group + FV_PAGE_TOKENS * (size_t)dim) * sizeof *mass);
    (void)worker;
    sums[seen->kv_head] = -1;
    if (mass &&
        fv_mass_tokens(seen->attend, seen->kernels, seen->cache, seen->kv_head, position,
                       seen->query + (size_t)seen->kv_head * group * dim, mass, mass + tokens + group) == FV_OK) {
        fv_mass_read(seen->plan, 0, group, mass, mass + tokens);
        sums[seen->kv_head] = 0;
        for (uint32_t g = 0; g < group; g++) sums[seen->kv_head] += (double)mass[tokens + g];
    }
    free(mass);
}

fv_status fv_attention_bench_mass(fv_attention_bench *bench, double *mass) {
    uint32_t kv_heads = bench->shape.kv_heads;
    double *sums = calloc(kv_heads, sizeof *sums);
    uint64_t ns;
    if (!sums) return FV_ERROR_MEMORY;
    fv_attention_observe(bench->attention, observe_mass, sums);
    fv_status status = fv_attention_bench_visit(bench, 0, NULL, &ns);
    fv_attention_observe(bench->attention, NULL, NULL);
    *mass = 0;
    for (uint32_t head = 0; head < kv_heads; head++) {
        if (sums[head] < 0) status = FV_ERROR_MEMORY;
        *mass += sums[head] / bench->shape.heads;
    }
    free(sums);
    return status;
}

double fv_attention_bench_once(const fv_attention_bench *bench, double bytes) {
    return bytes < (double)bench->cache_bytes ? bytes : (double)bench->cache_bytes;
}
