/* index_graph.h - a graph of neighbours whose rows hold all that a visit needs (SymphonyQG, Gou et al., SIGMOD 2025):
 * the vector, codes of its neighbours about it, and their numbers. A walk keeps the best estimates in a beam, visits
 * the nearest that was not visited, learns its distance exactly, and what its neighbours' are by their codes, 32 at a
 * time: a row may be met with several estimates, and results are ranked by exact distances alone.
 *
 * All metrics walk by L2: lengths are 1 for cosine, and for inner products one more channel, 0 in queries, makes all
 * vectors as long as the longest, so that the nearest are those of the largest product.
 *
 * A row: f32 [dimension], f32 of that channel, zeros to a multiple of 64; for each 32 neighbours codes and f32 [2][32],
 * add and scale; u32 [degree] rows; zeros to a multiple of 64. Each has `degree` neighbours; where there are fewer
 * other rows, some several times. */
#ifndef FV_INDEX_GRAPH_H
#define FV_INDEX_GRAPH_H

#include "index/index_search.h"

/* Bytes of a row; degree 0: the vector alone. */
size_t fv_graph_row_bytes(const fv_index *index, uint32_t degree);

static inline size_t fv_graph_head_bytes(const fv_index *index) {
    return (((size_t)index->config.dimension + 1) * sizeof(float) + 63) / 64 * 64;
}

static inline size_t fv_graph_block_bytes(const fv_index *index) {
    return fv_block_code_bytes(index->rotated) + 2 * FV_BLOCK_CODES * sizeof(float);
}

/* The channel that makes lengths equal. */
static inline float *fv_graph_rest(const fv_index *index, size_t row) {
    return (float *)(uintptr_t)fv_index_row(index, row) + index->config.dimension;
}

static inline uint8_t *fv_graph_blocks(const fv_index *index, size_t row) {
    return (uint8_t *)(uintptr_t)fv_index_row(index, row) + fv_graph_head_bytes(index);
}

static inline uint32_t *fv_graph_ids(const fv_index *index, size_t row) {
    return (uint32_t *)(void *)(fv_graph_blocks(index, row) +
                                index->degree / FV_BLOCK_CODES * fv_graph_block_bytes(index));
}

typedef struct fv_beam_entry {
    float near;
    uint32_t row;
    uint32_t is_open; /* not visited by this entry */
} fv_beam_entry;

typedef struct fv_visit {
    float distance; /* by L2, with the last channel */
    uint32_t row;
    uint32_t tie; /* while a graph is made: which of equally near ones comes first, by chance */
} fv_visit;

/* Scratch of one walk after another; nothing is allocated on the way. */
typedef struct fv_beam {
    fv_beam_entry *entries; /* [most], nearest first */
    size_t count, most;
    fv_visit *visits; /* [most_visits], as they came */
    size_t visit_count, most_visits;
    uint32_t *seen; /* [slots] rows that were visited, by hash; a power of two, more than twice most_visits */
    size_t slots;
    uint32_t hidden; /* row that walks leave out, or FV_NO_ROW */
} fv_beam;

/* false: no memory. */
bool fv_beam_make(fv_beam *beam, size_t most);
void fv_beam_free(fv_beam *beam);

/* Walks from the entry on, and visits at least `least` rows if it meets them. `vector` and `query` (only zero and step
 * are looked at; the table is that of the rotation of vector - centre) are ready. */
void fv_graph_walk(const fv_index *index, const float *vector, const fv_scan_query *query, const uint8_t *table,
                   size_t least, fv_beam *beam);

/* The lists of the walks of all queries, as fv_index_flat() fills them. hidden: NULL, or [search->count] a row that
 * each walk leaves out. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_graph_search(const fv_index *index, const fv_index_search *search, const uint32_t *hidden,
                          fv_near_list *lists, fv_search_counts *counts, fv_message *message);

#endif
