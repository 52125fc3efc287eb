/* weight.h - element types of weight matrices and the view of one; numbers and layouts are GGUF's (ggml.h). */
#ifndef FOVEA_WEIGHT_H
#define FOVEA_WEIGHT_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name, ggml type number, values per block, bytes per block): types whose quants are whole numbers, and IQ4_NL.
 */
#define FV_WEIGHT_PLAIN_LIST(X) \
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

/* Likewise, types whose quants are looked up: slower, and left out by -DFV_BUILD_GRIDS=0. */
#define FV_WEIGHT_GRID_LIST(X) \
    X(IQ2_XXS, iq2_xxs, 16, 256, 66) \
    X(IQ2_XS, iq2_xs, 17, 256, 74) \
    X(IQ3_XXS, iq3_xxs, 18, 256, 98) \
    X(IQ3_S, iq3_s, 21, 256, 110) \
    X(IQ2_S, iq2_s, 22, 256, 82) \
    X(IQ4_XS, iq4_xs, 23, 256, 136) \
    X(MXFP4, mxfp4, 39, 32, 17)

/* The one list of weight types. */
#define FV_WEIGHT_LIST(X) FV_WEIGHT_PLAIN_LIST(X) FV_WEIGHT_GRID_LIST(X)

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
    uint32_t packed;  /* leading rows that fv_weight_pack() has interleaved; 0 = as in the file */
} fv_weight;

/** Bytes of one row; 0 if the type is unknown or `columns` is not whole blocks. */
FV_API size_t fv_weight_row_bytes(uint32_t type, uint32_t columns);

/** Whether fv_weight_pack() knows the type: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS,
 *  MXFP4. */
FV_API bool fv_weight_is_packable(uint32_t type);

/**
 * Interleaves rows, eight at a time, in place and in the same bytes, so that one load feeds eight outputs. Rows after
 * the last whole eight stay as they are. The products have the same bits packed or not; packed they are several times
 * faster.
 *
 * data     the weight's own data, writable (a private mapping of the file will do); weight->packed is set.
 * scratch  8 rows long.
 * returns  FV_OK (also for types that can't be packed: nothing happens), FV_ERROR_ARGUMENT, FV_ERROR_MEMORY (scratch).
 */
FV_API fv_status fv_weight_pack(fv_weight *weight, void *data, void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif

#endif
