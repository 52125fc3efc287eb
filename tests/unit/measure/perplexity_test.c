/* perplexity_test.c - what ppl counts: scored positions only, by hand; the token at a chunk's start; an interrupted
 * chunk leaves no trace. */
#include "fovea/measure/perplexity.h"
#include "fovea/report_sum.h"
#include "support/test_policy.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { CONTEXT = 64 };
static const char llama[] = FV_SOURCE_DIR "/tests/model/llama_f32.gguf";
static const char gemma[] = FV_SOURCE_DIR "/tests/model/gemma3_f32.gguf";

typedef struct fixture {
    fv_llm *llm;
    fv_policy policies[2];
    fv_perplexity *perplexity;
    int32_t tokens[CONTEXT];
    size_t stop_at, told; /* progress: calls until it says no */
} fixture;

static bool progress(void *context, size_t done, size_t total) {
    fixture *test = context;
    assert_true(done <= total && total == CONTEXT);
    return ++test->told < test->stop_at;
}

static fv_perplexity_config prepare(fixture *test, const char *model) {
    fv_perplexity_config config;
    *test =
        (fixture){.policies = {test_policy(FV_SELECTOR_DENSE), test_policy(FV_SELECTOR_WINDOW)}, .stop_at = SIZE_MAX};
    assert_int_equal(fv_llm_open(&test->llm, model, NULL), FV_OK);
    uint32_t vocabulary = fv_llm_config(test->llm)->vocabulary;
    for (size_t i = 0; i < CONTEXT; i++) test->tokens[i] = (int32_t)((i * i + 5 * i + 3) % vocabulary);
    test->policies[1].window = 8;
    test->policies[1].sinks = 2;
    fv_perplexity_config_default(&config);
    config.llm = test->llm;
    config.policies = test->policies;
    config.policy_count = 2;
    config.context = CONTEXT;
    config.session.batch_tokens = 16;
    config.progress = progress;
    config.progress_context = test;
    return config;
}

static void open_measure(fixture *test, const fv_perplexity_config *config) {
    fv_message message = {""};
    if (fv_perplexity_open(&test->perplexity, config, &message) != FV_OK) fail_msg("%s", message.text);
}

static void measure(fixture *test) {
    assert_int_equal(fv_perplexity_chunk(test->perplexity, test->tokens, 0, NULL), FV_OK);
}

static void drop(fixture *test) {
    fv_perplexity_close(test->perplexity);
    fv_llm_close(test->llm);
}

/* A row at position p sees p + 1 keys; a window of 8 after 2 sinks reads min(p + 1, 10). */
static void counters_are_those_of_the_scored_positions(void **state) {
    (void)state;
    for (uint32_t decode = 0; decode < 2; decode++)
        for (uint32_t scored = 0; scored < 12; scored += 11) {
            fixture test;
            fv_perplexity_config config = prepare(&test, llama);
            config.decode = decode;
            config.scored = scored;
            open_measure(&test, &config);
            measure(&test);
            measure(&test);
            const fv_model_config *shape = fv_llm_config(test.llm);
            uint64_t rows = scored ? scored : CONTEXT - 1 - CONTEXT / 2, visible = 0, read = 0;
            for (uint64_t p = CONTEXT - 1 - rows; p < CONTEXT - 1; p++) {
                visible += p + 1;
                read += p + 1 < 10 ? p + 1 : 10;
            }
            uint64_t heads = 2 * (uint64_t)shape->layers * shape->cache.kv_heads; /* two chunks */
            const fv_perplexity_figures *window = fv_perplexity_of(test.perplexity, 1);
            assert_int_equal(fv_perplexity_scored(test.perplexity), rows);
            assert_int_equal(window->sum.count, 2 * rows);
            assert_int_equal(window->scored.tokens, 2 * rows);
            assert_int_equal(window->scored.report.keys_visible, heads * visible);
            assert_int_equal(window->scored.report.keys_read, heads * read);
            assert_int_equal(fv_perplexity_of(test.perplexity, 0)->scored.report.keys_read, heads * visible);
            drop(&test);
        }
}

/* Perplexity from logits that a session of its own gives. */
static void losses_are_those_of_the_next_tokens(void **state) {
    fixture test;
    fv_session *session = NULL;
    float logits[4096];
    double loss = 0;
    fv_perplexity_config config = prepare(&test, llama);
    fv_session_config plain;
    fv_session_config_default(&plain);
    (void)state;
    open_measure(&test, &config);
    measure(&test);
    uint32_t vocabulary = fv_llm_config(test.llm)->vocabulary;
    assert_true(vocabulary <= 4096);
    plain.context_tokens = CONTEXT;
    assert_int_equal(fv_session_open(&session, test.llm, &plain, NULL, NULL), FV_OK);
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(test.llm);
    if (fv_tokenizer_adds_bos(tokenizer)) test.tokens[0] = fv_tokenizer_bos(tokenizer);
    for (size_t p = 0; p + 1 < CONTEXT; p++) {
        double sum = 0;
        assert_int_equal(fv_session_feed(session, &test.tokens[p], 1, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_logits(session, 0, 1, logits), FV_OK);
        for (uint32_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i]);
        if (p >= CONTEXT / 2) loss += log(sum) - (double)logits[test.tokens[p + 1]];
    }
    const fv_score_sum *got = &fv_perplexity_of(test.perplexity, 0)->sum;
    assert_true(fabs(got->loss - loss) < 1e-4 * loss);
    assert_true(got->divergence == 0 && got->same_top == got->count);
    assert_true(fv_perplexity_of(test.perplexity, 1)->sum.divergence > 0);
    fv_session_close(session);
    drop(&test);
}

/* Gemma's metadata asks for a beginning-of-text token: what the chunk begins with is replaced, and nothing else. */
static void a_chunk_begins_as_the_metadata_say(void **state) {
    double losses[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        fixture test;
        fv_perplexity_config config = prepare(&test, gemma);
        open_measure(&test, &config);
        assert_true(fv_tokenizer_adds_bos(fv_llm_tokenizer(test.llm)));
        int32_t bos = fv_tokenizer_bos(fv_llm_tokenizer(test.llm)), before = test.tokens[0];
        assert_int_not_equal(bos, before);
        if (i == 1) test.tokens[0] = bos;
        if (i == 2) test.tokens[1] = bos;
        measure(&test);
        if (i == 0) assert_int_equal(test.tokens[0], before); /* the caller's array stays */
        losses[i] = fv_perplexity_of(test.perplexity, 0)->sum.loss;
        drop(&test);
    }
    assert_true(losses[0] == losses[1]);
    assert_true(losses[0] != losses[2]);
}

/* Stopped at every place where it can be. */
static void an_interrupted_chunk_leaves_no_trace(void **state) {
    (void)state;
    for (uint32_t decode = 0; decode < 2; decode++) {
        fixture test;
        fv_perplexity_config config = prepare(&test, llama);
        config.decode = decode;
        config.mass = 1;
        open_measure(&test, &config);
        measure(&test);
        fv_perplexity_figures before[2] = {*fv_perplexity_of(test.perplexity, 0),
                                           *fv_perplexity_of(test.perplexity, 1)};
        double mass = fv_mass_table_mean(fv_perplexity_mass(test.perplexity, 1));
        assert_true(mass > 0 && mass < 1);
        size_t calls = test.told;
        for (test.stop_at = 1; test.stop_at <= calls; test.stop_at++) {
            test.told = 0;
            test.tokens[40] ^= 1; /* another chunk each time */
            assert_int_equal(fv_perplexity_chunk(test.perplexity, test.tokens, 0, NULL), FV_ERROR_INTERRUPTED);
            for (size_t i = 0; i < 2; i++)
                assert_memory_equal(fv_perplexity_of(test.perplexity, i), &before[i], sizeof before[i]);
            assert_true(fv_mass_table_mean(fv_perplexity_mass(test.perplexity, 1)) == mass);
        }
        drop(&test);
    }
}

static void a_text_is_read_as_llama_perplexity_reads_it(void **state) {
    fixture test;
    fv_tokens all = {0}, some = {0};
    (void)state;
    (void)prepare(&test, llama);
    assert_int_equal(fv_perplexity_encode(test.llm, "the rain in the inn", 19, 0, &all), FV_OK);
    assert_int_equal(fv_perplexity_encode(test.llm, "the rain in the inn", 19, 3, &some), FV_OK);
    assert_int_equal(some.count, all.count - 3);
    assert_memory_equal(some.ids, all.ids + 3, some.count * sizeof *some.ids);
    assert_int_equal(fv_perplexity_encode(test.llm, "the", 3, 1000, &some), FV_OK);
    assert_int_equal(some.count, all.count - 3); /* all of it was skipped */
    fv_tokens_free(&all);
    fv_tokens_free(&some);
    fv_llm_close(test.llm);
}

static void bad_settings_are_refused(void **state) {
    fixture test;
    fv_perplexity *none = NULL;
    fv_perplexity_config good = prepare(&test, llama);
    (void)state;
    for (int i = 0; i < 4; i++) {
        fv_perplexity_config bad = good;
        if (i == 0) bad.llm = NULL;
        if (i == 1) bad.policy_count = 0;
        if (i == 2) bad.context = 3;
        if (i == 3) bad.scored = CONTEXT;
        assert_int_equal(fv_perplexity_open(&none, &bad, NULL), FV_ERROR_ARGUMENT);
        assert_null(none);
    }
    drop(&test);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_are_those_of_the_scored_positions),
        cmocka_unit_test(losses_are_those_of_the_next_tokens),
        cmocka_unit_test(a_chunk_begins_as_the_metadata_say),
        cmocka_unit_test(an_interrupted_chunk_leaves_no_trace),
        cmocka_unit_test(a_text_is_read_as_llama_perplexity_reads_it),
        cmocka_unit_test(bad_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
