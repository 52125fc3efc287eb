/* attention_test.c - whole prompts and single rows under every policy: against a slow model in double, the same bits
 * for any workers and any cutting, nothing that a row does not read can reach it, and counters that count. */
#include "fovea/attention.h"
#include "fovea/pool.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include "support/test_policy.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST_WORKERS = 7 };

static test_tables tables;

static void check_status(fv_status status) {
    if (status != FV_OK) fail_msg("%s", fv_status_text(status));
}

/* How one run is made. */
typedef struct run_case {
    fv_policy policy;
    uint32_t local_window;
    uint32_t cut; /* 0: one call; 1: row by row; else pieces of 1..cut rows */
    bool whole;   /* all tokens are appended before the first row is asked for; so it must be where rows look ahead */
    const fv_parallel *parallel;
    fv_report report;
} run_case;

static size_t row_width(const attention_world *w) { return (size_t)w->attend.query_heads * w->attend.head_dim; }

static fv_attention_config attention_config(const attention_world *w, const fv_policy *policy, uint32_t workers) {
    return (fv_attention_config){.attend = w->attend,
                                 .max_tokens = w->shape.max_tokens,
                                 .workers = workers,
                                 .plan_steps = fv_policy_steps(policy, w->shape.max_tokens, FV_TILE_ROWS)};
}

static void *attention_open(const attention_world *w, const fv_policy *policy, fv_attention **attention) {
    size_t bytes = 0;
    fv_attention_config config = attention_config(w, policy, MOST_WORKERS);
    check_status(fv_attention_size(&config, &bytes));
    unsigned char *memory = world_memory(bytes + 64);
    check_status(fv_attention_init(attention, &config, w->kernels, memory, bytes));
    return memory;
}

/* All tokens of the world through an empty cache. Returns [tokens][width]; the caller frees. */
static float *world_run(attention_world *w, run_case *run, test_random *random) {
    fv_attention *attention = NULL;
    void *memory = attention_open(w, &run->policy, &attention);
    size_t width = row_width(w), out_stride = width + 2;
    float *out = world_memory(w->tokens * width * sizeof(float)), *rows_out = world_memory(w->tokens * out_stride * 4);
    run->report = (fv_report){.struct_bytes = sizeof(fv_report)};
    world_cache_reset(w);
    for (uint32_t done = 0; done < w->tokens;) {
        uint32_t rows = run->cut ? test_random_in(random, 1, run->cut) : w->tokens;
        if (rows > w->tokens - done) rows = w->tokens - done;
        if (!run->whole || !done) world_append(w, run->whole ? w->tokens : rows);
        memset(rows_out, 0x88, rows * out_stride * 4);
        fv_attention_rows part = {.first_token = done,
                                  .count = rows,
                                  .local_window = run->local_window,
                                  .query = w->queries + done * w->query_stride,
                                  .query_stride = w->query_stride,
                                  .out = rows_out,
                                  .out_stride = out_stride};
        if (run->whole)
            check_status(fv_attention_run(attention, w->cache, &run->policy, &part, run->parallel, &run->report));
        else
            check_status(test_attention_run(attention, w->cache, &run->policy, run->local_window, rows, part.query,
                                            w->query_stride, rows_out, out_stride, run->parallel, &run->report));
        for (uint32_t i = 0; i < rows; i++) {
            memcpy(out + (done + i) * width, rows_out + i * out_stride, width * 4);
            unsigned char gap[8];
            memset(gap, 0x88, sizeof gap);
            assert_memory_equal(rows_out + i * out_stride + width, gap, sizeof gap);
        }
        done += rows;
    }
    free(rows_out);
    free(memory);
    return out;
}

static void describe(const attention_world *w, const run_case *run, char *text, size_t bytes) {
    const fv_policy *p = &run->policy;
    int n = snprintf(
        text, bytes,
        "%s types=%u,%u kv_heads=%u query_heads=%u dim=%u tokens=%u softcap=%g landmark_tokens=%u | selector=%u "
        "window=%u sinks=%u log_stride=%u landmarks=%u causal=%u local=%u cut=%u whole=%d globals=",
        test_table_name(w->kernels), w->shape.key_type, w->shape.value_type, w->attend.kv_heads, w->attend.query_heads,
        w->attend.head_dim, w->tokens, (double)w->attend.softcap, w->shape.landmark_tokens, p->selector, p->window,
        p->sinks, p->log_stride, p->landmarks, p->causal, run->local_window, run->cut, run->whole);
    for (uint32_t g = 0; g < p->globals_count && n > 0 && (size_t)n < bytes; g++)
        n += snprintf(text + n, bytes - (size_t)n, "%u,", p->globals[g]);
}

static double worst_error; /* over all comparisons with the model */

static void check_row(const attention_world *w, const run_case *run, uint32_t row, const float *out) {
    read_set set = set_of_policy_among(&run->policy, run->local_window, row, w->tokens);
    double want[1024];
    for (uint32_t head = 0; head < w->attend.query_heads; head++) {
        world_attend(w, &set, row, head, want);
        for (uint32_t c = 0; c < w->attend.head_dim; c++) {
            double error = fabs((double)out[head * w->attend.head_dim + c] - want[c]);
            if (error > worst_error && !world_rounds(w)) worst_error = error;
            if (error < (world_rounds(w) ? 0x1p-8 : 3e-6)) continue;
            char text[600];
            describe(w, run, text, sizeof text);
            fail_msg("%s: row %u head %u [%u]: got %.9g, want %.9g", text, row, head, c,
                     (double)out[head * w->attend.head_dim + c], want[c]);
        }
    }
}

/* `rows` rows, the first and the last among them; the rest at random. */
static void check_rows(const attention_world *w, const run_case *run, const float *out, uint32_t rows,
                       test_random *random) {
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t row = i == 0 ? w->tokens - 1 : i == 1 ? 0 : test_random_in(random, 0, w->tokens - 1);
        check_row(w, run, row, out + row * row_width(w));
    }
}

static void check_same(const attention_world *w, const run_case *run, const float *out, const float *want) {
    for (uint32_t row = 0; row < w->tokens; row++) {
        if (memcmp(out + row * row_width(w), want + row * row_width(w), row_width(w) * 4) == 0) continue;
        char text[600];
        describe(w, run, text, sizeof text);
        fail_msg("%s: row %u has other bits", text, row);
    }
}

/* What a report must say, from the definition of the policy. */
static void check_report(const attention_world *w, const run_case *run) {
    uint64_t read = 0, visible = 0, heads = w->attend.kv_heads;
    for (uint32_t row = 0; row < w->tokens; row++) {
        read_set set = set_of_policy_among(&run->policy, run->local_window, row, w->tokens);
        read += set_tokens(&set);
        visible += run->policy.causal || run->local_window ? row + 1 : w->tokens;
    }
    assert_int_equal(run->report.keys_read, run->local_window ? 0 : heads * read);
    assert_int_equal(run->report.keys_visible, run->local_window ? 0 : heads * visible);
    assert_int_equal(run->report.local_keys, run->local_window ? heads * read : 0);
    assert_int_equal(run->report.isa, fv_kernels_isa(w->kernels));
    assert_true(run->report.bytes_read > 0);
}

static fv_policy policy_of(uint32_t selector, uint32_t block) {
    fv_policy policy;
    fv_policy_default((fv_selector)selector, &policy);
    if (selector == FV_SELECTOR_WINDOW) policy.window = 70, policy.sinks = 5;
    if (selector != FV_SELECTOR_PATTERN) return policy;
    policy.window = 20;
    policy.block = block;
    policy.globals_count = 3;
    policy.globals[0] = 40, policy.globals[1] = 0, policy.globals[2] = 3;
    return policy;
}

/* One shape: right rows, right counters, the same bits row by row and in pieces over shuffled workers. */
static void check_shape(const fv_kernels *kernels, fv_cache_config shape, uint32_t group, float softcap, run_case run,
                        uint32_t model_rows, test_random *random) {
    attention_world w = world_make(kernels, shape, group, softcap, random);
    run.cut = 0;
    run.whole = false;
    run.parallel = NULL;
    float *want = world_run(&w, &run, random);
    check_rows(&w, &run, want, model_rows, random);
    check_report(&w, &run);
    static const uint32_t cuts[] = {1, 40, 300}, workers[] = {2, 3, 7};
    for (size_t i = 0; i < 3; i++) {
        shuffle_pool pool = {.random = *random, .workers = workers[i]};
        fv_parallel parallel = shuffle_parallel(&pool);
        run.cut = cuts[i];
        run.whole = !run.policy.causal || (i + shape.max_tokens) % 3 == 0;
        run.parallel = &parallel;
        float *out = world_run(&w, &run, random);
        check_same(&w, &run, out, want);
        if (i == 0) check_report(&w, &run); /* row by row */
        free(out);
    }
    free(want);
    world_free(&w);
}

static void test_selectors_and_types(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (size_t k = 0; k < tables.count; k++)
        for (uint32_t selector = FV_SELECTOR_DENSE; selector <= FV_SELECTOR_PATTERN; selector++)
            for (uint32_t types = 0; types < FV_ELEMENT_COUNT * FV_ELEMENT_COUNT; types++) {
                fv_cache_config shape = {.kv_heads = 2,
                                         .head_dim = 24,
                                         .max_tokens = 150,
                                         .key_type = types % FV_ELEMENT_COUNT,
                                         .value_type = types / FV_ELEMENT_COUNT,
                                         .landmark_tokens = 16};
                run_case run = {.policy = policy_of(selector, 16), .local_window = types % 4 == 3 ? 33 : 0};
                check_shape(tables.table[k], shape, 1 + types % 4, types == 4 ? 1.5f : 0.0f, run, 8, &random);
            }
}

static void test_groups_and_dims(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    static const uint32_t groups[] = {1, 2, 3, 4, 9, 16}, dims[] = {1, 24, 40, 64, 80, 128, 256};
    for (uint32_t g = 0; g < 6; g++)
        for (uint32_t d = 0; d < 7; d++) {
            fv_cache_config shape = {.kv_heads = 1,
                                     .head_dim = dims[d],
                                     .max_tokens = 100,
                                     .key_type = (g + d) % FV_ELEMENT_COUNT,
                                     .value_type = (g + d / 2) % FV_ELEMENT_COUNT,
                                     .landmark_tokens = 32};
            run_case run = {.policy = policy_of((g + d) % 3, 32)};
            check_shape(tables.table[(g + d) % tables.count], shape, groups[g], 0, run, 4, &random);
        }
}

/* Around pages, chunks and segments. */
static void test_lengths(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    static const uint32_t lengths[] = {1,   2,   15,   16,   17,   31,   63,   64,   65,   127,  128, 129,
                                       255, 257, 1023, 1024, 1025, 1088, 1100, 2047, 2048, 2049, 2200};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (uint32_t selector = FV_SELECTOR_DENSE; selector <= FV_SELECTOR_PATTERN; selector++) {
            if (lengths[i] > 1025 && (i + selector) % 3) continue;
            if (lengths[i] > 1100 && getenv("FV_RUNS")) continue; /* an emulated processor */
            fv_cache_config shape = {.kv_heads = 1,
                                     .head_dim = 16,
                                     .max_tokens = lengths[i],
                                     .key_type = (uint32_t)i % FV_ELEMENT_COUNT,
                                     .value_type = (uint32_t)(i + selector) % FV_ELEMENT_COUNT,
                                     .landmark_tokens = 64};
            run_case run = {.policy = policy_of(selector, 64)};
            check_shape(tables.table[(i + selector) % tables.count], shape, 2, 0, run, 6, &random);
        }
}

/* Real threads: one prompt, one row. */
static void test_threads(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (uint32_t threads = 2; threads <= 4; threads++) {
        fv_pool *pool = NULL;
        check_status(fv_pool_open(&pool, threads, NULL));
        for (uint32_t selector = FV_SELECTOR_DENSE; selector <= FV_SELECTOR_PATTERN; selector++) {
            fv_cache_config shape = {.kv_heads = 3,
                                     .head_dim = 40,
                                     .max_tokens = 1300,
                                     .key_type = FV_ELEMENT_F16,
                                     .value_type = FV_ELEMENT_Q8_0,
                                     .landmark_tokens = 64};
            attention_world w = world_make(tables.table[tables.count - 1], shape, 3, 0, &random);
            run_case run = {.policy = policy_of(selector, 64)};
            float *want = world_run(&w, &run, &random);
            run.parallel = fv_pool_parallel(pool);
            for (run.cut = 0; run.cut <= 600; run.cut += 300) {
                float *out = world_run(&w, &run, &random);
                check_same(&w, &run, out, want);
                free(out);
            }
            free(want);
            world_free(&w);
        }
        fv_pool_close(pool);
    }
}

/* Whether row `row` reads token j, itself or through a landmark. */
static bool row_reads(const attention_world *w, const run_case *run, uint32_t row, uint32_t j) {
    read_set set = set_of_policy_among(&run->policy, run->local_window, row, w->tokens);
    uint32_t block = w->shape.landmark_tokens;
    return set.token[j] || (block && j / block < SET_MARKS && set.mark[j / block]);
}

/* Another key and value at j: rows that do not read j keep every bit. */
static void check_change(attention_world *w, run_case *run, const float *before, uint32_t j, float key, float value,
                         test_random *random) {
    size_t bytes = w->kv_stride * sizeof(float);
    float *old = malloc(2 * bytes);
    assert_non_null(old);
    memcpy(old, w->keys + j * w->kv_stride, bytes);
    memcpy(old + w->kv_stride, w->values + j * w->kv_stride, bytes);
    for (size_t c = 0; c < w->kv_stride; c++) {
        if (key != 0) w->keys[j * w->kv_stride + c] = key;
        if (value != 0) w->values[j * w->kv_stride + c] = value;
    }
    float *after = world_run(w, run, random);
    uint32_t changed = 0, readers = 0;
    for (uint32_t row = 0; row < w->tokens; row++) {
        bool same = memcmp(before + row * row_width(w), after + row * row_width(w), row_width(w) * 4) == 0;
        bool reads = row_reads(w, run, row, j);
        readers += reads, changed += !same;
        if (same || reads) continue;
        char text[600];
        describe(w, run, text, sizeof text);
        fail_msg("%s: row %u does not read token %u, but a key %g and value %g there changed it", text, row, j,
                 (double)key, (double)value);
    }
    if (value != 0 && readers) assert_true(changed > 0); /* and the change is seen where it is read */
    memcpy(w->keys + j * w->kv_stride, old, bytes);
    memcpy(w->values + j * w->kv_stride, old + w->kv_stride, bytes);
    free(old);
    free(after);
}

static void test_unread_tokens_are_not_felt(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    static const float strange[][2] = {{9.0f, -7.0f},  {NAN, 0},   {0, NAN},      {INFINITY, 0},
                                       {0, -INFINITY}, {NAN, NAN}, {6e4f, -6e4f}, {-INFINITY, INFINITY}};
    for (int k = 0; k < 60; k++) {
        fv_cache_config shape = {.kv_heads = 2,
                                 .head_dim = test_random_in(&random, 1, 30),
                                 .max_tokens = test_random_in(&random, 100, 200),
                                 .key_type = (uint32_t)k % 3,
                                 .value_type = (uint32_t)k / 3 % 3,
                                 .landmark_tokens = 16};
        run_case run = {.policy = policy_of((uint32_t)k / 2 % 3, 16), .local_window = k % 5 == 4 ? 20 : 0};
        run.policy.causal = k % 4 != 3;
        run.whole = !run.policy.causal;
        attention_world w = world_make(tables.table[(size_t)k % tables.count], shape, 1 + (uint32_t)k % 4,
                                       k % 7 == 6 ? 3.0f : 0.0f, &random);
        run.cut = k % 3 == 2 ? 30 : 0;
        test_random cutting = random; /* the same pieces before and after */
        float *before = world_run(&w, &run, &cutting);
        for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
            cutting = random;
            check_change(&w, &run, before, test_random_in(&random, 0, w.tokens - 1), strange[i][0], strange[i][1],
                         &cutting);
        }
        free(before);
        world_free(&w);
    }
}

/* Finite input, however large, gives no NaN: scores overflow to both infinities and to inf - inf. */
static void test_huge_input_gives_no_nan(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    static const float sizes[] = {1e4f, 1e9f, FV_CACHE_LARGEST};
    for (int k = 0; k < 54; k++) {
        uint32_t type = k % 2 ? FV_ELEMENT_Q8_0 : FV_ELEMENT_F32;
        fv_cache_config shape = {.kv_heads = 1,
                                 .head_dim = test_random_in(&random, 1, 40),
                                 .max_tokens = test_random_in(&random, 1, 1200),
                                 .key_type = type,
                                 .value_type = type,
                                 .landmark_tokens = 32};
        if (k % 6) shape.max_tokens %= 200, shape.max_tokens++;
        attention_world w =
            world_make(tables.table[(size_t)k / 2 % tables.count], shape, 3, k % 4 == 3 ? 30.0f : 0.0f, &random);
        float size = sizes[k / 3 % 3];
        for (size_t i = 0; i < w.tokens * w.kv_stride; i++) w.keys[i] *= size, w.values[i] *= size;
        for (size_t i = 0; i < w.tokens * w.query_stride; i++) w.queries[i] *= size * size;
        run_case run = {.policy = policy_of((uint32_t)k % 3, 32), .cut = k % 5 ? 0 : 50};
        float *out = world_run(&w, &run, &random);
        for (size_t i = 0; i < w.tokens * row_width(&w); i++)
            if (!isfinite(out[i])) {
                char text[600];
                describe(&w, &run, text, sizeof text);
                fail_msg("%s size=%g: %g in row %zu", text, (double)size, (double)out[i], i / row_width(&w));
            }
        free(out);
        world_free(&w);
    }
}

static void test_report(void **state) {
    (void)state;
    test_random random = test_random_make(7);
    fv_cache_config shape = {
        .kv_heads = 2, .head_dim = 64, .max_tokens = 100, .key_type = FV_ELEMENT_F16, .value_type = FV_ELEMENT_F32};
    attention_world w = world_make(tables.table[0], shape, 2, 0, &random);
    run_case run = {.policy = test_policy(FV_SELECTOR_DENSE)};
    free(world_run(&w, &run, &random));
    uint64_t bytes = 0; /* each tile of 16 rows reads its pages once: f16 keys and f32 values */
    for (uint32_t tile = 0; tile < 7; tile++) bytes += 2 * (tile + 1) * 16 * 64 * (2 + 4);
    assert_int_equal(run.report.bytes_read, bytes);
    assert_int_equal(run.report.keys_read, 2 * 100 * 101 / 2);
    assert_int_equal(run.report.keys_visible, run.report.keys_read);
    assert_int_equal(run.report.struct_bytes, sizeof(fv_report));
    fv_attention *attention = NULL; /* counters are added to; no report is no error */
    void *memory = attention_open(&w, &run.policy, &attention);
    float *out = world_memory(100 * row_width(&w) * 4);
#define RUN(report) \
    test_attention_run(attention, w.cache, &run.policy, 0, 1, w.queries, w.query_stride, out, row_width(&w), NULL, \
                       report)
    check_status(RUN(&run.report));
    assert_int_equal(run.report.keys_read, 2 * 100 * 101 / 2 + 2 * 100);
    assert_int_equal(run.report.bytes_read, bytes + 2 * 7 * 16 * 64 * (2 + 4));
    check_status(RUN(NULL));
    free(out);
    free(memory);
    world_free(&w);
}

static uint64_t tick(void *context) { return *(uint64_t *)context += 10; }

/* Every key has a reason, every look its place, and a caller of an older report keeps what follows it. */
static void test_reasons_and_time(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    fv_cache_config shape = {.kv_heads = 2,
                             .head_dim = 16,
                             .max_tokens = 1500,
                             .key_type = FV_ELEMENT_F16,
                             .value_type = FV_ELEMENT_F16,
                             .landmark_tokens = 64};
    attention_world w = world_make(tables.table[0], shape, 2, 0, &random);
    for (fv_selector selector = FV_SELECTOR_DENSE; selector <= FV_SELECTOR_PATTERN; selector++) {
        run_case run = {.policy = test_policy(selector)};
        free(world_run(&w, &run, &random));
        const fv_report *r = &run.report;
        uint64_t known = r->sink_keys + r->window_keys + r->whole_keys;
        assert_true(r->selected_keys == 0 && r->choose_ns + r->read_ns + r->product_ns + r->other_ns == 0);
        if (selector == FV_SELECTOR_DENSE) assert_true(r->whole_keys == r->keys_read && known == r->keys_read);
        if (selector == FV_SELECTOR_WINDOW) {
            assert_int_equal(known, r->keys_read);
            assert_int_equal(r->sink_keys, 2 * (16 * 17 / 2 + 16 * (1500 - 16)));
        }
        if (selector == FV_SELECTOR_PATTERN) { /* a global that is in the window is a global all the same */
            assert_int_equal(r->sink_keys, 2 * 1500);
            assert_int_equal(r->window_keys, 2 * (129 * 130 / 2 + 129 * (1500 - 129) - 129));
            assert_true(r->keys_read > known);
        }
        fv_attention *attention = NULL;
        void *memory = attention_open(&w, &run.policy, &attention);
        float *out = world_memory(row_width(&w) * 4);
        uint64_t now = 0;
        fv_report timed = {.struct_bytes = sizeof timed}, old = {.struct_bytes = offsetof(fv_report, sink_keys)};
        fv_attention_time(attention, tick, &now);
        for (int i = 0; i < 2; i++) {
            fv_report *report = i ? &old : &timed;
            check_status(test_attention_run(attention, w.cache, &run.policy, 0, 1, w.queries, w.query_stride, out,
                                            row_width(&w), NULL, report));
            if (i == 0) assert_true(now == 20 && timed.read_ns == 10); /* a look before, one after it */
        }
        assert_int_equal(old.keys_read, timed.keys_read);
        assert_true(old.sink_keys + old.window_keys + old.whole_keys + old.read_ns == 0);
        free(out);
        free(memory);
    }
    world_free(&w);
}

static void test_size_and_init(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    fv_cache_config shape = {.kv_heads = 2,
                             .head_dim = 16,
                             .max_tokens = 64,
                             .key_type = FV_ELEMENT_F32,
                             .value_type = FV_ELEMENT_F32,
                             .landmark_tokens = 16};
    attention_world w = world_make(tables.table[0], shape, 2, 0, &random);
    fv_policy policy;
    fv_policy_default(FV_SELECTOR_PATTERN, &policy);
    fv_attention_config good = attention_config(&w, &policy, 2), bad = good;
    fv_attention *attention = NULL;
    size_t bytes = 0, untouched = 99;
    check_status(fv_attention_size(&good, &bytes));
    assert_int_equal(fv_attention_size(&good, NULL), FV_ERROR_ARGUMENT);
    bad.workers = 0;
    assert_int_equal(fv_attention_size(&bad, &untouched), FV_ERROR_ARGUMENT);
    bad = good, bad.max_tokens = 0;
    assert_int_equal(fv_attention_size(&bad, &untouched), FV_ERROR_ARGUMENT);
    bad = good, bad.plan_steps = 0;
    assert_int_equal(fv_attention_size(&bad, &untouched), FV_ERROR_ARGUMENT);
    bad = good, bad.attend.query_heads = 3;
    assert_int_equal(fv_attention_size(&bad, &untouched), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_attention_size(NULL, &untouched), FV_ERROR_ARGUMENT);
    assert_int_equal(untouched, 99);
    unsigned char *memory = world_memory(bytes + 64);
    assert_int_equal(fv_attention_init(&attention, &good, w.kernels, memory, bytes - 1), FV_ERROR_MEMORY);
    assert_int_equal(fv_attention_init(&attention, &good, w.kernels, memory + 8, bytes), FV_ERROR_MEMORY);
    assert_int_equal(fv_attention_init(&attention, &good, w.kernels, NULL, bytes), FV_ERROR_MEMORY);
    assert_int_equal(fv_attention_init(&attention, &good, NULL, memory, bytes), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_attention_init(NULL, &good, w.kernels, memory, bytes), FV_ERROR_ARGUMENT);
    assert_null(attention);
    check_status(fv_attention_init(&attention, &good, w.kernels, memory, bytes));
    free(memory);
    world_free(&w);
}

/* What is refused, and that nothing is written then. */
static void test_run_arguments(void **state) {
    (void)state;
    test_random random = test_random_make(9);
    fv_cache_config shape = {.kv_heads = 2,
                             .head_dim = 8,
                             .max_tokens = 64,
                             .key_type = FV_ELEMENT_F32,
                             .value_type = FV_ELEMENT_F32,
                             .landmark_tokens = 16};
    attention_world w = world_make(tables.table[0], shape, 2, 0, &random);
    fv_policy dense = test_policy(FV_SELECTOR_DENSE), pattern = policy_of(FV_SELECTOR_PATTERN, 16);
    fv_attention *attention = NULL, *small = NULL;
    void *memory = attention_open(&w, &pattern, &attention), *small_memory = attention_open(&w, &dense, &small);
    float out[64 * 32];
    memset(out, 0x88, sizeof out);
    shuffle_pool pool = {.random = random, .workers = MOST_WORKERS + 1};
    fv_parallel crowd = shuffle_parallel(&pool);
#define REFUSE(status, attention, policy, rows, query, query_stride, out, out_stride, parallel) \
    assert_int_equal( \
        test_attention_run(attention, w.cache, policy, 0, rows, query, query_stride, out, out_stride, parallel, NULL), \
        status)
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 1, w.queries, 32, out, 32, NULL); /* an empty cache */
    world_append(&w, 40);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 0, w.queries, 32, out, 32, NULL);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 41, w.queries, 32, out, 32, NULL);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 1, NULL, 32, out, 32, NULL);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 1, w.queries, 32, NULL, 32, NULL);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 1, w.queries, 31, out, 32, NULL);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 1, w.queries, 32, out, 31, NULL);
    REFUSE(FV_ERROR_ARGUMENT, attention, &dense, 2, w.queries, 32, out, 32, &crowd);
    REFUSE(FV_ERROR_ARGUMENT, attention, NULL, 2, w.queries, 32, out, 32, NULL);
    REFUSE(FV_ERROR_ARGUMENT, NULL, &dense, 2, w.queries, 32, out, 32, NULL);
    REFUSE(FV_ERROR_FULL, small, &pattern, 2, w.queries, 32, out, 32, NULL);
    pattern.block = 32; /* not the cache's */
    REFUSE(FV_ERROR_POLICY, attention, &pattern, 2, w.queries, 32, out, 32, NULL);
    for (size_t i = 0; i < sizeof out; i++) assert_int_equal(((unsigned char *)out)[i], 0x88);
    pattern.landmarks = 0; /* then the block does not matter */
    REFUSE(FV_OK, attention, &pattern, 2, w.queries, 32, out, 32, NULL);
    free(memory);
    free(small_memory);
    world_free(&w);
}

static fv_policy random_policy(test_random *random, uint32_t tokens, uint32_t block) {
    fv_policy policy;
    fv_policy_default((fv_selector)test_random_in(random, 0, 2), &policy);
    policy.window = test_random_in(random, policy.selector == FV_SELECTOR_WINDOW, tokens + 2);
    if (test_random_in(random, 0, 1)) policy.window = test_random_in(random, 1, 40);
    policy.sinks = test_random_in(random, 0, test_random_in(random, 0, 1) ? 4 : tokens);
    policy.block = block ? block : 64;
    policy.log_stride = test_random_in(random, 0, 3) > 0;
    policy.landmarks = block && test_random_in(random, 0, 3) > 0;
    policy.causal = test_random_in(random, 0, 3) > 0;
    policy.globals_count = test_random_in(random, 0, test_random_in(random, 0, 4) ? 3 : FV_POLICY_GLOBALS);
    for (uint32_t g = 0; g < policy.globals_count; g++)
        policy.globals[g] = test_random_in(random, 0, tokens + tokens / 4);
    return policy;
}

/* Everything at once, at random: FV_SEED=n repeats a failure. */
static void test_property(void **state) {
    (void)state;
    test_random random = test_random_make(10);
    const char *runs_text = getenv("FV_RUNS");
    uint32_t runs = runs_text ? (uint32_t)strtoul(runs_text, NULL, 10) : 300;
    printf("property: FV_SEED=%u, %u configurations\n", random.seed, runs);
    for (uint32_t k = 0; k < runs; k++) {
        uint32_t tokens = test_random_in(&random, 1, k % 30 == 29 ? 1500 : k % 3 ? 120 : 300);
        fv_cache_config shape = {.kv_heads = test_random_in(&random, 1, 3),
                                 .head_dim = test_random_in(&random, 1, k % 5 ? 40 : 132),
                                 .max_tokens = tokens,
                                 .key_type = test_random_in(&random, 0, 2),
                                 .value_type = test_random_in(&random, 0, 2),
                                 .landmark_tokens = test_random_in(&random, 0, 3) * test_random_in(&random, 3, 20)};
        run_case run = {.policy = random_policy(&random, tokens, shape.landmark_tokens),
                        .local_window = test_random_in(&random, 0, 5) ? 0 : test_random_in(&random, 1, tokens + 5)};
        float softcap = test_random_in(&random, 0, 4) ? 0.0f : 2.0f;
        check_shape(tables.table[test_random_in(&random, 0, (uint32_t)tables.count - 1)], shape,
                    test_random_in(&random, 1, k % 7 ? 4 : 9), softcap, run, 3, &random);
    }
    printf("all comparisons with the model: worst error %.3g\n", worst_error);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selectors_and_types),
        cmocka_unit_test(test_groups_and_dims),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_unread_tokens_are_not_felt),
        cmocka_unit_test(test_huge_input_gives_no_nan),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_reasons_and_time),
        cmocka_unit_test(test_size_and_init),
        cmocka_unit_test(test_run_arguments),
        cmocka_unit_test(test_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
