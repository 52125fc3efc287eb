/* pages.c - anonymous mappings. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, madvise */
#endif
#include "platform/pages.h"
#include "platform/linux_only.h"
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)2 << 20)

#if defined(__linux__) && !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25 /* Linux 6.1; older ones refuse it and collapse in the background */
#endif

static void *map(size_t bytes) {
    if (bytes == 0 || bytes > SIZE_MAX / 2) return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void *fv_pages_map(size_t bytes) {
    void *memory = map(bytes);
#if defined(MADV_HUGEPAGE)
    /* fewer TLB misses while it is read; a system without them says no, and that is fine */
    if (memory && bytes >= HUGE_BYTES) (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void *fv_pages_reserve(size_t bytes) {
    void *memory = map(bytes);
#if defined(MADV_NOHUGEPAGE)
    if (memory) (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
#endif
    return memory;
}

void fv_pages_huge(void *memory, size_t used, size_t bytes) {
#if defined(MADV_HUGEPAGE)
    uintptr_t begin = ((uintptr_t)memory + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
    size_t reach = bytes - used < HUGE_BYTES / 2 ? bytes : used + HUGE_BYTES / 2;
    uintptr_t end = ((uintptr_t)memory + reach) / HUGE_BYTES * HUGE_BYTES;
    if (begin >= end) return;
    (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#if defined(MADV_COLLAPSE)
    (void)madvise((void *)begin, end - begin, MADV_COLLAPSE);
#endif
#else
    (void)memory, (void)used, (void)bytes;
#endif
}

void fv_pages_forget(void *memory, size_t bytes) {
#if defined(MADV_DONTNEED)
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)memory + page - 1) / page * page, end = ((uintptr_t)memory + bytes) / page * page;
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
#else
    (void)memory, (void)bytes;
#endif
}

void fv_pages_unmap(void *memory, size_t bytes) {
    if (memory) (void)munmap(memory, bytes);
}
