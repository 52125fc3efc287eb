/* Certificates of rows: what the selector left out meets what the executor read. */
#include "attention/certify.h"
#include "attend/certificate.h"
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include "select/unread.h"
#include <float.h>

#if FV_BUILD_CERTIFICATE

static float larger(float a, float b) { return a > b ? a : b; }

void fv_certified_add(fv_certified *into, const fv_certified *from) {
    into->error_bound = larger(into->error_bound, from->error_bound);
    into->relative_bound = larger(into->relative_bound, from->relative_bound);
    into->relative_estimate = larger(into->relative_estimate, from->relative_estimate);
    into->rows += from->rows;
    into->vacuous += from->vacuous;
    into->whole += from->whole;
}

static fv_certified head_certify(const fv_chooser *chooser, const fv_choose_scratch *scratch, uint32_t g,
                                 const float *query, const float *out, fv_state state) {
    size_t dim = chooser->cache->config.head_dim;
    const float *lanes = state.sum + (size_t)g * FV_SUM_LANES;
    fv_unread unread = fv_unread_of(chooser, scratch, g, query + g * dim, state.maximum[g]);
    fv_certificate_input input = {.mass_bound = unread.mass_bound,
                                  .mass_estimate = unread.mass_estimate,
                                  .value_max = unread.value_max,
                                  .value_rms = unread.value_rms,
                                  .head_dim = dim,
                                  .out = out + g * dim};
    for (size_t i = 0; i < FV_SUM_LANES; i++) input.read += lanes[i];
    fv_certificate made = fv_certificate_make(&input);
    return (fv_certified){.error_bound = made.error_bound,
                          .relative_bound = made.relative_bound,
                          .relative_estimate = made.raw_estimate * FV_CERTIFICATE_FACTOR,
                          .rows = 1,
                          .vacuous = !(made.relative_bound <= FLT_MAX)};
}

float fv_certify_row(const fv_chooser *chooser, const fv_choose_scratch *scratch, const float *query, const float *out,
                     fv_state state, fv_certified *into) {
    float worst = 0.0f;
    for (uint32_t g = 0; g < chooser->group; g++) {
        fv_certified made = {.rows = 1};
        if (chooser->begin < chooser->end) made = head_certify(chooser, scratch, g, query, out, state);
        worst = larger(worst, made.relative_estimate);
        fv_certified_add(into, &made);
    }
    return worst;
}

void fv_certify_nothing(const fv_chooser *chooser, uint32_t rows, fv_certified *into) {
    const float infinite = fv_f32_from_bits(0x7F800000);
    uint64_t outputs = (uint64_t)rows * chooser->group;
    fv_certified made = {
        .relative_bound = infinite, .relative_estimate = infinite, .rows = outputs, .vacuous = outputs};
    const fv_margins *margins = &chooser->cache->margins;
    for (uint32_t page = 0; page <= chooser->scored; page++)
        made.error_bound = larger(made.error_bound, fv_margin_of(margins, chooser->kv_head, page)->value_max);
    fv_certified_add(into, &made);
}

#endif
