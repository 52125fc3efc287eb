/* The functions of the vectors, each by our public calls. */
#include "fovea/reference/f16.h"
#include "golden/golden.h"
#include <stdio.h>
#include <string.h>

static fv_tensor tensor_of(const golden_array *array) {
    return (fv_tensor){array->f32, (uint32_t)array->shape[0], (uint32_t)array->shape[1], (uint32_t)array->shape[2]};
}

/* Tokens first..first + count - 1. */
static fv_tensor tensor_cut(fv_tensor tensor, uint32_t first, uint32_t count) {
    tensor.data += (size_t)first * tensor.heads * tensor.head_dim;
    tensor.tokens = count;
    return tensor;
}

/* q, k, v, out of a case; three dimensions each. */
typedef struct inputs {
    golden_array q, k, v, out;
} inputs;

static bool inputs_load(golden_case *run, inputs *in) {
    if (!golden_load(run, "q", 'f', &in->q) || !golden_load(run, "k", 'f', &in->k) ||
        !golden_load(run, "v", 'f', &in->v) || !golden_load(run, "out", 'f', &in->out))
        return false;
    if (in->q.dims != 3 || in->k.dims != 3 || in->v.dims != 3 || in->out.dims != 3)
        return golden_fail(run, "an array has not three dimensions");
    golden_tolerance(run, &in->v);
    return true;
}

static fv_pattern_config config_for(golden_case *run, const inputs *in, uint32_t tokens) {
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy = golden_policy(run, run->json);
    config.max_tokens = tokens ? tokens : 1;
    config.query_heads = (uint32_t)in->q.shape[1];
    config.kv_heads = (uint32_t)in->k.shape[1];
    config.head_dim = (uint32_t)in->q.shape[2];
    config.workers = run->parallel ? run->parallel->workers : 1;
    return config;
}

static fv_pattern_call call_for(const golden_case *run, const inputs *in, fv_heads heads) {
    return (fv_pattern_call){.query = tensor_of(&in->q),
                             .keys = tensor_of(&in->k),
                             .values = tensor_of(&in->v),
                             .heads = heads,
                             .parallel = run->parallel};
}

static bool shape_is(golden_case *run, const golden_array *array, size_t rows, size_t columns) {
    if (array->dims == 2 && array->shape[0] == rows && array->shape[1] == columns) return true;
    return golden_fail(run, "an array has another shape than the others");
}

/* Forward calls differ in the heads they accept and in the tile. */
static void run_forward(golden_case *run, fv_heads heads, bool tiled, bool dense, bool masked) {
    inputs in;
    golden_array keep;
    if (!inputs_load(run, &in)) return;
    fv_pattern_config config = config_for(run, &in, (uint32_t)in.q.shape[0]);
    fv_pattern *pattern = golden_pattern(run, &config);
    fv_pattern_call call = call_for(run, &in, heads);
    if (tiled) call.tile = golden_u32(run, run->json, "tile_size");
    if (masked) {
        if (!golden_load(run, "keep_mask", 'b', &keep)) return;
        call.keep = keep.u8;
        call.keep_tokens = (uint32_t)keep.count;
    }
    if (run->failed || !pattern) return;
    if (in.out.count != in.q.count) {
        golden_fail(run, "out has not the shape of q");
        return;
    }
    float *out = golden_take(run, in.q.count * sizeof *out);
    fv_status status = dense ? fv_pattern_forward_dense(pattern, &call, out) : fv_pattern_forward(pattern, &call, out);
    if (golden_ok(run, "forward", status)) golden_compare(run, "out", in.out.count, out, in.out.f32);
}

static void forward(golden_case *run) { run_forward(run, FV_HEADS_EQUAL, false, false, false); }
static void forward_flash(golden_case *run) { run_forward(run, FV_HEADS_EQUAL, true, false, false); }
static void forward_gqa(golden_case *run) { run_forward(run, FV_HEADS_SHARED, false, false, false); }
static void forward_gqa_flash(golden_case *run) { run_forward(run, FV_HEADS_SHARED, true, false, false); }
static void forward_auto(golden_case *run) { run_forward(run, FV_HEADS_AUTO, false, false, false); }
static void forward_dense(golden_case *run) { run_forward(run, FV_HEADS_EQUAL, false, true, false); }
static void forward_masked(golden_case *run) { run_forward(run, FV_HEADS_EQUAL, false, false, true); }

/* ---- candidate lists ---- */

typedef fv_status list_call(const fv_policy *policy, uint32_t tokens, uint32_t row, fv_order order, uint32_t capacity,
                            uint32_t *list, uint32_t *count);

/* `decode`: entry i is the last row of a cache of i + 1 tokens. */
static void compare_lists(golden_case *run, const char *key, list_call *call, const fv_policy *policy, fv_order order,
                          bool decode) {
    const json_t *rows = json_object_get(run->json, key), *row;
    uint32_t tokens = (uint32_t)json_array_size(rows), *list = golden_take(run, (tokens + 1) * sizeof *list), count;
    size_t i, j;
    const json_t *entry;
    if (!rows) golden_fail(run, "there is no \"%s\"", key);
    json_array_foreach((json_t *)rows, i, row) {
        uint32_t visible = decode ? (uint32_t)i + 1 : tokens;
        if (!golden_ok(run, key, call(policy, visible, (uint32_t)i, order, tokens, list, &count))) return;
        golden_compare_exact(run, key, i, count, (int64_t)json_array_size(row));
        json_array_foreach((json_t *)row, j, entry) {
            if (j < count) golden_compare_exact(run, key, i, list[j], json_integer_value(entry));
        }
    }
}

static void candidates(golden_case *run) {
    fv_policy policy = golden_policy(run, run->json);
    compare_lists(run, "tokens_sorted", fv_pattern_tokens, &policy, FV_ORDER_RISING, false);
    compare_lists(run, "blocks_sorted", fv_pattern_landmarks, &policy, FV_ORDER_RISING, false);
    compare_lists(run, "tokens_build_order", fv_pattern_tokens, &policy, FV_ORDER_BUILT, false);
    compare_lists(run, "blocks_build_order", fv_pattern_landmarks, &policy, FV_ORDER_BUILT, false);
    compare_lists(run, "decode_tokens_sorted", fv_pattern_tokens, &policy, FV_ORDER_RISING, true);
    compare_lists(run, "decode_blocks_sorted", fv_pattern_landmarks, &policy, FV_ORDER_RISING, true);
    uint64_t edges = 0;
    fv_status status = fv_pattern_edges(&policy, golden_u32(run, run->json, "seq"), &edges);
    if (golden_ok(run, "fv_pattern_edges", status))
        golden_compare_exact(run, "edges", 0, (int64_t)edges, golden_u32(run, run->json, "estimate_sparse_edges"));
}

static void edge_table(golden_case *run) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(run->json, "rows"), i, row) {
        fv_policy policy = golden_policy(run, row);
        uint64_t edges = 0;
        fv_status status = fv_pattern_edges(&policy, golden_u32(run, row, "seq"), &edges);
        if (golden_ok(run, "fv_pattern_edges", status))
            golden_compare_exact(run, "row", i, (int64_t)edges, json_integer_value(json_object_get(row, "edges")));
    }
}

/* ---- caches ---- */

typedef struct decode_state {
    inputs in;
    fv_tensor q, k, v;
    fv_pattern *pattern;
    fv_cache *cache;
    float *out;
} decode_state;

static bool decode_begin(golden_case *run, decode_state *state, fv_element type) {
    if (!inputs_load(run, &state->in)) return false;
    state->q = tensor_of(&state->in.q);
    state->k = tensor_of(&state->in.k);
    state->v = tensor_of(&state->in.v);
    uint32_t capacity = golden_u32(run, run->json, "capacity");
    fv_pattern_config config = config_for(run, &state->in, capacity);
    fv_cache_config shape = {.kv_heads = state->k.heads,
                             .head_dim = state->k.head_dim,
                             .max_tokens = capacity,
                             .key_type = type,
                             .value_type = type,
                             .landmark_tokens = golden_u32(run, run->json, "cache_block_size")};
    state->pattern = golden_pattern(run, &config);
    state->cache = golden_cache(run, &shape);
    state->out = golden_take(run, state->in.q.count * sizeof(float));
    return state->pattern && state->cache && !run->failed;
}

static bool append(golden_case *run, decode_state *state, uint32_t first, uint32_t count) {
    fv_tensor k = tensor_cut(state->k, first, count), v = tensor_cut(state->v, first, count);
    return golden_ok(run, "fv_pattern_append", fv_pattern_append(state->pattern, state->cache, &k, &v));
}

/* Decodes the newest token and compares with row `row` of out. */
static bool decode_compare(golden_case *run, decode_state *state, uint32_t step, uint32_t row) {
    fv_pattern_call call = {.query = tensor_cut(state->q, step, 1), .parallel = run->parallel};
    if (!golden_ok(run, "fv_pattern_decode", fv_pattern_decode(state->pattern, state->cache, &call, state->out)))
        return false;
    size_t width = (size_t)state->q.heads * state->q.head_dim;
    if ((row + 1) * width > state->in.out.count) return golden_fail(run, "out has too few rows");
    golden_compare(run, "out", width, state->out, state->in.out.f32 + row * width);
    return true;
}

/* Landmarks after the last step; those of blocks without a token are zeros there and do not exist here. */
static void compare_landmarks(golden_case *run, const decode_state *state) {
    golden_array keys, values;
    if (!golden_load(run, "lm_keys", 'f', &keys) || !golden_load(run, "lm_values", 'f', &values)) return;
    size_t dim = state->k.head_dim, heads = state->k.heads;
    float *key = golden_take(run, dim * sizeof *key), *value = golden_take(run, dim * sizeof *value);
    for (uint32_t mark = 0; mark < keys.shape[0]; mark++)
        for (uint32_t head = 0; head < heads; head++) {
            size_t at = (mark * heads + head) * dim;
            if (fv_cache_landmark_read(state->cache, head, mark, key, value) != FV_OK) {
                memset(key, 0, dim * sizeof *key);
                memset(value, 0, dim * sizeof *value);
            }
            golden_compare(run, "lm_keys", dim, key, keys.f32 + at);
            golden_compare(run, "lm_values", dim, value, values.f32 + at);
        }
}

static void decode_all(golden_case *run, fv_element type) {
    decode_state state;
    if (!decode_begin(run, &state, type)) return;
    uint32_t prefill = golden_u32(run, run->json, "prefill");
    if (prefill && !append(run, &state, 0, prefill)) return;
    for (uint32_t step = prefill; step < state.q.tokens; step++)
        if (!append(run, &state, step, 1) || !decode_compare(run, &state, step, step - prefill)) return;
    compare_landmarks(run, &state);
    if (type != FV_ELEMENT_F16) return;
    golden_array bits[2];
    if (!golden_load(run, "k_f16bits", 'h', &bits[0]) || !golden_load(run, "v_f16bits", 'h', &bits[1])) return;
    size_t dim = state.k.head_dim, heads = state.k.heads;
    float *wide[2] = {golden_take(run, dim * sizeof(float)), golden_take(run, dim * sizeof(float))};
    uint16_t *half = golden_take(run, dim * sizeof *half);
    for (uint32_t t = 0; t < fv_cache_tokens(state.cache); t++)
        for (uint32_t head = 0; head < heads; head++) {
            fv_cache_read(state.cache, head, t, 1, wide[0], wide[1]);
            for (size_t i = 0; i < 2; i++) {
                fv_f16_narrow(run->kernels, dim, wide[i], half);
                for (size_t c = 0; c < dim; c++)
                    golden_compare_exact(run, "f16 bits of token", t, half[c],
                                         bits[i].u16[(t * heads + head) * dim + c]);
            }
        }
}

static void decode_step(golden_case *run) { decode_all(run, FV_ELEMENT_F32); }
static void decode_step_f16(golden_case *run) { decode_all(run, FV_ELEMENT_F16); }

static void decode_after_reset(golden_case *run) {
    decode_state state;
    if (!decode_begin(run, &state, FV_ELEMENT_F32)) return;
    uint32_t first = golden_u32(run, run->json, "reset_after");
    if (!append(run, &state, 0, first) || !golden_ok(run, "fv_cache_truncate", fv_cache_truncate(state.cache, 0)))
        return;
    for (uint32_t step = first; step < state.q.tokens; step++)
        if (!append(run, &state, step, 1) || !decode_compare(run, &state, step, step - first)) return;
    compare_landmarks(run, &state);
}

static void decode_batch(golden_case *run) {
    decode_state state;
    if (!decode_begin(run, &state, FV_ELEMENT_F32)) return;
    uint32_t prefill = golden_u32(run, run->json, "prefill"), step = prefill;
    size_t i, width = (size_t)state.q.heads * state.q.head_dim;
    json_t *length;
    if (prefill && !append(run, &state, 0, prefill)) return;
    json_array_foreach(json_object_get(run->json, "draft_lens"), i, length) {
        uint32_t count = (uint32_t)json_integer_value(length);
        fv_pattern_call call = {.query = tensor_cut(state.q, step, count),
                                .keys = tensor_cut(state.k, step, count),
                                .values = tensor_cut(state.v, step, count),
                                .parallel = run->parallel};
        fv_status status = fv_pattern_decode_batch(state.pattern, state.cache, &call, state.out);
        if (!golden_ok(run, "fv_pattern_decode_batch", status)) return;
        golden_compare(run, "out", count * width, state.out, state.in.out.f32 + (step - prefill) * width);
        step += count;
    }
    compare_landmarks(run, &state);
}

/* ---- eviction ---- */

/* The reference lets slot 0 go when all is protected. */
static fv_evict_config evict_config(golden_case *run, const json_t *object, const char *globals_key,
                                    const char *window_key) {
    fv_evict_config config;
    fv_evict_config_default(&config);
    const json_t *list = json_object_get(object, globals_key);
    config.globals_count = (uint32_t)json_array_size(list);
    uint32_t *globals = golden_take(run, (config.globals_count + 1) * sizeof *globals);
    for (uint32_t i = 0; i < config.globals_count; i++)
        globals[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    config.globals = globals;
    config.window = golden_u32(run, object, window_key);
    config.when_all_protected = FV_EVICT_OLDEST;
    return config;
}

static void evict_and_append(golden_case *run) {
    decode_state state;
    golden_array scores, survivors, victims;
    if (!decode_begin(run, &state, FV_ELEMENT_F32)) return;
    if (!golden_load(run, "scores", 'f', &scores) || !golden_load(run, "survivors", 'i', &survivors) ||
        !golden_load(run, "victim_slot", 'i', &victims))
        return;
    uint32_t capacity = golden_u32(run, run->json, "capacity");
    if (!shape_is(run, &scores, state.q.tokens, capacity) || !shape_is(run, &survivors, state.q.tokens, capacity))
        return;
    fv_evict_config config = evict_config(run, run->json, "protect_globals", "protect_window");
    int32_t *origin = golden_take(run, capacity * sizeof *origin);
    for (uint32_t slot = 0; slot < capacity; slot++) origin[slot] = -1;
    for (uint32_t step = 0; step < state.q.tokens; step++) {
        fv_tensor k = tensor_cut(state.k, step, 1), v = tensor_cut(state.v, step, 1);
        uint32_t victim, tokens = fv_cache_tokens(state.cache);
        fv_status status = fv_pattern_append_evict(state.pattern, state.cache, &config, tokens,
                                                   scores.f32 + (size_t)step * capacity, &k, &v, &victim);
        if (!golden_ok(run, "fv_pattern_append_evict", status)) return;
        golden_compare_exact(run, "victim of step", step, victim == FV_EVICT_NONE ? -1 : (int64_t)victim,
                             victims.i32[step]);
        if (victim != FV_EVICT_NONE) fv_evict_compact(origin, sizeof *origin, capacity, victim);
        origin[fv_cache_tokens(state.cache) - 1] = (int32_t)step;
        for (size_t slot = 0; slot < capacity; slot++)
            golden_compare_exact(run, "survivors of step", step, origin[slot], survivors.i32[step * capacity + slot]);
        if (!decode_compare(run, &state, step, step)) return;
    }
    compare_landmarks(run, &state);
}

static void evict_table(golden_case *run) {
    size_t i, j;
    json_t *row, *score;
    json_array_foreach(json_object_get(run->json, "rows"), i, row) {
        const json_t *list = json_object_get(row, "scores");
        uint32_t tokens = (uint32_t)json_array_size(list), victim = FV_EVICT_NONE;
        float *scores = golden_take(run, (tokens + 1) * sizeof *scores);
        json_array_foreach((json_t *)list, j, score) { scores[j] = golden_number(score); }
        fv_evict_config config = evict_config(run, row, "global_tokens", "window");
        if (golden_ok(run, "fv_evict_victim", fv_evict_victim(&config, tokens, scores, &victim)))
            golden_compare_exact(run, "row", i, victim, golden_u32(run, row, "victim"));
    }
}

/* ---- half precision ---- */

static void f16_convert(golden_case *run) {
    golden_array x, bits, back;
    if (!golden_load(run, "x", 'f', &x) || !golden_load(run, "bits", 'h', &bits) ||
        !golden_load(run, "back", 'f', &back))
        return;
    if (bits.count != x.count || back.count != x.count) {
        golden_fail(run, "the arrays differ in length");
        return;
    }
    run->tolerance = 0.0;
    uint16_t *half = golden_take(run, x.count * sizeof *half);
    float *wide = golden_take(run, x.count * sizeof *wide);
    if (!golden_ok(run, "fv_f16_narrow", fv_f16_narrow(run->kernels, x.count, x.f32, half))) return;
    if (!golden_ok(run, "fv_f16_widen", fv_f16_widen(run->kernels, x.count, bits.u16, wide))) return;
    for (size_t i = 0; i < x.count; i++) golden_compare_exact(run, "bits", i, half[i], bits.u16[i]);
    golden_compare(run, "back", x.count, wide, back.f32);
}

/* ---- the gate ---- */

static const char *const part_files[FV_GATE_PARTS] = {
    [FV_GATE_PART_GATE_INPUT] = "w_gate",     [FV_GATE_PART_GATE_STATE] = "u_gate",
    [FV_GATE_PART_UPDATE_INPUT] = "w_update", [FV_GATE_PART_UPDATE_STATE] = "u_update",
    [FV_GATE_PART_GATE_BIAS] = "bias_gate",   [FV_GATE_PART_UPDATE_BIAS] = "bias_update"};

/* Deterministic weights are made here and compared with the files, others are taken from them. */
static fv_gate *gate_make(golden_case *run) {
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = golden_u32(run, run->json, "input_dim");
    config.hidden_dim = golden_u32(run, run->json, "hidden_dim");
    config.zeta = golden_f32(run, run->json, "zeta");
    config.nu = golden_f32(run, run->json, "nu");
    bool made = json_is_true(json_object_get(run->json, "deterministic_init"));
    config.weights = made ? FV_GATE_WEIGHTS_REFERENCE : FV_GATE_WEIGHTS_GIVEN;
    golden_array arrays[FV_GATE_PARTS];
    const float *parts[FV_GATE_PARTS];
    for (size_t i = 0; i < FV_GATE_PARTS; i++) {
        if (!golden_load(run, part_files[i], 'f', &arrays[i])) return NULL;
        parts[i] = arrays[i].f32;
    }
    size_t bytes = 0;
    fv_gate *gate = NULL;
    if (!golden_ok(run, "fv_gate_size", fv_gate_size(&config, &bytes))) return NULL;
    fv_status status = fv_gate_init(&gate, &config, made ? NULL : parts, golden_take(run, bytes), bytes);
    if (!golden_ok(run, "fv_gate_init", status)) return NULL;
    for (size_t i = 0; made && i < FV_GATE_PARTS; i++) {
        float *part = golden_take(run, arrays[i].count * sizeof *part);
        fv_gate_read(gate, (fv_gate_part)i, part);
        for (size_t j = 0; j < arrays[i].count; j++)
            if (part[j] != arrays[i].f32[j]) golden_fail(run, "%s differs at %zu", part_files[i], j);
        run->values += arrays[i].count;
    }
    return gate;
}

static void gate_steps(golden_case *run, fv_gate *gate, const golden_array *tokens, size_t hidden_dim) {
    golden_array start, hidden, salience;
    if (!golden_load(run, "h0", 'f', &start) || !golden_load(run, "hidden", 'f', &hidden) ||
        !golden_load(run, "step_salience", 'f', &salience))
        return;
    float *state = golden_take(run, hidden_dim * sizeof *state), step;
    memcpy(state, start.f32, hidden_dim * sizeof *state);
    for (size_t t = 0; t < tokens->shape[0]; t++) {
        fv_status status = fv_gate_step(gate, tokens->f32 + t * tokens->shape[1], state, state, &step);
        if (!golden_ok(run, "fv_gate_step", status)) return;
        golden_compare(run, "hidden", hidden_dim, state, hidden.f32 + t * hidden_dim);
        golden_compare(run, "step_salience", 1, &step, salience.f32 + t);
    }
}

static void gate_score(golden_case *run) {
    golden_array tokens, k, salience, salience_kv;
    golden_tolerance(run, NULL);
    fv_gate *gate = gate_make(run);
    if (!gate || !golden_load(run, "tokens", 'f', &tokens) || !golden_load(run, "k", 'f', &k) ||
        !golden_load(run, "salience", 'f', &salience) || !golden_load(run, "salience_kv", 'f', &salience_kv))
        return;
    uint32_t count = (uint32_t)tokens.shape[0], heads = (uint32_t)k.shape[1];
    size_t dim = tokens.shape[1];
    float *got = golden_take(run, (tokens.shape[0] + k.shape[0]) * sizeof *got);
    if (golden_ok(run, "fv_gate_score", fv_gate_score(gate, count, tokens.f32, dim, got)))
        golden_compare(run, "salience", salience.count, got, salience.f32);
    gate_steps(run, gate, &tokens, fv_gate_shape(gate)->hidden_dim);
    if (golden_ok(run, "fv_gate_score_keys",
                  fv_gate_score_keys(gate, (uint32_t)k.shape[0], heads, k.f32, heads * dim, got)))
        golden_compare(run, "salience_kv", salience_kv.count, got, salience_kv.f32);
}

static void keep_mask(golden_case *run) {
    size_t i, j;
    json_t *row, *entry;
    json_array_foreach(json_object_get(run->json, "rows"), i, row) {
        const json_t *list = json_object_get(row, "salience"), *want = json_object_get(row, "mask");
        const char *kind = json_string_value(json_object_get(row, "kind"));
        uint32_t count = (uint32_t)json_array_size(list);
        float *salience = golden_take(run, (count + 1) * sizeof *salience);
        uint8_t *mask = golden_take(run, count + 1);
        json_array_foreach((json_t *)list, j, entry) { salience[j] = golden_number(entry); }
        fv_status status = FV_ERROR_UNSUPPORTED;
        if (kind && strcmp(kind, "top_k") == 0)
            status = fv_keep_top(count, salience, golden_u32(run, row, "param"), mask);
        if (kind && strcmp(kind, "quantile") == 0)
            status = fv_keep_quantile(count, salience, golden_f32(run, row, "param"), mask);
        if (!golden_ok(run, "keep mask", status)) return;
        golden_compare_exact(run, "length of mask", i, count, (int64_t)json_array_size(want));
        json_array_foreach((json_t *)want, j, entry) {
            golden_compare_exact(run, "mask", i, mask[j], json_is_true(entry) ? 1 : json_integer_value(entry));
        }
    }
}

static void forward_gate(golden_case *run) {
    inputs in;
    golden_array salience, keep;
    if (!inputs_load(run, &in)) return;
    fv_gate *gate = gate_make(run);
    if (!gate || !golden_load(run, "salience_kv", 'f', &salience) || !golden_load(run, "keep_mask", 'b', &keep)) return;
    fv_pattern_config config = config_for(run, &in, (uint32_t)in.q.shape[0]);
    config.gated = 1;
    fv_pattern *pattern = golden_pattern(run, &config);
    uint32_t count = golden_u32(run, run->json, "gate_top_k"), tokens = (uint32_t)in.k.shape[0];
    fv_pattern_call call = call_for(run, &in, FV_HEADS_EQUAL);
    float *out = golden_take(run, in.q.count * sizeof *out), *got = golden_take(run, tokens * sizeof *got);
    uint8_t *mask = golden_take(run, tokens);
    if (!pattern || run->failed || in.out.count != in.q.count || keep.count != tokens || salience.count != tokens) {
        golden_fail(run, "the arrays differ in shape");
        return;
    }
    size_t stride = in.k.shape[1] * in.k.shape[2];
    fv_status status = fv_gate_score_keys(gate, tokens, (uint32_t)in.k.shape[1], in.k.f32, stride, got);
    if (!golden_ok(run, "fv_gate_score_keys", status)) return;
    golden_compare(run, "salience_kv", tokens, got, salience.f32);
    if (!golden_ok(run, "fv_keep_top", fv_keep_top(tokens, got, count, mask))) return;
    for (size_t t = 0; t < tokens; t++) golden_compare_exact(run, "mask", t, mask[t], keep.u8[t]);
    status = fv_pattern_forward_gated(pattern, gate, FV_KEEP_WHOLE_SEQUENCE, count, &call, out);
    if (golden_ok(run, "fv_pattern_forward_gated", status)) golden_compare(run, "out", in.out.count, out, in.out.f32);
}

golden_run_fn *golden_runner(const char *function) {
    static const struct {
        const char *name;
        golden_run_fn *run;
    } runners[] = {
        {"forward", forward},
        {"forward_flash", forward_flash},
        {"forward_gqa", forward_gqa},
        {"forward_gqa_flash", forward_gqa_flash},
        {"forward_auto", forward_auto},
        {"dense_attention", forward_dense},
        {"block_forward_qkv", forward},
        {"candidates", candidates},
        {"estimate_sparse_edges", edge_table},
        {"decode_step", decode_step},
        {"decode_step_f16", decode_step_f16},
        {"decode_step_after_reset", decode_after_reset},
        {"decode_batch", decode_batch},
        {"evict_and_append", evict_and_append},
        {"evict_victim", evict_table},
        {"f16_convert", f16_convert},
        {"fastgrnn_score", gate_score},
        {"keep_mask", keep_mask},
        {"forward_gated", forward_masked},
        {"forward_gated_with_fastgrnn", forward_gate},
        {"errors", golden_errors},
    };
    for (size_t i = 0; i < sizeof runners / sizeof runners[0]; i++)
        if (function && strcmp(function, runners[i].name) == 0) return runners[i].run;
    return NULL;
}
