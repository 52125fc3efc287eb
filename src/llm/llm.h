/* llm.h - an open model file, as its sessions see it. Private to src/llm. */
#ifndef FV_LLM_H
#define FV_LLM_H

#include "fovea/exchange.h"
#include "fovea/session.h"
#include "llm/loader.h"
#include <stdatomic.h>

struct fv_llm {
    fv_gguf *gguf;
    fv_tokenizer *tokenizer;
    fv_loaded loaded;
    const fv_exchange *exchange; /* with the other ranks that hold its contexts; NULL: there are none */
    struct fv_lead *lead;        /* NULL, or who tells those ranks what is done here */
    struct fv_stage_hub *hub;    /* NULL, or where the other layers are */
    uint32_t steps_kept; /* of a sequence, that layers with a sliding window can go back: 1 unless it is a stage */
    fv_llm *self;        /* this one: a session holds it as const, and must count itself in all the same */
    atomic_uint holders; /* whoever opened it, and each session */
};

/** One session more. FV_OK, or FV_ERROR_ARGUMENT while the weights are being repacked. */
fv_status fv_llm_hold(const fv_llm *llm, fv_message *message);
void fv_llm_release(const fv_llm *llm); /* the last holder's frees it */

/* --- llm_identity.c --- */

/* fv_llm_identity() without looking at weights: the same for all fine-tunes of one model. */
uint64_t fv_llm_outline(const fv_llm *llm);

#endif
