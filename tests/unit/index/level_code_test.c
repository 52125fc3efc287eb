/* level_code_test.c - codes of 2 to 8 bits a channel: they lie where they are said to, what they say of products is
 * true without bias over rotations and within its bound as often as it says, and each bit halves the error. */
#include "index/kac_rotation.h"
#include "index/level_code.h"
#include "index/scan_kernels.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 1088 };

static double product(size_t n, const float *x, const float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

/* By the header's words: parts of 4, 2 and 1 bits, each of 8 * width bytes. */
static uint32_t level_by_hand(const uint8_t *group, size_t bits, size_t channel) {
    if (bits == 8) return group[channel];
    uint32_t level = 0, place = 0;
    for (uint32_t width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        uint32_t byte = group[channel % (8 * width)];
        level |= (byte >> width * (uint32_t)(channel / (8 * width)) & ((1u << width) - 1)) << place;
        place += width;
        group += 8 * width;
    }
    return level;
}

static void levels_lie_where_they_are_said_to(void **state) {
    (void)state;
    test_random random = test_random_make(31);
    static float r[192], u[192];
    static uint8_t code[192];
    for (size_t bits = 2; bits <= 8; bits++) {
        float half = (float)((1u << bits) - 1) / 2;
        test_fill_f32(&random, r, 192, 1.0f);
        test_fill_bytes(&random, code, sizeof code); /* what was there before goes */
        assert_int_equal(fv_level_code_bytes(192, bits), 24 * bits);
        fv_level_code made = fv_level_code_put(192, bits, r, code);
        fv_level_code_get(192, bits, code, 1, u);
        for (size_t i = 0; i < 192; i++) {
            assert_true(u[i] == (float)level_by_hand(code + i / 64 * 8 * bits, bits, i % 64) - half);
            assert_true((r[i] > 0) == (u[i] > 0)); /* the uppermost bit is that of sign_code.h */
        }
        assert_true(fabs(product(192, u, u) - (double)made.size) < 1e-6 * (double)made.size);
        assert_true(fabs(product(192, r, r) - (double)made.square) < 1e-6 * (double)made.square);
    }
}

static void a_zero_has_no_error(void **state) {
    (void)state;
    uint8_t code[64];
    float zero[64] = {0};
    for (size_t bits = 2; bits <= 8; bits++) {
        fv_level_code made = fv_level_code_put(64, bits, zero, code);
        assert_true(made.square == 0 && made.product == 0 && made.spread == 0 && made.size > 0);
    }
}

/* 400 rotations of one pair, for each number of bits: no bias, few beyond 1.9 standard deviations, and those shrink as
 * bits are added. Queries in whole numbers, as searches have them. */
static void estimates_are_unbiased_and_bounded(void **state) {
    (void)state;
    static const size_t dims[] = {24, 100, 128, 1025};
    enum { RUNS = 400 };
    test_random random = test_random_make(32);
    static float x[MOST], y[MOST], r[MOST], q[MOST];
    static uint8_t code[MOST];
    static int16_t level[MOST];
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        size_t dim = dims[d], n = fv_rotated_dim(dim);
        double before = INFINITY;
        test_fill_f32(&random, x, dim, 7.0f);
        for (size_t i = 0; i < dim; i++) y[i] = 0.3f * x[i] + 2.0f * test_random_f32(&random);
        double size = sqrt(product(dim, y, y)), truth = product(dim, x, y);
        for (size_t bits = 2; bits <= 8; bits++) {
            double bias = 0, deviation = 0;
            size_t beyond = 0;
            for (uint64_t run = 0; run < RUNS; run++) {
                fv_kac_rotate(run, dim, x, r);
                fv_kac_rotate(run, dim, y, q);
                fv_level_code made = fv_level_code_put(n, bits, r, code);
                fv_query_levels query = fv_query_levels_make(n, q, level);
                int32_t sum = fv_scan_kernels_of(FV_ISA_BEST)->scan_levels(n, bits, code, level);
                double error = (double)made.product * (double)fv_level_product(&query, bits, sum) - truth;
                bias += error / RUNS;
                deviation += (double)made.spread * size / RUNS;
                beyond += fabs(error) > 1.9 * (double)made.spread * size;
            }
            if (fabs(bias) > 4 * deviation / sqrt(RUNS)) fail_msg("dim %zu, %zu bits: bias %g", dim, bits, bias);
            if (beyond > RUNS * 8 / 100) fail_msg("dim %zu, %zu bits: %zu beyond the bound", dim, bits, beyond);
            if (dim == 128)
                printf("%zu bits: %.3f %% of |r| |q|\n", bits, 100 * deviation / size / sqrt(product(dim, x, x)));
            assert_true(deviation < 0.62 * before); /* of a grid by a half, of one with a good step by a little less */
            before = deviation;
        }
    }
}

/* What does not fit 31 bits is made coarser; zeros are zeros. */
static void queries_of_any_kind_fit_their_sums(void **state) {
    (void)state;
    enum { WIDE = 65536 };
    static float q[WIDE];
    static int16_t level[WIDE];
    for (int kind = 0; kind < 4; kind++) {
        double sum = 0;
        for (size_t i = 0; i < WIDE; i++)
            q[i] = kind == 0 ? 1 : kind == 1 ? (float)(i == 7) : kind == 2 ? 0 : (float)(i % 2) - 0.5f;
        fv_query_levels made = fv_query_levels_make(WIDE, q, level);
        for (size_t i = 0; i < WIDE; i++) {
            sum += abs(level[i]) * 255.0;
            assert_true(fabs(2.0 * (double)made.half_step * level[i] - (double)q[i]) <= (double)made.half_step * 1.001);
        }
        assert_true(sum < 2147483648.0 && (kind != 2 || sum == 0));
    }
}

static void rotations_go_back(void **state) {
    (void)state;
    static const size_t dims[] = {1, 64, 100, 128, 960, 1025};
    test_random random = test_random_make(33);
    static float x[MOST], out[MOST], back[MOST];
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        test_fill_f32(&random, x, dims[d], 3.0f);
        fv_kac_rotate(9, dims[d], x, out);
        fv_kac_rotate_back(9, dims[d], out, back);
        for (size_t i = 0; i < fv_rotated_dim(dims[d]); i++)
            assert_true(fabsf(back[i] - (i < dims[d] ? x[i] : 0)) < 2e-5f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_lie_where_they_are_said_to),
        cmocka_unit_test(a_zero_has_no_error),
        cmocka_unit_test(estimates_are_unbiased_and_bounded),
        cmocka_unit_test(queries_of_any_kind_fit_their_sums),
        cmocka_unit_test(rotations_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
