/* pattern_test.c - what holds for every call of the pattern, and what it mends of the reference (Q4 to Q18). */
#include "fovea/reference/pattern.h"
#include "support/random.h"
#include "support/read_set.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS_MOST = 150, RUNS = 60 };

static _Alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
static const fv_kernels *kernels;

static void *take(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0x88, bytes);
    return memory;
}

/* A call with inputs and room for its output. */
typedef struct world {
    fv_pattern_config config;
    fv_pattern *pattern;
    fv_pattern_call call;
    uint32_t tokens, query_heads, kv_heads, head_dim;
    size_t width, kv_width; /* elements of a token */
    float *q, *k, *v, *out;
    uint8_t keep[TOKENS_MOST];
    uint32_t until[TOKENS_MOST];
} world;

static fv_tensor tensor(const float *data, uint32_t tokens, uint32_t heads, uint32_t head_dim) {
    return (fv_tensor){data, tokens, heads, head_dim};
}

static fv_pattern *pattern_open(const fv_pattern_config *config) {
    size_t bytes;
    fv_pattern *pattern;
    assert_int_equal(fv_pattern_size(config, &bytes), FV_OK);
    assert_int_equal(fv_pattern_init(&pattern, config, kernels, take(bytes), bytes), FV_OK);
    return pattern;
}

static void world_close(world *w) {
    free(w->pattern);
    free(w->q);
    free(w->k);
    free(w->v);
    free(w->out);
}

/* Anew after a change of w->config. */
static void world_reopen(world *w) {
    free(w->pattern);
    w->pattern = pattern_open(&w->config);
}

static world world_open(test_random *random, bool causal) {
    world w = {.tokens = test_random_in(random, 1, TOKENS_MOST),
               .kv_heads = test_random_in(random, 1, 3),
               .head_dim = test_random_in(random, 1, 20)};
    fv_pattern_config_default(&w.config);
    w.query_heads = w.kv_heads * test_random_in(random, 1, 3);
    w.width = (size_t)w.query_heads * w.head_dim;
    w.kv_width = (size_t)w.kv_heads * w.head_dim;
    fv_policy *policy = &w.config.policy;
    policy->window = test_random_in(random, 0, test_random_in(random, 0, 1) ? 6 : TOKENS_MOST);
    policy->block = test_random_in(random, 1, test_random_in(random, 0, 1) ? 9 : 70);
    policy->causal = causal;
    policy->log_stride = test_random_in(random, 0, 4) > 0;
    policy->landmarks = test_random_in(random, 0, 4) > 0;
    policy->globals_count = test_random_in(random, 0, 3);
    for (uint32_t g = 0; g < policy->globals_count; g++) policy->globals[g] = test_random_in(random, 0, TOKENS_MOST);
    w.config.max_tokens = TOKENS_MOST;
    w.config.query_heads = w.query_heads;
    w.config.kv_heads = w.kv_heads;
    w.config.head_dim = w.head_dim;
    w.config.gated = 1;
    w.q = take(w.tokens * w.width * sizeof *w.q);
    w.k = take(w.tokens * w.kv_width * sizeof *w.k);
    w.v = take(w.tokens * w.kv_width * sizeof *w.v);
    w.out = take(w.tokens * w.width * sizeof *w.out);
    test_fill_f32(random, w.q, w.tokens * w.width, 1.5f);
    test_fill_f32(random, w.k, w.tokens * w.kv_width, 1.5f);
    test_fill_f32(random, w.v, w.tokens * w.kv_width, 1.5f);
    for (size_t t = 0; t < TOKENS_MOST; t++) {
        w.keep[t] = (uint8_t)test_random_in(random, 0, 1);
        w.until[t] = test_random_in(random, 0, TOKENS_MOST + 20);
    }
    w.call = (fv_pattern_call){.query = tensor(w.q, w.tokens, w.query_heads, w.head_dim),
                               .keys = tensor(w.k, w.tokens, w.kv_heads, w.head_dim),
                               .values = tensor(w.v, w.tokens, w.kv_heads, w.head_dim)};
    world_reopen(&w);
    return w;
}

static fv_cache *cache_open(const world *w, fv_element type, uint32_t max_tokens) {
    fv_cache_config config = {.kv_heads = w->kv_heads,
                              .head_dim = w->head_dim,
                              .max_tokens = max_tokens,
                              .key_type = type,
                              .value_type = type,
                              .landmark_tokens = w->config.policy.block};
    size_t bytes;
    fv_cache *cache;
    assert_int_equal(fv_cache_size(&config, &bytes), FV_OK);
    assert_int_equal(fv_cache_init(&cache, &config, kernels, take(bytes), bytes), FV_OK);
    return cache;
}

static void append(const world *w, fv_cache *cache, uint32_t first, uint32_t count) {
    fv_tensor k = tensor(w->k + first * w->kv_width, count, w->kv_heads, w->head_dim), v = k;
    v.data = w->v + first * w->kv_width;
    assert_int_equal(fv_pattern_append(w->pattern, cache, &k, &v), FV_OK);
}

static void same_bits(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0) fail_msg("%s: %zu: %.9g, %.9g", what, i, (double)a[i], (double)b[i]);
}

/* A new array with the result of a forward call. */
static float *forward(const world *w, const fv_pattern_call *call) {
    float *out = take(w->tokens * w->width * sizeof *out);
    assert_int_equal(fv_pattern_forward(w->pattern, call, out), FV_OK);
    return out;
}

static void test_decode_is_forward(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, true);
        fv_cache *cache = cache_open(&w, FV_ELEMENT_F32, w.tokens);
        if (run % 2) { /* gated decode too (Q18) */
            w.call.keep_until = w.until;
            w.call.keep_tokens = w.tokens;
        }
        float *want = forward(&w, &w.call);
        for (uint32_t t = 0; t < w.tokens; t++) {
            append(&w, cache, t, 1);
            fv_pattern_call call = w.call;
            call.query = tensor(w.q + t * w.width, 1, w.query_heads, w.head_dim);
            assert_int_equal(fv_pattern_decode(w.pattern, cache, &call, w.out + t * w.width), FV_OK);
        }
        same_bits(w.out, want, w.tokens * w.width, "decode");
        free(want);
        free(cache);
        world_close(&w);
    }
}

static void test_batch_is_steps(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 3 > 0);
        fv_element type = run % 2 ? FV_ELEMENT_F16 : FV_ELEMENT_F32;
        fv_cache *one = cache_open(&w, type, w.tokens), *all = cache_open(&w, type, w.tokens);
        float *want = take(w.tokens * w.width * sizeof *want);
        for (uint32_t t = 0; t < w.tokens; t++) {
            append(&w, one, t, 1);
            fv_pattern_call call = {.query = tensor(w.q + t * w.width, 1, w.query_heads, w.head_dim)};
            assert_int_equal(fv_pattern_decode(w.pattern, one, &call, want + t * w.width), FV_OK);
        }
        for (uint32_t first = 0, count; first < w.tokens; first += count) {
            count = test_random_in(&random, 1, w.tokens - first);
            fv_pattern_call call = {.query = tensor(w.q + first * w.width, count, w.query_heads, w.head_dim),
                                    .keys = tensor(w.k + first * w.kv_width, count, w.kv_heads, w.head_dim),
                                    .values = tensor(w.v + first * w.kv_width, count, w.kv_heads, w.head_dim)};
            assert_int_equal(fv_pattern_decode_batch(w.pattern, all, &call, w.out + first * w.width), FV_OK);
        }
        same_bits(w.out, want, w.tokens * w.width, "batch");
        free(want);
        free(one);
        free(all);
        world_close(&w);
    }
}

/* Decoding in small scratch, row by row: the same bits, for steps, batches and deadlines; forward calls find no
 * room. */
static void test_decode_only(void **state) {
    (void)state;
    test_random random = test_random_make(17);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 3 > 0);
        fv_element type = run % 2 ? FV_ELEMENT_F16 : FV_ELEMENT_Q8_0;
        fv_cache *one = cache_open(&w, type, w.tokens), *all = cache_open(&w, type, w.tokens);
        fv_pattern_call batch = w.call;
        float *want = take(w.tokens * w.width * sizeof *want);
        assert_int_equal(fv_pattern_decode_batch(w.pattern, one, &batch, want), FV_OK);
        size_t bytes, small;
        assert_int_equal(fv_pattern_size(&w.config, &bytes), FV_OK);
        w.config.decode_only = 1;
        w.config.max_tokens = w.tokens;
        assert_int_equal(fv_pattern_size(&w.config, &small), FV_OK);
        assert_true(small < bytes);
        world_reopen(&w);
        if (run % 4 == 3) {
            assert_int_equal(fv_pattern_decode_batch(w.pattern, all, &batch, w.out), FV_OK);
        } else {
            for (uint32_t t = 0; t < w.tokens; t++) {
                append(&w, all, t, 1);
                fv_pattern_call call = {.query = tensor(w.q + t * w.width, 1, w.query_heads, w.head_dim)};
                assert_int_equal(fv_pattern_decode(w.pattern, all, &call, w.out + t * w.width), FV_OK);
            }
        }
        same_bits(w.out, want, w.tokens * w.width, "decode_only");
        if (small < (size_t)w.tokens * w.kv_width * 8) /* an F32 cache of the call would be larger */
            assert_int_equal(fv_pattern_forward(w.pattern, &batch, w.out), FV_ERROR_MEMORY);
        free(want);
        free(one);
        free(all);
        world_close(&w);
    }
}

static void test_tiles(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        if (run % 3 == 0) {
            w.call.keep = w.keep;
            w.call.keep_tokens = w.tokens;
        }
        float *want = forward(&w, &w.call);
        static const uint32_t tiles[] = {1, 3, 7, 16, 17, 64, 1000, UINT32_MAX};
        for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
            w.call.tile = tiles[i];
            float *got = forward(&w, &w.call);
            same_bits(got, want, w.tokens * w.width, "tile");
            free(got);
        }
        free(want);
        world_close(&w);
    }
}

/* Q12: a window beyond the sequence is the sequence; without landmarks that is dense attention, bit for bit. */
static void test_wide_window_is_dense(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        w.config.policy.landmarks = w.config.policy.globals_count = 0;
        w.config.policy.window = run % 3 ? w.tokens + test_random_in(&random, 0, 3) - 1 : UINT32_MAX;
        world_reopen(&w);
        float *got = forward(&w, &w.call);
        assert_int_equal(fv_pattern_forward_dense(w.pattern, &w.call, w.out), FV_OK);
        same_bits(got, w.out, w.tokens * w.width, "wide window");
        free(got);
        w.config.policy.landmarks = 1; /* a block beyond the sequence has no landmark */
        w.config.policy.block = UINT32_MAX - (uint32_t)run;
        world_reopen(&w);
        got = forward(&w, &w.call);
        same_bits(got, w.out, w.tokens * w.width, "wide block");
        free(got);
        world_close(&w);
    }
}

static void test_true_mask_changes_nothing(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        float *want = forward(&w, &w.call);
        memset(w.keep, 1 + run % 255, sizeof w.keep);
        for (size_t t = 0; t < TOKENS_MOST; t++) w.until[t] = UINT32_MAX;
        w.call.keep = w.keep;
        w.call.keep_until = run % 4 ? w.until : NULL;
        w.call.keep_tokens = w.tokens;
        float *got = forward(&w, &w.call);
        same_bits(got, want, w.tokens * w.width, "true mask");
        free(got);
        free(want);
        world_close(&w);
    }
}

/* Q18: shared heads under a mask are equal heads with each KV head written out for its query heads. */
static void test_shared_heads(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        uint32_t group = w.query_heads / w.kv_heads;
        float *k = take(w.tokens * w.width * sizeof *k), *v = take(w.tokens * w.width * sizeof *v);
        for (size_t t = 0; t < w.tokens; t++)
            for (size_t h = 0; h < w.query_heads; h++)
                for (size_t c = 0; c < w.head_dim; c++) {
                    k[t * w.width + h * w.head_dim + c] = w.k[t * w.kv_width + h / group * w.head_dim + c];
                    v[t * w.width + h * w.head_dim + c] = w.v[t * w.kv_width + h / group * w.head_dim + c];
                }
        w.call.keep = w.keep;
        w.call.keep_tokens = w.tokens;
        w.call.heads = FV_HEADS_SHARED;
        float *shared = forward(&w, &w.call);
        w.call.heads = FV_HEADS_EQUAL;
        w.call.keys = tensor(k, w.tokens, w.query_heads, w.head_dim);
        w.call.values = tensor(v, w.tokens, w.query_heads, w.head_dim);
        w.config.kv_heads = w.query_heads;
        world_reopen(&w);
        float *equal = forward(&w, &w.call);
        same_bits(shared, equal, w.tokens * w.width, "shared heads");
        free(shared);
        free(equal);
        free(k);
        free(v);
        world_close(&w);
    }
}

/* Turning the KV heads and their groups of query heads round turns the outputs round and changes no bit. */
static void test_permuted_heads(void **state) {
    (void)state;
    test_random random = test_random_make(15);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        float *want = forward(&w, &w.call), *row = take(w.width * sizeof *row);
        size_t group = w.width / w.kv_heads;
        for (size_t t = 0; t < w.tokens; t++) {
            float *rows[] = {w.q + t * w.width, want + t * w.width, w.k + t * w.kv_width, w.v + t * w.kv_width};
            for (size_t i = 0; i < 4; i++) {
                size_t part = i < 2 ? group : w.head_dim, width = part * w.kv_heads;
                memcpy(row, rows[i], width * sizeof *row);
                for (size_t h = 0; h < w.kv_heads; h++)
                    memcpy(rows[i] + (w.kv_heads - 1 - h) * part, row + h * part, part * sizeof *row);
            }
        }
        float *got = forward(&w, &w.call);
        same_bits(got, want, w.tokens * w.width, "permuted heads");
        free(want);
        free(row);
        free(got);
        world_close(&w);
    }
}

static uint64_t list_check(const fv_policy *policy, uint32_t tokens, uint32_t row, bool landmarks,
                           const uint8_t *want) {
    uint32_t rising[SET_TOKENS], built[SET_TOKENS], count, again;
    uint8_t seen[SET_TOKENS] = {0};
    fv_status (*call)(const fv_policy *, uint32_t, uint32_t, fv_order, uint32_t, uint32_t *, uint32_t *) =
        landmarks ? fv_pattern_landmarks : fv_pattern_tokens;
    assert_int_equal(call(policy, tokens, row, FV_ORDER_RISING, SET_TOKENS, rising, &count), FV_OK);
    assert_int_equal(call(policy, tokens, row, FV_ORDER_BUILT, SET_TOKENS, built, &again), FV_OK);
    assert_int_equal(count, again);
    assert_int_equal(call(policy, tokens, row, FV_ORDER_BUILT, 0, NULL, &again), FV_OK);
    assert_int_equal(count, again);
    if (count) assert_int_equal(call(policy, tokens, row, FV_ORDER_BUILT, count - 1, built, &again), FV_ERROR_FULL);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(i == 0 || rising[i] > rising[i - 1]);
        seen[rising[i]] = 1;
    }
    assert_memory_equal(seen, want, SET_TOKENS);
    return count;
}

/* The lists are the sets that the plans are tested against; the estimate is their sum. */
static void test_candidates_and_edges(void **state) {
    (void)state;
    test_random random = test_random_make(7);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        fv_policy *policy = &w.config.policy;
        if (run % 3 == 0) {
            policy->keep = w.keep;
            policy->keep_tokens = TOKENS_MOST;
        }
        uint64_t sum = 0, edges;
        for (uint32_t row = 0; row < w.tokens; row++) {
            read_set set = set_of_policy_among(policy, 0, row, w.tokens);
            sum += list_check(policy, w.tokens, row, false, set.token);
            sum += list_check(policy, w.tokens, row, true, set.mark);
        }
        assert_int_equal(fv_pattern_edges(policy, w.tokens, &edges), FV_OK);
        assert_int_equal(edges, sum);
        world_close(&w);
    }
}

static fv_gate *gate_open(uint32_t input_dim) {
    fv_gate_config config;
    fv_gate_config_default(&config);
    config.input_dim = input_dim;
    config.hidden_dim = 6;
    size_t bytes;
    fv_gate *gate;
    assert_int_equal(fv_gate_size(&config, &bytes), FV_OK);
    assert_int_equal(fv_gate_init(&gate, &config, NULL, take(bytes), bytes), FV_OK);
    return gate;
}

/* Q4: what comes later changes no causal row before it, the gate included; over the whole sequence the gate leaks. */
static void test_future_changes_nothing(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    int leaks = 0;
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, true);
        uint32_t cut = test_random_in(&random, 0, w.tokens - 1), keep = test_random_in(&random, 1, 12);
        fv_gate *gate = gate_open(w.head_dim);
        float *before[3], *after[3];
        for (int pass = 0; pass < 2; pass++) {
            float **results = pass ? after : before;
            results[0] = forward(&w, &w.call);
            for (int scope = 0; scope < 2; scope++) {
                results[1 + scope] = take(w.tokens * w.width * sizeof(float));
                assert_int_equal(fv_pattern_forward_gated(w.pattern, gate,
                                                          scope ? FV_KEEP_WHOLE_SEQUENCE : FV_KEEP_CAUSAL, keep,
                                                          &w.call, results[1 + scope]),
                                 FV_OK);
            }
            for (size_t i = cut * w.kv_width; i < w.tokens * w.kv_width; i++) {
                w.k[i] *= 3.0f;
                w.v[i] -= 2.0f;
            }
            for (size_t i = cut * w.width; i < w.tokens * w.width; i++) w.q[i] *= 3.0f;
        }
        same_bits(after[0], before[0], cut * w.width, "forward");
        same_bits(after[1], before[1], cut * w.width, "causal gate");
        leaks += memcmp(after[2], before[2], cut * w.width * sizeof(float)) != 0;
        for (int i = 0; i < 3; i++) {
            free(before[i]);
            free(after[i]);
        }
        free(gate);
        world_close(&w);
    }
    assert_true(leaks > 0);
}

/* The causal gate at row i is the mask of the keys up to i: what decoding with a mask made at each token gives. */
static void test_causal_gate_is_decode(void **state) {
    (void)state;
    test_random random = test_random_make(9);
    for (int run = 0; run < RUNS / 3; run++) {
        world w = world_open(&random, true);
        fv_cache *cache = cache_open(&w, FV_ELEMENT_F32, w.tokens);
        fv_gate *gate = gate_open(w.head_dim);
        uint32_t keep = test_random_in(&random, 0, 20);
        float salience[TOKENS_MOST], *want = take(w.tokens * w.width * sizeof *want);
        assert_int_equal(fv_pattern_forward_gated(w.pattern, gate, FV_KEEP_CAUSAL, keep, &w.call, want), FV_OK);
        assert_int_equal(fv_gate_score_keys(gate, w.tokens, w.kv_heads, w.k, w.kv_width, salience), FV_OK);
        for (uint32_t t = 0; t < w.tokens; t++) {
            append(&w, cache, t, 1);
            assert_int_equal(fv_keep_top(t + 1, salience, keep, w.keep), FV_OK);
            fv_pattern_call call = {
                .query = tensor(w.q + t * w.width, 1, w.query_heads, w.head_dim), .keep = w.keep, .keep_tokens = t + 1};
            assert_int_equal(fv_pattern_decode(w.pattern, cache, &call, w.out + t * w.width), FV_OK);
        }
        same_bits(w.out, want, w.tokens * w.width, "gated decode");
        free(want);
        free(gate);
        free(cache);
        world_close(&w);
    }
}

/* Q7 and Q13: what fails leaves everything as it was; drafts that are taken back leave no trace. */
static void test_rejected_drafts(void **state) {
    (void)state;
    test_random random = test_random_make(10);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, true);
        fv_cache *clean = cache_open(&w, FV_ELEMENT_F32, w.tokens), *drafted = cache_open(&w, FV_ELEMENT_F32, w.tokens);
        append(&w, clean, 0, w.tokens);
        for (uint32_t t = 0, kept; t < w.tokens; t = kept) {
            uint32_t count = test_random_in(&random, 1, w.tokens - t);
            kept = t + test_random_in(&random, 1, count);
            append(&w, drafted, t, kept - t);
            if (count > kept - t) { /* the wrong ones: other tokens' keys */
                append(&w, drafted, 0, count - (kept - t));
                assert_int_equal(fv_cache_truncate(drafted, kept), FV_OK);
            }
        }
        float *key[2] = {take(w.head_dim * 4), take(w.head_dim * 4)},
              *value[2] = {take(w.head_dim * 4), take(w.head_dim * 4)};
        for (uint32_t mark = 0; mark * w.config.policy.block < w.tokens; mark++)
            for (uint32_t head = 0; head < w.kv_heads; head++) {
                assert_int_equal(fv_cache_landmark_read(clean, head, mark, key[0], value[0]), FV_OK);
                assert_int_equal(fv_cache_landmark_read(drafted, head, mark, key[1], value[1]), FV_OK);
                same_bits(key[0], key[1], w.head_dim, "landmark key");
                same_bits(value[0], value[1], w.head_dim, "landmark value");
            }
        for (int i = 0; i < 2; i++) {
            free(key[i]);
            free(value[i]);
        }
        free(clean);
        free(drafted);
        world_close(&w);
    }
}

/* Q8, Q9, Q11 and batches: refused before anything happens. */
static void test_mismatches(void **state) {
    (void)state;
    test_random random = test_random_make(11);
    world w = world_open(&random, true);
    while (w.tokens < 20 || w.head_dim < 2 || !w.config.policy.landmarks) {
        world_close(&w);
        w = world_open(&random, true);
    }
    fv_cache *cache = cache_open(&w, FV_ELEMENT_F16, 12);
    append(&w, cache, 0, 10);
    fv_tensor k = tensor(w.k, 1, w.kv_heads, w.head_dim), bad = k;
    bad.head_dim--; /* Q8 */
    assert_int_equal(fv_pattern_append(w.pattern, cache, &bad, &k), FV_ERROR_SHAPE);
    assert_int_equal(fv_pattern_append(w.pattern, cache, &k, &bad), FV_ERROR_SHAPE);
    bad = k, bad.heads++;
    assert_int_equal(fv_pattern_append(w.pattern, cache, &k, &bad), FV_ERROR_SHAPE);
    fv_pattern_call call = {.query = tensor(w.q, 1, w.query_heads, w.head_dim - 1)};
    assert_int_equal(fv_pattern_decode(w.pattern, cache, &call, w.out), FV_ERROR_SHAPE);
    call.query = tensor(w.q, 3, w.query_heads, w.head_dim); /* 10 + 3 > 12: nothing is appended */
    call.keys = call.values = tensor(w.k, 3, w.kv_heads, w.head_dim);
    memset(w.out, 0x77, w.width * sizeof *w.out);
    assert_int_equal(fv_pattern_decode_batch(w.pattern, cache, &call, w.out), FV_ERROR_FULL);
    call.query.tokens = call.keys.tokens = call.values.tokens = 2;
    call.values.heads++; /* Q11 */
    assert_int_equal(fv_pattern_decode_batch(w.pattern, cache, &call, w.out), FV_ERROR_SHAPE);
    call.values.heads--;
    call.keep = w.keep; /* a mask that ends before the batch does */
    call.keep_tokens = 11;
    assert_int_equal(fv_pattern_decode_batch(w.pattern, cache, &call, w.out), FV_ERROR_SHAPE);
    call.keep = NULL;
    w.config.policy.block++; /* Q9 */
    world_reopen(&w);
    assert_int_equal(fv_pattern_decode_batch(w.pattern, cache, &call, w.out), FV_ERROR_POLICY);
    call.query.tokens = 1;
    assert_int_equal(fv_pattern_decode(w.pattern, cache, &call, w.out), FV_ERROR_POLICY);
    assert_int_equal(fv_cache_tokens(cache), 10);
    for (size_t i = 0; i < w.width * sizeof *w.out; i++) assert_int_equal(((unsigned char *)w.out)[i], 0x77);
    w.config.policy.block = 0; /* Q10 */
    size_t bytes = 5;
    assert_int_equal(fv_pattern_size(&w.config, &bytes), FV_ERROR_POLICY);
    assert_int_equal(bytes, 5);
    free(cache);
    world_close(&w);
}

static bool row_is_finite(const float *row, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(row[i])) return false;
    return true;
}

/* Q14: a score of minus infinity is a mask, also as the first; what is not finite is refused, or spreads to no row that
 * does not read it. */
static void test_not_finite(void **state) {
    (void)state;
    test_random random = test_random_make(12);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        w.config.policy.landmarks = 0;
        w.config.checked = 0;
        world_reopen(&w);
        float *want = forward(&w, &w.call);
        uint32_t poisoned = test_random_in(&random, 0, w.tokens - 1);
        float *key = w.k + poisoned * w.kv_width, *value = w.v + poisoned * w.kv_width;
        for (size_t i = 0; i < w.kv_width; i++) key[i] = value[i] = run % 3 ? NAN : INFINITY;
        float *got = forward(&w, &w.call);
        for (uint32_t row = 0; row < w.tokens; row++) {
            read_set set = set_of_policy_among(&w.config.policy, 0, row, w.tokens);
            if (!set.token[poisoned]) same_bits(got + row * w.width, want + row * w.width, w.width, "row beside a NaN");
        }
        w.config.checked = 1;
        world_reopen(&w);
        memcpy(w.out, want, w.tokens * w.width * sizeof *want);
        assert_int_equal(fv_pattern_forward(w.pattern, &w.call, w.out), FV_ERROR_NOT_FINITE);
        same_bits(w.out, want, w.tokens * w.width, "untouched");
        free(got);
        free(want);
        /* scores of -inf: finite numbers whose product overflows */
        for (size_t i = 0; i < w.tokens * w.width; i++) w.q[i] = 3e30f;
        for (size_t i = 0; i < w.kv_width; i++) {
            key[i] = -1e14f;
            value[i] = 1e14f;
        }
        for (size_t i = 0; i < w.tokens * w.kv_width; i++)
            if (i / w.kv_width != poisoned) w.k[i] = 0.0f;
        got = forward(&w, &w.call);
        for (uint32_t row = 0; row < w.tokens; row++) {
            assert_true(row_is_finite(got + row * w.width, w.width));
            for (size_t c = 0; c < w.width; c++) assert_true(fabsf(got[row * w.width + c]) < 10.0f); /* weight 0 */
        }
        free(got);
        world_close(&w);
    }
}

/* Q15: a salience that is NaN is an error, not a mask. */
static void test_salience_nan(void **state) {
    (void)state;
    test_random random = test_random_make(13);
    world w = world_open(&random, true);
    w.config.checked = 0;
    world_reopen(&w);
    fv_gate *gate = gate_open(w.head_dim);
    w.k[0] = NAN;
    w.out[0] = 7.0f;
    assert_int_equal(fv_pattern_forward_gated(w.pattern, gate, FV_KEEP_CAUSAL, 3, &w.call, w.out), FV_ERROR_NOT_FINITE);
    assert_true(w.out[0] == 7.0f);
    free(gate);
    world_close(&w);
}

/* What a gated call refuses. */
static void test_gated_arguments(void **state) {
    (void)state;
    test_random random = test_random_make(16);
    world w = world_open(&random, false);
    fv_gate *gate = gate_open(w.head_dim), *other = gate_open(w.head_dim + 1);
    assert_int_equal(fv_pattern_forward_gated(w.pattern, gate, FV_KEEP_CAUSAL, 3, &w.call, w.out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_pattern_forward_gated(w.pattern, gate, FV_KEEP_WHOLE_SEQUENCE, 3, &w.call, w.out), FV_OK);
    assert_int_equal(fv_pattern_forward_gated(w.pattern, other, FV_KEEP_WHOLE_SEQUENCE, 3, &w.call, w.out),
                     FV_ERROR_SHAPE);
    assert_int_equal(fv_pattern_forward_gated(w.pattern, NULL, FV_KEEP_WHOLE_SEQUENCE, 3, &w.call, w.out),
                     FV_ERROR_ARGUMENT);
    w.call.keep = w.keep; /* two masks at once */
    w.call.keep_tokens = w.tokens;
    assert_int_equal(fv_pattern_forward_gated(w.pattern, gate, FV_KEEP_WHOLE_SEQUENCE, 3, &w.call, w.out),
                     FV_ERROR_ARGUMENT);
    w.call.keep_tokens++; /* a mask of another length */
    assert_int_equal(fv_pattern_forward(w.pattern, &w.call, w.out), FV_ERROR_SHAPE);
    free(gate);
    free(other);
    world_close(&w);
}

static void test_memory(void **state) {
    (void)state;
    test_random random = test_random_make(14);
    for (int run = 0; run < RUNS; run++) {
        world w = world_open(&random, run % 2);
        size_t bytes;
        fv_pattern *pattern = NULL;
        w.config.max_tokens = w.tokens;
        w.config.gated = 0;
        assert_int_equal(fv_pattern_size(&w.config, &bytes), FV_OK);
        unsigned char *memory = take(bytes + 64);
        assert_int_equal(fv_pattern_init(&pattern, &w.config, kernels, memory, bytes - 1), FV_ERROR_MEMORY);
        assert_int_equal(fv_pattern_init(&pattern, &w.config, kernels, memory + 1, bytes), FV_ERROR_MEMORY);
        assert_int_equal(fv_pattern_init(&pattern, &w.config, kernels, NULL, bytes), FV_ERROR_MEMORY);
        assert_null(pattern);
        assert_int_equal(fv_pattern_init(&pattern, &w.config, kernels, memory, bytes), FV_OK);
        w.call.keep = w.keep; /* the largest call that the config has room for, with a mask */
        w.call.keep_until = w.until;
        w.call.keep_tokens = w.tokens;
        assert_int_equal(fv_pattern_forward(pattern, &w.call, w.out), FV_OK);
        free(memory);
        if (w.tokens > 16) { /* a call of far more tokens */
            w.config.max_tokens = 1;
            world_reopen(&w);
            if (w.kv_width > 8) assert_int_equal(fv_pattern_forward(w.pattern, &w.call, w.out), FV_ERROR_MEMORY);
        }
        world_close(&w);
    }
}

static int setup(void **state) {
    (void)state;
    return fv_kernels_init(&kernels, FV_ISA_BEST, kernels_memory, sizeof kernels_memory) != FV_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_is_forward),
        cmocka_unit_test(test_batch_is_steps),
        cmocka_unit_test(test_decode_only),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_wide_window_is_dense),
        cmocka_unit_test(test_true_mask_changes_nothing),
        cmocka_unit_test(test_shared_heads),
        cmocka_unit_test(test_permuted_heads),
        cmocka_unit_test(test_candidates_and_edges),
        cmocka_unit_test(test_future_changes_nothing),
        cmocka_unit_test(test_causal_gate_is_decode),
        cmocka_unit_test(test_rejected_drafts),
        cmocka_unit_test(test_mismatches),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_salience_nan),
        cmocka_unit_test(test_gated_arguments),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
