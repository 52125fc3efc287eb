/* choose.h - choosing pages by the queries: how much, which, and the plan that comes of it; one row (position) and one KV
 * head at a time. A row reads sinks, window, and the pages of those before its own that weigh most; nothing depends on a
 * later token, nor on where a batch begins. All that decides is integer, or f32 in single operations of a fixed order: equal
 * queries and keys choose equal pages on every machine. */
#ifndef FV_CHOOSE_H
#define FV_CHOOSE_H

#include "cache/cache_pages.h"
#include "fovea/select.h"

/* What choosing for one row and head works with; made by fv_chooser_make(). */
typedef struct fv_chooser {
    const fv_select_config *policy;
    const fv_cache *cache;
    const fv_kernels *kernels;
    float scale; /* of attention */
    uint32_t kv_head, group, position;
    uint32_t sinks_end, window_begin; /* tokens before the one and from the other on are read */
    uint32_t begin, end;              /* candidates between them, pages; begin == end: none */
    uint32_t scored;                  /* pages before the row's own: they can be scored */
    uint32_t allowance;               /* most pages that are read of the candidates */
} fv_chooser;

/* Memory of `rows` rows that are scored at a time. */
typedef struct fv_choose_scratch {
    int8_t *query; /* [rows][group][dim] and so on, as in fv_shadow_rows */
    float *half_sum, *factor, *base;
    int32_t *dot, *best;
    uint32_t *mass, *share; /* share [pages] */
    float *rotated;         /* [dim], of one query at a time */
    uint64_t *weight;       /* [256], of scores by one digit */
    size_t base_stride, mass_stride;
} fv_choose_scratch;

/* Bytes of it, 64-byte aligned; false on overflow. */
bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows, size_t *bytes);
fv_choose_scratch fv_choose_scratch_at(void *memory, uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows);

fv_chooser fv_chooser_make(const fv_select_config *policy, const fv_cache *cache, const fv_kernels *kernels, float scale,
                           uint32_t group, uint32_t layer, uint32_t kv_head, uint32_t position);

/* Whether there is anything to choose: if not, nothing needs to be scored. */
static inline bool fv_chooser_has_choice(const fv_chooser *chooser) {
    return chooser->begin < chooser->end && (chooser->allowance > 0 || chooser->policy->certificate);
}

static inline bool fv_chooser_reads_all(const fv_chooser *chooser) { return chooser->window_begin == 0; }

/* Makes row `place` of the scratch ready: query [group][head_dim]. */
void fv_choose_query(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t place, const float *query);

/* Masses of the pages before `page` for rows 0..rows-1 of the scratch. */
void fv_choose_score(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t rows, uint32_t page);

/* What page 0..chooser->scored - 1 weighs for row `place` of the scratch: the largest share over the heads of the group,
 * 1..2^30 + 1. */
void fv_shadow_shares(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t place, uint32_t *share);

/* Chooses by the scores of row `place`: share[page] of a candidate is FV_CHOSEN if it is read, less if not. */
#define FV_CHOSEN UINT32_MAX
void fv_choose_pages(const fv_chooser *chooser, const fv_choose_scratch *scores, uint32_t place, uint32_t *share);

/* Chooses the best `most` of the candidates that are not chosen yet; how many are left. */
uint32_t fv_choose_more(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t most, uint32_t *share);

/* Writes the plan of the row; share as fv_choose_pages() left it, not read if there is no choice. */
fv_status fv_choose_plan(const fv_chooser *chooser, const uint32_t *share, fv_plan *plan);

#endif
