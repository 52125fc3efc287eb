/* recall_trial.c - calibrates an index (calibration.h): queries are scanned for, which is the truth, and walked for
 * with rising beams. They are the caller's, or vectors of the index, each left out of its own results and of the walk,
 * so that they are as hard to find neighbours of as vectors that are not there. For inner products every second one is
 * given a random direction, for queries need not be like the vectors: what counts is the worse half. */
#include "index/index_choice.h"
#include "index/index_graph.h"
#include "index/kac_rotation.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_QUERIES = 2048,
    LEAST_QUERIES = 256, /* own vectors: one of 32, within these */
    SCANNED = 64,        /* queries by which rows of scans are counted */
    NEAREST = 100,
    WALKED = 1 << 17,   /* beams of all queries together, of a step: fewer queries for large beams ... */
    WALKED_LEAST = 256, /* ... but so many */
    LEAST_BEAM = 4,
    NARROW_BEAM = 100, /* from here on the steps are wider, as walks cost more and find little more */
    MOST_BEAM = 16384,
    MOST_STEPS = 48
};

#define ENOUGH 0.9997 /* with a deviation the last recall of the table needs as much */

typedef struct trial {
    const fv_index *index;
    const fv_parallel *parallel;
    float *queries;   /* [open][dimension], of [count] */
    uint32_t *hidden; /* [open] rows that the queries are; NULL: they are the caller's */
    uint32_t *number; /* [open], rising: which of all a query is */
    size_t sets;      /* 1, or 2: those of even number and the turned ones */
    size_t count, k;  /* queries; of the truth */
    size_t open;      /* queries of which a walk has not found all yet */
    float *truth;     /* [open][k] distances */
    fv_near_list *lists;
    fv_near *entries; /* [count][k + 1] */
    uint32_t beam[MOST_STEPS];
    double shares[FV_CALIBRATED_COUNTS][MOST_STEPS];
    size_t steps;
} trial;

static const uint32_t counted[FV_CALIBRATED_COUNTS] = {1, 10, NEAREST};

static fv_index_search search_of(const trial *job, size_t count, size_t k) {
    fv_index_search search;
    fv_index_search_default(job->index->config.dimension, &search);
    search.queries = job->queries;
    search.count = count;
    search.k = (uint32_t)k;
    search.parallel = job->parallel;
    return search;
}

static void begin_lists(trial *job, size_t count, size_t most) {
    for (size_t i = 0; i < count; i++)
        job->lists[i] = (fv_near_list){.entries = job->entries + i * (job->k + 1), .most = most, .radius = INFINITY};
}

/* Takes the query itself out of its sorted list. */
static void drop_hidden(const trial *job, size_t query) {
    fv_near_list *list = job->lists + query;
    uint64_t label = job->hidden ? job->index->arrays.labels[job->hidden[query]] : FV_INDEX_NO_LABEL;
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].label != label) list->entries[kept++] = list->entries[i];
    list->count = kept;
}

static fv_status find_truth(trial *job, fv_message *message) {
    fv_index_search search = search_of(job, job->count, job->k + 1);
    fv_search_counts counts = {0};
    begin_lists(job, job->count, job->k + 1);
    fv_status status = fv_index_flat(job->index, &search, NULL, job->lists, &counts, message);
    for (size_t q = 0; status == FV_OK && q < job->count; q++) {
        fv_near_sort(job->lists + q);
        drop_hidden(job, q);
        for (size_t i = 0; i < job->k; i++)
            job->truth[q * job->k + i] = i < job->lists[q].count ? job->lists[q].entries[i].distance : INFINITY;
    }
    return status;
}

/* Rows that scans for the 1, 10, 100 nearest compute, and finer codes that they read, by their bytes. */
static fv_status count_rows(trial *job, fv_calibration *calibration, fv_message *message) {
    size_t queries = job->count < SCANNED ? job->count : SCANNED;
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++) {
        size_t most = counted[i] < job->k ? counted[i] : job->k;
        fv_index_search search = search_of(job, queries, most);
        fv_search_counts counts = {0};
        begin_lists(job, queries, most);
        fv_status status = fv_index_flat(job->index, &search, NULL, job->lists, &counts, message);
        if (status != FV_OK) return status;
        double fine = (double)counts.fine * (double)job->index->fine_bytes / (double)job->index->kept_bytes;
        calibration->rows[i] = (float)(((double)counts.rows + fine) / (double)queries);
    }
    return FV_OK;
}

/* Of the k nearest of an open query, how many are in its list. */
static size_t found_of(const trial *job, size_t query, size_t k) {
    const fv_near_list *list = job->lists + query;
    float last = job->truth[query * job->k + k - 1];
    size_t found = 0;
    for (size_t i = 0; i < k && i < list->count; i++) found += list->entries[i].distance <= last;
    return found;
}

/* Of the k nearest of `queries`, what share is in the lists of `walked` ones of them, and was found of the others: in
 * the worst of the sets. */
static double share_of(const trial *job, size_t queries, size_t walked, size_t k) {
    double worst = 1;
    for (size_t set = 0; set < job->sets; set++) {
        size_t count = (queries + job->sets - 1 - set) / job->sets, found = count * k;
        for (size_t q = 0; q < walked; q++)
            if (job->number[q] % job->sets == set) found -= k - found_of(job, q, k);
        if (count) worst = fmin(worst, (double)found / ((double)count * (double)k));
    }
    return worst;
}

/* A query whose nearest were all found is walked for no more: wider beams would find them, too. */
static void close_found(trial *job, size_t walked) {
    size_t dimension = job->index->config.dimension, open = 0;
    for (size_t q = 0; q < job->open; q++) {
        if (q < walked && found_of(job, q, job->k) == job->k) continue;
        memmove(job->queries + open * dimension, job->queries + q * dimension, dimension * sizeof *job->queries);
        memmove(job->truth + open * job->k, job->truth + q * job->k, job->k * sizeof *job->truth);
        if (job->hidden) job->hidden[open] = job->hidden[q];
        job->number[open++] = job->number[q];
    }
    job->open = open;
}

/* One beam, of the first `queries`: shares of those counts that it has room for. visits: of a walk, by its work; as
 * they were where there is none. */
static fv_status walk_with(trial *job, uint32_t beam, size_t queries, double *visits, fv_message *message) {
    size_t walked = 0;
    while (walked < job->open && job->number[walked] < queries) walked++;
    fv_index_search search = search_of(job, walked, beam < job->k ? beam : job->k);
    fv_search_counts counts = {0};
    search.beam = beam;
    begin_lists(job, walked, job->k);
    fv_status status = fv_graph_search(job->index, &search, job->hidden, job->lists, &counts, message);
    if (status != FV_OK) return status;
    for (size_t q = 0; q < walked; q++) fv_near_sort(job->lists + q);
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++) {
        size_t k = counted[i] < job->k ? counted[i] : job->k;
        job->shares[i][job->steps] = k <= beam ? share_of(job, queries, walked, k) : 0;
    }
    job->beam[job->steps++] = beam;
    double whole = (double)counts.bytes / (double)job->index->row_bytes; /* rows that are as many bytes */
    if (walked) *visits = (fv_graph_is_exact(job->index) ? whole : (double)counts.visits) / (double)walked;
    close_found(job, walked);
    return FV_OK;
}

static uint32_t next_beam(uint32_t beam) { return beam + beam / (beam < NARROW_BEAM ? 4 : 2) + 1; }

/* Until all is found, or walks cost more than scans do, or would with the next beam. */
static fv_status walk(trial *job, fv_calibration *calibration, fv_message *message) {
    double limit = fv_scan_work(job->index, (double)job->index->rows, (double)calibration->rows[2]), visits = 0;
    bool is_typical = true;
    for (uint32_t beam = LEAST_BEAM; beam <= MOST_BEAM && job->steps < MOST_STEPS; beam = next_beam(beam)) {
        size_t queries = WALKED / beam < WALKED_LEAST ? WALKED_LEAST : WALKED / beam;
        if (beam >= job->index->rows && job->steps) break;
        fv_status status = walk_with(job, beam, queries < job->count ? queries : job->count, &visits, message);
        if (status != FV_OK) return status;
        bool is_done = true;
        for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++) is_done &= job->shares[i][job->steps - 1] > ENOUGH;
        if (is_typical) calibration->visits = (float)(visits / (double)beam);
        is_typical = job->shares[1][job->steps - 1] < 0.95;
        if (is_done || fv_walk_work(job->index, visits * next_beam(beam) / beam) > limit) break;
    }
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++)
        fv_calibration_fill(calibration, i, job->steps, job->beam, job->shares[i]);
    return FV_OK;
}

/* ---- the queries ---- */

/* Rows by chance; not the one that walks begin at, which they can't do without. A turned one is what a rotation that is
 * not the index's makes of it. scratch [2][rotated]. */
static void draw_own(trial *job, float *scratch) {
    const fv_index *index = job->index;
    size_t dimension = index->config.dimension;
    for (size_t i = 0, place = 0; i < job->count; i++) {
        do job->hidden[i] = (uint32_t)(fv_splitmix(index->config.seed ^ FV_SPLITMIX_STEP, place++) % index->rows);
        while (job->hidden[i] == index->entry);
        fv_kept_get(index, job->hidden[i], job->queries + i * dimension, scratch);
        if (i % job->sets == 0) continue;
        fv_kac_rotate(~index->config.seed, dimension, job->queries + i * dimension, scratch);
        memcpy(job->queries + i * dimension, scratch, dimension * sizeof *scratch);
    }
}

static void draw_given(trial *job, size_t count, const float *queries) {
    size_t dimension = job->index->config.dimension;
    for (size_t i = 0; i < job->count; i++) {
        size_t from = count > job->count ? (size_t)(fv_splitmix(job->index->config.seed, i) % count) : i;
        memcpy(job->queries + i * dimension, queries + from * dimension, dimension * sizeof(float));
    }
}

static size_t queries_of(size_t rows, size_t given) {
    if (given) return given < MOST_QUERIES ? given : MOST_QUERIES;
    return rows / 32 < LEAST_QUERIES ? LEAST_QUERIES : rows / 32 < MOST_QUERIES ? rows / 32 : MOST_QUERIES;
}

static bool make(trial *job, bool own) {
    job->queries = fv_array_new(job->count, job->index->config.dimension * sizeof *job->queries);
    job->number = fv_array_new(job->count, sizeof *job->number);
    job->truth = fv_array_new(job->count, job->k * sizeof *job->truth);
    job->lists = fv_array_new(job->count, sizeof *job->lists);
    job->entries = fv_array_new(job->count, (job->k + 1) * sizeof *job->entries);
    job->hidden = own ? fv_array_new(job->count, sizeof *job->hidden) : NULL;
    for (size_t i = 0; job->number && i < job->count; i++) job->number[i] = (uint32_t)i;
    return job->queries && job->number && job->truth && job->lists && job->entries && (!own || job->hidden);
}

fv_status fv_calibration_measure(fv_index *index, size_t count, const float *queries, const fv_parallel *parallel,
                                 fv_message *message) {
    fv_calibration made = {0};
    if (index->rows < 2 * NEAREST) { /* a scan is as good */
        index->calibration = made;
        return FV_OK;
    }
    trial job = {.index = index, .parallel = parallel, .count = queries_of(index->rows, count), .k = NEAREST};
    job.sets = !count && index->config.metric == FV_INDEX_IP ? 2 : 1;
    fv_status status = FV_OK;
    float *scratch = fv_array_new(2 * index->rotated, sizeof *scratch);
    if (!make(&job, !count) || !scratch)
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory to calibrate an index");
    else if (count)
        draw_given(&job, count, queries);
    else
        draw_own(&job, scratch);
    made.queries = (uint32_t)job.count;
    made.vectors = (uint32_t)fv_index_live(index);
    made.is_given = count > 0;
    if (status == FV_OK) status = count_rows(&job, &made, message);
    if (status == FV_OK && index->degree) status = find_truth(&job, message);
    job.open = job.count;
    if (status == FV_OK && index->degree) status = walk(&job, &made, message);
    if (status == FV_OK) index->calibration = made;
    void *all[] = {job.queries, job.number, job.truth, job.lists, job.entries, job.hidden, scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    return status;
}

static fv_status measure_and_publish(fv_index *index, size_t count, const float *queries, const fv_parallel *parallel,
                                     fv_message *message) {
    fv_index measured = *index;
    fv_status status = fv_calibration_measure(&measured, count, queries, parallel, message);
    if (status != FV_OK) return status;
    fv_turn_publish_begin(index->lock);
    index->calibration = measured.calibration;
    fv_turn_publish_end(index->lock);
    return FV_OK;
}

void fv_calibration_follow(fv_index *index, const fv_parallel *parallel) {
    size_t live = fv_index_live(index), before = index->calibration.vectors;
    if (!index->degree || index->calibration.is_given || live < 2 * NEAREST || live < before + before / 2) return;
    (void)measure_and_publish(index, 0, NULL, parallel, NULL); /* no memory: what was measured before stays */
}

fv_status fv_index_calibrate(fv_index *index, size_t count, uint32_t dimension, const float *queries,
                             const fv_parallel *parallel, fv_message *message) {
    if (!index || (count && !queries)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (count && dimension != index->config.dimension)
        return fv_message_set(message, FV_ERROR_SHAPE, "the queries have dimension %" PRIu32 ", the index has %" PRIu32,
                              dimension, index->config.dimension);
    fv_status status = fv_index_inspect(count, index->config.dimension, queries, FV_INDEX_LARGEST, "query", message);
    if (status != FV_OK) return status;
    fv_turn_change_begin(index->lock);
    status = measure_and_publish(index, count, queries, parallel, message);
    fv_turn_change_end(index->lock);
    return status;
}
