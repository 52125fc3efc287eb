/* graph_edges.c - which neighbours a vector gets, and the codes of them about it. */
#include "index/graph_edges.h"
#include "numeric/splitmix.h"
#include <stdlib.h>
#include <string.h>

enum {
    MOST_CANDIDATES = 400, /* of a vector: what comes after is never kept in practice */
    SHORT = 16
};

static float pair_distance(const fv_index *index, size_t a, size_t b) {
    float rest = fv_graph_rest(index, a) - fv_graph_rest(index, b);
    return fv_kept_pair(index, a, b) + rest * rest;
}

static bool is_before(const fv_visit *a, const fv_visit *b) {
    if (a->distance != b->distance) return a->distance < b->distance;
    return a->tie != b->tie ? a->tie < b->tie : a->row < b->row;
}

/* Quicksort (Hoare 1961); what is short is left to insertion. qsort() gives the same order, for no two candidates are
 * equal, but what it calls makes a graph of 4,000 vectors of 128 channels 2.9 % more instructions, and glibc's asks for
 * memory. */
static void sort(fv_visit *visits, size_t count) {
    while (count > SHORT) {
        fv_visit bound = visits[count / 2];
        size_t i = 0, j = count - 1;
        for (;; i++, j--) {
            while (is_before(visits + i, &bound)) i++;
            while (is_before(&bound, visits + j)) j--;
            if (i >= j) break;
            fv_visit moved = visits[i];
            visits[i] = visits[j];
            visits[j] = moved;
        }
        size_t cut = i ? i : 1; /* [0, cut) <= [cut, count), and neither is all */
        if (cut < count - cut) {
            sort(visits, cut);
            visits += cut;
            count -= cut;
        } else {
            sort(visits + cut, count - cut);
            count = cut;
        }
    }
    for (size_t i = 1; i < count; i++) {
        fv_visit moved = visits[i];
        size_t place = i;
        for (; place > 0 && is_before(&moved, visits + place - 1); place--) visits[place] = visits[place - 1];
        visits[place] = moved;
    }
}

/* Of vectors that are all the same each has neighbours of its own, or most would be out of reach. */
fv_visit fv_graph_candidate(const fv_index *index, size_t self, uint32_t row) {
    return (fv_visit){pair_distance(index, self, row), row, (uint32_t)fv_splitmix(self, row)};
}

fv_visit fv_graph_visited(const fv_index *index, size_t self, const fv_visit *visit) {
    if (fv_graph_has_rest(index)) return fv_graph_candidate(index, self, visit->row); /* walks leave it out */
    return (fv_visit){visit->distance, visit->row, (uint32_t)fv_splitmix(self, visit->row)};
}

/* Sorts, each row once, the vector itself not, at most MOST_CANDIDATES; how many. */
size_t fv_graph_order(fv_visit *candidates, size_t count, uint32_t self) {
    size_t unique = 0;
    sort(candidates, count);
    for (size_t i = 0; i < count && unique < MOST_CANDIDATES; i++) {
        bool is_there = candidates[i].row == self;
        for (size_t j = unique; j-- > 0 && candidates[j].distance == candidates[i].distance && !is_there;)
            is_there = candidates[j].row == candidates[i].row;
        if (!is_there) candidates[unique++] = candidates[i];
    }
    return unique;
}

/* Whether one of those kept, nearer to it by so much than the vector is, occludes the candidate. What does is asked
 * first next time: in the middle of many a few occlude nearly all. turns [kept]: places of those kept. */
static bool is_occluded(const fv_index *index, const fv_visit *kept, size_t count, uint16_t *turns,
                        const fv_visit *candidate) {
    for (size_t i = 0; i < count; i++) {
        uint16_t place = turns[i];
        if (!(pair_distance(index, kept[place].row, candidate->row) * FV_OCCLUDING < candidate->distance)) continue;
        memmove(turns + 1, turns, i * sizeof *turns);
        turns[0] = place;
        return true;
    }
    return false;
}

size_t fv_graph_prune(const fv_index *index, fv_visit *candidates, size_t count, size_t degree) {
    uint16_t turns[FV_GRAPH_DEGREE];
    size_t kept = 0;
    for (size_t i = 0; i < count && kept < degree; i++) {
        fv_visit candidate = candidates[i];
        if (is_occluded(index, candidates, kept, turns, &candidate)) continue;
        memmove(candidates + kept + 1, candidates + kept,
                (i - kept) * sizeof *candidates); /* the rest stays in order */
        turns[kept] = (uint16_t)kept;
        candidates[kept++] = candidate;
    }
    return kept;
}

/* |o - q|^2 = |r|^2 + |q - c|^2 - 2 r . (q - c), r = o - c: the code's share of r . q is the query's, that of r . c is
 * known here, and both err alike. */
void fv_graph_code(const fv_index *index, uint8_t *blocks, size_t place, const float *self, const float *other,
                   float rest, float *scratch) {
    size_t n = index->rotated, lane = place % FV_BLOCK_CODES;
    uint8_t *block = blocks + place / FV_BLOCK_CODES * fv_graph_block_bytes(index);
    float *factors = (float *)(void *)(block + fv_block_code_bytes(n));
    uint8_t *bits = (uint8_t *)scratch;
    fv_scan_code code;
    index->kernels->scan_code(n, self, other, bits, &code);
    fv_sign_bits_put(n, bits, lane, block);
    double product = code.size > 0 ? (double)code.square / (double)code.size : 0;
    factors[lane] = (float)((double)code.square + 2 * product * (double)code.known) + rest * rest;
    factors[FV_BLOCK_CODES + lane] = (float)(-2 * product);
}

/* ---- changes of a row ---- */

void fv_graph_rotate(const fv_index *index, size_t row, float *less, float *out) {
    fv_kept_rotate(index, row, less, out);
}

void fv_graph_recode(const fv_index *index, uint8_t *tail, size_t place, uint32_t other, float *scratch) {
    float *self = scratch + index->rotated, *rotated = self + index->rotated;
    if (index->is_lean) return;
    fv_graph_rotate(index, other, scratch, rotated);
    fv_graph_code(index, tail, place, self, rotated, fv_graph_rest(index, other), scratch);
}

static bool has_row(const uint32_t *rows, size_t count, uint32_t row) {
    for (size_t i = 0; i < count; i++)
        if (rows[i] == row) return true;
    return false;
}

static bool is_wanted(const fv_visit *wanted, size_t count, uint32_t row) {
    for (size_t i = 0; i < count; i++)
        if (wanted[i].row == row) return true;
    return false;
}

void fv_graph_rejoin(const fv_index *index, size_t self, const fv_visit *wanted, size_t count, uint8_t *tail,
                     float *scratch) {
    size_t lane = 0, degree = index->degree;
    uint32_t ids[FV_GRAPH_DEGREE];
    fv_graph_tail_get(index, tail, ids);
    if (!index->is_lean) fv_graph_rotate(index, self, scratch, scratch + index->rotated);
    for (size_t i = 0; i < count; i++) {
        if (has_row(ids, degree, wanted[i].row)) continue;
        while (is_wanted(wanted, count, ids[lane]) && !has_row(ids, lane, ids[lane])) lane++;
        ids[lane] = wanted[i].row;
        fv_graph_tail_put(index, tail, lane, wanted[i].row);
        fv_graph_recode(index, tail, lane, wanted[i].row, scratch);
    }
}
