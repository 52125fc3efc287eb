/* Keys that are read one by one: strided ones (DIAG), another for each row, and landmarks (MARK). */
#include "attend/attend_job.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "kernels/half.h"

/* Runs the `count` keys gathered into job->keys and job->values for the given rows. */
static void gathered_attend(const attend_job *job, uint32_t count, uint32_t row_begin, uint32_t row_end) {
    size_t page = FV_PAGE_TOKENS * (size_t)job->config->head_dim;
    key_chunk *chunk = job->chunks;
    chunk->key_type = chunk->value_type = FV_ELEMENT_F32;
    chunk->count = 0;
    for (uint32_t first = 0; first < count; first += FV_PAGE_TOKENS, chunk->count++) {
        uint32_t left = count - first;
        chunk->slots[chunk->count] = (page_slot){.keys = job->keys + chunk->count * page,
                                                 .values = job->values + chunk->count * page,
                                                 .row_begin = row_begin,
                                                 .row_end = row_end,
                                                 .high = left < FV_PAGE_TOKENS ? left : FV_PAGE_TOKENS,
                                                 .even = true};
    }
    if (count) fv_chunk_attend(job, chunk, NULL);
}

/* Places one key at column `column` of the gathered chunk; `stride` is the step between its channels. */
static void gather_key(const attend_job *job, uint32_t column, const float *key, size_t stride) {
    size_t dim = job->config->head_dim;
    float *panel = job->keys + column / FV_PAGE_TOKENS * FV_PAGE_TOKENS * dim + column % FV_PAGE_TOKENS;
    for (size_t c = 0; c < dim; c++) panel[c * FV_PAGE_TOKENS] = key[c * stride];
    fv_element_turn(job->cache->config.key_type, dim, FV_TURN_KEY, panel, FV_PAGE_TOKENS);
}

/* The token that a row reads by a step, if any. */
static bool diagonal_token(const attend_job *job, const fv_step *step, uint32_t row, uint32_t *token) {
    uint32_t position = job->plan->first_token + row;
    if (step->kind != FV_STEP_DIAG || row < step->row_begin || row >= step->row_end) return false;
    if (!step->ahead && position < step->begin) return false;
    *token = step->ahead ? position + step->ahead : position - step->begin;
    return true;
}

static void gather_token(const attend_job *job, uint32_t column, uint32_t token) {
    size_t dim = job->config->head_dim;
    float *value = job->values + column * dim; /* the value's place holds the key for a moment */
    if (job->cache->config.key_type == FV_ELEMENT_F32 && job->cache->config.value_type == FV_ELEMENT_F32) {
        const float *panel = (const float *)fv_cache_key_page(job->cache, job->kv_head, token / FV_PAGE_TOKENS);
        const float *row = (const float *)fv_cache_value_row(job->cache, job->kv_head, token);
        gather_key(job, column, panel + token % FV_PAGE_TOKENS, FV_PAGE_TOKENS);
        for (size_t c = 0; c < dim; c++) value[c] = row[c];
        return;
    }
    fv_cache_read(job->cache, job->kv_head, token, 1, value, NULL);
    gather_key(job, column, value, 1);
    fv_cache_read(job->cache, job->kv_head, token, 1, NULL, value);
}

/* One position: its keys are gathered. */
static void row_diagonals(const attend_job *job, uint32_t row) {
    uint32_t count = 0, token;
    for (uint32_t s = 0; s < job->plan->count; s++) {
        if (!diagonal_token(job, &job->plan->steps[s], row, &token)) continue;
        gather_token(job, count++, token);
        if (count < job->gather) continue;
        gathered_attend(job, count, row, row + 1);
        count = 0;
    }
    gathered_attend(job, count, row, row + 1);
}

/* One row of a type that is gathered needs none of this. */
#define DIAGONALS_BY_PAGE (FV_BUILD_PROMPT || FV_BUILD_Q8 || FV_BUILD_Q4)
#if DIAGONALS_BY_PAGE

enum { BATCH_STEPS = 16, BESIDE = 16 }; /* columns 0..15 of the scores: a batch; 16..31: a page's */

/* Scores of one page for the positions row..row_end-1, of which row + i takes column + i. */
static void diagonal_scores(const attend_job *job, uint32_t token, uint32_t row, uint32_t row_end,
                            const uint8_t *column) {
    size_t dim = job->config->head_dim, first = (size_t)row * job->group, rows = (size_t)(row_end - row) * job->group;
    uint32_t page = token / FV_PAGE_TOKENS;
    const void *keys = fv_cache_key_page(job->cache, job->kv_head, page);
    float *score = job->score + first * FV_CHUNK_KEYS;
    fv_element_kernels(job->kernels, job->cache->config.key_type)
        .score(rows, 1, dim, job->query + first * dim, dim, &keys, NULL,
               fv_cache_key_scale(job->cache, job->kv_head, page * FV_PAGE_TOKENS), score + BESIDE, FV_CHUNK_KEYS);
    for (uint32_t i = row; i < row_end; i++, token++)
        for (uint32_t g = 0; g < job->group; g++, score += FV_CHUNK_KEYS) {
            float *place = score + column[i];
            *place = score[BESIDE + token % FV_PAGE_TOKENS];
            if (FV_BUILD_SOFTCAP && job->config->softcap > 0.0f)
                job->kernels->softcap_f32(1, job->config->scale, job->config->softcap, place);
        }
}

/* All rows of a step, page by page; column[i]: of row i, counted on. */
static void step_scores(const attend_job *job, const fv_step *step, uint8_t *column) {
    uint32_t token;
    for (uint32_t row = step->row_begin, end; row < step->row_end; row = end) {
        end = row + 1;
        if (!diagonal_token(job, step, row, &token)) continue;
        uint32_t same_page = FV_PAGE_TOKENS - token % FV_PAGE_TOKENS;
        end = step->row_end - row < same_page ? step->row_end : row + same_page;
        diagonal_scores(job, token, row, end, column);
        for (uint32_t i = row; i < end; i++) column[i] = (uint8_t)((column[i] + 1) % FV_SUM_LANES);
    }
}

/* The tokens of a step follow each other, so do their values. */
static void step_values(const attend_job *job, const fv_step *step, uint8_t *column) {
    fv_value_part part[FV_TILE_ROWS];
    uint32_t token, first = 0, row_begin = step->row_end;
    for (uint32_t row = step->row_begin; row < step->row_end; row++) {
        if (!diagonal_token(job, step, row, &token)) continue; /* only the first ones read nothing */
        if (row_begin > row) row_begin = row, first = token;
        const float *scale = fv_cache_value_scale(job->cache, job->kv_head, token);
        float *weight = job->score + (size_t)row * job->group * FV_CHUNK_KEYS + column[row];
        for (uint32_t g = 0; scale && g < job->group; g++) weight[g * FV_CHUNK_KEYS] *= *scale;
        part[row - row_begin] = (fv_value_part){.first = (uint8_t)(token - first), .keys = 1, .column = column[row]};
        column[row] = (uint8_t)((column[row] + 1) % FV_SUM_LANES);
    }
    fv_parts_attend(job, job->cache->config.value_type, fv_cache_value_row(job->cache, job->kv_head, first), part,
                    row_begin, step->row_end - row_begin);
}

/* Neighbouring positions read neighbouring tokens of one page, or of two: scores of whole pages, of which each position
 * takes one, cost less than gathering. The n-th key of a position is in column n % 16, as where keys are gathered. */
static void tile_diagonals(const attend_job *job) {
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

/* Whether gathered keys and values are what the kernels would read: an integer would be rounded once more. */
static bool gathers_exactly(uint32_t type) { return !FV_ELEMENT_IS(type, Q8_0) && !FV_ELEMENT_IS(type, Q4_0); }

void fv_diagonals_attend(const attend_job *job) {
    const fv_cache_config *cache = &job->cache->config;
    bool gathers = gathers_exactly(cache->key_type) && gathers_exactly(cache->value_type);
    if (job->plan->rows == 1 && gathers) row_diagonals(job, 0);
#if DIAGONALS_BY_PAGE
    else
        tile_diagonals(job);
#endif
}

/* Neighbouring MARK steps of the same rows share chunks. */
void fv_marks_attend(const attend_job *job) {
    size_t dim = job->config->head_dim;
    uint32_t count = 0;
    const fv_step *last = NULL;
    for (uint32_t s = 0; s < job->plan->count; s++) {
        const fv_step *step = &job->plan->steps[s];
        if (step->kind != FV_STEP_MARK) continue;
        if (last && (last->row_begin != step->row_begin || last->row_end != step->row_end)) {
            gathered_attend(job, count, last->row_begin, last->row_end);
            count = 0;
        }
        last = step;
        for (uint32_t mark = step->begin; mark < step->end; mark++) {
            gather_key(job, count, fv_cache_mark_key_row(job->cache, job->kv_head, mark), 1);
            const float *value = fv_cache_mark_value_row(job->cache, job->kv_head, mark);
            for (size_t c = 0; c < dim; c++) job->values[count * dim + c] = value[c];
            if (++count < job->gather) continue;
            gathered_attend(job, count, step->row_begin, step->row_end);
            count = 0;
        }
    }
    if (last) gathered_attend(job, count, last->row_begin, last->row_end);
}
