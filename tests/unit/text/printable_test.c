/* printable_test.c - whatever lies in a file, no terminal is commanded by it, and nothing else of it is lost. */
#include "fovea/tokenizer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *in, size_t length, const char *kept, const char *expected) {
    fv_text text = {0};
    assert_int_equal(fv_text_append(&text, "> ", 2), FV_OK);
    assert_int_equal(fv_utf8_printable(in, length, kept, &text), FV_OK);
    assert_memory_equal(text.bytes, "> ", 2);
    assert_string_equal(text.bytes + 2, expected);
    assert_int_equal(text.length, 2 + strlen(expected));
    fv_text_free(&text);
}

static void control_characters_are_escaped(void **state) {
    (void)state;
    check("", 0, "", "");
    check("plain \\x1B, Gr\xC3\xBC\xC3\x9F"
          "e \xF0\x9F\x91\x81",
          24, "",
          "plain \\x1B, Gr\xC3\xBC\xC3\x9F"
          "e \xF0\x9F\x91\x81");
    check("a\x1B[31m\tb\n\x7F\r", 11, "", "a\\x1B[31m\\x09b\\x0A\\x7F\\x0D");
    check("a\x1B[31m\tb\n\x7F\r", 11, "\n\t", "a\\x1B[31m\tb\n\\x7F\\x0D");
    check("a\0b", 3, "\n", "a\\x00b"); /* a zero byte ends no list of what is kept */
    check("\xC2\x9B"
          "31m\xC2\xA0",
          7, "", "\\u009B31m\xC2\xA0");
}

static void what_is_not_utf8_is_escaped(void **state) {
    (void)state;
    check("\x9B"
          "2J\xFF\xED\xA0\x80",
          7, "", "\\x9B2J\\xFF\\xED\\xA0\\x80"); /* C1 as one byte, never valid, a surrogate */
    check("cut \xE2\x82", 6, "", "cut \\xE2\\x82");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(what_is_not_utf8_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
