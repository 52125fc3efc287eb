/* prefix_store.h - a folder of sessions that prompts begin with: found by their tokens, the least recently used goes
 * first. Hosted. How structs may change: docs/abi.md. */
#ifndef FOVEA_PREFIX_STORE_H
#define FOVEA_PREFIX_STORE_H

#include "fovea/session_file.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A folder with a limit. Any number of threads and processes may use the same one: files appear whole, one that is
 * gone is no error, and nobody waits for anybody. */
typedef struct fv_prefix_store fv_prefix_store;

/** folder: made if it is not there, but not those above it. limit_bytes: of all files together.
 *  returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_FILE, FV_ERROR_MEMORY; *store untouched on error. */
FV_API fv_status fv_prefix_store_open(fv_prefix_store **store, const char *folder, uint64_t limit_bytes,
                                      fv_message *message);
FV_API void fv_prefix_store_close(fv_prefix_store *store); /* NULL is allowed */

/**
 * The file that shares the longest beginning with `tokens`, of whole segments of 1,024 tokens, among those that were
 * kept with this sequence's model, types and policy. It counts as used now.
 *
 * file     out: NULL if there is none; else wake from it (fv_session_file_shared() says how far) and close it.
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_FILE (the folder can't be read), FV_ERROR_MEMORY; *file untouched on
 *          error. A file that can't be opened is passed over. Cost: reads the folder, and the heads of files that share
 *          the first segment.
 */
FV_API fv_status fv_prefix_store_find(const fv_prefix_store *store, const fv_sequence *sequence, const int32_t *tokens,
                                      size_t count, fv_session_file **file, fv_message *message);

/**
 * Keeps the whole segments of the sequence's tokens, unless they are there already, and makes room for them.
 *
 * returns  FV_OK (also: they are fewer than one segment, are longer than the limit, another process keeps the same),
 * what fv_sequence_save() returns. The sequence is only read. O(bytes).
 */
FV_API fv_status fv_prefix_store_keep(const fv_prefix_store *store, fv_sequence *sequence, fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
