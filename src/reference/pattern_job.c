/* Lays the call at work out in the arena of its pattern. */
#include "reference/pattern_job.h"
#include "numeric/root.h"
#include "numeric/size.h"
#include "select/steps.h"

static fv_attend_config attend_config(const fv_policy *policy, const fv_call_shape *shape) {
    uint32_t pages = fv_policy_gathered(policy, shape->tokens) / FV_PAGE_TOKENS + 1;
    return (fv_attend_config){.query_heads = shape->query_heads,
                              .kv_heads = shape->kv_heads,
                              .head_dim = shape->head_dim,
                              .scale = 1.0f / fv_root_f32((float)shape->head_dim),
                              .tile_rows = shape->by_row ? 1u : FV_TILE_ROWS,
                              .gather_keys = (pages < 4 ? pages : 4) * FV_PAGE_TOKENS};
}

/* The cache of a forward call, which without FV_BUILD_PROMPT there is not. */
static fv_status cache_layout_make(const fv_policy *policy, const fv_call_shape *shape, fv_call_layout *layout) {
    if (!FV_BUILD_PROMPT || !shape->cache) return FV_OK;
    layout->cache = (fv_cache_config){.kv_heads = shape->kv_heads,
                                      .head_dim = shape->head_dim,
                                      .max_tokens = shape->tokens,
                                      .key_type = FV_ELEMENT_F32,
                                      .value_type = FV_ELEMENT_F32};
    fv_policy_needs(policy, &layout->cache);
    return fv_cache_size(&layout->cache, &layout->cache_bytes);
}

fv_status fv_call_layout_make(const fv_policy *policy, const fv_call_shape *shape, fv_call_layout *layout) {
    *layout = (fv_call_layout){
        .attention = {.attend = attend_config(policy, shape),
                      .max_tokens = shape->tokens,
                      .workers = shape->workers,
                      .plan_steps = fv_select_masked_steps(policy, shape->tokens, shape->by_row ? 1 : FV_TILE_ROWS),
                      .state_rows = shape->state_rows,
                      .chooses = fv_policy_chooses(policy)}};
    fv_status status = cache_layout_make(policy, shape, layout);
    if (status == FV_OK) status = fv_attention_size(&layout->attention, &layout->attention_bytes);
    if (status != FV_OK) return status;
    size_t row_bytes = FV_BUILD_GATE && shape->gated ? sizeof(float) + 2 * sizeof(uint32_t) : 0;
    size_t head_bytes = shape->head_dim * sizeof(float), width_bytes = 0, *bytes = &layout->bytes;
    if (!fv_size_add(&width_bytes, shape->query_heads, head_bytes, 1)) return FV_ERROR_OVERFLOW;
    fv_size_reserve(bytes, 1, layout->cache_bytes);
    layout->attention_offset = fv_size_reserve(bytes, 1, layout->attention_bytes);
    layout->gate_offset = fv_size_reserve(bytes, shape->tokens, row_bytes);
    /* where rows may be taken back: the last landmark of a cache, by fv_cache_mark_save(); then rows of output */
    layout->mark_offset = fv_size_reserve(bytes, shape->staged_rows ? 2 * (size_t)shape->kv_heads : 0, head_bytes);
    layout->stage_offset = fv_size_reserve(bytes, shape->staged_rows, width_bytes);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_policy *fv_pattern_call_policy(fv_pattern *pattern, const fv_pattern_call *call) {
    fv_policy *policy = &pattern->job.policy;
    *policy = pattern->config.policy;
    if (fv_call_is_masked(call)) {
        policy->keep = call->keep;
        policy->keep_until = call->keep_until;
        policy->keep_tokens = call->keep_tokens;
    }
    return policy;
}

fv_status fv_pattern_attention_make(fv_pattern *pattern) {
    fv_pattern_job *job = &pattern->job;
    const fv_call_layout *layout = &job->layout;
    fv_status status = fv_pattern_job_layout(pattern);
    if (status != FV_OK) return status;
    return fv_attention_init(&job->attention, &layout->attention, pattern->kernels,
                             pattern->arena + layout->attention_offset, layout->attention_bytes);
}
