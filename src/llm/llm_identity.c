/* llm_identity.c - which model it is, from little of it. All of a large file would take seconds that reading a session
 * is there to save; names and shapes alone are the same for every fine-tune. Training moves nearly all weights, and
 * quantising by another recipe nearly all blocks, so a sample of every tensor differs. */
#include "fovea/session_file.h"
#include "fovea/stage.h"
#include "gguf/gguf_map.h"
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

/* runs: at least 2. */
static uint64_t data_add(uint64_t sum, const uint8_t *data, size_t bytes, size_t runs) {
    if (bytes <= WHOLE_BYTES) return fv_hash64(sum, data, bytes);
    for (size_t i = 0; i < runs; i++) {
        size_t last = bytes - RUN_BYTES, place = last / (runs - 1) * i;
        sum = fv_hash64(sum, data + (i + 1 == runs ? last : place), RUN_BYTES);
    }
    return sum;
}

static uint64_t tensor_add(uint64_t sum, const fv_gguf_tensor *tensor, bool inside) {
    sum = number_add(text_add(sum, tensor->name), tensor->ggml_type);
    for (size_t i = 0; i < 4; i++) sum = number_add(sum, tensor->dimensions[i]);
    return inside && tensor->data ? data_add(sum, tensor->data, (size_t)tensor->bytes, RUNS) : sum;
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

/* --- of some layers --- */

#define STAGE_RUNS \
    2 /* a file of other weights has others everywhere; what is not read otherwise costs time to read \
       */

/* Of a layer, "blk.12.ffn_up.weight"; UINT32_MAX: of none. */
static uint32_t layer_of(fv_gguf_text name) {
    uint32_t layer = 0;
    size_t at = 4;
    if (!begins(name, "blk.")) return UINT32_MAX;
    for (; at < name.length && name.bytes[at] >= '0' && name.bytes[at] <= '9' && layer < UINT32_MAX / 16; at++)
        layer = layer * 10 + (uint32_t)(name.bytes[at] - '0');
    return at > 4 && at < name.length && name.bytes[at] == '.' ? layer : UINT32_MAX;
}

static bool is_of(const fv_gguf_tensor *tensor, const fv_layer_range *range) {
    uint32_t layer = layer_of(tensor->name);
    if (layer == UINT32_MAX) return range->first == 0;
    return layer >= range->first && layer - range->first < range->count;
}

uint64_t fv_stage_sum(const fv_llm *llm, const fv_layer_range *range) {
    const fv_gguf *gguf = fv_llm_gguf(llm);
    uint64_t sum = fv_llm_outline(llm);
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        if (!tensor->data || !is_of(tensor, range)) continue;
        sum = data_add(sum, tensor->data, (size_t)tensor->bytes, STAGE_RUNS);
        fv_gguf_release(gguf, tensor->data, (size_t)tensor->bytes); /* it may be of another stage's layers */
    }
    return sum;
}
