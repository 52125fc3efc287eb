/* Sizes and elements of arrays, before anything is made of them. */
#include "reference/pattern_tensor.h"
#include "numeric/size.h"

/* Elements, 0 on overflow as for an empty array: the caller has checked emptiness. */
static size_t tensor_elements(const fv_tensor *tensor) {
    size_t rows = 0, elements = 0;
    if (!fv_size_add(&rows, tensor->tokens, tensor->heads, 1) || !fv_size_add(&elements, rows, tensor->head_dim, 1))
        return 0;
    return elements;
}

/* In blocks without a way out in between, so that a compiler can use vectors. */
static bool all_finite(size_t n, const float *x) {
    enum { BLOCK = 256 };
    for (size_t first = 0; first < n; first += BLOCK) {
        size_t end = n - first < BLOCK ? n : first + BLOCK;
        uint32_t strange = 0;
        for (size_t i = first; i < end; i++) strange |= !(x[i] - x[i] == 0.0f); /* infinity or NaN */
        if (strange) return false;
    }
    return true;
}

bool fv_tensor_is_given(const fv_tensor *tensor) {
    size_t elements = tensor_elements(tensor);
    return tensor->data && elements != 0 && elements <= SIZE_MAX / sizeof(float);
}

static bool tensor_passes(const fv_tensor *tensor) {
    return !tensor || all_finite(tensor_elements(tensor), tensor->data);
}

fv_status fv_pattern_inputs_check(bool checked, const fv_tensor *query, const fv_tensor *keys,
                                  const fv_tensor *values) {
    if (!checked) return FV_OK;
    return tensor_passes(query) && tensor_passes(keys) && tensor_passes(values) ? FV_OK : FV_ERROR_NOT_FINITE;
}
