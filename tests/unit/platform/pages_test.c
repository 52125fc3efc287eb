/* pages_test.c - memory straight from the system: zeroed, real only where it is touched, kept when it becomes huge. */
#include "platform/pages.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { MEGABYTE = 1 << 20, BYTES = 64 * MEGABYTE };

/* Bytes of memory that are really there. */
static size_t resident(void *memory) {
    static unsigned char pages[BYTES / 4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
    assert_int_equal(mincore(memory, BYTES, pages), 0);
    for (size_t i = 0; i < BYTES / page; i++) count += pages[i] & 1u;
    return count * page;
}

static void test_reserved_memory_is_not_there(void **state) {
    (void)state;
    unsigned char *memory = fv_pages_reserve(BYTES);
    assert_non_null(memory);
    assert_int_equal(resident(memory), 0);
    for (size_t i = 0; i < BYTES; i += 4 * MEGABYTE) memory[i] = 1;
    assert_true(resident(memory) <= 16 * (size_t)sysconf(_SC_PAGESIZE));
    fv_pages_unmap(memory, BYTES);
}

/* What is half used may become huge and keeps what it holds; what follows stays untouched. */
static void test_huge_keeps_what_is_there(void **state) {
    (void)state;
    static const size_t used[] = {0, 1, MEGABYTE, 3 * MEGABYTE + 5, 20 * MEGABYTE, BYTES};
    for (size_t k = 0; k < sizeof used / sizeof *used; k++) {
        unsigned char *memory = fv_pages_reserve(BYTES);
        assert_non_null(memory);
        for (size_t i = 0; i < used[k]; i++) memory[i] = (unsigned char)(i * 7 + i / 4096);
        fv_pages_huge(memory, used[k], BYTES);
        fv_pages_huge(memory, used[k], BYTES);
        assert_true(resident(memory) <= used[k] + 2 * MEGABYTE);
        for (size_t i = 0; i < used[k]; i++)
            if (memory[i] != (unsigned char)(i * 7 + i / 4096)) fail_msg("byte %zu changed", i);
        for (size_t i = used[k]; i < used[k] + MEGABYTE && i < BYTES; i++) assert_int_equal(memory[i], 0);
        fv_pages_unmap(memory, BYTES);
    }
    unsigned char few[64] = {1};
    fv_pages_huge(few, sizeof few, sizeof few);
    assert_int_equal(few[0], 1);
}

static void test_nothing_and_too_much(void **state) {
    (void)state;
    assert_null(fv_pages_map(0));
    assert_null(fv_pages_reserve(0));
    assert_null(fv_pages_map(SIZE_MAX));
    assert_null(fv_pages_reserve(SIZE_MAX - 4096));
    fv_pages_unmap(NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserved_memory_is_not_there),
        cmocka_unit_test(test_huge_keeps_what_is_there),
        cmocka_unit_test(test_nothing_and_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
