/* tuning_test.c - what each head costs is measured with that head alone: its losses are those of a session where all
 * other heads read all. */
#include "fovea/measure/score.h"
#include "fovea/measure/tune_shares.h"
#include "fovea/measure/tuning.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CONTEXT = 256, SCORED = 16, MOST_HEADS = 64 };

static int32_t tokens[2 * CONTEXT + 1];

static void read_on(fv_session *session, const fv_policy *policy, float *logits) {
    assert_int_equal(fv_session_truncate(session, CONTEXT - SCORED), FV_OK);
    assert_int_equal(fv_session_set_policy(session, policy, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, tokens + CONTEXT - SCORED, SCORED, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_logits(session, 0, SCORED, logits), FV_OK);
}

/* KL of the scored positions with `share` for one head and all for the others. */
static double loss_of(fv_session *session, const fv_tuning_config *config, uint32_t head, uint16_t share) {
    const fv_model_config *shape = fv_llm_config(config->llm);
    size_t bytes = (size_t)SCORED * shape->vocabulary * sizeof(float);
    float *base = malloc(bytes), *logits = malloc(bytes);
    uint16_t shares[MOST_HEADS];
    fv_policy dense, policy = config->policy;
    fv_score scores[SCORED];
    fv_score_sum sum = {0};
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    policy.head_share = shares;
    policy.head_share_count = shape->layers * shape->cache.kv_heads;
    for (uint32_t i = 0; i < policy.head_share_count; i++) shares[i] = i == head ? share : UINT16_MAX;
    read_on(session, &dense, base);
    read_on(session, &policy, logits);
    fv_score_rows(SCORED, shape->vocabulary, base, logits, tokens + CONTEXT - SCORED + 1, NULL, scores);
    fv_score_add(&sum, scores, SCORED);
    free(base);
    free(logits);
    return fv_score_divergence(&sum);
}

static void a_head_is_measured_alone(void **state) {
    (void)state;
    fv_llm *llm;
    fv_session *session;
    fv_tuning_config config;
    fv_tuning tuning;
    fv_policy dense;
    assert_int_equal(fv_llm_open(&llm, FV_SOURCE_DIR "/tests/model/llama_f32.gguf", NULL), FV_OK);
    const fv_model_config *shape = fv_llm_config(llm);
    uint32_t heads = shape->layers * shape->cache.kv_heads;
    assert_in_range(heads, 2, MOST_HEADS);
    for (uint32_t i = 0; i <= 2 * CONTEXT; i++) tokens[i] = (int32_t)((i * i + 5 * i + 3) % shape->vocabulary);
    fv_tuning_config_default(&config);
    config.llm = llm;
    config.tokens = tokens;
    config.count = 2 * CONTEXT + 1;
    config.context = CONTEXT;
    config.scored = SCORED;
    config.policy.window = 16;
    config.policy.dense_below = 0;
    fv_policy_set_budget(&config.policy, 0.3f);
    assert_int_equal(fv_tuning_run(&tuning, &config, NULL), FV_OK);
    fv_session_config of = config.session;
    of.context_tokens = CONTEXT;
    of.policy = config.policy;
    assert_int_equal(fv_session_open(&session, llm, &of, NULL, NULL), FV_OK);
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    assert_int_equal(fv_session_set_policy(session, &dense, NULL), FV_OK);
    assert_int_equal(fv_session_feed(session, tokens, CONTEXT - SCORED, NULL, NULL), FV_OK);
    for (uint32_t head = 0; head < heads; head++) {
        assert_true(tuning.loss[head][0] > 0 && tuning.loss[head][1] > 0);
        assert_true(tuning.loss[head][0] == loss_of(session, &config, head, FV_TUNE_SHARE_HALF));
        assert_true(tuning.loss[head][1] == loss_of(session, &config, head, FV_TUNE_SHARE_DOUBLE));
    }
    fv_session_close(session);
    fv_tuning_free(&tuning);
    fv_llm_close(llm);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_head_is_measured_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
