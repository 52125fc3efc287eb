/* tokenizer_memory_test.c - the n-th allocation fails, for every n: FV_ERROR_MEMORY, nothing written, nothing leaked.
 * array.c, where all of the tokenizer's memory comes from, is compiled into this test. */
#include <stdlib.h>

static int allocations_left;
static void *test_calloc(size_t count, size_t bytes) { return allocations_left-- > 0 ? calloc(count, bytes) : NULL; }
static void *test_realloc(void *old, size_t bytes) { return allocations_left-- > 0 ? realloc(old, bytes) : NULL; }
#define calloc test_calloc
#define realloc test_realloc
#include "platform/posix/array.c" /* NOLINT */
#undef calloc
#undef realloc

#include "tokenizer_golden.h"
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static fv_tokenizer *open_limited(const fv_gguf *gguf) {
    fv_tokenizer *tokenizer = NULL;
    fv_status status = FV_ERROR_MEMORY;
    int limit = 0;
    for (; status != FV_OK; limit++) {
        fv_message message = {{0}};
        allocations_left = limit;
        status = fv_tokenizer_open(&tokenizer, gguf, &message);
        if (status == FV_OK) break;
        assert_int_equal(status, FV_ERROR_MEMORY);
        assert_null(tokenizer);
        assert_non_null(strstr(message.text, "memory"));
    }
    assert_true(limit > 3);
    return tokenizer;
}

/* Some ids are in `tokens` before: they stay, whatever happens. */
static void encode_limited(const fv_tokenizer *tokenizer, const char *text, fv_tokens *tokens) {
    const int32_t before = 7;
    fv_status status = FV_ERROR_MEMORY;
    int limit = 0;
    for (; status != FV_OK; limit++) {
        fv_tokens_free(tokens);
        allocations_left = INT_MAX;
        assert_int_equal(fv_tokens_append(tokens, &before, 1), FV_OK);
        allocations_left = limit;
        status = fv_tokenizer_encode(tokenizer, text, strlen(text), 3, tokens);
        if (status == FV_OK) break;
        assert_int_equal(status, FV_ERROR_MEMORY);
        assert_int_equal(tokens->count, 1);
        assert_int_equal(tokens->ids[0], before);
    }
    assert_true(limit > 4);
}

static void decode_limited(const fv_tokenizer *tokenizer, const fv_tokens *tokens) {
    fv_text text = {0};
    fv_status status = FV_ERROR_MEMORY;
    int limit = 0;
    for (; status != FV_OK; limit++) {
        fv_text_free(&text);
        allocations_left = INT_MAX;
        assert_int_equal(fv_text_append(&text, "before", 6), FV_OK);
        allocations_left = limit;
        status = fv_tokenizer_decode(tokenizer, tokens->ids + 1, tokens->count - 1, true, &text);
        if (status == FV_OK) break;
        assert_int_equal(status, FV_ERROR_MEMORY);
        assert_string_equal(text.bytes, "before");
    }
    assert_true(limit > 0);
    fv_text_free(&text);
}

static void check_limited(fv_text bytes) {
    char text[2048] = "<|im_start|>user\nThe plan says which pages";
    memset(text + strlen(text), 'e', sizeof text - strlen(text) - 1);
    fv_gguf *gguf = NULL;
    fv_tokens tokens = {0};
    assert_int_equal(fv_gguf_open_memory(&gguf, bytes.bytes, bytes.length, "tiny", NULL), FV_OK);
    fv_tokenizer *tokenizer = open_limited(gguf);
    encode_limited(tokenizer, text, &tokens);
    decode_limited(tokenizer, &tokens);
    fv_tokens_free(&tokens);
    fv_tokenizer_close(tokenizer);
    fv_gguf_close(gguf);
    fv_text_free(&bytes);
}

static void test_bpe_memory(void **state) {
    (void)state;
    allocations_left = INT_MAX;
    check_limited(golden_bpe("llama-bpe"));
}

static void test_spm_memory(void **state) {
    (void)state;
    allocations_left = INT_MAX;
    check_limited(golden_file("tiny_spm.gguf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bpe_memory), cmocka_unit_test(test_spm_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
