/* fence.h - memory for kernel tests, poisoned around. Every other block ends where the address space does (reading past
 * it is a fault, with or without a sanitizer); those between end 4, 8 or 12 bytes before it, so that blocks of whole
 * vectors are misaligned too. */
#ifndef FV_TEST_FENCE_H
#define FV_TEST_FENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FENCE_POISON = 0x88, FENCE_GUARD = 256 };

typedef struct test_fence {
    unsigned char *base, *end; /* end: first byte of a page that may not be touched */
    size_t mapped;
    unsigned char *data; /* of the last fence_place() */
    size_t places;
} test_fence;

static inline test_fence fence_open(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + FENCE_GUARD + 12 + page - 1) / page * page;
    unsigned char *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + room, page, PROT_NONE) != 0) {
        fprintf(stderr, "fence_open: no memory\n");
        exit(1);
    }
    return (test_fence){.base = base, .end = base + room, .mapped = room + page, .data = base + room};
}

static inline void fence_close(test_fence *fence) { munmap(fence->base, fence->mapped); }

static inline size_t fence_shift(const test_fence *fence) {
    return fence->places % 2 ? 0 : 4 * (1 + fence->places / 2 % 3);
}

/* `bytes` at the fence, poisoned, with a guard before them. */
static inline void *fence_place(test_fence *fence, size_t bytes) {
    fence->places++;
    size_t shift = fence_shift(fence);
    if (bytes + shift + FENCE_GUARD > (size_t)(fence->end - fence->base)) {
        fprintf(stderr, "fence_place: %zu bytes are too many\n", bytes);
        exit(1);
    }
    fence->data = fence->end - shift - bytes;
    memset(fence->data - FENCE_GUARD, FENCE_POISON, bytes + shift + FENCE_GUARD);
    return fence->data;
}

static inline bool fence_is_poison(const void *data, size_t bytes) {
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++)
        if (byte[i] != FENCE_POISON) return false;
    return true;
}

/* Whether the guard before the block, what follows it and the gaps between its rows are as they were. */
static inline bool fence_is_whole(const test_fence *fence, size_t rows, size_t row_bytes, size_t stride_bytes) {
    if (!fence_is_poison(fence->data - FENCE_GUARD, FENCE_GUARD)) return false;
    if (!fence_is_poison(fence->end - fence_shift(fence), fence_shift(fence))) return false;
    for (size_t r = 0; r + 1 < rows; r++)
        if (!fence_is_poison(fence->data + r * stride_bytes + row_bytes, stride_bytes - row_bytes)) return false;
    return true;
}

#endif
