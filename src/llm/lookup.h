/* lookup.h - the next tokens guessed from the text itself: where its last tokens stood before, and what came then. */
#ifndef FV_LLM_LOOKUP_H
#define FV_LLM_LOOKUP_H

#include "fovea/generate.h"

#define FV_LOOKUP_MOST FV_GENERATE_GUESSES

typedef struct fv_lookup fv_lookup;

/** FV_OK or FV_ERROR_MEMORY. */
fv_status fv_lookup_open(fv_lookup **lookup);
void fv_lookup_close(fv_lookup *lookup); /* NULL is allowed */

/** The text goes on with these. FV_OK, FV_ERROR_MEMORY. O(count), amortised. */
fv_status fv_lookup_add(fv_lookup *lookup, const int32_t *tokens, size_t count);

/**
 * What may come next, as far as it is worth its price: each guess costs a part of a step and saves one if it and those
 * before it are right, which is judged by how often that was so lately after as long a match.
 *
 * most     of guesses, 0..FV_LOOKUP_MOST.
 * guesses  [most] out.
 * returns  how many. Depends on the tokens and the calls of fv_lookup_learn() alone. O(1).
 */
uint32_t fv_lookup_guess(fv_lookup *lookup, uint32_t most, int32_t *guesses);

/** Of the last `count` guesses the first `right` were. */
void fv_lookup_learn(fv_lookup *lookup, uint32_t count, uint32_t right);

#endif
