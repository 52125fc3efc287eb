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
 * were not met yet, row by row. A packed one, as those with codes of vectors are but in the largest graphs, has its
 * neighbours as u16 [degree], the lower bits, and u8 [degree]. Rows of f32 and f16 gain little by it, and walks lose a
 * tenth of their speed, as rows no longer begin where cache lines do. */
#ifndef FV_INDEX_GRAPH_H
#define FV_INDEX_GRAPH_H

#include "index/graph_beam.h"
#include "index/index_search.h"
#include <string.h>

#define FV_GRAPH_DEGREE 256 /* at most */

/* Rows of a packed graph, fewer than, and of one that is made packed: it has room to grow. */
#define FV_PACKED_ROWS ((uint64_t)1 << 24)
#define FV_PACKED_BEGIN (FV_PACKED_ROWS / 2)

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

/* Searches walk exactly: what a query that is unlike the vectors wants lies far apart, and codes err by as much as it
 * differs from the rest. So neighbours whose codes say that they may stay in the beam are computed, and the beam has
 * distances. */
static inline bool fv_graph_is_exact(const fv_index *index) { return fv_graph_has_rest(index) && !index->is_lean; }

/* The channel that makes lengths equal. */
static inline float fv_graph_rest(const fv_index *index, size_t row) {
    return fv_graph_has_rest(index) ? fv_index_row(index, row)[fv_graph_rest_offset(index) / sizeof(float)] : 0;
}

static inline uint8_t *fv_graph_blocks(const fv_index *index, size_t row) {
    return (uint8_t *)(uintptr_t)fv_index_row(index, row) + fv_graph_head_bytes(index);
}

/* Rows of a graph, fewer than. */
static inline uint64_t fv_graph_most_rows(const fv_index *index) {
    return index->is_packed ? FV_PACKED_ROWS : FV_BEAM_ROWS;
}

static inline size_t fv_graph_ids_bytes(const fv_index *index, uint32_t degree) {
    return degree * (index->is_packed ? 3 : sizeof(uint32_t));
}

/* `tail` is a row from its blocks on: where the numbers of its neighbours are, as they are kept. */
static inline uint8_t *fv_graph_tail_end(const fv_index *index, uint8_t *tail) {
    return tail + index->degree / FV_BLOCK_CODES * fv_graph_block_bytes(index);
}

/* The numbers, of a graph that is not packed. */
static inline uint32_t *fv_graph_ids(const fv_index *index, size_t row) {
    return (uint32_t *)(void *)fv_graph_tail_end(index, fv_graph_blocks(index, row));
}

/* One, and all of them [degree], of any graph. */
static inline uint32_t fv_graph_tail_id(const fv_index *index, uint8_t *tail, size_t place) {
    const uint8_t *ids = fv_graph_tail_end(index, tail);
    if (!index->is_packed) return ((const uint32_t *)(const void *)ids)[place];
    return ((const uint16_t *)(const void *)ids)[place] | (uint32_t)ids[2 * index->degree + place] << 16;
}

static inline uint32_t fv_graph_id(const fv_index *index, size_t row, size_t place) {
    return fv_graph_tail_id(index, fv_graph_blocks(index, row), place);
}

static inline void fv_graph_tail_get(const fv_index *index, uint8_t *tail, uint32_t *ids) {
    const uint8_t *high = fv_graph_tail_end(index, tail) + 2 * index->degree;
    const uint16_t *low = (const uint16_t *)(const void *)fv_graph_tail_end(index, tail);
    if (!index->is_packed) memcpy(ids, low, index->degree * sizeof *ids);
    for (size_t i = 0; i < index->degree && index->is_packed; i++) ids[i] = low[i] | (uint32_t)high[i] << 16;
}

static inline void fv_graph_tail_put(const fv_index *index, uint8_t *tail, size_t place, uint32_t id) {
    uint8_t *ids = fv_graph_tail_end(index, tail);
    if (!index->is_packed) {
        ((uint32_t *)(void *)ids)[place] = id;
        return;
    }
    ((uint16_t *)(void *)ids)[place] = (uint16_t)id;
    ids[2 * index->degree + place] = (uint8_t)(id >> 16);
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
    bool is_exact; /* codes only say which neighbours are computed; the beam was made for it */
    size_t waiting_count;
    uint32_t waiting[FV_GRAPH_DEGREE]; /* of a lean graph, or an exact walk: neighbours that are being fetched */
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
