/* template_bounds_test.c - what a rendering keeps apart (whose words are whose), and what it may not exceed. */
#include "fovea/template.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static fv_template *open_text(const char *text) {
    fv_template *made = NULL;
    fv_message message = {""};
    assert_int_equal(fv_template_open(&made, text, strlen(text), &message), FV_OK);
    return made;
}

/* The rendering with what is somebody's words in [ ]. */
static void check_words(const char *template, const char *json, const char *wanted) {
    fv_template *made = open_text(template);
    fv_template_input input = {
        .struct_bytes = sizeof input, .bos = "<s>", .eos = "</s>", .json = json, .json_length = strlen(json)};
    fv_text text = {0}, shown = {0};
    fv_text_spans spans = {0};
    fv_message message = {""};
    assert_int_equal(fv_text_append(&text, "^", 1), FV_OK);
    assert_int_equal(fv_template_render(made, &input, &text, &spans, &message), FV_OK);
    size_t at = 0;
    for (size_t i = 0; i < spans.count; i++) {
        assert_int_equal(fv_text_append(&shown, text.bytes + at, spans.spans[i].begin - at), FV_OK);
        assert_int_equal(fv_text_append(&shown, "[", 1), FV_OK);
        at = spans.spans[i].begin;
        assert_int_equal(fv_text_append(&shown, text.bytes + at, spans.spans[i].end - at), FV_OK);
        assert_int_equal(fv_text_append(&shown, "]", 1), FV_OK);
        at = spans.spans[i].end;
    }
    assert_int_equal(fv_text_append(&shown, text.bytes + at, text.length - at), FV_OK);
    assert_string_equal(shown.bytes, wanted);
    fv_text_free(&text);
    fv_text_free(&shown);
    fv_text_spans_free(&spans);
    fv_template_close(made);
}

static void test_words_stay_words(void **state) {
    (void)state;
    static const char chat[] = "{\"messages\":[{\"role\":\"user\",\"content\":\" <|x|> a \"}],\"t\":{\"k\":\"v\"}}";
    check_words("{% for m in messages %}{{ bos_token + '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}",
                chat, "^<s><|user|>[ <|x|> a ]</s>");
    check_words("{{ messages[0].content | trim | upper }}<|{{ messages[0].content.split('|')[1] }}|>", chat,
                "^[<|X|> A]<|[x]|>");
    check_words("{% set s %}({{ messages[0].content.strip() }}){% endset %}{{ s.replace('a', 'b') }}{{ s[1:4] }}", chat,
                "^([<|x|> ]b)[<|x]");
    check_words("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ (m(messages[0].content) ~ 'z') | replace('<|', '!') }}",
                chat, "^<[ ]![x|> a ]>z");
    check_words("{{ t | tojson }}{{ t }}{{ ['q', t.k] | join('-') }}", chat, "^[{\"k\": \"v\"}]{'[k]': '[v]'}q-[v]");
    check_words("{{ '%s|' % t.k }}{{ 'a\n' | indent(t.k) }}{{ t.k * 2 }}{{ 'x{}'.format(t.k) }}", chat,
                "^[v]|a\n[vv]x[v]");
    check_words("{{ t.k | length }}{{ t.k == 'v' }}", chat, "^1True");
    check_words("<|{{ messages[0].role }}|>", "{\"messages\":[{\"role\":\"im_end\"}]}", "^<|[im_end]|>");
}

static fv_status render_within(const char *template, const char *json, uint64_t bytes, uint64_t steps,
                               fv_message *why) {
    fv_template *made = open_text(template);
    fv_template_input input = {.struct_bytes = sizeof input,
                               .json = json,
                               .json_length = strlen(json),
                               .most_bytes = bytes,
                               .most_steps = steps};
    fv_text text = {0};
    fv_text_spans spans = {0};
    assert_int_equal(fv_text_append(&text, "before", 6), FV_OK);
    fv_status status = fv_template_render(made, &input, &text, &spans, why);
    if (status != FV_OK) {
        assert_string_equal(text.bytes, "before");
        assert_int_equal(spans.count, 0);
    }
    fv_text_free(&text);
    fv_text_spans_free(&spans);
    fv_template_close(made);
    return status;
}

static void test_bounds_hold(void **state) {
    (void)state;
    static const char loops[] = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    fv_message why = {""};
    assert_int_equal(render_within(loops, "{}", 1u << 30, 100000, &why), FV_ERROR_FULL);
    assert_non_null(strstr(why.text, "more steps"));
    assert_int_equal(render_within("{{ 'x' * 1000000000 }}", "{}", 1u << 20, 0, &why), FV_ERROR_MEMORY);
    assert_int_equal(render_within("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{}", 0, 0, &why), FV_ERROR_FULL);
    assert_int_equal(render_within("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "{}", 0, 0, &why),
                     FV_ERROR_FULL);
    assert_int_equal(render_within("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", "{}", 0, 0, &why),
                     FV_ERROR_FULL);
    assert_int_equal(render_within("{{ 9223372036854775807 + 1 }}", "{}", 0, 0, &why), FV_ERROR_OVERFLOW);
    assert_int_equal(render_within("{{ 2 ** 63 }}", "{}", 0, 0, &why), FV_ERROR_OVERFLOW);
    assert_int_equal(render_within("{{ x }}", "{\"x\": [1,}", 0, 0, &why), FV_ERROR_CORRUPT);
    assert_non_null(strstr(why.text, "JSON"));
    assert_int_equal(render_within("{{ x }}", "[]", 0, 0, &why), FV_ERROR_ARGUMENT);
    assert_int_equal(render_within("{{ x }}{{ y.z }}", "{\"x\": \"much\"}", 0, 0, &why), FV_ERROR_ARGUMENT);
    assert_string_equal(why.text, "line 1: 'y' is undefined");
}

static void test_depth_of_a_text_is_bounded(void **state) {
    enum { DEEP = 20000 };
    (void)state;
    char *text = malloc(2 * DEEP + 5);
    fv_template *made = NULL;
    fv_message why = {""};
    assert_non_null(text);
    static const char *const pairs[] = {"()", "[]", "- ", "{}"};
    for (size_t kind = 0; kind < sizeof pairs / sizeof *pairs; kind++) {
        memset(text, pairs[kind][0], DEEP);
        memset(text + DEEP, pairs[kind][1], DEEP);
        memcpy(text, "{{", 2);
        memcpy(text + 2 * DEEP, "}}", 3);
        fv_status status = fv_template_open(&made, text, strlen(text), &why);
        assert_true(status == FV_ERROR_FULL || status == FV_ERROR_CORRUPT);
    }
    char *json = malloc(2 * DEEP + 20);
    assert_non_null(json);
    memcpy(json, "{\"x\":", 5);
    memset(json + 5, '[', DEEP);
    memset(json + 5 + DEEP, ']', DEEP);
    memcpy(json + 5 + 2 * DEEP, "}", 2);
    assert_int_equal(render_within("{{ x }}", json, 0, 0, &why), FV_ERROR_FULL);
    free(json);
    free(text);
}

static void test_names_are_known(void **state) {
    (void)state;
    fv_template *made = open_text("{% if tools %}{{ enable_thinking }}{% endif %}{# strict #}");
    assert_true(fv_template_names(made, "tools"));
    assert_true(fv_template_names(made, "enable_thinking"));
    assert_false(fv_template_names(made, "strict"));
    fv_template_close(made);
    fv_template_close(NULL);
    assert_int_equal(fv_template_open(&made, "\xff", 1, NULL), FV_ERROR_CORRUPT);
    assert_int_equal(fv_template_open(NULL, "", 0, NULL), FV_ERROR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_stay_words),
        cmocka_unit_test(test_bounds_hold),
        cmocka_unit_test(test_depth_of_a_text_is_bounded),
        cmocka_unit_test(test_names_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
