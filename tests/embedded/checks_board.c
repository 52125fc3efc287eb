/* checks_board.c - everything but the smoke problem and the language model, in ARENA_BYTES of memory: cases of the
 * reference, a cache of every element type, a policy that chooses, a stream through the gate, the full-tensor form.
 * A line a check: its name and a checksum of the bits of all results, or what it would have needed. */
#include "board.h"
#include "build.h"
#include "golden_arrays.h"

#ifndef ARENA_BYTES
#define ARENA_BYTES (224 * 1024)
#endif

enum { HEADS = 2, KV_HEADS = 1, HEAD_DIM = 32, TOKENS = 96, GATE_INPUTS = 16, GATE_HIDDEN = 16 };

static _Alignas(64) unsigned char arena[ARENA_BYTES];

/* One check: memory that is used from the arena's beginning, and the checksum so far. */
typedef struct check {
    const char *name;
    size_t used;
    uint64_t checksum, instructions; /* of the call that is counted; 0: none */
    bool differs;                    /* from the reference */
    fv_status status;
} check;

/* Bytes at a multiple of 64; NULL and FV_ERROR_MEMORY if the arena has no room, or if something failed before. */
static void *take(check *c, size_t bytes) {
    size_t at = (c->used + 63) / 64 * 64;
    if (c->status != FV_OK) return NULL;
    if (bytes > sizeof arena || at > sizeof arena - bytes) {
        c->status = FV_ERROR_MEMORY;
        return NULL;
    }
    c->used = at + bytes;
    return arena + at;
}

static float *take_floats(check *c, size_t count) { return take(c, count * sizeof(float)); }

/* FNV-1a over 32-bit words; the same on hosts of either byte order. */
static void results_add(check *c, size_t count, const float *x) {
    for (size_t i = 0; i < count; i++) {
        union {
            float value;
            uint32_t bits;
        } word = {.value = x[i]};
        c->checksum = (c->checksum ^ word.bits) * UINT64_C(0x100000001B3);
    }
}

static void results_compare(check *c, size_t count, const float *got, const float *want, float tolerance) {
    for (size_t i = 0; i < count; i++) {
        float difference = got[i] - want[i];
        if (!(difference <= tolerance && difference >= -tolerance) && !(got[i] != got[i] && want[i] != want[i]))
            c->differs = true;
    }
    results_add(c, count, got);
}

static check check_begin(const char *name) { return (check){.name = name, .checksum = UINT64_C(0xCBF29CE484222325)}; }

static int check_end(const check *c) {
    fv_board_text(c->status == FV_OK ? "check " : c->status == FV_ERROR_MEMORY ? "room " : "fail ");
    fv_board_text(c->name);
    if (c->status == FV_OK) fv_board_number(" ", c->checksum, c->differs ? " differs from the reference\n" : "\n");
    if (c->status != FV_OK) fv_board_number(" status -", (uint64_t)(-(int)c->status), "\n");
    if (c->instructions) {
        fv_board_text("instructions ");
        fv_board_text(c->name);
        fv_board_number(" ", c->instructions, "\n");
    }
    return c->differs || (c->status != FV_OK && c->status != FV_ERROR_MEMORY);
}

static fv_cache *cache_make(check *c, const fv_cache_config *config) {
    size_t bytes = 0;
    fv_cache *cache = NULL;
    if (c->status == FV_OK) c->status = fv_cache_size(config, &bytes);
    void *memory = take(c, bytes);
    if (c->status == FV_OK) c->status = fv_cache_init(&cache, config, fv_kernels_scalar(), memory, bytes);
    return cache;
}

static fv_pattern *pattern_make(check *c, const fv_pattern_config *config) {
    size_t bytes = 0;
    fv_pattern *pattern = NULL;
    if (c->status == FV_OK) c->status = fv_pattern_size(config, &bytes);
    void *memory = take(c, bytes);
    if (c->status == FV_OK) c->status = fv_pattern_init(&pattern, config, fv_kernels_scalar(), memory, bytes);
    return pattern;
}

/* ---- cases of the reference ---- */

static fv_tensor tokens_of(const float *data, uint32_t first, uint32_t count, uint32_t heads, uint32_t head_dim) {
    return (fv_tensor){data + (size_t)first * heads * head_dim, count, heads, head_dim};
}

static fv_pattern_config golden_config(const golden_arrays *g) {
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy.window = g->window;
    config.policy.block = g->block;
    config.policy.causal = g->causal;
    config.policy.log_stride = g->log_stride;
    config.policy.landmarks = g->landmarks;
    config.policy.globals_count = g->globals_count;
    for (uint32_t i = 0; i < g->globals_count; i++) config.policy.globals[i] = g->globals[i];
    config.max_tokens = g->tokens;
    config.query_heads = g->query_heads;
    config.kv_heads = g->kv_heads;
    config.head_dim = g->head_dim;
    return config;
}

static void golden_forward(check *c, const golden_arrays *g) {
    fv_pattern_config config = golden_config(g);
    size_t count = (size_t)g->tokens * g->query_heads * g->head_dim;
    fv_pattern *pattern = pattern_make(c, &config);
    float *out = take_floats(c, count);
    fv_pattern_call call = {.query = tokens_of(g->query, 0, g->tokens, g->query_heads, g->head_dim),
                            .keys = tokens_of(g->keys, 0, g->tokens, g->kv_heads, g->head_dim),
                            .values = tokens_of(g->values, 0, g->tokens, g->kv_heads, g->head_dim),
                            .tile = g->tile,
                            .keep = g->keep,
                            .keep_tokens = g->keep ? g->tokens : 0};
    uint64_t start = fv_board_instructions();
    if (c->status == FV_OK)
        c->status = g->function == GOLDEN_DENSE ? fv_pattern_forward_dense(pattern, &call, out)
                                                : fv_pattern_forward(pattern, &call, out);
    c->instructions = fv_board_instructions() - start;
    if (c->status == FV_OK) results_compare(c, count, out, g->out, g->tolerance);
}

static void golden_decode(check *c, const golden_arrays *g) {
    fv_pattern_config config = golden_config(g);
    config.decode_only = 1;
    fv_cache_config shape = {.kv_heads = g->kv_heads,
                             .head_dim = g->head_dim,
                             .max_tokens = g->tokens,
                             .key_type = g->element,
                             .value_type = g->element,
                             .landmark_tokens = g->cache_block};
    size_t row = (size_t)g->query_heads * g->head_dim;
    fv_pattern *pattern = pattern_make(c, &config);
    fv_cache *cache = cache_make(c, &shape);
    float *out = take_floats(c, row);
    for (uint32_t token = 0, count; c->status == FV_OK && token < g->tokens; token += count) {
        count = token < g->prefill ? g->prefill : 1;
        fv_tensor key = tokens_of(g->keys, token, count, g->kv_heads, g->head_dim);
        fv_tensor value = tokens_of(g->values, token, count, g->kv_heads, g->head_dim);
        fv_pattern_call call = {.query = tokens_of(g->query, token, 1, g->query_heads, g->head_dim)};
        c->status = fv_pattern_append(pattern, cache, &key, &value);
        if (token < g->prefill || c->status != FV_OK) continue;
        c->status = fv_pattern_decode(pattern, cache, &call, out);
        if (c->status == FV_OK) results_compare(c, row, out, g->out + (token - g->prefill) * row, g->tolerance);
    }
}

static fv_gate *gate_make(check *c, const fv_gate_config *config, const float *const *parts) {
    size_t bytes = 0;
    fv_gate *gate = NULL;
    if (c->status == FV_OK) c->status = fv_gate_size(config, &bytes);
    void *memory = take(c, bytes);
    if (c->status == FV_OK) c->status = fv_gate_init(&gate, config, parts, memory, bytes);
    return gate;
}

static void golden_gate(check *c, const golden_arrays *g) {
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = g->head_dim;
    config.hidden_dim = g->hidden_dim;
    config.zeta = g->zeta;
    config.nu = g->nu;
    config.weights = FV_GATE_WEIGHTS_GIVEN;
    fv_gate *gate = gate_make(c, &config, g->parts);
    float *hidden = take_floats(c, g->hidden_dim), salience;
    for (uint32_t i = 0; c->status == FV_OK && i < g->hidden_dim; i++) hidden[i] = 0.0f;
    for (uint32_t token = 0; c->status == FV_OK && token < g->tokens; token++) {
        c->status = fv_gate_step(gate, g->query + (size_t)token * g->head_dim, hidden, hidden, &salience);
        if (c->status == FV_OK) results_compare(c, 1, &salience, g->out + token, g->tolerance);
    }
}

static int golden_run(const golden_arrays *g) {
    check c = check_begin(g->name);
    if (g->function == GOLDEN_GATE)
        golden_gate(&c, g);
    else if (g->function == GOLDEN_DECODE)
        golden_decode(&c, g);
    else
        golden_forward(&c, g);
    return check_end(&c);
}

/* ---- inputs from a seed ---- */

/* Numerical Recipes' generator; -1 to 1. */
static void row_make(uint32_t *state, size_t count, float *row) {
    for (size_t i = 0; i < count; i++) {
        *state = *state * 1664525u + 1013904223u;
        row[i] = (float)(*state >> 8) * 0x1p-23f - 1.0f;
    }
}

/* Decoding over a cache of one element type; the last token's instructions are counted. */
static int decode_run(const char *name, fv_element type) {
    check c = check_begin(name);
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy.window = config.policy.block = 16;
    config.max_tokens = TOKENS;
    config.query_heads = HEADS;
    config.kv_heads = KV_HEADS;
    config.head_dim = HEAD_DIM;
    config.decode_only = 1;
    fv_cache_config shape = {.kv_heads = KV_HEADS,
                             .head_dim = HEAD_DIM,
                             .max_tokens = TOKENS,
                             .key_type = type,
                             .value_type = type,
                             .landmark_tokens = 16};
    fv_pattern *pattern = pattern_make(&c, &config);
    fv_cache *cache = cache_make(&c, &shape);
    static float row[HEADS * HEAD_DIM], value_row[HEADS * HEAD_DIM];
    uint32_t seed = 1;
    for (uint32_t token = 0; c.status == FV_OK && token < TOKENS; token++) {
        fv_tensor key = {row, 1, KV_HEADS, HEAD_DIM}, value = {value_row, 1, KV_HEADS, HEAD_DIM};
        row_make(&seed, KV_HEADS * HEAD_DIM, row);
        row_make(&seed, KV_HEADS * HEAD_DIM, value_row);
        c.status = fv_pattern_append(pattern, cache, &key, &value);
        row_make(&seed, HEADS * HEAD_DIM, row);
        fv_pattern_call call = {.query = {row, 1, HEADS, HEAD_DIM}};
        uint64_t start = fv_board_instructions();
        if (c.status == FV_OK) c.status = fv_pattern_decode(pattern, cache, &call, value_row);
        c.instructions = fv_board_instructions() - start;
        if (c.status == FV_OK) results_add(&c, HEADS * HEAD_DIM, value_row);
    }
    return check_end(&c);
}

static int gate_run(void) {
    check c = check_begin("gate-step");
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = GATE_INPUTS;
    config.hidden_dim = GATE_HIDDEN;
    config.seed = 1;
    fv_gate *gate = gate_make(&c, &config, NULL);
    float input[GATE_INPUTS], hidden[GATE_HIDDEN] = {0}, salience;
    uint32_t seed = 1;
    for (uint32_t token = 0; c.status == FV_OK && token < TOKENS; token++) {
        row_make(&seed, GATE_INPUTS, input);
        uint64_t start = fv_board_instructions();
        c.status = fv_gate_step(gate, input, hidden, hidden, &salience);
        c.instructions = fv_board_instructions() - start;
        if (c.status == FV_OK) results_add(&c, 1, &salience);
    }
    return check_end(&c);
}

#if FV_BUILD_CHOOSE
static fv_attention *attention_make(check *c, const fv_policy *policy) {
    fv_attention_config config = {.attend = {.query_heads = HEADS,
                                             .kv_heads = KV_HEADS,
                                             .head_dim = HEAD_DIM,
                                             .scale = 0.176776695f,
                                             .tile_rows = 1,
                                             .gather_keys = 16},
                                  .max_tokens = TOKENS,
                                  .workers = 1,
                                  .plan_steps = fv_policy_steps(policy, TOKENS, 1),
                                  .chooses = 1};
    size_t bytes = 0;
    fv_attention *attention = NULL;
    if (c->status == FV_OK) c->status = fv_attention_size(&config, &bytes);
    void *memory = take(c, bytes);
    if (c->status == FV_OK) c->status = fv_attention_init(&attention, &config, fv_kernels_scalar(), memory, bytes);
    return attention;
}

/* The selector of 2-bit copies of keys: 4 pages of up to 6. */
static int choose_run(void) {
    check c = check_begin("fovea-decode");
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_FOVEA, &policy);
    policy.window = policy.sinks = 16;
    fv_policy_set_pages(&policy, 4);
    policy.dense_below = 0;
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = KV_HEADS;
    shape.head_dim = HEAD_DIM;
    shape.max_tokens = TOKENS;
    shape.shadow = 1;
    fv_attention *attention = attention_make(&c, &policy);
    fv_cache *cache = cache_make(&c, &shape);
    static float row[HEADS * HEAD_DIM], value_row[HEADS * HEAD_DIM];
    uint32_t seed = 1;
    for (uint32_t token = 0; c.status == FV_OK && token < TOKENS; token++) {
        row_make(&seed, KV_HEADS * HEAD_DIM, row);
        row_make(&seed, KV_HEADS * HEAD_DIM, value_row);
        c.status = fv_cache_append(cache, 1, row, KV_HEADS * HEAD_DIM, value_row, KV_HEADS * HEAD_DIM);
        row_make(&seed, HEADS * HEAD_DIM, row);
        fv_attention_rows last = {.first_token = token,
                                  .count = 1,
                                  .query = row,
                                  .query_stride = HEADS * HEAD_DIM,
                                  .out = value_row,
                                  .out_stride = HEADS * HEAD_DIM};
        uint64_t start = fv_board_instructions();
        if (c.status == FV_OK) c.status = fv_attention_run(attention, cache, &policy, &last, NULL, NULL);
        c.instructions = fv_board_instructions() - start;
        if (c.status == FV_OK) results_add(&c, HEADS * HEAD_DIM, value_row);
    }
    return check_end(&c);
}
#endif

/* The smoke problem with all of q, k, v and the output in memory. */
static int tensors_run(void) {
    enum { LENGTH = 64, ALL_HEADS = 4, ROW = ALL_HEADS * HEAD_DIM };
    check c = check_begin("full-tensor");
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy.window = config.policy.block = 16;
    config.max_tokens = LENGTH;
    config.query_heads = config.kv_heads = ALL_HEADS;
    config.head_dim = HEAD_DIM;
    fv_pattern *pattern = pattern_make(&c, &config);
    float *inputs = take_floats(&c, 3 * LENGTH * ROW), *out = take_floats(&c, LENGTH * ROW);
    uint32_t seed = 1;
    if (c.status == FV_OK) {
        row_make(&seed, 3 * LENGTH * ROW, inputs);
        fv_pattern_call call = {.query = tokens_of(inputs, 0, LENGTH, ALL_HEADS, HEAD_DIM),
                                .keys = tokens_of(inputs, LENGTH, LENGTH, ALL_HEADS, HEAD_DIM),
                                .values = tokens_of(inputs, 2 * LENGTH, LENGTH, ALL_HEADS, HEAD_DIM)};
        uint64_t start = fv_board_instructions();
        c.status = fv_pattern_forward(pattern, &call, out);
        c.instructions = fv_board_instructions() - start;
    }
    if (c.status == FV_OK) results_add(&c, LENGTH * ROW, out);
    return check_end(&c);
}

int fv_board_main(void) {
    int wrong = 0;
    for (uint32_t i = 0; i < golden_count; i++) wrong |= golden_run(&golden_list[i]);
    wrong |= decode_run("pattern-f32", FV_ELEMENT_F32) | decode_run("pattern-f16", FV_ELEMENT_F16);
    wrong |= decode_run("pattern-bf16", FV_ELEMENT_BF16) | decode_run("pattern-q8_0", FV_ELEMENT_Q8_0);
    wrong |= decode_run("pattern-q4_0", FV_ELEMENT_Q4_0) | gate_run() | tensors_run();
#if FV_BUILD_CHOOSE
    wrong |= choose_run();
#endif
    return wrong;
}
