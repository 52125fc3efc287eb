/* policy.h - who decides what is read: a selector writes the plan of a tile of query rows. Its text form is
 * fovea/policy_text.h; how structs may change: docs/abi.md. */
#ifndef FOVEA_POLICY_H
#define FOVEA_POLICY_H

#include "fovea/api.h"
#include "fovea/cache.h"
#include "fovea/plan.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The selectors. X(NAME, name, selector): `name` is the policy's in its text form, `selector` the value of its key
 * `selector` where one name has several. Numbers are pinned: append only.
 *   DENSE    every visible key
 *   WINDOW   the first `sinks` tokens and the last `window`
 *   PATTERN  window + globals + i-1, i-2, i-4, ... + block means: the published log-stride pattern
 *   FOVEA    sinks, window, and the pages that weigh most by a 2-bit copy of the keys
 *   CASCADE  the same, but the copy is read whole of pages only whose signs promise most: fewer bytes, next to no loss
 */
#define FV_SELECTOR_LIST(X) \
    X(DENSE, "dense", "") \
    X(WINDOW, "window", "") \
    X(PATTERN, "pattern", "") \
    X(FOVEA, "fovea", "shadow") \
    X(CASCADE, "fovea", "cascade")
#define FV_SELECTOR_ENUM(NAME, name, selector) FV_SELECTOR_##NAME,
typedef enum fv_selector { FV_SELECTOR_LIST(FV_SELECTOR_ENUM) FV_SELECTOR_COUNT } fv_selector;
#undef FV_SELECTOR_ENUM

#define FV_POLICY_GLOBALS 16            /* most global tokens */
#define FV_POLICY_AUTO UINT32_MAX       /* of dense_below */
#define FV_POLICY_MOST (1u << 30)       /* most tokens and pages that a field may say */
#define FV_POLICY_FLOOR_DEFAULT 64u     /* pages, 1,024 tokens: short contexts keep their quality */
#define FV_POLICY_QUESTION_DEFAULT 128u /* tokens: what a question and its template take (docs/lab/choosing.md) */

/**
 * A policy. Start from fv_policy_default(), then set what differs; fields that a selector does not use are ignored.
 * The arrays are the caller's and are read during calls that are given the policy. Ranges are checked by
 * fv_policy_check(). "Choosing" selectors are FOVEA and CASCADE (fv_policy_is_dynamic()).
 */
typedef struct fv_policy {
    uint32_t selector; /* fv_selector */
    uint32_t causal;   /* 0 or 1, default 1: a row reads nothing after its own position. Choosing: 1 */
    uint32_t window;   /* tokens. WINDOW: newest ones read, the row's own included, >= 1, default 512. PATTERN: before
                          the own one (not causal: as many after it too), 0 = the own only, default 128. Choosing:
                          newest ones always read, up to whole pages, 1..2^30, default 128. Clamped to the sequence */
    uint32_t sinks;    /* tokens. WINDOW, choosing: first ones always read, default 16; choosing: up to whole pages,
                          at most 2^30 */

    /* PATTERN */
    uint32_t block;                      /* tokens a landmark, >= 1, default 64; landmark_tokens of the cache */
    uint32_t globals_count;              /* 0..FV_POLICY_GLOBALS, default 1 */
    uint32_t log_stride;                 /* 0 or 1, default 1 */
    uint32_t landmarks;                  /* 0 or 1, default 1 */
    uint32_t globals[FV_POLICY_GLOBALS]; /* token positions, default {0}; any order, repeats count once */

    /* Arrays of the caller, and how long they are; NULL and 0 are the default */
    uint32_t keep_tokens;       /* length of keep and keep_until, at least the tokens of the cache */
    uint32_t head_share_count;  /* layers * kv_heads */
    const uint8_t *keep;        /* PATTERN: a token whose byte is 0 is not reached by a log-stride; window, globals and
                                   landmarks stay. NULL = all are kept */
    const uint32_t *keep_until; /* PATTERN: likewise, but by row: only rows before position keep_until[token] reach the
                                   token. NULL = all are kept */
    const uint16_t *head_share; /* choosing: [layers][kv_heads], the budget beyond window and sinks times this / 1024;
                                   NULL = 1024 everywhere */

    /* Choosing: how much a row reads, window and sinks included but never less than them. Exactly one of budget, pages
     * and top_p is set: fv_policy_set_budget() and its kin set one, and clear the others and the floor. */
    float budget;         /* share of the visible keys, above 0, at most 1, default 0.16; 0 = not by share */
    uint32_t pages;       /* pages of 16 tokens, at least fv_policy_min_pages(); 0 = not by number (default) */
    float top_p;          /* FOVEA: share of the mass that the copy estimates, above 0, at most 1; 0 = not by mass
                             (default) */
    uint32_t floor;       /* pages, least of budget and top_p, at most `cap`; default FV_POLICY_FLOOR_DEFAULT; held by
                             floor_share */
    uint32_t cap;         /* pages, most of top_p, default 2^30 */
    uint32_t dense_below; /* rows with fewer tokens in the pages before theirs read all; FV_POLICY_AUTO (default): where
                             that reads no more bytes than choosing */
    uint32_t certificate; /* 0 or 1, default 0. FOVEA: the report says how far the output may be from the dense one;
                             needs a cache with margins and scores without a cap */
    float quality;        /* 0..1e6. With a certificate: rows read more pages, up to all, until their relative estimate
                             is at most this, which promises no more than the estimate does
                             (fv_report.relative_estimate); 0 = as the budget says (default), and needed with a
                             deadline */
    uint32_t tail;        /* 0 or 1, default 0: trades 1/8 of the page budget for approximate pages: the next-best
                             ones enter the softmax by their 2-bit keys and values, as many as fit in the bytes saved.
                             Needs a cache with a tail, scores without a cap and no certificate */
    float floor_share;    /* share of the visible keys, 0..1, that the floor holds at most, though never less than
                             FV_POLICY_FLOOR_DEFAULT pages of it; 0 = all of it (default) */
    uint32_t question;    /* tokens, 0..2^30: the last ones of each prompt read everything. Default, choosing:
                             FV_POLICY_QUESTION_DEFAULT, else 0. Attention knows no prompts: whoever feeds one
                             says which rows those are (fv_policy_question_rows()), as fv_session_feed_prompt(),
                             fv_generator_feed() and the server do */
    uint32_t reserved[3]; /* 0 */
} fv_policy;

/**
 * The default of `selector`, as the comments above say. Of FOVEA it is what `fovea` alone means everywhere: 16 % of the
 * visible keys, at least 64 pages. That floor belongs to the default amount: a caller that names another one by
 * fv_policy_set_budget(), _pages() or _top_p() has a floor of 0 until they set `floor` after it, and no floor_share.
 * `fovea:budget=0.12` in text is the same.
 */
FV_API void fv_policy_default(fv_selector selector, fv_policy *policy);

/** Sets how much a choosing policy reads, one of three ways; the values are those of the fields. */
static inline void fv_policy_set_budget(fv_policy *policy, float budget) {
    policy->budget = budget;
    policy->top_p = policy->floor_share = 0.0f;
    policy->pages = policy->floor = 0;
}
static inline void fv_policy_set_pages(fv_policy *policy, uint32_t pages) {
    fv_policy_set_budget(policy, 0.0f);
    policy->pages = pages;
}
static inline void fv_policy_set_top_p(fv_policy *policy, float top_p) {
    fv_policy_set_budget(policy, 0.0f);
    policy->top_p = top_p;
}

/** Whether the policy chooses by the queries: it then needs a cache with a shadow, and fv_policy_plan() refuses it. */
static inline bool fv_policy_is_dynamic(const fv_policy *policy) { return policy->selector >= FV_SELECTOR_FOVEA; }

/** Whether ranks that hold a context together (exchange.h) can run it: DENSE, WINDOW, and FOVEA without a certificate
 * or a tail. Pure. O(1). */
static inline bool fv_policy_divides(const fv_policy *policy) {
    if (policy->selector == FV_SELECTOR_FOVEA) return !policy->certificate && !policy->tail;
    return policy->selector == FV_SELECTOR_DENSE || policy->selector == FV_SELECTOR_WINDOW;
}

/** How many of the next `rows` tokens of a prompt, of which `left` are still to come with these, are of its question:
 * they are the last ones. Pure. O(1). */
static inline uint32_t fv_policy_question_rows(const fv_policy *policy, uint64_t left, uint32_t rows) {
    uint64_t before = left > policy->question ? left - policy->question : 0;
    return rows > before ? rows - (uint32_t)before : 0;
}

/** Pages that a row of a choosing policy reads at least: sinks, window, its own. O(1). */
FV_API uint32_t fv_policy_min_pages(const fv_policy *policy);

/** What can be wrong with a policy. X(NAME, field, text): the field or fields, and what is allowed. Append only. */
#define FV_POLICY_FAULT_LIST(X) \
    X(NONE, "", "nothing is wrong") \
    X(SELECTOR, "selector", "must be an fv_selector") \
    X(CAUSAL, "causal", "must be 0 or 1, and 1 where pages are chosen") \
    X(WINDOW, "window", "must be at least 1, and at most 2^30 where pages are chosen") \
    X(SINKS, "sinks", "must be at most 2^30") \
    X(BLOCK, "block", "must be at least 1") \
    X(GLOBALS, "globals_count", "must be at most 16") \
    X(LOG_STRIDE, "log_stride", "must be 0 or 1") \
    X(LANDMARKS, "landmarks", "must be 0 or 1") \
    X(AMOUNT, "budget, pages, top_p", "must be 0, except one of them") \
    X(BUDGET, "budget", "must be above 0, at most 1") \
    X(PAGES, "pages", "must be at least fv_policy_min_pages(), at most 2^30") \
    X(TOP_P, "top_p", "must be above 0, at most 1, and needs FV_SELECTOR_FOVEA") \
    X(FLOOR, "floor", "must be at most cap") \
    X(CAP, "cap", "must be at most 2^30") \
    X(CERTIFICATE, "certificate", "must be 0 or 1, and needs FV_SELECTOR_FOVEA") \
    X(QUALITY, "quality", "must be 0 to 1e6, and needs a certificate") \
    X(TAIL, "tail", "must be 0 or 1, and goes with no certificate") \
    X(RESERVED, "reserved", "must be 0") \
    X(BUILD, "selector, certificate or tail", "asks for what this build leaves out") \
    /* of a policy and a cache: */ \
    X(CACHE_LANDMARKS, "block", "must be landmark_tokens of the cache") \
    X(CACHE_SHADOW, "selector", "needs a cache with a shadow") \
    X(CACHE_MARGINS, "certificate", "needs a cache with margins") \
    X(CACHE_TAIL, "tail", "needs a cache with a tail") \
    X(SOFTCAP, "certificate or tail", "needs a model that does not cap its scores") \
    /* of a policy, as those before CACHE_LANDMARKS: */ \
    X(FLOOR_SHARE, "floor_share", "must be 0 to 1") \
    X(QUESTION, "question", "must be at most 2^30")
#define FV_POLICY_FAULT_ENUM(NAME, field, text) FV_POLICY_FAULT_##NAME,
typedef enum fv_policy_fault { FV_POLICY_FAULT_LIST(FV_POLICY_FAULT_ENUM) FV_POLICY_FAULT_COUNT } fv_policy_fault;
#undef FV_POLICY_FAULT_ENUM

/** The first fault of the values of `policy`, by themselves. Pure. O(1). */
FV_API fv_policy_fault fv_policy_find_fault(const fv_policy *policy);

/** Whether `policy` is in range. FV_OK, FV_ERROR_ARGUMENT (NULL), FV_ERROR_POLICY (fv_policy_find_fault() says why),
 * FV_ERROR_UNSUPPORTED (left out of this build). Pure. O(1). */
FV_API fv_status fv_policy_check(const fv_policy *policy);

/** Turns on what `policy` reads of a cache besides keys and values: landmark_tokens, shadow, margins, tail. Leaves the
 * rest as it is: a cache for several policies is handed to it once for each. Pure. O(1). */
FV_API void fv_policy_needs(const fv_policy *policy, fv_cache_config *cache);

/**
 * Whether a policy that is in range may read a cache of this shape.
 *
 * softcap  of the scores; 0 = none.
 * unmet    out, may be NULL: the first need that is not met, FV_POLICY_FAULT_NONE if all are.
 * returns  FV_OK, FV_ERROR_POLICY. Pure. O(1).
 */
FV_API fv_status fv_policy_suits(const fv_policy *policy, const fv_cache_config *cache, float softcap,
                                 fv_policy_fault *unmet);

/** What a plan is made for: rows first_token .. first_token + rows - 1, all already in the cache. */
typedef struct fv_plan_view {
    uint32_t first_token;  /* position of row 0 */
    uint32_t rows;         /* 1..FV_TILE_ROWS */
    uint32_t local_window; /* the model's own mask: a row sees its last local_window tokens only; 0 = all. A selector
                              applies only where it is 0: a sliding-window layer is read as the model says */
    uint32_t tokens;       /* all tokens that there are; used where the policy is not causal */
} fv_plan_view;

/**
 * Writes the plan for `view` into `plan` (cleared first): spans in ascending order, no key twice for a row.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT (the view; a mask that ends before the view does), FV_ERROR_FULL (the plan has too
 * few steps: see fv_policy_steps()), FV_ERROR_POLICY (also: a policy that chooses by the queries) and
 *         FV_ERROR_UNSUPPORTED as fv_policy_check().
 * Pure. O(steps * globals). PATTERN: the method of ruvllm_sparse_attention 0.1.1; not causal, the last landmark may be
 * that of a partly filled block.
 */
FV_API fv_status fv_policy_plan(const fv_policy *policy, const fv_plan_view *view, fv_plan *plan);

/** Steps that a plan of `rows` rows needs at most for a cache of max_tokens. */
FV_API uint32_t fv_policy_steps(const fv_policy *policy, uint32_t max_tokens, uint32_t rows);

/** Strided tokens, and likewise landmarks, that a row reads at most. */
FV_API uint32_t fv_policy_gathered(const fv_policy *policy, uint32_t max_tokens);

#ifdef __cplusplus
}
#endif

#endif
