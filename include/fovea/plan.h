/* plan.h - what a tile of query rows reads: a list of a few kinds of step. Selectors write it, executors run it. */
#ifndef FOVEA_PLAN_H
#define FOVEA_PLAN_H

#include "fovea/api.h"
#include "fovea/status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_PAGE_TOKENS 16 /* tokens per page; part of the file format */
#define FV_TILE_ROWS 16   /* most query rows (positions) in one plan */

/* Tokens whose softmax is one state; states of a row merge in rising order. Fixed, so that neither the number of
 * threads nor the cutting of a prompt into batches changes a bit. */
#define FV_SEGMENT_TOKENS 1024
#define FV_TILE_ROWS 16 /* most query rows (positions) in one plan */

typedef enum fv_step_kind {
    FV_STEP_SPAN = 0, /* tokens begin..end-1, exactly; row i (position p) reads those t with t <= p + ahead and, if
                         `window` is not 0, t > p - window */
    FV_STEP_DIAG = 1, /* the one token p - begin of each row with p >= begin or, if `ahead` is not 0, the one token
                         p + ahead; `end` unused */
    FV_STEP_MARK = 2  /* landmarks begin..end-1 of the cache, each one key of the softmax */
} fv_step_kind;

/** Why a step is read. What is counted by reason (report.h) is counted by these. */
typedef enum fv_reason {
    FV_REASON_NONE = 0,    /* nobody said */
    FV_REASON_SINK = 1,    /* first tokens */
    FV_REASON_WINDOW = 2,  /* newest tokens, the row's own included */
    FV_REASON_CHOSEN = 3,  /* chosen by the queries */
    FV_REASON_WHOLE = 4,   /* the row reads all */
    FV_REASON_GLOBAL = 5,  /* PATTERN: global tokens */
    FV_REASON_STRIDE = 6,  /* PATTERN: log-strides */
    FV_REASON_LANDMARK = 7 /* PATTERN: block means */
} fv_reason;
#define FV_REASON_COUNT 8

/** One step; applies to rows row_begin..row_end-1 of the tile only. */
typedef struct fv_step {
    uint16_t kind;   /* fv_step_kind */
    uint16_t reason; /* fv_reason: set by the writer of the step. It changes nothing in what is read. In a plan of
                        fv_plan_join(), where the rows have different reasons, the first row's */
    uint32_t begin, end;
    uint32_t window;             /* SPAN only; 0 = no lower edge */
    uint16_t row_begin, row_end; /* 0 <= row_begin < row_end <= rows */
    uint32_t ahead;              /* SPAN: tokens after the row's own that it reads; 0 = causal, UINT32_MAX = all.
                                    DIAG: see there. MARK: unused */
} fv_step;

/** One past the last token of a SPAN that the row at `position` may read. */
static inline uint32_t fv_step_span_end(const fv_step *step, uint32_t position) {
    return step->end <= position || step->end - position - 1 <= step->ahead ? step->end : position + step->ahead + 1;
}

/** First token of a SPAN that the row at `position` may read; what fv_step_span_end() gives, or more: none. */
static inline uint32_t fv_step_span_begin(const fv_step *step, uint32_t position) {
    uint32_t out = step->window && position >= step->window ? position + 1 - step->window : 0;
    return step->begin > out ? step->begin : out;
}

/** The list. `steps` is the caller's memory of `capacity` entries. */
typedef struct fv_plan {
    fv_step *steps;
    uint32_t count, capacity;
    uint32_t first_token; /* position of row 0 */
    uint32_t rows;        /* 1..FV_TILE_ROWS */
} fv_plan;

/** Appends a step; FV_ERROR_FULL leaves the plan as it was. An empty step (begin >= end, no rows) is dropped. */
FV_API fv_status fv_plan_add(fv_plan *plan, fv_step step);

/**
 * Whether `plan` can be run: every step in range for a cache of `tokens` tokens and `marks` landmarks (of a cache whose
 * last block is partly filled it may be fv_cache_landmarks() + 1), rows inside the tile, spans ascending and disjoint.
 * It does not look for a key that two kinds of step share.
 * returns FV_OK or FV_ERROR_ARGUMENT. O(steps).
 */
FV_API fv_status fv_plan_check(const fv_plan *plan, uint32_t tokens, uint32_t marks);

/**
 * What two rows read, `second` being the one after `first`, in one list.
 *
 * first, second  one row each, causal, of SPAN steps alone without a window; `second` reads its own position.
 * both           at most twice as many steps as they have together.
 * returns FV_OK or FV_ERROR_FULL. O(steps).
 */
FV_API fv_status fv_plan_join(const fv_plan *first, const fv_plan *second, fv_plan *both);

/** Keys that row `row` reads exactly (SPAN and DIAG). O(steps). */
FV_API uint64_t fv_plan_row_keys(const fv_plan *plan, uint32_t row);

#ifdef __cplusplus
}
#endif

#endif
