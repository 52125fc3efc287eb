/* policy.h - who decides what is read: a selector writes the plan of a tile of query rows. */
#ifndef FOVEA_POLICY_H
#define FOVEA_POLICY_H

#include "fovea/api.h"
#include "fovea/plan.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fv_selector {
    FV_SELECTOR_DENSE = 0,   /* every visible key */
    FV_SELECTOR_WINDOW = 1,  /* the first `sinks` tokens and the last `window` */
    FV_SELECTOR_PATTERN = 2, /* window + globals + i-1, i-2, i-4, ... + block means; the published log-stride pattern */
    FV_SELECTOR_FOVEA = 3,   /* sinks, window, and the pages that weigh most by a 2-bit copy of the keys */
    FV_SELECTOR_CASCADE = 4 /* the same, but the copy is read whole of pages only whose signs promise most: fewer bytes,
                               next to no loss */
} fv_selector;
#define FV_SELECTOR_COUNT 5

#define FV_POLICY_GLOBALS 16 /* most global tokens */

/** A policy. Start from fv_policy_default(selector). Fields that a selector does not use are ignored. The arrays
 *  that it points to are the caller's and are read during calls that are given the policy. */
typedef struct fv_policy {
    uint32_t selector;      /* fv_selector */
    uint32_t window;        /* FOVEA, CASCADE: newest tokens always read, >= 1, default 128; up to whole pages.
                               WINDOW: newest tokens read, the row's own included, >= 1, default 512.
                               PATTERN: tokens before the own one, default 128, 0 = the own only. Not causal: as many
                               after the own one too. More than there are is as many as there are */
    uint32_t sinks;         /* WINDOW, FOVEA, CASCADE: first tokens always read, default 16; not WINDOW: up to whole
                               pages */
    uint32_t block;         /* PATTERN: tokens per landmark, >= 1, default 64; as the cache's */
    uint32_t globals_count; /* PATTERN: default 1 */
    uint32_t globals[FV_POLICY_GLOBALS]; /* PATTERN: token indices, default {0} */
    uint32_t log_stride;                 /* PATTERN: 0 or 1, default 1 */
    uint32_t landmarks;                  /* PATTERN: 0 or 1, default 1 */
    uint32_t causal;                     /* 0 or 1, default 1: a row reads nothing behind its own position */
    uint32_t keep_tokens;                /* PATTERN: length of keep and keep_until, at least the tokens of the cache */
    const uint8_t *keep;        /* PATTERN: a token whose byte is 0 is not reached by a log-stride; window, globals and
                                   landmarks stay. NULL (default) = all are kept */
    const uint32_t *keep_until; /* PATTERN: likewise, but by row: only rows before position keep_until[token] reach the
                                   token. NULL (default) = all are kept */

    /* FOVEA, CASCADE: how much a row reads, window and sinks included but never less than them; exactly one of
     * the three is set. */
    float budget;         /* share of the visible keys, 0 < budget <= 1; default 0.16, 0 = not by share */
    uint32_t pages;       /* pages of 16 tokens, at least those of window and sinks; 0 = not by number (default) */
    float top_p;          /* FOVEA: share of the mass that the copy estimates, 0 < top_p <= 1; 0 = not by mass
                             (default) */
    uint32_t floor, cap;  /* budget and top_p: least pages, default 0; top_p: most pages, default 2^30 */
    uint32_t dense_below; /* rows with fewer tokens in the pages before theirs read all; FV_POLICY_AUTO (default): where
                             that reads no more bytes than choosing */
    uint32_t certificate; /* 0 or 1, default 0: the report says how far the output may be from the dense one; needs
                             FOVEA, a cache with margins and scores without a cap (else FV_ERROR_ARGUMENT from
                             fv_attention_run()) */
    float quality; /* with a certificate: rows read more pages, up to all, until their relative estimate is at most
                      this, which promises no more than the estimate does: fv_report.relative_estimate; 0 = as the
                      budget says (default), and needed with a deadline */
    const uint16_t *head_share; /* [layers][kv_heads]: the budget beyond window and sinks times this / 1024; NULL
                                   (default) = 1024 everywhere */
    uint32_t head_share_count;  /* layers * kv_heads */
    uint32_t tail;              /* 1: an eighth of the pages that a row may choose is given up, and the next
                                   best pages enter the softmax by 2-bit copies of keys and values, as many as their bytes
                                   are enough for; needs a cache whose tail is 1, scores without a cap and no certificate;
                                   0 = what is not read exactly is left out (default) */
} fv_policy;

#define FV_POLICY_AUTO UINT32_MAX

FV_API fv_policy fv_policy_default(fv_selector selector);

/** What a plan is made for: rows first_token .. first_token + rows - 1, all already in the cache. */
typedef struct fv_plan_view {
    uint32_t first_token;  /* position of row 0 */
    uint32_t rows;         /* 1..FV_TILE_ROWS */
    uint32_t local_window; /* the model's own mask: a row sees its last local_window tokens only; 0 = all. A selector
                              applies only where it is 0: a sliding-window layer is read as the model says */
    uint32_t tokens;       /* all tokens that there are; used where the policy is not causal */
} fv_plan_view;

/** Whether `config` is in range. FV_OK or FV_ERROR_ARGUMENT. O(globals^2). */
FV_API fv_status fv_policy_check(const fv_policy *config);

/**
 * Writes the plan for `view` into `plan` (cleared first): spans in ascending order, no key twice for a row.
 *
 * returns FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_FULL (the plan has too few steps: see fv_policy_steps()).
 * Pure. O(steps * globals). PATTERN: the method of ruvllm_sparse_attention 0.1.1; not causal, the last landmark may be
 * that of a partly filled block.
 */
FV_API fv_status fv_policy_plan(const fv_policy *config, const fv_plan_view *view, fv_plan *plan);

/** Steps that a plan of `rows` rows needs at most for a cache of max_tokens. */
FV_API uint32_t fv_policy_steps(const fv_policy *config, uint32_t max_tokens, uint32_t rows);

/** Strided tokens, and likewise landmarks, that a row reads at most. */
FV_API uint32_t fv_policy_gathered(const fv_policy *config, uint32_t max_tokens);
/** Whether the policy chooses by the queries: it then needs a cache with a shadow, and fv_policy_plan() refuses it. */
static inline bool fv_policy_is_dynamic(const fv_policy *config) { return config->selector >= FV_SELECTOR_FOVEA; }

/** Pages that a row of a choosing policy reads at least: sinks, window, its own. */
FV_API uint32_t fv_policy_min_pages(const fv_policy *config);

#ifdef __cplusplus
}
#endif

#endif
