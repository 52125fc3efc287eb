/* graph_walk.c - the walk over the graph, and searches by it. */
#include "index/code_table.h"
#include "index/index_graph.h"
#include "index/kac_rotation.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

size_t fv_graph_row_bytes(const fv_index *index, uint32_t degree) {
    if (!degree) return index->kept_bytes;
    size_t rest = degree / FV_BLOCK_CODES * fv_graph_block_bytes(index) + fv_graph_ids_bytes(index, degree);
    size_t align = index->is_lean ? sizeof(uint32_t) : 64;
    return (fv_graph_head_bytes(index) + rest + align - 1) / align * align;
}

/* ---- the walk ---- */

static float visit_distance(const fv_index *index, const fv_probe *probe, size_t row) {
    float rest = fv_graph_rest(index, row);
    return fv_kept_distance(index, probe, row) + rest * rest;
}

/* Number of the lowest bit; bits != 0. (de Bruijn) */
static size_t lowest_bit(uint32_t bits) {
    static const uint8_t places[32] = {0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
                                       31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9};
    return places[(bits & (~bits + 1)) * 0x077CB531u >> 27];
}

/* Estimates of a block of neighbours: a bit for each that is under the limit. */
static uint32_t block_estimates(const fv_index *index, const uint8_t *block, const fv_scan_query *query,
                                const uint8_t *table, float limit, float near[FV_BLOCK_CODES]) {
    uint32_t sum[FV_BLOCK_CODES];
    const uint8_t *factors = block + fv_block_code_bytes(index->rotated);
    index->kernels->scan_sums(index->rotated / 4, block, table, sum);
    return index->kernels->scan_estimates((const float *)(const void *)factors, sum, query, limit, near);
}

/* Estimates of the neighbours of `row`, whose distance without the last channel is in query->base. */
static void meet_neighbours(const fv_index *index, size_t row, const fv_scan_query *query, const uint8_t *table,
                            fv_beam *beam) {
    const uint8_t *block = fv_graph_blocks(index, row);
    const uint32_t *ids = fv_graph_ids(index, row);
    for (size_t first = 0; first < index->degree; first += FV_BLOCK_CODES, block += fv_graph_block_bytes(index)) {
        float near[FV_BLOCK_CODES];
        uint64_t fresh[FV_BLOCK_CODES];
        size_t count = 0;
        uint32_t under = block_estimates(index, block, query, table, fv_beam_limit(beam), near);
        for (; under; under &= under - 1) {
            size_t t = lowest_bit(under);
            uint32_t other = ids[first + t];
            if (other < index->rows) fv_beam_meet(beam, near[t], other, fresh, &count); /* else: of a damaged file */
        }
        fv_beam_merge(beam, fresh, count);
    }
}

/* Where rows that were met again and again left no room for as many as are wanted: neighbours of what was visited. */
static void visit_more(const fv_index *index, const fv_probe *probe, size_t least, fv_beam *beam) {
    for (size_t i = 0; i < beam->visit_count && least && index->dead; i++)
        least += fv_index_is_dead(index, beam->visits[i].row);
    if (least > beam->most_visits) least = beam->most_visits;
    for (size_t i = 0; i < beam->visit_count && beam->visit_count < least; i++)
        for (size_t j = 0; j < index->degree && beam->visit_count < least; j++) {
            uint32_t row = fv_graph_id(index, beam->visits[i].row, j);
            if (row >= index->rows || !fv_beam_mark(beam, row)) continue;
            beam->visits[beam->visit_count++] = (fv_visit){visit_distance(index, probe, row), row, 0};
            if (fv_index_is_dead(index, row) && least < beam->most_visits) least++;
        }
}

/* What comes next, all of its row fetched meanwhile. */
static void walk_next(const fv_index *index, fv_walk *walk) {
    walk->is_going = fv_beam_take(&walk->beam, &walk->row);
    if (walk->is_going) index->kernels->scan_fetch(fv_index_row(index, walk->row), index->row_bytes);
}

static void walk_step(const fv_index *index, fv_walk *walk) {
    fv_beam *beam = &walk->beam;
    float rest = fv_graph_rest(index, walk->row), whole = visit_distance(index, &walk->probe, walk->row);
    beam->visits[beam->visit_count++] = (fv_visit){whole, walk->row, 0};
    walk->query.base = whole - rest * rest;
    meet_neighbours(index, walk->row, &walk->query, walk->table, beam);
    walk_next(index, walk);
}

/* ---- walks that compute what they meet ---- */

/* The rows that are waiting were fetched. */
static void meet_waiting(const fv_index *index, fv_walk *walk) {
    for (size_t first = 0; first < walk->waiting_count; first += FV_BLOCK_CODES) {
        uint64_t fresh[FV_BLOCK_CODES];
        size_t count = 0, rest = walk->waiting_count - first;
        size_t end = rest < FV_BLOCK_CODES ? walk->waiting_count : first + FV_BLOCK_CODES;
        for (size_t i = first; i < end; i++) {
            float near = visit_distance(index, &walk->probe, walk->waiting[i]);
            if (near < fv_beam_limit(&walk->beam)) fv_beam_meet(&walk->beam, near, walk->waiting[i], fresh, &count);
        }
        fv_beam_merge(&walk->beam, fresh, count);
    }
    walk->waiting_count = 0;
}

static void begin_exactly(const fv_index *index, fv_walk *walk) {
    walk->waiting_count = 0;
    if (!fv_beam_mark(&walk->beam, index->entry)) return;
    walk->waiting[walk->waiting_count++] = index->entry;
    meet_waiting(index, walk);
}

/* Where it was not met: it waits, and is fetched meanwhile. Rows that are not there are of a damaged file. */
static void wait_for(const fv_index *index, fv_walk *walk, uint32_t row) {
    if (row >= index->rows || !fv_beam_mark(&walk->beam, row)) return;
    walk->waiting[walk->waiting_count++] = row;
    index->kernels->scan_fetch(fv_index_row(index, row), fv_graph_head_bytes(index));
}

/* In a lean graph: all neighbours of the row. */
static void wait_for_all(const fv_index *index, fv_walk *walk) {
    uint32_t ids[FV_GRAPH_DEGREE];
    fv_graph_tail_get(index, fv_graph_blocks(index, walk->row), ids);
    for (size_t i = 0; i < index->degree; i++) wait_for(index, walk, ids[i]);
}

/* Those that are nearer than the limit by their codes. base: the row's distance without the last channel. */
static void wait_for_near(const fv_index *index, fv_walk *walk, float base) {
    const uint8_t *block = fv_graph_blocks(index, walk->row);
    const uint32_t *ids = fv_graph_ids(index, walk->row);
    float limit = fv_beam_limit(&walk->beam);
    walk->query.base = base;
    for (size_t first = 0; first < index->degree; first += FV_BLOCK_CODES, block += fv_graph_block_bytes(index)) {
        float near[FV_BLOCK_CODES];
        uint32_t under = block_estimates(index, block, &walk->query, walk->table, limit, near);
        for (; under; under &= under - 1) wait_for(index, walk, ids[first + lowest_bit(under)]);
    }
}

/* By turns: what says which the neighbours are was fetched, then the neighbours; of a row for none of which is to be
 * waited it goes on at once. */
static void exact_step(const fv_index *index, fv_walk *walk) {
    fv_beam *beam = &walk->beam;
    if (!walk->waiting_count) {
        beam->visits[beam->visit_count++] = (fv_visit){beam->near, walk->row, 0};
        if (index->is_lean) {
            wait_for_all(index, walk);
        } else {
            float rest = fv_graph_rest(index, walk->row);
            wait_for_near(index, walk, beam->near - rest * rest);
        }
        if (walk->waiting_count) return;
    }
    meet_waiting(index, walk);
    walk->is_going = fv_beam_take(beam, &walk->row);
    if (!walk->is_going) return;
    size_t lean_bytes = fv_graph_ids_bytes(index, index->degree);
    index->kernels->scan_fetch(fv_graph_blocks(index, walk->row),
                               index->is_lean ? lean_bytes : index->row_bytes - fv_graph_head_bytes(index));
}

/* ---- all walks ---- */

/* Rows that a walk with a beam of `most` meets, in a lean graph; an exact one meets less than half, by codes. */
static size_t met_by(const fv_index *index, size_t most) { return (most + 64) * index->degree; }

bool fv_graph_beam_make(const fv_index *index, size_t most, fv_beam *beam) {
    return fv_beam_make(beam, most, FV_BLOCK_CODES, index->is_lean ? met_by(index, most) : 0);
}

static void begin(const fv_index *index, fv_walk *walk) {
    uint64_t fresh[1];
    size_t met = 0;
    fv_beam_begin(&walk->beam);
    if (index->is_lean || walk->is_exact)
        begin_exactly(index, walk);
    else
        fv_beam_meet(&walk->beam, 0, index->entry, fresh, &met);
    fv_beam_merge(&walk->beam, fresh, met);
    walk_next(index, walk);
}

void fv_graph_walk(const fv_index *index, fv_walk *walks, size_t count, size_t least) {
    size_t going = 0;
    for (size_t i = 0; i < count; i++) {
        begin(index, walks + i);
        going += walks[i].is_going;
    }
    while (going)
        for (size_t i = 0; i < count; i++) {
            if (!walks[i].is_going) continue;
            if (index->is_lean || walks[i].is_exact)
                exact_step(index, walks + i);
            else
                walk_step(index, walks + i);
            going -= !walks[i].is_going;
        }
    for (size_t i = 0; i < count; i++) visit_more(index, &walks[i].probe, least, &walks[i].beam);
}

/* ---- searches ---- */

enum { GROUP = 4 }; /* queries that a worker walks for in turns */

typedef struct walk_scratch {
    fv_walk walks[GROUP];
    float *vectors;  /* [GROUP][dimension] */
    uint8_t *tables; /* [GROUP][4 * rotated] */
    int16_t *levels; /* [GROUP][rotated] */
    float *less;     /* [2 * rotated] */
} walk_scratch;

typedef struct walk_job {
    const fv_index *index;
    const fv_index_search *search;
    const uint32_t *hidden;
    fv_near_list *lists;
    walk_scratch *scratch;    /* [workers] */
    fv_search_counts *counts; /* [queries] */
} walk_job;

/* A walk made ready for a query. */
static void ready_walk(const fv_index *index, const float *query, walk_scratch *scratch, size_t slot) {
    size_t dimension = index->config.dimension;
    float *vector = scratch->vectors + slot * dimension, *less = scratch->less, *rotated = less + index->rotated;
    uint8_t *table = scratch->tables + slot * 4 * index->rotated;
    if (index->config.metric == FV_INDEX_COSINE)
        fv_index_normalise(dimension, query, vector);
    else
        memcpy(vector, query, dimension * sizeof *query);
    for (size_t i = 0; i < dimension; i++) less[i] = vector[i] - index->centre[i];
    fv_kac_rotate(index->config.seed, dimension, less, rotated);
    fv_walk *walk = scratch->walks + slot;
    walk->probe = fv_probe_make(index, vector, 1, rotated, scratch->levels + slot * index->rotated);
    walk->table = table;
    walk->is_exact = fv_graph_is_exact(index);
    walk->query = (fv_scan_query){.zero = (int32_t)(FV_TABLE_ZERO * (index->rotated / 4)),
                                  .step = fv_code_table_make(index->rotated, rotated, table)};
}

/* Whether the list may keep it, by its distance in the graph. 1 - x . q >= |x - q|^2 / 2 between vectors that are no
 * longer than 1, but for rounding: most visits are far from the k best, and need no second look. */
static bool may_be_kept(const fv_index *index, const fv_visit *visit, const fv_near_list *list) {
    if (index->config.metric != FV_INDEX_COSINE || index->config.row_type != FV_INDEX_F32) return true;
    return visit->distance / 2 - 0x1p-10f < fv_near_limit(list);
}

static void take_visits(const walk_job *job, size_t query, const fv_walk *walk) {
    const fv_index *index = job->index;
    const fv_beam *beam = &walk->beam;
    bool l2 = index->config.metric == FV_INDEX_L2;
    for (size_t i = 0; i < beam->visit_count; i++)
        index->kernels->scan_fetch(index->arrays.labels + beam->visits[i].row, sizeof(uint64_t));
    for (size_t i = 0; i < beam->visit_count; i++) {
        if (!may_be_kept(index, beam->visits + i, job->lists + query)) continue;
        uint64_t label = index->arrays.labels[beam->visits[i].row];
        if (!fv_index_allows(job->search, label)) continue;
        float distance = l2 ? beam->visits[i].distance : fv_index_distance(index, &walk->probe, beam->visits[i].row);
        fv_near_offer(job->lists + query, distance, label);
    }
    size_t visits = beam->visit_count, rows = index->is_lean || walk->is_exact ? beam->seen_count : visits;
    size_t heads = index->is_lean || walk->is_exact ? rows * index->kept_bytes : 0;
    size_t row_bytes = index->row_bytes - (walk->is_exact ? index->kept_bytes : 0);
    job->counts[query] = (fv_search_counts){.codes = index->is_lean ? 0 : visits * index->degree,
                                            .rows = rows,
                                            .bytes = visits * row_bytes + heads,
                                            .visits = visits};
}

static void walk_task(void *context, size_t task, size_t worker) {
    const walk_job *job = context;
    walk_scratch *scratch = job->scratch + worker;
    size_t first = task * GROUP, rest = job->search->count - first, count = rest < GROUP ? rest : GROUP;
    for (size_t i = 0; i < count; i++)
        ready_walk(job->index, job->search->queries + (first + i) * job->index->config.dimension, scratch, i);
    for (size_t i = 0; i < count && job->hidden; i++) scratch->walks[i].beam.hidden = job->hidden[first + i];
    fv_graph_walk(job->index, scratch->walks, count, job->search->k);
    for (size_t i = 0; i < count; i++) take_visits(job, first + i, scratch->walks + i);
}

static bool make_scratch(const fv_index *index, size_t most, walk_scratch *scratch) {
    scratch->vectors = fv_array_new(GROUP, index->config.dimension * sizeof(float));
    scratch->less = fv_array_new(2 * index->rotated, sizeof(float));
    scratch->tables = fv_array_new(GROUP * 4, index->rotated);
    scratch->levels = fv_array_new(GROUP, index->rotated * sizeof *scratch->levels);
    bool good = scratch->vectors && scratch->less && scratch->tables && scratch->levels;
    for (size_t i = 0; i < GROUP && good; i++)
        good = fv_graph_is_exact(index)
                   ? fv_beam_make(&scratch->walks[i].beam, most, FV_BLOCK_CODES, met_by(index, most) / 2)
                   : fv_graph_beam_make(index, most, &scratch->walks[i].beam);
    return good;
}

static void free_scratch(walk_scratch *scratch) {
    for (size_t i = 0; i < GROUP; i++) fv_beam_free(&scratch->walks[i].beam);
    free(scratch->vectors);
    free(scratch->less);
    free(scratch->tables);
    free(scratch->levels);
}

fv_status fv_graph_search(const fv_index *index, const fv_index_search *search, const uint32_t *hidden,
                          fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    size_t workers = search->parallel && search->parallel->workers > 1 ? search->parallel->workers : 1;
    size_t most = search->beam > search->k ? search->beam : search->k, live = fv_index_live(index);
    if (!search->count || !live) return FV_OK;
    most = (size_t)((double)most * (double)index->rows / (double)live); /* dead rows take places, too */
    walk_job job = {index,
                    search,
                    hidden,
                    lists,
                    fv_array_new(workers, sizeof *job.scratch),
                    fv_array_new(search->count, sizeof *job.counts)};
    bool good = job.scratch && job.counts;
    for (size_t i = 0; good && i < workers; i++) good = make_scratch(index, most, job.scratch + i);
    if (good) fv_parallel_run(search->parallel, (search->count + GROUP - 1) / GROUP, walk_task, &job);
    for (size_t i = 0; good && i < search->count; i++) {
        counts->codes += job.counts[i].codes;
        counts->rows += job.counts[i].rows;
        counts->bytes += job.counts[i].bytes;
        counts->visits += job.counts[i].visits;
        counts->walks++;
    }
    for (size_t i = 0; job.scratch && i < workers; i++) free_scratch(job.scratch + i);
    free(job.scratch);
    free(job.counts);
    return good ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory for a search");
}
