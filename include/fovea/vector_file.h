/* vector_file.h - vectors and labels in the files that others write: NumPy's .npy, and the .fvecs, .bvecs and .ivecs of
 * collections for nearest neighbours. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_VECTOR_FILE_H
#define FOVEA_VECTOR_FILE_H

#include "fovea/api.h"
#include "fovea/message.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Rows of f32. Start from {0}; fv_vectors_free() when done. */
typedef struct fv_vectors {
    float *data; /* [rows][dimension] */
    size_t rows, dimension;
} fv_vectors;

/** Rows of whole numbers. Likewise. */
typedef struct fv_labels {
    uint64_t *data; /* [rows][columns] */
    size_t rows, columns;
} fv_labels;

/**
 * Reads all vectors of a file: .npy of two dimensions in C order (f4, f2, i1, u1), .fvecs, .bvecs or .ivecs; what does
 * not begin as a .npy is taken by its ending.
 *
 * vectors  out; untouched on error.
 * returns  FV_OK, FV_ERROR_FILE, FV_ERROR_CORRUPT (cut short, rows of several lengths), FV_ERROR_UNSUPPORTED (another
 * type, order or ending), FV_ERROR_OVERFLOW, FV_ERROR_MEMORY. The message says what is wrong and where.
 */
FV_API fv_status fv_vectors_read(fv_vectors *vectors, const char *path, fv_message *message);
FV_API void fv_vectors_free(fv_vectors *vectors);

/** Whole numbers that are not negative: .npy of one or two dimensions (i4, u4, i8, u8), .ivecs or .bvecs. As above;
 * FV_ERROR_RANGE for a negative one. */
FV_API fv_status fv_labels_read(fv_labels *labels, const char *path, fv_message *message);
FV_API void fv_labels_free(fv_labels *labels);

/** A set of labels as bits, for fv_index_search.filter_bits: .npy of one dimension with a bool (b1, u1) for each label;
 * any other file is the bits, label l at bit l % 8 of byte l / 8. bits->data [rows] words, columns 1. As above. */
FV_API fv_status fv_filter_read(fv_labels *bits, const char *path, fv_message *message);

/** Write a .npy, [rows][columns] of f4 or u8, in the place of what is at `path`: whole or not at all. FV_OK,
 * FV_ERROR_FILE. */
FV_API fv_status fv_npy_write_f32(const char *path, const float *data, size_t rows, size_t columns,
                                  fv_message *message);
FV_API fv_status fv_npy_write_u64(const char *path, const uint64_t *data, size_t rows, size_t columns,
                                  fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
