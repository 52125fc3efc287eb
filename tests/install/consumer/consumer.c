/* consumer.c - a program outside of this tree: everything by one header, and a call into each half of the library. */
#include <fovea/fovea.h>
#include <stdio.h>
#include <string.h>

static void count_task(void *context, size_t task, size_t worker) {
    (void)worker;
    ((unsigned char *)context)[task] = 1;
}

int main(void) {
    static uint64_t memory[FV_KERNELS_BYTES / sizeof(uint64_t)];
    const fv_kernels *kernels = NULL;
    unsigned char done[100] = {0};
    fv_message message = {0};
    fv_pool *pool = NULL;

    if (fv_version_number() != FV_VERSION_NUMBER || strcmp(fv_version(), FV_VERSION_STRING) != 0) return 1;
    if (fv_kernels_init(&kernels, FV_ISA_BEST, memory, sizeof memory) != FV_OK) return 1;
    if (fv_pool_open(&pool, 2, &message) != FV_OK) return 1;
    fv_parallel_run(fv_pool_parallel(pool), sizeof done, count_task, done);
    fv_pool_close(pool);
    if (memchr(done, 0, sizeof done)) return 1;
    printf("fovea %s, %s\n", fv_version(), fv_isa_name(fv_kernels_isa(kernels)));
    return 0;
}
