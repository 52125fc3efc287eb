/* tail_test.c - pages that are read by 2-bit copies only: what is given up for them, when they say something, and that
 * they and what is read exactly are one softmax. */
#include "numeric/half.h"
#include "support/choose_world.h"
#include "support/tables.h"

enum { TOKENS = 1300, PAGES = 82 };

static test_tables tables;

/* A row of 1,300 tokens, the query of its first head `loud` times as long, and what it chooses. */
typedef struct tail_world {
    attention_world world;
    fv_attention *attention;
    row_choice choice;
    void *memory;
    uint8_t kind[PAGES]; /* 1: exact, 2: by codes */
} tail_world;

static tail_world tail_world_make(const fv_kernels *kernels, const fv_policy *policy, uint32_t dim, uint32_t group,
                                  float loud, test_random *random) {
    tail_world t = {.world = world_make(kernels, choose_shape(1, dim, TOKENS, FV_ELEMENT_F16), group, 0, random)};
    attention_world *w = &t.world;
    t.memory = choose_attention_open(w, 1, 0, &t.attention);
    world_append(w, TOKENS);
    float *query = w->queries + (TOKENS - 1) * w->query_stride;
    for (uint32_t c = 0; c < dim; c++) query[c] *= loud;
    t.choice = row_choice_open(w, kernels, policy, 0, TOKENS - 1);
    row_choice_weigh(&t.choice);
    uint32_t chosen = fv_choose_pages(&t.choice.chooser, &t.choice.scratch);
    assert_int_equal(t.choice.scratch.tail_count > 0, loud == 1.0f);
    assert_int_equal(chosen < t.choice.chooser.allowance, loud == 1.0f);
    row_choice_pages(&t.choice, t.kind);
    for (uint32_t k = 0; k < t.choice.scratch.tail_count; k++) {
        uint32_t page = t.choice.scratch.page[t.choice.scratch.first + t.choice.scratch.tail[k]];
        assert_int_equal(t.kind[page], 0);
        t.kind[page] = 2;
    }
    return t;
}

static void tail_world_free(tail_world *t) {
    free(t->memory);
    row_choice_close(&t->choice);
    world_free(&t->world);
}

static void tail_world_run(const tail_world *t, const fv_policy *policy, float *out, fv_report *report) {
    const attention_world *w = &t->world;
    *report = (fv_report){.struct_bytes = sizeof *report};
    check_status(test_attention_run(t->attention, w->cache, policy, 0, 1, w->queries + (TOKENS - 1) * w->query_stride,
                                    w->query_stride, out, (size_t)w->attend.query_heads * w->attend.head_dim, NULL,
                                    report));
}

/* The weight of a token by its codes: its score as it is met, a quarter of the variance of its error, and a gain. */
static double code_weight(const attention_world *w, const met_query *met, uint32_t token) {
    uint32_t dim = w->attend.head_dim;
    float code[CHOOSE_MOST_DIM], centre[CHOOSE_MOST_DIM];
    double step = (double)fv_f32_from_bf16(*fv_shadow_steps(&w->cache->shadow, 0, token)), square = 0;
    fv_shadow_centre(w->cache, 0, token, centre);
    fv_shadow_code(w->cache, 0, token, code);
    for (uint32_t c = 0; c < dim; c++) square += met->mean[c] * met->mean[c];
    double variance = square * met->unit * met->unit * 0.6931471805599453 * 0.6931471805599453 * 0.12 * step * step;
    double score = met->unit * (met_dot(dim, met->code, code) + met_dot(dim, met->mean, centre));
    return 1.2 * straight_power(score + variance / 4 * 1.4426950408889634);
}

/* The coarse value of a token, turned back: x = D H y. */
static void code_value(const attention_world *w, uint32_t token, double *out) {
    uint32_t dim = w->attend.head_dim;
    float value[CHOOSE_MOST_DIM];
    double signed_value[CHOOSE_MOST_DIM];
    fv_tail_value(w->cache, 0, token, value);
    for (uint32_t c = 0; c < dim; c++)
        signed_value[c] = fv_rotate_signs[c / 32] >> c % 32 & 1 ? -(double)value[c] : (double)value[c];
    rotate_double(dim, signed_value, out);
    for (uint32_t c = 0; c < dim; c++) out[c] = fv_rotate_signs[c / 32] >> c % 32 & 1 ? -out[c] : out[c];
}

/* Attention of one query head in double: exactly of the chosen pages, sinks and window, by codes of the tail's. */
static void tail_reference(const tail_world *t, uint32_t g, double *out) {
    const attention_world *w = &t->world;
    uint32_t dim = w->attend.head_dim;
    const float *query = t->choice.query + g * dim;
    met_query met = met_query_make(w, query);
    double total = 0, wide[CHOOSE_MOST_DIM];
    for (uint32_t c = 0; c < dim; c++) out[c] = 0;
    for (uint32_t token = 0; token < TOKENS; token++) {
        float key[CHOOSE_MOST_DIM], value[CHOOSE_MOST_DIM];
        double score = 0, weight;
        if (t->kind[token / 16] == 0) continue;
        check_status(fv_cache_read(w->cache, 0, token, 1, key, value));
        if (t->kind[token / 16] == 1) {
            for (uint32_t c = 0; c < dim; c++) {
                score += (double)query[c] * (double)key[c];
                wide[c] = (double)value[c];
            }
            weight = exp(score * (double)w->attend.scale);
        } else {
            weight = code_weight(w, &met, token);
            code_value(w, token, wide);
        }
        total += weight;
        for (uint32_t c = 0; c < dim; c++) out[c] += weight * wide[c];
    }
    for (uint32_t c = 0; c < dim; c++) out[c] /= total;
}

/* Of every head by itself. Weights of tokens are whole numbers, 255 the largest of a page, and scores whole 256ths. */
static void test_tail_is_a_softmax(void **state) {
    (void)state;
    test_random random = test_random_make(92);
    static const uint32_t dims[] = {64, 24, 128, 80};
    double worst = 0;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t dim = dims[i % 4], group = 1 + i % 3;
        if (i >= 14) dim = 16, group = 20; /* more than are turned back at a time */
        fv_policy policy = choose_policy(i % 2 ? FV_SELECTOR_CASCADE : FV_SELECTOR_FOVEA, 0.3f, 32), plain = policy;
        policy.tail = 1;
        tail_world t = tail_world_make(tables.table[i % tables.count], &policy, dim, group, 1.0f, &random);
        const attention_world *w = &t.world;
        double want[3 * 128], bare[3 * 128];
        float out[3 * 128], other[3 * 128];
        fv_report report, without;
        for (uint32_t g = 0; g < group; g++) tail_reference(&t, g, want + g * dim);
        for (uint32_t page = 0; page < PAGES; page++) t.kind[page] = t.kind[page] == 1;
        for (uint32_t g = 0; g < group; g++) tail_reference(&t, g, bare + g * dim);
        tail_world_run(&t, &policy, out, &report);
        tail_world_run(&t, &plain, other, &without);
        for (uint32_t g = 0; g < group; g++) {
            double error = 0, distance = 0;
            for (uint32_t c = g * dim; c < (g + 1) * dim; c++) {
                error += pow((double)out[c] - want[c], 2);
                distance += pow(bare[c] - want[c], 2);
            }
            worst = fmax(worst, sqrt(error / distance));
            if (!(error < 0.01 * 0.01 * distance)) /* of what the tail changes */
                fail_msg("%s dim %u head %u: %.4f", test_table_name(w->kernels), dim, g, sqrt(error / distance));
        }
        assert_true(report.keys_read < without.keys_read);
        assert_true(report.bytes_read <= without.bytes_read); /* never more bytes, */
        assert_true(report.bytes_read + fv_tail_page_bytes(&w->cache->tail) * 20 >
                    without.bytes_read); /* nor many fewer */
        tail_world_free(&t);
    }
    printf("what the tail changes is right to %.4f\n", worst);
}

/* If the scores of a head are so large that a code says nothing about a weight, no page is given up for a tail. */
static void test_a_noisy_row_has_no_tail(void **state) {
    (void)state;
    test_random random = test_random_make(93);
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t dim = i % 2 ? 128 : 64, group = 1 + i % 3;
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.3f, 32), plain = policy;
        policy.tail = 1;
        tail_world t = tail_world_make(tables.table[i % tables.count], &policy, dim, group, 20.0f, &random);
        float out[3 * 128], other[3 * 128];
        fv_report report, without;
        tail_world_run(&t, &policy, out, &report);
        tail_world_run(&t, &plain, other, &without);
        assert_memory_equal(out, other, group * dim * sizeof *out);
        assert_int_equal(report.keys_read, without.keys_read);
        assert_int_equal(report.bytes_read, without.bytes_read);
        tail_world_free(&t);
    }
}

/* The variance of the error of the tail's scores, by the natural logarithm, of one head: 0.12 square steps a channel.
 */
static double score_variance(const tail_world *t, uint32_t g) {
    const attention_world *w = &t->world;
    const fv_choose_scratch *scratch = &t->choice.scratch;
    uint32_t dim = w->attend.head_dim;
    met_query met = met_query_make(w, t->choice.query + g * dim);
    double square = 0, steps = 0;
    for (uint32_t c = 0; c < dim; c++) square += met.mean[c] * met.mean[c];
    for (uint32_t i = 0; i < scratch->tail_count; i++) {
        uint32_t page = scratch->page[scratch->first + scratch->tail[i]];
        double step = (double)fv_f32_from_bf16(*fv_shadow_steps(&w->cache->shadow, 0, page * 16));
        steps += step * step / scratch->tail_count;
    }
    return 0.12 * steps * square * pow(met.unit * 0.6931471805599453, 2);
}

/* A tail is heard up to a variance of 3, of the head whose is largest, and not beyond. */
static void test_heard_to_a_variance_of_three(void **state) {
    (void)state;
    test_random random = test_random_make(190);
    for (uint32_t i = 0; i < 12; i++) {
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.3f, 32);
        uint32_t group = 1 + i % 3, loud = i / 3 % group;
        policy.tail = 1;
        tail_world t = tail_world_make(tables.table[i % tables.count], &policy, i % 2 ? 64 : 24, group, 1.0f, &random);
        float factor[3];
        for (uint32_t g = 0; g < group; g++) /* a score is in proportion to it */
            factor[g] = t.choice.scratch.factor[g] * (float)sqrt((g == loud ? 3 : 1) / score_variance(&t, g));
        for (int step = -1; step <= 1; step += 2) {
            for (uint32_t g = 0; g < group; g++)
                t.choice.scratch.factor[g] = factor[g] * (g == loud ? 1 + 0.001f * (float)step : 1);
            assert_int_equal(fv_tail_is_heard(&t.choice.chooser, &t.choice.scratch), step < 0);
        }
        t.choice.scratch.factor[loud] = NAN;
        assert_false(fv_tail_is_heard(&t.choice.chooser, &t.choice.scratch));
        tail_world_free(&t);
    }
}

/* Pages given up for a tail, and pages in it: an eighth of those that a row may choose, as far as candidates are left;
 * one of 16 * 64 * 4 bytes is worth 14 of 4 * 64 + 32. */
static void test_the_price_of_a_tail(void **state) {
    (void)state;
    static const struct {
        uint32_t candidates, allowed, chosen, tail;
    } rows[] = {
        {60, 3, 3, 0},    {60, 4, 3, 14},   {60, 11, 10, 14}, {60, 12, 10, 28}, {60, 19, 17, 28},
        {60, 20, 17, 42}, {60, 28, 25, 35}, {40, 24, 22, 18}, {40, 26, 24, 16}, {40, 27, 26, 14},
        {40, 28, 27, 13}, {40, 39, 38, 2},  {40, 40, 40, 0},  {40, 50, 40, 0},  {78, 28, 24, 54},
    };
    test_random random = test_random_make(191);
    attention_world w = world_make(tables.table[0], choose_shape(1, 64, TOKENS, FV_ELEMENT_F16), 1, 0, &random);
    w.attend.scale = 0.05f; /* nothing is noisy */
    world_append(&w, TOKENS);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0, 16);
        uint32_t position = (rows[i].candidates + 1) * 16 + 16 - 1; /* a page of sinks, one of window */
        policy.tail = 1;
        policy.pages = rows[i].allowed + 2;
        if (policy.pages < fv_policy_min_pages(&policy)) policy.pages = fv_policy_min_pages(&policy);
        row_choice choice = row_choice_open(&w, w.kernels, &policy, 0, position);
        assert_int_equal(choice.chooser.end - choice.chooser.begin, rows[i].candidates);
        assert_int_equal(choice.chooser.allowance, rows[i].allowed);
        row_choice_weigh(&choice);
        uint32_t chosen = fv_choose_pages(&choice.chooser, &choice.scratch);
        if (chosen != rows[i].chosen || choice.scratch.tail_count != rows[i].tail)
            fail_msg("%u of %u: %u chosen and %u in the tail, not %u and %u", rows[i].allowed, rows[i].candidates,
                     chosen, choice.scratch.tail_count, rows[i].chosen, rows[i].tail);
        uint32_t worst = UINT32_MAX, best = 0; /* the tail's pages are the next best */
        for (uint32_t k = 0, at = 0; k < rows[i].candidates; k++) {
            uint32_t weight = choice.scratch.weight[choice.scratch.first + k];
            bool in_tail = at < choice.scratch.tail_count && choice.scratch.tail[at] == k;
            at += in_tail;
            if (weight == FV_CHOSEN) continue;
            if (in_tail && weight < worst) worst = weight;
            if (!in_tail && weight > best) best = weight;
        }
        assert_true(worst >= best);
        row_choice_close(&choice);
    }
    world_free(&w);
}

/* The level is a whole power of two, above every key of the tail with its part of the variance, where one key has most
 * of a page's mass too, and not much above. */
static void test_no_key_is_above_the_level(void **state) {
    (void)state;
    test_random random = test_random_make(192);
    uint32_t needed = 0;
    for (uint32_t i = 0; i < 20; i++) {
        const fv_kernels *kernels = tables.table[i % tables.count];
        uint32_t dim = i % 2 ? 64 : 24, group = 1 + i % 3;
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.3f, 32);
        policy.tail = 1;
        attention_world w = world_make(kernels, choose_shape(1, dim, TOKENS, FV_ELEMENT_F16), group, 0, &random);
        world_append(&w, TOKENS);
        for (float scale = 4.0f;; scale *= 0.97f) { /* the largest at which the tail is heard */
            w.attend.scale = scale;
            row_choice choice = row_choice_open(&w, kernels, &policy, 0, TOKENS - 1 - i);
            fv_choose_scratch *scratch = &choice.scratch;
            row_choice_weigh(&choice);
            fv_choose_pages(&choice.chooser, scratch);
            float maximum[3], sum[3 * FV_SUM_LANES], out[3 * 64];
            int32_t score[FV_TAIL_PAGES * 16];
            uint32_t page[PAGES], count = scratch->tail_count;
            for (uint32_t k = 0; k < count; k++) page[k] = scratch->page[scratch->first + scratch->tail[k]];
            if (count) fv_tail_make(&choice.chooser, scratch, maximum, sum, out);
            fv_shadow_rows rows = fv_choose_rows(&choice.chooser, scratch);
            for (uint32_t g = 0; g < group && count; g++) {
                int32_t best = INT32_MIN, level = (int32_t)(maximum[g] * 256);
                fv_shadow_rows one = rows;
                one.rows = 1, one.table += g * 4 * one.dim, one.coarse_sum += g, one.coarse_factor += g;
                one.base += g * one.base_stride;
                for (uint32_t k = 0; k < count; k++) {
                    kernels->key_score(&one, 1, page + k, fv_shadow_signs(&w.cache->shadow, 0, 0),
                                       fv_shadow_sizes(&w.cache->shadow, 0, 0), fv_shadow_steps(&w.cache->shadow, 0, 0),
                                       scratch->tail_noise + g, score, 16);
                    for (uint32_t t = 0; t < 16; t++)
                        if (score[t] > best) best = score[t];
                }
                assert_true(maximum[g] == floorf(maximum[g]));
                assert_true(best <= level && level - best < 256 + 512 + 4 * 256); /* a page of 16 equal keys */
                needed += best > level - 512;
            }
            row_choice_close(&choice);
            if (count) break;
        }
        world_free(&w);
    }
    printf("%u levels would have been too low without the variance\n", needed);
    assert_true(needed > 0);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_is_a_softmax),
        cmocka_unit_test(test_a_noisy_row_has_no_tail),
        cmocka_unit_test(test_heard_to_a_variance_of_three),
        cmocka_unit_test(test_the_price_of_a_tail),
        cmocka_unit_test(test_no_key_is_above_the_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
