/* mass.h - where dense attention has its mass: what a policy's choice is judged by. Slow and plain. */
#ifndef FOVEA_MEASURE_MASS_H
#define FOVEA_MEASURE_MASS_H

#include "fovea/api.h"
#include "fovea/attend.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Share of every token in the softmax of dense causal attention, of one position and the query heads of one KV head.
 *
 *   mass[h][t] = softmax_t(scale * query[h] . key[t]), t = 0..position
 *
 * query    [group][head_dim] f32: the heads that share kv_head; finite.
 * mass     [group][position + 1]; the sum of a row is 1, apart from rounding.
 * scratch  [FV_PAGE_TOKENS][head_dim].
 * returns  FV_OK, FV_ERROR_ARGUMENT (shape, a position beyond the cache's last token).
 *
 * Keys are those of the cache, rounded as they are there. Reentrant with distinct scratch. O(position * group *
 * head_dim).
 */
FV_API fv_status fv_mass_tokens(const fv_attend_config *config, const fv_kernels *kernels, const fv_cache *cache,
                                uint32_t kv_head, uint32_t position, const float *query, float *mass, float *scratch);

/** read[h], h < group: mass of the tokens that row `row` of `plan` reads exactly (SPAN and DIAG); `mass` is what
 *  fv_mass_tokens() gave for that row. O(tokens read). */
FV_API void fv_mass_read(const fv_plan *plan, uint32_t row, uint32_t group, const float *mass, float *read);

#ifdef __cplusplus
}
#endif

#endif
