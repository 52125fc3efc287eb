/* policy_test.c - every fault of a policy is found and named; what a policy needs of a cache is what suits it; sizes
 * that programs are built with do not change within an ABI version. */
#include "fovea/core.h"
#include "fovea/policy_text.h"
#include "support/test_policy.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FAULT(name, of, ...) \
    do { \
        fv_policy bad = of; \
        __VA_ARGS__; \
        assert_int_equal(fv_policy_find_fault(&bad), FV_POLICY_FAULT_##name); \
        assert_int_equal(fv_policy_check(&bad), FV_ERROR_POLICY); \
    } while (0)

static void every_fault_is_named(void **state) {
    (void)state;
    const fv_policy window = test_policy(FV_SELECTOR_WINDOW), pattern = test_policy(FV_SELECTOR_PATTERN);
    const fv_policy fovea = test_policy(FV_SELECTOR_FOVEA), cascade = test_policy(FV_SELECTOR_CASCADE);
    FAULT(SELECTOR, fovea, bad.selector = FV_SELECTOR_COUNT);
    FAULT(RESERVED, window, bad.reserved[2] = 1);
    FAULT(CAUSAL, window, bad.causal = 2);
    FAULT(CAUSAL, fovea, bad.causal = 0);
    FAULT(WINDOW, window, bad.window = 0);
    FAULT(WINDOW, fovea, bad.window = FV_POLICY_MOST + 1);
    FAULT(SINKS, fovea, bad.sinks = FV_POLICY_MOST + 1);
    FAULT(BLOCK, pattern, bad.block = 0);
    FAULT(GLOBALS, pattern, bad.globals_count = FV_POLICY_GLOBALS + 1);
    FAULT(LOG_STRIDE, pattern, bad.log_stride = 2);
    FAULT(LANDMARKS, pattern, bad.landmarks = 2);
    FAULT(AMOUNT, fovea, bad.budget = 0);
    FAULT(AMOUNT, fovea, bad.pages = 100);
    FAULT(BUDGET, fovea, bad.budget = NAN);
    FAULT(PAGES, fovea, fv_policy_set_pages(&bad, fv_policy_min_pages(&bad) - 1));
    FAULT(TOP_P, fovea, fv_policy_set_top_p(&bad, 1.5f));
    FAULT(TOP_P, cascade, fv_policy_set_top_p(&bad, 0.5f));
    FAULT(FLOOR, fovea, bad.cap = 63);
    FAULT(FLOOR_SHARE, fovea, bad.floor_share = NAN);
    FAULT(FLOOR_SHARE, fovea, bad.floor_share = 1.5f);
    FAULT(QUESTION, fovea, bad.question = FV_POLICY_MOST + 1);
    FAULT(CAP, fovea, bad.cap = FV_POLICY_MOST + 1);
    FAULT(CERTIFICATE, cascade, bad.certificate = 1);
    FAULT(QUALITY, fovea, bad.quality = 0.1f);
    FAULT(TAIL, fovea, bad.tail = 1, bad.certificate = 1);
    for (uint32_t i = 0; i < FV_SELECTOR_COUNT; i++) {
        fv_policy good = test_policy((fv_selector)i);
        assert_int_equal(fv_policy_find_fault(&good), FV_POLICY_FAULT_NONE);
    }
    assert_string_equal(fv_policy_fault_field(FV_POLICY_FAULT_TOP_P), "top_p");
    assert_string_equal(fv_policy_fault_text(FV_POLICY_FAULT_FLOOR), "must be at most cap");
    assert_string_equal(fv_policy_fault_text(FV_POLICY_FAULT_COUNT), "unknown");
}

static void needs_are_what_suits(void **state) {
    (void)state;
    fv_policy policies[] = {test_policy(FV_SELECTOR_DENSE), test_policy(FV_SELECTOR_PATTERN),
                            test_policy(FV_SELECTOR_CASCADE), test_policy(FV_SELECTOR_FOVEA),
                            test_policy(FV_SELECTOR_FOVEA)};
    static const fv_policy_fault bare[] = {FV_POLICY_FAULT_NONE, FV_POLICY_FAULT_CACHE_LANDMARKS,
                                           FV_POLICY_FAULT_CACHE_SHADOW, FV_POLICY_FAULT_CACHE_SHADOW,
                                           FV_POLICY_FAULT_CACHE_SHADOW};
    policies[3].certificate = policies[4].tail = 1;
    fv_cache_config all;
    fv_cache_config_default(&all);
    for (size_t i = 0; i < 5; i++) {
        fv_cache_config cache;
        fv_policy_fault unmet = FV_POLICY_FAULT_COUNT;
        fv_cache_config_default(&cache);
        assert_int_equal(fv_policy_suits(&policies[i], &cache, 0, &unmet), i ? FV_ERROR_POLICY : FV_OK);
        assert_int_equal(unmet, bare[i]);
        fv_policy_needs(&policies[i], &cache);
        fv_policy_needs(&policies[i], &all);
        assert_int_equal(fv_policy_suits(&policies[i], &cache, 0, &unmet), FV_OK);
        assert_int_equal(unmet, FV_POLICY_FAULT_NONE);
        assert_int_equal(fv_policy_suits(&policies[i], &cache, 30, &unmet), i > 2 ? FV_ERROR_POLICY : FV_OK);
        assert_int_equal(unmet, i > 2 ? FV_POLICY_FAULT_SOFTCAP : FV_POLICY_FAULT_NONE);
        cache.margins = cache.tail = 0;
        fv_policy_suits(&policies[i], &cache, 0, &unmet);
        assert_int_equal(unmet, i == 3   ? FV_POLICY_FAULT_CACHE_MARGINS
                                : i == 4 ? FV_POLICY_FAULT_CACHE_TAIL
                                         : FV_POLICY_FAULT_NONE);
    }
    for (size_t i = 0; i < 5; i++) assert_int_equal(fv_policy_suits(&policies[i], &all, 0, NULL), FV_OK);
    assert_true(all.landmark_tokens == 64 && all.shadow == 1 && all.margins == 1 && all.tail == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_is_named),
        cmocka_unit_test(needs_are_what_suits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
