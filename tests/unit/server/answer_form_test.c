/* answer_form_test.c - thoughts and calls in answers: as a whole, and told byte by byte. */
#include "server/answer_form.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "thought|content|calls as JSON", of the whole and of all that a stream of single bytes tells. */
static void check(fv_answer_form form, const char *text, const char *wanted) {
    char made[2048], told[512] = "", thought[256] = "";
    size_t length = strlen(text), thought_end = 0, content_end = 0;
    fv_answer_parts parts;
    for (size_t i = 0; i <= length + 1; i++) {
        bool last = i > length;
        fv_answer_split(&form, text, last ? length : i, last, &parts);
        if (thought_end < parts.thought_begin) thought_end = parts.thought_begin;
        if (content_end < parts.content_begin) content_end = parts.content_begin;
        if (parts.thought_end > thought_end) strncat(thought, text + thought_end, parts.thought_end - thought_end);
        if (parts.content_end > content_end) strncat(told, text + content_end, parts.content_end - content_end);
        assert_true(parts.content_end <= length && parts.thought_end <= length);
        if (parts.thought_end > thought_end) thought_end = parts.thought_end;
        if (parts.content_end > content_end) content_end = parts.content_end;
    }
    json_t *calls = parts.calls ? fv_answer_calls(&form, text, length, "7") : NULL;
    char *json = calls ? json_dumps(calls, JSON_COMPACT) : NULL;
    snprintf(made, sizeof made, "%.*s|%.*s|%s", (int)(parts.thought_end - parts.thought_begin),
             text + parts.thought_begin, (int)(parts.content_end - parts.content_begin), text + parts.content_begin,
             json ? json : "");
    assert_string_equal(made, wanted);
    snprintf(made, sizeof made, "%s|%s|%s", thought, told, json ? json : "");
    assert_string_equal(made, wanted);
    free(json);
    json_decref(calls);
}

#define CALL_OF(NAME, ARGUMENTS, INDEX) \
    "{\"index\":" INDEX ",\"id\":\"call_7_" INDEX "\",\"type\":\"function\",\"function\":{\"name\":\"" NAME \
    "\",\"arguments\":\"" ARGUMENTS "\"}}"

static void test_thoughts(void **state) {
    (void)state;
    const fv_answer_form plain = {0}, thinks = {.thinks = true}, inside = {.thinks = true, .begins_inside = true};
    check(plain, "<think>a</think>b", "|<think>a</think>b|");
    check(thinks, "<think>\na <b\n</think>\n\nsaid ", "a <b|said |");
    check(thinks, "no thought < here", "|no thought < here|");
    check(thinks, " <thin", "| <thin|");
    check(thinks, "<think>\n\n</think>\n\nyes", "|yes|");
    check(thinks, "<think> cut here ", "cut here||");
    check(inside, "deep\n\nwater</think> fish", "deep\n\nwater|fish|");
    check(inside, "<think>deep</think>fish", "deep|fish|");
    check(thinks, "", "||");
}

static void test_calls(void **state) {
    (void)state;
    const fv_answer_form tags = {.tools = FV_TOOLS_TAGS}, bare = {.tools = FV_TOOLS_BARE};
    const fv_answer_form both = {.thinks = true, .tools = FV_TOOLS_TAGS};
    check(tags, "Wait. \n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
          "|Wait.|[" CALL_OF("f", "{\\\"a\\\": 1}", "0") "]");
    check(tags, "<tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{}}",
          "||[" CALL_OF("f", "{}", "0") "," CALL_OF("g", "{}", "1") "]");
    check(tags, "a <tool_call>no json</tool_call> b", "|a <tool_call>no json</tool_call> b|");
    check(tags, "a <tool", "|a <tool|");
    check(tags, "x < y and <to go ", "|x < y and <to go |");
    check(both, "<think>Hm.</think>\n<tool_call>{\"name\":\"f\"}</tool_call>", "Hm.||[" CALL_OF("f", "{}", "0") "]");
    check(bare, "\n{\"name\": \"f\", \"parameters\": {\"x\": \"y\"}}",
          "||[" CALL_OF("f", "{\\\"x\\\": \\\"y\\\"}", "0") "]");
    check(bare, "{not a call}", "|{not a call}|");
    check(bare, "Plain {text}", "|Plain {text}|");
    check((fv_answer_form){0}, "<tool_call>{\"name\":\"f\"}</tool_call>", "|<tool_call>{\"name\":\"f\"}</tool_call>|");
}

static void test_formats(void **state) {
    (void)state;
#define FORMAT(TEXT) fv_tool_format_of(TEXT, strlen(TEXT))
    assert_int_equal(FORMAT("within <tool_call></tool_call>"), FV_TOOLS_TAGS);
    assert_int_equal(FORMAT("<tool_call><function=x>"), FV_TOOLS_NONE);
    assert_int_equal(FORMAT("<|start_header_id|> {\"name\": f, \"parameters\": {}}"), FV_TOOLS_BARE);
    assert_int_equal(FORMAT("{{ tools }}"), FV_TOOLS_NONE);
    assert_true(fv_template_thinks("<think>x</think>", 16));
    assert_false(fv_template_thinks("<think>", 7));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_thoughts), cmocka_unit_test(test_calls),
                                       cmocka_unit_test(test_formats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
