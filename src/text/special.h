/* special.h - the tokens with a role: begin, end, …, by metadata and by their well-known texts. */
#ifndef FV_SPECIAL_H
#define FV_SPECIAL_H

#include "text/remarks.h"
#include "text/vocabulary.h"

/* Ids, -1 if there is none. */
typedef struct fv_special {
    int32_t bos, eos, eot, eom;
    bool adds_bos, adds_eos;
} fv_special;

/* Where the metadata comes from and where to say what is odd in it. */
typedef struct fv_special_file {
    const fv_gguf *gguf;
    fv_remarks *remarks;
    fv_message *message;
} fv_special_file;

/* Reads the metadata over the defaults in *special, and marks in `vocabulary` what ends a generation and what the
 * well-known texts make of a token's kind. An id out of range is passed over with a remark, as llama.cpp does.
 * returns FV_OK, FV_ERROR_CORRUPT (a key is there and unreadable), FV_ERROR_MEMORY. */
fv_status fv_special_read(fv_special *special, fv_vocabulary *vocabulary, const fv_special_file *file);

#endif
