/* graph_growth.c - a step of rows walks over the graph that is there, and keeps of what it met, and of each other, what
 * no nearer one occludes. Each row that was kept gets an edge back; where it has no lane left, the farthest that are
 * occluded go. Tails of rows are made beside the graph and copied into it when no reader looks. What a step does
 * depends on the graph before it alone: the same for any number of threads. */
#include "index/graph_growth.h"
#include "index/code_table.h"
#include "index/graph_edges.h"
#include "index/graph_reach.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BEAM = 200,       /* of the walks */
    STEP_EDGES = 2048 /* of a step: its rows times the degree */
};

typedef struct growth_scratch {
    fv_walk walk;
    fv_visit *candidates; /* [room] */
    uint8_t *table;
    int16_t *level; /* [rotated] */
    float *less;    /* [3][rotated] */
} growth_scratch;

/* An edge back: from a row that was there, or came in this step, to one that came. */
typedef struct back_edge {
    uint32_t from, to;
    bool is_anchor; /* `from` is what `to` hangs on: the edge is kept, so that each row is met */
} back_edge;

struct fv_graph_growth {
    fv_index *index;
    const fv_parallel *parallel;
    size_t workers, rows, step, room, tail_bytes;
    size_t gone;
    const uint64_t *removed; /* [gone], sorted: labels that go with the same change */
    size_t born, first, end; /* the first row that comes; rows of this step */
    growth_scratch *scratch; /* [workers] */
    uint32_t *anchors;       /* [step]: the nearest row that was there before the step; FV_NO_ROW: none */
    uint32_t *leads;         /* [step]: one that leaves and is nearer, which walks are led by; FV_NO_ROW: none */
    back_edge *edges;        /* [step * (degree + 2)], by `from` */
    size_t edge_count, target_count;
    size_t *targets; /* [step * (degree + 2) + 1]: where those of a row begin in edges */
    uint8_t *tails;  /* [step * (degree + 2)][tail_bytes]: new ones of the targets */
};

/* ---- candidates ---- */

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Dead, or about to go with this change: no neighbour for what comes. */
static bool is_leaving(const fv_graph_growth *growth, size_t row) {
    if (row >= growth->born) return false;
    const uint64_t *label = growth->index->arrays.labels + row;
    return *label == FV_INDEX_NO_LABEL ||
           (growth->gone && bsearch(label, growth->removed, growth->gone, sizeof *label, by_value));
}

static size_t take_visits(const fv_graph_growth *growth, size_t self, bool leaving, growth_scratch *scratch,
                          size_t count) {
    for (size_t i = 0; i < scratch->walk.beam.visit_count && growth->first; i++) {
        const fv_visit *visit = scratch->walk.beam.visits + i;
        if (is_leaving(growth, visit->row) == leaving)
            scratch->candidates[count++] = fv_graph_visited(growth->index, self, visit);
    }
    return count;
}

static void walk(const fv_graph_growth *growth, size_t row, growth_scratch *scratch) {
    const fv_index *index = growth->index;
    float *rotated = scratch->less + index->rotated, *vector = rotated + index->rotated;
    fv_graph_rotate(index, row, scratch->less, rotated);
    float step = fv_code_table_make(index->rotated, rotated, scratch->table);
    scratch->walk.probe = fv_probe_of_row(index, row, vector, scratch->less, rotated, scratch->level);
    scratch->walk.table = scratch->table;
    scratch->walk.query = (fv_scan_query){.zero = (int32_t)(FV_TABLE_ZERO * (index->rotated / 4)), .step = step};
    fv_graph_walk(index, &scratch->walk, 1, 0);
}

/* What the row hangs on, of candidates in order and of what its walk met. */
static void find_anchor(const fv_graph_growth *growth, size_t task, const growth_scratch *scratch, size_t count) {
    float nearest = INFINITY;
    growth->anchors[task] = growth->leads[task] = FV_NO_ROW;
    for (size_t i = count; i-- > 0;) {
        if (scratch->candidates[i].row >= growth->first) continue;
        growth->anchors[task] = scratch->candidates[i].row;
        nearest = scratch->candidates[i].distance;
    }
    for (size_t i = 0; growth->first && i < scratch->walk.beam.visit_count; i++) {
        fv_visit visit = scratch->walk.beam.visits[i];
        if (!is_leaving(growth, visit.row)) continue;
        visit = fv_graph_visited(growth->index, growth->first + task, &visit);
        if (!(visit.distance < nearest)) continue;
        nearest = visit.distance;
        growth->leads[task] = visit.row;
    }
}

/* The neighbours of a row that comes: those kept, the nearest others, rows by chance where there are too few. */
static void walk_task(void *context, size_t task, size_t worker) {
    const fv_graph_growth *growth = context;
    const fv_index *index = growth->index;
    growth_scratch *scratch = growth->scratch + worker;
    size_t row = growth->first + task, count = 0, degree = index->degree;
    if (growth->first) walk(growth, row, scratch);
    count = take_visits(growth, row, false, scratch, count);
    for (size_t other = growth->first; other < growth->end; other++)
        scratch->candidates[count++] = fv_graph_candidate(index, row, (uint32_t)other);
    if (count == growth->end - growth->first) count = take_visits(growth, row, true, scratch, count);
    count = fv_graph_order(scratch->candidates, count, (uint32_t)row);
    find_anchor(growth, task, scratch, count);
    fv_graph_prune(index, scratch->candidates, count, degree);
    uint8_t *tail = fv_graph_blocks(index, row);
    for (size_t i = 0; i < degree; i++)
        fv_graph_tail_put(index, tail, i,
                          i < count ? scratch->candidates[i].row
                                    : (uint32_t)(fv_splitmix(index->config.seed, row * degree + i) % growth->end));
}

static void code_task(void *context, size_t task, size_t worker) {
    const fv_graph_growth *growth = context;
    const fv_index *index = growth->index;
    growth_scratch *scratch = growth->scratch + worker;
    size_t row = growth->first + task;
    if (index->is_lean) return;
    fv_graph_rotate(index, row, scratch->less, scratch->less + index->rotated);
    for (size_t i = 0; i < index->degree; i++)
        fv_graph_recode(index, fv_graph_blocks(index, row), i, fv_graph_id(index, row, i), scratch->less);
}

/* ---- edges back ---- */

static int by_from(const void *a, const void *b) {
    const back_edge *x = a, *y = b;
    if (x->from != y->from) return x->from > y->from ? 1 : -1;
    return (x->to > y->to) - (x->to < y->to);
}

/* To all of its neighbours, not only to those that it keeps: many of them keep it. */
static void put_edges(fv_graph_growth *growth, size_t row) {
    uint32_t anchor = growth->anchors[row - growth->first];
    bool has_anchor = anchor == FV_NO_ROW;
    for (size_t i = 0; i < growth->index->degree; i++) {
        uint32_t id = fv_graph_id(growth->index, row, i);
        if (id != row) growth->edges[growth->edge_count++] = (back_edge){id, (uint32_t)row, id == anchor};
        has_anchor |= id == anchor;
    }
    uint32_t lead = growth->leads[row - growth->first];
    if (!has_anchor) growth->edges[growth->edge_count++] = (back_edge){anchor, (uint32_t)row, true};
    if (lead != FV_NO_ROW) growth->edges[growth->edge_count++] = (back_edge){lead, (uint32_t)row, true};
}

static void turn_edges(fv_graph_growth *growth) {
    growth->edge_count = growth->target_count = 0;
    for (size_t row = growth->first; row < growth->end; row++) put_edges(growth, row);
    if (growth->edge_count) qsort(growth->edges, growth->edge_count, sizeof *growth->edges, by_from);
    for (size_t i = 0; i < growth->edge_count; i++)
        if (!i || growth->edges[i].from != growth->edges[i - 1].from) growth->targets[growth->target_count++] = i;
    growth->targets[growth->target_count] = growth->edge_count;
}

static bool is_anchored(const back_edge *edges, size_t count, uint32_t row) {
    for (size_t i = 0; i < count; i++)
        if (edges[i].to == row) return edges[i].is_anchor;
    return false;
}

/* What hangs on this row stays, in place of the last that does not. */
static void keep_anchored(const back_edge *edges, size_t edge_count, fv_visit *candidates, size_t count,
                          size_t degree) {
    size_t last = degree;
    for (size_t i = degree; i < count; i++) {
        if (!is_anchored(edges, edge_count, candidates[i].row)) continue;
        while (last > degree / 2 && is_anchored(edges, edge_count, candidates[last - 1].row)) last--;
        if (last == degree / 2) return;
        candidates[--last] = candidates[i];
    }
}

/* Candidates for the row `self` that an edge goes back from, best first: those that no nearer one occludes; those that
 * leave, for they lead on until they are taken out, and occlude nobody; the others. */
static size_t take_neighbours(const fv_graph_growth *growth, uint32_t self, const back_edge *edges, size_t edge_count,
                              growth_scratch *scratch) {
    const fv_index *index = growth->index;
    uint32_t ids[FV_GRAPH_DEGREE];
    fv_graph_tail_get(index, fv_graph_blocks(index, self), ids);
    size_t degree = index->degree, count = 0, leaving = 0;
    fv_visit *live = scratch->candidates, *left = live + degree + edge_count, *end = left + degree;
    for (size_t i = 0; i < degree; i++) {
        fv_visit candidate = fv_graph_candidate(index, self, ids[i]);
        *(is_leaving(growth, ids[i]) ? left + leaving++ : live + count++) = candidate;
    }
    for (size_t i = 0; i < edge_count; i++) live[count++] = fv_graph_candidate(index, self, edges[i].to);
    count = fv_graph_order(live, count, self);
    leaving = fv_graph_order(left, leaving, self);
    size_t kept = fv_graph_prune(index, live, count, degree);
    memcpy(end, live + kept, (count - kept) * sizeof *live);
    memmove(live + kept, left, leaving * sizeof *live);
    memmove(live + kept + leaving, end, (count - kept) * sizeof *live);
    return count + leaving;
}

static void join_task(void *context, size_t task, size_t worker) {
    const fv_graph_growth *growth = context;
    const fv_index *index = growth->index;
    growth_scratch *scratch = growth->scratch + worker;
    const back_edge *edges = growth->edges + growth->targets[task];
    size_t edge_count = growth->targets[task + 1] - growth->targets[task], degree = index->degree;
    uint32_t self = edges[0].from;
    uint8_t *tail = growth->tails + task * growth->tail_bytes;
    size_t count = take_neighbours(growth, self, edges, edge_count, scratch);
    if (count > degree) keep_anchored(edges, edge_count, scratch->candidates, count, degree);
    memcpy(tail, fv_graph_blocks(index, self), growth->tail_bytes);
    fv_graph_rejoin(index, self, scratch->candidates, count < degree ? count : degree, tail, scratch->less);
}

/* ---- steps ---- */

static void publish_step(fv_graph_growth *growth) {
    fv_index *index = growth->index;
    fv_turn_publish_begin(index->lock);
    for (size_t i = 0; i < growth->target_count; i++)
        memcpy(fv_graph_blocks(index, growth->edges[growth->targets[i]].from), growth->tails + i * growth->tail_bytes,
               growth->tail_bytes);
    index->dead += growth->end - index->rows;
    index->rows = growth->end;
    fv_turn_publish_end(index->lock);
}

void fv_graph_growth_run(fv_graph_growth *growth) {
    size_t last = growth->born + growth->rows;
    for (growth->first = growth->born; growth->first < last; growth->first = growth->end) {
        growth->end = last - growth->first < growth->step ? last : growth->first + growth->step;
        size_t rows = growth->end - growth->first;
        fv_parallel_run(growth->parallel, rows, walk_task, growth);
        fv_parallel_run(growth->parallel, rows, code_task, growth);
        turn_edges(growth);
        fv_parallel_run(growth->parallel, growth->target_count, join_task, growth);
        publish_step(growth);
    }
}

/* ---- memory ---- */

static bool make_arrays(fv_graph_growth *growth) {
    const fv_index *index = growth->index;
    size_t edges = growth->step * (index->degree + 2);
    growth->scratch = fv_array_new(growth->workers, sizeof *growth->scratch);
    growth->anchors = fv_array_new(growth->step, sizeof *growth->anchors);
    growth->leads = fv_array_new(growth->step, sizeof *growth->leads);
    growth->edges = fv_array_new(edges, sizeof *growth->edges);
    growth->targets = fv_array_new(edges + 1, sizeof *growth->targets);
    growth->tails = fv_array_new(edges, growth->tail_bytes);
    bool good =
        growth->scratch && growth->anchors && growth->leads && growth->edges && growth->targets && growth->tails;
    for (size_t i = 0; good && i < growth->workers; i++) {
        growth_scratch *scratch = growth->scratch + i;
        good = fv_graph_beam_make(index, BEAM, &scratch->walk.beam);
        growth->room = scratch->walk.beam.most_visits + 2 * growth->step + 4 * index->degree;
        scratch->candidates = fv_array_new(growth->room, sizeof *scratch->candidates);
        scratch->table = fv_array_new(4, index->rotated);
        scratch->less = fv_array_new(3, index->rotated * sizeof(float));
        scratch->level = fv_array_new(index->rotated, sizeof *scratch->level);
        good = good && scratch->candidates && scratch->table && scratch->less && scratch->level;
    }
    return good;
}

fv_status fv_graph_growth_make(fv_index *index, size_t rows, size_t gone, const uint64_t *removed,
                               const fv_parallel *parallel, fv_graph_growth **growth, fv_message *message) {
    fv_graph_growth *made = fv_array_new(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to link %zu vectors", rows);
    *made = (fv_graph_growth){
        .index = index, .parallel = parallel, .rows = rows, .gone = gone, .removed = removed, .born = index->rows};
    made->workers = parallel && parallel->workers > 1 ? parallel->workers : 1;
    made->step = STEP_EDGES / index->degree < rows ? STEP_EDGES / index->degree : rows;
    made->tail_bytes = index->row_bytes - fv_graph_head_bytes(index);
    if (!make_arrays(made)) {
        fv_graph_growth_free(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory to link %zu vectors", rows);
    }
    for (size_t row = index->rows; row < index->rows + rows; row++) fv_graph_put_rest(index, row);
    if (!index->rows) index->entry = 0;
    *growth = made;
    return FV_OK;
}

void fv_graph_growth_free(fv_graph_growth *growth) {
    if (!growth) return;
    for (size_t i = 0; growth->scratch && i < growth->workers; i++) {
        fv_beam_free(&growth->scratch[i].walk.beam);
        free(growth->scratch[i].candidates);
        free(growth->scratch[i].table);
        free(growth->scratch[i].level);
        free(growth->scratch[i].less);
    }
    void *all[] = {growth->scratch, growth->anchors, growth->leads, growth->edges,
                   growth->targets, growth->tails,   growth};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}
