/* tokenizer_bpe.h - byte-level BPE: every byte of a word is a symbol, the lowest-ranked pair is joined first. */
#ifndef FV_TOKENIZER_BPE_H
#define FV_TOKENIZER_BPE_H

#include "fovea/tokenizer.h"
#include "text/merge.h"
#include "text/pretokenizer.h"
#include "text/vocabulary.h"

/* Two tokens that may be joined; its index in the list is its rank. */
typedef struct fv_bpe_merge {
    int32_t left, right, joined;
} fv_bpe_merge;

typedef struct fv_bpe {
    const fv_vocabulary *vocabulary;
    const fv_pretokenizer *pretokenizer;
    fv_bpe_merge *merges;
    uint32_t *slots; /* hash table of merges: index + 1, 0 if free */
    uint32_t slot_mask;
    int32_t byte_ids[256]; /* -1: the vocabulary cannot express that byte */
} fv_bpe;

/* Borrows `vocabulary`. returns FV_OK, FV_ERROR_UNSUPPORTED (pre-tokenizer), FV_ERROR_CORRUPT, FV_ERROR_MEMORY. */
fv_status fv_bpe_open(fv_bpe *bpe, const fv_vocabulary *vocabulary, const fv_gguf *gguf, fv_message *message);
void fv_bpe_close(fv_bpe *bpe);

/* Appends the ids of text without special tokens; `merge` is scratch. FV_OK or FV_ERROR_MEMORY (some ids may be
 * appended). */
fv_status fv_bpe_encode(const fv_bpe *bpe, const char *text, size_t length, fv_merge *merge, fv_tokens *tokens);

/* Appends the bytes that a normal token stands for. FV_OK or FV_ERROR_MEMORY. */
fv_status fv_bpe_piece(const fv_token *token, fv_text *text);

#endif
