/* llm_identity.c - which model it is, from little of it. All of a large file would take seconds that reading a session
 * is there to save; names and shapes alone are the same for every fine-tune. Training moves nearly all weights, and
 * quantising by another recipe nearly all blocks, so a sample of every tensor differs. */
#include "fovea/session_file.h"
#include "llm/hash64.h"
#include "llm/llm.h"
#include <string.h>

#define WHOLE_BYTES 4096 /* a tensor with no more is looked at whole */
#define RUNS 16
#define RUN_BYTES 64

static uint64_t text_add(uint64_t sum, fv_gguf_text text) {
    return fv_hash64(fv_hash64(sum, text.bytes, text.length), &(uint8_t){0}, 1);
}

static uint64_t number_add(uint64_t sum, uint64_t number) {
    uint8_t bytes[8];
    fv_le64_put(bytes, number);
    return fv_hash64(sum, bytes, sizeof bytes);
}

static uint64_t data_add(uint64_t sum, const uint8_t *data, size_t bytes) {
    if (bytes <= WHOLE_BYTES) return fv_hash64(sum, data, bytes);
    for (size_t i = 0; i < RUNS; i++) {
        size_t last = bytes - RUN_BYTES, place = last / (RUNS - 1) * i;
        sum = fv_hash64(sum, data + (i + 1 == RUNS ? last : place), RUN_BYTES);
    }
    return sum;
}

static uint64_t tensor_add(uint64_t sum, const fv_gguf_tensor *tensor, bool inside) {
    sum = number_add(text_add(sum, tensor->name), tensor->ggml_type);
    for (size_t i = 0; i < 4; i++) sum = number_add(sum, tensor->dimensions[i]);
    return inside && tensor->data ? data_add(sum, tensor->data, (size_t)tensor->bytes) : sum;
}

static bool begins(fv_gguf_text key, const char *text) {
    size_t length = strlen(text);
    return key.length >= length && memcmp(key.bytes, text, length) == 0;
}

/* What does not change what a token computes. */
static bool is_label(fv_gguf_text key) {
    return begins(key, "general.") || begins(key, "split.") || begins(key, "tokenizer.chat_template");
}

static uint64_t sum_of(const fv_llm *llm, bool inside) {
    const fv_gguf *gguf = fv_llm_gguf(llm);
    uint64_t sum = number_add(0, fv_gguf_tensors(gguf));
    for (size_t i = 0; i < fv_gguf_entries(gguf); i++) {
        const fv_gguf_entry *entry = fv_gguf_entry_at(gguf, i);
        if (is_label(entry->key)) continue;
        sum = number_add(text_add(sum, entry->key), entry->type);
        sum = fv_hash64(sum, entry->data, entry->data_bytes);
    }
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) sum = tensor_add(sum, fv_gguf_tensor_at(gguf, i), inside);
    return sum;
}

uint64_t fv_llm_identity(const fv_llm *llm) { return sum_of(llm, true); }
uint64_t fv_llm_outline(const fv_llm *llm) { return sum_of(llm, false); }
