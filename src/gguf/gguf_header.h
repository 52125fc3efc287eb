/* gguf_header.h - what one file says about itself: version, counts, alignment, part of a split. */
#ifndef FV_GGUF_HEADER_H
#define FV_GGUF_HEADER_H

#include "gguf/gguf_entries.h"

typedef struct fv_gguf_header {
    uint32_t version;
    uint64_t tensor_count, entry_count, alignment;
    uint32_t split_number, split_count; /* 0 of 1 when the file is whole */
} fv_gguf_header;

/* Magic, version and counts. FV_OK, FV_ERROR_CORRUPT, FV_ERROR_UNSUPPORTED (version, big-endian). */
fv_status fv_gguf_header_read(fv_gguf_reader *in, fv_gguf_header *out);

/* What stands in the metadata: alignment and split. FV_OK, FV_ERROR_CORRUPT. */
fv_status fv_gguf_header_facts(const fv_gguf_reader *in, const fv_gguf_entry_list *list, fv_gguf_header *out);

#endif
