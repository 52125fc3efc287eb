/* Strided keys (DIAG) of a whole tile, or of a type that is not gathered.
 * Neighbouring positions read neighbouring tokens of one page, or of two: scores of whole pages, of which each position
 * takes one, cost less than gathering. The n-th key of a position is in column n % 16, as where keys are gathered. */
#include "attend/attend_job.h"
#include "cache/cache_pages.h"
#include "numeric/half.h"

#if FV_DIAGONALS_BY_PAGE

enum { BATCH_STEPS = 16, BESIDE = 16 }; /* columns 0..15 of the scores: a batch; 16..31: a page's */

/* Scores of one page for the positions row..row_end-1, of which row + i takes column + i. */
static void diagonal_scores(const fv_attend_job *job, uint32_t token, uint32_t row, uint32_t row_end,
                            const uint8_t *column) {
    size_t dim = job->config->head_dim, first = (size_t)row * job->group, rows = (size_t)(row_end - row) * job->group;
    uint32_t page = token / FV_PAGE_TOKENS;
    const void *keys = fv_cache_key_page(job->cache, job->kv_head, page);
    float *score = job->score + first * FV_CHUNK_KEYS;
    fv_score_page_fn *score_page = fv_element_score(job->kernels, job->cache->config.key_type);
    score_page(rows, 1, dim, job->query + first * dim, dim, &keys, NULL,
               fv_cache_key_scale(job->cache, job->kv_head, page * FV_PAGE_TOKENS), score + BESIDE, FV_CHUNK_KEYS);
    for (uint32_t i = row; i < row_end; i++, token++)
        for (uint32_t g = 0; g < job->group; g++, score += FV_CHUNK_KEYS) {
            float *place = score + column[i];
            *place = score[BESIDE + token % FV_PAGE_TOKENS];
            if (fv_attend_is_capped(job->config))
                job->kernels->softcap_f32(1, job->config->scale, job->config->softcap, place);
        }
}

/* All rows of a step, page by page; column[i]: of row i, counted on. */
static void step_scores(const fv_attend_job *job, const fv_step *step, uint8_t *column) {
    uint32_t token;
    for (uint32_t row = step->row_begin, end; row < step->row_end; row = end) {
        end = row + 1;
        if (!fv_diagonal_token(job, step, row, &token)) continue;
        uint32_t same_page = FV_PAGE_TOKENS - token % FV_PAGE_TOKENS;
        end = step->row_end - row < same_page ? step->row_end : row + same_page;
        diagonal_scores(job, token, row, end, column);
        for (uint32_t i = row; i < end; i++) column[i] = (uint8_t)((column[i] + 1) % FV_SUM_LANES);
    }
}

/* Of the positions row..row_end-1, the first of which reads token `first`. */
static void run_values(const fv_attend_job *job, uint32_t first, uint32_t row, uint32_t row_end) {
    if (row < row_end)
        fv_parts_attend(job, job->cache->config.value_type, fv_cache_value_row(job->cache, job->kv_head, first), row,
                        row_end - row);
}

/* The tokens of a step follow each other, so do their values in a segment. */
static void step_values(fv_attend_job *job, const fv_step *step, uint8_t *column) {
    uint32_t token, first = 0, row_begin = step->row_end;
    for (uint32_t row = step->row_begin; row < step->row_end; row++) {
        if (!fv_diagonal_token(job, step, row, &token)) continue; /* only the first ones read nothing */
        if (row_begin < row && token / FV_PAGE_TOKENS >= fv_segment_end(&job->cache->table, first / FV_PAGE_TOKENS)) {
            run_values(job, first, row_begin, row);
            row_begin = row, first = token;
        }
        if (row_begin > row) row_begin = row, first = token;
        const float *scale = fv_cache_value_scale(job->cache, job->kv_head, token);
        float *weight = job->score + (size_t)row * job->group * FV_CHUNK_KEYS + column[row];
        for (uint32_t g = 0; scale && g < job->group; g++) weight[g * FV_CHUNK_KEYS] *= *scale;
        job->part[row - row_begin] =
            (fv_value_part){.first = (uint8_t)(token - first), .keys = 1, .column = column[row]};
        column[row] = (uint8_t)((column[row] + 1) % FV_SUM_LANES);
    }
    run_values(job, first, row_begin, step->row_end);
}

void fv_pages_diagonals_attend(fv_attend_job *job) {
    const fv_plan *plan = job->plan;
    size_t rows = (size_t)plan->rows * job->group, dim = job->config->head_dim;
    uint8_t *scored = job->chunks->slots[0].begin, *summed = job->chunks->slots[0].end; /* no page is at work */
    for (uint32_t i = 0; i < plan->rows; i++) scored[i] = summed[i] = 0;
    for (uint32_t first = 0, end; first < plan->count; first = end) {
        uint32_t steps = 0;
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < FV_SUM_LANES; t++) job->score[r * FV_CHUNK_KEYS + t] = fv_f32_from_bits(0xFF800000);
        for (end = first; end < plan->count && steps < BATCH_STEPS; end++) {
            if (plan->steps[end].kind != FV_STEP_DIAG) continue;
            step_scores(job, &plan->steps[end], scored);
            steps++;
        }
        if (!steps) return;
        job->kernels->softmax_chunk(rows, FV_SUM_LANES, dim, fv_softmax_factor(job->config), job->score,
                                    job->state.maximum, job->state.sum, job->state.out, dim);
        for (uint32_t s = first; s < end; s++)
            if (plan->steps[s].kind == FV_STEP_DIAG) step_values(job, &plan->steps[s], summed);
    }
}

#endif
