/* Keep masks out of scores, without memory of their own: the score of a rank is found digit by digit (radix selection),
 * and the masks of all rows of a causal sequence by a heap that holds the best so far. */
#include "build.h"
#include "fovea/reference/gate.h"
#include "numeric/half.h"

#if FV_BUILD_GATE

/* Unsigned numbers in the order of the floats; -0 and 0 are one. */
static uint32_t order_of(float x) {
    uint32_t bits = fv_bits_from_f32(x);
    if (bits == 0x80000000) bits = 0;
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

static fv_status scores_check(uint32_t tokens, const float *salience) {
    if (tokens != 0 && !salience) return FV_ERROR_ARGUMENT;
    for (size_t t = 0; t < tokens; t++)
        if (salience[t] != salience[t]) return FV_ERROR_NOT_FINITE;
    return FV_OK;
}

/* The element number `rank` of the ascending scores, as its order; rank < tokens. Four bits a pass. */
static uint32_t order_at(uint32_t tokens, const float *salience, uint32_t rank) {
    uint32_t prefix = 0, mask = 0;
    for (int shift = 28; shift >= 0; shift -= 4) {
        uint32_t counts[16] = {0}, digit = 0;
        for (size_t t = 0; t < tokens; t++) {
            uint32_t order = order_of(salience[t]);
            if ((order & mask) == prefix) counts[order >> shift & 15]++;
        }
        while (rank >= counts[digit]) rank -= counts[digit++];
        prefix |= digit << shift;
        mask |= 15u << shift;
    }
    return prefix;
}

/* The highest `keep` are those above `order`, and the first `ties` that equal it. */
typedef struct keep_cut {
    uint32_t order, ties;
} keep_cut;

static keep_cut cut_make(uint32_t tokens, const float *salience, uint32_t keep) {
    if (keep == 0 || tokens == 0) return (keep_cut){UINT32_MAX, 0}; /* above every number */
    if (keep >= tokens) return (keep_cut){0, 0};                    /* below every number */
    keep_cut cut = {order_at(tokens, salience, tokens - keep), keep};
    for (size_t t = 0; t < tokens; t++) cut.ties -= order_of(salience[t]) > cut.order;
    return cut;
}

static bool cut_keeps(keep_cut *cut, float score) {
    uint32_t order = order_of(score);
    if (order != cut->order || cut->ties == 0) return order > cut->order;
    cut->ties--;
    return true;
}

fv_status fv_keep_top(uint32_t tokens, const float *salience, uint32_t keep, uint8_t *mask) {
    if (tokens != 0 && !mask) return FV_ERROR_ARGUMENT;
    fv_status status = scores_check(tokens, salience);
    if (status != FV_OK) return status;
    keep_cut cut = cut_make(tokens, salience, keep);
    for (size_t t = 0; t < tokens; t++) mask[t] = cut_keeps(&cut, salience[t]);
    return FV_OK;
}

fv_status fv_keep_quantile(uint32_t tokens, const float *salience, float quantile, uint8_t *mask) {
    if (tokens != 0 && !mask) return FV_ERROR_ARGUMENT;
    fv_status status = scores_check(tokens, salience);
    if (status != FV_OK || tokens == 0) return status;
    quantile = quantile > 1.0f ? 1.0f : quantile > 0.0f ? quantile : 0.0f; /* a NaN too */
    uint64_t rank = (uint64_t)((float)tokens * quantile);
    uint32_t order = order_at(tokens, salience, rank < tokens ? (uint32_t)rank : tokens - 1);
    for (size_t t = 0; t < tokens; t++) mask[t] = order_of(salience[t]) >= order;
    return FV_OK;
}

/* Whether a is dropped before b: a lower score, of equal ones the later token. */
static bool is_worse(const float *salience, uint32_t a, uint32_t b) {
    return salience[a] < salience[b] || (salience[a] == salience[b] && a > b);
}

/* The worst is heap[0]. */
static void heap_rise(uint32_t *heap, size_t i, const float *salience) {
    uint32_t token = heap[i];
    while (i > 0 && is_worse(salience, token, heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = token;
}

static void heap_sink(uint32_t *heap, size_t count, const float *salience) {
    uint32_t token = heap[0];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && is_worse(salience, heap[child + 1], heap[child])) child++;
        if (!is_worse(salience, heap[child], token)) break;
        heap[i] = heap[child];
    }
    heap[i] = token;
}

static void until_causal(uint32_t tokens, const float *salience, uint32_t keep, uint32_t *heap, uint32_t *until) {
    for (uint32_t row = 0; row < tokens; row++) {
        until[row] = UINT32_MAX;
        if (row < keep) {
            heap[row] = row;
            heap_rise(heap, row, salience);
        } else if (keep == 0 || is_worse(salience, row, heap[0])) {
            until[row] = 0;
        } else {
            until[heap[0]] = row;
            heap[0] = row;
            heap_sink(heap, keep, salience);
        }
    }
}

fv_status fv_keep_until(fv_keep_scope scope, uint32_t tokens, const float *salience, uint32_t keep, uint32_t *heap,
                        uint32_t *until) {
    if (scope != FV_KEEP_CAUSAL && scope != FV_KEEP_WHOLE_SEQUENCE) return FV_ERROR_ARGUMENT;
    if (tokens != 0 && (!until || (scope == FV_KEEP_CAUSAL && keep != 0 && !heap))) return FV_ERROR_ARGUMENT;
    fv_status status = scores_check(tokens, salience);
    if (status != FV_OK) return status;
    if (scope == FV_KEEP_CAUSAL) {
        until_causal(tokens, salience, keep, heap, until);
        return FV_OK;
    }
    keep_cut cut = cut_make(tokens, salience, keep);
    for (size_t t = 0; t < tokens; t++) until[t] = cut_keeps(&cut, salience[t]) ? UINT32_MAX : 0;
    return FV_OK;
}

#endif
