/* text_look.h - what a text from outside holds that its author hardly meant: one rule for every verb, file and line.
 * Bytes inside a text are never changed; a leading byte order mark is dropped, and all else is reported. Hosted. */
#ifndef FOVEA_TEXT_LOOK_H
#define FOVEA_TEXT_LOOK_H

#include "fovea/api.h"
#include "fovea/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Drops the byte order mark of UTF-8 (EF BB BF) at the beginning; whether there was one. O(length). */
FV_API bool fv_text_drop_mark(fv_text *text);

typedef void fv_text_say_fn(void *context, const char *sentence);

/**
 * Calls `say` with a sentence for each of: UTF-16 in place of UTF-8; a byte that is not UTF-8, or a character that the
 * end cuts; a zero byte; line ends CR LF; `\n` as two characters in a text of one line. Each names its place or number.
 *
 * name     of the text, for the sentences: "the prompt", a path.
 * O(length).
 */
FV_API void fv_text_look(const char *bytes, size_t length, const char *name, fv_text_say_fn *say, void *context);

#ifdef __cplusplus
}
#endif

#endif
