/* load_rope.c - rotary frequencies from the metadata: base, scaling, factors. */
#include "gguf/gguf_text.h"
#include "llm/load.h"
#include "llm/rope.h"
#include <inttypes.h>
#include <string.h>

#define LONG_FACTORS "rope_factors_long.weight"
#define SHORT_FACTORS "rope_factors_short.weight"

static fv_status read_rope_type(fv_load *l, fv_rope_scaling *scaling) {
    fv_key_name key = fv_key_of(l, "rope.scaling.type");
    if (!fv_gguf_entry_find(l->gguf, key.text)) return FV_OK; /* a factor alone means linear */
    fv_gguf_text name;
    if (!fv_gguf_string(l->gguf, key.text, &name)) return fv_key_unfit(l, key.text, "a string");
    if (fv_gguf_text_is(name, "none"))
        scaling->type = FV_ROPE_SCALING_NONE;
    else if (fv_gguf_text_is(name, "linear"))
        scaling->type = FV_ROPE_SCALING_LINEAR;
    else if (fv_gguf_text_is(name, "yarn"))
        scaling->type = FV_ROPE_SCALING_YARN;
    else if (fv_gguf_text_is(name, "longrope") && fv_gguf_tensor_find(l->gguf, LONG_FACTORS))
        scaling->type = FV_ROPE_SCALING_NONE; /* the factors are all of it */
    else
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata key %s: rope scaling %.*s is not supported; supported: none linear yarn, "
                              "longrope with its factors",
                              fv_gguf_path(l->gguf), key.text, (int)(name.length < 64 ? name.length : 64), name.bytes);
    return FV_OK;
}

static fv_status read_rope_scaling(fv_load *l, fv_rope_scaling *scaling) {
    uint32_t original = l->out.config.cache.max_tokens;
    fv_status status = read_rope_type(l, scaling);
    if (status == FV_OK) status = fv_load_f32(l, "rope.scaling.factor", 0, &scaling->factor);
    if (status == FV_OK) status = fv_load_f32(l, "rope.scaling.attn_factor", FV_LOAD_TINY, &scaling->magnitude);
    if (status == FV_OK) status = fv_load_u32(l, "rope.scaling.original_context_length", 1, UINT32_MAX, &original);
    if (status == FV_OK) status = fv_load_f32(l, "rope.scaling.yarn_log_multiplier", 0, &scaling->log_multiplier);
    if (status == FV_OK) status = fv_load_f32(l, "rope.scaling.yarn_ext_factor", 0, &scaling->extrapolation);
    if (status == FV_OK)
        status = fv_load_f32(l, "rope.scaling.yarn_attn_factor", FV_LOAD_TINY, &scaling->yarn_magnitude);
    if (status == FV_OK) status = fv_load_f32(l, "rope.scaling.yarn_beta_fast", FV_LOAD_TINY, &scaling->beta_fast);
    if (status == FV_OK) status = fv_load_f32(l, "rope.scaling.yarn_beta_slow", FV_LOAD_TINY, &scaling->beta_slow);
    scaling->original_tokens = original;
    if (scaling->factor < FV_LOAD_TINY) scaling->factor = 1; /* 0 is written for "none" */
    if (status == FV_OK && scaling->type == FV_ROPE_SCALING_YARN && l->out.config.local_window && l->row->gemma)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: yarn rope scaling together with sliding-window layers is not supported",
                              fv_gguf_path(l->gguf));
    return status;
}

static fv_status read_rope_dims(fv_load *l, float *base) {
    fv_model_config *c = &l->out.config;
    bool rotated = true;
    c->rope_kind = l->row->rope;
    c->unrotated_period = l->row->unrotated_period;
    c->rope_dims = c->cache.head_dim;
    fv_status status = fv_load_u32(l, "rope.dimension_count", 2, c->cache.head_dim, &c->rope_dims);
    if (status == FV_OK) status = fv_load_f32(l, "rope.freq_base", 1, base);
    if (status == FV_OK && l->row->granite) status = fv_load_flag(l, "rope.scaling.finetuned", &rotated);
    if (!rotated) c->rope_kind = FV_ROPE_NONE;
    if (status == FV_OK && c->rope_dims % 2 != 0)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: rope over %" PRIu32 " dimensions; it must be even",
                              fv_gguf_path(l->gguf), c->rope_dims);
    return status;
}

/* Of a text of any length (Llama 3.x), or of long and of short ones (Phi 3): each frequency is divided by its factor.
 */
static fv_status divide_by_factors(fv_load *l, uint32_t original_tokens, float *frequencies, float *of_long) {
    uint32_t count = l->out.config.rope_dims / 2;
    bool found = false, has_long = false, has_short = false;
    if (!l->row->rope_factors) return FV_OK;
    fv_status status = fv_load_factors(l, "rope_freqs.weight", count, frequencies, &found);
    memcpy(of_long, frequencies, count * sizeof *of_long);
    if (status == FV_OK) status = fv_load_factors(l, LONG_FACTORS, count, of_long, &has_long);
    if (status == FV_OK) status = fv_load_factors(l, SHORT_FACTORS, count, frequencies, &has_short);
    if (status == FV_OK && has_long != has_short)
        return fv_message_set(l->message, FV_ERROR_CORRUPT,
                              "%s: tensor %s is there and %s is not; convert the model again", fv_gguf_path(l->gguf),
                              has_long ? LONG_FACTORS : SHORT_FACTORS, has_long ? SHORT_FACTORS : LONG_FACTORS);
    if (has_long) l->out.long_frequencies = of_long;
    l->out.short_tokens = original_tokens;
    return status;
}

/* Local layers never see far: they are not scaled. Where all layers are local, they turn as the file says. */
static fv_status load_local(fv_load *l, float base, float *frequencies) {
    fv_model_config *c = &l->out.config;
    fv_rope_scaling none = fv_rope_scaling_default();
    none.type = FV_ROPE_SCALING_NONE;
    float unscaled = 1;
    l->out.weights.rope_local_frequencies = frequencies;
    fv_rope_frequencies(c->rope_dims, (double)base, &none, frequencies, &unscaled);
    if (l->row->windows != FV_WINDOWS_ALL) return FV_OK;
    l->out.weights.rope_local_frequencies = l->out.weights.rope_frequencies;
    if (c->rope_magnitude >= 1 && c->rope_magnitude <= 1) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                          "%s: scaled rotation together with a sliding window in all layers is not supported",
                          fv_gguf_path(l->gguf));
}

fv_status fv_load_rope(fv_load *l) {
    fv_model_config *c = &l->out.config;
    float base = 10000, local_base = 0;
    fv_rope_scaling scaling = fv_rope_scaling_default();
    fv_status status = read_rope_dims(l, &base);
    if (status == FV_OK) status = read_rope_scaling(l, &scaling);
    local_base = l->row->local_base > 0 ? l->row->local_base : base;
    if (status == FV_OK) status = fv_load_f32(l, "rope.freq_base_swa", 1, &local_base);
    if (status == FV_OK) status = fv_load_query_scales(l, scaling.original_tokens);
    void *memory = NULL;
    uint32_t count = c->rope_dims / 2;
    if (status == FV_OK) status = fv_load_own(l, (size_t)count * 3, sizeof(float), &memory);
    if (status != FV_OK) return status;
    float *frequencies = memory;
    fv_rope_frequencies(c->rope_dims, (double)base, &scaling, frequencies, &c->rope_magnitude);
    status = divide_by_factors(l, scaling.original_tokens, frequencies, frequencies + 2 * (size_t)count);
    l->out.weights.rope_frequencies = frequencies;
    return status == FV_OK && c->local_window ? load_local(l, local_base, frequencies + count) : status;
}
