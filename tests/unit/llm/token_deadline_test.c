/* token_deadline_test.c - tokens that must be there soon, by a clock that the test moves: time enough shows in no bit,
 * what is late is cut short or fails, and is counted; prompts and other conversations are left alone. */
#include "fovea/generate.h"
#include "fovea/schedule.h"
#include "fovea/session_file.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_q4_0.gguf"

enum { CONTEXT = 2200, BATCH = 64, PROMPT = 1100, VOCABULARY_MOST = 4096 };

static fv_llm *llm;
static uint32_t vocabulary;

/* It moves on by `pace` with every look. */
typedef struct test_clock {
    uint64_t now, pace, looks;
} test_clock;

static uint64_t test_clock_look(void *context) {
    test_clock *clock = context;
    clock->looks++;
    return clock->now += clock->pace;
}

static fv_token_deadline deadline_of(test_clock *clock, uint64_t token_ns, uint32_t on_deadline) {
    return (fv_token_deadline){
        .clock = test_clock_look, .context = clock, .token_ns = token_ns, .on_deadline = on_deadline};
}

static fv_session_config config_of(void) {
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = BATCH;
    return config;
}

/* A session that has read a prompt of two segments, and what it says of the token after that. */
static fv_session *session_new(void) {
    fv_session_config config = config_of();
    fv_session *made = NULL;
    int32_t prompt[PROMPT];
    for (int32_t i = 0; i < PROMPT; i++) prompt[i] = (i * 7 + 3) % (int32_t)vocabulary;
    assert_int_equal(fv_session_open(&made, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(made, prompt, PROMPT, NULL, NULL), FV_OK);
    return made;
}

static fv_status token_feed(fv_session *session, int32_t token, float *logits) {
    fv_status status = fv_session_feed(session, &token, 1, NULL, NULL);
    return status == FV_OK ? fv_session_logits(session, 0, 1, logits) : status;
}

static void check_counts(const fv_deadline_counts *got, uint64_t tokens, uint64_t cut, uint64_t late, uint64_t failed) {
    assert_int_equal(got->tokens, tokens);
    assert_int_equal(got->cut, cut);
    assert_int_equal(got->late, late);
    assert_int_equal(got->failed, failed);
}

static void test_time_enough_shows_in_no_bit(void **state) {
    (void)state;
    static float want[VOCABULARY_MOST], got[VOCABULARY_MOST];
    fv_session *session = session_new();
    assert_int_equal(token_feed(session, 5, want), FV_OK);
    for (uint32_t on = FV_DEADLINE_FAIL; on <= FV_DEADLINE_BEST; on++) {
        test_clock clock = {.pace = 1};
        fv_token_deadline far = deadline_of(&clock, 1000000, on);
        assert_int_equal(fv_session_truncate(session, PROMPT), FV_OK);
        assert_int_equal(fv_session_set_deadline(session, &far, NULL), FV_OK);
        assert_int_equal(token_feed(session, 5, got), FV_OK);
        assert_memory_equal(got, want, vocabulary * sizeof *want);
        assert_true(clock.looks > 2);
        check_counts(fv_session_deadline_counts(session), 1, 0, 0, 0);
    }
    fv_session_close(session);
}

static void test_a_late_token_is_cut_or_fails(void **state) {
    (void)state;
    static float want[VOCABULARY_MOST], got[VOCABULARY_MOST];
    fv_session *session = session_new();
    test_clock clock = {.pace = 1};
    fv_token_deadline best = deadline_of(&clock, 1, FV_DEADLINE_BEST), fail = deadline_of(&clock, 1, FV_DEADLINE_FAIL);
    assert_int_equal(token_feed(session, 5, want), FV_OK);
    assert_int_equal(fv_session_truncate(session, PROMPT), FV_OK);
    assert_int_equal(fv_session_set_deadline(session, &best, NULL), FV_OK);
    assert_int_equal(token_feed(session, 5, got), FV_OK);
    assert_true(memcmp(got, want, vocabulary * sizeof *want) != 0);
    check_counts(fv_session_deadline_counts(session), 1, 1, 1, 0);
    assert_int_equal(fv_session_truncate(session, PROMPT), FV_OK);
    assert_int_equal(fv_session_set_deadline(session, &fail, NULL), FV_OK); /* counts begin with it */
    assert_int_equal(token_feed(session, 5, got), FV_ERROR_DEADLINE);
    assert_int_equal(fv_session_tokens(session), PROMPT);
    assert_int_equal(fv_session_batch_rows(session), 0);
    check_counts(fv_session_deadline_counts(session), 1, 0, 0, 1);
    assert_int_equal(fv_session_set_deadline(session, NULL, NULL), FV_OK);
    assert_int_equal(token_feed(session, 5, got), FV_OK); /* nothing is left of the failure */
    assert_memory_equal(got, want, vocabulary * sizeof *want);
    check_counts(fv_session_deadline_counts(session), 0, 0, 0, 0);
    fv_session_close(session);
}

/* More time, more keys, from a token that reads nothing to one that reads all. */
static void test_between_nothing_and_all(void **state) {
    (void)state;
    fv_session *session = session_new();
    static float logits[VOCABULARY_MOST];
    uint64_t read = 0, cut = 0, visible = (PROMPT + 1) * (uint64_t)fv_llm_config(llm)->layers;
    visible *= fv_llm_config(llm)->cache.kv_heads;
    for (uint64_t time = 1; time < 400; time += 3) {
        test_clock clock = {.pace = 1};
        fv_token_deadline best = deadline_of(&clock, time, FV_DEADLINE_BEST);
        assert_int_equal(fv_session_set_deadline(session, &best, NULL), FV_OK);
        fv_session_report_reset(session);
        assert_int_equal(token_feed(session, 5, logits), FV_OK);
        const fv_report *report = fv_session_report(session);
        assert_int_equal(fv_session_deadline_counts(session)->cut, report->keys_read < visible);
        cut += fv_session_deadline_counts(session)->cut;
        read = report->keys_read;
        if (time == 1) assert_true(cut == 1);
        assert_int_equal(fv_session_truncate(session, PROMPT), FV_OK);
    }
    assert_int_equal(read, visible);
    assert_true(cut > 1);
    fv_session_close(session);
}

static void test_prompts_have_no_deadline(void **state) {
    (void)state;
    fv_session *session = session_new();
    test_clock clock = {.pace = 1000};
    fv_token_deadline fail = deadline_of(&clock, 1, FV_DEADLINE_FAIL);
    int32_t tokens[BATCH + 1] = {0};
    assert_int_equal(fv_session_set_deadline(session, &fail, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, tokens, BATCH + 1, NULL, NULL), FV_OK); /* its last step has one row */
    assert_int_equal(clock.looks, 0);
    check_counts(fv_session_deadline_counts(session), 0, 0, 0, 0);
    fv_session_close(session);
}

static void test_what_is_refused(void **state) {
    (void)state;
    fv_session *session = session_new();
    fv_message message;
    test_clock clock = {0};
    const fv_token_deadline good = deadline_of(&clock, 1, FV_DEADLINE_BEST);
    fv_token_deadline bad[] = {good, good, good, good};
    bad[0].clock = NULL, bad[1].token_ns = 0, bad[2].on_deadline = 2, bad[3].reserved = 1;
    assert_int_equal(fv_session_set_deadline(session, &good, NULL), FV_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fv_session_set_deadline(session, &bad[i], &message), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_session_set_deadline(NULL, &good, NULL), FV_ERROR_ARGUMENT);
    assert_true(clock.looks == 0);
    fv_session_close(session);
    fv_session_config config = config_of();
    fv_policy_default(FV_SELECTOR_FOVEA, &config.policy);
    config.policy.quality = 0.05f;
    config.policy.certificate = 1;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, &message), FV_OK);
    assert_int_equal(fv_session_set_deadline(session, &good, &message), FV_ERROR_UNSUPPORTED);
    assert_non_null(strstr(message.text, "quality"));
    fv_session_close(session);
}

static void test_an_answer_ends_at_a_late_token(void **state) {
    (void)state;
    fv_session *session = session_new();
    fv_generator *generator = NULL;
    fv_generate_config config;
    test_clock clock = {0};
    fv_token_deadline fail = deadline_of(&clock, 1000, FV_DEADLINE_FAIL);
    fv_stop stop;
    int32_t prompt[] = {3, 4, 5};
    fv_generate_config_default(&config);
    config.session = session, config.llm = llm, config.ignore_end = 1;
    assert_int_equal(fv_session_set_deadline(session, &fail, NULL), FV_OK);
    assert_int_equal(fv_generator_open(&generator, &config, NULL), FV_OK);
    assert_int_equal(fv_generator_feed(generator, prompt, 3, NULL, NULL), FV_OK);
    assert_int_equal(fv_generator_answer(generator, 4, &stop), FV_OK);
    assert_int_equal(stop, FV_STOP_LIMIT);
    clock.pace = 1000;
    assert_int_equal(fv_generator_answer(generator, 4, &stop), FV_OK);
    assert_int_equal(stop, FV_STOP_DEADLINE);
    assert_string_equal(fv_stop_name(stop), "deadline");
    assert_int_equal(fv_generator_tokens(generator)->count, 0); /* the first answer's last token never came through */
    assert_true(fv_generator_pending(generator) >= 0);
    assert_int_equal(fv_session_tokens(session), PROMPT + 3 + 3);
    assert_int_equal(fv_generator_decode(generator)->tokens, 3);
    clock.pace = 0;
    assert_int_equal(fv_generator_answer(generator, 4, &stop), FV_OK); /* and goes on when there is time again */
    assert_int_equal(stop, FV_STOP_LIMIT);
    check_counts(fv_session_deadline_counts(session), 3 + 1 + 4, 0, 0, 1);
    clock.pace = 1000;
    assert_int_equal(fv_generator_feed(generator, NULL, 0, NULL, NULL), FV_OK); /* the pending one, read as a prompt */
    check_counts(fv_session_deadline_counts(session), 3 + 1 + 4, 0, 0, 1);
    assert_int_equal(fv_generator_answer(generator, 2, &stop), FV_OK);
    assert_int_equal(stop, FV_STOP_DEADLINE); /* and answers have it still */
    fv_generator_close(generator);
    fv_session_close(session);
}

/* ---- sequences and a schedule ---- */

typedef struct shared_talk {
    fv_schedule *schedule;
    fv_sequence *sequence;
    fv_status failed; /* the first that is neither FV_OK nor awaited */
    fv_status awaited;
} shared_talk;

static void *talk_main(void *argument) {
    shared_talk *self = argument;
    for (int32_t i = 0; i < 12; i++) {
        fv_status status = fv_schedule_feed(self->schedule, self->sequence, &i, 1, NULL, NULL, NULL);
        if (status != self->awaited && self->failed == FV_OK) self->failed = status ? status : FV_ERROR_ARGUMENT;
    }
    return NULL;
}

/* Three at a time: in time by one clock, late by another, and one without. */
static void test_each_has_its_own(void **state) {
    (void)state;
    fv_segments *segments = NULL;
    fv_stepper *stepper = NULL;
    fv_session_config config = config_of();
    test_clock slow = {.pace = 1}, fast = {.pace = 1000};
    const fv_token_deadline deadlines[2] = {deadline_of(&slow, 1u << 20, FV_DEADLINE_FAIL),
                                            deadline_of(&fast, 1, FV_DEADLINE_FAIL)};
    shared_talk talks[3] = {{.awaited = FV_OK}, {.awaited = FV_ERROR_DEADLINE}, {.awaited = FV_OK}};
    pthread_t threads[3];
    fv_schedule *schedule = NULL;
    assert_int_equal(fv_segments_open(&segments, 0, NULL), FV_OK);
    assert_int_equal(fv_stepper_open(&stepper, llm, &config, NULL, NULL), FV_OK);
    assert_int_equal(fv_schedule_open(&schedule, stepper, 16, NULL), FV_OK);
    for (size_t i = 0; i < 3; i++) {
        talks[i].schedule = schedule;
        assert_int_equal(fv_sequence_open(&talks[i].sequence, llm, segments, &config, NULL), FV_OK);
        if (i < 2) assert_int_equal(fv_sequence_set_deadline(talks[i].sequence, &deadlines[i], NULL), FV_OK);
    }
    for (size_t i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, talk_main, &talks[i]), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(talks[i].failed, FV_OK);
        assert_int_equal(fv_sequence_tokens(talks[i].sequence), i == 1 ? 0 : 12);
    }
    check_counts(fv_sequence_deadline_counts(talks[0].sequence), 12, 0, 0, 0);
    check_counts(fv_sequence_deadline_counts(talks[1].sequence), 12, 0, 0, 12);
    check_counts(fv_sequence_deadline_counts(talks[2].sequence), 0, 0, 0, 0);
    fv_sequence *fork = NULL;
    assert_int_equal(fv_sequence_fork(&fork, talks[0].sequence, NULL), FV_OK);
    check_counts(fv_sequence_deadline_counts(fork), 0, 0, 0, 0);
    talks[0].sequence = (fv_sequence_close(talks[0].sequence), fork);
    talk_main(&talks[0]);
    check_counts(fv_sequence_deadline_counts(fork), 12, 0, 0, 0); /* a setting, too */
    for (size_t i = 0; i < 3; i++) fv_sequence_close(talks[i].sequence);
    fv_schedule_close(schedule);
    fv_stepper_close(stepper);
    fv_segments_close(segments);
}

static int open_all(void **state) {
    (void)state;
    if (fv_llm_open(&llm, MODEL, NULL) != FV_OK) return -1;
    vocabulary = fv_llm_config(llm)->vocabulary;
    return vocabulary > VOCABULARY_MOST;
}

static int close_all(void **state) {
    (void)state;
    fv_llm_close(llm);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_enough_shows_in_no_bit),
        cmocka_unit_test(test_a_late_token_is_cut_or_fails),
        cmocka_unit_test(test_between_nothing_and_all),
        cmocka_unit_test(test_prompts_have_no_deadline),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_an_answer_ends_at_a_late_token),
        cmocka_unit_test(test_each_has_its_own),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
