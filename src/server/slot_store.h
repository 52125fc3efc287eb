/* slot_store.h - beginnings in files: looked up where no slot has what a prompt begins with. Of the thread that steps.
 */
#ifndef FV_SLOT_STORE_H
#define FV_SLOT_STORE_H

#include "fovea/prefix_store.h"
#include "request.h"

/** store: NULL where the server has no folder for it. FV_OK, FV_ERROR_FILE, FV_ERROR_MEMORY. */
fv_status fv_slot_store_open(fv_prefix_store **store, const fv_server_config *config, fv_message *message);

/** Whether a file may begin as the prompt does for enough more tokens than `shared` to be worth a look;
 * at most `most`. */
bool fv_slot_store_may_have(const fv_prefix_store *store, size_t shared, size_t most);

/**
 * The sequence begins as the prompt does.
 *
 * sequence  empty, with the policy of the request.
 * returns   its tokens, more than `shared` and at most `most`; 0: there is no such file, or it can't be used.
 */
size_t fv_slot_store_wake(const fv_prefix_store *store, const fv_choice *choice, size_t shared, size_t most,
                          fv_sequence *sequence);

#endif
