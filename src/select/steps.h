/* steps.h - room for plans whose masks are not known yet. */
#ifndef FV_STEPS_H
#define FV_STEPS_H

#include "fovea/policy.h"

/* fv_policy_steps() with any `keep` and `keep_until`. */
uint32_t fv_select_masked_steps(const fv_policy *policy, uint32_t max_tokens, uint32_t rows);

#endif
