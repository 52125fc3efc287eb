/* repack.h - weights interleaved at load into memory of huge pages; the file's pages are given back as it goes. */
#ifndef FV_REPACK_H
#define FV_REPACK_H

#include "llm/loader.h"

/* Packs every matrix whose type can be packed. FV_OK or FV_ERROR_MEMORY (the weights are then partly packed, and as
 * usable as before). */
fv_status fv_repack_run(fv_loaded *loaded, const fv_gguf *gguf, fv_message *message);

/* Whether no weight is read from the file any more: norms and biases never are. */
bool fv_repack_is_whole(const fv_loaded *loaded);

/* Bytes of weights that have been packed, or else that can be. */
uint64_t fv_repack_bytes(const fv_loaded *loaded, bool packed);

#endif
