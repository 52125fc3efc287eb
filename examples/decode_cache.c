/* decode_cache.c - the cache of one layer, as a decoder fills it: keys and values are appended, each new query attends
 * over all of them under a policy, and the report says what was read. All memory is the caller's: on a microcontroller
 * it is a static array. */
#include <fovea/core.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PROMPT = 8192, STEPS = 16, HEADS = 8, KV_HEADS = 2, DIM = 64, KV = KV_HEADS * DIM };

static float keys[PROMPT + STEPS][KV], values[PROMPT + STEPS][KV], query[HEADS * DIM], out[HEADS * DIM];

static void must(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "%s\n", fv_status_text(status));
    exit(1);
}

static void *memory_for(size_t bytes) { /* a whole number of panels, aligned to them */
    return aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
}

int main(void) {
    fv_policy policy;
    fv_cache_config shape;
    fv_cache *cache;
    fv_attend_config heads = {.query_heads = HEADS, .kv_heads = KV_HEADS, .head_dim = DIM, .scale = 0.125f};
    fv_attention_config config = {.attend = heads, .workers = 1, .chooses = 1};
    fv_attention *attention;
    const fv_kernels *kernels;
    fv_report report = {.struct_bytes = sizeof report};
    uint64_t table[FV_KERNELS_BYTES / sizeof(uint64_t)];
    void *memory[2];
    size_t bytes;
    must(fv_kernels_init(&kernels, FV_ISA_BEST, table, sizeof table));
    fv_policy_default(FV_SELECTOR_FOVEA, &policy); /* reads 16 % of the tokens */
    fv_cache_config_default(&shape);               /* keys and values as f16 */
    shape.kv_heads = KV_HEADS, shape.head_dim = DIM, shape.max_tokens = PROMPT + STEPS;
    fv_policy_needs(&policy, &shape); /* the 2-bit copy of the keys */
    must(fv_cache_size(&shape, &bytes));
    must(fv_cache_init(&cache, &shape, kernels, memory[0] = memory_for(bytes), bytes));
    config.max_tokens = shape.max_tokens, config.plan_steps = fv_policy_steps(&policy, shape.max_tokens, 1);
    must(fv_attention_size(&config, &bytes));
    must(fv_attention_init(&attention, &config, kernels, memory[1] = memory_for(bytes), bytes));
    for (size_t i = 0; i < sizeof keys / sizeof(float); i++) /* a real program has a model for this */
        (&keys[0][0])[i] = (float)rand() / (float)RAND_MAX - 0.5f, (&values[0][0])[i] = (float)rand() / (float)RAND_MAX;
    must(fv_cache_append(cache, PROMPT, keys[0], KV, values[0], KV));
    for (uint32_t position = PROMPT; position < PROMPT + STEPS; position++) {
        for (uint32_t i = 0; i < HEADS * DIM; i++) query[i] = 40 * keys[position / 2][i % KV]; /* asks for an old key */
        must(fv_cache_append(cache, 1, keys[position], KV, values[position], KV));
        fv_attention_rows rows = {.first_token = position, .count = 1, .query = query, .query_stride = HEADS * DIM};
        rows.out = out, rows.out_stride = HEADS * DIM;
        must(fv_attention_run(attention, cache, &policy, &rows, NULL, &report));
    }
    printf("read %" PRIu64 " of %" PRIu64 " keys (%" PRIu64 " chosen, %" PRIu64 " newest, %" PRIu64 " first)\n",
           report.keys_read, report.keys_visible, report.selected_keys, report.window_keys, report.sink_keys);
    printf("out[0] = %.4f; the value of the key that was asked for is %.4f\n", (double)out[0],
           (double)values[(PROMPT + STEPS - 1) / 2][0]);
    return free(memory[0]), free(memory[1]), 0;
}
