/* staged_ranks_test.c - two stages of two ranks each: layers are divided, and so are the contexts of each stage; text
 * and reports are those of one process. A rank of a stage hands its rows on to the same rank of the next. */
#include "fovea/step.h"
#include "support/random.h"
#include "support/rank_group.h"
#include "support/stage_ring.h"
#include "support/test_policy.h"

#define STORY FV_SOURCE_DIR "/tests/model/story.gguf" /* five layers */

enum { CONTEXT = 2600, BATCH = 64, PROMPT = 2100, SAID = 8, STAGES = 2, RANKS = 2 };

static int32_t text[PROMPT];

/* What one rank of the first stage sees; all see the same. */
typedef struct talk {
    fv_engine *engine;
    bool led, follows;
    fv_selector selector;
    int32_t said[SAID];
    float top[SAID];
    fv_report report;
    fv_status status;
} talk;

static fv_status talk_run(talk *t, fv_session *session) {
    uint32_t vocabulary = fv_llm_config(fv_engine_llm(t->engine))->vocabulary;
    float *logits = calloc(vocabulary, sizeof *logits);
    fv_status status = fv_session_feed(session, text, PROMPT, NULL, NULL);
    for (uint32_t i = 0; i < SAID && status == FV_OK; i++) {
        int32_t best = 0;
        status = fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, logits);
        for (uint32_t v = 1; v < vocabulary; v++)
            if (logits[v] > logits[best]) best = (int32_t)v;
        t->said[i] = best;
        t->top[i] = logits[best];
        if (status == FV_OK && i == SAID / 2) status = fv_session_truncate(session, 1500); /* into segment 1 */
        if (status == FV_OK) status = fv_session_feed(session, &best, 1, NULL, NULL);
    }
    t->report = *fv_session_report(session);
    free(logits);
    return status;
}

static void *talk_main(void *context) {
    talk *t = context;
    if (t->follows) {
        t->status = fv_engine_follow(t->engine, NULL);
        fv_engine_close(t->engine);
        return NULL;
    }
    fv_session *session = NULL;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = BATCH;
    config.policy = test_policy(t->selector);
    if (t->selector == FV_SELECTOR_FOVEA) config.policy.dense_below = 0, fv_policy_set_budget(&config.policy, 0.2f);
    t->status = fv_engine_session_open(t->engine, &config, &session, NULL);
    if (t->status == FV_OK) t->status = talk_run(t, session);
    fv_session_close(session);
    if (t->led) fv_engine_close(t->engine); /* which tells the other rank to end */
    return NULL;
}

static talk whole_make(fv_selector selector) {
    fv_engine_config config;
    fv_engine *engine = NULL;
    fv_engine_config_default(&config);
    config.model = STORY;
    config.tune = "none";
    config.pool.threads = 1;
    assert_int_equal(fv_engine_open(&engine, &config, NULL), FV_OK);
    talk made = {.engine = engine, .selector = selector};
    test_random random = test_random_make(11);
    uint32_t vocabulary = fv_llm_config(fv_engine_llm(engine))->vocabulary;
    for (size_t i = 0; i < PROMPT; i++) text[i] = (int32_t)test_random_in(&random, 4, vocabulary - 1);
    talk_main(&made);
    fv_engine_close(engine);
    assert_int_equal(made.status, FV_OK);
    return made;
}

/* led: rank 0 tells the other one what to do; else both do the same. */
static void check_talk(fv_selector selector, bool led) {
    static stage_ring rings[RANKS];
    const uint32_t layers[STAGES] = {3, 2};
    rank_group groups[STAGES];
    fv_message message = {{0}};
    talk want = whole_make(selector), got[RANKS];
    for (uint32_t s = 0; s < STAGES; s++) rank_group_make(&groups[s], RANKS);
    for (uint32_t r = 0; r < RANKS; r++) {
        const fv_exchange *exchanges[STAGES] = {&groups[0].exchange[r], &groups[1].exchange[r]};
        ring_open_divided(&rings[r], STORY, layers, STAGES, exchanges, NULL, NULL);
        if (ring_link(&rings[r], &message) != FV_OK) fail_msg("%s", message.text);
        got[r] = (talk){.engine = rings[r].stages[0].engine, .selector = selector, .led = led, .follows = led && r};
        if (led) rings[r].stages[0].engine = NULL;
        if (led && r == 0) assert_int_equal(fv_engine_lead(got[r].engine, &message), FV_OK);
    }
    assert_true(rank_group_run(&groups[0], talk_main, got, sizeof *got));
    for (uint32_t r = 0; r < RANKS; r++) {
        ring_close(&rings[r], FV_OK);
        assert_int_equal(got[r].status, FV_OK);
        if (got[r].follows) continue;
        assert_memory_equal(got[r].said, want.said, sizeof want.said);
        assert_memory_equal(got[r].top, want.top, sizeof want.top);
        assert_memory_equal(&got[r].report, &want.report, sizeof want.report);
    }
    for (uint32_t s = 0; s < STAGES; s++) {
        assert_true(groups[s].moved_bytes > 0);
        assert_false(groups[s].differs);
        rank_group_close(&groups[s]);
    }
}

static void two_stages_of_two_ranks_have_the_bits_of_one_process(void **state) {
    (void)state;
    check_talk(FV_SELECTOR_FOVEA, false);
    check_talk(FV_SELECTOR_FOVEA, true);
    check_talk(FV_SELECTOR_DENSE, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_stages_of_two_ranks_have_the_bits_of_one_process)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
