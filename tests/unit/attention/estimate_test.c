/* estimate_test.c - what a certificate estimates: by its formula in double, with and without a deadline; how often rows
 * exceed it; that a quality is met by every query head, and that a cache that was saved says the same. */
#include "attend/certificate.h"
#include "attention/certify.h"
#include "attention/watch.h"
#include "cache/cache_pages.h"
#include "support/certified_world.h"
#include "support/choose_world.h"
#include "support/memory_store.h"

static test_tables tables;

/* The tokens that the single row of a call means to read. */
static void note_plan(void *context, const fv_attention_seen *seen, size_t worker) {
    bool *planned = context;
    (void)worker;
    memset(planned, 0, CERTIFIED_LONG);
    for (uint32_t s = 0; s < seen->plan->count; s++)
        for (uint32_t t = seen->plan->steps[s].begin; t < seen->plan->steps[s].end; t++) planned[t] = true;
}

/* The relative error by estimate, times its factor: the mass that codes give to the pages before the row's own of which
 * a token is unread, against the mass that was read, and the size of their values against that of the output. */
static double estimate_of(const certified_world *made, const float *query, const bool *read, const float *out) {
    const attention_world *w = &made->w;
    uint32_t dim = w->shape.head_dim, position = w->tokens - 1;
    fv_policy policy = made->policy;
    row_choice choice = row_choice_open(w, w->kernels, &policy, 0, position);
    choice.query = query;
    row_choice_weigh(&choice);
    double unread = 0, weighted = 0, mass = 0, squares = 0, score[CERTIFIED_LONG], best = -1e300;
    for (uint32_t t = 0; t <= position; t++) {
        score[t] = 0;
        for (uint32_t c = 0; c < dim; c++) score[t] += (double)query[c] * made->keys[t * dim + c];
        score[t] *= (double)w->attend.scale * 1.4426950408889634;
        if (read[t]) best = fmax(best, ceil(score[t]));
    }
    for (uint32_t t = 0; t <= position; t++)
        if (read[t]) mass += exp2(score[t] - best);
    for (uint32_t page = 0; page < choice.chooser.scored; page++) {
        bool whole = true;
        for (uint32_t t = 0; t < 16; t++) whole &= read[page * 16 + t];
        if (whole) continue;
        double share = straight_power(choice.scratch.score[page] / 256.0 - best);
        unread += share;
        weighted += share * (double)fv_margin_of(&w->cache->margins, 0, page)->value_rms;
    }
    for (uint32_t c = 0; c < dim; c++) squares += (double)out[c] * (double)out[c];
    row_choice_close(&choice);
    if (unread == 0) return 0;
    return (double)FV_CERTIFICATE_FACTOR * unread / (mass + unread) * (weighted / unread) / sqrt(squares / dim);
}

/* The report of the row until look number `end`. */
static fv_report row_until(const certified_world *made, const float *query, uint64_t end, float *out,
                           fv_progress *progress) {
    uint64_t looks = 0;
    fv_deadline deadline = {look_count, &looks, end, FV_DEADLINE_BEST};
    fv_watch watch = {.deadline = &deadline};
    fv_report report = {.struct_bytes = sizeof report};
    uint32_t dim = made->w.shape.head_dim;
    fv_attention_rows row = {.first_token = made->w.tokens - 1,
                             .count = 1,
                             .query = query,
                             .query_stride = dim,
                             .out = out,
                             .out_stride = dim};
    check_status(fv_attention_run_watched(made->attention, made->w.cache, &made->policy, &row, NULL, &report, &watch));
    *progress = watch.progress;
    return report;
}

/* Of the tokens meant to be read, those that were: segments come newest first. */
static void keep_newest(bool *read, uint64_t keys) {
    for (uint32_t t = CERTIFIED_LONG; t-- > 0;) {
        if (read[t] && keys == 0) read[t] = false;
        if (read[t]) keys--;
    }
}

/* An output of zeros: no error, if there is none, and else one without measure. */
static void of_zeros_only_no_error_has_a_measure(void **state) {
    (void)state;
    const float out[4] = {0};
    fv_certificate_input input = {.read = 1, .mass_bound = 2, .mass_estimate = 1, .head_dim = 4, .out = out};
    fv_certificate made = fv_certificate_make(&input);
    assert_true(made.error_bound == 0 && made.relative_bound == 0 && made.raw_estimate == 0);
    input.value_max = input.value_rms = 0.5f;
    made = fv_certificate_make(&input);
    assert_true(made.error_bound > 0 && isinf(made.relative_bound) && isinf(made.raw_estimate));
}

static void the_estimate_is_its_formula(void **state) {
    (void)state;
    test_random random = test_random_make(160);
    uint32_t whole = 0, cut = 0;
    for (uint32_t world = 0; world < 16; world++) {
        certified_world made = certified_world_of(CERTIFIED_LONG, 1, 1, world, &tables, &random);
        made.policy.window = world % 2 ? 32 : 1500;
        fv_policy_set_budget(&made.policy, world % 2 ? 0.3f : 0.6f);
        for (uint32_t i = 0; i < 4; i++) {
            float query[CERTIFIED_MOST_DIM], out[CERTIFIED_MOST_DIM];
            bool read[CERTIFIED_LONG];
            certified_query(&made, &random, query);
            fv_attention_observe(made.attention, note_plan, read);
            for (uint64_t end = 1;; end++) {
                fv_progress progress;
                fv_report report = row_until(&made, query, end, out, &progress);
                double got = (double)report.relative_estimate, want;
                if (progress.keys_read > 0) {
                    bool all = progress.keys_read == progress.keys_planned;
                    keep_newest(read, progress.keys_read);
                    want = estimate_of(&made, query, read, out) * (all ? 1 : (double)FV_CERTIFICATE_CUT);
                    if (!(fabs(got - want) <= 0.01 * want + 1e-30))
                        fail_msg("world %u, %u of %u keys: estimate %g, by the formula %g", world,
                                 (unsigned)progress.keys_read, (unsigned)progress.keys_planned, got, want);
                    whole += all, cut += !all;
                }
                if (!progress.expired) break;
            }
            fv_attention_observe(made.attention, NULL, NULL);
        }
        certified_world_close(&made);
    }
    printf("%u whole rows, %u cut short\n", whole, cut);
    assert_true(whole > 50 && cut > 50);
}

static void estimates_are_seldom_exceeded(void **state) {
    (void)state;
    test_random random = test_random_make(161);
    uint32_t rows = 0, exceeded = 0, useful = 0;
    for (uint32_t world = 0; world < 12; world++) {
        certified_world made = certified_world_of(CERTIFIED_TOKENS, 1, 1, 8 * world, &tables, &random);
        uint32_t dim = made.w.shape.head_dim;
        fv_policy_set_budget(&made.policy, 0.2f);
        for (uint32_t i = 0; i < 100; i++, rows++) {
            float query[CERTIFIED_MOST_DIM], out[CERTIFIED_MOST_DIM];
            double dense[CERTIFIED_MOST_DIM], error = 0, squares = 0;
            fv_report report = {.struct_bytes = sizeof report};
            certified_query(&made, &random, query);
            check_status(test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim,
                                            NULL, &report));
            certified_softmax(&made, 0, CERTIFIED_TOKENS, NULL, query, dense);
            for (uint32_t c = 0; c < dim; c++) {
                error = fmax(error, fabs((double)out[c] - dense[c]));
                squares += dense[c] * dense[c];
            }
            double relative = error / sqrt(squares / dim);
            exceeded += relative > (double)report.relative_estimate;
            useful += relative > 0.1 * (double)report.relative_estimate;
        }
        certified_world_close(&made);
    }
    printf("%u of %u rows exceed their estimate, %u come within a tenth of it\n", exceeded, rows, useful);
    assert_true(exceeded * 50 <= rows); /* documented are 5 %; the data is kinder than a model's */
    assert_true(useful * 8 >= rows);
}

/* Heads that need more pages than others, wherever in the group they are. */
static void a_quality_is_met_by_every_head(void **state) {
    (void)state;
    enum { HEADS = 2, GROUP = 3 };
    test_random random = test_random_make(162);
    uint32_t more = 0, rows = 0;
    for (uint32_t world = 0; world < 8; world++) {
        certified_world made = certified_world_of(CERTIFIED_TOKENS, HEADS, GROUP, world, &tables, &random);
        uint32_t dim = made.w.shape.head_dim, width = HEADS * GROUP * dim;
        fv_policy_set_budget(&made.policy, 0.2f);
        for (uint32_t i = 0; i < 20; i++, rows++) {
            float query[HEADS * GROUP * CERTIFIED_MOST_DIM], out[HEADS * GROUP * CERTIFIED_MOST_DIM];
            fv_report plain = {.struct_bytes = sizeof plain}, report = plain;
            for (uint32_t h = 0; h < HEADS * GROUP; h++) {
                certified_query(&made, &random, query + h * dim);
                for (uint32_t c = 0; c < dim && h % GROUP != i % GROUP; c++) query[h * dim + c] *= 0.01f;
            }
            made.policy.quality = 0;
            check_status(test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, width, out, width,
                                            NULL, &plain));
            made.policy.quality = 0.5f * plain.relative_estimate;
            if (!(made.policy.quality > 0 && made.policy.quality < 1e6f)) continue;
            check_status(test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, width, out, width,
                                            NULL, &report));
            assert_int_equal(report.certified_rows, HEADS * GROUP);
            if (!(report.relative_estimate <= made.policy.quality))
                fail_msg("world %u: estimate %g, wanted %g", world, (double)report.relative_estimate,
                         (double)made.policy.quality);
            assert_true(report.keys_read > plain.keys_read && report.bytes_read > plain.bytes_read);
            more += report.keys_read < report.keys_visible;
            assert_int_equal(plain.whole_rows, 0); /* rows that read all because they had to */
            if (report.keys_read < report.keys_visible) assert_true(report.whole_rows < HEADS * GROUP);
            made.policy.quality = 1e-30f;
            report = (fv_report){.struct_bytes = sizeof report};
            check_status(test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, width, out, width,
                                            NULL, &report));
            assert_int_equal(report.whole_rows, HEADS * GROUP);
            assert_int_equal(report.keys_read, report.keys_visible);
        }
        certified_world_close(&made);
    }
    printf("%u of %u rows met it without reading all\n", more, rows);
    assert_true(more > rows / 4);
}

/* What a row reads again counts again: window and sinks with what it may choose, then 8 pages more, 16, 32 and so on;
 * the coarse keys are read once. */
static void bytes_of_every_reading_count(void **state) {
    (void)state;
    test_random random = test_random_make(164);
    uint32_t whole = 0;
    for (uint32_t world = 0; world < 12; world++) {
        certified_world made = certified_world_open(world, &tables, &random);
        uint32_t dim = made.w.shape.head_dim, most = 0, more = 8, candidates = CERTIFIED_TOKENS / 16 - 3;
        float query[CERTIFIED_MOST_DIM], out[CERTIFIED_MOST_DIM];
        fv_report plain = {.struct_bytes = sizeof plain}, report = plain;
        certified_query(&made, &random, query);
        fv_policy_set_budget(&made.policy,
                             0.2f + 0.05f * (float)(world % 4)); /* beyond a page of sinks and two of window */
        check_status(
            test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, &plain));
        made.policy.quality = 1e-30f;
        check_status(
            test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, &report));
        whole += report.whole_rows > 0; /* but where codes say that nothing is left */
        uint64_t pages = plain.keys_read / 16, page_bytes = fv_cache_page_bytes(made.w.cache),
                 want = plain.bytes_read; /* the first reading's */
        for (most = (uint32_t)pages - 3; report.whole_rows && most < candidates; more *= 2) {
            most = most + more < candidates ? most + more : candidates;
            want += (most + 3) * page_bytes;
        }
        if (report.whole_rows) assert_int_equal(report.keys_read, CERTIFIED_TOKENS);
        if (report.whole_rows) assert_int_equal(report.bytes_read, want);
        certified_world_close(&made);
    }
    assert_true(whole > 6);
}

/* A report that is added to keeps the worst of all calls, whatever their order. */
static void reports_keep_the_worst(void **state) {
    (void)state;
    test_random random = test_random_make(165);
    certified_world made = certified_world_open(8, &tables, &random);
    uint32_t dim = made.w.shape.head_dim;
    float error = 0, estimate = 0, out[CERTIFIED_MOST_DIM];
    fv_report all = {.struct_bytes = sizeof all, .error_bound = NAN, .relative_bound = NAN, .relative_estimate = NAN};
    fv_policy plain = made.policy;
    plain.certificate = 0;
    check_status(
        test_attention_run(made.attention, made.w.cache, &plain, 0, 1, made.w.queries, dim, out, dim, NULL, &all));
    assert_true(isnan(all.error_bound) && isnan(all.relative_bound) && isnan(all.relative_estimate));
    for (uint64_t rows = 1; rows <= 20; rows++) {
        float query[CERTIFIED_MOST_DIM];
        fv_report one = {.struct_bytes = sizeof one};
        certified_query(&made, &random, query);
        check_status(
            test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, &one));
        check_status(
            test_attention_run(made.attention, made.w.cache, &made.policy, 0, 1, query, dim, out, dim, NULL, &all));
        error = fmaxf(error, one.error_bound), estimate = fmaxf(estimate, one.relative_estimate);
        assert_true(all.error_bound == error && all.relative_estimate == estimate);
        assert_int_equal(all.certified_rows, rows);
    }
    certified_world_close(&made);
}

/* Saved and restored, a cache has the margins that it had: the same report, bit for bit. */
static void a_restored_cache_says_the_same(void **state) {
    (void)state;
    test_random random = test_random_make(163);
    for (uint32_t world = 0; world < 10; world++) {
        certified_world made = certified_world_open(world, &tables, &random);
        uint32_t dim = made.w.shape.head_dim;
        float query[CERTIFIED_MOST_DIM], out[2][CERTIFIED_MOST_DIM];
        fv_report report[2] = {{.struct_bytes = sizeof *report}, {.struct_bytes = sizeof *report}};
        attention_world other = made.w;
        other.cache_memory = NULL;
        world_cache_reset(&other);
        check_status(memory_store_move(made.w.cache, other.cache));
        certified_query(&made, &random, query);
        for (int i = 0; i < 2; i++)
            check_status(test_attention_run(made.attention, i ? other.cache : made.w.cache, &made.policy, 0, 1, query,
                                            dim, out[i], dim, NULL, &report[i]));
        assert_memory_equal(&report[0], &report[1], sizeof *report);
        assert_memory_equal(out[0], out[1], dim * sizeof **out);
        assert_true(report[0].error_bound > 0);
        free(other.cache_memory);
        certified_world_close(&made);
    }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_zeros_only_no_error_has_a_measure), cmocka_unit_test(the_estimate_is_its_formula),
        cmocka_unit_test(estimates_are_seldom_exceeded),        cmocka_unit_test(a_quality_is_met_by_every_head),
        cmocka_unit_test(bytes_of_every_reading_count),         cmocka_unit_test(reports_keep_the_worst),
        cmocka_unit_test(a_restored_cache_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
