/* compaction.c - rows that are not dead move up into arrays of their own, which readers see when all is done. A row of
 * a graph that loses neighbours keeps of those that it has, and of those that the lost ones had, what a build would
 * keep. It reads the old graph alone: the same for any number of threads. */
#include "index/compaction.h"
#include "index/graph_edges.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct compact_scratch {
    fv_visit *candidates; /* [degree * (degree + 1)] */
    float *less;          /* [3][rotated] */
} compact_scratch;

typedef struct compact_job {
    const fv_index *index;
    fv_index made;
    uint32_t *fresh; /* [rows]: numbers of rows afterwards; FV_NO_ROW: it is dead */
    uint32_t *old;   /* [live]: and before */
    compact_scratch *scratch;
} compact_job;

static bool is_live(const compact_job *job, uint32_t row) {
    return row < job->index->rows && job->fresh[row] != FV_NO_ROW;
}

/* Neighbours of `self` that live, and those of the dead ones; how many. */
static size_t take_candidates(const compact_job *job, uint32_t self, fv_visit *candidates) {
    const fv_index *index = job->index;
    uint32_t ids[FV_GRAPH_DEGREE];
    size_t count = 0;
    fv_graph_tail_get(index, fv_graph_blocks(index, self), ids);
    for (size_t i = 0; i < index->degree; i++) {
        if (is_live(job, ids[i])) {
            candidates[count++] = fv_graph_candidate(index, self, ids[i]);
            continue;
        }
        for (size_t j = 0; j < index->degree && ids[i] < index->rows; j++) {
            uint32_t other = fv_graph_id(index, ids[i], j);
            if (is_live(job, other)) candidates[count++] = fv_graph_candidate(index, self, other);
        }
    }
    return fv_graph_order(candidates, count, self);
}

static void mend_row(const compact_job *job, uint32_t self, uint8_t *tail, compact_scratch *scratch) {
    const fv_index *index = job->index;
    size_t degree = index->degree, count = take_candidates(job, self, scratch->candidates);
    if (count > degree) fv_graph_prune(index, scratch->candidates, count, degree);
    if (count > degree) count = degree;
    fv_graph_rejoin(index, self, scratch->candidates, count, tail, scratch->less);
    for (size_t i = 0; i < degree; i++) {
        if (is_live(job, fv_graph_tail_id(index, tail, i))) continue; /* else there were too few: one by chance */
        uint32_t other = job->old[fv_splitmix(index->config.seed, self * degree + i) % job->made.rows];
        fv_graph_tail_put(index, tail, i, other);
        fv_graph_recode(index, tail, i, other, scratch->less);
    }
}

static void move_task(void *context, size_t task, size_t worker) {
    compact_job *job = context;
    const fv_index *index = job->index;
    uint32_t row = job->old[task];
    uint8_t *to = (uint8_t *)job->made.arrays.vectors + task * index->row_bytes;
    memcpy(to, fv_index_row(index, row), index->row_bytes);
    job->made.arrays.labels[task] = index->arrays.labels[row];
    if (!index->degree) return;
    uint8_t *tail = fv_graph_blocks(&job->made, task);
    bool is_whole = true;
    for (size_t i = 0; i < index->degree; i++) is_whole &= is_live(job, fv_graph_tail_id(index, tail, i));
    if (!is_whole) mend_row(job, row, tail, job->scratch + worker);
    for (size_t i = 0; i < index->degree; i++)
        fv_graph_tail_put(index, tail, i, job->fresh[fv_graph_tail_id(index, tail, i)]);
}

/* The row that walks begin at, or what is nearest to the centre if it is dead. */
static uint32_t entry_of(const compact_job *job) {
    const fv_index *index = job->index;
    float nearest = INFINITY;
    uint32_t entry = 0;
    if (is_live(job, index->entry)) return job->fresh[index->entry];
    for (size_t row = 0; row < job->made.rows && index->degree; row++) {
        float distance = fv_kept_from_centre(index, job->old[row]);
        if (distance < nearest) entry = (uint32_t)row;
        nearest = distance < nearest ? distance : nearest;
    }
    return entry;
}

static void number_rows(compact_job *job) {
    uint32_t next = 0;
    for (size_t row = 0; row < job->index->rows; row++) {
        bool is_dead = fv_index_is_dead(job->index, row);
        job->fresh[row] = is_dead ? FV_NO_ROW : next;
        if (!is_dead) job->old[next++] = (uint32_t)row;
    }
}

static bool make_job(compact_job *job, size_t workers) {
    const fv_index *index = job->index;
    size_t live = fv_index_live(index), degree = index->degree;
    job->made = *index;
    job->made.rows = live;
    job->made.dead = 0;
    job->made.capacity = live + live / 4 < index->capacity ? live + live / 4 : index->capacity;
    job->fresh = fv_array_new(index->rows, sizeof *job->fresh);
    job->old = fv_array_new(live, sizeof *job->old);
    job->scratch = fv_array_new(workers, sizeof *job->scratch);
    bool good = fv_index_arrays_make(index, job->made.capacity, &job->made.arrays);
    good = good && job->fresh && job->old && job->scratch;
    for (size_t i = 0; good && i < workers && degree; i++) {
        job->scratch[i].candidates = fv_array_new(degree * (degree + 1), sizeof *job->scratch[i].candidates);
        job->scratch[i].less = fv_array_new(3, index->rotated * sizeof(float));
        good = job->scratch[i].candidates && job->scratch[i].less;
    }
    return good;
}

bool fv_index_compact(fv_index *index, const fv_parallel *parallel) {
    size_t workers = parallel && parallel->workers > 1 ? parallel->workers : 1;
    compact_job job = {.index = index};
    bool good = make_job(&job, workers);
    if (good) number_rows(&job);
    if (good) fv_parallel_run(parallel, job.made.rows, move_task, &job);
    if (good) job.made.entry = entry_of(&job);
    good = good && fv_index_code(&job.made, 0, job.made.rows, NULL, parallel, NULL) == FV_OK;
    if (good)
        good = fv_index_replace(index, &job.made, NULL) == FV_OK;
    else
        fv_index_arrays_free(&job.made.arrays);
    for (size_t i = 0; job.scratch && i < workers; i++) {
        free(job.scratch[i].candidates);
        free(job.scratch[i].less);
    }
    free(job.fresh);
    free(job.old);
    free(job.scratch);
    return good;
}
