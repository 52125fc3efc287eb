/* generate_test.c - the decode loop: what ends an answer, what is told and when, what penalties see, and that a
 * conversation in steps is the same as at once. */
#include "fovea/generate.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"

static const int32_t prompt[] = {5, 9, 17, 33, 60, 21, 9, 5, 40, 41};
#define PROMPT (sizeof prompt / sizeof prompt[0])

static int open_model(void **state) {
    fv_llm *llm = NULL;
    if (fv_llm_open(&llm, MODEL, NULL) != FV_OK) return -1;
    *state = llm;
    return 0;
}

static int close_model(void **state) {
    fv_llm_close(*state);
    return 0;
}

/* What a watch was told. */
typedef struct told {
    char text[4096];
    size_t length, calls, tokens, evaluated;
    size_t stop_after; /* calls of go_on */
    bool refuse;       /* text */
} told;

static bool go_on(void *context) {
    told *watch = context;
    return watch->stop_after-- > 0;
}

static bool take_text(void *context, const char *bytes, size_t length) {
    told *watch = context;
    assert_true(length > 0 && watch->length + length < sizeof watch->text);
    memcpy(watch->text + watch->length, bytes, length);
    watch->length += length;
    watch->text[watch->length] = 0;
    watch->calls++;
    return !watch->refuse;
}

static fv_status see_evaluate(void *context, const int32_t *tokens, size_t count) {
    assert_non_null(tokens);
    ((told *)context)->evaluated += count;
    return FV_OK;
}

static fv_status see_token(void *context, int32_t token) {
    assert_true(token >= 0);
    ((told *)context)->tokens++;
    return FV_OK;
}

typedef struct fixture {
    fv_session *session;
    fv_generator *generator;
    told watch;
} fixture;

static fv_generate_config config_for(const fv_llm *llm, fixture *run, uint32_t context) {
    fv_session_config session;
    fv_session_config_default(&session);
    fv_generate_config config;
    session.context_tokens = context;
    assert_int_equal(fv_session_open(&run->session, llm, &session, NULL, NULL), FV_OK);
    fv_generate_config_default(&config);
    config.session = run->session;
    config.llm = llm;
    config.sampler.temperature = 0;
    config.ignore_end = 1;
    run->watch = (told){.stop_after = SIZE_MAX};
    config.watch = (fv_generate_watch){&run->watch, go_on, take_text, see_evaluate, see_token};
    return config;
}

static void open_generator(fixture *run, const fv_generate_config *config) {
    fv_message message = {""};
    if (fv_generator_open(&run->generator, config, &message) != FV_OK) fail_msg("%s", message.text);
}

static void close_fixture(fixture *run) {
    fv_generator_close(run->generator);
    fv_session_close(run->session);
}

static fv_stop answer(fixture *run, int64_t limit) {
    fv_stop stop;
    assert_int_equal(fv_generator_answer(run->generator, limit, &stop), FV_OK);
    return stop;
}

static void feed(fixture *run, const int32_t *tokens, size_t count) {
    assert_int_equal(fv_generator_feed(run->generator, tokens, count, NULL, NULL), FV_OK);
}

/* The greedy text of `limit` tokens. */
static void plain_text(const fv_llm *llm, int64_t limit, char *text, size_t bytes) {
    fixture run = {0};
    fv_generate_config config = config_for(llm, &run, 128);
    open_generator(&run, &config);
    feed(&run, prompt, PROMPT);
    answer(&run, limit);
    snprintf(text, bytes, "%s", fv_generator_text(run.generator)->bytes);
    close_fixture(&run);
}

static void text_and_tokens_are_told_as_they_come(void **state) {
    fixture run = {0};
    fv_generate_config config = config_for(*state, &run, 128);
    open_generator(&run, &config);
    feed(&run, prompt, PROMPT);
    assert_int_equal(run.watch.evaluated, PROMPT);
    assert_int_equal(answer(&run, 12), FV_STOP_LIMIT);
    const fv_text *text = fv_generator_text(run.generator);
    assert_string_equal(run.watch.text, text->bytes);
    assert_int_equal(run.watch.length, text->length);
    assert_true(run.watch.calls > 1);
    assert_int_equal(run.watch.tokens, 12);
    assert_int_equal(fv_generator_tokens(run.generator)->count, 12);
    assert_int_equal(run.watch.evaluated, PROMPT + 11); /* the last one is pending */
    assert_int_equal(fv_generator_pending(run.generator), fv_generator_tokens(run.generator)->ids[11]);
    assert_int_equal(fv_generator_prompt(run.generator)->tokens, PROMPT);
    assert_int_equal(fv_generator_decode(run.generator)->tokens, 11);
    assert_true(fv_generator_decode(run.generator)->report.keys_read > 0);
    close_fixture(&run);
}

static void what_ends_an_answer(void **state) {
    fixture run = {0};
    fv_stop stop = FV_STOP_END;
    fv_generate_config config = config_for(*state, &run, PROMPT + 3);
    open_generator(&run, &config);
    assert_int_equal(fv_generator_answer(run.generator, 1, &stop), FV_ERROR_ARGUMENT); /* nothing was fed */
    assert_int_equal(stop, FV_STOP_FAILED);
    assert_int_equal(fv_generator_feed(run.generator, prompt, 0, NULL, NULL), FV_ERROR_ARGUMENT);
    feed(&run, prompt, PROMPT);
    assert_int_equal(answer(&run, 0), FV_STOP_LIMIT);
    assert_int_equal(fv_generator_text(run.generator)->length, 0);
    run.watch.stop_after = 2;
    assert_int_equal(answer(&run, -1), FV_STOP_INTERRUPTED);
    assert_int_equal(fv_generator_tokens(run.generator)->count, 2);
    run.watch.stop_after = SIZE_MAX;
    assert_int_equal(answer(&run, -1), FV_STOP_CONTEXT);
    assert_int_equal(fv_session_tokens(run.session), PROMPT + 3);
    run.watch.refuse = true;
    assert_int_equal(fv_session_truncate(run.session, 0), FV_OK);
    feed(&run, prompt, PROMPT);
    assert_int_equal(answer(&run, -1), FV_STOP_OUTPUT);
    assert_int_equal(fv_generator_feed(run.generator, prompt, PROMPT, NULL, NULL), FV_ERROR_FULL);
    assert_string_equal(fv_stop_name(FV_STOP_CONTEXT), "context");
    assert_null(fv_stop_name(FV_STOP_COUNT));
    close_fixture(&run);
}

/* Every cut of the greedy text as a stop text: the answer ends before it, and nothing of it is told. */
static void a_stop_text_ends_the_answer_and_is_not_told(void **state) {
    char whole[512];
    plain_text(*state, 16, whole, sizeof whole);
    size_t length = strlen(whole);
    assert_true(length > 8);
    for (size_t begin = 1; begin + 3 < length; begin += 3) {
        char stop[4] = {0};
        memcpy(stop, whole + begin, 3);
        const char *stops[2] = {"never said, but begins with n", stop};
        fixture run = {0};
        fv_generate_config config = config_for(*state, &run, 128);
        config.stops = stops;
        config.stop_count = 2;
        open_generator(&run, &config);
        feed(&run, prompt, PROMPT);
        assert_int_equal(answer(&run, 16), FV_STOP_TEXT);
        size_t wanted = (size_t)(strstr(whole, stop) - whole);
        assert_int_equal(fv_generator_text(run.generator)->length, wanted);
        assert_int_equal(run.watch.length, wanted);
        assert_memory_equal(run.watch.text, whole, wanted);
        close_fixture(&run);
    }
}

static void what_is_held_back_comes_at_the_end(void **state) {
    char whole[512];
    plain_text(*state, 16, whole, sizeof whole);
    char stop[600];
    snprintf(stop, sizeof stop, "%s and more", whole);
    const char *stops[1] = {stop};
    fixture run = {0};
    fv_generate_config config = config_for(*state, &run, 128);
    config.stops = stops;
    config.stop_count = 1;
    open_generator(&run, &config);
    feed(&run, prompt, PROMPT);
    assert_int_equal(answer(&run, 16), FV_STOP_LIMIT);
    assert_string_equal(run.watch.text, whole);
    assert_int_equal(run.watch.calls, 1);
    close_fixture(&run);
}

static void bad_stop_texts_are_refused(void **state) {
    fixture run = {0};
    fv_message message = {""};
    const char *stops[17] = {"a", ""};
    fv_generate_config config = config_for(*state, &run, 128);
    config.stops = stops;
    config.stop_count = 2;
    assert_int_equal(fv_generator_open(&run.generator, &config, &message), FV_ERROR_ARGUMENT);
    assert_non_null(strstr(message.text, "empty"));
    config.stop_count = 17;
    assert_int_equal(fv_generator_open(&run.generator, &config, &message), FV_ERROR_ARGUMENT);
    config.stop_count = 0;
    config.session = NULL;
    assert_int_equal(fv_generator_open(&run.generator, &config, &message), FV_ERROR_ARGUMENT);
    assert_null(run.generator);
    close_fixture(&run);
}

/* A penalty that forbids the greedy answer, once it is in the prompt. */
static void penalties_see_the_prompt(void **state) {
    fixture run = {0}, other = {0};
    fv_generate_config config = config_for(*state, &run, 128);
    open_generator(&run, &config);
    feed(&run, prompt, PROMPT);
    answer(&run, 1);
    int32_t greedy = fv_generator_tokens(run.generator)->ids[0];
    close_fixture(&run);
    int32_t longer[PROMPT + 2] = {greedy, greedy};
    memcpy(longer + 2, prompt, sizeof prompt);
    fv_generate_config again = config_for(*state, &other, 128);
    again.sampler.presence_penalty = 100;
    open_generator(&other, &again);
    feed(&other, longer, PROMPT + 2);
    answer(&other, 1);
    for (size_t i = 0; i < PROMPT + 2; i++)
        assert_int_not_equal(fv_generator_tokens(other.generator)->ids[0], longer[i]);
    close_fixture(&other);
}

static int32_t drawn(fixture *run) {
    answer(run, 1);
    return fv_generator_tokens(run->generator)->ids[0];
}

/* What was said is preferred, the more the more often it was said: how often the last token comes again. */
static fv_generate_config repeating_config(const fv_llm *llm, fixture *run, uint32_t seed) {
    fv_generate_config config = config_for(llm, run, 128);
    config.sampler.frequency_penalty = -3;
    config.sampler.temperature = 1;
    config.sampler.top_k = 0;
    config.sampler.top_p = 1;
    config.sampler.min_p = 0;
    config.sampler.seed = seed;
    return config;
}

/* A conversation in steps evaluates its pending token with the next prompt: it must not count twice for penalties that
 * count how often a token was there. */
static void a_pending_token_counts_once(void **state) {
    enum { SEEDS = 200 };
    int in_steps = 0, at_once = 0;
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        fixture run = {0}, other = {0};
        int32_t history[PROMPT + 1];
        fv_generate_config config = repeating_config(*state, &run, seed);
        open_generator(&run, &config);
        feed(&run, prompt, PROMPT);
        memcpy(history, prompt, sizeof prompt);
        history[PROMPT] = drawn(&run);
        assert_int_equal(fv_generator_pending(run.generator), history[PROMPT]);
        feed(&run, NULL, 0); /* only what is pending */
        assert_int_equal(fv_generator_pending(run.generator), -1);
        in_steps += drawn(&run) == history[PROMPT];
        close_fixture(&run);
        config = repeating_config(*state, &other, SEEDS + seed);
        open_generator(&other, &config);
        feed(&other, history, PROMPT + 1);
        at_once += drawn(&other) == history[PROMPT];
        close_fixture(&other);
    }
    /* two draws of the same chance, 200 each: their difference is within 3 deviations, at most 30 */
    if (in_steps - at_once > 30 || at_once - in_steps > 30) fail_msg("%d of %d, and %d", in_steps, SEEDS, at_once);
    assert_true(at_once > 10);
}

static bool stop_at_once(void *context, size_t done, size_t total) {
    (void)context;
    return done > total;
}

static void an_interrupted_prompt_leaves_all_as_it_was(void **state) {
    fixture run = {0};
    fv_generate_config config = config_for(*state, &run, 128);
    open_generator(&run, &config);
    feed(&run, prompt, PROMPT);
    answer(&run, 2);
    int32_t pending = fv_generator_pending(run.generator);
    size_t before = fv_session_tokens(run.session);
    assert_int_equal(fv_generator_feed(run.generator, prompt, PROMPT, stop_at_once, NULL), FV_ERROR_INTERRUPTED);
    assert_int_equal(fv_session_tokens(run.session), before);
    assert_int_equal(fv_generator_pending(run.generator), pending);
    close_fixture(&run);
}

static void a_context_is_as_long_as_prompt_and_answer(void **state) {
    const fv_llm *llm = *state;
    uint32_t trained = fv_llm_config(llm)->cache.max_tokens, context = 0;
    fv_message message = {""};
    assert_int_equal(fv_generate_context(llm, -1, 10, 20, &context, NULL), FV_OK);
    assert_int_equal(context, 30);
    assert_int_equal(fv_generate_context(llm, -1, 10, UINT32_MAX, &context, NULL), FV_OK);
    assert_int_equal(context, trained);
    assert_int_equal(fv_generate_context(llm, 0, 10, 20, &context, NULL), FV_OK);
    assert_int_equal(context, trained);
    assert_int_equal(fv_generate_context(llm, 2 * (int64_t)trained, trained + 1, 20, &context, NULL), FV_OK);
    assert_int_equal(context, 2 * trained);
    assert_int_equal(fv_generate_context(llm, -1, 0, 0, &context, NULL), FV_OK);
    assert_int_equal(context, 1);
    assert_int_equal(fv_generate_context(llm, 9, 10, 20, &context, &message), FV_ERROR_FULL);
    assert_int_equal(context, 1);
    assert_non_null(strstr(message.text, "the prompt has 10 tokens, the context holds 9"));
}

static void elements_have_names(void **state) {
    (void)state;
    assert_string_equal(fv_element_name(FV_ELEMENT_F16), "f16");
    assert_string_equal(fv_element_name(FV_ELEMENT_Q8_0), "q8_0");
    assert_string_equal(fv_element_name(FV_ELEMENT_COUNT), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_tokens_are_told_as_they_come),
        cmocka_unit_test(what_ends_an_answer),
        cmocka_unit_test(a_context_is_as_long_as_prompt_and_answer),
        cmocka_unit_test(elements_have_names),
        cmocka_unit_test(a_stop_text_ends_the_answer_and_is_not_told),
        cmocka_unit_test(what_is_held_back_comes_at_the_end),
        cmocka_unit_test(bad_stop_texts_are_refused),
        cmocka_unit_test(penalties_see_the_prompt),
        cmocka_unit_test(a_pending_token_counts_once),
        cmocka_unit_test(an_interrupted_prompt_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
