/* allocations.h - counts allocations of the whole program, where the C library lets one replace malloc.
 * Include it in one file of a test only. */
#ifndef FV_TEST_ALLOCATIONS_H
#define FV_TEST_ALLOCATIONS_H

#include <stdatomic.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define ALLOCATIONS_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATIONS_SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(ALLOCATIONS_SANITIZED)
#define ALLOCATIONS_COUNTED 1
static atomic_ulong allocations;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);

void *malloc(size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, bytes);
}
void *realloc(void *old, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, bytes);
}
void *aligned_alloc(size_t align, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(align, bytes);
}
static inline unsigned long allocations_count(void) { return atomic_load(&allocations); }
#else
#define ALLOCATIONS_COUNTED 0
static inline unsigned long allocations_count(void) { return 0; }
#endif

#endif
