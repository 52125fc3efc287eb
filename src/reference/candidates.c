/* Candidate lists by their definition, row by row: for people and for estimates. The selector writes the same sets as
 * plans; a test holds the two together. */
#include "fovea/reference/pattern.h"

/* Where candidates go; `list` NULL: they are counted only. */
typedef struct candidate_list {
    uint32_t *list;
    uint32_t capacity, count;
} candidate_list;

static void list_add(candidate_list *out, uint32_t candidate) {
    if (out->count < out->capacity) out->list[out->count] = candidate;
    out->count++;
}

/* The window of a row, both ends read. */
typedef struct candidate_window {
    uint32_t first, last;
} candidate_window;

static candidate_window row_window(const fv_policy *policy, uint32_t tokens, uint32_t row) {
    uint32_t before = row < policy->window ? row : policy->window, ahead = tokens - 1 - row;
    if (ahead > policy->window) ahead = policy->window;
    return (candidate_window){row - before, policy->causal ? row : row + ahead};
}

/* Whether `token` is in the window or one of the first `globals` globals. */
static bool is_listed(const fv_policy *policy, candidate_window window, uint32_t globals, uint32_t token) {
    if (token >= window.first && token <= window.last) return true;
    for (uint32_t i = 0; i < globals; i++)
        if (policy->globals[i] == token) return true;
    return false;
}

static bool is_kept(const fv_policy *policy, uint32_t row, uint32_t token) {
    return (!policy->keep || policy->keep[token]) && (!policy->keep_until || row < policy->keep_until[token]);
}

static void add_stride(const fv_policy *policy, candidate_window window, uint32_t row, uint32_t token,
                       candidate_list *out) {
    if (!is_listed(policy, window, policy->globals_count, token) && is_kept(policy, row, token)) list_add(out, token);
}

static void list_tokens(const fv_policy *policy, uint32_t tokens, uint32_t row, candidate_list *out) {
    candidate_window window = row_window(policy, tokens, row);
    if (out->capacity)
        for (uint32_t token = window.first; token <= window.last; token++) list_add(out, token);
    else
        out->count += window.last - window.first + 1;
    for (uint32_t i = 0; i < policy->globals_count; i++) {
        uint32_t token = policy->globals[i];
        if (token < tokens && (!policy->causal || token <= row) && !is_listed(policy, window, i, token))
            list_add(out, token);
    }
    for (uint32_t s = 1; policy->log_stride && s < tokens; s *= 2) {
        if (s <= row) add_stride(policy, window, row, row - s, out);
        if (!policy->causal && s < tokens - row) add_stride(policy, window, row, row + s, out);
    }
}

static void list_landmarks(const fv_policy *policy, uint32_t tokens, uint32_t row, candidate_list *out) {
    uint32_t blocks = (tokens - 1) / policy->block + 1, available = (row + 1) / policy->block;
    if (!policy->landmarks || (policy->causal && !available)) return;
    uint32_t pivot = policy->causal ? available - 1 : row / policy->block;
    if (pivot >= 1) list_add(out, pivot - 1);
    if (policy->causal) list_add(out, pivot);
    if (!policy->causal && pivot + 1 < blocks) list_add(out, pivot + 1);
    for (uint32_t s = 2; policy->log_stride && s < blocks; s *= 2) {
        if (s <= pivot) list_add(out, pivot - s);
        if (!policy->causal && s < blocks - pivot) list_add(out, pivot + s);
    }
}

/* By insertion: the window is in order already, and what follows it is short. */
static void sort(uint32_t *list, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        uint32_t x = list[i], j = i;
        for (; j > 0 && list[j - 1] > x; j--) list[j] = list[j - 1];
        list[j] = x;
    }
}

/* Far from overflow: no row, stride or block reaches 2^31. */
static fv_status policy_check(const fv_policy *policy, uint32_t tokens) {
    fv_status status = fv_policy_check(policy);
    if (status != FV_OK) return status;
    if (policy->selector != FV_SELECTOR_PATTERN || tokens > 1u << 30) return FV_ERROR_ARGUMENT;
    return (policy->keep || policy->keep_until) && policy->keep_tokens < tokens ? FV_ERROR_ARGUMENT : FV_OK;
}

typedef void list_fn(const fv_policy *policy, uint32_t tokens, uint32_t row, candidate_list *out);

static fv_status row_list(list_fn *fill, const fv_policy *policy, uint32_t tokens, uint32_t row, fv_order order,
                          uint32_t capacity, uint32_t *list, uint32_t *count) {
    fv_status status = policy_check(policy, tokens);
    if (status != FV_OK) return status;
    if (row >= tokens || (uint32_t)order > FV_ORDER_RISING || (capacity && !list) || !count) return FV_ERROR_ARGUMENT;
    candidate_list out = {.list = list, .capacity = list ? capacity : 0};
    fill(policy, tokens, row, &out);
    *count = out.count;
    if (!list) return FV_OK;
    if (out.count > capacity) return FV_ERROR_FULL;
    if (order == FV_ORDER_RISING) sort(list, out.count);
    return FV_OK;
}

fv_status fv_pattern_tokens(const fv_policy *policy, uint32_t tokens, uint32_t row, fv_order order, uint32_t capacity,
                            uint32_t *list, uint32_t *count) {
    return row_list(list_tokens, policy, tokens, row, order, capacity, list, count);
}

fv_status fv_pattern_landmarks(const fv_policy *policy, uint32_t tokens, uint32_t row, fv_order order,
                               uint32_t capacity, uint32_t *list, uint32_t *count) {
    return row_list(list_landmarks, policy, tokens, row, order, capacity, list, count);
}

fv_status fv_pattern_edges(const fv_policy *policy, uint32_t tokens, uint64_t *edges) {
    fv_status status = policy_check(policy, tokens);
    if (status != FV_OK) return status;
    if (!edges) return FV_ERROR_ARGUMENT;
    uint64_t sum = 0;
    for (uint32_t row = 0; row < tokens; row++) {
        candidate_list out = {0};
        list_tokens(policy, tokens, row, &out);
        list_landmarks(policy, tokens, row, &out);
        sum += out.count;
    }
    *edges = sum;
    return FV_OK;
}
