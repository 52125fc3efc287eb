/* jinja_value.c - values as Python has them: numbers of several types are equal, lists are by their items. */
#include "jinja/jinja_value.h"
#include "platform/utf8.h"
#include <math.h>
#include <string.h>

/* ---- making ---- */

fv_value fv_value_undefined(const char *name) { return (fv_value){.kind = FV_VALUE_UNDEFINED, .name = name}; }
fv_value fv_value_none(void) { return (fv_value){.kind = FV_VALUE_NONE}; }
fv_value fv_value_bool(bool truth) { return (fv_value){.kind = FV_VALUE_BOOL, .truth = truth}; }
fv_value fv_value_integer(int64_t integer) { return (fv_value){.kind = FV_VALUE_INTEGER, .integer = integer}; }
fv_value fv_value_real(double real) { return (fv_value){.kind = FV_VALUE_REAL, .real = real}; }

fv_value fv_value_string(const char *bytes, size_t length, fv_origin origin) {
    return (fv_value){.kind = FV_VALUE_STRING, .origin = (uint8_t)origin, .length = length, .bytes = bytes};
}

fv_value fv_value_text(const char *bytes) { return fv_value_string(bytes, strlen(bytes), FV_BY_TEMPLATE); }

fv_value fv_value_part(const fv_value *string, size_t begin, size_t end) {
    fv_value part = *string;
    part.bytes = string->bytes + begin;
    part.length = end - begin;
    if (string->origin == FV_BY_BOTH) part.marks = string->marks + begin;
    part.is_safe = false;
    return part;
}

fv_value fv_value_list(fv_jinja_room *room) {
    return (fv_value){.kind = FV_VALUE_LIST, .list = fv_jinja_take(room, 1, sizeof(fv_list))};
}

fv_value fv_value_dict(fv_jinja_room *room) {
    return (fv_value){.kind = FV_VALUE_DICT, .dict = fv_jinja_take(room, 1, sizeof(fv_dict))};
}

void fv_list_add(fv_jinja_room *room, fv_list *list, fv_value value) {
    list->items = fv_jinja_grow(room, list->items, list->count, &list->capacity, sizeof *list->items);
    list->items[list->count++] = value;
}

void fv_dict_add(fv_jinja_room *room, fv_dict *dict, fv_value key, fv_value value) {
    dict->pairs = fv_jinja_grow(room, dict->pairs, dict->count, &dict->capacity, sizeof *dict->pairs);
    dict->pairs[dict->count++] = (fv_pair){key, value};
}

static bool can_be_key(const fv_value *key) { return key->kind <= FV_VALUE_STRING && key->kind != FV_VALUE_UNDEFINED; }

const fv_value *fv_dict_find(fv_jinja_room *room, const fv_dict *dict, const fv_value *key) {
    fv_jinja_work(room, dict->count / 16);
    for (size_t i = 0; i < dict->count; i++)
        if (fv_value_equal(room, &dict->pairs[i].key, key)) return &dict->pairs[i].value;
    return NULL;
}

void fv_dict_set(fv_jinja_room *room, fv_dict *dict, fv_value key, fv_value value) {
    if (!can_be_key(&key)) fv_jinja_fail(room, FV_ERROR_UNSUPPORTED, "a %s as the key of a dict", fv_value_type(&key));
    const fv_value *found = fv_dict_find(room, dict, &key);
    if (found)
        dict->pairs[(const fv_pair *)(const void *)((const char *)found - offsetof(fv_pair, value)) - dict->pairs]
            .value = value;
    else
        fv_dict_add(room, dict, key, value);
}

const fv_value *fv_dict_get(const fv_dict *dict, const char *name) {
    for (size_t i = 0; i < dict->count; i++)
        if (fv_value_is(&dict->pairs[i].key, name)) return &dict->pairs[i].value;
    return NULL;
}

/* ---- asking ---- */

bool fv_value_truth(const fv_value *value) {
    switch ((fv_value_kind)value->kind) {
    case FV_VALUE_UNDEFINED:
    case FV_VALUE_NONE:
        return false;
    case FV_VALUE_BOOL:
        return value->truth;
    case FV_VALUE_INTEGER:
        return value->integer != 0;
    case FV_VALUE_REAL:
        return value->real > 0 || value->real < 0 || isnan(value->real);
    case FV_VALUE_STRING:
        return value->length > 0;
    case FV_VALUE_LIST:
        return value->list->count > 0;
    case FV_VALUE_DICT:
        return value->dict->count > 0;
    default:
        return true;
    }
}

bool fv_value_is_number(const fv_value *value) {
    return value->kind == FV_VALUE_BOOL || value->kind == FV_VALUE_INTEGER || value->kind == FV_VALUE_REAL;
}

int64_t fv_value_as_integer(const fv_value *value) {
    return value->kind == FV_VALUE_BOOL ? value->truth : value->integer;
}

double fv_value_as_real(const fv_value *value) {
    return value->kind == FV_VALUE_REAL ? value->real : (double)fv_value_as_integer(value);
}

static int number_order(const fv_value *a, const fv_value *b) {
    if (a->kind != FV_VALUE_REAL && b->kind != FV_VALUE_REAL) {
        int64_t x = fv_value_as_integer(a), y = fv_value_as_integer(b);
        return (x > y) - (x < y);
    }
    double x = fv_value_as_real(a), y = fv_value_as_real(b);
    return (x > y) - (x < y);
}

int fv_string_order(const fv_value *a, const fv_value *b) {
    size_t least = a->length < b->length ? a->length : b->length;
    int order = least > 0 ? memcmp(a->bytes, b->bytes, least) : 0;
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static bool lists_equal(fv_jinja_room *room, const fv_value *a, const fv_value *b) {
    if (a->is_tuple != b->is_tuple || a->list->count != b->list->count) return false;
    for (size_t i = 0; i < a->list->count; i++)
        if (!fv_value_equal(room, &a->list->items[i], &b->list->items[i])) return false;
    return true;
}

static bool dicts_equal(fv_jinja_room *room, const fv_dict *a, const fv_dict *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const fv_value *other = fv_dict_find(room, b, &a->pairs[i].key);
        if (!other || !fv_value_equal(room, &a->pairs[i].value, other)) return false;
    }
    return true;
}

bool fv_value_equal(fv_jinja_room *room, const fv_value *a, const fv_value *b) {
    if (fv_value_is_number(a) && fv_value_is_number(b)) {
        bool nan = (a->kind == FV_VALUE_REAL && isnan(a->real)) || (b->kind == FV_VALUE_REAL && isnan(b->real));
        return !nan && number_order(a, b) == 0;
    }
    if (a->kind != b->kind) return false;
    if (a->kind == FV_VALUE_STRING) return a->length == b->length && fv_string_order(a, b) == 0;
    if (a->kind == FV_VALUE_NONE || a->kind == FV_VALUE_UNDEFINED) return true;
    if (a->thing == b->thing) return a->kind != FV_VALUE_METHOD || a->self == b->self;
    fv_jinja_enter(room);
    bool equal = false;
    if (a->kind == FV_VALUE_LIST) equal = lists_equal(room, a, b);
    if (a->kind == FV_VALUE_DICT) equal = dicts_equal(room, a->dict, b->dict);
    fv_jinja_leave(room);
    return equal;
}

static int list_order(fv_jinja_room *room, const fv_list *a, const fv_list *b) {
    for (size_t i = 0; i < a->count && i < b->count; i++)
        if (!fv_value_equal(room, &a->items[i], &b->items[i])) return fv_value_order(room, &a->items[i], &b->items[i]);
    return (a->count > b->count) - (a->count < b->count);
}

int fv_value_order(fv_jinja_room *room, const fv_value *a, const fv_value *b) {
    if (fv_value_is_number(a) && fv_value_is_number(b)) return number_order(a, b);
    if (a->kind == FV_VALUE_STRING && b->kind == FV_VALUE_STRING) return fv_string_order(a, b);
    if (a->kind != FV_VALUE_LIST || b->kind != FV_VALUE_LIST || a->is_tuple != b->is_tuple)
        fv_jinja_fail(room, FV_ERROR_ARGUMENT, "a %s and a %s have no order", fv_value_type(a), fv_value_type(b));
    fv_jinja_enter(room);
    int order = list_order(room, a->list, b->list);
    fv_jinja_leave(room);
    return order;
}

bool fv_value_is(const fv_value *string, const char *text) {
    size_t length = strlen(text);
    return string->kind == FV_VALUE_STRING && string->length == length && memcmp(string->bytes, text, length) == 0;
}

const char *fv_value_type(const fv_value *value) {
    static const char *const names[] = {"undefined", "NoneType",  "bool",  "int",      "float",  "str", "list",
                                        "dict",      "Namespace", "macro", "function", "method", "loop"};
    return value->kind == FV_VALUE_LIST && value->is_tuple ? "tuple" : names[value->kind];
}

/* ---- characters ---- */

size_t fv_string_read(const fv_value *string, size_t place, uint32_t *code) {
    const unsigned char *bytes = (const unsigned char *)string->bytes + place;
    size_t length = fv_utf8_sequence(bytes, string->length - place);
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    if (length == 0) length = 1; /* a byte that is none */
    *code = bytes[0] & masks[length];
    for (size_t i = 1; i < length; i++) *code = *code << 6 | (bytes[i] & 0x3Fu);
    return length;
}

size_t fv_string_characters(const fv_value *string) {
    size_t count = 0;
    uint32_t code;
    for (size_t i = 0; i < string->length; i += fv_string_read(string, i, &code)) count++;
    return count;
}

size_t fv_string_place(const fv_value *string, size_t character) {
    size_t place = 0;
    uint32_t code;
    for (size_t i = 0; i < character && place < string->length; i++) place += fv_string_read(string, place, &code);
    return place;
}

static void add_characters(fv_jinja_room *room, fv_list *list, const fv_value *string) {
    uint32_t code;
    for (size_t i = 0, next; i < string->length; i = next) {
        next = i + fv_string_read(string, i, &code);
        fv_list_add(room, list, fv_value_part(string, i, next));
    }
}

fv_value fv_value_items(fv_jinja_room *room, const fv_value *value) {
    fv_value made = fv_value_list(room);
    size_t count = value->kind == FV_VALUE_LIST ? value->list->count : 0;
    if (value->kind == FV_VALUE_STRING)
        add_characters(room, made.list, value);
    else if (value->kind == FV_VALUE_DICT)
        for (size_t i = 0; i < value->dict->count; i++) fv_list_add(room, made.list, value->dict->pairs[i].key);
    else if (value->kind != FV_VALUE_LIST && value->kind != FV_VALUE_UNDEFINED)
        fv_jinja_fail(room, FV_ERROR_ARGUMENT, "a %s has no items to go through", fv_value_type(value));
    if (count > 0) {
        *made.list = (fv_list){fv_jinja_take(room, count, sizeof(fv_value)), count, count};
        memcpy(made.list->items, value->list->items, count * sizeof(fv_value));
    }
    return made;
}
