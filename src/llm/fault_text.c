/* fault_text.c - see fault_text.h. */
#include "llm/fault_text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

typedef struct value_text {
    char text[32];
} value_text;

static value_text value_of(float value) {
    value_text shown;
    if (isnan(value))
        snprintf(shown.text, sizeof shown.text, "not a number (NaN)");
    else if (isinf(value))
        snprintf(shown.text, sizeof shown.text, "infinite");
    else
        snprintf(shown.text, sizeof shown.text, "%g", (double)value);
    return shown;
}

/* Whose weights the numbers come from, for %u a layer. */
static const char *origin_of(const fv_model_fault *fault) {
    switch (fault->place) {
    case FV_PLACE_INPUT:
        return fault->layer ? "the output of layer %" PRIu32 " (blk.%" PRIu32 ".*)"
                            : "the embedding (token_embd.weight)";
    case FV_PLACE_QUERY:
        return "a query of layer %" PRIu32 " (blk.%" PRIu32 ".attn_q.*, attn_norm)";
    case FV_PLACE_KEY:
        return "a key of layer %" PRIu32 " (blk.%" PRIu32 ".attn_k.*)";
    case FV_PLACE_VALUE:
        return "a value of layer %" PRIu32 " (blk.%" PRIu32 ".attn_v.*)";
    case FV_PLACE_OUTPUT:
        return "the output of layer %" PRIu32 " (blk.%" PRIu32 ".*, output_norm.weight)";
    default:
        return "a logit (output.weight, or token_embd.weight)";
    }
}

static double largest_of(uint32_t type) {
    return type == FV_ELEMENT_F16 ? 65504 : type == FV_ELEMENT_Q4_0 ? 8.0 * 65504 : (double)FV_CACHE_LARGEST;
}

fv_status fv_fault_text(const char *path, const fv_model_fault *fault, const fv_fault_cache *cache, size_t tokens,
                        fv_status status, fv_message *message) {
    char origin[96];
    if ((status != FV_ERROR_NOT_FINITE && status != FV_ERROR_RANGE) || fault->place == FV_PLACE_NONE) return status;
    uint32_t layer = fault->place == FV_PLACE_INPUT && fault->layer ? fault->layer - 1 : fault->layer;
    if (fault->place == FV_PLACE_LOGITS || (fault->place == FV_PLACE_INPUT && !fault->layer))
        snprintf(origin, sizeof origin, "%s", origin_of(fault));
    else
        snprintf(origin, sizeof origin, origin_of(fault), layer, layer);
    size_t place = tokens + fault->row;
    if (status == FV_ERROR_RANGE)
        return fv_message_set(message, status,
                              "%s: token %zu: %s is %s, more than a cache of %s holds (%.0f): take f32 or bf16 for %s",
                              path, place, origin, value_of(fault->value).text, cache->name, largest_of(cache->type),
                              fault->place == FV_PLACE_VALUE ? "values" : "keys");
    return fv_message_set(message, status,
                          "%s: token %zu: not finite: %s is %s; the file is damaged or badly converted, or the model's "
                          "numbers are too large",
                          path, place, origin, value_of(fault->value).text);
}
