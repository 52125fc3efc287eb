/* kac_rotation_test.c - rotations keep lengths and angles, mix all channels, and have the same bits everywhere. */
#include "index/kac_rotation.h"
#include "llm/hash64.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 65535 + 64 };

static const size_t dims[] = {1, 2, 3, 63, 64, 65, 100, 128, 129, 200, 768, 960, 1024, 1025, 1536, 4097, 65535};
enum { DIMS = sizeof dims / sizeof dims[0] };

static double product(size_t n, const float *x, const float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

static void lengths_and_angles_stay(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    static float x[2][MOST], out[2][MOST];
    for (size_t d = 0; d < DIMS; d++) {
        size_t dim = dims[d], n = fv_rotated_dim(dim);
        assert_true(n >= dim && n % 64 == 0 && n < dim + 64);
        for (size_t i = 0; i < 2; i++) {
            test_fill_f32(&random, x[i], dim, 5.0f);
            fv_kac_rotate(7, dim, x[i], out[i]);
        }
        double size = sqrt(product(dim, x[0], x[0]) * product(dim, x[1], x[1]));
        for (size_t i = 0; i < 2; i++)
            for (size_t j = 0; j < 2; j++)
                if (fabs(product(dim, x[i], x[j]) - product(n, out[i], out[j])) > 2e-6 * size)
                    fail_msg("dim %zu: %.9g became %.9g", dim, product(dim, x[i], x[j]), product(n, out[i], out[j]));
    }
}

/* Defects 1 and 2 of signs without a rotation: all-positive vectors have the signs of one and the same vector. */
static void defects_1_and_2_positive_vectors_get_signs_of_their_own(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    float x[128], first[128], out[128];
    size_t differ = 0;
    for (int run = 0; run < 100; run++) {
        for (size_t i = 0; i < 128; i++) x[i] = test_random_f32(&random) + 1.0f;
        fv_kac_rotate(3, 128, x, run ? out : first);
        for (size_t i = 0; run && i < 128; i++) differ += (out[i] > 0) != (first[i] > 0);
    }
    assert_true(differ > 99 * 128 / 5); /* vectors 29 degrees apart on average: signs differ in 1 of 6 or more */
}

/* A single channel spreads over all: no channel of the result holds more than its share by much. */
static void one_channel_spreads_over_all(void **state) {
    (void)state;
    static float x[MOST], out[MOST];
    for (size_t d = 0; d < DIMS - 1; d++) {
        size_t dim = dims[d], n = fv_rotated_dim(dim);
        memset(x, 0, sizeof x);
        x[dim - 1] = 1;
        double most = 0;
        fv_kac_rotate(11, dim, x, out);
        for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)out[i]));
        if (most > 6 / sqrt((double)n)) fail_msg("dim %zu: a channel of %g", dim, most);
    }
}

static void seeds_differ(void **state) {
    (void)state;
    float x[100], out[2][128];
    for (size_t i = 0; i < 100; i++) x[i] = (float)i - 40.0f;
    fv_kac_rotate(1, 100, x, out[0]);
    fv_kac_rotate(2, 100, x, out[1]);
    assert_true(fabs(product(128, out[0], out[1])) < 0.5 * product(128, out[0], out[0]));
}

/* The bits that files are made of: a change of them makes every index that was saved another one. */
static void bits_are_pinned(void **state) {
    (void)state;
    static float x[MOST], out[MOST];
    test_random random = {.state = 5};
    test_fill_f32(&random, x, 4097, 1.0f);
    static const struct {
        size_t dim;
        uint64_t hash;
    } pinned[] = {{1, 0xEFD987F149261D3Fu},
                  {100, 0x82B3065C305E1CB1u},
                  {128, 0xEC65FE58FE72BFC1u},
                  {960, 0xE87946392DE8D234u},
                  {4097, 0x3FDAAFFA1E85FD91u}};
    for (size_t i = 0; i < sizeof pinned / sizeof pinned[0]; i++) {
        fv_kac_rotate(42, pinned[i].dim, x, out);
        uint64_t hash = fv_hash64(0, out, fv_rotated_dim(pinned[i].dim) * sizeof *out);
        if (hash != pinned[i].hash) fail_msg("dim %zu: %#llx", pinned[i].dim, (unsigned long long)hash);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_angles_stay),
        cmocka_unit_test(defects_1_and_2_positive_vectors_get_signs_of_their_own),
        cmocka_unit_test(one_channel_spreads_over_all),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(bits_are_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
