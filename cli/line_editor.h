/* line_editor.h - turns that people type: edited, of any length and any number of lines. */
#ifndef FOVEA_LINE_EDITOR_H
#define FOVEA_LINE_EDITOR_H

#include "fovea/tokenizer.h"

/** Takes the terminal over, if standard input and standard error are one and this build has libedit: what is typed
 * while nobody reads waits, however much it is. Without this, and where there is none, lines are read as they come. */
void cli_editor_open(void);
void cli_editor_close(void); /* the terminal is as it was */

/**
 * Appends the user's next turn, without its line end. From a terminal it goes on after a line that ends with a
 * backslash, in a ``` block, and over all lines of a paste; elsewhere it is one line. *end: nothing was left. FV_OK,
 * FV_ERROR_INTERRUPTED at Ctrl-C, FV_ERROR_FILE, FV_ERROR_MEMORY.
 */
fv_status cli_editor_turn(fv_text *turn, bool *end, fv_message *message);

#endif
