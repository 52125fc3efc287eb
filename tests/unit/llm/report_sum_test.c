/* report_sum_test.c - every counter of a report is added; of a certificate's figures the worse one stays. */
#include "fovea/report_sum.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const fv_report first = {.isa = 1,
                                .keys_visible = 100,
                                .keys_read = 40,
                                .bytes_read = 7,
                                .local_keys = 3,
                                .error_bound = 0.5f,
                                .selected_keys = 9,
                                .relative_bound = 2,
                                .relative_estimate = 0.25f,
                                .certified_rows = 4,
                                .vacuous_rows = 1,
                                .whole_rows = 2,
                                .sink_keys = 11,
                                .window_keys = 13,
                                .whole_keys = 17,
                                .choose_ns = 19,
                                .read_ns = 23,
                                .product_ns = 29,
                                .other_ns = 31};
static const fv_report second = {.isa = 2,
                                 .keys_visible = 1000,
                                 .keys_read = 400,
                                 .bytes_read = 70,
                                 .local_keys = 30,
                                 .error_bound = 0.25f,
                                 .selected_keys = 90,
                                 .relative_bound = 3,
                                 .relative_estimate = 0.125f,
                                 .certified_rows = 40,
                                 .vacuous_rows = 10,
                                 .whole_rows = 20,
                                 .sink_keys = 110,
                                 .window_keys = 130,
                                 .whole_keys = 170,
                                 .choose_ns = 190,
                                 .read_ns = 230,
                                 .product_ns = 290,
                                 .other_ns = 310};

static void every_counter_is_added(void **state) {
    fv_report sum = {.struct_bytes = sizeof sum};
    (void)state;
    fv_report_sum(&sum, &first);
    assert_true(sum.error_bound == 0.5f && sum.relative_bound == 2 && sum.relative_estimate == 0.25f);
    fv_report_sum(&sum, &second);
    assert_int_equal(sum.isa, 2);
    assert_int_equal(sum.struct_bytes, sizeof sum);
    const uint64_t added[][3] = {{sum.keys_visible, first.keys_visible, second.keys_visible},
                                 {sum.keys_read, first.keys_read, second.keys_read},
                                 {sum.bytes_read, first.bytes_read, second.bytes_read},
                                 {sum.local_keys, first.local_keys, second.local_keys},
                                 {sum.selected_keys, first.selected_keys, second.selected_keys},
                                 {sum.certified_rows, first.certified_rows, second.certified_rows},
                                 {sum.vacuous_rows, first.vacuous_rows, second.vacuous_rows},
                                 {sum.whole_rows, first.whole_rows, second.whole_rows},
                                 {sum.sink_keys, first.sink_keys, second.sink_keys},
                                 {sum.window_keys, first.window_keys, second.window_keys},
                                 {sum.whole_keys, first.whole_keys, second.whole_keys},
                                 {sum.choose_ns, first.choose_ns, second.choose_ns},
                                 {sum.read_ns, first.read_ns, second.read_ns},
                                 {sum.product_ns, first.product_ns, second.product_ns},
                                 {sum.other_ns, first.other_ns, second.other_ns}};
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++)
        assert_int_equal(added[i][0], added[i][1] + added[i][2]);
    assert_true(sum.error_bound == 0.5f && sum.relative_bound == 3 && sum.relative_estimate == 0.25f);
    assert_true(fabs(fv_report_density(&sum) - 0.4) < 1e-12);
}

/* NaN: there was no certificate; infinity: nothing is known. */
static void nan_is_no_figure_and_infinity_the_worst(void **state) {
    fv_report sum = first, none = {.error_bound = NAN, .relative_bound = NAN, .relative_estimate = NAN};
    fv_report unknown = {.certified_rows = 1, .error_bound = 1, .relative_bound = INFINITY, .relative_estimate = 1};
    (void)state;
    fv_report_sum(&sum, &none);
    assert_true(sum.error_bound == 0.5f && sum.relative_bound == 2 && sum.relative_estimate == 0.25f);
    fv_report_sum(&sum, &unknown);
    assert_true(isinf(sum.relative_bound) && sum.error_bound == 1);
    assert_true(fv_report_density(&(fv_report){0}) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_counter_is_added),
                                       cmocka_unit_test(nan_is_no_figure_and_infinity_the_worst)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
