/* attend_job.h - one call's surroundings and a chunk of pages; what walks a plan fills chunks, attend_chunk.c runs
 * them by way of attend_scores.c and attend_values.c; attend_gather.c reads the keys that are no pages. What is longer
 * than a few words lies in the job, which is in the scratch, as a chip's stack is short. */
#ifndef FV_ATTEND_JOB_H
#define FV_ATTEND_JOB_H

#include "attend/attend_state.h"
#include "build.h"
#include "kernels/kernels.h"

enum { FV_CHUNK_PAGES = FV_CHUNK_KEYS / FV_PAGE_TOKENS };

/* Sixteen keys: where they lie, and which of them who reads. */
typedef struct fv_page_slot {
    const void *values;                     /* [16][head_dim] */
    const float *key_scales, *value_scales; /* [16], NULL unless Q8_0 */
    uint32_t row_begin, row_end;            /* positions that read any of them */
    uint32_t low, high;                     /* columns that any of these reads; all of them each, if uniform */
    bool uniform;
    uint8_t begin[FV_TILE_ROWS], end[FV_TILE_ROWS]; /* unless uniform: the columns that each position reads */
} fv_page_slot;

/* Up to four pages in the order in which their keys are added; they need not be neighbours. */
typedef struct fv_key_chunk {
    uint32_t key_type, value_type; /* fv_element */
    uint32_t count;
    const void *keys[FV_CHUNK_PAGES]; /* [head_dim][16] each; after the last page, that page again */
    fv_page_slot slots[FV_CHUNK_PAGES];
} fv_key_chunk;

struct fv_attend_job {
    const fv_attend_config *config;
    const fv_kernels *kernels;
    const fv_cache *cache;
    const fv_plan *plan;
    uint32_t kv_head, group;
    const float *query; /* [rows * group][head_dim] */
#if FV_BUILD_PAIRS
    const float *packed; /* likewise, as what reads the keys of pages wants them */
#endif
    fv_state state;                                         /* at work */
    float *states[2];                                       /* room for that of all and for that of a part */
    float *score;                                           /* [rows * group][64] */
    float *scales;                                          /* [64], of a chunk's keys */
    uint32_t gather;                                        /* keys that the two below have room for */
    float *keys;                                            /* [gather / 16][head_dim][16] */
    float *values;                                          /* [gather][head_dim] */
    fv_key_chunk *chunks;                                   /* the current one, and the next */
    fv_value_part part[FV_BUILD_PROMPT ? FV_TILE_ROWS : 1]; /* of a page, by position */
};

/* One update of the state of all positions that read any of the chunk's pages. Values of keys that a position does not
 * read are not touched for it: what they hold cannot reach its output. next: NULL, or what is likely to be read after
 * it. */
void fv_chunk_attend(fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next);

/* The first step of it: what goes to job->score. */
void fv_scores_attend(const fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next);
fv_score_page_fn *fv_element_score(const fv_kernels *kernels, uint32_t type);
fv_value_sum_fn *fv_element_value_sum(const fv_kernels *kernels, uint32_t type);

/* The last step of it: adds what the weights in job->score say. */
void fv_values_attend(fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next);

/* The page that is read about when page `s` of the chunk before it is. */
static inline uint32_t fv_place_ahead(const fv_key_chunk *next, uint32_t s) {
    return s < next->count ? s : next->count - 1;
}

/* The queries as what reads keys of this type wants them, from `row` on, of all heads. */
static inline const float *fv_job_query(const fv_attend_job *job, uint32_t key_type, size_t row) {
    const float *query = job->query;
#if FV_BUILD_PAIRS
    if (key_type == FV_ELEMENT_BF16) query = job->packed;
#endif
    (void)key_type;
    return query + row * job->config->head_dim;
}

static inline bool fv_attend_is_capped(const fv_attend_config *config) {
    return FV_BUILD_SOFTCAP && config->softcap > 0.0f;
}

/* One row, all that there is without FV_BUILD_PROMPT, is always uniform. */
static inline bool fv_slot_is_uniform(const fv_page_slot *slot) { return !FV_BUILD_PROMPT || slot->uniform; }

/* Adds what each of the positions row.. reads of the values: job->part [positions], with columns of job->score. */
void fv_parts_attend(const fv_attend_job *job, uint32_t type, const void *values, uint32_t row, uint32_t positions);

/* Scores to powers of two. */
float fv_softmax_factor(const fv_attend_config *config);

/* The token that a row reads by a step, if any. */
static inline bool fv_diagonal_token(const fv_attend_job *job, const fv_step *step, uint32_t row, uint32_t *token) {
    uint32_t position = job->plan->first_token + row;
    if (step->kind != FV_STEP_DIAG || row < step->row_begin || row >= step->row_end) return false;
    if (!step->ahead && position < step->begin) return false;
    *token = step->ahead ? position + step->ahead : position - step->begin;
    return true;
}

/* The keys that the plan's DIAG steps read, and its MARK steps. One row of a type that is gathered needs no pages. */
#define FV_DIAGONALS_BY_PAGE (FV_BUILD_PROMPT || FV_BUILD_PAIRS || FV_BUILD_Q8 || FV_BUILD_Q4)
void fv_pages_diagonals_attend(fv_attend_job *job);
void fv_diagonals_attend(fv_attend_job *job);
void fv_marks_attend(fv_attend_job *job);

#endif
