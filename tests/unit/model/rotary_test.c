/* rotary_test.c - sines and cosines against libm in double, tables and both kinds of rotation against the formula. */
#include "model/rotary.h"
#include "support/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define PI 3.14159265358979323846

static double worst;

static void check_angle(float x) {
    float sine, cosine;
    fv_rope_sincos(x, &sine, &cosine);
    double error = fmax(fabs((double)sine - sin((double)x)), fabs((double)cosine - cos((double)x)));
    if (error > worst) worst = error;
    if (!(error < 0x1p-22))
        fail_msg("x=%.9g: sine %.9g, cosine %.9g, error %.3g", (double)x, (double)sine, (double)cosine, error);
}

static void test_sweep(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    worst = 0;
    for (uint32_t i = 0; i <= 1u << 18; i++) check_angle((float)i); /* frequency 1 */
    for (uint32_t i = 0; i < 1u << 18; i++) check_angle((float)i * 0.749894f);
    for (int i = 0; i < 200000; i++)
        check_angle(fabsf(test_random_f32(&random)) * ldexpf(1.0f, (int)test_random_in(&random, 0, 43) - 20));
    printf("sine and cosine: worst absolute error %.3g\n", worst);
}

/* Where the remainder is nearly nothing or nearly half a quarter turn. */
static void test_near_quarters(void **state) {
    (void)state;
    for (uint32_t k = 0; k < 400000; k++) {
        float x = (float)((double)k * PI / 4);
        check_angle(x);
        check_angle(nextafterf(x, INFINITY));
        if (x > 0) check_angle(nextafterf(x, 0));
    }
    for (float x = 0.75f; x < 0.82f; x = nextafterf(x, 1.0f) + 1e-6f) check_angle(x); /* around the switch of method */
    check_angle(0.0f);
    check_angle(1e-38f);
    check_angle(nextafterf(8388608.0f, 0));
}

static void test_nonsense_is_harmless(void **state) {
    (void)state;
    const float angles[] = {1e9f, 2147483520.0f, 2147483648.0f, 1e30f, 3.4e38f, INFINITY, NAN};
    for (size_t i = 0; i < sizeof angles / sizeof *angles; i++) {
        float sine, cosine;
        fv_rope_sincos(angles[i], &sine, &cosine);
        assert_true(fabsf(sine) <= 1.0001f && fabsf(cosine) <= 1.0001f);
        if (!(angles[i] < 2147483648.0f)) assert_true(sine == 0.0f && cosine == 1.0f);
    }
}

static void test_table(void **state) {
    (void)state;
    enum { PAIRS = 5, TOKENS = 3 };
    const float frequencies[PAIRS] = {1.0f, 0.3f, 0.01f, 1e-4f, 0.0f};
    float table[TOKENS][2][PAIRS];
    fv_rope_table(100000, TOKENS, PAIRS, frequencies, 1.25f, &table[0][0][0]);
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t i = 0; i < PAIRS; i++) {
            double angle = (double)((float)(100000 + t) * frequencies[i]);
            assert_true(fabs((double)table[t][0][i] - 1.25 * cos(angle)) < 0x1p-21);
            assert_true(fabs((double)table[t][1][i] - 1.25 * sin(angle)) < 0x1p-21);
        }
}

/* Rotates pairs only: what lies beyond 2 * pairs elements stays. */
static void test_apply(void **state) {
    (void)state;
    enum { PAIRS = 7, DIM = 20 };
    test_random random = test_random_make(2);
    float table[2 * PAIRS], x[DIM], before[DIM];
    test_fill_f32(&random, table, 2 * PAIRS, 1.0f);
    for (int halves = 0; halves < 2; halves++) {
        test_fill_f32(&random, x, DIM, 1.0f);
        for (size_t i = 0; i < DIM; i++) before[i] = x[i];
        fv_rope_apply(PAIRS, halves, table, x);
        for (size_t i = 0; i < PAIRS; i++) {
            size_t a = halves ? i : 2 * i, b = halves ? i + PAIRS : 2 * i + 1;
            double c = (double)table[i], s = (double)table[PAIRS + i];
            assert_true(fabs((double)x[a] - ((double)before[a] * c - (double)before[b] * s)) < 1e-6);
            assert_true(fabs((double)x[b] - ((double)before[a] * s + (double)before[b] * c)) < 1e-6);
        }
        for (size_t i = 2 * (size_t)PAIRS; i < DIM; i++) assert_true(x[i] == before[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep), cmocka_unit_test(test_near_quarters), cmocka_unit_test(test_nonsense_is_harmless),
        cmocka_unit_test(test_table), cmocka_unit_test(test_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
