/* Positions of a tile that each read pages of their own: pages in rising order, each once, for the list of those that
 * read it. A block of pages is scored, then each position's scores of its own pages, which lie side by side, go through
 * the softmax, then the values of the pages are added. So every row meets its pages in rising order, and has the bits
 * that it has alone. */
#include "attend/attend_lists.h"
#include "attend/attend_job.h"
#include "cache/cache_pages.h"
#include "cache/element.h"
#include "numeric/half.h"
#include "numeric/size.h"

#if FV_BUILD_LISTS

enum { PAGE = FV_PAGE_TOKENS, BLOCK_PAGES = 8, BLOCK_CHUNKS = BLOCK_PAGES / FV_CHUNK_PAGES, SOFTMAX_ROWS = 8 };

/* What reads an element type; the lists may be NULL. */
typedef struct list_kernels {
    fv_score_list_fn *score;
    fv_value_list_fn *value;
    fv_value_sum_fn *sum;
} list_kernels;

typedef struct list_walk {
    fv_attend_job *job;
    const uint16_t *readers;
    list_kernels kernels;
    fv_listed_rows *listed;        /* [BLOCK_PAGES][positions] */
    fv_row_list list[BLOCK_PAGES]; /* of the block's pages: who reads them */
    float *score;                  /* [BLOCK_CHUNKS][rows][FV_CHUNK_KEYS]: a row's own pages, one after the other */
    size_t rows;                   /* positions * group */
    uint32_t page[BLOCK_PAGES], pages;
    uint32_t own[FV_TILE_ROWS]; /* pages of the block that a position has so far */
} list_walk;

static size_t rows_of(const fv_attend_config *config) {
    return (size_t)fv_attend_rows(config) * fv_attend_group(config);
}

static size_t score_offset(const fv_attend_config *config, size_t *bytes) {
    fv_size_reserve(bytes, fv_attend_rows(config), BLOCK_PAGES * sizeof(fv_listed_rows));
    return fv_size_reserve(bytes, rows_of(config), BLOCK_CHUNKS * FV_CHUNK_KEYS * sizeof(float));
}

size_t fv_attend_lists_bytes(const fv_attend_config *config) {
    size_t bytes = 0;
    score_offset(config, &bytes);
    return bytes;
}

static fv_score_list_fn *score_of(const fv_kernels *kernels, uint32_t type) {
    if (FV_ELEMENT_IS(type, F16)) return kernels->score_list_f16;
    if (FV_ELEMENT_IS(type, BF16)) return kernels->score_list_bf16;
    if (FV_ELEMENT_IS(type, Q8_0)) return kernels->score_list_q8;
    if (FV_ELEMENT_IS(type, Q4_0)) return kernels->score_list_q4;
    return kernels->score_list_f32;
}

static fv_value_list_fn *value_of(const fv_kernels *kernels, uint32_t type) {
    if (FV_ELEMENT_IS(type, F16)) return kernels->value_list_f16;
    if (FV_ELEMENT_IS(type, BF16)) return kernels->value_list_bf16;
    if (FV_ELEMENT_IS(type, Q8_0)) return kernels->value_list_q8;
    if (FV_ELEMENT_IS(type, Q4_0)) return kernels->value_list_q4;
    return kernels->value_list_f32;
}

/* The positions that read a page of the block, each with its next place. */
static const fv_row_list *list_make(list_walk *walk, uint32_t page) {
    size_t group = walk->job->group, positions = 0;
    fv_listed_rows *at = walk->listed + page * walk->job->plan->rows;
    const uint32_t rows = (uint32_t)group, next_chunk = (uint32_t)walk->rows * FV_CHUNK_KEYS;
    const uint32_t readers = walk->readers[walk->page[page]], end = walk->job->plan->rows;
    for (uint32_t i = 0, row = 0; i < end; i++, row += rows) { /* no branch: who reads a page is no pattern */
        const uint32_t reads = readers >> i & 1, own = walk->own[i];
        at[positions].row = row;
        at[positions].place = own / FV_CHUNK_PAGES * next_chunk + row * FV_CHUNK_KEYS + own % FV_CHUNK_PAGES * PAGE;
        walk->own[i] = own + reads;
        positions += reads;
    }
    walk->list[page] = (fv_row_list){.positions = positions, .group = group, .at = at};
    return &walk->list[page];
}

/* Positions of the list from `first` on whose rows lie side by side, and so do their places. */
static size_t list_run(const fv_row_list *list, size_t first) {
    const fv_listed_rows *at = list->at;
    uint32_t rows = (uint32_t)list->group;
    size_t n = first + 1;
    while (n < list->positions && at[n].row == at[n - 1].row + rows &&
           at[n].place == at[n - 1].place + rows * FV_CHUNK_KEYS)
        n++;
    return n - first;
}

static uint32_t keys_of(const list_walk *walk, uint32_t page, const fv_listed_rows *at) {
    uint32_t position = walk->job->plan->first_token + at->row / walk->job->group, left = position + 1 - page * PAGE;
    return left < PAGE ? left : PAGE;
}

/* Whether a position of the tile reads a part of the page only. */
static bool is_cut(const list_walk *walk, uint32_t page) {
    return (page + 1) * PAGE > walk->job->plan->first_token + 1;
}

/* Soft cap, and the mask of what comes after a row. */
static void scores_finish(const list_walk *walk, uint32_t page, const fv_row_list *list) {
    const fv_attend_job *job = walk->job;
    bool cut = is_cut(walk, page);
    if (!cut && !fv_attend_is_capped(job->config)) return;
    for (size_t i = 0; i < list->positions * list->group; i++) {
        const fv_listed_rows *at = &list->at[i / list->group];
        float *score = walk->score + at->place + i % list->group * FV_CHUNK_KEYS;
        if (fv_attend_is_capped(job->config))
            job->kernels->softcap_f32(PAGE, job->config->scale, job->config->softcap, score);
        for (uint32_t t = cut ? keys_of(walk, page, at) : PAGE; t < PAGE; t++)
            score[t] = fv_f32_from_bits(0xFF800000); /* -infinity */
    }
}

static void page_scores(list_walk *walk, uint32_t place) {
    const fv_attend_job *job = walk->job;
    uint32_t page = walk->page[place], type = job->cache->config.key_type;
    const fv_row_list *list = list_make(walk, place);
    size_t dim = job->config->head_dim;
    const void *key = fv_cache_key_page(job->cache, job->kv_head, page), *next = NULL;
    const float *scale = fv_cache_key_scale(job->cache, job->kv_head, page * PAGE);
    if (place + 1 < walk->pages) next = fv_cache_key_page(job->cache, job->kv_head, walk->page[place + 1]);
    if (walk->kernels.score) walk->kernels.score(list, dim, fv_job_query(job, type, 0), key, next, scale, walk->score);
    for (size_t i = 0, run; !walk->kernels.score && i < list->positions; i += run) {
        run = list_run(list, i);
        fv_element_score(job->kernels, type)(run * list->group, 1, dim, fv_job_query(job, type, list->at[i].row), dim,
                                             &key, NULL, scale, walk->score + list->at[i].place, FV_CHUNK_KEYS);
    }
    scores_finish(walk, page, list);
}

/* The weights of a row's chunks before `chunk`, whose maximum has risen since: an exact factor. */
static void weights_lower(list_walk *walk, size_t row, uint32_t chunk, float by) {
    float factor = by >= -126.0f ? fv_f32_from_bits((uint32_t)((int32_t)by + 127) << 23) : 0.0f;
    for (uint32_t k = 0; k < chunk; k++)
        for (size_t t = 0; t < FV_CHUNK_KEYS; t++) walk->score[(k * walk->rows + row) * FV_CHUNK_KEYS + t] *= factor;
}

static void position_softmax(list_walk *walk, uint32_t position) {
    fv_attend_job *job = walk->job;
    const fv_state *state = &job->state;
    size_t dim = job->config->head_dim, first = position * (size_t)job->group;
    float factor = fv_softmax_factor(job->config);
    for (uint32_t k = 0, own = walk->own[position]; k * FV_CHUNK_PAGES < own; k++) {
        uint32_t left = own - k * FV_CHUNK_PAGES;
        size_t columns = (left < FV_CHUNK_PAGES ? left : FV_CHUNK_PAGES) * PAGE, end = first + job->group;
        for (size_t row = first, rows; row < end; row += rows) {
            float before[SOFTMAX_ROWS];
            rows = end - row < SOFTMAX_ROWS ? end - row : SOFTMAX_ROWS;
            for (size_t r = 0; k && r < rows; r++) before[r] = state->maximum[row + r];
            job->kernels->softmax_chunk(rows, columns, dim, factor,
                                        walk->score + (k * walk->rows + row) * FV_CHUNK_KEYS, state->maximum + row,
                                        state->sum + row * FV_SUM_LANES, state->out + row * dim, dim);
            for (size_t r = 0; k && r < rows; r++)
                if (state->maximum[row + r] != before[r])
                    weights_lower(walk, row + r, k, before[r] - state->maximum[row + r]);
        }
    }
}

/* Adds the first `keys` values of a page for listed positions. */
static void values_add(const list_walk *walk, const fv_row_list *list, uint32_t keys, const void *value,
                       const void *next) {
    const fv_attend_job *job = walk->job;
    size_t dim = job->config->head_dim;
    if (walk->kernels.value) {
        walk->kernels.value(list, dim, keys, walk->score, value, next, job->state.out);
        return;
    }
    for (size_t i = 0, run; i < list->positions; i += run) {
        run = list_run(list, i);
        walk->kernels.sum(run * list->group, dim, keys, walk->score + list->at[i].place, FV_CHUNK_KEYS, value, NULL,
                          job->state.out + list->at[i].row * dim, dim);
    }
}

/* Takes the scales of a page's values into the weights. */
static void weights_scale(const list_walk *walk, uint32_t page, const fv_row_list *list, const float *scale) {
    for (size_t i = 0; i < list->positions * list->group; i++) {
        const fv_listed_rows *at = &list->at[i / list->group];
        float *weight = walk->score + at->place + i % list->group * FV_CHUNK_KEYS;
        for (uint32_t t = 0, keys = keys_of(walk, page, at); t < keys; t++) weight[t] *= scale[t];
    }
}

static void page_values(list_walk *walk, uint32_t place) {
    const fv_attend_job *job = walk->job;
    uint32_t page = walk->page[place];
    const fv_row_list *list = &walk->list[place];
    const void *value = fv_cache_value_row(job->cache, job->kv_head, page * PAGE), *next = NULL;
    const float *scale = fv_cache_value_scale(job->cache, job->kv_head, page * PAGE);
    if (place + 1 < walk->pages) next = fv_cache_value_row(job->cache, job->kv_head, walk->page[place + 1] * PAGE);
    if (scale) weights_scale(walk, page, list, scale);
    if (!is_cut(walk, page)) values_add(walk, list, PAGE, value, next);
    for (size_t i = 0; is_cut(walk, page) && i < list->positions; i++) {
        const fv_row_list one = {.positions = 1, .group = list->group, .at = list->at + i};
        values_add(walk, &one, keys_of(walk, page, one.at), value, NULL);
    }
}

/* The next pages from *page on that any position reads. */
static bool block_find(list_walk *walk, uint32_t *page, uint32_t end) {
    for (walk->pages = 0; *page < end && walk->pages < BLOCK_PAGES; ++*page)
        if (walk->readers[*page]) walk->page[walk->pages++] = *page;
    return walk->pages > 0;
}

static void block_attend(list_walk *walk) {
    for (uint32_t i = 0; i < walk->job->plan->rows; i++) walk->own[i] = 0;
    for (uint32_t p = 0; p < walk->pages; p++) page_scores(walk, p);
    for (uint32_t i = 0; i < walk->job->plan->rows; i++) position_softmax(walk, i);
    for (uint32_t p = 0; p < walk->pages; p++) page_values(walk, p);
}

static void walk_make(list_walk *walk, fv_attend_job *job, const uint16_t *readers, void *memory) {
    const fv_cache_config *cache = &job->cache->config;
    size_t bytes = 0;
    walk->job = job;
    walk->readers = readers;
    walk->listed = (fv_listed_rows *)memory;
    walk->rows = (size_t)job->plan->rows * job->group;
    walk->score = (float *)(void *)((unsigned char *)memory + score_offset(job->config, &bytes));
    walk->kernels = (list_kernels){score_of(job->kernels, cache->key_type), value_of(job->kernels, cache->value_type),
                                   fv_element_value_sum(job->kernels, cache->value_type)};
}

/* The pages page..end-1, all of one segment, into `state`, which is cleared first. False: nobody reads any. */
static bool segment_attend(list_walk *walk, fv_state state, uint32_t page, uint32_t end) {
    if (!block_find(walk, &page, end)) return false;
    walk->job->state = state;
    fv_state_clear(state, walk->rows, walk->job->config->head_dim);
    do block_attend(walk);
    while (block_find(walk, &page, end));
    return true;
}

const fv_state *fv_attend_lists(fv_attend_job *job, const uint16_t *readers, uint32_t pages, void *memory) {
    size_t rows = (size_t)job->plan->rows * job->group, dim = job->config->head_dim;
    list_walk walk;
    walk_make(&walk, job, readers, memory);
    const fv_state total = fv_state_at(job->states[0], rows, dim), part = fv_state_at(job->states[1], rows, dim);
    uint32_t parts = 0;
    for (uint32_t page = 0, end; page < pages; page = end) {
        end = (page / FV_SEGMENT_PAGES + 1) * FV_SEGMENT_PAGES;
        if (end > pages) end = pages;
        if (!segment_attend(&walk, parts ? part : total, page, end)) continue;
        if (parts++) fv_state_merge_by(job->kernels, &total, &part, rows, dim);
    }
    if (!parts) fv_state_clear(total, rows, dim);
    job->state = total;
    return &job->state;
}

#if FV_BUILD_EXCHANGE
void fv_attend_lists_segment(fv_attend_job *job, const uint16_t *readers, uint32_t pages, uint32_t segment,
                             fv_state state, void *memory) {
    uint32_t page = segment * FV_SEGMENT_PAGES, end = page + FV_SEGMENT_PAGES;
    list_walk walk;
    walk_make(&walk, job, readers, memory);
    if (!segment_attend(&walk, state, page, end < pages ? end : pages))
        fv_state_clear(state, walk.rows, job->config->head_dim);
}
#endif

#endif
