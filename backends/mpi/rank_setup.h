/* rank_setup.h - what rank 0 tells a worker to open, as a letter. The worker believes nothing of it before it is
 * checked. */
#ifndef FV_RANK_SETUP_H
#define FV_RANK_SETUP_H

#include "fovea/stage.h"
#include "mailbox.h"

#define FV_SETUP_KEYS 64

typedef struct fv_rank_setup {
    fv_engine_config config; /* points into the letter */
    fv_layer_range range;
    uint64_t sum; /* fv_stage_sum() of rank 0's file */
    const char *keys[FV_SETUP_KEYS];
} fv_rank_setup;

/** The letter's bytes, of malloc(); NULL: out of memory, or more keys than FV_SETUP_KEYS. */
uint8_t *fv_setup_pack(const fv_engine_config *config, const fv_layer_range *range, uint64_t sum, size_t *bytes);

/** NULL: the setup may be used while the letter is there; else what is wrong with it. */
const char *fv_setup_unpack(fv_rank_setup *setup, const fv_letter *letter);

/** What a worker answers when its weights are there. */
typedef struct fv_rank_ready {
    fv_layer_range range;
    uint32_t threads, reserved;
} fv_rank_ready;

#endif
