/* gguf_value.h - one metadata value, from the entry itself. */
#ifndef FV_GGUF_VALUE_H
#define FV_GGUF_VALUE_H

#include "fovea/gguf.h"

/* Bytes of one value of a fixed-size type; 0 for strings, arrays and unknown types. */
size_t fv_gguf_value_bytes(uint32_t type);

/* False, and *value untouched, if `entry` is NULL or its value does not fit. */
bool fv_gguf_entry_u32(const fv_gguf_entry *entry, uint32_t *value);
bool fv_gguf_entry_f32(const fv_gguf_entry *entry, float *value);
bool fv_gguf_entry_bool(const fv_gguf_entry *entry, bool *value);
bool fv_gguf_entry_string(const fv_gguf_entry *entry, fv_gguf_text *value);

#endif
