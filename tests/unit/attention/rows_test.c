/* What fv_attention_run() gives besides attention: log-sum-exps that merge with other keys, deadlines. */
#include "fovea/attention.h"
#include "fovea/state.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include "support/test_policy.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
    TOKENS = 2500,
    HEADS = 2,
    GROUP = 3,
    QUERY_HEADS = HEADS * GROUP,
    DIM = 24,
    ROWS = 5,
    WIDTH = QUERY_HEADS * DIM
};

static fv_attention *attention_make(const attention_world *w, uint32_t state_rows, void **memory) {
    fv_attention_config config = {
        .attend = w->attend, .max_tokens = TOKENS, .workers = 3, .plan_steps = 64, .state_rows = state_rows};
    size_t bytes = 0;
    fv_attention *attention = NULL;
    assert_int_equal(fv_attention_size(&config, &bytes), FV_OK);
    *memory = world_memory(bytes);
    assert_int_equal(fv_attention_init(&attention, &config, w->kernels, *memory, bytes), FV_OK);
    return attention;
}

static attention_world world_of(const fv_kernels *kernels, uint32_t key_type, float softcap) {
    test_random random = test_random_make(71);
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = HEADS, shape.head_dim = DIM, shape.max_tokens = TOKENS, shape.key_type = key_type;
    return world_make(kernels, shape, GROUP, softcap, &random);
}

static fv_attention_rows rows_of(const attention_world *w, uint32_t first, uint32_t count, float *out, float *lse) {
    return (fv_attention_rows){.first_token = first,
                               .count = count,
                               .query = w->queries + first * w->query_stride,
                               .query_stride = w->query_stride,
                               .out = out,
                               .out_stride = WIDTH,
                               .lse = lse,
                               .lse_stride = QUERY_HEADS};
}

/* ln of the sum of e^score over the keys that a position sees, in double, from what the cache stores. */
static double lse_of(const attention_world *w, uint32_t position, uint32_t head) {
    double sum = 0, key[DIM];
    const float *query = w->queries + position * w->query_stride + head * DIM;
    for (uint32_t t = 0; t <= position; t++) {
        float stored[DIM];
        assert_int_equal(fv_cache_read(w->cache, head / GROUP, t, 1, stored, NULL), FV_OK);
        for (uint32_t c = 0; c < DIM; c++) key[c] = (double)stored[c];
        sum += world_weigh(w, query, key);
    }
    return log(sum);
}

static void test_lse_is_that_of_the_keys(void **state) {
    (void)state;
    static test_tables tables;
    test_tables_make(&tables);
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    for (size_t t = 0; t < tables.count; t++)
        for (uint32_t run = 0; run < 4; run++) {
            attention_world w = world_of(tables.table[t], run % 2 ? FV_ELEMENT_Q8_0 : FV_ELEMENT_F32, run / 2 ? 3 : 0);
            world_append(&w, TOKENS);
            void *memory;
            fv_attention *attention = attention_make(&w, 0, &memory);
            float out[ROWS * WIDTH], lse[ROWS * QUERY_HEADS], one[QUERY_HEADS], row[WIDTH];
            fv_attention_rows rows = rows_of(&w, TOKENS - ROWS, ROWS, out, lse);
            assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_OK);
            for (uint32_t i = 0; i < ROWS * QUERY_HEADS; i++) {
                double want = lse_of(&w, TOKENS - ROWS + i / QUERY_HEADS, i % QUERY_HEADS);
                assert_true(fabs((double)lse[i] - want) < (run % 2 ? 2e-3 : 2e-6)); /* q8_0: queries are rounded, too */
            }
            rows = rows_of(&w, TOKENS - ROWS + 2, 1, row, one); /* alone: the same bits */
            assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_OK);
            assert_memory_equal(one, lse + 2 * QUERY_HEADS, sizeof one);
            rows.lse_stride = QUERY_HEADS - 1;
            assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_ERROR_ARGUMENT);
            free(memory);
            world_free(&w);
        }
}

/* Attention over two caches, each with a part of the keys, by the log-sum-exps: attention over all. */
static void test_parts_merge_by_lse(void **state) {
    (void)state;
    static test_tables tables;
    test_tables_make(&tables);
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    attention_world w = world_of(tables.table[tables.count - 1], FV_ELEMENT_F32, 0);
    void *memory;
    fv_attention *attention = attention_make(&w, 0, &memory);
    float out[3][WIDTH], lse[3][QUERY_HEADS];
    const uint32_t begin[3] = {0, 0, 1333}, end[3] = {TOKENS, 1333, TOKENS};
    for (uint32_t part = 0; part < 3; part++) {
        world_cache_reset(&w);
        size_t first = begin[part] * w.kv_stride;
        uint32_t tokens = end[part] - begin[part];
        assert_int_equal(fv_cache_append(w.cache, tokens, w.keys + first, w.kv_stride, w.values + first, w.kv_stride),
                         FV_OK);
        fv_attention_rows rows = rows_of(&w, tokens - 1, 1, out[part], lse[part]);
        rows.query = w.queries + (TOKENS - 1) * w.query_stride;
        assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_OK);
    }
    for (uint32_t i = 0; i < WIDTH; i++) {
        double a = exp((double)lse[1][i / DIM]), b = exp((double)lse[2][i / DIM]);
        assert_true(fabs((a * (double)out[1][i] + b * (double)out[2][i]) / (a + b) - (double)out[0][i]) < 1e-6);
        assert_true(fabs(log(a + b) - (double)lse[0][i / DIM]) < 2e-6);
    }
    free(memory);
    world_free(&w);
}

/* A state travels as one block of floats. Extreme maxima, sums from one key to many, nothing read. */
static void test_lse_of_states(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    enum { SOME = 300 };
    size_t bytes = 0;
    assert_int_equal(fv_state_bytes(SOME, 2, &bytes), FV_OK);
    assert_int_equal(bytes, SOME * (2 + 1 + FV_STATE_LANES) * sizeof(float));
    assert_int_equal(fv_state_bytes(SIZE_MAX / 8, 2, &bytes), FV_ERROR_OVERFLOW);
    assert_int_equal(fv_state_bytes(2, SIZE_MAX / 4, &bytes), FV_ERROR_OVERFLOW);
    float *memory = world_memory(bytes), *copy = world_memory(bytes), lse[SOME];
    fv_state made = fv_state_at(memory, SOME, 2);
    fv_state_clear(made, SOME, 2);
    fv_state_lse(&made, SOME, lse);
    for (uint32_t r = 0; r < SOME; r++) assert_true(isinf(lse[r]) && lse[r] < 0);
    for (uint32_t r = 0; r < SOME; r++) {
        made.maximum[r] = (float)test_random_in(&random, 0, r < 150 ? 40 : 60000) - (r < 150 ? 20.0f : 30000.0f);
        for (uint32_t i = 0; i < FV_STATE_LANES; i++)
            made.sum[r * FV_STATE_LANES + i] = exp2f((float)test_random_in(&random, 0, 28) - 8.0f) * 1.01f;
    }
    memcpy(copy, memory, bytes);
    fv_state sent = fv_state_at(copy, SOME, 2);
    fv_state_lse(&sent, SOME, lse);
    for (uint32_t r = 0; r < SOME; r++) {
        double sum = 0;
        for (uint32_t i = 0; i < FV_STATE_LANES; i++) sum += (double)made.sum[r * FV_STATE_LANES + i];
        double want = log(sum) + (double)made.maximum[r] * 0.69314718055994530942;
        double ulp = ldexp(1, ilogb(want) - 23), allowed = 2 * ulp > 1e-6 ? 2 * ulp : 1e-6;
        assert_true(fabs((double)lse[r] - want) <= allowed);
    }
    free(memory);
    free(copy);
}

/* With time enough the same bits; else what was read, and the progress says how much. */
static void test_deadline(void **state) {
    (void)state;
    static test_tables tables;
    test_tables_make(&tables);
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    attention_world w = world_of(tables.table[tables.count - 1], FV_ELEMENT_F32, 0);
    world_append(&w, TOKENS);
    void *memory;
    fv_attention *attention = attention_make(&w, 2, &memory);
    float want[ROWS * WIDTH], want_lse[ROWS * QUERY_HEADS], out[ROWS * WIDTH], lse[ROWS * QUERY_HEADS];
    fv_attention_rows rows = rows_of(&w, TOKENS - ROWS, ROWS, want, want_lse);
    assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_OK);
    uint64_t looks = 0;
    fv_deadline deadline = {.clock = look_count, .context = &looks, .end_ns = UINT64_MAX};
    fv_progress progress;
    rows.out = out, rows.lse = lse, rows.deadline = &deadline, rows.progress = &progress;
    assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_OK);
    assert_memory_equal(out, want, sizeof out);
    assert_memory_equal(lse, want_lse, sizeof lse);
    assert_int_equal(progress.rows_complete, ROWS);
    assert_int_equal(progress.keys_read, progress.keys_planned);
    deadline.end_ns = looks / 2, looks = 0;
    deadline.on_deadline = FV_DEADLINE_BEST;
    assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_OK);
    assert_int_equal(progress.expired, 1);
    assert_in_range(progress.rows_complete, 1, ROWS - 1);
    assert_memory_equal(out, want, progress.rows_complete * WIDTH * sizeof(float));
    for (uint32_t i = 0; i < WIDTH; i++) assert_true(out[(ROWS - 1) * WIDTH + i] == 0.0f);
    assert_true(isinf(lse[ROWS * QUERY_HEADS - 1]) && lse[ROWS * QUERY_HEADS - 1] < 0);
    for (uint32_t i = 0; i < ROWS * QUERY_HEADS; i++) { /* zeros are of no key, also in the first row not reached */
        bool zeros = true;
        for (uint32_t c = 0; c < WIDTH / QUERY_HEADS; c++) zeros &= out[i * (WIDTH / QUERY_HEADS) + c] == 0.0f;
        assert_int_equal(zeros, lse[i] == -INFINITY);
    }
    deadline.on_deadline = FV_DEADLINE_FAIL, looks = 0, rows.progress = NULL;
    assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_ERROR_DEADLINE);
    deadline.on_deadline = FV_DEADLINE_BEST;
    assert_int_equal(fv_attention_run(attention, w.cache, &dense, &rows, NULL, NULL), FV_ERROR_ARGUMENT);
    free(memory);
    world_free(&w);
}

typedef struct reasons_seen {
    uint64_t keys[FV_REASON_COUNT];
    uint32_t steps; /* of the largest plan */
} reasons_seen;

static void reasons_note(void *context, const fv_attention_seen *seen, size_t worker) {
    reasons_seen *all = context;
    (void)worker;
    if (seen->plan->count > all->steps) all->steps = seen->plan->count;
    for (uint32_t s = 0; s < seen->plan->count; s++) {
        const fv_step *step = &seen->plan->steps[s];
        uint32_t position = seen->plan->first_token;
        assert_int_equal(step->kind, FV_STEP_SPAN);
        all->keys[step->reason] += fv_step_span_end(step, position) - fv_step_span_begin(step, position);
    }
}

/* Each step of a row's plan says why it is read, and the report counts by that. */
static void test_steps_carry_their_reason(void **state) {
    (void)state;
    static test_tables tables;
    test_tables_make(&tables);
    test_random random = test_random_make(72);
    fv_cache_config shape;
    fv_cache_config_default(&shape);
    shape.kv_heads = HEADS, shape.head_dim = 64, shape.max_tokens = TOKENS, shape.shadow = 1;
    attention_world w = world_make(tables.table[0], shape, GROUP, 0, &random);
    world_append(&w, TOKENS);
    fv_policy policies[4] = {test_policy(FV_SELECTOR_DENSE), test_policy(FV_SELECTOR_WINDOW),
                             test_policy(FV_SELECTOR_FOVEA), test_policy(FV_SELECTOR_FOVEA)};
    policies[2].dense_below = policies[3].dense_below = 0;
    policies[3].budget = 1.0f; /* chooses all there is to choose */
    static const bool wants[4][FV_REASON_COUNT] = {
        {[FV_REASON_WHOLE] = true},
        {[FV_REASON_SINK] = true, [FV_REASON_WINDOW] = true},
        {[FV_REASON_SINK] = true, [FV_REASON_WINDOW] = true, [FV_REASON_CHOSEN] = true},
        {[FV_REASON_WHOLE] = true}};
    for (uint32_t p = 0; p < 4; p++) {
        fv_attention_config config = {.attend = w.attend,
                                      .max_tokens = TOKENS,
                                      .workers = 1,
                                      .plan_steps = fv_policy_steps(&policies[p], TOKENS, FV_TILE_ROWS),
                                      .chooses = 1};
        size_t bytes = 0;
        fv_attention *attention;
        assert_int_equal(fv_attention_size(&config, &bytes), FV_OK);
        void *memory = world_memory(bytes);
        assert_int_equal(fv_attention_init(&attention, &config, w.kernels, memory, bytes), FV_OK);
        static float out[QUERY_HEADS * 64];
        fv_attention_rows row = rows_of(&w, TOKENS - 1, 1, out, NULL);
        row.out_stride = QUERY_HEADS * 64;
        reasons_seen seen = {0};
        fv_report report = {.struct_bytes = sizeof report};
        fv_attention_observe(attention, reasons_note, &seen);
        assert_int_equal(fv_attention_run(attention, w.cache, &policies[p], &row, NULL, &report), FV_OK);
        for (uint32_t reason = 0; reason < FV_REASON_COUNT; reason++)
            assert_int_equal(seen.keys[reason] > 0, wants[p][reason]);
        if (wants[p][FV_REASON_WHOLE]) assert_int_equal(seen.steps, 1); /* one run of pages, as dense */
        assert_int_equal(report.sink_keys, seen.keys[FV_REASON_SINK]);
        assert_int_equal(report.window_keys, seen.keys[FV_REASON_WINDOW]);
        assert_int_equal(report.selected_keys, seen.keys[FV_REASON_CHOSEN]);
        assert_int_equal(report.whole_keys, seen.keys[FV_REASON_WHOLE]);
        free(memory);
    }
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lse_is_that_of_the_keys),
                                       cmocka_unit_test(test_parts_merge_by_lse), cmocka_unit_test(test_lse_of_states),
                                       cmocka_unit_test(test_deadline),
                                       cmocka_unit_test(test_steps_carry_their_reason)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
