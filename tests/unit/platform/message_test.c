/* message_test.c - whatever goes in, one printable line of UTF-8 comes out. */
#include "fovea/message.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *in, const char *expected) {
    fv_message message;
    assert_int_equal(fv_message_set(&message, FV_ERROR_FILE, "%s", in), FV_ERROR_FILE);
    assert_string_equal(message.text, expected);
}

static void test_printable(void **state) {
    (void)state;
    check("", "");
    check("plain: 100 %", "plain: 100 %");
    check("a\nb\tc\x1b[1m\x7f", "a?b?c?[1m?");
    check("Gr\xC3\xB6\xC3\x9F"
          "e \xE2\x82\xAC \xF0\x9F\x91\x81",
          "Gr\xC3\xB6\xC3\x9F"
          "e \xE2\x82\xAC \xF0\x9F\x91\x81");
    check("\xC2\x9B"
          "31m",
          "??31m");                    /* C1 control */
    check("\xFF\xC0\x80", "???");      /* never valid, overlong */
    check("\xED\xA0\x80", "???");      /* surrogate */
    check("\xF4\x90\x80\x80", "????"); /* above U+10FFFF */
    check("cut \xE2\x82", "cut ??");
    assert_int_equal(fv_message_set(NULL, FV_ERROR_MEMORY, "dropped"), FV_ERROR_MEMORY);
}

/* Longer texts end at a character, for each way the limit can fall into one. */
static void test_cut(void **state) {
    (void)state;
    for (size_t lead = 0; lead < 4; lead++) {
        char in[2 * FV_MESSAGE_BYTES] = {0};
        memset(in, 'x', lead);
        for (size_t at = lead; at + 4 < sizeof in; at += 4) memcpy(in + at, "\xF0\x9F\x91\x81", 4);
        fv_message message;
        fv_message_set(&message, FV_OK, "%s", in);
        size_t length = strlen(message.text);
        assert_true(length <= FV_MESSAGE_BYTES - 1 && length > FV_MESSAGE_BYTES - 5);
        assert_int_equal((length - lead) % 4, 0);
        assert_memory_equal(message.text, in, length);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_printable), cmocka_unit_test(test_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
