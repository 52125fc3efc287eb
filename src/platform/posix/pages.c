/* pages.c - anonymous mappings. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, madvise */
#endif
#include "platform/pages.h"
#include <stdint.h>
#include <sys/mman.h>

#define HUGE_BYTES ((size_t)2 << 20)

void *fv_pages_map(size_t bytes) {
    if (bytes == 0 || bytes > SIZE_MAX / 2) return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
#if defined(MADV_HUGEPAGE)
    /* fewer TLB misses while the cache is read; a system without them says no, and that is fine */
    if (bytes >= HUGE_BYTES) (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void fv_pages_unmap(void *memory, size_t bytes) {
    if (memory) (void)munmap(memory, bytes);
}
