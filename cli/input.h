/* input.h - texts that the user hands in: files, standard input, escapes, and whether they are UTF-8. */
#ifndef FOVEA_INPUT_H
#define FOVEA_INPUT_H

#include "fovea/tokenizer.h"

/** Appends the bytes of `path` ("-": standard input). FV_OK, FV_ERROR_FILE, FV_ERROR_MEMORY, FV_ERROR_INTERRUPTED. */
fv_status cli_read_file(const char *path, fv_text *text, fv_message *message);

/** Appends a line without its newline; *end: nothing was left. Returns as above; INTERRUPTED at Ctrl-C. */
fv_status cli_read_line(fv_text *line, bool *end, fv_message *message);

/** Drops one newline at the end, as llama.cpp does with -f: editors put it there. */
void cli_text_chomp(fv_text *text);

/** Escapes of llama.cpp's -e in place: \n \r \t \' \" \\ and \xHH; anything else stays as it is. */
void cli_text_unescape(fv_text *text);

/** A warning that names the first bad byte of `text`, if there is one. `name` says which text. */
void cli_warn_unless_utf8(const char *name, const fv_text *text);

#endif
