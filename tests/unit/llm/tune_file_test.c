/* tune_file_test.c - the file of `fovea tune`: what is written is read, one of format 1 too, and nothing else is
 * believed. */
#include "fovea/tune.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define PATH "tune_file_test.json"

static int open_model(void **state) {
    fv_llm *llm = NULL;
    fv_message message = {""};
    if (fv_llm_open(&llm, MODEL, &message) != FV_OK) return -1;
    *state = llm;
    return 0;
}

static int close_model(void **state) {
    fv_llm_close(*state);
    remove(PATH);
    return 0;
}

static fv_tune example(const fv_llm *llm) {
    const fv_model_config *shape = fv_llm_config(llm);
    size_t heads = (size_t)shape->layers * shape->cache.kv_heads;
    fv_tune tune = {.layers = shape->layers, .kv_heads = shape->cache.kv_heads, .head_dim = shape->cache.head_dim};
    tune.shares = calloc(heads, sizeof *tune.shares);
    assert_non_null(tune.shares);
    for (size_t i = 0; i < heads; i++) tune.shares[i] = (uint16_t)(1 + 65534 * i / heads);
    return tune;
}

/* The file of example(), as a tree that a test may change. */
static json_t *example_json(const fv_llm *llm) {
    fv_tune tune = example(llm);
    fv_message message = {""};
    double(*divergence)[2] = calloc((size_t)tune.layers * tune.kv_heads, sizeof *divergence);
    fv_tune_notes notes = {"a text", "fovea", 512, 32, 0.5, 0.25, (const double(*)[2])divergence};
    assert_int_equal(fv_tune_write(&tune, PATH, llm, &notes, &message), FV_OK);
    free(divergence);
    fv_tune_free(&tune);
    json_t *root = json_load_file(PATH, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    return root;
}

static void expect(const fv_llm *llm, json_t *root, fv_status status, const char *word) {
    fv_tune tune = {0};
    fv_message message = {""};
    assert_int_equal(json_dump_file(root, PATH, 0), 0);
    json_decref(root);
    assert_int_equal(fv_tune_read(&tune, PATH, llm, &message), status);
    if (!strstr(message.text, word)) fail_msg("expected '%s' in '%s'", word, message.text);
    if (status != FV_OK) assert_true(!tune.shares && !tune.path[0]);
    fv_tune_free(&tune);
}

static void what_is_written_is_read(void **state) {
    const fv_llm *llm = *state;
    fv_tune tune = example(llm), got = {0};
    fv_message message = {""};
    size_t heads = (size_t)tune.layers * tune.kv_heads;
    json_decref(example_json(llm));
    assert_int_equal(fv_tune_read(&got, PATH, llm, &message), FV_OK);
    assert_string_equal(got.path, PATH);
    assert_memory_equal(got.shares, tune.shares, heads * sizeof *tune.shares);
    fv_tune_free(&tune);
    fv_tune_free(&got);
}

static void older_formats_are_read(void **state) {
    const fv_llm *llm = *state;
    for (int format = 1; format <= 2; format++) {
        fv_tune tune = {0}, want = example(llm);
        fv_message message = {""};
        json_t *root = example_json(llm);
        json_object_set_new(root, "format", json_integer(format));
        if (format == 1) json_object_del(json_object_get(root, "model"), "head_dim");
        if (format == 2) json_object_set_new(root, "gates", json_array()); /* nothing reads them any more */
        assert_int_equal(json_dump_file(root, PATH, 0), 0);
        json_decref(root);
        assert_int_equal(fv_tune_read(&tune, PATH, llm, &message), FV_OK);
        assert_memory_equal(tune.shares, want.shares, (size_t)want.layers * want.kv_heads * sizeof *want.shares);
        fv_tune_free(&tune);
        fv_tune_free(&want);
    }
}

static void another_format_or_model_is_refused(void **state) {
    json_t *root = example_json(*state);
    json_object_set_new(root, "format", json_integer(4));
    expect(*state, root, FV_ERROR_UNSUPPORTED, "format");
    static const char *const keys[] = {"layers", "kv_heads", "head_dim", "parameters", "weight_bytes"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        root = example_json(*state);
        json_object_set_new(json_object_get(root, "model"), keys[i], json_integer(1));
        expect(*state, root, FV_ERROR_UNSUPPORTED, "another model");
    }
    root = example_json(*state);
    json_object_set_new(root, "model", json_integer(7));
    expect(*state, root, FV_ERROR_UNSUPPORTED, "another model");
}

static void wrong_counts_are_refused(void **state) {
    json_t *root = example_json(*state);
    json_object_del(root, "shares");
    expect(*state, root, FV_ERROR_CORRUPT, "shares");
    root = example_json(*state);
    json_array_remove(json_object_get(root, "shares"), 0);
    expect(*state, root, FV_ERROR_CORRUPT, "shares");
    root = example_json(*state);
    json_array_append_new(json_array_get(json_object_get(root, "shares"), 0), json_integer(1));
    expect(*state, root, FV_ERROR_CORRUPT, "shares");
    root = example_json(*state);
    json_array_set_new(json_object_get(root, "shares"), 0, json_string("no list"));
    expect(*state, root, FV_ERROR_CORRUPT, "shares");
}

static void values_out_of_range_are_refused(void **state) {
    json_t *const shares[] = {json_integer(0), json_integer(-5), json_integer(65536), json_real(1.5), json_null()};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        json_t *root = example_json(*state);
        json_array_set_new(json_array_get(json_object_get(root, "shares"), 0), 0, shares[i]);
        expect(*state, root, FV_ERROR_CORRUPT, "65535");
    }
}

/* Cut at every tenth byte, and with what JSON has not: not a number, and one that no double holds. */
static void damaged_text_is_refused(void **state) {
    const fv_llm *llm = *state;
    fv_tune tune = {0};
    fv_message message = {""};
    json_t *root = example_json(llm);
    char *text = json_dumps(root, 0);
    json_decref(root);
    size_t length = strlen(text);
    for (size_t cut = 0; cut < length; cut += 10) {
        FILE *file = fopen(PATH, "wb");
        assert_true(file && fwrite(text, 1, cut, file) == cut && fclose(file) == 0);
        assert_int_equal(fv_tune_read(&tune, PATH, llm, &message), FV_ERROR_CORRUPT);
    }
    free(text);
    static const char *const wrong[] = {"{\"shares\": [[NaN]]}", "{\"shares\": [[1e999]]}",
                                        "{\"format\": 2, \"format\": 2}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        FILE *file = fopen(PATH, "wb");
        assert_true(file && fputs(wrong[i], file) >= 0 && fclose(file) == 0);
        assert_int_equal(fv_tune_read(&tune, PATH, llm, &message), FV_ERROR_CORRUPT);
    }
    assert_null(tune.shares);
    remove(PATH);
    assert_int_equal(fv_tune_read(&tune, PATH, llm, &message), FV_ERROR_FILE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(older_formats_are_read),
        cmocka_unit_test(another_format_or_model_is_refused),
        cmocka_unit_test(wrong_counts_are_refused),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(damaged_text_is_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
