/* slot_store.c - a look-up reads a folder and needs a sequence, so short prompts are spared it. */
#include "slot_store.h"

enum { WORTH_LOOKING = 1024 /* tokens: what the folder has is of whole segments */ };

fv_status fv_slot_store_open(fv_prefix_store **store, const fv_server_config *config, fv_message *message) {
    *store = NULL;
    if (!config->session_folder) return FV_OK;
    return fv_prefix_store_open(store, config->session_folder, config->session_bytes, message);
}

bool fv_slot_store_may_have(const fv_prefix_store *store, size_t shared, size_t most) {
    return store && most >= shared + WORTH_LOOKING;
}

/* Tokens of the file to take up. A block of landmarks that is cut would be another one. */
static size_t tokens_of(const fv_session_file *file, const fv_choice *choice, size_t most) {
    const fv_session_info *info = fv_session_file_info(file);
    size_t shared = fv_session_file_shared(file, choice->prompt->tokens.ids, most);
    uint32_t block = info->cache.landmark_tokens;
    return block && shared < info->tokens ? shared / block * block : shared;
}

size_t fv_slot_store_wake(const fv_prefix_store *store, const fv_choice *choice, size_t shared, size_t most,
                          fv_sequence *sequence) {
    fv_session_file *file = NULL;
    size_t tokens = 0;
    fv_status status = fv_prefix_store_find(store, sequence, choice->prompt->tokens.ids, most, &file, NULL);
    if (status == FV_OK && file) tokens = tokens_of(file, choice, most);
    if (tokens <= shared || fv_sequence_wake(sequence, file, tokens, NULL) != FV_OK) tokens = 0;
    fv_session_file_close(file);
    return tokens;
}
