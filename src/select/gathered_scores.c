/* Scores by rank, and by page. */
#include "select/gathered_scores.h"

#if FV_BUILD_EXCHANGE

enum { SEGMENT_PAGES = FV_SEGMENT_TOKENS / FV_PAGE_TOKENS };

uint32_t fv_gathered_pages(const fv_gathered_scores *scores, uint32_t rank) {
    uint32_t whole = scores->pages / SEGMENT_PAGES, rest = scores->pages % SEGMENT_PAGES;
    uint32_t segments = whole / scores->ranks + (rank < whole % scores->ranks);
    return segments * SEGMENT_PAGES + (fv_exchange_owner(whole, scores->ranks) == rank ? rest : 0);
}

size_t fv_gathered_count(const fv_gathered_scores *scores, uint32_t rank) {
    return (size_t)scores->kv_heads * scores->rows * scores->group * fv_gathered_pages(scores, rank);
}

/* Where a rank's scores of a row begin. */
static size_t row_of(const fv_gathered_scores *scores, uint32_t rank, uint32_t kv_head, uint32_t position, uint32_t g) {
    size_t row = ((size_t)kv_head * scores->rows + position - scores->first_token) * scores->group + g;
    return scores->offset[rank] + row * fv_gathered_pages(scores, rank);
}

static uint32_t pages_left(uint32_t page, uint32_t pages) {
    return pages - page < SEGMENT_PAGES ? pages - page : SEGMENT_PAGES;
}

void fv_gathered_put(const fv_gathered_scores *scores, uint32_t kv_head, uint32_t position, uint32_t g,
                     const int32_t *row) {
    int32_t *into = scores->all + row_of(scores, scores->rank, kv_head, position, g);
    for (uint32_t page = scores->rank * SEGMENT_PAGES; page < scores->pages; page += scores->ranks * SEGMENT_PAGES)
        for (uint32_t i = 0, n = pages_left(page, scores->pages); i < n; i++) *into++ = row[page + i];
}

void fv_gathered_get(const fv_gathered_scores *scores, uint32_t kv_head, uint32_t position, uint32_t g, uint32_t pages,
                     int32_t *row) {
    for (uint32_t page = 0; page < pages; page += SEGMENT_PAGES) {
        uint32_t segment = page / SEGMENT_PAGES, rank = fv_exchange_owner(segment, scores->ranks);
        const int32_t *from = scores->all + row_of(scores, rank, kv_head, position, g) +
                              (size_t)(segment / scores->ranks) * SEGMENT_PAGES;
        for (uint32_t i = 0, n = pages_left(page, pages); i < n; i++) row[page + i] = from[i];
    }
}

#endif
