/* load_factors.c - what changes with the length of a text: factors of rotary frequencies, scales of queries. */
#include "llm/load.h"
#include <inttypes.h>
#include <math.h>

#define SCALES_MOST 65536 /* pieces of a context whose queries have scales of their own */

fv_status fv_load_factors(fv_load *l, const char *name, uint32_t count, float *frequencies, bool *found) {
    fv_weight factors = {0};
    *found = false;
    fv_status status = fv_load_vector(l, name, count, false, &factors);
    if (status != FV_OK || !factors.data) return status;
    const float *values = factors.data;
    for (uint32_t i = 0; i < count; i++) {
        if (!(isfinite(values[i]) && values[i] >= FV_LOAD_TINY))
            return fv_message_set(l->message, FV_ERROR_CORRUPT, "%s: tensor %s: factor %" PRIu32 " is not above 0",
                                  fv_gguf_path(l->gguf), name, i);
        frequencies[i] = (float)((double)frequencies[i] / (double)values[i]);
    }
    *found = true;
    return FV_OK;
}

/* 1 + scale * ln(1 + p), p whole lengths of the training context from the beginning (Llama 4, Ministral 3). */
fv_status fv_load_query_scales(fv_load *l, uint32_t original_tokens) {
    fv_model_config *c = &l->out.config;
    float scale = 0;
    uint32_t length = original_tokens;
    void *memory = NULL;
    if (!l->row->query_scales) return FV_OK;
    fv_status status = fv_load_f32(l, "attention.temperature_scale", 0, &scale);
    if (status == FV_OK) status = fv_load_u32(l, "attention.temperature_length", 0, UINT32_MAX, &length);
    if (status != FV_OK || scale <= 0 || length == 0) return status;
    uint32_t count = c->cache.max_tokens / length + 1;
    if (count > SCALES_MOST)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: scales of queries change every %" PRIu32 " of %" PRIu32 " tokens: too often",
                              fv_gguf_path(l->gguf), length, c->cache.max_tokens);
    status = fv_load_own(l, count, sizeof(float), &memory);
    if (status != FV_OK) return status;
    float *scales = memory;
    for (uint32_t i = 0; i < count; i++) scales[i] = (float)(1 + (double)scale * log(1 + (double)i));
    c->query_scale_tokens = length;
    c->query_scale_count = count;
    l->out.weights.query_scales = scales;
    return FV_OK;
}
