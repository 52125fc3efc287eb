/* tokenizer_spm.h - SentencePiece's BPE: characters are the symbols, the pair with the highest score is joined first.
 */
#ifndef FV_TOKENIZER_SPM_H
#define FV_TOKENIZER_SPM_H

#include "fovea/tokenizer.h"
#include "text/merge.h"
#include "text/vocabulary.h"

typedef struct fv_spm {
    const fv_vocabulary *vocabulary;
    int32_t byte_ids[256]; /* for characters that are no token; -1: the vocabulary cannot express that byte */
} fv_spm;

/* Borrows `vocabulary`. */
void fv_spm_open(fv_spm *spm, const fv_vocabulary *vocabulary);

/* Appends the ids of text without special tokens, after a space if `space_prefix`; `merge` is scratch.
 * FV_OK, FV_ERROR_ARGUMENT (longer than 2^31 bytes once its spaces are written out) or FV_ERROR_MEMORY; on error some
 * ids may be appended. */
fv_status fv_spm_encode(const fv_spm *spm, const char *text, size_t length, bool space_prefix, fv_merge *merge,
                        fv_tokens *tokens);

/* Appends the bytes that a normal token stands for. FV_OK or FV_ERROR_MEMORY. */
fv_status fv_spm_piece(const fv_token *token, fv_text *text);

#endif
