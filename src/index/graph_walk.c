/* graph_walk.c - the walk over the graph, and searches by it. */
#include "index/code_table.h"
#include "index/index_graph.h"
#include "index/kac_rotation.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_ROW UINT32_MAX

size_t fv_graph_row_bytes(const fv_index *index, uint32_t degree) {
    if (!degree) return index->config.dimension * sizeof(float);
    size_t rest = degree / FV_BLOCK_CODES * fv_graph_block_bytes(index) + degree * sizeof(uint32_t);
    return (fv_graph_head_bytes(index) + rest + 63) / 64 * 64;
}

/* ---- the beam ---- */

bool fv_beam_make(fv_beam *beam, size_t most) {
    *beam = (fv_beam){.most = most, .most_visits = most * 4 + 256, .slots = 1024, .hidden = FV_NO_ROW};
    while (beam->slots < beam->most_visits * 3) beam->slots *= 2;
    beam->entries = fv_array_new(most, sizeof *beam->entries);
    beam->visits = fv_array_new(beam->most_visits, sizeof *beam->visits);
    beam->seen = fv_array_new(beam->slots, sizeof *beam->seen);
    if (beam->entries && beam->visits && beam->seen) return true;
    fv_beam_free(beam);
    return false;
}

void fv_beam_free(fv_beam *beam) {
    free(beam->entries);
    free(beam->visits);
    free(beam->seen);
    *beam = (fv_beam){0};
}

/* Where the row is, or would be, among those that were visited. */
static size_t seen_slot(const fv_beam *beam, uint32_t row) {
    size_t i = (size_t)(row * FV_SPLITMIX_STEP >> 32) & (beam->slots - 1);
    while (beam->seen[i] != NO_ROW && beam->seen[i] != row) i = (i + 1) & (beam->slots - 1);
    return i;
}

static void beam_put(fv_beam *beam, float near, uint32_t row) {
    size_t low = 0, high = beam->count;
    while (low < high) { /* after those that are as near */
        size_t middle = (low + high) / 2;
        if (beam->entries[middle].near <= near)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == beam->most) return;
    size_t moved = (beam->count == beam->most ? beam->count - 1 : beam->count) - low;
    memmove(beam->entries + low + 1, beam->entries + low, moved * sizeof *beam->entries);
    beam->entries[low] = (fv_beam_entry){near, row, 1};
    if (beam->count < beam->most) beam->count++;
}

/* ---- the walk ---- */

static float visit_distance(const fv_index *index, const float *vector, size_t row) {
    float rest = *fv_graph_rest(index, row);
    return index->kernels->scan_distance(index->config.dimension, vector, fv_index_row(index, row)) + rest * rest;
}

/* Estimates of the neighbours of `row`, whose distance without the last channel is in query->base. */
static void meet_neighbours(const fv_index *index, size_t row, const fv_scan_query *query, const uint8_t *table,
                            fv_beam *beam) {
    const uint8_t *block = fv_graph_blocks(index, row);
    const uint32_t *ids = fv_graph_ids(index, row);
    size_t code_bytes = fv_block_code_bytes(index->rotated);
    for (size_t first = 0; first < index->degree; first += FV_BLOCK_CODES, block += fv_graph_block_bytes(index)) {
        uint32_t sum[FV_BLOCK_CODES];
        float near[FV_BLOCK_CODES];
        index->kernels->scan_sums(index->rotated / 4, block, table, sum);
        index->kernels->scan_estimates((const float *)(const void *)(block + code_bytes), sum, query, near);
        for (size_t t = 0; t < FV_BLOCK_CODES; t++) {
            uint32_t other = ids[first + t];
            if (beam->count == beam->most && !(near[t] < beam->entries[beam->count - 1].near)) continue;
            if (!(near[t] <= INFINITY) || other >= index->rows) continue; /* of a damaged file */
            if (beam->seen[seen_slot(beam, other)] == NO_ROW) beam_put(beam, near[t], other);
        }
    }
}

/* Where rows that were met again and again left no room for as many as are wanted: neighbours of what was visited. */
static void visit_more(const fv_index *index, const float *vector, size_t least, fv_beam *beam) {
    for (size_t i = 0; i < beam->visit_count && beam->visit_count < least; i++)
        for (size_t j = 0; j < index->degree && beam->visit_count < least; j++) {
            uint32_t row = fv_graph_ids(index, beam->visits[i].row)[j];
            size_t slot = seen_slot(beam, row);
            if (beam->seen[slot] != NO_ROW || row >= index->rows) continue;
            beam->seen[slot] = row;
            beam->visits[beam->visit_count++] = (fv_visit){visit_distance(index, vector, row), row, 0};
        }
}

void fv_graph_walk(const fv_index *index, const float *vector, const fv_scan_query *query, const uint8_t *table,
                   size_t least, fv_beam *beam) {
    fv_scan_query at = *query;
    beam->count = beam->visit_count = 0;
    memset(beam->seen, 0xFF, beam->slots * sizeof *beam->seen);
    if (beam->hidden != FV_NO_ROW) beam->seen[seen_slot(beam, beam->hidden)] = beam->hidden;
    beam_put(beam, 0, index->entry);
    for (size_t next = 0; next < beam->count && beam->visit_count < beam->most_visits;) {
        fv_beam_entry *entry = beam->entries + next;
        size_t slot = entry->is_open ? seen_slot(beam, entry->row) : 0;
        if (!entry->is_open || beam->seen[slot] != NO_ROW) { /* met twice, visited once */
            entry->is_open = 0;
            next++;
            continue;
        }
        uint32_t row = entry->row;
        entry->is_open = 0;
        beam->seen[slot] = row;
        float rest = *fv_graph_rest(index, row), whole = visit_distance(index, vector, row);
        beam->visits[beam->visit_count++] = (fv_visit){whole, row, 0};
        at.base = whole - rest * rest;
        meet_neighbours(index, row, &at, table, beam);
        next = 0; /* what is nearer may have come before */
        while (next < beam->count && !beam->entries[next].is_open) next++;
    }
    visit_more(index, vector, least < beam->most_visits ? least : beam->most_visits, beam);
}

/* ---- searches ---- */

typedef struct walk_scratch {
    fv_beam beam;
    float *vector, *less; /* [dimension], [2 * rotated] */
    uint8_t *table;
} walk_scratch;

typedef struct walk_job {
    const fv_index *index;
    const fv_index_search *search;
    const uint32_t *hidden;
    fv_near_list *lists;
    walk_scratch *scratch;    /* [workers] */
    fv_search_counts *counts; /* [queries] */
} walk_job;

/* vector [dimension] and what a walk wants of it. */
static fv_scan_query ready_walk(const fv_index *index, const float *query, walk_scratch *scratch) {
    size_t dimension = index->config.dimension;
    float *less = scratch->less, *rotated = less + index->rotated;
    if (index->config.metric == FV_INDEX_COSINE)
        fv_index_normalise(dimension, query, scratch->vector);
    else
        memcpy(scratch->vector, query, dimension * sizeof *query);
    for (size_t i = 0; i < dimension; i++) less[i] = scratch->vector[i] - index->centre[i];
    fv_kac_rotate(index->config.seed, dimension, less, rotated);
    float step = fv_code_table_make(index->rotated, rotated, scratch->table);
    return (fv_scan_query){.zero = (int32_t)(FV_TABLE_ZERO * (index->rotated / 4)), .step = step};
}

static void walk_task(void *context, size_t task, size_t worker) {
    const walk_job *job = context;
    const fv_index *index = job->index;
    walk_scratch *scratch = job->scratch + worker;
    fv_scan_query query = ready_walk(index, job->search->queries + task * index->config.dimension, scratch);
    fv_beam *beam = &scratch->beam;
    if (job->hidden) beam->hidden = job->hidden[task];
    fv_graph_walk(index, scratch->vector, &query, scratch->table, job->search->k, beam);
    bool l2 = index->config.metric == FV_INDEX_L2;
    for (size_t i = 0; i < beam->visit_count; i++) {
        uint64_t label = index->arrays.labels[beam->visits[i].row];
        if (!fv_index_allows(job->search, label)) continue;
        float distance = l2 ? beam->visits[i].distance : fv_index_distance(index, scratch->vector, beam->visits[i].row);
        fv_near_offer(job->lists + task, distance, label);
    }
    job->counts[task] = (fv_search_counts){.codes = beam->visit_count * index->degree,
                                           .rows = beam->visit_count,
                                           .bytes = beam->visit_count * index->row_bytes,
                                           .visits = beam->visit_count};
}

static bool make_scratch(const fv_index *index, size_t most, walk_scratch *scratch) {
    scratch->vector = fv_array_new(index->config.dimension, sizeof(float));
    scratch->less = fv_array_new(2 * index->rotated, sizeof(float));
    scratch->table = fv_array_new(4, index->rotated);
    return fv_beam_make(&scratch->beam, most) && scratch->vector && scratch->less && scratch->table;
}

fv_status fv_graph_search(const fv_index *index, const fv_index_search *search, const uint32_t *hidden,
                          fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    size_t workers = search->parallel && search->parallel->workers > 1 ? search->parallel->workers : 1;
    size_t most = search->beam > search->k ? search->beam : search->k;
    if (!search->count || !index->rows) return FV_OK;
    walk_job job = {index,
                    search,
                    hidden,
                    lists,
                    fv_array_new(workers, sizeof *job.scratch),
                    fv_array_new(search->count, sizeof *job.counts)};
    bool good = job.scratch && job.counts;
    for (size_t i = 0; good && i < workers; i++) good = make_scratch(index, most, job.scratch + i);
    if (good) fv_parallel_run(search->parallel, search->count, walk_task, &job);
    for (size_t i = 0; good && i < search->count; i++) {
        counts->codes += job.counts[i].codes;
        counts->rows += job.counts[i].rows;
        counts->bytes += job.counts[i].bytes;
        counts->visits += job.counts[i].visits;
        counts->walks++;
    }
    for (size_t i = 0; job.scratch && i < workers; i++) {
        fv_beam_free(&job.scratch[i].beam);
        free(job.scratch[i].vector);
        free(job.scratch[i].less);
        free(job.scratch[i].table);
    }
    free(job.scratch);
    free(job.counts);
    return good ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory for a search");
}
