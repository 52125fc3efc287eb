/* jinja_builder.c - marks are made when a text first has two authors; texts of values are Python's. */
#include "jinja/jinja_builder.h"
#include "text/unicode_class.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing ---- */

static void reserve(fv_builder *builder, size_t length) {
    if (length <= builder->capacity - builder->length) return;
    size_t capacity = builder->capacity > 0 ? builder->capacity : 64;
    while (capacity - builder->length < length) {
        if (capacity > SIZE_MAX / 2) fv_jinja_fail(builder->room, FV_ERROR_MEMORY, "the template's text is too long");
        capacity *= 2;
    }
    char *bytes = fv_jinja_take(builder->room, capacity, 1);
    if (builder->length > 0) memcpy(bytes, builder->bytes, builder->length);
    builder->bytes = bytes;
    builder->capacity = capacity;
    if (!builder->marks) return;
    uint8_t *marks = fv_jinja_take(builder->room, capacity, 1);
    memcpy(marks, builder->marks, builder->length);
    builder->marks = marks;
}

static void make_marks(fv_builder *builder) {
    if (builder->marks) return;
    builder->marks = fv_jinja_take(builder->room, builder->capacity, 1);
    memset(builder->marks, builder->origin, builder->length);
}

void fv_builder_add(fv_builder *builder, const char *bytes, size_t length, fv_origin origin) {
    if (length == 0) return;
    reserve(builder, length);
    fv_jinja_work(builder->room, length / 64);
    if (builder->length == 0 && !builder->marks) builder->origin = (uint8_t)origin;
    if (builder->origin != origin) make_marks(builder);
    memcpy(builder->bytes + builder->length, bytes, length);
    if (builder->marks) memset(builder->marks + builder->length, (int)origin, length);
    builder->length += length;
}

void fv_builder_put(fv_builder *builder, const char *text) {
    fv_builder_add(builder, text, strlen(text), FV_BY_TEMPLATE);
}

void fv_builder_string(fv_builder *builder, const fv_value *string) {
    if (string->origin != FV_BY_BOTH) {
        fv_builder_add(builder, string->bytes, string->length, (fv_origin)string->origin);
        return;
    }
    for (size_t i = 0, end; i < string->length; i = end) {
        for (end = i + 1; end < string->length && string->marks[end] == string->marks[i]; end++) {
        }
        fv_builder_add(builder, string->bytes + i, end - i, (fv_origin)string->marks[i]);
    }
}

void fv_builder_code(fv_builder *builder, uint32_t code, fv_origin origin) {
    char bytes[4];
    fv_builder_add(builder, bytes, fv_utf8_write(code, bytes), origin);
}

fv_value fv_builder_value(const fv_builder *builder) {
    fv_value made = fv_value_string(builder->bytes ? builder->bytes : "", builder->length, (fv_origin)builder->origin);
    if (!builder->marks) return made;
    made.origin = FV_BY_BOTH;
    made.marks = builder->marks;
    return made;
}

/* ---- texts of values ---- */

/* Digits and the exponent of "d.ddde+XX" put as Python puts them. */
static void layout_real(const char *digits, size_t count, int exponent, char *text, size_t bytes) {
    if (exponent < -4 || exponent >= 16)
        snprintf(text, bytes, "%c%s%.*se%c%02d", digits[0], count > 1 ? "." : "", (int)(count - 1), digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(text, bytes, "0.%.*s%.*s", abs(exponent) - 1, "0000", (int)count, digits);
    else if ((size_t)exponent + 1 >= count)
        snprintf(text, bytes, "%.*s%.*s.0", (int)count, digits, exponent + 1 - (int)count, "0000000000000000");
    else
        snprintf(text, bytes, "%.*s.%.*s", exponent + 1, digits, (int)count - exponent - 1, digits + exponent + 1);
}

void fv_real_text(double real, char text[FV_REAL_BYTES]) {
    char form[FV_REAL_BYTES], digits[20];
    size_t count = 0;
    if (!isfinite(real)) {
        snprintf(text, FV_REAL_BYTES, "%s%s", real < 0 ? "-" : "", isnan(real) ? "nan" : "inf");
        return;
    }
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(form, sizeof form, "%.*e", precision, fabs(real));
        if (!(strtod(form, NULL) < fabs(real)) && !(strtod(form, NULL) > fabs(real))) break;
    }
    const char *e = strchr(form, 'e');
    for (const char *at = form; at < e && count < sizeof digits; at++)
        if (*at != '.') digits[count++] = *at;
    while (count > 1 && digits[count - 1] == '0') count--;
    bool negative = signbit(real);
    if (negative) text[0] = '-';
    layout_real(digits, count, (int)strtol(e + 1, NULL, 10), text + negative, FV_REAL_BYTES - negative);
}

static bool is_printable(uint32_t code) {
    if (code < 0x7F) return code >= 0x20;
    return (fv_unicode_class_of(code) & (FV_UNICODE_OTHER | FV_UNICODE_SPACE)) == 0;
}

static void repr_character(fv_builder *builder, const fv_value *string, size_t place, size_t length, uint32_t code,
                           char quote) {
    static const char letters[] = "\n\r\t\\", escapes[] = "nrt\\";
    char text[16];
    fv_origin origin = fv_string_origin(string, place);
    const char *letter = code > 0 && code < 0x7F ? strchr(letters, (int)code) : NULL;
    if (letter)
        snprintf(text, sizeof text, "\\%c", escapes[letter - letters]);
    else if (code == (uint32_t)quote)
        snprintf(text, sizeof text, "\\%c", quote);
    else if (!is_printable(code))
        snprintf(text, sizeof text, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
    else {
        fv_builder_add(builder, string->bytes + place, length, origin);
        return;
    }
    fv_builder_add(builder, text, strlen(text), origin);
}

static void repr_string(fv_builder *builder, const fv_value *string) {
    bool single = string->length > 0 && memchr(string->bytes, '\'', string->length);
    bool both = single && memchr(string->bytes, '"', string->length);
    char quote[2] = {single && !both ? '"' : '\'', 0};
    uint32_t code;
    fv_builder_put(builder, quote);
    for (size_t i = 0, length; i < string->length; i += length) {
        length = fv_string_read(string, i, &code);
        repr_character(builder, string, i, length, code, quote[0]);
    }
    fv_builder_put(builder, quote);
}

static void repr_list(fv_builder *builder, const fv_value *value) {
    fv_builder_put(builder, value->is_tuple ? "(" : "[");
    for (size_t i = 0; i < value->list->count; i++) {
        if (i > 0) fv_builder_put(builder, ", ");
        fv_builder_repr(builder, &value->list->items[i]);
    }
    if (value->is_tuple && value->list->count == 1) fv_builder_put(builder, ",");
    fv_builder_put(builder, value->is_tuple ? ")" : "]");
}

static void repr_dict(fv_builder *builder, const fv_dict *dict) {
    fv_builder_put(builder, "{");
    for (size_t i = 0; i < dict->count; i++) {
        if (i > 0) fv_builder_put(builder, ", ");
        fv_builder_repr(builder, &dict->pairs[i].key);
        fv_builder_put(builder, ": ");
        fv_builder_repr(builder, &dict->pairs[i].value);
    }
    fv_builder_put(builder, "}");
}

static void repr_scalar(fv_builder *builder, const fv_value *value) {
    char text[FV_REAL_BYTES];
    switch ((fv_value_kind)value->kind) {
    case FV_VALUE_UNDEFINED:
        fv_builder_put(builder, "Undefined");
        return;
    case FV_VALUE_NONE:
        fv_builder_put(builder, "None");
        return;
    case FV_VALUE_BOOL:
        fv_builder_put(builder, value->truth ? "True" : "False");
        return;
    case FV_VALUE_INTEGER:
        snprintf(text, sizeof text, "%" PRId64, value->integer);
        break;
    case FV_VALUE_REAL:
        fv_real_text(value->real, text);
        break;
    default:
        fv_jinja_fail(builder->room, FV_ERROR_UNSUPPORTED, "the text of a %s", fv_value_type(value));
    }
    fv_builder_put(builder, text);
}

void fv_builder_repr(fv_builder *builder, const fv_value *value) {
    fv_jinja_enter(builder->room);
    if (value->kind == FV_VALUE_STRING)
        repr_string(builder, value);
    else if (value->kind == FV_VALUE_LIST)
        repr_list(builder, value);
    else if (value->kind == FV_VALUE_DICT)
        repr_dict(builder, value->dict);
    else
        repr_scalar(builder, value);
    fv_jinja_leave(builder->room);
}

void fv_builder_value_text(fv_builder *builder, const fv_value *value) {
    if (value->kind == FV_VALUE_STRING)
        fv_builder_string(builder, value);
    else if (value->kind != FV_VALUE_UNDEFINED)
        fv_builder_repr(builder, value);
}

fv_value fv_value_to_string(fv_jinja_room *room, const fv_value *value) {
    fv_builder builder = {.room = room};
    if (value->kind == FV_VALUE_STRING) return *value;
    fv_builder_value_text(&builder, value);
    return fv_builder_value(&builder);
}
