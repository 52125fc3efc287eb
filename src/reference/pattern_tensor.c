/* Sizes and elements of arrays, before anything is made of them. */
#include "reference/pattern_tensor.h"
#include "numeric/magnitude.h"
#include "numeric/size.h"

/* Elements, 0 on overflow as for an empty array: the caller has checked emptiness. */
static size_t tensor_elements(const fv_tensor *tensor) {
    size_t rows = 0, elements = 0;
    if (!fv_size_add(&rows, tensor->tokens, tensor->heads, 1) || !fv_size_add(&elements, rows, tensor->head_dim, 1))
        return 0;
    return elements;
}

bool fv_tensor_is_given(const fv_tensor *tensor) {
    size_t elements = tensor_elements(tensor);
    return tensor->data && elements != 0 && elements <= SIZE_MAX / sizeof(float);
}

static bool is_finite(const fv_tensor *tensor) {
    return !tensor || fv_none_within(tensor_elements(tensor), tensor->data, FV_BITS_INFINITE, 0x80000000);
}

fv_status fv_pattern_inputs_check(bool checked, const fv_tensor *query, const fv_tensor *keys,
                                  const fv_tensor *values) {
    if (!checked) return FV_OK;
    return is_finite(query) && is_finite(keys) && is_finite(values) ? FV_OK : FV_ERROR_NOT_FINITE;
}
