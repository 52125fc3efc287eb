/* jinja_json.c - JSON in, as what somebody said, and out as Python's json.dumps() writes it. */
#include "jinja/jinja_run.h"
#include "platform/utf8.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

typedef struct json_reader {
    fv_jinja_room *room;
    const char *text;
    size_t length, at;
    fv_origin origin; /* of its texts */
} json_reader;

static _Noreturn void fail(json_reader *r, const char *wanted) {
    fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "JSON: %s is missing at byte %zu", wanted, r->at);
}

static char next(json_reader *r) {
    while (r->at < r->length && strchr(" \t\r\n", r->text[r->at]) && r->text[r->at]) r->at++;
    return r->at < r->length ? r->text[r->at] : 0;
}

static bool skip(json_reader *r, char wanted) {
    bool is = next(r) == wanted && r->at < r->length;
    r->at += is;
    return is;
}

static uint32_t read_hex(json_reader *r) {
    uint32_t code = 0;
    if (r->length - r->at < 4) fail(r, "a digit");
    for (int i = 0; i < 4; i++) {
        char c = r->text[r->at++];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) fail(r, "a digit");
        code = code << 4 | (uint32_t)digit;
    }
    return code;
}

/* After "\u". Half a pair is U+FFFD. */
static uint32_t read_code(json_reader *r) {
    uint32_t code = read_hex(r), low;
    bool pair = code >= 0xD800 && code < 0xDC00 && r->length - r->at >= 6 && r->text[r->at] == '\\' &&
                r->text[r->at + 1] == 'u';
    if (code < 0xD800 || code > 0xDFFF) return code;
    if (!pair) return 0xFFFD;
    size_t place = r->at;
    r->at += 2;
    low = read_hex(r);
    if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    r->at = place;
    return 0xFFFD;
}

static void read_escape(json_reader *r, fv_builder *builder) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->length ? r->text[r->at++] : 0;
    const char *found = c ? strchr(letters, c) : NULL;
    if (found)
        fv_builder_add(builder, &meant[found - letters], 1, r->origin);
    else if (c == 'u')
        fv_builder_code(builder, read_code(r), r->origin);
    else
        fail(r, "an escape");
}

/* Without escapes it stays where it is. */
static fv_value read_string(json_reader *r) {
    size_t begin = r->at;
    fv_builder builder = {.room = r->room};
    for (;;) {
        size_t bytes =
            r->at < r->length ? fv_utf8_sequence((const unsigned char *)r->text + r->at, r->length - r->at) : 0;
        if (bytes == 0 || (unsigned char)r->text[r->at] < 0x20) fail(r, "the end of a text");
        if (r->text[r->at] == '"' || r->text[r->at] == '\\') {
            fv_builder_add(&builder, r->text + begin, r->at - begin, r->origin);
            if (r->text[r->at++] == '"') break;
            read_escape(r, &builder);
            begin = r->at;
        } else {
            r->at += bytes;
        }
    }
    fv_value made = fv_builder_value(&builder);
    made.origin = (uint8_t)r->origin;
    return made;
}

static fv_value read_number(json_reader *r) {
    char text[64], *end = NULL;
    size_t length = 0;
    while (r->at < r->length && length + 1 < sizeof text && strchr("+-.eE0123456789", r->text[r->at]) && r->text[r->at])
        text[length++] = r->text[r->at++];
    text[length] = 0;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (length > 0 && *end == 0 && errno == 0) return fv_value_integer(whole);
    double real = strtod(text, &end);
    if (length == 0 || *end != 0) fail(r, "a value");
    return fv_value_real(real);
}

static fv_value read_value(json_reader *r);

/* A role is one of a few words that templates put into control tokens ("<|" + role + "|>"): no text of anybody's. */
static void trust_role(const fv_value *name, fv_value *value) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
    if (value->kind != FV_VALUE_STRING || !fv_value_is(name, "role")) return;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (fv_value_is(value, roles[i])) value->origin = FV_BY_TEMPLATE;
}

static fv_value read_object(json_reader *r) {
    fv_value made = fv_value_dict(r->room);
    while (!skip(r, '}')) {
        if (made.dict->count > 0 && !skip(r, ',')) fail(r, "','");
        if (!skip(r, '"')) fail(r, "a name");
        fv_value name = read_string(r);
        if (!skip(r, ':')) fail(r, "':'");
        fv_value value = read_value(r);
        trust_role(&name, &value);
        fv_dict_add(r->room, made.dict, name, value);
    }
    return made;
}

static fv_value read_array(json_reader *r) {
    fv_value made = fv_value_list(r->room);
    while (!skip(r, ']')) {
        if (made.list->count > 0 && !skip(r, ',')) fail(r, "','");
        fv_list_add(r->room, made.list, read_value(r));
    }
    return made;
}

static bool skip_word(json_reader *r, const char *word) {
    size_t length = strlen(word);
    if (r->length - r->at < length || memcmp(r->text + r->at, word, length) != 0) return false;
    r->at += length;
    return true;
}

static fv_value read_value(json_reader *r) {
    fv_value made;
    fv_jinja_enter(r->room);
    (void)next(r);
    if (skip(r, '{'))
        made = read_object(r);
    else if (skip(r, '['))
        made = read_array(r);
    else if (skip(r, '"'))
        made = read_string(r);
    else if (skip_word(r, "null"))
        made = fv_value_none();
    else if (skip_word(r, "true"))
        made = fv_value_bool(true);
    else if (skip_word(r, "false"))
        made = fv_value_bool(false);
    else
        made = read_number(r);
    fv_jinja_leave(r->room);
    return made;
}

static fv_value read_all(json_reader *r) {
    fv_value made = read_value(r);
    (void)next(r);
    if (r->at < r->length) fail(r, "the end");
    return made;
}

fv_value fv_json_read(fv_run *run, const fv_value *text) {
    fv_value string = fv_want_string(run, text, "JSON");
    json_reader r = {run->room, string.bytes, string.length, 0,
                     string.origin == FV_BY_TEMPLATE ? FV_BY_TEMPLATE : FV_BY_USER};
    return read_all(&r);
}

void fv_json_bind(fv_run *run, const fv_name_list *names, const char *json, size_t length) {
    json_reader r = {run->room, json, length, 0, FV_BY_USER};
    fv_value made = read_all(&r);
    if (made.kind != FV_VALUE_DICT) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "the variables are no JSON object");
    for (size_t i = 0; i < made.dict->count; i++)
        for (size_t n = 0; n < names->count; n++)
            if (fv_value_is(&made.dict->pairs[i].key, names->names[n]))
                fv_scope_set(run, names->names[n], made.dict->pairs[i].value);
}

/* ---- writing ---- */

typedef struct json_writer {
    fv_builder *builder;
    fv_value between, after_name, indent; /* indent: of one level; undefined: all in one line */
    bool ascii, sorted;
    uint32_t level;
} json_writer;

static void write_ascii(fv_builder *builder, uint32_t code) {
    char text[16];
    uint32_t rest = code - 0x10000;
    if (code < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", code);
    else
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    fv_builder_put(builder, text);
}

static void write_string(const json_writer *w, const fv_value *string) {
    static const char signs[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    uint32_t code;
    fv_builder_put(w->builder, "\"");
    for (size_t i = 0, end, length; i < string->length; i = end) {
        length = fv_string_read(string, i, &code);
        end = i + length;
        const char *found = code > 0 && code < 0x80 ? strchr(signs, (int)code) : NULL;
        const char escape[] = {'\\', found ? letters[found - signs] : 0, 0};
        const fv_value part = fv_value_part(string, i, end);
        if (found)
            fv_builder_put(w->builder, escape);
        else if (code < 0x20 || (w->ascii && code > 0x7E && code != 0x7F))
            write_ascii(w->builder, code);
        else
            fv_builder_string(w->builder, &part);
    }
    fv_builder_put(w->builder, "\"");
}

static void write_value(json_writer *w, const fv_value *value);

static void write_line(const json_writer *w) {
    if (w->indent.kind == FV_VALUE_UNDEFINED) return;
    fv_builder_put(w->builder, "\n");
    for (uint32_t i = 0; i < w->level; i++) fv_builder_string(w->builder, &w->indent);
}

static void write_key(json_writer *w, const fv_value *key) {
    if (key->kind == FV_VALUE_STRING) {
        write_string(w, key);
        return;
    }
    fv_builder_put(w->builder, "\"");
    write_value(w, key);
    fv_builder_put(w->builder, "\"");
}

static void write_list(json_writer *w, const fv_list *list) {
    fv_builder_put(w->builder, "[");
    w->level++;
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) fv_builder_string(w->builder, &w->between);
        write_line(w);
        write_value(w, &list->items[i]);
    }
    w->level--;
    if (list->count > 0) write_line(w);
    fv_builder_put(w->builder, "]");
}

static void write_dict(json_writer *w, const fv_dict *dict, const fv_value *pairs) {
    fv_builder_put(w->builder, "{");
    w->level++;
    for (size_t i = 0; i < dict->count; i++) {
        const fv_value *key = pairs ? &pairs->list->items[i].list->items[0] : &dict->pairs[i].key;
        if (i > 0) fv_builder_string(w->builder, &w->between);
        write_line(w);
        write_key(w, key);
        fv_builder_string(w->builder, &w->after_name);
        write_value(w, pairs ? &pairs->list->items[i].list->items[1] : &dict->pairs[i].value);
    }
    w->level--;
    if (dict->count > 0) write_line(w);
    fv_builder_put(w->builder, "}");
}

static void write_number(json_writer *w, const fv_value *value) {
    bool real = value->kind == FV_VALUE_REAL;
    if (real && !isfinite(value->real)) {
        if (value->real < 0) fv_builder_put(w->builder, "-");
        fv_builder_put(w->builder, isnan(value->real) ? "NaN" : "Infinity");
    } else {
        fv_builder_repr(w->builder, value);
    }
}

static void write_value(json_writer *w, const fv_value *value) {
    fv_jinja_enter(w->builder->room);
    switch ((fv_value_kind)value->kind) {
    case FV_VALUE_NONE:
        fv_builder_put(w->builder, "null");
        break;
    case FV_VALUE_BOOL:
        fv_builder_put(w->builder, value->truth ? "true" : "false");
        break;
    case FV_VALUE_INTEGER:
    case FV_VALUE_REAL:
        write_number(w, value);
        break;
    case FV_VALUE_STRING:
        write_string(w, value);
        break;
    case FV_VALUE_LIST:
        write_list(w, value->list);
        break;
    case FV_VALUE_DICT: {
        fv_run run = {.room = w->builder->room};
        const fv_value first = fv_value_integer(0);
        const fv_value pairs =
            w->sorted ? fv_list_sort(&run, fv_dict_items(run.room, value->dict), &first, true, false) : fv_value_none();
        write_dict(w, value->dict, w->sorted ? &pairs : NULL);
        break;
    }
    default:
        fv_jinja_fail(w->builder->room, FV_ERROR_ARGUMENT, "a %s%s%.80s can't be written as JSON", fv_value_type(value),
                      value->kind == FV_VALUE_UNDEFINED && value->name ? ": " : "",
                      value->kind == FV_VALUE_UNDEFINED && value->name ? value->name : "");
    }
    fv_jinja_leave(w->builder->room);
}

fv_value fv_json_text(fv_run *run, const fv_value *value, const fv_value *const *p) {
    fv_builder builder = {.room = run->room};
    const fv_value blank = fv_value_text(" ");
    json_writer w = {.builder = &builder, .ascii = fv_flag(p[0], false), .sorted = fv_flag(p[3], false)};
    bool indented = p[1] && p[1]->kind != FV_VALUE_NONE;
    w.indent = fv_value_undefined(NULL);
    if (indented) w.indent = p[1]->kind == FV_VALUE_STRING ? *p[1] : fv_operate(run, '*', &blank, p[1]);
    w.between = fv_value_text(indented ? "," : ", ");
    w.after_name = fv_value_text(": ");
    if (p[2] && p[2]->kind != FV_VALUE_NONE) {
        if (p[2]->kind != FV_VALUE_LIST || p[2]->list->count != 2)
            fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "separators must be two texts");
        w.between = fv_want_string(run, &p[2]->list->items[0], "separators");
        w.after_name = fv_want_string(run, &p[2]->list->items[1], "separators");
    }
    write_value(&w, value);
    fv_value made = fv_builder_value(&builder);
    if (made.origin == FV_BY_BOTH) made.origin = FV_BY_USER; /* what is said is one text, with its brackets */
    return made;
}
