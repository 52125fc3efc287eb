/* pattern_tensor.h - arrays as callers hand them over. */
#ifndef FV_PATTERN_TENSOR_H
#define FV_PATTERN_TENSOR_H

#include "numeric/magnitude.h"
#include "reference/pattern_job.h"

/* Whether there are elements, and as many as size_t can count bytes for. */
bool fv_tensor_is_given(const fv_tensor *tensor);

/* Whether all magnitudes of some of the tokens have bits below `bits`. */
bool fv_tensor_part_is_below(const fv_kernels *kernels, const fv_tensor *tensor, uint32_t first, uint32_t tokens,
                             uint32_t bits);

/* Of an array that is given, or empty. */
static inline bool fv_tensor_is_finite(const fv_kernels *kernels, const fv_tensor *tensor) {
    return fv_tensor_part_is_below(kernels, tensor, 0, tensor->tokens, FV_BITS_INFINITE);
}

/* FV_ERROR_NOT_FINITE if the pattern is `checked` and an element is not finite. NULL: there is none. Reads whole
 * arrays: only after their sizes have been compared with everything that they must fit. */
static inline fv_status fv_pattern_inputs_check(const fv_pattern *pattern, const fv_tensor *query,
                                                const fv_tensor *keys, const fv_tensor *values) {
    const fv_kernels *kernels = pattern->kernels;
    if (!pattern->config.checked) return FV_OK;
    bool finite = (!query || fv_tensor_is_finite(kernels, query)) && (!keys || fv_tensor_is_finite(kernels, keys)) &&
                  (!values || fv_tensor_is_finite(kernels, values));
    return finite ? FV_OK : FV_ERROR_NOT_FINITE;
}

#endif
