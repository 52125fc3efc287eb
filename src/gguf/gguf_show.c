/* gguf_show.c - what people want to see of a file: values of any type, and what its tensors are made of. */
#include "fovea/gguf.h"
#include "fovea/weight.h"
#include <string.h>

static size_t value_bytes(fv_gguf_type type) {
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return (size_t)type < sizeof bytes ? bytes[type] : 0;
}

/* Up to eight little-endian bytes. */
static uint64_t raw_bits(const uint8_t *data, size_t bytes) {
    uint64_t bits = 0;
    for (size_t i = 0; i < bytes; i++) bits |= (uint64_t)data[i] << (8 * i);
    return bits;
}

static double real_of(fv_gguf_type type, uint64_t bits) {
    uint32_t low = (uint32_t)bits;
    float narrow;
    double wide;
    memcpy(&narrow, &low, sizeof narrow);
    memcpy(&wide, &bits, sizeof wide);
    return type == FV_GGUF_FLOAT64 ? wide : (double)narrow;
}

static int64_t whole_of(fv_gguf_type type, uint64_t bits) {
    if (type == FV_GGUF_INT8) return (int8_t)bits;
    if (type == FV_GGUF_INT16) return (int16_t)bits;
    if (type == FV_GGUF_INT32) return (int32_t)bits;
    return type == FV_GGUF_BOOL ? bits != 0 : (int64_t)bits;
}

bool fv_gguf_number_at(const fv_gguf_entry *entry, uint64_t index, fv_gguf_number *number) {
    size_t bytes = value_bytes(entry->element_type);
    if (bytes == 0 || index >= entry->count) return false;
    uint64_t bits = raw_bits(entry->data + index * bytes, bytes);
    bool real = entry->element_type == FV_GGUF_FLOAT32 || entry->element_type == FV_GGUF_FLOAT64;
    *number = (fv_gguf_number){.kind = entry->element_type == FV_GGUF_BOOL ? FV_GGUF_BOOL : FV_GGUF_INT64};
    if (real) number->kind = FV_GGUF_FLOAT64;
    if (real) number->real = real_of(entry->element_type, bits);
    if (!real) number->whole = whole_of(entry->element_type, bits);
    return true;
}

const char *fv_gguf_value_type_name(fv_gguf_type type) {
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "?";
}

size_t fv_gguf_type_uses(const fv_gguf *gguf, fv_gguf_type_use *uses, size_t capacity) {
    size_t used = 0;
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        size_t slot = 0;
        while (slot < used && uses[slot].ggml_type != tensor->ggml_type) slot++;
        if (slot == capacity) continue;
        if (slot == used) uses[used++] = (fv_gguf_type_use){.ggml_type = tensor->ggml_type};
        uses[slot].tensors++;
        uses[slot].bytes += tensor->bytes;
    }
    return used;
}

bool fv_gguf_type_is_supported(uint32_t ggml_type) {
#define SAME_TYPE(NAME, name, number, values, bytes) || ggml_type == (number)
    return false FV_WEIGHT_LIST(SAME_TYPE);
#undef SAME_TYPE
}

uint64_t fv_gguf_tensor_values(const fv_gguf_tensor *tensor) {
    uint64_t values = 1;
    for (uint32_t i = 0; i < tensor->dimension_count && i < 4; i++) values *= tensor->dimensions[i];
    return values;
}
