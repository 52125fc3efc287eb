/* A page's keys are where their coarse copy says, give or take: |q . k - q' . k'| <= |q| |k - k'| + |q - q'| |k'|;
 * centres and codes are met by different copies of the query. */
#include "select/unread.h"
#include "build.h"
#include "cache/margin.h"
#include "kernels/kernels.h"
#include "numeric/exp_scalar.h"
#include "numeric/half.h"
#include "numeric/root.h"

#if FV_BUILD_CERTIFICATE

/* Scores are rounded to 2^-8: a key's, its block's, and a page's logarithm, which is cut; sums
 * of up to 1,024 terms, a rotation and a few operations in f32 lie far below the rest. */
static const float score_slack = (0.5f + 0.5f + 1.0f + 0.01f) / 256.0f;
static const float length_slack = 1.001f;
static const float relative_slack = 1e-5f;

typedef struct query_lengths {
    float whole;                    /* |q|, rotated */
    float mean_error, coarse_error; /* |q - its rounded copies|: the one that means meet, the one that codes meet */
} query_lengths;

static query_lengths lengths_of(const fv_chooser *chooser, const fv_choose_scratch *scratch, size_t g,
                                const float *query) {
    size_t dim = chooser->cache->config.head_dim, padded = chooser->cache->shadow.dim;
    int8_t *rounded = scratch->query + (scratch->row + g) * padded;
    float *x = scratch->rotated, whole = 0.0f, mean_error = 0.0f, coarse_error = 0.0f;
    int32_t sum;
    for (size_t c = 0; c < dim; c++) x[c] = query[c];
    /* all as it was before */
    float most =
        chooser->kernels->shadow_query(dim, padded, x, rounded, scratch->table + (scratch->row + g) * 4 * padded, &sum);
    for (size_t c = 0; c < dim; c++) {
        float coarse =
            most > 0.0f ? (float)fv_round_held(x[c] * ((float)FV_COARSE_MOST / most), (float)FV_COARSE_MOST) : 0.0f;
        float rest = x[c] - (float)rounded[c] * (most / 127.0f),
              coarse_rest = x[c] - coarse * (most / (float)FV_COARSE_MOST);
        whole += x[c] * x[c];
        mean_error += rest * rest;
        coarse_error += coarse_rest * coarse_rest;
    }
    whole = fv_root_f32(whole) * length_slack;
    return (query_lengths){.whole = whole,
                           .mean_error = fv_root_f32(mean_error) * length_slack + relative_slack * whole,
                           .coarse_error = fv_root_f32(coarse_error) * length_slack + relative_slack * whole};
}

/* 2^x, more than that where it is out of range. */
static float power_above(float x) {
    if (x > 100.0f) return 3e38f;
    return fv_exp2_scalar(x, 0.0f) * 1.000001f + 1e-36f;
}

/* How far a page's likely score is taken beyond its codes' word, in standard deviations of what the codes leave out: an
 * error of a key that points anywhere meets the query with |q| |error| / sqrt(channels). Sums of powers are made by the
 * terms that err upwards (docs/lab/certificates.md). */
static const float deviations = 2.0f;

/* fv_power_of() without its 2^16, for any height in units of 2^-8, held at 2^100: sums of pages do not overflow. */
static float straight_power(float height) {
    if (height > 100.0f * 256) height = 100.0f * 256;
    return height < -FV_SCORE_MOST ? 0.0f : fv_score_power((int32_t)height);
}

fv_unread fv_unread_of(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t g, const float *query,
                       float maximum) {
    const fv_cache *cache = chooser->cache;
    const int32_t *score = scratch->score + (scratch->row + g) * scratch->stride;
    const int32_t *base = scratch->base + (scratch->row + g) * scratch->base_stride;
    query_lengths length = lengths_of(chooser, scratch, g, query);
    float unit = chooser->scale * 1.442696f; /* log2 e, upwards */
    float deviation = unit * length.whole / fv_root_f32((float)cache->config.head_dim);
    fv_unread unread = {.pages = 0};
    float weighted = 0.0f;
    for (uint32_t page = chooser->begin; page < chooser->end; page++) {
        if (scratch->weight[page] == FV_CHOSEN) continue;
        const fv_margin *margin = fv_margin_of(&cache->margins, chooser->kv_head, page);
        float height = (float)score[page] / 256.0f - maximum, magnitude = height < 0.0f ? -height : height;
        float reach = unit * (length.whole * (margin->residual + relative_slack * (margin->code + margin->centre)) +
                              length.coarse_error * margin->code + length.mean_error * margin->centre);
        /* a score is the straight logarithm of a sum of straight powers, which are no less than powers; a straight
         * power of it is at most 2^0.0861 times 2^height; four roundings made the sum. One that was held may be
         * anything */
        bool held = score[page] - base[page / (FV_SHADOW_BLOCK / FV_PAGE_TOKENS)] >= (int32_t)FV_SCORE_MOST;
        float likely = held ? straight_power(100.0f * 256)
                            : straight_power(256.0f * (height + deviations * deviation * margin->residual));
        float most = power_above(height + 0.0862f + reach + score_slack + relative_slack * (magnitude + 64.0f));
        unread.mass_estimate += likely;
        unread.mass_bound += held ? 3e38f : most * (1.0f + 8.0f * 0x1p-24f);
        weighted += likely * margin->value_rms;
        if (margin->value_max > unread.value_max) unread.value_max = margin->value_max;
        unread.pages++;
    }
    unread.value_rms = unread.mass_estimate > 0.0f ? weighted / unread.mass_estimate : 0.0f;
    unread.mass_bound *= 1.0001f + (float)unread.pages * 0x1p-23f; /* the sum's own rounding */
    return unread;
}

#endif
