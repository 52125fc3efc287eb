/* Values of one chunk, added with its weights: pages that all positions read alike in one sum, what only some read of a
 * page position by position. */
#include "attend/attend_job.h"
#include "cache/element.h"

/* What reads an element type. */
typedef struct value_kernels {
    fv_value_sum_fn *sum;
    fv_value_parts_fn *parts; /* may be NULL */
} value_kernels;

static value_kernels kernels_of(const fv_kernels *kernels, uint32_t type) {
    if (FV_ELEMENT_IS(type, F16)) return (value_kernels){kernels->value_sum_f16, kernels->value_parts_f16};
    if (FV_ELEMENT_IS(type, BF16)) return (value_kernels){kernels->value_sum_bf16, kernels->value_parts_bf16};
    if (FV_ELEMENT_IS(type, Q8_0)) return (value_kernels){kernels->value_sum_q8, kernels->value_parts_q8};
    if (FV_ELEMENT_IS(type, Q4_0)) return (value_kernels){kernels->value_sum_q4, kernels->value_parts_q4};
    return (value_kernels){kernels->value_sum_f32, kernels->value_parts_f32};
}

#if FV_BUILD_LISTS
fv_value_sum_fn *fv_element_value_sum(const fv_kernels *kernels, uint32_t type) {
    return kernels_of(kernels, type).sum;
}
#endif

static bool follows(const void *next, const void *page, size_t bytes) {
    return (const unsigned char *)next == (const unsigned char *)page + bytes;
}

/* Adds the values of `keys` columns from `column` on, the first of them at `values`, for the positions row..row_end-1.
 */
static void value_sum(const fv_attend_job *job, uint32_t type, const void *values, const void *ahead, uint32_t column,
                      uint32_t keys, uint32_t row, uint32_t row_end) {
    fv_value_sum_fn *sum = kernels_of(job->kernels, type).sum;
    size_t dim = job->config->head_dim, first = (size_t)row * job->group, rows = (size_t)(row_end - row) * job->group;
    if (FV_BUILD_PAIRS && FV_ELEMENT_IS(type, BF16) && column % 2 && keys > 1) { /* pairs begin at even keys */
        value_sum(job, type, values, ahead, column, 1, row, row_end);
        values = (const unsigned char *)values + fv_element_row_bytes(type, dim);
        if (ahead) ahead = (const unsigned char *)ahead + fv_element_row_bytes(type, dim);
        column++, keys--;
    }
    if (keys)
        sum(rows, dim, keys, job->score + first * FV_CHUNK_KEYS + column, FV_CHUNK_KEYS, values, ahead,
            job->state.out + first * dim, dim);
}

static const void *value_at(const fv_attend_job *job, const fv_key_chunk *chunk, const fv_page_slot *slot,
                            uint32_t column) {
    return (const unsigned char *)slot->values +
           column * fv_element_row_bytes(chunk->value_type, job->config->head_dim);
}

void fv_parts_attend(const fv_attend_job *job, uint32_t type, const void *values, uint32_t row, uint32_t positions) {
    value_kernels kernels = kernels_of(job->kernels, type);
    size_t dim = job->config->head_dim, first = (size_t)row * job->group, bytes = fv_element_row_bytes(type, dim);
    const fv_value_part *part = job->part;
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
static void slot_parts(fv_attend_job *job, const fv_key_chunk *chunk, const fv_page_slot *slot, uint32_t column,
                       uint32_t begin, uint32_t end) {
    for (uint32_t i = slot->row_begin; i < slot->row_end; i++) {
        uint32_t low = slot->begin[i] > begin ? slot->begin[i] : begin, high = slot->end[i] < end ? slot->end[i] : end;
        job->part[i - slot->row_begin] = (fv_value_part){
            .first = (uint8_t)low, .keys = (uint8_t)(low < high ? high - low : 0), .column = (uint8_t)(column + low)};
    }
    fv_parts_attend(job, chunk->value_type, slot->values, slot->row_begin, slot->row_end - slot->row_begin);
}

enum { SHARED_ENOUGH = 4 }; /* columns that all positions read, from which on they are worth a sum of their own */

/* A page of which positions read different columns: those that all read are summed together, what each reads before and
 * after them alone, in the same order as without the cut. */
static void slot_values(fv_attend_job *job, const fv_key_chunk *chunk, const fv_page_slot *slot, uint32_t column) {
    uint32_t begin = 0, end = FV_PAGE_TOKENS;
    for (uint32_t i = slot->row_begin; i < slot->row_end; i++) {
        if (begin < slot->begin[i]) begin = slot->begin[i];
        if (end > slot->end[i]) end = slot->end[i];
    }
    if (FV_BUILD_PAIRS) begin = (begin + 1) / 2 * 2, end = end / 2 * 2; /* pairs of keys stay together */
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
static uint32_t value_run(const fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next,
                          uint32_t first) {
    size_t bytes = FV_PAGE_TOKENS * fv_element_row_bytes(chunk->value_type, job->config->head_dim);
    if (!FV_BUILD_AHEAD) next = NULL;
    uint32_t s = first + 1;
    for (; s < chunk->count; s++) {
        const fv_page_slot *last = &chunk->slots[s - 1], *slot = &chunk->slots[s];
        if (!slot->uniform || !last->uniform || last->high != FV_PAGE_TOKENS || slot->low != 0) break;
        if (slot->row_begin != last->row_begin || slot->row_end != last->row_end) break;
        if (!follows(slot->values, last->values, bytes)) break;
        if (next && s < next->count && !follows(next->slots[s].values, next->slots[s - 1].values, bytes)) break;
    }
    return s - first;
}

void fv_values_attend(fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next) {
    if (!FV_BUILD_AHEAD) next = NULL;
    for (uint32_t s = 0, count; s < chunk->count; s += count) {
        const fv_page_slot *slot = &chunk->slots[s];
        uint32_t column = s * FV_PAGE_TOKENS;
        count = value_run(job, chunk, next, s);
        if (fv_slot_is_uniform(slot))
            value_sum(job, chunk->value_type, value_at(job, chunk, slot, slot->low),
                      next ? next->slots[fv_place_ahead(next, s)].values : NULL, column + slot->low,
                      (count - 1) * FV_PAGE_TOKENS + chunk->slots[s + count - 1].high - slot->low, slot->row_begin,
                      slot->row_end);
        else
            slot_values(job, chunk, slot, column);
    }
}
