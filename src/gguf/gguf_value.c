/* gguf_value.c - typed reads of metadata. The values lie unaligned and little-endian in the file; the entry's range
 * was checked when the file was opened. */
#include "gguf/gguf_value.h"
#include <float.h>
#include <math.h>
#include <string.h>

size_t fv_gguf_value_bytes(uint32_t type) {
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof bytes ? bytes[type] : 0;
}

static uint64_t load_le(const uint8_t *data, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)data[i] << (8 * i);
    return value;
}

/* Two's complement of `bits` bits, without relying on an out-of-range conversion. */
static int64_t sign_extended(uint64_t value, unsigned bits) {
    uint64_t sign = (uint64_t)1 << (bits - 1);
    return value & sign ? -(int64_t)(sign - 1 - (value & (sign - 1))) - 1 : (int64_t)value;
}

/* An integer (bool: 0 or 1) as magnitude below zero or not; false for other types. */
static bool load_integer(fv_gguf_type type, const uint8_t *data, bool *negative, uint64_t *bits) {
    size_t bytes = fv_gguf_value_bytes(type);
    uint64_t value = load_le(data, bytes);
    switch (type) {
    case FV_GGUF_INT8:
    case FV_GGUF_INT16:
    case FV_GGUF_INT32:
    case FV_GGUF_INT64:
        value = (uint64_t)sign_extended(value, (unsigned)(8 * bytes));
        *negative = value >> 63;
        break;
    case FV_GGUF_UINT8:
    case FV_GGUF_UINT16:
    case FV_GGUF_UINT32:
    case FV_GGUF_UINT64:
        *negative = false;
        break;
    default:
        return false;
    }
    *bits = value;
    return true;
}

static bool load_float(fv_gguf_type type, const uint8_t *data, float *value) {
    if (type == FV_GGUF_FLOAT32) {
        uint32_t bits = (uint32_t)load_le(data, 4);
        memcpy(value, &bits, sizeof bits);
        return true;
    }
    if (type == FV_GGUF_FLOAT64) {
        uint64_t bits = load_le(data, 8);
        double wide;
        memcpy(&wide, &bits, sizeof bits);
        if (isfinite(wide) && fabs(wide) > FLT_MAX) return false;
        *value = (float)wide;
        return true;
    }
    bool negative;
    uint64_t bits;
    if (!load_integer(type, data, &negative, &bits)) return false;
    *value = negative ? -(float)(~bits + 1) : (float)bits;
    return true;
}

bool fv_gguf_entry_u32(const fv_gguf_entry *entry, uint32_t *value) {
    bool negative;
    uint64_t bits;
    if (!entry || !load_integer(entry->type, entry->data, &negative, &bits)) return false;
    if (bits > UINT32_MAX) return false; /* a negative one too: its upper bits are set */
    *value = (uint32_t)bits;
    return true;
}

bool fv_gguf_entry_f32(const fv_gguf_entry *entry, float *value) {
    return entry && load_float(entry->type, entry->data, value);
}

bool fv_gguf_entry_bool(const fv_gguf_entry *entry, bool *value) {
    bool negative;
    uint64_t bits;
    if (!entry) return false;
    fv_gguf_type type = entry->type == FV_GGUF_BOOL ? FV_GGUF_UINT8 : entry->type;
    if (!load_integer(type, entry->data, &negative, &bits) || bits > 1) return false;
    *value = bits == 1;
    return true;
}

bool fv_gguf_entry_string(const fv_gguf_entry *entry, fv_gguf_text *value) {
    if (!entry || entry->type != FV_GGUF_STRING) return false;
    *value = (fv_gguf_text){.bytes = (const char *)entry->data + 8, .length = entry->data_bytes - 8};
    return true;
}

/* Where element `index` lies; NULL if `entry` is no array of fixed-size elements or the index is out of range. */
static const uint8_t *array_element(const fv_gguf_entry *entry, uint64_t index) {
    if (!entry || entry->type != FV_GGUF_ARRAY || index >= entry->count) return NULL;
    size_t bytes = fv_gguf_value_bytes(entry->element_type);
    return bytes > 0 ? entry->data + (size_t)index * bytes : NULL;
}

bool fv_gguf_array_i64(const fv_gguf_entry *entry, uint64_t index, int64_t *value) {
    const uint8_t *data = array_element(entry, index);
    if (!data) return false;
    fv_gguf_type type = entry->element_type == FV_GGUF_BOOL ? FV_GGUF_UINT8 : entry->element_type;
    bool negative;
    uint64_t bits;
    if (!load_integer(type, data, &negative, &bits) || (!negative && bits > INT64_MAX)) return false;
    *value = negative ? sign_extended(bits, 64) : (int64_t)bits;
    return true;
}

bool fv_gguf_array_f32(const fv_gguf_entry *entry, uint64_t index, float *value) {
    const uint8_t *data = array_element(entry, index);
    return data && load_float(entry->element_type, data, value);
}

bool fv_gguf_array_next(const fv_gguf_entry *entry, size_t *cursor, fv_gguf_text *value) {
    if (!entry || entry->type != FV_GGUF_ARRAY || entry->element_type != FV_GGUF_STRING) return false;
    size_t at = *cursor; /* checked again: the caller could hand us any number */
    if (at > entry->data_bytes || entry->data_bytes - at < 8) return false;
    uint64_t length = load_le(entry->data + at, 8);
    if (length > entry->data_bytes - at - 8) return false;
    *value = (fv_gguf_text){.bytes = (const char *)entry->data + at + 8, .length = (size_t)length};
    *cursor = at + 8 + (size_t)length;
    return true;
}
