/* sequence_image.c - what a session file is written from: the segments, ids and settings of a sequence. */
#include "fovea/policy_text.h"
#include "llm/divided.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_segments.h"
#include <string.h>

static const void *segment_at(void *context, uint32_t layer, uint32_t index) {
    const fv_sequence *sequence = context;
    return fv_cache_segment_at(sequence->caches[layer], index);
}

static void segment_clear(void *context, uint32_t layer, uint32_t index, void *copy) {
    const fv_sequence *sequence = context;
    (void)fv_cache_segment_clear(sequence->caches[layer], index, copy);
}

/* The name without its folder. */
static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

fv_status fv_sequence_write(fv_sequence *sequence, fv_session_image *image, uint32_t tokens, const char *path,
                            uint32_t end, fv_message *message) {
    if (tokens == 0) return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: there is nothing to save", path);
    fv_status status = fv_llm_check_whole(sequence->llm, "no session of it can be saved", message);
    if (status != FV_OK) return status;
    char attention[FV_POLICY_TEXT_BYTES] = "";
    fv_policy policy = sequence->policy;
    policy.head_share = NULL; /* shares are the model's tune file's */
    policy.head_share_count = 0;
    if (fv_policy_format(&policy, attention, sizeof attention) != FV_OK) attention[0] = 0;
    fv_session_info info = {.model = fv_llm_identity(sequence->llm),
                            .cache = sequence->shape.cache,
                            .vocabulary = sequence->shape.vocabulary,
                            .layers = sequence->shape.layers,
                            .tokens = tokens,
                            .exact_activations = sequence->shape.exact_activations,
                            .end = end,
                            .model_name = name_of(fv_gguf_path(sequence->llm->gguf)),
                            .attention = attention};
    image->info = &info;
    image->segment_bytes = sequence->segment_bytes;
    image->tokens = fv_sequence_ids(sequence);
    image->segment = segment_at;
    image->clear = segment_clear;
    image->context = sequence;
    return fv_session_file_write(image, path, message);
}
