/* certify_test.c - certificates against dense attention in double: the bounds hold for every row, also for those that
 * were made to break them and where a deadline comes at any moment; where a quality is asked for, pages are read until
 * it is met.
 * FV_CERTIFICATE_ROWS=1000000 checks as many rows (default: 20,000). */
#include "attention/watch.h"
#include "fovea/reference/pattern.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TOKENS = 480, LONG = 3300, MOST_DIM = 40, ROWS_A_WORLD = 250 };

static test_tables tables;

typedef struct certified_world {
    attention_world w;
    fv_attention *attention;
    void *memory;
    double *keys, *values; /* as stored, [kv_heads][tokens][dim] */
    fv_policy policy;
} certified_world;

/* Ways to make keys and values that are hard on a bound. */
static void spoil(attention_world *w, test_random *random, uint32_t kind) {
    uint32_t dim = w->shape.head_dim;
    for (uint32_t t = 0; t < w->tokens; t++) {
        float *key = w->keys + t * w->kv_stride, *value = w->values + t * w->kv_stride;
        bool rare = test_random_in(random, 0, 40) == 0;
        for (uint32_t c = 0; c < dim; c++) {
            if (kind == 1 && c == dim / 2) key[c] *= 30;                       /* a channel that outweighs all others */
            if (kind == 2 && rare) key[c] *= 12;                               /* few tokens with long keys */
            if (kind == 3 && rare) value[c] *= 1000;                           /* few with huge values */
            if (kind == 4) key[c] = key[c] > 0 ? 1 : -1;                       /* corners */
            if (kind == 5) key[c] = t % 16 == 3 ? 4 * key[c] : 0.01f * key[c]; /* one loud token in each page */
            if (kind == 6) key[c] = w->keys[c], value[c] = w->values[c] + (rare ? 5.0f : 0.0f); /* all keys equal */
            if (kind == 7) key[c] += 20; /* far from the origin */
        }
    }
}

static certified_world world_of(uint32_t tokens, uint32_t kv_heads, uint32_t group, uint32_t number,
                                test_random *random) {
    static const uint32_t dims[] = {16, 8, 40, 24, 32, 20};
    certified_world made;
    fv_cache_config shape = fv_cache_config_default();
    shape.head_dim = dims[number % 6];
    shape.max_tokens = tokens;
    shape.kv_heads = kv_heads;
    shape.key_type = number / 2 % FV_ELEMENT_COUNT;
    shape.value_type = number / 3 % FV_ELEMENT_COUNT;
    shape.shadow = shape.margins = 1;
    made.w = world_make(tables.table[number % tables.count], shape, group, 0, random);
    made.w.attend.scale = number % 4 == 3 ? 4.0f : 1.0f / sqrtf((float)shape.head_dim);
    spoil(&made.w, random, number % 8);
    world_append(&made.w, tokens);
    made.policy = fv_policy_default(FV_SELECTOR_FOVEA);
    made.policy.window = 32;
    made.policy.budget = number % 3 == 0 ? 0.7f : 0.2f;
    made.policy.dense_below = 0;
    made.policy.certificate = 1;
    fv_attention_config config = {.attend = made.w.attend,
                                  .max_tokens = tokens,
                                  .workers = 1,
                                  .chooses = 1,
                                  .plan_steps = fv_policy_steps(&made.policy, tokens, FV_TILE_ROWS)};
    size_t bytes = 0;
    assert_int_equal(fv_attention_size(&config, &bytes), FV_OK);
    made.memory = world_memory(bytes);
    assert_int_equal(fv_attention_init(&made.attention, &config, made.w.kernels, made.memory, bytes), FV_OK);
    size_t head = (size_t)tokens * shape.head_dim, count = head * kv_heads;
    float *keys = malloc(count * 4), *values = malloc(count * 4);
    made.keys = malloc(count * sizeof(double));
    made.values = malloc(count * sizeof(double));
    for (uint32_t h = 0; h < kv_heads; h++)
        assert_int_equal(fv_cache_read(made.w.cache, h, 0, tokens, keys + h * head, values + h * head), FV_OK);
    for (size_t i = 0; i < count; i++) made.keys[i] = (double)keys[i], made.values[i] = (double)values[i];
    free(keys);
    free(values);
    return made;
}

static certified_world world_open(uint32_t number, test_random *random) {
    return world_of(TOKENS, 1, 1, number, random);
}

static void world_close(certified_world *made) {
    world_free(&made->w);
    free(made->memory);
    free(made->keys);
    free(made->values);
}

/* A query of the last position: at random, or towards some key, so that mass gathers on a page that may be left out. */
static void query_make(const certified_world *made, test_random *random, float *query) {
    uint32_t dim = made->w.shape.head_dim, kind = test_random_in(random, 0, 3);
    const float *key = made->w.keys + test_random_in(random, 0, made->w.tokens - 1) * made->w.kv_stride;
    float size = (float)test_random_in(random, 1, 40) / 8;
    for (uint32_t c = 0; c < dim; c++) {
        query[c] = size * test_random_f32(random);
        if (kind == 1) query[c] = size * key[c];
        if (kind == 2) query[c] = 0.01f * query[c];
        if (kind == 3 && c != dim / 2) query[c] = 0;
    }
}

/* One query head of the KV head's group, over those of the first `count` tokens that were read (NULL: dense). How far
 * the executor's outputs may be from it for the rounding of its own f32 sums: a score of many terms is off by their
 * number times 2^-24 of their magnitudes, a weight by as much in proportion. In parts of the largest value. */
static double softmax_make(const certified_world *made, uint32_t kv_head, uint32_t count, const bool *read,
                           const float *query, double *out) {
    uint32_t dim = made->w.shape.head_dim;
    size_t head = (size_t)kv_head * made->w.tokens * dim;
    const double *keys = made->keys + head, *values = made->values + head;
    double score[LONG], most = -1e300, sum = 0, magnitude = 0;
    for (uint32_t t = 0; t < count; t++) {
        double terms = 0;
        score[t] = 0;
        for (uint32_t c = 0; c < dim; c++) {
            score[t] += (double)query[c] * keys[t * dim + c];
            terms += fabs((double)query[c] * keys[t * dim + c]);
        }
        magnitude = fmax(magnitude, terms * (double)made->w.attend.scale);
        score[t] *= (double)made->w.attend.scale;
        if ((!read || read[t]) && score[t] > most) most = score[t];
    }
    for (uint32_t c = 0; c < dim; c++) out[c] = 0;
    for (uint32_t t = 0; t < count; t++) {
        double weight = !read || read[t] ? exp(score[t] - most) : 0;
        sum += weight;
        for (uint32_t c = 0; c < dim; c++) out[c] += weight * values[t * dim + c];
    }
    for (uint32_t c = 0; c < dim; c++) out[c] /= sum;
    return 2e-5 + dim * magnitude * 0x1p-24;
}

/* Which tokens the single row of a call reads. */
static void note_read(void *context, const fv_attention_seen *seen, size_t worker) {
    bool *read = context;
    (void)worker;
    for (uint32_t t = 0; t < TOKENS; t++) read[t] = false;
    for (uint32_t s = 0; s < seen->plan->count; s++)
        for (uint32_t t = seen->plan->steps[s].begin; t < seen->plan->steps[s].end; t++) read[t] = true;
}

/* One row: max |out - dense| and that by rms(dense), both without the rounding of the executor's own sums. */
static fv_report row_check(const certified_world *made, const float *query, double *relative) {
    uint32_t dim = made->w.shape.head_dim;
    float out[MOST_DIM];
    double dense[MOST_DIM], sparse[MOST_DIM], error = 0, exact = 0, squares = 0, largest = 0;
    bool read[TOKENS];
    fv_attention_observe(made->attention, note_read, read);
    fv_report report = {.struct_bytes = sizeof report};
    assert_int_equal(
        fv_attention_run(made->attention, made->w.cache, &made->policy, 0, 1, query, dim, out, dim, NULL, &report),
        FV_OK);
    double rounding = softmax_make(made, 0, TOKENS, NULL, query, dense);
    softmax_make(made, 0, TOKENS, read, query, sparse);
    fv_attention_observe(made->attention, NULL, NULL);
    for (uint32_t c = 0; c < dim; c++) {
        error = fmax(error, fabs((double)out[c] - dense[c]));
        exact = fmax(exact, fabs(sparse[c] - dense[c]));
        largest = fmax(largest, fabs(dense[c]));
        squares += dense[c] * dense[c];
    }
    for (size_t i = 0; i < (size_t)TOKENS * dim; i++) largest = fmax(largest, fabs(made->values[i]));
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
    uint32_t wanted = text ? (uint32_t)strtoul(text, NULL, 10) : 20000, useful = 0, missed = 0;
    test_random random = test_random_make(90);
    for (uint32_t world = 0, rows = 0; rows < wanted; world++) {
        certified_world made = world_open(world, &random);
        for (uint32_t i = 0; i < ROWS_A_WORLD && rows < wanted; i++, rows++) {
            float query[MOST_DIM];
            double relative;
            query_make(&made, &random, query);
            fv_report report = row_check(&made, query, &relative);
            useful += report.vacuous_rows == 0;
            missed += relative > 1e-3;
        }
        world_close(&made);
    }
    printf("%u rows; %u with an error above 0.001, %u with a relative bound\n", wanted, missed, useful);
    assert_true(missed > wanted / 10); /* rows that miss nothing would prove nothing */
    assert_true(useful > 0);
}

static void all_pages_leave_nothing_unread(void **state) {
    (void)state;
    test_random random = test_random_make(91);
    certified_world made = world_open(0, &random);
    float query[MOST_DIM];
    double relative;
    made.policy.budget = 1.0f;
    query_make(&made, &random, query);
    fv_report report = row_check(&made, query, &relative);
    assert_true(report.error_bound == 0.0f && report.relative_bound == 0.0f && report.relative_estimate == 0.0f);
    world_close(&made);
}

static void quality_is_met_by_reading_more(void **state) {
    (void)state;
    test_random random = test_random_make(92);
    for (uint32_t world = 0; world < 16; world++) {
        certified_world made = world_open(world, &random);
        made.policy.budget = 0.15f;
        for (uint32_t i = 0; i < 20; i++) {
            float query[MOST_DIM];
            double relative;
            uint64_t read = 0;
            query_make(&made, &random, query);
            for (float quality = 0.3f; quality > 1e-4f; quality /= 10) {
                made.policy.quality = quality;
                fv_report report = row_check(&made, query, &relative);
                assert_true(report.relative_estimate <= quality);
                assert_true(report.keys_read >= read);
                assert_true(report.whole_rows == 0 || report.keys_read == report.keys_visible);
                read = report.keys_read;
            }
        }
        world_close(&made);
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
        double dense[MOST_DIM], worst = 0, squares = 0;
        *rounding = fmax(*rounding, softmax_make(made, i % (HEADS * GROUP) / GROUP, first + i / (HEADS * GROUP) + 1,
                                                 NULL, query + i * dim, dense));
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
    uint32_t dim = made->w.shape.head_dim, width = HEADS * GROUP * dim, first = test_random_in(random, 2, LONG - ROWS);
    float query[ROWS * HEADS * GROUP * MOST_DIM], out[ROWS * HEADS * GROUP * MOST_DIM],
        want[ROWS * HEADS * GROUP * MOST_DIM];
    for (uint32_t i = 0; i < ROWS * HEADS * GROUP; i++) query_make(made, random, query + i * dim);
    fv_attention_rows rows = {
        .first_token = first, .count = ROWS, .query = query, .query_stride = width, .out = want, .out_stride = width};
    fv_report plain = {.struct_bytes = sizeof plain}, report;
    assert_int_equal(fv_attention_run_rows(made->attention, made->w.cache, &made->policy, &rows, NULL, &plain), FV_OK);
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
        certified_world made = world_of(LONG, HEADS, GROUP, world, &random);
        for (uint32_t kind = 0; kind < 4; kind++) {
            made.policy.budget = kind == 1 ? 0.6f : 0.1f;
            made.policy.window = kind == 2 ? 1500 : 32;
            made.policy.sinks = kind == 1 ? 1100 : 16;
            made.policy.dense_below = kind == 3 ? LONG : 0;
            deadlines_everywhere(&made, &random, &partly);
        }
        world_close(&made);
    }
    printf("%u answers that were cut short\n", partly);
    assert_true(partly > 200);
}

/* The same through plain arrays: a decode step, and a prompt that brings its own cache. */
static void arrays_are_certified_too(void **state) {
    (void)state;
    test_random random = test_random_make(96);
    certified_world made = world_of(LONG, HEADS, GROUP, 0, &random);
    uint32_t dim = made.w.shape.head_dim, width = HEADS * GROUP * dim, kv_width = HEADS * dim;
    fv_pattern_config config = fv_pattern_config_default();
    config.policy = made.policy;
    config.max_tokens = LONG;
    config.query_heads = HEADS * GROUP, config.kv_heads = HEADS, config.head_dim = dim;
    size_t bytes = 0;
    assert_int_equal(fv_pattern_size(&config, &bytes), FV_OK);
    void *memory = world_memory(bytes);
    fv_pattern *pattern;
    assert_int_equal(fv_pattern_init(&pattern, &config, made.w.kernels, memory, bytes), FV_OK);
    float query[300 * 4 * MOST_DIM], keys[300 * 2 * MOST_DIM], out[300 * 4 * MOST_DIM];
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
    world_close(&made);
}

/* Margins after a cut, an eviction and a batch are those of the same tokens appended one by one. */
static void margins_leave_no_trace(void **state) {
    (void)state;
    test_random random = test_random_make(93);
    certified_world one = world_open(9, &random);
    attention_world *w = &one.w;
    float query[MOST_DIM], out[2][MOST_DIM];
    query_make(&one, &random, query);
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
        assert_int_equal(
            fv_attention_run(one.attention, w->cache, &one.policy, 0, 1, query, dim, out[run], dim, NULL, &report[run]),
            FV_OK);
    }
    assert_memory_equal(&report[0], &report[1], sizeof *report);
    assert_memory_equal(out[0], out[1], dim * sizeof **out);
    world_close(&one);
}

static void what_is_missing_is_an_error(void **state) {
    (void)state;
    test_random random = test_random_make(94);
    certified_world made = world_open(0, &random);
    float query[MOST_DIM] = {0}, out[MOST_DIM];
    uint32_t dim = made.w.shape.head_dim;
    made.w.shape.margins = 0;
    world_cache_reset(&made.w);
    world_append(&made.w, 100);
    assert_int_equal(
        fv_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, NULL),
        FV_ERROR_ARGUMENT);
    made.policy.certificate = 0;
    assert_int_equal(
        fv_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, NULL), FV_OK);
    made.policy.quality = 0.1f; /* without a certificate there is no quality */
    assert_int_equal(fv_policy_check(&made.policy), FV_ERROR_ARGUMENT);
    world_close(&made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_for_every_row),      cmocka_unit_test(all_pages_leave_nothing_unread),
        cmocka_unit_test(quality_is_met_by_reading_more), cmocka_unit_test(margins_leave_no_trace),
        cmocka_unit_test(what_is_missing_is_an_error),    cmocka_unit_test(deadlines_are_certified),
        cmocka_unit_test(arrays_are_certified_too),
    };
    test_tables_make(&tables);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
