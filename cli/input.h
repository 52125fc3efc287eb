/* input.h - texts that the user hands in: files, standard input, escapes, and whether they are UTF-8. */
#ifndef FOVEA_INPUT_H
#define FOVEA_INPUT_H

#include "fovea/tokenizer.h"

/** A text of the user: that of `file`, without a newline at its end, or `given` (NULL: nothing), with its escapes if
 *  `escape`. Warns where it is not UTF-8; `name` says then which text. CLI_GO_ON, CLI_FAILED, CLI_INTERRUPTED. */
int cli_read_text(const char *file, const char *given, bool escape, const char *name, fv_text *text);

/** Appends a line without its newline; *end: nothing was left. Returns as above; INTERRUPTED at Ctrl-C. */
fv_status cli_read_line(fv_text *line, bool *end, fv_message *message);

/** A warning that names the first bad byte of `text`, if there is one. `name` says which text. */
void cli_warn_unless_utf8(const char *name, const fv_text *text);

#endif
