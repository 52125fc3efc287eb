/* gguf_fuzz.c - any bytes as a GGUF file: refused with a message, or safe to read through every call. */
#include "fovea/gguf.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t sum; /* keeps the reads alive */

static void touch(const void *bytes, uint64_t count) {
    const uint8_t *byte = bytes;
    for (uint64_t i = 0; i < count; i++) sum += byte[i];
}

static void read_entry(const fv_gguf_entry *entry) {
    touch(entry->key.bytes, entry->key.length);
    touch(entry->data, entry->data_bytes);
    int64_t whole;
    float real;
    fv_gguf_text text;
    size_t cursor = 0;
    uint64_t strings = 0;
    for (; fv_gguf_array_next(entry, &cursor, &text); strings++) touch(text.bytes, text.length);
    if (entry->type == FV_GGUF_ARRAY && entry->element_type == FV_GGUF_STRING && strings != entry->count) abort();
    for (uint64_t i = 0; i < 8; i++) {
        fv_gguf_array_i64(entry, i, &whole);
        fv_gguf_array_f32(entry, entry->count - i, &real);
    }
}

/* By name, through a zero-terminated copy; a name that holds a zero cannot be asked for. */
static void find_entry(const fv_gguf *gguf, const fv_gguf_entry *entry) {
    char *key = calloc(entry->key.length + 1, 1);
    if (!key) return;
    if (entry->key.length > 0) memcpy(key, entry->key.bytes, entry->key.length);
    uint32_t number;
    float real;
    bool flag;
    fv_gguf_text text;
    if (strlen(key) == entry->key.length && fv_gguf_entry_find(gguf, key) != entry) abort();
    fv_gguf_u32(gguf, key, &number);
    fv_gguf_f32(gguf, key, &real);
    fv_gguf_bool(gguf, key, &flag);
    if (fv_gguf_string(gguf, key, &text)) touch(text.bytes, text.length);
    fv_message message = {{0}};
    bool unreadable = fv_gguf_take_u32(gguf, key, &number, &message) != FV_OK;
    unreadable |= fv_gguf_take_f32(gguf, key, &real, &message) != FV_OK;
    unreadable |= fv_gguf_take_bool(gguf, key, &flag, &message) != FV_OK;
    unreadable |= fv_gguf_take_string(gguf, key, &text, &message) != FV_OK;
    if (unreadable != (message.text[0] != 0)) abort();
    free(key);
}

static void read_tensor(const fv_gguf_tensor *tensor) {
    touch(tensor->name.bytes, tensor->name.length);
    touch(tensor->data, tensor->bytes);
    fv_gguf_check check;
    if (fv_gguf_tensor_check(tensor, &check) && (!tensor->data || check.bad_blocks > check.blocks)) abort();
    if (tensor->dimension_count < 1 || tensor->dimension_count > 4) abort();
    if ((fv_gguf_type_name(tensor->ggml_type) == NULL) != (tensor->data == NULL)) abort();
    for (int i = 0; i < 4; i++)
        if (tensor->dimensions[i] == 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fv_gguf *gguf = NULL;
    fv_message message = {{0}};
    if (fv_gguf_open_memory(&gguf, data, size, "fuzz", &message) != FV_OK) {
        if (gguf || message.text[0] == 0) abort();
        return 0;
    }
    for (size_t i = 0; i < fv_gguf_entries(gguf); i++) {
        read_entry(fv_gguf_entry_at(gguf, i));
        find_entry(gguf, fv_gguf_entry_at(gguf, i));
    }
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) read_tensor(fv_gguf_tensor_at(gguf, i));
    fv_gguf_close(gguf);
    return 0;
}
