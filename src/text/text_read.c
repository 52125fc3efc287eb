/* text_read.c - texts and lists of ids from outside, and the escapes that people type. */
#include "fovea/tokenizer.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fv_status read_stream(FILE *file, const char *name, fv_text *text, fv_message *message) {
    char buffer[16384];
    for (;;) {
        size_t count = fread(buffer, 1, sizeof buffer, file);
        int error = ferror(file) ? errno : 0;
        if (fv_text_append(text, buffer, count) != FV_OK)
            return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for %zu bytes of text", name,
                                  text->length + count);
        if (error == EINTR) return fv_message_set(message, FV_ERROR_INTERRUPTED, "interrupted while reading %s", name);
        if (ferror(file)) return fv_message_set(message, FV_ERROR_FILE, "%s: %s", name, strerror(error));
        if (count < sizeof buffer) return FV_OK;
    }
}

fv_status fv_text_read(fv_text *text, const char *path, fv_message *message) {
    errno = 0;
    if (strcmp(path, "-") == 0) return read_stream(stdin, "standard input", text, message);
    FILE *file = fopen(path, "rb");
    if (!file) return fv_message_set(message, FV_ERROR_FILE, "%s: %s", path, strerror(errno));
    fv_status status = read_stream(file, path, text, message);
    fclose(file);
    return status;
}

/* The byte that the escape at `bytes` (after the backslash) stands for and how long it is; 0: it is none. */
static size_t read_escape(const char *bytes, size_t length, char *byte) {
    static const char letters[] = "nrt'\"\\", values[] = "\n\r\t'\"\\";
    const char *letter = length > 0 && bytes[0] ? strchr(letters, bytes[0]) : NULL;
    if (letter) {
        *byte = values[letter - letters];
        return 1;
    }
    if (length < 3 || bytes[0] != 'x' || !isxdigit((unsigned char)bytes[1]) || !isxdigit((unsigned char)bytes[2]))
        return 0;
    char digits[3] = {bytes[1], bytes[2], 0};
    *byte = (char)strtoul(digits, NULL, 16);
    return 3;
}

void fv_text_unescape(fv_text *text) {
    size_t to = 0, used;
    for (size_t from = 0; from < text->length; from++) {
        char byte = text->bytes[from];
        if (byte == '\\' && (used = read_escape(text->bytes + from + 1, text->length - from - 1, &byte)) > 0)
            from += used;
        text->bytes[to++] = byte;
    }
    text->length = to;
    if (text->bytes) text->bytes[to] = 0;
}

static bool is_between(unsigned char byte) { return isspace(byte) || byte == ',' || byte == '[' || byte == ']'; }

fv_status fv_tokens_parse(fv_tokens *tokens, const char *text, size_t length, int32_t limit, fv_message *message) {
    for (size_t i = 0; i < length;) {
        if (is_between((unsigned char)text[i])) {
            i++;
            continue;
        }
        if (!isdigit((unsigned char)text[i]))
            return fv_message_set(message, FV_ERROR_ARGUMENT,
                                  "byte %zu of the ids is not a digit, blank, comma or bracket", i);
        int64_t id = 0;
        for (; i < length && isdigit((unsigned char)text[i]); i++)
            if (id <= INT32_MAX) id = id * 10 + (text[i] - '0');
        if (id >= limit)
            return fv_message_set(message, FV_ERROR_ARGUMENT,
                                  "an id near byte %zu is above the largest of this vocabulary, %d", i, (int)limit - 1);
        int32_t narrow = (int32_t)id;
        if (fv_tokens_append(tokens, &narrow, 1) != FV_OK)
            return fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu ids", tokens->count + 1);
    }
    return FV_OK;
}
