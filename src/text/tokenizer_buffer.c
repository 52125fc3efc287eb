/* tokenizer_buffer.c - the growing arrays that tokenizer calls fill, and the cut of a text at a character's end. */
#include "fovea/tokenizer.h"
#include "platform/array.h"
#include "platform/utf8.h"
#include <stdlib.h>
#include <string.h>

void fv_tokens_free(fv_tokens *tokens) {
    free(tokens->ids);
    *tokens = (fv_tokens){0};
}

void fv_text_free(fv_text *text) {
    free(text->bytes);
    *text = (fv_text){0};
}

void fv_text_spans_free(fv_text_spans *spans) {
    free(spans->spans);
    *spans = (fv_text_spans){0};
}

fv_status fv_text_spans_append(fv_text_spans *spans, size_t begin, size_t end) {
    fv_text_span *grown = fv_array_reserve(spans->spans, &spans->capacity, spans->count, 1, sizeof *grown);
    if (!grown) return FV_ERROR_MEMORY;
    spans->spans = grown;
    grown[spans->count++] = (fv_text_span){begin, end};
    return FV_OK;
}

fv_status fv_tokens_append(fv_tokens *tokens, const int32_t *ids, size_t count) {
    if (count == 0) return FV_OK;
    int32_t *grown = fv_array_reserve(tokens->ids, &tokens->capacity, tokens->count, count, sizeof *grown);
    if (!grown) return FV_ERROR_MEMORY;
    tokens->ids = grown;
    memcpy(grown + tokens->count, ids, count * sizeof *ids);
    tokens->count += count;
    return FV_OK;
}

fv_status fv_text_append(fv_text *text, const char *bytes, size_t length) {
    if (length == SIZE_MAX) return FV_ERROR_MEMORY;
    char *grown = fv_array_reserve(text->bytes, &text->capacity, text->length, length + 1, 1);
    if (!grown) return FV_ERROR_MEMORY;
    text->bytes = grown;
    if (length > 0) memcpy(grown + text->length, bytes, length);
    text->length += length;
    grown[text->length] = 0;
    return FV_OK;
}

/* Bytes that the sequence led by `first` has; 1 for what leads none. */
static size_t sequence_bytes(unsigned char first) {
    if (first < 0xC2 || first > 0xF4) return 1;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Whether `next` may follow `first`: rules out overlong forms, surrogates and what is above U+10FFFF. */
static bool may_follow(unsigned char first, unsigned char next) {
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return next >= low && next <= high;
}

size_t fv_utf8_complete(const char *bytes, size_t length) {
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)bytes[start - 1] & 0xC0) == 0x80) start--;
    if (start == 0) return length;
    unsigned char first = (unsigned char)bytes[start - 1];
    size_t have = length - start + 1;
    if (sequence_bytes(first) <= have) return length;
    return have == 1 || may_follow(first, (unsigned char)bytes[start]) ? start - 1 : length;
}

size_t fv_utf8_valid(const char *bytes, size_t length) {
    size_t at = 0, step;
    while (at < length && (step = fv_utf8_sequence((const unsigned char *)bytes + at, length - at)) > 0) at += step;
    return at;
}

fv_status fv_utf8_clean(const char *bytes, size_t length, fv_text *text) {
    fv_status status = fv_text_append(text, "", 0);
    while (length > 0 && status == FV_OK) {
        size_t good = fv_utf8_valid(bytes, length);
        status = fv_text_append(text, bytes, good);
        if (status == FV_OK && good < length) {
            status = fv_text_append(text, "\xEF\xBF\xBD", 3); /* U+FFFD */
            good++;
        }
        bytes += good;
        length -= good;
    }
    return status;
}
