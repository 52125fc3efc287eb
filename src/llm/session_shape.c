/* session_shape.c - see session_shape.h. */
#include "llm/session_shape.h"
#include "fovea/policy_text.h"
#include "llm/divided.h"
#include "llm/llm.h"
#include "platform/environment.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define DEFAULT_BATCH 512

const char *fv_element_name(uint32_t type) {
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const names[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    return type < FV_ELEMENT_COUNT ? names[type] : "?";
}

void fv_session_config_default(fv_session_config *config) {
    *config = (fv_session_config){.batch_tokens = DEFAULT_BATCH,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F16,
                                  .isa_limit = FV_ISA_BEST};
    fv_policy_default(FV_SELECTOR_DENSE, &config->policy);
}

/* Whether a session may use the policy at all, whatever its cache. */
static fv_status check_policy(const fv_policy *policy, fv_message *message) {
    fv_policy_fault fault = fv_policy_find_fault(policy);
    if (fault != FV_POLICY_FAULT_NONE)
        return fv_message_set(message, fv_policy_check(policy), "attention policy: %s %s", fv_policy_fault_field(fault),
                              fv_policy_fault_text(fault));
    if (!policy->causal)
        return fv_message_set(message, FV_ERROR_POLICY, "attention policy: causal must be 1 for a language model");
    return FV_OK;
}

fv_status fv_session_config_check(const fv_session_config *config, fv_message *message) {
    if (config->context_tokens > FV_MOST_CONTEXT)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a context of %" PRIu32 " tokens; the most is %" PRIu32,
                              config->context_tokens, FV_MOST_CONTEXT);
    if (config->batch_tokens == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a batch must have at least 1 token");
    if (config->key_type >= FV_ELEMENT_COUNT || config->value_type >= FV_ELEMENT_COUNT)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the cache's element type is unknown");
    if (config->isa_limit >= FV_ISA_COUNT && config->isa_limit != FV_ISA_BEST)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the limit of the instruction set is unknown");
    return check_policy(&config->policy, message);
}

fv_model_config fv_session_shape(const fv_llm *llm, const fv_session_config *config, uint32_t parts) {
    fv_model_config shape = llm->loaded.config;
    if (config->context_tokens) shape.cache.max_tokens = config->context_tokens;
    shape.batch_tokens = config->batch_tokens < shape.cache.max_tokens ? config->batch_tokens : shape.cache.max_tokens;
    shape.cache.key_type = config->key_type;
    shape.cache.value_type = config->value_type;
    shape.exact_activations = config->exact_activations ? 1 : 0;
    shape.parts = parts < shape.batch_tokens ? parts : shape.batch_tokens;
    fv_policy_needs(&config->policy, &shape.cache);
    return shape;
}

/* Whether a session of this shape may use the policy. */
static fv_status check_needs(const fv_policy *policy, const fv_model_config *shape, fv_message *message) {
    fv_policy_fault unmet;
    fv_status status = fv_policy_suits(policy, &shape->cache, shape->attention_softcap, &unmet);
    if (status == FV_OK) return FV_OK;
    const char *advice =
        unmet == FV_POLICY_FAULT_SOFTCAP ? "" : "; open a session with this policy for a cache that has what it needs";
    return fv_message_set(message, status, "attention policy: %s %s%s", fv_policy_fault_field(unmet),
                          fv_policy_fault_text(unmet), advice);
}

fv_status fv_session_policy_check(const fv_policy *policy, const fv_model_config *shape, fv_message *message) {
    fv_status status = check_policy(policy, message);
    return status == FV_OK ? check_needs(policy, shape, message) : status;
}

fv_status fv_session_shape_make(fv_model_config *shape, const fv_llm *llm, const fv_session_config *config,
                                uint32_t parts, fv_message *message) {
    fv_status status = fv_session_config_check(config, message);
    if (status != FV_OK) return status;
    fv_model_config made = fv_session_shape(llm, config, parts);
    status = check_needs(&config->policy, &made, message);
    if (status == FV_OK) *shape = made;
    return status;
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

fv_cache_config fv_layer_cache_shape(const fv_model_config *shape, uint32_t layer) {
    fv_cache_config cache = shape->cache;
    if (fv_model_is_local(shape, layer)) cache.landmark_tokens = cache.shadow = cache.margins = cache.tail = 0;
    return cache;
}

uint32_t fv_session_ring(const fv_model_config *shape, uint32_t steps) {
    uint64_t tokens = shape->local_window > 2 ? shape->local_window - 1 : 1;
    tokens += (uint64_t)shape->batch_tokens * steps;
    return (uint32_t)((tokens - 2) / FV_SEGMENT_TOKENS) + 2; /* that so many tokens touch, wherever they begin */
}

fv_session_layers fv_session_layers_of(const fv_llm *llm) {
    return (fv_session_layers){llm->loaded.range, llm->steps_kept, fv_llm_ranks(llm)};
}

/* K and V of one token in a layer: the slope of the cache's size, so that only the cache knows its layout. */
static uint64_t token_bytes_of(const fv_model_config *shape) {
    fv_cache_config cache = shape->cache;
    cache.landmark_tokens = cache.shadow = cache.margins = cache.tail = 0;
    size_t few = 0, many = 0;
    const uint32_t step = 1024;
    cache.max_tokens = step;
    if (fv_cache_size(&cache, &few) != FV_OK) return 0;
    cache.max_tokens = 2 * step;
    if (fv_cache_size(&cache, &many) != FV_OK) return 0;
    return (uint64_t)(many - few) / step;
}

/* Of `tokens` tokens, those that the rank with the most segments has. */
static uint32_t rank_tokens(uint64_t tokens, uint32_t ranks) {
    uint64_t segments = (tokens - 1) / FV_SEGMENT_TOKENS + 1, own = (segments - 1) / ranks + 1;
    return (uint32_t)(own == segments ? tokens : own * FV_SEGMENT_TOKENS);
}

/* Adds a layer's, of as many tokens as it keeps. */
static fv_status layer_memory(const fv_model_config *shape, uint32_t layer, const fv_session_layers *layers,
                              fv_session_memory *memory) {
    fv_cache_config cache = fv_layer_cache_shape(shape, layer);
    uint64_t ring = (uint64_t)fv_session_ring(shape, layers->steps) * FV_SEGMENT_TOKENS;
    if (fv_model_is_local(shape, layer) && ring < cache.max_tokens) cache.max_tokens = (uint32_t)ring;
    cache.max_tokens = rank_tokens(cache.max_tokens, layers->ranks ? layers->ranks : 1);
    fv_cache_bytes parts;
    fv_status status = fv_cache_size_parts(&cache, &parts);
    if (status != FV_OK) return status;
    if (parts.total > UINT64_MAX - memory->cache_bytes) return FV_ERROR_OVERFLOW;
    memory->cache_bytes += parts.total;
    memory->key_bytes += parts.keys;
    memory->value_bytes += parts.values;
    memory->scale_bytes += parts.scales;
    memory->landmark_bytes += parts.landmarks;
    return FV_OK;
}

fv_status fv_session_memory_of(const fv_model_config *shape, const fv_session_layers *layers, uint32_t workers,
                               fv_session_memory *memory, size_t *scratch, fv_message *message) {
    uint32_t ranks = layers->ranks ? layers->ranks : 1;
    fv_session_memory use = {.token_bytes = (token_bytes_of(shape) * layers->range.count + ranks - 1) / ranks};
    fv_model_bytes bytes;
    fv_status status = fv_model_size(shape, workers, &bytes);
    for (uint32_t i = 0; i < layers->range.count && status == FV_OK; i++)
        status = layer_memory(shape, layers->range.first + i, layers, &use);
    if (status == FV_OK && use.cache_bytes > SIZE_MAX) status = FV_ERROR_OVERFLOW;
    if (status == FV_ERROR_OVERFLOW)
        return fv_message_set(message, status, "a context of %" PRIu32 " tokens needs more bytes than can be addressed",
                              shape->cache.max_tokens);
    if (status != FV_OK)
        return fv_message_set(message, status, "the model's shape or the session's settings are out of range");
    use.scratch_bytes = bytes.total;
    *memory = use;
    *scratch = bytes.total;
    return FV_OK;
}

fv_status fv_session_remark(const fv_model_config *shape, const fv_llm *llm, fv_message *message) {
    uint32_t context = shape->cache.max_tokens, trained = llm->loaded.config.cache.max_tokens;
    if (context <= trained) return fv_message_set(message, FV_OK, "%s", "");
    return fv_message_set(message, FV_OK,
                          "a context of %" PRIu32 " tokens, but the model was trained for %" PRIu32
                          ": what it says after them may make no sense",
                          context, trained);
}

fv_status fv_session_memory_plan(const fv_llm *llm, const fv_session_config *config, uint32_t threads,
                                 fv_session_memory *memory, fv_message *message) {
    if (!llm || !config || !memory) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    fv_model_config shape;
    size_t scratch = 0;
    fv_status status = fv_session_shape_make(&shape, llm, config, 1, message);
    if (threads == 0) threads = 1;
    const fv_session_layers layers = fv_session_layers_of(llm);
    if (status == FV_OK) status = fv_session_memory_of(&shape, &layers, threads, memory, &scratch, message);
    return status == FV_OK ? fv_session_remark(&shape, llm, message) : status;
}

/* --- kernels, reports ------------------------------------------------------------------------------------------- */

/* FV_ISA in the environment lowers the limit. */
static fv_status apply_environment(uint32_t *limit, fv_message *message) {
    fv_isa isa;
    fv_status status = fv_environment_isa(&isa, message);
    if (status != FV_OK) return status;
    if (*limit == FV_ISA_BEST || (isa != FV_ISA_BEST && fv_isa_includes((fv_isa)*limit, isa))) *limit = isa;
    return FV_OK;
}

fv_status fv_session_kernels(const fv_session_config *config, const fv_kernels **kernels, void **memory,
                             fv_message *message) {
    uint32_t limit = config->isa_limit;
    fv_status status = apply_environment(&limit, message);
    if (status != FV_OK) return status;
    void *made = malloc(FV_KERNELS_BYTES);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for the table of kernels");
    status = fv_kernels_init(kernels, (fv_isa)limit, made, FV_KERNELS_BYTES);
    if (status == FV_OK) {
        *memory = made;
        return FV_OK;
    }
    free(made);
    return fv_message_set(message, status, "the table of kernels could not be made");
}

fv_report fv_session_report_new(const fv_kernels *kernels) {
    return (fv_report){.struct_bytes = sizeof(fv_report),
                       .isa = (uint32_t)fv_kernels_isa(kernels),
                       .error_bound = NAN,
                       .relative_bound = NAN,
                       .relative_estimate = NAN};
}
