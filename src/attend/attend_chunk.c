/* Scores, softmax and value sums of one chunk. The result of a row does not depend on what else is in its chunks: see
 * fv_softmax_chunk_fn. */
#include "attend/attend_job.h"
#include "cache/element.h"
#include "kernels/half.h"

/* One row, all that there is without FV_BUILD_PROMPT, is always even. */
static bool is_even(const page_slot *slot) { return !FV_BUILD_PROMPT || slot->even; }

static bool has_softcap(const fv_attend_config *config) { return FV_BUILD_SOFTCAP && config->softcap > 0.0f; }

element_kernels fv_element_kernels(const fv_kernels *kernels, uint32_t type) {
    if (FV_ELEMENT_IS(type, F16)) return (element_kernels){kernels->score_page_f16, kernels->value_sum_f16, kernels->value_parts_f16};
    if (FV_ELEMENT_IS(type, BF16)) return (element_kernels){kernels->score_page_bf16, kernels->value_sum_bf16, kernels->value_parts_bf16};
    if (FV_ELEMENT_IS(type, Q8_0)) return (element_kernels){kernels->score_page_q8, kernels->value_sum_q8, kernels->value_parts_q8};
    if (FV_ELEMENT_IS(type, Q4_0)) return (element_kernels){kernels->score_page_q4, kernels->value_sum_q4, kernels->value_parts_q4};
    return (element_kernels){kernels->score_page_f32, kernels->value_sum_f32, kernels->value_parts_f32};
}

static bool follows(const void *next, const void *page, size_t bytes) {
    return (const unsigned char *)next == (const unsigned char *)page + bytes;
}

/* Pages from `first` on that are read by the same positions. */
static uint32_t score_run(const key_chunk *chunk, uint32_t first) {
    if (!FV_BUILD_PROMPT) return chunk->count - first;
    uint32_t s = first + 1;
    while (s < chunk->count && chunk->slots[s].row_begin == chunk->slots[first].row_begin &&
           chunk->slots[s].row_end == chunk->slots[first].row_end)
        s++;
    return s - first;
}

static const page_slot *slot_ahead(const key_chunk *next, uint32_t s) {
    return &next->slots[s < next->count ? s : next->count - 1];
}

/* Scores of the pages first..first+count-1 for the positions that read them; scales: of the chunk's keys, or NULL. */
static void run_scores(const attend_job *job, const key_chunk *chunk, const key_chunk *next, uint32_t first,
                       uint32_t count, const float *scales) {
    fv_score_page_fn *score = fv_element_kernels(job->kernels, chunk->key_type).score;
    const page_slot *slot = &chunk->slots[first];
    const void *keys[FV_CHUNK_PAGES], *ahead[FV_CHUNK_PAGES];
    if (!FV_BUILD_AHEAD) next = NULL;
    for (uint32_t s = 0; s < count; s++) keys[s] = chunk->slots[first + s].keys;
    for (uint32_t s = 0; next && s < count; s++) ahead[s] = slot_ahead(next, first + s)->keys;
    size_t dim = job->config->head_dim, row = (size_t)slot->row_begin * job->group, columns = count * FV_PAGE_TOKENS;
    size_t rows = (size_t)(slot->row_end - slot->row_begin) * job->group;
    float *out = job->score + row * FV_CHUNK_KEYS + first * FV_PAGE_TOKENS;
    score(rows, count, dim, job->query + row * dim, dim, keys, next ? ahead : NULL,
          scales ? scales + first * FV_PAGE_TOKENS : NULL, out, FV_CHUNK_KEYS);
    if (!has_softcap(job->config)) return;
    for (size_t r = 0; r < rows; r++)
        job->kernels->softcap_f32(columns, job->config->scale, job->config->softcap, out + r * FV_CHUNK_KEYS);
}

static void chunk_scores(const attend_job *job, const key_chunk *chunk, const key_chunk *next) {
    float *scales = job->scales;
    bool scaled = FV_BUILD_Q8 && chunk->slots[0].key_scales != NULL;
    for (uint32_t s = 0; scaled && s < chunk->count; s++)
        for (uint32_t t = 0; t < FV_PAGE_TOKENS; t++) scales[s * FV_PAGE_TOKENS + t] = chunk->slots[s].key_scales[t];
    for (uint32_t s = 0, count; s < chunk->count; s += count) {
        count = score_run(chunk, s);
        run_scores(job, chunk, next, s, count, scaled ? scales : NULL);
    }
}

static void mask(const attend_job *job, uint32_t row, uint32_t begin, uint32_t end) {
    const float masked = fv_f32_from_bits(0xFF800000); /* -infinity */
    float *score = job->score + (size_t)row * job->group * FV_CHUNK_KEYS;
    for (uint32_t g = 0; g < job->group; g++, score += FV_CHUNK_KEYS)
        for (uint32_t t = begin; t < end; t++) score[t] = masked;
}

/* Masks what the positions first..end-1 do not read of a page at column `column` of the chunk. */
static void slot_mask(const attend_job *job, const page_slot *slot, uint32_t column, uint32_t first, uint32_t end) {
    for (uint32_t i = first; FV_BUILD_PROMPT && i < slot->row_begin; i++) mask(job, i, column, column + FV_PAGE_TOKENS);
    for (uint32_t i = slot->row_end; FV_BUILD_PROMPT && i < end; i++) mask(job, i, column, column + FV_PAGE_TOKENS);
    if (is_even(slot) && slot->low == 0 && slot->high == FV_PAGE_TOKENS) return;
    for (uint32_t i = slot->row_begin; i < slot->row_end; i++) {
        mask(job, i, column, column + (is_even(slot) ? slot->low : slot->begin[i]));
        mask(job, i, column + (is_even(slot) ? slot->high : slot->end[i]), column + FV_PAGE_TOKENS);
    }
}

/* Adds the values of `keys` columns from `column` on, the first of them at `values`, for the positions row..row_end-1.
 */
static void value_sum(const attend_job *job, uint32_t type, const void *values, const void *ahead, uint32_t column,
                      uint32_t keys, uint32_t row, uint32_t row_end) {
    fv_value_sum_fn *sum = fv_element_kernels(job->kernels, type).sum;
    size_t dim = job->config->head_dim, first = (size_t)row * job->group, rows = (size_t)(row_end - row) * job->group;
    if (keys)
        sum(rows, dim, keys, job->score + first * FV_CHUNK_KEYS + column, FV_CHUNK_KEYS, values, ahead,
            job->state.out + first * dim, dim);
}

static const void *value_at(const attend_job *job, const key_chunk *chunk, const page_slot *slot, uint32_t column) {
    return (const unsigned char *)slot->values +
           column * fv_element_row_bytes(chunk->value_type, job->config->head_dim);
}

void fv_parts_attend(const attend_job *job, uint32_t type, const void *values, const fv_value_part *part, uint32_t row,
                     uint32_t positions) {
    element_kernels kernels = fv_element_kernels(job->kernels, type);
    size_t dim = job->config->head_dim, first = (size_t)row * job->group, bytes = fv_element_row_bytes(type, dim);
    const float *weight = job->score + first * FV_CHUNK_KEYS;
    float *out = job->state.out + first * dim;
    if (kernels.parts) {
        kernels.parts(positions, job->group, dim, part, weight, FV_CHUNK_KEYS, values, out, dim);
        return;
    }
    for (uint32_t p = 0; p < positions; p++, weight += job->group * FV_CHUNK_KEYS, out += job->group * dim)
        if (part[p].keys)
            kernels.sum(job->group, dim, part[p].keys, weight + part[p].column, FV_CHUNK_KEYS,
                        (const unsigned char *)values + part[p].first * bytes, NULL, out, dim);
}

/* The part of a page that each position reads of the columns begin..end-1. */
static void slot_parts(const attend_job *job, const key_chunk *chunk, const page_slot *slot, uint32_t column,
                       uint32_t begin, uint32_t end) {
    fv_value_part part[FV_TILE_ROWS];
    for (uint32_t i = slot->row_begin; i < slot->row_end; i++) {
        uint32_t low = slot->begin[i] > begin ? slot->begin[i] : begin, high = slot->end[i] < end ? slot->end[i] : end;
        part[i - slot->row_begin] = (fv_value_part){
            .first = (uint8_t)low, .keys = (uint8_t)(low < high ? high - low : 0), .column = (uint8_t)(column + low)};
    }
    fv_parts_attend(job, chunk->value_type, slot->values, part, slot->row_begin, slot->row_end - slot->row_begin);
}

enum { SHARED_ENOUGH = 4 }; /* columns that all positions read, from which on they are worth a sum of their own */

/* A page of which positions read different columns: those that all read are summed together, what each reads before and
 * behind them alone, in the same order as without the cut. */
static void slot_values(const attend_job *job, const key_chunk *chunk, const page_slot *slot, uint32_t column) {
    uint32_t begin = 0, end = FV_PAGE_TOKENS;
    for (uint32_t i = slot->row_begin; i < slot->row_end; i++) {
        if (begin < slot->begin[i]) begin = slot->begin[i];
        if (end > slot->end[i]) end = slot->end[i];
    }
    if (end < begin + SHARED_ENOUGH) {
        slot_parts(job, chunk, slot, column, 0, FV_PAGE_TOKENS);
        return;
    }
    slot_parts(job, chunk, slot, column, 0, begin);
    value_sum(job, chunk->value_type, value_at(job, chunk, slot, begin), NULL, column + begin, end - begin,
              slot->row_begin, slot->row_end);
    slot_parts(job, chunk, slot, column, end, FV_PAGE_TOKENS);
}

/* Even pages from `first` on whose keys follow each other without a gap, for the same positions; so do the pages ahead.
 */
static uint32_t value_run(const attend_job *job, const key_chunk *chunk, const key_chunk *next, uint32_t first) {
    size_t bytes = FV_PAGE_TOKENS * fv_element_row_bytes(chunk->value_type, job->config->head_dim);
    if (!FV_BUILD_AHEAD) next = NULL;
    uint32_t s = first + 1;
    for (; s < chunk->count; s++) {
        const page_slot *last = &chunk->slots[s - 1], *slot = &chunk->slots[s];
        if (!slot->even || !last->even || last->high != FV_PAGE_TOKENS || slot->low != 0) break;
        if (slot->row_begin != last->row_begin || slot->row_end != last->row_end) break;
        if (!follows(slot->values, last->values, bytes)) break;
        if (next && s < next->count && !follows(next->slots[s].values, next->slots[s - 1].values, bytes)) break;
    }
    return s - first;
}

static void chunk_values(const attend_job *job, const key_chunk *chunk, const key_chunk *next) {
    if (!FV_BUILD_AHEAD) next = NULL;
    for (uint32_t s = 0, count; s < chunk->count; s += count) {
        const page_slot *slot = &chunk->slots[s];
        uint32_t column = s * FV_PAGE_TOKENS;
        count = value_run(job, chunk, next, s);
        if (is_even(slot))
            value_sum(job, chunk->value_type, value_at(job, chunk, slot, slot->low),
                      next ? slot_ahead(next, s)->values : NULL, column + slot->low,
                      (count - 1) * FV_PAGE_TOKENS + chunk->slots[s + count - 1].high - slot->low, slot->row_begin,
                      slot->row_end);
        else
            slot_values(job, chunk, slot, column);
    }
}

/* The integers' scales go into the weights; those of masked keys are 0, whatever lies where the scale would be. */
static void scale_weights(const attend_job *job, const key_chunk *chunk) {
    for (uint32_t s = 0; s < chunk->count; s++) {
        const page_slot *slot = &chunk->slots[s];
        if (!slot->value_scales) continue;
        for (size_t r = (size_t)slot->row_begin * job->group; r < (size_t)slot->row_end * job->group; r++)
            for (uint32_t t = slot->low; t < slot->high; t++)
                job->score[r * FV_CHUNK_KEYS + s * FV_PAGE_TOKENS + t] *= slot->value_scales[t];
    }
}

float fv_softmax_factor(const fv_attend_config *config) {
    float factor = (has_softcap(config) ? 1.0f : config->scale) * 1.44269504f;
    return factor < 3e38f ? factor : 3e38f;
}

void fv_chunk_attend(const attend_job *job, const key_chunk *chunk, const key_chunk *next) {
    uint32_t begin = FV_BUILD_PROMPT ? chunk->slots[0].row_begin : 0, end = FV_BUILD_PROMPT ? chunk->slots[0].row_end : 1;
    for (uint32_t s = 1; FV_BUILD_PROMPT && s < chunk->count; s++) {
        if (begin > chunk->slots[s].row_begin) begin = chunk->slots[s].row_begin;
        if (end < chunk->slots[s].row_end) end = chunk->slots[s].row_end;
    }
    size_t first = (size_t)begin * job->group, rows = (size_t)(end - begin) * job->group, dim = job->config->head_dim;
    chunk_scores(job, chunk, next);
    for (uint32_t s = 0; s < chunk->count; s++) slot_mask(job, &chunk->slots[s], s * FV_PAGE_TOKENS, begin, end);
    job->kernels->softmax_chunk(rows, (size_t)chunk->count * FV_PAGE_TOKENS, dim, fv_softmax_factor(job->config),
                                job->score + first * FV_CHUNK_KEYS, job->state.maximum + first,
                                job->state.sum + first * FV_SUM_LANES, job->state.out + first * dim, dim);
    if (FV_BUILD_Q8) scale_weights(job, chunk);
    chunk_values(job, chunk, next);
}
