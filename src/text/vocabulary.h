/* vocabulary.h - the tokens of a model file: text, score and type by id, and id by text.
 * The texts stay in the mapped file; what is ours is 16 bytes a token and a hash table of 16 to 32. */
#ifndef FV_VOCABULARY_H
#define FV_VOCABULARY_H

#include "fovea/gguf.h"

/* What a token is; a token of no kind (unused, undefined) has no text. */
typedef enum fv_token_kind {
    FV_TOKEN_NORMAL = 1,
    FV_TOKEN_UNKNOWN = 2,
    FV_TOKEN_CONTROL = 4,
    FV_TOKEN_USER_DEFINED = 8,
    FV_TOKEN_BYTE = 16,
    FV_TOKEN_STRIPS_RIGHT = 32, /* swallows the white space after it when found in a text */
    FV_TOKEN_ENDS = 64          /* ends a generation */
} fv_token_kind;

#define FV_TOKEN_BYTES_MAX 65535

typedef struct fv_token {
    const char *bytes; /* in the file */
    float score;
    uint16_t length; /* 0: a token that no text has */
    uint8_t kinds;   /* of fv_token_kind */
} fv_token;

typedef struct fv_vocabulary_slot {
    uint32_t hash;
    int32_t id; /* -1: free */
} fv_vocabulary_slot;

typedef struct fv_vocabulary {
    fv_token *tokens;
    uint32_t count;   /* 1..2^30 */
    uint32_t longest; /* bytes of the longest token */
    fv_vocabulary_slot *slots;
    uint32_t slot_mask;
} fv_vocabulary;

/* Reads tokens, scores and token_type of `gguf`, which must outlive the vocabulary. On error nothing is kept.
 * returns FV_OK, FV_ERROR_CORRUPT, FV_ERROR_MEMORY. */
fv_status fv_vocabulary_open(fv_vocabulary *vocabulary, const fv_gguf *gguf, fv_message *message);
void fv_vocabulary_close(fv_vocabulary *vocabulary);

/* Id of the token with exactly this text; -1 if there is none. O(length). */
int32_t fv_vocabulary_find(const fv_vocabulary *vocabulary, const char *bytes, size_t length);

/* Id of the byte token "<0xAB>", or of the token that is just that byte; -1 if there is neither. */
int32_t fv_vocabulary_find_byte(const fv_vocabulary *vocabulary, unsigned char byte);

/* The byte that a token of kind FV_TOKEN_BYTE stands for. */
unsigned char fv_token_byte(const fv_token *token);

#endif
