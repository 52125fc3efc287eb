/* eval_sum_test.c - the figures of `fovea eval` from sums that can be checked by hand. */
#include "fovea/measure/eval.h"
#include "support/test_policy.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool near(double a, double b) { return fabs(a - b) <= 1e-12; }

static void answers_are_counted_beside_dense_ones(void **state) {
    fv_eval_sum sum = {0};
    (void)state;
    fv_eval_sum_add(&sum, true, true);
    fv_eval_sum_add(&sum, true, false);
    fv_eval_sum_add(&sum, false, true);
    fv_eval_sum_add(&sum, false, true);
    fv_eval_sum_add(&sum, false, false);
    assert_int_equal(sum.questions, 5);
    assert_int_equal(sum.right, 2);
    assert_int_equal(sum.better, 1);
    assert_int_equal(sum.worse, 2);
}

static void shares_and_differences(void **state) {
    const fv_eval_sum dense = {.questions = 40, .right = 30}, policy = {40, 28, 3, 5}, none = {40, 0, 0, 0};
    (void)state;
    assert_true(near(fv_eval_of_dense(&policy, &dense), 28.0 / 30));
    assert_true(near(fv_eval_difference(&policy), -2.0 / 40));
    assert_true(isnan(fv_eval_of_dense(&policy, &none)));
    assert_true(fv_eval_difference(&(fv_eval_sum){0}) == 0);
}

/* 8 of 40 answers differ: 3 times +1, 5 times -1, 32 times 0. */
static void the_interval_is_that_of_paired_answers(void **state) {
    const fv_eval_sum policy = {40, 28, 3, 5};
    double mean = -2.0 / 40, squares = 0;
    (void)state;
    for (int i = 0; i < 40; i++) {
        double difference = i < 3 ? 1 : i < 8 ? -1 : 0;
        squares += (difference - mean) * (difference - mean);
    }
    double deviation = sqrt(squares / 39); /* of a sample */
    assert_true(near(fv_eval_difference_95(&policy), 1.96 * deviation / sqrt(40)));
    assert_true(fv_eval_difference_95(&(fv_eval_sum){40, 30, 0, 0}) == 0);
    assert_true(near(fv_eval_difference_95(&(fv_eval_sum){2, 1, 1, 1}), 1.96));
    assert_true(fv_eval_difference_95(&(fv_eval_sum){1, 1, 1, 0}) == 1);
    assert_true(fv_eval_difference_95(&(fv_eval_sum){0}) == 1);
}

/* With one question each, documents are questions: the same standard error, with Student's t in place of 1.96. */
static void a_document_with_one_question_is_a_question(void **state) {
    fv_eval_sum documents[40] = {{0}};
    const fv_eval_sum all = {40, 28, 3, 5};
    (void)state;
    for (int i = 0; i < 40; i++) documents[i] = (fv_eval_sum){1, i < 28, i < 3, i >= 35};
    assert_true(fabs(fv_eval_documents_95(documents, 40) / (fv_eval_difference_95(&all) / 1.96) - 2.0227) < 1e-4);
}

/* Differences of -2, 0 and 2 of 10 each: mean 0, squares 8, n/(n-1) = 3/2, so sqrt(12)/30; t of 2 is 4.303. */
static void documents_are_spread_as_wholes(void **state) {
    const fv_eval_sum documents[] = {{10, 5, 0, 2}, {10, 5, 1, 1}, {10, 7, 2, 0}},
                      alike[] = {{10, 5, 0, 2}, {5, 2, 0, 1}};
    (void)state;
    assert_true(near(fv_eval_documents_95(documents, 3), 4.303 * sqrt(12) / 30));
    assert_true(near(fv_eval_documents_95(alike, 2), 0));
    assert_true(fv_eval_documents_95(documents, 1) == 1);
    assert_true(fv_eval_documents_95(documents, 0) == 1);
    assert_true(fv_eval_documents_95((fv_eval_sum[2]){{0}}, 2) == 1);
}

/* Student's t as it comes through: documents with mean 0 whose squares sum to n - 1. */
static void the_interval_of_documents_is_that_of_student(void **state) {
    static const struct {
        size_t documents;
        double t;
    } rows[] = {{2, 12.706}, {6, 2.5706}, {10, 2.2622}, {20, 2.0930}, {200, 1.9720}};
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        fv_eval_sum documents[200] = {{0}};
        size_t n = rows[r].documents;
        for (size_t i = 0; i < n; i++) documents[i] = (fv_eval_sum){1, 0, i % 2, (i + 1) % 2};
        double expected = rows[r].t * sqrt((double)n * (double)n / (double)(n - 1)) / (double)n;
        assert_true(fabs(fv_eval_documents_95(documents, n) / expected - 1) < 2e-3);
    }
}

static void a_task_counts_from_two_fifths_on(void **state) {
    (void)state;
    assert_true(fv_eval_counts(&(fv_eval_sum){.questions = 40, .right = 16}));
    assert_false(fv_eval_counts(&(fv_eval_sum){.questions = 40, .right = 15}));
    assert_false(fv_eval_counts(&(fv_eval_sum){0}));
}

/* ---- on a model ---- */

static fv_llm *llm;

static int open_model(void **state) {
    (void)state;
    return fv_llm_open(&llm, FV_SOURCE_DIR "/tests/model/llama_f32.gguf", NULL) == FV_OK ? 0 : -1;
}

static int close_model(void **state) {
    (void)state;
    fv_llm_close(llm);
    return 0;
}

typedef struct watched {
    size_t answered, asked_to_go_on, stop_after; /* calls of go_on */
    size_t differ, better;
    uint32_t decode;
} watched;

static bool go_on(void *context) {
    watched *watch = context;
    return watch->asked_to_go_on++ < watch->stop_after;
}

static void answered(void *context, fv_eval_task task, size_t number, const fv_eval_question *question,
                     const fv_eval_answer *answers) {
    watched *watch = context;
    assert_int_equal(task, FV_EVAL_TASK_NEEDLE);
    assert_int_equal(number, ++watch->answered);
    assert_true(question->expected[0][0] != 0);
    assert_int_equal(answers[0].right, fv_eval_answer_is_right(question, answers[0].text.bytes));
    watch->differ += answers[0].right != answers[1].right;
    watch->better += answers[1].right && !answers[0].right;
}

static fv_eval *open_eval(watched *watch, const fv_policy *policies) {
    fv_eval *eval = NULL;
    fv_eval_config config;
    fv_eval_config_default(&config);
    config.llm = llm;
    config.policies = policies;
    config.policy_count = 2;
    config.context = 512;
    config.questions = 4;
    config.per_document = 3;
    config.decode = watch->decode;
    config.watch = (fv_eval_watch){.context = watch, .go_on = go_on, .answered = answered};
    assert_int_equal(fv_eval_open(&eval, &config, NULL), FV_OK);
    return eval;
}

static void every_question_is_asked_of_every_policy(void **state) {
    fv_policy policies[2] = {test_policy(FV_SELECTOR_DENSE), test_policy(FV_SELECTOR_WINDOW)};
    watched watch = {.stop_after = SIZE_MAX};
    policies[1].window = 32;
    policies[1].sinks = 4;
    (void)state;
    fv_eval *eval = open_eval(&watch, policies);
    assert_int_equal(fv_eval_run(eval, FV_EVAL_TASK_NEEDLE), FV_OK);
    assert_int_equal(watch.answered, 4);
    const fv_eval_sum *dense = fv_eval_of(eval, 0, FV_EVAL_TASK_NEEDLE),
                      *window = fv_eval_of(eval, 1, FV_EVAL_TASK_NEEDLE);
    assert_int_equal(dense->questions, 4);
    assert_int_equal(window->questions, 4);
    assert_int_equal(dense->better + dense->worse, 0);
    assert_int_equal(window->better, watch.better);
    assert_int_equal(window->better + window->worse, watch.differ);
    assert_int_equal(fv_eval_of(eval, 0, FV_EVAL_TASK_COUNTING)->questions, 0);
    const fv_eval_sum *sums = fv_eval_documents(eval, 1, FV_EVAL_TASK_NEEDLE);
    assert_int_equal(fv_eval_document_count(eval, FV_EVAL_TASK_NEEDLE), 2);
    assert_int_equal(sums[0].questions, 3);
    assert_int_equal(sums[1].questions, 1);
    assert_int_equal(sums[0].better + sums[1].better, window->better);
    assert_int_equal(sums[0].worse + sums[1].worse, window->worse);
    assert_int_equal(sums[0].right + sums[1].right, window->right);
    assert_int_equal(fv_eval_document_count(eval, FV_EVAL_TASK_COUNTING), 0);
    double reading = 0, answering = 0;
    fv_eval_seconds(eval, 1, &reading, &answering);
    assert_true(reading > 0 && answering > 0);
    assert_true(fv_eval_report(eval, 0)->keys_read == fv_eval_report(eval, 0)->keys_visible);
    assert_true(fv_eval_report(eval, 1)->keys_read < fv_eval_report(eval, 1)->keys_visible / 4);
    fv_eval_close(eval);
}

/* What was read to know the document does not count, neither where it was read nor where it was copied to. */
static void counters_are_those_of_questions_and_answers(void **state) {
    fv_policy policies[2] = {test_policy(FV_SELECTOR_DENSE), test_policy(FV_SELECTOR_DENSE)};
    uint64_t visible = 0;
    (void)state;
    for (uint32_t decode = 0; decode < 2; decode++) {
        watched watch = {.stop_after = SIZE_MAX, .decode = decode};
        fv_eval *eval = open_eval(&watch, policies);
        assert_int_equal(fv_eval_run(eval, FV_EVAL_TASK_NEEDLE), FV_OK);
        for (size_t i = 0; i < 2; i++) {
            if (!visible) visible = fv_eval_report(eval, i)->keys_visible;
            assert_int_equal(fv_eval_report(eval, i)->keys_visible, visible);
        }
        fv_eval_close(eval);
    }
}

/* Stopped before the second policy answers the second question: one question counts, its density included. */
static void an_interrupted_question_does_not_count(void **state) {
    fv_policy policies[2] = {test_policy(FV_SELECTOR_DENSE), test_policy(FV_SELECTOR_DENSE)};
    watched watch = {.stop_after = 4}; /* two policies and the end of the first question, the first policy */
    (void)state;
    fv_eval *eval = open_eval(&watch, policies);
    assert_int_equal(fv_eval_run(eval, FV_EVAL_TASK_NEEDLE), FV_ERROR_INTERRUPTED);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fv_eval_of(eval, i, FV_EVAL_TASK_NEEDLE)->questions, 1);
        assert_true(fv_eval_report(eval, i)->keys_visible > 0);
        assert_int_equal(fv_eval_documents(eval, i, FV_EVAL_TASK_NEEDLE)[0].questions, 1);
        assert_int_equal(fv_eval_document_count(eval, FV_EVAL_TASK_NEEDLE), 1);
    }
    assert_true(fv_eval_report(eval, 0)->keys_visible == fv_eval_report(eval, 1)->keys_visible);
    fv_eval_close(eval);
}

static void bad_settings_are_refused(void **state) {
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    fv_eval_config good;
    fv_eval *eval = NULL;
    fv_eval_config_default(&good);
    good.llm = llm;
    good.policies = &dense;
    good.policy_count = 1;
    (void)state;
    for (int i = 0; i < 5; i++) {
        fv_eval_config bad = good;
        if (i == 0) bad.llm = NULL;
        if (i == 1) bad.policy_count = 0;
        if (i == 2) bad.context = 255;
        if (i == 3) bad.questions = 0;
        if (i == 4) bad.per_document = FV_EVAL_QUESTIONS_MAX + 1;
        assert_int_equal(fv_eval_open(&eval, &bad, NULL), FV_ERROR_ARGUMENT);
        assert_null(eval);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_counted_beside_dense_ones),
        cmocka_unit_test(shares_and_differences),
        cmocka_unit_test(the_interval_is_that_of_paired_answers),
        cmocka_unit_test(a_document_with_one_question_is_a_question),
        cmocka_unit_test(documents_are_spread_as_wholes),
        cmocka_unit_test(the_interval_of_documents_is_that_of_student),
        cmocka_unit_test(a_task_counts_from_two_fifths_on),
        cmocka_unit_test(every_question_is_asked_of_every_policy),
        cmocka_unit_test(counters_are_those_of_questions_and_answers),
        cmocka_unit_test(an_interrupted_question_does_not_count),
        cmocka_unit_test(bad_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
