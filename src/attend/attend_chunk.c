/* One chunk from its scores to its values, and the softmax in between. The result of a row does not depend on what else
 * is in its chunks: see fv_softmax_chunk_fn. */
#include "attend/attend_job.h"
#include "cache/element.h"
#include "numeric/half.h"

enum { COLUMNS = FV_PAGE_TOKENS, VECTORS = FV_BUILD_AVX2 || FV_BUILD_NEON };

/* All bits of the columns of a page, between none: from COLUMNS - first on, what is not before column `first`; from
 * 2 * COLUMNS - end on, what is before column `end`. */
#define EACH16(x) x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x
static const uint32_t read_columns[3 * COLUMNS] = {EACH16(0), EACH16(UINT32_MAX), EACH16(0)};

/* Masks all but the columns first..end-1 of a page at column `column`; with vectors without a branch, as these
 * differ from row to row. */
static void mask(const fv_attend_job *job, uint32_t row, uint32_t column, uint32_t first, uint32_t end) {
    const uint32_t masked = 0xFF800000; /* -infinity */
    const uint32_t *from = read_columns + COLUMNS - first, *to = read_columns + 2 * COLUMNS - end;
    float *score = job->score + (size_t)row * job->group * FV_CHUNK_KEYS + column;
    for (uint32_t g = 0; g < job->group; g++, score += FV_CHUNK_KEYS) {
        for (uint32_t t = 0; !VECTORS && t < first; t++) score[t] = fv_f32_from_bits(masked);
        for (uint32_t t = end; !VECTORS && t < COLUMNS; t++) score[t] = fv_f32_from_bits(masked);
        for (uint32_t t = 0; VECTORS && t < COLUMNS; t++) {
            uint32_t keep = from[t] & to[t];
            score[t] = fv_f32_from_bits((fv_bits_from_f32(score[t]) & keep) | (masked & ~keep));
        }
    }
}

/* Masks what the positions first..end-1 do not read of a page at column `column` of the chunk. */
static void slot_mask(const fv_attend_job *job, const fv_page_slot *slot, uint32_t column, uint32_t first,
                      uint32_t end) {
    for (uint32_t i = first; FV_BUILD_PROMPT && i < slot->row_begin; i++) mask(job, i, column, 0, 0);
    for (uint32_t i = slot->row_end; FV_BUILD_PROMPT && i < end; i++) mask(job, i, column, 0, 0);
    const bool uniform = fv_slot_is_uniform(slot);
    if (uniform && slot->low == 0 && slot->high == FV_PAGE_TOKENS) return;
    for (uint32_t i = slot->row_begin; i < slot->row_end; i++)
        mask(job, i, column, uniform ? slot->low : slot->begin[i], uniform ? slot->high : slot->end[i]);
}

/* The integers' scales go into the weights; those of masked keys are 0, whatever lies where the scale would be. */
static void scale_weights(const fv_attend_job *job, const fv_key_chunk *chunk) {
    for (uint32_t s = 0; s < chunk->count; s++) {
        const fv_page_slot *slot = &chunk->slots[s];
        if (!slot->value_scales) continue;
        for (size_t r = (size_t)slot->row_begin * job->group; r < (size_t)slot->row_end * job->group; r++)
            for (uint32_t t = slot->low; t < slot->high; t++)
                job->score[r * FV_CHUNK_KEYS + s * FV_PAGE_TOKENS + t] *= slot->value_scales[t];
    }
}

float fv_softmax_factor(const fv_attend_config *config) {
    float factor = (fv_attend_is_capped(config) ? 1.0f : config->scale) * 1.44269504f;
    return factor < 3e38f ? factor : 3e38f;
}

void fv_chunk_attend(fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next) {
    uint32_t begin = FV_BUILD_PROMPT ? chunk->slots[0].row_begin : 0,
             end = FV_BUILD_PROMPT ? chunk->slots[0].row_end : 1;
    for (uint32_t s = 1; FV_BUILD_PROMPT && s < chunk->count; s++) {
        if (begin > chunk->slots[s].row_begin) begin = chunk->slots[s].row_begin;
        if (end < chunk->slots[s].row_end) end = chunk->slots[s].row_end;
    }
    size_t first = (size_t)begin * job->group, rows = (size_t)(end - begin) * job->group, dim = job->config->head_dim;
    fv_scores_attend(job, chunk, next);
    for (uint32_t s = 0; s < chunk->count; s++) slot_mask(job, &chunk->slots[s], s * FV_PAGE_TOKENS, begin, end);
    job->kernels->softmax_chunk(rows, (size_t)chunk->count * FV_PAGE_TOKENS, dim, fv_softmax_factor(job->config),
                                job->score + first * FV_CHUNK_KEYS, job->state.maximum + first,
                                job->state.sum + first * FV_SUM_LANES, job->state.out + first * dim, dim);
    if (FV_BUILD_Q8) scale_weights(job, chunk);
    fv_values_attend(job, chunk, next);
}
