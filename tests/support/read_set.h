/* read_set.h - what a row reads, by brute force: from a plan's steps, and from the definition of each policy. Slow on
 * purpose: every key is asked one by one. */
#ifndef FV_TEST_READ_SET_H
#define FV_TEST_READ_SET_H

#include "fovea/policy.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SET_TOKENS = 4096, SET_MARKS = SET_TOKENS };

/* How often each token and landmark is read by one row. */
typedef struct read_set {
    uint8_t token[SET_TOKENS], mark[SET_MARKS];
} read_set;

static inline read_set set_of_plan(const fv_plan *plan, uint32_t row) {
    read_set set;
    memset(&set, 0, sizeof set);
    uint64_t position = (uint64_t)plan->first_token + row;
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (row < step->row_begin || row >= step->row_end) continue;
        for (uint64_t t = step->begin; step->kind == FV_STEP_SPAN && t < step->end; t++)
            if (t <= position + step->ahead && (step->window == 0 || t + step->window > position)) set.token[t]++;
        if (step->kind == FV_STEP_DIAG && step->ahead)
            set.token[position + step->ahead]++;
        else if (step->kind == FV_STEP_DIAG && position >= step->begin)
            set.token[position - step->begin]++;
        for (uint64_t m = step->begin; step->kind == FV_STEP_MARK && m < step->end; m++) set.mark[m]++;
    }
    return set;
}

static inline bool set_is_kept(const fv_policy *config, uint64_t i, uint64_t t) {
    return (!config->keep || config->keep[t]) && (!config->keep_until || i < config->keep_until[t]);
}

/* Candidates of the log-stride pattern of row i among n tokens, after ruvllm_sparse_attention 0.1.1. */
static inline void set_add_pattern(read_set *set, const fv_policy *config, uint64_t i, uint64_t n) {
    uint64_t end = config->causal ? i + 1 : n;
    for (uint64_t t = 0; t < end; t++)
        if (t + config->window >= i && t <= i + config->window) set->token[t] = 1;
    for (uint32_t g = 0; g < config->globals_count; g++)
        if (config->globals[g] < end) set->token[config->globals[g]] = 1;
    for (uint64_t s = 1; config->log_stride && s < n; s *= 2) {
        if (s <= i && set_is_kept(config, i, i - s)) set->token[i - s] = 1;
        if (i + s < end && set_is_kept(config, i, i + s)) set->token[i + s] = 1;
    }
    if (config->landmarks && !config->causal) {
        uint64_t own = i / config->block, blocks = (n + config->block - 1) / config->block;
        for (uint64_t s = 1; s < blocks && (config->log_stride || s == 1); s *= 2) {
            if (s <= own) set->mark[own - s] = 1;
            if (own + s < blocks) set->mark[own + s] = 1;
        }
        return;
    }
    uint64_t available = (i + 1) / config->block;
    if (!config->landmarks || available == 0) return;
    uint64_t pivot = available - 1;
    set->mark[pivot] = 1;
    if (pivot >= 1) set->mark[pivot - 1] = 1;
    for (uint64_t s = 1; config->log_stride && s <= pivot; s *= 2) set->mark[pivot - s] = 1;
}

/* `tokens` counts where the policy is not causal. */
static inline read_set set_of_policy_among(const fv_policy *config, uint32_t local_window, uint32_t position,
                                           uint32_t tokens) {
    read_set set;
    memset(&set, 0, sizeof set);
    if (!local_window && config->selector == FV_SELECTOR_PATTERN) {
        set_add_pattern(&set, config, position, config->causal ? (uint64_t)position + 1 : tokens);
        return set;
    }
    uint64_t end = config->causal || local_window ? (uint64_t)position + 1 : tokens;
    for (uint64_t t = 0; t < end; t++) {
        bool near = t + config->window > position && t < (uint64_t)position + config->window, sink = t < config->sinks;
        if (local_window)
            set.token[t] = t + local_window > position;
        else
            set.token[t] = config->selector == FV_SELECTOR_DENSE || near || sink;
    }
    return set;
}

static inline read_set set_of_policy(const fv_policy *config, uint32_t local_window, uint32_t position) {
    return set_of_policy_among(config, local_window, position, position + 1);
}

static inline uint64_t set_tokens(const read_set *set) {
    uint64_t count = 0;
    for (size_t t = 0; t < SET_TOKENS; t++) count += set->token[t];
    return count;
}

#endif
