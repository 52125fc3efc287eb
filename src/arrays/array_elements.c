#include "arrays/array_elements.h"
#include "numeric/half.h"
#include "numeric/size.h"
#include <math.h>
#include <string.h>

static size_t element_bytes(const fv_array *array) {
    return array->type == FV_ELEMENT_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* Elements from the first to one past the last; false where that is more than memory can hold. */
static bool fits(const fv_array *array) {
    size_t elements = 0, bytes = 0;
    return fv_size_add(&elements, fv_array_batches(array) - 1, array->batch_stride, 1) &&
           fv_size_add(&elements, array->tokens - 1, array->token_stride, 1) &&
           fv_size_add(&elements, array->heads - 1, array->head_stride, 1) &&
           fv_size_add(&elements, array->head_dim, 1, 1) && fv_size_add(&bytes, elements, element_bytes(array), 1) &&
           bytes <= PTRDIFF_MAX;
}

fv_status fv_array_check(const fv_array *array, const char *name, fv_message *message) {
    if (array->type != FV_ELEMENT_F32 && array->type != FV_ELEMENT_F16 && array->type != FV_ELEMENT_BF16)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: elements are f32, f16 or bf16, not type %u", name,
                              array->type);
    if (!array->data || (uintptr_t)array->data % element_bytes(array) != 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: data is %s", name,
                              array->data ? "not aligned to its elements" : "NULL");
    if (array->reserved != 0) return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: reserved is not 0", name);
    if (array->tokens < 1 || array->heads < 1 || array->head_dim < 1 || array->head_dim > 1024)
        return fv_message_set(message, FV_ERROR_SHAPE, "%s: %u tokens, %u heads of %u elements; head_dim is 1 to 1024",
                              name, array->tokens, array->heads, array->head_dim);
    if (!fits(array)) return fv_message_set(message, FV_ERROR_OVERFLOW, "%s: larger than memory can be", name);
    return FV_OK;
}

bool fv_array_is_apart(const fv_array *array) {
    size_t strides[] = {array->head_stride, array->token_stride, array->batch_stride};
    size_t counts[] = {array->heads, array->tokens, fv_array_batches(array)}, reach = array->head_dim;
    for (int left = 3; left > 0; left--) { /* from the smallest stride to the largest: each steps over all below it */
        int least = 0;
        for (int i = 1; i < left; i++)
            if (strides[i] < strides[least]) least = i;
        if (counts[least] > 1) {
            if (strides[least] < reach) return false;
            reach += (counts[least] - 1) * strides[least];
        }
        strides[least] = strides[left - 1];
        counts[least] = counts[left - 1];
    }
    return true;
}

static size_t place(const fv_array *array, uint32_t batch, uint32_t token, uint32_t head) {
    return batch * array->batch_stride + token * array->token_stride + head * array->head_stride;
}

static void widen_head(const fv_array *array, size_t offset, float *row) {
    const uint16_t *half = (const uint16_t *)array->data + (array->type == FV_ELEMENT_F32 ? 0 : offset);
    switch (array->type) {
    case FV_ELEMENT_F16:
        for (uint32_t c = 0; c < array->head_dim; c++) row[c] = fv_f32_from_f16(half[c]);
        return;
    case FV_ELEMENT_BF16:
        for (uint32_t c = 0; c < array->head_dim; c++) row[c] = fv_f32_from_bf16(half[c]);
        return;
    default:
        memcpy(row, (const float *)array->data + offset, array->head_dim * sizeof *row);
    }
}

static void narrow_head(const fv_array *array, size_t offset, const float *row) {
    uint16_t *half = (uint16_t *)array->data + (array->type == FV_ELEMENT_F32 ? 0 : offset);
    switch (array->type) {
    case FV_ELEMENT_F16:
        for (uint32_t c = 0; c < array->head_dim; c++) half[c] = fv_f16_from_f32(row[c]);
        return;
    case FV_ELEMENT_BF16:
        for (uint32_t c = 0; c < array->head_dim; c++) half[c] = fv_bf16_from_f32(row[c]);
        return;
    default:
        memcpy((float *)array->data + offset, row, array->head_dim * sizeof *row);
    }
}

static fv_status say_where(float value, float limit, const char *name, const uint32_t at[4], fv_message *message) {
    if (!isfinite(value))
        return fv_message_set(message, FV_ERROR_NOT_FINITE, "%s: %s at batch %u, token %u, head %u, element %u", name,
                              isnan(value) ? "NaN" : "infinity", at[0], at[1], at[2], at[3]);
    return fv_message_set(message, FV_ERROR_RANGE, "%s: %g at batch %u, token %u, head %u, element %u is beyond %g",
                          name, (double)value, at[0], at[1], at[2], at[3], (double)limit);
}

/* Index of the first element that is not within `limit`, or `count`. */
static uint32_t first_beyond(const float *row, uint32_t count, float limit) {
    uint32_t bad = 0, first = 0;
    for (uint32_t c = 0; c < count; c++) bad |= !(fabsf(row[c]) <= limit); /* no way out: this becomes vectors */
    if (!bad) return count;
    while (fabsf(row[first]) <= limit) first++;
    return first;
}

/* A head's elements as f32: where they lie, or widened into `buffer`. */
static const float *head_of(const fv_array *array, size_t offset, float *buffer) {
    if (array->type == FV_ELEMENT_F32) return (const float *)array->data + offset;
    widen_head(array, offset, buffer);
    return buffer;
}

fv_status fv_array_scan(const fv_array *array, float limit, const char *name, fv_message *message) {
    float buffer[1024];
    uint32_t at[4];
    for (at[0] = 0; at[0] < fv_array_batches(array); at[0]++)
        for (at[1] = 0; at[1] < array->tokens; at[1]++)
            for (at[2] = 0; at[2] < array->heads; at[2]++) {
                const float *row = head_of(array, place(array, at[0], at[1], at[2]), buffer);
                at[3] = first_beyond(row, array->head_dim, limit);
                if (at[3] < array->head_dim) return say_where(row[at[3]], limit, name, at, message);
            }
    return FV_OK;
}

float *fv_array_in_place(const fv_array *array, uint32_t batch, uint32_t first) {
    bool joined = array->heads == 1 || array->head_stride == array->head_dim;
    bool spread = array->tokens == 1 || array->token_stride >= (size_t)array->heads * array->head_dim;
    if (array->type != FV_ELEMENT_F32 || !joined || !spread) return NULL;
    return (float *)array->data + place(array, batch, first, 0);
}

void fv_array_widen(const fv_array *array, uint32_t batch, uint32_t first, uint32_t count, float *rows) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t h = 0; h < array->heads; h++, rows += array->head_dim)
            widen_head(array, place(array, batch, first + i, h), rows);
}

void fv_array_narrow(const fv_array *array, uint32_t batch, uint32_t first, uint32_t count, const float *rows) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t h = 0; h < array->heads; h++, rows += array->head_dim)
            narrow_head(array, place(array, batch, first + i, h), rows);
}
