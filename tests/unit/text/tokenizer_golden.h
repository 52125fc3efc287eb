/* tokenizer_golden.h - reads tests/golden/tokenizer: the texts, the ids that belong to them, the tiny vocabularies. */
#ifndef FV_TEST_TOKENIZER_GOLDEN_H
#define FV_TEST_TOKENIZER_GOLDEN_H

#include "fovea/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_FOLDER FV_SOURCE_DIR "/tests/golden/tokenizer/"
#define PRE_KEY "tokenizer.ggml.pre"

/* The whole file, zero-terminated; empty if it cannot be read. */
static inline fv_text golden_read(const char *path) {
    fv_text text = {0};
    char buffer[4096];
    FILE *file = fopen(path, "rb");
    for (size_t got; file && (got = fread(buffer, 1, sizeof buffer, file)) > 0;)
        if (fv_text_append(&text, buffer, got) != FV_OK) abort();
    if (file) fclose(file);
    return text;
}

static inline fv_text golden_file(const char *name) {
    char path[1024];
    if (snprintf(path, sizeof path, GOLDEN_FOLDER "%s", name) >= (int)sizeof path) abort();
    return golden_read(path);
}

/* The next line, without its end, that is no comment; *cursor starts at 0. False after the last. */
static inline bool golden_line(const fv_text *text, size_t *cursor, const char **line, size_t *length) {
    while (*cursor < text->length) {
        *line = text->bytes + *cursor;
        const char *end = memchr(*line, '\n', text->length - *cursor);
        if (!end) abort();
        *length = (size_t)(end - *line);
        *cursor += *length + 1;
        if (*length < 2 || memcmp(*line, "# ", 2) != 0) return true;
    }
    return false;
}

static inline char golden_unescape(const char *escape, size_t *taken) {
    char digits[3] = {escape[1], escape[2], 0};
    *taken = 1;
    switch (escape[0]) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 's':
        return ' ';
    case 'x':
        *taken = 3;
        return (char)strtol(digits, NULL, 16);
    default:
        return escape[0];
    }
}

static inline void golden_append_text(fv_text *text, const char *line, size_t length) {
    if (fv_text_append(text, "", 0) != FV_OK) abort();
    for (size_t i = 0; i < length; i++) {
        char byte = line[i];
        if (byte == '\\') {
            size_t taken;
            byte = golden_unescape(line + i + 1, &taken);
            i += taken;
        }
        if (fv_text_append(text, &byte, 1) != FV_OK) abort();
    }
}

/* "flags id id …" */
static inline uint32_t golden_append_ids(fv_tokens *tokens, const char *line, size_t length) {
    char *cursor;
    uint32_t flags = (uint32_t)strtoul(line, &cursor, 10);
    while (cursor < line + length) {
        int32_t id = (int32_t)strtol(cursor, &cursor, 10);
        if (fv_tokens_append(tokens, &id, 1) != FV_OK) abort();
    }
    return flags;
}

/* tiny_bpe.gguf with another pre-tokenizer. */
static inline fv_text golden_bpe(const char *pretokenizer) {
    fv_text file = golden_file("tiny_bpe.gguf"), changed = {0};
    const char *at = file.bytes;
    while (at && memcmp(at, PRE_KEY, strlen(PRE_KEY)) != 0)
        at = memchr(at + 1, 't', file.length - (size_t)(at + 1 - file.bytes));
    if (!at) abort();
    at += strlen(PRE_KEY) + 4; /* after the key and the type of its value: length (8 bytes) and text */
    size_t head = (size_t)(at - file.bytes), old = (unsigned char)at[0], length = strlen(pretokenizer);
    const char count[8] = {(char)length};
    bool complete = fv_text_append(&changed, file.bytes, head) == FV_OK &&
                    fv_text_append(&changed, count, 8) == FV_OK &&
                    fv_text_append(&changed, pretokenizer, length) == FV_OK &&
                    fv_text_append(&changed, at + 8 + old, file.length - head - 8 - old) == FV_OK;
    if (!complete) abort();
    fv_text_free(&file);
    return changed;
}

/* tiny_spm.gguf with add_space_prefix, its last entry, switched off. */
static inline fv_text golden_spm_without_prefix(void) {
    fv_text file = golden_file("tiny_spm.gguf");
    if (file.length == 0) abort();
    file.bytes[file.length - 1] = 0;
    return file;
}

#endif
