/* load_shape.c - the numbers of a model's config. What passes here is in range for the core. */
#include "llm/load.h"
#include <inttypes.h>
#include <math.h>

#define MAX_WIDTH ((uint32_t)1 << 24)
#define MAX_KV_HEADS 1024
#define MAX_HEAD_DIM 1024
#define MAX_GROUP_HEADS 64 /* query heads per KV head */

static fv_status check_heads(fv_load *l) {
    const fv_model_config *c = &l->out.config;
    if (c->query_heads % c->cache.kv_heads != 0 || c->query_heads / c->cache.kv_heads > MAX_GROUP_HEADS)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: %" PRIu32 " query heads over %" PRIu32
                              " KV heads: it must be 1..%d whole query heads "
                              "per KV head",
                              fv_gguf_path(l->gguf), c->query_heads, c->cache.kv_heads, MAX_GROUP_HEADS);
    return FV_OK;
}

static fv_status load_head_dim(fv_load *l) {
    fv_model_config *c = &l->out.config;
    c->cache.head_dim = c->width / c->query_heads;
    fv_status status = fv_load_u32(l, "attention.key_length", 1, MAX_HEAD_DIM, &c->cache.head_dim);
    if (status != FV_OK) return status;
    if (c->cache.head_dim < 1 || c->cache.head_dim > MAX_HEAD_DIM)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED, "%s: head dimension %" PRIu32 "; supported: 1..%d",
                              fv_gguf_path(l->gguf), c->cache.head_dim, MAX_HEAD_DIM);
    uint32_t value_length = c->cache.head_dim;
    status = fv_load_u32(l, "attention.value_length", 1, UINT32_MAX, &value_length);
    if (status != FV_OK) return status;
    if (value_length != c->cache.head_dim)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: attention.value_length %" PRIu32 " differs from key_length %" PRIu32
                              "; fovea needs them equal",
                              fv_gguf_path(l->gguf), value_length, c->cache.head_dim);
    return FV_OK;
}

fv_status fv_load_shape(fv_load *l) {
    fv_model_config *c = &l->out.config;
    fv_status status = fv_load_needed_u32(l, "block_count", 1, FV_LOAD_LAYERS, &c->layers);
    if (status == FV_OK) status = fv_load_needed_u32(l, "embedding_length", 1, MAX_WIDTH, &c->width);
    if (status == FV_OK) status = fv_load_needed_u32(l, "feed_forward_length", 1, MAX_WIDTH, &c->feed_forward);
    if (status == FV_OK) status = fv_load_needed_u32(l, "context_length", 1, FV_LOAD_CONTEXT, &c->cache.max_tokens);
    if (status == FV_OK)
        status = fv_load_needed_u32(l, "attention.head_count", 1, MAX_KV_HEADS * MAX_GROUP_HEADS, &c->query_heads);
    if (status != FV_OK) return status;
    c->cache.kv_heads = c->query_heads < MAX_KV_HEADS ? c->query_heads : MAX_KV_HEADS;
    status = fv_load_u32(l, "attention.head_count_kv", 1, MAX_KV_HEADS, &c->cache.kv_heads);
    if (status == FV_OK) status = check_heads(l);
    if (status == FV_OK) status = load_head_dim(l);
    return status;
}

fv_status fv_load_scales(fv_load *l) {
    fv_model_config *c = &l->out.config;
    if (!fv_load_has(l, "attention.layer_norm_rms_epsilon"))
        return fv_key_missing(l, fv_key_of(l, "attention.layer_norm_rms_epsilon").text);
    fv_status status = fv_load_f32(l, "attention.layer_norm_rms_epsilon", 0, &c->norm_epsilon);
    /* The largest of a family was trained with another scale than the others; only its depth tells it apart. */
    bool by_width = l->row->wide_layers == c->layers && c->width >= c->query_heads;
    uint32_t scaled_by = by_width ? c->width / c->query_heads : c->cache.head_dim;
    float divisor = 1;
    c->attention_scale = (float)(1.0 / sqrt((double)scaled_by));
    c->attention_softcap = l->row->attention_softcap;
    c->logit_softcap = l->row->logit_softcap;
    if (l->row->gemma) c->embedding_scale = sqrtf((float)c->width);
    if (status == FV_OK && l->row->granite) status = fv_load_f32(l, "logit_scale", FV_LOAD_TINY, &divisor);
    c->logit_scale = 1 / divisor;
    if (status == FV_OK) status = fv_load_f32(l, "attention.scale", FV_LOAD_TINY, &c->attention_scale);
    if (status == FV_OK) status = fv_load_f32(l, "attn_logit_softcapping", 0, &c->attention_softcap);
    if (status == FV_OK) status = fv_load_f32(l, "final_logit_softcapping", 0, &c->logit_softcap);
    if (status == FV_OK) status = fv_load_f32(l, "embedding_scale", FV_LOAD_TINY, &c->embedding_scale);
    if (status == FV_OK) status = fv_load_f32(l, "residual_scale", FV_LOAD_TINY, &c->residual_scale);
    return status;
}

/* The pattern as a list of truth values, one a layer: only a period can be expressed. */
static fv_status period_from_array(fv_load *l, const fv_gguf_entry *entry, uint32_t *period) {
    const fv_model_config *c = &l->out.config;
    int64_t local = 0;
    uint32_t first_global = 0;
    while (first_global < c->layers && fv_gguf_array_i64(entry, first_global, &local) && local != 0) first_global++;
    for (uint32_t i = 0; i < c->layers; i++) {
        if (fv_gguf_array_i64(entry, i, &local) && (local != 0) == ((i + 1) % (first_global + 1) != 0)) continue;
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata key %s.attention.sliding_window_pattern: layer %" PRIu32
                              " breaks the period; only every n-th layer may be global",
                              fv_gguf_path(l->gguf), l->row->name, i);
    }
    *period = first_global + 1;
    return FV_OK;
}

/* Of a model all of whose layers have one: a window that no context reaches the end of is none. */
static void window_all(fv_model_config *c) {
    if (c->local_window >= c->cache.max_tokens) c->local_window = 0;
    c->local_period = c->local_window ? c->layers + 1 : 0;
}

fv_status fv_load_window(fv_load *l) {
    fv_model_config *c = &l->out.config;
    if (l->row->windows == FV_WINDOWS_NONE) return FV_OK;
    uint32_t period = l->row->window_period;
    fv_key_name key = fv_key_of(l, "attention.sliding_window_pattern");
    const fv_gguf_entry *entry = fv_gguf_entry_find(l->gguf, key.text);
    c->local_window = l->row->window;
    fv_status status = fv_load_u32(l, "attention.sliding_window", 0, FV_LOAD_CONTEXT, &c->local_window);
    if (status != FV_OK) return status;
    if (l->row->windows == FV_WINDOWS_ALL) {
        window_all(c);
        return FV_OK;
    }
    if (entry && entry->type == FV_GGUF_ARRAY)
        status = period_from_array(l, entry, &period);
    else
        status = fv_load_u32(l, "attention.sliding_window_pattern", 1, FV_LOAD_LAYERS, &period);
    if (status != FV_OK) return status;
    if (period == 1) c->local_window = 0; /* every layer global */
    c->local_period = c->local_window ? period : 0;
    return FV_OK;
}
