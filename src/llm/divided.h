/* divided.h - a model whose contexts several ranks hold: what its sequences and steppers ask and agree on. Private to
 * src/llm. */
#ifndef FV_DIVIDED_H
#define FV_DIVIDED_H

#include "llm/llm.h"
#include <stdbool.h>

/* How many ranks hold a context; 1: this process alone. */
static inline uint32_t fv_llm_ranks(const fv_llm *llm) { return llm->exchange ? llm->exchange->ranks : 1; }

/* Whether another rank holds segment `index` of every sequence. */
static inline bool fv_llm_is_foreign(const fv_llm *llm, uint32_t index) {
    return llm->exchange && fv_exchange_owner(index, llm->exchange->ranks) != llm->exchange->rank;
}

/* What can fail at one rank alone, memory above all, fails at all: the status of the first rank that has one, here and
 * everywhere. Every rank calls it at the same place. *which (may be NULL): of what, and so everywhere. */
fv_status fv_llm_agree(const fv_llm *llm, fv_status status, uint32_t *which);

/* FV_OK, or FV_ERROR_POLICY with a sentence: ranks cannot run it. */
fv_status fv_llm_check_divides(const fv_llm *llm, const fv_policy *policy, fv_message *message);

/* FV_OK, or FV_ERROR_UNSUPPORTED with a sentence: `what` cannot be done where several ranks hold a context. */
fv_status fv_llm_check_whole(const fv_llm *llm, const char *what, fv_message *message);

#endif
