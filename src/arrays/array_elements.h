/* array_elements.h - elements of an fv_array: their places, their types, whether they can be stored. Hosted. */
#ifndef FV_ARRAY_ELEMENTS_H
#define FV_ARRAY_ELEMENTS_H

#include "fovea/array_attention.h"
#include <stdbool.h>

#define FV_ARRAY_F16_LARGEST 65504.0f

static inline uint32_t fv_array_batches(const fv_array *array) { return array->batches ? array->batches : 1; }

/** Type, data, alignment, sizes and strides of one array by itself. `name` is for the message. FV_OK,
 * FV_ERROR_ARGUMENT, FV_ERROR_SHAPE, FV_ERROR_OVERFLOW. */
fv_status fv_array_check(const fv_array *array, const char *name, fv_message *message);

/** Whether no two elements share a place. */
bool fv_array_is_apart(const fv_array *array);

/** Whether all are finite, and none is above `limit`. FV_OK, FV_ERROR_NOT_FINITE, FV_ERROR_RANGE; the message says
 * where. O(elements). */
fv_status fv_array_scan(const fv_array *array, float limit, const char *name, fv_message *message);

/** The f32 elements of tokens first.. of a batch where they lie, if a token's heads lie side by side; else NULL. */
float *fv_array_in_place(const fv_array *array, uint32_t batch, uint32_t first);

/** rows[count][heads][head_dim] <- tokens first.. of a batch, exactly. */
void fv_array_widen(const fv_array *array, uint32_t batch, uint32_t first, uint32_t count, float *rows);

/** The other way; f16 and bf16 round to nearest even. */
void fv_array_narrow(const fv_array *array, uint32_t batch, uint32_t first, uint32_t count, const float *rows);

#endif
