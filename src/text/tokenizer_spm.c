/* tokenizer_spm.c - a space is written U+2581 inside the vocabulary; that never leaves this file.
 * Method: the bpe model of SentencePiece (Kudo & Richardson 2018), characters without a token as bytes. */
#include "text/tokenizer_spm.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

static const char space_mark[3] = {'\xE2', '\x96', '\x81'};

void fv_spm_open(fv_spm *spm, const fv_vocabulary *vocabulary) {
    spm->vocabulary = vocabulary;
    for (unsigned byte = 0; byte < 256; byte++)
        spm->byte_ids[byte] = fv_vocabulary_find_byte(vocabulary, (unsigned char)byte);
}

/* The text with its spaces marked: *marked is `*marked_length` bytes, to be freed. */
static fv_status mark_spaces(const char *text, size_t length, bool space_prefix, char **marked, size_t *marked_length) {
    size_t spaces = space_prefix;
    for (size_t i = 0; i < length; i++) spaces += text[i] == ' ';
    size_t wanted = length + space_prefix;
    if (length > INT32_MAX || wanted > INT32_MAX - 2 * spaces) return FV_ERROR_ARGUMENT;
    wanted += 2 * spaces;
    char *out = fv_array_new(wanted, 1);
    if (!out) return FV_ERROR_MEMORY;
    *marked = out;
    *marked_length = wanted;
    if (space_prefix) {
        memcpy(out, space_mark, sizeof space_mark);
        out += sizeof space_mark;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ') {
            memcpy(out, space_mark, sizeof space_mark);
            out += sizeof space_mark;
        } else {
            *out++ = text[i];
        }
    }
    return FV_OK;
}

/* By the first byte alone, as llama.cpp does: what is no UTF-8 ends up as bytes anyway. */
static size_t character_bytes(char first) {
    unsigned char byte = (unsigned char)first;
    return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/* What fv_merge_find needs. */
typedef struct spm_run {
    const fv_vocabulary *vocabulary;
    const char *text;
} spm_run;

/* Maps a score to an integer that is the smaller the higher the score; -0 and 0 are one, NaN is last. */
static uint32_t priority_from_score(float score) {
    if (score != score) return UINT32_MAX;
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

/* fv_merge_find over the scores: two neighbours may be joined if their text is a token, of whatever kind. */
static bool find_score(const void *rules, const fv_symbol *left, const fv_symbol *right, uint32_t *priority,
                       int32_t *id) {
    const spm_run *run = rules;
    *id = fv_vocabulary_find(run->vocabulary, run->text + left->begin, (size_t)left->bytes + right->bytes);
    if (*id < 0) return false;
    *priority = priority_from_score(run->vocabulary->tokens[*id].score);
    return true;
}

static fv_status append_symbols(const fv_vocabulary *vocabulary, const char *text, size_t length, fv_merge *merge) {
    fv_status status = FV_OK;
    for (size_t at = 0; at < length && status == FV_OK;) {
        size_t bytes = character_bytes(text[at]);
        if (bytes > length - at) bytes = length - at;
        status = fv_merge_append(merge, fv_vocabulary_find(vocabulary, text + at, bytes), (uint32_t)bytes);
        at += bytes;
    }
    return status;
}

static fv_status take_symbol(const fv_spm *spm, const fv_symbol *symbol, const char *text, fv_tokens *tokens) {
    if (symbol->id >= 0) return fv_tokens_append(tokens, &symbol->id, 1);
    fv_status status = FV_OK;
    for (uint32_t i = 0; i < symbol->bytes && status == FV_OK; i++) {
        int32_t id = spm->byte_ids[(unsigned char)text[symbol->begin + i]];
        if (id >= 0) status = fv_tokens_append(tokens, &id, 1);
    }
    return status;
}

static fv_status encode_marked(const fv_spm *spm, const char *text, size_t length, fv_merge *merge, fv_tokens *tokens) {
    spm_run run = {spm->vocabulary, text};
    fv_merge_clear(merge);
    fv_status status = append_symbols(spm->vocabulary, text, length, merge);
    if (status == FV_OK) status = fv_merge_run(merge, find_score, &run);
    if (merge->count == 0) return status;
    for (uint32_t i = 0; i != FV_SYMBOL_NONE && status == FV_OK; i = merge->symbols[i].next)
        status = take_symbol(spm, merge->symbols + i, text, tokens);
    return status;
}

fv_status fv_spm_encode(const fv_spm *spm, const char *text, size_t length, bool space_prefix, fv_merge *merge,
                        fv_tokens *tokens) {
    char *marked;
    size_t marked_length;
    fv_status status = mark_spaces(text, length, space_prefix, &marked, &marked_length);
    if (status != FV_OK) return status;
    status = encode_marked(spm, marked, marked_length, merge, tokens);
    free(marked);
    return status;
}

fv_status fv_spm_piece(const fv_token *token, fv_text *text) {
    fv_status status = FV_OK;
    for (size_t at = 0; at < token->length && status == FV_OK;) {
        bool is_mark = token->length - at >= sizeof space_mark && memcmp(token->bytes + at, space_mark, 3) == 0;
        status = fv_text_append(text, is_mark ? " " : token->bytes + at, 1);
        at += is_mark ? sizeof space_mark : 1;
    }
    return status;
}
