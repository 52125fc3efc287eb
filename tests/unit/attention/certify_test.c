/* certify_test.c - certificates against dense attention in double: the bounds hold for every row, also for those that
 * were made to break them and where a deadline comes at any moment; where a quality is asked for, pages are read until
 * it is met.
 * FV_CERTIFICATE_ROWS=1000000 checks as many rows (default: 12,000). */
#include "attention/certify.h"
#include "attention/watch.h"
#include "fovea/reference/pattern.h"
#include "support/certified_world.h"
#include "support/memory_store.h"

enum { ROWS_A_WORLD = 250 };

static test_tables tables;

/* Which tokens the single row of a call reads. */
static void note_read(void *context, const fv_attention_seen *seen, size_t worker) {
    bool *read = context;
    (void)worker;
    for (uint32_t t = 0; t < CERTIFIED_TOKENS; t++) read[t] = false;
    for (uint32_t s = 0; s < seen->plan->count; s++)
        for (uint32_t t = seen->plan->steps[s].begin; t < seen->plan->steps[s].end; t++) read[t] = true;
}

/* One row: max |out - dense| and that by rms(dense), both without the rounding of the executor's own sums. */
static fv_report row_check(const certified_world *made, const float *query, double *relative) {
    uint32_t dim = made->w.shape.head_dim;
    float out[CERTIFIED_MOST_DIM];
    double dense[CERTIFIED_MOST_DIM], sparse[CERTIFIED_MOST_DIM], error = 0, exact = 0, squares = 0, largest = 0;
    bool read[CERTIFIED_TOKENS];
    fv_attention_observe(made->attention, note_read, read);
    fv_report report = {.struct_bytes = sizeof report};
    assert_int_equal(
        test_attention_run(made->attention, made->w.cache, &made->policy, 0, 1, query, dim, out, dim, NULL, &report),
        FV_OK);
    double rounding = certified_softmax(made, 0, CERTIFIED_TOKENS, NULL, query, dense);
    certified_softmax(made, 0, CERTIFIED_TOKENS, read, query, sparse);
    fv_attention_observe(made->attention, NULL, NULL);
    for (uint32_t c = 0; c < dim; c++) {
        error = fmax(error, fabs((double)out[c] - dense[c]));
        exact = fmax(exact, fabs(sparse[c] - dense[c]));
        largest = fmax(largest, fabs(dense[c]));
        squares += dense[c] * dense[c];
    }
    for (size_t i = 0; i < (size_t)CERTIFIED_TOKENS * dim; i++) largest = fmax(largest, fabs(made->values[i]));
    rounding *= largest;
    double rms = sqrt(squares / dim);
    *relative = error / rms;
    assert_int_equal(report.certified_rows, 1);
    if (!((double)report.error_bound + 1e-12 * largest >= exact)) /* what was left out, without any rounding */
        fail_msg("dim %u: error %g in double, bound %g, rounding %g", dim, exact, (double)report.error_bound, rounding);
    if (!((double)report.error_bound + rounding >= error))
        fail_msg("dim %u: error %g, bound %g, rounding %g", dim, error, (double)report.error_bound, rounding);
    if (!((double)report.relative_bound + 3 * rounding / rms >= *relative))
        fail_msg("dim %u: relative error %g, bound %g", dim, *relative, (double)report.relative_bound);
    return report;
}

static void bounds_hold_for_every_row(void **state) {
    (void)state;
    const char *text = getenv("FV_CERTIFICATE_ROWS");
    uint32_t wanted = text ? (uint32_t)strtoul(text, NULL, 10) : 12000, useful = 0, missed = 0;
    test_random random = test_random_make(90);
    for (uint32_t world = 0, rows = 0; rows < wanted; world++) {
        certified_world made = certified_world_open(world, &tables, &random);
        for (uint32_t i = 0; i < ROWS_A_WORLD && rows < wanted; i++, rows++) {
            float query[CERTIFIED_MOST_DIM];
            double relative;
            certified_query(&made, &random, query);
            fv_report report = row_check(&made, query, &relative);
            useful += report.vacuous_rows == 0;
            missed += relative > 1e-3;
        }
        certified_world_close(&made);
    }
    printf("%u rows; %u with an error above 0.001, %u with a relative bound\n", wanted, missed, useful);
    assert_true(missed > wanted / 10);   /* rows that miss nothing would prove nothing */
    assert_true(useful * 100 >= wanted); /* and a bound that says nothing is none */
}

static void all_pages_leave_nothing_unread(void **state) {
    (void)state;
    test_random random = test_random_make(91);
    certified_world made = certified_world_open(0, &tables, &random);
    float query[CERTIFIED_MOST_DIM];
    double relative;
    fv_policy_set_budget(&made.policy, 1.0f);
    certified_query(&made, &random, query);
    fv_report report = row_check(&made, query, &relative);
    assert_true(report.error_bound == 0.0f && report.relative_bound == 0.0f && report.relative_estimate == 0.0f);
    certified_world_close(&made);
}

static void quality_is_met_by_reading_more(void **state) {
    (void)state;
    test_random random = test_random_make(92);
    for (uint32_t world = 0; world < 16; world++) {
        certified_world made = certified_world_open(world, &tables, &random);
        fv_policy_set_budget(&made.policy, 0.15f);
        for (uint32_t i = 0; i < 20; i++) {
            float query[CERTIFIED_MOST_DIM];
            double relative;
            uint64_t read = 0;
            certified_query(&made, &random, query);
            for (float quality = 0.3f; quality > 1e-4f; quality /= 10) {
                made.policy.quality = quality;
                fv_report report = row_check(&made, query, &relative);
                assert_true(report.relative_estimate <= quality);
                assert_true(report.keys_read >= read);
                assert_true(report.whole_rows == 0 || report.keys_read == report.keys_visible);
                read = report.keys_read;
            }
        }
        certified_world_close(&made);
    }
}

/* A clock that is told how many looks it has. */
static uint64_t look(void *context) { return ++*(uint64_t *)context; }

enum { ROWS = 2, HEADS = 2, GROUP = 2 };

/* The errors of some rows' outputs, the worst of all heads: max |out - dense|, and that by rms(dense). */
static void errors_of(const certified_world *made, uint32_t first, const float *query, const float *out, double *error,
                      double *relative, double *rounding) {
    uint32_t dim = made->w.shape.head_dim;
    double largest = 0, least_rms = 1e300;
    *error = *relative = *rounding = 0;
    for (uint32_t i = 0; i < ROWS * HEADS * GROUP; i++) {
        double dense[CERTIFIED_MOST_DIM], worst = 0, squares = 0;
        *rounding = fmax(*rounding, certified_softmax(made, i % (HEADS * GROUP) / GROUP,
                                                      first + i / (HEADS * GROUP) + 1, NULL, query + i * dim, dense));
        for (uint32_t c = 0; c < dim; c++) {
            worst = fmax(worst, fabs((double)out[i * dim + c] - dense[c]));
            squares += dense[c] * dense[c];
        }
        *error = fmax(*error, worst);
        *relative = fmax(*relative, worst / sqrt(squares / dim));
        least_rms = fmin(least_rms, sqrt(squares / dim));
    }
    for (size_t i = 0; i < (size_t)HEADS * made->w.tokens * dim; i++) largest = fmax(largest, fabs(made->values[i]));
    *rounding *= largest;
    *relative -= 3 * *rounding / least_rms;
}

/* Some rows of one world with the deadline at every look. */
static void deadlines_everywhere(const certified_world *made, test_random *random, uint32_t *partly) {
    uint32_t dim = made->w.shape.head_dim, width = HEADS * GROUP * dim,
             first = test_random_in(random, 2, CERTIFIED_LONG - ROWS);
    float query[ROWS * HEADS * GROUP * CERTIFIED_MOST_DIM], out[ROWS * HEADS * GROUP * CERTIFIED_MOST_DIM],
        want[ROWS * HEADS * GROUP * CERTIFIED_MOST_DIM];
    for (uint32_t i = 0; i < ROWS * HEADS * GROUP; i++) certified_query(made, random, query + i * dim);
    fv_attention_rows rows = {
        .first_token = first, .count = ROWS, .query = query, .query_stride = width, .out = want, .out_stride = width};
    fv_report plain = {.struct_bytes = sizeof plain}, report;
    assert_int_equal(fv_attention_run(made->attention, made->w.cache, &made->policy, &rows, NULL, &plain), FV_OK);
    rows.out = out;
    for (uint64_t end = 0;; end++) {
        uint64_t looks = 0;
        double error, relative, rounding;
        fv_deadline deadline = {look, &looks, end, FV_DEADLINE_BEST};
        fv_watch watch = {.deadline = &deadline};
        report = (fv_report){.struct_bytes = sizeof report};
        assert_int_equal(
            fv_attention_run_watched(made->attention, made->w.cache, &made->policy, &rows, NULL, &report, &watch),
            FV_OK);
        errors_of(made, first, query, out, &error, &relative, &rounding);
        assert_int_equal(report.certified_rows, ROWS * HEADS * GROUP);
        assert_int_equal(report.keys_read, watch.progress.keys_read);
        assert_int_equal(report.sink_keys + report.window_keys + report.selected_keys + report.whole_keys,
                         report.keys_read);
        if (!((double)report.error_bound + rounding >= error))
            fail_msg("first %u end %u: error %g, bound %g", first, (unsigned)end, error, (double)report.error_bound);
        if (!((double)report.relative_bound >= relative))
            fail_msg("first %u end %u: relative error %g, bound %g", first, (unsigned)end, relative,
                     (double)report.relative_bound);
        if (report.keys_read == 0) assert_true(isinf(report.relative_bound) && isinf(report.relative_estimate));
        if (watch.progress.keys_read == watch.progress.keys_planned && watch.progress.rows_complete == ROWS)
            assert_true(report.relative_estimate == plain.relative_estimate);
        else
            ++*partly;
        if (!watch.progress.expired) break;
    }
    assert_memory_equal(out, want, sizeof(float) * ROWS * width);
    report.bytes_read = plain.bytes_read; /* of a plan's neighbours, counted row by row */
    assert_memory_equal(&report, &plain, sizeof report);
}

static void deadlines_are_certified(void **state) {
    (void)state;
    test_random random = test_random_make(95);
    uint32_t partly = 0;
    for (uint32_t world = 0; world < 24; world++) {
        certified_world made = certified_world_of(CERTIFIED_LONG, HEADS, GROUP, world, &tables, &random);
        for (uint32_t kind = 0; kind < 4; kind++) {
            fv_policy_set_budget(&made.policy, kind == 1 ? 0.6f : 0.1f);
            made.policy.window = kind == 2 ? 1500 : 32;
            made.policy.sinks = kind == 1 ? 1100 : 16;
            made.policy.dense_below = kind == 3 ? CERTIFIED_LONG : 0;
            deadlines_everywhere(&made, &random, &partly);
        }
        certified_world_close(&made);
    }
    printf("%u answers that were cut short\n", partly);
    assert_true(partly > 200);
}

/* A row that read nothing: what its bound stands for may be the value of its own token alone. */
static void a_row_that_read_nothing_may_miss_itself(void **state) {
    (void)state;
    test_random random = test_random_make(97);
    certified_world made = certified_world_open(0, &tables, &random);
    uint32_t dim = made.w.shape.head_dim, last = CERTIFIED_TOKENS - 1;
    for (uint32_t tokens = last - last % 16 + 1; tokens <= CERTIFIED_TOKENS; tokens += 15) { /* of a page 1, all 16 */
        float value[CERTIFIED_MOST_DIM], out[CERTIFIED_MOST_DIM];
        const float *key = made.w.keys + (tokens - 1) * made.w.kv_stride;
        for (uint32_t c = 0; c < dim; c++) value[c] = c == 1 ? -12345 : 0;
        assert_int_equal(fv_cache_truncate(made.w.cache, tokens - 1), FV_OK);
        assert_int_equal(fv_cache_append(made.w.cache, 1, key, dim, value, dim), FV_OK);
        uint64_t looks = 0;
        fv_deadline deadline = {look, &looks, 0, FV_DEADLINE_BEST};
        fv_progress progress;
        fv_report report = {.struct_bytes = sizeof report};
        fv_attention_rows rows = {.first_token = tokens - 1,
                                  .count = 1,
                                  .query = key,
                                  .query_stride = dim,
                                  .out = out,
                                  .out_stride = dim,
                                  .deadline = &deadline,
                                  .progress = &progress};
        assert_int_equal(fv_attention_run(made.attention, made.w.cache, &made.policy, &rows, NULL, &report), FV_OK);
        assert_int_equal(report.keys_read, 0);
        assert_true(out[1] == 0 && report.error_bound >= 12345);
        assert_int_equal(fv_cache_truncate(made.w.cache, tokens - 1), FV_OK);
        world_append(&made.w, CERTIFIED_TOKENS - (tokens - 1));
    }
    certified_world_close(&made);
}

/* The same through plain arrays: a decode step, and a prompt that brings its own cache. */
static void arrays_are_certified_too(void **state) {
    (void)state;
    test_random random = test_random_make(96);
    certified_world made = certified_world_of(CERTIFIED_LONG, HEADS, GROUP, 0, &tables, &random);
    uint32_t dim = made.w.shape.head_dim, width = HEADS * GROUP * dim, kv_width = HEADS * dim;
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.policy = made.policy;
    config.max_tokens = CERTIFIED_LONG;
    config.query_heads = HEADS * GROUP, config.kv_heads = HEADS, config.head_dim = dim;
    size_t bytes = 0;
    assert_int_equal(fv_pattern_size(&config, &bytes), FV_OK);
    void *memory = world_memory(bytes);
    fv_pattern *pattern;
    assert_int_equal(fv_pattern_init(&pattern, &config, made.w.kernels, memory, bytes), FV_OK);
    float query[300 * 4 * CERTIFIED_MOST_DIM], keys[300 * 2 * CERTIFIED_MOST_DIM], out[300 * 4 * CERTIFIED_MOST_DIM];
    test_fill_f32(&random, query, 300 * width, 1.0f);
    test_fill_f32(&random, keys, 300 * kv_width, 1.0f);
    uint64_t looks = 0;
    fv_progress progress;
    fv_deadline deadline = {look, &looks, 5, FV_DEADLINE_BEST};
    fv_report report = {.struct_bytes = sizeof report};
    fv_pattern_call call = {
        .query = {query, 1, HEADS * GROUP, dim}, .report = &report, .deadline = &deadline, .progress = &progress};
    assert_int_equal(fv_pattern_decode(pattern, made.w.cache, &call, out), FV_OK);
    assert_true(progress.expired && report.keys_read == progress.keys_read);
    assert_true(progress.keys_read > 0 && progress.keys_read < progress.keys_planned);
    assert_int_equal(report.certified_rows, HEADS * GROUP);
    assert_true(report.error_bound > 0);
    pattern = NULL;
    config.policy.quality = 0.1f;
    assert_int_equal(fv_pattern_init(&pattern, &config, made.w.kernels, memory, bytes), FV_OK);
    assert_int_equal(fv_pattern_decode(pattern, made.w.cache, &call, out), FV_ERROR_UNSUPPORTED);
    report = (fv_report){.struct_bytes = sizeof report};
    fv_pattern_call prompt = {.query = {query, 300, HEADS * GROUP, dim},
                              .keys = {keys, 300, HEADS, dim},
                              .values = {keys, 300, HEADS, dim},
                              .report = &report};
    assert_int_equal(fv_pattern_forward(pattern, &prompt, out), FV_OK);
    assert_int_equal(report.certified_rows, 300 * HEADS * GROUP);
    assert_true(report.relative_estimate <= 0.1f);
    free(memory);
    certified_world_close(&made);
}

/* Margins after a cut, an eviction and a batch are those of the same tokens appended one by one. */
static void margins_leave_no_trace(void **state) {
    (void)state;
    test_random random = test_random_make(93);
    certified_world one = certified_world_open(9, &tables, &random);
    attention_world *w = &one.w;
    float query[CERTIFIED_MOST_DIM], out[2][CERTIFIED_MOST_DIM];
    certified_query(&one, &random, query);
    fv_report report[2];
    uint32_t dim = w->shape.head_dim;
    for (int run = 0; run < 2; run++) {
        world_cache_reset(w);
        if (run) {
            world_append(w, 300);
            assert_int_equal(fv_cache_truncate(w->cache, 201), FV_OK);
            while (fv_cache_tokens(w->cache) < 400) world_append(w, 1);
        } else {
            world_append(w, 400);
        }
        report[run] = (fv_report){.struct_bytes = sizeof *report};
        assert_int_equal(test_attention_run(one.attention, w->cache, &one.policy, 0, 1, query, dim, out[run], dim, NULL,
                                            &report[run]),
                         FV_OK);
    }
    assert_memory_equal(&report[0], &report[1], sizeof *report);
    assert_memory_equal(out[0], out[1], dim * sizeof **out);
    certified_world_close(&one);
}

static void what_is_missing_is_an_error(void **state) {
    (void)state;
    test_random random = test_random_make(94);
    certified_world made = certified_world_open(0, &tables, &random);
    float query[CERTIFIED_MOST_DIM] = {0}, out[CERTIFIED_MOST_DIM];
    uint32_t dim = made.w.shape.head_dim;
    made.w.shape.margins = 0;
    world_cache_reset(&made.w);
    world_append(&made.w, 100);
    assert_int_equal(
        test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, NULL),
        FV_ERROR_POLICY);
    made.policy.certificate = 0;
    assert_int_equal(
        test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, NULL), FV_OK);
    made.policy.quality = 0.1f; /* without a certificate there is no quality */
    assert_int_equal(fv_policy_check(&made.policy), FV_ERROR_POLICY);
    certified_world_close(&made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_for_every_row),
        cmocka_unit_test(all_pages_leave_nothing_unread),
        cmocka_unit_test(quality_is_met_by_reading_more),
        cmocka_unit_test(margins_leave_no_trace),
        cmocka_unit_test(what_is_missing_is_an_error),
        cmocka_unit_test(deadlines_are_certified),
        cmocka_unit_test(a_row_that_read_nothing_may_miss_itself),
        cmocka_unit_test(arrays_are_certified_too),
    };
    test_tables_make(&tables);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
