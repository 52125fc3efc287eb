/* The tail: pages that are read by their coarse copies only. Weights come from the codes that the pages were chosen by,
 * the values are summed rotated and turned back once. Weights by codes come out too small on average (a key's code is
 * nearer to the centre than the key): a quarter of the variance of the score's error in the exponent and a gain make up
 * for it. How they were found: docs/lab/tail.md. */
#include "build.h"
#include "codes/code_query.h"
#include "kernels/kernels.h"
#include "select/choose.h"

#if FV_BUILD_TAIL

enum { PAGE = FV_PAGE_TOKENS };

static const float gain = 1.2f; /* and fv_power_of() is 1.04 times too large on average */
/* (ln 2 / 256)^2 for squares of scores, a quarter, 0.12 step^2 for the variance of a channel of a code, 256 / ln 2 */
static const float noise_of = 0.25f * 0.12f * 0.0027076062f;

/* Where the variance of the error is above 3 (natural exponents), a weight by codes says nothing. A quarter of it in
 * 1/256 of a power of two, as in noise_of. */
static const float noise_most = 277.0f;

/* The level is a whole power of two, at which no key of the row's tail is: a page's score is above those of its
 * keys. */
static int32_t level_of(const fv_choose_scratch *scratch, const int32_t *score) {
    int32_t best = INT32_MIN;
    for (uint32_t i = 0; i < scratch->tail_count; i++) {
        int32_t x = score[scratch->first + scratch->tail[i]];
        if (x > best) best = x;
    }
    int32_t rest = best & 255;
    return best + (rest ? 256 - rest : 0) + (int32_t)FV_KEY_NOISE;
}

static float noise_make(const fv_shadow_rows *rows, uint32_t g) {
    int32_t squares = fv_query_squares(rows->query + g * rows->dim, rows->dim);
    float noise = (float)squares * rows->factor[g] * rows->factor[g] * noise_of;
    return noise < 0x1p100f ? noise : 0x1p100f;
}

/* The mean square of the tail's steps, by the first key of each page. */
static float step_squares(const fv_chooser *chooser, const fv_choose_scratch *scratch) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < scratch->tail_count; i++) {
        uint32_t page = scratch->page[scratch->first + scratch->tail[i]];
        float step = fv_f32_from_bf16(*fv_shadow_steps(&chooser->cache->shadow, chooser->kv_head, page * PAGE));
        sum += step * step;
    }
    return sum / (float)scratch->tail_count;
}

bool fv_tail_is_heard(const fv_chooser *chooser, const fv_choose_scratch *scratch) {
    fv_shadow_rows rows = fv_choose_rows(chooser, scratch);
    float squares = step_squares(chooser, scratch), most = 0.0f;
    for (uint32_t g = 0; g < chooser->group; g++) {
        scratch->tail_noise[g] = noise_make(&rows, g);
        if (scratch->tail_noise[g] > most) most = scratch->tail_noise[g];
    }
    return most * squares <= noise_most; /* false for a NaN */
}

/* Up to 16 rows, from `first` on. */
static void rows_turn_back(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t first, float *out) {
    size_t dim = chooser->cache->config.head_dim, padded = chooser->cache->tail.dim;
    size_t rows = chooser->group - first < PAGE ? chooser->group - first : PAGE;
    const float *from = scratch->tail_rows + first * padded;
    float *lanes = scratch->tail_rows + chooser->group * padded;
    fv_code_rotate_back(chooser->kernels, dim, gain * 0x1p-16f, rows, from, padded, lanes, out + first * dim);
}

/* Pages of the tail from place `done` on that are read together: in `pages`, as their segment numbers them; `first` is
 * that segment's first page. */
static uint32_t batch_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t done, uint32_t *pages,
                           uint32_t *first) {
    const fv_segment_table *table = &chooser->cache->table;
    const uint32_t *tail = scratch->tail + done;
    uint32_t left = scratch->tail_count - done, count = 0, end = fv_segment_end(table, tail[0]);
    *first = tail[0] - fv_segment_page(table, tail[0]);
    for (; count < left && count < FV_TAIL_PAGES && tail[count] < end; count++) pages[count] = tail[count] - *first;
    return count;
}

/* Adds up the tail's pages; scratch->tail has their numbers. */
static void pages_read(const fv_chooser *chooser, const fv_choose_scratch *scratch, fv_shadow_rows *rows) {
    const fv_cache *cache = chooser->cache;
    const fv_shadow *shadow = &cache->shadow;
    size_t padded = cache->tail.dim;
    uint32_t head = chooser->kv_head;
    for (size_t i = 0; i < chooser->group * padded; i++) scratch->tail_rows[i] = 0.0f;
    const int32_t *base = rows->base;
    for (uint32_t done = 0, count, first; done < scratch->tail_count; done += count) {
        uint32_t *pages = scratch->local;
        count = batch_make(chooser, scratch, done, pages, &first);
        rows->base = base + first / (FV_SHADOW_BLOCK / PAGE);
        chooser->kernels->key_score(rows, count, pages, fv_shadow_signs(shadow, head, first),
                                    fv_shadow_sizes(shadow, head, first), fv_shadow_steps(shadow, head, first * PAGE),
                                    scratch->tail_noise, scratch->tail_score, FV_TAIL_PAGES * PAGE);
        chooser->kernels->tail_sum(chooser->group, padded, count, pages, scratch->tail_score, FV_TAIL_PAGES * PAGE,
                                   scratch->tail_level, fv_tail_page(&cache->tail, head, first), scratch->tail_mass,
                                   scratch->tail_rows);
    }
}

void fv_tail_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, float *maximum, float *sum, float *out) {
    fv_shadow_rows rows = fv_choose_rows(chooser, scratch);
    uint32_t group = chooser->group;
    for (uint32_t g = 0; g < group; g++) {
        scratch->tail_level[g] = level_of(scratch, scratch->score + (scratch->row + g) * scratch->stride);
        scratch->tail_mass[g] = 0;
    }
    for (uint32_t i = 0; i < scratch->tail_count; i++)
        scratch->tail[i] = scratch->page[scratch->first + scratch->tail[i]];
    pages_read(chooser, scratch, &rows);
    for (uint32_t g = 0; g < group; g++) {
        maximum[g] = (float)(scratch->tail_level[g] / 256);
        for (size_t t = 0; t < FV_SUM_LANES; t++) sum[g * FV_SUM_LANES + t] = 0.0f;
        sum[g * FV_SUM_LANES] = (float)scratch->tail_mass[g] * (gain * 0x1p-16f);
    }
    for (uint32_t g = 0; g < group; g += PAGE) rows_turn_back(chooser, scratch, g, out);
}

#endif
