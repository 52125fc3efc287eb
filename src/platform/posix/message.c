/* message.c - formats the sentence of an error; whatever a file put into it comes out as one printable line. */
#include "fovea/message.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

/* Bytes of the well-formed UTF-8 sequence at `text`; 0 if there is none. Stops at the closing zero by itself. */
static size_t sequence_length(const unsigned char *text) {
    unsigned char first = text[0], low = 0x80, high = 0xBF;
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    if (first == 0xE0) low = 0xA0;  /* else an overlong form */
    if (first == 0xED) high = 0x9F; /* else a surrogate */
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F; /* else above U+10FFFF */
    size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xBF) return 0;
    return length;
}

/* Control characters (C1 included, which terminals obey too) and broken UTF-8, a cut one at the end included,
 * become '?': byte for byte, so the text never grows. */
static void make_printable(char *text) {
    unsigned char *bytes = (unsigned char *)text;
    size_t i = 0;
    while (bytes[i]) {
        size_t length = sequence_length(bytes + i);
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
    if (sequence_length((const unsigned char *)text + start - 1) == 0) text[start - 1] = 0;
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
