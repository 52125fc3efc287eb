/* file_fault.h - what happens when a file that is mapped can't be read any more: it was shortened, or its disk failed.
 * The system says so by SIGBUS, which ends the process without a word; a handler can say more. Hosted. */
#ifndef FOVEA_FILE_FAULT_H
#define FOVEA_FILE_FAULT_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Called inside the signal handler, by the thread that read the file, of which there may be several at once: only what
 * is async-signal-safe may be done (write, _exit).
 *
 * path       of the file, as it was opened; borrowed.
 * shortened  whether the file is shorter than it was; else it can't be read (disk, network).
 */
typedef void fv_file_fault_fn(void *context, const char *path, bool shortened);

/**
 * Installs a handler of SIGBUS for the whole process: if the address lies in a file that this library has mapped
 * (models, session files), it calls `handler`, which should end the process: the data is gone. If it returns, or for
 * any other address, the handler that was there before is called, or the process ends by the signal. Nothing is
 * installed unless this is called. NULL takes the handler away again.
 *
 * returns  FV_OK, FV_ERROR_UNSUPPORTED (the system refuses). Not thread-safe: call it before threads start.
 * Of the files that are mapped at one time 256 are looked after.
 */
FV_API fv_status fv_file_fault_handle(fv_file_fault_fn *handler, void *context);

#ifdef __cplusplus
}
#endif

#endif
