/* index_state.c - an index in memory: made, asked, closed. */
#include "index/index_state.h"
#include "index/kac_rotation.h"
#include "platform/array.h"
#include "platform/environment.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void fv_index_config_default(uint32_t dimension, uint32_t metric, fv_index_config *config) {
    *config = (fv_index_config){.dimension = dimension, .metric = metric, .isa_limit = FV_ISA_BEST};
}

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

fv_status fv_index_inspect(size_t rows, size_t dimension, const float *vectors, const char *what, fv_message *message) {
    for (size_t row = 0; row < rows; row++, vectors += dimension)
        for (size_t i = 0; i < dimension; i++) {
            if (vectors[i] >= -FV_INDEX_LARGEST && vectors[i] <= FV_INDEX_LARGEST) continue;
            bool finite = isfinite(vectors[i]);
            return fv_message_set(message, finite ? FV_ERROR_RANGE : FV_ERROR_NOT_FINITE,
                                  "%s %zu, element %zu is %g: %s", what, row, i, (double)vectors[i],
                                  finite ? "at most 1e15 in magnitude is allowed" : "only finite numbers are allowed");
        }
    return FV_OK;
}

/* ---- opening and closing ---- */

static fv_status check_config(const fv_index_config *config, fv_message *message) {
    bool reserved = false;
    for (size_t i = 0; i < sizeof config->reserved / sizeof config->reserved[0]; i++)
        reserved |= config->reserved[i] != 0;
    if (config->dimension < 1 || config->dimension > FV_INDEX_DIMENSIONS)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the dimension is %" PRIu32 ": 1 to %d are allowed",
                              config->dimension, FV_INDEX_DIMENSIONS);
    if (config->metric > FV_INDEX_COSINE)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "metric %" PRIu32 " is none of l2, ip and cosine",
                              config->metric);
    if (reserved) return fv_message_set(message, FV_ERROR_ARGUMENT, "a reserved field of the configuration is not 0");
    return FV_OK;
}

/* The table for this machine, up to both limits. */
static fv_status pick_kernels(uint32_t limit, const fv_scan_kernels **kernels, fv_message *message) {
    uint64_t memory[FV_KERNELS_BYTES / 8];
    const fv_kernels *made = NULL;
    fv_isa asked = FV_ISA_BEST;
    fv_status status = fv_environment_isa(&asked, message);
    if (status != FV_OK) return status;
    if (limit != FV_ISA_BEST) asked = (fv_isa)limit;
    status = fv_kernels_init(&made, asked, memory, sizeof memory);
    if (status != FV_OK) return fv_message_set(message, status, "isa_limit %" PRIu32 " is no instruction set", limit);
    *kernels = fv_scan_kernels_of(fv_kernels_isa(made));
    return FV_OK;
}

fv_status fv_index_begin(fv_index **index, const fv_index_config *config, fv_message *message) {
    const fv_scan_kernels *kernels = NULL;
    fv_status status = check_config(config, message);
    if (status == FV_OK) status = pick_kernels(config->isa_limit, &kernels, message);
    if (status != FV_OK) return status;
    fv_index *made = fv_array_new(1, sizeof *made);
    float *centre = fv_array_new(config->dimension, sizeof *centre);
    fv_turn_lock *lock = fv_turn_lock_make();
    if (!made || !centre || !lock) {
        fv_turn_lock_free(lock);
        free(made);
        free(centre);
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for an index");
    }
    made->config = *config;
    made->kernels = kernels;
    made->rotated = fv_rotated_dim(config->dimension);
    made->row_bytes = config->dimension * sizeof(float);
    made->centre = centre;
    made->lock = lock;
    *index = made;
    return FV_OK;
}

fv_status fv_index_make(fv_index **index, const fv_index_config *config, fv_message *message) {
    if (!index || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    return fv_index_begin(index, config, message);
}

bool fv_index_arrays_make(const fv_index *index, size_t capacity, fv_index_arrays *arrays) {
    *arrays = (fv_index_arrays){fv_array_new_huge(capacity, index->row_bytes),
                                fv_array_new_huge(fv_index_blocks(capacity), fv_index_block_bytes(index)),
                                fv_array_new(capacity, sizeof(uint64_t))};
    if (arrays->vectors && arrays->blocks && arrays->labels) return true;
    fv_index_arrays_free(arrays);
    return false;
}

void fv_index_arrays_free(fv_index_arrays *arrays) {
    free(arrays->vectors);
    free(arrays->blocks);
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

void fv_index_info_get(const fv_index *index, fv_index_info *info) {
    fv_turn_read_begin(index->lock);
    size_t row = index->row_bytes + sizeof(uint64_t);
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
        .version = FV_INDEX_VERSION,
        .degree = index->degree,
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

static uint32_t find_row(const fv_index *index, uint64_t label) {
    if (!index->is_mapped) return fv_label_map_find(&index->by_label, index->arrays.labels, label);
    for (size_t row = 0; row < index->rows && label != FV_INDEX_NO_LABEL; row++)
        if (index->arrays.labels[row] == label) return (uint32_t)row;
    return FV_NO_ROW;
}

fv_status fv_index_vector(const fv_index *index, uint64_t label, float *vector, fv_message *message) {
    if (!index || !vector) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_read_begin(index->lock);
    uint32_t row = find_row(index, label);
    if (row != FV_NO_ROW) memcpy(vector, fv_index_row(index, row), index->config.dimension * sizeof *vector);
    fv_turn_read_end(index->lock);
    if (row == FV_NO_ROW) return fv_message_set(message, FV_ERROR_ARGUMENT, "no vector has the label %" PRIu64, label);
    return FV_OK;
}
