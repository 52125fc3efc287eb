/* session_watch_test.c - who watches a session: a clock that the session asks, an observer that sees every plan. */
#include "fovea/session.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define TICK 1000 /* what the clock moves on each time that it is asked */
enum { TOKENS = 40, BATCH = 16 };

static fv_llm *llm;

static int open_model(void **state) {
    (void)state;
    return fv_llm_open(&llm, FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf", NULL) == FV_OK ? 0 : -1;
}

static int close_model(void **state) {
    (void)state;
    fv_llm_close(llm);
    return 0;
}

static fv_session *open_session(void) {
    fv_session *session = NULL;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = TOKENS;
    config.batch_tokens = BATCH;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    return session;
}

static void feed(fv_session *session, size_t count) {
    int32_t tokens[TOKENS];
    for (size_t i = 0; i < count; i++) tokens[i] = (int32_t)(3 + i * 5 % 50);
    assert_int_equal(fv_session_feed(session, tokens, count, NULL, NULL), FV_OK);
}

static uint64_t tick(void *context) { return *(uint64_t *)context += TICK; }

static uint64_t time_of(const fv_session *session) {
    fv_report report = *fv_session_report(session);
    return report.choose_ns + report.read_ns + report.product_ns + report.other_ns;
}

/* Every stretch between two looks at the clock is booked once: what the report has is what the clock went on. */
static void a_clock_is_asked_and_its_time_booked(void **state) {
    float logits[65536];
    uint64_t now = 77;
    fv_session *session = open_session();
    (void)state;
    assert_true(fv_llm_config(llm)->vocabulary <= 65536);
    feed(session, BATCH);
    assert_int_equal(time_of(session), 0); /* nobody asked for it */
    fv_session_time(session, tick, &now);
    fv_session_report_reset(session);
    feed(session, BATCH);
    fv_report report = *fv_session_report(session);
    assert_true(report.read_ns > 0 && report.product_ns > 0);
    assert_int_equal(report.choose_ns, 0); /* dense */
    assert_true(time_of(session) <= now - 77 && time_of(session) % TICK == 0);
    assert_int_equal(fv_session_logits(session, BATCH - 1, 1, logits), FV_OK);
    assert_true(fv_session_report(session)->product_ns > report.product_ns); /* products with the vocabulary, too */
    fv_session_time(session, NULL, NULL);
    fv_session_report_reset(session);
    uint64_t before = now;
    feed(session, 1);
    assert_int_equal(now, before);
    assert_int_equal(time_of(session), 0);
    fv_session_close(session);
}

typedef struct seen {
    uint32_t rows[64][64]; /* [layer][KV head] */
    uint32_t first, end;   /* positions that may be shown */
} seen;

static void observe(void *context, const fv_attention_seen *shown, size_t worker) {
    seen *all = context;
    assert_int_equal(worker, 0);
    assert_true(shown->layer < 64 && shown->kv_head < 64);
    assert_true(shown->plan->first_token >= all->first && shown->plan->first_token + shown->plan->rows <= all->end);
    all->rows[shown->layer][shown->kv_head] += shown->plan->rows;
}

static void an_observer_sees_every_row_of_every_head(void **state) {
    static seen all;
    const fv_model_config *shape = fv_llm_config(llm);
    fv_session *session = open_session();
    (void)state;
    feed(session, 5);
    fv_session_observe(session, observe, &all);
    all.first = 5, all.end = 5 + BATCH + 3;
    feed(session, BATCH + 3);
    fv_session_observe(session, NULL, NULL);
    feed(session, 1);
    for (uint32_t layer = 0; layer < 64; layer++)
        for (uint32_t head = 0; head < 64; head++) {
            bool there = layer < shape->layers && head < shape->cache.kv_heads;
            assert_int_equal(all.rows[layer][head], there ? BATCH + 3 : 0);
        }
    fv_session_close(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_is_asked_and_its_time_booked),
        cmocka_unit_test(an_observer_sees_every_row_of_every_head),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
