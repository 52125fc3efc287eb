/* page_shares.h - what one row read of each page, noted by every layer and KV head on its own. */
#ifndef FV_PAGE_SHARES_H
#define FV_PAGE_SHARES_H

#include "fovea/model.h"
#include <stdbool.h>

#define FV_FIRST_PAGES 1 /* sinks and neighbours would always come first: these pages are in no passage */

typedef struct fv_page_shares {
    uint32_t layers, kv_heads, pages;
    uint32_t position; /* of the row */
    float *noted;      /* [layers][kv_heads][pages] */
    bool *has_noted;   /* [layers][kv_heads] */
} fv_page_shares;

/** Floats that a worker needs to note. */
size_t fv_page_shares_scratch(const fv_model_config *shape, uint32_t context_tokens);

fv_status fv_page_shares_open(fv_page_shares *shares, const fv_model_config *shape, uint32_t context_tokens);
void fv_page_shares_close(fv_page_shares *shares);

void fv_page_shares_begin(fv_page_shares *shares, uint32_t position); /* of the next row; nothing is noted */

/** Of an observer: if the plan is the row's, notes the weights of the tokens that it reads, whose sum is 1 for each
 *  head. Layers whose window is the model's own note nothing. */
void fv_page_shares_note(fv_page_shares *shares, const fv_attention_seen *seen, float *scratch);

/** Adds to page[pages] the share of each in all that the row read; layer: in that layer alone, or FV_READ_ALL_LAYERS.
 *  The same for any number of threads. */
void fv_page_shares_add(const fv_page_shares *shares, uint32_t layer, float *page);

#endif
