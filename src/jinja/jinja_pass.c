/* jinja_pass.c - filters by their names, and those that are told another filter or a test. */
#include "jinja/jinja_run.h"
#include <string.h>

/* Hands its arguments on. */
typedef fv_value passing_filter(fv_run *run, const fv_value *input, const fv_arguments *arguments);

/* Of what is nothing these filters make nothing, none included. */
static fv_value passed_items(fv_run *run, const fv_value *input) {
    const fv_value nothing = fv_value_undefined(NULL);
    return fv_value_items(run->room, fv_value_truth(input) ? input : &nothing);
}

/* The name that stands at `place`, as a zero-terminated text; NULL: none. */
static const char *name_at(fv_run *run, const fv_arguments *arguments, size_t place) {
    if (place >= arguments->placed) return NULL;
    fv_value text = fv_want_string(run, &arguments->items[place], "the name of a filter or a test");
    char *name = fv_jinja_take(run->room, text.length + 1, 1);
    if (text.length > 0) memcpy(name, text.bytes, text.length);
    return name;
}

static fv_arguments rest_of(const fv_arguments *arguments, size_t first) {
    if (first > arguments->placed) first = arguments->placed;
    return (fv_arguments){.items = arguments->items + first,
                          .names = arguments->names + first,
                          .count = arguments->count - first,
                          .placed = arguments->placed - first};
}

static fv_value keep(fv_run *run, const fv_value *input, const fv_arguments *arguments, bool by_attribute,
                     bool wanted) {
    fv_value items = passed_items(run, input), made = fv_value_list(run->room);
    const char *test = name_at(run, arguments, by_attribute ? 1 : 0);
    fv_arguments rest = rest_of(arguments, by_attribute ? 2 : 1);
    if (by_attribute && arguments->placed == 0)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "selectattr and rejectattr take the name of an attribute");
    for (size_t i = 0; i < items.list->count; i++) {
        fv_value value = items.list->items[i];
        if (by_attribute) value = fv_attribute_of(run, value, &arguments->items[0]);
        bool is = test ? fv_call_test(run, test, &value, &rest) : fv_value_truth(&value);
        if (is == wanted) fv_list_add(run->room, made.list, items.list->items[i]);
    }
    return made;
}

static fv_value filter_select(fv_run *run, const fv_value *input, const fv_arguments *arguments) {
    return keep(run, input, arguments, false, true);
}
static fv_value filter_reject(fv_run *run, const fv_value *input, const fv_arguments *arguments) {
    return keep(run, input, arguments, false, false);
}
static fv_value filter_selectattr(fv_run *run, const fv_value *input, const fv_arguments *arguments) {
    return keep(run, input, arguments, true, true);
}
static fv_value filter_rejectattr(fv_run *run, const fv_value *input, const fv_arguments *arguments) {
    return keep(run, input, arguments, true, false);
}

static fv_value filter_map(fv_run *run, const fv_value *input, const fv_arguments *arguments) {
    fv_value items = passed_items(run, input), made = fv_value_list(run->room);
    const char *filter = name_at(run, arguments, 0);
    fv_arguments rest = rest_of(arguments, 1);
    const fv_value *p[FV_PARAMETERS] = {NULL};
    if (!filter) fv_arguments_sort(run, arguments, "map", "attribute default", p);
    if (!filter && !p[0]) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "map takes a filter or an attribute");
    for (size_t i = 0; i < items.list->count; i++) {
        fv_value value = items.list->items[i];
        if (filter)
            value = fv_call_filter(run, filter, &value, &rest);
        else
            value = fv_attribute_of(run, value, p[0]);
        if (!filter && p[1] && value.kind == FV_VALUE_UNDEFINED) value = *p[1];
        fv_list_add(run->room, made.list, value);
    }
    return made;
}

/* A text's "%" with arguments. */
static fv_value filter_format(fv_run *run, const fv_value *input, const fv_arguments *arguments) {
    const fv_value form = fv_value_to_string(run->room, input);
    fv_value values = fv_value_list(run->room);
    values.is_tuple = true;
    for (size_t i = 0; i < arguments->placed; i++) fv_list_add(run->room, values.list, arguments->items[i]);
    return fv_string_percent(run, &form, &values);
}

static passing_filter *find_passing(const char *name) {
    static const struct {
        const char *name;
        passing_filter *call;
    } passing[] = {{"map", filter_map},
                   {"select", filter_select},
                   {"reject", filter_reject},
                   {"selectattr", filter_selectattr},
                   {"rejectattr", filter_rejectattr},
                   {"format", filter_format}};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (strcmp(passing[i].name, name) == 0) return passing[i].call;
    return NULL;
}

fv_value fv_call_filter(fv_run *run, const char *name, const fv_value *input, const fv_arguments *arguments) {
    const fv_value *p[FV_PARAMETERS];
    passing_filter *passing = find_passing(name);
    if (passing) return passing(run, input, arguments);
    const fv_callable *found = fv_callable_find(&fv_text_filters, name);
    if (!found) found = fv_callable_find(&fv_list_filters, name);
    if (!found) fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "the filter %.80s is not in this version", name);
    fv_arguments_sort(run, arguments, name, found->parameters, p);
    return found->call(run, input, p);
}
