/* Forward calls: a cache and an fv_attention are laid out in the arena, and run. No sum is made here. */
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "reference/pattern_job.h"
#include "reference/pattern_tensor.h"

static bool heads_fit(uint32_t heads, uint32_t query_heads, uint32_t kv_heads) {
    if (heads == FV_HEADS_EQUAL || (heads == FV_HEADS_AUTO && query_heads == kv_heads)) return query_heads == kv_heads;
    return heads <= FV_HEADS_SHARED && kv_heads > 0 && query_heads % kv_heads == 0;
}

/* The shapes of a forward call; says nothing about what is in the arrays. */
static bool shapes_fit(const fv_pattern_call *call) {
    const fv_tensor *q = &call->query, *k = &call->keys, *v = &call->values;
    if (q->head_dim < 1 || k->head_dim != q->head_dim || v->head_dim != q->head_dim) return false;
    if (k->tokens != q->tokens || v->tokens != q->tokens || k->heads != v->heads) return false;
    return heads_fit(call->heads, q->heads, k->heads);
}

/* The job's shape. */
static void forward_shape(fv_pattern *pattern, const fv_pattern_call *call, bool gated) {
    pattern->job.shape = (fv_call_shape){.tokens = call->query.tokens,
                                         .query_heads = call->query.heads,
                                         .kv_heads = call->keys.heads,
                                         .head_dim = call->query.head_dim,
                                         .workers = fv_call_workers(call),
                                         .cache = true,
                                         .gated = gated};
}

/* Tokens whose keys and values are checked and packed together: when they are packed they are near. */
enum { PACKED_TOKENS = 64 };

/* Whether keys and values of these tokens have magnitudes of bits below `bits`. */
static bool tokens_are_below(const fv_kernels *kernels, const fv_pattern_call *call, uint32_t first, uint32_t count,
                             uint32_t bits) {
    return fv_tensor_part_is_below(kernels, &call->keys, first, count, bits) &&
           fv_tensor_part_is_below(kernels, &call->values, first, count, bits);
}

/* What an F32 cache takes is finite: one look at each element. */
static fv_status forward_pack(const fv_kernels *kernels, const fv_pattern_call *call, bool checked, fv_cache *cache) {
    const uint32_t stored = fv_element_largest_bits(FV_ELEMENT_F32) + 1, tokens = call->keys.tokens;
    size_t width = (size_t)call->keys.heads * call->keys.head_dim;
    fv_status status = FV_OK;
    for (uint32_t first = 0, count; status == FV_OK && first < tokens; first += count) {
        const float *key = call->keys.data + first * width, *value = call->values.data + first * width;
        count = PACKED_TOKENS < tokens - first ? PACKED_TOKENS : tokens - first;
        if (tokens_are_below(kernels, call, first, count, stored)) {
            fv_cache_add(cache, count, key, width, value, width);
            continue;
        }
        if (checked && !tokens_are_below(kernels, call, first, count, FV_BITS_INFINITE)) return FV_ERROR_NOT_FINITE;
        status = fv_cache_append(cache, count, key, width, value, width);
    }
    return status;
}

/* Hands the rows over, `tile` at a time. */
static fv_status forward_rows(fv_pattern *pattern, const fv_pattern_call *call, const fv_cache *cache, float *out) {
    fv_pattern_job *job = &pattern->job;
    const uint32_t tokens = job->shape.tokens, tile = call->tile ? call->tile : tokens;
    const size_t width = (size_t)job->shape.query_heads * job->shape.head_dim;
    fv_status status = FV_OK;
    for (uint32_t first = 0, count; status == FV_OK && first < tokens; first += count) {
        count = tile < tokens - first ? tile : tokens - first;
        job->rows = (fv_attention_rows){.first_token = first,
                                        .count = count,
                                        .query = call->query.data + first * width,
                                        .query_stride = width,
                                        .out = out + first * width,
                                        .out_stride = width};
        status = fv_attention_run(job->attention, cache, &job->policy, &job->rows, call->parallel, call->report);
    }
    return status;
}

/* checked: keys and values are to be, as they are packed. */
static fv_status forward_run(fv_pattern *pattern, const fv_pattern_call *call, bool checked, float *out) {
    fv_pattern_job *job = &pattern->job;
    fv_cache *cache;
    fv_status status = fv_pattern_attention_make(pattern);
    if (status == FV_OK)
        status = fv_cache_init(&cache, &job->layout.cache, pattern->kernels, pattern->arena, job->layout.cache_bytes);
    if (status != FV_OK) return status;
    status = forward_pack(pattern->kernels, call, checked, cache);
    return status == FV_OK ? forward_rows(pattern, call, cache, out) : status;
}

/* All that can be said of a forward call without a look into its arrays; *empty: there is nothing to do. */
static fv_status forward_check(const fv_pattern *pattern, const fv_pattern_call *call, const float *out, bool *empty) {
    if (!pattern || !call) return FV_ERROR_ARGUMENT;
    if (!shapes_fit(call)) return FV_ERROR_SHAPE;
    if (fv_call_is_masked(call) && call->keep_tokens != call->query.tokens) return FV_ERROR_SHAPE;
    if (call->deadline || !fv_report_has_room(call->report)) return FV_ERROR_ARGUMENT;
    *empty = call->query.tokens == 0 || call->query.heads == 0;
    if (*empty) return FV_OK;
    if (!out || !fv_tensor_is_given(&call->query) || !fv_tensor_is_given(&call->keys)) return FV_ERROR_ARGUMENT;
    return fv_tensor_is_given(&call->values) ? FV_OK : FV_ERROR_ARGUMENT;
}

/* Room first, then the elements; keys and values only for a gate, which reads them before they are packed. */
static fv_status forward_start(fv_pattern *pattern, const fv_pattern_call *call, bool gated) {
    forward_shape(pattern, call, gated);
    fv_status status = fv_pattern_job_layout(pattern);
    return status == FV_OK ? fv_pattern_inputs_check(pattern, &call->query, gated ? &call->keys : NULL,
                                                     gated ? &call->values : NULL)
                           : status;
}

fv_status fv_pattern_forward(fv_pattern *pattern, const fv_pattern_call *call, float *out) {
    bool empty;
    fv_status status = forward_check(pattern, call, out, &empty);
    if (status != FV_OK || empty) return status;
    if (!fv_masks_reach(fv_pattern_call_policy(pattern, call), call->query.tokens)) return FV_ERROR_SHAPE;
    status = forward_start(pattern, call, false);
    return status == FV_OK ? forward_run(pattern, call, pattern->config.checked != 0, out) : status;
}

fv_status fv_pattern_forward_dense(fv_pattern *pattern, const fv_pattern_call *call, float *out) {
    bool empty;
    fv_status status = forward_check(pattern, call, out, &empty);
    if (status != FV_OK || empty) return status;
    fv_pattern_call_policy(pattern, call)->selector = FV_SELECTOR_DENSE; /* which looks at `causal` alone */
    status = forward_start(pattern, call, false);
    return status == FV_OK ? forward_run(pattern, call, pattern->config.checked != 0, out) : status;
}

#if FV_BUILD_GATE
fv_status fv_pattern_forward_gated(fv_pattern *pattern, fv_gate *gate, fv_keep_scope scope, uint32_t keep,
                                   const fv_pattern_call *call, float *out) {
    bool empty;
    fv_status status = forward_check(pattern, call, out, &empty);
    if (status != FV_OK) return status;
    if (!gate || fv_call_is_masked(call) || (uint32_t)scope > FV_KEEP_WHOLE_SEQUENCE) return FV_ERROR_ARGUMENT;
    if (scope == FV_KEEP_CAUSAL && !pattern->config.policy.causal) return FV_ERROR_ARGUMENT;
    if (fv_gate_shape(gate)->input_dim != call->keys.head_dim) return FV_ERROR_SHAPE;
    if (empty) return FV_OK;
    fv_policy *policy = fv_pattern_call_policy(pattern, call);
    status = forward_start(pattern, call, true);
    if (status != FV_OK) return status;
    uint32_t tokens = call->keys.tokens;
    float *salience = (float *)(void *)(pattern->arena + pattern->job.layout.gate_offset);
    uint32_t *until = (uint32_t *)(void *)(salience + tokens);
    status = fv_gate_score_keys(gate, tokens, call->keys.heads, call->keys.data,
                                (size_t)call->keys.heads * call->keys.head_dim, salience);
    if (status == FV_OK) status = fv_keep_until(scope, tokens, salience, keep, until + tokens, until);
    if (status != FV_OK) return status;
    policy->keep = NULL;
    policy->keep_until = until;
    policy->keep_tokens = tokens;
    return forward_run(pattern, call, false, out);
}
#endif
