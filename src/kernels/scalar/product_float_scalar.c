/* Products of f32, f16 and bf16 weights with f32 activations. */
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"

#if FV_BUILD_MODEL

void fv_product_f32_scalar(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                           size_t out_stride) {
    const float *w = (const float *)weight;
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < rows; r++) {
            float sum = 0.0f;
            for (size_t c = 0; c < columns; c++) sum += w[r * columns + c] * x[t * columns + c];
            out[t * out_stride + r] = sum;
        }
}

void fv_product_f16_scalar(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                           size_t out_stride) {
    const uint16_t *w = (const uint16_t *)weight;
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < rows; r++) {
            float sum = 0.0f;
            for (size_t c = 0; c < columns; c++) sum += fv_f32_from_f16(w[r * columns + c]) * x[t * columns + c];
            out[t * out_stride + r] = sum;
        }
}

void fv_product_bf16_scalar(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                            size_t out_stride) {
    const uint16_t *w = (const uint16_t *)weight;
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < rows; r++) {
            float sum = 0.0f;
            for (size_t c = 0; c < columns; c++) sum += fv_f32_from_bf16(w[r * columns + c]) * x[t * columns + c];
            out[t * out_stride + r] = sum;
        }
}

#endif
