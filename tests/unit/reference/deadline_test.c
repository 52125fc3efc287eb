/* deadline_test.c - deadlines of decode and batches by a clock that advances with each look: every moment at which a
 * call can be stopped, what it then leaves, and what it costs to look. Presets and warming up. */
#include "fovea/reference/pattern.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    KV_HEADS = 2,
    QUERY_HEADS = 4,
    DIM = 8,
    KV_WIDTH = KV_HEADS * DIM,
    WIDTH = QUERY_HEADS * DIM,
    TOKENS_MOST = 8200
};
#define NEVER UINT64_MAX
#define NEAR 12 /* ticks: too few to read several segments together */

static _Alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
static const fv_kernels *kernels;
static float q[64 * WIDTH], k[TOKENS_MOST * KV_WIDTH], v[TOKENS_MOST * KV_WIDTH];

static void *take(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0x88, bytes);
    return memory;
}

typedef struct world {
    fv_pattern_config config;
    fv_pattern *pattern;
    fv_cache *cache;
    size_t cache_bytes;
} world;

static world world_open(fv_selector selector, fv_element type, uint32_t tokens, uint32_t max_tokens) {
    world w = {0};
    fv_pattern_config_default(&w.config);
    fv_policy_default(selector, &w.config.policy);
    w.config.policy.block = 48;
    w.config.policy.window = 100;
    w.config.max_tokens = max_tokens;
    w.config.query_heads = QUERY_HEADS;
    w.config.kv_heads = KV_HEADS;
    w.config.head_dim = DIM;
    w.config.workers = 3;
    fv_cache_config shape = {.kv_heads = KV_HEADS,
                             .head_dim = DIM,
                             .max_tokens = max_tokens,
                             .key_type = type,
                             .value_type = type,
                             .landmark_tokens = 48};
    size_t bytes;
    assert_int_equal(fv_pattern_size(&w.config, &bytes), FV_OK);
    assert_int_equal(fv_pattern_init(&w.pattern, &w.config, kernels, take(bytes), bytes), FV_OK);
    assert_int_equal(fv_cache_size(&shape, &w.cache_bytes), FV_OK);
    assert_int_equal(fv_cache_init(&w.cache, &shape, kernels, take(w.cache_bytes), w.cache_bytes), FV_OK);
    assert_int_equal(fv_cache_append(w.cache, tokens, k, KV_WIDTH, v, KV_WIDTH), FV_OK);
    return w;
}

static void world_close(world *w) {
    free(w->pattern);
    free(w->cache);
}

/* A look is a tick; the first one is at tick 1. */
typedef struct ticks {
    uint64_t now, looks;
} ticks;

static uint64_t tick(void *context) {
    ticks *clock = context;
    clock->looks++;
    return ++clock->now;
}

static fv_deadline deadline_at(ticks *clock, uint64_t end, fv_on_deadline on_deadline) {
    *clock = (ticks){0};
    return (fv_deadline){.clock = tick, .context = clock, .end_ns = end, .on_deadline = on_deadline};
}

/* Everything that can be read of a cache. */
typedef struct contents {
    uint32_t tokens;
    float *floats;
    size_t count;
} contents;

static contents contents_of(const fv_cache *cache) {
    uint32_t tokens = fv_cache_tokens(cache), block = fv_cache_shape(cache)->landmark_tokens;
    uint32_t marks = tokens ? (tokens - 1) / block + 1 : 0;
    size_t floats = 2 * (size_t)KV_WIDTH * (tokens + marks);
    contents c = {tokens, take(floats * sizeof(float) + 64), floats};
    float *at = c.floats;
    for (uint32_t head = 0; head < KV_HEADS; head++) {
        assert_int_equal(fv_cache_read(cache, head, 0, tokens, at, at + (size_t)tokens * DIM), FV_OK);
        at += 2 * (size_t)tokens * DIM;
        for (uint32_t mark = 0; mark < marks; mark++, at += 2 * DIM)
            assert_int_equal(fv_cache_landmark_read(cache, head, mark, at, at + DIM), FV_OK);
    }
    return c;
}

static void check_contents(const fv_cache *cache, const contents *want) {
    contents got = contents_of(cache);
    assert_int_equal(got.tokens, want->tokens);
    assert_memory_equal(got.floats, want->floats, want->count * sizeof(float));
    free(got.floats);
}

static fv_pattern_call decode_call(const fv_deadline *deadline, fv_progress *progress) {
    return (fv_pattern_call){.query = {q, 1, QUERY_HEADS, DIM}, .deadline = deadline, .progress = progress};
}

static fv_pattern_call batch_call(uint32_t first, uint32_t tokens, const fv_deadline *deadline, fv_progress *progress) {
    fv_pattern_call call = decode_call(deadline, progress);
    call.query.tokens = tokens;
    call.keys = (fv_tensor){k + (size_t)first * KV_WIDTH, tokens, KV_HEADS, DIM};
    call.values = (fv_tensor){v + (size_t)first * KV_WIDTH, tokens, KV_HEADS, DIM};
    return call;
}

/* The first `keys` keys in the documented order of reading, of the row at `row`. */
static void best_expected(const world *w, uint32_t row, uint64_t keys, const float *query, float *out) {
    static uint32_t list[TOKENS_MOST], marks[TOKENS_MOST], order[2 * TOKENS_MOST];
    uint32_t count = 0, mark_count = 0, n = 0, newest = row / FV_SEGMENT_TOKENS * FV_SEGMENT_TOKENS;
    fv_policy policy = w->config.policy;
    const uint32_t mark_flag = 1u << 31;
    if (policy.selector == FV_SELECTOR_PATTERN) {
        assert_int_equal(fv_pattern_tokens(&policy, row + 1, row, FV_ORDER_RISING, TOKENS_MOST, list, &count), FV_OK);
        assert_int_equal(fv_pattern_landmarks(&policy, row + 1, row, FV_ORDER_RISING, TOKENS_MOST, marks, &mark_count),
                         FV_OK);
    } else {
        for (; count <= row; count++) list[count] = count;
        policy.window = row;
    }
    for (int part = 0; part < 2; part++) { /* the newest segment, then what is gathered */
        for (uint32_t i = 0; i < count; i++) {
            bool global = policy.selector == FV_SELECTOR_PATTERN && list[i] == 0;
            bool near = list[i] + policy.window >= row || global;
            if (part == 0 ? near && list[i] >= newest : !near) order[n++] = list[i];
        }
        for (uint32_t i = 0; part && i < mark_count; i++) order[n++] = marks[i] | mark_flag;
    }
    for (uint32_t segment = newest; segment > 0; segment -= FV_SEGMENT_TOKENS)
        for (uint32_t i = 0; i < count; i++) {
            bool near = list[i] + policy.window >= row || (policy.selector == FV_SELECTOR_PATTERN && list[i] == 0);
            if (near && list[i] < segment && list[i] + FV_SEGMENT_TOKENS >= segment) order[n++] = list[i];
        }
    assert_int_equal(n, count + mark_count);
    assert_true(keys <= n);
    for (uint32_t h = 0; h < QUERY_HEADS; h++) {
        double sum = 0, mixed[DIM] = {0};
        for (uint64_t i = 0; i < keys; i++) {
            float key[DIM], value[DIM];
            uint32_t head = h / (QUERY_HEADS / KV_HEADS), token = order[i] & ~mark_flag;
            if (order[i] & mark_flag)
                assert_int_equal(fv_cache_landmark_read(w->cache, head, token, key, value), FV_OK);
            else
                assert_int_equal(fv_cache_read(w->cache, head, token, 1, key, value), FV_OK);
            double score = 0;
            for (int c = 0; c < DIM; c++) score += (double)query[h * DIM + (uint32_t)c] * (double)key[c];
            double weight = exp(score / sqrt(DIM));
            sum += weight;
            for (int c = 0; c < DIM; c++) mixed[c] += weight * (double)value[c];
        }
        for (int c = 0; c < DIM; c++) out[h * DIM + (uint32_t)c] = sum > 0 ? (float)(mixed[c] / sum) : 0.0f;
    }
}

/* Where a processor multiplies pairs of bf16, queries and weights are rounded to it. */
static void check_close(fv_element type, const float *got, const float *want, uint64_t end, uint64_t keys) {
    const bool rounds = fv_isa_includes(fv_kernels_isa(kernels), FV_ISA_AVX512BF16);
    float bound = rounds && type == FV_ELEMENT_BF16 ? 0x1p-6f : 2e-5f;
    for (size_t i = 0; i < WIDTH; i++)
        if (!(fabsf(got[i] - want[i]) <= bound))
            fail_msg("end %u, %u keys: element %zu is %.9g, not %.9g", (unsigned)end, (unsigned)keys, i, (double)got[i],
                     (double)want[i]);
}

/* Every moment of a decode step, under one policy and type. */
static void decode_everywhere(fv_selector selector, fv_element type, uint32_t tokens) {
    world w = world_open(selector, type, tokens, tokens + 3);
    float plain[WIDTH], out[WIDTH], poison[WIDTH], want[WIDTH];
    ticks clock;
    fv_progress progress;
    fv_pattern_call call = decode_call(NULL, NULL);
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, plain), FV_OK);
    contents before = contents_of(w.cache);
    fv_deadline far = deadline_at(&clock, NEVER, FV_DEADLINE_FAIL);
    call = decode_call(&far, &progress);
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_OK);
    assert_memory_equal(out, plain, sizeof out);
    assert_int_equal(progress.expired, 0);
    assert_int_equal(progress.checkpoint, FV_CHECKPOINT_SOFTMAX);
    assert_int_equal(progress.keys_read, progress.keys_planned);
    assert_int_equal(progress.rows_complete, 1);
    fv_deadline near = deadline_at(&clock, NEAR, FV_DEADLINE_FAIL);
    call = decode_call(&near, &progress);
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_OK);
    assert_memory_equal(out, plain, sizeof out);
    uint64_t looks = clock.looks, last_keys = 0, planned = progress.keys_planned;
    unsigned seen[3] = {0};
    memset(poison, 0x77, sizeof poison);
    for (uint64_t end = 0; end <= looks + 1; end++) { /* look number `end` is the first too late */
        bool met = end > looks;
        fv_report report = {.struct_bytes = sizeof report}, empty = report;
        fv_deadline fail = deadline_at(&clock, end, FV_DEADLINE_FAIL);
        call = decode_call(&fail, &progress);
        call.report = &report;
        memcpy(out, poison, sizeof out);
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), met ? FV_OK : FV_ERROR_DEADLINE);
        assert_memory_equal(out, met ? plain : poison, sizeof out);
        assert_int_equal(progress.expired, !met);
        assert_int_equal(progress.elapsed_ns, clock.looks - 1);
        if (!met) {
            assert_memory_equal(&report, &empty, sizeof report);
            assert_int_equal(clock.looks, end ? end : 1);
            seen[progress.checkpoint]++;
            if (end <= 2) assert_int_equal(progress.checkpoint, FV_CHECKPOINT_CANDIDATE_SELECTION);
            if (end == looks - 1) assert_int_equal(progress.checkpoint, FV_CHECKPOINT_DOT_PRODUCT);
            if (end == looks) assert_int_equal(progress.checkpoint, FV_CHECKPOINT_SOFTMAX);
        }
        check_contents(w.cache, &before);

        fv_deadline best = deadline_at(&clock, end, FV_DEADLINE_BEST);
        call = decode_call(&best, &progress);
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_OK);
        assert_int_equal(progress.expired, !met);
        assert_true(progress.keys_read >= last_keys);
        assert_int_equal(progress.keys_planned, end <= 1 ? 0 : planned);
        assert_int_equal(progress.rows_complete, progress.keys_read == planned);
        last_keys = progress.keys_read;
        best_expected(&w, tokens - 1, progress.keys_read, q, want);
        check_close(type, out, want, end, progress.keys_read);
        if (progress.keys_read == planned) assert_memory_equal(out, plain, sizeof out);
        check_contents(w.cache, &before);
    }
    assert_int_equal(last_keys, planned);
    for (int i = 0; i < 3; i++) assert_true(seen[i] > 0);
    free(before.floats);
    world_close(&w);
}

static void test_decode(void **state) {
    (void)state;
    static const uint32_t counts[] = {1, 20, 130, 1000, 1024, 1060, 2500};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++) {
            decode_everywhere(FV_SELECTOR_PATTERN, (fv_element)type, counts[i]);
            decode_everywhere(FV_SELECTOR_DENSE, (fv_element)type, counts[i]);
        }
}

static void test_empty(void **state) {
    (void)state;
    world w = world_open(FV_SELECTOR_PATTERN, FV_ELEMENT_F32, 0, 20);
    float out[WIDTH], poison[WIDTH];
    memset(poison, 0x77, sizeof poison);
    for (uint64_t end = 1; end <= 2; end++) {
        ticks clock;
        fv_progress progress;
        fv_deadline fail = deadline_at(&clock, end, FV_DEADLINE_FAIL);
        fv_pattern_call call = decode_call(&fail, &progress);
        memcpy(out, poison, sizeof out);
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), end == 1 ? FV_ERROR_DEADLINE : FV_OK);
        for (int i = 0; i < WIDTH; i++) assert_true(end == 1 ? memcmp(out, poison, sizeof out) == 0 : out[i] == 0.0f);
    }
    world_close(&w);
}

/* Every moment of a batch: causal or not, beginning inside a block of landmarks and inside a tile. */
static void batch_everywhere(fv_selector selector, fv_element type, uint32_t first, uint32_t tokens, uint32_t causal) {
    static float plain[64 * WIDTH], out[64 * WIDTH], poison[64 * WIDTH];
    float want[WIDTH];
    size_t elements = (size_t)tokens * WIDTH;
    world base = world_open(selector, type, first, first + tokens);
    base.config.policy.causal = causal;
    size_t bytes;
    assert_int_equal(fv_pattern_size(&base.config, &bytes), FV_OK);
    free(base.pattern);
    assert_int_equal(fv_pattern_init(&base.pattern, &base.config, kernels, take(bytes), bytes), FV_OK);
    unsigned char *saved = take(base.cache_bytes);
    memcpy(saved, base.cache, base.cache_bytes);
    fv_pattern_call call = batch_call(first, tokens, NULL, NULL);
    assert_int_equal(fv_pattern_decode_batch(base.pattern, base.cache, &call, plain), FV_OK);
    contents after = contents_of(base.cache);
    memcpy(base.cache, saved, base.cache_bytes);
    contents before = contents_of(base.cache);
    memset(poison, 0x77, sizeof poison);
    ticks clock;
    fv_progress progress;
    fv_report counted = {.struct_bytes = sizeof counted}, report = counted;
    call = batch_call(first, tokens, NULL, NULL);
    call.report = &counted;
    assert_int_equal(fv_pattern_decode_batch(base.pattern, base.cache, &call, out), FV_OK);
    assert_true(counted.keys_read > 0 && counted.bytes_read > 0);
    memcpy(base.cache, saved, base.cache_bytes);
    fv_deadline far = deadline_at(&clock, NEVER, FV_DEADLINE_FAIL);
    call = batch_call(first, tokens, &far, &progress);
    call.report = &report;
    assert_int_equal(fv_pattern_decode_batch(base.pattern, base.cache, &call, out), FV_OK);
    assert_true(report.bytes_read >= counted.bytes_read); /* rows that are read apart share fewer pages */
    counted.bytes_read = report.bytes_read;
    assert_memory_equal(&report, &counted, sizeof report);
    assert_memory_equal(out, plain, elements * sizeof(float));
    assert_int_equal(progress.rows_complete, tokens);
    assert_int_equal(progress.keys_read, progress.keys_planned);
    check_contents(base.cache, &after);
    uint64_t looks = clock.looks;
    for (uint64_t end = 1; end <= looks; end++) {
        memcpy(base.cache, saved, base.cache_bytes);
        memcpy(out, poison, sizeof out);
        fv_deadline fail = deadline_at(&clock, end, FV_DEADLINE_FAIL);
        call = batch_call(first, tokens, &fail, &progress);
        call.report = &report;
        assert_int_equal(fv_pattern_decode_batch(base.pattern, base.cache, &call, out), FV_ERROR_DEADLINE);
        assert_memory_equal(&report, &counted, sizeof report); /* as it was */
        assert_memory_equal(out, poison, sizeof out);
        check_contents(base.cache, &before);
        /* a second try without a deadline gives what the first would have given */
        if (end % 3 == 0) {
            call = batch_call(first, tokens, NULL, NULL);
            assert_int_equal(fv_pattern_decode_batch(base.pattern, base.cache, &call, out), FV_OK);
            assert_memory_equal(out, plain, elements * sizeof(float));
            check_contents(base.cache, &after);
        }

        memcpy(base.cache, saved, base.cache_bytes);
        fv_deadline best = deadline_at(&clock, end, FV_DEADLINE_BEST);
        call = batch_call(first, tokens, &best, &progress);
        assert_int_equal(fv_pattern_decode_batch(base.pattern, base.cache, &call, out), FV_OK);
        check_contents(base.cache, &after);
        assert_memory_equal(out, plain, progress.rows_complete * sizeof want);
        assert_true(progress.rows_complete < tokens || progress.keys_read == progress.keys_planned);
        for (size_t i = 0; end == 1 && i < elements; i++) assert_true(out[i] == 0.0f);
        if (tokens != 1) continue;
        best_expected(&base, first, progress.keys_read, q, want);
        check_close(type, out, want, end, progress.keys_read);
    }
    free(saved);
    free(before.floats);
    free(after.floats);
    world_close(&base);
}

static void test_batch(void **state) {
    (void)state;
    for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++)
        for (uint32_t causal = 0; causal < 2; causal++) {
            batch_everywhere(FV_SELECTOR_PATTERN, (fv_element)type, 0, 5, causal);
            batch_everywhere(FV_SELECTOR_PATTERN, (fv_element)type, 70, 40, causal);
            batch_everywhere(FV_SELECTOR_DENSE, (fv_element)type, 1010, 21, causal);
        }
    batch_everywhere(FV_SELECTOR_PATTERN, FV_ELEMENT_F16, 1150, 1, 1);
}

/* At 8,192 tokens all older segments are one round if there is time for them, but with a deadline that is near there is
 * a look before each. */
static void test_looks(void **state) {
    (void)state;
    static const struct { uint64_t end, looks; } wanted[] = {{NEVER, 2 + 3}, {20, 4 + 3}, {12, 8 + 3}};
    world w = world_open(FV_SELECTOR_DENSE, FV_ELEMENT_F16, 8192, 8192);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        ticks clock;
        fv_deadline far = deadline_at(&clock, wanted[i].end, FV_DEADLINE_FAIL);
        fv_pattern_call call = decode_call(&far, NULL);
        float out[WIDTH];
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_OK);
        assert_int_equal(clock.looks, wanted[i].looks);
    }
    world_close(&w);
}

static void run_backwards(void *pool, size_t tasks, fv_task_fn *task, void *context) {
    (void)pool;
    for (size_t i = tasks; i-- > 0;) task(context, i, i % 3);
}

/* More workers read more between two looks, and give the same bits. */
static void test_workers(void **state) {
    (void)state;
    world w = world_open(FV_SELECTOR_DENSE, FV_ELEMENT_F32, 5000, 5000);
    const fv_parallel parallel = {.run = run_backwards, .workers = 3};
    ticks clock;
    float plain[WIDTH], out[WIDTH];
    fv_pattern_call call = decode_call(NULL, NULL);
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, plain), FV_OK);
    fv_deadline far = deadline_at(&clock, NEVER, FV_DEADLINE_FAIL);
    call = decode_call(&far, NULL);
    call.parallel = &parallel;
    fv_report report = {.struct_bytes = sizeof report};
    call.report = &report;
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_OK);
    assert_memory_equal(out, plain, sizeof out);
    assert_int_equal(report.keys_read, 5000 * KV_HEADS);
    assert_int_equal(clock.looks, 2 + 3); /* 5 segments, 3 at a time */
    uint64_t looks = clock.looks;
    for (uint64_t end = 1; end <= looks; end++) {
        fv_progress progress;
        fv_deadline best = deadline_at(&clock, end, FV_DEADLINE_BEST);
        call = decode_call(&best, &progress);
        call.parallel = &parallel;
        report = (fv_report){.struct_bytes = sizeof report};
        call.report = &report;
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_OK);
        assert_int_equal(report.keys_read, progress.keys_read * KV_HEADS);
    }
    world_close(&w);
}

static void test_mistakes(void **state) {
    (void)state;
    world w = world_open(FV_SELECTOR_PATTERN, FV_ELEMENT_F32, 10, 20);
    ticks clock;
    float out[10 * WIDTH];
    fv_progress progress;
    fv_deadline deadline = deadline_at(&clock, NEVER, FV_DEADLINE_BEST);
    fv_pattern_call call = decode_call(&deadline, NULL); /* the best of how much? */
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_ERROR_ARGUMENT);
    call.progress = &progress;
    deadline.on_deadline = 2;
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_ERROR_ARGUMENT);
    deadline.on_deadline = FV_DEADLINE_FAIL;
    deadline.clock = NULL;
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, out), FV_ERROR_ARGUMENT);
    deadline.clock = tick;
    call = batch_call(0, 10, &deadline, &progress);
    assert_int_equal(fv_pattern_forward(w.pattern, &call, out), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_pattern_forward_dense(w.pattern, &call, out), FV_ERROR_ARGUMENT);
    assert_int_equal(clock.looks, 0);
    world_close(&w);
}

static void test_warm_up(void **state) {
    (void)state;
    for (uint32_t type = 0; type < FV_ELEMENT_COUNT; type++)
        for (uint32_t tokens = 0; tokens <= 100; tokens++) {
            world w = world_open(FV_SELECTOR_PATTERN, (fv_element)type, tokens, 100);
            contents before = contents_of(w.cache);
            assert_int_equal(fv_pattern_warm_up(w.pattern, w.cache, QUERY_HEADS), FV_OK);
            check_contents(w.cache, &before);
            assert_int_equal(fv_pattern_warm_up(w.pattern, w.cache, 3), FV_ERROR_SHAPE);
            free(before.floats);
            world_close(&w);
        }
}

static void test_preset(void **state) {
    (void)state;
    fv_pattern_preset preset;
    fv_pattern_preset_pi_zero_2w(300, QUERY_HEADS, KV_HEADS, DIM, &preset);
    assert_int_equal(preset.pattern.policy.window, 64);
    assert_int_equal(preset.tile, 16);
    assert_int_equal(preset.cache.key_type, FV_ELEMENT_F16);
    assert_int_equal(preset.cache.value_type, FV_ELEMENT_F16);
    size_t bytes, cache_bytes;
    fv_pattern *pattern;
    fv_cache *cache;
    assert_int_equal(fv_pattern_size(&preset.pattern, &bytes), FV_OK);
    assert_int_equal(fv_pattern_init(&pattern, &preset.pattern, kernels, take(bytes), bytes), FV_OK);
    assert_int_equal(fv_cache_size(&preset.cache, &cache_bytes), FV_OK);
    assert_int_equal(fv_cache_init(&cache, &preset.cache, kernels, take(cache_bytes), cache_bytes), FV_OK);
    assert_int_equal(fv_pattern_warm_up(pattern, cache, QUERY_HEADS), FV_OK);
    static float out[60 * WIDTH], want[60 * WIDTH];
    fv_pattern_call call = batch_call(0, 60, NULL, NULL);
    call.tile = preset.tile;
    assert_int_equal(fv_pattern_forward(pattern, &call, want), FV_OK);
    assert_int_equal(fv_pattern_decode_batch(pattern, cache, &call, out), FV_OK);
    for (size_t i = 0; i < 60 * WIDTH; i++) assert_true(fabsf(out[i] - want[i]) < 1e-3f); /* F16 in the cache */
    for (uint32_t first = 60; first < 300; first += 60) {
        call = batch_call(first, 60, NULL, NULL);
        assert_int_equal(fv_pattern_decode_batch(pattern, cache, &call, out), FV_OK);
    }
    free(pattern);
    free(cache);
}

int main(void) {
    if (fv_kernels_init(&kernels, FV_ISA_BEST, kernels_memory, sizeof kernels_memory) != FV_OK) return 1;
    test_random random = test_random_make(12);
    test_fill_f32(&random, q, sizeof q / sizeof q[0], 1.5f);
    test_fill_f32(&random, k, sizeof k / sizeof k[0], 1.5f);
    test_fill_f32(&random, v, sizeof v / sizeof v[0], 1.5f);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),  cmocka_unit_test(test_empty),   cmocka_unit_test(test_batch),
        cmocka_unit_test(test_looks),   cmocka_unit_test(test_workers), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_warm_up), cmocka_unit_test(test_preset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
