/* page_shares.c - the softmax over what was read, by the kernels that attention has for scores, summed by page in a
 * fixed order. */
#include "page_shares.h"
#include "cache/cache_pages.h"
#include "fovea/measure/read_watch.h"
#include "kernels/kernels.h"
#include "numeric/exp_scalar.h"
#include <float.h>
#include <stdlib.h>
#include <string.h>

static uint32_t pages_of(uint32_t tokens) { return tokens / FV_PAGE_TOKENS + (tokens % FV_PAGE_TOKENS > 0); }
static size_t group_of(const fv_model_config *shape) { return shape->query_heads / shape->cache.kv_heads; }

size_t fv_page_shares_scratch(const fv_model_config *shape, uint32_t context_tokens) {
    size_t pages = pages_of(context_tokens);
    return FV_PAGE_TOKENS * (size_t)shape->cache.head_dim + group_of(shape) * pages * FV_PAGE_TOKENS + pages / 2 + 1;
}

fv_status fv_page_shares_open(fv_page_shares *shares, const fv_model_config *shape, uint32_t context_tokens) {
    size_t slots = (size_t)shape->layers * shape->cache.kv_heads;
    *shares =
        (fv_page_shares){.layers = shape->layers, .kv_heads = shape->cache.kv_heads, .pages = pages_of(context_tokens)};
    shares->noted = calloc(slots * shares->pages, sizeof *shares->noted);
    shares->has_noted = calloc(slots, sizeof *shares->has_noted);
    if (shares->noted && shares->has_noted) return FV_OK;
    fv_page_shares_close(shares);
    return FV_ERROR_MEMORY;
}

void fv_page_shares_close(fv_page_shares *shares) {
    free(shares->noted);
    free(shares->has_noted);
    *shares = (fv_page_shares){0};
}

void fv_page_shares_begin(fv_page_shares *shares, uint32_t position) {
    shares->position = position;
    memset(shares->has_noted, 0, (size_t)shares->layers * shares->kv_heads * sizeof *shares->has_noted);
}

/* ---- one row of one KV head ---- */

typedef struct row_scores {
    const fv_attention_seen *seen;
    const float *query; /* [group][head_dim] */
    size_t group, stride;
    uint32_t pages;
    float *score;   /* [group][stride]: of a page's tokens where any is read */
    uint16_t *read; /* [pages] which tokens of each page */
    float *keys;    /* [FV_PAGE_TOKENS][head_dim] */
} row_scores;

static void mark_span(const row_scores *row, uint32_t begin, uint32_t end) {
    for (uint32_t t = begin; t < end;) {
        uint32_t page = t / FV_PAGE_TOKENS, first = t % FV_PAGE_TOKENS, left = end - page * FV_PAGE_TOKENS;
        uint32_t last = left < FV_PAGE_TOKENS ? left : FV_PAGE_TOKENS;
        row->read[page] |= (uint16_t)((1u << last) - (1u << first));
        t = (page + 1) * FV_PAGE_TOKENS;
    }
}

static void mark_read(const row_scores *row, uint32_t position) {
    const fv_plan *plan = row->seen->plan;
    uint32_t place = position - plan->first_token;
    memset(row->read, 0, row->pages * sizeof *row->read);
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (place < step->row_begin || place >= step->row_end) continue;
        uint32_t end = fv_step_span_end(step, position);
        if (step->kind == FV_STEP_SPAN) mark_span(row, fv_step_span_begin(step, position), end);
        if (step->kind == FV_STEP_DIAG && !step->ahead && position >= step->begin)
            mark_span(row, position - step->begin, position - step->begin + 1);
    }
}

static fv_score_page_fn *kernel_of(const fv_attention_seen *seen) {
    uint32_t type = fv_cache_shape(seen->cache)->key_type;
    if (type == FV_ELEMENT_F32) return seen->kernels->score_page_f32;
    if (type == FV_ELEMENT_F16) return seen->kernels->score_page_f16;
    bool rounds = seen->kernels->query_pack_bf16 != NULL;
    return type == FV_ELEMENT_BF16 && !rounds ? seen->kernels->score_page_bf16 : NULL;
}

/* false: the page is not there. */
static bool score_page(const row_scores *row, fv_score_page_fn *kernel, uint32_t page) {
    const fv_attention_seen *seen = row->seen;
    size_t dim = seen->attend->head_dim, at = (size_t)page * FV_PAGE_TOKENS;
    if (kernel) {
        const void *key = fv_cache_key_page(seen->cache, seen->kv_head, page);
        kernel(row->group, 1, dim, row->query, dim, &key, NULL, NULL, row->score + at, row->stride);
        return true;
    }
    uint32_t tokens = fv_cache_tokens(seen->cache) - (uint32_t)at;
    if (tokens > FV_PAGE_TOKENS) tokens = FV_PAGE_TOKENS;
    if (fv_cache_read(seen->cache, seen->kv_head, (uint32_t)at, tokens, row->keys, NULL) != FV_OK) return false;
    for (size_t h = 0; h < row->group; h++)
        for (uint32_t t = 0; t < tokens; t++)
            row->score[h * row->stride + at + t] =
                seen->kernels->dot_f32(dim, row->query + h * dim, row->keys + t * dim);
    return true;
}

static bool score_pages(const row_scores *row) {
    const fv_attention_seen *seen = row->seen;
    fv_score_page_fn *kernel = kernel_of(seen);
    for (uint32_t page = 0; page < row->pages; page++)
        if (row->read[page] && !score_page(row, kernel, page)) return false;
    for (size_t h = 0; seen->attend->softcap > 0.0f && h < row->group; h++)
        for (uint32_t page = 0; page < row->pages; page++)
            if (row->read[page])
                seen->kernels->softcap_f32(FV_PAGE_TOKENS, seen->attend->scale, seen->attend->softcap,
                                           row->score + h * row->stride + (size_t)page * FV_PAGE_TOKENS);
    return true;
}

/* Adds the softmax of one head over what was read to the pages. */
static void add_head(const row_scores *row, const float *score, float *noted) {
    float factor = row->seen->attend->softcap > 0.0f ? 1.0f : row->seen->attend->scale, most = -FLT_MAX, total = 0.0f;
    for (uint32_t page = 0; page < row->pages; page++)
        for (uint32_t t = 0; t < FV_PAGE_TOKENS && row->read[page]; t++)
            if ((row->read[page] >> t & 1) && factor * score[page * FV_PAGE_TOKENS + t] > most)
                most = factor * score[page * FV_PAGE_TOKENS + t];
    for (int pass = 0; pass < 2; pass++) /* the sum first */
        for (uint32_t page = 0; page < row->pages; page++) {
            float sum = 0.0f;
            for (uint32_t t = 0; t < FV_PAGE_TOKENS && row->read[page]; t++)
                if (row->read[page] >> t & 1) sum += fv_exp_scalar(factor * score[page * FV_PAGE_TOKENS + t] - most);
            if (pass == 0)
                total += sum;
            else
                noted[page] += sum / total;
        }
}

void fv_page_shares_note(fv_page_shares *shares, const fv_attention_seen *seen, float *scratch) {
    const fv_plan *plan = seen->plan;
    uint32_t position = shares->position, place = position - plan->first_token;
    if (seen->local_window || position < plan->first_token || place >= plan->rows) return;
    size_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = seen->attend->head_dim;
    size_t slot = (size_t)seen->layer * shares->kv_heads + seen->kv_head,
           stride = (size_t)shares->pages * FV_PAGE_TOKENS;
    float *keys = scratch + group * stride;
    const row_scores row = {.seen = seen,
                            .query = seen->query + place * seen->query_stride + seen->kv_head * group * dim,
                            .group = group,
                            .stride = stride,
                            .pages = position / FV_PAGE_TOKENS + 1,
                            .score = scratch,
                            .read = (uint16_t *)(void *)(keys + FV_PAGE_TOKENS * dim),
                            .keys = keys};
    float *noted = shares->noted + slot * shares->pages;
    mark_read(&row, position);
    if (!score_pages(&row)) return;
    memset(noted, 0, shares->pages * sizeof *noted);
    for (size_t h = 0; h < group; h++) add_head(&row, row.score + h * stride, noted);
    shares->has_noted[slot] = true;
}

void fv_page_shares_add(const fv_page_shares *shares, uint32_t layer, float *page) {
    size_t first = layer == FV_READ_ALL_LAYERS ? 0 : (size_t)layer * shares->kv_heads;
    size_t end = layer == FV_READ_ALL_LAYERS ? (size_t)shares->layers * shares->kv_heads : first + shares->kv_heads;
    uint32_t pages = shares->position / FV_PAGE_TOKENS + 1;
    double total = 0;
    for (size_t slot = first; slot < end; slot++)
        for (uint32_t p = 0; shares->has_noted[slot] && p < pages; p++)
            total += (double)shares->noted[slot * shares->pages + p];
    float factor = total > 0 ? (float)(1 / total) : 0.0f;
    for (size_t slot = first; slot < end; slot++)
        for (uint32_t p = 0; shares->has_noted[slot] && p < pages; p++)
            page[p] += factor * shares->noted[slot * shares->pages + p];
}
