/* sign_code_test.c - what a code says of products is true: without bias over rotations, and within its bound as often
 * as it says; by sums of table entries too. */
#include "index/code_table.h"
#include "index/kac_rotation.h"
#include "index/scan_kernels.h"
#include "index/sign_code.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 1088 };

static double product(size_t n, const float *x, const float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

static void codes_lie_where_they_are_said_to(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    uint8_t block[128 / 4 * 16];
    float r[32][128], q[128];
    test_fill_bytes(&random, block, sizeof block); /* what was there before goes */
    test_fill_f32(&random, q, 128, 1.0f);
    for (size_t t = 0; t < 32; t++) {
        test_fill_f32(&random, r[t], 128, 1.0f);
        fv_sign_code_put(128, r[t], t, block);
    }
    for (size_t t = 0; t < 32; t++) {
        double sum = 0;
        for (size_t i = 0; i < 128; i++) {
            size_t byte = i / 4 * 16 + t % 8 * 2 + t / 8 % 2;
            assert_int_equal(block[byte] >> (t / 16 * 4 + i % 4) & 1, r[t][i] > 0);
            sum += r[t][i] > 0 ? (double)q[i] : -(double)q[i];
        }
        assert_true(fabs(sum - fv_sign_code_sum(128, q, t, block)) < 1e-12);
    }
}

static void a_zero_has_no_error(void **state) {
    (void)state;
    uint8_t block[64 / 4 * 16] = {0};
    float zero[64] = {0};
    fv_sign_code code = fv_sign_code_put(64, zero, 5, block);
    assert_true(code.square == 0 && code.product == 0 && code.spread == 0);
}

/* Defect 3: one norm for all, no correction, no bound. 1,000 rotations of one pair: the mean error is within what the
 * mean of so many may be off, and few are beyond 1.9 standard deviations. */
static void defect_3_estimates_are_unbiased_and_bounded(void **state) {
    (void)state;
    static const size_t dims[] = {24, 64, 100, 128, 300, 1025};
    test_random random = test_random_make(4);
    static float x[MOST], y[MOST], r[MOST], q[MOST];
    static uint8_t block[MOST / 4 * 16];
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        size_t dim = dims[d], n = fv_rotated_dim(dim), beyond = 0;
        enum { RUNS = 1000 };
        double bias = 0, deviation = 0;
        test_fill_f32(&random, x, dim, 7.0f);
        for (size_t i = 0; i < dim; i++) y[i] = 0.3f * x[i] + 2.0f * test_random_f32(&random);
        double size = sqrt(product(dim, y, y)), truth = product(dim, x, y);
        for (uint64_t run = 0; run < RUNS; run++) {
            fv_kac_rotate(run, dim, x, r);
            fv_kac_rotate(run, dim, y, q);
            fv_sign_code code = fv_sign_code_put(n, r, run % 32, block);
            double error = (double)code.product * fv_sign_code_sum(n, q, run % 32, block) - truth;
            bias += error / RUNS;
            deviation += (double)code.spread * size / RUNS;
            beyond += fabs(error) > 1.9 * (double)code.spread * size;
        }
        if (fabs(bias) > 4 * deviation / sqrt(RUNS)) fail_msg("dim %zu: bias %g of %g", dim, bias, truth);
        if (beyond > RUNS * 6 / 100) fail_msg("dim %zu: %zu of %d beyond the bound", dim, beyond, RUNS);
    }
}

/* Defect 4: queries of one bit. A table's rounding adds little: 2 % of a standard deviation of the code's own error. */
static void defect_4_tables_are_as_good_as_the_query(void **state) {
    (void)state;
    static const size_t dims[] = {1, 3, 100, 128, 1025};
    test_random random = test_random_make(5);
    static float x[MOST], r[MOST], q[MOST];
    static uint8_t block[MOST / 4 * 16], table[MOST / 4 * 16];
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        size_t dim = dims[d], n = fv_rotated_dim(dim);
        double squares = 0, size = 0;
        for (uint32_t run = 0; run < 200; run++) {
            for (size_t t = 0; t < 32; t++) {
                test_fill_f32(&random, x, dim, 1.0f);
                fv_kac_rotate(run, dim, x, r);
                fv_sign_code_put(n, r, t, block);
            }
            test_fill_f32(&random, x, dim, 1.0f);
            fv_kac_rotate(run, dim, x, q);
            float step = fv_code_table_make(n, q, table);
            uint32_t sum[32];
            fv_scan_kernels_of(FV_ISA_SCALAR)->scan_sums(n / 4, block, table, sum);
            double scanned = (double)step * ((double)sum[31] - (double)(FV_TABLE_ZERO * n / 4));
            double error = scanned - fv_sign_code_sum(n, q, 31, block);
            assert_true(fabs(error) <= (double)step * 0.5001 * (double)n / 4);
            squares += error * error;
            size += product(n, q, q);
            assert_true(fabs(error) <= 5 * 0.0443 * sqrt(product(n, q, q))); /* 5 sigma of what the spread allows */
        }
        if (dim >= 100 && squares > size * 0.0001) fail_msg("dim %zu: %g of %g", dim, squares, size);
    }
}

static void a_query_of_zeros_has_a_table(void **state) {
    (void)state;
    float q[64] = {0};
    uint8_t table[256];
    assert_true(fv_code_table_make(64, q, table) == 0);
    for (size_t i = 0; i < 256; i++) assert_int_equal(table[i], FV_TABLE_ZERO);
    q[3] = 1e-38f; /* a step that f32 can't hold */
    assert_true(fv_code_table_make(64, q, table) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_lie_where_they_are_said_to),
        cmocka_unit_test(a_zero_has_no_error),
        cmocka_unit_test(defect_3_estimates_are_unbiased_and_bounded),
        cmocka_unit_test(defect_4_tables_are_as_good_as_the_query),
        cmocka_unit_test(a_query_of_zeros_has_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
