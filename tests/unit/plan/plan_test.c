/* plan_test.c - the list of steps: what is dropped, what is refused, what is counted. */
#include "fovea/plan.h"
#include "support/random.h"
#include "support/read_set.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static fv_step span(uint32_t begin, uint32_t end, uint32_t window, uint16_t row_begin, uint16_t row_end) {
    return (fv_step){FV_STEP_SPAN, FV_REASON_NONE, begin, end, window, row_begin, row_end, 0};
}

static void test_add(void **state) {
    (void)state;
    fv_step steps[3] = {0};
    fv_plan plan = {.steps = steps, .capacity = 2, .rows = 4};
    assert_int_equal(fv_plan_add(&plan, span(3, 3, 0, 0, 4)), FV_OK);
    assert_int_equal(fv_plan_add(&plan, span(4, 3, 0, 0, 4)), FV_OK);
    assert_int_equal(fv_plan_add(&plan, span(0, 3, 0, 2, 2)), FV_OK);
    assert_int_equal(fv_plan_add(&plan, (fv_step){FV_STEP_MARK, FV_REASON_NONE, 1, 1, 0, 0, 4, 0}), FV_OK);
    assert_int_equal(fv_plan_add(&plan, (fv_step){FV_STEP_DIAG, FV_REASON_NONE, 5, 0, 0, 3, 3, 0}), FV_OK);
    assert_int_equal(plan.count, 0);
    assert_int_equal(fv_plan_add(&plan, span(0, 3, 0, 0, 4)), FV_OK);
    assert_int_equal(fv_plan_add(&plan, (fv_step){FV_STEP_DIAG, FV_REASON_NONE, 5, 0, 0, 0, 4, 0}),
                     FV_OK); /* `end` is unused */
    assert_int_equal(fv_plan_add(&plan, span(5, 6, 0, 0, 4)), FV_ERROR_FULL);
    assert_int_equal(fv_plan_add(&plan, span(6, 6, 0, 0, 4)), FV_OK); /* nothing to add: no room needed */
    assert_int_equal(plan.count, 2);
    assert_int_equal(steps[1].begin, 5);
    assert_int_equal(steps[2].end, 0);
}

static fv_status check_one(fv_step step, uint32_t first_token, uint32_t rows, uint32_t tokens, uint32_t marks) {
    fv_plan plan = {.steps = &step, .count = 1, .capacity = 1, .first_token = first_token, .rows = rows};
    return fv_plan_check(&plan, tokens, marks);
}

static void test_check_steps(void **state) {
    (void)state;
    assert_int_equal(check_one(span(0, 20, 0, 0, 4), 16, 4, 20, 0), FV_OK);
    assert_int_equal(check_one(span(0, 21, 0, 0, 4), 16, 4, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(7, 7, 0, 0, 4), 16, 4, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(0, 20, 0, 0, 5), 16, 4, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(0, 20, 0, 4, 4), 16, 4, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(0, 20, 0, 0, 4), 16, 4, 19, 0), FV_ERROR_ARGUMENT); /* a row beyond the cache */
    assert_int_equal(check_one(span(0, 16, 0, 0, 1), 16, 0, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(0, 16, 0, 0, 1), 0, FV_TILE_ROWS + 1, 64, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(0, 16, 0, 0, 1), 21, 1, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one(span(0, 16, 0, 0, 1), UINT32_MAX, 1, 20, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(check_one((fv_step){FV_STEP_DIAG, FV_REASON_NONE, 19, 0, 0, 0, 4, 0}, 16, 4, 20, 0), FV_OK);
    assert_int_equal(check_one((fv_step){FV_STEP_DIAG, FV_REASON_NONE, 20, 0, 0, 0, 4, 0}, 16, 4, 20, 0),
                     FV_ERROR_ARGUMENT);
    assert_int_equal(check_one((fv_step){FV_STEP_DIAG, FV_REASON_NONE, 0, 0, 0, 0, 2, 2}, 16, 4, 20, 0),
                     FV_OK); /* ahead */
    assert_int_equal(check_one((fv_step){FV_STEP_DIAG, FV_REASON_NONE, 0, 0, 0, 0, 3, 2}, 16, 4, 20, 0),
                     FV_ERROR_ARGUMENT);
    assert_int_equal(check_one((fv_step){FV_STEP_DIAG, FV_REASON_NONE, 0, 0, 0, 0, 1, UINT32_MAX}, 16, 4, 20, 0),
                     FV_ERROR_ARGUMENT);
    assert_int_equal(check_one((fv_step){FV_STEP_SPAN, FV_REASON_NONE, 0, 20, 0, 0, 4, UINT32_MAX}, 16, 4, 20, 0),
                     FV_OK);
    assert_int_equal(check_one((fv_step){FV_STEP_MARK, FV_REASON_NONE, 0, 3, 0, 0, 4, 0}, 16, 4, 20, 3), FV_OK);
    assert_int_equal(check_one((fv_step){FV_STEP_MARK, FV_REASON_NONE, 0, 4, 0, 0, 4, 0}, 16, 4, 20, 3),
                     FV_ERROR_ARGUMENT);
    assert_int_equal(check_one((fv_step){FV_STEP_MARK, FV_REASON_NONE, 2, 2, 0, 0, 4, 0}, 16, 4, 20, 3),
                     FV_ERROR_ARGUMENT);
    assert_int_equal(check_one((fv_step){3, FV_REASON_NONE, 0, 1, 0, 0, 4, 0}, 16, 4, 20, 3), FV_ERROR_ARGUMENT);
}

static void test_check_lists(void **state) {
    (void)state;
    fv_step steps[] = {span(0, 8, 0, 0, 2), span(8, 12, 0, 0, 1), span(11, 16, 0, 1, 2)};
    fv_plan plan = {.steps = steps, .count = 2, .capacity = 3, .first_token = 14, .rows = 2};
    assert_int_equal(fv_plan_check(&plan, 16, 0), FV_OK);
    plan.count = 3; /* overlap */
    assert_int_equal(fv_plan_check(&plan, 16, 0), FV_ERROR_ARGUMENT);
    steps[2].begin = 12;
    assert_int_equal(fv_plan_check(&plan, 16, 0), FV_OK);
    plan.count = 4; /* more than its memory */
    assert_int_equal(fv_plan_check(&plan, 16, 0), FV_ERROR_ARGUMENT);
    plan.count = 2;
    plan.steps = NULL;
    assert_int_equal(fv_plan_check(&plan, 16, 0), FV_ERROR_ARGUMENT);
    plan.count = 0; /* a plan that reads nothing */
    assert_int_equal(fv_plan_check(&plan, 16, 0), FV_OK);
    assert_int_equal(fv_plan_check(NULL, 16, 0), FV_ERROR_ARGUMENT);
}

static void test_row_keys(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (int run = 0; run < 2000; run++) {
        fv_step steps[8];
        fv_plan plan = {.steps = steps, .capacity = 8, .rows = test_random_in(&random, 1, FV_TILE_ROWS)};
        plan.first_token = test_random_in(&random, 0, 200);
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t row = test_random_in(&random, 0, plan.rows - 1), begin = test_random_in(&random, 0, 230);
            fv_step step = {(uint16_t)test_random_in(&random, 0, 2),
                            FV_REASON_NONE,
                            begin,
                            begin + test_random_in(&random, 0, 60),
                            test_random_in(&random, 0, 3) ? test_random_in(&random, 0, 80) : UINT32_MAX,
                            (uint16_t)row,
                            (uint16_t)test_random_in(&random, row, plan.rows),
                            test_random_in(&random, 0, 1) ? test_random_in(&random, 0, 40) : 0};
            if (step.kind == FV_STEP_SPAN && test_random_in(&random, 0, 3) == 0) step.ahead = UINT32_MAX;
            assert_int_equal(fv_plan_add(&plan, step), FV_OK);
        }
        for (uint32_t row = 0; row < plan.rows; row++) {
            read_set set = set_of_plan(&plan, row);
            assert_int_equal(fv_plan_row_keys(&plan, row), set_tokens(&set));
        }
    }
}

/* Spans as a row at `position` may have chosen them: some of the tokens before it, its own among them. */
static fv_plan random_spans(test_random *random, uint32_t position, fv_step *steps, uint32_t capacity) {
    fv_plan plan = {.steps = steps, .capacity = capacity, .first_token = position, .rows = 1};
    uint32_t at = test_random_in(random, 0, 1) * test_random_in(random, 0, 40);
    for (uint32_t i = 0; i + 1 < capacity && at < position; i++) {
        uint32_t end = at + test_random_in(random, 1, 40);
        if (end >= position) break;
        assert_int_equal(fv_plan_add(&plan, span(at, end, 0, 0, 1)), FV_OK);
        at = end + test_random_in(random, 0, 2) * 16;
    }
    if (at > position) at = position;
    assert_int_equal(fv_plan_add(&plan, span(at, position + 1, 0, 0, 1)), FV_OK);
    return plan;
}

static void test_join(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    for (int run = 0; run < 2000; run++) {
        fv_step first_steps[12], second_steps[12], steps[48];
        uint32_t position = test_random_in(&random, 0, 300);
        fv_plan first = random_spans(&random, position, first_steps, 12),
                second = random_spans(&random, position + 1, second_steps, 12);
        fv_plan both = {.steps = steps, .capacity = 48};
        assert_int_equal(fv_plan_join(&first, &second, &both), FV_OK);
        assert_int_equal(fv_plan_check(&both, position + 2, 0), FV_OK);
        read_set want[2] = {set_of_plan(&first, 0), set_of_plan(&second, 0)};
        for (uint32_t row = 0; row < 2; row++) {
            read_set got = set_of_plan(&both, row);
            assert_memory_equal(got.token, want[row].token, sizeof got.token);
        }
        both.capacity = both.count - 1;
        assert_int_equal(fv_plan_join(&first, &second, &both), FV_ERROR_FULL);
        for (uint32_t s = 0; s < first.count; s++) second_steps[s] = first_steps[s]; /* the same, and the next token */
        second_steps[first.count - 1].end = position + 2;
        second.count = first.count, both.capacity = 48;
        assert_int_equal(fv_plan_join(&first, &second, &both), FV_OK);
        assert_int_equal(both.count, first.count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),      cmocka_unit_test(test_check_steps), cmocka_unit_test(test_check_lists),
        cmocka_unit_test(test_row_keys), cmocka_unit_test(test_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
