/* select_row.h - the door into choosing by the queries: who executes plans asks for the plan of a row here, and knows
 * nothing of scores and allowances. */
#ifndef FV_SELECT_ROW_H
#define FV_SELECT_ROW_H

#include "fovea/state.h"
#include "select/choose.h"

/* Rows of one tile and one KV head, which come in rising order. The caller fills in what is above the line and makes
 * the scratch; all else begins as zeros. */
typedef struct fv_select_rows {
    const fv_policy *policy;
    const fv_cache *cache;
    const fv_kernels *kernels;
    float scale; /* of attention */
    uint32_t group, layer, kv_head;
    const float *query; /* of position first_token: [group][head_dim] of this KV head, rows query_stride apart */
    size_t query_stride;
    uint32_t first_token, end; /* end: one past the tile's last position */
    fv_choose_scratch scratch;
#if FV_BUILD_EXCHANGE
    const fv_gathered_scores *gathered; /* NULL: scores are made here, of all pages */
#endif
    /* ---- */
    fv_chooser chooser; /* of the row at hand */
    bool read_shared;   /* what rows of a tile share of the coarse keys was counted */
} fv_select_rows;

/* Makes rows->chooser that of a row. */
const fv_chooser *fv_select_at(fv_select_rows *rows, uint32_t position);

/*
 * The plan of the row at `position`, or of as many from it on as read all. Steps say why they are there.
 *
 * tail    NULL, or of a policy with a tail: the cleared state of the group's heads, which gets what the row's tail
 * adds. bytes   those of the coarse copies and of the tail that were read are added. returns FV_OK, FV_ERROR_FULL: too
 * few steps.
 */
fv_status fv_select_row(fv_select_rows *rows, uint32_t position, const fv_state *tail, uint64_t *bytes, fv_plan *plan);

#if FV_BUILD_LISTS
/* The same without a plan, for a row that is not short: it is added to who reads which page, as by fv_choose_readers().
 * How many keys; 0: the row reads all because it is short, and nothing was done. */
uint64_t fv_select_readers(fv_select_rows *rows, uint32_t position, const fv_state *tail, uint64_t *bytes,
                           uint16_t reader, uint16_t *readers, uint64_t *by_reason);
#endif

#if FV_BUILD_EXCHANGE
/* Whether a row chooses by scores. */
bool fv_select_scores(fv_select_rows *rows, uint32_t position);

/* Scores the pages that are here, for the row at `position` and some after it; how many rows. */
uint32_t fv_select_score(fv_select_rows *rows, uint32_t position, const fv_gathered_scores *into);
#endif

/* Whether the row at hand reads all because it is short, so that nothing was chosen. */
static inline bool fv_select_reads_all(const fv_select_rows *rows) { return fv_chooser_reads_all(&rows->chooser); }

/* Chooses up to `more` pages besides those of `plan`, which is the row's at hand, and rewrites it. How many pages
 * are left; 0: the row reads all. */
uint32_t fv_select_more(fv_select_rows *rows, uint32_t more, fv_plan *plan);

/* The scores and choices of `plan` once more, which is of one row, for its certificate: by now those of other rows are
 * in the scratch. `from`: tokens before it were not read after all; it is not after the row's own. */
void fv_select_again(fv_select_rows *rows, const fv_plan *plan, uint32_t from);

#endif
