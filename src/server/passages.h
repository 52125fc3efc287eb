/* passages.h - what the tokens of an answer read: pages of the context, as places in the text of the prompt and on in
 * that of the answer. */
#ifndef FV_PASSAGES_H
#define FV_PASSAGES_H

#include "fovea/measure/read_watch.h"
#include "prompt.h"

#define FV_PASSAGES_MOST 64 /* of a token, and of each layer */

/** Of one answer. A list has `most` passages, largest share first; share 0: there are no more. */
typedef struct fv_passages {
    size_t most;             /* 0: nobody asked */
    uint32_t layers;         /* lists of a token besides the first, which is of all layers */
    fv_reads_passage *items; /* [tokens][1 + layers][most] */
    size_t *begins;          /* [tokens] bytes of the answer before the token */
    uint64_t *characters;    /* [tokens] likewise, in characters */
    size_t count, room;      /* tokens; one that ended the answer may be the last */
} fv_passages;

/** Characters of a text in UTF-8: bytes that begin one. */
uint64_t fv_characters(const char *bytes, size_t length);

void fv_passages_free(fv_passages *passages);

/** A row was read from, of which the next token is chosen: adds its lists. text: of the answer so far. FV_OK,
 *  FV_ERROR_MEMORY. */
fv_status fv_passages_add(fv_passages *passages, fv_read_watch *watch, size_t row, const fv_text *text);

/** Where each token of the prompt begins in its text, in characters: fills prompt->places. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_prompt_place(fv_prompt *prompt, const fv_tokenizer *tokenizer);

/** [{"position","begin","end","share"}, ...] of one list; list 0: of all layers, 1 + i: of layer i. */
json_t *fv_passages_json(const fv_passages *passages, const fv_prompt *prompt, size_t token, size_t list);

#endif
