/* inspect_session.h - `fovea inspect` of a file of a session. */
#ifndef FOVEA_INSPECT_SESSION_H
#define FOVEA_INSPECT_SESSION_H

#include "fovea/session_file.h"

/** Shows what the file says about itself and checks every byte. CLI_DONE, or CLI_FAILED and a line that says what is
 *  damaged. */
int cli_inspect_session(const char *path, bool json);

#endif
