/* pretokenizer.h - cuts a text into the words within which BPE may merge, as the model's pre-tokenizer prescribes. */
#ifndef FV_PRETOKENIZER_H
#define FV_PRETOKENIZER_H

#include "fovea/status.h"
#include "text/unicode_class.h"
#include <stdbool.h>

typedef struct fv_pretokenizer fv_pretokenizer;

/* By the value of tokenizer.ggml.pre; NULL if unknown. An empty name is "default". */
const fv_pretokenizer *fv_pretokenizer_find(const char *name, size_t length);

/* What else the name says. */
bool fv_pretokenizer_ignores_merges(const fv_pretokenizer *pretokenizer); /* a word that is a token stays whole */
bool fv_pretokenizer_adds_bos(const fv_pretokenizer *pretokenizer);       /* unless the file says otherwise */
bool fv_pretokenizer_lacks_bos(const fv_pretokenizer *pretokenizer);      /* no default BOS token */

typedef fv_status fv_word_sink(void *context, const fv_glyph *word, size_t count);

/* Hands glyphs[0..count) over word by word, none empty, together the whole; stops at the first error and returns it.
 * O(count). */
fv_status fv_pretokenizer_run(const fv_pretokenizer *pretokenizer, const fv_glyph *glyphs, size_t count,
                              fv_word_sink *sink, void *context);

#endif
