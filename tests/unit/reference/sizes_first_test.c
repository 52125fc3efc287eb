/* Sizes are compared before an array is read: the arrays here end where memory does, and calls claim more than there
 * is. */
#include "fovea/reference/pattern.h"
#include "support/fence.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HEADS = 2, DIM = 8, TOKENS = 16, ROOM = 64, ELEMENTS = TOKENS * HEADS * DIM };

typedef struct world {
    const fv_kernels *kernels;
    fv_pattern *pattern;
    fv_cache *cache;
    fv_gate *gate;
    test_fence fence;
    float *x, *out; /* [TOKENS][HEADS][DIM]; x at the end of memory */
    void *blocks[4];
} world;

static void *take(world *w, size_t place, size_t bytes) {
    w->blocks[place] = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(w->blocks[place]);
    return w->blocks[place];
}

static world world_open(void) {
    static _Alignas(8) unsigned char kernels_memory[FV_KERNELS_BYTES];
    world w = {.fence = fence_open(2 * ELEMENTS * sizeof(float))};
    size_t bytes;
    assert_int_equal(fv_kernels_init(&w.kernels, FV_ISA_BEST, kernels_memory, sizeof kernels_memory), FV_OK);
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.max_tokens = ROOM;
    config.query_heads = config.kv_heads = HEADS;
    config.head_dim = DIM;
    config.gated = 1;
    assert_int_equal(fv_pattern_size(&config, &bytes), FV_OK);
    assert_int_equal(fv_pattern_init(&w.pattern, &config, w.kernels, take(&w, 0, bytes), bytes), FV_OK);
    fv_cache_config shape = {.kv_heads = HEADS, .head_dim = DIM, .max_tokens = ROOM, .landmark_tokens = 64};
    assert_int_equal(fv_cache_size(&shape, &bytes), FV_OK);
    assert_int_equal(fv_cache_init(&w.cache, &shape, w.kernels, take(&w, 1, bytes), bytes), FV_OK);
    fv_gate_config gate;
    fv_gate_config_default(&gate);
    gate.input_dim = DIM;
    assert_int_equal(fv_gate_size(&gate, &bytes), FV_OK);
    assert_int_equal(fv_gate_init(&w.gate, &gate, NULL, take(&w, 2, bytes), bytes), FV_OK);
    w.out = take(&w, 3, ELEMENTS * sizeof *w.out);
    fence_place(&w.fence, 0); /* the next one ends at the fence */
    fence_place(&w.fence, 0);
    w.x = fence_place(&w.fence, ELEMENTS * sizeof *w.x);
    while ((unsigned char *)(w.x + ELEMENTS) != w.fence.end) w.x = fence_place(&w.fence, ELEMENTS * sizeof *w.x);
    for (size_t i = 0; i < ELEMENTS; i++) w.x[i] = (float)(i % 7) - 3.0f;
    return w;
}

static void world_close(world *w) {
    fence_close(&w->fence);
    for (size_t i = 0; i < 4; i++) free(w->blocks[i]);
}

static fv_pattern_call call_of(const world *w, uint32_t tokens, uint32_t heads) {
    fv_tensor x = {w->x, tokens, heads, DIM};
    return (fv_pattern_call){.query = x, .keys = x, .values = x};
}

/* More tokens than the memory was made for; or fewer in the array than the call says, which nobody can know. */
static void test_forward(void **state) {
    (void)state;
    world w = world_open();
    static const uint32_t counts[] = {2000, 100000000, UINT32_MAX - 2};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        fv_pattern_call call = call_of(&w, counts[i], HEADS);
        fv_status want = counts[i] > 1u << 30 ? FV_ERROR_ARGUMENT : FV_ERROR_MEMORY;
        assert_int_equal(fv_pattern_forward(w.pattern, &call, w.out), want);
        assert_int_equal(fv_pattern_forward_dense(w.pattern, &call, w.out), want);
        assert_int_equal(fv_pattern_forward_gated(w.pattern, w.gate, FV_KEEP_CAUSAL, 3, &call, w.out), want);
        call = call_of(&w, TOKENS, HEADS);
        call.keep = (const uint8_t *)w.x;
        call.keep_tokens = counts[i];
        assert_int_equal(fv_pattern_forward(w.pattern, &call, w.out), FV_ERROR_SHAPE);
    }
    fv_pattern_call call = call_of(&w, TOKENS, 1000); /* as many heads as are allowed, and no room for them */
    assert_int_equal(fv_pattern_forward(w.pattern, &call, w.out), FV_ERROR_MEMORY);
    call = call_of(&w, TOKENS, HEADS);
    assert_int_equal(fv_pattern_forward(w.pattern, &call, w.out), FV_OK);
    const fv_parallel none = {0}; /* no workers: the calling thread, as for fv_attention_run() */
    call.parallel = &none;
    assert_int_equal(fv_pattern_forward(w.pattern, &call, w.out), FV_OK);
    world_close(&w);
}

static void test_append(void **state) {
    (void)state;
    world w = world_open();
    const fv_tensor one = {w.x, 1, HEADS, DIM};
    for (uint32_t down = 0; down < 32; down++) {
        uint32_t tokens = down ? UINT32_MAX - (1u << down) / 2 : ROOM + 1; /* a count that ran below zero */
        fv_tensor many = {w.x, tokens, HEADS, DIM};
        assert_int_equal(fv_pattern_append(w.pattern, w.cache, &many, &many), FV_ERROR_FULL);
        assert_int_equal(fv_pattern_append(w.pattern, w.cache, &many, &one), FV_ERROR_SHAPE);
        assert_int_equal(fv_cache_append(w.cache, tokens, w.x, HEADS * DIM, w.x, HEADS * DIM), FV_ERROR_FULL);
    }
    const fv_tensor wide = {w.x, 1, 1000 * HEADS, DIM}, deep = {w.x, 1, HEADS, 1000 * DIM};
    assert_int_equal(fv_pattern_append(w.pattern, w.cache, &wide, &wide), FV_ERROR_SHAPE);
    assert_int_equal(fv_pattern_append(w.pattern, w.cache, &one, &deep), FV_ERROR_SHAPE);
    assert_int_equal(fv_cache_tokens(w.cache), 0);
    fv_evict_config evict;
    fv_evict_config_default(&evict);
    assert_int_equal(fv_pattern_append_evict(w.pattern, w.cache, &evict, 0, NULL, &wide, &one, NULL), FV_ERROR_SHAPE);
    assert_int_equal(fv_pattern_append_evict(w.pattern, w.cache, &evict, 0, NULL, &one, &deep, NULL), FV_ERROR_SHAPE);
    for (int i = 0; i < ROOM / TOKENS; i++)
        assert_int_equal(fv_cache_append(w.cache, TOKENS, w.x, HEADS * DIM, w.x, HEADS * DIM), FV_OK);
    const float *last = w.x + ELEMENTS - 1; /* scores: one is there */
    assert_int_equal(fv_pattern_append_evict(w.pattern, w.cache, &evict, 1, last, &one, &one, NULL), FV_ERROR_SHAPE);
    assert_int_equal(fv_evict_append(w.cache, &evict, 65, last, w.x, w.x, NULL), FV_ERROR_SHAPE);
    assert_int_equal(fv_cache_tokens(w.cache), ROOM);
    world_close(&w);
}

static void test_decode(void **state) {
    (void)state;
    world w = world_open();
    assert_int_equal(fv_cache_append(w.cache, TOKENS, w.x, HEADS * DIM, w.x, HEADS * DIM), FV_OK);
    for (uint32_t down = 0; down < 31; down++) {
        uint32_t tokens = down ? UINT32_MAX - (1u << down) / 2 : ROOM;
        fv_pattern_call call = call_of(&w, tokens, HEADS);
        assert_int_equal(fv_pattern_decode_batch(w.pattern, w.cache, &call, w.out), FV_ERROR_FULL);
        call.keys.tokens = call.values.tokens = 2;
        assert_int_equal(fv_pattern_decode_batch(w.pattern, w.cache, &call, w.out), FV_ERROR_SHAPE);
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, w.out), FV_ERROR_SHAPE);
    }
    fv_pattern_call call = call_of(&w, 1, HEADS);
    call.query.heads = 512; /* as many heads as are allowed, and no room for them */
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, w.out), FV_ERROR_MEMORY);
    assert_int_equal(fv_pattern_decode_batch(w.pattern, w.cache, &call, w.out), FV_ERROR_MEMORY);
    call.query.heads = HEADS;
    call.query.head_dim = 1000 * DIM;
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, w.out), FV_ERROR_SHAPE);
    call = call_of(&w, 1, HEADS);
    call.keep = (const uint8_t *)(w.x + ELEMENTS) - 3; /* a mask that is shorter than the cache */
    call.keep_tokens = 3;
    assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, w.out), FV_ERROR_SHAPE);
    assert_int_equal(fv_cache_tokens(w.cache), TOKENS);
    world_close(&w);
}

/* A report that is too short is refused by each call that takes one, an empty one too. */
static void test_short_report(void **state) {
    (void)state;
    world w = world_open();
    static const uint32_t sizes[] = {0, FV_REPORT_LEAST - 1};
    assert_int_equal(fv_cache_append(w.cache, TOKENS, w.x, HEADS * DIM, w.x, HEADS * DIM), FV_OK);
    for (size_t i = 0; i < 4; i++) {
        fv_report report = {.struct_bytes = sizes[i % 2]}, untouched = report;
        fv_pattern_call call = call_of(&w, i < 2 ? 1 : 0, HEADS);
        call.report = &report;
        memset(w.out, 0x55, ELEMENTS * sizeof *w.out);
        assert_int_equal(fv_pattern_forward(w.pattern, &call, w.out), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_pattern_forward_dense(w.pattern, &call, w.out), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_pattern_forward_gated(w.pattern, w.gate, FV_KEEP_CAUSAL, 3, &call, w.out),
                         FV_ERROR_ARGUMENT);
        assert_int_equal(fv_pattern_decode_batch(w.pattern, w.cache, &call, w.out), FV_ERROR_ARGUMENT);
        call.query.tokens = 1;
        assert_int_equal(fv_pattern_decode(w.pattern, w.cache, &call, w.out), FV_ERROR_ARGUMENT);
        assert_memory_equal(&report, &untouched, sizeof report);
        for (size_t b = 0; b < ELEMENTS * sizeof *w.out; b++) assert_int_equal(((unsigned char *)w.out)[b], 0x55);
        assert_int_equal(fv_cache_tokens(w.cache), TOKENS);
    }
    world_close(&w);
}

static uint64_t no_time(void *context) { return *(uint64_t *)context; }

/* The report of an older caller ends where memory does, also where rows are kept back until a deadline is met. */
static void test_old_report(void **state) {
    (void)state;
    world w = world_open();
    uint64_t now = 0;
    const fv_deadline fail = {.clock = no_time, .context = &now, .end_ns = 1, .on_deadline = FV_DEADLINE_FAIL};
    test_fence fence = fence_open(sizeof(fv_report));
    fv_report *report = fence_place(&fence, FV_REPORT_LEAST);
    while ((unsigned char *)report + FV_REPORT_LEAST != fence.end) report = fence_place(&fence, FV_REPORT_LEAST);
    for (int i = 0; i < 3; i++) {
        memset(report, 0, FV_REPORT_LEAST);
        report->struct_bytes = FV_REPORT_LEAST;
        fv_pattern_call call = call_of(&w, 2, HEADS);
        call.report = report;
        call.deadline = i == 1 ? &fail : NULL;
        fv_status status = i < 2 ? fv_pattern_decode_batch(w.pattern, w.cache, &call, w.out)
                                 : fv_pattern_forward(w.pattern, &call, w.out);
        assert_int_equal(status, FV_OK);
        assert_true(report->keys_read > 0 && report->bytes_read > 0);
    }
    fence_close(&fence);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),      cmocka_unit_test(test_append),     cmocka_unit_test(test_decode),
        cmocka_unit_test(test_short_report), cmocka_unit_test(test_old_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
