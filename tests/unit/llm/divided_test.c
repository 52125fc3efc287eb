/* divided_test.c - two or three ranks, as threads, hold the contexts of a model: text, logits, reports and memory are
 * those of one process; what fails at one rank fails at all, and leaves sequences as they were; what is refused. */
#include "fovea/engine.h"
#include "fovea/session_file.h"
#include "fovea/step.h"
#include "support/random.h"
#include "support/rank_group.h"
#include "support/test_policy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LLAMA FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define GEMMA FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf" /* six of its seven layers have a window of 16 tokens */

enum { CONTEXT = 3200, BATCH = 100, SAID = 6 };

static int32_t text[CONTEXT];

/* One talk: what it is given, and what came of it. */
typedef struct talk {
    const char *model;
    fv_selector selector;
    const fv_exchange *exchange; /* NULL: one process */
    uint64_t pool_bytes;         /* of segments; 0: no limit */
    bool led;                    /* rank 0 tells the others what to do */
    fv_engine *engine;
    const fv_llm *llm;
    fv_segments *pool;
    fv_sequence *sequence, *fork;
    fv_stepper *stepper;
    float *logits;          /* [vocabulary] */
    int32_t said[3 * SAID]; /* greedily */
    float top[3 * SAID];    /* what these had */
    uint32_t count;
    uint64_t bytes; /* of the sequence, when it was longest */
    fv_report report;
    fv_status status;
    fv_message message;
} talk;

static fv_session_config config_of(const talk *t) {
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = BATCH;
    config.policy = test_policy(t->selector);
    if (t->selector == FV_SELECTOR_FOVEA) config.policy.dense_below = 0, fv_policy_set_budget(&config.policy, 0.2f);
    if (t->selector == FV_SELECTOR_WINDOW) config.policy.window = 1200;
    config.policy.question = 40;
    return config;
}

static fv_status talk_engine(talk *t) {
    fv_engine_config config;
    fv_engine_config_default(&config);
    config.model = t->model;
    config.tune = "none";
    config.pool.threads = 1;
    t->status = fv_engine_open(&t->engine, &config, &t->message);
    if (t->status == FV_OK && t->exchange) t->status = fv_engine_divide(t->engine, t->exchange, &t->message);
    if (t->status == FV_OK) t->llm = fv_engine_llm(t->engine);
    return t->status;
}

static fv_status talk_open(talk *t) {
    if (talk_engine(t) == FV_OK && t->led) t->status = fv_engine_lead(t->engine, &t->message);
    if (t->status == FV_OK) t->status = fv_segments_open(&t->pool, t->pool_bytes, &t->message);
    const fv_session_config config = config_of(t);
    if (t->status == FV_OK) t->status = fv_sequence_open(&t->sequence, t->llm, t->pool, &config, &t->message);
    if (t->status == FV_OK) t->status = fv_stepper_open(&t->stepper, t->llm, &config, NULL, &t->message);
    if (t->status == FV_OK) t->logits = calloc(fv_llm_config(t->llm)->vocabulary, sizeof *t->logits);
    return t->status;
}

static void talk_close(talk *t) {
    fv_sequence_close(t->sequence);
    fv_sequence_close(t->fork);
    fv_stepper_close(t->stepper);
    fv_segments_close(t->pool);
    fv_engine_close(t->engine);
    free(t->logits);
    t->sequence = t->fork = NULL, t->stepper = NULL, t->pool = NULL, t->engine = NULL, t->logits = NULL;
}

static fv_status feed(talk *t, fv_sequence *sequence, size_t first, size_t end) {
    return fv_sequence_feed_prompt(sequence, t->stepper, text + first, end - first, 0, NULL, NULL);
}

/* A few tokens by the largest logit. */
static fv_status say(talk *t, fv_sequence *sequence) {
    for (uint32_t i = 0; i < SAID; i++) {
        uint32_t row = (uint32_t)fv_stepper_rows(t->stepper) - 1, vocabulary = fv_llm_config(t->llm)->vocabulary;
        int32_t best = 0;
        fv_status status = fv_stepper_logits(t->stepper, &row, 1, t->logits);
        if (status != FV_OK) return status;
        for (uint32_t v = 1; v < vocabulary; v++)
            if (t->logits[v] > t->logits[best]) best = (int32_t)v;
        t->said[t->count] = best;
        t->top[t->count++] = t->logits[best];
        status = fv_sequence_feed(sequence, t->stepper, &best, 1, NULL, NULL);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

/* A prompt of three segments and some words; back to the second segment and others; a fork beside it in one step. */
static fv_status talk_run(talk *t) {
    fv_status status = feed(t, t->sequence, 0, 3030);
    if (status == FV_OK) status = say(t, t->sequence);
    t->bytes = fv_sequence_bytes(t->sequence);
    t->report = *fv_sequence_report(t->sequence);
    if (status == FV_OK) status = fv_sequence_truncate(t->sequence, 2040);
    if (status == FV_OK) status = feed(t, t->sequence, 100, 160);
    if (status == FV_OK) status = say(t, t->sequence);
    if (status == FV_OK) status = fv_sequence_fork(&t->fork, t->sequence, &t->message);
    if (status != FV_OK) return status;
    const fv_step_part parts[2] = {{.sequence = t->sequence, .tokens = text, .count = 1},
                                   {.sequence = t->fork, .tokens = text + 7, .count = 30}};
    fv_part_outcome outcomes[2];
    status = fv_stepper_run_each(t->stepper, parts, 2, outcomes);
    return status == FV_OK ? say(t, t->fork) : status;
}

static void *talk_main(void *context) {
    talk *t = context;
    if (t->led && t->exchange->rank > 0) {
        if (talk_engine(t) == FV_OK) t->status = fv_engine_follow(t->engine, &t->message);
        talk_close(t);
        return NULL;
    }
    if (talk_open(t) == FV_OK) t->status = talk_run(t);
    return NULL;
}

static void *leading_main(void *context) {
    talk *t = context;
    talk_main(t);
    talk_close(t); /* which tells the others to end */
    return NULL;
}

static void check_same(const talk *one, const talk *t) {
    if (t->status != FV_OK) fail_msg("%s: %s", fv_status_text(t->status), t->message.text);
    assert_int_equal(t->count, 3 * SAID);
    assert_memory_equal(one->said, t->said, sizeof t->said);
    assert_memory_equal(one->top, t->top, sizeof t->top);
    assert_memory_equal(&one->report, &t->report, sizeof t->report);
}

static void check_text(const char *model, fv_selector selector, uint32_t count) {
    talk one = {.model = model, .selector = selector}, ranks[RANK_GROUP_MOST];
    rank_group group;
    talk_main(&one);
    assert_int_equal(one.status, FV_OK);
    rank_group_make(&group, count);
    for (uint32_t r = 0; r < count; r++)
        ranks[r] = (talk){.model = model, .selector = selector, .exchange = &group.exchange[r]};
    assert_true(rank_group_run(&group, talk_main, ranks, sizeof *ranks));
    assert_false(group.differs);
    uint64_t bytes = 0;
    assert_true(selector != FV_SELECTOR_FOVEA || one.report.selected_keys > 0);
    for (uint32_t r = 0; r < count; r++) {
        check_same(&one, &ranks[r]);
        bytes += ranks[r].bytes;
        assert_true(ranks[r].bytes <= one.bytes * 2 / 3);
        talk_close(&ranks[r]);
    }
    assert_true(bytes == one.bytes);
    rank_group_close(&group);
    talk_close(&one);
}

static void test_text(void **state) {
    (void)state;
    check_text(LLAMA, FV_SELECTOR_DENSE, 2);
    check_text(LLAMA, FV_SELECTOR_FOVEA, 3);
    check_text(LLAMA, FV_SELECTOR_WINDOW, 2);
    check_text(GEMMA, FV_SELECTOR_FOVEA, 2);
}

/* Ranks that are told what to do. */
static void test_a_lead(void **state) {
    (void)state;
    talk one = {.model = GEMMA, .selector = FV_SELECTOR_FOVEA}, ranks[3];
    leading_main(&one);
    rank_group group;
    rank_group_make(&group, 3);
    for (uint32_t r = 0; r < 3; r++)
        ranks[r] = (talk){.model = GEMMA, .selector = FV_SELECTOR_FOVEA, .exchange = &group.exchange[r], .led = true};
    assert_true(rank_group_run(&group, leading_main, ranks, sizeof *ranks));
    assert_false(group.differs);
    check_same(&one, &ranks[0]);
    for (uint32_t r = 1; r < 3; r++)
        if (ranks[r].status != FV_OK) fail_msg("%s", ranks[r].message.text);
    rank_group_close(&group);
}

/* Half of a prompt, then a step that fails, then the rest of the prompt. */
typedef struct failing {
    talk t;
    rank_group *group;
    uint32_t fail_after; /* exchanges of the step that fails */
    size_t held;         /* after it */
    fv_status failed;
} failing;

static void *failing_main(void *context) {
    failing *f = context;
    talk *t = &f->t;
    if (talk_open(t) != FV_OK) return NULL;
    t->status = feed(t, t->sequence, 0, 1900);
    if (t->exchange) {
        if (t->exchange->rank == 0) f->group->fail_at = f->group->calls + f->fail_after;
        f->failed = feed(t, t->sequence, 1900, 2000);
        f->held = fv_sequence_tokens(t->sequence);
    }
    if (t->status == FV_OK) t->status = feed(t, t->sequence, 1900, 2200);
    if (t->status == FV_OK) t->status = say(t, t->sequence);
    return NULL;
}

static void test_a_failing_exchange(void **state) {
    (void)state;
    failing one = {.t = {.model = LLAMA, .selector = FV_SELECTOR_FOVEA}};
    failing_main(&one);
    for (uint32_t fail_after = 1; fail_after < 14; fail_after += 2) {
        rank_group group;
        failing ranks[2];
        rank_group_make(&group, 2);
        for (uint32_t r = 0; r < 2; r++)
            ranks[r] = (failing){.t = {.model = LLAMA, .selector = FV_SELECTOR_FOVEA, .exchange = &group.exchange[r]},
                                 .group = &group,
                                 .fail_after = fail_after};
        assert_true(rank_group_run(&group, failing_main, ranks, sizeof *ranks));
        for (uint32_t r = 0; r < 2; r++) {
            assert_int_equal(ranks[r].failed, FV_ERROR_FILE);
            assert_int_equal(ranks[r].held, 1900);
            assert_int_equal(ranks[r].t.status, FV_OK);
            assert_memory_equal(one.t.said, ranks[r].t.said, SAID * sizeof *one.t.said);
            assert_memory_equal(one.t.top, ranks[r].t.top, SAID * sizeof *one.t.top);
            talk_close(&ranks[r].t);
        }
        rank_group_close(&group);
    }
    talk_close(&one.t);
}

/* The pool of rank 1 holds its first segments and no more. */
static void *full_main(void *context) {
    talk *t = context;
    if (talk_open(t) != FV_OK) return NULL;
    t->status = feed(t, t->sequence, 0, 3100);
    return NULL;
}

static void test_one_rank_is_full(void **state) {
    (void)state;
    talk one = {.model = LLAMA, .selector = FV_SELECTOR_DENSE}, ranks[2];
    full_main(&one);
    uint64_t bytes = fv_sequence_bytes(one.sequence);
    rank_group group;
    rank_group_make(&group, 2);
    for (uint32_t r = 0; r < 2; r++)
        ranks[r] = (talk){.model = LLAMA,
                          .selector = FV_SELECTOR_DENSE,
                          .exchange = &group.exchange[r],
                          .pool_bytes = r ? bytes * 3 / 8 : 0};
    assert_true(rank_group_run(&group, full_main, ranks, sizeof *ranks));
    for (uint32_t r = 0; r < 2; r++) {
        assert_int_equal(ranks[r].status, FV_ERROR_FULL);
        assert_int_equal(fv_sequence_tokens(ranks[r].sequence), 3000); /* the next step would need the fourth */
        talk_close(&ranks[r]);
    }
    rank_group_close(&group);
    talk_close(&one);
}

/* The others say that all is well. */
static fv_status lonely_gather(void *self, void *all, const size_t *bytes) {
    (void)self;
    memset((unsigned char *)all + bytes[0], 0, bytes[1]);
    return FV_OK;
}

static uint64_t no_time(void *context) {
    (void)context;
    return 0;
}

static void test_what_is_refused(void **state) {
    (void)state;
    const fv_exchange lonely = {.all_gather = lonely_gather, .ranks = 2};
    talk t = {.model = LLAMA, .selector = FV_SELECTOR_PATTERN, .exchange = &lonely};
    assert_int_equal(talk_open(&t), FV_ERROR_POLICY);
    assert_non_null(strstr(t.message.text, "2 ranks hold the context together"));
    talk_close(&t);
    t = (talk){.model = LLAMA, .selector = FV_SELECTOR_DENSE, .exchange = &lonely};
    assert_int_equal(talk_open(&t), FV_OK);
    fv_policy policy = test_policy(FV_SELECTOR_CASCADE);
    assert_int_equal(fv_sequence_set_policy(t.sequence, &policy, &t.message), FV_ERROR_POLICY);
    const fv_token_deadline deadline = {.clock = no_time, .token_ns = 1};
    assert_int_equal(fv_sequence_set_deadline(t.sequence, &deadline, &t.message), FV_ERROR_UNSUPPORTED);
    assert_non_null(strstr(t.message.text, "no common clock"));
    assert_int_equal(fv_engine_divide(t.engine, NULL, &t.message), FV_ERROR_ARGUMENT);
    fv_exchange wrong = lonely;
    wrong.rank = 2;
    assert_int_equal(fv_engine_divide(t.engine, &wrong, &t.message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(t.message.text, "rank 2 of 2"));
    assert_int_equal(fv_engine_lead(t.engine, &t.message), FV_ERROR_ARGUMENT);   /* a session is open */
    assert_int_equal(fv_engine_follow(t.engine, &t.message), FV_ERROR_ARGUMENT); /* the first leads */
    talk_close(&t);
}

/* What a rank plans for is its part. */
static void test_memory_plan(void **state) {
    (void)state;
    const fv_exchange exchange = {.all_gather = rank_group_gather, .ranks = 2};
    talk t = {.model = LLAMA, .selector = FV_SELECTOR_DENSE};
    fv_session_memory whole, half;
    assert_int_equal(talk_open(&t), FV_OK);
    fv_session_config config = config_of(&t);
    config.context_tokens = 10240;
    assert_int_equal(fv_session_memory_plan(t.llm, &config, 1, &whole, &t.message), FV_OK);
    talk_close(&t);
    t.exchange = &exchange;
    assert_int_equal(talk_engine(&t), FV_OK);
    assert_int_equal(fv_session_memory_plan(t.llm, &config, 1, &half, &t.message), FV_OK);
    assert_int_equal(half.key_bytes * 2, whole.key_bytes);
    assert_int_equal(half.token_bytes * 2, whole.token_bytes);
    talk_close(&t);
}

int main(void) {
    test_random random = test_random_make(61);
    for (size_t i = 0; i < CONTEXT; i++) text[i] = (int32_t)test_random_in(&random, 4, 250);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_a_lead),
                                       cmocka_unit_test(test_a_failing_exchange),
                                       cmocka_unit_test(test_one_rank_is_full),
                                       cmocka_unit_test(test_what_is_refused),
                                       cmocka_unit_test(test_memory_plan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
