/* policy.c - what a policy is by default, and whether its values are in range. */
#include "fovea/policy.h"
#include "build.h"

fv_policy fv_policy_default(fv_selector selector) {
    fv_policy config = {.selector = selector, .block = 64, .causal = 1};
    if (selector == FV_SELECTOR_WINDOW) {
        config.window = 512;
        config.sinks = 16;
    }
    if (selector == FV_SELECTOR_PATTERN) {
        config.window = 128;
        config.globals_count = 1; /* token 0 */
        config.log_stride = 1;
        config.landmarks = 1;
    }
    if (fv_policy_is_dynamic(&config)) {
        config.window = 128;
        config.sinks = 16;
        config.budget = 0.16f;
        config.cap = 1u << 30;
        config.dense_below = FV_POLICY_AUTO;
    }
    return config;
}

static fv_status choice_check(const fv_policy *config) {
    uint32_t most = 1u << 30;
    bool by_share = config->budget != 0.0f, by_mass = config->top_p != 0.0f, by_number = config->pages != 0;
    if (by_share + by_mass + by_number != 1 || !config->causal) return FV_ERROR_ARGUMENT;
    if (!(config->budget >= 0.0f && config->budget <= 1.0f && config->top_p >= 0.0f && config->top_p <= 1.0f))
        return FV_ERROR_ARGUMENT;
    if (config->window < 1 || config->window > most || config->sinks > most || config->pages > most)
        return FV_ERROR_ARGUMENT;
    if (by_number && config->pages < fv_policy_min_pages(config)) return FV_ERROR_ARGUMENT;
    if (config->floor > config->cap || config->cap > most || config->certificate > 1) return FV_ERROR_ARGUMENT;
    if (!(config->quality >= 0.0f && config->quality <= 1e6f)) return FV_ERROR_ARGUMENT;
    if (by_mass && config->selector != FV_SELECTOR_FOVEA) return FV_ERROR_ARGUMENT;
    if (config->certificate && config->selector != FV_SELECTOR_FOVEA) return FV_ERROR_ARGUMENT;
    if (config->tail > 1 || (config->tail && config->certificate)) return FV_ERROR_ARGUMENT;
    return config->quality > 0.0f && !config->certificate ? FV_ERROR_ARGUMENT : FV_OK;
}

uint32_t fv_policy_min_pages(const fv_policy *config) {
    uint32_t window = (config->window + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS + 1; /* and the page of the row itself */
    return window + (config->sinks + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS;
}

fv_status fv_policy_check(const fv_policy *config) {
    if (!config || config->selector >= FV_SELECTOR_COUNT || config->causal > 1) return FV_ERROR_ARGUMENT;
    if (!FV_BUILD_CHOOSE && fv_policy_is_dynamic(config)) return FV_ERROR_UNSUPPORTED;
    if (!FV_BUILD_CERTIFICATE && fv_policy_is_dynamic(config) && config->certificate) return FV_ERROR_UNSUPPORTED;
    if (!FV_BUILD_TAIL && fv_policy_is_dynamic(config) && config->tail) return FV_ERROR_UNSUPPORTED;
    if (FV_BUILD_CHOOSE && fv_policy_is_dynamic(config)) return choice_check(config);
    if (config->selector == FV_SELECTOR_WINDOW && config->window < 1) return FV_ERROR_ARGUMENT;
    if (config->selector == FV_SELECTOR_PATTERN) {
        if (config->globals_count > FV_POLICY_GLOBALS || config->log_stride > 1 || config->landmarks > 1)
            return FV_ERROR_ARGUMENT;
        if (config->block < 1) return FV_ERROR_ARGUMENT;
    }
    return FV_OK;
}
