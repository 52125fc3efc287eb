/* graph_reach.c - graphs of inner products give all vectors one length (index_graph.h); a vector that is longer makes
 * all of them longer, in a copy. */
#include "index/graph_reach.h"
#include "platform/array.h"
#include <math.h>

/* The square of the length goes so far beyond what needs it: few vectors stretch a graph. */
#define ROOM 1.05

static double square_of(const fv_index *index, const float *vector) {
    return fv_index_product(index->config.dimension, vector, vector);
}

void fv_graph_put_rest(fv_index *index, size_t row) {
    if (!fv_graph_has_rest(index)) return;
    double rest = index->reach - fv_kept_square(index, row);
    float *place = (float *)(uintptr_t)fv_index_row(index, row) + fv_graph_rest_offset(index) / sizeof(float);
    *place = rest > 0 ? (float)sqrt(rest) : 0;
}

/* Sums of squares with the channel that makes lengths equal, of whatever file. */
static double reach_of(const fv_index *index) {
    double most = 0;
    for (size_t row = 0; row < index->rows; row++) {
        double rest = (double)fv_graph_rest(index, row);
        most = fmax(most, fv_kept_square(index, row) + rest * rest);
    }
    return most;
}

/* What codes say of neighbours has the squares of their rests in it. */
static void stretch(const fv_index *index, fv_index *made) {
    for (size_t row = 0; row < made->rows; row++) fv_graph_put_rest(made, row);
    for (size_t row = 0; row < made->rows && !made->is_lean; row++)
        for (size_t i = 0; i < made->degree; i++) {
            uint32_t other = fv_graph_ids(made, row)[i];
            uint8_t *block = fv_graph_blocks(made, row) + i / FV_BLOCK_CODES * fv_graph_block_bytes(made);
            float *add = (float *)(void *)(block + fv_block_code_bytes(made->rotated)) + i % FV_BLOCK_CODES;
            double was = (double)fv_graph_rest(index, other), is = (double)fv_graph_rest(made, other);
            *add = (float)((double)*add + is * is - was * was);
        }
}

fv_status fv_graph_stretch(fv_index *index, size_t rows, const float *vectors, fv_message *message) {
    double most = 0;
    if (!fv_graph_has_rest(index) || !index->degree) return FV_OK;
    if (!(index->reach > 0)) index->reach = reach_of(index);
    for (size_t i = 0; i < rows; i++) most = fmax(most, square_of(index, vectors + i * index->config.dimension));
    if (most <= index->reach * (1 + 0x1p-16)) return FV_OK;
    fv_index made = *index;
    made.reach = most * ROOM;
    if (!fv_index_arrays_copy(index, index->capacity, &made.arrays))
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a graph of longer vectors");
    stretch(index, &made);
    return fv_index_replace(index, &made, message);
}
