/* linear.h - products of weight matrices with rows of activations, split over workers by rows of weights. */
#ifndef FV_LINEAR_H
#define FV_LINEAR_H

#include "fovea/parallel.h"
#include "kernels/kernels.h"
#include <stdbool.h>

/* Rows of activations, in f32 and (where a quantised weight will read them) in int8. */
typedef struct fv_linear_input {
    const float *rows; /* [tokens][columns] */
    fv_q8_rows q8;
    uint32_t columns, tokens;
    bool exact; /* f32 products for every weight type */
} fv_linear_input;

/* out[token][r] = weight[r] . input[token]; out rows out_stride apart. */
typedef struct fv_linear_product {
    const fv_weight *weight;
    float *out;
    size_t out_stride;
} fv_linear_product;

/* Scratch of one worker for matrices of up to `columns` columns. False on overflow. */
bool fv_linear_scratch_bytes(size_t columns, size_t *bytes);

/* Values of one row as f32. */
void fv_linear_row(const fv_kernels *kernels, const fv_weight *weight, uint32_t row, float *out);

/* All products of one input in one parallel loop: products with the same columns as the input. The bits of an output do
 * not depend on the other tokens, nor on the workers. scratch: worker_bytes each, 64-byte aligned. */
void fv_linear_run(const fv_kernels *kernels, const fv_linear_product *products, size_t count,
                   const fv_linear_input *input, const fv_parallel *parallel, void *scratch, size_t worker_bytes);

#endif
