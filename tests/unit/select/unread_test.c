/* unread_test.c - what fv_unread_of() says of the pages that a row did not read, against exact sums in double: the
 * bound holds and is no looser than it was, each of its parts counts by itself, the estimate is near. */
#include "select/unread.h"
#include "support/choose_world.h"
#include "support/tables.h"

enum { TOKENS = 1000, HEADS = 2, GROUP = 2 };

static test_tables tables;

static attention_world world_of(uint32_t i, float shift, test_random *random) {
    static const uint32_t dims[] = {64, 24, 16, 128, 80};
    fv_cache_config shape = choose_shape(HEADS, dims[i % 5], TOKENS, i % FV_ELEMENT_COUNT);
    shape.margins = 1;
    shape.tail = 0;
    attention_world w = world_make(tables.table[i % tables.count], shape, GROUP, 0, random);
    w.attend.scale = 1.0f / sqrtf((float)dims[i % 5]);
    for (size_t k = 0; k < w.tokens * w.kv_stride; k++) w.keys[k] += shift;
    world_append(&w, TOKENS);
    return w;
}

static fv_policy certified_policy(void) {
    fv_policy policy = choose_policy(FV_SELECTOR_FOVEA, 0.2f, 32);
    policy.certificate = 1;
    return policy;
}

static row_choice choice_of(const attention_world *w, const fv_policy *policy, uint32_t head, uint32_t position) {
    row_choice choice = row_choice_open(w, w->kernels, policy, head, position);
    row_choice_weigh(&choice);
    fv_choose_pages(&choice.chooser, &choice.scratch);
    return choice;
}

static fv_unread unread_of(row_choice *choice, uint32_t g, float maximum) {
    uint32_t dim = choice->chooser.cache->config.head_dim;
    return fv_unread_of(&choice->chooser, &choice->scratch, g, choice->query + g * dim, maximum);
}

/* Root mean square of the values of a page, and their largest magnitude. */
static double page_values(const fv_cache *cache, uint32_t head, uint32_t page, double *most) {
    uint32_t dim = fv_cache_shape(cache)->head_dim;
    float values[16 * CHOOSE_MOST_DIM];
    double squares = 0;
    check_status(fv_cache_read(cache, head, page * 16, 16, NULL, values));
    for (size_t i = 0; i < 16 * dim; i++) {
        squares += (double)values[i] * (double)values[i];
        *most = fmax(*most, fabs((double)values[i]));
    }
    return sqrt(squares / (16 * dim));
}

/* Lengths of a query, rotated, and of what its two rounded copies leave out. */
typedef struct query_errors {
    double whole, mean, code;
} query_errors;

static query_errors errors_of(const row_choice *choice, uint32_t g) {
    uint32_t dim = choice->chooser.cache->config.head_dim;
    double wide[CHOOSE_MOST_DIM], x[CHOOSE_MOST_DIM], most = 0;
    query_errors errors = {0, 0, 0};
    for (uint32_t c = 0; c < dim; c++) wide[c] = (double)choice->query[g * dim + c];
    rotate_double(dim, wide, x);
    for (uint32_t c = 0; c < dim; c++) most = fmax(most, fabs(x[c]));
    for (uint32_t c = 0; c < dim; c++) {
        errors.whole += x[c] * x[c];
        errors.mean += pow(x[c] - rint(x[c] * 127 / most) * most / 127, 2);
        errors.code += pow(x[c] - rint(x[c] * 7 / most) * most / 7, 2);
    }
    return (query_errors){sqrt(errors.whole), sqrt(errors.mean), sqrt(errors.code)};
}

/* Powers of two by which a page's likely score is raised: two standard deviations of an error that points anywhere. */
static double raise_of(const attention_world *w, double length, double residual) {
    return 2 * (double)w->attend.scale * 1.4426950408889634 * length * residual / sqrt(w->attend.head_dim);
}

static void test_bound_and_estimate(void **state) {
    (void)state;
    test_random random = test_random_make(140);
    const fv_policy policy = certified_policy();
    double loosest = 0, tightest = 1e300, slack = 0, bias = 0, spread = 0;
    uint32_t rows = 0;
    for (uint32_t i = 0; i < 10; i++) {
        attention_world w = world_of(i, i % 3 ? 0.0f : 0.5f, &random);
        for (uint32_t k = 0; k < 8 * GROUP; k++, rows++) {
            row_choice choice = choice_of(&w, &policy, k % HEADS, TOKENS - 1 - 31 * (k / GROUP));
            uint32_t g = k % GROUP, pages = 0;
            double score[TOKENS / 16] = {0}, best = -1e300, mass = 0, raised = 0, most = 0, weighted = 0;
            double length = errors_of(&choice, g).whole;
            exact_page_scores(&w, &choice, g, score);
            for (uint32_t page = 0; page < choice.chooser.scored; page++) best = fmax(best, score[page]);
            float maximum = (float)best - 2.5f;
            for (uint32_t page = choice.chooser.begin; page < choice.chooser.end; page++) {
                if (choice.scratch.weight[page] == FV_CHOSEN) continue;
                double share = exp2(score[page] - (double)maximum);
                pages++;
                mass += share;
                share *= exp2(raise_of(
                    &w, length, (double)fv_margin_of(&w.cache->margins, choice.chooser.kv_head, page)->residual));
                raised += share;
                weighted += share * page_values(w.cache, k % HEADS, page, &most);
            }
            fv_unread got = unread_of(&choice, g, maximum);
            assert_int_equal(got.pages, pages);
            if (!((double)got.mass_bound >= mass)) fail_msg("bound %g of %g", (double)got.mass_bound, mass);
            double above = log2((double)got.mass_bound / mass), off = log2((double)got.mass_estimate / raised);
            loosest = fmax(loosest, above), tightest = fmin(tightest, above);
            slack += above, bias += off, spread += off * off;
            assert_true((double)got.value_max >= most && (double)got.value_max <= most * 1.0001);
            assert_true(fabs((double)got.value_rms / (weighted / raised) - 1) < 0.02);
            row_choice_close(&choice);
        }
        world_free(&w);
    }
    slack /= rows, bias /= rows, spread = sqrt(spread / rows);
    printf("bounds are %.2f to %.2f powers of two above, %.2f on average; estimates %.3f, +-%.3f\n", tightest, loosest,
           slack, bias, spread);
    assert_true(slack < 2.3); /* as it was measured, and some; less is better */
    assert_true(fabs(bias) < 0.1 && spread < 0.12);
}

/* A row of whose candidates one page alone is unread. */
static row_choice one_page(const attention_world *w, const fv_policy *policy, uint32_t page) {
    row_choice choice = choice_of(w, policy, 1, TOKENS - 1);
    for (uint32_t i = choice.chooser.begin; i < choice.chooser.end; i++)
        choice.scratch.weight[i] = i == page ? 0 : FV_CHOSEN;
    return choice;
}

/* What the bound allows for, alone and together: how far keys lie from their codes, by the whole query; codes, by what
 * the query that meets them was rounded off; centres, by what the other one was; a power's straight line and three
 * roundings, always. */
static void test_each_part_of_the_bound(void **state) {
    (void)state;
    test_random random = test_random_make(141);
    const fv_policy policy = certified_policy();
    static const fv_margin parts[] = {
        {0}, {.residual = 3.0f}, {.code = 5.0f}, {.centre = 40.0f}, {.residual = 1.0f, .code = 2.0f, .centre = 3.0f}};
    for (uint32_t i = 0; i < 5; i++) {
        attention_world w = world_of(i, 0.3f, &random);
        fv_margin *margins = fv_margin_of(&w.cache->margins, 1, 0); /* of head 1 */
        for (uint32_t k = 0; k < 20; k++) {
            uint32_t page = test_random_in(&random, 3, 50), g = k / 5 % GROUP;
            row_choice choice = one_page(&w, &policy, page);
            query_errors errors = errors_of(&choice, g);
            float maximum = (float)test_random_in(&random, 0, 16) - 8;
            const fv_margin *part = &parts[k % 5];
            margins[page] = *part;
            fv_unread got = unread_of(&choice, g, maximum);
            double height = choice.scratch.score[g * choice.scratch.stride + page] / 256.0 - (double)maximum;
            double reach = (double)w.attend.scale * 1.4426950408889634 *
                           (errors.whole * (double)part->residual + errors.code * (double)part->code +
                            errors.mean * (double)part->centre);
            double most = height + 0.08607 + 2.0 / 256 + reach, above = log2((double)got.mass_bound) - most;
            if (!(above >= 0 && above <= 0.0025 + 0.002 * reach))
                fail_msg("part %u, reach %g: the bound is %g powers of two above what it must be", k % 5, reach, above);
            double raised = height + raise_of(&w, errors.whole, (double)part->residual);
            double likely = exp2(floor(raised)) * (1 + raised - floor(raised));
            assert_true(fabs((double)got.mass_estimate / likely - 1) < 0.005);
            assert_int_equal(got.pages, 1);
            row_choice_close(&choice);
        }
        world_free(&w);
    }
}

/* A score that was held says nothing; one unit less is a score. */
static void test_held_scores_bound_nothing(void **state) {
    (void)state;
    test_random random = test_random_make(142);
    const fv_policy policy = certified_policy();
    attention_world w = world_of(0, 0, &random);
    row_choice choice = one_page(&w, &policy, 20);
    int32_t *score = &choice.scratch.score[20], base = choice.scratch.base[5];
    *score = base + (int32_t)FV_SCORE_MOST;
    assert_true(unread_of(&choice, 0, 100.0f).mass_bound >= 1e38f);
    *score = base + (int32_t)FV_SCORE_MOST - 1;
    assert_true(unread_of(&choice, 0, 100.0f).mass_bound < 1e30f);
    row_choice_close(&choice);
    world_free(&w);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_and_estimate),
        cmocka_unit_test(test_each_part_of_the_bound),
        cmocka_unit_test(test_held_scores_bound_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
