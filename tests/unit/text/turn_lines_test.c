/* turn_lines_test.c - a backslash at the end and a block that is open ask for another line, nothing else does. */
#include "fovea/tokenizer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *typed, bool goes_on, const char *left) {
    fv_text turn = {0};
    assert_int_equal(fv_text_append(&turn, typed, strlen(typed)), FV_OK);
    assert_int_equal(fv_text_goes_on(&turn), goes_on);
    assert_string_equal(turn.bytes, left);
    assert_int_equal(turn.length, strlen(left));
    fv_text_free(&turn);
}

static void a_backslash_at_the_end_is_taken_off(void **state) {
    (void)state;
    expect("one\\", true, "one");
    expect("\\", true, "");
    expect("one\\two", false, "one\\two");
    expect("one\\ ", false, "one\\ ");
    expect("one\ntwo\\", true, "one\ntwo");
    expect("", false, "");
}

static void a_block_lasts_until_it_is_closed(void **state) {
    (void)state;
    expect("```", true, "```");
    expect("look:\n   ```c\nint x;\n", true, "look:\n   ```c\nint x;\n");
    expect("```c\nint x;\n```", false, "```c\nint x;\n```");
    expect("```\na\n```\nand\n````\nb", true, "```\na\n```\nand\n````\nb");
    expect("a ``` in a line", false, "a ``` in a line");
    expect("    ``` is indented code", false, "    ``` is indented code");
    expect("``", false, "``");
}

static void nothing_does_not_go_on(void **state) {
    fv_text nothing = {0};
    (void)state;
    assert_false(fv_text_goes_on(&nothing));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backslash_at_the_end_is_taken_off),
        cmocka_unit_test(a_block_lasts_until_it_is_closed),
        cmocka_unit_test(nothing_does_not_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
