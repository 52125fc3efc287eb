/* divided.c - contexts over ranks: who may, and what they agree on. */
#include "llm/divided.h"
#include <inttypes.h>

fv_status fv_llm_divide(fv_llm *llm, const fv_exchange *exchange, fv_message *message) {
    if (!llm) return fv_message_set(message, FV_ERROR_ARGUMENT, "no model was given");
    if (exchange && (!exchange->all_gather || exchange->ranks < 1 || exchange->ranks > FV_EXCHANGE_RANKS ||
                     exchange->rank >= exchange->ranks))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "rank %" PRIu32 " of %" PRIu32 " can't hold a part of a context; there are 1 to %d ranks",
                              exchange->rank, exchange->ranks, FV_EXCHANGE_RANKS);
    if (atomic_load(&llm->holders) != 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "%s: contexts can be divided only while no session is open; close its sessions first",
                              fv_gguf_path(llm->gguf));
    llm->exchange = exchange;
    return FV_OK;
}

/* A rank's word. */
typedef struct rank_word {
    int32_t status;
    uint32_t which;
} rank_word;

fv_status fv_llm_agree(const fv_llm *llm, fv_status status, uint32_t *which) {
    const fv_exchange *exchange = llm->exchange;
    _Alignas(64) rank_word words[FV_EXCHANGE_RANKS];
    size_t bytes[FV_EXCHANGE_RANKS];
    if (!exchange || exchange->ranks < 2) return status;
    for (uint32_t r = 0; r < exchange->ranks; r++) bytes[r] = sizeof(rank_word);
    words[exchange->rank] = (rank_word){.status = status, .which = which ? *which : 0};
    fv_status met = exchange->all_gather(exchange->self, words, bytes);
    if (met != FV_OK) return met;
    for (uint32_t r = 0; r < exchange->ranks; r++) {
        if (words[r].status == FV_OK) continue;
        if (which) *which = words[r].which;
        return (fv_status)words[r].status;
    }
    return FV_OK;
}

fv_status fv_llm_check_divides(const fv_llm *llm, const fv_policy *policy, fv_message *message) {
    if (fv_llm_ranks(llm) < 2 || fv_policy_divides(policy)) return FV_OK;
    return fv_message_set(message, FV_ERROR_POLICY,
                          "attention policy: %" PRIu32
                          " ranks hold the context together; they read by dense, window, or fovea without "
                          "certificate, tail and selector=cascade",
                          fv_llm_ranks(llm));
}

fv_status fv_llm_check_whole(const fv_llm *llm, const char *what, fv_message *message) {
    if (fv_llm_ranks(llm) < 2) return FV_OK;
    return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%" PRIu32 " ranks hold the context together: %s",
                          fv_llm_ranks(llm), what);
}
