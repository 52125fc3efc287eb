/* jinja_token.c - text up to a bracket, then what is in the brackets. */
#include "jinja/jinja_token.h"
#include "jinja/jinja_builder.h"
#include "platform/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BRACKETS = 64 };

typedef struct reader {
    fv_jinja_room *room;
    fv_token_list *list;
    const char *text;
    size_t length, at;
    bool line_begins; /* text that comes next stands at the beginning of a line */
} reader;

/* ---- white space ---- */

bool fv_code_is_space(uint32_t code) {
    return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
           code == 0x205F || code == 0x3000;
}

size_t fv_space_begin(const fv_value *string) {
    size_t place = 0, length;
    uint32_t code;
    for (; place < string->length; place += length) {
        length = fv_string_read(string, place, &code);
        if (!fv_code_is_space(code)) break;
    }
    return place;
}

size_t fv_string_last(const fv_value *string, size_t begin, size_t end) {
    size_t place = end - 1;
    while (place > begin && end - place < 4 && ((unsigned char)string->bytes[place] & 0xC0) == 0x80) place--;
    return place;
}

size_t fv_space_end(const fv_value *string) {
    size_t end = string->length;
    uint32_t code;
    while (end > 0) {
        size_t place = fv_string_last(string, 0, end);
        if (place + fv_string_read(string, place, &code) != end) place = end - 1;
        (void)fv_string_read(string, place, &code);
        if (!fv_code_is_space(code)) break;
        end = place;
    }
    return end;
}

/* ---- tokens ---- */

static fv_token *add(reader *r, fv_token_kind kind, size_t begin, size_t end) {
    fv_token_list *list = r->list;
    list->items = fv_jinja_grow(r->room, list->items, list->count, &list->capacity, sizeof *list->items);
    list->items[list->count] =
        (fv_token){.kind = (uint8_t)kind, .line = r->room->line, .bytes = r->text + begin, .length = end - begin};
    fv_jinja_work(r->room, 1);
    return &list->items[list->count++];
}

static char at(const reader *r, size_t ahead) { return ahead < r->length - r->at ? r->text[r->at + ahead] : 0; }

static bool stands(const reader *r, const char *text) {
    size_t length = strlen(text);
    return length <= r->length - r->at && memcmp(r->text + r->at, text, length) == 0;
}

static void step(reader *r, size_t length) {
    for (size_t i = 0; i < length; i++) r->room->line += r->text[r->at + i] == '\n';
    r->at += length;
}

/* White space from here on, which is passed over. */
static void step_space(reader *r) {
    const fv_value rest = fv_value_string(r->text + r->at, r->length - r->at, FV_BY_TEMPLATE);
    step(r, fv_space_begin(&rest));
}

/* Text begin..end, which a bracket with the sign `strip` follows, or nothing (0). */
static void add_text(reader *r, size_t begin, size_t end, char strip, bool is_output) {
    fv_value text = fv_value_string(r->text + begin, end - begin, FV_BY_TEMPLATE);
    if (strip == '-') {
        text.length = fv_space_end(&text);
    } else if (strip != '+' && strip != 0 && !is_output) {
        size_t line = text.length;
        while (line > 0 && text.bytes[line - 1] != '\n') line--;
        fv_value rest = fv_value_part(&text, line, text.length);
        if ((line > 0 || r->line_begins) && fv_space_begin(&rest) == rest.length) text.length = line;
    }
    if (text.length > 0) add(r, FV_TOKEN_TEXT, begin, begin + text.length)->value = text;
}

/* ---- brackets ---- */

static size_t find(const reader *r, const char *wanted) {
    size_t length = strlen(wanted);
    for (size_t i = r->at; length <= r->length && i <= r->length - length; i++)
        if (memcmp(r->text + i, wanted, length) == 0) return i;
    return r->length;
}

/* After the closing bracket of a block or a comment: `sign` stood before it. */
static void step_end(reader *r, char sign) {
    if (sign == '-')
        step_space(r);
    else if (sign != '+' && at(r, 0) == '\n')
        step(r, 1);
    r->line_begins = r->at > 0 && r->text[r->at - 1] == '\n';
}

static void read_comment(reader *r) {
    size_t end = find(r, "#}");
    if (end == r->length) fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "a comment {# has no end #}");
    char sign = end > r->at ? r->text[end - 1] : 0;
    step(r, end + 2 - r->at);
    step_end(r, sign);
}

/* A block tag of one word at `place`, whose bracket is open: where it ends; 0: it is another one. */
static size_t tag_end(const reader *r, size_t place, const char *word, char *sign) {
    size_t length = strlen(word);
    if (place < r->length && (r->text[place] == '-' || r->text[place] == '+')) place++;
    while (place < r->length && strchr(" \t\n", r->text[place])) place++;
    if (r->length - place < length || memcmp(r->text + place, word, length) != 0) return 0;
    place += length;
    while (place < r->length && strchr(" \t\n", r->text[place])) place++;
    *sign = place < r->length && (r->text[place] == '-' || r->text[place] == '+') ? r->text[place++] : ' ';
    return r->length - place >= 2 && memcmp(r->text + place, "%}", 2) == 0 ? place + 2 : 0;
}

/* {% raw %}: all is text up to its end. */
static bool read_raw(reader *r) {
    char sign = 0, last = 0;
    size_t begin = tag_end(r, r->at, "raw", &sign), end = 0, after = 0;
    if (begin == 0) return false;
    step(r, begin - r->at);
    if (sign == '-') step_space(r);
    begin = r->at;
    for (end = begin; end + 1 < r->length && after == 0; end++)
        if (r->text[end] == '{' && r->text[end + 1] == '%') after = tag_end(r, end + 2, "endraw", &last);
    if (after == 0) fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "raw has no endraw");
    end--;
    r->line_begins = false;
    add_text(r, begin, end, r->text[end + 2] == '-' || r->text[end + 2] == '+' ? r->text[end + 2] : ' ', false);
    step(r, after - r->at);
    step_end(r, last);
    return true;
}

/* ---- what is in brackets ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80); }

static void read_number(reader *r) {
    char digits[64];
    size_t end = r->at, count = 0;
    bool real = false;
    for (; end < r->length && count + 1 < sizeof digits; end++) {
        char c = r->text[end], next = end + 1 < r->length ? r->text[end + 1] : 0;
        bool exponent = (c == 'e' || c == 'E') && (is_digit(next) || next == '-' || next == '+');
        if (c == '.' && is_digit(next) && !real)
            real = true;
        else if (exponent) {
            real = true;
            digits[count++] = c;
            if (is_digit(next)) continue;
            c = r->text[++end];
        } else if (!is_digit(c) && c != '_')
            break;
        if (c != '_' && count + 1 < sizeof digits) digits[count++] = c;
    }
    digits[count] = 0;
    if (end < r->length && is_letter(r->text[end]))
        fv_jinja_fail(r->room, FV_ERROR_UNSUPPORTED, "a number that goes on with '%c'", r->text[end]);
    fv_token *token = add(r, FV_TOKEN_NUMBER, r->at, end);
    errno = 0;
    token->value = real ? fv_value_real(strtod(digits, NULL)) : fv_value_integer(strtoll(digits, NULL, 10));
    if (errno != 0 && !real) fv_jinja_fail(r->room, FV_ERROR_UNSUPPORTED, "a whole number of more than 64 bits");
    step(r, end - r->at);
}

static uint32_t read_hex(const char *bytes, size_t count) {
    uint32_t code = 0;
    for (size_t i = 0; i < count; i++) {
        char c = bytes[i];
        int digit = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0 || code > 0x10FFFF) return UINT32_MAX;
        code = code << 4 | (uint32_t)digit;
    }
    return code;
}

/* The escape after a backslash at `place`; bytes of it. */
static size_t read_escape(reader *r, fv_builder *builder, size_t place, size_t end) {
    static const char letters[] = "ntrabfv\\'\"\n", meant[] = "\n\t\r\a\b\f\v\\'\"";
    char c = r->text[place];
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    const char *found = c ? strchr(letters, c) : NULL;
    if (found && c != '\n') fv_builder_add(builder, &meant[found - letters], 1, FV_BY_TEMPLATE);
    if (found) return 1;
    if (digits > 0) {
        uint32_t code = end - place > digits ? read_hex(r->text + place + 1, digits) : UINT32_MAX;
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
            fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "a text has a \\%c without its %zu digits", c, digits);
        fv_builder_code(builder, code, FV_BY_TEMPLATE);
        return 1 + digits;
    }
    size_t octal = 0;
    uint32_t code = 0;
    for (; octal < 3 && place + octal < end && r->text[place + octal] >= '0' && r->text[place + octal] <= '7'; octal++)
        code = code * 8 + (uint32_t)(r->text[place + octal] - '0');
    if (octal > 0)
        fv_builder_code(builder, code, FV_BY_TEMPLATE);
    else
        fv_builder_put(builder, "\\");
    return octal;
}

static void read_string(reader *r) {
    char quote = at(r, 0);
    size_t begin = r->at + 1, end = begin;
    fv_builder builder = {.room = r->room};
    while (end < r->length && r->text[end] != quote) end += r->text[end] == '\\' ? 2 : 1;
    if (end >= r->length) fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "a text has no closing %c", quote);
    for (size_t i = begin, next; i < end; i = next) {
        for (next = i; next < end && r->text[next] != '\\'; next++) {
        }
        fv_builder_add(&builder, r->text + i, next - i, FV_BY_TEMPLATE);
        if (next < end) next += 1 + read_escape(r, &builder, next + 1, end);
    }
    add(r, FV_TOKEN_STRING, begin, end)->value = fv_builder_value(&builder);
    step(r, end + 1 - r->at);
}

static void read_sign(reader *r) {
    static const char pairs[][3] = {"==", "!=", "<=", ">=", "//", "**"};
    char c = at(r, 0);
    size_t length = 1;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (stands(r, pairs[i])) length = 2;
    if (!c || !strchr("+-*/%~[](){}<>=!.:|,;", c) || (c == '!' && length == 1))
        fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "'%c' has no meaning there", c >= 0x20 && c < 0x7F ? c : '?');
    add(r, FV_TOKEN_SIGN, r->at, r->at + length)->sign = FV_SIGN(c, length == 2 ? at(r, 1) : 0);
    step(r, length);
}

/* The closing bracket of {{ or {%, if it stands here. */
static bool read_end(reader *r, bool output) {
    const char *bracket = output ? "}}" : "%}";
    char sign = at(r, 0) == '-' || (at(r, 0) == '+' && !output) ? at(r, 0) : 0;
    size_t place = r->at;
    if (sign) r->at++;
    if (!stands(r, bracket)) {
        r->at = place;
        return false;
    }
    add(r, output ? FV_TOKEN_OUTPUT_END : FV_TOKEN_BLOCK_END, place, r->at + 2);
    step(r, 2);
    if (output && sign == '-') step_space(r);
    if (output)
        r->line_begins = r->text[r->at - 1] == '\n';
    else
        step_end(r, sign);
    return true;
}

static void count_brackets(reader *r, char *open, size_t *depth) {
    char c = at(r, 0);
    const char *closing = c ? strchr(")]}", c) : NULL;
    if (c && strchr("([{", c)) {
        if (*depth == BRACKETS)
            fv_jinja_fail(r->room, FV_ERROR_FULL, "more than %d brackets inside each other", BRACKETS);
        open[(*depth)++] = c;
    } else if (closing) {
        if (*depth == 0 || open[*depth - 1] != "([{"[closing - ")]}"])
            fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "'%c' closes nothing", c);
        (*depth)--;
    }
}

static void read_inside(reader *r, bool output) {
    char open[BRACKETS];
    size_t depth = 0;
    for (;;) {
        step_space(r);
        if (r->at == r->length) fv_jinja_fail(r->room, FV_ERROR_CORRUPT, "%s is not closed", output ? "{{" : "{%");
        if (depth == 0 && read_end(r, output)) return;
        char c = at(r, 0);
        size_t end = r->at;
        if (is_digit(c)) {
            read_number(r);
        } else if (is_letter(c)) {
            while (end < r->length && (is_letter(r->text[end]) || is_digit(r->text[end]))) end++;
            add(r, FV_TOKEN_NAME, r->at, end);
            step(r, end - r->at);
        } else if (c == '\'' || c == '"') {
            read_string(r);
        } else {
            count_brackets(r, open, &depth);
            read_sign(r);
        }
    }
}

/* ---- all of it ---- */

/* Text up to the next bracket, and what is in that. */
static void read_part(reader *r) {
    size_t end = r->at, begin = r->at;
    while (end < r->length && !(r->text[end] == '{' && end + 1 < r->length && strchr("{%#", r->text[end + 1]))) end++;
    if (end == r->length) {
        add_text(r, begin, end, 0, false);
        r->at = end;
        return;
    }
    char kind = r->text[end + 1], sign = end + 2 < r->length ? r->text[end + 2] : ' ';
    bool is_output = kind == '{';
    bool strips = sign == '-' || sign == '+';
    add_text(r, begin, end, strips ? sign : ' ', is_output);
    step(r, end - begin + 2);
    r->line_begins = false;
    if (kind == '#') {
        read_comment(r);
    } else if (is_output || !read_raw(r)) {
        add(r, is_output ? FV_TOKEN_OUTPUT : FV_TOKEN_BLOCK, end, end + 2);
        if (strips) step(r, 1);
        read_inside(r, is_output);
    }
}

/* A copy with newlines as they are to be. */
static void copy_text(reader *r, const char *text, size_t length) {
    char *copy = fv_jinja_take(r->room, length, 1);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') continue;
        copy[r->length++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (r->length > 0 && copy[r->length - 1] == '\n') r->length--;
    r->text = copy;
}

void fv_tokens_read(fv_jinja_room *room, const char *text, size_t length, fv_token_list *list) {
    reader r = {.room = room, .list = list, .line_begins = true};
    room->line = 1;
    for (size_t i = 0, bytes; i < length; i += bytes) {
        bytes = fv_utf8_sequence((const unsigned char *)text + i, length - i);
        if (bytes == 0 || text[i] == 0) fv_jinja_fail(room, FV_ERROR_CORRUPT, "byte %zu is no UTF-8", i);
    }
    copy_text(&r, text, length);
    while (r.at < r.length) read_part(&r);
    add(&r, FV_TOKEN_END, r.length, r.length);
}
