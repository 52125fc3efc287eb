/* estimate_test.c - relative_estimate covers the true error of 95 % of the rows, whatever the spread of the scores, and
 * a quality that was asked for is kept as often. Gaussian keys, values and queries; FV_ESTIMATE_ROWS rows of each
 * spread, 40 unless given. */
#include "fovea/array_attention.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DIM = 64, TOKENS = 1200, ROWS = 40 };
#define TINY 1e-4 /* relative errors below it are roundings */

typedef struct problem {
    float keys[TOKENS][DIM], values[TOKENS][DIM], query[DIM], out[DIM];
} problem;

static int rows_wanted(void) {
    const char *text = getenv("FV_ESTIMATE_ROWS");
    int rows = text ? atoi(text) : 0;
    return rows > 0 ? rows : ROWS;
}

/* Normal numbers, by the sum of twelve uniform ones of variance 1/3: of variance 4. */
static void fill(test_random *random, float *to, size_t count, float size) {
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int k = 0; k < 12; k++) sum += test_random_f32(random);
        to[i] = 0.5f * sum * size;
    }
}

/* max |out - dense| / rms(dense), dense in double. */
static double true_error(const problem *one) {
    static double score[TOKENS];
    double most = -1e300, sum = 0, dense[DIM] = {0}, squares = 0, worst = 0;
    for (int t = 0; t < TOKENS; t++) {
        score[t] = 0;
        for (int c = 0; c < DIM; c++) score[t] += (double)one->query[c] * (double)one->keys[t][c] / 8;
        if (score[t] > most) most = score[t];
    }
    for (int t = 0; t < TOKENS; t++) {
        double weight = exp(score[t] - most);
        sum += weight;
        for (int c = 0; c < DIM; c++) dense[c] += weight * (double)one->values[t][c];
    }
    for (int c = 0; c < DIM; c++) {
        double error = fabs(dense[c] / sum - (double)one->out[c]);
        squares += dense[c] / sum * dense[c] / sum;
        if (error > worst) worst = error;
    }
    return worst / sqrt(squares / DIM);
}

/* Rows whose true error is above what is said: the estimate, and the quality where one is asked for. */
static int rows_above(const char *policy, float spread, double quality) {
    static problem one;
    test_random random = test_random_make(7);
    int above = 0;
    for (int row = 0; row < rows_wanted(); row++) {
        fv_array_attention call;
        fv_report report = {.struct_bytes = sizeof report};
        fill(&random, one.keys[0], (size_t)TOKENS * DIM, 1);
        fill(&random, one.values[0], (size_t)TOKENS * DIM, 1);
        fill(&random, one.query, DIM, spread);
        fv_array_attention_default(&call);
        call.query = fv_array_by_token(one.query, FV_ELEMENT_F32, 1, 1, DIM);
        call.keys = fv_array_by_token(one.keys, FV_ELEMENT_F32, TOKENS, 1, DIM);
        call.values = fv_array_by_token(one.values, FV_ELEMENT_F32, TOKENS, 1, DIM);
        call.out = fv_array_by_token(one.out, FV_ELEMENT_F32, 1, 1, DIM);
        call.policy = policy;
        call.report = &report;
        assert_int_equal(fv_array_attention_run(&call, NULL), FV_OK);
        double error = true_error(&one);
        if (quality > 0) assert_true(report.relative_estimate <= (float)quality);
        above += error > TINY && error > (quality > 0 ? quality : (double)report.relative_estimate);
    }
    return above;
}

static void check_spreads(const char *policy, double quality) {
    int rows = rows_wanted();
    for (float spread = 1; spread <= 64; spread *= 2) {
        int above = rows_above(policy, spread, quality);
        printf("%s, spread %g: %.1f %% of the rows above what is said\n", policy, (double)spread, 100.0 * above / rows);
        if (above * 100 > rows * 5)
            fail_msg("%s, spread %g: %d of %d rows above what is said", policy, (double)spread, above, rows);
    }
}

static void the_estimate_covers_at_every_spread(void **state) {
    (void)state;
    check_spreads("fovea:budget=0.16,certificate=on", 0);
}

static void a_quality_is_kept_at_every_spread(void **state) {
    (void)state;
    check_spreads("fovea:budget=0.16,quality=0.1", 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_estimate_covers_at_every_spread),
        cmocka_unit_test(a_quality_is_kept_at_every_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
