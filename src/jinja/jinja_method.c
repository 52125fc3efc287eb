/* jinja_method.c - methods that look for something in a text, and those of lists and dicts. */
#include "jinja/jinja_run.h"
#include "text/unicode_class.h"
#include <string.h>

/* ---- looking into a text ---- */

static bool stands_at(const fv_value *self, const fv_value *wanted, bool at_end) {
    if (wanted->length > self->length) return false;
    size_t place = at_end ? self->length - wanted->length : 0;
    return wanted->length == 0 || memcmp(self->bytes + place, wanted->bytes, wanted->length) == 0;
}

/* A text, or any of a tuple of texts. */
static fv_value stands(fv_run *run, const fv_value *self, const fv_value *wanted, bool at_end) {
    bool several = wanted && wanted->kind == FV_VALUE_LIST && wanted->is_tuple;
    for (size_t i = 0; several && i < wanted->list->count; i++) {
        fv_value one = fv_want_string(run, &wanted->list->items[i], "what a text begins or ends with");
        if (stands_at(self, &one, at_end)) return fv_value_bool(true);
    }
    if (several) return fv_value_bool(false);
    fv_value one = fv_want_string(run, wanted, "what a text begins or ends with");
    return fv_value_bool(stands_at(self, &one, at_end));
}

static fv_value method_startswith(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return stands(run, self, p[0], false);
}
static fv_value method_endswith(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return stands(run, self, p[0], true);
}

/* The character where it is; -1: nowhere. */
static int64_t find_character(fv_run *run, const fv_value *self, const fv_value *wanted, bool last) {
    fv_value text = fv_want_string(run, wanted, "what is looked for");
    size_t found = SIZE_MAX, from = 0, at;
    while ((at = fv_string_find(self, &text, from)) != SIZE_MAX) {
        fv_jinja_work(run->room, 1 + (at - from) / 64);
        found = at;
        from = at + 1;
        if (!last) break;
    }
    if (found == SIZE_MAX) return -1;
    fv_value before = fv_value_part(self, 0, found);
    return (int64_t)fv_string_characters(&before);
}

static fv_value method_find(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return fv_value_integer(find_character(run, self, p[0], false));
}
static fv_value method_rfind(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return fv_value_integer(find_character(run, self, p[0], true));
}

static fv_value method_index(fv_run *run, const fv_value *self, const fv_value *const *p) {
    int64_t found = -1;
    if (self->kind == FV_VALUE_STRING) found = find_character(run, self, p[0], false);
    for (size_t i = 0; self->kind == FV_VALUE_LIST && p[0] && i < self->list->count && found < 0; i++)
        if (fv_value_equal(run->room, &self->list->items[i], p[0])) found = (int64_t)i;
    if (found < 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "index(): it is not there");
    return fv_value_integer(found);
}

static fv_value method_count(fv_run *run, const fv_value *self, const fv_value *const *p) {
    int64_t count = 0;
    if (self->kind == FV_VALUE_LIST) {
        for (size_t i = 0; p[0] && i < self->list->count; i++)
            count += fv_value_equal(run->room, &self->list->items[i], p[0]);
        return fv_value_integer(count);
    }
    fv_value wanted = fv_want_string(run, p[0], "what is counted");
    if (wanted.length == 0) return fv_value_integer((int64_t)fv_string_characters(self) + 1);
    for (size_t at = 0; (at = fv_string_find(self, &wanted, at)) != SIZE_MAX; at += wanted.length) {
        fv_jinja_work(run->room, 1);
        count++;
    }
    return fv_value_integer(count);
}

static fv_value method_removeprefix(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value wanted = fv_want_string(run, p[0], "what is removed");
    return fv_value_part(self, stands_at(self, &wanted, false) ? wanted.length : 0, self->length);
}
static fv_value method_removesuffix(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value wanted = fv_want_string(run, p[0], "what is removed");
    return fv_value_part(self, 0, self->length - (stands_at(self, &wanted, true) ? wanted.length : 0));
}

typedef bool character_fn(uint32_t code);
static bool is_digit(uint32_t code) { return code >= '0' && code <= '9'; }
static bool is_alpha(uint32_t code) { return fv_unicode_class_of(code) == FV_UNICODE_LETTER; }
static bool is_alnum(uint32_t code) {
    return (fv_unicode_class_of(code) & (FV_UNICODE_LETTER | FV_UNICODE_NUMBER)) != 0;
}

static fv_value all_are(const fv_value *self, character_fn *is) {
    uint32_t code;
    for (size_t i = 0; i < self->length; i += fv_string_read(self, i, &code)) {
        (void)fv_string_read(self, i, &code);
        if (!is(code)) return fv_value_bool(false);
    }
    return fv_value_bool(self->length > 0);
}

#define ALL_ARE(NAME, IS) \
    static fv_value NAME(fv_run *run, const fv_value *self, const fv_value *const *p) { \
        (void)run; \
        (void)p; \
        return all_are(self, IS); \
    }
ALL_ARE(method_isdigit, is_digit)
ALL_ARE(method_isalpha, is_alpha)
ALL_ARE(method_isalnum, is_alnum)
ALL_ARE(method_isspace, fv_code_is_space)
#undef ALL_ARE

static fv_value is_cased(fv_run *run, const fv_value *self, const char *how, const char *other) {
    fv_value same = fv_string_cased(run, self, how), different = fv_string_cased(run, self, other);
    return fv_value_bool(fv_value_equal(run->room, self, &same) && !fv_value_equal(run->room, self, &different));
}
static fv_value method_isupper(fv_run *run, const fv_value *self, const fv_value *const *p) {
    (void)p;
    return is_cased(run, self, "upper", "lower");
}
static fv_value method_islower(fv_run *run, const fv_value *self, const fv_value *const *p) {
    (void)p;
    return is_cased(run, self, "lower", "upper");
}

static const fv_callable search_methods[] = {
    {"startswith", "prefix", method_startswith},
    {"endswith", "suffix", method_endswith},
    {"find", "sub", method_find},
    {"rfind", "sub", method_rfind},
    {"index", "sub", method_index},
    {"count", "sub", method_count},
    {"removeprefix", "prefix", method_removeprefix},
    {"removesuffix", "suffix", method_removesuffix},
    {"isdigit", "", method_isdigit},
    {"isnumeric", "", method_isdigit},
    {"isalpha", "", method_isalpha},
    {"isalnum", "", method_isalnum},
    {"isspace", "", method_isspace},
    {"isupper", "", method_isupper},
    {"islower", "", method_islower},
};
const fv_callable_table fv_string_search_methods = {search_methods, sizeof search_methods / sizeof *search_methods};

/* ---- lists ---- */

static fv_value method_append(fv_run *run, const fv_value *self, const fv_value *const *p) {
    if (!p[0] || self->is_tuple) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "append() of one value to a list");
    fv_list_add(run->room, self->list, *p[0]);
    return fv_value_none();
}

static fv_value pop_item(fv_run *run, const fv_value *self, const fv_value *place) {
    int64_t count = (int64_t)self->list->count, index = place ? fv_want_integer(run, place, "pop()") : -1;
    if (index < 0) index += count;
    if (index < 0 || index >= count || self->is_tuple) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "pop() of no item");
    fv_value *items = self->list->items, taken = items[index];
    memmove(items + index, items + index + 1, (size_t)(count - index - 1) * sizeof *items);
    self->list->count--;
    return taken;
}

static fv_value pop_pair(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_dict *dict = self->dict;
    for (size_t i = 0; p[0] && i < dict->count; i++) {
        if (!fv_value_equal(run->room, &dict->pairs[i].key, p[0])) continue;
        fv_value taken = dict->pairs[i].value;
        memmove(dict->pairs + i, dict->pairs + i + 1, (dict->count - i - 1) * sizeof *dict->pairs);
        dict->count--;
        return taken;
    }
    if (!p[1]) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "pop() of no item");
    return *p[1];
}

static fv_value method_pop(fv_run *run, const fv_value *self, const fv_value *const *p) {
    return self->kind == FV_VALUE_LIST ? pop_item(run, self, p[0]) : pop_pair(run, self, p);
}

static const fv_callable list_methods[] = {
    {"append", "object", method_append},
    {"pop", "index", method_pop},
    {"index", "value", method_index},
    {"count", "value", method_count},
};
const fv_callable_table fv_list_methods = {list_methods, sizeof list_methods / sizeof *list_methods};

/* ---- dicts ---- */

fv_value fv_dict_items(fv_jinja_room *room, const fv_dict *dict) {
    fv_value list = fv_value_list(room);
    for (size_t i = 0; i < dict->count; i++) {
        fv_value pair = fv_value_list(room);
        pair.is_tuple = true;
        fv_list_add(room, pair.list, dict->pairs[i].key);
        fv_list_add(room, pair.list, dict->pairs[i].value);
        fv_list_add(room, list.list, pair);
    }
    return list;
}

static fv_value method_items(fv_run *run, const fv_value *self, const fv_value *const *p) {
    (void)p;
    return fv_dict_items(run->room, self->dict);
}

static fv_value method_keys(fv_run *run, const fv_value *self, const fv_value *const *p) {
    (void)p;
    return fv_value_items(run->room, self);
}

static fv_value method_values(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value list = fv_value_list(run->room);
    (void)p;
    for (size_t i = 0; i < self->dict->count; i++) fv_list_add(run->room, list.list, self->dict->pairs[i].value);
    return list;
}

static fv_value method_get(fv_run *run, const fv_value *self, const fv_value *const *p) {
    if (!p[0]) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "get() of nothing");
    const fv_value *found = fv_dict_find(run->room, self->dict, p[0]);
    return found ? *found : p[1] ? *p[1] : fv_value_none();
}

static fv_value method_copy(fv_run *run, const fv_value *self, const fv_value *const *p) {
    fv_value made = fv_value_dict(run->room);
    (void)p;
    for (size_t i = 0; i < self->dict->count; i++)
        fv_dict_add(run->room, made.dict, self->dict->pairs[i].key, self->dict->pairs[i].value);
    return made;
}

static fv_value method_update(fv_run *run, const fv_value *self, const fv_value *const *p) {
    if (!p[0] || p[0]->kind != FV_VALUE_DICT) fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "update() but by a dict");
    const fv_value other = method_copy(run, p[0], NULL);
    for (size_t i = 0; i < other.dict->count; i++)
        fv_dict_set(run->room, self->dict, other.dict->pairs[i].key, other.dict->pairs[i].value);
    return fv_value_none();
}

static const fv_callable dict_methods[] = {
    {"items", "", method_items},        {"keys", "", method_keys}, {"values", "", method_values},
    {"get", "key default", method_get}, {"copy", "", method_copy}, {"pop", "key default", method_pop},
    {"update", "other", method_update},
};
const fv_callable_table fv_dict_methods = {dict_methods, sizeof dict_methods / sizeof *dict_methods};
