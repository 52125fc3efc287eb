/* gguf_memory_test.c - the n-th allocation fails, for every n: FV_ERROR_MEMORY, nothing written, nothing leaked.
 * array.c, where all of the memory comes from, is compiled into this test. */
#include <stdlib.h>

static int allocations_left;
static void *test_calloc(size_t count, size_t bytes) { return allocations_left-- > 0 ? calloc(count, bytes) : NULL; }
static void *test_realloc(void *old, size_t bytes) { return allocations_left-- > 0 ? realloc(old, bytes) : NULL; }
#define calloc test_calloc
#define realloc test_realloc
#include "platform/posix/array.c" /* NOLINT */
#undef calloc
#undef realloc

#include "fovea/gguf.h"
#include "support/gguf_builder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static void test_memory(void **state) {
    (void)state;
    builder b;
    build_sample(&b, 3);
    fv_status status = FV_ERROR_MEMORY;
    fv_gguf *gguf = NULL;
    int limit = 0;
    for (; status != FV_OK; limit++) {
        fv_message message = {{0}};
        allocations_left = limit;
        status = fv_gguf_open_memory(&gguf, b.bytes, b.count, "test.gguf", &message);
        if (status == FV_OK) break;
        assert_int_equal(status, FV_ERROR_MEMORY);
        assert_null(gguf);
        assert_true(strstr(message.text, "memory") != NULL);
    }
    assert_true(limit > 5);
    fv_gguf_close(gguf);
}

static void write_part(const char *path, uint32_t number, const char *tensor) {
    const uint64_t dimensions[] = {4};
    builder b;
    put_header(&b, 3, 1, 2);
    put_u32_entry(&b, "split.no", number);
    put_u32_entry(&b, "split.count", 2);
    put_tensor(&b, tensor, 1, dimensions, FV_WEIGHT_F32, 0);
    put_data(&b, 32, 16);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b.bytes, 1, b.count, file), b.count);
    fclose(file);
}

static void test_split_memory(void **state) {
    (void)state;
    char folder[] = "/tmp/fovea_gguf_XXXXXX", first[64], second[64];
    assert_non_null(mkdtemp(folder));
    snprintf(first, sizeof first, "%s/m-00001-of-00002.gguf", folder);
    snprintf(second, sizeof second, "%s/m-00002-of-00002.gguf", folder);
    write_part(first, 0, "a");
    write_part(second, 1, "b");
    fv_gguf *gguf = NULL;
    fv_status status = FV_ERROR_MEMORY;
    for (int limit = 0; status != FV_OK; limit++) {
        allocations_left = limit;
        status = fv_gguf_open(&gguf, first, NULL);
        assert_true(status == FV_OK ? gguf != NULL : status == FV_ERROR_MEMORY && gguf == NULL);
    }
    fv_gguf_close(gguf);
    unlink(first);
    unlink(second);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_split_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
