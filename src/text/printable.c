/* printable.c - what comes out of a file, made fit to be shown on a terminal: one that obeys it would do what the
 * file's writer wants. */
#include "fovea/tokenizer.h"
#include "platform/utf8.h"
#include <stdio.h>
#include <string.h>

/* C0, DEL and, as UTF-8, C1: what terminals take for commands. */
static bool is_control(const unsigned char *bytes, size_t length) {
    return length == 1 ? bytes[0] < 0x20 || bytes[0] == 0x7F : length == 2 && bytes[0] == 0xC2 && bytes[1] < 0xA0;
}

static fv_status append_escape(const unsigned char *bytes, size_t length, fv_text *text) {
    char escape[8];
    int written = length == 2 ? snprintf(escape, sizeof escape, "\\u%04X", (unsigned)bytes[1])
                              : snprintf(escape, sizeof escape, "\\x%02X", (unsigned)bytes[0]);
    return fv_text_append(text, escape, (size_t)written);
}

fv_status fv_utf8_printable(const char *bytes, size_t length, const char *kept, fv_text *text) {
    size_t before = text->length, clean = 0, at = 0;
    fv_status status = fv_text_append(text, "", 0);
    while (at < length && status == FV_OK) {
        const unsigned char *next = (const unsigned char *)bytes + at;
        size_t step = fv_utf8_sequence(next, length - at);
        bool shown = step > 0 && (!is_control(next, step) || (step == 1 && *next && strchr(kept, *next)));
        if (!shown) {
            if (step == 0) step = 1;
            status = fv_text_append(text, bytes + clean, at - clean);
            if (status == FV_OK) status = append_escape(next, step, text);
            clean = at + step;
        }
        at += step;
    }
    if (status == FV_OK) status = fv_text_append(text, bytes + clean, length - clean);
    if (status == FV_OK) return FV_OK;
    text->length = before;
    if (text->bytes) text->bytes[before] = 0;
    return status;
}
