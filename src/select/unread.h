/* unread.h - what a row did not read: how much mass it may have at most, how much it has by estimate, how large its
 * values are. By the coarse copy of the keys, page by page. */
#ifndef FV_UNREAD_H
#define FV_UNREAD_H

#include "select/choose.h"

/* Of one query head. Masses are sums of 2^(score - maximum), the state's maximum. */
typedef struct fv_unread {
    float mass_bound, mass_estimate; /* the bound holds always; infinity where it is too large for a float */
    float value_max;                 /* largest magnitude of an element of an unread value */
    float value_rms;                 /* root mean square of the elements, by estimated mass */
    uint32_t pages;
} fv_unread;

/*
 * What the chooser's row did not read, for query head `g` of the group.
 *
 * scratch  as fv_choose_pages() left it, all pages in its list.
 * query    [head_dim], the head's own.
 * maximum  of the state of what was read.
 * The cache has margins. Its keys are the stored ones, rounded as they are. O(pages).
 */
fv_unread fv_unread_of(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t g, const float *query,
                       float maximum);

#endif
