/* choice_test.c - what pages are chosen by, and how good the choice is: scores against the documented formulas in
 * double, the pages found against those that exact scores name, the mass that top_p reaches. */
#include "fovea/measure/mass.h"
#include "numeric/half.h"
#include "support/choose_world.h"
#include "support/tables.h"

enum { TOKENS = 1500, PAGES = TOKENS / 16 };

static test_tables tables;

/* Score of a page by centre and codes, in powers of two. */
static double page_score(const attention_world *w, const met_query *met, uint32_t page, bool signs_only) {
    uint32_t dim = w->attend.head_dim;
    float centre[CHOOSE_MOST_DIM], code[CHOOSE_MOST_DIM];
    double mass = 0, best = -1e300;
    fv_shadow_centre(w->cache, 0, page * 16, centre);
    for (uint32_t t = 0; t < 16; t++) {
        double step = (double)fv_f32_from_bf16(*fv_shadow_steps(&w->cache->shadow, 0, page * 16 + t));
        fv_shadow_code(w->cache, 0, page * 16 + t, code);
        for (uint32_t c = 0; c < dim && signs_only; c++) code[c] = (float)(code[c] > 0 ? step : -step);
        double score = met->unit * met_dot(dim, met->code, code);
        mass += straight_power(score);
        best = fmax(best, score);
    }
    double base = met->unit * met_dot(dim, met->mean, centre);
    return signs_only ? 0.82 * best + base : straight_log(mass) + base;
}

/* Scores are the documented formulas but for their roundings: of a key half a unit of 1/256 to either side, of the
 * page's logarithm one downwards, of the base half a one. */
static void test_scores_are_the_formula(void **state) {
    (void)state;
    test_random random = test_random_make(130);
    static const uint32_t dims[] = {64, 24, 128, 80, 8, 256};
    double low = 0, high = 0;
    for (uint32_t i = 0; i < 12; i++) {
        const fv_kernels *kernels = tables.table[i % tables.count];
        attention_world w =
            world_make(kernels, choose_shape(1, dims[i % 6], TOKENS, i % FV_ELEMENT_COUNT), 2, 0, &random);
        for (size_t k = 0; k < w.tokens * w.kv_stride; k++) w.keys[k] += 0.3f; /* centres that matter */
        world_append(&w, TOKENS);
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.3f, 32);
        row_choice choice = row_choice_open(&w, kernels, &policy, 0, TOKENS - 1 - i);
        row_choice_weigh(&choice);
        assert_int_equal(choice.scratch.count, choice.chooser.scored);
        for (uint32_t g = 0; g < 2; g++) {
            met_query met = met_query_make(&w, choice.query + g * dims[i % 6]);
            for (uint32_t page = 0; page < choice.chooser.scored; page++) {
                double want = 256 * page_score(&w, &met, page, false);
                double off = choice.scratch.score[g * choice.scratch.stride + page] - want;
                low = fmin(low, off), high = fmax(high, off);
                if (!(off >= -2.6 && off <= 1.6))
                    fail_msg("%s dim %u head %u page %u: %.2f units of 1/256 from the formula",
                             test_table_name(kernels), dims[i % 6], g, page, off);
            }
        }
        row_choice_close(&choice);
        world_free(&w);
    }
    printf("scores are %.2f to %.2f units of 1/256 from the formula\n", low, high);
}

/* The same of a cascade's first look, whose order decides which pages are looked at closely. */
static void test_a_cascade_looks_at_the_best_signs(void **state) {
    (void)state;
    test_random random = test_random_make(131);
    for (uint32_t i = 0; i < 8; i++) {
        const fv_kernels *kernels = tables.table[i % tables.count];
        attention_world w =
            world_make(kernels, choose_shape(1, i % 2 ? 64 : 40, TOKENS, FV_ELEMENT_F16), 1, 0, &random);
        world_append(&w, TOKENS);
        fv_policy policy = choose_policy(FV_SELECTOR_CASCADE, 0.1f, 32);
        row_choice choice = row_choice_open(&w, kernels, &policy, 0, TOKENS - 1 - i);
        row_choice_weigh(&choice);
        const fv_chooser *chooser = &choice.chooser;
        met_query met = met_query_make(&w, choice.query);
        bool looked[PAGES + 1] = {false};
        double worst_in = 1e300, best_out = -1e300;
        for (uint32_t k = 0; k < choice.scratch.candidates; k++)
            looked[choice.scratch.page[choice.scratch.first + k]] = true;
        for (uint32_t page = chooser->begin; page < chooser->end; page++) {
            double score = 256 * page_score(&w, &met, page, true);
            if (looked[page])
                worst_in = fmin(worst_in, score);
            else
                best_out = fmax(best_out, score);
        }
        assert_int_equal(choice.scratch.candidates, chooser->looked_at);
        assert_true(chooser->looked_at < chooser->end - chooser->begin);
        if (!(worst_in > best_out - 2.1)) /* each is rounded twice, by half a unit */
            fail_msg("a page of %.2f was looked at, one of %.2f was not", worst_in, best_out);
        row_choice_close(&choice);
        world_free(&w);
    }
}

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* What pages weigh exactly: the largest share that a head of the group gives them. */
static void exact_weights(const attention_world *w, const row_choice *choice, double *weight) {
    uint32_t group = w->attend.query_heads / w->attend.kv_heads, pages = choice->chooser.scored;
    for (uint32_t page = 0; page < pages; page++) weight[page] = -1e300;
    for (uint32_t g = 0; g < group; g++) {
        double score[PAGES + 1] = {0}, best = -1e300, sum = 0;
        exact_page_scores(w, choice, g, score);
        for (uint32_t page = 0; page < pages; page++) best = fmax(best, score[page]);
        for (uint32_t page = 0; page < pages; page++) sum += exp2(score[page] - best);
        for (uint32_t page = 0; page < pages; page++) weight[page] = fmax(weight[page], score[page] - best - log2(sum));
    }
}

/* Of the pages that exact scores would choose, how many are chosen; and how much of the mass that these have. */
typedef struct choice_quality {
    double found, mass;
} choice_quality;

static choice_quality quality_of(const attention_world *w, const fv_policy *policy, uint32_t position) {
    row_choice choice = row_choice_open(w, w->kernels, policy, 0, position);
    row_choice_weigh(&choice);
    uint32_t most = fv_choose_pages(&choice.chooser, &choice.scratch);
    double weight[PAGES + 1], sorted[PAGES + 1], best = 0, got = 0, found = 0;
    exact_weights(w, &choice, weight);
    uint32_t begin = choice.chooser.begin, count = choice.chooser.end - begin;
    memcpy(sorted, weight + begin, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, falling);
    for (uint32_t k = 0; k < most; k++) best += exp2(sorted[k]);
    for (uint32_t k = 0; k < most; k++) {
        uint32_t page = choice.scratch.page[choice.scratch.first + choice.scratch.chosen[k]];
        got += exp2(weight[page]);
        found += weight[page] >= sorted[most - 1];
    }
    row_choice_close(&choice);
    return (choice_quality){found / most, got / best};
}

/* Keys about some centres that drift, as a model's are, and queries near some of them. */
static void drift(attention_world *w, test_random *random) {
    uint32_t dim = w->attend.head_dim, heads = w->attend.query_heads;
    float centre[CHOOSE_MOST_DIM] = {0};
    for (uint32_t t = 0; t < w->tokens; t++) {
        float *key = w->keys + t * w->kv_stride, *query = w->queries + t * w->query_stride;
        for (uint32_t c = 0; c < dim; c++) {
            centre[c] = 0.98f * centre[c] + 0.2f * test_random_f32(random);
            key[c] = centre[c] + 0.7f * key[c] + (c < 2 ? 3.0f : 0.0f);
        }
        const float *target = w->keys + test_random_in(random, 0, t) * w->kv_stride;
        for (uint32_t c = 0; c < dim * heads; c++) query[c] = 0.8f * query[c] + 0.5f * target[c % dim];
    }
}

/* Pinned: a choice that became worse is one that nobody meant to. */
static void test_the_true_pages_are_found(void **state) {
    (void)state;
    static const struct {
        fv_selector selector;
        double found, mass;
    } pinned[] = {{FV_SELECTOR_FOVEA, 0.84, 0.98}, {FV_SELECTOR_CASCADE, 0.80, 0.965}};
    for (size_t s = 0; s < 2; s++) {
        test_random random = test_random_make(132);
        choice_quality sum = {0, 0};
        uint32_t rows = 0;
        for (uint32_t world = 0; world < 6; world++) {
            attention_world w =
                world_make(tables.table[tables.count - 1],
                           choose_shape(1, world % 2 ? 64 : 128, TOKENS, FV_ELEMENT_F16), 1 + world % 3, 0, &random);
            drift(&w, &random);
            world_append(&w, TOKENS);
            fv_policy policy = choose_policy(pinned[s].selector, 0.12f, 32);
            for (uint32_t i = 0; i < 10; i++, rows++) {
                choice_quality got = quality_of(&w, &policy, TOKENS - 1 - 37 * i);
                sum.found += got.found, sum.mass += got.mass;
            }
            world_free(&w);
        }
        printf("selector %u: %.3f of the best pages found, %.4f of their mass\n", pinned[s].selector, sum.found / rows,
               sum.mass / rows);
        assert_true(sum.found / rows >= pinned[s].found);
        assert_true(sum.mass / rows >= pinned[s].mass);
    }
}

/* Of 1, by the weights that pages were chosen by. */
static double share_of(uint32_t weight) { return straight_power(((double)weight - FV_WEIGHT_WHOLE) / 256); }

/* By its own weights, top_p takes as many pages as it needs, none more; floor and cap hold, sinks and window included.
 */
static void test_top_p_takes_what_it_needs(void **state) {
    (void)state;
    test_random random = test_random_make(133);
    uint32_t free_rows = 0, floored = 0, capped = 0;
    for (uint32_t i = 0; i < 160; i++) {
        const fv_kernels *kernels = tables.table[i % tables.count];
        attention_world w = world_make(kernels, choose_shape(1, 16, 1000, FV_ELEMENT_F16), 1 + i % 3, 0, &random);
        world_append(&w, 1000);
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0, 20 + i % 33);
        policy.top_p = 0.05f + 0.9f * (float)(i % 17) / 16;
        policy.floor = i % 4 == 1 ? 6 + i % 29 : 0;
        if (i % 4 == 2) policy.cap = 6 + i % 31;
        const uint16_t few = 100; /* a head that reads less than others: then it is less than the floor */
        if (i % 8 == 5) policy.cap = 40, policy.head_share = &few, policy.head_share_count = 1;
        row_choice choice = row_choice_open(&w, kernels, &policy, 0, 999 - i);
        row_choice_weigh(&choice);
        const fv_chooser *chooser = &choice.chooser;
        double share[64], total = 0, always = 0, got, least = 2;
        for (uint32_t page = 0; page < chooser->scored; page++) {
            total += share[page] = share_of(choice.scratch.weight[page]);
            if (page < chooser->begin || page >= chooser->end) always += share[page];
        }
        uint32_t chosen = fv_choose_pages(&choice.chooser, &choice.scratch);
        got = always;
        for (uint32_t k = 0; k < chosen; k++) {
            double one = share[chooser->begin + choice.scratch.chosen[k]];
            got += one;
            least = fmin(least, one);
        }
        uint64_t tokens = chooser->sinks_end + chooser->position + 1 - chooser->window_begin + chosen * 16;
        uint32_t pages = (uint32_t)((tokens + 15) / 16), all = chooser->end - chooser->begin;
        double wanted = (double)policy.top_p * total, slack = 1e-4 * total; /* of 16 bits of top_p, and of 2^-30 */
        bool at_floor = policy.floor && pages <= policy.floor, at_cap = chosen == chooser->allowance || chosen == all;
        assert_true(chosen <= chooser->allowance);
        if (policy.floor) assert_true(pages >= policy.floor || at_cap);
        assert_true(tokens <= (uint64_t)policy.cap * 16 || chosen == 0);
        if (!at_cap) assert_true(got >= wanted - slack);
        if (!at_floor && chosen) assert_true(got - least < wanted + slack);
        if (at_cap && chosen < all && !policy.head_share) assert_true(tokens + 16 > (uint64_t)policy.cap * 16);
        floored += at_floor && got - least >= wanted, capped += at_cap && got < wanted;
        free_rows += chosen > 0 && !at_floor && !at_cap;
        row_choice_close(&choice);
        world_free(&w);
    }
    printf("top-p: %u rows free, %u at the floor, %u at the cap\n", free_rows, floored, capped);
    assert_true(free_rows > 60 && floored > 5 && capped > 5);
}

/* And it is that share of the softmax as fv_mass_tokens() measures it, as well as 2-bit codes can tell. */
static void test_top_p_is_a_share_of_the_mass(void **state) {
    (void)state;
    test_random random = test_random_make(134);
    static float mass[TOKENS];
    for (uint32_t p = 0; p < 3; p++) {
        double sum = 0, worst = 1;
        fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0, 32);
        policy.top_p = 0.5f + 0.2f * (float)p;
        for (uint32_t world = 0; world < 4; world++) {
            attention_world w =
                world_make(tables.table[world % tables.count],
                           choose_shape(1, world % 2 ? 64 : 128, TOKENS, FV_ELEMENT_F16), 1, 0, &random);
            drift(&w, &random);
            world_append(&w, TOKENS);
            for (uint32_t i = 0; i < 10; i++) {
                uint32_t position = TOKENS - 1 - 41 * i;
                float scratch[16 * 128];
                uint8_t read[PAGES + 1];
                row_choice choice = row_choice_open(&w, w.kernels, &policy, 0, position);
                row_choice_weigh(&choice);
                fv_choose_pages(&choice.chooser, &choice.scratch);
                row_choice_pages(&choice, read);
                check_status(fv_mass_tokens(&w.attend, w.kernels, w.cache, 0, position, choice.query, mass, scratch));
                double got = 0, own = 0; /* the row's own page has no weight */
                for (uint32_t t = 0; t <= position; t++) {
                    if (read[t / 16] && t / 16 < choice.chooser.scored) got += (double)mass[t];
                    if (t / 16 == choice.chooser.scored) own += (double)mass[t];
                }
                got /= 1 - own;
                sum += got / 40;
                worst = fmin(worst, got);
                row_choice_close(&choice);
            }
            world_free(&w);
        }
        printf("top-p %.1f: %.3f of the mass on average, %.3f at least\n", (double)policy.top_p, sum, worst);
        assert_true(sum > (double)policy.top_p - 0.02 && sum < (double)policy.top_p + 0.15);
        assert_true(worst > (double)policy.top_p - 0.06);
    }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores_are_the_formula),       cmocka_unit_test(test_a_cascade_looks_at_the_best_signs),
        cmocka_unit_test(test_the_true_pages_are_found),     cmocka_unit_test(test_top_p_takes_what_it_needs),
        cmocka_unit_test(test_top_p_is_a_share_of_the_mass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
