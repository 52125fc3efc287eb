/* choose.h - choosing pages by the queries: how much, which, and the resulting plan; one row (position) and one
 * KV head at a time. A row reads sinks, window, and the pages of those before its own that weigh most; nothing depends
 * on a later token, nor on where a batch begins. All that decides is integer, or f32 in single operations of a fixed
 * order: equal queries and keys choose equal pages on every machine. */
#ifndef FV_CHOOSE_H
#define FV_CHOOSE_H

#include "cache/cache_pages.h"
#include "codes/best.h"
#include "codes/code_query.h"
#include "fovea/policy.h"
#include "kernels/kernels.h"
#include "select/gathered_scores.h"

/* What choosing for one row and head works with; made by fv_chooser_make(). */
typedef struct fv_chooser {
    const fv_policy *policy;
    const fv_cache *cache;
    const fv_kernels *kernels;
    float scale; /* of attention */
    uint32_t layer, kv_head, group, position;
    uint32_t sinks_end, window_begin; /* tokens before the one and from the other on are read */
    uint32_t begin, end;              /* candidates between them, pages; begin == end: none */
    uint32_t scored;                  /* pages before the row's own: they can be scored */
    uint32_t allowance;               /* most pages that are read of the candidates */
    uint32_t looked_at;               /* candidates whose codes are read whole: all, but fewer for a cascade */
} fv_chooser;

/* Memory of one position and head, and of the scores of later positions that were made with it: rows [positions *
 * group], those of the position at work from `row` on. Scores are those of fv_mean_score_fn and so on. */
typedef struct fv_choose_scratch {
    int8_t *query;                 /* [rows][dim], dim as the shadow's */
    uint8_t *table;                /* [rows][4 * dim] */
    int32_t *sum, *coarse_sum;     /* [rows] */
    float *factor, *coarse_factor; /* [rows] */
    int32_t *score;                /* [rows][stride], by place in the list */
    int32_t *base;                 /* [rows][base_stride], of blocks: query . centre */
    uint32_t *page;                /* the list: pages that were weighed, in rising order */
    uint32_t *weight;              /* what they weigh, FV_CHOSEN once they are chosen */
    uint32_t *chosen;              /* places of the chosen in the list, less `first`, in rising order */
    uint32_t *local;               /* [FV_SEGMENT_PAGES], pages of one segment as it numbers them */
    float *rotated;                /* [dim], of one query at a time */
    uint32_t *tail; /* places of the tail's pages in the list, less `first`, in rising order; later their numbers */
    int32_t *tail_score, *tail_level; /* [group][FV_TAIL_PAGES * 16]; [group] */
    float *tail_noise, *tail_rows;    /* [group]; [group][dim], then [dim][16] */
    uint64_t *tail_mass;              /* [group] */
    size_t stride, base_stride;
    uint32_t count;             /* pages in the list */
    uint32_t first, candidates; /* of the list, those that can be chosen are candidates from place `first` on */
    uint32_t chosen_count;
    uint32_t together;                 /* positions that there is room for */
    uint32_t scored_from, scored_rows; /* positions whose scores are there */
    size_t row;
    uint32_t tail_count; /* 0 unless the policy has a tail */
} fv_choose_scratch;

/* Bytes of it, 64-byte aligned; false on overflow. together: positions that may be scored together, at least 1. */
bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t together, size_t *bytes);
void fv_choose_scratch_at(fv_choose_scratch *scratch, void *memory, uint32_t head_dim, uint32_t group,
                          uint32_t max_tokens, uint32_t together);

void fv_chooser_make(fv_chooser *chooser, const fv_policy *policy, const fv_cache *cache, const fv_kernels *kernels,
                     float scale, uint32_t group, uint32_t layer, uint32_t kv_head, uint32_t position);

/* Whether there is anything to choose: if not, nothing needs to be scored. */
static inline bool fv_chooser_has_choice(const fv_chooser *chooser) {
    return chooser->begin < chooser->end && (chooser->allowance > 0 || chooser->policy->certificate);
}

/* From now on every page before the row's own is a candidate, and all of them are scored: for a certificate of a row
 * that could not read what it had chosen. */
static inline void fv_chooser_take_all(fv_chooser *chooser) {
    chooser->begin = 0;
    chooser->end = chooser->looked_at = chooser->scored;
}

static inline bool fv_chooser_reads_all(const fv_chooser *chooser) { return chooser->window_begin == 0; }

/* Bytes of the coarse copy that a row reads: of all pages, which rows of a tile share, and of those that it looks
 * at. */
uint64_t fv_chooser_shared_bytes(const fv_chooser *chooser);
uint64_t fv_chooser_own_bytes(const fv_chooser *chooser);

/* Makes the list and its weights, the largest share of the page over the heads of the group, for the chooser's
 * position. From it on there are `rows` rows of queries [group][head_dim], query_stride apart: some may be scored
 * together with the first; a position is scored but once. */
void fv_choose_weigh(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t rows, const float *query,
                     size_t query_stride);

#if FV_BUILD_EXCHANGE
/* Scores pages that are here, for positions from the chooser's on that look at the same pages, at most `rows`; how many
 * positions. Queries as above. */
uint32_t fv_choose_score(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t rows, const float *query,
                         size_t query_stride, const fv_gathered_scores *into);

/* fv_choose_weigh() of FV_SELECTOR_FOVEA by scores that all ranks made. */
void fv_choose_take(const fv_chooser *chooser, fv_choose_scratch *scratch, const fv_gathered_scores *from);
#endif

/* Chooses of the list what the policy allows; how many pages. With a tail, fewer: the next best are in the tail. */
uint32_t fv_choose_pages(const fv_chooser *chooser, fv_choose_scratch *scratch);

/* Chooses the best `most` of the candidates that are not chosen yet; how many are left. */
uint32_t fv_choose_more(const fv_chooser *chooser, fv_choose_scratch *scratch, uint32_t most);

/* The queries that the list was weighed with. */
fv_shadow_rows fv_choose_rows(const fv_chooser *chooser, const fv_choose_scratch *scratch);

/* Whether the codes of the tail's pages say something about the weights of their keys for every row; makes
 * tail_noise. */
bool fv_tail_is_heard(const fv_chooser *chooser, const fv_choose_scratch *scratch);

/* What the pages of the tail add to the softmax of the chooser's row, after fv_choose_pages(), as a state of its own:
 * maximum [group], whole; sum [group][FV_SUM_LANES]; out [group][head_dim], unnormalised. tail_count > 0. */
void fv_tail_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, float *maximum, float *sum, float *out);

/* Writes the plan of `rows` rows from the chooser's on; the list is not read if there is no choice. */
fv_status fv_choose_plan(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t rows, fv_plan *plan);

#if FV_BUILD_LISTS
/* The same for the chooser's row alone, without a plan: `reader` is added to what stands for each page that it reads,
 * its keys to by_reason [FV_REASON_COUNT]. How many keys. */
uint64_t fv_choose_readers(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint16_t reader,
                           uint16_t *readers, uint64_t *by_reason);
#endif

#endif
