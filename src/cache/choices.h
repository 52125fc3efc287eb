/* choices.h - which pages the newest rows chose: later rows of their group (at most 16 rows from a multiple of its length
 * on) read them too, also when they come in another call. One group is remembered, that of the last call. */
#ifndef FV_CHOICES_H
#define FV_CHOICES_H

#include "fovea/plan.h"
#include <stdbool.h>

#define FV_NOT_CHOSEN 255 /* in place of a row */

typedef struct fv_choices {
    uint64_t policy;   /* fingerprint of who chose */
    uint32_t group;    /* its first token */
    uint32_t rows;     /* bit i: its row i has chosen; 0: nothing is remembered */
    size_t head_bytes; /* from head to head */
    uint8_t *first_row; /* [kv_heads][head_bytes]: per page the row of the group that chose it first, or FV_NOT_CHOSEN */
} fv_choices;

/* Rows from token `tokens` on never were. */
static inline void fv_choices_cut(fv_choices *choices, uint32_t kv_heads, uint32_t tokens) {
    if (!choices) return;
    uint32_t row = tokens - choices->group;
    if (tokens < choices->group) choices->rows = 0;
    if (tokens < choices->group || row >= FV_TILE_ROWS) return;
    choices->rows &= (1u << row) - 1;
    for (size_t i = 0; choices->rows && i < kv_heads * choices->head_bytes; i++)
        if (choices->first_row[i] >= row) choices->first_row[i] = FV_NOT_CHOSEN;
}

#endif
