/* tune_shares_test.c - budgets divided by losses whose laws are known. */
#include "fovea/measure/tune_shares.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HEADS 24

static double sum_of(const uint16_t *shares, size_t heads) {
    double sum = 0;
    for (size_t i = 0; i < heads; i++) sum += shares[i];
    return sum;
}

/* loss(s) = scale * s^-slope */
static void set_loss(double loss[2], double scale, double slope) {
    loss[0] = scale * pow(0.5, -slope);
    loss[1] = scale * pow(2, -slope);
}

static void equal_losses_have_equal_shares(void **state) {
    double loss[HEADS][2];
    uint16_t shares[HEADS];
    (void)state;
    for (size_t i = 0; i < HEADS; i++) set_loss(loss[i], 1e-5, 1.3);
    fv_tune_shares(HEADS, (const double(*)[2])loss, 1, shares);
    for (size_t i = 0; i < HEADS; i++) assert_int_equal(shares[i], FV_TUNE_SHARE_EQUAL);
}

static void roots_of_losses(void **state) {
    double loss[3][2];
    uint16_t shares[3];
    (void)state;
    for (size_t i = 0; i < 3; i++) set_loss(loss[i], 1e-4 * (double)((i + 1) * (i + 1)), 1);
    fv_tune_shares(3, (const double(*)[2])loss, 1, shares);
    for (size_t i = 0; i < 3; i++) assert_true(fabs(shares[i] - 512.0 * (double)(i + 1)) <= 1);
    fv_tune_shares(3, (const double(*)[2])loss, 0.5, shares);
    for (size_t i = 0; i < 3; i++) assert_true(fabs(shares[i] - shares[0] * sqrt((double)(i + 1))) <= 2);
    assert_true(fabs(sum_of(shares, 3) - 3 * FV_TUNE_SHARE_EQUAL) <= 2);
    fv_tune_shares(3, (const double(*)[2])loss, 0, shares);
    for (size_t i = 0; i < 3; i++) assert_int_equal(shares[i], FV_TUNE_SHARE_EQUAL);
}

/* No other division of the same budget has a smaller sum of losses. */
static void no_exchange_helps(void **state) {
    double loss[HEADS][2], scale[HEADS], slope[HEADS];
    uint16_t shares[HEADS];
    (void)state;
    for (size_t i = 0; i < HEADS; i++) {
        scale[i] = 1e-4 * (1 + (double)(i * 7 % 5));
        slope[i] = 0.6 + 0.3 * (double)(i % 6);
        set_loss(loss[i], scale[i], slope[i]);
    }
    fv_tune_shares(HEADS, (const double(*)[2])loss, 1, shares);
    assert_true(fabs(sum_of(shares, HEADS) - HEADS * FV_TUNE_SHARE_EQUAL) <= HEADS);
    for (size_t i = 0; i < HEADS; i++)
        for (size_t j = 0; j < HEADS; j++) {
            double more = (shares[i] + 32.0) / 1024, less = (shares[j] - 32.0) / 1024;
            double won = scale[i] * (pow(shares[i] / 1024.0, -slope[i]) - pow(more, -slope[i]));
            double lost = scale[j] * (pow(less, -slope[j]) - pow(shares[j] / 1024.0, -slope[j]));
            assert_true(i == j || won < lost);
        }
}

static void extremes_are_held_and_unserved_heads_left_out(void **state) {
    double loss[HEADS][2] = {{0}};
    uint16_t shares[HEADS];
    (void)state;
    for (size_t i = 0; i < HEADS / 2; i++) set_loss(loss[i], i ? 1e-9 : 1, 1);
    fv_tune_shares(HEADS, (const double(*)[2])loss, 1, shares);
    assert_int_equal(shares[0], 4 * FV_TUNE_SHARE_EQUAL);
    assert_true(fabs(sum_of(shares, HEADS / 2) - HEADS / 2 * FV_TUNE_SHARE_EQUAL) <= HEADS);
    for (size_t i = HEADS / 2; i < HEADS; i++) assert_int_equal(shares[i], FV_TUNE_SHARE_EQUAL);
    for (size_t i = 0; i < HEADS; i++) loss[i][0] = loss[i][1] = i % 2 ? 1e-300 : 1e300; /* a loss that does not fall */
    fv_tune_shares(HEADS, (const double(*)[2])loss, 1, shares);
    for (size_t i = 0; i < HEADS; i++)
        assert_true(shares[i] >= FV_TUNE_SHARE_EQUAL / 8 && shares[i] <= 4 * FV_TUNE_SHARE_EQUAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_losses_have_equal_shares),
        cmocka_unit_test(roots_of_losses),
        cmocka_unit_test(no_exchange_helps),
        cmocka_unit_test(extremes_are_held_and_unserved_heads_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
