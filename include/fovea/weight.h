/* weight.h - element types of weight matrices and the view of one; numbers and layouts are GGUF's (ggml.h). */
#ifndef FOVEA_WEIGHT_H
#define FOVEA_WEIGHT_H

#include <stddef.h>
#include <stdint.h>

/* X(NAME, name, ggml type number, values per block, bytes per block): the one list of weight types. */
#define FV_WEIGHT_LIST(X) \
    X(F32, f32, 0, 1, 4) \
    X(F16, f16, 1, 1, 2) \
    X(Q4_0, q4_0, 2, 32, 18) \
    X(Q4_1, q4_1, 3, 32, 20) \
    X(Q5_0, q5_0, 6, 32, 22) \
    X(Q5_1, q5_1, 7, 32, 24) \
    X(Q8_0, q8_0, 8, 32, 34) \
    X(Q2_K, q2_k, 10, 256, 84) \
    X(Q3_K, q3_k, 11, 256, 110) \
    X(Q4_K, q4_k, 12, 256, 144) \
    X(Q5_K, q5_k, 13, 256, 176) \
    X(Q6_K, q6_k, 14, 256, 210) \
    X(IQ4_NL, iq4_nl, 20, 32, 18) \
    X(BF16, bf16, 30, 1, 2)

#define FV_WEIGHT_ENUM(NAME, name, number, values, bytes) FV_WEIGHT_##NAME = number,
typedef enum fv_weight_type { FV_WEIGHT_LIST(FV_WEIGHT_ENUM) } fv_weight_type;
#undef FV_WEIGHT_ENUM

/** One weight matrix as it lies in the file: `rows` rows of `columns` values; a row is whole blocks, rows are
 *  contiguous. data == NULL: the tensor is absent. A vector has rows == 1. The data is not owned. */
typedef struct fv_weight {
    const void *data; /* 4-byte aligned at least (GGUF aligns to 32) */
    uint32_t type;    /* fv_weight_type */
    uint32_t rows;    /* outputs of the product */
    uint32_t columns; /* inputs of the product */
} fv_weight;

#endif
