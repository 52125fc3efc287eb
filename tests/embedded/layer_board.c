/* layer_board.c - what a token of SmolLM2-135M costs on a Cortex-A53, in parts: attention of one layer (9 query heads
 * on 3 KV heads of 64) over an F16 cache filled from a seed, under three policies; one layer's linear part with random
 * Q4_1 weights, packed; an eighth of the output matrix (Q8_0). Instructions of each, and checksums of the results. */
#include "board.h"
#include <fovea/isa.h>
#include <fovea/model.h>

enum {
    QUERY_HEADS = 9,
    KV_HEADS = 3,
    HEAD_DIM = 64,
    WIDTH = 576,
    FEED_FORWARD = 1536,
    KV_WIDTH = KV_HEADS * HEAD_DIM,
    CONTEXT = 2048,
    VOCABULARY_PART = 49152 / 8,
    ARENA_BYTES = 64 << 20
};

static _Alignas(64) unsigned char arena[ARENA_BYTES];
static size_t arena_used;
static uint32_t seed = 1;

static void *take(size_t bytes) {
    size_t at = (arena_used + 63) / 64 * 64;
    arena_used = at + bytes;
    return arena_used <= sizeof arena ? arena + at : NULL;
}

static uint32_t random_bits(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void row_make(size_t count, float *row) {
    for (size_t i = 0; i < count; i++) row[i] = (float)random_bits() * 0x1p-23f - 1.0f;
}

static void results_print(const char *name, size_t count, const float *x) {
    uint64_t checksum = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < count; i++) {
        union {
            float value;
            uint32_t bits;
        } word = {.value = x[i]};
        checksum = (checksum ^ word.bits) * UINT64_C(0x100000001B3);
    }
    fv_board_text(name);
    fv_board_number(" ", checksum, "\n");
}

/* ---- attention ---- */

static fv_cache *cache_fill(const fv_kernels *kernels, uint32_t tokens) {
    static float key[KV_WIDTH], value[KV_WIDTH];
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    fv_cache *cache = NULL;
    size_t bytes = 0;
    shape.kv_heads = KV_HEADS;
    shape.head_dim = HEAD_DIM;
    shape.max_tokens = CONTEXT;
    shape.landmark_tokens = 64;
    shape.shadow = 1;
    if (fv_cache_size(&shape, &bytes) != FV_OK) return NULL;
    if (fv_cache_init(&cache, &shape, kernels, take(bytes), bytes) != FV_OK) return NULL;
    for (uint32_t token = 0; token < tokens; token++) {
        row_make(KV_WIDTH, key);
        row_make(KV_WIDTH, value);
        if (fv_cache_append(cache, 1, key, KV_WIDTH, value, KV_WIDTH) != FV_OK) return NULL;
    }
    return cache;
}

static fv_status attention_run(const fv_kernels *kernels, const fv_cache *cache, fv_selector selector,
                               const char *name) {
    static float query[WIDTH], out[WIDTH];
    fv_policy policy;
    fv_policy_default(selector, &policy);
    policy.floor = 0; /* short caches choose, too */
    fv_attention_config config = {.attend = {.query_heads = QUERY_HEADS,
                                             .kv_heads = KV_HEADS,
                                             .head_dim = HEAD_DIM,
                                             .scale = 0.125f,
                                             .tile_rows = 16},
                                  .max_tokens = CONTEXT,
                                  .workers = 1,
                                  .plan_steps = fv_policy_steps(&policy, CONTEXT, 16),
                                  .chooses = fv_policy_is_dynamic(&policy)};
    fv_attention *attention;
    size_t bytes = 0, before = arena_used;
    fv_status status = fv_attention_size(&config, &bytes);
    if (status == FV_OK) status = fv_attention_init(&attention, &config, kernels, take(bytes), bytes);
    if (status != FV_OK) return status;
    row_make(WIDTH, query);
    fv_attention_rows row = {.first_token = fv_cache_tokens(cache) - 1,
                             .count = 1,
                             .query = query,
                             .query_stride = WIDTH,
                             .out = out,
                             .out_stride = WIDTH};
    uint64_t start = fv_board_instructions();
    status = fv_attention_run(attention, cache, &policy, &row, NULL, NULL);
    fv_board_count(name, start);
    results_print(name, WIDTH, out);
    arena_used = before;
    return status;
}

static fv_status depth_run(const fv_kernels *kernels, uint32_t tokens, const char *dense, const char *pattern,
                           const char *fovea) {
    fv_cache *cache = cache_fill(kernels, tokens);
    if (!cache) return FV_ERROR_MEMORY;
    fv_status status = attention_run(kernels, cache, FV_SELECTOR_DENSE, dense);
    if (status == FV_OK) status = attention_run(kernels, cache, FV_SELECTOR_PATTERN, pattern);
    if (status == FV_OK) status = attention_run(kernels, cache, FV_SELECTOR_FOVEA, fovea);
    return status;
}

/* ---- the linear part ---- */

/* Random blocks with small scales, packed. */
static fv_weight weight_make(uint32_t type, uint32_t rows, uint32_t columns) {
    size_t row = fv_weight_row_bytes(type, columns), bytes = rows * row, block = type == FV_WEIGHT_Q8_0 ? 34 : 20;
    fv_weight weight = {.type = type, .rows = rows, .columns = columns};
    unsigned char *data = take(bytes), *scratch = take(8 * row);
    if (!data || !scratch) return weight;
    for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)random_bits();
    for (size_t i = 0; i < bytes; i += block) data[i + 1] = 0x20; /* f16 between 2^-7 and 2^-6 */
    if (type == FV_WEIGHT_Q4_1)
        for (size_t i = 0; i < bytes; i += block) data[i + 3] = 0xA4; /* the smallest value, below zero */
    weight.data = data;
    if (fv_weight_pack(&weight, data, scratch, 8 * row) != FV_OK) weight.data = NULL;
    return weight;
}

static fv_weight norm_make(void) {
    float *ones = take(WIDTH * sizeof *ones);
    for (size_t i = 0; ones && i < WIDTH; i++) ones[i] = 1.0f;
    return (fv_weight){.data = ones, .type = FV_WEIGHT_F32, .rows = 1, .columns = WIDTH};
}

static fv_model_config model_config(void) {
    fv_model_config config;
    fv_model_config_default(&config);
    config.vocabulary = VOCABULARY_PART;
    config.width = WIDTH;
    config.feed_forward = FEED_FORWARD;
    config.layers = 1;
    config.query_heads = QUERY_HEADS;
    config.cache.kv_heads = KV_HEADS;
    config.cache.head_dim = config.rope_dims = HEAD_DIM;
    config.cache.max_tokens = config.batch_tokens = 16;
    config.rope_kind = FV_ROPE_PAIRS;
    config.norm_epsilon = 1e-5f;
    config.attention_scale = 0.125f;
    return config;
}

static fv_status linear_run(const fv_kernels *kernels) {
    static float frequencies[HEAD_DIM / 2], logits[VOCABULARY_PART];
    for (size_t i = 0; i < HEAD_DIM / 2; i++) frequencies[i] = 1.0f / (float)(1 + i * i);
    fv_layer_weights layer = {.attention_norm = norm_make(),
                              .query = weight_make(FV_WEIGHT_Q4_1, WIDTH, WIDTH),
                              .key = weight_make(FV_WEIGHT_Q4_1, KV_WIDTH, WIDTH),
                              .value = weight_make(FV_WEIGHT_Q4_1, KV_WIDTH, WIDTH),
                              .output = weight_make(FV_WEIGHT_Q4_1, WIDTH, WIDTH),
                              .feed_norm = norm_make(),
                              .gate = weight_make(FV_WEIGHT_Q4_1, FEED_FORWARD, WIDTH),
                              .up = weight_make(FV_WEIGHT_Q4_1, FEED_FORWARD, WIDTH),
                              .down = weight_make(FV_WEIGHT_Q4_1, WIDTH, FEED_FORWARD)};
    fv_model_weights weights = {.embedding = weight_make(FV_WEIGHT_Q8_0, VOCABULARY_PART, WIDTH),
                                .output_norm = norm_make(),
                                .layers = &layer,
                                .rope_frequencies = frequencies};
    weights.output = weights.embedding;
    fv_model_config config = model_config();
    fv_model_bytes bytes;
    fv_model *model;
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_status status = fv_model_size(&config, 1, &bytes);
    if (status == FV_OK) status = fv_model_init(&model, &config, &weights, kernels, 1, take(bytes.total), bytes.total);
    int32_t token = 7;
    uint64_t start = fv_board_instructions();
    if (status == FV_OK) status = fv_model_forward(model, &token, 1, &dense, NULL, NULL);
    fv_board_count("layer", start);
    start = fv_board_instructions();
    if (status == FV_OK) status = fv_model_logits(model, 0, 1, NULL, logits);
    fv_board_count("logits", start);
    results_print("logits", VOCABULARY_PART, logits);
    return status;
}

int fv_board_main(void) {
    static _Alignas(64) unsigned char table[FV_KERNELS_BYTES];
    const fv_kernels *kernels;
    fv_status status = fv_kernels_init(&kernels, FV_ISA_BEST, table, sizeof table);
    if (status == FV_OK) status = depth_run(kernels, 256, "dense-256", "pattern-256", "fovea-256");
    if (status == FV_OK) status = depth_run(kernels, 2000, "dense-2000", "pattern-2000", "fovea-2000");
    if (status == FV_OK) status = linear_run(kernels);
    if (status != FV_OK) fv_board_number("status -", (uint64_t)(-(int)status), "\n");
    return status != FV_OK;
}
