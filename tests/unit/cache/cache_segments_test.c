/* cache_segments_test.c - a cache whose memory comes by segments is the cache in one block, bit for bit: what it holds,
 * what attention reads of it; and what is refused where a segment is not there. */
#include "support/cache_state.h"
#include "support/choose_world.h"
#include "support/tables.h"

static test_tables tables;

enum { TOKENS = 3300, SEGMENTS = 4, HEADS = 2, DIM = 32 };

/* A cache of segments beside the block of a world; it owns its memory. */
typedef struct segmented {
    fv_cache *cache;
    void *memory, *segments[SEGMENTS];
    size_t segment_bytes;
} segmented;

static segmented segmented_make(const attention_world *w) {
    segmented made = {0};
    size_t bytes = 0;
    check_status(fv_cache_segments_size(&w->shape, &bytes, &made.segment_bytes));
    assert_int_equal(made.segment_bytes % FV_CACHE_ALIGN, 0);
    made.memory = world_memory(bytes);
    check_status(fv_cache_segments_init(&made.cache, &w->shape, w->kernels, made.memory, bytes));
    return made;
}

static void segment_give(segmented *made, uint32_t index) {
    made->segments[index] = world_memory(made->segment_bytes);
    check_status(fv_cache_segment_set(made->cache, index, made->segments[index]));
    assert_ptr_equal(fv_cache_segment_at(made->cache, index), made->segments[index]);
}

static void segmented_free(segmented *made) {
    for (uint32_t i = 0; i < SEGMENTS; i++) free(made->segments[i]);
    free(made->memory);
}

/* The same tokens into the segments; those that it needs come just before. */
static void segmented_append(segmented *made, const attention_world *w, uint32_t tokens) {
    uint32_t held = fv_cache_tokens(made->cache);
    size_t first = held * w->kv_stride;
    for (uint32_t i = held / FV_SEGMENT_TOKENS; i * FV_SEGMENT_TOKENS < held + tokens; i++)
        if (!fv_cache_segment_at(made->cache, i)) segment_give(made, i);
    check_status(fv_cache_append(made->cache, tokens, w->keys + first, w->kv_stride, w->values + first, w->kv_stride));
}

static attention_world world_of(uint32_t type, uint32_t landmark_tokens, test_random *random) {
    fv_cache_config shape = choose_shape(HEADS, DIM, TOKENS, type);
    shape.landmark_tokens = landmark_tokens;
    shape.margins = 1;
    return world_make(tables.table[0], shape, 2, 0.0f, random);
}

/* What a policy reads of the tokens from `first` on is the same, rows together and alone. */
static void check_policy(const attention_world *w, const fv_cache *cache, const fv_policy *policy, uint32_t first,
                         uint32_t rows) {
    fv_attention_config config = {.attend = w->attend,
                                  .max_tokens = TOKENS,
                                  .workers = 1,
                                  .chooses = 1,
                                  .plan_steps = fv_policy_steps(policy, TOKENS, FV_TILE_ROWS)};
    size_t bytes = 0, width = choose_world_width(w);
    fv_attention *attention = NULL;
    check_status(fv_attention_size(&config, &bytes));
    void *memory = world_memory(bytes);
    check_status(fv_attention_init(&attention, &config, w->kernels, memory, bytes));
    float *out[2] = {world_memory(rows * width * sizeof(float)), world_memory(rows * width * sizeof(float))};
    fv_report report[2] = {{.struct_bytes = sizeof(fv_report)}, {.struct_bytes = sizeof(fv_report)}};
    for (uint32_t i = 0; i < 2; i++) {
        fv_attention_rows call = {.first_token = first,
                                  .count = rows,
                                  .query = w->queries + first * w->query_stride,
                                  .query_stride = w->query_stride,
                                  .out = out[i],
                                  .out_stride = width};
        check_status(fv_attention_run(attention, i ? cache : w->cache, policy, &call, NULL, &report[i]));
    }
    assert_memory_equal(out[0], out[1], rows * width * sizeof(float));
    assert_memory_equal(&report[0], &report[1], sizeof report[0]);
    free(memory);
    free(out[0]);
    free(out[1]);
}

static void check_policies(const attention_world *w, const fv_cache *cache) {
    fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.2f, 64);
    uint32_t last = fv_cache_tokens(cache) - 1;
    for (uint32_t first = 1000; first + 50 < last; first += 1000) check_policy(w, cache, &policy, first, 50);
    check_policy(w, cache, &policy, last, 1);
    policy.tail = 1;
    check_policy(w, cache, &policy, last - 20, 20);
    policy.tail = 0, policy.certificate = 1;
    check_policy(w, cache, &policy, last, 1);
    policy = choose_policy(FV_SELECTOR_CASCADE, 0.1f, 64);
    check_policy(w, cache, &policy, last - 5, 5);
    fv_policy_default(FV_SELECTOR_DENSE, &policy);
    check_policy(w, cache, &policy, last - 70, 70);
    check_policy(w, cache, &policy, last, 1);
    fv_policy_default(FV_SELECTOR_PATTERN, &policy);
    policy.block = cache->config.landmark_tokens, policy.landmarks = policy.block > 0;
    if (!policy.block) policy.block = 64;
    if (last >= 2090) check_policy(w, cache, &policy, 2030, 60);
    check_policy(w, cache, &policy, last, 1);
}

static void test_same_as_a_block(void **state) {
    const uint32_t types[] = {FV_ELEMENT_F16, FV_ELEMENT_Q8_0, FV_ELEMENT_Q4_0, FV_ELEMENT_F32, FV_ELEMENT_BF16},
                   blocks[] = {64, 48, 0, 1500, 1};
    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        test_random random = test_random_make(300 + i);
        attention_world w = world_of(types[i], blocks[i], &random);
        segmented made = segmented_make(&w);
        for (uint32_t tokens; fv_cache_tokens(w.cache) < TOKENS - 20;) {
            tokens = test_random_in(&random, 1, 700);
            if (tokens > TOKENS - fv_cache_tokens(w.cache)) tokens = TOKENS - fv_cache_tokens(w.cache);
            world_append(&w, tokens);
            segmented_append(&made, &w, tokens);
            if (test_random_in(&random, 0, 3)) continue;
            tokens = test_random_in(&random, 1, fv_cache_tokens(w.cache));
            check_status(fv_cache_truncate(w.cache, tokens));
            check_status(fv_cache_truncate(made.cache, tokens));
        }
        assert_true(test_cache_equals(w.cache, made.cache));
        check_policies(&w, made.cache);
        for (uint32_t n = 0; n < 3; n++) {
            uint32_t token = test_random_in(&random, 900, fv_cache_tokens(w.cache) - 1);
            check_status(fv_cache_remove(w.cache, token));
            check_status(fv_cache_remove(made.cache, token));
        }
        assert_true(test_cache_equals(w.cache, made.cache));
        check_policies(&w, made.cache);
        segmented_free(&made);
        world_free(&w);
    }
}

/* Two caches with one beginning: only the segment that one of them writes is copied. */
static void test_sharing(void **state) {
    (void)state;
    test_random random = test_random_make(310);
    attention_world w = world_of(FV_ELEMENT_F16, 48, &random);
    segmented one = segmented_make(&w), two = segmented_make(&w);
    enum { SHARED = 2060 }; /* its landmark begins in the segment before */
    segmented_append(&one, &w, SHARED);
    uint32_t own = fv_cache_segment_written(one.cache, SHARED);
    assert_int_equal(own, 1); /* 2060 / 48 * 48 = 2016 */
    for (uint32_t i = 0; i < own; i++) check_status(fv_cache_segment_set(two.cache, i, one.segments[i]));
    for (uint32_t i = own; i < 3; i++) {
        segment_give(&two, i);
        memcpy(two.segments[i], one.segments[i], one.segment_bytes);
    }
    check_status(fv_cache_adopt(two.cache, SHARED));
    assert_true(test_cache_equals(one.cache, two.cache));
    segmented_append(&two, &w, 900);
    world_append(&w, SHARED + 900);
    assert_true(test_cache_equals(w.cache, two.cache));
    check_policies(&w, two.cache);
    check_status(fv_cache_truncate(w.cache, SHARED));
    assert_int_equal(fv_cache_tokens(one.cache), SHARED);
    check_policies(&w, one.cache); /* what the other wrote is not seen */
    segmented_free(&one);
    segmented_free(&two);
    world_free(&w);
}

/* Tokens of a strided step that lie in two segments, in one tile. */
static void test_strides_across(void **state) {
    (void)state;
    test_random random = test_random_make(313);
    attention_world w = world_of(FV_ELEMENT_F16, 0, &random);
    segmented made = segmented_make(&w);
    world_append(&w, 2040);
    segmented_append(&made, &w, 2040);
    fv_step steps[] = {{.kind = FV_STEP_DIAG, .begin = 1000, .row_end = 16}, /* tokens 1016..1031 */
                       {.kind = FV_STEP_DIAG, .begin = 993, .row_end = 16}};
    fv_plan plan = {.first_token = 2016, .rows = 16, .steps = steps, .count = 2, .capacity = 2};
    float out[2][16 * HEADS * 2 * DIM] = {{0}};
    size_t bytes = 0;
    check_status(fv_plan_check(&plan, 2040, 0));
    check_status(fv_attend_size(&w.attend, &bytes));
    void *scratch = world_memory(bytes);
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t head = 0; head < HEADS; head++)
            check_status(fv_attend_tile(&w.attend, w.kernels, i ? made.cache : w.cache, &plan, head,
                                        w.queries + 2016 * w.query_stride, w.query_stride, out[i],
                                        choose_world_width(&w), scratch, bytes));
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    free(scratch);
    segmented_free(&made);
    world_free(&w);
}

/* Rows of a sliding window need the segments of their window alone. */
static void test_a_window(void **state) {
    (void)state;
    test_random random = test_random_make(311);
    attention_world w = world_of(FV_ELEMENT_F16, 0, &random);
    segmented made = segmented_make(&w);
    float out[2][8 * HEADS * 2 * DIM];
    fv_attention *attention = NULL;
    void *memory = choose_attention_open(&w, 1, 0, &attention);
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_DENSE, &policy);
    world_append(&w, 3000);
    segmented_append(&made, &w, 3000);
    check_status(fv_cache_segment_set(made.cache, 0, NULL));
    for (uint32_t i = 0; i < 2; i++)
        check_status(test_attention_run(attention, i ? made.cache : w.cache, &policy, 900, 8,
                                        w.queries + 2992 * w.query_stride, w.query_stride, out[i],
                                        choose_world_width(&w), NULL, NULL));
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    check_status(fv_cache_segment_set(made.cache, 1, NULL));
    memset(out[0], 7, sizeof out[0]);
    memset(out[1], 7, sizeof out[1]);
    for (uint32_t window = 0; window < 3000; window += 2000) /* all, or what reaches into segment 1 */
        assert_int_equal(test_attention_run(attention, made.cache, &policy, window, 8,
                                            w.queries + 2992 * w.query_stride, w.query_stride, out[1],
                                            choose_world_width(&w), NULL, NULL),
                         FV_ERROR_ARGUMENT);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    free(memory);
    segmented_free(&made);
    world_free(&w);
}

/* Codes of a shadow need the block before; where there are none, a token beyond a window's last segment can leave. */
static void test_a_token_leaves_beside_a_gap(void **state) {
    (void)state;
    test_random random = test_random_make(314);
    fv_cache_config shape = choose_shape(HEADS, DIM, TOKENS, FV_ELEMENT_F16);
    shape.shadow = shape.tail = 0;
    attention_world w = world_make(tables.table[0], shape, 2, 0.0f, &random);
    segmented made = segmented_make(&w);
    float x[DIM], y[DIM];
    segmented_append(&made, &w, 1100);
    check_status(fv_cache_segment_set(made.cache, 0, NULL));
    check_status(fv_cache_read(made.cache, 0, 1031, 1, x, NULL));
    check_status(fv_cache_remove(made.cache, 1030));
    assert_int_equal(fv_cache_tokens(made.cache), 1099);
    check_status(fv_cache_read(made.cache, 0, 1030, 1, y, NULL));
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(fv_cache_remove(made.cache, 1023), FV_ERROR_ARGUMENT);
    segmented_free(&made);
    world_free(&w);
}

static void test_what_is_not_there(void **state) {
    (void)state;
    test_random random = test_random_make(312);
    attention_world w = world_of(FV_ELEMENT_F16, 48, &random);
    segmented made = segmented_make(&w);
    float x[DIM];
    fv_cache_region region;
    assert_false(fv_cache_region_at(made.cache, 0, &region));
    assert_int_equal(fv_cache_append(made.cache, 1, w.keys, w.kv_stride, w.values, w.kv_stride), FV_ERROR_FULL);
    segmented_append(&made, &w, 1000);
    assert_int_equal(fv_cache_append(made.cache, 25, w.keys, w.kv_stride, w.values, w.kv_stride), FV_ERROR_FULL);
    assert_int_equal(fv_cache_tokens(made.cache), 1000);
    segmented_append(&made, &w, 1100);
    check_status(fv_cache_segment_set(made.cache, 0, NULL));
    assert_int_equal(fv_cache_read(made.cache, 0, 1023, 2, x, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_landmark_read(made.cache, 0, 21, x, NULL), FV_ERROR_ARGUMENT); /* of token 1008 */
    assert_int_equal(fv_cache_landmark_read(made.cache, 0, 22, x, NULL), FV_OK);
    assert_int_equal(fv_cache_truncate(made.cache, 1000), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_truncate(made.cache, 1040), FV_ERROR_ARGUMENT); /* its landmark begins there */
    assert_int_equal(fv_cache_remove(made.cache, 1030), FV_ERROR_ARGUMENT);   /* its centre is made of keys there */
    assert_int_equal(fv_cache_copy(w.cache, made.cache), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_tokens(made.cache), 2100);
    check_status(fv_cache_truncate(made.cache, 1060));
    assert_int_equal(fv_cache_adopt(made.cache, 500), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_adopt(made.cache, TOKENS + 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_adopt(w.cache, 0), FV_ERROR_ARGUMENT); /* a block */
    assert_int_equal(fv_cache_segment_set(w.cache, 0, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_segment_set(made.cache, SEGMENTS, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_segment_set(made.cache, 0, (char *)made.segments[0] + 1), FV_ERROR_MEMORY);
    assert_null(fv_cache_segment_at(made.cache, SEGMENTS));
    assert_null(fv_cache_segment_at(w.cache, 0));
    segmented_free(&made);
    world_free(&w);
}

/* A truncation leaves what it takes back where it is; a copy that is cleared has none of it. */
static void check_clear(uint32_t type, uint32_t landmark_tokens, uint32_t tokens, uint32_t more) {
    test_random random = test_random_make(tokens * 31 + type);
    attention_world w = world_of(type, landmark_tokens, &random);
    w.shape.tail = 1;
    segmented cut = segmented_make(&w), never = segmented_make(&w);
    uint32_t last = (tokens - 1) / FV_SEGMENT_TOKENS;
    for (uint32_t i = 0; i <= (tokens + more - 1) / FV_SEGMENT_TOKENS; i++) {
        segment_give(&cut, i), segment_give(&never, i);
        memset(cut.segments[i], 0, cut.segment_bytes), memset(never.segments[i], 0, never.segment_bytes);
    }
    segmented_append(&never, &w, tokens);
    segmented_append(&cut, &w, tokens + more);
    check_status(fv_cache_truncate(cut.cache, tokens));
    assert_memory_not_equal(cut.segments[last], never.segments[last], cut.segment_bytes);
    check_status(fv_cache_segment_clear(cut.cache, last, cut.segments[last]));
    assert_memory_equal(cut.segments[last], never.segments[last], cut.segment_bytes);
    segmented_free(&cut);
    segmented_free(&never);
    world_free(&w);
}

static void test_what_was_taken_back_is_cleared_from_a_copy(void **state) {
    (void)state;
    static const uint32_t types[] = {FV_ELEMENT_F32, FV_ELEMENT_F16, FV_ELEMENT_Q8_0, FV_ELEMENT_BF16, FV_ELEMENT_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        check_clear(types[i], 0, 1024 + 37, 300);
        check_clear(types[i], 0, 2048 - 64, 65); /* the cut is between blocks, the rest reaches the next segment */
        check_clear(types[i], 16, 1024 + 48, 5); /* and between landmarks, whose means are then what they were */
    }
    check_clear(FV_ELEMENT_F32, 48, 1024 + 48, 100);
}

static void test_clearing_is_refused(void **state) {
    (void)state;
    test_random random = test_random_make(314);
    attention_world w = world_of(FV_ELEMENT_F16, 0, &random);
    segmented made = segmented_make(&w);
    unsigned char *memory = world_memory(made.segment_bytes + FV_CACHE_ALIGN);
    assert_int_equal(fv_cache_segment_clear(NULL, 0, memory), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_segment_clear(w.cache, 0, memory), FV_ERROR_ARGUMENT); /* of a block */
    assert_int_equal(fv_cache_segment_clear(made.cache, SEGMENTS, memory), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_segment_clear(made.cache, 0, NULL), FV_ERROR_MEMORY);
    assert_int_equal(fv_cache_segment_clear(made.cache, 0, memory + 1), FV_ERROR_MEMORY);
    free(memory);
    segmented_free(&made);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_taken_back_is_cleared_from_a_copy),
        cmocka_unit_test(test_clearing_is_refused),
        cmocka_unit_test(test_same_as_a_block),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_strides_across),
        cmocka_unit_test(test_a_window),
        cmocka_unit_test(test_a_token_leaves_beside_a_gap),
        cmocka_unit_test(test_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
