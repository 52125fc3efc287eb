/* What pages weigh, by the 2-bit copy of the keys. */
#include "build.h"
#include "kernels/kernels.h"
#include "select/choose.h"
#include "size.h"
#include <float.h>

#if FV_BUILD_CHOOSE

enum { PAGE = FV_PAGE_TOKENS, BLOCK = FV_SHADOW_BLOCK, PANEL = 16 };

typedef struct scratch_layout {
    size_t query, half_sum, factor, base, dot, best, mass, share, rotated, weight, base_stride, mass_stride, bytes;
} scratch_layout;

static bool region_add(size_t *bytes, size_t count, size_t size, size_t *offset) {
    *offset = *bytes;
    return fv_size_add(bytes, count, size, FV_CACHE_ALIGN);
}

static bool scratch_layout_make(uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows, scratch_layout *out) {
    size_t pages = ((size_t)max_tokens + PAGE - 1) / PAGE, all = (size_t)rows * group;
    size_t blocks = ((size_t)max_tokens + BLOCK * PANEL - 1) / (BLOCK * PANEL) * PANEL;
    scratch_layout made = {.base_stride = blocks, .mass_stride = 4 * blocks};
    bool fits = region_add(&made.bytes, all * (((size_t)head_dim + 15) / 16 * 16), 1, &made.query) &&
                region_add(&made.bytes, all, 4, &made.half_sum) && region_add(&made.bytes, all, 4, &made.factor) &&
                region_add(&made.bytes, all, blocks * 4, &made.base) &&
                region_add(&made.bytes, all, blocks * 4, &made.dot) &&
                region_add(&made.bytes, all, blocks * 4, &made.best) &&
                region_add(&made.bytes, all, blocks * 16, &made.mass) && region_add(&made.bytes, pages, 4, &made.share) &&
                region_add(&made.bytes, head_dim, 4, &made.rotated) && region_add(&made.bytes, 256, 8, &made.weight);
    *out = made;
    return fits;
}

bool fv_choose_scratch_bytes(uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows, size_t *bytes) {
    scratch_layout layout;
    if (!scratch_layout_make(head_dim, group, max_tokens, rows, &layout)) return false;
    *bytes = layout.bytes;
    return true;
}

fv_choose_scratch fv_choose_scratch_at(void *memory, uint32_t head_dim, uint32_t group, uint32_t max_tokens, uint32_t rows) {
    scratch_layout layout;
    unsigned char *base = memory;
    if (!scratch_layout_make(head_dim, group, max_tokens, rows, &layout)) return (fv_choose_scratch){0};
    return (fv_choose_scratch){.query = (int8_t *)(base + layout.query),
                               .half_sum = (float *)(void *)(base + layout.half_sum),
                               .factor = (float *)(void *)(base + layout.factor),
                               .base = (float *)(void *)(base + layout.base),
                               .dot = (int32_t *)(void *)(base + layout.dot),
                               .best = (int32_t *)(void *)(base + layout.best),
                               .mass = (uint32_t *)(void *)(base + layout.mass),
                               .share = (uint32_t *)(void *)(base + layout.share),
                               .rotated = (float *)(void *)(base + layout.rotated),
                               .weight = (uint64_t *)(void *)(base + layout.weight),
                               .base_stride = layout.base_stride,
                               .mass_stride = layout.mass_stride};
}

void fv_choose_query(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t place, const float *query) {
    size_t dim = chooser->cache->config.head_dim, padded = chooser->cache->shadow.dim;
    for (size_t g = 0; g < chooser->group; g++) {
        size_t at = place * (size_t)chooser->group + g;
        int8_t *out = scratch->query + at * padded;
        float *x = scratch->rotated, most = 0.0f;
        int32_t sum = 0;
        for (size_t c = 0; c < dim; c++) x[c] = query[g * dim + c];
        fv_shadow_rotate(dim, x);
        for (size_t c = 0; c < dim; c++) {
            float magnitude = x[c] < 0.0f ? -x[c] : x[c];
            if (magnitude > most) most = magnitude;
        }
        float inverse = most > 0.0f && most <= FLT_MAX ? 127.0f / most : 0.0f;
        for (size_t c = 0; c < padded; c++) {
            out[c] = (int8_t)(c < dim ? fv_shadow_round(x[c], inverse) : 0);
            sum += out[c];
        }
        scratch->half_sum[at] = 1.5f * (float)sum;
        float step = inverse > 0.0f ? most / 127.0f : 0.0f;
        scratch->factor[at] = step * chooser->scale * 369.32993f; /* 256 / ln 2 */
    }
}

/* The part of a score that a block shares: query . centre. */
static void bases_make(const fv_chooser *chooser, const fv_choose_scratch *scratch, size_t rows, size_t blocks) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    const float *steps = fv_shadow_centre_steps(shadow, chooser->kv_head);
    size_t stride = scratch->base_stride;
    chooser->kernels->dot_panel_u8(rows, (blocks + PANEL - 1) / PANEL, shadow->dim, scratch->query,
                                   fv_shadow_centres(shadow, chooser->kv_head), scratch->dot, stride);
    for (size_t r = 0; r < rows; r++) {
        int32_t offset = (int32_t)(2.0f * scratch->half_sum[r]) / 3 * 128;
        for (size_t b = 0; b < blocks; b++)
            scratch->base[r * stride + b] = (float)(scratch->dot[r * stride + b] - offset) * steps[b];
    }
}

void fv_choose_score(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t rows, uint32_t page) {
    const fv_shadow *shadow = &chooser->cache->shadow;
    size_t all = (size_t)rows * chooser->group, tokens = (size_t)page * PAGE;
    bases_make(chooser, scratch, all, (tokens + BLOCK - 1) / BLOCK);
    fv_shadow_rows query = {.rows = all,
                            .dim = shadow->dim,
                            .query = scratch->query,
                            .half_sum = scratch->half_sum,
                            .factor = scratch->factor,
                            .base = scratch->base,
                            .base_stride = scratch->base_stride};
    chooser->kernels->shadow_mass(&query, tokens, fv_shadow_codes(shadow, chooser->kv_head, 0),
                                  fv_shadow_steps(shadow, chooser->kv_head, 0), scratch->best, scratch->base_stride,
                                  scratch->mass, scratch->mass_stride);
}

void fv_shadow_shares(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t place, uint32_t *share) {
    size_t pages = chooser->scored, first = place * (size_t)chooser->group;
    for (size_t page = 0; page < pages; page++) share[page] = 1;
    for (size_t r = first; r < first + chooser->group; r++)
        chooser->kernels->page_share(pages, scratch->best + r * scratch->base_stride,
                                     scratch->mass + r * scratch->mass_stride, share);
}

#endif
