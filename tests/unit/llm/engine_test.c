/* engine_test.c - what conversations share: model, threads, the shares beside a model, and settings of sessions. */
#include "fovea/engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define LINK "engine_test.gguf" /* so that a tune file can lie beside it */
#define TUNE LINK ".fovea.json"

static int make_link(void **state) {
    (void)state;
    remove(LINK);
    remove(TUNE);
    return symlink(MODEL, LINK);
}

static int drop_link(void **state) {
    (void)state;
    remove(TUNE);
    return remove(LINK);
}

static fv_engine *open_engine(const char *tune) {
    fv_engine *engine = NULL;
    fv_engine_config config;
    fv_message message = {""};
    fv_engine_config_default(&config);
    config.model = LINK;
    config.tune = tune;
    config.pool.threads = 2;
    config.session.context_tokens = 64;
    if (fv_engine_open(&engine, &config, &message) != FV_OK) fail_msg("%s", message.text);
    assert_string_equal(message.text, ""); /* with FV_OK a remark: a tune file that nobody asked for is none */
    return engine;
}

static void write_shares(void) {
    fv_engine *engine = open_engine("none");
    const fv_model_config *shape = fv_llm_config(fv_engine_llm(engine));
    size_t heads = (size_t)shape->layers * shape->cache.kv_heads;
    fv_tune tune = {.layers = shape->layers, .kv_heads = shape->cache.kv_heads, .head_dim = shape->cache.head_dim};
    double(*loss)[2] = calloc(heads, sizeof *loss);
    fv_tune_notes notes = {"text", "fovea", 64, 8, 0, 0, (const double(*)[2])loss};
    tune.shares = calloc(heads, sizeof *tune.shares);
    assert_true(tune.shares && loss);
    for (size_t i = 0; i < heads; i++) tune.shares[i] = (uint16_t)(1000 + i);
    assert_int_equal(fv_tune_write(&tune, TUNE, fv_engine_llm(engine), &notes, NULL), FV_OK);
    fv_tune_free(&tune);
    free(loss);
    fv_engine_close(engine);
}

static void it_opens_what_it_is_asked_for(void **state) {
    fv_engine *engine = open_engine(NULL);
    fv_session *session = NULL;
    fv_session_config config;
    (void)state;
    assert_int_equal(fv_engine_threads(engine), 2);
    assert_non_null(fv_engine_pool(engine));
    assert_string_equal(fv_llm_architecture(fv_engine_llm(engine)), "llama");
    assert_null(fv_engine_tune(engine)); /* there is no file, and nobody named one */
    assert_int_equal(fv_engine_session_open(engine, NULL, &session, NULL), FV_OK);
    assert_int_equal(fv_session_context_tokens(session), 64);
    fv_session_close(session);
    fv_engine_session_config(engine, &config);
    assert_int_equal(config.context_tokens, 64);
    config.context_tokens = 32;
    assert_int_equal(fv_engine_session_open(engine, &config, &session, NULL), FV_OK);
    assert_int_equal(fv_session_context_tokens(session), 32);
    fv_session_close(session);
    fv_engine_close(engine);
}

static void shares_beside_the_model_are_found(void **state) {
    (void)state;
    write_shares();
    fv_engine *engine = open_engine(NULL), *without = open_engine("none"), *named = open_engine(TUNE);
    const fv_tune *tune = fv_engine_tune(engine);
    assert_non_null(tune);
    assert_string_equal(tune->path, TUNE);
    assert_int_equal(tune->shares[1], 1001);
    assert_null(fv_engine_tune(without));
    assert_int_equal(fv_engine_tune(named)->shares[0], 1000);
    fv_policy chooses = {.selector = FV_SELECTOR_FOVEA}, window = {.selector = FV_SELECTOR_WINDOW};
    assert_true(fv_tune_attach(tune, &chooses));
    assert_ptr_equal(chooses.head_share, tune->shares);
    assert_int_equal(chooses.head_share_count, tune->layers * tune->kv_heads);
    assert_false(fv_tune_attach(tune, &chooses)); /* it has some */
    assert_false(fv_tune_attach(tune, &window));
    assert_null(window.head_share);
    assert_false(fv_tune_attach(NULL, &window));
    fv_engine_close(engine);
    fv_engine_close(without);
    fv_engine_close(named);
    remove(TUNE);
}

static void what_is_not_there_is_an_error(void **state) {
    fv_engine *engine = NULL;
    fv_engine_config config;
    fv_message message = {""};
    (void)state;
    fv_engine_config_default(&config);
    assert_int_equal(fv_engine_open(&engine, &config, &message), FV_ERROR_ARGUMENT);
    config.model = "/nonexistent/model.gguf";
    assert_int_equal(fv_engine_open(&engine, &config, &message), FV_ERROR_FILE);
    config.model = LINK;
    config.tune = "/nonexistent/shares.json"; /* one that was named has to be there */
    assert_int_equal(fv_engine_open(&engine, &config, &message), FV_ERROR_FILE);
    assert_non_null(strstr(message.text, "shares.json"));
    assert_null(engine);
    fv_engine_close(NULL);
}

/* Nobody asked for the file beside the model: it stops those who would go by it, and nobody else. */
static void a_damaged_file_stops_only_those_who_use_it(void **state) {
    (void)state;
    FILE *file = fopen(TUNE, "w");
    assert_true(file && fputs("{", file) >= 0 && fclose(file) == 0);
    fv_engine *engine = open_engine(NULL);
    fv_session *session = NULL;
    fv_session_config config;
    fv_message message = {""};
    bool attached = true;
    assert_null(fv_engine_tune(engine));
    assert_int_equal(fv_engine_session_open(engine, NULL, &session, &message), FV_OK); /* dense */
    fv_session_close(session);
    fv_engine_session_config(engine, &config);
    fv_policy_default(FV_SELECTOR_FOVEA, &config.policy);
    assert_int_equal(fv_engine_session_open(engine, &config, &session, &message), FV_ERROR_CORRUPT);
    assert_non_null(strstr(message.text, TUNE));
    assert_int_equal(fv_engine_tune_attach(engine, &config.policy, &attached, &message), FV_ERROR_CORRUPT);
    assert_true(attached); /* untouched */
    const uint16_t own[1] = {1024};
    config.policy.head_share = own;
    assert_int_equal(fv_engine_tune_attach(engine, &config.policy, &attached, &message), FV_OK);
    assert_false(attached);
    fv_engine_close(engine);
    remove(TUNE);
}

static void weights_are_repacked_as_asked(void **state) {
    (void)state;
    for (uint32_t repack = FV_REPACK_AUTO; repack <= FV_REPACK_OFF; repack++) {
        fv_engine *engine = NULL;
        fv_engine_config config;
        fv_engine_config_default(&config);
        config.model = FV_SOURCE_DIR "/tests/model/llama_q4_k.gguf";
        config.repack = repack;
        assert_int_equal(fv_engine_open(&engine, &config, NULL), FV_OK);
        bool packed = fv_llm_packed_bytes(fv_engine_llm(engine)) > 0;
        assert_int_equal(packed, repack != FV_REPACK_OFF); /* auto: these few bytes are less than half of any memory */
        assert_int_equal(fv_engine_repacks(fv_engine_llm(engine), repack), packed);
        fv_engine_close(engine);
    }
}

static void contexts_that_are_long_are_chosen_from_unless_told_otherwise(void **state) {
    (void)state;
    fv_engine *engine = open_engine(NULL);
    fv_session_config config;
    fv_engine_session_config(engine, &config);
    assert_string_equal(fv_engine_attention(engine, NULL), "dense"); /* its own context is of 64 tokens */
    config.context_tokens = FV_ENGINE_ATTENTION_TOKENS;
    assert_string_equal(fv_engine_attention(engine, &config), "dense");
    config.context_tokens++;
    assert_string_equal(fv_engine_attention(engine, &config), FV_ENGINE_ATTENTION);
    config.batch_tokens = 0; /* no session can be opened so */
    assert_string_equal(fv_engine_attention(engine, &config), "dense");
    fv_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_opens_what_it_is_asked_for),
        cmocka_unit_test(shares_beside_the_model_are_found),
        cmocka_unit_test(what_is_not_there_is_an_error),
        cmocka_unit_test(a_damaged_file_stops_only_those_who_use_it),
        cmocka_unit_test(weights_are_repacked_as_asked),
        cmocka_unit_test(contexts_that_are_long_are_chosen_from_unless_told_otherwise),
    };
    return cmocka_run_group_tests(tests, make_link, drop_link);
}
