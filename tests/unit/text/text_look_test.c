/* text_look_test.c - what a text from outside holds that its author hardly meant. */
#include "fovea/text_look.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char said[2048];

static void book(void *context, const char *sentence) {
    (void)context;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", sentence);
}

/* All that is said of a text, `length` bytes of it. */
static const char *look(const char *bytes, size_t length) {
    said[0] = 0;
    fv_text_look(bytes, length, "it", book, NULL);
    return said;
}

#define LOOK(text) look(text, sizeof(text) - 1)

static void a_plain_text_is_not_remarked_on(void **state) {
    (void)state;
    assert_string_equal(LOOK(""), "");
    assert_string_equal(LOOK("a\nb\tc \\ d"), "");
    assert_string_equal(LOOK("caf\xC3\xA9"), "");
    assert_string_equal(LOOK("a\rb"), "");
    assert_string_equal(LOOK("a\\"), "");
}

static void encodings(void **state) {
    (void)state;
    assert_string_equal(LOOK("in \xFF it"), "it is not UTF-8: byte 3 is 0xFF; it is read as it is\n");
    assert_string_equal(LOOK("caf\xC3"),
                        "it is not UTF-8: it ends inside a character, byte 3 is 0xC3; it is read as it is\n");
    assert_string_equal(LOOK("\xF0\x9F\x98"),
                        "it is not UTF-8: it ends inside a character, byte 0 is 0xF0; it is read as it is\n");
    assert_string_equal(LOOK("\xFF\xFE"
                             "a\0b\0"),
                        "it is UTF-16, not UTF-8 (byte 0 is 0xFF): convert it, say with iconv\n");
    assert_string_equal(LOOK("a\0b"), "it has a zero byte at 1: is it a text? It is read as it is\n");
}

static void line_ends(void **state) {
    (void)state;
    assert_non_null(strstr(LOOK("a\r\nb\r\n"), "it has 2 line ends CR LF"));
    assert_non_null(strstr(LOOK("a\\nb"), "it has \\n as two characters"));
    assert_string_equal(LOOK("a\\nb\nc"), ""); /* someone who knows line ends means what they write */
    assert_string_equal(LOOK("a\\\\nb"), "");  /* nor is a doubled backslash an escape */
}

static void a_mark_in_front_is_dropped_once(void **state) {
    (void)state;
    fv_text text = {0};
    assert_false(fv_text_drop_mark(&text));
    assert_int_equal(fv_text_append(&text, "\xEF\xBB\xBF\xEF\xBB\xBFt", 7), FV_OK);
    assert_true(fv_text_drop_mark(&text));
    assert_int_equal(text.length, 4);
    assert_string_equal(text.bytes, "\xEF\xBB\xBFt");
    text.length = 2;
    assert_false(fv_text_drop_mark(&text));
    fv_text_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_text_is_not_remarked_on),
        cmocka_unit_test(encodings),
        cmocka_unit_test(line_ends),
        cmocka_unit_test(a_mark_in_front_is_dropped_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
