/* limits_test.c - shares of a limit from peaks that are made up. */
#include "fovea/peaks.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void the_larger_time_is_the_limit(void **state) {
    const fv_peaks peaks = {.f32_gflops = 100, .int8_gops = 400, .gb_per_s = 10};
    const fv_peak_work work = {.f32_operations = 1000, .int8_operations = 8000, .bytes = 200};
    const char *name;
    (void)state;
    assert_true(fabs(fv_peaks_share(&peaks, &work, 60, &name) - (10 + 20) / 60.0) < 1e-12);
    assert_string_equal(name, "compute");
    const fv_peak_work reading = {.f32_operations = 1000, .bytes = 200};
    assert_true(fabs(fv_peaks_share(&peaks, &reading, 40, &name) - 0.5) < 1e-12);
    assert_string_equal(name, "memory");
    assert_true(fv_peaks_share(&peaks, &work, 0, &name) == 0);
}

static void without_int8_its_products_are_f32(void **state) {
    const fv_peaks peaks = {.f32_gflops = 100, .int8_gops = NAN, .gb_per_s = 10};
    const fv_peak_work work = {.f32_operations = 1000, .int8_operations = 8000, .bytes = 1};
    const char *name;
    (void)state;
    assert_true(fabs(fv_peaks_share(&peaks, &work, 180, &name) - 0.5) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_larger_time_is_the_limit),
                                       cmocka_unit_test(without_int8_its_products_are_f32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
