/* page_shares.c - weights of tokens, summed by page in a fixed order. */
#include "page_shares.h"
#include "fovea/measure/mass.h"
#include "fovea/measure/read_watch.h"
#include <stdlib.h>
#include <string.h>

static size_t group_of(const fv_model_config *shape) { return shape->query_heads / shape->cache.kv_heads; }

size_t fv_page_shares_scratch(const fv_model_config *shape, uint32_t context_tokens) {
    return FV_PAGE_TOKENS * (size_t)shape->cache.head_dim + group_of(shape) * context_tokens;
}

fv_status fv_page_shares_open(fv_page_shares *shares, const fv_model_config *shape, uint32_t context_tokens) {
    size_t slots = (size_t)shape->layers * shape->cache.kv_heads;
    *shares = (fv_page_shares){.layers = shape->layers,
                               .kv_heads = shape->cache.kv_heads,
                               .pages = (context_tokens + FV_PAGE_TOKENS - 1) / FV_PAGE_TOKENS};
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

/* Tokens begin..end-1, of every head of the group. */
static void note_span(float *pages, const float *mass, size_t count, size_t group, uint32_t begin, uint32_t end) {
    for (uint32_t t = begin; t < end && t < count; t++)
        for (size_t h = 0; h < group; h++) pages[t / FV_PAGE_TOKENS] += mass[h * count + t];
}

void fv_page_shares_note(fv_page_shares *shares, const fv_attention_seen *seen, float *scratch) {
    const fv_plan *plan = seen->plan;
    uint32_t position = shares->position, row = position - plan->first_token;
    if (seen->local_window || position < plan->first_token || row >= plan->rows) return;
    size_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = seen->attend->head_dim;
    size_t count = (size_t)position + 1, slot = (size_t)seen->layer * shares->kv_heads + seen->kv_head;
    const float *query = seen->query + row * seen->query_stride + seen->kv_head * group * dim;
    float *mass = scratch + FV_PAGE_TOKENS * dim, *pages = shares->noted + slot * shares->pages;
    if (fv_mass_tokens(seen->attend, seen->kernels, seen->cache, seen->kv_head, position, query, mass, scratch) !=
        FV_OK)
        return;
    memset(pages, 0, shares->pages * sizeof *pages);
    for (uint32_t s = 0; s < plan->count; s++) {
        const fv_step *step = &plan->steps[s];
        if (row < step->row_begin || row >= step->row_end) continue;
        if (step->kind == FV_STEP_SPAN)
            note_span(pages, mass, count, group, fv_step_span_begin(step, position), fv_step_span_end(step, position));
        if (step->kind == FV_STEP_DIAG && !step->ahead && position >= step->begin)
            note_span(pages, mass, count, group, position - step->begin, position - step->begin + 1);
    }
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
