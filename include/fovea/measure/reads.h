/* reads.h - which passages of the context each generated word read most. Hosted. */
#ifndef FOVEA_READS_H
#define FOVEA_READS_H

#include "fovea/session.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FV_READS_PASSAGES 3                       /* of a word */
#define FV_READS_LAST_TOKENS (4 * FV_PAGE_TOKENS) /* newest tokens, up to whole pages: in no passage */

typedef struct fv_reads_passage {
    uint32_t position; /* first token of the page */
    float share; /* of all that the word's tokens read, mean over its tokens; in a token each head of each layer counts
                    the same. What a policy reads coarsely is not in it. 0: there is no passage */
} fv_reads_passage;

typedef struct fv_reads_word {
    fv_text text;                                 /* as generated, white space in front included */
    fv_reads_passage passages[FV_READS_PASSAGES]; /* largest share first */
} fv_reads_word;

/** Observes one session from its opening on. The first page and the last four of what a token sees are left out: sinks
 *  and neighbours would always come first. The same figures for any number of threads. One caller at a time. */
typedef struct fv_reads fv_reads;

/** workers: of the session's pool, >= 1. FV_OK, FV_ERROR_MEMORY (*reads untouched). Memory: layers * KV heads * pages,
 *  and workers * context * query heads / KV heads floats. */
FV_API fv_status fv_reads_open(fv_reads **reads, fv_session *session, const fv_llm *llm, uint32_t workers);
FV_API void fv_reads_close(fv_reads *reads); /* before the session; NULL is allowed */

/* For the watch of a generator (generate.h); each FV_OK or FV_ERROR_MEMORY. */
FV_API fv_status fv_reads_evaluate(fv_reads *reads, const int32_t *tokens, size_t count);
FV_API fv_status fv_reads_token(fv_reads *reads, int32_t token);

/** What the session holds that was not evaluated before these eyes: a woken session's. FV_OK or FV_ERROR_MEMORY. */
FV_API fv_status fv_reads_recall(fv_reads *reads, const int32_t *tokens, size_t count);

/** Ends the last word: call it when an answer is whole. */
FV_API void fv_reads_finish(fv_reads *reads);

FV_API size_t fv_reads_count(const fv_reads *reads);                               /* words */
FV_API const fv_reads_word *fv_reads_word_at(const fv_reads *reads, size_t index); /* valid until the next call */

/** Replaces `text` by that of the page at `position`, in one line: control characters become blanks. FV_OK,
 *  FV_ERROR_MEMORY. */
FV_API fv_status fv_reads_passage_text(const fv_reads *reads, uint32_t position, fv_text *text);

#ifdef __cplusplus
}
#endif

#endif
