/* memory_check_test.c - what is foreseen to be too much is an error with figures, what may become too much a remark. */
#include "fovea/engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

/* 1 MiB of cache for each of 1,000 tokens beside 100 MiB of activations and 100 MiB of weights. */
static fv_status check(uint64_t memory_mib, uint64_t swap_mib, uint64_t tokens, fv_message *message) {
    const fv_session_memory memory = {.cache_bytes = 1000 * MIB, .scratch_bytes = 100 * MIB};
    const fv_machine_limits limits = {
        .memory_bytes = memory_mib * MIB, .swap_bytes = swap_mib * MIB, .memory_by = FV_LIMIT_GROUP};
    memset(message->text, 'x', sizeof message->text - 1);
    message->text[sizeof message->text - 1] = 0;
    return fv_session_memory_check(&memory, 1000, tokens, 100 * MIB, &limits, message);
}

static void what_fits_is_no_news(void **state) {
    fv_message message;
    (void)state;
    assert_int_equal(check(1200, 0, 1000, &message), FV_OK);
    assert_string_equal(message.text, "");
    assert_int_equal(check(1000, 200, 1000, &message), FV_OK);
    assert_string_equal(message.text, "");
    assert_int_equal(check(0, 0, 1000, &message), FV_OK); /* not known */
    assert_string_equal(message.text, "");
}

static void a_context_that_may_become_too_long_is_remarked_on(void **state) {
    fv_message message;
    (void)state;
    assert_int_equal(check(700, 0, 500, &message), FV_OK);
    assert_string_equal(
        message.text,
        "a full context of 1000 tokens would take 1000.0 MiB of cache beside 200.0 MiB for private weights "
        "and activations, but this process may use 700.0 MiB (control group): about 500 tokens fit");
}

static void what_is_sure_not_to_fit_is_an_error(void **state) {
    fv_message message;
    (void)state;
    assert_int_equal(check(700, 0, 501, &message), FV_ERROR_MEMORY);
    assert_non_null(strstr(message.text, "501 tokens take 501.0 MiB of cache"));
    assert_non_null(strstr(message.text, "about 500 tokens fit"));
    assert_int_equal(check(150, 0, 1, &message), FV_ERROR_MEMORY);
    assert_non_null(strstr(message.text, "about 0 tokens fit"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_no_news),
        cmocka_unit_test(a_context_that_may_become_too_long_is_remarked_on),
        cmocka_unit_test(what_is_sure_not_to_fit_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
