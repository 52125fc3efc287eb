/* gathered_scores.h - scores of pages that several ranks made, each of its own segments, for all heads of the rows of a
 * tile. */
#ifndef FV_GATHERED_SCORES_H
#define FV_GATHERED_SCORES_H

#include "build.h"
#include "fovea/exchange.h"
#include "fovea/plan.h"

#if FV_BUILD_EXCHANGE

/* A rank's part: [kv_heads][rows][group][own pages], these in rising order. */
typedef struct fv_gathered_scores {
    int32_t *all;         /* parts of all ranks, one after the other */
    const size_t *offset; /* [ranks], where they begin */
    uint32_t rank, ranks; /* rank: who scores here */
    uint32_t pages;       /* that are scored for each row: those before the last row's own */
    uint32_t first_token, rows, kv_heads, group;
} fv_gathered_scores;

/* Of the pages, those of one rank. */
uint32_t fv_gathered_pages(const fv_gathered_scores *scores, uint32_t rank);

/* Elements of a rank's part. */
size_t fv_gathered_count(const fv_gathered_scores *scores, uint32_t rank);

/* Takes the own pages of `row` [pages], which is of a position and a query head of the group. */
void fv_gathered_put(const fv_gathered_scores *scores, uint32_t kv_head, uint32_t position, uint32_t g,
                     const int32_t *row);

/* row <- the first `pages` scores. */
void fv_gathered_get(const fv_gathered_scores *scores, uint32_t kv_head, uint32_t position, uint32_t g, uint32_t pages,
                     int32_t *row);

#endif

#endif
