/* index.c - an index changes: vectors are coded, added, taken out. */
#include "index/index_state.h"
#include "index/kac_rotation.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- coding ---- */

typedef struct code_job {
    fv_index *index;
    size_t first, end; /* rows */
    float *scratch;    /* [workers][2][rotated] */
} code_job;

/* r = o - c. L2: |o - q|^2 = |r|^2 + |q - c|^2 - 2 r . (q - c). Product: o . q = c . q + w r . c + r . (q - w c) for
 * any w. 2^-17 is taken off what bounds, for the rounding of exact distances. */
static void code_row(fv_index *index, size_t row, float *less, float *rotated) {
    size_t dimension = index->config.dimension;
    uint8_t *block = index->arrays.blocks + row / FV_BLOCK_CODES * fv_index_block_bytes(index);
    float *factors = (float *)(void *)(block + fv_block_code_bytes(index->rotated));
    const float *vector = fv_index_row(index, row);
    size_t lane = row % FV_BLOCK_CODES;
    for (size_t i = 0; i < dimension; i++) less[i] = vector[i] - index->centre[i];
    fv_kac_rotate(index->config.seed, dimension, less, rotated);
    fv_sign_code code = fv_sign_code_put(index->rotated, rotated, lane, block);
    bool l2 = index->config.metric == FV_INDEX_L2;
    factors[lane] = l2 ? code.square * (1 - 0x1p-17f) : (float)-fv_index_product(dimension, less, index->centre);
    factors[32 + lane] = l2 ? -2 * code.product : -code.product;
    factors[64 + lane] = l2 ? 2 * code.spread : code.spread;
}

static void code_task(void *context, size_t task, size_t worker) {
    const code_job *job = context;
    float *scratch = job->scratch + worker * 2 * job->index->rotated;
    size_t block = job->first / FV_BLOCK_CODES + task;
    for (size_t row = block * FV_BLOCK_CODES; row < (block + 1) * FV_BLOCK_CODES; row++)
        if (row >= job->first && row < job->end) code_row(job->index, row, scratch, scratch + job->index->rotated);
}

fv_status fv_index_code(fv_index *index, size_t first, size_t end, const fv_parallel *parallel, fv_message *message) {
    size_t workers = parallel && parallel->workers > 1 ? parallel->workers : 1;
    code_job job = {index, first, end, fv_array_new(workers * 2, index->rotated * sizeof(float))};
    if (!job.scratch) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to code vectors");
    if (end > first) fv_parallel_run(parallel, fv_index_blocks(end) - first / FV_BLOCK_CODES, code_task, &job);
    free(job.scratch);
    return FV_OK;
}

/* ---- room ---- */

static bool grow(const fv_index *index, size_t rows, fv_index_arrays *arrays) {
    size_t dimension = index->config.dimension, block_bytes = fv_index_block_bytes(index);
    *arrays = (fv_index_arrays){fv_array_new(rows, dimension * sizeof(float)),
                                fv_array_new(fv_index_blocks(rows), block_bytes), fv_array_new(rows, sizeof(uint64_t))};
    if (arrays->vectors && arrays->blocks && arrays->labels) {
        if (!index->rows) return true;
        for (size_t row = 0; row < index->rows; row++)
            memcpy(arrays->vectors + row * dimension, fv_index_row(index, row), dimension * sizeof(float));
        memcpy(arrays->blocks, index->arrays.blocks, fv_index_blocks(index->rows) * block_bytes);
        memcpy(arrays->labels, index->arrays.labels, index->rows * sizeof(uint64_t));
        return true;
    }
    free(arrays->vectors);
    free(arrays->blocks);
    free(arrays->labels);
    return false;
}

fv_status fv_index_own(fv_index *index, size_t rows, fv_message *message) {
    fv_index_arrays arrays;
    size_t capacity = index->capacity;
    if (rows >= FV_INDEX_ROWS)
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%zu vectors are more than an index holds", rows);
    if (rows > capacity) capacity = rows > capacity + capacity / 2 ? rows : capacity + capacity / 2;
    fv_status status = fv_index_check(index, message); /* of a file: nothing is built on what is damaged */
    if (status != FV_OK) return status;
    bool good = fv_label_map_reserve(&index->by_label, index->arrays.labels, capacity);
    if (good && !index->is_mapped && !index->degree && capacity == index->capacity) return FV_OK;
    if (!good || !grow(index, capacity, &arrays))
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu vectors of dimension %" PRIu32, capacity,
                              index->config.dimension);
    bool was_mapped = index->is_mapped;
    fv_index_free_arrays(index);
    index->arrays = arrays;
    index->capacity = capacity;
    index->is_mapped = false;
    index->degree = index->entry = 0;
    index->calibration = (fv_calibration){0};
    index->row_bytes = index->config.dimension * sizeof(float);
    for (size_t row = 0; was_mapped && row < index->rows; row++)
        fv_label_map_put(&index->by_label, arrays.labels, (uint32_t)row);
    return FV_OK;
}

/* ---- adding ---- */

/* Takes up labels of new rows; on a fault none of them. */
static fv_status put_labels(fv_index *index, size_t rows, const uint64_t *labels, fv_message *message) {
    uint64_t *all = index->arrays.labels;
    for (size_t i = 0; i < rows; i++) {
        uint64_t label = labels ? labels[i] : index->rows + i;
        bool is_there = fv_label_map_find(&index->by_label, all, label) != FV_NO_ROW;
        if (!is_there && label != FV_INDEX_NO_LABEL) {
            all[index->rows + i] = label;
            fv_label_map_put(&index->by_label, all, (uint32_t)(index->rows + i));
            continue;
        }
        while (i-- > 0) fv_label_map_drop(&index->by_label, all, (uint32_t)(index->rows + i));
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              is_there ? "label %" PRIu64 " is there already; remove it first"
                                       : "label %" PRIu64 " stands for no vector; use another",
                              label);
    }
    return FV_OK;
}

static void put_vectors(fv_index *index, size_t rows, const float *vectors) {
    size_t dimension = index->config.dimension;
    float *place = index->arrays.vectors + index->rows * dimension;
    if (index->config.metric != FV_INDEX_COSINE) {
        memcpy(place, vectors, rows * dimension * sizeof *place);
        return;
    }
    for (size_t i = 0; i < rows * dimension; i += dimension) fv_index_normalise(dimension, vectors + i, place + i);
}

/* The mean of what is there. */
static bool put_centre(fv_index *index, size_t rows) {
    size_t dimension = index->config.dimension;
    double *sum = fv_array_new(dimension, sizeof *sum);
    if (!sum) return false;
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < dimension; i++) sum[i] += (double)fv_index_row(index, row)[i];
    for (size_t i = 0; i < dimension; i++) index->centre[i] = (float)(sum[i] / (double)rows);
    free(sum);
    return true;
}

static fv_status check_rows(const fv_index *index, size_t rows, uint32_t dimension, const float *vectors,
                            fv_message *message) {
    if (!index || (!vectors && rows)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (dimension != index->config.dimension)
        return fv_message_set(message, FV_ERROR_SHAPE, "the vectors have dimension %" PRIu32 ", the index has %" PRIu32,
                              dimension, index->config.dimension);
    if (rows >= FV_INDEX_ROWS - index->rows)
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%zu more vectors are more than an index holds", rows);
    return fv_index_inspect(rows, dimension, vectors, "vector", message);
}

fv_status fv_index_add(fv_index *index, size_t rows, uint32_t dimension, const float *vectors, const uint64_t *labels,
                       const fv_parallel *parallel, fv_message *message) {
    fv_status status = check_rows(index, rows, dimension, vectors, message);
    if (status != FV_OK || !rows) return status;
    size_t before = index->rows, end = before + rows;
    status = fv_index_own(index, end, message);
    if (status == FV_OK) status = put_labels(index, rows, labels, message);
    if (status != FV_OK) return status;
    put_vectors(index, rows, vectors);
    if (!index->is_centred && !put_centre(index, end))
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for the centre of the vectors");
    if (status == FV_OK) status = fv_index_code(index, before, end, parallel, message);
    if (status != FV_OK) {
        for (size_t row = before; row < end; row++)
            fv_label_map_drop(&index->by_label, index->arrays.labels, (uint32_t)row);
        return status;
    }
    index->is_centred = true;
    index->rows = end;
    return FV_OK;
}

/* ---- removing ---- */

/* The last row takes the place of this one. */
static void remove_row(fv_index *index, uint32_t row, float *scratch) {
    size_t dimension = index->config.dimension, last = index->rows - 1;
    fv_label_map_drop(&index->by_label, index->arrays.labels, row);
    index->rows = last;
    if (row == last) return;
    fv_label_map_drop(&index->by_label, index->arrays.labels, (uint32_t)last);
    memcpy(index->arrays.vectors + row * dimension, fv_index_row(index, last), dimension * sizeof(float));
    index->arrays.labels[row] = index->arrays.labels[last];
    fv_label_map_put(&index->by_label, index->arrays.labels, row);
    code_row(index, row, scratch, scratch + index->rotated);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Each is there, and once. */
static fv_status check_labels(const fv_index *index, size_t count, uint64_t *sorted, fv_message *message) {
    qsort(sorted, count, sizeof *sorted, by_value);
    for (size_t i = 0; i < count; i++) {
        if (fv_label_map_find(&index->by_label, index->arrays.labels, sorted[i]) == FV_NO_ROW)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "no vector has the label %" PRIu64, sorted[i]);
        if (i > 0 && sorted[i] == sorted[i - 1])
            return fv_message_set(message, FV_ERROR_ARGUMENT, "the label %" PRIu64 " is to be removed twice",
                                  sorted[i]);
    }
    return FV_OK;
}

fv_status fv_index_remove(fv_index *index, size_t count, const uint64_t *labels, fv_message *message) {
    if (!index || (!labels && count)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (!count) return FV_OK;
    fv_status status = fv_index_own(index, index->rows, message);
    if (status != FV_OK) return status;
    uint64_t *sorted = fv_array_new(count, sizeof *sorted);
    float *scratch = fv_array_new(2 * index->rotated, sizeof *scratch);
    if (!sorted || !scratch)
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory to remove %zu vectors", count);
    else {
        memcpy(sorted, labels, count * sizeof *sorted);
        status = check_labels(index, count, sorted, message);
        for (size_t i = 0; status == FV_OK && i < count; i++)
            remove_row(index, fv_label_map_find(&index->by_label, index->arrays.labels, sorted[i]), scratch);
    }
    free(sorted);
    free(scratch);
    return status;
}
