/* mass_test.c - shares of the softmax against sums in double, and what a plan reads of them against the plan's own set.
 */
#include "fovea/measure/mass.h"
#include "kernels/kernels.h"
#include "support/attention_world.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TOKENS = 300, GROUP = 3, DIM = 20 };

static test_tables tables;

static void world_mass(const attention_world *w, uint32_t kv_head, uint32_t position, float *mass) {
    float scratch[FV_PAGE_TOKENS * DIM];
    const float *query = w->queries + position * w->query_stride + kv_head * GROUP * DIM;
    assert_int_equal(fv_mass_tokens(&w->attend, w->kernels, w->cache, kv_head, position, query, mass, scratch), FV_OK);
}

static void check_mass(const attention_world *w, uint32_t kv_head, uint32_t position, const float *mass) {
    for (uint32_t h = 0; h < GROUP; h++) {
        const float *query = w->queries + position * w->query_stride + (kv_head * GROUP + h) * DIM;
        double weight[TOKENS], total = 0;
        for (uint32_t t = 0; t <= position; t++) {
            float stored[DIM];
            double key[DIM];
            assert_int_equal(fv_cache_read(w->cache, kv_head, t, 1, stored, NULL), FV_OK);
            for (uint32_t c = 0; c < DIM; c++) key[c] = (double)stored[c];
            total += weight[t] = world_weigh(w, query, key);
        }
        for (uint32_t t = 0; t <= position; t++)
            assert_true(fabs((double)mass[h * (position + 1) + t] - weight[t] / total) < 1e-5);
    }
}

static fv_plan random_plan(test_random *random, uint32_t first, uint32_t rows, fv_step *steps) {
    fv_plan plan = {.steps = steps, .capacity = 16, .first_token = first, .rows = rows};
    uint32_t middle = test_random_in(random, 1, first);
    fv_step sinks = {.kind = FV_STEP_SPAN, .begin = 0, .end = middle / 2, .row_end = (uint16_t)rows};
    fv_step late = {.kind = FV_STEP_SPAN,
                    .begin = middle / 2,
                    .end = middle,
                    .row_begin = (uint16_t)(rows / 2),
                    .row_end = (uint16_t)rows};
    fv_step window = {
        .kind = FV_STEP_SPAN, .begin = middle, .end = first + rows, .window = 40, .row_end = (uint16_t)rows};
    fv_plan_add(&plan, sinks);
    fv_plan_add(&plan, late);
    fv_plan_add(&plan, window);
    return plan;
}

static void shares_are_those_of_the_softmax(void **state) {
    (void)state;
    for (int run = 0; run < 8; run++) {
        test_random random = test_random_make((uint32_t)run);
        fv_cache_config shape = {.kv_heads = 2,
                                 .head_dim = DIM,
                                 .max_tokens = TOKENS,
                                 .key_type = (uint32_t)run % FV_ELEMENT_COUNT,
                                 .value_type = FV_ELEMENT_F16};
        attention_world w =
            world_make(tables.table[(size_t)run % tables.count], shape, GROUP, run % 3 ? 0.0f : 5.0f, &random);
        float mass[GROUP * TOKENS], read[GROUP];
        world_append(&w, TOKENS);
        for (uint32_t position = 0; position < TOKENS; position += 37) {
            world_mass(&w, 1, position, mass);
            check_mass(&w, 1, position, mass);
        }
        fv_step steps[16];
        fv_plan plan = random_plan(&random, 256, 16, steps);
        for (uint32_t row = 0; row < plan.rows; row++) {
            uint32_t position = plan.first_token + row;
            read_set set = set_of_plan(&plan, row);
            world_mass(&w, 0, position, mass);
            fv_mass_read(&plan, row, GROUP, mass, read);
            for (uint32_t h = 0; h < GROUP; h++) {
                double sum = 0;
                for (uint32_t t = 0; t <= position; t++) sum += set.token[t] ? (double)mass[h * (position + 1) + t] : 0;
                assert_true(fabs((double)read[h] - sum) < 1e-5);
            }
        }
        steps[2].ahead = 30; /* rows that look ahead have no mass there */
        for (uint32_t row = 0; row < plan.rows; row++) {
            float same[GROUP];
            world_mass(&w, 0, plan.first_token + row, mass);
            fv_mass_read(&plan, row, GROUP, mass, read);
            steps[2].ahead = 0;
            fv_mass_read(&plan, row, GROUP, mass, same);
            steps[2].ahead = 30;
            assert_memory_equal(read, same, sizeof read);
        }
        world_free(&w);
    }
}

/* A stride leads back as far as there are tokens; one ahead leads where no mass is. */
static void strides_have_the_mass_of_their_token(void **state) {
    (void)state;
    test_random random = test_random_make(9);
    fv_cache_config shape = {.kv_heads = 2, .head_dim = DIM, .max_tokens = TOKENS};
    attention_world w = world_make(tables.table[0], shape, GROUP, 0.0f, &random);
    fv_step steps[] = {{.kind = FV_STEP_DIAG, .reason = FV_REASON_STRIDE, .begin = 100, .row_end = 16},
                       {.kind = FV_STEP_DIAG, .reason = FV_REASON_STRIDE, .ahead = 3, .row_end = 16}};
    fv_plan plan = {.steps = steps, .count = 2, .capacity = 2, .first_token = 92, .rows = 16};
    float mass[GROUP * TOKENS], read[GROUP];
    world_append(&w, TOKENS);
    for (uint32_t row = 0; row < plan.rows; row++) {
        uint32_t position = plan.first_token + row;
        world_mass(&w, 1, position, mass);
        fv_mass_read(&plan, row, GROUP, mass, read);
        for (uint32_t h = 0; h < GROUP; h++)
            assert_true(read[h] == (position < 100 ? 0.0f : mass[h * (position + 1) + position - 100]));
    }
    world_free(&w);
}

static void bad_arguments_are_refused(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    fv_cache_config shape = {.kv_heads = 2, .head_dim = DIM, .max_tokens = TOKENS};
    attention_world w = world_make(tables.table[0], shape, GROUP, 0.0f, &random);
    float mass[GROUP * TOKENS], scratch[FV_PAGE_TOKENS * DIM];
    world_append(&w, 10);
    assert_int_equal(fv_mass_tokens(&w.attend, w.kernels, w.cache, 2, 5, w.queries, mass, scratch), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_mass_tokens(&w.attend, w.kernels, w.cache, 1, 10, w.queries, mass, scratch), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_mass_tokens(&w.attend, w.kernels, w.cache, 1, 9, NULL, mass, scratch), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_mass_tokens(&w.attend, w.kernels, w.cache, 1, 9, w.queries, mass, scratch), FV_OK);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_those_of_the_softmax),
        cmocka_unit_test(strides_have_the_mass_of_their_token),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    test_tables_make(&tables);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
