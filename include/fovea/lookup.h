/* lookup.h - the next tokens guessed from the text itself: where its last tokens stood before, and what came then. What
 * fv_generator_set_lookup() goes by, for those who run steps of their own and check the guesses themselves. Hosted. How
 * structs may change: docs/abi.md. */
#ifndef FOVEA_LOOKUP_H
#define FOVEA_LOOKUP_H

#include "fovea/api.h"
#include "fovea/generate.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One text as it grows, and how guesses about it went. One caller at a time. */
typedef struct fv_lookup fv_lookup;

/** returns FV_OK, FV_ERROR_ARGUMENT (NULL), FV_ERROR_MEMORY; *lookup untouched on error. */
FV_API fv_status fv_lookup_open(fv_lookup **lookup);
FV_API void fv_lookup_close(fv_lookup *lookup); /* NULL is allowed */

/** The text goes on with these. returns FV_OK, FV_ERROR_ARGUMENT (NULL), FV_ERROR_MEMORY (it has some of them: close
 *  it). O(count), amortised; about 12 bytes a token. */
FV_API fv_status fv_lookup_add(fv_lookup *lookup, const int32_t *tokens, size_t count);

/**
 * What may come next, as far as it is worth its price: each guess costs a part of a step and saves one if it and those
 * before it are right, which is judged by how often that was so lately after as long a match.
 *
 * most     of guesses, 0..FV_GENERATE_GUESSES.
 * guesses  [most] out.
 * returns  how many; 0 on wrong arguments, too. Depends on the tokens and the calls of fv_lookup_learn() alone. O(1).
 */
FV_API uint32_t fv_lookup_guess(fv_lookup *lookup, uint32_t most, int32_t *guesses);

/** Of the last `count` guesses the first `right` were. */
FV_API void fv_lookup_learn(fv_lookup *lookup, uint32_t count, uint32_t right);

#ifdef __cplusplus
}
#endif

#endif
