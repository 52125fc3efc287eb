/* jinja_member.c - what values have: members, items, methods. */
#include "jinja/jinja_run.h"
#include <string.h>

_Noreturn void fv_fail_undefined(fv_run *run, const fv_value *value) {
    fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "'%.80s' is undefined", value->name ? value->name : "a value");
}

/* ---- methods ---- */

static const fv_callable *find_method(const fv_value *self, const char *name) {
    const fv_callable *found = NULL;
    if (self->kind == FV_VALUE_DICT) return fv_callable_find(&fv_dict_methods, name);
    if (self->kind == FV_VALUE_LIST) return fv_callable_find(&fv_list_methods, name);
    if (self->kind == FV_VALUE_STRING) found = fv_callable_find(&fv_string_methods, name);
    return found || self->kind != FV_VALUE_STRING ? found : fv_callable_find(&fv_string_search_methods, name);
}

bool fv_method_known(const fv_value *self, const char *name) {
    return find_method(self, name) || (self->kind == FV_VALUE_STRING && strcmp(name, "format") == 0);
}

static fv_value call_loop(fv_run *run, const fv_value *self, const char *name, const fv_arguments *arguments) {
    fv_loop *loop = (fv_loop *)(uintptr_t)self->thing;
    if (arguments->placed < arguments->count || arguments->count == 0)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "loop.%s() takes values", name);
    if (strcmp(name, "cycle") == 0) return arguments->items[loop->index % arguments->count];
    fv_value now = fv_value_list(run->room);
    for (size_t i = 0; i < arguments->count; i++) fv_list_add(run->room, now.list, arguments->items[i]);
    bool same = loop->last.kind == FV_VALUE_LIST && fv_value_equal(run->room, &loop->last, &now);
    loop->last = now;
    return fv_value_bool(!same);
}

/* str.format() with {} and {0}, without conversions. */
static fv_value call_format(fv_run *run, const fv_value *self, const fv_arguments *arguments) {
    fv_builder text = {.room = run->room};
    size_t next = 0;
    for (size_t i = 0, end; i < self->length; i = end) {
        char c = self->bytes[i], after = i + 1 < self->length ? self->bytes[i + 1] : 0;
        fv_value part;
        end = i + 1;
        if (c != '{' && c != '}') {
            while (end < self->length && self->bytes[end] != '{' && self->bytes[end] != '}') end++;
            part = fv_value_part(self, i, end);
        } else if (c == after) {
            part = fv_value_part(self, i, end++);
        } else {
            size_t place = next++;
            if (after >= '0' && after <= '9') place = (size_t)(after - '0'), end++;
            if (c == '}' || end >= self->length || self->bytes[end] != '}')
                fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "format() with more than {} is not in this version");
            end++;
            if (place >= arguments->placed) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "format() lacks a value");
            part = arguments->items[place];
        }
        fv_builder_value_text(&text, &part);
    }
    return fv_builder_value(&text);
}

fv_value fv_call_method(fv_run *run, const fv_value *self, const char *name, const fv_arguments *arguments) {
    const fv_value *p[FV_PARAMETERS];
    if (self->kind == FV_VALUE_LOOP) return call_loop(run, self, name, arguments);
    const fv_callable *found = find_method(self, name);
    if (!found) return call_format(run, self, arguments);
    fv_arguments_sort(run, arguments, name, found->parameters, p);
    return found->call(run, self, p);
}

/* ---- members ---- */

static fv_value bound_method(fv_run *run, const fv_value *self, const char *name) {
    fv_value *copy = fv_jinja_take(run->room, 1, sizeof *copy);
    *copy = *self;
    return (fv_value){.kind = FV_VALUE_METHOD, .name = name, .self = copy};
}

static fv_value loop_attribute(fv_run *run, const fv_value *value, const char *name) {
    const fv_loop *loop = value->thing;
    size_t count = loop->items->count, index = loop->index;
    const struct {
        const char *name;
        size_t number;
    } numbers[] = {{"index", index + 1},
                   {"index0", index},
                   {"revindex", count - index},
                   {"revindex0", count - index - 1},
                   {"length", count},
                   {"depth", 1},
                   {"depth0", 0}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0) return fv_value_integer((int64_t)numbers[i].number);
    if (strcmp(name, "first") == 0) return fv_value_bool(index == 0);
    if (strcmp(name, "last") == 0) return fv_value_bool(index + 1 == count);
    if (strcmp(name, "previtem") == 0 && index > 0) return loop->items->items[index - 1];
    if (strcmp(name, "nextitem") == 0 && index + 1 < count) return loop->items->items[index + 1];
    if (strcmp(name, "cycle") == 0 || strcmp(name, "changed") == 0) return bound_method(run, value, name);
    return fv_value_undefined(name);
}

fv_value fv_value_attribute(fv_run *run, const fv_value *of, const char *name) {
    const fv_value *found = NULL;
    if (of->kind == FV_VALUE_UNDEFINED) fv_fail_undefined(run, of);
    if (of->kind == FV_VALUE_LOOP) return loop_attribute(run, of, name);
    if (of->kind != FV_VALUE_SPACE && fv_method_known(of, name)) return bound_method(run, of, name);
    if (of->kind == FV_VALUE_DICT || of->kind == FV_VALUE_SPACE) {
        fv_jinja_work(run->room, of->dict->count / 16);
        found = fv_dict_get(of->dict, name);
    }
    return found ? *found : fv_value_undefined(name);
}

static fv_value list_item(const fv_value *of, const fv_value *key) {
    int64_t index = fv_value_as_integer(key), count = (int64_t)of->list->count;
    if (index < 0) index += count;
    return index >= 0 && index < count ? of->list->items[index] : fv_value_undefined("an item of a list");
}

static fv_value string_item(const fv_value *of, const fv_value *key) {
    int64_t index = fv_value_as_integer(key);
    uint32_t code;
    if (index < 0) index += (int64_t)fv_string_characters(of);
    size_t place = index < 0 ? of->length : fv_string_place(of, (size_t)index);
    if (place >= of->length) return fv_value_undefined("a character of a text");
    return fv_value_part(of, place, place + fv_string_read(of, place, &code));
}

static const char *name_of(fv_run *run, const fv_value *key) {
    char *name = fv_jinja_take(run->room, key->length + 1, 1);
    if (key->length > 0) memcpy(name, key->bytes, key->length);
    return name;
}

fv_value fv_value_item(fv_run *run, const fv_value *of, const fv_value *key) {
    bool number = key->kind == FV_VALUE_INTEGER || key->kind == FV_VALUE_BOOL;
    if (of->kind == FV_VALUE_UNDEFINED) fv_fail_undefined(run, of);
    if (key->kind == FV_VALUE_UNDEFINED && of->kind != FV_VALUE_DICT) return fv_value_undefined(key->name);
    if (of->kind == FV_VALUE_LIST && number) return list_item(of, key);
    if (of->kind == FV_VALUE_STRING && number) return string_item(of, key);
    if (of->kind == FV_VALUE_DICT) {
        const fv_value *found = fv_dict_find(run->room, of->dict, key);
        if (found) return *found;
    }
    if (key->kind == FV_VALUE_STRING) return fv_value_attribute(run, of, name_of(run, key));
    return fv_value_undefined("an item");
}
