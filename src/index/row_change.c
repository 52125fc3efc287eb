/* row_change.c - vectors come and go while others search. What comes is written beyond the rows that readers know of;
 * where a graph is, its rows get edges step by step, dead until all are there. One publishing then makes what came
 * alive and what goes dead. When more than a fifth is dead, the dead are taken out. */
#include "index/row_change.h"
#include "index/compaction.h"
#include "index/graph_growth.h"
#include "index/graph_reach.h"
#include "index/index_choice.h"
#include "index/index_file.h"
#include "index/kept_row.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEAD_SHARE = 5,        /* one in so many, at most */
    FOLD_LEAST = 1024,     /* vectors that may wait in a journal, and one more ... */
    FOLD_BYTES = 256 << 10 /* ... for as many bytes of the file: writing them takes as long as giving it edges */
};

typedef struct row_plan {
    uint64_t *removed;       /* [gone], sorted */
    size_t first, end;       /* rows that come */
    uint8_t *edge;           /* the block that they share with those before; NULL: none */
    fv_graph_growth *growth; /* NULL: there is no graph, or nothing comes */
} row_plan;

/* ---- what is asked for ---- */

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t *sorted_copy(const uint64_t *labels, size_t count) {
    uint64_t *sorted = fv_array_new(count, sizeof *sorted);
    if (sorted && count) memcpy(sorted, labels, count * sizeof *sorted);
    if (sorted && count) qsort(sorted, count, sizeof *sorted, by_value);
    return sorted;
}

static bool has_label(const fv_index *index, uint64_t label) {
    return fv_label_map_find(&index->by_label, index->arrays.labels, label) != FV_NO_ROW;
}

/* Each is there, and once. */
static fv_status check_removed(const fv_index *index, size_t count, const uint64_t *sorted, fv_message *message) {
    for (size_t i = 0; i < count; i++) {
        if (!has_label(index, sorted[i]))
            return fv_message_set(message, FV_ERROR_ARGUMENT, "no vector has the label %" PRIu64, sorted[i]);
        if (i > 0 && sorted[i] == sorted[i - 1])
            return fv_message_set(message, FV_ERROR_ARGUMENT, "the label %" PRIu64 " is to be removed twice",
                                  sorted[i]);
    }
    return FV_OK;
}

/* Each is new, once, and a label. */
static fv_status check_added(const fv_index *index, size_t count, const uint64_t *sorted, size_t gone,
                             const uint64_t *removed, fv_message *message) {
    for (size_t i = 0; i < count; i++) {
        bool goes = gone && bsearch(sorted + i, removed, gone, sizeof *removed, by_value);
        if ((i > 0 && sorted[i] == sorted[i - 1]) || (!goes && has_label(index, sorted[i])))
            return fv_message_set(message, FV_ERROR_ARGUMENT,
                                  "label %" PRIu64 " is there already; remove it first, or use another", sorted[i]);
        if (sorted[i] == FV_INDEX_NO_LABEL)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "label %" PRIu64 " stands for no vector; use another",
                                  sorted[i]);
    }
    return FV_OK;
}

/* Also sorts what goes into the plan. */
static fv_status check_labels(const fv_index *index, const fv_row_change *change, row_plan *plan, fv_message *message) {
    uint64_t *added = sorted_copy(change->labels, change->rows);
    fv_status status = FV_OK;
    plan->removed = sorted_copy(change->removed, change->gone);
    if (!plan->removed || !added)
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for the labels of a change");
    if (status == FV_OK) status = check_removed(index, change->gone, plan->removed, message);
    if (status == FV_OK) status = check_added(index, change->rows, added, change->gone, plan->removed, message);
    free(added);
    return status;
}

/* ---- what comes ---- */

typedef struct put_job {
    fv_index *index;
    const fv_row_change *change;
    size_t room;    /* floats of a worker */
    float *scratch; /* [workers][room]: a vector of length 1; what keeping it wants */
} put_job;

static const float *vector_of(const fv_index *index, const float *vector, float *own) {
    if (index->config.metric != FV_INDEX_COSINE) return vector;
    fv_index_normalise(index->config.dimension, vector, own);
    return own;
}

/* The mean of what comes first; nobody has looked at the centre before. */
static bool put_centre(const put_job *job) {
    fv_index *index = job->index;
    size_t dimension = index->config.dimension, rows = job->change->rows;
    double *sum = fv_array_new(dimension, sizeof *sum);
    if (!sum) return false;
    for (size_t row = 0; row < rows; row++) {
        const float *vector = vector_of(index, job->change->vectors + row * dimension, job->scratch);
        for (size_t i = 0; i < dimension; i++) sum[i] += (double)vector[i];
    }
    fv_turn_publish_begin(index->lock);
    for (size_t i = 0; i < dimension; i++) index->centre[i] = (float)(sum[i] / (double)rows);
    fv_turn_publish_end(index->lock);
    free(sum);
    return true;
}

static void put_task(void *context, size_t task, size_t worker) {
    const put_job *job = context;
    fv_index *index = job->index;
    size_t dimension = index->config.dimension;
    float *own = job->scratch + worker * job->room;
    const float *vector = vector_of(index, job->change->vectors + task * dimension, own);
    fv_kept_put(index, index->rows + task, vector, own + dimension);
    index->arrays.labels[index->rows + task] = FV_INDEX_NO_LABEL;
}

static fv_status put_vectors(fv_index *index, const fv_row_change *change, fv_message *message) {
    size_t workers = change->parallel && change->parallel->workers > 1 ? change->parallel->workers : 1;
    put_job job = {.index = index, .change = change, .room = index->config.dimension + 2 * index->rotated};
    job.scratch = fv_array_new(workers, job.room * sizeof(float));
    bool good = job.scratch && (index->is_centred || put_centre(&job));
    if (good) fv_parallel_run(change->parallel, change->rows, put_task, &job);
    free(job.scratch);
    return good ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu vectors", change->rows);
}

/* All that may fail, where nobody looks. */
static fv_status make_plan(fv_index *index, const fv_row_change *change, row_plan *plan, fv_message *message) {
    plan->first = index->rows;
    plan->end = index->rows + change->rows;
    if (!change->rows) return FV_OK;
    fv_status status = put_vectors(index, change, message);
    if (status == FV_OK && plan->first % FV_BLOCK_CODES) {
        const uint8_t *shared = index->arrays.blocks + plan->first / FV_BLOCK_CODES * fv_index_block_bytes(index);
        plan->edge = fv_array_new(1, fv_index_block_bytes(index));
        if (plan->edge) memcpy(plan->edge, shared, fv_index_block_bytes(index));
        if (!plan->edge) status = fv_message_set(message, FV_ERROR_MEMORY, "no memory to code vectors");
    }
    if (status == FV_OK) status = fv_index_code(index, plan->first, plan->end, plan->edge, change->parallel, message);
    if (status == FV_OK && index->degree)
        status = fv_graph_growth_make(index, change->rows, change->gone, plan->removed, change->parallel, &plan->growth,
                                      message);
    return status;
}

static void free_plan(row_plan *plan) {
    fv_graph_growth_free(plan->growth);
    free(plan->edge);
    free(plan->removed);
}

/* ---- the change ---- */

static fv_status write_down(fv_index *index, const fv_row_change *change, fv_message *message) {
    fv_journal_call call = {change->rows, change->gone, change->labels, change->removed, change->vectors};
    return index->journal ? fv_journal_append(index->journal, &call, message) : FV_OK;
}

static void count_waiting(fv_journal *journal, const fv_row_change *change) {
    journal->waiting.calls++;
    journal->waiting.vectors += change->rows + change->gone;
    journal->waiting.bytes = journal->file.end;
}

/* Takes the journal into the file once reading it costs an opening more than writing the file costs here. */
static void fold(fv_index *index, fv_message *message) {
    fv_journal *journal = index->journal;
    fv_message why = {""};
    if (!journal || journal->waiting.vectors < FOLD_LEAST + journal->waiting.file_bytes / FOLD_BYTES + journal->grace)
        return;
    const char *ending = strrchr(journal->path, '.');
    char path[FV_JOURNAL_PATH] = "";
    memcpy(path, journal->path, (size_t)(ending - journal->path));
    fv_status status = fv_index_write(index, path, &why);
    journal->grace = status == FV_OK ? 0 : journal->waiting.vectors;
    if (status != FV_OK) fv_message_set(message, FV_OK, "the change waits in the journal: %.200s", why.text);
}

static void publish(fv_index *index, const fv_row_change *change, const row_plan *plan) {
    uint64_t *labels = index->arrays.labels;
    fv_turn_publish_begin(index->lock);
    index->rows = plan->end;
    index->dead += plan->growth ? 0 : change->rows; /* growth counted its own */
    for (size_t i = 0; i < change->gone; i++) {
        uint32_t row = fv_label_map_find(&index->by_label, labels, change->removed[i]);
        fv_label_map_drop(&index->by_label, labels, row);
        labels[row] = FV_INDEX_NO_LABEL;
    }
    for (size_t i = 0; i < change->rows; i++) {
        labels[plan->first + i] = change->labels[i];
        fv_label_map_put(&index->by_label, labels, (uint32_t)(plan->first + i));
    }
    index->dead = index->dead + change->gone - change->rows;
    index->is_centred |= change->rows > 0;
    if (index->journal) count_waiting(index->journal, change);
    fv_turn_publish_end(index->lock);
}

static void put_edge(fv_index *index, const row_plan *plan) {
    if (!plan->edge) return;
    fv_turn_publish_begin(index->lock);
    memcpy(index->arrays.blocks + plan->first / FV_BLOCK_CODES * fv_index_block_bytes(index), plan->edge,
           fv_index_block_bytes(index));
    fv_turn_publish_end(index->lock);
}

fv_status fv_index_apply(fv_index *index, const fv_row_change *change, fv_message *message) {
    row_plan plan = {0};
    fv_status status = FV_OK;
    if (index->degree && change->rows >= fv_graph_most_rows(index) - index->rows)
        status =
            fv_message_set(message, FV_ERROR_OVERFLOW, "%zu more vectors are more than a graph holds", change->rows);
    if (status == FV_OK) status = fv_index_own(index, index->rows + change->rows, message);
    if (status == FV_OK) status = check_labels(index, change, &plan, message);
    if (status == FV_OK) status = fv_graph_stretch(index, change->rows, change->vectors, message);
    if (status == FV_OK) status = make_plan(index, change, &plan, message);
    if (status == FV_OK) status = write_down(index, change, message);
    if (status == FV_OK) {
        put_edge(index, &plan);
        if (plan.growth) fv_graph_growth_run(plan.growth);
        publish(index, change, &plan);
        if (index->dead * DEAD_SHARE > index->rows) fv_index_compact(index, change->parallel);
        fv_calibration_follow(index, change->parallel);
        fold(index, message);
    }
    free_plan(&plan);
    return status;
}

/* ---- the calls ---- */

static fv_status check_rows(const fv_index *index, size_t rows, uint32_t dimension, const float *vectors,
                            fv_message *message) {
    if (!index || (!vectors && rows)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (dimension != index->config.dimension)
        return fv_message_set(message, FV_ERROR_SHAPE, "the vectors have dimension %" PRIu32 ", the index has %" PRIu32,
                              dimension, index->config.dimension);
    return fv_index_inspect(rows, dimension, vectors, fv_kept_largest(index), "vector", message);
}

static fv_status apply(fv_index *index, const fv_row_change *change, fv_message *message) {
    if (change->rows >= FV_INDEX_ROWS - index->rows)
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%zu more vectors are more than an index holds",
                              change->rows);
    return fv_index_apply(index, change, message);
}

fv_status fv_index_add(fv_index *index, size_t rows, uint32_t dimension, const float *vectors, const uint64_t *labels,
                       const fv_parallel *parallel, fv_message *message) {
    fv_status status = check_rows(index, rows, dimension, vectors, message);
    if (status != FV_OK || !rows) return status;
    uint64_t *numbers = labels ? NULL : fv_array_new(rows, sizeof *numbers);
    if (!labels && !numbers) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for %zu labels", rows);
    fv_turn_change_begin(index->lock);
    for (size_t i = 0; numbers && i < rows; i++) numbers[i] = fv_index_live(index) + i;
    fv_row_change change = {
        .rows = rows, .vectors = vectors, .labels = labels ? labels : numbers, .parallel = parallel};
    status = apply(index, &change, message);
    fv_turn_change_end(index->lock);
    free(numbers);
    return status;
}

fv_status fv_index_update(fv_index *index, size_t rows, uint32_t dimension, const float *vectors,
                          const uint64_t *labels, const fv_parallel *parallel, fv_message *message) {
    fv_status status = check_rows(index, rows, dimension, vectors, message);
    if (status != FV_OK || !rows) return status;
    if (!labels) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_change_begin(index->lock);
    fv_row_change change = {
        .rows = rows, .vectors = vectors, .labels = labels, .gone = rows, .removed = labels, .parallel = parallel};
    status = apply(index, &change, message);
    fv_turn_change_end(index->lock);
    return status;
}

fv_status fv_index_remove(fv_index *index, size_t count, const uint64_t *labels, fv_message *message) {
    if (!index || (!labels && count)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (!count) return FV_OK;
    fv_turn_change_begin(index->lock);
    fv_status status = apply(index, &(fv_row_change){.gone = count, .removed = labels}, message);
    fv_turn_change_end(index->lock);
    return status;
}
