/* jinja_filter.c - filters of one value: texts, numbers and what stands in for what is not there. */
#include "jinja/jinja_run.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 64 };

/* ---- texts ---- */

static fv_value filter_string(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return fv_value_to_string(run->room, input);
}

static fv_value filter_safe(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value text = filter_string(run, input, p);
    text.is_safe = true;
    return text;
}

static fv_value filter_escape(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return fv_escape(run, input);
}

static fv_value filter_trim(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value text = fv_value_to_string(run->room, input);
    fv_jinja_work(run->room, 1 + text.length / 64);
    return fv_string_trim(&text, p[0], true, true);
}

static fv_value cased(fv_run *run, const fv_value *input, const char *how) {
    fv_value text = fv_value_to_string(run->room, input);
    return fv_string_cased(run, &text, how);
}
static fv_value filter_upper(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return cased(run, input, "upper");
}
static fv_value filter_lower(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return cased(run, input, "lower");
}
static fv_value filter_capitalize(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return cased(run, input, "capitalize");
}

/* Words begin after white space and opening signs, not after every sign as str.title() has it. */
static fv_value filter_title(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value text = fv_value_to_string(run->room, input), part;
    fv_builder builder = {.room = run->room};
    uint32_t code;
    (void)p;
    for (size_t i = 0, end, length; i < text.length; i = end) {
        for (end = i; end < text.length; end += length) {
            length = fv_string_read(&text, end, &code);
            bool between = fv_code_is_space(code) || (code < 0x80 && code > 0 && strchr("-({[<", (int)code));
            if (between && end > i) break;
            if (!between) continue;
            end += length;
            break;
        }
        part = fv_value_part(&text, i, end);
        part = fv_string_cased(run, &part, "capitalize");
        fv_builder_string(&builder, &part);
    }
    return fv_builder_value(&builder);
}

static fv_value filter_replace(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value text = fv_value_to_string(run->room, input);
    if (!p[0] || !p[1]) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "replace takes what it replaces, and by what");
    fv_value old = fv_value_to_string(run->room, p[0]), made = fv_value_to_string(run->room, p[1]);
    bool limited = p[2] && p[2]->kind != FV_VALUE_NONE;
    return fv_string_replace(run, &text, &old, &made, limited ? fv_want_integer(run, p[2], "count") : -1);
}

static fv_value spaces(fv_run *run, const fv_value *width) {
    const fv_value blank = fv_value_text(" "), four = fv_value_integer(4);
    if (width && width->kind == FV_VALUE_STRING) return *width;
    return fv_operate(run, '*', &blank, width ? width : &four);
}

static fv_value filter_indent(fv_run *run, const fv_value *input, const fv_value *const *p) {
    const fv_value text = fv_value_to_string(run->room, input), by = spaces(run, p[0]);
    bool first = fv_flag(p[1], false), blank = fv_flag(p[2], false);
    const fv_value empty = fv_value_text("");
    const fv_arguments none = {0};
    fv_value lines = fv_call_method(run, &text, "splitlines", &none);
    if (text.length == 0 || text.bytes[text.length - 1] == '\n') fv_list_add(run->room, lines.list, empty);
    fv_builder builder = {.room = run->room};
    for (size_t i = 0; i < lines.list->count; i++) {
        const fv_value *line = &lines.list->items[i];
        if (i > 0) fv_builder_put(&builder, "\n");
        if (i == 0 ? first : blank || line->length > 0) fv_builder_string(&builder, &by);
        fv_builder_string(&builder, line);
    }
    return fv_builder_value(&builder);
}

static fv_value filter_wordcount(fv_run *run, const fv_value *input, const fv_value *const *p) {
    const fv_value text = fv_value_to_string(run->room, input);
    const fv_arguments none = {0};
    (void)p;
    fv_value words = fv_call_method(run, &text, "split", &none);
    return fv_value_integer((int64_t)words.list->count);
}

/* ---- what may not be there ---- */

static fv_value filter_default(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)run;
    bool missing = input->kind == FV_VALUE_UNDEFINED || (fv_flag(p[1], false) && !fv_value_truth(input));
    return !missing ? *input : p[0] ? *p[0] : fv_value_text("");
}

/* ---- numbers ---- */

/* The text of a number without white space, zero-terminated; false: it is too long. */
static bool number_text(const fv_value *input, char text[NUMBER_BYTES]) {
    fv_value bare = fv_string_trim(input, NULL, true, true);
    if (bare.length == 0 || bare.length >= NUMBER_BYTES) return false;
    memcpy(text, bare.bytes, bare.length);
    text[bare.length] = 0;
    return true;
}

static bool read_real(const fv_value *input, double *real) {
    char text[NUMBER_BYTES], *end = NULL;
    if (input->kind != FV_VALUE_STRING || !number_text(input, text) || strpbrk(text, "xXpP")) return false;
    *real = strtod(text, &end);
    return *end == 0;
}

static fv_value filter_int(fv_run *run, const fv_value *input, const fv_value *const *p) {
    char text[NUMBER_BYTES], *end = NULL;
    int64_t base = p[1] ? fv_want_integer(run, p[1], "base") : 10;
    double real = NAN;
    if (base != 0 && (base < 2 || base > 36)) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "int to that base");
    if (input->kind == FV_VALUE_STRING && number_text(input, text)) {
        long long whole = strtoll(text, &end, (int)base);
        if (*end == 0 && whole < INT64_MAX && whole > INT64_MIN) return fv_value_integer(whole);
    }
    if (input->kind == FV_VALUE_REAL) real = input->real;
    if (input->kind != FV_VALUE_REAL && fv_value_is_number(input)) return fv_value_integer(fv_value_as_integer(input));
    if (input->kind == FV_VALUE_STRING) (void)read_real(input, &real);
    if (real > -9e18 && real < 9e18) return fv_value_integer((int64_t)real);
    return p[0] ? *p[0] : fv_value_integer(0);
}

static fv_value filter_float(fv_run *run, const fv_value *input, const fv_value *const *p) {
    double real = 0;
    (void)run;
    if (fv_value_is_number(input)) return fv_value_real(fv_value_as_real(input));
    if (read_real(input, &real)) return fv_value_real(real);
    return p[0] ? *p[0] : fv_value_real(0);
}

static void want_number(fv_run *run, const fv_value *input, const char *what) {
    if (!fv_value_is_number(input))
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%s of a %s", what, fv_value_type(input));
}

static fv_value filter_abs(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    want_number(run, input, "abs");
    bool negative = fv_value_as_real(input) < 0;
    return negative ? fv_negate(run, '-', input) : *input;
}

static fv_value filter_round(fv_run *run, const fv_value *input, const fv_value *const *p) {
    char text[400];
    int64_t precision = p[0] ? fv_want_integer(run, p[0], "precision") : 0;
    bool up = p[1] && fv_value_is(p[1], "ceil"), down = p[1] && fv_value_is(p[1], "floor");
    want_number(run, input, "round");
    if (precision < 0 || precision > 15) fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "round to that precision");
    if (input->kind != FV_VALUE_REAL && !up && !down) return fv_value_integer(fv_value_as_integer(input));
    double real = fv_value_as_real(input), scale = pow(10, (double)precision);
    if (up) return fv_value_real(ceil(real * scale) / scale);
    if (down) return fv_value_real(floor(real * scale) / scale);
    snprintf(text, sizeof text, "%.*f", (int)precision, real);
    return fv_value_real(strtod(text, NULL));
}

static fv_value filter_from_json(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return fv_json_read(run, input);
}

static const fv_callable filters[] = {
    {"string", "", filter_string},
    {"safe", "", filter_safe},
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"trim", "chars", filter_trim},
    {"upper", "", filter_upper},
    {"lower", "", filter_lower},
    {"title", "", filter_title},
    {"capitalize", "", filter_capitalize},
    {"replace", "old new count", filter_replace},
    {"indent", "width first blank", filter_indent},
    {"wordcount", "", filter_wordcount},
    {"default", "default_value boolean", filter_default},
    {"d", "default_value boolean", filter_default},
    {"int", "default base", filter_int},
    {"float", "default", filter_float},
    {"abs", "", filter_abs},
    {"round", "precision method", filter_round},
    {"tojson", "ensure_ascii indent separators sort_keys", fv_json_text},
    {"from_json", "", filter_from_json},
};
const fv_callable_table fv_text_filters = {filters, sizeof filters / sizeof *filters};
