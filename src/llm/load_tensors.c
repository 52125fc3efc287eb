/* load_tensors.c - one tensor of a file: its place, shape and type; one that has no place is an error. */
#include "llm/load.h"
#include "numeric/half.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct weight_layout {
    uint32_t values, bytes; /* of a block; 0 values: the type is not supported */
} weight_layout;

static weight_layout layout_of(uint32_t type) {
#define CASE(NAME, name, number, values, bytes) \
    case number: \
        return (weight_layout){values, bytes};
    switch (type) {
        FV_WEIGHT_LIST(CASE)
    default:
        return (weight_layout){0, 0};
    }
#undef CASE
}

static fv_status type_unsupported(fv_load *l, const char *name, uint32_t type, const char *supported) {
    const char *known = fv_gguf_type_name(type), *retired = fv_gguf_type_retired(type);
    char number[24];
    if (retired)
        return fv_message_set(
            l->message, FV_ERROR_UNSUPPORTED,
            "%s: tensor %s: type %s was retired from ggml; take the model as %s, which is interleaved "
            "at load",
            fv_gguf_path(l->gguf), name, retired, type >= 36 ? "IQ4_NL" : "Q4_0");
    snprintf(number, sizeof number, "number %" PRIu32, type);
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: tensor %s: type %s is not supported; supported: %s",
                          fv_gguf_path(l->gguf), name, known ? known : number, supported);
}

#define NAME_OF(NAME, name, number, values, bytes) #NAME " "
static const char ALL_TYPES[] = FV_WEIGHT_LIST(NAME_OF);
#undef NAME_OF

static fv_status check_tensor_shape(fv_load *l, const char *name, const fv_gguf_tensor *tensor, uint32_t rows,
                                    uint32_t columns) {
    const uint64_t *d = tensor->dimensions;
    if (d[0] == columns && d[1] == rows && d[2] == 1 && d[3] == 1) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_CORRUPT,
                          "%s: tensor %s has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                          "], the metadata asks for [%" PRIu32 ", %" PRIu32 "]",
                          fv_gguf_path(l->gguf), name, d[0], d[1], d[2], d[3], columns, rows);
}

static fv_status check_tensor_data(fv_load *l, const char *name, const fv_gguf_tensor *tensor, weight_layout layout) {
    uint64_t columns = tensor->dimensions[0], rows = tensor->dimensions[1]; /* both below 2^32 */
    uint64_t row_bytes = columns / layout.values * layout.bytes;
    if (columns % layout.values != 0)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor %s: rows of %" PRIu64 " values are not whole blocks of %" PRIu32,
                              fv_gguf_path(l->gguf), name, columns, layout.values);
    if (!tensor->data || row_bytes > UINT64_MAX / rows || tensor->bytes != row_bytes * rows)
        return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: tensor %s: %" PRIu64 " bytes do not fit its shape",
                              fv_gguf_path(l->gguf), name, tensor->bytes);
    if ((uintptr_t)tensor->data % 4 != 0)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: tensor %s is not aligned to 4 bytes",
                              fv_gguf_path(l->gguf), name);
    return FV_OK;
}

fv_status fv_load_tensor(fv_load *l, const char *name, uint32_t rows, uint32_t columns, bool required,
                         fv_weight *weight) {
    const fv_gguf_tensor *tensor = fv_gguf_tensor_find(l->gguf, name);
    if (!tensor && !required) return FV_OK;
    if (!tensor)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor %s is missing; the file is incomplete, or its %s "
                              "was converted in a way that fovea does not know",
                              fv_gguf_path(l->gguf), name, l->row->name);
    weight_layout layout = layout_of(tensor->ggml_type);
    if (!layout.values) return type_unsupported(l, name, tensor->ggml_type, ALL_TYPES);
    fv_status status = check_tensor_shape(l, name, tensor, rows, columns);
    if (status == FV_OK) status = check_tensor_data(l, name, tensor, layout);
    if (status != FV_OK) return status;
    l->used[l->used_count++] = tensor;
    *weight = (fv_weight){.data = tensor->data, .type = tensor->ggml_type, .rows = rows, .columns = columns};
    return FV_OK;
}

static float vector_element(uint32_t type, const uint8_t *bytes, size_t index) {
    float value;
    if (type == FV_WEIGHT_F32) {
        memcpy(&value, bytes + 4 * index, sizeof value);
        return value;
    }
    uint16_t bits = (uint16_t)(bytes[2 * index] | bytes[2 * index + 1] << 8);
    return type == FV_WEIGHT_F16 ? fv_f32_from_f16(bits) : fv_f32_from_bf16(bits);
}

/* Norms and biases: few, read for each token, and looked at here. They don't stay in the file: a model whose matrices
 * are repacked does not need it any more. */
static fv_status vector_to_f32(fv_load *l, const char *name, fv_weight *weight) {
    if (!weight->data) return FV_OK;
    if (weight->type != FV_WEIGHT_F32 && weight->type != FV_WEIGHT_F16 && weight->type != FV_WEIGHT_BF16)
        return type_unsupported(l, name, weight->type, "F32 F16 BF16 for norms and biases");
    void *memory = NULL;
    fv_status status = fv_load_own(l, weight->columns, sizeof(float), &memory);
    if (status != FV_OK) return status;
    float *values = memory;
    for (uint32_t i = 0; i < weight->columns; i++) {
        values[i] = vector_element(weight->type, weight->data, i);
        if (!isfinite(values[i]))
            return fv_message_set(l->message, FV_ERROR_CORRUPT,
                                  "%s: tensor %s: element %" PRIu32 " is not finite (%g): the file is damaged or badly "
                                  "converted",
                                  fv_gguf_path(l->gguf), name, i, (double)values[i]);
    }
    weight->data = values;
    weight->type = FV_WEIGHT_F32;
    return FV_OK;
}

fv_status fv_load_vector(fv_load *l, const char *name, uint32_t count, bool required, fv_weight *weight) {
    fv_status status = fv_load_tensor(l, name, 1, count, required, weight);
    return status == FV_OK && !l->skims ? vector_to_f32(l, name, weight) : status;
}

/* Tables of angles that early converters wrote and every reader computes; what looks at pictures and hears, which no
 * text passes through. */
static bool is_harmless(fv_gguf_text name) {
    static const char SUFFIX[] = ".attn_rot_embd.weight", *const PARTS[] = {"v.", "a.", "mm."};
    size_t length = sizeof SUFFIX - 1;
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        if (name.length > strlen(PARTS[i]) && memcmp(name.bytes, PARTS[i], strlen(PARTS[i])) == 0) return true;
    return name.length > length && memcmp(name.bytes + name.length - length, SUFFIX, length) == 0;
}

static bool is_used(const fv_load *l, const fv_gguf_tensor *tensor) {
    for (size_t i = 0; i < l->used_count; i++)
        if (l->used[i] == tensor) return true;
    return false;
}

fv_status fv_load_check_unused(fv_load *l) {
    if (fv_gguf_tensors(l->gguf) == l->used_count) return FV_OK;
    for (size_t i = 0; i < fv_gguf_tensors(l->gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(l->gguf, i);
        if (is_harmless(tensor->name) || is_used(l, tensor)) continue;
        return fv_message_set(
            l->message, FV_ERROR_UNSUPPORTED,
            "%s: tensor %.*s has no place in fovea's %s: the model is of a kind that is not supported",
            fv_gguf_path(l->gguf), (int)(tensor->name.length < 128 ? tensor->name.length : 128), tensor->name.bytes,
            l->row->name);
    }
    return FV_OK;
}
