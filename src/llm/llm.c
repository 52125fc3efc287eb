/* llm.c - a model file opened: what all of its sessions read. */
#include "llm/llm.h"
#include "llm/lead.h"
#include "llm/repack.h"
#include "llm/stage_hub.h"
#include <limits.h>
#include <stdlib.h>

#define REPACKING UINT_MAX /* in place of the number of holders */

static fv_status llm_load(fv_llm *llm, const char *path, const fv_loader_keys *allowed, const fv_layer_range *range,
                          fv_message *message) {
    fv_status status = fv_gguf_open(&llm->gguf, path, message);
    if (status == FV_OK) status = fv_loader_check_architecture(llm->gguf, message);
    bool tells_tokens = !range || range->first == 0;
    if (status == FV_OK && tells_tokens) status = fv_tokenizer_open(&llm->tokenizer, llm->gguf, message);
    if (status != FV_OK) return status;
    int32_t tokens = tells_tokens ? fv_tokenizer_tokens(llm->tokenizer) : -1;
    return fv_loader_open(&llm->loaded, llm->gguf, tokens, allowed, range, message);
}

fv_status fv_llm_open(fv_llm **llm, const char *path, fv_message *message) {
    return fv_llm_open_allowing(llm, path, NULL, 0, message);
}

fv_status fv_llm_open_allowing(fv_llm **llm, const char *path, const char *const *keys, size_t count,
                               fv_message *message) {
    return fv_llm_open_range(llm, path, keys, count, NULL, message);
}

fv_status fv_llm_open_range(fv_llm **llm, const char *path, const char *const *keys, size_t count,
                            const fv_layer_range *range, fv_message *message) {
    const fv_loader_keys allowed = {keys, count};
    if (!keys && count) return fv_message_set(message, FV_ERROR_ARGUMENT, "the keys to pass over are missing");
    if (!llm || !path) return fv_message_set(message, FV_ERROR_ARGUMENT, "no model file was given");
    if (range && range->count == 0) return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: a stage of no layers", path);
    fv_llm *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "%s: out of memory", path);
    made->self = made;
    made->steps_kept = 1;
    atomic_init(&made->holders, 1);
    fv_status status = llm_load(made, path, &allowed, range, message);
    if (status != FV_OK) {
        fv_llm_close(made);
        return status;
    }
    *llm = made;
    return FV_OK;
}

fv_status fv_llm_hold(const fv_llm *llm, fv_message *message) {
    unsigned int holders = atomic_load(&llm->self->holders);
    do
        if (holders >= REPACKING - 1)
            return fv_message_set(message, FV_ERROR_ARGUMENT,
                                  "%s: its weights are being repacked; open sessions when that is done",
                                  fv_gguf_path(llm->gguf));
    while (!atomic_compare_exchange_weak(&llm->self->holders, &holders, holders + 1));
    return FV_OK;
}

void fv_llm_release(const fv_llm *llm) {
    fv_llm *own = llm->self;
    if (atomic_fetch_sub(&own->holders, 1) != 1) return;
    fv_lead_close(own->lead);
    fv_stage_hub_close(own->hub, true);
    fv_loader_close(&own->loaded);
    if (own->tokenizer) fv_tokenizer_close(own->tokenizer);
    fv_gguf_close(own->gguf);
    free(own);
}

void fv_llm_close(fv_llm *llm) {
    if (llm) fv_llm_release(llm);
}

fv_status fv_llm_repack(fv_llm *llm, fv_message *message) {
    if (!llm) return fv_message_set(message, FV_ERROR_ARGUMENT, "no model was given");
    unsigned int holders = 1;
    if (!atomic_compare_exchange_strong(&llm->holders, &holders, REPACKING))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "%s: weights can be repacked only while no session is open; close its sessions first",
                              fv_gguf_path(llm->gguf));
    fv_status status = fv_repack_run(&llm->loaded, llm->gguf, message);
    if (status == FV_OK) status = fv_gguf_check_unchanged(llm->gguf, message);
    atomic_store(&llm->holders, 1);
    return status;
}

fv_status fv_llm_check_file(const fv_llm *llm, fv_message *message) {
    return fv_repack_is_whole(&llm->loaded) ? FV_OK : fv_gguf_check_unchanged(llm->gguf, message);
}

uint64_t fv_llm_packable_bytes(const fv_llm *llm) { return fv_repack_bytes(&llm->loaded, false); }
uint64_t fv_llm_packed_bytes(const fv_llm *llm) { return fv_repack_bytes(&llm->loaded, true); }

const fv_gguf *fv_llm_gguf(const fv_llm *llm) { return llm->gguf; }
const fv_tokenizer *fv_llm_tokenizer(const fv_llm *llm) { return llm->tokenizer; }
const fv_model_config *fv_llm_config(const fv_llm *llm) { return &llm->loaded.config; }
const char *fv_llm_architecture(const fv_llm *llm) { return llm->loaded.architecture; }
void fv_llm_range(const fv_llm *llm, fv_layer_range *range) { *range = llm->loaded.range; }
uint64_t fv_llm_parameters(const fv_llm *llm) { return llm->loaded.parameters; }
uint64_t fv_llm_weight_bytes(const fv_llm *llm) { return llm->loaded.weight_bytes; }
