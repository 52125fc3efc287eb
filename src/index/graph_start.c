/* graph_start.c - trees: all rows are halved by which of two random ones they are nearer to, and halved again, until
 * parts are small enough to compare each with each (as PiPNN does, 2026). Several trees cut in different places. */
#include "index/graph_start.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TREES = 3,
    LEAF = 256,  /* rows of a part, at most */
    BLOCK = 4096 /* rows of a task that measures */
};

typedef struct sided_row {
    float side; /* the smaller the nearer to the first of two */
    uint32_t row;
} sided_row;

typedef struct start_job {
    const fv_index *index;
    uint64_t seed; /* of the tree */
    uint32_t degree;
    unsigned level;
    sided_row *order; /* [rows]; part p of a level is where it stands */
    uint32_t *lists;  /* [rows][degree] */
    float *near;      /* [rows][degree], infinity: none */
    float *scratch;   /* [workers][LEAF] */
} start_job;

/* Where part number `part` of a level begins. */
static size_t part_begin(const start_job *job, unsigned level, size_t part) {
    uint64_t rows = job->index->rows, whole = rows >> level, rest = rows & (((uint64_t)1 << level) - 1);
    return (size_t)(whole * part + (rest * part >> level));
}

/* ---- halves ---- */

static size_t part_of(const start_job *job, size_t place) {
    size_t low = 0, high = (size_t)1 << job->level;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (part_begin(job, job->level, middle) <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static const float *pivot(const start_job *job, size_t part, uint64_t number) {
    size_t begin = part_begin(job, job->level, part), end = part_begin(job, job->level, part + 1);
    uint64_t chance = fv_splitmix(job->seed + job->level, part * 2 + number);
    return fv_index_row(job->index, job->order[begin + (size_t)(chance % (end - begin))].row);
}

static void measure_task(void *context, size_t task, size_t worker) {
    const start_job *job = context;
    const fv_index *index = job->index;
    size_t first = task * BLOCK, end = index->rows - first < BLOCK ? index->rows : first + BLOCK;
    (void)worker;
    for (size_t place = first; place < end;) {
        size_t part = part_of(job, place), stop = part_begin(job, job->level, part + 1);
        const float *a = pivot(job, part, 0), *b = pivot(job, part, 1);
        for (; place < stop && place < end; place++) {
            const float *vector = fv_index_row(index, job->order[place].row);
            if (place + 4 < end)
                index->kernels->scan_fetch(fv_index_row(index, job->order[place + 4].row),
                                           index->config.dimension * sizeof(float));
            job->order[place].side = index->kernels->scan_distance(index->config.dimension, vector, a) -
                                     index->kernels->scan_distance(index->config.dimension, vector, b);
        }
    }
}

static bool is_before(const sided_row *a, const sided_row *b) {
    return a->side < b->side || (a->side == b->side && a->row < b->row);
}

/* Moves the `middle` smallest to the front (Hoare 1961). */
static void halve(sided_row *rows, size_t count, size_t middle) {
    size_t low = 0, high = count;
    while (high - low > 1) {
        sided_row bound = rows[low + (high - low) / 2];
        size_t i = low, j = high - 1;
        for (;;) {
            while (is_before(rows + i, &bound)) i++;
            while (is_before(&bound, rows + j)) j--;
            if (i >= j) break;
            sided_row moved = rows[i];
            rows[i++] = rows[j];
            rows[j--] = moved;
        }
        size_t cut = j + 1 > i ? j + 1 : i; /* [low, cut) <= bound <= [cut, high), and neither is all */
        if (cut == high) cut--;
        if (middle == cut) return;
        if (middle < cut)
            high = cut;
        else
            low = cut;
    }
}

static void halve_task(void *context, size_t task, size_t worker) {
    const start_job *job = context;
    size_t begin = part_begin(job, job->level, task), end = part_begin(job, job->level, task + 1);
    (void)worker;
    halve(job->order + begin, end - begin, part_begin(job, job->level + 1, 2 * task + 1) - begin);
}

/* ---- leaves ---- */

/* Keeps a row among the nearest; of equal ones those that came before. */
static void offer(const start_job *job, uint32_t to, float near, uint32_t row) {
    uint32_t *list = job->lists + (size_t)to * job->degree;
    float *bound = job->near + (size_t)to * job->degree;
    size_t place = job->degree;
    if (!(near < bound[place - 1])) return;
    while (place > 0 && near < bound[place - 1]) place--;
    for (size_t i = place; i > 0 && bound[i - 1] == near; i--)
        if (list[i - 1] == row) return; /* of another tree */
    memmove(list + place + 1, list + place, (job->degree - 1 - place) * sizeof *list);
    memmove(bound + place + 1, bound + place, (job->degree - 1 - place) * sizeof *bound);
    list[place] = row;
    bound[place] = near;
}

static void leaf_task(void *context, size_t task, size_t worker) {
    const start_job *job = context;
    const fv_index *index = job->index;
    const sided_row *rows = job->order + part_begin(job, job->level, task);
    size_t count = part_begin(job, job->level, task + 1) - part_begin(job, job->level, task);
    float *near = job->scratch + worker * LEAF;
    for (size_t i = 0; i < count; i++) {
        const float *vector = fv_index_row(index, rows[i].row);
        float own = fv_graph_rest(index, rows[i].row);
        for (size_t j = i + 1; j < count; j++) {
            float rest = own - fv_graph_rest(index, rows[j].row);
            near[j] = index->kernels->scan_distance(index->config.dimension, vector, fv_index_row(index, rows[j].row)) +
                      rest * rest;
        }
        for (size_t j = i + 1; j < count; j++) {
            offer(job, rows[i].row, near[j], rows[j].row);
            offer(job, rows[j].row, near[j], rows[i].row);
        }
    }
}

/* ---- the whole ---- */

static void run_tree(start_job *job, const fv_parallel *parallel) {
    size_t rows = job->index->rows;
    for (size_t row = 0; row < rows; row++) job->order[row] = (sided_row){0, (uint32_t)row};
    for (job->level = 0; (rows >> job->level) >= LEAF; job->level++) {
        fv_parallel_run(parallel, (rows + BLOCK - 1) / BLOCK, measure_task, job);
        fv_parallel_run(parallel, (size_t)1 << job->level, halve_task, job);
    }
    fv_parallel_run(parallel, (size_t)1 << job->level, leaf_task, job);
}

bool fv_graph_start(const fv_index *index, uint64_t seed, uint32_t degree, uint32_t *lists, uint32_t *order,
                    const fv_parallel *parallel) {
    size_t rows = index->rows, workers = parallel && parallel->workers > 1 ? parallel->workers : 1;
    start_job job = {.index = index,
                     .degree = degree,
                     .lists = lists,
                     .order = fv_array_new(rows, sizeof *job.order),
                     .near = fv_array_new(rows, degree * sizeof *job.near),
                     .scratch = fv_array_new(workers, LEAF * sizeof *job.scratch)};
    bool good = job.order && job.near && job.scratch;
    for (size_t i = 0; good && i < rows * degree; i++) {
        lists[i] = (uint32_t)(i / degree);
        job.near[i] = INFINITY;
    }
    for (uint64_t tree = 0; good && tree < TREES; tree++) {
        job.seed = fv_splitmix(seed, tree);
        run_tree(&job, parallel);
        if (!job.level) break; /* one part: all trees are the same */
    }
    for (size_t i = 0; good && i < rows; i++) order[i] = job.order[i].row;
    free(job.order);
    free(job.near);
    free(job.scratch);
    return good;
}
