/* survivors.c - finds, packs and searches the rows that a filter lets pass. */
#include "index/survivors.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE = 1024,
    SURE = 64,       /* of the sample: then its share is right within an eighth or so */
    ALL = 4 * SAMPLE /* rows: so few are listed without a sample */
};

/* ---- finding ---- */

static bool append(fv_survivors *survivors, size_t *capacity, uint32_t row) {
    uint32_t *grown = fv_array_reserve(survivors->rows, capacity, survivors->count, 1, sizeof *grown);
    if (!grown) return false;
    survivors->rows = grown;
    survivors->rows[survivors->count++] = row;
    return true;
}

static size_t count_bits(const fv_index_search *search, size_t enough) {
    size_t bits = 0;
    for (size_t i = 0; i < search->filter_words && bits < enough; i++)
        for (uint64_t word = search->filter_bits[i]; word; word &= word - 1) bits++;
    return bits;
}

/* The row of a label; FV_NO_ROW: none. *is_known turns false where that can't be told fast. */
static uint32_t row_of(const fv_index *index, uint64_t label, bool *is_known) {
    const uint64_t *labels = index->arrays.labels;
    if (label < index->rows && labels[label] == label) return (uint32_t)label;
    if (index->is_mapped) *is_known = false;
    return index->is_mapped ? FV_NO_ROW : fv_label_map_find(&index->by_label, labels, label);
}

/* By the bits that are set, if they are few: no look at all labels. False: they are not, or rows can't be told. */
static bool list_by_bits(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                         bool *has_failed) {
    size_t capacity = 0, few = index->rows / 16;
    bool is_known = search->filter_bits && count_bits(search, few) < few;
    for (size_t i = 0; i < search->filter_words && is_known && !*has_failed; i++)
        for (uint64_t bit = 0, word = search->filter_bits[i]; word && is_known; bit++, word >>= 1) {
            uint64_t label = i * 64 + bit;
            uint32_t row = word & 1 ? row_of(index, label, &is_known) : FV_NO_ROW;
            if (row != FV_NO_ROW && fv_index_allows(search, label)) *has_failed |= !append(survivors, &capacity, row);
        }
    if (!is_known) fv_survivors_free(survivors);
    return is_known;
}

fv_status fv_survivors_list(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                            fv_message *message) {
    bool has_failed = false;
    size_t capacity = 0;
    if (survivors->is_listed) return FV_OK;
    if (!list_by_bits(index, search, survivors, &has_failed))
        for (size_t row = 0; row < index->rows && !has_failed; row++)
            if (fv_index_allows(search, index->arrays.labels[row]))
                has_failed = !append(survivors, &capacity, (uint32_t)row);
    if (has_failed) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for what the filter lets pass");
    survivors->is_listed = true;
    survivors->share = index->rows ? (double)survivors->count / (double)index->rows : 0;
    return FV_OK;
}

fv_status fv_survivors_find(const fv_index *index, const fv_index_search *search, fv_survivors *survivors,
                            fv_message *message) {
    size_t passed = 0;
    *survivors = (fv_survivors){.share = 1};
    if (!search->filter && !search->filter_bits) return FV_OK;
    if (index->rows <= ALL) return fv_survivors_list(index, search, survivors, message);
    for (size_t i = 0; i < SAMPLE; i++) {
        size_t row = (size_t)(fv_splitmix(index->config.seed, i) % index->rows);
        passed += fv_index_allows(search, index->arrays.labels[row]);
    }
    if (passed < SURE) return fv_survivors_list(index, search, survivors, message);
    survivors->share = (double)passed / SAMPLE;
    return FV_OK;
}

void fv_survivors_free(fv_survivors *survivors) {
    free(survivors->rows);
    free(survivors->blocks);
    *survivors = (fv_survivors){.share = survivors->share};
}

/* ---- packing ---- */

fv_status fv_survivors_pack(const fv_index *index, fv_survivors *survivors, fv_message *message) {
    size_t block_bytes = fv_index_block_bytes(index), code_bytes = fv_block_code_bytes(index->rotated);
    if (survivors->blocks) return FV_OK;
    survivors->blocks = fv_array_new(fv_index_blocks(survivors->count), block_bytes);
    if (!survivors->blocks) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for what the filter lets pass");
    for (size_t i = 0; i < survivors->count; i++) {
        size_t row = survivors->rows[i], from_lane = row % FV_BLOCK_CODES, lane = i % FV_BLOCK_CODES;
        const uint8_t *from = index->arrays.blocks + row / FV_BLOCK_CODES * block_bytes;
        uint8_t *to = survivors->blocks + i / FV_BLOCK_CODES * block_bytes;
        fv_sign_code_copy(index->rotated, from, from_lane, to, lane);
        const float *numbers = (const float *)(const void *)(from + code_bytes) + from_lane;
        float *out = (float *)(void *)(to + code_bytes) + lane;
        for (size_t kind = 0; kind < 3; kind++) out[kind * FV_BLOCK_CODES] = numbers[kind * FV_BLOCK_CODES];
    }
    return FV_OK;
}

/* ---- searching ---- */

typedef struct list_job {
    const fv_index *index;
    const fv_index_search *search;
    const fv_survivors *survivors;
    fv_near_list *lists;
    fv_ready_queries *ready; /* [workers] of one query */
    float *scratch;          /* [workers][2 * rotated] */
} list_job;

static void list_task(void *context, size_t task, size_t worker) {
    const list_job *job = context;
    const fv_ready_queries *ready = job->ready + worker;
    fv_index_ready(job->index, job->search, task, 1, ready, job->scratch + worker * 2 * job->index->rotated);
    for (size_t i = 0; i < job->survivors->count; i++) {
        uint32_t row = job->survivors->rows[i];
        fv_near_offer(job->lists + task, fv_index_distance(job->index, ready->probe, row),
                      job->index->arrays.labels[row]);
    }
}

fv_status fv_survivors_search(const fv_index *index, const fv_index_search *search, const fv_survivors *survivors,
                              fv_near_list *lists, fv_search_counts *counts, fv_message *message) {
    size_t workers = search->parallel && search->parallel->workers > 1 ? search->parallel->workers : 1;
    list_job job = {index,
                    search,
                    survivors,
                    lists,
                    fv_array_new(workers, sizeof *job.ready),
                    fv_array_new(workers, 2 * index->rotated * sizeof(float))};
    bool good = job.ready && job.scratch;
    for (size_t i = 0; good && i < workers; i++) good = fv_ready_make(index, 1, job.ready + i);
    if (good) fv_parallel_run(search->parallel, search->count, list_task, &job);
    for (size_t i = 0; job.ready && i < workers; i++) fv_ready_free(job.ready + i);
    free(job.ready);
    free(job.scratch);
    if (!good) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a search");
    counts->rows += search->count * survivors->count;
    counts->bytes += search->count * survivors->count * index->kept_bytes;
    counts->lists += search->count;
    return FV_OK;
}
