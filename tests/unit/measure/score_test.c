/* score_test.c - the figures of `fovea ppl` against sums that can be done by hand. */
#include "fovea/measure/score.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * (1 + fabs(b)); }

static void equal_logits_have_the_perplexity_of_the_vocabulary(void **state) {
    float logits[3 * 7] = {0};
    int32_t next[3] = {0, 3, 6};
    fv_score scores[3];
    fv_score_sum sum = {0};
    (void)state;
    fv_score_rows(3, 7, logits, logits, next, NULL, scores);
    fv_score_add(&sum, scores, 3);
    assert_true(near(fv_score_perplexity(&sum), 7));
    assert_true(fv_score_error(&sum) == 0);
    assert_true(fv_score_divergence(&sum) == 0);
    assert_true(fv_score_same_top(&sum) == 1);
}

static void divergence_of_two_known_distributions(void **state) {
    /* p = (3/4, 1/4), q = (1/4, 3/4), both shifted: a softmax does not see it */
    float base[2] = {1000 + 1.0986122886681098f, 1000}, other[2] = {-5, -5 + 1.0986122886681098f};
    int32_t next = 0;
    fv_score score;
    (void)state;
    fv_score_rows(1, 2, base, other, &next, NULL, &score);
    assert_true(fabs(score.loss - log(4)) < 1e-4); /* 1000 + x leaves 13 bits of x */
    assert_true(fabs(score.divergence - 0.5 * log(3)) < 1e-4);
    assert_false(score.same_top);
}

static void a_logit_less_the_log_sum_is_its_log_probability(void **state) {
    float logits[5] = {0.5f, -3, 7, 6.75f, 0};
    double sum = 0, total = fv_score_log_sum(5, logits);
    (void)state;
    for (int32_t next = 0; next < 5; next++) {
        fv_score score;
        fv_score_rows(1, 5, logits, logits, &next, NULL, &score);
        assert_true(total - (double)logits[next] == score.loss);
        sum += exp((double)logits[next] - total);
    }
    assert_true(near(sum, 1));
}

static void a_tie_has_the_lower_id_on_top(void **state) {
    float base[3] = {1, 2, 2}, other[3] = {1, 2, 1.5f};
    int32_t next = 1;
    fv_score score;
    (void)state;
    fv_score_rows(1, 3, base, other, &next, NULL, &score);
    assert_true(score.same_top);
}

static void large_logits_do_not_overflow(void **state) {
    float logits[2] = {3e38f, -3e38f};
    int32_t next = 1;
    fv_score score;
    (void)state;
    fv_score_rows(1, 2, logits, logits, &next, NULL, &score);
    assert_true(isfinite(score.loss) && score.loss > 5e38);
}

static void error_is_the_one_of_llama_perplexity(void **state) {
    /* losses ln 2 and ln 8: mean ln 4, deviation of the mean sqrt((ln 2)^2 / 1), times the perplexity 4 */
    fv_score scores[2] = {{log(2), 0, true}, {log(8), 0, false}};
    fv_score_sum sum = {0};
    (void)state;
    fv_score_add(&sum, scores, 2);
    assert_true(near(fv_score_perplexity(&sum), 4));
    assert_true(near(fv_score_error(&sum), 4 * log(2)));
    assert_true(fv_score_same_top(&sum) == 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_logits_have_the_perplexity_of_the_vocabulary),
        cmocka_unit_test(divergence_of_two_known_distributions),
        cmocka_unit_test(a_logit_less_the_log_sum_is_its_log_probability),
        cmocka_unit_test(a_tie_has_the_lower_id_on_top),
        cmocka_unit_test(large_logits_do_not_overflow),
        cmocka_unit_test(error_is_the_one_of_llama_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
