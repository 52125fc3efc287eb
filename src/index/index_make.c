/* index_make.c - an empty index by its configuration; and a vector out of one. */
#include "index/kac_rotation.h"
#include "index/kept_row.h"
#include "platform/array.h"
#include "platform/environment.h"
#include <inttypes.h>
#include <stdlib.h>

void fv_index_config_default(uint32_t dimension, uint32_t metric, fv_index_config *config) {
    *config = (fv_index_config){.dimension = dimension, .metric = metric, .isa_limit = FV_ISA_BEST};
}

/* ---- made ---- */

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
    if (!fv_row_type_is(config->row_type))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "row type %" PRIu32 " is none of f32, f16, bf16 and 2 to 8 bits", config->row_type);
    if (!fv_refine_bits_are(config))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "refine_bits is %" PRIu32 ", row type %" PRIu32
                              ": 2 to 8 are allowed, and 0 where rows are codes",
                              config->refine_bits, config->row_type);
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
    made->kept_bytes = made->row_bytes = fv_kept_bytes(made);
    made->fine_bytes = fv_fine_bytes(made);
    made->centre = centre;
    made->lock = lock;
    *index = made;
    return FV_OK;
}

fv_status fv_index_make(fv_index **index, const fv_index_config *config, fv_message *message) {
    if (!index || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    return fv_index_begin(index, config, message);
}

/* ---- asked ---- */

static uint32_t find_row(const fv_index *index, uint64_t label) {
    if (!index->is_mapped) return fv_label_map_find(&index->by_label, index->arrays.labels, label);
    for (size_t row = 0; row < index->rows && label != FV_INDEX_NO_LABEL; row++)
        if (index->arrays.labels[row] == label) return (uint32_t)row;
    return FV_NO_ROW;
}

fv_status fv_index_vector(const fv_index *index, uint64_t label, float *vector, fv_message *message) {
    if (!index || !vector) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    float *scratch = fv_array_new(2 * index->rotated, sizeof *scratch);
    if (!scratch) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a vector");
    fv_turn_read_begin(index->lock);
    uint32_t row = find_row(index, label);
    if (row != FV_NO_ROW) fv_kept_get(index, row, vector, scratch);
    fv_turn_read_end(index->lock);
    free(scratch);
    if (row == FV_NO_ROW) return fv_message_set(message, FV_ERROR_ARGUMENT, "no vector has the label %" PRIu64, label);
    return FV_OK;
}
