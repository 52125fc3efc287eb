/* jinja_string.c - what can be done with a text: each byte of what comes out keeps its author. */
#include "jinja/jinja_run.h"
#include <stdio.h>
#include <string.h>

/* ---- finding ---- */

size_t fv_string_find(const fv_value *in, const fv_value *wanted, size_t from) {
    if (wanted->length == 0) return from <= in->length ? from : SIZE_MAX;
    while (from < in->length && wanted->length <= in->length - from) {
        const char *next = memchr(in->bytes + from, wanted->bytes[0], in->length - wanted->length + 1 - from);
        if (!next) return SIZE_MAX;
        from = (size_t)(next - in->bytes);
        if (memcmp(next, wanted->bytes, wanted->length) == 0) return from;
        from++;
    }
    return SIZE_MAX;
}

static size_t find_last(const fv_value *in, const fv_value *wanted, size_t end) {
    for (size_t at = end >= wanted->length ? end - wanted->length + 1 : 0; at > 0; at--)
        if (wanted->length == 0 || memcmp(in->bytes + at - 1, wanted->bytes, wanted->length) == 0) return at - 1;
    return SIZE_MAX;
}

/* Searches take time in the length of both. */
static void work(fv_run *run, const fv_value *in) { fv_jinja_work(run->room, 1 + in->length / 64); }

/* ---- trimming ---- */

static bool is_among(const fv_value *characters, const char *bytes, size_t length) {
    const fv_value one = fv_value_string(bytes, length, FV_BY_TEMPLATE);
    return fv_string_find(characters, &one, 0) != SIZE_MAX;
}

fv_value fv_string_trim(const fv_value *string, const fv_value *characters, bool left, bool right) {
    size_t begin = 0, end = string->length, length;
    uint32_t code;
    if (!characters || characters->kind != FV_VALUE_STRING) {
        begin = left ? fv_space_begin(string) : 0;
        end = right ? fv_space_end(string) : string->length;
        return fv_value_part(string, begin, end < begin ? begin : end);
    }
    for (; left && begin < end; begin += length) {
        length = fv_string_read(string, begin, &code);
        if (!is_among(characters, string->bytes + begin, length)) break;
    }
    while (right && end > begin) {
        size_t place = fv_string_last(string, begin, end);
        if (!is_among(characters, string->bytes + place, end - place)) break;
        end = place;
    }
    return fv_value_part(string, begin, end);
}

static fv_value method_strip(fv_run *run, const fv_value *self, const fv_value *const *p) {
    work(run, self);
    return fv_string_trim(self, p[0], true, true);
}
static fv_value method_lstrip(fv_run *run, const fv_value *self, const fv_value *const *p) {
    work(run, self);
    return fv_string_trim(self, p[0], true, false);
}
static fv_value method_rstrip(fv_run *run, const fv_value *self, const fv_value *const *p) {
    work(run, self);
    return fv_string_trim(self, p[0], false, true);
}

/* ---- splitting ---- */

/* At white space; `most` parts are cut off, -1: all. */
static void split_space(fv_run *run, fv_list *list, const fv_value *text, int64_t most) {
    fv_value rest = fv_string_trim(text, NULL, true, false);
    while (rest.length > 0) {
        size_t end = 0, length = 0;
        uint32_t code;
        for (; end < rest.length; end += length) {
            length = fv_string_read(&rest, end, &code);
            if (fv_code_is_space(code)) break;
        }
        if (most >= 0 && (int64_t)list->count >= most) end = rest.length;
        fv_list_add(run->room, list, fv_value_part(&rest, 0, end));
        rest = fv_value_part(&rest, end, rest.length);
        rest = fv_string_trim(&rest, NULL, true, false);
    }
}

static fv_value method_split(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value list = fv_value_list(run->room);
    int64_t most = p[1] ? fv_want_integer(run, p[1], "maxsplit") : -1;
    work(run, self);
    if (!p[0] || p[0]->kind == FV_VALUE_NONE) {
        split_space(run, list.list, self, most);
        return list;
    }
    fv_value by = fv_want_string(run, p[0], "the separator of split()");
    if (by.length == 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "split() by nothing");
    size_t from = 0, at = 0;
    while ((most < 0 || (int64_t)list.list->count < most) && (at = fv_string_find(self, &by, from)) != SIZE_MAX) {
        fv_list_add(run->room, list.list, fv_value_part(self, from, at));
        from = at + by.length;
    }
    fv_list_add(run->room, list.list, fv_value_part(self, from, self->length));
    return list;
}

static fv_value method_rsplit(fv_run *run, const fv_value *self, const fv_value *const *p) {
    int64_t most = p[1] ? fv_want_integer(run, p[1], "maxsplit") : -1;
    if (most < 0) return method_split(run, self, p);
    fv_value by = fv_want_string(run, p[0], "the separator of rsplit()"), turned = fv_value_list(run->room);
    if (by.length == 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "rsplit() by nothing");
    size_t end = self->length, at = 0;
    work(run, self);
    while ((int64_t)turned.list->count < most && (at = find_last(self, &by, end)) != SIZE_MAX) {
        fv_list_add(run->room, turned.list, fv_value_part(self, at + by.length, end));
        end = at;
    }
    fv_value list = fv_value_list(run->room);
    fv_list_add(run->room, list.list, fv_value_part(self, 0, end));
    for (size_t i = turned.list->count; i > 0; i--) fv_list_add(run->room, list.list, turned.list->items[i - 1]);
    return list;
}

static fv_value method_splitlines(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value list = fv_value_list(run->room);
    bool keeps = fv_flag(p[0], false);
    size_t begin = 0, at = 0, length;
    uint32_t code;
    while (at < self->length) {
        length = fv_string_read(self, at, &code);
        bool ends = (code >= 10 && code <= 13) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 ||
                    code == 0x2029;
        size_t end = at;
        at += length;
        if (!ends) continue;
        if (code == '\r' && at < self->length && self->bytes[at] == '\n') at++;
        fv_list_add(run->room, list.list, fv_value_part(self, begin, keeps ? at : end));
        begin = at;
    }
    if (begin < self->length) fv_list_add(run->room, list.list, fv_value_part(self, begin, self->length));
    return list;
}

static fv_value partition(fv_run *run, const fv_value *self, const fv_value *by, bool last) {
    fv_value list = fv_value_list(run->room), sign = fv_want_string(run, by, "the separator of partition()");
    if (sign.length == 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "partition() by nothing");
    size_t at = last ? find_last(self, &sign, self->length) : fv_string_find(self, &sign, 0);
    bool found = at != SIZE_MAX;
    work(run, self);
    size_t head = found ? at : last ? 0 : self->length, tail = found ? at + sign.length : head;
    fv_list_add(run->room, list.list, fv_value_part(self, 0, head));
    fv_list_add(run->room, list.list, fv_value_part(self, head, tail));
    fv_list_add(run->room, list.list, fv_value_part(self, tail, self->length));
    list.is_tuple = true;
    return list;
}

static fv_value method_partition(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return partition(run, self, p[0], false);
}
static fv_value method_rpartition(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return partition(run, self, p[0], true);
}

/* ---- replacing ---- */

fv_value fv_string_replace(fv_run *run, const fv_value *in, const fv_value *old, const fv_value *made, int64_t most) {
    fv_builder builder = {.room = run->room};
    size_t from = 0, at = 0, code_length;
    uint32_t code;
    work(run, in);
    for (; most != 0 && (at = fv_string_find(in, old, from)) != SIZE_MAX; most--) {
        fv_value before = fv_value_part(in, from, at);
        if (old->length == 0 && at == in->length) break;
        code_length = old->length > 0 ? 0 : fv_string_read(in, at, &code);
        fv_builder_string(&builder, &before);
        fv_builder_string(&builder, made);
        fv_value kept = fv_value_part(in, at, at + code_length); /* between all characters, where nothing is replaced */
        fv_builder_string(&builder, &kept);
        from = at + old->length + code_length;
    }
    fv_value rest = fv_value_part(in, from, in->length);
    fv_builder_string(&builder, &rest);
    if (old->length == 0 && most != 0) fv_builder_string(&builder, made);
    return fv_builder_value(&builder);
}

static fv_value method_replace(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value old = fv_want_string(run, p[0], "what replace() replaces");
    fv_value made = fv_want_string(run, p[1], "what replace() puts there");
    return fv_string_replace(run, self, &old, &made, p[2] ? fv_want_integer(run, p[2], "count") : -1);
}

/* ---- case ---- */

static bool has_case(uint32_t code) { return fv_code_cased(code, true) != code || fv_code_cased(code, false) != code; }

fv_value fv_string_cased(fv_run *run, const fv_value *string, const char *how) {
    fv_builder builder = {.room = run->room};
    bool begins = true, upper = strcmp(how, "upper") == 0, title = strcmp(how, "title") == 0;
    uint32_t code;
    work(run, string);
    for (size_t i = 0, length; i < string->length; i += length) {
        length = fv_string_read(string, i, &code);
        bool up = upper || (begins && (title || strcmp(how, "capitalize") == 0));
        if (strcmp(how, "swapcase") == 0) up = fv_code_cased(code, false) == code;
        fv_builder_code(&builder, fv_code_cased(code, up), fv_string_origin(string, i));
        begins = title ? !has_case(code) : false;
    }
    return fv_builder_value(&builder);
}

#define CASED(NAME, HOW) \
    static fv_value NAME(fv_run *run, const fv_value *self, const fv_value *const *p) { \
        (void)p; \
        return fv_string_cased(run, self, HOW); \
    }
CASED(method_upper, "upper")
CASED(method_lower, "lower")
CASED(method_title, "title")
CASED(method_capitalize, "capitalize")
CASED(method_swapcase, "swapcase")
#undef CASED

/* ---- putting together ---- */

static fv_value method_join(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_builder builder = {.room = run->room};
    if (!p[0]) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "join() of nothing");
    fv_value items = fv_value_items(run->room, p[0]);
    for (size_t i = 0; i < items.list->count; i++) {
        fv_value one = fv_want_string(run, &items.list->items[i], "what join() puts together");
        if (i > 0) fv_builder_string(&builder, self);
        fv_builder_string(&builder, &one);
    }
    return fv_builder_value(&builder);
}

/* One conversion of "%": its letter, and the value. */
static void put_percent(fv_run *run, fv_builder *builder, char letter, const fv_value *value) {
    if (letter == 's') {
        fv_builder_value_text(builder, value);
    } else if (letter == 'r') {
        fv_builder_repr(builder, value);
    } else if (letter == 'd' && fv_value_is_number(value)) {
        fv_value whole =
            fv_value_integer(value->kind == FV_VALUE_REAL ? (int64_t)value->real : fv_value_as_integer(value));
        fv_builder_repr(builder, &whole);
    } else {
        fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "%%%c of a %s is not in this version",
                      letter >= ' ' ? letter : '?', fv_value_type(value));
    }
}

fv_value fv_string_percent(fv_run *run, const fv_value *form, const fv_value *values) {
    fv_builder builder = {.room = run->room};
    bool several = values->kind == FV_VALUE_LIST && values->is_tuple;
    size_t used = 0, count = several ? values->list->count : 1;
    for (size_t i = 0, end; i < form->length; i = end) {
        for (end = i; end < form->length && form->bytes[end] != '%'; end++) {
        }
        fv_value text = fv_value_part(form, i, end);
        fv_builder_string(&builder, &text);
        if (end == form->length) break;
        char letter = end + 1 < form->length ? form->bytes[end + 1] : 0;
        end += letter ? 2 : 1;
        if (letter == '%') {
            fv_builder_put(&builder, "%");
            continue;
        }
        if (used == count) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "the text has more %% than values");
        put_percent(run, &builder, letter, several ? &values->list->items[used] : values);
        used++;
    }
    if (used < count) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "the text has fewer %% than values");
    return fv_builder_value(&builder);
}

static const fv_callable methods[] = {
    {"strip", "chars", method_strip},
    {"lstrip", "chars", method_lstrip},
    {"rstrip", "chars", method_rstrip},
    {"split", "sep maxsplit", method_split},
    {"rsplit", "sep maxsplit", method_rsplit},
    {"splitlines", "keepends", method_splitlines},
    {"partition", "sep", method_partition},
    {"rpartition", "sep", method_rpartition},
    {"replace", "old new count", method_replace},
    {"upper", "", method_upper},
    {"lower", "", method_lower},
    {"title", "", method_title},
    {"capitalize", "", method_capitalize},
    {"swapcase", "", method_swapcase},
    {"join", "iterable", method_join},
};
const fv_callable_table fv_string_methods = {methods, sizeof methods / sizeof *methods};
