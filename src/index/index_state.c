/* index_state.c - an index in memory: its arrays, what it says of itself, its end. */
#include "index/index_state.h"
#include "platform/array.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- arithmetic of one vector ---- */

double fv_index_product(size_t n, const float *x, const float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

void fv_index_normalise(size_t n, const float *x, float *out) {
    double square = fv_index_product(n, x, x), factor = square > 0 ? 1 / sqrt(square) : 0;
    for (size_t i = 0; i < n; i++) out[i] = (float)((double)x[i] * factor);
}

fv_status fv_index_inspect(size_t rows, size_t dimension, const float *vectors, float most, const char *what,
                           fv_message *message) {
    for (size_t row = 0; row < rows; row++, vectors += dimension)
        for (size_t i = 0; i < dimension; i++) {
            if (vectors[i] >= -most && vectors[i] <= most) continue;
            if (isfinite(vectors[i]))
                return fv_message_set(message, FV_ERROR_RANGE,
                                      "%s %zu, element %zu is %g: at most %g in magnitude is allowed", what, row, i,
                                      (double)vectors[i], (double)most);
            return fv_message_set(message, FV_ERROR_NOT_FINITE,
                                  "%s %zu, element %zu is %g: only finite numbers are allowed", what, row, i,
                                  (double)vectors[i]);
        }
    return FV_OK;
}

/* ---- arrays ---- */

bool fv_index_arrays_make(const fv_index *index, size_t capacity, fv_index_arrays *arrays) {
    *arrays = (fv_index_arrays){fv_array_new_huge(capacity, index->row_bytes),
                                fv_array_new_huge(fv_index_blocks(capacity), fv_index_block_bytes(index)),
                                index->fine_bytes ? fv_array_new_huge(capacity, index->fine_bytes) : NULL,
                                fv_array_new(capacity, sizeof(uint64_t))};
    if (arrays->vectors && arrays->blocks && arrays->labels && (arrays->fine || !index->fine_bytes)) return true;
    fv_index_arrays_free(arrays);
    return false;
}

void fv_index_arrays_free(fv_index_arrays *arrays) {
    free(arrays->vectors);
    free(arrays->blocks);
    free(arrays->fine);
    free(arrays->labels);
    *arrays = (fv_index_arrays){0};
}

void fv_index_free_arrays(fv_index *index) {
    if (!index->is_mapped) fv_index_arrays_free(&index->arrays);
    if (index->map.bytes) fv_file_map_close(&index->map);
    index->map = (fv_file_map){0};
    index->bytes = NULL;
}

void fv_index_close(fv_index *index) {
    if (!index) return;
    if (index->journal) fv_journal_close(index->journal);
    free(index->journal);
    fv_index_free_arrays(index);
    fv_label_map_free(&index->by_label);
    fv_turn_lock_free(index->lock);
    free(index->centre);
    free(index);
}

uint32_t fv_index_version(const fv_index *index) {
    if (index->is_packed) return FV_INDEX_VERSION;
    return index->config.row_type == FV_INDEX_F32 && !index->is_lean && !index->fine_bytes ? 1 : 2;
}

void fv_index_info_get(const fv_index *index, fv_index_info *info) {
    fv_turn_read_begin(index->lock);
    size_t row = index->row_bytes + index->fine_bytes + sizeof(uint64_t);
    size_t own =
        index->is_mapped ? 0 : index->capacity * row + fv_index_blocks(index->capacity) * fv_index_block_bytes(index);
    *info = (fv_index_info){
        .rows = fv_index_live(index),
        .memory_bytes =
            sizeof *index + index->config.dimension * sizeof(float) + own + index->by_label.slots * sizeof(uint32_t),
        .file_bytes = index->is_mapped ? index->map.count : 0,
        .seed = index->config.seed,
        .dimension = index->config.dimension,
        .metric = index->config.metric,
        .isa = (uint32_t)index->kernels->isa,
        .version = fv_index_version(index),
        .degree = index->degree,
        .row_type = (uint16_t)index->config.row_type,
        .is_lean = index->is_lean,
    };
    fv_turn_read_end(index->lock);
}

void fv_index_changes_get(const fv_index *index, fv_index_changes *changes) {
    fv_turn_read_begin(index->lock);
    const fv_waiting *waiting = index->journal ? &index->journal->waiting : &index->waiting;
    *changes = (fv_index_changes){.removed = index->dead,
                                  .waiting_calls = waiting->calls,
                                  .waiting_vectors = waiting->vectors,
                                  .journal_bytes = waiting->bytes,
                                  .file_bytes = waiting->file_bytes};
    fv_turn_read_end(index->lock);
}
