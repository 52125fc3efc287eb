/* pool_text_test.c - masks and ranges of processors: which bits they set, and what is no such text. */
#include "fovea/pool.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static size_t processors_of(const fv_pool_config *config, size_t *first, size_t *last) {
    size_t count = 0;
    for (size_t p = 0; p < FV_POOL_PROCESSORS; p++) {
        if (!(config->processors[p / 64] >> p % 64 & 1)) continue;
        if (count++ == 0) *first = p;
        *last = p;
    }
    return count;
}

static void expect(bool range, const char *text, size_t count, size_t first, size_t last) {
    fv_pool_config config;
    fv_pool_config_default(&config);
    size_t lowest = 0, highest = 0;
    assert_true(range ? fv_pool_config_range(&config, text) : fv_pool_config_mask(&config, text));
    assert_int_equal(processors_of(&config, &lowest, &highest), count);
    assert_int_equal(lowest, first);
    assert_int_equal(highest, last);
}

static void masks(void **state) {
    char longest[FV_POOL_PROCESSORS / 4 + 2];
    (void)state;
    expect(false, "1", 1, 0, 0);
    expect(false, "0x8", 1, 3, 3);
    expect(false, "aF", 6, 0, 7);
    expect(false, "10000000000000000", 1, 64, 64);
    memset(longest, 'f', sizeof longest);
    longest[FV_POOL_PROCESSORS / 4] = 0;
    expect(false, longest, FV_POOL_PROCESSORS, 0, FV_POOL_PROCESSORS - 1);
    longest[FV_POOL_PROCESSORS / 4] = 'f';
    longest[FV_POOL_PROCESSORS / 4 + 1] = 0;
    const char *bad[] = {"", "0x", "g", "1 ", "-1", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fv_pool_config config;
        fv_pool_config_default(&config);
        assert_false(fv_pool_config_mask(&config, bad[i]));
    }
}

static void ranges(void **state) {
    (void)state;
    expect(true, "0-0", 1, 0, 0);
    expect(true, "3-66", 64, 3, 66);
    expect(true, "1023-1023", 1, 1023, 1023);
    static const char *const bad[] = {"",      "3",    "-3",  "3-",  "3-1", "0-1024", "99999999999999999999-1",
                                      "1-2-3", "1 -2", "a-b", "1-2 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fv_pool_config config;
        fv_pool_config_default(&config);
        assert_false(fv_pool_config_range(&config, bad[i]));
    }
}

static void both_add_up(void **state) {
    fv_pool_config config;
    fv_pool_config_default(&config);
    size_t first, last;
    (void)state;
    assert_true(fv_pool_config_mask(&config, "3") && fv_pool_config_range(&config, "1-2"));
    assert_int_equal(processors_of(&config, &first, &last), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks), cmocka_unit_test(ranges),
                                       cmocka_unit_test(both_add_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
