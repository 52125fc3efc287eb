/* jinja_test.c - what can stand after `is`. */
#include "jinja/jinja_run.h"
#include <string.h>

typedef bool test_fn(fv_run *run, const fv_value *input, const fv_value *argument);

#define TEST(NAME, EXPRESSION) \
    static bool NAME(fv_run *run, const fv_value *input, const fv_value *argument) { \
        (void)run; \
        (void)argument; \
        return EXPRESSION; \
    }
TEST(is_defined, input->kind != FV_VALUE_UNDEFINED)
TEST(is_undefined, input->kind == FV_VALUE_UNDEFINED)
TEST(is_none, input->kind == FV_VALUE_NONE)
TEST(is_boolean, input->kind == FV_VALUE_BOOL)
TEST(is_true, input->kind == FV_VALUE_BOOL && input->truth)
TEST(is_false, input->kind == FV_VALUE_BOOL && !input->truth)
TEST(is_integer, input->kind == FV_VALUE_INTEGER)
TEST(is_float, input->kind == FV_VALUE_REAL)
TEST(is_number, fv_value_is_number(input))
TEST(is_string, input->kind == FV_VALUE_STRING)
TEST(is_mapping, input->kind == FV_VALUE_DICT)
TEST(is_callable, input->kind >= FV_VALUE_MACRO && input->kind <= FV_VALUE_METHOD)
TEST(is_iterable, input->kind == FV_VALUE_UNDEFINED || input->kind == FV_VALUE_STRING || input->kind == FV_VALUE_LIST ||
                      input->kind == FV_VALUE_DICT)
TEST(is_equal, fv_value_equal(run->room, input, argument))
TEST(is_different, !fv_value_equal(run->room, input, argument))
TEST(is_less, fv_compare(run, '<', input, argument))
TEST(is_at_most, fv_compare(run, FV_SIGN('<', '='), input, argument))
TEST(is_more, fv_compare(run, '>', input, argument))
TEST(is_at_least, fv_compare(run, FV_SIGN('>', '='), input, argument))
TEST(is_in, fv_compare(run, 'i', input, argument))
TEST(is_odd, fv_want_integer(run, input, "what is odd or not") % 2 != 0)
TEST(is_even, fv_want_integer(run, input, "what is even or not") % 2 == 0)
#undef TEST

static bool is_same(fv_run *run, const fv_value *input, const fv_value *argument) {
    if (input->kind != argument->kind) return false;
    if (input->kind == FV_VALUE_LIST || input->kind == FV_VALUE_DICT) return input->thing == argument->thing;
    return fv_value_equal(run->room, input, argument);
}

static bool is_divisible(fv_run *run, const fv_value *input, const fv_value *argument) {
    const fv_value rest = fv_operate(run, '%', input, argument);
    return fv_value_is_number(&rest) && !fv_value_truth(&rest);
}

static bool is_cased(fv_run *run, const fv_value *input, const char *how) {
    fv_value text = fv_value_to_string(run->room, input);
    fv_value other = fv_string_cased(run, &text, strcmp(how, "upper") == 0 ? "lower" : "upper");
    fv_value same = fv_string_cased(run, &text, how);
    return fv_value_equal(run->room, &text, &same) && !fv_value_equal(run->room, &text, &other);
}

static bool is_upper(fv_run *run, const fv_value *input, const fv_value *argument) {
    (void)argument;
    return is_cased(run, input, "upper");
}

static bool is_lower(fv_run *run, const fv_value *input, const fv_value *argument) {
    (void)argument;
    return is_cased(run, input, "lower");
}

static const struct {
    const char *name;
    test_fn *test;
    bool takes; /* an argument */
} tests[] = {
    {"defined", is_defined, false},
    {"undefined", is_undefined, false},
    {"none", is_none, false},
    {"boolean", is_boolean, false},
    {"true", is_true, false},
    {"false", is_false, false},
    {"integer", is_integer, false},
    {"float", is_float, false},
    {"number", is_number, false},
    {"string", is_string, false},
    {"mapping", is_mapping, false},
    {"callable", is_callable, false},
    {"iterable", is_iterable, false},
    {"sequence", is_iterable, false},
    {"odd", is_odd, false},
    {"even", is_even, false},
    {"upper", is_upper, false},
    {"lower", is_lower, false},
    {"eq", is_equal, true},
    {"==", is_equal, true},
    {"equalto", is_equal, true},
    {"ne", is_different, true},
    {"!=", is_different, true},
    {"lt", is_less, true},
    {"<", is_less, true},
    {"lessthan", is_less, true},
    {"le", is_at_most, true},
    {"<=", is_at_most, true},
    {"gt", is_more, true},
    {">", is_more, true},
    {"greaterthan", is_more, true},
    {"ge", is_at_least, true},
    {">=", is_at_least, true},
    {"in", is_in, true},
    {"sameas", is_same, true},
    {"divisibleby", is_divisible, true},
};

bool fv_call_test(fv_run *run, const char *name, const fv_value *input, const fv_arguments *arguments) {
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name) != 0) continue;
        if (arguments->count != (tests[i].takes ? 1u : 0u))
            fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "the test %s takes %s argument", name,
                          tests[i].takes ? "one" : "no");
        return tests[i].test(run, input, tests[i].takes ? arguments->items : NULL);
    }
    fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "the test %.80s is not in this version", name);
}
