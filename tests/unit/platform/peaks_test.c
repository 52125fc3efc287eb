/* peaks_test.c - each loop runs, counts its operations and reads all it is given; wrong arguments change nothing. */
#include "fovea/peaks.h"
#include "fovea/pool.h"
#include "platform/cpu.h"
#include "platform/peak_loops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_byte_is_read(void **state) {
    (void)state;
    const size_t bytes = 4096;
    uint64_t *memory = aligned_alloc(64, bytes);
    assert_non_null(memory);
    fv_peak_read_fn *loops[4] = {fv_peak_read_scalar};
#if FV_BUILD_AVX2
    if (fv_isa_includes(fv_cpu_isa(), FV_ISA_AVX2)) loops[1] = fv_peak_read_avx2, loops[3] = fv_peak_read_ahead_avx2;
#endif
#if FV_BUILD_AVX512
    if (fv_isa_includes(fv_cpu_isa(), FV_ISA_AVX512)) loops[2] = fv_peak_read_avx512;
#endif
    for (size_t isa = 0; isa < 4; isa++)
        for (size_t word = 0; loops[isa] && word < bytes / sizeof *memory; word++) {
            memset(memory, 0, bytes);
            assert_int_equal(loops[isa](memory, bytes), 0);
            memory[word] = ~(uint64_t)0; /* all loops take the OR: a word that was left out would not show */
            assert_true(loops[isa](memory, bytes) != 0);
        }
    free(memory);
}

static void rates_are_positive(void **state) {
    (void)state;
    fv_pool *pool = NULL;
    assert_int_equal(fv_pool_open(&pool, 2, NULL), FV_OK);
    for (int isa = 0; isa < FV_ISA_COUNT; isa++) {
        double rate = 0;
        assert_int_equal(fv_peak_operations((fv_isa)isa, FV_PEAK_F32, fv_pool_parallel(pool), &rate), FV_OK);
        assert_true(rate > 0);
        assert_int_equal(fv_peak_read((fv_isa)isa, 3000, fv_pool_parallel(pool), &rate), FV_OK);
        assert_true(rate > 0);
    }
    fv_pool_close(pool);
}

static void refused(void **state) {
    (void)state;
    double rate = 7;
    assert_int_equal(fv_peak_operations(FV_ISA_SCALAR, FV_PEAK_INT8, NULL, &rate), FV_ERROR_UNSUPPORTED);
    assert_int_equal(fv_peak_operations(FV_ISA_COUNT, FV_PEAK_F32, NULL, &rate), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_peak_operations(FV_ISA_SCALAR, FV_PEAK_COUNT, NULL, &rate), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_peak_operations(FV_ISA_SCALAR, FV_PEAK_F32, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_peak_read(FV_ISA_SCALAR, 0, NULL, &rate), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_peak_read(FV_ISA_SCALAR, SIZE_MAX, NULL, &rate), FV_ERROR_ARGUMENT);
    assert_true(rate == 7.0);
    assert_int_equal(fv_peak_cache_bytes(0), 0);
    assert_true(fv_peak_cache_bytes(1) > 0 && fv_peak_cache_bytes(3) >= fv_peak_cache_bytes(2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_read),
        cmocka_unit_test(rates_are_positive),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
