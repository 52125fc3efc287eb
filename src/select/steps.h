/* steps.h - what memory has to know of a policy whose masks are not known yet: whether it chooses, steps of its plans.
 */
#ifndef FV_STEPS_H
#define FV_STEPS_H

#include "build.h"
#include "fovea/policy.h"

/* Of a policy that is in range: false for all of them where choosing is not built, so that its code drops out. */
static inline bool fv_policy_chooses(const fv_policy *policy) {
    return FV_BUILD_CHOOSE && fv_policy_is_dynamic(policy);
}

/* fv_policy_steps() with any `keep` and `keep_until`. */
uint32_t fv_select_masked_steps(const fv_policy *policy, uint32_t max_tokens, uint32_t rows);

#endif
