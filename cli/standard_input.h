/* standard_input.h - standard input byte by byte, waited for together with Ctrl-C. */
#ifndef FOVEA_STANDARD_INPUT_H
#define FOVEA_STANDARD_INPUT_H

#include "fovea/message.h"
#include <stddef.h>

/** The next byte; -1 at the end. FV_OK, FV_ERROR_FILE, FV_ERROR_INTERRUPTED at Ctrl-C. */
fv_status cli_input_byte(int *byte, fv_message *message);

/** Up to `wanted` (<= 16) of the next bytes, which stay: as many as come within a moment, since keys and characters of
 *  several bytes come at once. Waits for the first. Returns how many there are; 0 at the end and at Ctrl-C. */
size_t cli_input_peek(size_t wanted, const char **bytes);
void cli_input_skip(size_t count); /* of bytes that were seen so */

#endif
