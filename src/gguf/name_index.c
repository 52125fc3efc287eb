/* name_index.c - see name_index.h. */
#include "gguf/name_index.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

static int compare_text(const fv_gguf_text *a, const fv_gguf_text *b) {
    size_t shared = a->length < b->length ? a->length : b->length;
    int order = shared > 0 ? memcmp(a->bytes, b->bytes, shared) : 0;
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static int compare_names(const void *a, const void *b) {
    return compare_text(*(const fv_gguf_text *const *)a, *(const fv_gguf_text *const *)b);
}

bool fv_name_index_build(fv_name_index *index, const void *items, size_t count, size_t stride) {
    if (count == 0) return true;
    index->names = fv_array_new(count, sizeof *index->names);
    if (!index->names) return false;
    for (size_t i = 0; i < count; i++)
        index->names[i] = (const fv_gguf_text *)(const void *)((const char *)items + i * stride);
    qsort(index->names, count, sizeof *index->names, compare_names);
    index->count = count;
    return true;
}

const fv_gguf_text *fv_name_index_duplicate(const fv_name_index *index) {
    for (size_t i = 1; i < index->count; i++)
        if (compare_text(index->names[i - 1], index->names[i]) == 0) return index->names[i];
    return NULL;
}

const void *fv_name_index_find(const fv_name_index *index, const char *name) {
    if (!name || index->count == 0) return NULL;
    fv_gguf_text text = {.bytes = name, .length = strlen(name)};
    const fv_gguf_text *key = &text;
    const fv_gguf_text **found = bsearch(&key, index->names, index->count, sizeof *index->names, compare_names);
    return found ? *found : NULL;
}
