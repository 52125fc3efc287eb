/* message.c - formats the sentence of an error; whatever a file put into it comes out as one printable line. */
#include "fovea/message.h"
#include "platform/utf8.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Control characters (C1 included, which terminals obey too) and broken UTF-8, a cut one at the end included,
 * become '?': byte for byte, so the text never grows. */
static void make_printable(char *text) {
    unsigned char *bytes = (unsigned char *)text;
    size_t i = 0;
    while (bytes[i]) {
        size_t length = fv_utf8_sequence(bytes + i, SIZE_MAX);
        bool control = bytes[i] < 0x20 || bytes[i] == 0x7F || (length == 2 && bytes[i] == 0xC2 && bytes[i + 1] < 0xA0);
        if (length > 0 && !control) {
            i += length;
            continue;
        }
        bytes[i++] = '?';
    }
}

/* A text that was cut may end inside a sequence: drop that part. */
static void trim_cut(char *text, size_t length) {
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
    if (start == 0 || (unsigned char)text[start - 1] < 0xC0) return;
    if (fv_utf8_sequence((const unsigned char *)text + start - 1, SIZE_MAX) == 0) text[start - 1] = 0;
}

fv_status fv_message_set(fv_message *message, fv_status status, const char *format, ...) {
    if (!message) return status;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message->text, sizeof message->text, format, arguments);
    va_end(arguments);
    if (length < 0) message->text[0] = 0;
    if (length >= (int)sizeof message->text) trim_cut(message->text, sizeof message->text - 1);
    make_printable(message->text);
    return status;
}
