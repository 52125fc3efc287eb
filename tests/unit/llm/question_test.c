/* question_test.c - the last tokens of a prompt read everything, as the policy says, in whatever pieces the prompt
 * comes: by a session, in steps of many, in company. */
#include "fovea/generate.h"
#include "fovea/schedule.h"
#include "support/test_policy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"

enum { PROMPT = 150, QUESTION = 37, BATCH = 32, CONTEXT = 400, MOST_VOCABULARY = 512 };

static fv_llm *llm;
static fv_segments *segments;
static fv_stepper *stepper;
static int32_t prompt[PROMPT];
static size_t logit_bytes;
static float wanted[2][MOST_VOCABULARY]; /* of the prompt's last token, and of one more */

static fv_session_config config_of(uint32_t question) {
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = BATCH;
    config.policy = test_policy(FV_SELECTOR_WINDOW);
    config.policy.window = 8;
    config.policy.sinks = 2;
    config.policy.question = question;
    return config;
}

static fv_session *session_new(uint32_t question) {
    fv_session *session = NULL;
    const fv_session_config config = config_of(question);
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    return session;
}

static void last_logits(fv_session *session, float *logits) {
    assert_int_equal(fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, logits), FV_OK);
}

/* By two policies, one after the other. */
static void make_wanted(void) {
    fv_session *session = session_new(0);
    const fv_policy held = *fv_session_policy(session), dense = test_policy(FV_SELECTOR_DENSE);
    assert_int_equal(fv_session_feed(session, prompt, PROMPT - QUESTION, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_set_policy(session, &dense, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, prompt + PROMPT - QUESTION, QUESTION, NULL, NULL), FV_OK);
    last_logits(session, wanted[0]);
    assert_int_equal(fv_session_set_policy(session, &held, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, prompt, 1, NULL, NULL), FV_OK);
    last_logits(session, wanted[1]);
    fv_session_close(session);
}

static int open_all(void **state) {
    (void)state;
    if (fv_llm_open(&llm, MODEL, NULL) != FV_OK) return -1;
    uint32_t vocabulary = fv_llm_config(llm)->vocabulary;
    const fv_session_config config = config_of(QUESTION);
    for (uint32_t i = 0; i < PROMPT; i++) prompt[i] = (int32_t)((5 + i * 11) % vocabulary);
    logit_bytes = vocabulary * sizeof **wanted;
    if (vocabulary > MOST_VOCABULARY || fv_segments_open(&segments, 0, NULL) != FV_OK ||
        fv_stepper_open(&stepper, llm, &config, NULL, NULL) != FV_OK)
        return -1;
    make_wanted();
    return 0;
}

static int close_all(void **state) {
    (void)state;
    fv_stepper_close(stepper);
    fv_segments_close(segments);
    fv_llm_close(llm);
    return 0;
}

static void check_session(fv_session *session) {
    float got[MOST_VOCABULARY];
    last_logits(session, got);
    assert_memory_equal(got, wanted[0], logit_bytes);
    assert_int_equal(fv_session_feed(session, prompt, 1, NULL, NULL), FV_OK); /* of an answer */
    last_logits(session, got);
    assert_memory_equal(got, wanted[1], logit_bytes);
}

static void a_session_in_any_pieces(void **state) {
    static const size_t pieces[] = {PROMPT, 1, 7, PROMPT - QUESTION, PROMPT - 20};
    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        fv_session *session = session_new(QUESTION);
        for (size_t done = 0, some; done < PROMPT; done += some) {
            some = PROMPT - done < pieces[i] ? PROMPT - done : pieces[i];
            assert_int_equal(fv_session_feed_prompt(session, prompt + done, some, PROMPT - done - some, NULL, NULL),
                             FV_OK);
        }
        check_session(session);
        fv_session_close(session);
    }
}

static void without_a_question_the_policy_reads_all_of_it(void **state) {
    float got[2][MOST_VOCABULARY];
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        fv_session *session = session_new(i ? QUESTION : 0); /* what is fed as no prompt has none */
        fv_status status = i ? fv_session_feed(session, prompt, PROMPT, NULL, NULL)
                             : fv_session_feed_prompt(session, prompt, PROMPT, 0, NULL, NULL);
        assert_int_equal(status, FV_OK);
        last_logits(session, got[i]);
        fv_session_close(session);
    }
    assert_memory_equal(got[0], got[1], logit_bytes);
    assert_memory_not_equal(got[0], wanted[0], logit_bytes);
}

static void a_question_longer_than_the_prompt_is_all_of_it(void **state) {
    float got[2][MOST_VOCABULARY];
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        fv_session *session = session_new(FV_POLICY_MOST);
        const fv_policy dense = test_policy(FV_SELECTOR_DENSE);
        if (i) assert_int_equal(fv_session_set_policy(session, &dense, NULL), FV_OK);
        assert_int_equal(fv_session_feed_prompt(session, prompt, PROMPT, 0, NULL, NULL), FV_OK);
        assert_true(fv_session_report(session)->keys_read == fv_session_report(session)->keys_visible);
        assert_true(fv_session_batch_rows(session) > 1); /* of which the last one alone has logits */
        assert_int_equal(fv_session_logits(session, fv_session_batch_rows(session) - 2, 1, got[i]), FV_ERROR_ARGUMENT);
        last_logits(session, got[i]);
        fv_session_close(session);
    }
    assert_memory_equal(got[0], got[1], logit_bytes);
}

static void a_short_prompt_has_the_bits_of_dense_rows_anyway(void **state) {
    float got[2][MOST_VOCABULARY];
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        fv_session *session = NULL;
        fv_session_config config = config_of(0);
        config.policy = test_policy(i ? FV_SELECTOR_FOVEA : FV_SELECTOR_DENSE);
        config.policy.dense_below = 0;
        config.policy.question = 0;
        assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_feed_prompt(session, prompt, PROMPT, 0, NULL, NULL), FV_OK);
        last_logits(session, got[i]);
        fv_session_close(session);
    }
    assert_memory_equal(got[0], got[1], logit_bytes);
}

static void a_generator_feeds_prompts(void **state) {
    fv_session *session = session_new(QUESTION);
    fv_generator *generator = NULL;
    fv_generate_config config;
    (void)state;
    fv_generate_config_default(&config);
    config.session = session;
    config.llm = llm;
    assert_int_equal(fv_generator_open(&generator, &config, NULL), FV_OK);
    assert_int_equal(fv_generator_feed(generator, prompt, PROMPT, NULL, NULL), FV_OK);
    check_session(session);
    fv_generator_close(generator);
    fv_session_close(session);
}

static void a_schedule_cuts_prompts(void **state) {
    float got[MOST_VOCABULARY];
    (void)state;
    for (uint32_t chunk = 1; chunk < BATCH; chunk += 10) {
        fv_sequence *sequence = NULL;
        fv_schedule *schedule = NULL;
        const fv_session_config config = config_of(QUESTION);
        assert_int_equal(fv_sequence_open(&sequence, llm, segments, &config, NULL), FV_OK);
        assert_int_equal(fv_schedule_open(&schedule, stepper, chunk, NULL), FV_OK);
        assert_int_equal(fv_schedule_feed_prompt(schedule, sequence, prompt, PROMPT, got, NULL, NULL), FV_OK);
        assert_memory_equal(got, wanted[0], logit_bytes);
        assert_int_equal(fv_schedule_feed(schedule, sequence, prompt, 1, got, NULL, NULL), FV_OK);
        assert_memory_equal(got, wanted[1], logit_bytes);
        fv_schedule_close(schedule);
        fv_sequence_close(sequence);
    }
}

static void what_is_refused(void **state) {
    fv_sequence *sequence = NULL;
    const fv_session_config config = config_of(QUESTION);
    (void)state;
    assert_int_equal(fv_sequence_open(&sequence, llm, segments, &config, NULL), FV_OK);
    fv_step_part part = {.sequence = sequence, .tokens = prompt, .count = 5, .dense_rows = 6};
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_ERROR_ARGUMENT);
    const fv_deadline deadline = {0};
    part.dense_rows = 5;
    part.deadline = &deadline;
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_ERROR_UNSUPPORTED);
    part.dense_rows = 0;
    part.output_rows = 1;
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_ERROR_UNSUPPORTED);
    part.output_rows = 6;
    part.deadline = NULL;
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_sequence_tokens(sequence), 0);
    part.dense_rows = 5;
    part.output_rows = 2;
    assert_int_equal(fv_stepper_run(stepper, &part, 1), FV_OK);
    assert_int_equal(fv_sequence_tokens(sequence), 5);
    static float logits[2 * MOST_VOCABULARY];
    const uint32_t rows[3] = {3, 4, 2};
    assert_int_equal(fv_stepper_logits(stepper, rows, 2, logits), FV_OK);
    assert_int_equal(fv_stepper_logits(stepper, rows + 2, 1, logits), FV_ERROR_ARGUMENT);
    fv_sequence_close(sequence);
}

static void rows_of_a_question(void **state) {
    const struct {
        uint64_t left;
        uint32_t question, rows, expected;
    } cases[] = {{100, 0, 100, 0}, {100, 10, 100, 10}, {100, 10, 90, 0}, {100, 10, 91, 1},
                 {10, 10, 1, 1},   {5, 10, 5, 5},      {1, 10, 1, 1},    {UINT64_MAX, FV_POLICY_MOST, 512, 0}};
    fv_policy policy = test_policy(FV_SELECTOR_FOVEA);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        policy.question = cases[i].question;
        assert_int_equal(fv_policy_question_rows(&policy, cases[i].left, cases[i].rows), cases[i].expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_in_any_pieces),
        cmocka_unit_test(without_a_question_the_policy_reads_all_of_it),
        cmocka_unit_test(a_question_longer_than_the_prompt_is_all_of_it),
        cmocka_unit_test(a_short_prompt_has_the_bits_of_dense_rows_anyway),
        cmocka_unit_test(a_generator_feeds_prompts),
        cmocka_unit_test(a_schedule_cuts_prompts),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(rows_of_a_question),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
