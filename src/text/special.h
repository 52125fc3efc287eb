/* special.h - the tokens with a role: begin, end, …, by metadata and by their well-known texts. */
#ifndef FV_SPECIAL_H
#define FV_SPECIAL_H

#include "text/vocabulary.h"

/* Ids, -1 if there is none. */
typedef struct fv_special {
    int32_t bos, eos, eot, eom;
    bool adds_bos, adds_eos;
} fv_special;

/* Reads the metadata over the defaults in *special, and marks in `vocabulary` what ends a generation and what the
 * well-known texts make of a token's kind. An id out of range is ignored, as llama.cpp does. */
void fv_special_read(fv_special *special, fv_vocabulary *vocabulary, const fv_gguf *gguf);

#endif
