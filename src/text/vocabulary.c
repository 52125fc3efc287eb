/* vocabulary.c - reads the token arrays of a model file; every length and type in it is hostile input. */
#include "text/vocabulary.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

#define TOKENS_KEY "tokenizer.ggml.tokens"
#define SCORES_KEY "tokenizer.ggml.scores"
#define TYPES_KEY "tokenizer.ggml.token_type"
#define TOKENS_MAX (UINT32_C(1) << 30)

/* Eight bytes a step, each mixed by a multiplication; only ever compared within one process. */
static uint32_t text_hash(const char *bytes, size_t length) {
    const uint64_t factor = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t hash = length * factor;
    while (length > 0) {
        uint64_t part = 0;
        size_t step = length < 8 ? length : 8;
        memcpy(&part, bytes, step);
        hash = (hash ^ part) * factor;
        hash ^= hash >> 32;
        bytes += step;
        length -= step;
    }
    return (uint32_t)(hash ^ hash >> 29);
}

/* The slot that holds this text, or the free one where it belongs. At most half of the slots are taken. */
static fv_vocabulary_slot *find_slot(const fv_vocabulary *vocabulary, const char *bytes, size_t length, uint32_t hash) {
    uint32_t index = hash & vocabulary->slot_mask;
    for (;; index = (index + 1) & vocabulary->slot_mask) {
        fv_vocabulary_slot *slot = vocabulary->slots + index;
        if (slot->id < 0) return slot;
        const fv_token *token = vocabulary->tokens + slot->id;
        if (slot->hash == hash && token->length == length && memcmp(token->bytes, bytes, length) == 0) return slot;
    }
}

int32_t fv_vocabulary_find(const fv_vocabulary *vocabulary, const char *bytes, size_t length) {
    if (length == 0 || length > vocabulary->longest) return -1;
    return find_slot(vocabulary, bytes, length, text_hash(bytes, length))->id;
}

int32_t fv_vocabulary_find_byte(const fv_vocabulary *vocabulary, unsigned char byte) {
    static const char digits[] = "0123456789ABCDEF";
    const char name[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
    int32_t id = fv_vocabulary_find(vocabulary, name, sizeof name);
    const char raw = (char)byte;
    return id >= 0 ? id : fv_vocabulary_find(vocabulary, &raw, 1);
}

static unsigned digit_value(char digit) {
    if (digit >= '0' && digit <= '9') return (unsigned)(digit - '0');
    if (digit >= 'A' && digit <= 'F') return (unsigned)(digit - 'A') + 10;
    if (digit >= 'a' && digit <= 'f') return (unsigned)(digit - 'a') + 10;
    return 0;
}

unsigned char fv_token_byte(const fv_token *token) {
    if (token->length != 6) return 0;
    return (unsigned char)(digit_value(token->bytes[3]) << 4 | digit_value(token->bytes[4]));
}

static uint8_t kinds_from_type(int64_t type) {
    switch (type) {
    case 1:
        return FV_TOKEN_NORMAL;
    case 2:
        return FV_TOKEN_UNKNOWN;
    case 3:
        return FV_TOKEN_CONTROL;
    case 4:
        return FV_TOKEN_USER_DEFINED;
    case 6:
        return FV_TOKEN_BYTE;
    default:
        return 0; /* 5: unused; others: undefined */
    }
}

/* An array of numbers with at least one for each token; *entry is NULL if the file has none. */
static fv_status find_numbers(const fv_gguf *gguf, const char *key, uint32_t tokens, const fv_gguf_entry **entry,
                              fv_message *message) {
    *entry = fv_gguf_entry_find(gguf, key);
    if (!*entry) return FV_OK;
    float number;
    if (!fv_gguf_array_f32(*entry, 0, &number))
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s is no array of numbers", fv_gguf_path(gguf), key);
    if ((*entry)->count < tokens)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s has %llu elements for %lu tokens", fv_gguf_path(gguf),
                              key, (unsigned long long)(*entry)->count, (unsigned long)tokens);
    return FV_OK;
}

static fv_status read_attributes(fv_vocabulary *vocabulary, const fv_gguf *gguf, fv_message *message) {
    const fv_gguf_entry *scores, *types;
    fv_status status = find_numbers(gguf, SCORES_KEY, vocabulary->count, &scores, message);
    if (status == FV_OK) status = find_numbers(gguf, TYPES_KEY, vocabulary->count, &types, message);
    if (status != FV_OK) return status;
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        fv_token *token = vocabulary->tokens + id;
        int64_t type = 1;
        if (scores) fv_gguf_array_f32(scores, id, &token->score);
        if (types && !fv_gguf_array_i64(types, id, &type))
            return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s is no array of integers", fv_gguf_path(gguf),
                                  TYPES_KEY);
        token->kinds = kinds_from_type(type);
    }
    return FV_OK;
}

static fv_status make_slots(fv_vocabulary *vocabulary) {
    size_t slots = 2;
    while (slots < 2 * (size_t)vocabulary->count) slots *= 2;
    vocabulary->slots = fv_array_new(slots, sizeof *vocabulary->slots);
    if (!vocabulary->slots) return FV_ERROR_MEMORY;
    vocabulary->slot_mask = (uint32_t)(slots - 1);
    for (size_t i = 0; i < slots; i++) vocabulary->slots[i].id = -1;
    return FV_OK;
}

/* Of tokens with one text the first has it, as in its rank; the others are still written out. */
static fv_status read_texts(fv_vocabulary *vocabulary, const fv_gguf *gguf, const fv_gguf_entry *entry,
                            fv_message *message) {
    size_t cursor = 0;
    fv_gguf_text text;
    for (uint32_t id = 0; id < vocabulary->count && fv_gguf_array_next(entry, &cursor, &text); id++) {
        if (text.length > FV_TOKEN_BYTES_MAX)
            return fv_message_set(message, FV_ERROR_CORRUPT, "%s: token %lu has %llu bytes, more than %d",
                                  fv_gguf_path(gguf), (unsigned long)id, (unsigned long long)text.length,
                                  FV_TOKEN_BYTES_MAX);
        fv_token *token = vocabulary->tokens + id;
        token->bytes = text.bytes;
        token->length = (uint16_t)text.length;
        if (text.length == 0) continue;
        uint32_t hash = text_hash(text.bytes, text.length);
        fv_vocabulary_slot *slot = find_slot(vocabulary, text.bytes, text.length, hash);
        if (slot->id < 0) *slot = (fv_vocabulary_slot){.hash = hash, .id = (int32_t)id};
        if (token->length > vocabulary->longest) vocabulary->longest = token->length;
    }
    return FV_OK;
}

static fv_status read_all(fv_vocabulary *vocabulary, const fv_gguf *gguf, const fv_gguf_entry *entry,
                          fv_message *message) {
    vocabulary->count = (uint32_t)entry->count;
    vocabulary->tokens = fv_array_new(vocabulary->count, sizeof *vocabulary->tokens);
    if (!vocabulary->tokens) return FV_ERROR_MEMORY;
    fv_status status = make_slots(vocabulary);
    if (status == FV_OK) status = read_texts(vocabulary, gguf, entry, message);
    if (status == FV_OK) status = read_attributes(vocabulary, gguf, message);
    return status;
}

fv_status fv_vocabulary_open(fv_vocabulary *vocabulary, const fv_gguf *gguf, fv_message *message) {
    const fv_gguf_entry *entry = fv_gguf_entry_find(gguf, TOKENS_KEY);
    if (!entry || entry->type != FV_GGUF_ARRAY || entry->element_type != FV_GGUF_STRING || entry->count == 0)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s is missing or no array of texts", fv_gguf_path(gguf),
                              TOKENS_KEY);
    if (entry->count > TOKENS_MAX)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s has %llu elements, more than %lu", fv_gguf_path(gguf),
                              TOKENS_KEY, (unsigned long long)entry->count, (unsigned long)TOKENS_MAX);
    fv_vocabulary made = {0};
    fv_status status = read_all(&made, gguf, entry, message);
    if (status != FV_OK) {
        fv_vocabulary_close(&made);
        return status;
    }
    *vocabulary = made;
    return FV_OK;
}

void fv_vocabulary_close(fv_vocabulary *vocabulary) {
    free(vocabulary->tokens);
    free(vocabulary->slots);
    *vocabulary = (fv_vocabulary){0};
}
