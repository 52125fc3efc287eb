/* graph_build.c - makes the graph. From near neighbours on (graph_start.h), every round walks to each vector by the
 * graph of the round before, and keeps of what it met those that no nearer one occludes; edges are then made to go both
 * ways, and rows are filled up to the degree with the nearest that were left out. A round reads nothing but the graph
 * before it, vector by vector: the same graph for any number of threads, at the price of a second copy of all lists. */
#include "index/code_table.h"
#include "index/compaction.h"
#include "index/graph_degree.h"
#include "index/graph_edges.h"
#include "index/graph_start.h"
#include "index/index_choice.h"
#include "index/kac_rotation.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 4, PART = 512 }; /* vectors that a worker walks for in turns; groups between two words of progress */

typedef struct build_scratch {
    fv_walk walks[GROUP];
    uint8_t *tables;      /* [GROUP][4 * rotated] */
    fv_visit *candidates; /* [room] */
    uint32_t *kept;       /* [degree] */
    float *less;          /* [2 * rotated] */
} build_scratch;

typedef struct build_job {
    fv_index *index; /* with wide rows */
    uint32_t degree;
    size_t room;            /* candidates of a vector, at most */
    float *rotated;         /* [rows][index->rotated], of vectors less the centre */
    uint32_t *order;        /* [rows]: whose turn it is, near ones together, for what they look at is the same */
    uint32_t *lists;        /* [rows][degree], of this round: kept ones, then the nearest others, then the row itself */
    uint32_t *counts;       /* [rows], of kept ones: in the list, and once rows are joined in the row */
    size_t *back;           /* [rows + 1]: where a row's list in back_rows begins */
    uint32_t *back_rows;    /* [rows * degree]: who has an edge to it */
    build_scratch *scratch; /* [workers] */
    uint64_t seed;
    uint32_t longest[FV_GRAPH_DEGREE + 1]; /* of inner products: rows, the longest first; at most degree + 1 */
    double squares[FV_GRAPH_DEGREE + 1];   /* of their lengths */
    size_t longest_count;
    size_t first; /* group of vectors of the part that runs */
} build_job;

/* ---- a round ---- */

/* What a vector's walk visited, and its neighbours so far. beam: of that walk, or empty. */
static void take_walk(const build_job *job, size_t row, fv_beam *beam, fv_visit *candidates) {
    const fv_index *index = job->index;
    size_t count = 0;
    for (size_t i = 0; i < beam->visit_count && count < job->room; i++)
        candidates[count++] = fv_graph_visited(index, row, beam->visits + i);
    const uint32_t *ids = fv_graph_ids(index, row);
    for (size_t i = 0; i < job->degree && count < job->room; i++)
        if (fv_beam_mark(beam, ids[i])) candidates[count++] = fv_graph_candidate(index, row, ids[i]);
    count = fv_graph_order(candidates, count, (uint32_t)row);
    job->counts[row] = (uint32_t)fv_graph_prune(index, candidates, count, job->degree);
    for (size_t i = 0; i < job->degree; i++)
        job->lists[row * job->degree + i] = i < count ? candidates[i].row : (uint32_t)row;
}

/* Neighbours by the lists that the graph begins with. */
static void start_task(void *context, size_t task, size_t worker) {
    const build_job *job = context;
    fv_beam *none = &job->scratch[worker].walks[0].beam;
    size_t row = job->order[task];
    memcpy(fv_graph_ids(job->index, row), job->lists + row * job->degree, job->degree * sizeof *job->lists);
    fv_beam_begin(none);
    take_walk(job, row, none, job->scratch[worker].candidates);
}

static void walk_task(void *context, size_t task, size_t worker) {
    const build_job *job = context;
    const fv_index *index = job->index;
    build_scratch *scratch = job->scratch + worker;
    size_t first = (job->first + task) * GROUP, rest = index->rows - first, count = rest < GROUP ? rest : GROUP;
    const uint32_t *rows = job->order + first;
    for (size_t i = 0; i < count; i++) {
        fv_walk *walk = scratch->walks + i;
        uint8_t *table = scratch->tables + i * 4 * index->rotated;
        float step = fv_code_table_make(index->rotated, job->rotated + rows[i] * index->rotated, table);
        walk->probe = (fv_probe){.vector = fv_index_row(index, rows[i]), .weight = 1};
        walk->table = table;
        walk->query = (fv_scan_query){.zero = (int32_t)(FV_TABLE_ZERO * (index->rotated / 4)), .step = step};
    }
    fv_graph_walk(index, scratch->walks, count, 0);
    for (size_t i = 0; i < count; i++) take_walk(job, rows[i], &scratch->walks[i].beam, scratch->candidates);
}

/* Who has an edge to whom, in rising order. */
static void turn_edges(const build_job *job) {
    size_t rows = job->index->rows;
    memset(job->back, 0, (rows + 1) * sizeof *job->back);
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < job->counts[row]; i++) job->back[job->lists[row * job->degree + i] + 1]++;
    for (size_t row = 0; row < rows; row++) job->back[row + 1] += job->back[row];
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < job->counts[row]; i++)
            job->back_rows[job->back[job->lists[row * job->degree + i]]++] = (uint32_t)row;
    for (size_t row = rows; row > 0; row--) job->back[row] = job->back[row - 1]; /* they ran one list ahead */
    job->back[0] = 0;
}

/* The new neighbours of a vector, into its row: edges both ways, those that are not occluded first; then the nearest
 * that were left out, what it had before, and rows by chance. */
static void join_task(void *context, size_t task, size_t worker) {
    const build_job *job = context;
    build_scratch *scratch = job->scratch + worker;
    uint32_t self = job->order[task], *ids = fv_graph_ids(job->index, self);
    size_t count = 0, rows = job->index->rows;
    for (size_t i = 0; i < job->counts[self]; i++)
        scratch->candidates[count++] = fv_graph_candidate(job->index, self, job->lists[self * job->degree + i]);
    for (size_t i = job->back[self]; i < job->back[self + 1] && count < job->room; i++)
        scratch->candidates[count++] = fv_graph_candidate(job->index, self, job->back_rows[i]);
    count = fv_graph_order(scratch->candidates, count, self);
    size_t kept = fv_graph_prune(job->index, scratch->candidates, count, job->degree);
    if (count > job->degree) count = job->degree;
    for (size_t i = job->counts[self]; i < job->degree && count < job->degree;
         i++) { /* the nearest that were occluded */
        uint32_t other = job->lists[self * job->degree + i];
        bool is_there = other == self;
        for (size_t j = 0; j < count && !is_there; j++) is_there = scratch->candidates[j].row == other;
        if (!is_there) scratch->candidates[count++].row = other;
    }
    for (size_t i = 0; i < job->degree; i++)
        scratch->kept[i] =
            i < count ? scratch->candidates[i].row : (uint32_t)(fv_splitmix(job->seed, self * job->degree + i) % rows);
    memcpy(ids, scratch->kept, job->degree * sizeof *ids);
    job->counts[self] = (uint32_t)kept;
}

/* ---- codes ---- */

static void rotate_task(void *context, size_t task, size_t worker) {
    const build_job *job = context;
    const fv_index *index = job->index;
    float *less = job->scratch[worker].less;
    for (size_t i = 0; i < index->config.dimension; i++) less[i] = fv_index_row(index, task)[i] - index->centre[i];
    fv_kac_rotate(index->config.seed, index->config.dimension, less, job->rotated + task * index->rotated);
}

static void code_task(void *context, size_t task, size_t worker) {
    const build_job *job = context;
    const fv_index *index = job->index;
    size_t row = job->order[task];
    const uint32_t *ids = fv_graph_ids(index, row);
    for (size_t i = 0; i < job->degree; i++)
        index->kernels->scan_fetch(job->rotated + ids[i] * index->rotated, index->rotated * sizeof(float));
    for (size_t i = 0; i < job->degree; i++)
        fv_graph_code(index, fv_graph_blocks(index, row), i, job->rotated + row * index->rotated,
                      job->rotated + ids[i] * index->rotated, fv_graph_rest(index, ids[i]), job->scratch[worker].less);
}

/* ---- the whole ---- */

/* Of equally long ones the row that came first. */
static void offer_longest(build_job *job, uint32_t row, double square) {
    size_t place = job->longest_count;
    if (place > job->degree && !(square > job->squares[place - 1])) return;
    if (place > job->degree) place--;
    for (job->longest_count = place + 1; place > 0 && square > job->squares[place - 1]; place--) {
        job->longest[place] = job->longest[place - 1];
        job->squares[place] = job->squares[place - 1];
    }
    job->longest[place] = row;
    job->squares[place] = square;
}

/* Lengths are made equal for products; the entry is what is nearest to the centre. */
static void begin_rows(build_job *job) {
    fv_index *index = job->index;
    size_t dimension = index->config.dimension;
    bool has_rest = fv_graph_has_rest(index);
    float nearest = INFINITY;
    for (size_t row = 0; row < index->rows && has_rest; row++)
        offer_longest(job, (uint32_t)row,
                      fv_index_product(dimension, fv_index_row(index, row), fv_index_row(index, row)));
    double most = has_rest ? job->squares[0] : 0;
    index->reach = most;
    for (size_t row = 0; row < index->rows; row++) {
        const float *vector = fv_index_row(index, row);
        double rest = most - fv_index_product(dimension, vector, vector);
        if (has_rest)
            index->arrays.vectors[row * index->row_bytes / sizeof(float) + dimension] =
                rest > 0 ? (float)sqrt(rest) : 0;
        float distance = index->kernels->scan_distance(dimension, vector, index->centre);
        if (distance < nearest) index->entry = (uint32_t)row;
        nearest = distance < nearest ? distance : nearest;
    }
}

/* Searches for products begin at the longest vectors, for most of what is wanted lies among such: they are the
 * neighbours of the entry. Walks to vectors, which are of any length, do not. */
static void lead_to_longest(const build_job *job) {
    uint32_t entry = job->longest[0], *ids = fv_graph_ids(job->index, entry);
    if (job->longest_count <= job->degree) return;
    memcpy(ids, job->longest + 1, job->degree * sizeof *ids);
    job->counts[entry] = job->degree;
    job->index->entry = entry;
}

/* Puts a row in the place of the last neighbour of `other` that others have, too. */
static void take_edge(const build_job *job, uint32_t row, uint32_t other) {
    uint32_t *ids = fv_graph_ids(job->index, other);
    for (size_t i = job->degree; other != row && i-- > 0;) {
        if (job->back[ids[i]] < 2) continue;
        job->back[ids[i]]--;
        job->back[row]++;
        ids[i] = row;
        return;
    }
}

/* Of the neighbours of `other` that were not kept the last one that enough others have, too; degree: there is none, or
 * `row` is one. */
static size_t spare_lane(const build_job *job, uint32_t row, uint32_t other, size_t enough) {
    const uint32_t *ids = fv_graph_ids(job->index, other);
    size_t lane = job->degree;
    for (size_t i = 0; i < job->degree; i++) {
        if (ids[i] == row) return job->degree;
        if (i >= job->counts[other] && ids[i] != other && job->back[ids[i]] >= enough) lane = i;
    }
    return lane;
}

/* A row that is the neighbour of few, as those around are that of too many, is met late or never: near ones take it in
 * the place of such. */
static void support(const build_job *job, uint32_t row) {
    size_t least = job->degree * 3 / 8;
    for (size_t i = 0; i < job->degree && job->back[row] < least; i++) {
        uint32_t other = job->lists[row * job->degree + i];
        size_t lane = other == row ? job->degree : spare_lane(job, row, other, 2 * least);
        if (lane == job->degree) continue;
        uint32_t *place = fv_graph_ids(job->index, other) + lane;
        job->back[*place]--;
        job->back[row]++;
        *place = row;
    }
}

/* A row that is nobody's neighbour would never be met: the nearest of its own that can takes it. */
static void leave_none_out(const build_job *job) {
    size_t rows = job->index->rows;
    memset(job->back, 0, (rows + 1) * sizeof *job->back);
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < job->degree; i++) {
            uint32_t other = fv_graph_ids(job->index, row)[i];
            job->back[other] += other != row;
        }
    for (uint32_t row = 0; row < rows; row++) support(job, row);
    for (uint32_t row = 0; row < rows; row++)
        for (size_t i = 0; i < job->degree && !job->back[row]; i++)
            take_edge(job, row, fv_graph_ids(job->index, row)[i]);
}

/* Edges from lists, and codes. */
static void join(build_job *job, bool is_last, const fv_parallel *parallel) {
    size_t rows = job->index->rows;
    job->seed += FV_SPLITMIX_STEP;
    turn_edges(job);
    fv_parallel_run(parallel, rows, join_task, job);
    if (is_last) lead_to_longest(job);
    leave_none_out(job);
    fv_parallel_run(parallel, rows, code_task, job);
}

/* In parts, if somebody wants to know. False: it is to stop. */
static bool walk_all(build_job *job, const fv_index_link_config *config, uint32_t round, const fv_parallel *parallel) {
    size_t rows = job->index->rows, groups = (rows + GROUP - 1) / GROUP, part = config->progress ? PART : groups;
    for (job->first = 0; job->first < groups; job->first += part) {
        size_t rest = groups - job->first, count = rest < part ? rest : part;
        fv_parallel_run(parallel, count, walk_task, job);
        size_t done = rest > part ? (job->first + part) * GROUP : rows;
        if (config->progress && !config->progress(config->progress_context, round * rows + done, config->rounds * rows))
            return false;
    }
    return true;
}

/* FV_OK, FV_ERROR_MEMORY, FV_ERROR_INTERRUPTED. */
static fv_status run_rounds(build_job *job, const fv_index_link_config *config, const fv_parallel *parallel) {
    size_t rows = job->index->rows;
    begin_rows(job);
    fv_parallel_run(parallel, rows, rotate_task, job);
    job->seed = job->index->config.seed;
    if (!fv_graph_start(job->index, job->seed, job->degree, job->lists, job->order, parallel)) return FV_ERROR_MEMORY;
    fv_parallel_run(parallel, rows, start_task, job);
    join(job, config->rounds == 0, parallel);
    for (uint32_t round = 0; round < config->rounds; round++) {
        if (!walk_all(job, config, round, parallel)) return FV_ERROR_INTERRUPTED;
        join(job, round + 1 == config->rounds, parallel);
    }
    return FV_OK;
}

static bool make_job(build_job *job, size_t workers, size_t beam) {
    const fv_index *index = job->index;
    size_t rows = index->rows;
    job->rotated = fv_array_new(rows, index->rotated * sizeof *job->rotated);
    job->order = fv_array_new(rows, sizeof *job->order);
    job->lists = fv_array_new(rows, job->degree * sizeof *job->lists);
    job->counts = fv_array_new(rows, sizeof *job->counts);
    job->back = fv_array_new(rows + 1, sizeof *job->back);
    job->back_rows = fv_array_new(rows, job->degree * sizeof *job->back_rows);
    job->scratch = fv_array_new(workers, sizeof *job->scratch);
    bool good = job->rotated && job->order && job->lists && job->counts && job->back && job->back_rows && job->scratch;
    for (size_t i = 0; good && i < workers; i++) {
        build_scratch *scratch = job->scratch + i;
        for (size_t j = 0; good && j < GROUP; j++) good = fv_graph_beam_make(index, beam, &scratch->walks[j].beam);
        job->room = scratch->walks[0].beam.most_visits + 16 * job->degree;
        scratch->candidates = fv_array_new(job->room + job->degree, sizeof *scratch->candidates);
        scratch->kept = fv_array_new(job->degree, sizeof *scratch->kept);
        scratch->tables = fv_array_new(GROUP * 4, index->rotated);
        scratch->less = fv_array_new(2 * index->rotated, sizeof *scratch->less);
        good = good && scratch->candidates && scratch->kept && scratch->tables && scratch->less;
    }
    return good;
}

static void free_job(build_job *job, size_t workers) {
    for (size_t i = 0; job->scratch && i < workers; i++) {
        for (size_t j = 0; j < GROUP; j++) fv_beam_free(&job->scratch[i].walks[j].beam);
        free(job->scratch[i].candidates);
        free(job->scratch[i].kept);
        free(job->scratch[i].tables);
        free(job->scratch[i].less);
    }
    void *all[] = {job->rotated, job->order, job->lists, job->counts, job->back, job->back_rows, job->scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

void fv_index_link_config_default(fv_index_link_config *config) { *config = (fv_index_link_config){.beam = 200}; }

static fv_status check_link(const fv_index *index, const fv_index_link_config *config, fv_message *message) {
    if (!index || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (config->degree > FV_GRAPH_DEGREE || config->degree % FV_BLOCK_CODES)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "degree is %" PRIu32 ": 0 and multiples of %d up to %d are allowed", config->degree,
                              FV_BLOCK_CODES, FV_GRAPH_DEGREE);
    if (config->beam < 1 || config->beam > FV_INDEX_BEAM || config->rounds > 16)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "beam is %" PRIu32 " and rounds %" PRIu32 ": 1 to %d and 0 to 16 are allowed",
                              config->beam, config->rounds, FV_INDEX_BEAM);
    if (config->if_less > 1 || config->lean > 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "if_less is %" PRIu32 ", lean is %" PRIu32 ": 0 and 1 are allowed", config->if_less,
                              config->lean);
    for (size_t i = 0; i < sizeof config->reserved / sizeof config->reserved[0]; i++)
        if (config->reserved[i]) return fv_message_set(message, FV_ERROR_ARGUMENT, "a reserved field is not 0");
    return FV_OK;
}

/* Rows of f32 with codes of neighbours, which the graph is made with. scratch [2][rotated]. False: no memory. */
static bool make_wide(const fv_index *index, uint32_t degree, float *scratch, fv_index *wide) {
    *wide = *index;
    wide->config.row_type = FV_INDEX_F32;
    wide->degree = degree;
    wide->is_lean = wide->is_packed = false;
    wide->kept_bytes = fv_kept_bytes(wide);
    wide->row_bytes = fv_graph_row_bytes(wide, degree);
    wide->arrays.vectors = fv_array_new_huge(index->rows, wide->row_bytes);
    for (size_t row = 0; wide->arrays.vectors && row < index->rows; row++)
        fv_kept_get(index, row, (float *)(uintptr_t)fv_index_row(wide, row), scratch);
    return wide->arrays.vectors != NULL;
}

/* Rows as they are kept with what the graph has of them, in place of the wide ones. False: no memory. */
static bool narrow(const fv_index *index, bool is_lean, fv_index *wide) {
    fv_index made = *wide;
    if (index->config.row_type == FV_INDEX_F32 && !is_lean) return true;
    made.config = index->config;
    made.is_lean = is_lean;
    made.is_packed = is_lean && fv_row_bits(&made) && made.rows < FV_PACKED_BEGIN;
    made.kept_bytes = index->kept_bytes;
    made.row_bytes = fv_graph_row_bytes(&made, made.degree);
    made.arrays.vectors = fv_array_new_huge(made.rows, made.row_bytes);
    size_t blocks = made.degree / FV_BLOCK_CODES * fv_graph_block_bytes(&made);
    for (size_t row = 0; made.arrays.vectors && row < made.rows; row++) {
        uint8_t *to = (uint8_t *)(uintptr_t)fv_index_row(&made, row);
        float rest = fv_graph_rest(wide, row);
        memcpy(to, fv_index_row(index, row), made.kept_bytes);
        if (fv_graph_has_rest(wide)) memcpy(to + fv_graph_rest_offset(&made), &rest, sizeof rest);
        memcpy(fv_graph_blocks(&made, row), fv_graph_blocks(wide, row), blocks);
        for (size_t i = 0; i < made.degree; i++)
            fv_graph_tail_put(&made, fv_graph_blocks(&made, row), i, fv_graph_ids(wide, row)[i]);
    }
    if (!made.arrays.vectors) return false;
    free(wide->arrays.vectors);
    *wide = made;
    return true;
}

static fv_status link_rows(fv_index *index, const fv_index_link_config *config, const fv_parallel *parallel,
                           fv_message *message) {
    size_t workers = parallel && parallel->workers > 1 ? parallel->workers : 1, rows = index->rows;
    fv_index wide = {0};
    float *scratch = fv_array_new(2 * index->rotated, sizeof *scratch);
    build_job job = {.index = &wide, .degree = config->degree};
    bool good = scratch && make_wide(index, config->degree, scratch, &wide) && make_job(&job, workers, config->beam);
    fv_status status = !good ? FV_ERROR_MEMORY : rows ? run_rounds(&job, config, parallel) : FV_OK;
    free_job(&job, workers);
    free(scratch);
    if (status == FV_OK && !narrow(index, config->lean, &wide)) status = FV_ERROR_MEMORY;
    if (status == FV_OK) status = fv_calibration_measure(&wide, 0, NULL, parallel, NULL);
    if (status != FV_OK || (config->if_less && !fv_walks_are_less(&wide))) {
        free(wide.arrays.vectors);
        if (status == FV_OK) return FV_OK; /* scans are less */
        if (status == FV_ERROR_INTERRUPTED) return fv_message_set(message, status, "stopped");
        return fv_message_set(message, status, "no memory for a graph of %zu vectors", rows);
    }
    fv_turn_publish_begin(index->lock);
    free(index->arrays.vectors);
    wide.capacity = rows;
    fv_index_assign(index, &wide);
    fv_turn_publish_end(index->lock);
    return FV_OK;
}

/* Measures scans; false: no graph can be less work. */
static bool is_worth_a_try(fv_index *index, uint32_t degree, const fv_parallel *parallel, fv_status *status,
                           fv_message *message) {
    fv_index flat = *index;
    flat.degree = 0;
    *status = fv_calibration_measure(&flat, 0, NULL, parallel, message);
    if (*status == FV_OK && !index->degree) {
        fv_turn_publish_begin(index->lock);
        index->calibration = flat.calibration;
        fv_turn_publish_end(index->lock);
    }
    return *status == FV_OK && fv_walks_may_be_less(&flat, degree ? degree : FV_GRAPH_DEGREE_LEAST);
}

fv_status fv_index_link(fv_index *index, const fv_index_link_config *config, const fv_parallel *parallel,
                        fv_message *message) {
    fv_status status = check_link(index, config, message);
    if (status != FV_OK) return status;
    fv_index_link_config whole = *config;
    if (!whole.rounds) whole.rounds = 1;
    config = &whole;
    fv_turn_change_begin(index->lock);
    if (index->rows >= FV_BEAM_ROWS)
        status = fv_message_set(message, FV_ERROR_OVERFLOW, "%zu vectors are more than a graph holds", index->rows);
    if (status == FV_OK) status = fv_index_own(index, index->rows, message);
    if (status == FV_OK && index->dead && !fv_index_compact(index, parallel))
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory to take removed vectors out");
    if (status == FV_OK && (!config->if_less || is_worth_a_try(index, whole.degree, parallel, &status, message))) {
        if (!whole.degree) whole.degree = fv_graph_degree_for(index, whole.lean, parallel);
        status = link_rows(index, &whole, parallel, message);
    }
    fv_turn_change_end(index->lock);
    return status;
}
