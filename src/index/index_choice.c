/* index_choice.c - picks the least work. */
#include "index/index_choice.h"
#include "index/index_graph.h"
#include "index/survivors.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A byte in a row against one that is jumped to, with those after it: 1,408-byte rows of a graph took 113 ns with
 * prefetch and 399 ns without, read in a row 50 ns. */
#define JUMP 4.0

static double code_bytes(const fv_index *index) { return (double)fv_index_block_bytes(index) / FV_BLOCK_CODES; }

double fv_scan_work(const fv_index *index, double codes, double rows) {
    return codes * code_bytes(index) + JUMP * rows * (double)index->kept_bytes;
}

/* Of the neighbours that a visit to a row of a lean graph has, so many are met for the first time. */
#define MET_SHARE 0.5

double fv_walk_work(const fv_index *index, double visits) {
    double met = index->is_lean ? MET_SHARE * (double)index->degree * (double)index->kept_bytes : 0;
    return JUMP * visits * ((double)index->row_bytes + met);
}

uint32_t fv_chosen_beam(const fv_index *index, double k, double recall) {
    double beam = ceil(fv_calibrated_beam(&index->calibration, k, recall));
    return beam > 0 && beam <= FV_INDEX_BEAM && beam < (double)index->rows ? (uint32_t)beam : 0;
}

#define LEAST_VISITS 32 /* of a walk that finds 10, however easy the vectors are */

static double typical_scan(const fv_index *index) {
    return fv_scan_work(index, (double)index->rows, fv_calibrated_rows(&index->calibration, 10, index->rows));
}

bool fv_walks_are_less(const fv_index *index) {
    double beam = (double)fv_chosen_beam(index, 10, 0.95);
    return beam > 0 && fv_walk_work(index, beam * (double)index->calibration.visits) < typical_scan(index);
}

bool fv_walks_may_be_less(const fv_index *index, uint32_t degree) {
    return JUMP * LEAST_VISITS * (double)fv_graph_row_bytes(index, degree) < typical_scan(index);
}

/* ---- the choice ---- */

typedef enum way {
    BY_SCAN, /* of all codes */
    BY_WALK,
    BY_LIST, /* every survivor is computed */
    BY_PACK  /* their codes are scanned */
} way;

/* Works of all queries of a search. What is found among `share` of the rows has k / share among all: so wide are beams,
 * and so many rows bounds let pass, of which the filter takes its share. */
static void count_works(const fv_index *index, const fv_index_search *search, const fv_survivors *survivors,
                        double beam, double *works) {
    double queries = (double)search->count, rows = (double)index->rows, passed = survivors->share * rows;
    double k = survivors->share > 0 ? search->k / survivors->share : rows;
    double computed = survivors->share * fv_calibrated_rows(&index->calibration, k < rows ? k : rows, index->rows);
    double listing = survivors->is_listed ? 0 : rows * sizeof(uint64_t);
    double gathering = JUMP * passed * (double)fv_index_block_bytes(index), all = rows * code_bytes(index);
    works[BY_SCAN] = queries * fv_scan_work(index, rows, computed);
    works[BY_WALK] = beam > 0 ? queries * fv_walk_work(index, beam * (double)index->calibration.visits) : INFINITY;
    works[BY_LIST] = listing + queries * fv_scan_work(index, 0, passed);
    works[BY_PACK] = listing + (gathering < all ? gathering : all) + queries * fv_scan_work(index, passed, computed);
}

/* *beam: of walks. */
static way choose(const fv_index *index, const fv_index_search *search, const fv_survivors *survivors, bool may_walk,
                  uint32_t *beam) {
    double works[BY_PACK + 1], k = (double)search->k;
    bool filtered = search->filter || search->filter_bits;
    if (filtered) /* so many rows around a query have k survivors among them, nearly always */
        k = survivors->share > 0 ? (k + sqrt(k)) / survivors->share : INFINITY;
    *beam = may_walk && index->degree && k < INFINITY ? fv_chosen_beam(index, k, (double)search->recall) : 0;
    count_works(index, search, survivors, *beam, works);
    way best = works[BY_WALK] <= works[BY_SCAN] ? BY_WALK : BY_SCAN;
    if (filtered && works[BY_LIST] < works[best]) best = BY_LIST;
    if (filtered && works[BY_PACK] < works[best]) best = BY_PACK;
    return best;
}

/* ---- the answer ---- */

static fv_status answer(const fv_index *index, const fv_index_search *search, fv_survivors *survivors, bool may_walk,
                        fv_near_list *lists, fv_search_counts *counts, fv_message *message);

/* Queries for which a walk met too few survivors, because those around them are fewer than elsewhere. */
static fv_status answer_poor(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                             size_t *poor, size_t count, fv_near_list *lists, fv_search_counts *counts,
                             fv_message *message) {
    size_t dimension = index->config.dimension;
    float *queries = fv_array_new(count, dimension * sizeof *queries);
    fv_near_list *some = fv_array_new(count, sizeof *some);
    fv_index_search again = *search;
    fv_status status = FV_OK;
    if (!queries || !some) status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for a search");
    for (size_t i = 0; status == FV_OK && i < count; i++) {
        memcpy(queries + i * dimension, search->queries + poor[i] * dimension, dimension * sizeof *queries);
        some[i] = lists[poor[i]];
        some[i].count = 0;
    }
    again.queries = queries;
    again.count = count;
    if (status == FV_OK) status = answer(index, &again, survivors, false, some, counts, message);
    for (size_t i = 0; status == FV_OK && i < count; i++) lists[poor[i]] = some[i];
    free(queries);
    free(some);
    return status;
}

static fv_status walk(const fv_index *index, const fv_index_search *search, fv_survivors *survivors, uint32_t beam,
                      fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    fv_index_search chosen = *search;
    chosen.beam = beam;
    fv_status status = fv_graph_search(index, &chosen, NULL, lists, counts, message);
    size_t count = 0, *poor = status == FV_OK ? fv_array_new(search->count, sizeof *poor) : NULL;
    if (status == FV_OK && !poor) status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for a search");
    for (size_t i = 0; status == FV_OK && i < search->count; i++)
        if (lists[i].count < lists[i].most) poor[count++] = i;
    if (count) {
        counts->walks -= count;
        status = answer_poor(index, search, survivors, poor, count, lists, counts, message);
    }
    free(poor);
    return status;
}

static fv_status scan_packed(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                             fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    bool was_packed = survivors->blocks;
    fv_status status = fv_survivors_pack(index, survivors, message);
    if (status != FV_OK) return status;
    fv_flat_subset subset = {survivors->rows, survivors->count, survivors->blocks};
    if (!was_packed) counts->bytes += survivors->count * fv_index_block_bytes(index);
    counts->lists += search->count;
    return fv_index_flat(index, search, &subset, lists, counts, message);
}

static fv_status answer(const fv_index *index, const fv_index_search *search, fv_survivors *survivors, bool may_walk,
                        fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    uint32_t beam;
    way best = choose(index, search, survivors, may_walk, &beam);
    if (best == BY_WALK) return walk(index, search, survivors, beam, lists, counts, message);
    if (best == BY_SCAN) return fv_index_flat(index, search, NULL, lists, counts, message);
    fv_status status = fv_survivors_list(index, search, survivors, message);
    if (status != FV_OK) return status;
    return best == BY_LIST ? fv_survivors_search(index, search, survivors, lists, counts, message)
                           : scan_packed(index, search, survivors, lists, counts, message);
}

/* A scan may lose as many of the nearest as are not wanted: bounds need to hold within so many deviations of a normal
 * distribution, one way. Between two a straight line, which is above. */
static float confidence_for(double recall) {
    static const double recalls[] = {0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998};
    static const double deviations[] = {0.5, 0.842, 1.282, 1.645, 2.054, 2.327, 2.576, 2.879};
    size_t last = sizeof recalls / sizeof recalls[0] - 1, at = 1;
    if (recall > recalls[last]) return FV_INDEX_CONFIDENCE;
    if (recall <= recalls[0]) return (float)deviations[0];
    while (recalls[at] < recall) at++;
    double part = (recall - recalls[at - 1]) / (recalls[at] - recalls[at - 1]);
    return (float)(deviations[at - 1] + part * (deviations[at] - deviations[at - 1]));
}

fv_status fv_index_choose(const fv_index *index, const fv_index_search *search, fv_near_list *lists,
                          fv_search_counts *counts, fv_message *message) {
    fv_survivors survivors;
    fv_index_search chosen = *search;
    float confidence = confidence_for((double)search->recall);
    bool filtered = search->filter || search->filter_bits; /* what passes may all be far, at the edge of each bound */
    if (!filtered && confidence < search->confidence) chosen.confidence = confidence;
    search = &chosen;
    if (!search->count || !index->rows) return FV_OK;
    fv_status status = fv_survivors_find(index, search, &survivors, message);
    if (status == FV_OK) status = answer(index, search, &survivors, true, lists, counts, message);
    fv_survivors_free(&survivors);
    return status;
}
