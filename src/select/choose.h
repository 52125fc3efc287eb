/* choose.h - choosing pages by the queries: who chooses, how much, and the plan that comes of it. One group of rows
 * (share_rows positions from a multiple of that on) and one KV head at a time; a group lies in one tile of 16.
 *
 * Rows whose position is a multiple of `reselect` choose; a row reads sinks, window, and the pages that it and the rows
 * before it in its group chose: nothing depends on a later token, nor on where a batch begins. All that decides is integer,
 * or f32 in single operations of a fixed order: equal queries and keys choose equal pages on every machine. */
#ifndef FV_CHOOSE_H
#define FV_CHOOSE_H

#include "cache/cache_pages.h"
#include "fovea/select.h"

/* What choosing for one head works with; made by fv_chooser_make(). */
typedef struct fv_chooser {
    const fv_select_config *policy;
    const fv_cache *cache;
    const fv_kernels *kernels;
    float scale; /* of attention */
    uint32_t kv_head, group;
    uint32_t tile;          /* first token of the tile; pages before it can be scored */
    uint32_t first, rows;   /* of the row group: first token and length */
    uint32_t begin, end;    /* candidates, pages; begin == end: none */
    uint32_t window_begin;  /* first token of the window; everything before sinks_end and from here on is read */
    uint32_t sinks_end;
    uint32_t allowance; /* most pages that any row of the group reads beyond them */
} fv_chooser;

/* Memory of `rows` choosing rows at a time. */
typedef struct fv_choose_scratch {
    int8_t *query; /* [rows][group][dim] and so on, as in fv_shadow_rows */
    float *half_sum, *factor, *base;
    int32_t *dot, *best;
    uint32_t *mass, *share;  /* share [pages] */
    uint8_t *first_row;      /* [pages] */
    size_t base_stride, mass_stride;
} fv_choose_scratch;

/* Bytes of it, 64-byte aligned; false on overflow. */
bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows, size_t *bytes);
fv_choose_scratch fv_choose_scratch_at(void *memory, uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows);

/* `token`: any of the group. */
fv_chooser fv_chooser_make(const fv_select_config *policy, const fv_cache *cache, const fv_kernels *kernels, float scale,
                           uint32_t group, uint32_t layer, uint32_t kv_head, uint32_t token);

/* Makes row `row` of the scratch ready: query [group][head_dim]. */
void fv_choose_query(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t row, const float *query);

/* Masses of the pages of tokens from..to-1 (from a multiple of 64) for rows 0..rows-1 of the scratch. */
void fv_choose_score(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t rows, uint32_t from, uint32_t to);

/* What page 0..tile / 16 - 1 weighs for row `place` of the scratch: the largest share over the heads of the group, 1..2^30 + 1. */
void fv_shadow_shares(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t place, uint32_t *share);

/* Adds what row `place` of the scratch, row `row` of its group, chooses to first_row. `share` [pages] is lent. */
void fv_choose_pages(const fv_chooser *chooser, const fv_choose_scratch *scores, uint32_t place, uint32_t row,
                     uint32_t *share, uint8_t *first_row);

/* Writes the plan of the rows plan->first_token ..., all of the group. */
fv_status fv_choose_plan(const fv_chooser *chooser, const uint8_t *first_row, fv_plan *plan);

/* Whether row `row` of a group chooses, if those of bits `chosen` have. */
static inline bool fv_choose_row_is(const fv_select_config *policy, uint32_t row, uint32_t chosen) {
    return row % policy->reselect == 0 || (chosen & ((1u << row) - 1)) == 0;
}

/* Of what the choice depends on. */
uint64_t fv_choose_fingerprint(const fv_select_config *policy);

#endif
