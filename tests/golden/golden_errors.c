/* The errors case: what the reference accepts and refuses, row by row, against what we do. A row on which we differ on
 * purpose stands in mended.csv with our status and the quirk that it mends; a mistake that our types cannot express is
 * said to be one. */
#include "golden/golden.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What our side did with a row. */
typedef struct outcome {
    enum { UNKNOWN, NOT_EXPRESSIBLE, DONE } kind;
    fv_status status;
    int64_t length; /* where the row asks how long the cache is after the call; else -1 */
} outcome;

static outcome done(fv_status status) { return (outcome){DONE, status, -1}; }
static const outcome not_expressible = {NOT_EXPRESSIBLE, FV_OK, -1}, unknown = {UNKNOWN, FV_OK, -1};

/* The caches of the rows; the default ones unless a row says otherwise. */
enum { KV_HEADS = 2, HEAD_DIM = 8, BLOCK = 4, ELEMENTS = 64 * 8 * 16 };

static fv_tensor tensor(golden_case *run, uint32_t tokens, uint32_t heads, uint32_t head_dim) {
    float *data = golden_take(run, ELEMENTS * sizeof *data);
    for (size_t i = 0; i < ELEMENTS; i++) data[i] = (float)((i * 7 + 3) % 11) * 0.1f;
    return (fv_tensor){data, tokens, heads, head_dim};
}

static fv_pattern_config small_config(void) {
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy.window = 4;
    config.policy.block = BLOCK;
    config.max_tokens = 64;
    config.query_heads = config.kv_heads = 4;
    config.head_dim = 16;
    config.gated = 1;
    return config;
}

static fv_status make(golden_case *run, const fv_pattern_config *config, fv_pattern **pattern) {
    size_t bytes;
    fv_status status = fv_pattern_size(config, &bytes);
    return status == FV_OK ? fv_pattern_init(pattern, config, run->kernels, golden_take(run, bytes), bytes) : status;
}

static fv_pattern *small_pattern(golden_case *run) {
    fv_pattern_config config = small_config();
    fv_pattern *pattern = NULL;
    golden_ok(run, "small pattern", make(run, &config, &pattern));
    return pattern;
}

static bool has(const char *setup, const char *part) { return strstr(setup, part) != NULL; }

/* ---- forward ---- */

static fv_tensor row_tensor(golden_case *run, const json_t *row, const char *name) {
    const json_t *shape = json_object_get(row, name);
    uint32_t size[3];
    for (size_t i = 0; i < 3; i++) size[i] = (uint32_t)json_integer_value(json_array_get(shape, i));
    return tensor(run, size[0], size[1], size[2]);
}

static fv_heads heads_of(const char *call) {
    return has(call, "_gqa") ? FV_HEADS_SHARED : has(call, "_auto") ? FV_HEADS_AUTO : FV_HEADS_EQUAL;
}

static fv_pattern_call call_of(golden_case *run, uint32_t tokens, uint32_t query_heads, uint32_t key_tokens) {
    return (fv_pattern_call){.query = tensor(run, tokens, query_heads, HEAD_DIM),
                             .keys = tensor(run, key_tokens, KV_HEADS, HEAD_DIM),
                             .values = tensor(run, key_tokens, KV_HEADS, HEAD_DIM),
                             .heads = FV_HEADS_EQUAL};
}

static outcome row_shapes(golden_case *run, const char *call, const json_t *row) {
    fv_pattern_call shapes = {.query = row_tensor(run, row, "q"),
                              .keys = row_tensor(run, row, "k"),
                              .values = row_tensor(run, row, "v"),
                              .heads = heads_of(call)};
    uint8_t *mask = golden_take(run, 64);
    if (has(call, "gated")) {
        shapes.keep = mask;
        shapes.keep_tokens = shapes.query.tokens;
    }
    fv_pattern *pattern = small_pattern(run);
    float *out = golden_take(run, ELEMENTS * sizeof *out);
    return done(has(call, "dense") ? fv_pattern_forward_dense(pattern, &shapes, out)
                                   : fv_pattern_forward(pattern, &shapes, out));
}

/* Every window that is larger than the sequence is the whole sequence: the result is that of dense attention. */
static outcome row_window(golden_case *run, const char *setup) {
    enum { TOKENS = 40 };
    fv_pattern_config config = small_config();
    config.policy.window = UINT32_MAX;
    config.policy.causal = has(setup, "causal=true");
    config.policy.log_stride = config.policy.landmarks = 0;
    fv_pattern *pattern = NULL;
    fv_pattern_call call = call_of(run, TOKENS, KV_HEADS, TOKENS);
    call.tile = has(setup, "tile=4") ? 4 : 0;
    float *out = golden_take(run, ELEMENTS * sizeof *out), *dense = golden_take(run, ELEMENTS * sizeof *dense);
    fv_status status = make(run, &config, &pattern);
    if (status == FV_OK) status = fv_pattern_forward(pattern, &call, out);
    if (status == FV_OK) status = fv_pattern_forward_dense(pattern, &call, dense);
    for (size_t i = 0; status == FV_OK && i < TOKENS * KV_HEADS * HEAD_DIM; i++)
        if (!(out[i] - dense[i] < 2e-6f && dense[i] - out[i] < 2e-6f))
            golden_fail(run, "%s: differs from dense", setup);
    return done(status);
}

static outcome row_forward(golden_case *run, const char *call, const char *setup, const json_t *row) {
    unsigned mask_tokens, tokens;
    if (json_object_get(row, "q")) return row_shapes(run, call, row);
    if (has(setup, "block_size=0")) {
        fv_pattern_config config = small_config();
        config.policy.block = 0;
        fv_pattern *pattern;
        return done(make(run, &config, &pattern));
    }
    if (has(setup, "window=usize::MAX")) return row_window(run, setup);
    fv_pattern_call masked;
    if (sscanf(setup, "mask len %u != seq %u", &mask_tokens, &tokens) == 2 ||
        sscanf(setup, "mask len %u, seq %u", &mask_tokens, &tokens) == 2) {
        masked = call_of(run, tokens, KV_HEADS, tokens);
    } else if (has(setup, "shape mismatch AND bad mask")) {
        masked = call_of(run, 4, KV_HEADS, 5);
        mask_tokens = 3;
    } else {
        return unknown;
    }
    masked.keep = golden_take(run, 64);
    masked.keep_tokens = mask_tokens;
    float *out = golden_take(run, ELEMENTS * sizeof *out);
    return done(fv_pattern_forward(small_pattern(run), &masked, out));
}

static outcome row_new(golden_case *run, const char *setup) {
    fv_pattern_config config = small_config();
    fv_pattern *pattern;
    if (has(setup, "block_size=0"))
        config.policy.block = 0;
    else if (has(setup, "window=0"))
        config.policy.window = 0;
    else
        return unknown;
    return done(make(run, &config, &pattern));
}

static outcome row_edges(const char *setup) {
    fv_pattern_config config = small_config();
    uint64_t edges;
    if (!has(setup, "block_size=0")) return unknown;
    config.policy.block = 0;
    return done(fv_pattern_edges(&config.policy, 100, &edges));
}

/* ---- the gate ---- */

static fv_status make_gate(golden_case *run, uint32_t input_dim, uint32_t hidden_dim, bool given, fv_gate **gate) {
    static const float weights[64];
    static const float *const parts[FV_GATE_PARTS] = {weights, weights, weights, weights, weights, weights};
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = input_dim;
    config.hidden_dim = hidden_dim;
    config.weights = given ? FV_GATE_WEIGHTS_GIVEN : FV_GATE_WEIGHTS_REFERENCE;
    size_t bytes;
    fv_status status = fv_gate_size(&config, &bytes);
    return status == FV_OK ? fv_gate_init(gate, &config, parts, golden_take(run, bytes), bytes) : status;
}

static outcome row_gate_forward(golden_case *run, const char *setup) {
    fv_gate *gate = NULL;
    fv_pattern_call call = call_of(run, 4, KV_HEADS, 4);
    uint32_t input_dim = HEAD_DIM;
    if (has(setup, "gate input_dim 4"))
        input_dim = 4;
    else if (has(setup, "4q/2kv"))
        call.query = tensor(run, 4, 4, HEAD_DIM);
    else if (has(setup, "k.seq differs"))
        call = call_of(run, 4, KV_HEADS, 5);
    else
        return unknown;
    float *out = golden_take(run, ELEMENTS * sizeof *out);
    golden_ok(run, "gate", make_gate(run, input_dim, 4, false, &gate));
    return done(fv_pattern_forward_gated(small_pattern(run), gate, FV_KEEP_WHOLE_SEQUENCE, 2, &call, out));
}

static outcome row_gate(golden_case *run, const char *call, const char *setup) {
    fv_gate *gate = NULL;
    if (has(call, "::new") && has(setup, "input_dim=0")) return done(make_gate(run, 0, 4, false, &gate));
    if (has(call, "::new") && has(setup, "hidden_dim=0")) return done(make_gate(run, 4, 0, false, &gate));
    if (has(setup, "input 0 hidden 0")) return done(make_gate(run, 0, 0, true, &gate));
    if (has(setup, "bad ok")) return done(make_gate(run, 2, 3, true, &gate));
    if (has(call, "from_weights") && has(setup, "bad ")) return not_expressible; /* arrays come without a length */
    if (has(call, "score_kv")) return not_expressible;                           /* keys have the gate's input_dim */
    if (has(call, "score_sequence") && has(setup, "empty")) {
        float salience;
        golden_ok(run, "gate", make_gate(run, 2, 3, true, &gate));
        return done(fv_gate_score(gate, 0, &salience, 2, &salience));
    }
    return unknown;
}

/* ---- caches ---- */

static fv_status cache_make(golden_case *run, uint32_t kv_heads, uint32_t capacity, uint32_t block, bool half,
                            fv_cache **cache) {
    fv_cache_config config = {.kv_heads = kv_heads,
                              .head_dim = HEAD_DIM,
                              .max_tokens = capacity,
                              .key_type = half ? FV_ELEMENT_F16 : FV_ELEMENT_F32,
                              .value_type = half ? FV_ELEMENT_F16 : FV_ELEMENT_F32,
                              .landmark_tokens = block};
    size_t bytes;
    fv_status status = fv_cache_size(&config, &bytes);
    return status == FV_OK ? fv_cache_init(cache, &config, run->kernels, golden_take(run, bytes), bytes) : status;
}

/* A cache with `tokens` tokens in it. */
static fv_cache *cache_with(golden_case *run, uint32_t capacity, uint32_t tokens, uint32_t block, bool half) {
    fv_cache *cache = NULL;
    fv_tensor x = tensor(run, tokens, KV_HEADS, HEAD_DIM);
    size_t width = KV_HEADS * HEAD_DIM;
    golden_ok(run, "cache", cache_make(run, KV_HEADS, capacity, block, half, &cache));
    if (cache) golden_ok(run, "cache", fv_cache_append(cache, tokens, x.data, width, x.data, width));
    return cache;
}

static outcome row_append(golden_case *run, const char *call, const char *setup) {
    bool half = has(call, "F16"), full = has(setup, "full") || has(setup, "capacity=0");
    uint32_t tokens = full ? 4 : 0, added = 1, k_heads = KV_HEADS, v_heads = KV_HEADS, dim = HEAD_DIM, v_tokens;
    fv_cache *cache = NULL;
    if (has(setup, "k.seq=")) return not_expressible; /* one call appends any number of tokens */
    if (has(setup, "capacity=0")) return done(cache_make(run, KV_HEADS, 0, BLOCK, half, &cache));
    if (has(setup, "overflow 3+2")) tokens = 3, added = 2;
    if (has(setup, "n=0")) added = 0;
    if (has(setup, "k.heads=1") || has(setup, "heads mismatch")) k_heads = v_heads = 1;
    if (has(setup, "v.heads=1")) v_heads = 1;
    if (has(setup, "k.dim=4")) dim = 4;
    if (has(setup, "k.dim=16")) dim = 16;
    v_tokens = has(setup, "v.seq != k.seq") ? added + 1 : added;
    cache = cache_with(run, 4, tokens, BLOCK, half);
    fv_tensor k = tensor(run, added, k_heads, dim), v = tensor(run, v_tokens, v_heads, dim);
    return done(fv_pattern_append(small_pattern(run), cache, &k, &v));
}

static outcome row_evict(golden_case *run, const char *call, const char *setup) {
    bool full = has(setup, "full") && !has(setup, "not full");
    uint32_t heads = has(setup, "k.heads mismatch") || has(call, "then len") ? 1 : KV_HEADS;
    uint32_t scores_count = has(setup, "scores len 3") || has(setup, "not full") ? 3 : 4;
    fv_cache *cache = NULL;
    if (has(setup, "capacity 0")) return done(cache_make(run, KV_HEADS, 0, BLOCK, false, &cache));
    if (!full && !has(setup, "not full") && !has(call, "then len")) return unknown;
    cache = cache_with(run, 4, has(setup, "not full") ? 1 : 4, BLOCK, false);
    fv_evict_config config;
    fv_evict_config_default(&config);
    fv_tensor k = tensor(run, 1, heads, HEAD_DIM), v = tensor(run, 1, heads, HEAD_DIM), scores = tensor(run, 1, 1, 4);
    fv_status status =
        fv_pattern_append_evict(small_pattern(run), cache, &config, scores_count, scores.data, &k, &v, NULL);
    if (has(call, "then len")) return (outcome){DONE, FV_OK, fv_cache_tokens(cache)};
    return done(status);
}

static outcome row_decode(golden_case *run, const char *call, const char *setup) {
    bool half = has(call, "f16");
    unsigned query_tokens = 1, query_heads = KV_HEADS, dim = HEAD_DIM, block = BLOCK, capacity = 8, tokens = 3;
    const char *at;
    if (has(setup, "block_size=0 set after new")) return row_new(run, "block_size=0");
    if (has(setup, "cache kv_heads=0, len 0")) return not_expressible; /* such a cache cannot be made */
    if (has(setup, "cache kv_heads=0")) {
        fv_cache *none;
        return done(cache_make(run, 0, 8, BLOCK, half, &none));
    }
    if ((at = strstr(setup, "q.seq=")) != NULL) sscanf(at, "q.seq=%u", &query_tokens);
    if ((at = strstr(setup, "q.dim=")) != NULL) sscanf(at, "q.dim=%u", &dim);
    if ((at = strstr(setup, "q_heads")) != NULL) sscanf(at + 8, "%u", &query_heads);
    if ((at = strstr(setup, "cache block_size ")) != NULL) {
        sscanf(at, "cache block_size %u", &block);
        if ((at = strstr(setup, "len ")) == NULL) return unknown;
        sscanf(at, "len %u", &tokens);
    }
    if (has(setup, "empty")) tokens = 0;
    fv_cache *cache = cache_with(run, capacity, tokens, block, half);
    fv_pattern_call decode = {.query = tensor(run, query_tokens, query_heads, dim)};
    float *out = golden_take(run, ELEMENTS * sizeof *out);
    return done(fv_pattern_decode(small_pattern(run), cache, &decode, out));
}

static outcome row_batch(golden_case *run, const char *call, const char *setup) {
    unsigned query = 2, k_tokens, v_tokens, query_heads = KV_HEADS, k_heads = KV_HEADS, v_heads = KV_HEADS,
             dim = HEAD_DIM;
    bool overflow = has(setup, "overflow") || has(call, "then len");
    const char *at;
    if (overflow) query = 3;
    if (has(setup, "draft 0")) query = 0;
    if (has(setup, "new_v.heads=")) query = 1;
    k_tokens = v_tokens = query;
    if (has(setup, "q.dim=0")) dim = 0;
    if (has(setup, "new_k.seq 1")) k_tokens = 1;
    if (has(setup, "new_v.seq 1")) v_tokens = 1;
    if ((at = strstr(setup, "q_heads=")) != NULL) sscanf(at, "q_heads=%u", &query_heads);
    if ((at = strstr(setup, "new_k.heads=1")) != NULL) k_heads = v_heads = 1;
    if ((at = strstr(setup, "new_v.heads=")) != NULL) {
        sscanf(at, "new_v.heads=%u", &v_heads);
        k_heads = KV_HEADS;
    }
    fv_cache *cache = cache_with(run, overflow ? 4 : 8, overflow ? 2 : 0, BLOCK, false);
    fv_pattern_call batch = {.query = tensor(run, query, query_heads, dim),
                             .keys = tensor(run, k_tokens, k_heads, HEAD_DIM),
                             .values = tensor(run, v_tokens, v_heads, HEAD_DIM)};
    float *out = golden_take(run, ELEMENTS * sizeof *out);
    fv_status status = fv_pattern_decode_batch(small_pattern(run), cache, &batch, out);
    if (has(call, "then len")) return (outcome){DONE, FV_OK, fv_cache_tokens(cache)};
    return done(status);
}

static outcome row_run(golden_case *run, const char *call, const char *setup, const json_t *row) {
    if (has(call, "SparseAttention::new") || has(call, "SparseBlock::new")) return row_new(run, setup);
    if (has(call, "estimate_sparse_edges")) return row_edges(setup);
    if (strcmp(call, "forward_gated_with_fastgrnn") == 0) return row_gate_forward(run, setup);
    if (has(call, "forward") || has(call, "dense_attention")) return row_forward(run, call, setup, row);
    if (has(call, "FastGrnnGate")) return row_gate(run, call, setup);
    if (has(call, "Tensor3")) return not_expressible; /* a tensor is a pointer and a shape: no object to build */
    if (has(call, "evict_and_append")) return row_evict(run, call, setup);
    if (has(call, "append")) return row_append(run, call, setup);
    if (has(call, "decode_batch")) return row_batch(run, call, setup);
    if (has(call, "decode_step")) return row_decode(run, call, setup);
    return unknown;
}

/* ---- what we mend ---- */

static const char *status_name(fv_status status) {
#define STATUS_NAME(name, value, text) \
    if (status == name) return #name;
    FV_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    return "?";
}

/* Cuts the next field off a line of CSV; quotes around it are dropped. */
static char *csv_field(char **line) {
    char *field = *line, *end;
    if (*field == '"') {
        field++;
        end = strchr(field, '"');
        *line = end && end[1] ? end + 2 : field + strlen(field);
    } else {
        end = strchr(field, ',');
        *line = end ? end + 1 : field + strlen(field);
    }
    if (end) *end = '\0';
    return field;
}

/* Our status and the quirk for a row; false: we do not differ there. `status` and `quirk` hold 40 characters. */
static bool mended(golden_case *run, const char *call, const char *setup, char *status, char *quirk) {
    char line[1000];
    bool found = false;
    FILE *file = fopen(FV_SOURCE_DIR "/tests/golden/mended.csv", "r");
    if (!file) return golden_fail(run, "tests/golden/mended.csv cannot be read");
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *rest = line, *row_call = csv_field(&rest), *row_setup = csv_field(&rest);
        found = strcmp(row_call, call) == 0 && strcmp(row_setup, setup) == 0;
        if (!found) continue;
        snprintf(status, 40, "%s", csv_field(&rest));
        snprintf(quirk, 40, "%s", csv_field(&rest));
    }
    fclose(file);
    return found;
}

static void check_row(golden_case *run, const json_t *row) {
    const char *call = json_string_value(json_object_get(row, "call"));
    const char *setup = json_string_value(json_object_get(row, "setup"));
    const char *result = json_string_value(json_object_get(row, "result"));
    const char *message = json_string_value(json_object_get(row, "message"));
    char status[40] = "", quirk[40] = "";
    if (!call || !setup || !result) {
        golden_fail(run, "a row lacks call, setup or result");
        return;
    }
    outcome ours = row_run(run, call, setup, row);
    run->values++;
    if (ours.kind == UNKNOWN) golden_fail(run, "the row is not known: %s / %s", call, setup);
    if (ours.kind == NOT_EXPRESSIBLE) printf("  skip (not expressible): %s / %s\n", call, setup);
    if (ours.kind != DONE) return;
    bool same = (strcmp(result, "Ok") == 0) == (ours.status == FV_OK);
    if (ours.length >= 0) same = message && strtoll(message, NULL, 10) == ours.length;
    bool listed = mended(run, call, setup, status, quirk);
    if (same && listed) golden_fail(run, "%s / %s stands in mended.csv, but we do not differ", call, setup);
    if (same) return;
    if (!listed || strcmp(status, status_name(ours.status)) != 0)
        golden_fail(run, "%s / %s: they: %s, we: %s, in mended.csv: %s", call, setup, result, status_name(ours.status),
                    listed ? status : "no row");
    else
        printf("  mended (%s): %s / %s: they: %s, we: %s\n", quirk, call, setup, result, status);
}

void golden_errors(golden_case *run) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(run->json, "rows"), i, row) { check_row(run, row); }
}
