/* schedule_test.c - a thread a conversation and one stepper for all: the tokens of each alone, steps that many share,
 * an answer that waits for one chunk of a prompt at most, and failures that stay with their callers. */
#include "fovea/schedule.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_q4_0.gguf"

enum { TALKS = 12, PROMPT = 90, TOKENS = 24, CHUNK = 16, BATCH = 64, CONTEXT = 1200 };

static fv_llm *llm;
static uint32_t vocabulary;
static fv_segments *segments;
static fv_stepper *stepper;

static fv_session_config config_of(uint32_t context) {
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = context;
    config.batch_tokens = BATCH;
    return config;
}

static fv_sequence *sequence_new(uint32_t context) {
    fv_sequence *made = NULL;
    fv_session_config config = config_of(context);
    return fv_sequence_open(&made, llm, segments, &config, NULL) == FV_OK ? made : NULL;
}

/* One conversation. cmocka is not thread-safe: threads only take notes. */
typedef struct talk {
    fv_schedule *schedule; /* NULL: alone, by the stepper */
    int32_t seed;
    int32_t tokens[TOKENS];
    bool failed;
} talk;

static fv_status feed(const talk *self, fv_sequence *sequence, const int32_t *tokens, size_t count, float *logits) {
    if (self->schedule) return fv_schedule_feed(self->schedule, sequence, tokens, count, logits, NULL, NULL);
    fv_status status = fv_sequence_feed(sequence, stepper, tokens, count, NULL, NULL);
    uint32_t row = (uint32_t)fv_stepper_rows(stepper) - 1;
    return status == FV_OK ? fv_stepper_logits(stepper, &row, 1, logits) : status;
}

static bool talk_on(talk *self, fv_sequence *sequence, float *logits) {
    int32_t prompt[PROMPT];
    size_t count = PROMPT - (size_t)self->seed * 5;
    for (int32_t i = 0; i < PROMPT; i++) prompt[i] = (5 + self->seed * 7 + i * 11) % (int32_t)vocabulary;
    if (feed(self, sequence, prompt, count, logits) != FV_OK) return false;
    for (size_t i = 0; i < TOKENS; i++) {
        uint32_t best = 0;
        for (uint32_t v = 1; v < vocabulary; v++)
            if (logits[v] > logits[best]) best = v;
        self->tokens[i] = ((int32_t)best + self->seed) % (int32_t)vocabulary; /* no two alike */
        if (feed(self, sequence, &self->tokens[i], 1, logits) != FV_OK) return false;
    }
    return fv_sequence_tokens(sequence) == count + TOKENS;
}

static void *talk_main(void *argument) {
    talk *self = argument;
    fv_sequence *sequence = sequence_new(CONTEXT);
    float *logits = malloc(vocabulary * sizeof *logits);
    self->failed = !sequence || !logits || !talk_on(self, sequence, logits);
    fv_sequence_close(sequence);
    free(logits);
    return NULL;
}

static void test_together_as_alone(void **state) {
    (void)state;
    static talk alone[TALKS], shared[TALKS];
    fv_schedule_counts counts;
    fv_schedule *schedule = NULL;
    pthread_t threads[TALKS];
    for (int32_t i = 0; i < TALKS; i++) {
        alone[i] = (talk){.seed = i};
        talk_main(&alone[i]);
        assert_false(alone[i].failed);
    }
    assert_int_equal(fv_schedule_open(&schedule, stepper, CHUNK, NULL), FV_OK);
    for (int32_t i = 0; i < TALKS; i++) {
        shared[i] = (talk){.schedule = schedule, .seed = i};
        assert_int_equal(pthread_create(&threads[i], NULL, talk_main, &shared[i]), 0);
    }
    for (int32_t i = 0; i < TALKS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(shared[i].failed);
        assert_memory_equal(shared[i].tokens, alone[i].tokens, sizeof alone[i].tokens);
    }
    fv_schedule_counts_read(schedule, &counts);
    uint64_t rows = 0;
    for (uint64_t i = 0; i < TALKS; i++) rows += PROMPT - i * 5 + TOKENS;
    assert_int_equal(counts.rows, rows);
    assert_true(counts.most_parts > 1 && counts.parts > counts.steps); /* they did share */
    assert_true(counts.most_rows <= BATCH);
    fv_schedule_close(schedule);
}

/* A prompt of many chunks, and an answer that runs meanwhile. */
typedef struct long_prompt {
    fv_schedule *schedule;
    fv_status status;
    bool done;
    pthread_mutex_t lock;
} long_prompt;

static void *long_prompt_main(void *argument) {
    long_prompt *self = argument;
    fv_sequence *sequence = sequence_new(CONTEXT);
    int32_t tokens[1000];
    for (int32_t i = 0; i < 1000; i++) tokens[i] = (i * 13 + 1) % (int32_t)vocabulary;
    self->status =
        sequence ? fv_schedule_feed(self->schedule, sequence, tokens, 1000, NULL, NULL, NULL) : FV_ERROR_MEMORY;
    pthread_mutex_lock(&self->lock);
    self->done = true;
    pthread_mutex_unlock(&self->lock);
    fv_sequence_close(sequence);
    return NULL;
}

static bool is_done(long_prompt *prompt) {
    pthread_mutex_lock(&prompt->lock);
    bool done = prompt->done;
    pthread_mutex_unlock(&prompt->lock);
    return done;
}

static void test_an_answer_waits_for_a_chunk(void **state) {
    (void)state;
    long_prompt prompt = {.lock = PTHREAD_MUTEX_INITIALIZER};
    fv_schedule_counts counts;
    pthread_t thread;
    assert_int_equal(fv_schedule_open(&prompt.schedule, stepper, CHUNK, NULL), FV_OK);
    fv_sequence *sequence = sequence_new(CONTEXT);
    int32_t token = 3;
    size_t tokens = 0;
    assert_non_null(sequence);
    assert_int_equal(pthread_create(&thread, NULL, long_prompt_main, &prompt), 0);
    while (!is_done(&prompt) && tokens < CONTEXT) {
        assert_int_equal(fv_schedule_feed(prompt.schedule, sequence, &token, 1, NULL, NULL, NULL), FV_OK);
        tokens++;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(prompt.status, FV_OK);
    fv_schedule_counts_read(prompt.schedule, &counts);
    assert_true(tokens >= 1);
    assert_int_equal(counts.most_waited, 1); /* the step at work ends, the next one is its own */
    assert_true(counts.most_rows <= CHUNK + 1);
    fv_sequence_close(sequence);
    fv_schedule_close(prompt.schedule);
}

static bool stop_at_second(void *context, size_t done, size_t total) {
    (void)total;
    *(size_t *)context = done;
    return done < 2 * CHUNK;
}

static void test_giving_up(void **state) {
    (void)state;
    fv_schedule *schedule = NULL;
    fv_sequence *sequence = sequence_new(CONTEXT);
    int32_t tokens[100] = {0};
    size_t seen = 0;
    float logits[1] = {7};
    assert_int_equal(fv_schedule_open(&schedule, stepper, CHUNK, NULL), FV_OK);
    assert_int_equal(fv_schedule_feed(schedule, sequence, tokens, 100, logits, stop_at_second, &seen),
                     FV_ERROR_INTERRUPTED);
    assert_int_equal(seen, 2 * CHUNK);
    assert_int_equal(fv_sequence_tokens(sequence), 2 * CHUNK);
    assert_true(logits[0] == 7);
    assert_int_equal(fv_schedule_feed(schedule, sequence, tokens, 100, NULL, NULL, NULL), FV_OK);
    fv_sequence_close(sequence);
    fv_schedule_close(schedule);
}

/* What a thread feeds that cannot succeed. */
static void *fail_main(void *argument) {
    talk *self = argument;
    int32_t outside = (int32_t)vocabulary, tokens[40] = {0};
    fv_sequence *small = sequence_new(32), *other = sequence_new(CONTEXT);
    self->failed = !small || !other;
    for (int32_t i = 0; i < 20 && !self->failed; i++) {
        self->failed |= fv_schedule_feed(self->schedule, small, tokens, 40, NULL, NULL, NULL) != FV_ERROR_FULL;
        self->failed |= fv_schedule_feed(self->schedule, other, &outside, 1, NULL, NULL, NULL) != FV_ERROR_ARGUMENT;
        self->failed |= fv_sequence_tokens(small) + fv_sequence_tokens(other) != 0;
    }
    fv_sequence_close(small);
    fv_sequence_close(other);
    return NULL;
}

static void test_a_failure_is_its_callers(void **state) {
    (void)state;
    talk good = {.seed = 3}, bad = {.seed = 0}, alone = {.seed = 3};
    fv_schedule *schedule = NULL;
    pthread_t threads[2];
    talk_main(&alone);
    assert_int_equal(fv_schedule_open(&schedule, stepper, CHUNK, NULL), FV_OK);
    good.schedule = bad.schedule = schedule;
    assert_int_equal(pthread_create(&threads[0], NULL, talk_main, &good), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, fail_main, &bad), 0);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    assert_false(good.failed || bad.failed);
    assert_memory_equal(good.tokens, alone.tokens, sizeof good.tokens);
    fv_schedule_close(schedule);
}

static void test_what_is_refused(void **state) {
    (void)state;
    fv_schedule *schedule = NULL;
    fv_sequence *sequence = sequence_new(CONTEXT);
    int32_t token = 1;
    assert_int_equal(fv_schedule_open(NULL, stepper, 0, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_schedule_open(&schedule, NULL, 0, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_schedule_open(&schedule, stepper, 0, NULL), FV_OK);
    assert_int_equal(fv_schedule_feed(NULL, sequence, &token, 1, NULL, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_schedule_feed(schedule, NULL, &token, 1, NULL, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_schedule_feed(schedule, sequence, NULL, 1, NULL, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_schedule_feed(schedule, sequence, NULL, 0, NULL, NULL, NULL), FV_OK);
    assert_int_equal(fv_sequence_tokens(sequence), 0);
    fv_sequence_close(sequence);
    fv_schedule_close(schedule);
    fv_schedule_close(NULL);
}

static int open_all(void **state) {
    (void)state;
    fv_session_config config = config_of(CONTEXT);
    if (fv_llm_open(&llm, MODEL, NULL) != FV_OK) return -1;
    vocabulary = fv_llm_config(llm)->vocabulary;
    return fv_segments_open(&segments, 0, NULL) != FV_OK ||
           fv_stepper_open(&stepper, llm, &config, NULL, NULL) != FV_OK;
}

static int close_all(void **state) {
    (void)state;
    fv_stepper_close(stepper);
    fv_segments_close(segments);
    fv_llm_close(llm);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together_as_alone), cmocka_unit_test(test_an_answer_waits_for_a_chunk),
        cmocka_unit_test(test_giving_up),         cmocka_unit_test(test_a_failure_is_its_callers),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
