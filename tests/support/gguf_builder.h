/* gguf_builder.h - writes GGUF bytes for tests, right and wrong ones alike. */
#ifndef FV_TEST_GGUF_BUILDER_H
#define FV_TEST_GGUF_BUILDER_H

#include "fovea/gguf.h"
#include <stdlib.h>
#include <string.h>

typedef struct builder {
    uint8_t bytes[16384];
    size_t count;
} builder;

static inline void put_bytes(builder *b, const void *bytes, size_t count) {
    if (count > sizeof b->bytes - b->count) abort();
    memcpy(b->bytes + b->count, bytes, count);
    b->count += count;
}

static inline void put_number(builder *b, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        put_bytes(b, &byte, 1);
    }
}

static inline void put_text(builder *b, const char *text) {
    put_number(b, strlen(text), 8);
    put_bytes(b, text, strlen(text));
}

static inline void put_header(builder *b, uint32_t version, uint64_t tensors, uint64_t entries) {
    b->count = 0;
    put_bytes(b, "GGUF", 4);
    put_number(b, version, 4);
    put_number(b, tensors, 8);
    put_number(b, entries, 8);
}

/* A value of `bytes` bytes; strings and arrays are put piece by piece after put_key(). */
static inline void put_key(builder *b, const char *key, uint32_t type) {
    put_text(b, key);
    put_number(b, type, 4);
}
static inline void put_value(builder *b, const char *key, uint32_t type, uint64_t value, size_t bytes) {
    put_key(b, key, type);
    put_number(b, value, bytes);
}
static inline void put_u32_entry(builder *b, const char *key, uint32_t value) {
    put_value(b, key, FV_GGUF_UINT32, value, 4);
}
static inline void put_array(builder *b, const char *key, uint32_t element_type, uint64_t count) {
    put_key(b, key, FV_GGUF_ARRAY);
    put_number(b, element_type, 4);
    put_number(b, count, 8);
}

static inline void put_tensor(builder *b, const char *name, uint32_t dimension_count, const uint64_t *dimensions,
                              uint32_t type, uint64_t offset) {
    put_text(b, name);
    put_number(b, dimension_count, 4);
    for (uint32_t i = 0; i < dimension_count; i++) put_number(b, dimensions[i], 8);
    put_number(b, type, 4);
    put_number(b, offset, 8);
}

/* Tensor data: padding up to `alignment`, then `bytes` bytes. */
static inline void put_data(builder *b, size_t alignment, size_t bytes) {
    while (b->count % alignment != 0) put_number(b, 0, 1);
    for (size_t i = 0; i < bytes; i++) put_number(b, i & 255, 1);
}

/* A file with a value of each type and two tensors; ends with the last byte of the last tensor. */
static inline void build_sample(builder *b, uint32_t version) {
    const uint64_t matrix[] = {32, 3}, vector[] = {5};
    put_header(b, version, 2, 20);
    put_key(b, "general.architecture", FV_GGUF_STRING);
    put_text(b, "llama");
    put_value(b, "u8", FV_GGUF_UINT8, 200, 1);
    put_value(b, "i8", FV_GGUF_INT8, (uint8_t)-100, 1);
    put_value(b, "u16", FV_GGUF_UINT16, 60000, 2);
    put_value(b, "i16", FV_GGUF_INT16, 30000, 2);
    put_value(b, "u32", FV_GGUF_UINT32, 4000000000u, 4);
    put_value(b, "i32", FV_GGUF_INT32, (uint32_t)-2, 4);
    put_value(b, "u64", FV_GGUF_UINT64, UINT64_MAX, 8);
    put_value(b, "i64", FV_GGUF_INT64, (uint64_t)INT64_MIN, 8);
    put_value(b, "small_i64", FV_GGUF_INT64, 77, 8);
    put_value(b, "f32", FV_GGUF_FLOAT32, 0x3FC00000, 4);             /* 1.5 */
    put_value(b, "f64", FV_GGUF_FLOAT64, 0xC004000000000000, 8);     /* -2.5 */
    put_value(b, "big_f64", FV_GGUF_FLOAT64, 0x7FE0000000000000, 8); /* 2^1023 */
    put_value(b, "yes", FV_GGUF_BOOL, 1, 1);
    put_value(b, "no", FV_GGUF_BOOL, 0, 1);
    put_value(b, "perhaps", FV_GGUF_BOOL, 2, 1);
    put_array(b, "numbers", FV_GGUF_INT16, 3);
    put_number(b, 1, 2), put_number(b, (uint16_t)-2, 2), put_number(b, 300, 2);
    put_array(b, "words", FV_GGUF_STRING, 3);
    put_text(b, "one"), put_text(b, ""), put_text(b, "three");
    put_array(b, "flags", FV_GGUF_BOOL, 2);
    put_number(b, 1, 1), put_number(b, 0, 1);
    put_array(b, "nothing", FV_GGUF_FLOAT32, 0);
    put_tensor(b, "a.weight", 2, matrix, FV_WEIGHT_Q8_0, 0);
    put_tensor(b, "b.bias", 1, vector, FV_WEIGHT_F32, 128);
    put_data(b, 32, 128 + 20);
}

#endif
