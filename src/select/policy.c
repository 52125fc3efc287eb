/* policy.c - what a policy is by default, and whether its values are in range. */
#include "fovea/policy.h"
#include "build.h"

void fv_policy_default(fv_selector selector, fv_policy *policy) {
    *policy = (fv_policy){.selector = selector, .causal = 1, .block = 64};
    if (selector == FV_SELECTOR_WINDOW) {
        policy->window = 512;
        policy->sinks = 16;
    }
    if (selector == FV_SELECTOR_PATTERN) {
        policy->window = 128;
        policy->globals_count = 1; /* token 0 */
        policy->log_stride = 1;
        policy->landmarks = 1;
    }
    if (fv_policy_is_dynamic(policy)) {
        policy->window = 128;
        policy->sinks = 16;
        policy->budget = 0.16f;
        policy->floor = FV_POLICY_FLOOR_DEFAULT;
        policy->cap = FV_POLICY_MOST;
        policy->dense_below = FV_POLICY_AUTO;
        policy->question = FV_POLICY_QUESTION_DEFAULT;
    }
}

uint32_t fv_policy_min_pages(const fv_policy *policy) {
    uint32_t window = (policy->window + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS + 1; /* and the page of the row itself */
    return window + (policy->sinks + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS;
}

/* How much a row reads. */
static fv_policy_fault amount_fault(const fv_policy *policy) {
    bool by_share = policy->budget != 0.0f, by_mass = policy->top_p != 0.0f, by_number = policy->pages != 0;
    if (!(policy->budget >= 0.0f && policy->budget <= 1.0f)) return FV_POLICY_FAULT_BUDGET;
    if (!(policy->top_p >= 0.0f && policy->top_p <= 1.0f)) return FV_POLICY_FAULT_TOP_P;
    if (by_share + by_mass + by_number != 1) return FV_POLICY_FAULT_AMOUNT;
    if (by_mass && policy->selector != FV_SELECTOR_FOVEA) return FV_POLICY_FAULT_TOP_P;
    if (by_number && (policy->pages > FV_POLICY_MOST || policy->pages < fv_policy_min_pages(policy)))
        return FV_POLICY_FAULT_PAGES;
    if (policy->floor > policy->cap) return FV_POLICY_FAULT_FLOOR;
    if (!(policy->floor_share >= 0.0f && policy->floor_share <= 1.0f)) return FV_POLICY_FAULT_FLOOR_SHARE;
    return policy->cap > FV_POLICY_MOST ? FV_POLICY_FAULT_CAP : FV_POLICY_FAULT_NONE;
}

static fv_policy_fault choice_fault(const fv_policy *policy) {
    bool is_built = FV_BUILD_CHOOSE && (FV_BUILD_CERTIFICATE || policy->certificate != 1);
    if (!is_built || (!FV_BUILD_TAIL && policy->tail == 1)) return FV_POLICY_FAULT_BUILD;
    if (!policy->causal) return FV_POLICY_FAULT_CAUSAL;
    if (policy->window < 1 || policy->window > FV_POLICY_MOST) return FV_POLICY_FAULT_WINDOW;
    if (policy->sinks > FV_POLICY_MOST) return FV_POLICY_FAULT_SINKS;
    fv_policy_fault fault = amount_fault(policy);
    if (fault != FV_POLICY_FAULT_NONE) return fault;
    if (policy->certificate > 1 || (policy->certificate && policy->selector != FV_SELECTOR_FOVEA))
        return FV_POLICY_FAULT_CERTIFICATE;
    if (!(policy->quality >= 0.0f && policy->quality <= 1e6f)) return FV_POLICY_FAULT_QUALITY;
    if (policy->quality > 0.0f && !policy->certificate) return FV_POLICY_FAULT_QUALITY;
    if (policy->tail > 1 || (policy->tail && policy->certificate)) return FV_POLICY_FAULT_TAIL;
    return FV_POLICY_FAULT_NONE;
}

static fv_policy_fault pattern_fault(const fv_policy *policy) {
    if (policy->block < 1) return FV_POLICY_FAULT_BLOCK;
    if (policy->globals_count > FV_POLICY_GLOBALS) return FV_POLICY_FAULT_GLOBALS;
    if (policy->log_stride > 1) return FV_POLICY_FAULT_LOG_STRIDE;
    return policy->landmarks > 1 ? FV_POLICY_FAULT_LANDMARKS : FV_POLICY_FAULT_NONE;
}

fv_policy_fault fv_policy_find_fault(const fv_policy *policy) {
    if (policy->selector >= FV_SELECTOR_COUNT) return FV_POLICY_FAULT_SELECTOR;
    for (uint32_t i = 0; i < sizeof policy->reserved / sizeof policy->reserved[0]; i++)
        if (policy->reserved[i]) return FV_POLICY_FAULT_RESERVED;
    if (policy->causal > 1) return FV_POLICY_FAULT_CAUSAL;
    if (policy->question > FV_POLICY_MOST) return FV_POLICY_FAULT_QUESTION;
    if (fv_policy_is_dynamic(policy)) return choice_fault(policy);
    if (policy->selector == FV_SELECTOR_PATTERN) return pattern_fault(policy);
    return policy->selector == FV_SELECTOR_WINDOW && policy->window < 1 ? FV_POLICY_FAULT_WINDOW : FV_POLICY_FAULT_NONE;
}

fv_status fv_policy_check(const fv_policy *policy) {
    if (!policy) return FV_ERROR_ARGUMENT;
    fv_policy_fault fault = fv_policy_find_fault(policy);
    if (fault == FV_POLICY_FAULT_NONE) return FV_OK;
    return fault == FV_POLICY_FAULT_BUILD ? FV_ERROR_UNSUPPORTED : FV_ERROR_POLICY;
}
