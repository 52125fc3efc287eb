/* choose_input_test.c - choosing rows whose input is huge or not finite, and tiles of any height: no NaN for finite
 * input, nothing felt of what is not read, the same bits. */
#include "support/choose_world.h"
#include "support/tables.h"

enum { TOKENS = 500, MOST_WIDTH = 6 * 80, POLICIES = 4 };

static test_tables tables;

static fv_policy policy_of(uint32_t i) {
    fv_policy policy = choose_policy(i % 2 ? FV_SELECTOR_CASCADE : FV_SELECTOR_FOVEA, 0.3f, 32);
    policy.tail = i / 2 % 2;
    return policy;
}

/* Tiles that do not divide a page: rows on both sides of its end do not look at the same pages. */
static void test_tiles_of_any_height(void **state) {
    (void)state;
    test_random random = test_random_make(180);
    static const uint32_t heights[] = {12, 5, 7, 1};
    for (uint32_t i = 0; i < 8; i++) {
        attention_world w = world_make(tables.table[i % tables.count],
                                       choose_shape(1, 32, TOKENS, i % FV_ELEMENT_COUNT), 2, 0, &random);
        const fv_policy policy = policy_of(i);
        float *want = choose_world_run(&w, &policy, 0, 0, NULL, &random, NULL);
        for (uint32_t k = 0; k < 4; k++) {
            float *out = choose_world_run(&w, &policy, heights[k], k % 2 ? 50 : 0, NULL, &random, NULL);
            for (uint32_t row = 0; row < TOKENS; row++)
                if (memcmp(out + row * choose_world_width(&w), want + row * choose_world_width(&w),
                           choose_world_width(&w) * 4) != 0)
                    fail_msg("%s policy %u: row %u has other bits in tiles of %u", test_table_name(w.kernels), i, row,
                             heights[k]);
            free(out);
        }
        free(want);
        world_free(&w);
    }
}

static void test_huge_input_gives_no_nan(void **state) {
    (void)state;
    test_random random = test_random_make(181);
    static const float sizes[] = {1e10f, 1e20f, 1e30f, 1e38f}, stored[] = {1e4f, 1e10f, 1e13f, FV_CACHE_LARGEST};
    static const uint32_t types[] = {FV_ELEMENT_F32, FV_ELEMENT_Q8_0, FV_ELEMENT_BF16};
    for (uint32_t i = 0; i < 96; i++) {
        attention_world w = world_make(tables.table[i % tables.count],
                                       choose_shape(1, i % 5 ? 16 : 40, TOKENS, types[i % 3]), 2, 0, &random);
        float key = i / 3 % 3 ? stored[i / 9 % 4] : 1.0f, query = i / 3 % 3 == 1 ? 1.0f : sizes[i / 9 % 4];
        for (size_t k = 0; k < w.tokens * w.kv_stride; k++) {
            w.keys[k] *= key;
            w.values[k] *= stored[i / 9 % 4];
        }
        for (size_t k = 0; k < w.tokens * w.query_stride; k++) w.queries[k] *= query;
        const fv_policy policy = policy_of(i);
        float *out = choose_world_run(&w, &policy, 0, i % 2 ? 1 : 0, NULL, &random, NULL);
        for (size_t k = 0; k < w.tokens * choose_world_width(&w); k++)
            if (!isfinite(out[k]))
                fail_msg("%s type %u policy %u, keys of %g, queries of %g: %g in row %zu", test_table_name(w.kernels),
                         w.shape.key_type, i % POLICIES, (double)key, (double)query, (double)out[k],
                         k / choose_world_width(&w));
        free(out);
        world_free(&w);
    }
}

/* What scores are made with stays within what kernels ask for, and a query that is not finite is none. */
static void test_factors_are_held(void **state) {
    (void)state;
    static const float sizes[] = {1.0f, 1e20f, 1e30f, 3e38f, INFINITY, NAN};
    test_random random = test_random_make(182);
    attention_world w = world_make(tables.table[0], choose_shape(1, 64, TOKENS, FV_ELEMENT_F16), 2, 0, &random);
    world_append(&w, TOKENS);
    for (uint32_t i = 0; i < 24; i++) {
        const fv_policy policy = policy_of(i);
        float *query = w.queries + (TOKENS - 1 - i) * w.query_stride, size = sizes[i / 4];
        for (uint32_t c = 0; c < 64; c++) query[c] *= size; /* of the first head */
        row_choice choice = row_choice_open(&w, w.kernels, &policy, 0, TOKENS - 1 - i);
        row_choice_weigh(&choice);
        uint32_t chosen = fv_choose_pages(&choice.chooser, &choice.scratch);
        for (uint32_t g = 0; g < 2; g++) {
            assert_true(choice.scratch.factor[g] >= 0.0f && choice.scratch.factor[g] <= 0x1p100f);
            assert_true(choice.scratch.coarse_factor[g] >= 0.0f && choice.scratch.coarse_factor[g] <= 0x1p100f);
            if (g == 0) assert_int_equal(choice.scratch.factor[g] > 0, isfinite(size) && size < 3e38f);
        }
        assert_true(chosen <= choice.chooser.allowance && chosen + choice.scratch.tail_count > 0);
        row_choice_close(&choice);
    }
    world_free(&w);
}

/* What each head of a single row reads. */
static void note_read(void *context, const fv_attention_seen *seen, size_t worker) {
    (void)worker;
    *(read_set *)context = set_of_plan(seen->plan, 0);
}

/* Keys and values that are not finite may change what is chosen, but reach no row that does not read them: of such a
 * row the output is the softmax of what it read. */
static void test_unread_tokens_are_not_felt(void **state) {
    (void)state;
    test_random random = test_random_make(183);
    static const float strange[][2] = {{NAN, 0},       {0, NAN},   {INFINITY, 0},
                                       {0, -INFINITY}, {NAN, NAN}, {FV_CACHE_LARGEST, -FV_CACHE_LARGEST}};
    uint32_t checked = 0;
    for (uint32_t i = 0; i < 48; i++) {
        attention_world w = world_make(
            tables.table[i % tables.count],
            choose_shape(1, i % 5 ? 16 : 24, TOKENS, i % 2 ? FV_ELEMENT_F32 : FV_ELEMENT_BF16), 2, 0, &random);
        const fv_policy policy = policy_of(i / 6);
        uint32_t token = 16 + test_random_in(&random, 0, 300), dim = w.shape.head_dim;
        for (uint32_t c = 0; c < w.kv_stride; c++) {
            if (strange[i % 6][0] != 0) w.keys[token * w.kv_stride + c] = strange[i % 6][0];
            if (strange[i % 6][1] != 0) w.values[token * w.kv_stride + c] = strange[i % 6][1];
        }
        world_append(&w, TOKENS);
        fv_attention *attention = NULL;
        void *memory = choose_attention_open(&w, 1, 0, &attention);
        read_set set;
        fv_attention_observe(attention, note_read, &set);
        for (uint32_t row = 350; row < TOKENS; row += 7) {
            float out[MOST_WIDTH];
            double want[CHOOSE_MOST_DIM];
            fv_attention_rows rows = {.first_token = row,
                                      .count = 1,
                                      .query = w.queries + row * w.query_stride,
                                      .query_stride = w.query_stride,
                                      .out = out,
                                      .out_stride = choose_world_width(&w)};
            check_status(fv_attention_run(attention, w.cache, &policy, &rows, NULL, NULL));
            if (set.token[token]) continue;
            checked++;
            for (uint32_t head = 0; head < 2; head++) {
                world_attend(&w, &set, row, head, want);
                for (uint32_t c = 0; c < dim; c++) {
                    double got = (double)out[head * dim + c], bound = world_rounds(&w) ? 0x1p-8 : 5e-6;
                    if (!(policy.tail ? isfinite(got) : fabs(got - want[c]) < bound))
                        fail_msg("%s policy %u, token %u of %g, %g: row %u is %g, not %g", test_table_name(w.kernels),
                                 i / 6, token, (double)strange[i % 6][0], (double)strange[i % 6][1], row, got, want[c]);
                }
            }
        }
        free(memory);
        world_free(&w);
    }
    assert_true(checked > 300);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles_of_any_height),
        cmocka_unit_test(test_huge_input_gives_no_nan),
        cmocka_unit_test(test_factors_are_held),
        cmocka_unit_test(test_unread_tokens_are_not_felt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
