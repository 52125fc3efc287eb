/* index_choice.c - picks the least work. */
#include "index/index_choice.h"
#include "index/index_graph.h"
#include <math.h>

/* A byte in a row against one that is jumped to, with those after it: 1,408-byte rows of a graph took 113 ns with
 * prefetch and 399 ns without, read in a row 50 ns. */
#define JUMP 4.0

double fv_scan_work(const fv_index *index, double codes, double rows) {
    double code_bytes = (double)fv_index_block_bytes(index) / FV_BLOCK_CODES;
    return codes * code_bytes + JUMP * rows * (double)(index->config.dimension * sizeof(float));
}

double fv_walk_work(const fv_index *index, double visits) { return JUMP * visits * (double)index->row_bytes; }

uint32_t fv_chosen_beam(const fv_index *index, double k, double recall) {
    double beam = ceil(fv_calibrated_beam(&index->calibration, k, recall));
    return beam > 0 && beam <= FV_INDEX_BEAM && beam < (double)index->rows ? (uint32_t)beam : 0;
}

fv_status fv_index_choose(const fv_index *index, const fv_index_search *search, fv_near_list *lists,
                          fv_search_counts *counts, fv_message *message) {
    fv_index_search chosen = *search;
    bool filtered = search->filter || search->filter_bits;
    chosen.beam = index->degree && !filtered ? fv_chosen_beam(index, search->k, (double)search->recall) : 0;
    double rows = fv_calibrated_rows(&index->calibration, search->k, index->rows);
    double walk = fv_walk_work(index, (double)chosen.beam * (double)index->calibration.visits);
    if (chosen.beam && walk <= fv_scan_work(index, (double)index->rows, rows))
        return fv_graph_search(index, &chosen, NULL, lists, counts, message);
    return fv_index_flat(index, &chosen, lists, counts, message);
}
