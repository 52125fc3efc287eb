/* index_search.h - what all kinds of searches share: queries made ready, filters, counters. */
#ifndef FV_INDEX_SEARCH_H
#define FV_INDEX_SEARCH_H

#include "index/index_state.h"
#include "index/kept_row.h"
#include "index/near_list.h"

/* Queries ready to be searched for. */
typedef struct fv_ready_queries {
    float *vector;        /* [count][dimension], of length 1 for cosine */
    uint8_t *table;       /* [count][4 * rotated] */
    fv_scan_query *query; /* [count] */
    fv_probe *probe;      /* [count] */
    int16_t *level;       /* [count][rotated]; not used unless rows are codes */
} fv_ready_queries;

/* Room for `count`. False: no memory. */
bool fv_ready_make(const fv_index *index, size_t count, fv_ready_queries *ready);
void fv_ready_free(fv_ready_queries *ready);

/* Makes `count` queries from number `first` of the search on. scratch [2 * rotated] a worker. */
void fv_index_ready(const fv_index *index, const fv_index_search *search, size_t first, size_t count,
                    const fv_ready_queries *out, float *scratch);

/* Whether the label may be a result; that of dead rows may not. */
bool fv_index_allows(const fv_index_search *search, uint64_t label);

/* Distance of a row from a query, by the index's metric. */
float fv_index_distance(const fv_index *index, const fv_probe *probe, size_t row);

typedef struct fv_search_counts {
    uint64_t codes, rows, bytes, visits;
    uint64_t fine;         /* codes that were refined by */
    uint64_t walks, lists; /* queries that were answered so; the others by scans */
} fv_search_counts;

/* Rows whose codes are packed: those that the filter lets pass. */
typedef struct fv_flat_subset {
    const uint32_t *rows; /* [count] */
    size_t count;
    const uint8_t *blocks; /* as in fv_index_arrays */
} fv_flat_subset;

/* Searches all rows by their codes, or those of `subset` (NULL: all). lists [search->count] have their room; they are
 * filled and not sorted. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_index_flat(const fv_index *index, const fv_index_search *search, const fv_flat_subset *subset,
                        fv_near_list *lists, fv_search_counts *counts, fv_message *message);

#endif
