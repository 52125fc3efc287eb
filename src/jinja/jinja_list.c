/* jinja_list.c - filters of lists: what is in order is sorted stably, by keys that are looked up once. */
#include "jinja/jinja_run.h"
#include <string.h>

/* ---- attributes ---- */

/* "a.b.0" of a value, one part after the other; undefined where there is none. */
fv_value fv_attribute_of(fv_run *run, fv_value value, const fv_value *path) {
    const fv_value dot = fv_value_text(".");
    if (path->kind != FV_VALUE_STRING) return fv_value_item(run, &value, path);
    for (size_t begin = 0; begin <= path->length;) {
        size_t end = fv_string_find(path, &dot, begin);
        if (end == SIZE_MAX) end = path->length;
        fv_value part = fv_value_part(path, begin, end);
        bool digits = part.length > 0 && part.length < 10;
        int64_t number = 0;
        for (size_t i = 0; i < part.length && digits; i++) {
            digits = part.bytes[i] >= '0' && part.bytes[i] <= '9';
            number = number * 10 + (part.bytes[i] - '0');
        }
        if (digits) part = fv_value_integer(number);
        value = fv_value_item(run, &value, &part);
        begin = end + 1;
    }
    return value;
}

/* What a list is ordered by: the attribute, in small letters unless case counts. */
static fv_value key_of(fv_run *run, fv_value value, const fv_value *attribute, bool is_cased) {
    if (attribute && attribute->kind != FV_VALUE_NONE) value = fv_attribute_of(run, value, attribute);
    return value.kind == FV_VALUE_STRING && !is_cased ? fv_string_cased(run, &value, "lower") : value;
}

/* ---- order ---- */

typedef struct keyed {
    fv_value key, value;
} keyed;

static void merge(fv_run *run, keyed *items, keyed *spare, size_t middle, size_t count, bool reverse) {
    size_t left = 0, right = middle, done = 0;
    while (left < middle && right < count) {
        fv_jinja_work(run->room, 1);
        int order = fv_value_order(run->room, &items[left].key, &items[right].key);
        bool takes_left = reverse ? order >= 0 : order <= 0;
        spare[done++] = takes_left ? items[left++] : items[right++];
    }
    while (left < middle) spare[done++] = items[left++];
    while (right < count) spare[done++] = items[right++];
    memcpy(items, spare, count * sizeof *items);
}

static void sort_keyed(fv_run *run, keyed *items, size_t count, bool reverse) {
    keyed *spare = fv_jinja_take(run->room, count, sizeof *spare);
    for (size_t width = 1; width < count; width *= 2)
        for (size_t at = 0; at + width < count; at += 2 * width)
            merge(run, items + at, spare, width, count - at < 2 * width ? count - at : 2 * width, reverse);
}

fv_value fv_list_sort(fv_run *run, fv_value list, const fv_value *attribute, bool is_cased, bool reverse) {
    size_t count = list.list->count;
    keyed *items = fv_jinja_take(run->room, count, sizeof *items);
    fv_value made = fv_value_list(run->room);
    for (size_t i = 0; i < count; i++)
        items[i] = (keyed){key_of(run, list.list->items[i], attribute, is_cased), list.list->items[i]};
    sort_keyed(run, items, count, reverse);
    for (size_t i = 0; i < count; i++) fv_list_add(run->room, made.list, items[i].value);
    return made;
}

static fv_value filter_sort(fv_run *run, const fv_value *input, const fv_value *const *p) {
    return fv_list_sort(run, fv_value_items(run->room, input), p[2], fv_flag(p[1], false), fv_flag(p[0], false));
}

static fv_value filter_dictsort(fv_run *run, const fv_value *input, const fv_value *const *p) {
    const fv_value place = fv_value_integer(p[1] && fv_value_is(p[1], "value") ? 1 : 0);
    if (input->kind != FV_VALUE_DICT)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "dictsort of a %s", fv_value_type(input));
    fv_value items = fv_dict_items(run->room, input->dict);
    return fv_list_sort(run, items, &place, fv_flag(p[0], false), fv_flag(p[2], false));
}

static fv_value extreme(fv_run *run, const fv_value *input, const fv_value *const *p, bool largest) {
    fv_value items = fv_value_items(run->room, input), best = fv_value_undefined("the extreme of nothing"),
             best_key = best;
    for (size_t i = 0; i < items.list->count; i++) {
        fv_value key = key_of(run, items.list->items[i], p[1], fv_flag(p[0], false));
        int order = i > 0 ? fv_value_order(run->room, &key, &best_key) : 0;
        if (i > 0 && (largest ? order <= 0 : order >= 0)) continue;
        best = items.list->items[i];
        best_key = key;
    }
    return best;
}
static fv_value filter_min(fv_run *run, const fv_value *input, const fv_value *const *p) {
    return extreme(run, input, p, false);
}
static fv_value filter_max(fv_run *run, const fv_value *input, const fv_value *const *p) {
    return extreme(run, input, p, true);
}

static fv_value filter_unique(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value items = fv_value_items(run->room, input), made = fv_value_list(run->room), seen = fv_value_list(run->room);
    for (size_t i = 0; i < items.list->count; i++) {
        const fv_value key = key_of(run, items.list->items[i], p[1], fv_flag(p[0], false));
        if (fv_compare(run, 'i', &key, &seen)) continue;
        fv_list_add(run->room, seen.list, key);
        fv_list_add(run->room, made.list, items.list->items[i]);
    }
    return made;
}

static fv_value filter_groupby(fv_run *run, const fv_value *input, const fv_value *const *p) {
    if (!p[0]) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "groupby lacks its attribute");
    fv_value sorted = fv_list_sort(run, fv_value_items(run->room, input), p[0], fv_flag(p[1], false), false);
    fv_value groups = fv_value_list(run->room), last = fv_value_undefined(NULL);
    fv_list *members = NULL;
    for (size_t i = 0; i < sorted.list->count; i++) {
        fv_value key = key_of(run, sorted.list->items[i], p[0], fv_flag(p[1], false));
        if (!members || !fv_value_equal(run->room, &key, &last)) {
            fv_value group = fv_value_list(run->room), list = fv_value_list(run->room);
            group.is_tuple = true;
            fv_list_add(run->room, group.list, fv_attribute_of(run, sorted.list->items[i], p[0]));
            fv_list_add(run->room, group.list, list);
            fv_list_add(run->room, groups.list, group);
            members = list.list;
        }
        fv_list_add(run->room, members, sorted.list->items[i]);
        last = key;
    }
    return groups;
}

/* ---- parts ---- */

static fv_value filter_length(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    fv_jinja_work(run->room, input->kind == FV_VALUE_STRING ? input->length / 64 : 0);
    if (input->kind == FV_VALUE_STRING) return fv_value_integer((int64_t)fv_string_characters(input));
    if (input->kind == FV_VALUE_LIST) return fv_value_integer((int64_t)input->list->count);
    if (input->kind == FV_VALUE_DICT) return fv_value_integer((int64_t)input->dict->count);
    if (input->kind != FV_VALUE_UNDEFINED)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a %s has no length", fv_value_type(input));
    return fv_value_integer(0);
}

static fv_value filter_list(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return fv_value_items(run->room, input);
}

static fv_value end_of(fv_run *run, const fv_value *input, bool last) {
    fv_value items = fv_value_items(run->room, input);
    size_t count = items.list->count;
    return count == 0 ? fv_value_undefined("an item of nothing") : items.list->items[last ? count - 1 : 0];
}
static fv_value filter_first(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return end_of(run, input, false);
}
static fv_value filter_last(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    return end_of(run, input, true);
}

static fv_value filter_reverse(fv_run *run, const fv_value *input, const fv_value *const *p) {
    const fv_value bounds[3] = {fv_value_none(), fv_value_none(), fv_value_integer(-1)};
    (void)p;
    if (input->kind == FV_VALUE_STRING) return fv_slice(run, input, bounds);
    const fv_value items = fv_value_items(run->room, input);
    return fv_slice(run, &items, bounds);
}

static fv_value filter_items(fv_run *run, const fv_value *input, const fv_value *const *p) {
    (void)p;
    if (input->kind == FV_VALUE_UNDEFINED) return fv_value_list(run->room);
    if (input->kind != FV_VALUE_DICT)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "items of a %s", fv_value_type(input));
    return fv_dict_items(run->room, input->dict);
}

static fv_value filter_batch(fv_run *run, const fv_value *input, const fv_value *const *p) {
    int64_t size = fv_want_integer(run, p[0], "the size of a batch");
    fv_value items = fv_value_items(run->room, input), made = fv_value_list(run->room), batch = made;
    if (size < 1) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a batch of nothing");
    for (size_t i = 0; i < items.list->count; i++) {
        if (i % (size_t)size == 0) {
            batch = fv_value_list(run->room);
            fv_list_add(run->room, made.list, batch);
        }
        fv_list_add(run->room, batch.list, items.list->items[i]);
    }
    while (p[1] && made.list->count > 0 && (int64_t)batch.list->count < size) fv_list_add(run->room, batch.list, *p[1]);
    return made;
}

static fv_value filter_join(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value items = fv_value_items(run->room, input);
    fv_value between = p[0] ? fv_value_to_string(run->room, p[0]) : fv_value_text("");
    fv_builder builder = {.room = run->room};
    for (size_t i = 0; i < items.list->count; i++) {
        fv_value one = items.list->items[i];
        if (p[1] && p[1]->kind != FV_VALUE_NONE) one = fv_attribute_of(run, one, p[1]);
        if (i > 0) fv_builder_string(&builder, &between);
        fv_builder_value_text(&builder, &one);
    }
    return fv_builder_value(&builder);
}

static fv_value filter_sum(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value items = fv_value_items(run->room, input), sum = p[1] ? *p[1] : fv_value_integer(0);
    for (size_t i = 0; i < items.list->count; i++) {
        fv_value one = items.list->items[i];
        if (p[0] && p[0]->kind != FV_VALUE_NONE) one = fv_attribute_of(run, one, p[0]);
        sum = fv_operate(run, '+', &sum, &one);
    }
    return sum;
}

static fv_value filter_attr(fv_run *run, const fv_value *input, const fv_value *const *p) {
    fv_value name = fv_want_string(run, p[0], "the name of an attribute");
    return input->kind == FV_VALUE_DICT ? fv_value_undefined("an attribute of a dict")
                                        : fv_value_item(run, input, &name);
}

static const fv_callable filters[] = {
    {"sort", "reverse case_sensitive attribute", filter_sort},
    {"dictsort", "case_sensitive by reverse", filter_dictsort},
    {"min", "case_sensitive attribute", filter_min},
    {"max", "case_sensitive attribute", filter_max},
    {"unique", "case_sensitive attribute", filter_unique},
    {"groupby", "attribute case_sensitive", filter_groupby},
    {"length", "", filter_length},
    {"count", "", filter_length},
    {"list", "", filter_list},
    {"first", "", filter_first},
    {"last", "", filter_last},
    {"reverse", "", filter_reverse},
    {"items", "", filter_items},
    {"batch", "linecount fill_with", filter_batch},
    {"join", "d attribute", filter_join},
    {"sum", "attribute start", filter_sum},
    {"attr", "name", filter_attr},
};
const fv_callable_table fv_list_filters = {filters, sizeof filters / sizeof *filters};
