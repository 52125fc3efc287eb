/* gguf_tensors.h - the tensors of all files of a model: shapes, sizes and places, checked. */
#ifndef FV_GGUF_TENSORS_H
#define FV_GGUF_TENSORS_H

#include "gguf/gguf_reader.h"
#include "gguf/name_index.h"

enum { FV_GGUF_TENSOR_MIN_BYTES = 24 }; /* of an entry: empty name, no dimensions */

/* Start from {0}. */
typedef struct fv_gguf_tensor_list {
    fv_gguf_tensor *items;
    size_t count, capacity;
    fv_name_index index;
} fv_gguf_tensor_list;

/* Appends the `count` tensors of file number `file`, whose data begins at the next multiple of `alignment`.
 * returns FV_OK, FV_ERROR_CORRUPT, FV_ERROR_MEMORY. */
fv_status fv_gguf_tensors_read(fv_gguf_reader *in, uint64_t count, uint64_t alignment, uint32_t file,
                               fv_gguf_tensor_list *list);

/* After the last file. FV_OK, FV_ERROR_CORRUPT (a name appears twice), FV_ERROR_MEMORY. */
fv_status fv_gguf_tensors_index(const fv_gguf_reader *in, fv_gguf_tensor_list *list);

void fv_gguf_tensors_free(fv_gguf_tensor_list *list);

#endif
