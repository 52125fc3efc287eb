/* words_test.c - lists of words, lists of numbers, and the escapes that people type. */
#include "fovea/tokenizer.h"
#include "fovea/words.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void numbers_are_listed_as_llama_bench_takes_them(void **state) {
    (void)state;
    int64_t values[8] = {7};
    size_t count = 1;
    assert_true(fv_words_numbers("1,4-6", values, &count, 8));
    assert_true(fv_words_numbers("128-1024*8", values, &count, 8));
    const int64_t expected[] = {7, 1, 4, 5, 6, 128, 1024};
    assert_int_equal(count, 7);
    assert_memory_equal(values, expected, sizeof expected);
}

static void what_is_no_list_of_numbers_is_refused(void **state) {
    (void)state;
    const char *const bad[] = {"", "x", "1,", ",1", "1-", "1-2+", "1-2*", "-1", "1 2", "2147483648", "1-3*1", "1-9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t values[8];
        size_t count = 0;
        assert_false(fv_words_numbers(bad[i], values, &count, 8));
        assert_true(count <= 8);
    }
}

static void escapes_become_bytes(void **state) {
    (void)state;
    static const char typed[] = "a\\n\\t\\\\\\x41\\x4\\q\\'\\\"\\r\\";
    fv_text text = {0};
    assert_int_equal(fv_text_append(&text, typed, strlen(typed)), FV_OK);
    fv_text_unescape(&text);
    assert_string_equal(text.bytes, "a\n\t\\A\\x4\\q'\"\r\\");
    assert_int_equal(text.length, strlen(text.bytes));
    fv_text_free(&text);
    fv_text_unescape(&text);
    assert_int_equal(text.length, 0);
}

static void the_nearest_word_is_the_one_that_was_meant(void **state) {
    (void)state;
    char nearest[16] = "";
    assert_int_equal(fv_words_nearest("tokens threads", "thraeds", SIZE_MAX, nearest, sizeof nearest), 1);
    assert_string_equal(nearest, "threads");
    assert_int_equal(fv_words_find("a bc d", "bc", 2), 1);
    assert_int_equal(fv_words_find("a bc d", "b", 1), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_listed_as_llama_bench_takes_them),
        cmocka_unit_test(what_is_no_list_of_numbers_is_refused),
        cmocka_unit_test(escapes_become_bytes),
        cmocka_unit_test(the_nearest_word_is_the_one_that_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
