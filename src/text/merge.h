/* merge.h - the loop that BPE and SentencePiece share: join the best pair of neighbouring symbols until none is left.
 */
#ifndef FV_MERGE_H
#define FV_MERGE_H

#include "text/heap.h"

#define FV_SYMBOL_NONE UINT32_MAX

/* A piece of the text, on its way to be a token. */
typedef struct fv_symbol {
    int32_t id;     /* of the token with this text; -1 if there is none */
    uint32_t begin; /* bytes from the start of the text */
    uint32_t bytes; /* 0: joined into another symbol */
    uint32_t previous, next;
} fv_symbol;

/* Start from {0}; reused from text to text. At most 2^32 - 2 symbols and bytes. */
typedef struct fv_merge {
    fv_symbol *symbols;
    size_t count, capacity;
    fv_heap heap;
} fv_merge;

/* Whether two neighbours may be joined; if so into what token, and how urgent that is (smallest first). */
typedef bool fv_merge_find(const void *rules, const fv_symbol *left, const fv_symbol *right, uint32_t *priority,
                           int32_t *id);

/* Appends a symbol after the last one. FV_OK or FV_ERROR_MEMORY. */
fv_status fv_merge_append(fv_merge *merge, int32_t id, uint32_t bytes);

/* Joins until no neighbours can be; symbols[0] stays the first, follow `next`. FV_OK or FV_ERROR_MEMORY. O(n log n). */
fv_status fv_merge_run(fv_merge *merge, fv_merge_find *find, const void *rules);

/* Ready for the next text; keeps the memory. */
void fv_merge_clear(fv_merge *merge);
void fv_merge_free(fv_merge *merge);

#endif
