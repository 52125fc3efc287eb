/* model_deadline_test.c - a part of a step with a deadline: the bits of one without where there is time, something of
 * every layer where there is little, and nothing changed where a late part ends the step. */
#include "support/model_world.h"
#include "support/tables.h"
#include "support/test_policy.h"

enum { TEXT = 2100 }; /* three segments: looks between them */

static test_tables tables;
static fv_layer_weights layers[LAYERS];
static fv_model_weights weights;
static int32_t text[TEXT];

typedef struct timed_model {
    fv_model *model;
    void *memory;
    fv_policy policy;
    float logits[VOCABULARY];
} timed_model;

/* Holds all of the text but its last token. */
static timed_model timed_open(void) {
    timed_model made = {.policy = test_policy(FV_SELECTOR_DENSE)};
    fv_model_config config = config_make();
    fv_model_bytes bytes;
    config.cache.max_tokens = TEXT + 8;
    config.batch_tokens = 128;
    assert_int_equal(fv_model_size(&config, 1, &bytes), FV_OK);
    made.memory = world_memory(bytes.total);
    assert_int_equal(fv_model_init(&made.model, &config, &weights, tables.table[0], 1, made.memory, bytes.total),
                     FV_OK);
    for (uint32_t done = 0, count; done < TEXT - 1; done += count) {
        count = TEXT - 1 - done < 128 ? TEXT - 1 - done : 128;
        assert_int_equal(fv_model_forward(made.model, text + done, count, &made.policy, NULL, NULL), FV_OK);
    }
    return made;
}

/* The last token, by a clock that counts how often it was looked at. */
static fv_status timed_step(timed_model *made, uint64_t end, uint32_t on_deadline, fv_progress *progress) {
    uint64_t looks = 0;
    fv_deadline deadline = {look_count, &looks, end, on_deadline};
    fv_report report = {.struct_bytes = sizeof report};
    fv_model_part part = {.tokens = text + TEXT - 1,
                          .count = 1,
                          .policy = &made->policy,
                          .report = &report,
                          .deadline = &deadline,
                          .progress = progress};
    fv_status status = fv_model_step(made->model, &part, 1, NULL);
    if (status != FV_OK) return status;
    assert_int_equal(fv_model_logits(made->model, 0, 1, NULL, made->logits), FV_OK);
    if (progress) assert_int_equal(progress->keys_read * KV_HEADS, report.keys_read);
    assert_int_equal(fv_model_truncate(made->model, TEXT - 1), FV_OK);
    return FV_OK;
}

static void test_time_enough_shows_in_no_bit(void **state) {
    (void)state;
    timed_model made = timed_open();
    float want[VOCABULARY];
    fv_progress progress;
    assert_int_equal(fv_model_forward(made.model, text + TEXT - 1, 1, &made.policy, NULL, NULL), FV_OK);
    assert_int_equal(fv_model_logits(made.model, 0, 1, NULL, want), FV_OK);
    assert_int_equal(fv_model_truncate(made.model, TEXT - 1), FV_OK);
    for (uint32_t on_deadline = FV_DEADLINE_FAIL; on_deadline <= FV_DEADLINE_BEST; on_deadline++) {
        assert_int_equal(timed_step(&made, UINT64_MAX, on_deadline, &progress), FV_OK);
        assert_memory_equal(made.logits, want, sizeof want);
        assert_int_equal(progress.keys_read, (uint64_t)LAYERS * TEXT);
        assert_int_equal(progress.keys_planned, progress.keys_read);
        assert_int_equal(progress.rows_complete, 1);
        assert_int_equal(progress.expired, 0);
    }
    assert_int_equal(timed_step(&made, UINT64_MAX, FV_DEADLINE_FAIL, NULL), FV_OK);
    assert_memory_equal(made.logits, want, sizeof want);
    free(made.memory);
}

static void test_little_time_is_shared_out(void **state) {
    (void)state;
    timed_model made = timed_open();
    fv_progress progress;
    uint64_t read = 0;
    bool some = false;
    for (uint64_t end = 1; end < 60; end++) {
        assert_int_equal(timed_step(&made, end, FV_DEADLINE_BEST, &progress), FV_OK);
        for (uint32_t i = 0; i < VOCABULARY; i++) assert_true(isfinite(made.logits[i]));
        assert_true(progress.keys_read >= read); /* more time never reads less */
        bool all = progress.keys_read == (uint64_t)LAYERS * TEXT;
        assert_true(all || progress.expired); /* it may also have been over just after all was read */
        assert_int_equal(progress.rows_complete, all);
        some |= !all && progress.keys_read > TEXT; /* more than one layer has */
        read = progress.keys_read;
    }
    assert_int_equal(read, (uint64_t)LAYERS * TEXT);
    assert_true(some);
    free(made.memory);
}

static void test_a_late_part_ends_the_step(void **state) {
    (void)state;
    timed_model made = timed_open();
    fv_progress progress;
    assert_int_equal(timed_step(&made, UINT64_MAX, FV_DEADLINE_FAIL, &progress), FV_OK);
    float want[VOCABULARY];
    memcpy(want, made.logits, sizeof want);
    for (uint64_t end = 0; end < 12; end++) {
        assert_int_equal(timed_step(&made, end, FV_DEADLINE_FAIL, &progress), FV_ERROR_DEADLINE);
        assert_int_equal(fv_model_tokens(made.model), TEXT - 1);
        assert_int_equal(fv_model_batch_rows(made.model), 0);
    }
    assert_int_equal(timed_step(&made, UINT64_MAX, FV_DEADLINE_FAIL, &progress), FV_OK);
    assert_memory_equal(made.logits, want, sizeof want);
    free(made.memory);
}

static void test_what_is_refused(void **state) {
    (void)state;
    timed_model made = timed_open();
    uint64_t looks = 0;
    fv_progress progress;
    fv_deadline best = {look_count, &looks, 1000, FV_DEADLINE_BEST}, none = {NULL, NULL, 1000, FV_DEADLINE_FAIL};
    fv_model_part part = {.tokens = text, .count = 1, .policy = &made.policy, .deadline = &best};
    assert_int_equal(fv_model_step(made.model, &part, 1, NULL), FV_ERROR_ARGUMENT); /* nowhere to say how far */
    part.deadline = &none, part.progress = &progress;
    assert_int_equal(fv_model_step(made.model, &part, 1, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(looks, 0);
    assert_int_equal(fv_model_tokens(made.model), TEXT - 1);
    free(made.memory);
}

int main(void) {
    test_random random = test_random_make(1);
    test_tables_make(&tables);
    weights = weights_make(layers, &random);
    for (uint32_t i = 0; i < TEXT; i++) text[i] = (int32_t)test_random_in(&random, 0, VOCABULARY - 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_enough_shows_in_no_bit),
        cmocka_unit_test(test_little_time_is_shared_out),
        cmocka_unit_test(test_a_late_part_ends_the_step),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
