/* Keys that are read one by one: strided ones (DIAG), another for each row, and landmarks (MARK). */
#include "attend/attend_job.h"
#include "build.h"
#include "cache/cache_pages.h"
#include "cache/element.h"

/* Runs the `count` keys gathered into job->keys and job->values for the given rows. */
static void gathered_attend(fv_attend_job *job, uint32_t count, uint32_t row_begin, uint32_t row_end) {
    size_t page = FV_PAGE_TOKENS * (size_t)job->config->head_dim;
    fv_key_chunk *chunk = job->chunks;
    chunk->key_type = chunk->value_type = FV_ELEMENT_F32;
    chunk->count = 0;
    for (uint32_t first = 0; first < count; first += FV_PAGE_TOKENS, chunk->count++) {
        uint32_t left = count - first;
        fv_page_slot *slot = &chunk->slots[chunk->count];
        chunk->keys[chunk->count] = job->keys + chunk->count * page;
        slot->values = job->values + chunk->count * page;
        slot->key_scales = slot->value_scales = NULL;
        slot->row_begin = row_begin, slot->row_end = row_end;
        slot->low = 0, slot->high = left < FV_PAGE_TOKENS ? left : FV_PAGE_TOKENS;
        slot->uniform = true;
    }
    if (count) fv_chunk_attend(job, chunk, NULL);
}

/* Places one key at column `column` of the gathered chunk; `stride` is the step between its channels. */
static void gather_key(const fv_attend_job *job, uint32_t column, const float *key, size_t stride) {
    size_t dim = job->config->head_dim;
    float *panel = job->keys + column / FV_PAGE_TOKENS * FV_PAGE_TOKENS * dim + column % FV_PAGE_TOKENS;
    for (size_t c = 0; c < dim; c++) panel[c * FV_PAGE_TOKENS] = key[c * stride];
    fv_element_hadamard(job->cache->config.key_type, dim, FV_HADAMARD_KEY, panel, FV_PAGE_TOKENS);
}

static void gather_token(const fv_attend_job *job, uint32_t column, uint32_t token) {
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
static void row_diagonals(fv_attend_job *job, uint32_t row) {
    uint32_t count = 0, token;
    for (uint32_t s = 0; s < job->plan->count; s++) {
        if (!fv_diagonal_token(job, &job->plan->steps[s], row, &token)) continue;
        gather_token(job, count++, token);
        if (count < job->gather) continue;
        gathered_attend(job, count, row, row + 1);
        count = 0;
    }
    gathered_attend(job, count, row, row + 1);
}

/* Whether gathered keys and values give what the kernels would make of them: an integer would be rounded once more, and
 * kernels for pairs of bf16 round what meets them. */
static bool gathers_exactly(const fv_kernels *kernels, uint32_t type) {
    if (FV_BUILD_PAIRS && FV_ELEMENT_IS(type, BF16)) return !kernels->query_pack_bf16;
    return !FV_ELEMENT_IS(type, Q8_0) && !FV_ELEMENT_IS(type, Q4_0);
}

void fv_diagonals_attend(fv_attend_job *job) {
    const fv_cache_config *cache = &job->cache->config;
    bool gathers = gathers_exactly(job->kernels, cache->key_type) && gathers_exactly(job->kernels, cache->value_type);
    if (job->plan->rows == 1 && gathers) row_diagonals(job, 0);
#if FV_DIAGONALS_BY_PAGE
    else
        fv_pages_diagonals_attend(job);
#endif
}

/* Neighbouring MARK steps of the same rows share chunks. */
void fv_marks_attend(fv_attend_job *job) {
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
