/* index.c - codes of rows, and room for them. */
#include "index/kept_row.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- coding ---- */

typedef struct code_job {
    fv_index *index;
    size_t first, end; /* rows */
    uint8_t *edge;     /* NULL, or in place of the block that `first` is not the first of */
    float *scratch;    /* [workers][2][rotated] */
} code_job;

/* r = o - c. L2: |o - q|^2 = |r|^2 + |q - c|^2 - 2 r . (q - c). Product: o . q = c . q + w r . c + r . (q - w c) for
 * any w. 2^-17 is taken off what bounds, for the rounding of exact distances. */
static void code_fine(const fv_index *index, size_t row, float add, const float *rotated) {
    size_t bits = index->config.refine_bits;
    uint8_t *to = (uint8_t *)(uintptr_t)fv_index_fine(index, row);
    float *factors = (float *)(void *)(to + fv_level_code_bytes(index->rotated, bits));
    float times = index->config.metric == FV_INDEX_L2 ? 2 : 1;
    fv_level_code code = fv_level_code_put(index->rotated, bits, rotated, to);
    factors[0] = add;
    factors[1] = -times * code.product;
    factors[2] = times * code.spread;
}

static void code_row(const fv_index *index, size_t row, uint8_t *block, float *less, float *rotated) {
    float *factors = (float *)(void *)(block + fv_block_code_bytes(index->rotated));
    size_t lane = row % FV_BLOCK_CODES;
    fv_kept_rotate(index, row, less, rotated);
    fv_sign_code code = fv_sign_code_put(index->rotated, rotated, lane, block);
    bool l2 = index->config.metric == FV_INDEX_L2;
    factors[lane] = l2 ? code.square * (1 - 0x1p-17f) : (float)-fv_kept_along(index, row, less);
    factors[32 + lane] = l2 ? -2 * code.product : -code.product;
    factors[64 + lane] = l2 ? 2 * code.spread : code.spread;
    if (index->fine_bytes) code_fine(index, row, factors[lane], rotated);
}

static void code_task(void *context, size_t task, size_t worker) {
    const code_job *job = context;
    fv_index *index = job->index;
    float *scratch = job->scratch + worker * 2 * index->rotated;
    size_t place = job->first / FV_BLOCK_CODES + task;
    uint8_t *block = index->arrays.blocks + place * fv_index_block_bytes(index);
    if (place * FV_BLOCK_CODES >= job->first)
        memset(block, 0, fv_index_block_bytes(index));
    else if (job->edge)
        block = job->edge;
    for (size_t row = place * FV_BLOCK_CODES; row < (place + 1) * FV_BLOCK_CODES; row++)
        if (row >= job->first && row < job->end) code_row(index, row, block, scratch, scratch + index->rotated);
}

fv_status fv_index_code(fv_index *index, size_t first, size_t end, uint8_t *edge, const fv_parallel *parallel,
                        fv_message *message) {
    size_t workers = parallel && parallel->workers > 1 ? parallel->workers : 1;
    code_job job = {index, first, end, edge, fv_array_new(workers * 2, index->rotated * sizeof(float))};
    if (!job.scratch) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to code vectors");
    if (end > first) fv_parallel_run(parallel, fv_index_blocks(end) - first / FV_BLOCK_CODES, code_task, &job);
    free(job.scratch);
    return FV_OK;
}

/* ---- room ---- */

bool fv_index_arrays_copy(const fv_index *index, size_t capacity, fv_index_arrays *arrays) {
    if (!fv_index_arrays_make(index, capacity, arrays)) return false;
    if (!index->rows) return true;
    memcpy(arrays->vectors, index->arrays.vectors, index->rows * index->row_bytes);
    memcpy(arrays->blocks, index->arrays.blocks, fv_index_blocks(index->rows) * fv_index_block_bytes(index));
    if (index->fine_bytes) memcpy(arrays->fine, index->arrays.fine, index->rows * index->fine_bytes);
    memcpy(arrays->labels, index->arrays.labels, index->rows * sizeof(uint64_t));
    return true;
}

void fv_index_assign(fv_index *index, const fv_index *made) {
    index->rows = made->rows;
    index->capacity = made->capacity;
    index->dead = made->dead;
    index->row_bytes = made->row_bytes;
    index->degree = made->degree;
    index->is_lean = made->is_lean;
    index->is_packed = made->is_packed;
    index->entry = made->entry;
    index->calibration = made->calibration;
    index->reach = made->reach;
    index->arrays = made->arrays;
    index->is_mapped = made->is_mapped;
    index->bytes = made->bytes;
    index->map = made->map;
    index->by_label = made->by_label;
}

fv_status fv_index_replace(fv_index *index, fv_index *made, fv_message *message) {
    fv_label_map by_label = {0};
    if (!fv_label_map_reserve(&by_label, made->arrays.labels, made->capacity)) {
        fv_index_arrays_free(&made->arrays);
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the labels of %zu vectors", made->capacity);
    }
    for (size_t row = 0; row < made->rows; row++)
        if (!fv_index_is_dead(made, row)) fv_label_map_put(&by_label, made->arrays.labels, (uint32_t)row);
    fv_turn_publish_begin(index->lock);
    fv_index_free_arrays(index);
    fv_label_map_free(&index->by_label);
    made->by_label = by_label;
    made->is_mapped = false;
    made->map = (fv_file_map){0};
    made->bytes = NULL;
    fv_index_assign(index, made);
    fv_turn_publish_end(index->lock);
    return FV_OK;
}

fv_status fv_index_own(fv_index *index, size_t rows, fv_message *message) {
    size_t capacity = index->capacity;
    if (rows >= FV_INDEX_ROWS)
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%zu vectors are more than an index holds", rows);
    if (rows > capacity) capacity = rows > capacity + capacity / 2 ? rows : capacity + capacity / 2;
    if (!index->is_mapped && capacity == index->capacity) return FV_OK;
    fv_status status = fv_index_check_file(index, message); /* nothing is built on what is damaged */
    if (status != FV_OK) return status;
    fv_index made = *index;
    made.capacity = capacity;
    if (!fv_index_arrays_copy(index, capacity, &made.arrays))
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu vectors of dimension %" PRIu32, capacity,
                              index->config.dimension);
    return fv_index_replace(index, &made, message);
}
