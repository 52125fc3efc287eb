/* pattern_tensor.h - arrays as callers hand them over. */
#ifndef FV_PATTERN_TENSOR_H
#define FV_PATTERN_TENSOR_H

#include "fovea/reference/pattern.h"

/* Whether there are elements, and as many as size_t can count bytes for. */
bool fv_tensor_is_given(const fv_tensor *tensor);

/* Of an array that is given, or empty. */
bool fv_tensor_is_finite(const fv_tensor *tensor);
bool fv_tensor_part_is_finite(const fv_tensor *tensor, uint32_t first, uint32_t tokens);

/* FV_ERROR_NOT_FINITE if `checked` and an element is not finite. NULL: there is none. Reads whole arrays: only after
 * their sizes have been compared with everything that they must fit. */
static inline fv_status fv_pattern_inputs_check(bool checked, const fv_tensor *query, const fv_tensor *keys,
                                                const fv_tensor *values) {
    if (!checked) return FV_OK;
    bool finite = (!query || fv_tensor_is_finite(query)) && (!keys || fv_tensor_is_finite(keys)) &&
                  (!values || fv_tensor_is_finite(values));
    return finite ? FV_OK : FV_ERROR_NOT_FINITE;
}

#endif
