/* special_split.h - finds the special tokens that stand in a text as they are written. */
#ifndef FV_SPECIAL_SPLIT_H
#define FV_SPECIAL_SPLIT_H

#include "fovea/tokenizer.h"
#include "text/vocabulary.h"

/* A token to look for. */
typedef struct fv_special_entry {
    const char *bytes;
    uint32_t length;
    int32_t id;
    int32_t shorter; /* index of the longest other entry that this one starts with; -1 if none */
} fv_special_entry;

typedef struct fv_special_split {
    const fv_vocabulary *vocabulary;
    fv_special_entry *entries; /* in the order of their bytes */
    uint32_t count;
    uint32_t first[257]; /* entries whose first byte is b: first[b]..first[b + 1] */
} fv_special_split;

/* All control, unknown and user-defined tokens of `vocabulary`, which is borrowed. FV_OK or FV_ERROR_MEMORY. */
fv_status fv_special_split_open(fv_special_split *split, const fv_vocabulary *vocabulary);
void fv_special_split_close(fv_special_split *split);

/* What a byte of the text belongs to: FV_MARK_TEXT, FV_MARK_INSIDE (a token, or white space that one swallowed), or
 * id + 1 where token `id` begins. */
#define FV_MARK_TEXT 0
#define FV_MARK_INSIDE (-1)

/**
 * Longer tokens are found first, equally long ones from left to right; none overlap.
 *
 * parse_special  look for control and unknown tokens too; user-defined ones are always looked for.
 * plain          parts of the text, rising and apart, where control and unknown tokens are none, nor across their ends;
 *                NULL: no such part.
 * marks          out: one for each byte, to be freed; NULL if no token was found. Untouched on error.
 * returns FV_OK, FV_ERROR_MEMORY. length < 2^31. O(length * (longest token + log length)).
 */
fv_status fv_special_split_mark(const fv_special_split *split, const char *text, size_t length, bool parse_special,
                                const fv_text_spans *plain, int32_t **marks);

#endif
