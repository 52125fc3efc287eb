/* name_index.h - names in order: found by bisection, duplicates are neighbours. Not a hash: a file could choose names
 * that collide. */
#ifndef FV_NAME_INDEX_H
#define FV_NAME_INDEX_H

#include "fovea/gguf.h"

/* Start from {0}; drop `names` with free(). Each name is the first member of what it names. */
typedef struct fv_name_index {
    const fv_gguf_text **names;
    size_t count;
} fv_name_index;

/* Indexes `count` structures of `stride` bytes that start with their name. False: no memory. */
bool fv_name_index_build(fv_name_index *index, const void *items, size_t count, size_t stride);

const fv_gguf_text *fv_name_index_duplicate(const fv_name_index *index); /* a name that is there twice, or NULL */

const void *fv_name_index_find(const fv_name_index *index, const char *name); /* the structure, or NULL */

#endif
