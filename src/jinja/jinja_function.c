/* jinja_function.c - functions of the interpreter's own. */
#include "jinja/jinja_run.h"
#include <string.h>
#include <time.h>

static fv_value call_raise(fv_run *run, const fv_value *self, const fv_value *const *p) {
    (void)self;
    fv_value text = p[0] ? fv_value_to_string(run->room, p[0]) : fv_value_text("");
    run->room->line = 0;
    fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "the chat template says: %.*s",
                  (int)(text.length < 400 ? text.length : 400), text.bytes);
}

static fv_value call_strftime(fv_run *run, const fv_value *self, const fv_value *const *p) {
    enum { FORM_BYTES = 128, DATE_BYTES = 512 };
    (void)self;
    fv_value form = fv_want_string(run, p[0], "the form of a date");
    char zero[FORM_BYTES], *text = fv_jinja_take(run->room, DATE_BYTES, 1);
    time_t now = (time_t)run->now_s;
    struct tm parts;
    if (form.length >= FORM_BYTES || !localtime_r(&now, &parts))
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "the form of a date is too long");
    if (form.length > 0) memcpy(zero, form.bytes, form.length);
    zero[form.length] = 0;
    size_t length = strftime(text, DATE_BYTES, zero, &parts);
    return fv_value_string(text, length, (fv_origin)(form.origin == FV_BY_TEMPLATE ? FV_BY_TEMPLATE : FV_BY_USER));
}

static fv_value call_range(fv_run *run, const fv_value *self, const fv_value *const *p) {
    enum { MOST = 100000 }; /* jinja2's sandbox has the same */
    (void)self;
    int64_t first = fv_want_integer(run, p[0], "range()"), end = p[1] ? fv_want_integer(run, p[1], "range()") : first;
    int64_t step = p[2] ? fv_want_integer(run, p[2], "range()") : 1, count = 0;
    if (!p[1]) first = 0;
    if (step == 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "range() with a step of zero");
    fv_value list = fv_value_list(run->room);
    for (int64_t at = first; step > 0 ? at < end : at > end; at += step) {
        if (++count > MOST) fv_jinja_fail(run->room, FV_ERROR_FULL, "range() of more than %d", MOST);
        fv_list_add(run->room, list.list, fv_value_integer(at));
        if (step > 0 ? at > INT64_MAX - step : at < INT64_MIN - step) break;
    }
    return list;
}

/* dict() and namespace(): what another one has, then what is named. */
static fv_value call_dict(fv_run *run, const fv_arguments *arguments) {
    fv_value made = fv_value_dict(run->room);
    for (size_t i = 0; i < arguments->placed; i++) {
        const fv_value *from = &arguments->items[i];
        if (i > 0 || from->kind != FV_VALUE_DICT)
            fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "a dict of a %s is not in this version",
                          fv_value_type(from));
        for (size_t k = 0; k < from->dict->count; k++)
            fv_dict_add(run->room, made.dict, from->dict->pairs[k].key, from->dict->pairs[k].value);
    }
    for (size_t i = arguments->placed; i < arguments->count; i++)
        fv_dict_set(run->room, made.dict, fv_value_text(arguments->names[i]), arguments->items[i]);
    return made;
}

static const fv_callable functions[] = {
    {"raise_exception", "message", call_raise},
    {"strftime_now", "format", call_strftime},
    {"range", "start stop step", call_range},
};
static const fv_callable_table function_table = {functions, sizeof functions / sizeof *functions};

bool fv_function_known(const char *name) {
    return fv_word_place("namespace dict cycler joiner lipsum", name) >= 0 || fv_callable_find(&function_table, name);
}

fv_value fv_call_function(fv_run *run, const char *name, const fv_arguments *arguments) {
    const fv_value *p[FV_PARAMETERS];
    const fv_callable *found = fv_callable_find(&function_table, name);
    if (found) {
        fv_arguments_sort(run, arguments, name, found->parameters, p);
        return found->call(run, NULL, p);
    }
    if (fv_word_place("namespace dict", name) < 0)
        fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "%s() is not in this version", name);
    fv_value made = call_dict(run, arguments);
    if (name[0] == 'n') made.kind = FV_VALUE_SPACE;
    return made;
}
