/* loader.h - from a GGUF to what the forward pass wants: shape, weights, rope frequencies. Private to src/llm. */
#ifndef FV_LOADER_H
#define FV_LOADER_H

#include "fovea/gguf.h"
#include "fovea/model.h"

/** A loaded model: points into the file, which must outlive it, and into memory of its own. */
typedef struct fv_loaded {
    fv_model_config config; /* max_tokens: the training context */
    fv_model_weights weights;
    fv_layer_range range; /* layers whose weights are here; those of others are absent */
    const float
        *long_frequencies;    /* in place of weights.rope_frequencies in contexts of more tokens than this; NULL: */
    uint32_t short_tokens;    /* there are none */
    const char *architecture; /* static */
    uint64_t parameters;      /* weights in all tensors of the file */
    uint64_t weight_bytes;
    struct fv_loader_block *owned;
    void *packed; /* of fv_repack_run(); NULL before */
    size_t packed_bytes;
} fv_loaded;

/** FV_OK, FV_ERROR_UNSUPPORTED or FV_ERROR_CORRUPT: to be said before the tokenizer is looked at. */
fv_status fv_loader_check_architecture(const fv_gguf *gguf, fv_message *message);

/** Metadata keys that are passed over, whatever they say: whole names. */
typedef struct fv_loader_keys {
    const char *const *names;
    size_t count;
} fv_loader_keys;

/**
 * Checks every metadata key under the architecture's prefix and every tensor, and fills *loaded.
 *
 * tokens   size of the tokenizer's vocabulary; the embedding must have as many rows. -1: there is no tokenizer.
 * allowed  may be NULL.
 * range    NULL: all layers; else weights of the others, and without the first one embedding and output, are checked by
 *          name and shape alone and absent then.
 * returns  FV_OK, FV_ERROR_UNSUPPORTED, FV_ERROR_CORRUPT, FV_ERROR_MEMORY; *loaded untouched on error.
 */
fv_status fv_loader_open(fv_loaded *loaded, const fv_gguf *gguf, int32_t tokens, const fv_loader_keys *allowed,
                         const fv_layer_range *range, fv_message *message);
/** The weights for a context of so many tokens. */
fv_model_weights fv_loaded_weights(const fv_loaded *loaded, uint32_t context_tokens);
void fv_loader_close(fv_loaded *loaded); /* a zeroed one is allowed */

#endif
