/* gguf_entries.h - the metadata of one file, checked. */
#ifndef FV_GGUF_ENTRIES_H
#define FV_GGUF_ENTRIES_H

#include "gguf/gguf_reader.h"
#include "gguf/name_index.h"

enum { FV_GGUF_ENTRY_MIN_BYTES = 13 }; /* empty key, type, one byte */

/* Start from {0}. */
typedef struct fv_gguf_entry_list {
    fv_gguf_entry *items;
    size_t count, capacity;
    fv_name_index index;
} fv_gguf_entry_list;

/* Reads `count` entries and indexes them; what was read stays in the list on error.
 * returns FV_OK, FV_ERROR_CORRUPT, FV_ERROR_UNSUPPORTED (arrays of arrays), FV_ERROR_MEMORY. */
fv_status fv_gguf_entries_read(fv_gguf_reader *in, uint64_t count, fv_gguf_entry_list *list);

/* An integer that may be absent (*value stays as it is); an error if it is there and is anything else. */
fv_status fv_gguf_entries_u32(const fv_gguf_reader *in, const fv_gguf_entry_list *list, const char *key,
                              uint32_t *value);

void fv_gguf_entries_free(fv_gguf_entry_list *list);

#endif
