/* read_watch.c - an observer that knows the rows it was told of by their sequences' caches. */
#include "fovea/measure/read_watch.h"
#include "page_shares.h"
#include <stdlib.h>
#include <string.h>

#define LAST_PAGES (FV_READS_LAST_TOKENS / FV_PAGE_TOKENS)

typedef struct watched_row {
    const fv_sequence *sequence;
    fv_page_shares shares;
} watched_row;

struct fv_read_watch {
    fv_stepper *stepper;
    const fv_llm *llm;
    uint32_t context, workers;
    watched_row *rows; /* [room]; those after the first `count` keep their memory */
    size_t count, room;
    float **scratch; /* [workers] */
    float *page;     /* [pages] */
};

static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    fv_read_watch *watch = context;
    for (size_t i = 0; i < watch->count; i++)
        if (fv_sequence_cache(watch->rows[i].sequence, seen->layer) == seen->cache)
            fv_page_shares_note(&watch->rows[i].shares, seen, watch->scratch[worker]);
}

fv_status fv_read_watch_open(fv_read_watch **watch, fv_stepper *stepper, const fv_llm *llm, uint32_t context_tokens,
                             uint32_t workers) {
    if (!watch || !stepper || !llm || context_tokens == 0 || workers == 0) return FV_ERROR_ARGUMENT;
    fv_read_watch *made = calloc(1, sizeof *made);
    if (!made) return FV_ERROR_MEMORY;
    *made = (fv_read_watch){.stepper = stepper, .llm = llm, .context = context_tokens, .workers = workers};
    *watch = made;
    return FV_OK;
}

void fv_read_watch_close(fv_read_watch *watch) {
    if (!watch) return;
    if (watch->count > 0) fv_stepper_observe(watch->stepper, NULL, NULL);
    for (size_t i = 0; i < watch->room; i++) fv_page_shares_close(&watch->rows[i].shares);
    for (uint32_t worker = 0; watch->scratch && worker < watch->workers; worker++) free(watch->scratch[worker]);
    free(watch->scratch);
    free(watch->page);
    free(watch->rows);
    free(watch);
}

/* ---- rows ---- */

static bool take_scratch(fv_read_watch *watch) {
    size_t floats = fv_page_shares_scratch(fv_llm_config(watch->llm), watch->context);
    if (!watch->page) watch->page = calloc(watch->context / FV_PAGE_TOKENS + 1, sizeof *watch->page);
    if (!watch->scratch) watch->scratch = calloc(watch->workers, sizeof *watch->scratch);
    if (!watch->page || !watch->scratch) return false;
    for (uint32_t worker = 0; worker < watch->workers; worker++) {
        if (!watch->scratch[worker]) watch->scratch[worker] = malloc(floats * sizeof(float));
        if (!watch->scratch[worker]) return false;
    }
    return true;
}

static bool take_row(fv_read_watch *watch) {
    if (watch->count < watch->room) return true;
    watched_row *rows = realloc(watch->rows, (watch->room + 1) * sizeof *rows);
    if (!rows) return false;
    watch->rows = rows;
    if (fv_page_shares_open(&rows[watch->room].shares, fv_llm_config(watch->llm), watch->context) != FV_OK)
        return false;
    watch->room++;
    return true;
}

void fv_read_watch_begin(fv_read_watch *watch) {
    if (watch->count > 0) fv_stepper_observe(watch->stepper, NULL, NULL);
    watch->count = 0;
}

fv_status fv_read_watch_add(fv_read_watch *watch, const fv_sequence *sequence, uint32_t position, size_t *row) {
    if (!watch || !sequence || !row || position >= watch->context) return FV_ERROR_ARGUMENT;
    if (!take_scratch(watch) || !take_row(watch)) return FV_ERROR_MEMORY;
    watched_row *added = &watch->rows[watch->count];
    added->sequence = sequence;
    fv_page_shares_begin(&added->shares, position);
    *row = watch->count++;
    fv_stepper_observe(watch->stepper, observe, watch);
    return FV_OK;
}

/* ---- results ---- */

static void insert(fv_reads_passage *passages, size_t most, fv_reads_passage passage) {
    size_t place = most;
    while (place > 0 && passage.share > passages[place - 1].share) place--;
    if (place == most) return;
    memmove(passages + place + 1, passages + place, (most - place - 1) * sizeof *passages);
    passages[place] = passage;
}

size_t fv_read_watch_top(fv_read_watch *watch, size_t row, uint32_t layer, fv_reads_passage *passages, size_t most) {
    size_t found = 0;
    if (!watch || row >= watch->count || !passages) return 0;
    const fv_page_shares *shares = &watch->rows[row].shares;
    if (layer != FV_READ_ALL_LAYERS && layer >= shares->layers) return 0;
    uint32_t pages = shares->position / FV_PAGE_TOKENS + 1;
    for (size_t i = 0; i < most; i++) passages[i] = (fv_reads_passage){0};
    memset(watch->page, 0, pages * sizeof *watch->page);
    fv_page_shares_add(shares, layer, watch->page);
    for (uint32_t page = FV_FIRST_PAGES; page + LAST_PAGES < pages; page++)
        insert(passages, most, (fv_reads_passage){page * FV_PAGE_TOKENS, watch->page[page]});
    while (found < most && passages[found].share > 0) found++;
    return found;
}

fv_status fv_read_watch_pages(const fv_read_watch *watch, size_t row, uint32_t layer, float *shares, size_t pages) {
    if (!watch || row >= watch->count || !shares) return FV_ERROR_ARGUMENT;
    const fv_page_shares *noted = &watch->rows[row].shares;
    if (layer != FV_READ_ALL_LAYERS && layer >= noted->layers) return FV_ERROR_ARGUMENT;
    if (pages <= noted->position / FV_PAGE_TOKENS) return FV_ERROR_ARGUMENT;
    memset(shares, 0, pages * sizeof *shares);
    fv_page_shares_add(noted, layer, shares);
    return FV_OK;
}
