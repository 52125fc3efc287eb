/* text_read.c - texts and lists of ids from outside. */
#include "fovea/tokenizer.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
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
