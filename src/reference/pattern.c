/* A pattern's configuration and memory. */
#include "fovea/reference/pattern.h"
#include "numeric/size.h"
#include "reference/pattern_job.h"

void fv_pattern_config_default(fv_pattern_config *config) {
    *config = (fv_pattern_config){
        .max_tokens = 1024, .query_heads = 1, .kv_heads = 1, .head_dim = 64, .workers = 1, .checked = 1};
    fv_policy_default(FV_SELECTOR_PATTERN, &config->policy);
}

static size_t header_bytes(void) { return (sizeof(fv_pattern) + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN; }

static fv_status pattern_bytes(const fv_pattern_config *config, size_t *bytes) {
    if (!config || config->gated > 1 || config->checked > 1 || config->decode_only > 1) return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(&config->policy);
    if (status != FV_OK) return status;
    fv_call_shape shape = {.tokens = config->max_tokens,
                           .query_heads = config->query_heads,
                           .kv_heads = config->kv_heads,
                           .head_dim = config->head_dim,
                           .workers = config->workers,
                           .staged_rows = config->decode_only ? 0u : 2u, /* for fv_pattern_warm_up() */
                           .cache = !config->decode_only,
                           .gated = config->gated != 0,
                           .by_row = config->decode_only != 0};
    fv_call_layout layout;
    status = fv_call_layout_make(&config->policy, &shape, &layout);
    if (status != FV_OK) return status;
    *bytes = header_bytes();
    fv_size_reserve(bytes, 1, layout.bytes);
    return *bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

fv_status fv_pattern_size(const fv_pattern_config *config, size_t *bytes) {
    size_t total;
    fv_status status = pattern_bytes(config, &total);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = total;
    return FV_OK;
}

fv_status fv_pattern_init(fv_pattern **pattern, const fv_pattern_config *config, const fv_kernels *kernels,
                          void *memory, size_t bytes) {
    size_t total;
    fv_status status = pattern_bytes(config, &total);
    if (status != FV_OK) return status;
    if (!pattern || !kernels) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < total || (uintptr_t)memory % FV_CACHE_ALIGN != 0) return FV_ERROR_MEMORY;
    fv_pattern *made = (fv_pattern *)memory;
    *made = (fv_pattern){
        .kernels = kernels, .arena = (unsigned char *)memory + header_bytes(), .arena_bytes = total - header_bytes()};
    made->config = *config; /* in the literal it would pass by on the stack */
    *pattern = made;
    return FV_OK;
}

void fv_pattern_preset_pi_zero_2w(uint32_t max_tokens, uint32_t query_heads, uint32_t kv_heads, uint32_t head_dim,
                                  fv_pattern_preset *preset) {
    fv_pattern_config *pattern = &preset->pattern;
    fv_cache_config *cache = &preset->cache;
    fv_pattern_config_default(pattern);
    fv_cache_config_default(cache);
    pattern->policy.window = 64;
    pattern->max_tokens = cache->max_tokens = max_tokens;
    pattern->query_heads = query_heads;
    pattern->kv_heads = cache->kv_heads = kv_heads;
    pattern->head_dim = cache->head_dim = head_dim;
    pattern->workers = 4;
    fv_policy_needs(&pattern->policy, cache);
    preset->tile = 16;
}
