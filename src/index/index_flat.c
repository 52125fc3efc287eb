/* index_flat.c - the scan of all codes. A task is a group of queries and a shard of rows: a block of codes is read once
 * for the group. Rows are taken in chunks, first all codes of a chunk, then the rows whose bounds are under the limit;
 * a list that is not full yet takes those of the smallest bounds first, so that its limit is a good one soon. Tasks are
 * cut by numbers of rows alone and share nothing, so that results are the same for any number of threads. */
#include "index/code_table.h"
#include "index/index_search.h"
#include "index/kac_rotation.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROUP = 8,  /* queries that share a block */
    AHEAD = 4,  /* blocks of which rows are fetched */
    CHUNK = 64, /* blocks: with bounds they fit the second cache */
    CHUNK_ROWS = CHUNK * FV_BLOCK_CODES,
    SHARD = 64 * CHUNK, /* blocks of a task: 131,072 rows */
    BATCH = 1024,       /* queries that are ready at a time */
    KEPT = 1 << 22      /* entries of lists at a time, about */
};

/* ---- queries ---- */

static double length(size_t n, const float *x) { return sqrt(fv_index_product(n, x, x)); }

/* index.c says how the centre takes part. 2^-17: rounding of exact distances, as much again as it took off the codes.
 */
static void ready_query(const fv_index *index, const fv_index_search *search, const float *vector,
                        const fv_ready_queries *made, size_t slot, float *scratch) {
    fv_scan_query *out = made->query + slot;
    uint8_t *table = made->table + slot * 4 * index->rotated;
    size_t dimension = index->config.dimension;
    float *less = scratch, *rotated = scratch + index->rotated;
    double weight = 1, size = length(dimension, vector), along = fv_index_product(dimension, vector, index->centre);
    double centre = length(dimension, index->centre);
    bool l2 = index->config.metric == FV_INDEX_L2;
    if (!l2) weight = centre > 0 ? along / (centre * centre) : 0;
    for (size_t i = 0; i < dimension; i++) less[i] = (float)((double)vector[i] - weight * (double)index->centre[i]);
    double rest = length(dimension, less);
    fv_kac_rotate(index->config.seed, dimension, less, rotated);
    made->probe[slot] = fv_probe_make(index, vector, weight, rotated, made->level + slot * index->rotated);
    out->step = fv_code_table_make(index->rotated, rotated, table);
    out->zero = (int32_t)(FV_TABLE_ZERO * (index->rotated / 4));
    out->weight = (float)weight;
    out->base = (float)(l2 ? rest * rest * (1 - 0x1p-17) : 1 - along - 0x1p-17 * (1 + centre * size));
    out->spread = (float)((double)search->confidence * rest + 0x1p-7 * (l2 ? rest : size));
}

bool fv_ready_make(const fv_index *index, size_t count, fv_ready_queries *ready) {
    *ready = (fv_ready_queries){fv_array_new(count, index->config.dimension * sizeof(float)),
                                fv_array_new(count, 4 * index->rotated), fv_array_new(count, sizeof *ready->query),
                                fv_array_new(count, sizeof *ready->probe),
                                fv_array_new(count, index->rotated * sizeof *ready->level)};
    return ready->vector && ready->table && ready->query && ready->probe && ready->level;
}

void fv_ready_free(fv_ready_queries *ready) {
    void *all[] = {ready->vector, ready->table, ready->query, ready->probe, ready->level};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

void fv_index_ready(const fv_index *index, const fv_index_search *search, size_t first, size_t count,
                    const fv_ready_queries *out, float *scratch) {
    size_t dimension = index->config.dimension;
    for (size_t i = 0; i < count; i++) {
        const float *query = search->queries + (first + i) * dimension;
        float *vector = out->vector + i * dimension;
        if (index->config.metric == FV_INDEX_COSINE)
            fv_index_normalise(dimension, query, vector);
        else
            memcpy(vector, query, dimension * sizeof *vector);
        ready_query(index, search, vector, out, i, scratch);
    }
}

bool fv_index_allows(const fv_index_search *search, uint64_t label) {
    if (label == FV_INDEX_NO_LABEL) return false;
    if (search->filter_bits &&
        (label / 64 >= search->filter_words || !(search->filter_bits[label / 64] >> label % 64 & 1)))
        return false;
    return !search->filter || search->filter(search->filter_context, label);
}

float fv_index_distance(const fv_index *index, const fv_probe *probe, size_t row) {
    return index->config.metric == FV_INDEX_L2 ? fv_kept_distance(index, probe, row)
                                               : 1 - fv_kept_product(index, probe, row);
}

/* ---- a task ---- */

typedef struct flat_scratch {
    float low[GROUP][CHUNK_ROWS];
    uint32_t under[GROUP][CHUNK];
    fv_near seeds[CHUNK_ROWS];
} flat_scratch;

typedef struct flat_job {
    const fv_index *index;
    const fv_index_search *search;
    const fv_flat_subset *subset; /* NULL: all */
    const uint8_t *blocks;        /* of codes */
    size_t rows;                  /* that have them */
    size_t first, count;          /* queries of the batch */
    size_t shards;
    fv_ready_queries ready;
    fv_near_list *lists;      /* [count][shards] */
    flat_scratch *scratch;    /* [workers] */
    float *rotated;           /* [workers][2 * rotated] */
    fv_search_counts *counts; /* [tasks] */
} flat_job;

static void ready_task(void *context, size_t task, size_t worker) {
    const flat_job *job = context;
    fv_ready_queries out = {job->ready.vector + task * job->index->config.dimension,
                            job->ready.table + task * 4 * job->index->rotated, job->ready.query + task,
                            job->ready.probe + task, job->ready.level + task * job->index->rotated};
    fv_index_ready(job->index, job->search, job->first + task, 1, &out,
                   job->rotated + worker * 2 * job->index->rotated);
}

/* The row of a code. */
static size_t row_of(const flat_job *job, size_t code) { return job->subset ? job->subset->rows[code] : code; }

static bool is_allowed(const flat_job *job, size_t code) {
    return job->subset || fv_index_allows(job->search, job->index->arrays.labels[code]);
}

/* The bound by the finer code, as by that of one bit: scan_kernels.h. */
static float fine_bound(const flat_job *job, size_t query, size_t row) {
    const fv_index *index = job->index;
    const fv_scan_query *of = job->ready.query + query;
    const fv_query_levels *levels = &job->ready.probe[query].levels;
    size_t bits = index->config.refine_bits;
    const uint8_t *code = fv_index_fine(index, row);
    const float *factors = (const float *)(const void *)(code + fv_level_code_bytes(index->rotated, bits));
    int32_t sum = index->kernels->scan_levels(index->rotated, bits, code, levels->level);
    float near = (factors[0] * of->weight + of->base) + factors[1] * fv_level_product(levels, bits, sum);
    return near - factors[2] * of->spread;
}

static void take_row(const flat_job *job, size_t query, size_t code, fv_near_list *list, fv_search_counts *counts) {
    if (!is_allowed(job, code)) return;
    size_t row = row_of(job, code);
    if (job->index->fine_bytes && fv_near_limit(list) < INFINITY) {
        counts->fine++;
        if (!(fine_bound(job, query, row) < fv_near_limit(list))) return;
    }
    uint64_t label = job->index->arrays.labels[row];
    fv_near_offer(list, fv_index_distance(job->index, job->ready.probe + query, row), label);
    counts->rows++;
}

/* The rows of the smallest bounds, as many as the list may hold; they are done then. */
static void take_seeds(const flat_job *job, size_t query, size_t first_block, flat_scratch *scratch, size_t slot,
                       fv_near_list *list, fv_search_counts *counts) {
    fv_near_list seeds = {.entries = scratch->seeds, .most = list->most, .radius = INFINITY};
    for (size_t i = 0; i < CHUNK_ROWS; i++) {
        if (!(scratch->under[slot][i / 32] >> i % 32 & 1)) continue;
        if (fv_near_limit(&seeds) <= scratch->low[slot][i]) continue;
        if (is_allowed(job, first_block * FV_BLOCK_CODES + i)) fv_near_offer(&seeds, scratch->low[slot][i], i);
    }
    for (size_t i = 0; i < seeds.count; i++) {
        size_t place = (size_t)seeds.entries[i].label;
        scratch->under[slot][place / 32] &= ~(1u << place % 32);
        take_row(job, query, first_block * FV_BLOCK_CODES + place, list, counts);
    }
}

/* Rows of a block that will be computed soon. */
static void fetch_rows(const flat_job *job, const flat_scratch *scratch, size_t slot, size_t first_block, size_t block,
                       float limit) {
    uint32_t under = scratch->under[slot][block];
    for (size_t t = 0; under; t++, under >>= 1) {
        if (!(under & 1) || !(scratch->low[slot][block * 32 + t] < limit)) continue;
        size_t row = row_of(job, (first_block + block) * FV_BLOCK_CODES + t);
        const void *first = job->index->fine_bytes ? (const void *)fv_index_fine(job->index, row)
                                                   : (const void *)fv_index_row(job->index, row);
        job->index->kernels->scan_fetch(first,
                                        job->index->fine_bytes ? job->index->fine_bytes : job->index->kept_bytes);
    }
}

static void take_chunk(const flat_job *job, size_t query, size_t first_block, size_t blocks, flat_scratch *scratch,
                       size_t slot, fv_near_list *list, fv_search_counts *counts) {
    for (size_t block = blocks; block < CHUNK; block++) scratch->under[slot][block] = 0;
    if (list->count < list->most && list->most < CHUNK_ROWS)
        take_seeds(job, query, first_block, scratch, slot, list, counts);
    float limit = fv_near_limit(list);
    for (size_t block = 0; block < blocks; block++) {
        uint32_t under = scratch->under[slot][block];
        if (block + AHEAD < blocks) fetch_rows(job, scratch, slot, first_block, block + AHEAD, limit);
        for (size_t t = 0; under; t++, under >>= 1) {
            if (!(under & 1) || !(scratch->low[slot][block * 32 + t] < limit)) continue;
            take_row(job, query, (first_block + block) * FV_BLOCK_CODES + t, list, counts);
            limit = fv_near_limit(list);
        }
    }
}

/* Codes of one block for the queries of the group. */
static void scan_block(const flat_job *job, size_t query, size_t queries, size_t block, size_t place,
                       const float *limit, flat_scratch *scratch) {
    const fv_index *index = job->index;
    const fv_scan_kernels *kernels = index->kernels;
    const uint8_t *codes = job->blocks + block * fv_index_block_bytes(index);
    const float *factors = (const float *)(const void *)(codes + fv_block_code_bytes(index->rotated));
    size_t rest = job->rows - block * FV_BLOCK_CODES;
    uint32_t valid = rest < 32 ? (1u << rest) - 1 : UINT32_MAX;
    for (size_t slot = 0; slot < queries; slot++) {
        const uint8_t *table = job->ready.table + (query + slot) * 4 * index->rotated;
        uint32_t sum[FV_BLOCK_CODES];
        kernels->scan_sums(index->rotated / 4, codes, table, sum);
        scratch->under[slot][place] = valid & kernels->scan_bounds(factors, sum, job->ready.query + query + slot,
                                                                   limit[slot], scratch->low[slot] + place * 32);
    }
}

static void scan_task(void *context, size_t task, size_t worker) {
    const flat_job *job = context;
    flat_scratch *scratch = job->scratch + worker;
    size_t query = task / job->shards * GROUP, shard = task % job->shards;
    size_t queries = job->count - query < GROUP ? job->count - query : GROUP;
    size_t blocks = fv_index_blocks(job->rows), end = blocks - shard * SHARD < SHARD ? blocks : (shard + 1) * SHARD;
    fv_search_counts *counts = job->counts + task;
    *counts = (fv_search_counts){0};
    for (size_t first = shard * SHARD; first < end; first += CHUNK) {
        size_t count = end - first < CHUNK ? end - first : CHUNK;
        float limit[GROUP];
        for (size_t slot = 0; slot < queries; slot++)
            limit[slot] = fv_near_limit(job->lists + (query + slot) * job->shards + shard);
        for (size_t i = 0; i < count; i++) scan_block(job, query, queries, first + i, i, limit, scratch);
        for (size_t slot = 0; slot < queries; slot++)
            take_chunk(job, query + slot, first, count, scratch, slot,
                       job->lists + (query + slot) * job->shards + shard, counts);
    }
    size_t last = end * FV_BLOCK_CODES < job->rows ? end * FV_BLOCK_CODES : job->rows;
    counts->codes = queries * (last - shard * SHARD * FV_BLOCK_CODES);
    counts->bytes = (end - shard * SHARD) * fv_index_block_bytes(job->index) + counts->rows * job->index->kept_bytes +
                    counts->fine * job->index->fine_bytes;
}

/* ---- batches ---- */

/* Lists of shards for one batch: bounded ones share `entries`. */
static void begin_lists(const flat_job *job, const fv_near_list *lists, fv_near *entries) {
    for (size_t i = 0; i < job->count * job->shards; i++) {
        const fv_near_list *whole = lists + job->first + i / job->shards;
        bool bounded = whole->most != SIZE_MAX;
        job->lists[i] = (fv_near_list){
            .entries = bounded ? entries + i * whole->most : NULL, .most = whole->most, .radius = whole->radius};
    }
}

static void end_lists(const flat_job *job, fv_near_list *lists) {
    for (size_t i = 0; i < job->count * job->shards; i++) {
        fv_near_list *part = job->lists + i, *whole = lists + job->first + i / job->shards;
        for (size_t j = 0; j < part->count; j++)
            fv_near_offer(whole, part->entries[j].distance, part->entries[j].label);
        whole->has_failed |= part->has_failed;
        if (part->most == SIZE_MAX) free(part->entries);
    }
}

static void run_batch(flat_job *job, const fv_parallel *parallel, fv_near_list *lists, fv_near *entries,
                      fv_search_counts *counts) {
    size_t tasks = (job->count + GROUP - 1) / GROUP * job->shards;
    begin_lists(job, lists, entries);
    fv_parallel_run(parallel, job->count, ready_task, job);
    fv_parallel_run(parallel, tasks, scan_task, job);
    end_lists(job, lists);
    for (size_t i = 0; i < tasks; i++) {
        counts->codes += job->counts[i].codes;
        counts->rows += job->counts[i].rows;
        counts->bytes += job->counts[i].bytes;
        counts->fine += job->counts[i].fine;
    }
}

static size_t batch_of(const fv_index_search *search, size_t shards, size_t most) {
    size_t batch = search->count < BATCH ? search->count : BATCH;
    while (most != SIZE_MAX && batch > GROUP && batch * shards * most > KEPT) batch = (batch + 1) / 2;
    return batch;
}

fv_status fv_index_flat(const fv_index *index, const fv_index_search *search, const fv_flat_subset *subset,
                        fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    size_t workers = search->parallel && search->parallel->workers > 1 ? search->parallel->workers : 1;
    size_t rows = subset ? subset->count : index->rows, most = search->count ? lists[0].most : 0;
    size_t shards = (fv_index_blocks(rows) + SHARD - 1) / SHARD;
    if (!shards || !search->count || !most) return FV_OK;
    size_t batch = batch_of(search, shards, most), bounded = most == SIZE_MAX ? 0 : most;
    flat_job job = {.index = index, .search = search, .shards = shards, .subset = subset, .rows = rows};
    job.blocks = subset ? subset->blocks : index->arrays.blocks;
    bool good = fv_ready_make(index, batch, &job.ready);
    job.lists = fv_array_new(batch * shards, sizeof *job.lists);
    job.scratch = fv_array_new(workers, sizeof *job.scratch);
    job.rotated = fv_array_new(workers, 2 * index->rotated * sizeof(float));
    job.counts = fv_array_new((batch + GROUP - 1) / GROUP * shards, sizeof *job.counts);
    fv_near *entries = fv_array_new(batch * shards, (bounded ? bounded : 1) * sizeof *entries);
    good = good && job.lists && job.scratch && job.rotated && job.counts && entries;
    for (size_t first = 0; good && first < search->count; first += batch) {
        job.first = first;
        job.count = search->count - first < batch ? search->count - first : batch;
        run_batch(&job, search->parallel, lists, entries, counts);
    }
    fv_ready_free(&job.ready);
    void *all[] = {job.lists, job.scratch, job.rotated, job.counts, entries};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    for (size_t i = 0; i < search->count; i++) good = good && !lists[i].has_failed;
    return good ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory for a search");
}
