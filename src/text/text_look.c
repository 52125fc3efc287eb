/* text_look.c - what a text from outside holds that its author hardly meant. */
#include "fovea/text_look.h"
#include <string.h>

static const char mark[3] = {'\xEF', '\xBB', '\xBF'};

bool fv_text_drop_mark(fv_text *text) {
    if (text->length < sizeof mark || memcmp(text->bytes, mark, sizeof mark) != 0) return false;
    text->length -= sizeof mark;
    memmove(text->bytes, text->bytes + sizeof mark, text->length + 1); /* with its closing zero */
    return true;
}

typedef struct look {
    const char *bytes;
    size_t length;
    const char *name;
    fv_text_say_fn *say;
    void *context;
} look;

static void tell(const look *seen, const fv_message *message) { seen->say(seen->context, message->text); }

/* PowerShell's ">" writes it. */
static bool is_utf16(const look *seen) {
    return seen->length >= 2 && (memcmp(seen->bytes, "\xFF\xFE", 2) == 0 || memcmp(seen->bytes, "\xFE\xFF", 2) == 0);
}

static void look_at_encoding(const look *seen) {
    size_t offset = fv_utf8_valid(seen->bytes, seen->length);
    unsigned byte = offset < seen->length ? (unsigned char)seen->bytes[offset] : 0;
    fv_message message;
    if (is_utf16(seen))
        fv_message_set(&message, FV_OK, "%s is UTF-16, not UTF-8 (byte 0 is 0x%02X): convert it, say with iconv",
                       seen->name, byte);
    else if (offset < seen->length && fv_utf8_complete(seen->bytes + offset, seen->length - offset) == 0)
        fv_message_set(&message, FV_OK,
                       "%s is not UTF-8: it ends inside a character, byte %zu is 0x%02X; it is read as it is",
                       seen->name, offset, byte);
    else if (offset < seen->length)
        fv_message_set(&message, FV_OK, "%s is not UTF-8: byte %zu is 0x%02X; it is read as it is", seen->name, offset,
                       byte);
    else
        return;
    tell(seen, &message);
}

static void look_for_zero(const look *seen) {
    fv_message message;
    const char *zero = memchr(seen->bytes, 0, seen->length);
    if (!zero || is_utf16(seen)) return; /* which is full of them, and was told */
    fv_message_set(&message, FV_OK, "%s has a zero byte at %zu: is it a text? It is read as it is", seen->name,
                   (size_t)(zero - seen->bytes));
    tell(seen, &message);
}

static void look_at_lines(const look *seen) {
    size_t windows = 0, literal = 0, lines = 0;
    fv_message message;
    for (size_t i = 0; i + 1 < seen->length; i++) {
        windows += seen->bytes[i] == '\r' && seen->bytes[i + 1] == '\n';
        lines += seen->bytes[i] == '\n';
        if (seen->bytes[i] == '\\') literal += seen->bytes[++i] == 'n'; /* a doubled backslash is no escape */
    }
    if (windows > 0) {
        fv_message_set(&message, FV_OK,
                       "%s has %zu line ends CR LF, which a model reads as other tokens than LF; they are read as "
                       "they are (dos2unix changes them)",
                       seen->name, windows);
        tell(seen, &message);
    }
    if (literal > 0 && lines == 0) {
        fv_message_set(&message, FV_OK,
                       "%s has \\n as two characters and no line end: they are read as they are, unless escapes are "
                       "asked for",
                       seen->name);
        tell(seen, &message);
    }
}

void fv_text_look(const char *bytes, size_t length, const char *name, fv_text_say_fn *say, void *context) {
    const look seen = {bytes, length, name, say, context};
    if (length == 0) return;
    look_at_encoding(&seen);
    look_for_zero(&seen);
    look_at_lines(&seen);
}
