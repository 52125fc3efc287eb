/* answer_text.h - the text of an answer as it grows: what may be shown already, and where a stop text ends it. Hosted.
 */
#ifndef FOVEA_ANSWER_TEXT_H
#define FOVEA_ANSWER_TEXT_H

#include "fovea/api.h"
#include "fovea/message.h"
#include "fovea/tokenizer.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_ANSWER_STOPS 16 /* most stop texts */

/** One answer at a time; one caller at a time. */
typedef struct fv_answer_text fv_answer_text;

/**
 * stops    [count] zero-terminated texts that end an answer and are no part of it; copied. count 0..FV_ANSWER_STOPS.
 * returns  FV_OK, FV_ERROR_ARGUMENT (an empty one, too many), FV_ERROR_MEMORY; *answer untouched on error.
 */
FV_API fv_status fv_answer_text_open(fv_answer_text **answer, const char *const *stops, size_t count,
                                     fv_message *message);
FV_API void fv_answer_text_close(fv_answer_text *answer); /* NULL is allowed */
FV_API void fv_answer_text_clear(fv_answer_text *answer); /* a new answer begins */

/**
 * Appends the text of the next token. Where a stop text ends in it, the answer ends before that.
 *
 * stop     out: the number of the stop text that was met first in the text, -1 if none was; untouched on error.
 * returns  FV_OK, FV_ERROR_ARGUMENT (id out of range), FV_ERROR_MEMORY.
 */
FV_API fv_status fv_answer_text_add(fv_answer_text *answer, const fv_tokenizer *tokenizer, int32_t token, int *stop);

/**
 * The bytes that can be shown since the last call, and counts them as shown: whole UTF-8 sequences as far as they come,
 * without what may become a stop text. `last`: the answer is over, all that is left.
 *
 * bytes    out: where they are, until the next call; NULL is allowed.
 */
FV_API size_t fv_answer_text_take(fv_answer_text *answer, bool last, const char **bytes);

FV_API const fv_text *fv_answer_text_all(const fv_answer_text *answer); /* until the next call */

#ifdef __cplusplus
}
#endif

#endif
