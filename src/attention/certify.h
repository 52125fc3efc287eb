/* certify.h - what a call's certificates amount to, for one worker: the worst of all rows and query heads. */
#ifndef FV_CERTIFY_H
#define FV_CERTIFY_H

#include "attend/attend_state.h"
#include "select/choose.h"

typedef struct fv_certified {
    float error_bound, relative_bound, relative_estimate;
    uint64_t rows, vacuous, whole; /* rows x query heads; of them: those without a relative bound; those that read all
                                      because they had to (fv_policy.quality) */
} fv_certified;

/* The factor that makes the raw estimate, of a root mean square, an upper limit of the largest element in 95 % of the
 * rows of each layer: docs/lab/certificates.md says how it was measured. */
#define FV_CERTIFICATE_FACTOR 4.5f
/* How much larger it is where a deadline left sinks and chosen pages unread: most of the mass is unread then. */
#define FV_CERTIFICATE_CUT 2.46f

/*
 * The chooser's row and all query heads of one KV head.
 *
 * scratch  its scores and choices, not used if there are no candidates.
 * query, out  [group][head_dim], its own.
 * state    of the group's heads, maximum and sum.
 * returns  the largest relative estimate of the group. `into` takes what is worse than it has.
 */
float fv_certify_row(const fv_chooser *chooser, const fv_choose_scratch *scratch, const float *query, const float *out,
                     fv_state state, fv_certified *into);

/* `rows` rows up to the chooser's, and all query heads of one KV head, of which nothing was read: their outputs are
 * zeros. That is as far from dense attention as its largest value, and nothing is known about it in units of that. */
void fv_certify_nothing(const fv_chooser *chooser, uint32_t rows, fv_certified *into);

/* into <- the worse of both, and the sums. */
void fv_certified_add(fv_certified *into, const fv_certified *from);

#endif
