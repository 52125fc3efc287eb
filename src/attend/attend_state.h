/* attend_state.h - one segment of a plan into a state: what attention needs to split a long decode over threads. A run
 * is first made in the scratch and then run, so that what it is made of lies on no stack. */
#ifndef FV_ATTEND_STATE_H
#define FV_ATTEND_STATE_H

#include "build.h"
#include "fovea/attend.h"
#include "fovea/state.h"
#include <stdbool.h>

static inline size_t fv_state_floats(size_t rows, size_t head_dim) { return rows * (head_dim + 1 + FV_STATE_LANES); }

/* The states from `row` on. */
static inline fv_state fv_state_row(const fv_state *state, size_t row, size_t head_dim) {
    return (fv_state){
        .maximum = state->maximum + row, .sum = state->sum + row * FV_STATE_LANES, .out = state->out + row * head_dim};
}

/* fv_state_merge() by the kernels of a table. */
void fv_state_merge_by(const fv_kernels *kernels, const fv_state *into, const fv_state *from, size_t rows,
                       size_t head_dim);

/* Where things lie in the scratch of a call. Computed once: for few keys the checks would cost as much as the reading.
 */
typedef struct fv_attend_layout {
    size_t query_offset, state_offset, segment_offset, score_offset, key_offset, value_offset, chunk_offset;
#if FV_BUILD_PAIRS
    size_t packed_offset;
#endif
    size_t scale_offset, job_offset, bytes;
    uint32_t gather; /* strided keys and landmarks that there is room for */
} fv_attend_layout;

/* Checks the config; the errors of fv_attend_size(). */
fv_status fv_attend_layout_make(const fv_attend_config *config, fv_attend_layout *out);

/* Segments that a plan has parts in, first and one past the last; the index past the last stands for DIAG and MARK. */
void fv_attend_segments(const fv_plan *plan, uint32_t *first, uint32_t *end);

/* Most rows of a plan. */
static inline uint32_t fv_attend_rows(const fv_attend_config *config) {
    return config->tile_rows ? config->tile_rows : FV_TILE_ROWS;
}

/* What the runs of a call share. */
typedef struct fv_attend_setting {
    const fv_attend_config *config;
    const fv_attend_layout *layout; /* the config's */
    const fv_kernels *kernels;
    const fv_cache *cache;
    size_t query_stride;
} fv_attend_setting;

/* A plan, one KV head and the rows' queries on their way; it lies in the scratch. */
typedef struct fv_attend_job fv_attend_job;

/* query, query_stride: as in fv_attend_tile(), of the plan's first row. */
fv_attend_job *fv_attend_begin(const fv_attend_setting *setting, const fv_plan *plan, uint32_t kv_head,
                               const float *query, void *scratch);

/* The whole plan. The state of its rows, which is in the scratch, too. */
const fv_state *fv_attend_plan(fv_attend_job *job);

/* The state of one segment (or of the gathered keys), rows as in fv_attend_tile(). */
void fv_attend_segment(fv_attend_job *job, fv_state state, uint32_t segment, bool gathered);

/* Tokens begin..end-1, and where reading is likely to go on: from token `ahead` of a KV head on. */
typedef struct fv_token_range {
    uint32_t begin, end, ahead, ahead_head;
} fv_token_range;

/* Adds what the spans read of tokens that are all of one segment. A segment whose runs follow each other in rising
 * order has the bits of fv_attend_segment(). */
void fv_attend_spans(fv_attend_job *job, fv_state state, const fv_token_range *tokens);

/* Of `rows` positions and the heads of kv_head: attention, 0 where nothing was read, and log-sum-exps. */
void fv_state_write(const fv_attend_config *config, const fv_kernels *kernels, const fv_state *state, uint32_t rows,
                    uint32_t kv_head, float *out, size_t out_stride);
void fv_state_write_lse(const fv_attend_config *config, const fv_state *state, uint32_t rows, uint32_t kv_head,
                        float *lse, size_t lse_stride);

#endif
