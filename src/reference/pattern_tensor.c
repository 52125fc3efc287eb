/* Sizes and elements of arrays, before anything is made of them. */
#include "reference/pattern_tensor.h"
#include "cache/element.h"
#include "numeric/size.h"

bool fv_tensor_is_given(const fv_tensor *tensor) {
    size_t rows = 0, elements = 0;
    return tensor->data && fv_size_add(&rows, tensor->tokens, tensor->heads, 1) &&
           fv_size_add(&elements, rows, tensor->head_dim, 1) && elements != 0 && elements <= SIZE_MAX / sizeof(float);
}

bool fv_tensor_part_is_below(const fv_kernels *kernels, const fv_tensor *tensor, uint32_t first, uint32_t tokens,
                             uint32_t bits) {
    size_t width = (size_t)tensor->heads * tensor->head_dim;
    return fv_element_all_below(kernels, tokens * width, tensor->data + first * width, bits);
}
