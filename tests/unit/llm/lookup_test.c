/* lookup_test.c - guesses from the text itself: what is found, how many it dares, and that they show in no token, no
 * stop and no bit of the session. */
#include "fovea/lookup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODELS FV_SOURCE_DIR "/tests/model/"

enum { CONTEXT = 320 };

/* ---- what is found ---- */

static fv_lookup *lookup_of(const int32_t *tokens, size_t count) {
    fv_lookup *lookup = NULL;
    assert_int_equal(fv_lookup_open(&lookup), FV_OK);
    assert_int_equal(fv_lookup_add(lookup, tokens, count), FV_OK);
    return lookup;
}

static void what_came_after_the_longest_match_is_guessed(void **state) {
    (void)state;
    static const int32_t text[] = {1, 2, 3, 4,  5,  6,  7, 8, 9, 40, 41, 42, 3, 4, 5,
                                   6, 7, 8, 19, 43, 44, 1, 2, 3, 4,  5,  6,  7, 8};
    int32_t guesses[FV_GENERATE_GUESSES];
    fv_lookup *lookup = lookup_of(text, sizeof text / sizeof text[0]);
    uint32_t count = fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses);
    assert_true(count >= 2); /* eight tokens match at the beginning, six at the newer place */
    assert_memory_equal(guesses, text + 8, 2 * sizeof *guesses);
    assert_int_equal(fv_lookup_guess(lookup, 1, guesses), 1);
    assert_int_equal(fv_lookup_guess(lookup, 0, guesses), 0);
    assert_int_equal(fv_lookup_guess(lookup, FV_GENERATE_GUESSES + 1, guesses), 0);
    assert_int_equal(fv_lookup_guess(NULL, 1, guesses), 0);
    assert_int_equal(fv_lookup_add(lookup, NULL, 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_lookup_open(NULL), FV_ERROR_ARGUMENT);
    fv_lookup_close(lookup);
}

static void nothing_is_guessed_where_nothing_matches(void **state) {
    (void)state;
    int32_t text[3000], guesses[FV_GENERATE_GUESSES];
    for (int i = 0; i < 3000; i++) text[i] = i % 2 ? i : 7; /* pairs come again, threes don't */
    fv_lookup *lookup = lookup_of(text, 2);
    assert_int_equal(fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses), 0);
    fv_lookup_close(lookup);
    lookup = lookup_of(text, 3000); /* the table grows on the way */
    assert_int_equal(fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses), 0);
    assert_int_equal(fv_lookup_add(lookup, text + 1000, 4), FV_OK);
    uint32_t count = fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses);
    assert_true(count > 0);
    assert_memory_equal(guesses, text + 1004, count * sizeof *guesses);
    fv_lookup_close(lookup);
}

static void a_short_cycle_goes_on(void **state) {
    (void)state;
    static const int32_t text[] = {5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6};
    int32_t guesses[FV_GENERATE_GUESSES];
    fv_lookup *lookup = lookup_of(text, 16);
    uint32_t count = fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses);
    assert_true(count > 3);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(guesses[i], i % 2 ? 6 : 5);
    fv_lookup_close(lookup);
}

static void guesses_that_fail_become_few_and_come_back(void **state) {
    (void)state;
    static const int32_t text[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
    int32_t guesses[FV_GENERATE_GUESSES];
    fv_lookup *lookup = lookup_of(text, 12);
    uint32_t first = fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses);
    assert_true(first > 0);
    fv_lookup_learn(lookup, first, first);
    uint32_t after_success = fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses);
    assert_true(after_success >= first);
    for (int i = 0; i < 20; i++) fv_lookup_learn(lookup, 1, 0);
    assert_int_equal(fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses), 0);
    for (int32_t i = 0; i < 2000; i++) { /* what else is said meanwhile */
        int32_t token = 100 + i;
        assert_int_equal(fv_lookup_add(lookup, &token, 1), FV_OK);
    }
    for (int32_t i = 1; i <= 3; i++) assert_int_equal(fv_lookup_add(lookup, &i, 1), FV_OK);
    assert_true(fv_lookup_guess(lookup, FV_GENERATE_GUESSES, guesses) > 0);
    fv_lookup_close(lookup);
}

/* ---- that they don't show ---- */

typedef struct speaker {
    fv_session *session;
    fv_generator *generator;
} speaker;

static speaker open_speaker(const fv_llm *llm, const fv_generate_config *like, uint32_t batch, fv_selector selector,
                            uint32_t guesses) {
    fv_session_config config;
    fv_generate_config generate = *like;
    speaker made = {0};
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.batch_tokens = batch;
    fv_policy_default(selector, &config.policy);
    if (selector == FV_SELECTOR_FOVEA) fv_policy_set_budget(&config.policy, 0.3f);
    assert_int_equal(fv_session_open(&made.session, llm, &config, NULL, NULL), FV_OK);
    generate.session = made.session;
    generate.llm = llm;
    assert_int_equal(fv_generator_open(&made.generator, &generate, NULL), FV_OK);
    assert_int_equal(fv_generator_set_lookup(made.generator, guesses), FV_OK);
    return made;
}

static void close_speaker(speaker *one) {
    fv_generator_close(one->generator);
    fv_session_close(one->session);
}

/* Both answer up to `limit` tokens: the same ones, for the same reason, and hold the same afterwards. */
static fv_stop answer_alike(const speaker *plain, const speaker *guessing, int64_t limit) {
    fv_stop stop, other;
    assert_int_equal(fv_generator_answer(plain->generator, limit, &stop), FV_OK);
    assert_int_equal(fv_generator_answer(guessing->generator, limit, &other), FV_OK);
    const fv_tokens *tokens = fv_generator_tokens(plain->generator), *same = fv_generator_tokens(guessing->generator);
    assert_int_equal(stop, other);
    assert_int_equal(tokens->count, same->count);
    if (tokens->count) assert_memory_equal(tokens->ids, same->ids, tokens->count * sizeof *tokens->ids);
    assert_int_equal(fv_generator_pending(plain->generator), fv_generator_pending(guessing->generator));
    assert_int_equal(fv_session_tokens(plain->session), fv_session_tokens(guessing->session));
    assert_int_equal(fv_generator_decode(plain->generator)->tokens, fv_generator_decode(guessing->generator)->tokens);
    return stop;
}

static void feed_both(const speaker *plain, const speaker *guessing, const int32_t *tokens, size_t count) {
    assert_int_equal(fv_generator_feed(plain->generator, tokens, count, NULL, NULL), FV_OK);
    assert_int_equal(fv_generator_feed(guessing->generator, tokens, count, NULL, NULL), FV_OK);
}

/* One token more: its logits are made of all that the session holds. */
static void assert_same_bits(const fv_llm *llm, const speaker *plain, const speaker *guessing) {
    uint32_t vocabulary = fv_llm_config(llm)->vocabulary;
    float *logits = malloc(2 * vocabulary * sizeof *logits);
    assert_non_null(logits);
    int32_t token = 3;
    assert_int_equal(fv_session_feed(plain->session, &token, 1, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_feed(guessing->session, &token, 1, NULL, NULL), FV_OK);
    assert_int_equal(fv_session_logits(plain->session, 0, 1, logits), FV_OK);
    assert_int_equal(fv_session_logits(guessing->session, 0, 1, logits + vocabulary), FV_OK);
    assert_memory_equal(logits, logits + vocabulary, vocabulary * sizeof *logits);
    free(logits);
}

/* Prompts that say the same again and again, and answers of odd lengths between them. Returns how many guesses were
 * right. */
static uint64_t talk(const fv_llm *llm, const fv_generate_config *config, uint32_t batch, fv_selector selector) {
    int32_t prompt[40];
    speaker plain = open_speaker(llm, config, batch, selector, 0);
    speaker guessing = open_speaker(llm, config, batch, selector, FV_GENERATE_GUESSES);
    for (int i = 0; i < 40; i++) prompt[i] = 5 + i % 13 * 3;
    for (int64_t turn = 0; turn < 4; turn++) {
        feed_both(&plain, &guessing, prompt, turn % 2 ? 7 : 40);
        answer_alike(&plain, &guessing, 1 + turn * 17);
        answer_alike(&plain, &guessing, 5);
    }
    assert_same_bits(llm, &plain, &guessing);
    uint64_t right = fv_generator_guesses(guessing.generator)->right;
    assert_true(fv_generator_guesses(guessing.generator)->guessed >= right);
    assert_int_equal(fv_generator_guesses(plain.generator)->guessed, 0);
    close_speaker(&guessing);
    close_speaker(&plain);
    return right;
}

/* Models with and without sliding windows, dense and chosen, greedy and drawn; micro-batches shorter than a guess. */
static void guesses_show_nowhere(void **state) {
    (void)state;
    static const char *const names[] = {MODELS "llama_q4_0.gguf", MODELS "gemma3_f32.gguf", MODELS "qwen3_q4_0.gguf"};
    uint64_t right = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fv_llm *llm = NULL;
        assert_int_equal(fv_llm_open(&llm, names[i], NULL), FV_OK);
        for (uint32_t kind = 0; kind < 6; kind++) {
            fv_generate_config config;
            fv_generate_config_default(&config);
            config.sampler.temperature = kind % 3 ? 0.05f * (float)kind : 0;
            config.sampler.repeat_penalty = kind == 5 ? 1.05f : 1;
            config.sampler.seed = kind;
            config.ignore_end = kind != 2;
            right += talk(llm, &config, kind == 4 ? 3 : 64, kind % 2 ? FV_SELECTOR_FOVEA : FV_SELECTOR_DENSE);
        }
        fv_llm_close(llm);
    }
    assert_true(right > 50); /* else nothing was tried */
}

/* One answer as far as the context goes, in `text`; with a stop text, up to it. */
static fv_stop complete(const fv_llm *llm, const fv_generate_config *config, char *text, size_t bytes) {
    static const int32_t prompt[] = {5, 8, 11, 14, 5, 8, 11, 14, 5, 8, 11, 14};
    speaker plain = open_speaker(llm, config, 64, FV_SELECTOR_DENSE, 0);
    speaker guessing = open_speaker(llm, config, 64, FV_SELECTOR_DENSE, FV_GENERATE_GUESSES);
    feed_both(&plain, &guessing, prompt, 12);
    fv_stop stop = answer_alike(&plain, &guessing, -1);
    if (stop == FV_STOP_CONTEXT) assert_int_equal(fv_session_tokens(guessing.session), CONTEXT);
    assert_true(fv_generator_text(guessing.generator)->length < bytes);
    strcpy(text, fv_generator_text(guessing.generator)->bytes);
    close_speaker(&guessing);
    close_speaker(&plain);
    return stop;
}

static void a_full_context_and_stop_texts_end_alike(void **state) {
    (void)state;
    fv_llm *llm = NULL;
    fv_generate_config config;
    char whole[4096], part[4096], stop[4] = "";
    const char *stops[] = {stop};
    fv_generate_config_default(&config);
    config.sampler.temperature = 0;
    config.ignore_end = 1;
    assert_int_equal(fv_llm_open(&llm, MODELS "llama_q4_0.gguf", NULL), FV_OK);
    assert_int_equal(complete(llm, &config, whole, sizeof whole), FV_STOP_CONTEXT);
    config.stops = stops;
    config.stop_count = 1;
    for (size_t from = 1; from + 3 < strlen(whole); from += 50) {
        memcpy(stop, whole + from, 3);
        assert_int_equal(complete(llm, &config, part, sizeof part), FV_STOP_TEXT);
        assert_int_equal(strlen(part), (size_t)(strstr(whole, stop) - whole));
    }
    fv_llm_close(llm);
}

static fv_status see_evaluate(void *context, const int32_t *tokens, size_t count) {
    (void)context, (void)tokens, (void)count;
    return FV_OK;
}

static void bad_settings_are_refused(void **state) {
    (void)state;
    static const int32_t prompt[] = {5, 8, 11};
    fv_llm *llm = NULL;
    fv_generate_config config;
    assert_int_equal(fv_llm_open(&llm, MODELS "llama_q4_0.gguf", NULL), FV_OK);
    fv_generate_config_default(&config);
    speaker one = open_speaker(llm, &config, 64, FV_SELECTOR_DENSE, 4);
    assert_int_equal(fv_generator_set_lookup(one.generator, FV_GENERATE_GUESSES + 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_generator_set_lookup(NULL, 1), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_generator_feed(one.generator, prompt, 3, NULL, NULL), FV_OK);
    assert_int_equal(fv_generator_set_lookup(one.generator, 1), FV_ERROR_ARGUMENT);
    close_speaker(&one);
    config.watch.evaluate = see_evaluate;
    one = open_speaker(llm, &config, 64, FV_SELECTOR_DENSE, 0);
    assert_int_equal(fv_generator_set_lookup(one.generator, 1), FV_ERROR_UNSUPPORTED);
    close_speaker(&one);
    fv_llm_close(llm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_after_the_longest_match_is_guessed),
        cmocka_unit_test(nothing_is_guessed_where_nothing_matches),
        cmocka_unit_test(a_short_cycle_goes_on),
        cmocka_unit_test(guesses_that_fail_become_few_and_come_back),
        cmocka_unit_test(guesses_show_nowhere),
        cmocka_unit_test(a_full_context_and_stop_texts_end_alike),
        cmocka_unit_test(bad_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
