/* shared_pool_test.c - a session a thread and one pool for all of them: the tokens of each session alone. */
#include "fovea/pool.h"
#include "fovea/session.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_q4_0.gguf"

enum { THREADS = 16, PROMPT = 40, TOKENS = 24 };

/* One conversation: where it begins, and what came of it. cmocka is not thread-safe: threads only take notes. */
typedef struct talk {
    const fv_llm *llm;
    fv_pool *pool;
    int32_t seed;
    int32_t tokens[TOKENS];
    bool failed;
} talk;

static int32_t best_of(const float *logits, uint32_t vocabulary) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static bool talk_on(talk *self, fv_session *session, float *logits) {
    uint32_t vocabulary = fv_llm_config(self->llm)->vocabulary;
    int32_t prompt[PROMPT];
    for (int32_t i = 0; i < PROMPT; i++) prompt[i] = (5 + self->seed * 7 + i * 11) % (int32_t)vocabulary;
    if (fv_session_feed(session, prompt, PROMPT, NULL, NULL) != FV_OK) return false;
    for (size_t i = 0; i < TOKENS; i++) {
        if (fv_session_logits(session, fv_session_batch_rows(session) - 1, 1, logits) != FV_OK) return false;
        self->tokens[i] = (best_of(logits, vocabulary) + self->seed) % (int32_t)vocabulary; /* no two alike */
        if (fv_session_feed(session, &self->tokens[i], 1, NULL, NULL) != FV_OK) return false;
    }
    return true;
}

static void *talk_main(void *argument) {
    talk *self = argument;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = PROMPT + TOKENS;
    config.batch_tokens = 16;
    fv_session *session = NULL;
    float *logits = malloc(fv_llm_config(self->llm)->vocabulary * sizeof *logits);
    self->failed = !logits || fv_session_open(&session, self->llm, &config, self->pool, NULL) != FV_OK ||
                   !talk_on(self, session, logits);
    fv_session_close(session);
    free(logits);
    return NULL;
}

static void one_pool_gives_the_tokens_of_none(void **state) {
    (void)state;
    static const uint32_t workers[] = {1, 2, 5};
    static talk alone[THREADS], shared[THREADS];
    fv_llm *llm = NULL;
    assert_int_equal(fv_llm_open(&llm, MODEL, NULL), FV_OK);
    for (int32_t i = 0; i < THREADS; i++) {
        alone[i] = (talk){.llm = llm, .seed = i};
        talk_main(&alone[i]);
        assert_false(alone[i].failed);
    }
    assert_memory_not_equal(alone[0].tokens, alone[1].tokens, sizeof alone[0].tokens);
    for (size_t w = 0; w < sizeof workers / sizeof *workers; w++) {
        fv_pool *pool = NULL;
        pthread_t threads[THREADS];
        assert_int_equal(fv_pool_open(&pool, workers[w], NULL), FV_OK);
        for (int32_t i = 0; i < THREADS; i++) {
            shared[i] = (talk){.llm = llm, .pool = pool, .seed = i};
            assert_int_equal(pthread_create(&threads[i], NULL, talk_main, &shared[i]), 0);
        }
        for (size_t i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (size_t i = 0; i < THREADS; i++) {
            assert_false(shared[i].failed);
            assert_memory_equal(shared[i].tokens, alone[i].tokens, sizeof alone[i].tokens);
        }
        fv_pool_close(pool);
    }
    fv_llm_close(llm);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_pool_gives_the_tokens_of_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
