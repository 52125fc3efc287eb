/* test_policy.h - the default of a selector as a value, where a test wants an expression. */
#ifndef FV_TEST_POLICY_H
#define FV_TEST_POLICY_H

#include "fovea/policy.h"

static inline fv_policy test_policy(fv_selector selector) {
    fv_policy policy;
    fv_policy_default(selector, &policy);
    return policy;
}

#endif
