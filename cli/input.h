/* input.h - texts that the user hands in: files, standard input, escapes, and whether they are UTF-8. */
#ifndef FOVEA_INPUT_H
#define FOVEA_INPUT_H

#include "fovea/tokenizer.h"

/** A text of the user: that of `file`, without a byte order mark and the line end at its end, or `given` (NULL:
 *  nothing), with its escapes if `escape`. Warns of what was hardly meant (fv_text_look()); `name` says then which
 *  text. CLI_GO_ON, CLI_FAILED, CLI_INTERRUPTED. */
int cli_read_text(const char *file, const char *given, bool escape, const char *name, fv_text *text);

/** Appends a line without its line end, LF or CR LF; *end: nothing was left. Returns as above; INTERRUPTED at Ctrl-C.
 */
fv_status cli_read_line(fv_text *line, bool *end, fv_message *message);

/** fv_text_read() without a leading byte order mark, which is reported. Returns as fv_text_read(). */
fv_status cli_read_file(fv_text *text, const char *path, fv_message *message);

/** Warnings of what fv_text_look() finds. `name` says which text. */
void cli_look_at_text(const char *name, const fv_text *text);

/** Warnings of what is odd in the file of a tokenizer. */
void cli_warn_of_file(const fv_tokenizer *tokenizer);

/** A warning if `tokens` begin with two beginning-of-text tokens. */
void cli_warn_of_bos(const fv_tokenizer *tokenizer, const fv_tokens *tokens);

#endif
