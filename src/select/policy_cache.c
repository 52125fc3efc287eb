/* policy_cache.c - which policy needs which cache: the one place that knows. */
#include "select/steps.h"

/* A cache has no longer landmarks; a longer block has no end within it either. */
static uint32_t landmark_tokens(const fv_policy *policy) {
    if (policy->selector != FV_SELECTOR_PATTERN || !policy->landmarks) return 0;
    return policy->block < FV_POLICY_MOST ? policy->block : FV_POLICY_MOST;
}

void fv_policy_needs(const fv_policy *policy, fv_cache_config *cache) {
    uint32_t block = landmark_tokens(policy);
    if (block) cache->landmark_tokens = block;
    if (!fv_policy_chooses(policy)) return;
    cache->shadow = 1;
    if (policy->certificate) cache->margins = 1;
    if (policy->tail) cache->tail = 1;
}

static fv_policy_fault unmet_need(const fv_policy *policy, const fv_cache_config *cache, float softcap) {
    uint32_t block = landmark_tokens(policy);
    if (block && block != cache->landmark_tokens) return FV_POLICY_FAULT_CACHE_LANDMARKS;
    if (!fv_policy_chooses(policy)) return FV_POLICY_FAULT_NONE;
    if ((policy->certificate || policy->tail) && softcap > 0.0f) return FV_POLICY_FAULT_SOFTCAP;
    if (!cache->shadow) return FV_POLICY_FAULT_CACHE_SHADOW;
    if (policy->certificate && !cache->margins) return FV_POLICY_FAULT_CACHE_MARGINS;
    if (policy->tail && !cache->tail) return FV_POLICY_FAULT_CACHE_TAIL;
    return FV_POLICY_FAULT_NONE;
}

fv_status fv_policy_suits(const fv_policy *policy, const fv_cache_config *cache, float softcap,
                          fv_policy_fault *unmet) {
    fv_policy_fault fault = unmet_need(policy, cache, softcap);
    if (unmet) *unmet = fault;
    return fault == FV_POLICY_FAULT_NONE ? FV_OK : FV_ERROR_POLICY;
}
