/* attend_job.h - one call's surroundings and a chunk of pages; what walks a plan fills chunks, attend_chunk.c runs
 * them; attend_gather.c reads the keys that are no pages. */
#ifndef FV_ATTEND_JOB_H
#define FV_ATTEND_JOB_H

#include "attend/attend_state.h"
#include "kernels/kernels.h"

enum { FV_CHUNK_PAGES = FV_CHUNK_KEYS / FV_PAGE_TOKENS };

/* Sixteen keys: where they lie, and which of them who reads. */
typedef struct page_slot {
    const void *keys, *values;              /* [head_dim][16], [16][head_dim] */
    const float *key_scales, *value_scales; /* [16], NULL unless Q8_0 */
    uint32_t row_begin, row_end;            /* positions that read any of them */
    uint32_t low, high;                     /* columns that any of these reads; all of them each, if even */
    bool even;
    uint8_t begin[FV_TILE_ROWS], end[FV_TILE_ROWS]; /* unless even: the columns that each position reads */
} page_slot;

/* Up to four pages in the order in which their keys are added; they need not be neighbours. */
typedef struct key_chunk {
    uint32_t key_type, value_type; /* fv_element */
    uint32_t count;
    page_slot slots[FV_CHUNK_PAGES];
} key_chunk;

typedef struct attend_job {
    const fv_attend_config *config;
    const fv_kernels *kernels;
    const fv_cache *cache;
    const fv_plan *plan;
    uint32_t kv_head, group;
    const float *query; /* [rows * group][head_dim] */
    fv_state state;
    float *score;      /* [rows * group][64] */
    float *scales;     /* [64], of a chunk's keys */
    uint32_t gather;   /* keys that the two below have room for */
    float *keys;       /* [gather / 16][head_dim][16] */
    float *values;     /* [gather][head_dim] */
    key_chunk *chunks; /* at work, and the one behind it */
} attend_job;

/* One update of the state of all positions that read any of the chunk's pages. Values of keys that a position does not
 * read are not touched for it: what they hold cannot reach its output. next: NULL, or what is likely to be read after
 * it. */
void fv_chunk_attend(const attend_job *job, const key_chunk *chunk, const key_chunk *next);

/* What reads an element type. */
typedef struct element_kernels {
    fv_score_page_fn *score;
    fv_value_sum_fn *sum;
    fv_value_parts_fn *parts; /* may be NULL */
} element_kernels;

element_kernels fv_element_kernels(const fv_kernels *kernels, uint32_t type);

/* Adds what each of the positions row.. reads of the values: part [positions], with columns of job->score. */
void fv_parts_attend(const attend_job *job, uint32_t type, const void *values, const fv_value_part *part, uint32_t row,
                     uint32_t positions);

/* Scores to powers of two. */
float fv_softmax_factor(const fv_attend_config *config);

/* The keys that the plan's DIAG steps read, and its MARK steps. */
void fv_diagonals_attend(const attend_job *job);
void fv_marks_attend(const attend_job *job);

#endif
