/* index_graph.h - a graph of neighbours whose rows hold all that a visit needs (SymphonyQG, Gou et al., SIGMOD 2025):
 * the vector, codes of its neighbours about it, and their numbers. A walk keeps the best estimates in a beam, visits
 * the nearest that was not visited, learns its distance exactly, and what its neighbours' are by their codes, 32 at a
 * time: a row may be met with several estimates, and results are ranked by exact distances alone.
 *
 * All metrics walk by L2: lengths are 1 for cosine, and for inner products one more channel, 0 in queries, makes all
 * vectors as long as the longest, so that the nearest are those of the largest product.
 *
 * A row: the vector (kept_row.h), zeros to a multiple of 4; for inner products f32 of that channel; zeros to a multiple
 * of 64; for each 32 neighbours codes and f32 [2][32], add and scale; u32 [degree] rows; zeros to a multiple of 64. It
 * begins at a multiple of 64. Each has `degree` neighbours; where there are fewer other rows, some several times.
 *
 * A lean row has no codes, and no zeros but to a multiple of 4: a visit computes the distances of those neighbours that
 * were not met yet, row by row. */
#ifndef FV_INDEX_GRAPH_H
#define FV_INDEX_GRAPH_H

#include "index/graph_beam.h"
#include "index/index_search.h"

#define FV_GRAPH_DEGREE 256 /* at most */

/* Bytes of a row; degree 0: the vector alone. */
size_t fv_graph_row_bytes(const fv_index *index, uint32_t degree);

static inline bool fv_graph_has_rest(const fv_index *index) { return index->config.metric == FV_INDEX_IP; }

static inline size_t fv_graph_rest_offset(const fv_index *index) { return (index->kept_bytes + 3) / 4 * 4; }

static inline size_t fv_graph_head_bytes(const fv_index *index) {
    size_t bytes = fv_graph_rest_offset(index) + (size_t)fv_graph_has_rest(index) * sizeof(float);
    return index->is_lean ? bytes : (bytes + 63) / 64 * 64;
}

static inline size_t fv_graph_block_bytes(const fv_index *index) {
    return index->is_lean ? 0 : fv_block_code_bytes(index->rotated) + 2 * FV_BLOCK_CODES * sizeof(float);
}

/* The channel that makes lengths equal. */
static inline float fv_graph_rest(const fv_index *index, size_t row) {
    return fv_graph_has_rest(index) ? fv_index_row(index, row)[fv_graph_rest_offset(index) / sizeof(float)] : 0;
}

static inline uint8_t *fv_graph_blocks(const fv_index *index, size_t row) {
    return (uint8_t *)(uintptr_t)fv_index_row(index, row) + fv_graph_head_bytes(index);
}

/* `tail` is a row from its blocks on. */
static inline uint32_t *fv_graph_tail_ids(const fv_index *index, uint8_t *tail) {
    return (uint32_t *)(void *)(tail + index->degree / FV_BLOCK_CODES * fv_graph_block_bytes(index));
}

static inline uint32_t *fv_graph_ids(const fv_index *index, size_t row) {
    return fv_graph_tail_ids(index, fv_graph_blocks(index, row));
}

/* A walk. probe, query and table are the caller's: of the query only zero and step are looked at; the table is that of
 * the rotation of the vector less the centre. */
typedef struct fv_walk {
    fv_probe probe;
    const uint8_t *table;
    fv_scan_query query;
    fv_beam beam;  /* made for it; beam.visits are the result */
    uint32_t row;  /* to be visited next */
    bool is_going; /* there is one */
    size_t waiting_count;
    uint32_t waiting[FV_GRAPH_DEGREE]; /* of a lean graph: neighbours that are being fetched */
} fv_walk;

/* A beam for walks over that graph. False: no memory. */
bool fv_graph_beam_make(const fv_index *index, size_t most, fv_beam *beam);

/* Walks from the entry on, all in turns, so that rows of one are fetched while the others go on; each visits at least
 * `least` rows that are not dead if it meets them. Each finds what it would alone. */
void fv_graph_walk(const fv_index *index, fv_walk *walks, size_t count, size_t least);

/* The lists of the walks of all queries, as fv_index_flat() fills them. hidden: NULL, or [search->count] a row that
 * each walk leaves out. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_graph_search(const fv_index *index, const fv_index_search *search, const uint32_t *hidden,
                          fv_near_list *lists, fv_search_counts *counts, fv_message *message);

#endif
