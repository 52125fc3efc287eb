/* message.h - the sentence that goes with a status in hosted code: file, place, what to do. */
#ifndef FOVEA_MESSAGE_H
#define FOVEA_MESSAGE_H

#include "fovea/api.h"
#include "fovea/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FV_MESSAGE_BYTES 512 /* with the closing zero; longer texts are cut at a UTF-8 boundary */

/** Filled on error (by fv_session_open() also with a remark); always zero-terminated, one line, printable (control
 *  characters become '?'). */
typedef struct fv_message {
    char text[FV_MESSAGE_BYTES];
} fv_message;

/**
 * Formats into `message` (NULL: drops the text) and returns `status`, so that a check stays one statement:
 *     if (bad) return fv_message_set(message, FV_ERROR_CORRUPT, "%s: tensor %s ...", path, name);
 * Thread-safe for distinct messages.
 */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
FV_API fv_status
fv_message_set(fv_message *message, fv_status status, const char *format, ...);

#ifdef __cplusplus
}
#endif

#endif
