/* tokenizer_bpe.c - GPT-2's way of writing bytes as printable characters never leaves this file.
 * Method: Sennrich, Haddow & Birch 2016 over bytes, as in GPT-2 (Radford et al. 2019). */
#include "text/tokenizer_bpe.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

#define MERGES_KEY "tokenizer.ggml.merges"
#define PRE_KEY "tokenizer.ggml.pre"
#define MERGES_MAX (UINT32_C(1) << 30)

/* Bytes that print as themselves keep their code point; the other 68, in order, are U+0100..U+0143. */
static bool is_printable(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD && byte <= 0xFF);
}

static uint32_t code_from_byte(uint32_t byte) {
    if (is_printable(byte)) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    return byte == 0xAD ? 0x143 : byte - 0x7F + 0x121;
}

/* -1 if the code point stands for no byte. */
static int byte_from_code(uint32_t code) {
    if (code < 0x100) return is_printable(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code == 0x143) return 0xAD;
    return code < 0x143 ? (int)(code - 0x121 + 0x7F) : -1;
}

static uint32_t pair_hash(int32_t left, int32_t right) {
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(hash >> 32);
}

/* The slot of this pair, or the free one where it belongs. At most half of the slots are taken. */
static uint32_t *find_slot(const fv_bpe *bpe, int32_t left, int32_t right) {
    uint32_t index = pair_hash(left, right) & bpe->slot_mask;
    for (;; index = (index + 1) & bpe->slot_mask) {
        uint32_t *slot = bpe->slots + index;
        if (*slot == 0) return slot;
        const fv_bpe_merge *merge = bpe->merges + *slot - 1;
        if (merge->left == left && merge->right == right) return slot;
    }
}

/* "left right" to three ids; the space that separates is the first one after the first byte. False if one of the
 * three is no token: such a merge can never lead to one. `joined` has room for the longest token. */
static bool read_merge(const fv_vocabulary *vocabulary, fv_gguf_text text, char *joined, fv_bpe_merge *merge) {
    if (text.length < 3 || text.length - 1 > vocabulary->longest) return false;
    const char *space = memchr(text.bytes + 1, ' ', text.length - 1);
    if (!space) return false;
    size_t left = (size_t)(space - text.bytes), right = text.length - left - 1;
    memcpy(joined, text.bytes, left);
    memcpy(joined + left, space + 1, right);
    merge->left = fv_vocabulary_find(vocabulary, joined, left);
    merge->right = fv_vocabulary_find(vocabulary, joined + left, right);
    merge->joined = fv_vocabulary_find(vocabulary, joined, left + right);
    return merge->left >= 0 && merge->right >= 0 && merge->joined >= 0;
}

/* A pair listed twice keeps its first rank. */
static void read_merges(fv_bpe *bpe, const fv_gguf_entry *entry, char *joined) {
    size_t cursor = 0;
    fv_gguf_text text;
    for (uint32_t rank = 0; rank < entry->count && fv_gguf_array_next(entry, &cursor, &text); rank++) {
        fv_bpe_merge *merge = bpe->merges + rank;
        if (!read_merge(bpe->vocabulary, text, joined, merge)) continue;
        uint32_t *slot = find_slot(bpe, merge->left, merge->right);
        if (*slot == 0) *slot = rank + 1;
    }
}

static fv_status open_merges(fv_bpe *bpe, const fv_gguf_entry *entry) {
    size_t slots = 2;
    while (slots < 2 * (size_t)entry->count) slots *= 2;
    bpe->slot_mask = (uint32_t)(slots - 1);
    bpe->slots = fv_array_new(slots, sizeof *bpe->slots);
    bpe->merges = fv_array_new((size_t)entry->count, sizeof *bpe->merges);
    char *joined = fv_array_new(bpe->vocabulary->longest, 1);
    bool complete = bpe->slots && bpe->merges && joined;
    if (complete) read_merges(bpe, entry, joined);
    free(joined);
    return complete ? FV_OK : FV_ERROR_MEMORY;
}

static fv_status find_pretokenizer(fv_bpe *bpe, const fv_gguf *gguf, fv_message *message) {
    fv_gguf_text name = {"", 0};
    fv_status status = fv_gguf_take_string(gguf, PRE_KEY, &name, message);
    if (status != FV_OK) return status;
    bpe->pretokenizer = fv_pretokenizer_find(name.bytes, name.length);
    if (bpe->pretokenizer) return FV_OK;
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "%s: pre-tokenizer '%.*s' is not supported; supported are gpt-2, smollm, llama-bpe, qwen2, "
                          "tekken, gpt-4o and others, see docs/tokenizer.md",
                          fv_gguf_path(gguf), name.length > 64 ? 64 : (int)name.length, name.bytes);
}

static void find_bytes(fv_bpe *bpe) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        char written[4];
        size_t length = fv_utf8_write(code_from_byte(byte), written);
        bpe->byte_ids[byte] = fv_vocabulary_find(bpe->vocabulary, written, length);
    }
}

fv_status fv_bpe_open(fv_bpe *bpe, const fv_vocabulary *vocabulary, const fv_gguf *gguf, fv_message *message) {
    fv_bpe made = {.vocabulary = vocabulary};
    fv_status status = find_pretokenizer(&made, gguf, message);
    if (status != FV_OK) return status;
    const fv_gguf_entry *entry = fv_gguf_entry_find(gguf, MERGES_KEY);
    bool listed = entry && entry->type == FV_GGUF_ARRAY && entry->element_type == FV_GGUF_STRING;
    if (!listed || entry->count > MERGES_MAX)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s is missing, no array of texts or too long",
                              fv_gguf_path(gguf), MERGES_KEY);
    find_bytes(&made);
    status = open_merges(&made, entry);
    if (status != FV_OK) {
        fv_bpe_close(&made);
        return status;
    }
    *bpe = made;
    return FV_OK;
}

void fv_bpe_close(fv_bpe *bpe) {
    free(bpe->merges);
    free(bpe->slots);
    *bpe = (fv_bpe){0};
}

/* fv_merge_find over the ranks. */
static bool find_rank(const void *rules, const fv_symbol *left, const fv_symbol *right, uint32_t *priority,
                      int32_t *id) {
    const fv_bpe *bpe = rules;
    uint32_t slot = *find_slot(bpe, left->id, right->id);
    if (slot == 0) return false;
    *priority = slot - 1;
    *id = bpe->merges[slot - 1].joined;
    return true;
}

/* What a word sink needs. */
typedef struct bpe_run {
    const fv_bpe *bpe;
    char *whole; /* room for the longest token and one character more; NULL: words are always merged */
    fv_merge *merge;
    fv_tokens *tokens;
} bpe_run;

/* The word as one token, -1 if it is none. */
static int32_t find_whole(const bpe_run *run, const fv_glyph *word, size_t count) {
    char bytes[4];
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        size_t got = fv_utf8_write(fv_glyph_code(word[i]), bytes);
        for (size_t j = 0; j < got; j++) {
            if (length > run->bpe->vocabulary->longest) return -1;
            length += fv_utf8_write(code_from_byte((unsigned char)bytes[j]), run->whole + length);
        }
    }
    return fv_vocabulary_find(run->bpe->vocabulary, run->whole, length);
}

static fv_status append_symbols(const fv_bpe *bpe, const fv_glyph *word, size_t count, fv_merge *merge) {
    fv_status status = FV_OK;
    for (size_t i = 0; i < count; i++) {
        char bytes[4];
        size_t length = fv_utf8_write(fv_glyph_code(word[i]), bytes);
        for (size_t j = 0; j < length && status == FV_OK; j++)
            status = fv_merge_append(merge, bpe->byte_ids[(unsigned char)bytes[j]], 1);
    }
    return status;
}

/* A byte that the vocabulary lacks leaves no token, as in llama.cpp. */
static fv_status take_symbols(const fv_merge *merge, fv_tokens *tokens) {
    fv_status status = FV_OK;
    for (uint32_t i = 0; i != FV_SYMBOL_NONE && status == FV_OK; i = merge->symbols[i].next)
        if (merge->symbols[i].id >= 0) status = fv_tokens_append(tokens, &merge->symbols[i].id, 1);
    return status;
}

static fv_status encode_word(void *context, const fv_glyph *word, size_t count) {
    const bpe_run *run = context;
    if (run->whole) {
        int32_t id = find_whole(run, word, count);
        if (id >= 0) return fv_tokens_append(run->tokens, &id, 1);
    }
    fv_merge_clear(run->merge);
    fv_status status = append_symbols(run->bpe, word, count, run->merge);
    if (status == FV_OK) status = fv_merge_run(run->merge, find_rank, run->bpe);
    return status == FV_OK ? take_symbols(run->merge, run->tokens) : status;
}

/* The text as code points; broken bytes become U+FFFD. */
static size_t read_glyphs(const char *text, size_t length, fv_glyph *glyphs) {
    size_t count = 0;
    for (size_t at = 0; at < length; count++) {
        uint32_t code;
        at += fv_utf8_read(text + at, length - at, &code);
        glyphs[count] = code | (uint32_t)fv_unicode_class_of(code) << 24;
    }
    return count;
}

fv_status fv_bpe_encode(const fv_bpe *bpe, const char *text, size_t length, fv_merge *merge, fv_tokens *tokens) {
    bpe_run run = {.bpe = bpe, .merge = merge, .tokens = tokens};
    bool wants_whole = fv_pretokenizer_ignores_merges(bpe->pretokenizer);
    if (wants_whole) run.whole = fv_array_new((size_t)bpe->vocabulary->longest + 4, 1);
    fv_glyph *glyphs = fv_array_new(length, sizeof *glyphs);
    fv_status status = FV_ERROR_MEMORY;
    if (glyphs && (run.whole || !wants_whole))
        status = fv_pretokenizer_run(bpe->pretokenizer, glyphs, read_glyphs(text, length, glyphs), encode_word, &run);
    free(glyphs);
    free(run.whole);
    return status;
}

fv_status fv_bpe_piece(const fv_token *token, fv_text *text) {
    fv_status status = FV_OK;
    for (size_t at = 0; at < token->length && status == FV_OK;) {
        uint32_t code;
        size_t length = fv_utf8_read(token->bytes + at, token->length - at, &code);
        int byte = byte_from_code(code);
        const char mapped = (char)byte;
        status = fv_text_append(text, byte < 0 ? token->bytes + at : &mapped, byte < 0 ? length : 1);
        at += length;
    }
    return status;
}
