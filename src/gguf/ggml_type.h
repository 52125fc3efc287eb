/* ggml_type.h - every tensor type that ggml knows today, so that inspect can name and measure what fovea cannot compute
 * with. */
#ifndef FV_GGML_TYPE_H
#define FV_GGML_TYPE_H

#include <stdint.h>

typedef struct fv_ggml_type {
    const char *name; /* NULL in the gaps that retired types left */
    uint32_t block_values, block_bytes;
} fv_ggml_type;

const fv_ggml_type *fv_ggml_type_find(uint32_t number); /* NULL: unknown */

#endif
