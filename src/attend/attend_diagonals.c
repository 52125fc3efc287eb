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
    uint32_t type = job->cache->config.key_type;
    fv_score_page_fn *score_page = fv_element_score(job->kernels, type);
    score_page(rows, 1, dim, fv_job_query(job, type, first), dim, &keys, NULL,
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

/* Sixteen rows side by side. */
static void rows_turn(const fv_kernels *kernels, size_t columns, const float *x, size_t stride, float *out) {
    if (kernels->transpose16_f32)
        kernels->transpose16_f32(columns, x, stride, out);
    else
        for (size_t t = 0; t < FV_PAGE_TOKENS; t++)
            for (size_t c = 0; c < columns; c++) out[FV_PAGE_TOKENS * c + t] = x[t * stride + c];
}

/* The keys that a step's sixteen positions read are a page. */
static bool step_is_page(const fv_plan *plan, const fv_step *step) {
    return step->row_begin == 0 && step->row_end == FV_PAGE_TOKENS && !step->ahead &&
           step->begin % FV_PAGE_TOKENS == 0 && step->begin <= plan->first_token;
}

/* Whether each of sixteen positions has the same place in every page that it reads a key of. */
static bool plan_is_pages(const fv_attend_job *job) {
    const fv_plan *plan = job->plan;
    const fv_cache_config *cache = &job->cache->config;
    if (!job->kernels->score_own_f32 || !job->kernels->value_own_f32 || job->config->head_dim < 3 * FV_PAGE_TOKENS)
        return false;
    if (cache->key_type != FV_ELEMENT_F32 || cache->value_type != FV_ELEMENT_F32) return false;
    if (plan->rows != FV_PAGE_TOKENS || plan->first_token % FV_PAGE_TOKENS != 0) return false;
    for (uint32_t s = 0; s < plan->count; s++)
        if (plan->steps[s].kind == FV_STEP_DIAG && !step_is_page(plan, &plan->steps[s])) return false;
    return true;
}

enum { PLACES = FV_PAGE_TOKENS * BATCH_STEPS }; /* of scores by page, and by row, then of pointers: of 48 channels */

/* Scores of one head of the group: a row of the turned queries meets a row of a page's keys as they lie. */
static void pages_scores(const fv_attend_job *job, uint32_t pages, const float *const *keys, uint32_t g) {
    size_t dim = job->config->head_dim;
    float *by_page = job->values, *by_row = by_page + PLACES;
    rows_turn(job->kernels, dim, job->query + g * dim, job->group * dim, job->keys);
    job->kernels->score_own_f32(pages, dim, job->keys, keys, by_page);
    if (fv_attend_is_capped(job->config))
        job->kernels->softcap_f32(pages * (size_t)FV_PAGE_TOKENS, job->config->scale, job->config->softcap, by_page);
    for (size_t i = pages * (size_t)FV_PAGE_TOKENS; i < PLACES; i++) by_page[i] = fv_f32_from_bits(0xFF800000);
    rows_turn(job->kernels, BATCH_STEPS, by_page, FV_PAGE_TOKENS, by_row);
    for (size_t row = 0; row < FV_PAGE_TOKENS; row++)
        for (size_t i = 0; i < BATCH_STEPS; i++)
            job->score[(row * job->group + g) * FV_CHUNK_KEYS + i] = by_row[row * BATCH_STEPS + i];
}

/* The same scores and sums as step by step, sixteen positions at once. */
static void pages_attend(fv_attend_job *job) {
    const fv_plan *plan = job->plan;
    size_t rows = (size_t)FV_PAGE_TOKENS * job->group, dim = job->config->head_dim;
    const float **keys = (const float **)(void *)(job->values + 2 * PLACES), **values = keys + BATCH_STEPS;
    for (uint32_t s = 0; s < plan->count;) {
        uint32_t pages = 0;
        for (; s < plan->count && pages < BATCH_STEPS; s++) {
            if (plan->steps[s].kind != FV_STEP_DIAG) continue;
            uint32_t token = plan->first_token - plan->steps[s].begin;
            keys[pages] = (const float *)fv_cache_key_page(job->cache, job->kv_head, token / FV_PAGE_TOKENS);
            values[pages++] = (const float *)fv_cache_value_row(job->cache, job->kv_head, token);
        }
        if (!pages) return;
        for (uint32_t g = 0; g < job->group; g++) pages_scores(job, pages, keys, g);
        job->kernels->softmax_chunk(rows, FV_SUM_LANES, dim, fv_softmax_factor(job->config), job->score,
                                    job->state.maximum, job->state.sum, job->state.out, dim);
        for (size_t g = 0; g < job->group; g++)
            job->kernels->value_own_f32(pages, dim, job->score + g * FV_CHUNK_KEYS, job->group * FV_CHUNK_KEYS, values,
                                        job->state.out + g * dim, job->group * dim);
    }
}

void fv_pages_diagonals_attend(fv_attend_job *job) {
    const fv_plan *plan = job->plan;
    if (plan_is_pages(job)) {
        pages_attend(job);
        return;
    }
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
