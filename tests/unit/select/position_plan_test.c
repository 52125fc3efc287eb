/* position_plan_test.c - every plan, expanded to sets of (row, key), equals the definition of its policy. */
#include "fovea/policy.h"
#include "support/random.h"
#include "support/read_set.h"
#include "support/test_policy.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STEPS = 1600 };

static void describe(const fv_policy *config, const fv_plan_view *view, char *text, size_t bytes) {
    int n = snprintf(
        text, bytes,
        "selector=%u window=%u sinks=%u block=%u log_stride=%u landmarks=%u causal=%u keep=%u first=%u rows=%u "
        "local=%u tokens=%u "
        "globals=",
        config->selector, config->window, config->sinks, config->block, config->log_stride, config->landmarks,
        config->causal, (config->keep ? 1u : 0u) + (config->keep_until ? 2u : 0u), view->first_token, view->rows,
        view->local_window, view->tokens);
    for (uint32_t g = 0; g < config->globals_count && n > 0 && (size_t)n < bytes; g++)
        n += snprintf(text + n, bytes - (size_t)n, "%u,", config->globals[g]);
}

/* One plan: in range, no key twice, exactly the policy's sets, counted right, within the promised number of steps. */
static void check_plan(const fv_policy *config, fv_plan_view view, uint32_t tokens) {
    fv_step steps[STEPS];
    fv_plan plan = {.steps = steps, .capacity = fv_policy_steps(config, tokens, FV_TILE_ROWS), .count = 77};
    char text[500];
    view.tokens = tokens;
    describe(config, &view, text, sizeof text);
    assert_true(plan.capacity <= STEPS);
    fv_status status = fv_policy_plan(config, &view, &plan);
    if (status != FV_OK) fail_msg("%s: %s", text, fv_status_text(status));
    uint32_t marks = (tokens + (config->causal ? 0 : config->block - 1)) / config->block;
    if (fv_plan_check(&plan, tokens, marks) != FV_OK) fail_msg("%s: fv_plan_check", text);
    assert_int_equal(plan.first_token, view.first_token);
    assert_int_equal(plan.rows, view.rows);
    for (uint32_t row = 0; row < view.rows; row++) {
        read_set got = set_of_plan(&plan, row),
                 want = set_of_policy_among(config, view.local_window, view.first_token + row, tokens);
        for (uint32_t t = 0; t < tokens; t++)
            if (got.token[t] != want.token[t])
                fail_msg("%s: row %u reads token %u %u times, not %u", text, row, t, got.token[t], want.token[t]);
        for (uint32_t m = 0; m < SET_MARKS; m++)
            if (got.mark[m] != want.mark[m])
                fail_msg("%s: row %u reads landmark %u %u times, not %u", text, row, m, got.mark[m], want.mark[m]);
        assert_int_equal(fv_plan_row_keys(&plan, row), set_tokens(&want));
    }
    if (plan.count == 0) return; /* one step less does not do, and says so */
    plan.capacity = plan.count - 1;
    assert_int_equal(fv_policy_plan(config, &view, &plan), FV_ERROR_FULL);
}

/* All rows 0..tokens-1, in tiles that begin anywhere. */
static void check_all_rows(const fv_policy *config, uint32_t local_window, uint32_t tokens, test_random *random) {
    for (uint32_t first = 0; first < tokens;) {
        uint32_t rows = test_random_in(random, 1, FV_TILE_ROWS);
        if (rows > tokens - first) rows = tokens - first;
        check_plan(config, (fv_plan_view){.first_token = first, .rows = rows, .local_window = local_window}, tokens);
        first += rows;
    }
}

static void test_dense(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    fv_policy config;
    fv_policy_default(FV_SELECTOR_DENSE, &config);
    for (uint32_t tokens = 1; tokens < 300; tokens += 13) check_all_rows(&config, 0, tokens, &random);
}

static void test_window(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    static const uint32_t windows[] = {1, 2, 15, 16, 17, 64, 100, 1000, UINT32_MAX};
    static const uint32_t sinks[] = {0, 1, 16, 20, 150, 5000, UINT32_MAX};
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
        for (size_t s = 0; s < sizeof sinks / sizeof *sinks; s++) {
            fv_policy config;
            fv_policy_default(FV_SELECTOR_WINDOW, &config);
            config.window = windows[w];
            config.sinks = sinks[s];
            check_all_rows(&config, 0, 140, &random);
        }
}

/* A sliding-window layer: the model's mask, whatever the policy. */
static void test_local_window(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    static const uint32_t windows[] = {1, 2, 16, 17, 100, 200, UINT32_MAX};
    for (uint32_t selector = FV_SELECTOR_DENSE; selector <= FV_SELECTOR_PATTERN; selector++)
        for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
            fv_policy config;
            fv_policy_default((fv_selector)selector, &config);
            config.window = 5;
            check_all_rows(&config, windows[w], 150, &random);
        }
}

static fv_policy random_pattern(test_random *random, uint32_t tokens) {
    fv_policy config;
    fv_policy_default(FV_SELECTOR_PATTERN, &config);
    static const uint32_t windows[] = {0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 63, 64, 128};
    uint32_t dice = test_random_in(random, 0, 15);
    config.window = dice < 13 ? windows[dice] : dice == 13 ? UINT32_MAX : test_random_in(random, 0, tokens + 3);
    config.block = test_random_in(random, 0, 2) ? test_random_in(random, 1, 20) : 16 * test_random_in(random, 1, 6);
    config.causal = test_random_in(random, 0, 2) > 0;
    config.log_stride = test_random_in(random, 0, 3) > 0;
    config.landmarks = test_random_in(random, 0, 3) > 0;
    config.globals_count = test_random_in(random, 0, test_random_in(random, 0, 1) ? 2 : FV_POLICY_GLOBALS);
    for (uint32_t g = 0; g < config.globals_count; g++) { /* repetitions and tokens that never come */
        uint32_t kind = test_random_in(random, 0, 5);
        config.globals[g] = kind == 0        ? UINT32_MAX - test_random_in(random, 0, 20)
                            : kind == 1      ? test_random_in(random, 0, 3)
                            : kind == 2 && g ? config.globals[g - 1] + test_random_in(random, 0, 1)
                                             : test_random_in(random, 0, tokens + 20);
    }
    return config;
}

/* Sometimes a mask, sometimes a row from which on a token is not reached. */
static void random_keep(fv_policy *config, test_random *random) {
    static uint8_t keep[SET_TOKENS];
    static uint32_t until[SET_TOKENS];
    uint32_t share = test_random_in(random, 0, 4);
    for (uint32_t t = 0; t < SET_TOKENS; t++) {
        keep[t] = test_random_in(random, 0, 3) < share ? (uint8_t)test_random_in(random, 1, 255) : 0;
        until[t] = test_random_in(random, 0, 2) ? t + test_random_in(random, 0, 300) : 0;
    }
    config->keep_tokens = SET_TOKENS;
    if (test_random_in(random, 0, 1)) config->keep = keep;
    if (test_random_in(random, 0, 2) == 0) config->keep_until = until;
}

static void test_pattern(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (int run = 0; run < 250; run++) {
        uint32_t tokens = test_random_in(&random, 1, run % 25 ? 200 : 700);
        fv_policy config = random_pattern(&random, tokens);
        random_keep(&config, &random);
        check_all_rows(&config, 0, tokens, &random);
    }
}

/* A few tiles at great depth: the strides and landmarks of a long context. */
static void test_pattern_far(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    for (int run = 0; run < 300; run++) {
        fv_policy config = random_pattern(&random, SET_TOKENS);
        random_keep(&config, &random);
        uint32_t rows = test_random_in(&random, 1, FV_TILE_ROWS);
        fv_plan_view view = {.first_token = test_random_in(&random, 0, SET_TOKENS - rows), .rows = rows};
        check_plan(&config, view, SET_TOKENS);
    }
}

/* Positions near the ends of their types: no step out of range, no endless loop. */
static void test_huge_positions(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    for (int run = 0; run < 200; run++) {
        fv_step steps[STEPS];
        fv_policy config = random_pattern(&random, 1u << 30);
        uint32_t tokens = 1u << 30, rows = test_random_in(&random, 1, FV_TILE_ROWS);
        fv_plan_view view = {.first_token = tokens - rows - (run % 2 ? test_random_in(&random, 0, 40) : 0),
                             .rows = rows,
                             .tokens = tokens};
        fv_plan plan = {.steps = steps, .capacity = fv_policy_steps(&config, tokens, FV_TILE_ROWS)};
        assert_int_equal(fv_policy_plan(&config, &view, &plan), FV_OK);
        assert_int_equal(fv_plan_check(&plan, tokens, tokens / config.block + !config.causal), FV_OK);
    }
}

static void test_arguments(void **state) {
    (void)state;
    fv_step steps[STEPS];
    fv_plan plan = {.steps = steps, .capacity = STEPS};
    fv_plan_view view = {.first_token = 3, .rows = 1};
    fv_policy good = test_policy(FV_SELECTOR_PATTERN), bad = good;
    assert_int_equal(fv_policy_check(&good), FV_OK);
    assert_int_equal(fv_policy_check(NULL), FV_ERROR_ARGUMENT);
    bad.selector = 3;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    bad = good, bad.block = 0;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    uint8_t keep[3] = {1, 1, 1};
    bad = good, bad.keep = keep, bad.keep_tokens = 3; /* the mask ends before the row */
    assert_int_equal(fv_policy_plan(&bad, &view, &plan), FV_ERROR_ARGUMENT);
    bad = good, bad.causal = 0; /* the view does not say how many tokens there are */
    assert_int_equal(fv_policy_plan(&bad, &view, &plan), FV_ERROR_ARGUMENT);
    bad = good, bad.causal = 2;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    bad = good, bad.globals_count = FV_POLICY_GLOBALS + 1;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    bad = good, bad.log_stride = 2;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    bad = good, bad.landmarks = 2;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    assert_int_equal(fv_policy_plan(&bad, &view, &plan), FV_ERROR_POLICY);
    fv_policy_default(FV_SELECTOR_WINDOW, &bad), bad.window = 0;
    assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY);
    for (uint32_t s = FV_SELECTOR_DENSE; s <= FV_SELECTOR_PATTERN; s++) {
        fv_policy config;
        fv_policy_default((fv_selector)s, &config);
        assert_int_equal(fv_policy_check(&config), FV_OK);
    }
    assert_int_equal(fv_policy_plan(&good, NULL, &plan), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_policy_plan(&good, &view, NULL), FV_ERROR_ARGUMENT);
    view.rows = 0;
    assert_int_equal(fv_policy_plan(&good, &view, &plan), FV_ERROR_ARGUMENT);
    view.rows = FV_TILE_ROWS + 1;
    assert_int_equal(fv_policy_plan(&good, &view, &plan), FV_ERROR_ARGUMENT);
    view.rows = 1;
    view.first_token = UINT32_MAX;
    assert_int_equal(fv_policy_plan(&good, &view, &plan), FV_ERROR_ARGUMENT);
}

static uint32_t json_u32(const json_t *object, const char *key) {
    return (uint32_t)json_integer_value(json_object_get(object, key));
}

/* One row of the reference against one row of our plan. */
static void check_golden_row(const char *name, uint32_t row, const uint8_t *got, size_t room, const json_t *want) {
    size_t count = 0;
    for (size_t i = 0; i < room; i++) count += got[i];
    if (count != json_array_size(want))
        fail_msg("%s row %u: %zu keys, not %zu", name, row, count, json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++)
        if (got[json_integer_value(json_array_get(want, i))] != 1) fail_msg("%s row %u: a key is missing", name, row);
}

static void check_golden_case(const json_t *golden) {
    const char *name = json_string_value(json_object_get(golden, "name"));
    fv_policy config;
    fv_policy_default(FV_SELECTOR_PATTERN, &config);
    config.window = json_u32(golden, "window");
    config.log_stride = json_is_true(json_object_get(golden, "use_log_stride"));
    uint32_t tokens = json_u32(golden, "seq");
    config.landmarks = json_is_true(json_object_get(golden, "use_landmarks"));
    config.causal = json_is_true(json_object_get(golden, "causal"));
    config.block = json_u32(golden, "block_size");
    const json_t *globals = json_object_get(golden, "global_tokens");
    config.globals_count = (uint32_t)json_array_size(globals);
    for (uint32_t g = 0; g < config.globals_count; g++)
        config.globals[g] = (uint32_t)json_integer_value(json_array_get(globals, g));
    for (uint32_t row = 0; row < tokens; row++) {
        fv_step steps[STEPS];
        fv_plan plan = {.steps = steps, .capacity = STEPS};
        uint32_t first = row / FV_TILE_ROWS * FV_TILE_ROWS, left = tokens - first;
        fv_plan_view view = {.first_token = first, .rows = left < FV_TILE_ROWS ? left : FV_TILE_ROWS, .tokens = tokens};
        assert_int_equal(fv_policy_plan(&config, &view, &plan), FV_OK);
        read_set set = set_of_plan(&plan, row - first);
        check_golden_row(name, row, set.token, SET_TOKENS,
                         json_array_get(json_object_get(golden, "tokens_sorted"), row));
        check_golden_row(name, row, set.mark, SET_MARKS, json_array_get(json_object_get(golden, "blocks_sorted"), row));
    }
}

static void test_golden(void **state) {
    (void)state;
    static const char *const names[] = {"cand01",         "cand02_nc",      "cand03",          "cand04_nc",
                                        "cand05_nols",    "cand06_nols_nc", "cand07_nolm",     "cand08_b64",
                                        "cand09_b64_nc",  "cand10_b1_w0",   "cand11_b1_w0_nc", "cand12_seq1",
                                        "cand13_seq2_nc", "cand14_b7",      "cand15_b7_nc"};
    const char *folder = getenv("FOVEA_GOLDEN");
    int checked = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[1000];
        snprintf(path, sizeof path, "%s/%s/case.json", folder ? folder : FV_SOURCE_DIR "/tests/golden/reference",
                 names[i]);
        json_t *golden = json_load_file(path, 0, NULL);
        if (!golden) continue;
        check_golden_case(golden);
        json_decref(golden);
        checked++;
    }
    printf("golden: %d cases of the reference compared\n", checked);
    if (checked) return;
    printf("skip golden: no vectors of the reference here (FOVEA_GOLDEN)\n");
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),     cmocka_unit_test(test_window),      cmocka_unit_test(test_local_window),
        cmocka_unit_test(test_pattern),   cmocka_unit_test(test_pattern_far), cmocka_unit_test(test_huge_positions),
        cmocka_unit_test(test_arguments), cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
