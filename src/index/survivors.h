/* survivors.h - the rows that a filter lets pass, for the filters of searches with a recall: their share by a sample,
 * their list where they are few, and their codes packed side by side, so that a scan reads no others. */
#ifndef FV_INDEX_SURVIVORS_H
#define FV_INDEX_SURVIVORS_H

#include "index/index_search.h"

typedef struct fv_survivors {
    double share;   /* of all rows; of the list, or of a sample */
    bool is_listed; /* rows and count are known */
    uint32_t *rows; /* [count] */
    size_t count;
    uint8_t *blocks; /* of their codes; NULL: not packed */
} fv_survivors;

/* Their share: of 1,024 rows by chance. Where those are few, or all are, of the list that is made then. FV_OK,
 * FV_ERROR_MEMORY. fv_survivors_free() in any case. */
fv_status fv_survivors_find(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                            fv_message *message);
fv_status fv_survivors_list(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                            fv_message *message);
fv_status fv_survivors_pack(const fv_index *index, fv_survivors *survivors, fv_message *message);
void fv_survivors_free(fv_survivors *survivors);

/* Computes the distances of all of the list. Lists as for fv_index_flat(). FV_OK, FV_ERROR_MEMORY. */
fv_status fv_survivors_search(const fv_index *index, const fv_index_search *search, const fv_survivors *survivors,
                              fv_near_list *lists, fv_search_counts *counts, fv_message *message);

#endif
